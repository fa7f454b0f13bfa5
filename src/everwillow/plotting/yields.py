"""Distributions of events before and after a fit."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from everwillow.fitting.options import takes_options
from everwillow.plotting._arguments import rising_edges, sides, vector
from everwillow.plotting.panels import (
    Below,
    Comparison,
    comparison,
    draw_steps,
    leave_room,
    mark_outside,
    set_ticks_below,
    stacked_panels,
)
from everwillow.plotting.style import (
    ONE_SIGMA,
    PALETTE,
    RED,
    TWO_SIGMA,
    Frame,
    PlotOptions,
    xlabel,
    ylabel,
)


_BEFORE = "#2b2b8c"


@takes_options(PlotOptions)
def distribution(
    *,
    edges: Any,
    samples: Mapping[Any, Any],
    observed: Any = None,
    observed_errors: Any = None,
    errors: Any = None,
    prefit: Any = None,
    signal: Mapping[Any, Any] | None = None,
    name: Any = None,
    log: bool = False,
    per_width: bool = False,
    pulls: bool = False,
    ratio_range: tuple[float, float] | None = None,
    below: Below = "ratio",
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Draw data over stacked expectations, and their ratio below.

    Give the yields before or after a fit as `samples`; with `prefit` the sum before it
    is a dashed line in both panels. The hatched band is the error of the sum.

    Args:
        edges: The edges of the bins, shape ``(bins + 1,)``.
        samples: Expected events of each process by name, shape ``(bins,)`` each, drawn
            from the bottom in this order.
        observed: Observed events, shape ``(bins,)``; NaN hides a bin (blinded).
        observed_errors: The errors of `observed`, ``(bins,)`` or ``(2, bins)``; by
            default the Poisson intervals of 68.3 % (Gehrels, Astrophys. J. 303 (1986)
            336, eqs. 9 and 14).
        errors: Errors of the sum of the samples, ``(bins,)`` or ``(2, bins)``.
        prefit: The sum before the fit.
        signal: Processes drawn as lines and not stacked, by name.
        name: The name of the horizontal axis.
        log: Whether the vertical axis is logarithmic.
        per_width: Divide the events by the widths of the bins.
        pulls: Whether a third panel shows data minus expectation, in units of the error
            of the data on the side of the expectation.
        ratio_range: Ends of the axis of the ratio; by default those of the bins, at
            most 0 to 2.
        below: Whether the second panel has the ratio, or the difference for numbers
            that may be negative or near 0.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ShapeMismatchError: If the number of bins of an array differs from the edges.

    Example:
        >>> figure = distribution(
        ...     edges=[0, 1, 2], samples={"bkg": [9.0, 4.0]}, observed=[8, 6]
        ... )
        >>> figure.axes[1].get_ylabel()
        'Data / Pred.'
    """
    borders = rising_edges(edges)
    bins = borders.size - 1
    stack = {k: vector(v, f"samples[{k!r}]", bins) for k, v in samples.items()}
    lines = {k: vector(v, f"signal[{k!r}]", bins) for k, v in (signal or {}).items()}
    total = np.sum([*stack.values()], axis=0) if stack else np.zeros(bins)
    spread = None if errors is None else sides(errors, "errors", bins)
    before = None if prefit is None else vector(prefit, "prefit", bins)
    data = None if observed is None else vector(observed, "observed", bins)
    bars = None if data is None else poisson_errors(data)
    if observed_errors is not None and data is not None:
        bars = sides(observed_errors, "observed_errors", bins)
    unit = np.diff(borders) if per_width else np.ones(bins)
    frame = Frame(**options)
    with frame.styled():
        compared = data is not None or spread is not None or before is not None
        pulls = pulls and data is not None
        more = compared + pulls
        figure, panels = stacked_panels(frame, (4.8, 3.9 + more), more)
        axes, lowest = panels[0], panels[-1]
        plot = _Drawing(borders, Comparison(False, 0.0, 0.0, unit))
        handles = plot.stack(axes, stack, frame)
        handles += plot.lines(axes, lines, frame)
        if before is not None:
            handles.append(plot.line(axes, before, "Pre-fit total"))
        if spread is not None:
            handles.append(plot.band(axes, total, spread))
        if data is not None and bars is not None:
            handles.insert(0, plot.points(axes, data, bars))
        least = np.min((total / unit)[total > 0], initial=np.inf)
        _frame(axes, handles, least if log and np.isfinite(least) else None)
        ylabel(axes, "Events / unit" if per_width else "Events")
        if compared:
            plot = _Drawing(borders, comparison(total, total > 0, below, unit))
            args = (total, spread, before, data, bars, ratio_range)
            _draw_ratio(plot, panels[1], *args)
        if pulls and data is not None and bars is not None:
            _draw_pulls(lowest, borders, total, data, bars)
        xlabel(lowest, "" if name is None else frame.text(name))
        frame.headline(axes)
    return figure


