"""Files of named arrays and a JSON document, written atomically.

The file is an ordinary ``.npz`` archive, which `numpy.load` opens; nothing in it is
unpickled. Its entry ``metadata`` holds the JSON document and a digest of the whole
content, by which damaged files are detected.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import secrets
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError, MissingFileError


_METADATA = "metadata"
_FORMAT = "everwillow arrays"
_VERSION = 1

UNFINISHED: set[pathlib.Path] = set()
"""The temporary files of `replacing`, for those who end the process meanwhile."""


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write arrays and metadata to a file, atomically.

    If the process is killed meanwhile, the old file is unchanged, and a file ``.*.tmp``
    may remain beside it.

    Args:
        path: The file to write; its directory has to exist.
        arrays: Name to array of numbers, of any shape and dtype (also bfloat16).
        metadata: Anything that JSON can hold.

    Raises:
        ArgumentTypeError: If an array holds Python objects, or the metadata something
            that is not JSON.
        ArgumentValueError: If an array has the reserved name ``"metadata"``.
    """
    if _METADATA in arrays:
        raise ArgumentValueError(
            f"arrays: the name {_METADATA!r} is taken by the metadata; use another."
        )
    host_arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in host_arrays.items():
        if array.dtype.hasobject:
            raise ArgumentTypeError(
                f"arrays[{name!r}]: expected numbers, got Python objects."
            )
    document: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "dtypes": {
            name: array.dtype.name
            for name, array in host_arrays.items()
            if not _is_known_to_npy(array.dtype)
        },
        "metadata": dict(metadata or {}),
    }
    document["digest"] = digest(host_arrays, document)
    text = np.frombuffer(_json(document).encode(), np.uint8)
    with replacing(pathlib.Path(path)) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in {_METADATA: text, **host_arrays}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, _as_bits(array), allow_pickle=False)


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save` has written.

    Returns:
        The arrays by name, and the metadata.

    Raises:
        FileNotFoundError: If there is no such file.
        ArgumentValueError: If the file was not written by `save`, or is damaged.
    """
    content = pathlib.Path(path).read_bytes()
    try:
        return parse(io.BytesIO(content))
    # zipfile, numpy and json raise various exceptions for foreign content.
    except Exception as error:
        raise ArgumentValueError(
            f"{path}: the file is damaged, or is none of everwillow ({error})."
        ) from error


def parse(file: BinaryIO) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the metadata of a file in npz format."""
    with zipfile.ZipFile(file) as archive:
        bits: dict[str, np.ndarray] = {}
        for name in archive.namelist():
            with archive.open(name) as entry:
                bits[name.removesuffix(".npy")] = np.lib.format.read_array(
                    entry, allow_pickle=False
                )
    document = json.loads(bits.pop(_METADATA).tobytes())
    if (document["format"], document["version"]) != (_FORMAT, _VERSION):
        raise ValueError(
            f"it says {document['format']!r}, version {document['version']!r}"
        )
    extended = document["dtypes"]
    arrays = {
        name: array.view(jnp.dtype(extended[name])) if name in extended else array
        for name, array in bits.items()
    }
    stored = document.pop("digest")
    if stored != digest(arrays, document):
        raise ValueError("its digest is not that of its contents")
    return arrays, document["metadata"]


def _is_known_to_npy(dtype: np.dtype) -> bool:
    """Return whether a npy file preserves a dtype, as it does not for bfloat16."""
    description = np.lib.format.dtype_to_descr(dtype)
    return np.lib.format.descr_to_dtype(description) == dtype


def _as_bits(array: np.ndarray) -> np.ndarray:
    """Return an array of an extension type as integers."""
    if _is_known_to_npy(array.dtype):
        return array
    return array.view(f"u{array.dtype.itemsize}")


def _json(document: Mapping[str, Any]) -> str:
    try:
        return json.dumps(document, sort_keys=True)
    except TypeError as error:
        raise ArgumentTypeError(
            f"metadata: expected what JSON can hold ({error})."
        ) from error


def digest(arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]) -> str:
    """Return a digest of arrays and of a document."""
    out = hashlib.sha256(_json(document).encode())
    for name in sorted(arrays):
        array = arrays[name]
        out.update(f"\0{name}\0{array.shape}\0{array.dtype}\0".encode())
        out.update(array.tobytes())
    return out.hexdigest()


def save_figure(figure: Any, path: pathlib.Path) -> None:
    """Write a figure of matplotlib, atomically; the ending chooses the format."""
    with replacing(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix(".").lower())


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces `path` if no exception was raised.

    Raises:
        MissingFileError: If its folder does not exist.
    """
    if not path.parent.is_dir():
        raise MissingFileError(
            f"{path}: there is no folder {str(path.parent)!r}. Make it first."
        )
    # In the same directory, as only a rename within one file system is atomic. Opened
    # here, since the files of `tempfile` are closed to all other users.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    UNFINISHED.add(temporary)
    with _opened(temporary) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()
            temporary.replace(path)
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
        finally:
            UNFINISHED.discard(temporary)
    _sync_directory(path.parent)


def _opened(temporary: pathlib.Path) -> BinaryIO:
    try:
        return temporary.open("x+b")
    except BaseException:
        UNFINISHED.discard(temporary)
        raise


def _sync_directory(directory: pathlib.Path) -> None:
    """Write a rename to disk, on systems that can open directories."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
