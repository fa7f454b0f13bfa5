"""What work is being done now, for logs and for a line on the terminal.

Functions that may take long announce their work with `stage` or `counted`. Each is
logged under the name ``everwillow``, and a `Display` shows the work that began last.
"""

import contextlib
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self


# Seconds after which work is shown, and between two updates of the line.
PATIENCE = 1.0
INTERVAL = 0.5
# Work that begins so soon after other work continues the wait, in seconds.
AT_ONCE = 0.3

LOGGER = logging.getLogger("everwillow")


class Work:
    """A piece of work that has begun and not ended.

    Attributes:
        text: What is done, without the dots at the end.
        total: The number of its parts; None if they are not counted.
        done: How many of them are done.
        begun: When it began, in seconds of `time.perf_counter`.
    """

    def __init__(self, text: str, total: int | None = None) -> None:
        self.text = text
        self.total = total
        self.done = 0
        self.begun = time.perf_counter()
        self._first: tuple[float, int] | None = None

    @property
    def seconds(self) -> float:
        """The time since it began."""
        return time.perf_counter() - self.begun

    def __str__(self) -> str:
        """Return one line: text, number of parts, elapsed and remaining time."""
        text, took = self.text, f"{self.seconds:.0f} s"
        if self.total is not None:
            text = f"{text}: {self.done} of {self.total}"
            if self._first is not None:
                # The first part includes compiling.
                when, done = self._first
                if self.done > done:
                    each = (time.perf_counter() - when) / (self.done - done)
                    took += f", about {each * (self.total - self.done):.0f} s left"
        return f"{text} ({took})"

    def advance(self, done: int) -> None:
        """Count parts that are done."""
        self.done += done
        if self._first is None:
            self._first = time.perf_counter(), self.done


# The work of all threads, in the order of its begin.
_works: list[Work] = []
_displays: list["Display"] = []


def begin(text: str, total: int | None = None) -> Work:
    """Begin work that `end` ends, where a block does not fit."""
    work = Work(text, total)
    _works.append(work)
    LOGGER.info("%s", text)
    for display in list(_displays):
        display.wake()
    return work


def end(work: Work) -> None:
    """End work."""
    _works.remove(work)
    if not _works:
        for display in list(_displays):
            display.rest()
    LOGGER.info("%s: %.2f s", work.text, work.seconds)


def current() -> str:
    """Return the text of the work that began last; empty without work."""
    works = _works[-1:]
    return works[0].text if works else ""


@contextlib.contextmanager
def stage(text: str) -> Iterator[None]:
    """Announce the work of a block.

    Its begin and its end, with the time in seconds, are INFO records of the logger
    ``everwillow``.

    Args:
        text: What is done, such as ``"scan of mu"``.
    """
    work = begin(text)
    try:
        yield
    finally:
        end(work)


@contextlib.contextmanager
def counted(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Announce the work of a block that has many parts, as `stage` does.

    Args:
        text: What is done.
        total: The number of parts.

    Yields:
        A function that takes the number of parts done since its last call. It may be
        called in several threads.
    """
    work = begin(text, total)
    lock = threading.Lock()

    def advance(done: int) -> None:
        with lock:
            work.advance(done)
        LOGGER.debug("%s: %d of %d", text, work.done, total)

    try:
        yield advance
    finally:
        end(work)


class Display:
    """Shows the work that began last on one line, from a thread of its own.

    The line appears when work has lasted for a second, and disappears at its end.

    Args:
        stream: Where to write; the standard error of the moment if None.
    """

    def __init__(self, stream: Any = None) -> None:
        self._line = _Line(stream)
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting_since = self._rested = time.perf_counter()

    def __enter__(self) -> Self:
        _displays.append(self)
        if _works:
            self.wake()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wake(self) -> None:
        """Watch work that has begun."""
        with self._lock:
            now = time.perf_counter()
            if not self._awake.is_set() and now - self._rested > AT_ONCE:
                self._waiting_since = now
            self._awake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, daemon=True)
                self._thread.start()

    def rest(self) -> None:
        """Remove the line, as there is no work."""
        with self._lock:
            self._awake.clear()
            self._rested = time.perf_counter()
            self._line.clear()

    def close(self) -> None:
        """Remove the line, and show nothing from now on."""
        if self in _displays:
            _displays.remove(self)
        self.rest()
        self._closed.set()
        self._awake.set()

    def _watch(self) -> None:
        while self._awake.wait() and not self._closed.is_set():
            with self._lock:
                works = list(_works)
                waited = time.perf_counter() - self._waiting_since
                # No work may be left since the display woke up.
                if works and waited >= PATIENCE and not self._closed.is_set():
                    self._line.write(works[-1])
            # Until the line is due, or its numbers have changed.
            left = PATIENCE - waited
            self._closed.wait(max(left, 0.01) if 0 < left < INTERVAL else INTERVAL)


class _Line:
    """A line that is written again and again; in a file, one line for each work."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._length = 0
        self._last: Work | None = None

    def write(self, work: Work) -> None:
        if _is_rewritten(self._to):
            columns = shutil.get_terminal_size((80, 24)).columns
            text = str(work)[: columns - 1]
            self._put("\r" + text.ljust(self._length))
            self._length = len(text)
        elif work is not self._last:
            self._put(f"{work.text} ...\n")
        self._last = work

    def clear(self) -> None:
        if self._length:
            self._put("\r" + " " * self._length + "\r")
        self._length = 0

    @property
    def _to(self) -> Any:
        return sys.stderr if self._stream is None else self._stream

    def _put(self, text: str) -> None:
        known = getattr(self._to, "encoding", None) or "utf-8"
        self._to.write(text.encode(known, "replace").decode(known))
        self._to.flush()


def _is_rewritten(stream: Any) -> bool:
    """Return whether a carriage return goes back to the start of the line."""
    in_notebook = type(stream).__module__.startswith("ipykernel")
    return in_notebook or (hasattr(stream, "isatty") and stream.isatty())
