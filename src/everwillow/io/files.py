"""Save and load records: the formats of their files, and errors in files."""

import importlib.metadata
import io
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from everwillow import _store
from everwillow._errors import ArgumentTypeError, ArgumentValueError, EverwillowError
from everwillow._file_formats import FileFormat, file_format, is_json_array
from everwillow.io import _hdf5, _json
from everwillow.io._content import FORMAT as FORMAT, Content
from everwillow.io._decode import decode
from everwillow.io._encode import encode


_KIND = "record"
_VERSION = 1


class _Format(NamedTuple):
    write: Callable[[pathlib.Path, Content], None]
    read: Callable[[bytes], Content]


_BY_FORMAT: Mapping[FileFormat | None, _Format] = {
    "hdf5": _Format(_hdf5.write, _hdf5.read),
    "zip": _Format(
        lambda path, content: _store.save(path, content.arrays, content.document),
        lambda content: Content(*_store.parse(io.BytesIO(content)), types={}),
    ),
    "json": _Format(_json.write, _json.read),
}
_BY_SUFFIX: Mapping[str, _Format] = {
    ".h5": _BY_FORMAT["hdf5"],
    ".hdf5": _BY_FORMAT["hdf5"],
    ".npz": _BY_FORMAT["zip"],
    ".json": _BY_FORMAT["json"],
}


def save(record: Any, path: str | os.PathLike[str]) -> None:
    """Write a result, a State or a pytree of arrays to a file, atomically.

    The ending of the name chooses the format: ``.h5`` or ``.hdf5`` (needs the extra
    ``io``), ``.npz`` or ``.json``. The path of an array is made of fields and keys,
    such as ``params/mu``, for programs in any language; an entry of JSON describes
    the structure. Nothing is pickled.

    Objects that a file cannot hold are left out, and `load` puts a `NotStored` in their
    place: functions in a record, and the `solver_result` of a `FitResult`. An existing
    file is replaced only when the new one is complete.

    Args:
        record: A record of everwillow, such as a `FitResult`; a State; or any pytree
            of dicts, lists, tuples, arrays, Python numbers, strings and None.
        path: The file to write; its directory has to exist.

    Raises:
        ArgumentValueError: If no format has this ending.
        ArgumentTypeError: If something inside cannot be stored (other classes, traced
            values); names its path. Nothing is written then.
        ImportError: For HDF5, if h5py is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> import everwillow as ew
        >>> state = ew.State.from_pytree({"mu": 1.0, "norms": [0.9, 1.1]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(state, pathlib.Path(folder, "start.json"))
        ...     print(load(pathlib.Path(folder, "start.json")))
        State(mu=1.0, norms.0=0.9, norms.1=1.1)
    """
    file = _as_path(path)
    suffix = file.suffix.lower()
    if suffix not in _BY_SUFFIX:
        raise ArgumentValueError(
            f"path: {file.name!r} does not say the format. End it with one of "
            f"{', '.join(_BY_SUFFIX)}."
        )
    encoded = encode(record)
    document = {
        "kind": _KIND,
        "version": _VERSION,
        "everwillow": importlib.metadata.version("everwillow"),
        "structure": encoded.structure,
    }
    content = Content(encoded.arrays, document, encoded.types)
    _BY_SUFFIX[suffix].write(file, content)


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` has written.

    The format is recognised from the contents. Dicts, lists and tuples keep their
    types, arrays are NumPy arrays with the same bits, a State keeps its keys and
    values: its original pytree has ordered dicts in place of nodes of other classes.

    Only classes of everwillow are made, whatever a file contains.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ArgumentValueError: If the file was not written by `save`, is damaged, or was
            written by a version with other records; says which.
        ImportError: For HDF5, if h5py is not installed.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save({"limit": 0.8, "scan": (1, 2)}, pathlib.Path(folder, "a.npz"))
        ...     load(pathlib.Path(folder, "a.npz"))
        {'limit': 0.8, 'scan': (1, 2)}
    """
    file = _as_path(path)
    content = file.read_bytes()
    read = _format_of(content, file).read
    # Readers raise nearly any error for the bytes of other files.
    try:
        arrays, document, _ = read(content)
        _check_header(document, file)
        return decode(arrays, document["structure"])
    except (EverwillowError, MemoryError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ArgumentValueError(
            f"{file}: the file is damaged, or is none of everwillow.io ({reason})."
        ) from error


def _as_path(path: Any) -> pathlib.Path:
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(
            f"path: expected the name of a file, got {type(path).__name__}."
        )
    return pathlib.Path(path)


def _format_of(content: bytes, file: pathlib.Path) -> _Format:
    known = _BY_FORMAT.get(file_format(content))
    if known is not None and not is_json_array(content):
        return known
    problem = "is empty" if not content else "is neither HDF5, nor npz, nor JSON"
    raise ArgumentValueError(
        f"{file}: the file {problem}, so it was not written by everwillow.io.save."
    )


def _check_header(document: Mapping[str, Any], file: pathlib.Path) -> None:
    if document.get("kind") != _KIND:
        raise ArgumentValueError(
            f"{file}: the file holds no record, but {document.get('kind')!r}."
        )
    if document.get("version") != _VERSION:
        raise ArgumentValueError(
            f"{file}: the file has version {document.get('version')!r} of the format, "
            f"from everwillow {document.get('everwillow')}; this everwillow reads "
            f"version {_VERSION}. Install a newer one."
        )
