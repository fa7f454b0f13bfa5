"""Panels with bins: sizes, axes, legends and comparisons."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.ticker import MaxNLocator

from everwillow.plotting._text import Labels
from everwillow.plotting._unrolled import Unrolled
from everwillow.plotting.style import RED, Frame, log_ticks


Below: TypeAlias = Literal["ratio", "difference"]
"""How a lower panel compares: ratios are for what is positive everywhere."""

# The quantities that are proportional to the widths of bins.
EXTENSIVE = ("Events", "Difference of events")
# The width of the space beside a panel, in inches.
MARGIN = 0.75


def figure_size(
    plan: Unrolled, panels: int, labels: Labels = None
) -> tuple[float, float]:
    """Return the size of a figure: wider for many bins, higher for long names.

    Args:
        plan: The bins.
        panels: The number of small panels below the large one.
        labels: Labels in place of names.
    """
    width = 4.8 if plan.bins <= 25 else min(4.8 + 0.06 * (plan.bins - 25), 11.0)
    return width, 3.9 + panels + plan.height(width - MARGIN, labels)


def stacked_panels(
    frame: Frame, default: tuple[float, float], more: int
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a large panel, and small ones right below it.

    Args:
        frame: The options of the plot.
        default: Width and height without an option `size`.
        more: The number of small panels.
    """
    figure = frame.figure(default)
    figure.set_layout_engine(
        "constrained", h_pad=0.0, hspace=0.0, rect=(0, 0.01, 1, 0.98)
    )
    heights = (3, *[1] * more)
    panels = figure.subplots(
        1 + more,
        1,
        sharex=True,
        squeeze=False,
        height_ratios=heights,
        gridspec_kw={"hspace": 0.0},
    )
    return figure, list(panels[:, 0])


def finish(figure: Figure, plan: Unrolled, frame: Frame) -> None:
    """Write the texts above and below panels with the bins of a plan.

    Args:
        figure: A figure with panels on top of each other.
        plan: The bins.
        frame: The options of the plot.
    """
    panels = figure.axes
    frame.headline(panels[0])
    panels[0].set_xlim(plan.edges[0], plan.edges[-1])
    plan.finish(panels, figure.get_figwidth() - MARGIN, frame.labels)


def leave_room(axes: Axes, share: float, least: float | None) -> None:
    """Leave a fraction of the height empty above the drawing.

    Args:
        axes: The axes to draw on.
        share: The fraction, between 0 and 1.
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


class Comparison(NamedTuple):
    """A comparison of values with a reference, by ratios or differences.

    Attributes:
        ratio: Whether it shows ratios.
        centre: The position of the reference: 1 for ratios, 0 for differences.
        origin: The number to subtract from values.
        unit: The divisor of values and errors; NaN where there is no ratio.
    """

    ratio: bool
    centre: float
    origin: np.ndarray | float
    unit: np.ndarray | float

    def at(self, values: np.ndarray) -> np.ndarray:
        """Return the positions of values."""
        return (values - self.origin) / self.unit

    def band(self, axes: Axes, edges: np.ndarray, errors: Any, **look: Any) -> Any:
        """Draw the errors of the reference around it; return their sizes."""
        size = np.nan_to_num(errors / self.unit)
        draw_band(axes, edges, self.centre, size, **look)
        return size

    def set_axis(self, axes: Axes, reach: Sequence[float]) -> None:
        """Show the surroundings of the reference, but no ratios below 0.

        Args:
            axes: The axes to draw on.
            reach: Distances from the reference that have to be visible.
        """
        half = 1.15 * max(reach, default=0.0)
        half = min(half, 1.0) if self.ratio else half or 1.0
        axes.set_ylim(self.centre - half, self.centre + half)
        set_ticks_below(axes, self.centre)


def draw_band(
    axes: Axes, edges: np.ndarray, middle: Any, errors: np.ndarray, **look: Any
) -> None:
    """Fill bins from values minus their errors to values plus their errors."""
    low, high = middle - errors, middle + errors
    axes.stairs(high, edges, baseline=low, fill=True, lw=0, **look)


def draw_steps(
    axes: Axes, edges: np.ndarray, values: np.ndarray, label: str, **look: Any
) -> Line2D:
    """Draw values as a line of steps; return its entry in a legend."""
    axes.stairs(values, edges, **{"baseline": None, "zorder": 3, **look})
    return Line2D([], [], label=label, **{k: look[k] for k in ("color", "ls", "lw")})


def comparison(
    reference: np.ndarray,
    where: np.ndarray,
    below: Below,
    unit: np.ndarray | float = 1.0,
) -> Comparison:
    """Return the comparison with a reference.

    Args:
        reference: The reference values.
        where: Where ratios to the reference exist.
        below: Ratios or differences.
        unit: The divisor of differences.
    """
    if below == "ratio":
        return Comparison(True, 1.0, 0.0, np.where(where, reference, np.nan))
    return Comparison(False, 0.0, reference, unit)


class _CentredLocator(MaxNLocator):
    """Ticks at a centre and at equal distances from it.

    Those at the upper end of the axis are left out, since their numbers would touch the
    lowest one of the panel above.
    """

    def __init__(self, centre: float, **options: Any) -> None:
        self.centre = centre
        super().__init__(nbins=4, steps=[1, 2, 2.5, 5, 10], **options)

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the ticks in a range."""
        ticks = super().tick_values(vmin - self.centre, vmax - self.centre)
        ticks = np.asarray(ticks) + self.centre
        low, high = sorted((vmin, vmax))
        return ticks[(ticks >= low) & (ticks <= high - 0.09 * (high - low))]


def set_ticks_below(axes: Axes, centre: float = 0.0, **options: Any) -> None:
    """Number the vertical axis of a small panel below another one.

    Args:
        axes: The panel.
        centre: The number that has a tick in any case: 1 for ratios.
        **options: Those of a `MaxNLocator`.
    """
    axes.yaxis.set_major_locator(_CentredLocator(centre, **options))


def mark_outside(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    """Mark points above and below the panel by triangles at its edges."""
    for sign, limit, place, marker in zip(
        (-1, 1), axes.get_ylim(), (0.07, 0.93), "v^", strict=True
    ):
        out = sign * y > sign * limit
        axes.plot(
            x[out],
            np.full(int(out.sum()), place),
            marker,
            color=RED,
            ms=4,
            transform=axes.get_xaxis_transform(),
            zorder=6,
        )


def draw_legend(
    axes: Axes, handles: list[Any], *, log: bool, above: Sequence[str] = ()
) -> None:
    """Draw a legend above everything.

    Args:
        axes: The axes to draw on.
        handles: Its entries.
        log: Whether the vertical axis is logarithmic.
        above: Lines to write above the entries.
    """
    columns = 2 if len(handles) > 3 else 1
    rows = -(-len(handles) // columns) + len(above)
    room_above(axes, min(0.05 + 0.07 * rows, 0.6), log=log)
    title = "\n".join(above) or None
    axes.legend(
        handles=handles,
        loc="upper right",
        ncols=columns,
        title=title,
        alignment="left",
    )


def room_above(axes: Axes, share: float, *, log: bool) -> None:
    """Leave a fraction of the height empty."""
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
