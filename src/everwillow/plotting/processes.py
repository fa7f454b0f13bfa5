"""Plots of single processes of a histogram."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from everwillow._errors import ArgumentValueError
from everwillow.fitting.options import takes_options
from everwillow.likelihood.histograms import Axis
from everwillow.plotting._unrolled import Unrolled, unrolled
from everwillow.plotting.panels import EXTENSIVE, MARGIN, figure_size, room_above
from everwillow.plotting.style import PALETTE, Frame, PlotOptions, ylabel


_DASHES = (0, (3, 1.5))


@takes_options(PlotOptions)
def template_processes(
    *,
    axes: Sequence[Axis],
    prefit: Mapping[Any, Any],
    postfit: Mapping[Any, Any],
    log: bool = False,
    quantity: str = "Events",
    per_width: bool | None = None,
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw each process in its own panel, before and after the fit.

    Args:
        axes: The axes of the histogram.
        prefit: Expected events of each process before the fit, of the shape of the
            axes.
        postfit: Expected events of each process after the fit.
        log: Whether the vertical axes are logarithmic.
        quantity: The name of the quantity, for the vertical axis.
        per_width: Whether to divide by the widths of the bins, of a single axis; None
            for events in bins of unequal widths.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If there are no processes, or if `per_width` is True for
            bins without widths.
        ShapeMismatchError: If an array does not have the shape of the axes.

    Example:
        >>> figure = template_processes(
        ...     axes=[Axis("x", edges=(0.0, 1.0, 2.0))],
        ...     prefit={"flat": [9.0, 4.0]},
        ...     postfit={"flat": [8.0, 4.2]},
        ... )
        >>> len(figure.axes)
        1
    """
    if not postfit:
        raise ArgumentValueError("postfit: there are no processes to draw.")
    plan = unrolled(axes)
    unit, divided = plan.unit(per_width=per_width, counts=quantity in EXTENSIVE)
    frame = Frame(**options)
    labels = frame.labels
    wide = figure_size(plan, 0, labels)
    columns = min(len(postfit), 1 if wide[0] > 6 else 3)
    rows = -(-len(postfit) // columns)
    width = 3.3 * columns if columns > 1 else wide[0]
    names = plan.height(width / columns - MARGIN, labels)
    size = frame.size or (width, (2.3 + names) * rows + 0.3)
    with frame.styled():
        figure = frame.figure(size)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for number, (name, values) in enumerate(postfit.items()):
            after = plan.flat(values, f"postfit[{name!r}]") / unit
            before = None
            if name in prefit:
                before = plan.flat(prefit[name], f"prefit[{name!r}]") / unit
            look = frame.text(name), PALETTE[number % len(PALETTE)]
            _draw_process(panels[number], plan, before, after, look, log=log)
            plan.finish([panels[number]], size[0] / columns - MARGIN, labels)
        for panel in panels[len(postfit) :]:
            panel.set_visible(False)
        ylabel(panels[0], plan.density(quantity, labels, per_width=divided))
        handles: list[Any] = [
            Patch(color="0.6", label="Post-fit"),
            Line2D([], [], color="black", ls=_DASHES, lw=1.1, label="Pre-fit"),
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=2)
        frame.headline(panels[0], panels[columns - 1])
    return figure


def _draw_process(
    panel: Axes,
    plan: Unrolled,
    before: np.ndarray | None,
    after: np.ndarray,
    look: tuple[str, str],
    *,
    log: bool,
) -> None:
    text, colour = look
    panel.stairs(after, plan.edges, fill=True, color=colour, alpha=0.55)
    panel.stairs(after, plan.edges, color=colour, lw=1.2)
    if before is not None:
        panel.stairs(before, plan.edges, color="black", ls=_DASHES, lw=1.1)
    panel.set_xlim(plan.edges[0], plan.edges[-1])
    room_above(panel, 0.2, log=log)
    panel.text(
        0.97,
        0.94,
        text,
        ha="right",
        va="top",
        transform=panel.transAxes,
        fontweight="bold",
    )
