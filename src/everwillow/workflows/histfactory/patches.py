"""JSON patches and patch sets from files, applied to a document."""

import pathlib
import re
from collections.abc import Iterable
from typing import Any

from everwillow._errors import SpecificationError, first_names
from everwillow.models.histfactory.patchset import Patch, PatchSet, patched_workspace
from everwillow.models.json_source import document_kind, load_json


def patched(content: Any, patches: Iterable[str], *, verify: bool) -> Any:
    """Apply patches to the content of a document, one after another.

    Args:
        content: The JSON value; it is not changed.
        patches: ``FILE``, a JSON patch, or ``PATCHSET:NAME``, a patch of a patch set.
            The values of a patch may stand for its name: ``PATCHSET:300,150``.
        verify: Whether to check the digests of a patch set, if the first patch is of
            one.

    Raises:
        ConflictError: If a patch set is made for another document.
        SpecificationError: If a patch is not valid or does not fit the document; or if
            a file is a patch set and the patch is not named.
        UnknownKeyError: If a patch set has no such patch.
        MissingFileError: If there is no such file.
    """
    for number, text in enumerate(patches):
        patch, patchset = _find_patch(text)
        if patchset is not None and verify and number == 0:
            patchset.verify(content)
        try:
            content = patched_workspace(content, patch)
        except SpecificationError:
            if patchset is None:
                _refuse_patch_set(text)
            raise
    return content


def _find_patch(text: str) -> tuple[Patch | pathlib.Path, PatchSet | None]:
    """Return the file of a patch, or a patch of a patch set with that set."""
    file = pathlib.Path(text)
    # The longest part that is a file: names of patches and of files may have colons.
    colons = [match.start() for match in re.finditer(":", text)]
    for colon in reversed([] if file.exists() else colons):
        part = pathlib.Path(text[:colon])
        if part.is_file():
            patches = PatchSet(part)
            return _patch_of(patches, text[colon + 1 :]), patches
    return file, None


def _patch_of(patches: PatchSet, name: str) -> Patch:
    if name in {patch.name for patch in patches}:
        return patches[name]
    try:
        return patches[tuple(float(part) for part in name.split(","))]
    except (ValueError, KeyError):
        return patches[name]


def _refuse_patch_set(file: str) -> None:
    """Raise an error that lists the patches, if a file is a patch set."""
    content = load_json(pathlib.Path(file))
    if document_kind(content) == "patch set":
        names = [patch.name for patch in PatchSet(content)]
        raise SpecificationError(
            f"{file} is a patch set with {len(names)} patches. Name one: {file}:NAME, "
            f"with one of the names {first_names(names)}."
        )
