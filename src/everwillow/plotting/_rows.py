"""Plots with a row for each name: sizes, names and marks of empty rows."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes


class Rows(NamedTuple):
    """The sizes of a plot with rows.

    Attributes:
        number: The number of rows.
        height: The height of one row, in inches.
        font: The font size of the names, in points.
    """

    number: int
    height: float
    font: float

    @property
    def positions(self) -> np.ndarray:
        """The centre of each row, the first one at the top."""
        return np.arange(self.number)[::-1].astype(float)

    @property
    def marker(self) -> float:
        """The size of a point in a row, in points."""
        return min(4.0, 18 * self.height)


def rows_for(count: int) -> Rows:
    """Return sizes that fit on a page; they are smaller for many rows."""
    if count <= 12:
        return Rows(count, 0.25, 9.5)
    if count <= 30:
        return Rows(count, 0.205, 9.0)
    if count <= 60:
        return Rows(count, 0.16, 8.0)
    return Rows(count, 0.125, 6.8)


def columns_for(count: int, limit: int = 50) -> list[slice]:
    """Return the rows of each column; all columns have about the same length."""
    number = max(1, math.ceil(count / limit))
    length = math.ceil(count / number)
    return [slice(i * length, min((i + 1) * length, count)) for i in range(number)]


def name_rows(axes: Axes, rows: Rows, texts: Sequence[str], total: int) -> None:
    """Write the names, and shade every other row when there are many.

    Args:
        axes: The axes to draw on.
        rows: The sizes of the rows.
        texts: A name for each row.
        total: The number of rows of the axis, equal for columns side by side.
    """
    axes.set_ylim(rows.number - total - 0.5, rows.number - 0.5)
    axes.set_yticks(rows.positions, texts, fontsize=rows.font)
    axes.tick_params(axis="y", which="both", length=0)
    for position in rows.positions[1::2] if rows.number > 5 else ():
        axes.axhspan(position - 0.5, position + 0.5, color="0.955", lw=0, zorder=-3)


def absent(
    axes: Axes,
    rows: Rows,
    where: Any,
    x: float = 0.0,
    *,
    instead: Sequence[str] | None = None,
) -> None:
    """Mark rows without a value, so that they do not look like zero.

    Args:
        axes: The axes to draw on.
        rows: The sizes of the rows.
        where: Which rows have no value.
        x: The position of the text.
        instead: The text of each row; "no value" if it is empty.
    """
    for i in np.flatnonzero(where).tolist():
        text = instead[i] if instead is not None else ""
        axes.text(
            x,
            rows.positions[i],
            text or "no value",
            ha="center",
            va="center_baseline",
            fontsize=0.85 * rows.font,
            fontstyle="normal" if text else "italic",
            bbox={"fc": "white", "ec": "none", "pad": 0.6},
            zorder=5,
        )


def write_column(
    axes: Axes, rows: Rows, head: str, lines: list[str], inches: float
) -> None:
    """Write a column of texts to the right of the frame, below its head.

    Args:
        axes: The axes to draw on.
        rows: The sizes of the rows.
        head: The text above the frame.
        lines: The texts of the first rows.
        inches: The distance of the end of the texts from the frame.
    """
    places = [rows.number - 0.5, *rows.positions[: len(lines)]]
    for i, (y, text) in enumerate(zip(places, [head, *lines], strict=True)):
        axes.annotate(
            text,
            (1, y),
            (72 * inches, 5 if i == 0 else 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="bottom" if i == 0 else "center_baseline",
            fontsize=rows.font,
            fontweight="bold" if i == 0 else "normal",
            annotation_clip=False,
        )
