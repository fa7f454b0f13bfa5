"""Log a notice where a likelihood takes long to compile, with the usual remedy.

XLA compiles a program of many operations for minutes, without any output. The
commonest reason is a loop in Python, which makes new operations in each turn. The
notice goes through `logging`: a warning from another thread has no place in a user's
code, and would be an error where warnings are errors.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax


# Seconds of tracing and compiling before the notice, of processor time: waiting for
# other processes of a busy machine does not count.
PATIENCE = 10.0

NOTICE = (
    "A program of this likelihood has been compiling for %g s: the time that XLA takes "
    "grows faster than the length of the program, and a Python loop over parameters, "
    "channels or bins makes it long; if there is one, hold what it goes over in one "
    "array and write the sum with jax.numpy, see 'Write sums as arrays' in 'Make fits "
    "fast' of the documentation."
)

# The event of JAX at the end of a compilation by XLA; the fit itself follows.
_COMPILED = "/jax/core/compile/backend_compile_duration"


class Timer(threading.Timer):
    """Calls a function when this process has used an interval of processor time."""

    def run(self) -> None:
        """Wait until the processor time is used, or the timer is cancelled."""
        begun, remaining = time.process_time(), self.interval
        while remaining > 0 and not self.finished.wait(max(remaining, 0.01)):
            remaining = self.interval - (time.process_time() - begun)
        if not self.finished.is_set():
            self.function()
        self.finished.set()


class _Call(threading.local):
    """The outermost call of this thread that is being traced or compiled.

    Attributes:
        timer: The timer of that call; None without such a call.
        traced: Whether tracing has ended.
    """

    timer: Timer | None = None
    traced: bool = False


_call = _Call()
_registered: list[bool] = []
_logged: list[bool] = []


def waiting() -> Timer | None:
    """Return the timer that runs in this thread, for `stop`."""
    return _call.timer


def stop(before: Timer | None) -> None:
    """Stop the timer of a call that has returned, not one that ran before the call."""
    timer = _call.timer
    if timer is not before and timer is not None:
        timer.cancel()
        _call.timer = None


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Start the timer where a program is traced, unless one runs or has logged."""
    if _logged or _call.timer is not None:
        yield
        return
    if not _registered:
        _registered.append(True)
        jax.monitoring.register_event_duration_secs_listener(_on_event)
    timer = Timer(PATIENCE, _log_notice)
    timer.daemon = True
    _call.timer, _call.traced = timer, False
    timer.start()
    yield
    _call.traced = True


def _on_event(event: str, duration_secs: float, **_: Any) -> None:
    """Stop the timer after compilation; JAX calls this in the compiling thread."""
    del duration_secs
    timer = _call.timer
    # Small programs are also compiled during tracing.
    if timer is not None and _call.traced and event == _COMPILED:
        timer.cancel()


def _log_notice() -> None:
    if not _logged:
        _logged.append(True)
        logging.getLogger("everwillow").warning(NOTICE, PATIENCE)
