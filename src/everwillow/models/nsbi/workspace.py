"""Workspaces from files."""

import os
import pathlib
from typing import Any

from everwillow._errors import SpecificationError
from everwillow.models.data_files import locate
from everwillow.models.json_source import load_json
from everwillow.models.nsbi._references import with_references
from everwillow.models.nsbi.arrays import WorkspaceArrays


def load_workspace(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a workspace, with absolute paths of its arrays.

    Paths are relative to the workspace or, where there is no such file, to the working
    directory, which its report says.

    Args:
        path: The name of the file.

    Raises:
        MissingFileError: If there is no such file, or no file of an array.
        SpecificationError: If it is not a workspace, or if an array is not valid or
            has changed since the workspace was written.
    """
    file = pathlib.Path(path).absolute()
    workspace = load_json(file)
    if not isinstance(workspace, dict) or not isinstance(
        workspace.get("channels"), list
    ):
        raise SpecificationError(
            f"{file.name} is not a workspace: it has no list of channels."
        )
    entries = workspace.get("arrays") or {}
    inside = {name for name, one in entries.items() if "content" in one}
    elsewhere: dict[str, None] = {}

    def absolute(name: str) -> str:
        if name in inside:
            return name
        found, other = locate(name, file.parent)
        if other:
            elsewhere[name] = None
        return str(found)

    loaded = with_references(workspace, absolute)
    if entries:
        loaded["arrays"] = {absolute(name): one for name, one in entries.items()}
    if elsewhere:
        loaded["report"] = [
            *loaded.get("report", ()),
            "Arrays found relative to the working directory, not to the workspace: "
            f"{', '.join(elsewhere)}.",
        ]
    WorkspaceArrays(loaded).verify(where=file.name)
    return loaded
