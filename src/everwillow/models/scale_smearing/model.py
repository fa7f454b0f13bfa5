"""Models of responses and resolutions, made from a `SasSpec`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float, Int

from everwillow._errors import ArgumentValueError, unknown_key
from everwillow._typing import Array, Key, Scalar
from everwillow.model import AbstractModel
from everwillow.models._model_parts import Uncompared
from everwillow.models.scale_smearing.likelihood.flat import FlatSas
from everwillow.models.scale_smearing.likelihood.packing import (
    PackedSize,
    pack,
    padded,
    parameter_names,
    row_slots,
)
from everwillow.models.scale_smearing.spec import (
    BOUNDS_SECOND,
    KIND_OF,
    START_RESO,
    START_RESP,
    START_SECOND,
    SasSpec,
)
from everwillow.objective import Evaluation
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.bounds import Interval
from everwillow.parameters.constraint_table import ConstraintTable
from everwillow.statelib import State


@final
class SasModel(AbstractModel):
    r"""A likelihood of dilepton masses in regions of two categories.

    The parameters of category 3 are ``"resp_3"``, the response r, and ``"var_3"``, the
    square v of the relative resolution s: the likelihood is even in s, whose gradient
    vanishes at zero. Categories in no region have no parameters. With two Gaussians
    there are also ``"var2_3"``, ``"mu_3"`` and ``"frac_3"``; those that all categories
    share have no number in their names.

    The main data are one vector, the counts of all bins, region after region. Their
    likelihood is a multinomial in each region: only the shape of a spectrum counts, so
    another number of events in a region is not a contradiction to the model.

    Attributes:
        terms: The likelihood of the counts, packed.
        events: The observed number of events of each region, that of Asimov data and
            toys too.
        slots: The rows of each region, shape ``(regions, bins)``; the number of rows
            where a region has no more.
        uncompared_spec: The specification; models of one structure may differ in it.

    Example:
        >>> from everwillow.models.scale_smearing import Categories, Region, SasSpec
        >>> edges, masses = np.linspace(80, 100, 21), np.arange(60.05, 120, 0.1)
        >>> template = np.exp(-0.5 * ((masses - 91) / 3) ** 2)
        >>> region = Region((0, 0), edges, np.full(20, 5.0), template, template)
        >>> spec = SasSpec(Categories.of({"eta": [0, 2.5]}), masses, (region,))
        >>> SasModel.from_spec(spec)
        SasModel(1 of 1 categories, 1 regions, 20 bins, 2 parameters)
    """

    state: State
    bounds: BoundTable
    fixed: dict[Key, Any]
    constraints: ConstraintTable
    observation: dict[str, Any]
    terms: FlatSas
    events: Float[Array | np.ndarray, " regions"]
    slots: Int[Array | np.ndarray, "regions bins"]
    uncompared_spec: Uncompared = eqx.field(static=True)
    # A Gaussian has no end.
    counts_may_vanish = False

    @classmethod
    def from_spec(
        cls,
        spec: SasSpec,
        *,
        starts: Mapping[str, Float[np.ndarray, " categories"]] | None = None,
        size: PackedSize | None = None,
    ) -> "SasModel":
        """Compile a specification into arrays.

        Args:
            spec: The specification.
            starts: Start values for each category, by ``"resp"``, ``"reso"``,
                ``"reso2"``, ``"mu"`` and ``"frac"``; NaN for the usual ones.
            size: Lengths of the arrays; models of one size share a compiled program.

        Raises:
            ArgumentValueError: If there is no region.
        """
        if not spec.regions:
            raise ArgumentValueError(
                "regions: there is none with enough events in data and simulation. "
                "Lower min_data or min_simulation, or use fewer categories."
            )
        names = parameter_names(spec)
        values = _start_values(spec, starts or {})
        state = State.from_pytree({names[one]: values[one] for one in names})
        keys = [str(key) for key in state]
        bounds = BoundTable.of(
            {name: _bound(kind) for (kind, _), name in names.items()},
            dict.fromkeys(keys, ()),
        )
        places = dict(zip(keys, bounds.layout.starts, strict=True))
        terms = pack(spec, places, size=size)
        counts = np.concatenate([np.asarray(one.counts, float) for one in spec.regions])
        return cls(
            state=state,
            bounds=bounds,
            fixed={},
            constraints=ConstraintTable.of({}, {}),
            observation={"main": padded(counts, terms.low.size, 0.0), "aux": {}},
            terms=terms,
            events=padded(
                np.array([float(one.counts.sum()) for one in spec.regions]),
                terms.places.shape[0],
                0.0,
            ),
            slots=row_slots(spec, size=size),
            uncompared_spec=Uncompared(spec),
        )

    @property
    def spec(self) -> SasSpec:
        """The specification of the model."""
        return self.uncompared_spec.content

    @property
    def flat_main(self) -> FlatSas:
        """The main likelihood as a function of vectors."""
        return self.terms

    @property
    def bin_labels(self) -> list[str]:
        """The name of each bin: ``"(0, 1)[3]"`` for categories 0 and 1."""
        labels = [
            f"({', '.join(map(str, one.categories))})[{i}]"
            for one in self.spec.regions
            for i in range(one.counts.size)
        ]
        return labels + ["padding"] * (self.terms.low.size - len(labels))

    def main_nll(self, params: Any, main: Any) -> Scalar:
        """Return -ln L of the counts."""
        return self.terms.nll(ravel_pytree(params)[0], main)

    def main_curvature(self, params: Any, main: Any) -> Evaluation:
        """Return -ln L with its exact derivatives."""
        return self.terms.evaluation(ravel_pytree(params)[0], main)

    def saturated_nll(self, main: Any) -> Scalar:
        """Return -ln L of a model that predicts every count exactly."""
        return self.terms.saturated(main)

    @property
    def given_totals(self) -> Scalar:
        """The number of sums of counts that are given: one for each region."""
        return jnp.sum(jnp.asarray(self.events) > 0)

    def expected(self, params: Any) -> Float[Array, " rows"]:
        """Return the expected counts, for the observed numbers of events of regions."""
        fractions = self.terms.fractions(ravel_pytree(params)[0])
        return fractions * jnp.asarray(self.events)[self.terms.region]

    def sample(self, params: Any, key: Array) -> Float[Array, " rows"]:
        """Draw counts for the observed numbers of events of regions."""
        rates = self.expected(params)
        slots = jnp.asarray(self.slots)
        by_region = rates.at[slots].get(mode="fill", fill_value=0)
        total = jnp.asarray(self.events)
        shares = by_region / jnp.where(total > 0, total, 1)[:, None]
        drawn = jr.multinomial(key, total, shares)
        return jnp.zeros_like(rates).at[slots].set(drawn, mode="drop")

    def places(self, kind: str) -> dict[int, int]:
        """Return the place of a kind of parameter in the vector, for each category.

        Raises:
            UnknownKeyError: If there is no such kind.
        """
        names = parameter_names(self.spec)
        kinds = dict.fromkeys(one for one, _ in names)
        if kind not in kinds:
            raise unknown_key(kind, list(kinds), where="places", kind="parameter")
        elements = self.bounds.layout.elements()
        return {
            i: int(elements[name]) for (one, i), name in names.items() if one == kind
        }

    @property
    def bare(self) -> "SasModel":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The model without start values, bounds and data."""
        return dataclasses.replace(
            self,
            state=self.state.with_values([None] * len(self.state)),
            bounds=BoundTable(self.bounds.layout, np.zeros(0), np.zeros(0)),
            observation={},
        )

    def __repr__(self) -> str:
        """Return one line with the numbers of categories, regions and parameters."""
        spec = self.spec
        bins = sum(one.counts.size for one in spec.regions)
        return (
            f"SasModel({len(spec.fitted)} of {spec.categories.size} categories, "
            f"{len(spec.regions)} regions, {bins} bins, {self.terms.size} parameters)"
        )


def _bound(kind: str) -> Interval:
    """Return the bounds of a kind of parameter."""
    match kind:
        case "resp":
            return Interval(0.0)
        case "var":
            return Interval(0.0)
        case "var2":
            low, high = BOUNDS_SECOND["reso2"]
            return Interval(low**2, high**2)
    return Interval(*BOUNDS_SECOND[kind])


def _start_values(
    spec: SasSpec, given: Mapping[str, np.ndarray]
) -> dict[tuple[str, int], float]:
    """Return a start value for each parameter, by its kind and category."""
    usual = {"resp": START_RESP, "reso": START_RESO, **START_SECOND}
    names = {kind: name for name, kind in KIND_OF.items()}
    values = {}
    for kind, i in parameter_names(spec):
        name = names[kind]
        value = float(given[name][i]) if name in given else np.nan
        value = usual[name] if np.isnan(value) else value
        values[kind, i] = value**2 if kind.startswith("var") else value
    return values
