"""The range of a scan, from the profile likelihood itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow.engine.layout import ravel_state
from everwillow.fitting import FitResult
from everwillow.profile import ScanResult, scan
from everwillow.workflows.report import REACH, bounds_of, range_of


# The most scans with a longer range, and the change of an end that is worth a scan.
_LONGER, _WORTH = 5, 0.25


def profiled_range(
    model: Any,
    result: FitResult,
    name: str,
    points: int,
    *,
    fixed: Mapping[Any, Any] | None = None,
) -> tuple[float, float]:
    """Return the range of a scan: three profiled errors to each side, within bounds.

    The errors of the covariance are too short where -ln L is not a parabola, and too
    long where a bound is near. The range begins with them, and is made longer until the
    profile rises by ½ within it; a side on which it never does keeps the longest range.
    The scans have as many points as the one that follows, so that all of them are one
    compiled program.

    Args:
        model: The model.
        result: Its fit.
        name: The label of the parameter.
        points: The number of points.
        fixed: As in `fit`.

    Raises:
        ArgumentValueError: If the parameter is fixed.
    """
    return _searched(model, result, name, points, fixed)[0]


def profiled_scan(
    model: Any,
    result: FitResult,
    name: str,
    points: int,
    *,
    starts: int = 0,
    fixed: Mapping[Any, Any] | None = None,
) -> ScanResult:
    """Return a scan in the range of `profiled_range`.

    Args:
        model: The model.
        result: Its fit.
        name: The label of the parameter.
        points: The number of points.
        starts: As in `scan`.
        fixed: As in `fit`.

    Raises:
        ArgumentValueError: If the parameter is fixed.
    """
    ends, found = _searched(model, result, name, points, fixed)
    if found is not None and not starts:
        return found
    values = np.linspace(*ends, points)
    return scan(model, result, name=name, values=values, starts=starts, fixed=fixed)


def _searched(
    model: Any,
    result: FitResult,
    name: str,
    points: int,
    fixed: Mapping[Any, Any] | None,
) -> tuple[tuple[float, float], ScanResult | None]:
    """Return the range, and the scan in it if there was one."""
    low, high = range_of(model, result, name)
    lower, upper = bounds_of(model, result, name)
    for _ in range(_LONGER):
        found = scan(
            model,
            result,
            name=name,
            values=np.linspace(low, high, points),
            fixed=fixed,
        )
        best, down, up = profiled_errors(found)
        # Without a crossing the range is doubled.
        down, up = (
            reach if np.isfinite(reach) else 2 * length / REACH
            for reach, length in ((down, best - low), (up, high - best))
        )
        ends = max(best - REACH * down, lower), min(best + REACH * up, upper)
        moved = abs(ends[0] - low), abs(ends[1] - high)
        near = max(moved) <= _WORTH * (high - low) / 2
        (low, high), old = ends, (low, high)
        if near:
            return old, found
    return (low, high), None


def profiled_errors(found: ScanResult) -> tuple[float, float, float]:
    """Return the best value, and the distances at which twice -ln L has risen by one.

    Between points the signed root of the rise is a straight line; a distance is NaN if
    there is no such point, or if a fit before it failed.
    """
    layout, vector, _ = ravel_state(found.minimum.params)
    best = float(vector[layout.labels.index(found.name)])
    values = np.asarray(found.values, float)
    rise = np.where(found.success, found.twice_delta_nll, np.nan)
    roots = np.sqrt(np.maximum(rise, 0.0))
    distances = []
    for side in (values < best, values > best):
        away = np.abs(values[side] - best)
        order = np.argsort(away)
        away = np.concatenate([[0.0], away[order]])
        height = np.concatenate([[0.0], roots[side][order]])
        beyond = np.flatnonzero(~(height < 1.0))
        if not beyond.size or np.isnan(height[beyond[0]]):
            distances.append(np.nan)
            continue
        i = beyond[0]
        distances.append(
            float(np.interp(1.0, height[i - 1 : i + 1], away[i - 1 : i + 1]))
        )
    return best, distances[0], distances[1]
