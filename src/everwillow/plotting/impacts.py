"""The ranking of nuisance parameters by their impacts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from everwillow._errors import ArgumentValueError
from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import check_source, sides, texts, vector
from everwillow.plotting._rows import Rows, absent, name_rows, rows_for
from everwillow.plotting._text import legend_columns, text_width, with_errors
from everwillow.plotting.nuisance import draw_pulls
from everwillow.plotting.style import BLUE, DARK, ORANGE, Frame, PlotOptions


@takes_options(PlotOptions)
def ranking(
    result: Any = None,
    /,
    *,
    names: Sequence[Any] | None = None,
    up: Any = None,
    down: Any = None,
    prefit_up: Any = None,
    prefit_down: Any = None,
    linear: Any = None,
    pulls: Any = None,
    errors: Any = None,
    values: Any = None,
    value_errors: Any = None,
    poi: Any = None,
    count: int = 20,
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Draw the nuisance parameters with the largest impacts, and their pulls.

    Filled bars are the shifts of the parameter of interest if the nuisance parameter
    moves up and down by its post-fit error; outlines are those for the pre-fit width.
    The entries are sorted by the larger of the two post-fit shifts. If both shifts have
    the same sign, each bar takes half of the row. If there are pulls, the left panel
    shows them as in `pulls`.

    Args:
        result: A result of `everwillow.impacts.rank`. If it has impacts from refits,
            these are drawn, with the shifts from the covariance as small lines. Or
            arrays:
        names: The names of the nuisance parameters.
        up: Signed shifts of the parameter of interest for a post-fit error upwards,
            shape ``(n,)``.
        down: These shifts for a post-fit error downwards; the opposite of `up` if None.
        prefit_up: Shifts for a pre-fit width upwards, or None.
        prefit_down: Shifts for a pre-fit width downwards; the opposite of `prefit_up`
            if None.
        linear: Shifts upwards from the covariance, drawn as lines beside exact ones.
        pulls: The `values` of the function `pulls`, NaN without a constraint.
        errors: The `errors` of the function `pulls`.
        values: Fitted values, written for parameters without a pull.
        value_errors: The errors of `values`.
        poi: The name of the parameter of interest; it selects one of several in a
            record.
        count: The number of entries to draw.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`. The
            note is by default the value of the parameter of interest, if a record
            knows it.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or `count` is not
            positive.
        ArgumentTypeError: If the record is of another type.
        UnknownKeyError: If the record has no such parameter of interest.

    Example:
        >>> figure = ranking(
        ...     names=["lumi", "JES"], up=[0.02, -0.1], down=[-0.02, 0.09], poi="mu"
        ... )
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['JES', 'lumi']
    """
    arrays = {"names": names, "up": up, "down": down, "linear": linear}
    arrays |= {"prefit_up": prefit_up, "prefit_down": prefit_down}
    arrays |= {"pulls": pulls, "errors": errors}
    arrays |= {"values": values, "value_errors": value_errors}
    check_source("ranking", result, {*arrays} - {"names", "up"}, **arrays)
    frame = Frame(**options)
    if result is not None:
        arrays, poi, value, error = _records.ranking_of(result, poi)
        known = f"{frame.text(poi)} = {with_errors(value, error, error)}"
        frame = frame._replace(note=frame.note or known)
    if count < 1:
        raise ArgumentValueError(
            f"count: at least one entry has to be drawn, got {count}."
        )
    table = _largest(arrays, count)
    with frame.styled():
        shown = [frame.text(name) for name in table.names]
        rows = rows_for(len(shown))
        panels = 1 + (table.pulls is not None)
        width = 2.55 * panels + 0.3 + text_width(shown, rows.font)
        height = 1.35 + rows.height * max(rows.number, 1) + 0.25 * frame.has_headline
        figure = frame.figure((width, height))
        axes = figure.subplots(1, panels, squeeze=False)[0]
        name_rows(axes[0], rows, shown, rows.number)
        if table.pulls is not None:
            draw_pulls(axes[0], rows, *table.pulls, instead=table.instead)
            name_rows(axes[1], rows, [""] * rows.number, rows.number)
        _impact_panel(axes[-1], rows, table)
        what = "the POI" if poi is None else frame.text(poi)
        axes[-1].set_xlabel(f"Shift of {what}")
        handles = _handles(table)
        columns = legend_columns(
            [handle.get_label() for handle in handles], 9.0, figure.get_figwidth()
        )
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        frame.headline(axes[0], axes[-1])
    return figure


class _Table(NamedTuple):
    """The largest entries, in order.

    Attributes:
        names: The names of the entries.
        bars: Shifts for post-fit errors up and down, shape ``(2, count)``.
        outlines: Shifts for pre-fit widths, NaN if unknown.
        linear: Shifts upwards from the covariance, or None.
        pulls: Pulls and their errors, or None.
        instead: The text in rows without a pull.
    """

    names: list[str]
    bars: np.ndarray
    outlines: np.ndarray
    linear: np.ndarray | None
    pulls: tuple[np.ndarray, np.ndarray] | None
    instead: list[str]


