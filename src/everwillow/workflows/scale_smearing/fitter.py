"""Fits of responses and resolutions to two samples, from Python."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError, unknown_key
from everwillow._keywords import takes_keywords
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.model import SasModel
from everwillow.models.scale_smearing.parameters import SasParameters
from everwillow.models.scale_smearing.regions import (
    RegionOptions,
    RegionTable,
    make_regions,
)
from everwillow.models.scale_smearing.spec import KIND_OF
from everwillow.workflows.scale_smearing.regional_fit import (
    RegionalFit,
    RegionFit,
    fit_regions,
)


_OPTIONS = [
    (field.name, field.type, field.default)
    for field in dataclasses.fields(RegionOptions)
]


@final
class RegionalFitter:
    r"""Fits the responses and resolutions of categories of leptons to dilepton masses.

    Data and simulation are mappings of columns: dictionaries of arrays, data frames of
    pandas or tables of pyarrow. For categories in ``ScEta`` they need the columns
    ``ScEta1`` and ``ScEta2``, and the mass. The fit has one pass: `compute_sas` makes
    the two that categories in a transverse momentum need.

    Args:
        data: Columns by name, one number for each event.
        simulation: The same columns, and weights.
        categories: The edges of each variable, or `Categories`.
        mass_exponent: The power of the response of one lepton in that of the mass.
        double_gaussian: Whether the response is a sum of two Gaussians.
        shared: Those of ``"reso2"``, ``"mu"`` and ``"frac"`` that all categories share.
        starts: Start values for each category by ``"resp"``, ``"reso"`` and so on; NaN
            for the usual ones.
        **options: Those of `everwillow.models.scale_smearing.RegionOptions`: `suffixes`
            of the leptons, names of the columns `mass` and `weight`, `data_window`,
            `simulation_window`, `min_data`, `min_simulation`, `data_bins`,
            `template_width`.

    Attributes:
        table: The regions, and the status of each category.

    Raises:
        ArgumentTypeError: If a column is not one number for each event, or there is no
            such option.
        ArgumentValueError: If edges, windows, weights or start values are wrong.
        UnknownKeyError: If a column is missing, or there is no such parameter.

    Example:
        >>> import numpy as np
        >>> from everwillow.models.scale_smearing import generate_events
        >>> edges = {"ScEta": [0, 1.5, 2.5]}
        >>> made = [
        ...     generate_events(
        ...         10_000, categories=edges, resp=1.01, reso=0.02, kind=kind, seed=seed
        ...     )
        ...     for seed, kind in enumerate(("data", "simulation"))
        ... ]
        >>> found = RegionalFitter(*made, edges, data_window=(80, 100)).fit()
        >>> found.status, bool(np.all(np.abs(found.resp - 1.01) < 5 * found.eresp))
        (('fitted', 'fitted'), True)
    """

    table: RegionTable

    @takes_keywords(_OPTIONS)
    def __init__(
        self,
        data: Any,
        simulation: Any,
        categories: Categories | Mapping[str, Sequence[float]],
        *,
        mass_exponent: float = 0.5,
        double_gaussian: bool = False,
        shared: Sequence[str] = (),
        starts: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.table = make_regions(
            columns_of(data),
            columns_of(simulation),
            Categories.of(categories),
            options=RegionOptions(**options),
            mass_exponent=mass_exponent,
            double_gaussian=double_gaussian,
            shared=shared,
        )
        self._starts = _checked_starts(starts or {}, self.table.spec.categories.size)
        self._done: RegionalFit | None = None

    def __repr__(self) -> str:
        """Return one line with the numbers of categories and regions."""
        spec = self.table.spec
        return (
            f"RegionalFitter({len(spec.fitted)} of {spec.categories.size} categories, "
            f"{len(spec.regions)} regions)"
        )

    @property
    def model(self) -> SasModel:
        """The likelihood, for `everwillow.combine` and all other functions.

        Raises:
            ArgumentValueError: If no region has enough events.
        """
        return SasModel.from_spec(self.table.spec, starts=self._starts)

    @property
    def regional_fit(self) -> RegionalFit:
        """The fit, made at the first use."""
        if self._done is None:
            self._done = fit_regions(self.table, starts=self._starts)
        return self._done

    def fit(
        self, *, errors: bool = True, simulation_errors: bool = True
    ) -> SasParameters:
        """Fit, and return responses and resolutions by category.

        Args:
            errors: Whether to compute statistical errors.
            simulation_errors: Whether errors include those from limited simulation.

        Raises:
            ArgumentValueError: If no region has enough events.
        """
        return self.regional_fit.parameters(
            errors=errors, simulation_errors=simulation_errors
        )

    def region_fits(self) -> list[RegionFit]:
        """Return data and prediction of each region."""
        return self.regional_fit.region_fits()


def columns_of(table: Any) -> Mapping[str, Any]:
    """Return the columns of a table by name.

    Raises:
        ArgumentTypeError: If it is the name of a file.
    """
    if isinstance(table, str | os.PathLike):
        raise ArgumentTypeError(
            f"data, simulation: {os.fspath(table)!r} is a name, not a table of "
            "columns. Read a file with "
            "everwillow.models.scale_smearing.read_events(file, names).columns."
        )
    if hasattr(table, "column_names"):
        return {name: table[name].to_numpy() for name in table.column_names}
    return table


def _checked_starts(starts: Mapping[str, Any], size: int) -> dict[str, np.ndarray]:
    checked = {}
    for name, values in starts.items():
        if name not in KIND_OF:
            raise unknown_key(name, list(KIND_OF), where="starts", kind="parameter")
        array = np.asarray(values, float)
        if array.shape not in ((), (size,)):
            raise ArgumentValueError(
                f"starts: {name!r} has the shape {array.shape}, but there are {size} "
                "categories. Give one number for each, or one for all."
            )
        checked[name] = np.broadcast_to(array, (size,))
    return checked
