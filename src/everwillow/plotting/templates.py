"""Histograms of template fits: inputs, results, errors and cross sections."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, StepPatch

from everwillow._errors import ArgumentValueError
from everwillow.likelihood.histograms import Axis
from everwillow.plotting._panels import (
    MARGIN,
    figure_size,
    finish,
    leave_room,
    set_ratio_axis,
    stacked_panels,
)
from everwillow.plotting._style import (
    PALETTE,
    Style,
    headline,
    log_ticks,
    new_figure,
    styled,
    ylabel,
)
from everwillow.plotting._text import Labels, text_of
from everwillow.plotting._unrolled import Unrolled, unrolled
from everwillow.plotting.yields import distribution


_NOMINAL = "black"


def template_distribution(
    *,
    axes: Sequence[Axis],
    samples: Mapping[Any, Any],
    observed: Any = None,
    observed_errors: Any = None,
    errors: Any = None,
    prefit: Any = None,
    log: bool = False,
    pulls: bool = True,
    labels: Labels = None,
    title: str | None = None,
    note: str | None = None,
    size: tuple[float, float] | None = None,
    style: Style = None,
) -> Figure:
    """Draw a histogram of any axes: data over stacked expectations, ratio and pulls.

    As `everwillow.plotting.distribution`; bins of several axes are side by side, in
    blocks of the longest axis.

    Args:
        axes: Of the histogram.
        samples: Expected events of each process by name, of the shape of the axes.
        observed: Data of that shape; without them there are no pulls.
        observed_errors: Their errors; by default Poisson intervals.
        errors: Errors of the sum of the samples.
        prefit: The sum before the fit.
        log: Whether the vertical axis is logarithmic.
        pulls: Whether to draw pulls below the ratio.
        labels: Text instead of names, with ``$...$`` for mathematics.
        title: Written in bold on the left above the frame.
        note: Written on the right above the frame.
        size: Width and height in inches; by default wider for many bins.
        style: rc parameters of matplotlib over ours, or the name of an mplhep style.

    Raises:
        ShapeMismatchError: If an array has not the shape of the axes.

    Example:
        >>> figure = template_distribution(
        ...     axes=[Axis("x", edges=(0.0, 1.0, 2.0))],
        ...     samples={"flat": [9.0, 4.0]},
        ...     observed=[8, 6],
        ... )
        >>> [panel.get_ylabel() for panel in figure.axes]
        ['Events', 'Data / Pred.', 'Pull']
    """
    plan = unrolled(axes)

    def flat(values: Any, name: str) -> Any:
        return None if values is None else plan.flat(values, name)

    more = 1 + bool(pulls and observed is not None)
    size = size or figure_size(plan, more, labels)
    with styled(style):
        figure = distribution(
            edges=plan.edges,
            samples={k: plan.flat(v, f"samples[{k!r}]") for k, v in samples.items()},
            observed=flat(observed, "observed"),
            observed_errors=flat(observed_errors, "observed_errors"),
            errors=flat(errors, "errors"),
            prefit=flat(prefit, "prefit"),
            log=log,
            pulls=pulls,
            labels=labels,
            title=title,
            note=note,
            size=size,
            style=style,
        )
        plan.finish(figure.axes, size[0] - MARGIN, labels)
    return figure


def template_variations(
    *,
    axes: Sequence[Axis],
    nominal: Any,
    variations: Mapping[Any, tuple[Any, Any]],
    errors: Any = None,
    log: bool = False,
    labels: Labels = None,
    title: str | None = None,
    note: str | None = None,
    size: tuple[float, float] | None = None,
    style: Style = None,
) -> Figure:
    """Draw a template with its variations, and their ratios to it below.

    Variations up are full lines, those down dashed ones of the same colour.

    Args:
        axes: Of the template.
        nominal: The nominal yields, of the shape of the axes.
        variations: For each systematic the yields one error up and one error down.
        errors: Errors of the nominal yields from the size of the sample: a band.
        log: Whether the vertical axis is logarithmic.
        labels: Text instead of names, with ``$...$`` for mathematics.
        title: Written in bold on the left above the frame.
        note: Written on the right above the frame.
        size: Width and height in inches.
        style: rc parameters of matplotlib over ours, or the name of an mplhep style.

    Raises:
        ArgumentValueError: If there are more variations than colours (10).
        ShapeMismatchError: If an array has not the shape of the axes.

    Example:
        >>> figure = template_variations(
        ...     axes=[Axis("x", edges=(0.0, 1.0, 2.0))],
        ...     nominal=[9.0, 4.0],
        ...     variations={"scale": ([10.0, 4.1], [8.0, 3.9])},
        ... )
        >>> figure.axes[1].get_ylabel()
        'Ratio'
    """
    if len(variations) > len(PALETTE):
        msg = (
            f"variations: {len(variations)} are too many for one plot, {len(PALETTE)} "
            "at the most. Draw several."
        )
        raise ArgumentValueError(msg)
    plan = unrolled(axes)
    middle = plan.flat(nominal, "nominal")
    pairs = {
        name: tuple(plan.flat(side, f"variations[{name!r}]") for side in sides)
        for name, sides in variations.items()
    }
    spread = None if errors is None else plan.flat(errors, "errors")
    with styled(style):
        size = size or figure_size(plan, 1, labels)
        figure, (above, below) = stacked_panels(size, 1)
        handles = _draw_templates(above, plan, middle, pairs, spread, labels)
        draw_legend(above, handles, log=log)
        ylabel(above, "Events")
        _draw_ratios(below, plan, middle, pairs, spread)
        panels, wide = (above, below), size[0]
        finish(panels, plan, wide, title=title, note=note, labels=labels)
    return figure


def _draw_templates(
    axes: Axes,
    plan: Unrolled,
    middle: np.ndarray,
    pairs: Mapping[Any, tuple[np.ndarray, ...]],
    spread: np.ndarray | None,
    labels: Labels,
) -> list[Any]:
    handles: list[Any] = [Line2D([], [], color=_NOMINAL, label="Nominal")]
    axes.stairs(middle, plan.edges, color=_NOMINAL, lw=1.2, zorder=3, baseline=None)
    if spread is not None:
        axes.stairs(
            middle + spread, plan.edges, baseline=middle - spread, fill=True, **_BAND
        )
        handles.append(Patch(label="Sample size", **_BAND))
    for colour, (name, sides) in zip(PALETTE, pairs.items(), strict=False):
        for values, dashes in zip(sides, _DASHES, strict=True):
            axes.stairs(
                values, plan.edges, color=colour, ls=dashes, lw=1.2, baseline=None
            )
        handles.append(Line2D([], [], color=colour, label=text_of(name, labels)))
    handles += [
        Line2D([], [], color="0.4", ls=dashes, label=f"{sign}1σ")
        for dashes, sign in zip(_DASHES, "+−", strict=True)
    ]
    return handles


_BAND: dict[str, Any] = {"facecolor": "0.82", "lw": 0, "zorder": 0}
_DASHES = ("-", (0, (3, 1.5)))


def _draw_ratios(
    axes: Axes,
    plan: Unrolled,
    middle: np.ndarray,
    pairs: Mapping[Any, tuple[np.ndarray, ...]],
    spread: np.ndarray | None,
) -> None:
    unit = np.where(middle != 0, middle, np.nan)
    reach = [0.02]
    if spread is not None:
        share = np.nan_to_num(spread / unit)
        axes.stairs(1 + share, plan.edges, baseline=1 - share, fill=True, **_BAND)
        # Nearly empty bins must not squeeze all others.
        reach.append(float(np.median(share)))
    axes.axhline(1, color=_NOMINAL, lw=0.8, zorder=1)
    for colour, sides in zip(PALETTE, pairs.values(), strict=False):
        for values, dashes in zip(sides, _DASHES, strict=True):
            ratio = values / unit
            axes.stairs(
                ratio, plan.edges, color=colour, ls=dashes, lw=1.2, baseline=None
            )
            reach.append(float(np.nanmax(np.abs(ratio - 1), initial=0.0)))
    set_ratio_axis(axes, reach)
    axes.set_ylabel("Ratio")


def template_processes(
    *,
    axes: Sequence[Axis],
    prefit: Mapping[Any, Any],
    postfit: Mapping[Any, Any],
    log: bool = False,
    labels: Labels = None,
    title: str | None = None,
    note: str | None = None,
    size: tuple[float, float] | None = None,
    style: Style = None,
) -> Figure:
    """Draw each process on its own, before and after the fit.

    Args:
        axes: Of the histogram.
        prefit: Expected events of each process before the fit, of the shape of the
            axes.
        postfit: The same after it.
        log: Whether the vertical axes are logarithmic.
        labels: Text instead of names, with ``$...$`` for mathematics.
        title: Written in bold on the left above the frame.
        note: Written on the right above the frame.
        size: Width and height in inches.
        style: rc parameters of matplotlib over ours, or the name of an mplhep style.

    Raises:
        ArgumentValueError: If there are no processes.
        ShapeMismatchError: If an array has not the shape of the axes.

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
        msg = "postfit: there are no processes to draw."
        raise ArgumentValueError(msg)
    plan = unrolled(axes)
    wide = figure_size(plan, 0, labels)
    columns = min(len(postfit), 1 if wide[0] > 6 else 3)
    rows = -(-len(postfit) // columns)
    width = 3.3 * columns if columns > 1 else wide[0]
    names = plan.height(width / columns - MARGIN, labels)
    size = size or (width, (2.3 + names) * rows + 0.3)
    with styled(style):
        figure = new_figure(size, (1, 1))
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for number, (name, values) in enumerate(postfit.items()):
            after = plan.flat(values, f"postfit[{name!r}]")
            before = None
            if name in prefit:
                before = plan.flat(prefit[name], f"prefit[{name!r}]")
            look = text_of(name, labels), PALETTE[number % len(PALETTE)]
            _draw_process(panels[number], plan, before, after, look, log=log)
            plan.finish([panels[number]], size[0] / columns - MARGIN, labels)
        for panel in panels[len(postfit) :]:
            panel.set_visible(False)
        ylabel(panels[0], "Events")
        handles: list[Any] = [
            Patch(color="0.6", label="Post-fit"),
            Line2D([], [], color="black", ls=_DASHES[1], lw=1.1, label="Pre-fit"),
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=2)
        headline(panels[0], title, None)
        headline(panels[columns - 1], None, note)
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
        panel.stairs(before, plan.edges, color="black", ls=_DASHES[1], lw=1.1)
    panel.set_xlim(plan.edges[0], plan.edges[-1])
    _room(panel, 0.2, log=log)
    panel.text(
        0.97,
        0.94,
        text,
        ha="right",
        va="top",
        transform=panel.transAxes,
        fontweight="bold",
    )


def draw_legend(axes: Axes, handles: list[Any], *, log: bool) -> None:
    """Leave room for a legend above everything."""
    columns = 2 if len(handles) > 3 else 1
    rows = -(-len(handles) // columns)
    _room(axes, min(0.05 + 0.07 * rows, 0.6), log=log)
    axes.legend(handles=handles, loc="upper right", ncols=columns)


def _room(axes: Axes, share: float, *, log: bool) -> None:
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


__all__ = [
    "draw_legend",
    "template_distribution",
    "template_processes",
    "template_variations",
]
