"""Measured histograms: cross sections with theory, and what their errors come from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from everwillow.likelihood.histograms import Axis
from everwillow.plotting._text import Labels, text_of
from everwillow.plotting._unrolled import Unrolled, unrolled
from everwillow.plotting.panels import (
    EXTENSIVE,
    Below,
    draw_legend,
    figure_size,
    finish,
    set_difference_axis,
    set_ratio_axis,
    stacked_panels,
)
from everwillow.plotting.style import (
    PALETTE,
    Style,
    new_figure,
    styled,
    ylabel,
)


_DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def cross_section(
    *,
    axes: Sequence[Axis],
    values: Any,
    errors: Any,
    statistical: Any = None,
    theory: Mapping[Any, Any] | None = None,
    name: str | None = None,
    measured: str = "Data",
    per_width: bool | None = False,
    below: Below = "ratio",
    log: bool = False,
    labels: Labels = None,
    title: str | None = None,
    note: str | None = None,
    size: tuple[float, float] | None = None,
    style: Style = None,
) -> Figure:
    """Draw a measured cross section with predictions, and their ratios to it below.

    Points have their total errors, with the statistical ones as inner bars. The band
    around 1 in the lower panel is the total error of the measurement.

    Args:
        axes: Of the histogram.
        values: Measured, of the shape of the axes.
        errors: Their total errors.
        statistical: The statistical part of them.
        theory: Predictions by name: values, or pairs of values and errors.
        name: What is measured, for the vertical axis.
        measured: What the points are called.
        per_width: Whether to divide everything by the widths of the bins, of a single
            axis; None for events (`name`) in bins of unequal widths.
        below: Whether the lower panel has ratios to the measured values, or differences
            from them with their errors, for numbers that may be negative or near 0.
        log: Whether the vertical axis is logarithmic.
        labels: Text instead of names, with ``$...$`` for mathematics.
        title: Written in bold on the left above the frame.
        note: Written on the right above the frame.
        size: Width and height in inches.
        style: rc parameters of matplotlib over ours, or the name of an mplhep style.

    Raises:
        ArgumentValueError: If bins of several axes shall be divided by widths.
        ShapeMismatchError: If an array has not the shape of the axes.

    Example:
        >>> figure = cross_section(
        ...     axes=[Axis("pt", edges=(0.0, 10.0, 30.0))],
        ...     values=[50.0, 20.0],
        ...     errors=[3.0, 2.0],
        ...     theory={"NLO": [52.0, 17.0]},
        ... )
        >>> [panel.get_ylabel() for panel in figure.axes]
        ['Cross section', 'Pred. / Data']
    """
    plan = unrolled(axes)
    widths = plan.widths(per_width=per_width, counts=name in EXTENSIVE)
    unit = np.ones(plan.bins) if widths is None else widths
    middle = plan.flat(values, "values") / unit
    spread = plan.flat(errors, "errors") / unit
    inner = None
    if statistical is not None:
        inner = plan.flat(statistical, "statistical") / unit
    lines = {k: _prediction(plan, k, v, unit) for k, v in (theory or {}).items()}
    with styled(style):
        count = 1 if lines else 0
        size = size or figure_size(plan, count, labels)
        figure, panels = stacked_panels(size, count)
        handles = _draw_points(panels[0], plan, middle, spread, inner, measured)
        handles += _draw_theory(panels[0], plan, lines, np.ones(plan.bins), labels)
        draw_legend(panels[0], handles, log=log)
        text = "Cross section" if name is None else text_of(name, labels)
        ylabel(panels[0], text if widths is None else plan.density(text, labels))
        if lines and below == "ratio":
            _draw_ratios(panels[1], plan, middle, spread, lines)
            panels[1].set_ylabel(f"Pred. / {measured}")
        elif lines:
            _draw_differences(panels[1], plan, middle, spread, lines)
            panels[1].set_ylabel(f"Pred. − {measured}")
        finish(panels, plan, size[0], title=title, note=note, labels=labels)
    return figure


def _prediction(
    plan: Unrolled, name: Any, value: Any, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return values and errors of a prediction."""
    where = f"theory[{name!r}]"
    # A tuple of two numbers are the values of two bins, or one value with its error.
    is_pair = isinstance(value, tuple) and len(value) == 2
    is_pair = is_pair and (not plan.shape or np.ndim(value[0]) > 0)
    if not is_pair:
        return plan.flat(value, where) / unit, None
    return plan.flat(value[0], where) / unit, plan.flat(value[1], where) / unit


def _draw_points(
    axes: Axes,
    plan: Unrolled,
    middle: np.ndarray,
    spread: np.ndarray,
    inner: np.ndarray | None,
    label: str,
) -> list[Any]:
    centres = (plan.edges[1:] + plan.edges[:-1]) / 2
    look: dict[str, Any] = {"fmt": "o", "color": "black", "zorder": 5}
    look["ms"] = 4.0 if plan.bins <= 40 else 2.6
    handles: list[Any] = [
        axes.errorbar(centres, middle, yerr=spread, lw=1.1, label=label, **look)
    ]
    if inner is not None:
        axes.errorbar(centres, middle, yerr=inner, elinewidth=3.2, **look)
        handles.append(Line2D([], [], color="black", lw=3.2, label="Stat."))
    return handles


