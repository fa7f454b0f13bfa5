"""Where and how a command writes: tables, lines, and a sign of life."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text


# What takes longer than this, in seconds, shows that it is alive.
PATIENCE = 1.0


def console(*, errors: bool = False) -> Console:
    """Return the terminal; made anew, as tests exchange the streams."""
    return Console(stderr=errors, highlight=False, soft_wrap=False)


def show(*parts: RenderableType) -> None:
    """Print parts, with an empty line between them."""
    terminal = console()
    for number, part in enumerate(parts):
        if number:
            terminal.print()
        terminal.print(Text(part) if isinstance(part, str) else part)


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = ""
) -> RenderableType:
    """Return a table: the first column is text, the others are numbers.

    Args:
        heads: Of the columns; those that nothing stands in are left out.
        rows: Cells; long names are folded, numbers never.
        title: Above it, on the left.
    """
    kept = [
        i for i in range(len(heads)) if i == 0 or any(row[i].strip() for row in rows)
    ]
    made = Table(
        box=box.SIMPLE_HEAD,
        header_style="bold",
        show_edge=False,
        pad_edge=False,
    )
    for place in kept:
        if place == 0:
            made.add_column(heads[place], overflow="fold", min_width=12)
        else:
            made.add_column(heads[place], justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*(Text(row[i]) for i in kept))
    return Group(Text(title, style="bold"), made) if title else made


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
