"""Histograms of template fits: inputs, results, errors and cross sections."""

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
from everwillow.plotting.panels import (
    EXTENSIVE,
    MARGIN,
    Below,
    comparison,
    draw_band,
    draw_legend,
    figure_size,
    finish,
    stacked_panels,
)
from everwillow.plotting.style import PALETTE, Frame, PlotOptions, ylabel
from everwillow.plotting.yields import distribution


_NOMINAL = "black"


@takes_options(PlotOptions)
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
    quantity: str = "Events",
    per_width: bool | None = None,
    below: Below = "ratio",
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw a histogram of any axes: data over stacked expectations, ratio and pulls.

    It is like `everwillow.plotting.distribution`; bins of several axes are side by
    side, in blocks of the longest axis.

    Args:
        axes: The axes of the histogram.
        samples: Expected events of each process by name, of the shape of the axes.
        observed: Data of that shape; without them there are no pulls.
        observed_errors: The errors of the data; by default Poisson intervals.
        errors: Errors of the sum of the samples.
        prefit: The sum before the fit.
        log: Whether the vertical axis is logarithmic.
        pulls: Whether to draw pulls below the ratio.
        quantity: The name of the quantity, for the vertical axis.
        per_width: Whether to divide by the widths of the bins, of a single axis; None
            for events in bins of unequal widths.
        below: Whether the panel below has ratios, or differences for numbers that may
            be negative or near 0.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If `per_width` is True for bins without widths.
        ShapeMismatchError: If an array does not have the shape of the axes.

    Example:
        >>> figure = template_distribution(
        ...     axes=[Axis("x", edges=(0.0, 1.0, 2.0))],
        ...     samples={"flat": [9.0, 4.0]},
        ...     observed=[8, 6],
        ... )
        >>> [panel.get_ylabel() for panel in figure.axes]
        ['Events', 'Data / Pred.', 'Pull']
    """
    plan, frame = unrolled(axes), Frame(**options)

    def flat(values: Any, name: str) -> Any:
        return None if values is None else plan.flat(values, name)

    more = 1 + bool(pulls and observed is not None)
    size = frame.size or figure_size(plan, more, frame.labels)
    _, divided = plan.unit(per_width=per_width, counts=quantity in EXTENSIVE)
    with frame.styled():
        figure = distribution(
            edges=plan.edges,
            samples={k: plan.flat(v, f"samples[{k!r}]") for k, v in samples.items()},
            observed=flat(observed, "observed"),
            observed_errors=flat(observed_errors, "observed_errors"),
            errors=flat(errors, "errors"),
            prefit=flat(prefit, "prefit"),
            log=log,
            pulls=pulls,
            per_width=divided,
            below=below,
            **{**options, "size": size},
        )
        ylabel(figure.axes[0], plan.density(quantity, frame.labels, per_width=divided))
        plan.finish(figure.axes, size[0] - MARGIN, frame.labels)
    return figure


@takes_options(PlotOptions)
def template_variations(
    *,
    axes: Sequence[Axis],
    nominal: Any,
    variations: Mapping[Any, tuple[Any, Any]],
    errors: Any = None,
    spread: str = "Sample size",
    log: bool = False,
    quantity: str = "Events",
    per_width: bool | None = None,
    below: Below = "ratio",
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw a template with its variations, and their ratios to it or differences below.

    Variations up are full lines, those down dashed ones of the same colour.

    Args:
        axes: The axes of the template.
        nominal: The nominal yields, of the shape of the axes.
        variations: The yields one error up and one error down by systematic.
        errors: Errors of the nominal yields, drawn as a band.
        spread: The name of these errors in the legend.
        log: Whether the vertical axis is logarithmic.
        quantity: The name of the quantity, for the vertical axis.
        per_width: Whether to divide by the widths of the bins, of a single axis; None
            for events in bins of unequal widths.
        below: Whether the panel below has ratios, or differences for numbers that may
            be negative or near 0.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If there are more variations than colours (10).
        ShapeMismatchError: If an array does not have the shape of the axes.

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
        raise ArgumentValueError(
            f"variations: {len(variations)} are too many for one plot, {len(PALETTE)} "
            "at the most. Draw several."
        )
    plan = unrolled(axes)
    unit, divided = plan.unit(per_width=per_width, counts=quantity in EXTENSIVE)
    middle = plan.flat(nominal, "nominal") / unit
    pairs = {
        name: tuple(plan.flat(side, f"variations[{name!r}]") / unit for side in sides)
        for name, sides in variations.items()
    }
    band = None if errors is None else plan.flat(errors, "errors") / unit
    frame = Frame(**options)
    with frame.styled():
        size = figure_size(plan, 1, frame.labels)
        figure, (above, lower) = stacked_panels(frame, size, 1)
        handles = _draw_templates(above, plan, middle, pairs, band, frame)
        if band is not None:
            handles.insert(1, Patch(label=spread, lw=0, **_BAND))
        draw_legend(above, handles, log=log)
        ylabel(above, plan.density(quantity, frame.labels, per_width=divided))
        _compare(lower, plan, middle, pairs, band, below)
        finish(figure, plan, frame)
    return figure


def _draw_templates(
    axes: Axes,
    plan: Unrolled,
    middle: np.ndarray,
    pairs: Mapping[Any, tuple[np.ndarray, ...]],
    spread: np.ndarray | None,
    frame: Frame,
) -> list[Any]:
    handles: list[Any] = [Line2D([], [], color=_NOMINAL, label="Nominal")]
    axes.stairs(middle, plan.edges, color=_NOMINAL, lw=1.2, zorder=3, baseline=None)
    if spread is not None:
        draw_band(axes, plan.edges, middle, spread, **_BAND)
    for colour, (name, sides) in zip(PALETTE, pairs.items(), strict=False):
        for values, dashes in zip(sides, _DASHES, strict=True):
            axes.stairs(
                values, plan.edges, color=colour, ls=dashes, lw=1.2, baseline=None
            )
        handles.append(Line2D([], [], color=colour, label=frame.text(name)))
    handles += [
        Line2D([], [], color="0.4", ls=dashes, label=f"{sign}1σ")
        for dashes, sign in zip(_DASHES, "+−", strict=True)
    ]
    return handles


_BAND: dict[str, Any] = {"facecolor": "0.82", "zorder": 0}
_DASHES = ("-", (0, (3, 1.5)))


def _compare(
    axes: Axes,
    plan: Unrolled,
    middle: np.ndarray,
    pairs: Mapping[Any, tuple[np.ndarray, ...]],
    spread: np.ndarray | None,
    below: Below,
) -> None:
    """Draw variations over the nominal template, or minus it."""
    compared = comparison(middle, middle != 0, below)
    reach = [0.02] if compared.ratio else []
    if spread is not None:
        share = compared.band(axes, plan.edges, spread, **_BAND)
        # The median, so that nearly empty bins do not squeeze all others.
        reach.append(float(np.median(share)))
    axes.axhline(compared.centre, color=_NOMINAL, lw=0.8, zorder=1)
    for colour, sides in zip(PALETTE, pairs.values(), strict=False):
        for values, dashes in zip(sides, _DASHES, strict=True):
            drawn = compared.at(values)
            look: dict[str, Any] = {"color": colour, "ls": dashes, "lw": 1.2}
            axes.stairs(drawn, plan.edges, baseline=None, **look)
            away = np.abs(drawn - compared.centre)
            reach.append(float(np.nanmax(away, initial=0.0)))
    compared.set_axis(axes, reach)
    axes.set_ylabel("Ratio" if compared.ratio else "Difference")


__all__ = ["template_distribution", "template_variations"]
