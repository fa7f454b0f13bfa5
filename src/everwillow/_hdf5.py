"""HDF5 files: recognise the header, write atomically, explain refusals."""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from everwillow._errors import (
    ArgumentValueError,
    EverwillowError,
    MissingFileError,
    missing_package,
)
from everwillow._file_formats import FileFormat, format_of_file
from everwillow._store import replacing


_OTHERS: dict[FileFormat | None, str] = {
    "root": "a ROOT file",
    "zip": "a zip archive",
    "tar": "a tar archive",
    "gzip": "gzipped",
    "json": "JSON",
    "xml": "XML",
    "datacard": "a datacard",
}


def import_h5py(hint: str = "") -> Any:
    """Import h5py, here and not above: most of everwillow does without it.

    Args:
        hint: What else to do if it is not installed.

    Raises:
        MissingPackageError: If it cannot be imported.
    """
    try:
        import h5py  # noqa: PLC0415
    except ImportError as error:
        failure = missing_package("HDF5 files need h5py", "io")
        failure.add(hint)
        raise failure from error
    return h5py


class Kind(NamedTuple):
    """A kind of files.

    Attributes:
        format: The attribute ``format`` of such a file.
        version: The attribute ``version``.
        contents: What is in it, for messages: ``"template fit"``.
    """

    format: str
    version: int
    contents: str


@contextlib.contextmanager
def writing(
    path: str | os.PathLike[str], *, hint: str = "", **options: Any
) -> Iterator[Any]:
    """Yield an HDF5 file in memory; write it to `path` if no exception is raised.

    Args:
        path: The file; its directory has to exist. An existing file is replaced.
        hint: As for `import_h5py`.
        **options: As ``h5py.File`` takes them.

    Raises:
        MissingPackageError: If h5py is not installed.
    """
    buffer = io.BytesIO()
    with import_h5py(hint).File(buffer, "w", **options) as file:
        yield file
    with replacing(pathlib.Path(path)) as out:
        out.write(buffer.getbuffer())


def write_header(file: Any, kind: Kind) -> None:
    """Write the kind and version."""
    file.attrs["format"] = kind.format
    file.attrs["version"] = kind.version


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], kind: Kind) -> Iterator[Any]:
    """Open an HDF5 file of a kind.

    Errors while reading are raised again with the name of the file.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If the file is of another kind or damaged; says how.
        MissingPackageError: If h5py is not installed.
    """
    file = pathlib.Path(path)
    _check_exists(file)
    _check_start(file, kind.contents)
    h5py = import_h5py()
    # Readers raise any exception for foreign content.
    try:
        with h5py.File(file, "r") as opened:
            _check_header(opened, file, kind)
            yield opened
    except (EverwillowError, MemoryError) as error:
        if isinstance(error, ArgumentValueError) and str(file) not in str(error):
            raise ArgumentValueError(f"{file}: {error}") from error
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ArgumentValueError(
            f"{file}: the file is damaged, or holds no {kind.contents} ({reason})."
        ) from error


def format_of(path: str | os.PathLike[str]) -> Any:
    """Return the attribute ``format`` of an HDF5 file, or None.

    Raises:
        MissingFileError: If there is no such file.
        ArgumentValueError: If it is no HDF5 file.
        MissingPackageError: If h5py is not installed.
    """
    file = pathlib.Path(path)
    _check_exists(file)
    _check_start(file)
    h5py = import_h5py()
    try:
        with h5py.File(file, "r") as opened:
            return opened.attrs.get("format")
    except OSError as error:
        raise ArgumentValueError(
            f"{file}: this is no HDF5 file, or it is damaged ({error})."
        ) from error


def _check_exists(file: pathlib.Path) -> None:
    if not file.is_file():
        raise MissingFileError(f"{file}: there is no such file.")


def _check_start(file: pathlib.Path, contents: str = "") -> None:
    """Refuse files of other formats; what is none of them may be damaged."""
    what = _OTHERS.get(format_of_file(file))
    if what:
        raise ArgumentValueError(
            f"{file} is {what}, not HDF5{contents and f': it holds no {contents}'}."
        )


def _check_header(opened: Any, file: pathlib.Path, kind: Kind) -> None:
    name, version = opened.attrs.get("format"), opened.attrs.get("version")
    if name != kind.format:
        raise ArgumentValueError(
            f"{file}: the file holds no {kind.contents}: its attribute 'format' is "
            f"{name!r}, not {kind.format!r}."
        )
    if version != kind.version:
        raise ArgumentValueError(
            f"{file}: the file has version {version} of the format, and this "
            f"everwillow reads version {kind.version}. Install a newer one."
        )
