"""Profile likelihoods, limits and impacts of template fits, as records."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from everwillow.engine.layout import ravel_state
from everwillow.fitting import FitResult
from everwillow.hypotest.model_limits import limits
from everwillow.impacts import (
    global_impacts,
    group_impacts,
    nonprofiled_impacts,
    rank,
    split_errors,
    statistical_impacts,
)
from everwillow.impacts.best_fit import held_is_known
from everwillow.models.templates.model import TemplateModel
from everwillow.profile import contour, minos, scan, scan_2d
from everwillow.workflows.report import (
    DATA,
    SIMULATION,
    AsymmetricErrors,
    Contour,
    ContourCurve,
    GridScan,
    Impacts,
    Limit,
    NonprofiledShifts,
    Scan,
    asymmetric_errors_of,
    limit_of,
    scan_range,
)
from everwillow.workflows.templates.fit_options import Pair
from everwillow.workflows.templates.requested import RequestedResults


T = TypeVar("T")


def inferred(
    model: TemplateModel, result: FitResult, requested: RequestedResults, max_steps: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Compute the results that take further fits.

    Args:
        model: The model.
        result: The fit of the model, at a minimum and with a Hessian.
        requested: The requested results.
        max_steps: As in `everwillow.fit`.

    Returns:
        The fields of the results by name, and remarks.
    """
    options = requested.options
    points = options.scan_points
    fits = _FurtherFits(model, result, max_steps, [])
    fields = {
        "asymmetric_errors": fits.asymmetric_errors(requested.minos),
        "limits": {name: fits.limit(name, options.cl) for name in requested.limits},
        "scans": {name: fits.scan(name, points) for name in requested.scans},
        "grid_scans": {
            ",".join(pair): fits.grid(pair, points) for pair in requested.grids
        },
        "contours": {
            ",".join(pair): fits.contour(pair, options.contour_cl)
            for pair in requested.contours
        },
    }
    return fields, tuple(fits.remarks)


