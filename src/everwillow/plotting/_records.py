"""Arrays that plots take from records."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow._errors import ArgumentValueError, unknown_key
from everwillow.engine.layout import ravel_state
from everwillow.engine.prefit import centers_and_widths, constrained_elements, pull
from everwillow.fitting import FitResult
from everwillow.goodness import chi2_test
from everwillow.impacts import RankingResult
from everwillow.plotting._arguments import unknown_record
from everwillow.profile import ContourResult, ScanResult
from everwillow.profile.minos_intervals import words_of


def pulls_of(result: Any) -> tuple[Any, Any, Any]:
    """Return names, pulls and post-fit over pre-fit errors."""
    if isinstance(result, FitResult):
        return _pulls_of_fit(result)
    if not isinstance(result, RankingResult):
        raise unknown_record(result, "pulls", "a FitResult or a ranking")
    pulls = np.asarray(result.pulls)
    constrained = np.isfinite(np.asarray(result.widths))
    names = [n for n, good in zip(result.names, constrained, strict=True) if good]
    return names, pulls[constrained], np.asarray(result.constraints)[constrained]


def _pulls_of_fit(result: FitResult) -> tuple[Any, Any, Any]:
    layout = result.layout
    if not result.constraints:
        raise ArgumentValueError(
            "pulls: this fit has no constraints (those of a Model are kept, a plain "
            "function has none that can be seen); give names, values and errors."
        )
    chosen = np.concatenate(
        [constrained_elements(n, c, layout) for n, c in result.constraints.items()]
    )
    centers, widths = centers_and_widths(result.constraints, layout)
    errors = np.full(layout.size, np.nan)
    if result.covariance is not None:
        variance = np.diagonal(result.covariance)
        errors[list(result.free)] = np.sqrt(np.where(variance > 0, variance, np.nan))
    pulls = pull(ravel_state(result.params)[1], centers, widths)
    names = [layout.labels[i] for i in chosen]
    return names, pulls[chosen], (errors / widths)[chosen]


def ranking_of(result: Any, poi: Any) -> tuple[dict[str, Any], str, float, float]:
    """Return the arrays of a ranking, the POI, its value and its error."""
    if not isinstance(result, RankingResult):
        raise unknown_record(result, "ranking", "a RankingResult")
    pois = list(result.pois)
    label = pois[0] if poi is None else poi
    label = ".".join(label) if isinstance(label, tuple) else label
    if poi is None and len(pois) > 1:
        raise ArgumentValueError(
            f"poi: the ranking has several; choose one of {', '.join(pois)}."
        )
    if label not in pois:
        raise unknown_key(label, pois, where="poi")
    row = pois.index(label)
    arrays: dict[str, Any] = {"names": result.names, "linear": None}
    for name, prefix in (("postfit", ""), ("prefit", "prefit_")):
        linear = np.asarray(getattr(result, name))[row]
        exact = getattr(result, f"{name}_refits")
        if exact is None:
            arrays |= {f"{prefix}up": linear, f"{prefix}down": -linear}
            continue
        arrays |= {
            f"{prefix}up": np.asarray(exact.up)[row],
            f"{prefix}down": np.asarray(exact.down)[row],
        }
        if not prefix:
            arrays["linear"] = linear
    arrays |= {"pulls": result.pulls, "errors": result.constraints}
    arrays |= {"values": result.values, "value_errors": result.errors}
    if not np.isfinite(np.asarray(arrays["pulls"])).any():
        arrays |= {"pulls": None, "errors": None}
    value, error = result.poi_values[row], result.poi_errors[row]
    return arrays, label, float(value), float(error)


def scan_of(result: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return values, twice the rise of -ln L, the best value, success and the name."""
    if not isinstance(result, ScanResult):
        raise unknown_record(result, "scan", "a ScanResult")
    best = _value_in(result.minimum, result.name)
    return result.values, result.twice_delta_nll, best, result.success, result.name