def _largest(arrays: Mapping[str, Any], count: int) -> _Table:
    known = texts(arrays["names"], "names")
    number = len(known)
    bars = _both(arrays, "up", "down", number)
    reach = np.max(np.nan_to_num(np.abs(bars), nan=-1.0), axis=0, initial=-1.0)
    order = np.argsort(-reach, kind="stable")[:count]
    linear, pulls = arrays["linear"], None
    if linear is not None:
        linear = vector(linear, "linear", number)[order]
    if arrays["pulls"] is not None:
        errors = 0.0 if arrays["errors"] is None else arrays["errors"]
        pulls = (
            vector(arrays["pulls"], "pulls", number)[order],
            sides(errors, "errors", number)[:, order],
        )
    outlines = _both(arrays, "prefit_up", "prefit_down", number)[:, order]
    instead = _written(arrays, number)
    return _Table(
        [known[i] for i in order],
        bars[:, order],
        outlines,
        linear,
        pulls,
        [instead[i] for i in order],
    )


def _written(arrays: Mapping[str, Any], number: int) -> list[str]:
    """Return values with their errors as text, which is empty for NaN."""
    if arrays["values"] is None:
        return [""] * number
    values = vector(arrays["values"], "values", number)
    value_errors = arrays["value_errors"]
    errors = np.full(number, np.nan)
    if value_errors is not None:
        errors = vector(value_errors, "value_errors", number)
    return [
        with_errors(float(value), float(error), float(error), ("", ""))
        if np.isfinite(value)
        else ""
        for value, error in zip(values, errors, strict=True)
    ]


def _both(arrays: Mapping[str, Any], up: str, down: str, number: int) -> np.ndarray:
    if arrays[up] is None:
        return np.full((2, number), np.nan)
    first = vector(arrays[up], up, number)
    second = arrays[down]
    second = -first if second is None else vector(second, down, number)
    return np.stack([first, second])


_COLOURS = (BLUE, ORANGE)
_FULL = 0.72


def _impact_panel(axes: Axes, rows: Rows, table: _Table) -> None:
    axes.axvline(0, color="black", lw=0.7, zorder=3)
    y = rows.positions
    for bars, filled in ((table.bars, True), (table.outlines, False)):
        # Bars on the same side would hide each other: each takes half of the row.
        split = bars[0] * bars[1] > 0
        full = _FULL if filled else 0.9
        height = np.where(split, full / 2, full)
        for side, colour in enumerate(_COLOURS):
            known = np.isfinite(bars[side])
            centre = y + np.where(split, (0.5 - side) * full / 2, 0.0)
            axes.barh(
                centre[known],
                bars[side][known],
                height[known],
                color=colour if filled else "none",
                edgecolor="none" if filled else colour,
                lw=0 if filled else 1.0,
                zorder=2 if filled else 3,
            )
    if table.linear is not None:
        for sign in (1, -1):
            axes.vlines(
                sign * table.linear, y - 0.42, y + 0.42, color=DARK, lw=1.1, zorder=4
            )
    known = np.isfinite(table.bars).any(axis=0)
    shifts = [
        table.bars,
        table.outlines,
        *([table.linear] * (table.linear is not None)),
    ]
    if not any(np.isfinite(shift).any() for shift in shifts):
        _say_none(axes)
        return
    absent(axes, rows, ~known)
    for i, missing in enumerate(np.isfinite(table.bars).sum(axis=0) == 1):
        if missing:
            side = int(np.isnan(table.bars[1, i]))
            text = ("up", "down")[side]
            axes.annotate(
                f"{text}: failed",
                (0, y[i]),
                (3 if np.nansum(table.bars[:, i]) < 0 else -3, 0),
                textcoords="offset points",
                ha="left" if np.nansum(table.bars[:, i]) < 0 else "right",
                va="center_baseline",
                fontsize=0.8 * rows.font,
                fontstyle="italic",
                bbox={"fc": "white", "ec": "none", "pad": 0.6},
                zorder=5,
            )
    everything = [table.bars, table.outlines]
    if table.linear is not None:
        everything.append(table.linear[None])
    reach = np.nanmax(np.abs(np.concatenate(everything)), initial=0.0)
    limit = 1.12 * reach if reach > 0 else 1.0
    axes.set_xlim(-limit, limit)
    # Few ticks, as small impacts are long numbers.
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))


def _say_none(axes: Axes) -> None:
    """Write that there are no impacts, instead of numbers of an empty axis."""
    axes.set_xticks([])
    axes.text(
        0.5,
        0.5,
        "no impacts",
        transform=axes.transAxes,
        ha="center",
        va="center_baseline",
        fontstyle="italic",
        bbox={"fc": "white", "ec": "none", "pad": 1.5},
        zorder=5,
    )


def _handles(table: _Table) -> list[Any]:
    handles: list[Any] = [
        Patch(facecolor=colour, label=f"{sign}1σ")
        for colour, sign in zip(_COLOURS, ("+", "−"), strict=True)
    ]
    if np.isfinite(table.outlines).any():
        handles += [
            Patch(facecolor="none", edgecolor=colour, label=f"{sign}1σ, pre-fit")
            for colour, sign in zip(_COLOURS, ("+", "−"), strict=True)
        ]
    if table.linear is not None:
        handles.append(
            Line2D([], [], color=DARK, marker="|", ls="", ms=9, label="covariance")
        )
    return handles
