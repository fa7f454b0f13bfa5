"""What to do with JSON documents that are no workspaces."""

from typing import Any

from everwillow._errors import SpecificationError


def refuse_others(document: Any) -> None:
    """Raise for JSON documents that are of another kind than a workspace.

    Raises:
        SpecificationError: For HS3, patch sets, JSON patches and pyhf models; says
            where each belongs.
    """
    if isinstance(document, list):
        msg = _OPERATIONS if _is_patch(document) else ""
    elif not isinstance(document, dict):
        msg = ""
    elif "channels" in document:
        parts = {"observations", "measurements"}
        msg = "" if parts & document.keys() else _MODEL
    elif "distributions" in document or _has_hs3_version(document):
        msg = _HS3
    else:
        msg = _PATCHSET if "patches" in document else ""
    if msg:
        raise SpecificationError(msg)


_OPERATIONS = (
    "This is a JSON patch, which changes a workspace. Give the workspace, and the "
    "patch as `patches`."
)
_MODEL = (
    "This has channels, but neither observations nor measurements: it is a pyhf model, "
    "not a workspace. Add the keys 'observations', 'measurements' and 'version'."
)
_HS3 = "This is an HS3 document, not a pyhf workspace; use everwillow.models.hs3.load."
_PATCHSET = (
    "This is a patch set, which changes a workspace. Give the workspace, and the patch "
    "set as everwillow.models.histfactory.PatchSet."
)


def _is_patch(document: list[Any]) -> bool:
    return bool(document) and all(isinstance(e, dict) and "op" in e for e in document)


def _has_hs3_version(document: dict[str, Any]) -> bool:
    metadata = document.get("metadata")
    return isinstance(metadata, dict) and "hs3_version" in metadata
