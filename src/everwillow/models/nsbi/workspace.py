"""Workspaces from files."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from everwillow._errors import EverwillowError, SpecificationError
from everwillow._file_formats import format_of_file
from everwillow.models._document import Node
from everwillow.models.data_files import locate
from everwillow.models.json_source import DocumentKind, document_kind, load_json
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
    try:
        workspace = load_json(file)
    except EverwillowError as error:
        if file.is_file() and format_of_file(file) == "yaml":
            error.add(
                "Of a configuration make a workspace with "
                "everwillow.models.nsbi.WorkspaceBuilder."
            )
        raise
    loaded = located(workspace, file.parent, name=file.name)
    WorkspaceArrays(loaded).verify(where=file.name)
    return loaded


def located(workspace: Any, folder: pathlib.Path, *, name: str = "") -> dict[str, Any]:
    """Return a workspace with absolute paths of its arrays.

    Args:
        workspace: The content of a file.
        folder: The folder of the file. Names that do not exist there are relative to
            the working directory, which the report then says.
        name: The name of the file, for messages.

    Raises:
        SpecificationError: If it is not a workspace of density ratios.
    """
    refuse_others(workspace, name)
    if not isinstance(workspace, dict) or not isinstance(
        workspace.get("channels"), list
    ):
        raise SpecificationError(
            f"{name or 'the document'} is not a workspace: it has no list of channels."
        )
    entries = workspace.get("arrays") or {}
    inside = {name for name, one in entries.items() if "content" in one}
    elsewhere: dict[str, None] = {}

    def absolute(name: str) -> str:
        if name in inside:
            return name
        found, other = locate(name, folder)
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
    return loaded


def refuse_others(workspace: Any, name: str = "") -> None:
    """Raise an error for JSON documents that are no workspaces of density ratios.

    Args:
        workspace: The JSON value.
        name: The name of the document, for the message.

    Raises:
        SpecificationError: For pyhf workspaces and HS3, with the function that reads
            each, and for patches.
    """
    remark = _OTHERS.get(document_kind(workspace))
    if remark:
        Node(workspace, name).refuse(remark)


_PYHF = (
    "The channels have no types: this is a pyhf workspace, for "
    "everwillow.models.histfactory.from_pyhf. In a workspace of density ratios the "
    "'type' of a channel is 'binned' or 'unbinned'."
)
_OTHERS: Mapping[DocumentKind | None, str] = {
    "workspace": _PYHF,
    "pyhf model": _PYHF,
    "hs3": "This is an HS3 document, for everwillow.models.hs3.load.",
    "patch": "This is a JSON patch, which changes a workspace.",
    "patch set": "This is a patch set, which changes a pyhf workspace.",
}
