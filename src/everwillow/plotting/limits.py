"""Plots of several limits."""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import check_source, texts, vector
from everwillow.plotting._rows import Rows, absent, name_rows, rows_for, write_column
from everwillow.plotting._text import column, text_width
from everwillow.plotting.hypotheses import BANDS, band_handles, five_values
from everwillow.plotting.style import RED, Frame, PlotOptions, log_ticks


@takes_options(PlotOptions)
def limit_summary(
    result: Any = None,
    /,
    *,
    names: Sequence[Any] | None = None,
    expected: Any = None,
    observed: Any = None,
    quantity: str = "95% CL upper limit",
    reference: float | None = None,
    log: bool = False,
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw a list of limits, with their numbers.

    Args:
        result: The result of `everwillow.limits`, or a mapping from names to several
            of them. Or arrays:
        names: The names of the rows, such as channels.
        expected: Shape ``(n, 5)``: -2, -1, 0, 1 and 2 sigma; or the bands of
            `everwillow.hypotest`, one for each name. NaN rows say "no value".
        observed: Shape ``(n,)``; None for expectations only.
        quantity: The name of the horizontal axis.
        reference: The position of a line, such as the prediction of a theory.
        log: Whether the horizontal axis is logarithmic.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or an array is
            missing.
        ArgumentTypeError: If the record is of another type.
        ShapeMismatchError: If there are not five expected values for each name.

    Example:
        >>> figure = limit_summary(
        ...     names=["2018"], expected=[[0.5, 0.7, 1.0, 1.4, 1.9]], observed=[1.1]
        ... )
        >>> figure.axes[0].get_xlabel()
        '95% CL upper limit'
    """
    arrays = {"names": names, "expected": expected, "observed": observed}
    check_source("limit_summary", result, ("observed",), **arrays)
    if result is not None:
        names, observed, expected = _records.limits_of(result)
    known = texts(names, "names")
    bands = five_values(expected, "expected", len(known))
    seen = None if observed is None else vector(observed, "observed", len(known))
    frame = Frame(**options)
    with frame.styled():
        shown = [frame.text(name) for name in known]
        rows = rows_for(len(known))
        heads = ["Exp."] if seen is None else ["Obs.", "Exp."]
        columns = column(*([] if seen is None else [seen]), bands[:, 2])
        width = 3.2 + text_width(shown, rows.font) + 0.55 * len(columns)
        wide = width > 5.6
        height = 1.25 + 0.2 * (not wide) + 1.15 * rows.height * max(rows.number, 1)
        figure = frame.figure((width, height))
        axes = figure.subplots()
        name_rows(axes, rows, shown, rows.number)
        _draw_limits(axes, rows.positions, bands, seen)
        for i, (head, lines) in enumerate(zip(heads, columns, strict=True)):
            write_column(axes, rows, head, lines, 0.55 * (i + 1))
        _limit_axis(axes, rows, bands, seen, reference, log=log)
        axes.set_xlabel(quantity)
        figure.legend(
            handles=band_handles(seen is not None),
            loc="outside lower center",
            ncols=4 if wide else 2,
        )
        frame.headline(axes, heads=True)
    return figure


def _draw_limits(
    axes: Axes, y: np.ndarray, bands: np.ndarray, seen: np.ndarray | None
) -> None:
    for low, high, colour in BANDS:
        left, right = bands[:, low], bands[:, high]
        axes.barh(y, right - left, 0.62, left=left, color=colour, lw=0, zorder=2)
    axes.vlines(bands[:, 2], y - 0.31, y + 0.31, color="black", ls=(0, (2, 1)), lw=1.4)
    if seen is not None:
        axes.vlines(seen, y - 0.31, y + 0.31, color="black", lw=1.4, zorder=4)
        axes.plot(seen, y, "o", color="black", ms=4, zorder=4)


def _limit_axis(
    axes: Axes,
    rows: Rows,
    bands: np.ndarray,
    seen: np.ndarray | None,
    reference: float | None,
    *,
    log: bool,
) -> None:
    if reference is not None:
        axes.axvline(reference, color=RED, lw=1.1, ls=(0, (5, 2)), zorder=3)
    every = np.concatenate(
        [bands.ravel(), [] if seen is None else seen, [reference or np.nan]]
    )
    every = every[np.isfinite(every)]
    if log:
        axes.set_xscale("log")
        every = every[every > 0]
        low, high = every.min(initial=np.inf), every.max(initial=0.0)
        if high > 0:
            axes.set_xlim(low / 1.6, high * 1.6)
            log_ticks(axes.xaxis)
    else:
        low, high = min(every.min(initial=0.0), 0.0), every.max(initial=0.0)
        axes.set_xlim(low * 1.08, high * 1.08 if high > 0 else 1.0)
    middle = np.mean(axes.get_xlim())
    absent(axes, rows, ~np.isfinite(bands).any(axis=1), float(middle))