def interval_of(result: Any, name: Any) -> tuple[float | str, float | str]:
    """Return the ends of the interval of one parameter, or reasons for missing ones.

    Args:
        result: Intervals of several parameters, or the two ends.
        name: The parameter.
    """
    if not _has(result, "names", "lower_status", "upper_status"):
        low, high = (e if isinstance(e, str) else float(e) for e in result)
        return low, high
    if name not in result.names:
        raise unknown_key(name, result.names, where="interval")
    i = result.names.index(name)
    low, high = (
        float(result.values[i] + errors[i]) if words[i] == "found" else words[i]
        for errors, words in (
            (result.lower, _words(result.lower_status)),
            (result.upper, _words(result.upper_status)),
        )
    )
    return low, high


def _words(status: Any) -> Any:
    return status if isinstance(status, tuple) else words_of(status)


def ends_of_range(result: ScanResult) -> tuple[str, str]:
    """Return "at bound" for the sides on which the best value or the scan is."""
    labels, minimum = result.minimum.labels, result.minimum
    place = labels.index(result.name) if result.name in labels else None
    if place is None or not minimum.at_bound[place]:
        if result.bounds is None:
            return "", ""
        low, high = map(float, result.bounds)
        first, last = np.min(result.values), np.max(result.values)
        return "at bound" * bool(first <= low), "at bound" * bool(last >= high)
    return ("at bound", "") if minimum.gradient[place] > 0 else ("", "at bound")


def contour_of(result: Any) -> tuple[Any, Any, Any, Any]:
    """Return names, levels, the points of each, and the best values."""
    several = [result] if isinstance(result, ContourResult) else result
    if not isinstance(several, list | tuple) or not several:
        raise unknown_record(result, "contour", "one ContourResult or several")
    for one in several:
        if not isinstance(one, ContourResult):
            raise unknown_record(one, "contour", "a ContourResult")
    first = several[0]
    best = [_value_in(first.minimum, name) for name in first.names]
    levels = [-2 * float(np.log1p(-one.cl)) for one in several]
    return first.names, levels, [_with_end(one) for one in several], best


def curves_of(curves: Any) -> Any:
    """Return the points of contours that may be records; arrays as they are."""
    several = [curves] if isinstance(curves, ContourResult) else curves
    if any(isinstance(one, ContourResult) for one in several):
        return contour_of(list(several))[2]
    return curves


def _with_end(contour: ContourResult) -> np.ndarray:
    # Rows of NaN separate the pieces of a curve, and mark an open one.
    points = np.asarray(contour.points)
    return points if contour.closed else np.append(points, [[np.nan] * 2], axis=0)


def _value_in(fit: FitResult, label: str) -> float:
    return float(ravel_state(fit.params)[1][fit.layout.labels.index(label)])


def correlation_of(result: Any) -> tuple[Any, Any]:
    """Return labels and correlations."""
    if not isinstance(result, FitResult):
        raise unknown_record(result, "correlation", "a FitResult")
    covariance = result.covariance
    if covariance is None or np.ndim(covariance) != 2:
        raise ArgumentValueError(
            "correlation: the result has no covariance of one fit; take names and "
            "matrix from everwillow.uncertainty (labels, correlation_matrix)."
        )
    matrix = np.array(covariance)
    variance = np.diag(matrix)
    errors = np.sqrt(np.where(variance > 0, variance, np.nan))
    return result.labels, matrix / np.outer(errors, errors)


def five_of(expected: Any) -> Any:
    """Return rows of five values from records with bands; arrays as they are."""
    if _has(expected, "cl_s"):
        return five_of(expected.cl_s)
    if _has(expected, *BANDS):
        rows = [np.asarray(getattr(expected, name), float) for name in BANDS]
        return np.stack(rows, axis=-1)
    if isinstance(expected, list | tuple) and any(map(_has_bands, expected)):
        return np.stack([np.ravel(five_of(one)) for one in expected])
    return expected


def _has_bands(value: Any) -> bool:
    return _has(value, "cl_s") or _has(value, *BANDS)


BANDS = ("minus_2sigma", "minus_1sigma", "median", "plus_1sigma", "plus_2sigma")


