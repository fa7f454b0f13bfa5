"""Announce that a program is traced and compiled, where progress is shown."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import jax

from everwillow import _progress


TEXT = "compiling, the first time for this structure"

# The event of JAX at the end of a compilation by XLA.
_COMPILED = "/jax/core/compile/backend_compile_duration"


class _Call(threading.local):
    """The outermost call of a program in this thread.

    Attributes:
        running: Whether there is one.
        traced: Whether its tracing has ended.
        work: What is announced; None unless the call compiles.
    """

    running: bool = False
    traced: bool = False
    work: _progress.Work | None = None


_call = _Call()
_registered: list[bool] = []


@contextlib.contextmanager
def calling() -> Iterator[None]:
    """Mark the call of a program, which may have to be compiled."""
    if _call.running:
        yield
        return
    _call.running = True
    try:
        yield
    finally:
        _call.running = False
        _end()


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Announce that the program of the call is compiled."""
    if not _call.running or _call.work is not None:
        yield
        return
    if not _registered:
        _registered.append(True)
        jax.monitoring.register_event_duration_secs_listener(_on_event)
    outer = _progress.current()
    _call.work = _progress.begin(f"{outer}: {TEXT}" if outer else TEXT)
    _call.traced = False
    yield
    _call.traced = True


def _on_event(event: str, duration_secs: float, **_: Any) -> None:
    """End the work after compilation; JAX calls this in the compiling thread."""
    del duration_secs
    # Small programs are also compiled during tracing.
    if event == _COMPILED and _call.traced:
        _end()


def _end() -> None:
    if _call.work is not None:
        _progress.end(_call.work)
        _call.work = None