def poisson_errors(counts: np.ndarray) -> np.ndarray:
    """Return the sizes down and up of central intervals of 68.3 % for counts.

    Gehrels' closed approximations, which are good to 1 % (10 % for the lower end of
    one or two counts); counts need not be whole.
    """
    n = np.maximum(counts, 0.0)
    upper = (n + 1) * (1 - 1 / (9 * (n + 1)) + 1 / (3 * np.sqrt(n + 1))) ** 3
    some = np.where(n > 0, n, 1.0)
    lower = np.where(
        n > 0, some * (1 - 1 / (9 * some) - 1 / (3 * np.sqrt(some))) ** 3, 0
    )
    return np.stack([n - np.maximum(lower, 0.0), upper - n])


class _Drawing(NamedTuple):
    """Functions that draw histograms with the same bins.

    Attributes:
        edges: The edges of the bins.
        scale: The transformation from numbers to positions.
    """

    edges: np.ndarray
    scale: Comparison

    def stack(self, axes: Axes, samples: Mapping[Any, np.ndarray], frame: Frame):
        """Draw processes on top of each other; return the legend from the top."""
        base = np.zeros(self.edges.size - 1)
        handles: list[Any] = []
        for i, (key, values) in enumerate(samples.items()):
            colour = PALETTE[i % len(PALETTE)]
            # After the ten colours of the palette hatches distinguish processes.
            hatch = ("", "///", "...", "xxx")[i // len(PALETTE) % 4]
            top = base + values / self.scale.unit
            look: dict[str, Any] = {
                "facecolor": colour,
                "hatch": hatch,
                "edgecolor": "white",
            }
            axes.stairs(
                top, self.edges, baseline=base, fill=True, lw=0, zorder=1, **look
            )
            handles.insert(0, Patch(label=frame.text(key), lw=0, **look))
            base = top
        if samples:
            width = 0.9 if base.size <= 150 else 0.4
            axes.stairs(base, self.edges, color="black", lw=width, zorder=2)
        return handles

    def lines(self, axes: Axes, signal: Mapping[Any, np.ndarray], frame: Frame):
        """Draw processes as lines that begin and end on the axis."""
        handles: list[Any] = []
        for i, (key, values) in enumerate(signal.items()):
            look: dict[str, Any] = {"color": (RED, "black")[i % 2], "lw": 1.8}
            look["ls"] = ("-", (0, (4, 1.5)), (0, (1, 1)))[i % 3]
            look |= {"baseline": 0, "zorder": 4}
            heights, text = values / self.scale.unit, frame.text(key)
            handles.append(draw_steps(axes, self.edges, heights, text, **look))
        return handles

    def line(self, axes: Axes, values: np.ndarray, label: str) -> Line2D:
        """Draw a dashed line over the bins."""
        look: dict[str, Any] = {"color": _BEFORE, "lw": 1.4, "ls": (0, (4, 2))}
        return draw_steps(axes, self.edges, self.scale.at(values), label, **look)

    def band(self, axes: Axes, middle: np.ndarray, spread: np.ndarray) -> Patch:
        """Draw a hatched band, with gaps where its size is NaN."""
        at = self.scale.at
        low, high = at(middle - spread[0]), at(middle + spread[1])
        known = np.isfinite(low) & np.isfinite(high)
        look: dict[str, Any] = {
            "facecolor": "none",
            "edgecolor": "0.25",
            "hatch": "//////",
            "lw": 0,
        }
        for i in np.flatnonzero(known):
            axes.fill_between(self.edges[i : i + 2], low[i], high[i], zorder=3, **look)
        return Patch(label="Uncertainty", **look)

    def points(self, axes: Axes, counts: np.ndarray, spread: np.ndarray) -> Any:
        """Draw data as points in the middle of their bins."""
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        return axes.errorbar(
            middle,
            self.scale.at(counts),
            yerr=spread / self.scale.unit,
            fmt="o",
            color="black",
            ms=3.8 if middle.size <= 40 else 2.6 if middle.size <= 150 else 1.2,
            lw=1.1 if middle.size <= 150 else 0.5,
            label="Data",
            zorder=5,
        )


def _frame(axes: Axes, handles: list[Any], least: float | None) -> None:
    """Leave room for the legend over the highest bin.

    Args:
        axes: The axes to draw on.
        handles: The entries of the legend.
        least: The smallest positive height, for a logarithmic axis.
    """
    columns = 1 if len(handles) <= 4 else 2
    rows = -(-len(handles) // columns)
    share = min(0.06 + 0.075 * rows, 0.6)
    leave_room(axes, share, least)
    axes.legend(handles=handles, loc="upper right", ncols=columns)


def _draw_ratio(
    plot: _Drawing,
    axes: Axes,
    total: np.ndarray,
    spread: np.ndarray | None,
    before: np.ndarray | None,
    data: np.ndarray | None,
    bars: np.ndarray | None,
    limits: tuple[float, float] | None,
) -> None:
    at, ratio, centre = plot.scale.at, plot.scale.ratio, plot.scale.centre
    axes.axhline(centre, color="black", lw=0.7, zorder=1)
    shown = [np.array([0.9, 1.1])] if ratio else [np.zeros(1)]
    if spread is not None:
        plot.band(axes, total, spread)
        shown += [at(total - spread[0]), at(total + spread[1])]
    if before is not None:
        plot.line(axes, before, "")
        shown.append(at(before))
    if data is not None and bars is not None:
        plot.points(axes, data, bars)
        shown += [at(data - bars[0]), at(data + bars[1])]
    if limits is None:
        reach = np.abs(np.concatenate(shown) - centre)
        far = np.nanmax(np.where(np.isfinite(reach), reach, 0.0))
        half = 1.08 * float(far)
        half = min(half, 1.0) if ratio else half or 1.0
        limits = (centre - half, centre + half)
    axes.set_ylim(*limits)
    if data is not None:
        mark_outside(axes, (plot.edges[1:] + plot.edges[:-1]) / 2, at(data))
    what = ("Data / Pred.", "Ratio") if ratio else ("Data − Pred.", "Difference")
    axes.set_ylabel(what[data is None])
    set_ticks_below(axes, centre)


def _draw_pulls(
    axes: Axes, edges: np.ndarray, total: np.ndarray, data: np.ndarray, bars: np.ndarray
) -> None:
    facing = np.where(data >= total, bars[0], bars[1])
    pulls = (data - total) / np.where(facing > 0, facing, np.nan)
    axes.axhspan(-2, 2, color=TWO_SIGMA, lw=0, zorder=-2)
    axes.axhspan(-1, 1, color=ONE_SIGMA, lw=0, zorder=-1)
    axes.axhline(0, color="black", lw=0.7, zorder=1)
    known = np.where(np.isfinite(pulls), pulls, 0.0)
    axes.stairs(known, edges, baseline=0.0, fill=True, color="0.35", zorder=2)
    reach = float(np.max(np.abs(known), initial=0.0))
    limit = min(max(2.4, 1.15 * reach), 6.0)
    axes.set_ylim(-limit, limit)
    axes.set_ylabel("Pull")
    set_ticks_below(axes, integer=True)