def band_of(result: Any) -> tuple[Any, Any, Any, Any]:
    """Return values, observed and expected ones, and the name of the axis."""
    if isinstance(result, Mapping):
        several, values = list(result.values()), [float(value) for value in result]
    else:
        several = list(result) if isinstance(result, list | tuple) else [result]
        values = [getattr(one, "value", None) for one in several]
    if not several or any(value is None for value in values):
        raise unknown_record(result, "brazil_band", _BANDED)
    for one in several:
        if not _has(one, "observed", "expected"):
            raise unknown_record(one, "brazil_band", _BANDED)
    name = None if isinstance(result, Mapping) else getattr(several[0], "poi", None)
    seen = [np.ravel(np.asarray(one.observed, float)) for one in several]
    rows = [np.reshape(five_of(one.expected), (-1, 5)) for one in several]
    flat = np.concatenate([np.ravel(np.asarray(value, float)) for value in values])
    return flat, np.concatenate(seen), np.concatenate(rows), name


_BANDED = "a ClsResult or several of them, or a mapping from values to LimitsResult"


def limits_of(result: Any) -> tuple[Any, Any, Any]:
    """Return names, observed and expected limits."""
    several = result
    if not isinstance(result, Mapping):
        several = {getattr(result, "poi", ""): result}
    for one in several.values():
        if not _has(one, "observed", "expected"):
            raise unknown_record(one, "limit_summary", "limits, or limits by name")
    observed = [one.observed for one in several.values()]
    expected = [one.expected for one in several.values()]
    seen = None if any(value is None for value in observed) else observed
    return list(several), seen, expected


def measurements_of(result: Any) -> tuple[dict[str, Any], str]:
    """Return the arrays of the measurements of a combination, and the parameter."""
    names = ("names", "values", "errors", "statistical", "weights", "pulls")
    if not _has(result, *names, "average"):
        raise unknown_record(
            result, "measurements", "a Measurements (impacts.measurements)"
        )
    average = result.average
    found = {name: getattr(result, name) for name in names}
    found["average"] = tuple(
        float(number) for number in (average.value, average.total, average.statistical)
    )
    return found, average.poi


def closure_of(result: Any) -> tuple[dict[str, Any], Any, Any]:
    """Return the arrays of a closure test, the test of all bins, the normalisation."""
    names = ("edges", "target", "target_errors", "reweighted", "reweighted_errors")
    if not _has(result, *names, "source", *_TESTED, "normalisation"):
        raise unknown_record(result, "reweighting_closure", "a ClosureResult")
    arrays = {name: getattr(result, name) for name in (*names, "source")}
    normalisation = result.normalisation, result.normalisation_error
    return arrays, chi2_test(result.residuals, result.covariance), normalisation


def calibration_of(result: Any) -> tuple[dict[str, Any], Any]:
    """Return the arrays of a calibration, and the test of all bins."""
    names = ("edges", "predicted", "fraction", "errors", "counts")
    if not _has(result, *names, *_TESTED):
        raise unknown_record(result, "calibration_curve", "a CalibrationResult")
    arrays = {name: getattr(result, name) for name in names}
    return arrays, chi2_test(result.residuals, result.covariance)


_TESTED = ("residuals", "covariance")


def _has(record: Any, *names: str) -> bool:
    return all(hasattr(record, name) for name in names)


def sas_of(result: Any, plot: str) -> dict[str, Any]:
    """Return the arrays of responses and resolutions by name."""
    if not _has(result, "categories", *_SAS, "double", "covariances"):
        raise unknown_record(result, plot, "a SasParameters, or a mapping of arrays")
    categories = result.categories
    edges = dict(zip(categories.names, categories.edges, strict=True))
    known = {**result.covariances, "total": result.covariance}
    return {
        "categories": edges,
        **{name: getattr(result, name) for name in _SAS},
        **result.double,
        "covariances": {k: v for k, v in known.items() if v is not None},
    }


_SAS = ("resp", "reso", "eresp", "ereso", "eresp_mc", "ereso_mc", "reso_upper")
