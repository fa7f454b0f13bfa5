"""Plots of correlation matrices."""

from collections.abc import Collection, Sequence
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from everwillow._errors import ArgumentValueError, ShapeMismatchError, unknown_key
from everwillow.fitting.options import takes_options
from everwillow.plotting import _records
from everwillow.plotting._arguments import check_source, numbers, texts
from everwillow.plotting._text import text_width
from everwillow.plotting.style import Frame, PlotOptions


@takes_options(PlotOptions)
def correlation(
    result: Any = None,
    /,
    *,
    names: Sequence[Any] | None = None,
    matrix: Any = None,
    only: Collection[Any] | None = None,
    above: float = 0.0,
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw a correlation matrix.

    Up to 25 parameters have their coefficients written into the cells, in percent, if
    they fit into them at 6 points or more.
    Cells without a value (a parameter at a bound has no correlations) are hatched.

    Args:
        result: A `FitResult` with a covariance. Or arrays:
        names: The names of the rows.
        matrix: Correlations, shape ``(n, n)``.
        only: Names to draw, all by default.
        above: Leave out parameters whose coefficients with all others are smaller in
            size than this.
        **options: `PlotOptions`: `labels`, `title`, `note`, `size` and `style`.

    Raises:
        ArgumentValueError: If both a record and arrays are given, if a record has no
            covariance, or if no parameter is left to draw.
        ArgumentTypeError: If the record is of another type.
        ShapeMismatchError: If the matrix does not fit the names.
        UnknownKeyError: If a name in `only` does not exist.

    Example:
        >>> figure = correlation(names=["mu", "bkg"], matrix=[[1, -0.4], [-0.4, 1]])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['100', '−40', '−40', '100']
    """
    check_source("correlation", result, names=names, matrix=matrix)
    if result is not None:
        names, matrix = _records.correlation_of(result)
    known = texts(names, "names")
    table = numbers(matrix, "matrix")
    if table.shape != (len(known), len(known)):
        raise ShapeMismatchError(
            f"matrix: {len(known)} names need the shape {(len(known),) * 2}, got "
            f"{table.shape}."
        )
    keep = _kept(known, table, only, above)
    table = table[np.ix_(keep, keep)]
    count = len(keep)
    frame = Frame(**options)
    with frame.styled():
        shown = [frame.text(known[i]) for i in keep]
        cell, font = _cell(count)
        figure, axes, beside = _square(
            frame,
            cell * count,
            text_width(shown, font),
            lines=frame.has_headline + (bool(frame.title and frame.note) and count < 9),
        )
        image = axes.imshow(table, cmap=_COLOURS, vmin=-1, vmax=1)
        _name_axes(axes, shown, font)
        if count <= 25:
            drawn = axes.get_position().width * figure.get_figwidth() / count
            _write(axes, table, min(font, 0.32 * 72 * cell), drawn)
        elif count <= 60:
            _grid(axes, count)
        _hatch(axes, table)
        bar = figure.colorbar(image, cax=beside)
        bar.set_label("Correlation", loc="top")
        bar.ax.tick_params(which="both", direction="in")
        frame.headline(axes)
    return figure


def _square(
    frame: Frame, side: float, names: float, *, lines: int
) -> tuple[Figure, Axes, Axes]:
    """Return a figure with a square for the matrix and a bar for the colours.

    Automatic layouts move axes of a fixed aspect a little at every drawing.

    Args:
        frame: The options of the plot.
        side: The side of the square.
        names: The width of the longest name in inches.
        lines: The number of lines above the frame.
    """
    left, right = 1.03 * names + 0.16, 0.95
    below, above = 1.03 * names + 0.16, 0.1 + 0.2 * lines
    side = max(side, 1.2)
    figure = frame.figure((left + side + right, below + side + above))
    figure.set_layout_engine("none")
    width, height = figure.get_size_inches()
    side = max(min(width - left - right, height - below - above), 0.3 * width)
    bottom = height - above - side
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    place = (left + side + 0.1) / width, bottom / height, 0.14 / width, side / height
    return figure, axes, figure.add_axes(place)


# From blue over white to red, which every kind of colour vision tells apart.
_COLOURS = "RdBu_r"
# The part of the width of a cell that its number may fill, and the smallest readable
# size of a font in points.
_FILLED, _LEAST_FONT = 0.86, 6.0


def _kept(
    names: Sequence[str], table: np.ndarray, only: Collection[Any] | None, above: float
) -> list[int]:
    chosen = texts(only, "only") if only is not None else names
    for name in chosen:
        if name not in names:
            raise unknown_key(name, names, where="only")
    index = [names.index(name) for name in chosen]
    others = np.abs(np.where(np.eye(len(names), dtype=bool), 0.0, table))
    largest = np.nanmax(np.nan_to_num(others), axis=1, initial=0.0)
    keep = [i for i in index if above <= 0 or largest[i] >= above]
    if not keep:
        raise ArgumentValueError(
            f"above: no parameter has a correlation of {above:g} or more."
        )
    return keep


def _cell(count: int) -> tuple[float, float]:
    """Return the size of a cell in inches and that of the names in points."""
    if count <= 10:
        return 0.42, 9.5
    if count <= 25:
        return 0.30, 8.5
    if count <= 50:
        return 0.15, 7.0
    return 0.1, 5.2


def _name_axes(axes: Axes, shown: Sequence[str], font: float) -> None:
    places = np.arange(len(shown))
    axes.set_xticks(places, shown, rotation=90, fontsize=font)
    axes.set_yticks(places, shown, fontsize=font)
    axes.tick_params(which="both", length=0)
    axes.minorticks_off()


def _write(axes: Axes, table: np.ndarray, font: float, cell: float) -> None:
    """Write the coefficients, unless the cells are too small for readable numbers.

    Args:
        axes: The axes of the matrix.
        table: The coefficients.
        font: The largest size of the font, in points.
        cell: The size of a cell in the figure, in inches.
    """
    shown = {
        place: _percent(value)
        for place, value in np.ndenumerate(table)
        if np.isfinite(value)
    }
    needed = text_width(shown.values(), font)
    if needed > 0:
        font = min(font, font * _FILLED * cell / needed)
    if font < _LEAST_FONT:
        return
    for (row, column), text in shown.items():
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center_baseline",
            fontsize=font,
            color="white" if abs(table[row, column]) > 0.6 else "black",
        )


def _percent(value: float) -> str:
    text = f"{100 * value:.0f}"
    return "0" if text == "-0" else text.replace("-", "−")


def _grid(axes: Axes, count: int) -> None:
    for edge in np.arange(0.5, count - 1):
        axes.axhline(edge, color="white", lw=0.3)
        axes.axvline(edge, color="white", lw=0.3)


def _hatch(axes: Axes, table: np.ndarray) -> None:
    missing = np.ma.masked_where(np.isfinite(table), np.ones_like(table))
    if missing.count():
        edges = np.arange(len(table) + 1) - 0.5
        axes.pcolor(
            edges, edges, missing, hatch="////", cmap="Greys", vmin=0, vmax=9, alpha=0.6
        )
