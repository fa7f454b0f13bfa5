"""Panels with bins: how large they are, and the room and axes that they have."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.ticker import MaxNLocator

from everwillow.plotting._text import Labels
from everwillow.plotting._unrolled import Unrolled
from everwillow.plotting.style import headline, log_ticks, new_figure


Below: TypeAlias = Literal["ratio", "difference"]
"""How a lower panel compares: ratios are for what is positive everywhere."""

# What grows with the width of bins.
EXTENSIVE = ("Events", "Difference of events")
# What stands beside a panel, in inches.
MARGIN = 0.75


def figure_size(
    plan: Unrolled, panels: int, labels: Labels = None
) -> tuple[float, float]:
    """Return the size of a figure: wider for many bins, higher for long names.

    Args:
        plan: The bins.
        panels: How many small panels there are below the large one.
        labels: Text instead of names.
    """
    width = 4.8 if plan.bins <= 25 else min(4.8 + 0.06 * (plan.bins - 25), 11.0)
    return width, 3.9 + panels + plan.height(width - MARGIN, labels)


def stacked_panels(
    size: tuple[float, float] | None, more: int
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a large panel, and small ones right below it."""
    figure = new_figure(size, (4.8, 3.9 + more))
    figure.set_layout_engine(
        "constrained", h_pad=0.0, hspace=0.0, rect=(0, 0.01, 1, 0.98)
    )
    heights = (3, *[1] * more)
    found = figure.subplots(
        1 + more,
        1,
        sharex=True,
        squeeze=False,
        height_ratios=heights,
        gridspec_kw={"hspace": 0.0},
    )
    return figure, list(found[:, 0])


def finish(
    panels: Sequence[Axes],
    plan: Unrolled,
    width: float,
    *,
    title: str | None,
    note: str | None,
    labels: Labels,
) -> None:
    """Write what stands above and below panels with the bins of a plan.

    Args:
        panels: On top of each other.
        plan: The bins.
        width: Of the figure, in inches.
        title: Written in bold on the left above the frame.
        note: Written on the right above the frame.
        labels: Text instead of names.
    """
    headline(panels[0], title, note)
    panels[0].set_xlim(plan.edges[0], plan.edges[-1])
    plan.finish(panels, width - MARGIN, labels)


def leave_room(axes: Axes, share: float, least: float | None) -> None:
    """Leave a share of the height empty, above what is drawn.

    Args:
        axes: Where.
        share: Between 0 and 1.
        least: The smallest positive height, for a logarithmic axis; None for a linear
            one.
    """
    low, high = axes.get_ylim()
    if least is None:
        axes.set_ylim(min(low, 0.0), high / (1 - share))
        return
    axes.set_yscale("log")
    low = max(0.4 * least, 1e-7 * high)
    axes.set_ylim(low, high * (high / low) ** (share / (1 - share)))


def set_ratio_axis(axes: Axes, reach: Sequence[float]) -> None:
    """Show ratios around 1, but none that are below 0.

    Args:
        axes: Where.
        reach: How far from 1 there is something to see.
    """
    half = min(1.15 * max(reach), 1.0)
    axes.set_ylim(1 - half, 1 + half)
    set_ticks_below(axes)


def set_difference_axis(axes: Axes, reach: Sequence[float]) -> None:
    """Show differences around 0.

    Args:
        axes: Where.
        reach: How far from 0 there is something to see.
    """
    half = 1.15 * max(reach, default=0.0)
    axes.set_ylim(*((-half, half) if half > 0 else (-1.0, 1.0)))
    set_ticks_below(axes)


def set_ticks_below(axes: Axes, **options: Any) -> None:
    """Number the vertical axis of a small panel below another one."""
    # The lowest number of the upper panel and the highest here would touch.
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, prune="upper", **options))


def draw_legend(axes: Axes, handles: list[Any], *, log: bool) -> None:
    """Leave room for a legend above everything."""
    columns = 2 if len(handles) > 3 else 1
    rows = -(-len(handles) // columns)
    room_above(axes, min(0.05 + 0.07 * rows, 0.6), log=log)
    axes.legend(handles=handles, loc="upper right", ncols=columns)


def room_above(axes: Axes, share: float, *, log: bool) -> None:
    """Leave a share of the height empty."""
    if not log:
        leave_room(axes, share, None)
        return
    steps = [np.asarray(p.get_data()[0]) for p in axes.patches if _is_step(p)]
    heights = np.concatenate(steps)
    top = axes.get_ylim()[1]
    leave_room(axes, share, float(np.min(heights[heights > 0], initial=top)))
    log_ticks(axes.yaxis)


def _is_step(patch: Any) -> TypeGuard[StepPatch]:
    return isinstance(patch, StepPatch)