def _draw_theory(
    axes: Axes,
    plan: Unrolled,
    lines: Mapping[Any, tuple[np.ndarray, np.ndarray | None]],
    unit: np.ndarray,
    labels: Labels,
) -> list[Any]:
    handles: list[Any] = []
    for i, (name, (values, spread)) in enumerate(lines.items()):
        colour, dashes = PALETTE[i % len(PALETTE)], _DASHES[i % len(_DASHES)]
        middle = values / unit
        look: dict[str, Any] = {"color": colour, "ls": dashes, "lw": 1.5}
        axes.stairs(middle, plan.edges, baseline=None, zorder=3, **look)
        handles.append(Line2D([], [], label=text_of(name, labels), **look))
        if spread is not None:
            low, high = middle - spread / unit, middle + spread / unit
            axes.stairs(
                high,
                plan.edges,
                baseline=low,
                fill=True,
                color=colour,
                alpha=0.25,
                lw=0,
                zorder=2,
            )
    return handles


def _draw_ratios(
    axes: Axes,
    plan: Unrolled,
    middle: np.ndarray,
    spread: np.ndarray,
    lines: Mapping[Any, tuple[np.ndarray, np.ndarray | None]],
) -> None:
    unit = np.where(middle > 0, middle, np.nan)
    share = np.nan_to_num(spread / unit)
    axes.stairs(
        1 + share, plan.edges, baseline=1 - share, fill=True, color="0.85", lw=0
    )
    axes.axhline(1, color="black", lw=0.8)
    _draw_theory(axes, plan, lines, unit, None)
    reach = [0.05, 1.2 * float(np.nanmax(share, initial=0.0))]
    for values, own in lines.values():
        away = np.abs(values / unit - 1) + (0.0 if own is None else own / unit)
        reach.append(float(np.nanmax(away, initial=0.0)))
    set_ratio_axis(axes, reach)


def _draw_differences(
    axes: Axes,
    plan: Unrolled,
    middle: np.ndarray,
    spread: np.ndarray,
    lines: Mapping[Any, tuple[np.ndarray, np.ndarray | None]],
) -> None:
    """Draw predictions minus measured values; the band has the error of these."""
    known = np.nan_to_num(spread)
    axes.stairs(known, plan.edges, baseline=-known, fill=True, color="0.85", lw=0)
    axes.axhline(0, color="black", lw=0.8)
    away = {name: (values - middle, own) for name, (values, own) in lines.items()}
    _draw_theory(axes, plan, away, np.ones(plan.bins), None)
    reach = [1.2 * float(np.max(known, initial=0.0))]
    for values, own in away.values():
        size = np.abs(values) + (0.0 if own is None else np.nan_to_num(own))
        reach.append(float(np.nanmax(size, initial=0.0)))
    set_difference_axis(axes, reach)


def uncertainty_breakdown(
    *,
    axes: Sequence[Axis],
    parts: Mapping[Any, Any],
    total: Any,
    values: Any = None,
    quantity: str | None = None,
    labels: Labels = None,
    title: str | None = None,
    note: str | None = None,
    size: tuple[float, float] | None = None,
    style: Style = None,
) -> Figure:
    """Draw the errors of bins, and the parts that they have.

    Args:
        axes: Of the histogram.
        parts: Errors by name, such as those of groups of systematics, of the shape of
            the axes.
        total: The total errors.
        values: What the errors are errors of: then they are drawn in percent of it, and
            bins without a value are empty.
        quantity: What the errors are errors of, for the vertical axis.
        labels: Text instead of names, with ``$...$`` for mathematics.
        title: Written in bold on the left above the frame.
        note: Written on the right above the frame.
        size: Width and height in inches.
        style: rc parameters of matplotlib over ours, or the name of an mplhep style.

    Raises:
        ShapeMismatchError: If an array has not the shape of the axes.

    Example:
        >>> figure = uncertainty_breakdown(
        ...     axes=[Axis("x", edges=(0.0, 1.0, 2.0))],
        ...     parts={"lumi": [0.5, 0.2], "rest": [1.2, 0.8]},
        ...     total=[1.3, 0.9],
        ...     values=[50.0, 20.0],
        ... )
        >>> figure.axes[0].get_ylabel()
        'Uncertainty [%]'
    """
    plan = unrolled(axes)
    unit = np.ones(plan.bins)
    if values is not None:
        given = np.abs(plan.flat(values, "values"))
        unit = np.where(given > 0, given, np.nan) / 100
    whole = plan.flat(total, "total") / unit
    each = {k: plan.flat(v, f"parts[{k!r}]") / unit for k, v in parts.items()}
    with styled(style):
        size = size or figure_size(plan, 0, labels)
        figure = new_figure(size, size)
        panel = figure.subplots()
        panel.stairs(whole, plan.edges, fill=True, color="0.88", lw=0, zorder=0)
        panel.stairs(whole, plan.edges, color="black", lw=1.6, zorder=4, baseline=None)
        handles: list[Any] = [
            Patch(facecolor="0.88", edgecolor="black", lw=1.2, label="Total")
        ]
        for i, (name, part) in enumerate(each.items()):
            look: dict[str, Any] = {
                "color": PALETTE[i % len(PALETTE)],
                "ls": _DASHES[i // len(PALETTE) % len(_DASHES)],
                "lw": 1.5,
            }
            panel.stairs(part, plan.edges, baseline=None, zorder=3, **look)
            handles.append(Line2D([], [], label=text_of(name, labels), **look))
        reach = np.nanmax(whole, initial=0.0)
        panel.set_ylim(0, 1.05 * float(reach) if reach > 0 else 1.0)
        draw_legend(panel, handles, log=False)
        text = "Uncertainty" if quantity is None else f"Uncertainty: {quantity}"
        ylabel(panel, text if values is None else f"{text} [%]")
        finish([panel], plan, size[0], title=title, note=note, labels=labels)
    return figure


__all__ = ["cross_section", "uncertainty_breakdown"]
