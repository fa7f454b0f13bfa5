"""Profiles of the likelihood: along one parameter and around two."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from everwillow._errors import ShapeMismatchError
from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import check_source, numbers, texts, vector
from everwillow.plotting._text import split_errors, text_width, with_errors
from everwillow.plotting.curves import Curve, draw_curve, draw_level, make_curve
from everwillow.plotting.style import (
    DARK,
    PALETTE,
    RED,
    Frame,
    PlotOptions,
    xlabel,
    ylabel,
)


@takes_options(PlotOptions)
def scan(
    result: Any = None,
    /,
    *,
    values: Any = None,
    twice_delta_nll: Any = None,
    best: float | None = None,
    success: Any = None,
    stat_only: Any = None,
    others: Mapping[str, Any] | None = None,
    name: Any = None,
    interval: Any = None,
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Draw a profile likelihood scan of one parameter.

    The vertical axis is :math:`-2 \Delta \ln L`, which crosses the lines at 1 and 4
    one and two standard deviations away from the best value (Wilks). Between points the
    signed root of the height is interpolated, so parabolas are smooth; failed points
    are gaps, with a cross at the bottom.

    Args:
        result: A scan of `everwillow.profile`. Or arrays:
        values: The values of the parameter, shape ``(n,)``.
        twice_delta_nll: Twice the rise of -ln L above its minimum, shape ``(n,)``; NaN
            where a fit failed.
        best: The best value.
        success: Which fits ended at a minimum; None for all with finite heights.
        stat_only: The same scan with the systematic parameters held, drawn dashed: a
            record or a pair ``(values, twice_delta_nll)``. With it the written error is
            split into both parts, by quadrature.
        others: More curves by name, such as the expected one.
        name: The name of the parameter.
        interval: The ends of the 68.3 % interval, or the result of
            `everwillow.profile.minos`; by default the crossings of 1. An end may be a
            text, such as ``"at bound"``. Without a crossing and without a reason
            nothing is written.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or an array is
            missing.
        ArgumentTypeError: If the record is of another type.

    Example:
        >>> mu = np.linspace(0, 2, 9)
        >>> figure = scan(values=mu, twice_delta_nll=(mu - 1) ** 2 / 0.16, name="mu")
        >>> figure.axes[0].get_xlabel()
        'mu'
    """
    arrays = {"values": values, "twice_delta_nll": twice_delta_nll}
    check_source("scan", result, ("success",), success=success, **arrays)
    why = ("", "")
    if result is not None:
        values, twice_delta_nll, minimum, success, known = _records.scan_of(result)
        why = _records.ends_of_range(result)
        best, name = (
            minimum if best is None else best,
            known if name is None else name,
        )
    full = make_curve(values, twice_delta_nll, best, success, "scan")
    stat = None if stat_only is None else _curve_of(stat_only, full, "stat_only")
    more = {k: _curve_of(v, full, f"others[{k!r}]") for k, v in (others or {}).items()}
    frame = Frame(**options)
    with frame.panel((4.8, 3.8)) as (figure, axes):
        _draw_scan(axes, full, stat, more)
        what = "parameter" if name is None else frame.text(name)
        xlabel(axes, what)
        ylabel(axes, r"$-2\, \Delta\ln L$")
        ends = None if interval is None else _records.interval_of(interval, name)
        text = _result_text(what, full, stat, ends, why)
        handles = axes.get_legend_handles_labels()[0]
        if text or handles:
            axes.legend(
                handles=handles,
                loc=_free_place(axes, text or "", len(handles)),
                title=text,
                title_fontsize=10,
                frameon=True,
                framealpha=0.9,
                edgecolor="none",
            )
    return figure


