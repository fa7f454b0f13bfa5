"""The end of a command: exit codes, and messages instead of tracebacks."""

import contextlib
import math
import os
import pathlib
import sys
import sysconfig
import traceback as tracebacks
from collections.abc import Iterator, Mapping

import typer

from everwillow._errors import EverwillowError, FitError
from everwillow.cli.interruption import INTERRUPTED
from everwillow.cli.report.wording import in_options
from everwillow.workflows.command_options import CommandOption


SUCCESS = 0
INTERNAL = 1
BAD_INPUT = 2
NOT_CONVERGED = 3
# The characters of a frame beside its text.
FRAME = 4
NO_OPTIONS: Mapping[str, CommandOption] = {}


@contextlib.contextmanager
def ending(
    source: str, *, traceback: bool, options: Mapping[str, CommandOption] = NO_OPTIONS
) -> Iterator[None]:
    """Turn exceptions into a message and an exit code.

    Args:
        source: The name of the input, for the title.
        traceback: Whether to show the traceback of an exception.
        options: Options in place of arguments of Python, for messages.
    """
    try:
        yield
    except EverwillowError as error:
        title, code = "Bad input", BAD_INPUT
        if isinstance(error, FitError):
            title, code = "No result", NOT_CONVERGED
        text = in_options(error, options)
        _report(error, f"{title}: {source}", traceback=traceback, text=text)
        raise typer.Exit(code) from None
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader of a pipe has ended, such as `head`. Without this Python prints an
        # error at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(SUCCESS) from None
    except OSError as error:
        _report(error, "A file could not be read or written", traceback=traceback)
        raise typer.Exit(BAD_INPUT) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        place = _place_of_user(error)
        if place is not None and not isinstance(error, MemoryError):
            text = f"{place}: {type(error).__name__}: {error}"
            _report(error, f"Bad input: {source}", traceback=traceback, text=text)
            raise typer.Exit(BAD_INPUT) from None
        hint = (
            f"{type(error).__name__}: {error}\n\nThis is an error of everwillow, not "
            "of your input. Run the same command with --traceback, and please report "
            "what it prints together with the input."
        )
        if isinstance(error, MemoryError):
            hint = "There is not enough memory."
        _report(error, "Internal error", traceback=traceback, text=hint)
        raise typer.Exit(INTERNAL) from None


def _place_of_user(error: BaseException) -> str | None:
    """Return the file and line of code of the user at which an exception was raised.

    This is the innermost frame that belongs neither to everwillow nor to Python nor to
    an installed package: everwillow calls mappings, parameter models and likelihoods of
    the user, which may call other packages.
    """
    if isinstance(error, SyntaxError) and _is_of_user(error.filename or "<"):
        return f"{error.filename}, line {error.lineno}"
    frames = tracebacks.extract_tb(error.__traceback__)
    places = [frame for frame in frames if _is_of_user(frame.filename)]
    return f"{places[-1].filename}, line {places[-1].lineno}" if places else None


def _is_of_user(filename: str) -> bool:
    if filename.startswith("<"):
        return False
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    known = [pathlib.Path(sysconfig.get_path(name)).resolve() for name in names]
    known.append(pathlib.Path(__file__).resolve().parents[2])
    file = pathlib.Path(filename).resolve()
    return not any(file.is_relative_to(folder) for folder in known)


def _report(
    error: BaseException, title: str, *, traceback: bool, text: str | None = None
) -> None:
    """Show a message on the standard error stream, in a panel on a terminal."""
    if traceback:
        tracebacks.print_exception(error)
    # Importing rich takes time, and is needed for errors only.
    from rich.panel import Panel  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from everwillow.cli.report.terminal import console, width, wrapped  # noqa: PLC0415

    body, limit = text if text is not None else str(error), width(sys.stderr)
    if math.isinf(limit):
        # A log or another program: no frame, and no lines that are divided.
        sys.stderr.write(f"{title}\n{body}\n")
        return
    body = wrapped(body, limit - FRAME)
    # A file or a name may be longer than a line, and is not divided.
    longest = max(map(len, (*body.splitlines(), title)))
    panel = Panel(Text(body), title=Text(title), title_align="left", border_style="red")
    shown = console(errors=True)
    shown.width = max(shown.width, longest + FRAME)
    shown.print(panel)
