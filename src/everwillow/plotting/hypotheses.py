"""Observed and expected CLs or limits, with the bands of the expectation."""

from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from everwillow._errors import ShapeMismatchError
from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import check_source, numbers, vector
from everwillow.plotting.style import (
    ONE_SIGMA,
    RED,
    TWO_SIGMA,
    Frame,
    PlotOptions,
    log_ticks,
    xlabel,
    ylabel,
)


# The indices of the expected values at the ends of each band, and its colour.
BANDS = ((0, 4, TWO_SIGMA), (1, 3, ONE_SIGMA))


@takes_options(PlotOptions)
def brazil_band(
    result: Any = None,
    /,
    *,
    values: Any = None,
    observed: Any = None,
    expected: Any = None,
    level: float | None = 0.05,
    name: Any = None,
    quantity: str = r"$\mathrm{CL_s}$",
    log: bool = False,
    points: bool | None = None,
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Draw observed and expected values with the bands of one and two sigma.

    By default CLs as a function of the parameter of interest, with a line at 0.05:
    values below it are excluded at 95 % confidence level. With ``quantity`` and
    ``level=1`` it is the plot of limits on a signal strength against a mass.

    Args:
        result: The results of `everwillow.cls` for several values of the POI, in a list
            or by `jax.vmap`; or a mapping from values (such as masses) to results of
            `everwillow.limits`. Or arrays:
        values: The values on the horizontal axis, shape ``(n,)``.
        observed: The observed values, shape ``(n,)``, NaN for a gap; None for a plot of
            expectations only.
        expected: The expected values, shape ``(n, 5)``, for background fluctuations of
            -2, -1, 0, 1 and 2 standard deviations; or the bands of
            `everwillow.hypotest`, one for each value.
        level: The height of a line; None for no line.
        name: The name of the horizontal axis.
        quantity: The name of the vertical axis.
        log: Whether the vertical axis is logarithmic.
        points: Whether to mark the observed points; by default up to 40.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or an array is
            missing.
        ArgumentTypeError: If the record is of another type.
        ShapeMismatchError: If there are not five expected values for each point.

    Example:
        >>> mu = np.linspace(0.1, 2, 8)
        >>> expected = np.exp(-np.outer(mu, [4, 3, 2, 1.4, 1]))
        >>> figure = brazil_band(values=mu, expected=expected, name="mu")
        >>> figure.axes[0].get_xlim() == (0.1, 2.0)
        True
    """
    arrays = {"values": values, "observed": observed, "expected": expected}
    check_source("brazil_band", result, ("observed",), **arrays)
    if result is not None:
        values, observed, expected, known = _records.band_of(result)
        name = known if name is None else name
    x = vector(values, "values")
    bands = five_values(expected, "expected", x.size)
    order = np.argsort(x, kind="stable")
    x, bands = x[order], bands[order]
    seen = None if observed is None else vector(observed, "observed", x.size)[order]
    frame = Frame(**options)
    with frame.panel((4.8, 3.9)) as (figure, axes):
        marked = x.size <= 40 if points is None else points
        _draw_band(axes, x, bands, seen, "o" if marked else "")
        if log:
            axes.set_yscale("log")
        _limits(axes, x, bands, seen, level, log=log)
        if seen is not None and marked:
            _complete_ends(axes, x, seen)
        if level is not None:
            axes.axhline(level, color=RED, lw=1.2, zorder=4)
            axes.annotate(
                f"{level:g}",
                (0, level),
                (5, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=RED,
                fontsize=9,
                zorder=6,
            )
        xlabel(axes, "parameter" if name is None else frame.text(name))
        ylabel(axes, quantity)
        axes.legend(handles=band_handles(seen is not None), loc="upper right")
    return figure


def five_values(expected: Any, name: str, count: int) -> np.ndarray:
    """Return expected values in rising order, shape ``(count, 5)``."""
    bands = numbers(_records.five_of(expected), name)
    if bands.shape != (count, 5):
        raise ShapeMismatchError(
            f"{name}: expected the shape ({count}, 5), five values (-2, -1, 0, 1, 2 "
            f"sigma) for each of {count} entries, got {bands.shape}."
        )
    # Sorted, as the fluctuation at the upper end depends on the quantity.
    return np.sort(bands, axis=1)


def _draw_band(
    axes: Axes, x: np.ndarray, bands: np.ndarray, seen: np.ndarray | None, marker: str
) -> None:
    median = bands[:, 2]
    for zorder, (low, high, colour) in enumerate(BANDS, 1):
        ends = bands[:, low], bands[:, high]
        axes.fill_between(x, *ends, color=colour, lw=0, zorder=zorder)
        if x.size == 1:
            axes.errorbar(x, median, np.abs(ends - median), color=colour, lw=9)
    axes.plot(x, median, color="black", ls=(0, (5, 3)), zorder=3)
    if x.size == 1:
        axes.plot(x, median, "_", color="black", ms=12)
    if seen is not None:
        axes.plot(x, seen, color="black", marker=marker, ms=3.5, zorder=5)


def _complete_ends(axes: Axes, x: np.ndarray, seen: np.ndarray) -> None:
    """Draw the points on the left and right of the frame as a whole."""
    low, high = axes.get_ylim()
    for i in (0, -1):
        if low <= seen[i] <= high:
            look: dict[str, Any] = {"c": "black", "ms": 3.5, "clip_on": False}
            (point,) = axes.plot(x[i], seen[i], "o", zorder=5, **look)
            point.set_in_layout(False)


def _limits(
    axes: Axes,
    x: np.ndarray,
    bands: np.ndarray,
    seen: np.ndarray | None,
    level: float | None,
    *,
    log: bool,
) -> None:
    if x.size > 1 and x[-1] > x[0]:
        axes.set_xlim(x[0], x[-1])
    elif x.size:
        axes.set_xlim(x[0] - 0.5, x[0] + 0.5)
    every = np.concatenate([bands.ravel(), [] if seen is None else seen])
    every = every[np.isfinite(every)]
    if level is not None:
        every = np.append(every, level)
    if log:
        positive = every[every > 0]
        low, high = positive.min(initial=1.0), positive.max(initial=1e-3)
        # Bands of CLs fall to zero: cut them where they do not matter.
        low = max(low, 1e-3 * (level or high))
        axes.set_ylim(low / 2, high * (high / low) ** 0.45 * 1.5)
        log_ticks(axes.yaxis)
    else:
        low, high = min(every.min(initial=0.0), 0.0), every.max(initial=0.0)
        axes.set_ylim(low, low + 1.32 * (high - low))


def band_handles(seen: bool) -> list[Any]:  # noqa: FBT001
    """Return the legend of bands, with the observed line if there is one."""
    expected = [
        Line2D([], [], color="black", ls=(0, (4, 2)), label="Expected"),
        Patch(color=ONE_SIGMA, lw=0, label=r"Expected $\pm 1\sigma$"),
        Patch(color=TWO_SIGMA, lw=0, label=r"Expected $\pm 2\sigma$"),
    ]
    line = Line2D([], [], color="black", marker="o", ms=3.5, label="Observed")
    return [line, *expected] if seen else expected