def _free_place(axes: Axes, text: str, count: int) -> str:
    """Return the place at the top where a legend hides the least of the curves."""
    lines = text.split("\n")
    width = (text_width(lines, 10) + 0.3) / 4.3
    height = (0.24 * len(lines) + 0.17 * count + 0.1) / 3.3
    (low, high), top = axes.get_xlim(), axes.get_ylim()[1]
    points = np.concatenate([np.stack(line.get_data(), -1) for line in axes.lines])
    x, y = (points[:, 0] - low) / (high - low), points[:, 1] / top
    inside = (y > 1 - height) & (y < 1)
    begins = {"center": (1 - width) / 2, "right": 1 - width, "left": 0.0}
    hidden = {
        place: np.sum(inside & (x > begin) & (x < begin + width))
        for place, begin in begins.items()
    }
    return f"upper {min(hidden, key=lambda place: hidden[place])}"


def _curve_of(curve: Any, full: Curve, name: str) -> Curve:
    if isinstance(curve, tuple) and len(curve) == 2:
        return make_curve(*curve, full.best, None, name)
    values, heights, best, success, _ = _records.scan_of(curve)
    return make_curve(values, heights, best, success, name)


def _draw_scan(
    axes: Axes, full: Curve, stat: Curve | None, others: Mapping[str, Curve]
) -> None:
    curves = [full, *others.values(), *([] if stat is None else [stat])]
    reach = [np.nanmax(c.heights) for c in curves if c.good.any()]
    top = float(np.clip(max(reach, default=1.0), 1.3, 10.0))
    low = min(c.values[0] for c in curves if c.values.size)
    high = max(c.values[-1] for c in curves if c.values.size)
    axes.set(xlim=(low, high) if high > low else (low - 0.5, low + 0.5), ylim=(0, top))
    for height in (1.0, 4.0):
        if height >= top:
            continue
        draw_level(axes, height)
        ends = full.crossings(height)
        axes.vlines(ends, 0, height, color=DARK, lw=0.8, ls=(0, (3, 2)), zorder=1)
    parts = "Total" if stat is not None else "Observed" if others else None
    draw_curve(axes, full, color="black", label=parts, lw=1.7, zorder=4)
    if stat is not None:
        draw_curve(axes, stat, color=PALETTE[0], ls=(0, (5, 2)), label="Stat. only")
    for (text, curve), colour in zip(others.items(), PALETTE[2:], strict=False):
        draw_curve(axes, curve, color=colour, ls=(0, (5, 1, 1, 1)), label=text)
    failed = full.values[~full.good]
    if failed.size:
        axes.plot(
            failed,
            np.full(failed.size, 0.03),
            "x",
            color=RED,
            ms=5,
            mew=1.3,
            transform=axes.get_xaxis_transform(),
            label="Failed fit",
            zorder=5,
            clip_on=False,
        )
    # Room for the legend above the curves.
    axes.set_ylim(0, top * (1.42 + 0.08 * len(curves)))


def _result_text(
    symbol: str,
    full: Curve,
    stat: Curve | None,
    interval: tuple[float | str, float | str] | None,
    why: tuple[str, str],
) -> str | None:
    """Return the best value with its errors, and their parts below."""
    if not np.isfinite(full.best):
        return None
    ends = full.crossings(1.0) if interval is None else interval
    below, above = (
        e if isinstance(e, str) else w for e, w in zip(ends, why, strict=True)
    )
    low, high = (np.nan if isinstance(e, str) else e for e in ends)
    down, up = full.best - low, high - full.best
    if not np.isfinite([down, up]).any():
        return None
    text = f"{symbol} = {with_errors(full.best, down, up, (below, above))}"
    if stat is None:
        return text
    left, right = stat.crossings(1.0)
    parts = np.array([stat.best - left, right - stat.best])
    total = np.array([down, up])
    if not np.isfinite(parts).all() or (parts > total).any():
        return text
    rest = np.sqrt(total**2 - parts**2)
    return f"{text}\n{split_errors(parts, rest)}"


