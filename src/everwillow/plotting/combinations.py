"""The measurements of a combination, with their average."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import check_source, numbers, sides, texts, vector
from everwillow.plotting._rows import Rows, absent, name_rows, rows_for, write_column
from everwillow.plotting._text import column, decimals, minus, text_width, with_errors
from everwillow.plotting.style import BLUE, DARK, Frame, PlotOptions


@takes_options(PlotOptions)
def measurements(
    result: Any = None,
    /,
    *,
    names: Sequence[Any] | None = None,
    values: Any = None,
    errors: Any = None,
    statistical: Any = None,
    average: Sequence[float] | None = None,
    weights: Any = None,
    pulls: Any = None,
    quantity: str | None = None,
    **options: Unpack[PlotOptions],
) -> Figure:
    r"""Draw measurements, and their average as a band.

    Thin bars are total errors, thick ones the statistical parts. Beside them are the
    numbers, weights in percent, and pulls, as far as a figure of a given size has room
    for them; the average is the last row.

    Args:
        result: The result of `everwillow.impacts.measurements`. Or arrays:
        names: The names of the measurements.
        values: Their values, shape ``(n,)``; NaN is shown as "no value".
        errors: Total errors, shape ``(n,)``, or ``(2, n)`` with the sizes down and up.
        statistical: Their statistical parts, in one of these shapes, or None.
        average: Value and total error of the average, and the statistical part if it is
            known; None for no average.
        weights: The weights in the average, shape ``(n,)``, or None.
        pulls: Distances to the average over their errors, shape ``(n,)``, or None.
        quantity: The name of the horizontal axis; by default that of the parameter.
        **options: `PlotOptions`: `labels` (that of ``"average"`` is the name of the
            last row), `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, or an array is
            missing.
        ArgumentTypeError: If the record is of another type.
        ShapeMismatchError: If an array does not fit the names.

    Example:
        >>> figure = measurements(
        ...     names=["ATLAS", "CMS"],
        ...     values=[172.69, 172.52],
        ...     errors=[0.48, 0.42],
        ...     statistical=[0.25, 0.14],
        ...     average=(172.52, 0.33, 0.14),
        ...     quantity="$m_t$ [GeV]",
        ... )
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['ATLAS', 'CMS', 'Average']
    """
    arrays = {"names": names, "values": values, "errors": errors}
    more = {"statistical": statistical, "average": average}
    more |= {"weights": weights, "pulls": pulls}
    check_source("measurements", result, {*more}, **arrays, **more)
    frame = Frame(**options)
    if result is not None:
        arrays, poi = _records.measurements_of(result)
        quantity = frame.text(poi) if quantity is None else quantity
    else:
        arrays |= more
    table = _table(arrays, frame)
    with frame.styled():
        rows = rows_for(len(table.names))
        rows, columns = _fitting(rows, table, frame)
        beside = sum(
            text_width([head, *lines], rows.font) + _GAP for head, lines in columns
        )
        width = 3.1 + text_width(table.names, rows.font) + beside
        height = 1.0 + rows.height * (rows.number + 0.5)
        figure = frame.figure((width, height))
        axes = figure.subplots()
        name_rows(axes, rows, table.names, rows.number)
        _draw(axes, rows, table)
        _write(axes, rows, columns)
        axes.set_xlabel("" if quantity is None else quantity)
        frame.headline(axes, heads=True)
    return figure


_GAP = 0.14
_NARROWEST, _SMALLEST = 1.0, 6.5


class _Table(NamedTuple):
    """The rows of the plot; with an average, it is the last of them.

    Attributes:
        names: Their names.
        values: Their values.
        errors: Total errors down and up, shape ``(2, rows)``.
        statistical: Statistical parts, NaN where they are not known.
        averaged: Whether there is an average.
        weights: Weights of the measurements, or None.
        pulls: Their pulls, or None.
    """

    names: list[str]
    values: np.ndarray
    errors: np.ndarray
    statistical: np.ndarray
    averaged: bool
    weights: np.ndarray | None
    pulls: np.ndarray | None

    @property
    def columns(self) -> list[tuple[str, list[str]]]:
        """The heads and the texts of the columns beside the drawing."""
        known = np.isfinite(self.statistical).any()
        head = "± stat. ± syst." if known else "± total"
        found = [(head, self._values())]
        if self.weights is not None:
            texts = [
                minus(f"{100 * w:.1f}%") if np.isfinite(w) else "–"
                for w in self.weights
            ]
            found.append(("Weight", texts))
        if self.pulls is not None:
            found.append(("Pull", column(self.pulls, digits=2)[0]))
        return found

    def _values(self) -> list[str]:
        sizes = self.errors[np.isfinite(self.errors) & (self.errors > 0)]
        digits = decimals(float(np.min(sizes))) if sizes.size else 2
        return [
            _value_text(value, error, part, digits)
            for value, error, part in zip(
                self.values, self.errors.T, self.statistical.T, strict=True
            )
        ]


def _value_text(value: float, error: np.ndarray, part: np.ndarray, digits: int) -> str:
    """Return a value with its error, or with both parts of it."""
    if not np.isfinite(value):
        return "–"
    if error[0] != error[1] or not np.isfinite(error[0]):
        return with_errors(value, float(error[0]), float(error[1]), ("", ""))
    parts = [error[0]]
    if part[0] == part[1] <= error[0]:
        parts = [part[0], np.sqrt(error[0] ** 2 - part[0] ** 2)]
    return minus(" ± ".join(f"{number:.{digits}f}" for number in (value, *parts)))


def _table(arrays: dict[str, Any], frame: Frame) -> _Table:
    known = texts(arrays["names"], "names")
    count, average = len(known), arrays["average"]
    values = vector(arrays["values"], "values", count)
    errors = sides(arrays["errors"], "errors", count)
    statistical = np.full((2, count), np.nan)
    if arrays["statistical"] is not None:
        statistical = sides(arrays["statistical"], "statistical", count)
    shown = [frame.text(name) for name in known]
    if average is not None:
        value, error, *part = numbers(average, "average").tolist()
        shown.append((frame.labels or {}).get("average", "Average"))
        values = np.append(values, value)
        errors = np.column_stack([errors, [error] * 2])
        statistical = np.column_stack([statistical, (part or [np.nan]) * 2])
    weights, pulls = (
        None if arrays[key] is None else vector(arrays[key], key, count)
        for key in ("weights", "pulls")
    )
    return _Table(
        shown, values, errors, statistical, average is not None, weights, pulls
    )


def _fitting(
    rows: Rows, table: _Table, frame: Frame
) -> tuple[Rows, list[tuple[str, list[str]]]]:
    """Return rows and columns with texts that leave room for the drawing.

    In a figure of a given size the font is smaller; if that is not enough, pulls are
    left out, then weights, then the parts of the errors.
    """
    full, total = table.columns, table._replace(statistical=np.nan * table.statistical)
    if frame.size is None:
        return rows, full
    choices = [*(full[:count] for count in range(len(full), 0, -1)), total.columns[:1]]
    for columns in choices:
        texts = [table.names, *([head, *lines] for head, lines in columns)]
        need = sum(text_width(part, rows.font) for part in texts)
        room = frame.size[0] - _NARROWEST - _GAP * len(texts) - 0.1
        font = rows.font * min(1.0, max(room, 0.01) / need)
        if font >= _SMALLEST:
            return rows._replace(font=font), columns
    return rows._replace(font=_SMALLEST), choices[-1]


def _draw(axes: Axes, rows: Rows, table: _Table) -> None:
    y, values = rows.positions, table.values
    if table.averaged:
        middle, (down, up) = values[-1], table.errors[:, -1]
        axes.axvspan(middle - down, middle + up, color=BLUE, alpha=0.2, lw=0, zorder=-1)
        axes.axvline(middle, color=DARK, lw=0.9, zorder=1)
        axes.axhline(0.5, color="black", lw=0.8)
    for i, place in enumerate(y.tolist()):
        last = table.averaged and i == rows.number - 1
        look: dict[str, Any] = {"color": DARK if last else "black", "ls": "none"}
        look |= {"marker": "D" if last else "o", "ms": rows.marker, "zorder": 4}
        bars = table.errors[:, [i]], table.statistical[:, [i]]
        for bar, width in zip(bars, (1.1, 2.8), strict=True):
            if np.isfinite(bar).all():
                axes.errorbar(values[[i]], [place], xerr=bar, elinewidth=width, **look)
        axes.plot(values[[i]], [place], **look)
    ends = np.concatenate([values - table.errors[0], values + table.errors[1], values])
    ends = ends[np.isfinite(ends)]
    low, high = (ends.min(), ends.max()) if ends.size else (0.0, 1.0)
    margin = 0.07 * (high - low) or 0.5
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    absent(axes, rows, ~np.isfinite(values), float(np.mean(axes.get_xlim())))


def _write(axes: Axes, rows: Rows, columns: Sequence[tuple[str, list[str]]]) -> None:
    right = 0.0
    for head, lines in columns:
        right += text_width([head, *lines], rows.font) + _GAP
        write_column(axes, rows, head, lines, right)
