"""Curves through the points of a profile."""

from typing import Any, NamedTuple

import numpy as np

from everwillow.plotting._arguments import numbers, vector


class Curve(NamedTuple):
    """A profile of twice -ln L along one parameter.

    Attributes:
        values: Of the parameter, sorted.
        heights: Twice the rise of -ln L, NaN where there is none.
        best: The value of the minimum, NaN if unknown.
    """

    values: np.ndarray
    heights: np.ndarray
    best: float

    @property
    def good(self) -> np.ndarray:
        """Which points can be drawn."""
        return np.isfinite(self.heights)

    def at(self, x: np.ndarray) -> np.ndarray:
        """Interpolate, so that a parabola stays one between its points.

        The signed root of the height is nearly a straight line through the minimum.
        NaN between points of which one is missing, and outside.
        """
        roots, values = np.sqrt(np.maximum(self.heights, 0.0)), self.values
        if np.isfinite(self.best):
            roots = np.where(values < self.best, -roots, roots)
            place = int(np.searchsorted(values, self.best))
            if place == values.size or values[place] != self.best:
                values = np.insert(values, place, self.best)
                roots = np.insert(roots, place, 0.0)
        return np.interp(x, values, roots, left=np.nan, right=np.nan) ** 2

    def crossings(self, height: float) -> tuple[float, float]:
        """Return where the curve first rises above a height, left and right.

        NaN where it does not, or where a point is missing on the way.
        """
        if not self.good.any():
            return np.nan, np.nan
        start = self.best
        if not np.isfinite(start):
            start = self.values[np.nanargmin(self.heights)]
        ends = self.values[0], self.values[-1]
        left, right = (self._first(start, end, height) for end in ends)
        return left, right

    def _first(self, start: float, end: float, height: float) -> float:
        x = np.linspace(start, end, 4001)
        y = self.at(x)
        outside = np.flatnonzero(~(y < height))
        if outside.size == 0 or outside[0] == 0 or np.isnan(y[outside[0]]):
            return np.nan
        i = outside[0]
        a, b = np.sqrt(y[i - 1]), np.sqrt(y[i])
        return float(x[i - 1] + (np.sqrt(height) - a) / (b - a) * (x[i] - x[i - 1]))


def make_curve(values: Any, heights: Any, best: Any, success: Any, name: str) -> Curve:
    """Check and sort the points of a profile.

    Args:
        values: Of the parameter.
        heights: Twice the rise of -ln L.
        best: The value of the minimum; None if unknown.
        success: Which points are good; None means those that are finite.
        name: What it is, for error messages.
    """
    x = vector(values, f"{name}: values")
    y = vector(heights, f"{name}: twice_delta_nll", x.size)
    if success is not None:
        y = np.where(np.asarray(success, bool), y, np.nan)
    order = np.argsort(x, kind="stable")
    best = np.nan if best is None else float(numbers(best, f"{name}: best"))
    return Curve(x[order], y[order], best)
