"""Curves of -2 Δ ln L along one parameter: interpolation, crossings, drawing."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from everwillow.plotting._arguments import numbers, vector
from everwillow.plotting.style import FAINT


class Curve(NamedTuple):
    """A profile of twice -ln L along one parameter.

    Attributes:
        values: The values of the parameter, sorted.
        heights: Twice the rise of -ln L, NaN where there is none.
        best: The value at the minimum, NaN if unknown.
    """

    values: np.ndarray
    heights: np.ndarray
    best: float

    @property
    def good(self) -> np.ndarray:
        """Which points can be drawn."""
        return np.isfinite(self.heights)

    def at(self, x: np.ndarray) -> np.ndarray:
        """Interpolate, so that a parabola is exact between its points.

        The signed root of the height is nearly a straight line through the minimum.
        The result is NaN between points of which one is missing, and outside.
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
        """Return the first crossings of a height to the left and to the right.

        NaN if the curve does not cross it, or if a point on the way is missing.
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
        values: The values of the parameter.
        heights: Twice the rise of -ln L.
        best: The value at the minimum; None if unknown.
        success: Which points are good; None for those that are finite.
        name: The name of the argument in error messages.
    """
    x = vector(values, f"{name}: values")
    y = vector(heights, f"{name}: twice_delta_nll", x.size)
    if success is not None:
        y = np.where(np.asarray(success, bool), y, np.nan)
    order = np.argsort(x, kind="stable")
    best = np.nan if best is None else float(numbers(best, f"{name}: best"))
    return Curve(x[order], y[order], best)


def draw_level(axes: Axes, height: float) -> None:
    r"""Draw the line that a profile crosses some standard deviations from its minimum.

    Args:
        axes: The axes to draw on.
        height: :math:`-2 \Delta \ln L`, the square of the number of deviations.
    """
    axes.axhline(height, color=FAINT, lw=0.8, ls=(0, (1, 1.5)), zorder=1)
    axes.annotate(
        rf"${np.sqrt(height):.3g}\sigma$",
        (1, height),
        (-8, 1.5),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color="0.35",
        fontsize=9,
    )


def draw_curve(axes: Axes, curve: Curve, *, zorder: float = 3, **options: Any) -> None:
    """Draw a curve over the whole axis, with gaps where points are missing.

    Args:
        axes: The axes, whose horizontal range is set already.
        curve: The curve.
        zorder: The order of drawing.
        **options: Those of a line of matplotlib, among them `color`.
    """
    low, high = axes.get_xlim()
    x = np.union1d(np.linspace(low, high, 600), curve.values)
    axes.plot(x, curve.at(x), zorder=zorder, **options)
    # A point between two failed ones is drawn as a point.
    padded = np.pad(curve.good, 1)
    alone = curve.good & ~(padded[:-2] | padded[2:])
    if alone.any():
        x, y = curve.values[alone], curve.heights[alone]
        (points,) = axes.plot(x, y, "o", color=options["color"], clip_on=False)
        points.set(zorder=zorder, in_layout=False)