class _FurtherFits(NamedTuple):
    """A fit, further fits that start from it, and their remarks."""

    model: TemplateModel
    result: FitResult
    max_steps: int
    remarks: list[str]

    def _quietly(self, call: Callable[..., T], **options: Any) -> T:
        """Call a function on the fit, and keep its warnings as remarks."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = call(self.model, self.result, max_steps=self.max_steps, **options)
        self.remarks.extend(str(one.message) for one in caught)
        return result

    def best(self, name: str) -> float:
        """Return the value of a parameter after the fit."""
        layout, values, _ = ravel_state(self.result.params)
        return float(values[layout.labels.index(name)])

    def points(self, name: str, count: int) -> Float[np.ndarray, " count"]:
        """Return values within some standard errors of the best one and the bounds."""
        place, bounds = self.result.labels.index(name), self.model.bounds
        lower, upper = (
            float(np.asarray(side)[self.result.free[place]])
            for side in (bounds.lower, bounds.upper)
        )
        return np.linspace(*scan_range(self.result, name, lower, upper), count)

    def asymmetric_errors(self, names: Sequence[str]) -> AsymmetricErrors | None:
        """Return the intervals of parameters; None for no parameters."""
        if not names:
            return None
        return asymmetric_errors_of(self._quietly(minos, names=list(names)))

    def limit(self, name: str, cl: float) -> Limit:
        """Return the upper limit on a parameter."""
        record = limit_of(
            limits(
                self.model,
                name,
                self.result,
                cl=cl,
                max_steps=self.max_steps,
                throw=False,
            )
        )
        for kind in ("observed", "expected"):
            if np.isnan(getattr(record, kind)).any():
                self.remarks.append(
                    f"{kind.capitalize()} limits on {name}: not found, a fit failed or "
                    "they are beyond its upper bound. A scan shows more."
                )
        return record

    def scan(self, name: str, count: int) -> Scan:
        """Scan a parameter."""
        values = self.points(name, count)
        profile = self._quietly(scan, name=name, values=values)
        return Scan(values, _heights(profile), self.best(name))

    def grid(self, pair: Pair, count: int) -> GridScan:
        """Scan two parameters."""
        first, second = (self.points(name, count) for name in pair)
        profile = self._quietly(scan_2d, names=pair, values=(first, second))
        best = np.array([self.best(name) for name in pair])
        return GridScan(pair, first, second, _heights(profile), best)

    def contour(self, pair: Pair, levels: Sequence[float]) -> Contour:
        """Follow the contours of two parameters."""
        curves = {}
        for level in sorted(levels):
            curve = self._quietly(contour, names=pair, cl=level)
            points = np.asarray(curve.points, float).reshape(-1, 2)
            curves[f"{level:g}"] = ContourCurve(level, points, bool(curve.closed))
        best = np.array([self.best(name) for name in pair])
        return Contour(pair, best, curves)


def _heights(profile: Any) -> np.ndarray:
    heights = np.asarray(profile.twice_delta_nll, float)
    return np.where(np.asarray(profile.success), heights, np.nan)


TOTAL = "total"


def impacts_of(
    model: TemplateModel,
    result: FitResult,
    groups: Mapping[str, list[str]],
    *,
    refit: bool,
    max_steps: int,
) -> Impacts | None:
    """Return impacts on the parameters of interest; None if none is free.

    Args:
        model: The model.
        result: The fit of the model.
        groups: The free parameters of each group.
        refit: Whether to compute traditional impacts also by fits.
        max_steps: As in `everwillow.fit`, for these fits.
    """
    pois = _pois(model, result)
    if not pois:
        return None
    # By default fits are made where a parameter is at a bound.
    refits = ("postfit",) if refit else None
    members = {
        name: inside
        for name, names in groups.items()
        if (inside := [n for n in names if n not in pois])
    }
    # The tables say which parameters are held at their bounds.
    with held_is_known():
        ranking = rank(model, result, poi=pois, refit=refits, max_steps=max_steps)
        every = global_impacts(model, result, poi=pois, data_variance=None)
        names, traditional, auxiliary = _grouped(model, result, pois, members)
    exact = ranking.postfit_refits
    return Impacts(
        interest=pois,
        errors=np.asarray(ranking.poi_errors),
        names=ranking.names,
        traditional=np.asarray(ranking.postfit),
        global_names=every.names,
        global_impacts=np.asarray(every.auxiliary),
        groups=names,
        grouped_traditional=traditional,
        grouped_global=auxiliary,
        up=None if exact is None else np.asarray(exact.up),
        down=None if exact is None else np.asarray(exact.down),
    )


def _pois(model: TemplateModel, result: FitResult) -> tuple[str, ...]:
    return tuple(name for name in model.interest if name in result.labels)


def _grouped(
    model: TemplateModel,
    result: FitResult,
    pois: tuple[str, ...],
    members: Mapping[str, list[str]],
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return groups with their traditional and global impacts, statistics last."""
    names: list[str] = list(members)
    columns: list[tuple[Any, Any]] = []
    if members:
        grouped = group_impacts(result, poi=pois, groups=members)
        columns += zip(grouped.traditional.T, grouped.auxiliary.T, strict=True)
    if model.diagnostics.simulated:
        parts = statistical_impacts(model, result, poi=pois)
        names += [DATA, SIMULATION]
        columns += [
            (parts.data, parts.data_global),
            (parts.simulation, parts.simulation_global),
        ]
    elif len(model.constraints) > sum(k in model.fixed for k in model.constraints):
        split = split_errors(result, poi=pois)
        names.append(DATA)
        columns.append((split.statistical, split.statistical_global))
    both = np.array(columns, float).reshape(len(names), 2, len(pois))
    return tuple(names), both[:, 0].T, both[:, 1].T


def nonprofiled_of(
    model: TemplateModel, result: FitResult, *, max_steps: int
) -> NonprofiledShifts | None:
    """Move each frozen parameter by its width, and fit again; None without any POI.

    Args:
        model: The model.
        result: The fit of the model.
        max_steps: As in `everwillow.fit`, for each fit.
    """
    pois = _pois(model, result)
    if not pois:
        return None
    shifts = nonprofiled_impacts(model, result, poi=pois, max_steps=max_steps)
    groups = {name: model.groups[name] for name in sorted(model.groups)}
    sides = shifts.envelope(groups) | {TOTAL: shifts.envelope()["total"]}
    both = np.array([np.asarray(side) for side in sides.values()])
    return NonprofiledShifts(
        interest=pois,
        names=shifts.names,
        widths=np.asarray(shifts.widths, float),
        down=np.asarray(shifts.down, float),
        up=np.asarray(shifts.up, float),
        groups=tuple(sides),
        grouped_down=both[:, 0].T,
        grouped_up=both[:, 1].T,
    )
