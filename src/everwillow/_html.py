"""Tables made once, for text and for notebooks."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias


# Colours are those of the page, so that light and dark themes are readable.
_TABLE = "border-collapse: collapse; font-variant-numeric: tabular-nums"
_CELL = "padding: 0.15em 0.7em; white-space: nowrap"
_LINE = "border-bottom: 1px solid currentColor"

# A space, as an empty line has no height.
_BLANK = "&#160;"

# Number of rows that a notebook shows.
MOST_ROWS = 200


@dataclass(frozen=True)
class Table:
    """A table: the first row has the heads, the first column is text.

    Attributes:
        rows: The cells.
    """

    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        """Return the rows as left-aligned columns."""
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in self.rows
        )

    def html(self) -> str:
        """Return the rows as a table of HTML; text is escaped."""
        head, *rows = self.rows
        lines = [_row("th", head, f"{_CELL}; {_LINE}")]
        lines += [_row("td", row, _CELL) for row in rows[:MOST_ROWS]]
        if len(rows) > MOST_ROWS:
            more = f"... and {len(rows) - MOST_ROWS} more"
            lines.append(_row("td", [more], _CELL))
        return f'<table style="{_TABLE}">{"".join(lines)}</table>'


Part: TypeAlias = str | Table
"""A paragraph, or a table."""


class Shown:
    """A record whose text and whose form in notebooks are the same parts."""

    def _parts(self) -> Sequence[Part]:
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return the tables as text."""
        return text_of(self._parts())

    def _repr_html_(self) -> str:
        """Return the same for notebooks."""
        return html_of(self._parts())


def apart(parts: Sequence[Part]) -> list[Part]:
    """Return parts with an empty line between each two."""
    return [piece for part in parts for piece in ("", part)][1:]


def text_of(parts: Sequence[Part]) -> str:
    """Return parts as text, each on lines of its own."""
    return "\n".join(map(str, parts))


def html_of(parts: Sequence[Part]) -> str:
    """Return parts as HTML.

    Example:
        >>> html_of(["a < b"])
        '<div><div>a &lt; b</div></div>'
    """
    inner = [
        part.html()
        if isinstance(part, Table)
        else f"<div>{html.escape(part) or _BLANK}</div>"
        for part in parts
    ]
    return f"<div>{''.join(inner)}</div>"


def _row(tag: str, cells: Sequence[str], style: str) -> str:
    shown = []
    for i, cell in enumerate(cells):
        side = "left" if i == 0 else "right"
        text = html.escape(cell)
        shown.append(f'<{tag} style="{style}; text-align: {side}">{text}</{tag}>')
    return f"<tr>{''.join(shown)}</tr>"
