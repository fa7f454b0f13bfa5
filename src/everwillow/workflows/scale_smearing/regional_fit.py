"""The fit of all regions of two samples, and its parameters with errors."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from everwillow._errors import ArgumentValueError
from everwillow.fitting import FitResult, fit
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.likelihood.packing import PackedSize
from everwillow.models.scale_smearing.likelihood.simulation import (
    gradient_bias,
    gradient_variance,
)
from everwillow.models.scale_smearing.model import SasModel
from everwillow.models.scale_smearing.parameters import (
    AT_BOUND,
    FAILED,
    FITTED,
    SasParameters,
)
from everwillow.models.scale_smearing.regions import RegionTable
from everwillow.models.scale_smearing.spec import KIND_OF, SECOND_GAUSSIAN
from everwillow.workflows.scale_smearing.second_gaussian import fit_second_gaussian


NOTABLE_BIAS = 0.3
"""The share of an error from which a shift is worth a sentence."""


class RegionFit(NamedTuple):
    """The data of a region, and what the fit predicts.

    Attributes:
        categories: The categories of the leptons.
        edges: Edges of the bins in GeV, shape ``(bins + 1,)``.
        data: Observed events.
        expected: Expected events; their sum is that of the data.
    """

    categories: tuple[int, ...]
    edges: Float[np.ndarray, " edges"]
    data: Float[np.ndarray, " bins"]
    expected: Float[np.ndarray, " bins"]


@final
@dataclasses.dataclass(frozen=True)
class RegionalFit:
    """A fit of all regions.

    Attributes:
        table: The regions.
        model: Their likelihood.
        result: The fit.
    """

    table: RegionTable
    model: SasModel
    result: FitResult

    def _repr_html_(self) -> str:
        """Return a table of the parameters for notebooks."""
        return self.result._repr_html_()

    @property
    def vector(self) -> Float[np.ndarray, " parameters"]:
        """All parameters of the model, in its order."""
        return np.asarray(ravel_pytree(self.result.params.to_pytree())[0])

    def region_fits(self) -> list[RegionFit]:
        """Return data and prediction of each region."""
        expected = np.asarray(self.model.expected(self.result.params.to_pytree()))
        fits, start = [], 0
        for one in self.table.spec.regions:
            rows = slice(start, start + one.counts.size)
            fits.append(
                RegionFit(one.categories, one.edges, one.counts, expected[rows])
            )
            start = rows.stop
        return fits

    def simulation_covariance(self) -> Float[np.ndarray, "parameters parameters"]:
        """Return the covariance from the limited number of simulated events."""
        inverse = self._statistical()
        return inverse @ np.asarray(gradient_variance(*self._noise())) @ inverse

    def simulation_bias(self) -> Float[np.ndarray, " parameters"]:
        """Return the estimated shift of the parameters by the noise of templates.

        To first order it is minus the covariance times the mean of the gradient that
        the noise adds. It is not subtracted from the result.
        """
        return -self._statistical() @ np.asarray(gradient_bias(*self._noise()))

    def _noise(self) -> tuple[Any, ...]:
        """Return the arguments of the functions of noise."""
        terms, regions = self.model.terms, self.table.spec.regions
        variances = np.zeros(terms.templates.shape)
        variances[: len(regions), : regions[0].variances.size] = [
            one.variances for one in regions
        ]
        return (
            terms,
            jnp.asarray(self.model.slots),
            jnp.asarray(self.vector),
            jnp.asarray(self.model.observation["main"]),
            jnp.asarray(variances),
        )

    def parameters(
        self,
        *,
        errors: bool = True,
        simulation_errors: bool = True,
        origin: Mapping[str, Any] | None = None,
    ) -> SasParameters:
        """Return the result by category.

        Args:
            errors: Whether to compute errors.
            simulation_errors: Whether they include those from limited simulation.
            origin: Entries to add to the origin of the result.
        """
        success = bool(self.result.success)
        matrices: dict[str, np.ndarray] = {}
        if errors and success:
            matrices["stat"] = self._statistical()
            if simulation_errors:
                matrices["mc"] = self.simulation_covariance()
        values = {name: self._by_category(name) for name in self._names()}
        at_zero, upper = self._at_zero(values["reso"])
        covariances = {
            name: self._physical(matrix, ("resp", "reso"), values)
            for name, matrix in matrices.items()
        }
        total = sum(covariances.values()) if covariances else None
        size = self.table.spec.categories.size
        unknown = np.full((2 * size, 2 * size), np.nan)
        both = _roots(unknown if total is None else total)
        simulated = _roots(covariances.get("mc", unknown))
        double = {}
        if success:
            for name in self._names()[2:]:
                double |= self._second(name, values, matrices)
        else:
            values = dict.fromkeys(values, np.full(size, np.nan))
        resp_bias, reso_bias = self._bias(values) if "mc" in matrices else (None, None)
        return SasParameters(
            self.table.spec.categories,
            values["resp"],
            values["reso"],
            both[:size],
            both[size:],
            simulated[:size],
            simulated[size:],
            self._status(success, at_zero),
            upper,
            resp_bias,
            reso_bias,
            covariance=total if total is None else np.asarray(total),
            covariances=covariances,
            double=double,
            nll=float(self.result.nll),
            edm=float(self.result.edm),
            success=success,
            message=_in_words(self.result.message()),
            origin={
                **self._numbers_of_events(),
                "notes": [
                    *self.table.notes,
                    *bias_notes(resp_bias, both[:size], "responses"),
                    *bias_notes(reso_bias, both[size:], "resolutions"),
                ],
                **(origin or {}),
            },
        )

    def _numbers_of_events(self) -> dict[str, int]:
        regions = self.table.spec.regions
        return {
            "n_regions": len(regions),
            "n_data": sum(one.data for one in regions),
            "n_mc": sum(one.simulation for one in regions),
        }

    def _names(self) -> tuple[str, ...]:
        second = SECOND_GAUSSIAN if self.table.spec.double_gaussian else ()
        return ("resp", "reso", *second)

    def _by_category(self, name: str) -> Float[np.ndarray, " categories"]:
        """Return the values of a parameter of the results, NaN where there is none."""
        values = np.full(self.table.spec.categories.size, np.nan)
        vector = self.vector
        for i, place in self.model.places(KIND_OF[name]).items():
            values[i] = vector[place]
        return np.sqrt(values) if name.startswith("reso") else values

    def _bias(self, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the shifts of responses and resolutions, NaN where there is none."""
        shift, found = self.simulation_bias(), []
        for name in ("resp", "reso"):
            array = np.full(self.table.spec.categories.size, np.nan)
            for i, place in self.model.places(KIND_OF[name]).items():
                root = values[name][i] if name == "reso" else 0.5
                if root > 0:
                    array[i] = 0.5 * shift[place] / root
            found.append(array)
        return found[0], found[1]

    def _status(self, success: bool, at_zero: np.ndarray) -> tuple[str, ...]:  # noqa: FBT001
        return tuple(
            one
            if one != FITTED
            else FAILED
            if not success
            else AT_BOUND
            if zero
            else one
            for one, zero in zip(self.table.status, at_zero, strict=True)
        )

    def _at_zero(self, reso: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the smearing is zero, and the ends of its intervals there."""
        zero = reso == 0
        upper = np.full(reso.size, np.nan)
        ends = self.result.bound_errors
        if zero.any() and ends is not None and bool(self.result.success):
            by_place = dict(zip(self.result.free, np.asarray(ends), strict=True))
            for i, place in self.model.places("var").items():
                if zero[i]:
                    upper[i] = np.sqrt(by_place.get(place, np.nan))
        return zero, upper

    def _statistical(self) -> Float[np.ndarray, "parameters parameters"]:
        """Return the inverse Hessian, zero for what is fixed or at a bound."""
        size = self.model.terms.size
        whole = np.zeros((size, size))
        found = self.result.covariance
        if found is None:
            return np.full_like(whole, np.nan)
        free = np.asarray(self.result.free, int)
        whole[np.ix_(free, free)] = found
        return whole

    def _physical(
        self,
        matrix: np.ndarray,
        names: tuple[str, ...],
        values: Mapping[str, np.ndarray],
    ) -> Float[np.ndarray, "all all"]:
        """Return a covariance in parameters of the results, NaN where there is none."""
        size = self.table.spec.categories.size
        jacobian = np.full((len(names) * size, matrix.shape[0]), 0.0)
        absent = np.ones(len(names) * size, bool)
        for k, name in enumerate(names):
            for i, place in self.model.places(KIND_OF[name]).items():
                row = k * size + i
                root = values[name][i] if name.startswith("reso") else 0.5
                # The error of the square of a width that is zero is none of the width.
                if root > 0 and matrix[place, place] != 0:
                    jacobian[row, place] = 0.5 / root
                    absent[row] = False
        found = jacobian @ matrix @ jacobian.T
        found[absent] = np.nan
        found[:, absent] = np.nan
        return found

    def _second(
        self,
        name: str,
        values: Mapping[str, np.ndarray],
        matrices: Mapping[str, np.ndarray],
    ) -> dict[str, np.ndarray]:
        """Return a parameter of the second Gaussian with its errors.

        Where the fraction of the first is 1, the second has no values.
        """
        idle = (values["frac"] >= 1) & (name != "frac")
        found = {name: np.where(idle, np.nan, values[name])}
        parts = {
            kind: self._physical(matrix, (name,), values)
            for kind, matrix in matrices.items()
        }
        nothing = np.full(values[name].size, np.nan)
        found[f"e{name}"] = _roots(sum(parts.values())) if parts else nothing
        found[f"e{name}_mc"] = _roots(parts["mc"]) if "mc" in parts else nothing
        return found


def fit_regions(
    table: RegionTable,
    *,
    starts: Mapping[str, np.ndarray] | None = None,
    size: PackedSize | None = None,
) -> RegionalFit:
    """Fit all regions.

    Args:
        table: The regions.
        starts: Start values by parameter, NaN for the usual ones.
        size: Lengths of arrays; fits of one size share a compiled program.

    Raises:
        ArgumentValueError: If there is no region; the message says why.
    """
    if not table.spec.regions:
        raise ArgumentValueError(nothing_to_fit(table))
    model = SasModel.from_spec(table.spec, starts=starts, size=size)
    if table.spec.double_gaussian:
        return RegionalFit(table, model, fit_second_gaussian(model))
    return RegionalFit(table, model, fit(model, throw=False))


def nothing_to_fit(table: RegionTable) -> str:
    """Return the sentences of an error without regions."""
    return " ".join(
        [
            "regions: there is none with enough events in data and simulation.",
            *table.notes,
            "Lower the numbers that are required (min_nevt_region_dt and _mc of a "
            "configuration, min_data and min_simulation in Python), or use fewer "
            "categories.",
        ]
    )


def nothing(
    categories: Categories, status: tuple[str, ...], message: str
) -> SasParameters:
    """Return the result of a fit that was not made."""
    absent = np.full(categories.size, np.nan)
    return SasParameters(
        categories,
        resp=absent,
        reso=absent,
        eresp=absent,
        ereso=absent,
        eresp_mc=absent,
        ereso_mc=absent,
        status=status,
        reso_upper=absent,
        success=False,
        message=message,
    )


def bias_notes(
    bias: Float[np.ndarray, " categories"] | None,
    errors: Float[np.ndarray, " categories"],
    name: str,
) -> list[str]:
    """Return a sentence if the noise of templates shifts a parameter by much.

    Args:
        bias: The estimated shifts.
        errors: The errors of the parameters.
        name: What they are.
    """
    if bias is None:
        return []
    shares = np.abs(bias) / errors
    if not np.any(shares > NOTABLE_BIAS):
        return []
    worst = int(np.nanargmax(shares))
    return [
        f"The noise of simulated templates shifts {name} by up to {shares[worst]:.1f} "
        f"of their error (category {worst}). The estimated shifts are in the results "
        "and are not subtracted; more simulated events lessen them."
    ]


def _in_words(message: str) -> str:
    """Return a message with words in place of the names of parameters.

    Example:
        >>> _in_words("At a bound: var_0, mu_12, frac.")
        'At a bound: smearing of category 0, mu of category 12, frac.'
    """
    words = {"resp": "response", "var": "smearing", "var2": "second smearing"}

    def worded(found: re.Match[str]) -> str:
        return f"{words.get(found[1], found[1])} of category {found[2]}"

    return re.sub(r"\b(resp|var2?|mu|frac)_(\d+)\b", worded, message)


def _roots(matrix: Any) -> Float[np.ndarray, " all"]:
    return np.sqrt(np.diagonal(np.asarray(matrix)))
