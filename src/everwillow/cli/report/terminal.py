"""Output on the terminal: tables, lines, and a progress indicator.

Tables of results are plain text made here, as importing rich takes as long as a fit. It
is imported for messages of errors only.
"""

import contextlib
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from everwillow import _progress


if TYPE_CHECKING:
    from rich.console import Console

NARROWEST = 40
# Sentences are not longer than this, on any terminal.
WIDEST = 120
# The width that a column of names has at least.
LEAST_NAME = 12
GAP = "   "


def console(*, errors: bool = False) -> "Console":
    """Return a new console of rich, as tests replace the streams."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=errors, highlight=False, soft_wrap=False)


def width(stream: Any = None) -> float:
    """Return the largest number of characters of a line.

    Infinite where the output is no terminal, but a file or another program: nothing is
    wrapped then. The variable ``COLUMNS`` sets it for both.

    Args:
        stream: The output; the standard output if None.
    """
    stream = sys.stdout if stream is None else stream
    columns = os.environ.get("COLUMNS", "")
    if not (columns.isdecimal() and int(columns)) and not stream.isatty():
        return math.inf
    return max(shutil.get_terminal_size((80, 24)).columns, NARROWEST)


def show(*parts: str) -> None:
    """Print parts with an empty line between them; lines that are too long wrap."""
    text = "\n\n".join(wrapped(part) for part in parts)
    stream: Any = sys.stdout
    # A terminal may not have all letters; these are replaced.
    known = (stream.encoding or "utf-8").lower()
    stream.write(text.encode(known, "replace").decode(known) + "\n")
    stream.flush()


def wrapped(part: str, limit: float | None = None) -> str:
    """Return a text in lines that are not too long; no word is divided.

    Args:
        part: The text. Rows of tables, which have gaps, stay as they are.
        limit: The largest number of characters; that of the standard output if None.
    """
    limit = width() if limit is None else limit
    lines = []
    for line in part.splitlines():
        if GAP in line or len(line) <= limit:
            lines.append(line)
        else:
            indent = "  " if line.startswith("- ") else ""
            lines += textwrap.wrap(
                line,
                int(min(limit, WIDEST)),
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return "\n".join(lines)


def remarks(sentences: Sequence[str]) -> list[str]:
    """Return a part with the assumptions of a reader; none without sentences.

    Example:
        >>> print(*remarks(["The bin is empty."]))
        Assumptions of the reader, and remarks:
        - The bin is empty.
    """
    if not sentences:
        return []
    lines = [f"- {sentence}" for sentence in sentences]
    return ["\n".join(["Assumptions of the reader, and remarks:", *lines])]


def bold(text: str) -> str:
    """Return a text in bold on a terminal."""
    plain = not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"
    return text if plain or os.environ.get("NO_COLOR") else f"\x1b[1m{text}\x1b[0m"


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = ""
) -> str:
    """Return a table: the first column is text, the others are numbers.

    No name and no number is cut or divided. On a narrow terminal a long name has a line
    for itself, and columns that do not fit follow in further tables with the same
    names.

    Args:
        heads: The heads of the columns; empty columns are left out.
        rows: The cells.
        title: The title above the table.

    Example:
        >>> print(table(("name", "value"), [("mu", "1.5"), ("lumi", "1.02")]))
        name   value
        ------------
        mu       1.5
        lumi    1.02
    """
    kept = [
        i for i in range(len(heads)) if i == 0 or any(row[i].strip() for row in rows)
    ]
    cells = [[line[i] for i in kept] for line in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    blocks = _blocks(widths)
    texts = []
    for block in blocks:
        own = [0, *block]
        sizes = [widths[i] for i in own]
        others = sum(len(GAP) + size for size in sizes[1:])
        sizes[0] = int(min(sizes[0], max(width() - others, LEAST_NAME)))
        lines = [[line[i] for i in own] for line in cells]
        texts.append("\n".join(_lines(lines, sizes)))
    return "\n".join([*([bold(title)] if title else []), "\n\n".join(texts)])


def _blocks(widths: Sequence[int]) -> list[list[int]]:
    """Return the columns of each table, as many as fit beside the names."""
    name = min(widths[0], LEAST_NAME)
    blocks: list[list[int]] = [[]]
    used = name
    for i in range(1, len(widths)):
        need = len(GAP) + widths[i]
        if blocks[-1] and used + need > width():
            blocks.append([])
            used = name
        blocks[-1].append(i)
        used += need
    return blocks


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Return the lines of a table with columns of given widths."""
    whole = sum(widths) + len(GAP) * (len(widths) - 1)
    head = bold(_row(cells[0], widths)[-1])
    lines = [head, "-" * whole]
    for line in cells[1:]:
        lines += _row(line, widths)
    return lines


def _row(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the lines of a row, several if its name is too long for one."""
    size = widths[0]
    # Names of mappings break between words, others not at all.
    name = textwrap.wrap(
        line[0], size, break_long_words=False, break_on_hyphens=False
    ) or [""]
    cells = [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
    if len(name) > 1 and all(len(part) <= size for part in name):
        return [GAP.join([name[0].ljust(size), *cells]).rstrip(), *name[1:]]
    if len(name[-1]) <= size:
        return [*name[:-1], GAP.join([name[-1].ljust(size), *cells]).rstrip()]
    return [*name, GAP.join(["".ljust(size), *cells]).rstrip()]


@contextlib.contextmanager
def busy(message: str) -> Iterator[Callable[[str], None]]:
    """Announce a part of a command, which is shown if it takes long.

    Args:
        message: The name of the work.

    Yields:
        A function that takes the name of the next part of the work.
    """
    works = [_progress.begin(message)]

    def proceed(name: str) -> None:
        _progress.end(works.pop())
        works.append(_progress.begin(name))

    try:
        yield proceed
    finally:
        _progress.end(works.pop())


@contextlib.contextmanager
def progress_shown() -> Iterator[None]:
    """Show on a terminal what a command does for longer than a second."""
    with _progress.Display() if sys.stderr.isatty() else contextlib.nullcontext():
        yield
