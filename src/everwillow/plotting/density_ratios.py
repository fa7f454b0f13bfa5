"""Plots of tests of density ratios: closure and calibration."""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from everwillow._errors import ShapeMismatchError
from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import (
    check_source,
    numbers,
    rising_edges,
    vector,
)
from everwillow.plotting._text import text_width, with_errors
from everwillow.plotting.panels import (
    MARGIN,
    comparison,
    draw_band,
    draw_legend,
    draw_steps,
    mark_outside,
    stacked_panels,
)
from everwillow.plotting.style import (
    BLUE,
    FAINT,
    RED,
    FigureOptions,
    Frame,
    PlotOptions,
    xlabel,
    ylabel,
)


_BAND: dict[str, Any] = {"facecolor": BLUE, "alpha": 0.3, "zorder": 2}


@takes_options(PlotOptions)
def reweighting_closure(
    result: Any = None,
    /,
    *,
    edges: Any = None,
    target: Any = None,
    target_errors: Any = None,
    reweighted: Any = None,
    reweighted_errors: Any = None,
    source: Any = None,
    goodness: Any = None,
    normalisation: Sequence[float] | None = None,
    target_name: str = "Target",
    name: Any = None,
    log: bool = False,
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw a sample over the reference sample reweighted to it, and their ratio.

    The bars are the errors of the target sample, the band those of the reweighted one.

    Args:
        result: The result of `everwillow.models.nsbi.closure_test`. Or arrays:
        edges: The edges of the bins, shape ``(bins + 1,)``.
        target: Events of the target sample, shape ``(bins,)``.
        target_errors: Their errors.
        reweighted: Events of the reference sample with weights times ratios.
        reweighted_errors: Their errors.
        source: Events of the reference sample without ratios, drawn dashed.
        goodness: The test of all bins, of `everwillow.goodness.chi2_test`.
        normalisation: The mean of the ratio over the reference sample, and its error.
        target_name: The name of the target sample in the legend.
        name: The name of the variable.
        log: Whether the vertical axis is logarithmic.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or an array is
            missing.
        ArgumentTypeError: If the record is of another type.
        ShapeMismatchError: If the number of bins of an array differs from the edges.

    Example:
        >>> figure = reweighting_closure(
        ...     edges=[0, 1, 2],
        ...     target=[100, 50],
        ...     target_errors=[10, 7],
        ...     reweighted=[104, 49],
        ...     reweighted_errors=[3, 2],
        ... )
        >>> figure.axes[1].get_ylabel()
        'Ratio'
    """
    arrays: dict[str, Any] = {"edges": edges, "target": target}
    arrays |= {"target_errors": target_errors, "reweighted": reweighted}
    arrays |= {"reweighted_errors": reweighted_errors, "source": source}
    check_source("reweighting_closure", result, ("source",), **arrays)
    if result is not None:
        arrays, tested, mean = _records.closure_of(result)
        goodness = tested if goodness is None else goodness
        normalisation = mean if normalisation is None else normalisation
    borders = rising_edges(arrays.pop("edges"))
    found = {
        key: None if values is None else vector(values, key, borders.size - 1)
        for key, values in arrays.items()
    }
    frame = Frame(**options)
    with frame.styled():
        figure, (axes, below) = stacked_panels(frame, (4.8, 4.7), 1)
        handles = _draw_samples(axes, borders, found, target_name)
        lines = _test_lines(goodness, normalisation)
        _write_tests(figure, axes, lines, handles, log=log)
        ylabel(axes, "Events")
        _draw_ratio(below, borders, found)
        axes.set_xlim(borders[0], borders[-1])
        xlabel(below, "variable" if name is None else frame.text(name))
        frame.headline(axes)
    return figure


@takes_options(FigureOptions)
def calibration_curve(
    result: Any = None,
    /,
    *,
    edges: Any = None,
    predicted: Any = None,
    fraction: Any = None,
    errors: Any = None,
    counts: Any = None,
    goodness: Any = None,
    **options: Unpack[FigureOptions],
) -> Figure:
    r"""Draw the true fraction of events of the numerator over the predicted one.

    A density ratio :math:`r` predicts the probability :math:`s = r / (1 + r)`; if it is
    right, all points are on the diagonal. The lower panel has the numbers of events.

    Args:
        result: The result of `everwillow.models.nsbi.calibration`. Or arrays:
        edges: The edges of the bins of the predicted probability.
        predicted: The mean predicted probability in each bin, shape ``(bins,)``; NaN
            without events.
        fraction: The fraction of events of the numerator.
        errors: The errors of the fraction.
        counts: Events of the numerator and of the denominator, shape ``(2, bins)``;
            without them there is no lower panel.
        goodness: The test of all bins, of `everwillow.goodness.chi2_test`.
        **options: `FigureOptions`: `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or an array is
            missing.
        ArgumentTypeError: If the record is of another type.
        ShapeMismatchError: If the number of bins of an array differs from the edges.

    Example:
        >>> figure = calibration_curve(
        ...     edges=[0, 0.5, 1],
        ...     predicted=[0.3, 0.7],
        ...     fraction=[0.31, 0.68],
        ...     errors=[0.02, 0.03],
        ... )
        >>> len(figure.axes)
        1
    """
    arrays: dict[str, Any] = {"edges": edges, "predicted": predicted}
    arrays |= {"fraction": fraction, "errors": errors, "counts": counts}
    check_source("calibration_curve", result, ("counts",), **arrays)
    if result is not None:
        arrays, tested = _records.calibration_of(result)
        goodness = tested if goodness is None else goodness
    borders = rising_edges(arrays["edges"])
    bins = borders.size - 1
    x = vector(arrays["predicted"], "predicted", bins)
    y = vector(arrays["fraction"], "fraction", bins)
    bars = vector(arrays["errors"], "errors", bins)
    events = arrays["counts"]
    if events is not None:
        events = numbers(events, "counts")
        if events.shape != (2, bins):
            raise ShapeMismatchError(
                f"counts: expected the shape (2, {bins}), got {events.shape}."
            )
    frame = Frame(**options)
    with frame.styled():
        more = int(events is not None)
        figure, panels = stacked_panels(frame, (4.6, 4.4 + more), more)
        axes, lowest = panels[0], panels[-1]
        axes.plot([0, 1], [0, 1], color=FAINT, lw=1.0, ls=(0, (4, 2)), label="Ideal")
        axes.errorbar(x, y, yerr=bars, label="Simulated events", zorder=3, **_POINTS)
        axes.set(xlim=(0, 1), ylim=(-0.03, 1.03))
        title = ", ".join(_goodness_texts(goodness))
        axes.legend(loc="best", title=title or None, alignment="left")
        ylabel(axes, "Fraction of numerator events")
        if events is not None:
            _draw_counts(lowest, borders, events)
        xlabel(lowest, "Predicted probability $s = r / (1 + r)$")
        frame.headline(axes)
    return figure


_POINTS: dict[str, Any] = {"fmt": "o", "color": "black", "ms": 3.8, "lw": 1.1}


def _draw_samples(
    axes: Axes, edges: np.ndarray, found: dict[str, Any], target_name: str
) -> list[Any]:
    line: dict[str, Any] = {"color": BLUE, "lw": 1.5, "ls": "-"}
    draw_steps(axes, edges, found["reweighted"], "", **line)
    draw_band(axes, edges, found["reweighted"], found["reweighted_errors"], **_BAND)
    box = Patch(
        facecolor=to_rgba(BLUE, _BAND["alpha"]),
        edgecolor=BLUE,
        lw=1.5,
        label="Reweighted reference",
    )
    middle = (edges[1:] + edges[:-1]) / 2
    points = axes.errorbar(
        middle,
        found["target"],
        yerr=found["target_errors"],
        label=target_name,
        zorder=5,
        **_POINTS,
    )
    handles = [points, box]
    if found["source"] is not None:
        look: dict[str, Any] = {"color": FAINT, "lw": 1.2, "ls": (0, (4, 2))}
        handles.append(draw_steps(axes, edges, found["source"], "Reference", **look))
    return handles


def _draw_ratio(axes: Axes, edges: np.ndarray, found: dict[str, Any]) -> None:
    """Draw the target sample over the reweighted one."""
    middle = found["reweighted"]
    compared = comparison(middle, middle > 0, "ratio")
    band = compared.band(axes, edges, found["reweighted_errors"], **_BAND)
    axes.axhline(1.0, color=BLUE, lw=1.2, zorder=2)
    ratio, bars = compared.at(found["target"]), found["target_errors"] / compared.unit
    centres = (edges[1:] + edges[:-1]) / 2
    axes.errorbar(centres, ratio, yerr=bars, zorder=5, **_POINTS)
    # The median of sizes, so that nearly empty bins do not squeeze all others.
    sizes = [*np.abs(ratio - 1), float(np.nanmedian(bars)), float(np.median(band))]
    compared.set_axis(axes, [size for size in sizes if np.isfinite(size)])
    mark_outside(axes, centres, ratio)
    axes.set_ylabel("Ratio")


def _draw_counts(axes: Axes, edges: np.ndarray, events: np.ndarray) -> None:
    for counts, colour, text in zip(
        events, (RED, BLUE), ("Numerator", "Denominator"), strict=True
    ):
        axes.stairs(counts, edges, color=colour, lw=1.4, label=text)
    # Between two powers of 10, whose numbers would touch the panel above.
    decades = np.ceil(np.log10(np.max(events, initial=1.0)))
    axes.set_yscale("log")
    axes.set_ylim(0.5, 10 ** (decades + 0.4))
    axes.legend(
        loc="lower center", ncols=2, frameon=True, framealpha=0.9, edgecolor="none"
    )
    axes.set_ylabel("Events")


def _test_lines(goodness: Any, normalisation: Any) -> list[str]:
    """Return how well the samples agree."""
    lines = _goodness_texts(goodness)
    if normalisation is not None:
        mean, error = vector(normalisation, "normalisation", 2)
        lines.append(f"mean ratio {with_errors(mean, error, error)}")
    return lines


def _write_tests(
    figure: Figure, axes: Axes, lines: list[str], handles: list[Any], *, log: bool
) -> None:
    """Write lines on the left above the drawing, and the legend beside or below."""
    labels = [handle.get_label() for handle in handles]
    need = text_width(lines, 9.0) + text_width(labels, 9.0) + 0.6
    beside = need < figure.get_figwidth() - MARGIN
    draw_legend(axes, handles, log=log, above=[] if beside else lines)
    if beside:
        text = "\n".join(lines)
        axes.text(0.03, 0.965, text, transform=axes.transAxes, va="top", fontsize=9)


def _goodness_texts(goodness: Any) -> list[str]:
    if goodness is None:
        return []
    statistic, ndof = float(goodness.statistic), float(goodness.ndof)
    chance = float(goodness.pvalue)
    text = f"p = {chance:.2g}" if not chance < 1e-16 else "p < 1e-16"
    return [rf"$\chi^2$ / ndof = {statistic:.1f} / {ndof:g}", text]
