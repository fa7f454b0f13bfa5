"""Measured histograms: cross sections with theory, and the parts of their errors."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from everwillow.fitting.options import takes_options
from everwillow.likelihood.histograms import Axis
from everwillow.plotting._unrolled import Unrolled, unrolled
from everwillow.plotting.panels import (
    EXTENSIVE,
    Below,
    comparison,
    draw_band,
    draw_legend,
    draw_steps,
    figure_size,
    finish,
    stacked_panels,
)
from everwillow.plotting.style import PALETTE, Frame, PlotOptions, ylabel


_DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))


@takes_options(PlotOptions)
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
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw a measured cross section with predictions, and their ratios to it below.

    Points have their total errors, with the statistical ones as inner bars. The band
    around 1 in the lower panel is the total error of the measurement.

    Args:
        axes: The axes of the histogram.
        values: The measured values, of the shape of the axes.
        errors: The total errors.
        statistical: The statistical parts of the errors.
        theory: Predictions by name: values, or pairs of values and errors.
        name: The name of the measured quantity, for the vertical axis.
        measured: The name of the points in the legend.
        per_width: Whether to divide everything by the widths of the bins, of a single
            axis; None for events (`name`) in bins of unequal widths.
        below: Whether the lower panel has ratios to the measured values, or differences
            from them with their errors, for numbers that may be negative or near 0.
        log: Whether the vertical axis is logarithmic.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If `per_width` is True for bins of several axes.
        ShapeMismatchError: If an array does not have the shape of the axes.

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
    unit, divided = plan.unit(per_width=per_width, counts=name in EXTENSIVE)
    middle = plan.flat(values, "values") / unit
    spread = plan.flat(errors, "errors") / unit
    inner = None
    if statistical is not None:
        inner = plan.flat(statistical, "statistical") / unit
    lines = {k: _prediction(plan, k, v, unit) for k, v in (theory or {}).items()}
    frame = Frame(**options)
    with frame.styled():
        count = 1 if lines else 0
        size = figure_size(plan, count, frame.labels)
        figure, panels = stacked_panels(frame, size, count)
        handles = _draw_points(panels[0], plan, middle, spread, inner, measured)
        handles += _draw_theory(panels[0], plan, lines, frame)
        draw_legend(panels[0], handles, log=log)
        text = "Cross section" if name is None else frame.text(name)
        ylabel(panels[0], plan.density(text, frame.labels, per_width=divided))
        if lines:
            _draw_below(panels[1], plan, middle, spread, lines, below)
            sign = "/" if below == "ratio" else "−"
            panels[1].set_ylabel(f"Pred. {sign} {measured}")
        finish(figure, plan, frame)
    return figure


def _prediction(
    plan: Unrolled, name: Any, value: Any, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return values and errors of a prediction."""
    where = f"theory[{name!r}]"
    # A tuple of two numbers has the values of two bins, or one value with its error.
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
    frame: Frame,
) -> list[Any]:
    handles: list[Any] = []
    for i, (name, (middle, spread)) in enumerate(lines.items()):
        colour, dashes = PALETTE[i % len(PALETTE)], _DASHES[i % len(_DASHES)]
        look: dict[str, Any] = {"color": colour, "ls": dashes, "lw": 1.5}
        handles.append(draw_steps(axes, plan.edges, middle, frame.text(name), **look))
        if spread is not None:
            band: dict[str, Any] = {"color": colour, "alpha": 0.25, "zorder": 2}
            draw_band(axes, plan.edges, middle, spread, **band)
    return handles


def _draw_below(
    axes: Axes,
    plan: Unrolled,
    middle: np.ndarray,
    spread: np.ndarray,
    lines: Mapping[Any, tuple[np.ndarray, np.ndarray | None]],
    below: Below,
) -> None:
    """Compare predictions with measured values, whose errors are a band."""
    compared = comparison(middle, middle > 0, below)
    share = compared.band(axes, plan.edges, spread, color="0.85")
    axes.axhline(compared.centre, color="black", lw=0.8)
    drawn = {
        name: (compared.at(values), None if own is None else own / compared.unit)
        for name, (values, own) in lines.items()
    }
    _draw_theory(axes, plan, drawn, Frame())
    reach = [0.05 * compared.ratio, 1.2 * float(np.max(share, initial=0.0))]
    for values, own in drawn.values():
        size = np.abs(values - compared.centre)
        size += 0.0 if own is None else np.nan_to_num(own)
        reach.append(float(np.nanmax(size, initial=0.0)))
    compared.set_axis(axes, reach)


@takes_options(PlotOptions)
def uncertainty_breakdown(
    *,
    axes: Sequence[Axis],
    parts: Mapping[Any, Any],
    total: Any,
    values: Any = None,
    quantity: str | None = None,
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw the errors of bins and their parts.

    Args:
        axes: The axes of the histogram.
        parts: Errors by name, such as those of groups of systematics, of the shape of
            the axes.
        total: The total errors.
        values: The values, to draw errors in percent of them; bins whose value is 0 are
            empty.
        quantity: The name of the quantity, for the vertical axis.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ShapeMismatchError: If an array does not have the shape of the axes.

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
    frame = Frame(**options)
    with frame.styled():
        figure = frame.figure(figure_size(plan, 0, frame.labels))
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
            text = frame.text(name)
            handles.append(draw_steps(panel, plan.edges, part, text, **look))
        reach = np.nanmax(whole, initial=0.0)
        panel.set_ylim(0, 1.05 * float(reach) if reach > 0 else 1.0)
        draw_legend(panel, handles, log=False)
        text = "Uncertainty" if quantity is None else f"Uncertainty: {quantity}"
        ylabel(panel, text if values is None else f"{text} [%]")
        finish(figure, plan, frame)
    return figure
