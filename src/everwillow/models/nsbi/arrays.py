"""The arrays of events that a workspace names: in files, or inside of it."""

import base64
import binascii
import hashlib
import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from everwillow._errors import SpecificationError
from everwillow.models.data_files import check_file
from everwillow.models.nsbi._references import references


_PART = 1 << 20  # bytes that are hashed at once
_SMALL = 1 << 16  # bytes; files up to this size are read, larger ones mapped


class WorkspaceArrays:
    """Reads the arrays of a workspace.

    Arrays are named by the path of an .npy file, or by the key of an entry of `arrays`
    that has the content of such a file in base64. The entries of `arrays` may have
    `sha256` of the file, and `size`, the number of its values; both are checked when an
    array is first read.

    Args:
        workspace: The workspace.

    Example:
        >>> file = io.BytesIO()
        >>> np.save(file, [1.0, 2.0])
        >>> content = base64.b64encode(file.getvalue()).decode()
        >>> arrays = WorkspaceArrays({"arrays": {"w": {"content": content}}})
        >>> arrays.read("w", where="region 'SR'")
        array([1., 2.])
    """

    def __init__(self, workspace: Mapping[str, Any]) -> None:
        entries = workspace.get("arrays") or {}
        if not isinstance(entries, dict) or not all(
            isinstance(entry, dict) for entry in entries.values()
        ):
            raise SpecificationError(
                "arrays: expected an object with an object for each array.", "/arrays"
            )
        self._entries: dict[str, dict[str, Any]] = entries
        self._names = references(workspace)
        self._read: dict[str, np.ndarray] = {}

    def read(self, reference: str, *, where: str) -> np.ndarray:
        """Return an array.

        Args:
            reference: The path of the file, or the key in `arrays`.
            where: The place that names it, for messages.

        Returns:
            Numbers of type float32 or float64, shape ``(events,)``. Those of a file are
            mapped, not copied, and cannot be changed.

        Raises:
            MissingFileError: If there is no such file.
            SpecificationError: If it is not an array of numbers, or its content is not
                that of `sha256`.
        """
        if reference not in self._read:
            name, array = self._array(reference, where)
            size = self._entries.get(reference, {}).get("size")
            if size is not None and array.size != size:
                raise SpecificationError(
                    f"{where}: {name} has {array.size} values, not {size} as when the "
                    "workspace was written."
                )
            plain = array.dtype in (np.float32, np.float64) and array.dtype.isnative
            self._read[reference] = array if plain else array.astype(np.float64)
        return self._read[reference]

    def verify(self, *, where: str) -> None:
        """Check that all arrays are there and are those that were written.

        Args:
            where: The name of the workspace, for messages.

        Raises:
            MissingFileError: If a file is missing.
            SpecificationError: If an array is not valid or has changed.
        """
        for reference in self._names:
            self.read(reference, where=where)

    def _array(self, reference: str, where: str) -> tuple[str, np.ndarray]:
        """Return the name of an array for messages, and its values."""
        entry = self._entries.get(reference, {})
        if "content" in entry:
            name = f"the array {reference!r} inside of the workspace"
            content = _decoded(entry["content"], f"{where}: {name}")
            found = hashlib.sha256(content).hexdigest()
            _check_sum(found, entry, f"{where}: {name}")
            return name, _loaded(io.BytesIO(content), f"{where}: {name}")
        path = check_file(reference, where=where)
        if entry.get("sha256") is not None:
            _check_sum(file_sum(path), entry, f"{where}: {path}")
        return str(path), load_array(path, name=f"{where}: {path}")


def load_array(path: pathlib.Path, *, name: str) -> np.ndarray:
    """Return the array of an .npy file with one number for each event.

    Args:
        path: The file.
        name: Its name for messages.

    Returns:
        The numbers, of shape ``(events,)``; those of long files are mapped, not copied.

    Raises:
        SpecificationError: If the file is damaged, or has something else.
    """
    mapped = path.stat().st_size > _SMALL
    return _loaded(path, name, "r" if mapped else None)


def file_sum(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    found = hashlib.sha256()
    with pathlib.Path(path).open("rb") as file:
        while part := file.read(_PART):
            found.update(part)
    return found.hexdigest()


def _decoded(content: Any, name: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise SpecificationError(f"{name} is not valid base64: {error}.") from error


def _check_sum(found: str, entry: dict[str, Any], name: str) -> None:
    wanted = entry.get("sha256")
    if wanted is not None and found != wanted:
        raise SpecificationError(
            f"{name} has changed since the workspace was written: its SHA-256 is "
            f"{found[:12]}..., not {str(wanted)[:12]}.... Restore it, or build the "
            "workspace again."
        )


def _loaded(source: Any, name: str, mode: Literal["r"] | None = None) -> np.ndarray:
    try:
        array = np.load(source, mmap_mode=mode, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SpecificationError(
            f"{name} cannot be read: {error}. Is it a complete .npy file?"
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise SpecificationError(f"{name} is an archive, not an .npy file.")
    one = array.ndim > 0 and array.size == max(array.shape)
    if not one or array.dtype.kind not in "biuf":
        raise SpecificationError(
            f"{name} does not have one number for each event, but the shape "
            f"{array.shape} and the type {array.dtype}."
        )
    return array.reshape(-1)
