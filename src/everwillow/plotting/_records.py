"""What plots take from records: the thin layer between results and arrays."""

from typing import Any

import numpy as np

from everwillow._errors import ArgumentValueError, unknown_key
from everwillow.fitting import FitResult
from everwillow.plotting._arguments import unknown_record


def pulls_of(result: Any) -> tuple[Any, Any, Any]:
    """Return names, pulls and post-fit over pre-fit errors."""
    if isinstance(result, FitResult):
        return _pulls_of_fit(result)
    if not _has(result, "names", "pulls", "constraints"):
        raise unknown_record(result, "pulls", "a FitResult or a ranking")
    pulls = np.asarray(result.pulls)
    constrained = np.isfinite(np.asarray(result.widths))
    names = [n for n, good in zip(result.names, constrained, strict=True) if good]
    return names, pulls[constrained], np.asarray(result.constraints)[constrained]


def _pulls_of_fit(result: FitResult) -> tuple[Any, Any, Any]:
    errors = result.errors
    names: list[str] = []
    pulls: list[float] = []
    widths: list[float] = []
    for name, constraint in result.constraints.items():
        keys = getattr(constraint, "keys", None) or (name,)
        shape = (len(keys),) if len(keys) > 1 else np.shape(result.params[keys[0]])
        center = np.broadcast_to(np.asarray(constraint.center, float), shape)
        width = np.broadcast_to(np.asarray(constraint.width, float), shape)
        values = np.array([result.params[key] for key in keys], float).reshape(shape)
        error = np.full(shape, np.nan)
        if errors is not None:
            found = [errors[key] for key in keys]
            if all(e is not None for e in found):
                error = np.array(found, float).reshape(shape)
        for index in np.ndindex(shape):
            key = keys[index[0]] if len(keys) > 1 else keys[0]
            text = ".".join(key) if isinstance(key, tuple) else str(key)
            if len(keys) == 1 and index:
                text += f"[{','.join(map(str, index))}]"
            names.append(text)
            pulls.append(float((values[index] - center[index]) / width[index]))
            widths.append(float(error[index] / width[index]))
    if not names:
        msg = (
            "pulls: this fit has no constraints (those of a Model are kept, a plain "
            "function has none that can be seen); give names, values and errors."
        )
        raise ArgumentValueError(msg)
    return names, pulls, widths


def ranking_of(result: Any, poi: Any) -> tuple[dict[str, Any], str, float, float]:
    """Return the arrays of a ranking, the POI, its value and its error."""
    if not _has(result, "names", "postfit", "prefit", "pois", "pulls"):
        raise unknown_record(result, "ranking", "a RankingResult")
    pois = list(result.pois)
    wanted = pois[0] if poi is None else poi
    wanted = ".".join(wanted) if isinstance(wanted, tuple) else wanted
    if poi is None and len(pois) > 1:
        msg = f"poi: the ranking has several; choose one of {', '.join(pois)}."
        raise ArgumentValueError(msg)
    if wanted not in pois:
        raise unknown_key(wanted, pois, where="poi")
    row = pois.index(wanted)
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
    if not np.isfinite(np.asarray(arrays["pulls"])).any():
        arrays |= {"pulls": None, "errors": None}
    value, error = result.poi_values[row], result.poi_errors[row]
    return arrays, wanted, float(value), float(error)


def scan_of(result: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Return values, twice the rise of -ln L, the best value, success and the name."""
    if not _has(result, "values", "twice_delta_nll", "name"):
        raise unknown_record(result, "scan", "a scan of everwillow.profile")
    best = getattr(result, "best", None)
    success = getattr(result, "success", None)
    return result.values, result.twice_delta_nll, best, success, result.name


def contour_of(result: Any) -> tuple[Any, Any, Any, Any]:
    """Return names, levels, the points of each, and the best values."""
    if not _has(result, "names", "levels", "points"):
        raise unknown_record(result, "contour", "a contour of everwillow.profile")
    best = getattr(result, "best", None)
    return result.names, result.levels, list(result.points), best


def correlation_of(result: Any) -> tuple[Any, Any]:
    """Return labels and correlations."""
    if not isinstance(result, FitResult):
        raise unknown_record(result, "correlation", "a FitResult")
    covariance = result.covariance
    if covariance is None or np.ndim(covariance) != 2:
        msg = (
            "correlation: the result has no covariance of one fit; take names and "
            "matrix from everwillow.uncertainty (labels, correlation_matrix)."
        )
        raise ArgumentValueError(msg)
    matrix = np.array(covariance)
    variance = np.diag(matrix)
    errors = np.sqrt(np.where(variance > 0, variance, np.nan))
    return result.labels, matrix / np.outer(errors, errors)


def band_of(result: Any) -> tuple[Any, Any, Any, Any]:
    """Return values, observed and expected CLs, and the name of the parameter."""
    raise unknown_record(result, "brazil_band", "a scan of everwillow.hypotest")


def limits_of(result: Any) -> tuple[Any, Any, Any]:
    """Return names, observed and expected limits."""
    raise unknown_record(result, "limit_summary", "limits by name")


def _has(record: Any, *names: str) -> bool:
    return all(hasattr(record, name) for name in names)
