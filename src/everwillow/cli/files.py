"""Files of a command: inputs are never overwritten, results and plots are written."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from everwillow._errors import ArgumentValueError


STDIN = "-"
HDF5 = (".h5", ".hdf5")


def check_not_input(
    option: str, target: str | os.PathLike[str], inputs: Iterable[str]
) -> None:
    """Check that what is written does not take the place of what is read.

    Args:
        option: That says where to write, for the message.
        target: The file that will be written.
        inputs: Files that are read; ``-`` is the standard input, and the name of a
            patch may follow that of its file.

    Raises:
        ArgumentValueError: If it is one of them, whatever its name.
    """
    for name in inputs:
        if any(_is_same(target, one) for one in _readings(name)):
            raise ArgumentValueError(
                f"{option} is the input {name}; choose another name."
            )


def check_target(
    option: str, name: str, inputs: Iterable[str], endings: tuple[str, ...] = HDF5
) -> None:
    """Check where something is written, before anything is computed.

    Args:
        option: That says where to write, for the message.
        name: The file.
        inputs: Files that are read.
        endings: That it may have.

    Raises:
        ArgumentValueError: If a file has an unknown ending, or no folder, or is one of
            those that are read.
    """
    file = pathlib.Path(name)
    if file.suffix.lower() not in endings:
        raise ArgumentValueError(
            f"{option}: the ending of {file.name!r} does not say the format. End it "
            f"with one of {', '.join(endings)}."
        )
    check_folder(option, file)
    check_not_input(option, file, inputs)


def check_folder(option: str, file: pathlib.Path) -> None:
    """Check that the folder of a file exists.

    Raises:
        ArgumentValueError: If it does not.
    """
    if not file.parent.is_dir():
        raise ArgumentValueError(f"{option}: there is no folder {str(file.parent)!r}.")


def _readings(name: str) -> Iterator[str]:
    """Yield what `name` may mean: a file, or one with the name of a patch behind."""
    yield name
    yield from (name[:i] for i, letter in enumerate(name) if letter == ":")


def _is_same(target: str | os.PathLike[str], name: str) -> bool:
    # What is no file cannot be lost.
    with contextlib.suppress(OSError, ValueError):
        file = pathlib.Path(name)
        state = os.fstat(sys.stdin.fileno()) if name == STDIN else file.stat()
        return os.path.samestat(state, pathlib.Path(target).stat())
    return False


def save_result(record: Any, file: str | None) -> list[str]:
    """Write a result with `everwillow.io`, and return what to tell the user.

    Args:
        record: A record of everwillow.
        file: Where to; None for nowhere.
    """
    if file is None:
        return []
    from everwillow import io  # noqa: PLC0415

    io.save(record, file)
    return [f"Results are in {file}; everwillow.io.load reads them."]


def save_figure(figure: Any, file: str) -> list[str]:
    """Write a figure, and return what to tell the user."""
    figure.savefig(file)
    return [f"The plot is in {file}."]
