"""Where and how a command writes: tables, lines, and a sign of life.

Tables of results are plain text made here: importing rich takes as long as a fit. It
draws what is not needed when all is well: messages of errors, and signs of life.
"""

import contextlib
import os
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from rich.console import Console

# What takes longer than this, in seconds, shows that it is alive.
PATIENCE = 1.0
NARROWEST, WIDEST = 40, 120
GAP = "   "


def console(*, errors: bool = False) -> "Console":
    """Return the terminal of rich; made anew, as tests exchange the streams."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=errors, highlight=False, soft_wrap=False)


def width() -> int:
    """Return how many characters a line may have."""
    columns = shutil.get_terminal_size((80, 24)).columns
    return min(max(columns, NARROWEST), WIDEST)


def show(*parts: str) -> None:
    """Print parts with an empty line between them; lines that are too long wrap."""
    text = "\n\n".join(_wrapped(part) for part in parts)
    stream: Any = sys.stdout
    # A terminal may not know all letters; a result is worth more than they are.
    known = (stream.encoding or "utf-8").lower()
    stream.write(text.encode(known, "replace").decode(known) + "\n")
    stream.flush()


def _wrapped(part: str) -> str:
    lines = []
    for line in part.splitlines():
        # Rows of tables have gaps, and know how wide they may be.
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


def bold(text: str) -> str:
    """Return a text that stands out, if this is a terminal."""
    plain = not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"
    return text if plain or os.environ.get("NO_COLOR") else f"\x1b[1m{text}\x1b[0m"


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = ""
) -> str:
    """Return a table: the first column is text, the others are numbers.

    Args:
        heads: Of the columns; those that nothing stands in are left out.
        rows: Cells; names that are too long are folded, numbers never.
        title: Above it, on the left.

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
    """Return a row, in several lines if its name is too long for one."""
    size = widths[0]
    # Between words where there are any, as in names of mappings.
    name = textwrap.wrap(line[0], size, break_on_hyphens=False) or [""]
    numbers = [cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True)]
    return [GAP.join([name[0].ljust(size), *numbers]).rstrip(), *name[1:]]


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Show a sign of life on a terminal while something takes long.

    Args:
        what: Is being done.
    """
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    watcher = threading.Thread(target=_spin, args=(what, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _spin(what: str, done: threading.Event) -> None:
    began = time.perf_counter()
    if done.wait(PATIENCE):
        return
    with console(errors=True).status(what) as status:
        # Seldom: whoever draws takes time from who computes.
        while not done.wait(0.5):
            status.update(f"{what} ({time.perf_counter() - began:.0f} s)")
