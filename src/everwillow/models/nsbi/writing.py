"""Writing of workspaces, with their arrays inside, beside or elsewhere."""

import base64
import json
import os
import pathlib
from typing import Any, Literal, TypeAlias, get_args

from everwillow._errors import ArgumentValueError, nearest
from everwillow._store import replacing
from everwillow.models.data_files import check_file
from everwillow.models.nsbi._references import relative, with_references
from everwillow.models.nsbi.arrays import WorkspaceArrays, file_sum


ArrayPlace: TypeAlias = Literal["paths", "inside", "beside"]
"""Where the arrays of a workspace are."""


def dump_workspace(
    workspace: dict[str, Any],
    path: str | os.PathLike[str],
    *,
    arrays: ArrayPlace = "paths",
) -> None:
    """Write a workspace as JSON.

    Args:
        workspace: The workspace. Names of files in it are absolute, or relative to the
            working directory.
        path: The name of the file.
        arrays: Where its arrays are: ``"paths"`` names the files where they are,
            relative to the workspace; ``"inside"`` makes one file with all of them;
            ``"beside"`` copies them to the folder ``<name of the workspace>.arrays``.
            The last two have checksums, which are verified by `load_workspace`.

    Raises:
        ArgumentValueError: If `arrays` is something else.
        MissingFileError: If there is no file of an array.
        SpecificationError: If an array is not valid.
    """
    if arrays not in get_args(ArrayPlace):
        raise ArgumentValueError(
            f"arrays: it is {arrays!r}, not one of {', '.join(get_args(ArrayPlace))}."
            f"{nearest(arrays, get_args(ArrayPlace))}"
        )
    file = pathlib.Path(path).absolute()
    writer = _Writer(workspace, file, arrays)
    written = with_references(workspace, writer.place)
    if writer.entries:
        written["arrays"] = writer.entries
    with replacing(file) as out:
        out.write((json.dumps(written, indent=2) + "\n").encode())


class _Writer:
    """Puts arrays to their places; `entries` describes them."""

    def __init__(
        self, workspace: dict[str, Any], file: pathlib.Path, place: ArrayPlace
    ) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self._arrays = WorkspaceArrays(workspace)
        self._known: dict[str, dict[str, Any]] = workspace.get("arrays") or {}
        self._file = file
        self._kind = place
        self._placed: dict[str, str] = {}

    def place(self, reference: str) -> str:
        """Return the new name of an array, after it has been put to its place."""
        if reference not in self._placed:
            put = {"paths": self._keep, "inside": self._include, "beside": self._copy}
            self._placed[reference] = put[self._kind](reference)
        return self._placed[reference]

    def _keep(self, reference: str) -> str:
        entry = self._known.get(reference, {})
        if "content" in entry:
            self.entries[reference] = entry
            return reference
        name = relative(reference, self._file.parent)
        if entry:
            self.entries[name] = entry
        return name

    def _include(self, reference: str) -> str:
        name, content = self._name(reference), self._content(reference)
        encoded = base64.b64encode(content).decode("ascii")
        self.entries[name] = {**self._description(reference), "content": encoded}
        return name

    def _copy(self, reference: str) -> str:
        folder = self._file.with_name(f"{self._file.stem}.arrays")
        folder.mkdir(exist_ok=True)
        copy = folder / f"{self._name(reference)}.npy"
        description = self._description(reference)
        # A name has its checksum, so that a file of this name is this array.
        if not copy.exists() or file_sum(copy) != description["sha256"]:
            copy.write_bytes(self._content(reference))
        name = f"{folder.name}/{copy.name}"
        self.entries[name] = description
        return name

    def _name(self, reference: str) -> str:
        """Return a name that no other array has: the old one, and the checksum."""
        stem = pathlib.PurePath(reference).stem.rsplit("-", 1)[0]
        return f"{stem}-{self._description(reference)['sha256'][:16]}"

    def _description(self, reference: str) -> dict[str, Any]:
        size = self._arrays.read(reference, where=self._file.name).size
        known = self._known.get(reference, {})
        total = known.get("sha256") or file_sum(reference)
        return {"sha256": total, "size": int(size)}

    def _content(self, reference: str) -> bytes:
        entry = self._known.get(reference, {})
        if "content" in entry:
            return base64.b64decode(entry["content"])
        return check_file(reference, where=self._file.name).read_bytes()
