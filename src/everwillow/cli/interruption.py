"""Ctrl-C ends the process of a command at once, with one line and exit code 130.

Python raises `KeyboardInterrupt` only between two instructions of the main thread: not
while XLA compiles, and in the middle of any import otherwise, which makes tracebacks.
Here a thread ends the process instead; it learns of the signal at once.
"""

import os
import signal
import sys
import threading


INTERRUPTED = 130
_LINE = b"Interrupted.\n"
_SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"


def end_on_interrupt() -> None:
    """Make an interrupt end this process, unless its parent has it ignore interrupts.

    Files that are being written are removed; those that they would replace stay.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    if os.name != "posix":
        signal.signal(signal.SIGINT, lambda *_: _end())
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # In this order: from the second line on Python raises nothing.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: None)
    threading.Thread(target=_wait, args=(reader,), daemon=True).start()


def _wait(reader: int) -> None:
    # Other signals with a handler arrive here, too.
    while signal.SIGINT not in os.read(reader, 16):
        pass
    _end()


def _end() -> None:
    store = sys.modules.get("everwillow._store")
    for file in tuple(getattr(store, "UNFINISHED", ())):
        file.unlink(missing_ok=True)
    line = _LINE
    if sys.stderr is not None and sys.stderr.isatty():
        # The progress indicator hides the cursor.
        line = _SHOW_CURSOR + line
    os.write(2, line)
    os._exit(INTERRUPTED)


def is_command() -> bool:
    """Return whether this process runs the command, and is no program that imports it.

    While ``python -m`` looks for the module, ``sys.argv`` does not name it yet.
    """
    name = os.path.basename(sys.argv[0] if sys.argv else "")  # noqa: PTH119
    if name == "-m":
        return "everwillow.cli" in sys.orig_argv
    return name.partition(".")[0] == "everwillow"