@takes_options(PlotOptions)
def contour(
    result: Any = None,
    /,
    *,
    curves: Sequence[Any] | None = None,
    levels: Sequence[float] = (2.30, 5.99),
    best: Sequence[float] | None = None,
    names: Sequence[Any] | None = None,
    others: Mapping[str, Any] | None = None,
    reference: Mapping[str, Sequence[float]] | None = None,
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Draw contours of the profile likelihood of two parameters.

    The levels are those of :math:`-2 \Delta \ln L`: 2.30 and 5.99 enclose 68.3 % and
    95 % for two parameters (Wilks). A row of NaN, where a point of a contour was not
    found, leaves a gap.

    Args:
        result: A contour of `everwillow.profile`, or several of the same parameters.
            Or arrays:
        curves: The points of each level, shape ``(n, 2)``, drawn as a closed curve if
            none is NaN.
        levels: Twice the rise of -ln L on each curve.
        best: The best values of both.
        names: The names of both parameters.
        others: More contours by name, such as that without systematic errors: records,
            or sequences of curves at the same levels.
        reference: Points to mark, by name, such as ``{"SM": (1, 1)}``.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or an array is
            missing.
        ArgumentTypeError: If the record is of another type.
        ShapeMismatchError: If the numbers of curves and levels differ.

    Example:
        >>> angle = np.linspace(0, 2 * np.pi, 60)
        >>> circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        >>> curves = [np.sqrt(level) * circle for level in (2.30, 5.99)]
        >>> figure = contour(curves=curves, best=(0, 0), names=("mu", "mass"))
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['68.3% CL', '95% CL', 'Best fit']
    """
    check_source("contour", result, curves=curves)
    if result is not None:
        names, levels, curves, minimum = _records.contour_of(result)
        best = minimum if best is None else best
    sets = {"": _points(curves, levels, "curves")}
    for key, value in (others or {}).items():
        points = _records.curves_of(value)
        sets[key] = _points(points, levels, f"others[{key!r}]")
    frame = Frame(**options)
    with frame.panel((4.8, 4.2)) as (figure, axes):
        for number, (key, lines) in enumerate(sets.items()):
            _draw_contours(axes, lines, levels, key, number)
        if best is not None:
            x, y = vector(best, "best", 2)
            axes.plot(x, y, "+", c="black", ms=9, mew=1.6, ls="", label="Best fit")
        for i, (text, point) in enumerate((reference or {}).items()):
            x, y = vector(point, f"reference[{text!r}]", 2)
            axes.plot(x, y, "*dsv"[i % 4], c=RED, ms=8, ls="", label=text)
        axes.margins(0.12)
        axes.autoscale_view()
        low, high = axes.get_ylim()
        rows = -(-len(axes.get_legend_handles_labels()[1]) // 2)
        axes.set_ylim(low, high + (high - low) * (0.05 + 0.07 * rows))
        first, second = texts(names or ("first", "second"), "names")
        xlabel(axes, frame.text(first))
        ylabel(axes, frame.text(second))
        axes.legend(loc="upper center", ncols=2)
    return figure


def _points(curves: Any, levels: Sequence[float], name: str) -> list[np.ndarray]:
    out = [numbers(curve, f"{name}[{i}]") for i, curve in enumerate(curves)]
    if len(out) != len(levels):
        raise ShapeMismatchError(
            f"{name}: {len(out)} curves were given for {len(levels)} levels."
        )
    for i, points in enumerate(out):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ShapeMismatchError(
                f"{name}[{i}]: expected the shape (n, 2), got {points.shape}."
            )
    return out


_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1, 1, 1)))


def _draw_contours(
    axes: Axes, lines: list[np.ndarray], levels: Sequence[float], key: str, number: int
) -> None:
    colour = DARK if number == 0 else PALETTE[1:][(number - 1) % (len(PALETTE) - 1)]
    for i, (points, level) in enumerate(zip(lines, levels, strict=True)):
        whole = len(points) > 2 and bool(np.isfinite(points).all())
        closed = np.concatenate([points, points[:1]]) if whole else points
        share = f"{-100 * np.expm1(-float(level) / 2):.1f}".removesuffix(".0")
        text = f"{share}% CL"
        axes.plot(
            *closed.T,
            color=colour,
            ls=_DASHES[i % len(_DASHES)],
            lw=1.6,
            label=f"{key}, {text}" if key else text,
        )
        if whole and number == 0:
            axes.add_patch(Polygon(points, fc=PALETTE[0], ec="none", alpha=0.13))
