"""Files of a command: checks of output files, and the files that it writes."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from everwillow._errors import ArgumentValueError


STDIN = "-"
HDF5 = (".h5", ".hdf5")


def check_not_input(
    option: str, target: str | os.PathLike[str], inputs: Iterable[str]
) -> None:
    """Check that an output file is not one of the input files.

    Args:
        option: The option with the output file, for the message.
        target: The output file.
        inputs: The input files; ``-`` is the standard input, and ``:NAME`` of a patch
            may follow the name of a patch set.

    Raises:
        ArgumentValueError: If it is the same file as one of them.
    """
    for name in inputs:
        if any(_is_same(target, file) for file in _files_of(name)):
            raise ArgumentValueError(
                f"{option} is the input {name}; choose another name."
            )


def check_target(
    option: str, name: str, inputs: Iterable[str], endings: tuple[str, ...] = HDF5
) -> None:
    """Check an output file, before anything is computed.

    Args:
        option: The option with the output file, for the message.
        name: The output file.
        inputs: The input files.
        endings: The allowed endings.

    Raises:
        ArgumentValueError: If its ending is not allowed, its folder does not exist, or
            it is an input file.
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


def _files_of(name: str) -> Iterator[str]:
    """Yield the files that a name may mean, with or without the name of a patch."""
    yield name
    yield from (name[:i] for i, letter in enumerate(name) if letter == ":")


def _is_same(target: str | os.PathLike[str], name: str) -> bool:
    # A file that does not exist cannot be overwritten.
    with contextlib.suppress(OSError, ValueError):
        file = pathlib.Path(name)
        state = os.fstat(sys.stdin.fileno()) if name == STDIN else file.stat()
        return os.path.samestat(state, pathlib.Path(target).stat())
    return False


def labels_of(files: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """Return a label for each file.

    Raises:
        ArgumentValueError: If there are not as many labels as files, or two are equal.

    Example:
        >>> labels_of(["a/histogram.json", "nsbi.yml"], [])
        ('histogram', 'nsbi')
    """
    if labels and len(labels) != len(files):
        raise ArgumentValueError(
            f"--label: there are {len(labels)} labels for {len(files)} files."
        )
    names = tuple(labels or (pathlib.Path(file).stem for file in files))
    if len(set(names)) != len(names):
        raise ArgumentValueError(
            f"--label: two files have the same name ({', '.join(names)}). Name each "
            "with --label."
        )
    return names


def write_bytes(file: pathlib.Path, content: bytes) -> None:
    """Write a file, atomically unless it is a device or a pipe."""
    if file.exists() and not file.is_file():
        file.write_bytes(content)
        return
    from everwillow._store import replacing  # noqa: PLC0415

    with replacing(file) as out:
        out.write(content)


def save_result(record: Any, file: str | None) -> list[str]:
    """Write a result with `everwillow.io`, and return a sentence that says so.

    Args:
        record: A record of everwillow.
        file: The output file; None for none.
    """
    if file is None:
        return []
    from everwillow import io  # noqa: PLC0415

    io.save(record, file)
    return [f"Results are in {file}; everwillow.io.load reads them."]
