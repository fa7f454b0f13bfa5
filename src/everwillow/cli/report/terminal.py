"""Output on the terminal: tables, lines, and a progress indicator.

Tables of results are plain text made here, as importing rich takes as long as a fit. It
is imported for messages of errors only.
"""

import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from everwillow import _progress


if TYPE_CHECKING:
    from rich.console import Console

NARROWEST, WIDEST = 40, 120
GAP = "   "


def console(*, errors: bool = False) -> "Console":
    """Return a new console of rich, as tests replace the streams."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=errors, highlight=False, soft_wrap=False)


def width() -> int:
    """Return the largest number of characters of a line."""
    columns = shutil.get_terminal_size((80, 24)).columns
    return min(max(columns, NARROWEST), WIDEST)


def show(*parts: str) -> None:
    """Print parts with an empty line between them; lines that are too long wrap."""
    text = "\n\n".join(_wrapped(part) for part in parts)
    stream: Any = sys.stdout
    # A terminal may not have all letters; these are replaced.
    known = (stream.encoding or "utf-8").lower()
    stream.write(text.encode(known, "replace").decode(known) + "\n")
    stream.flush()


def _wrapped(part: str) -> str:
    lines = []
    for line in part.splitlines():
        # Rows of tables have gaps, and their width is limited already.
        if GAP in line or len(line) <= width():
            lines.append(line)
        else:
            indent = "  " if line.startswith("- ") else ""
            lines += textwrap.wrap(
                line,
                width(),
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

    Args:
        heads: The heads of the columns; empty columns are left out.
        rows: The cells; long names continue on the next line, numbers never.
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
    others = sum(widths[1:]) + len(GAP) * (len(widths) - 1)
    widths[0] = min(widths[0], max(width() - others, 12))
    lines = [bold(_row(cells[0], widths)[0]), "-" * (sum(widths[:1]) + others)]
    for line in cells[1:]:
        lines += _row(line, widths)
    return "\n".join([*([bold(title)] if title else []), *lines])


def _row(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return the lines of a row, several if its name is too long for one."""
    size = widths[0]
    # Names of mappings break between words.
    name = textwrap.wrap(line[0], size, break_on_hyphens=False) or [""]
    numbers = [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
    return [GAP.join([name[0].ljust(size), *numbers]).rstrip(), *name[1:]]


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
