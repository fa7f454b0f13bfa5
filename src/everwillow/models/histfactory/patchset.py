"""Patch sets: many signal hypotheses for one workspace of the background.

A patch set is what analyses publish beside their background-only workspace: for each
point of a grid of signals a JSON patch that adds the signal.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everwillow._errors import ArgumentTypeError, ConflictError, SpecificationError
from everwillow.models.histfactory._document import VERSION, checked
from everwillow.models.histfactory._json_patch import check_operations, patched
from everwillow.models.histfactory._numbers import Where, is_real
from everwillow.models.histfactory._objects import check_keys, entries, name_of, unique
from everwillow.models.histfactory.faults import Words, fault, shortened, unknown
from everwillow.models.histfactory.workspace import digest
from everwillow.models.json_source import Source, copied, load_json, source_name


Key = str | float | Sequence[str | float]
"""The name of a patch, or its values."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One JSON patch of a patch set.

    Attributes:
        name: Its name.
        values: Its place in the grid, one value for each label of the patch set.
        operations: The JSON patch (RFC 6902).
        metadata: All that the patch set says of it.
    """

    name: str
    values: tuple[str | float, ...]
    operations: tuple[dict[str, Any], ...]
    metadata: Mapping[str, Any]

    def __repr__(self) -> str:
        count = len(self.operations)
        plural = "s" if count != 1 else ""
        return f"Patch({self.name!r}, {self.values}, {count} operation{plural})"


class PatchSet:
    """A list of patches that are found by name or by their values.

    ``patchset["name"]`` and ``patchset[300, 150]`` are patches; iteration and `len` are
    those of a list of patches.

    Args:
        source: A file, JSON text or a dict.

    Attributes:
        patches: All patches, in the order of the document.
        labels: What the values of the patches are.
        digests: Algorithm to the digest of the workspace that the patches are for.
        description: What it is, in words.
        references: Where it is published.
        metadata: All that it says of itself.

    Raises:
        SpecificationError: If it is no valid patch set; has the JSON pointer.
        MissingFileError: If there is no such file.

    Example:
        >>> patchset = PatchSet(
        ...     {
        ...         "metadata": {
        ...             "references": {"hepdata": "ins1234567"},
        ...             "description": "squarks",
        ...             "digests": {"md5": "098f6bcd4621d373cade4e832627b4f6"},
        ...             "labels": ["mass", "neutralino"],
        ...         },
        ...         "patches": [
        ...             {
        ...                 "metadata": {"name": "m300_150", "values": [300, 150]},
        ...                 "patch": [
        ...                     {"op": "remove", "path": "/channels/0/samples/1"}
        ...                 ],
        ...             }
        ...         ],
        ...         "version": "1.0.0",
        ...     }
        ... )
        >>> patchset[300, 150]
        Patch('m300_150', (300, 150), 1 operation)
    """

    def __init__(self, source: Source) -> None:
        document = load_json(source)
        try:
            self.metadata, self.patches = _read(document)
        except SpecificationError as error:
            file = source_name(source)
            if not file:
                raise
            raise SpecificationError(f"{file}: {error}", error.pointer) from None
        self.labels: tuple[str, ...] = tuple(self.metadata["labels"])
        self.digests: dict[str, str] = dict(self.metadata["digests"])
        self.description: str = self.metadata["description"]
        self.references: dict[str, str] = dict(self.metadata["references"])
        self._by_key: dict[Any, Patch] = {}
        for patch in self.patches:
            self._by_key[patch.values] = patch
        for patch in self.patches:
            self._by_key[patch.name] = patch

    def __len__(self) -> int:
        return len(self.patches)

    def __iter__(self) -> Iterator[Patch]:
        return iter(self.patches)

    def __repr__(self) -> str:
        return f"PatchSet({len(self)} patches by {', '.join(self.labels)})"

    def __getitem__(self, key: Key) -> Patch:
        """Return a patch by its name or its values.

        Raises:
            UnknownKeyError: If there is none.
        """
        wanted: Any = tuple(key) if isinstance(key, list) else key
        try:
            found = self._by_key.get(wanted)
            if found is None and not isinstance(wanted, tuple):
                found = self._by_key.get((wanted,))
        except TypeError:
            found = None
        if found is None:
            names = [patch.name for patch in self.patches]
            shown = wanted if isinstance(wanted, str) else str(wanted)
            raise unknown(shown, names, what="patch", where="the patch set")
        return found

    def verify(self, workspace: Source) -> None:
        """Check that the patches are made for a workspace, by its digests.

        Args:
            workspace: A file, JSON text or a dict.

        Raises:
            ConflictError: If a digest differs.
        """
        loaded = load_json(workspace)
        for algorithm, expected in self.digests.items():
            found = digest(loaded, algorithm=algorithm)
            if found != expected.lower():
                raise ConflictError(
                    "This patch set is made for another workspace: the "
                    f"{algorithm} of the workspace is {found}, that in the patch set "
                    f"{expected}. Use the background-only workspace that was published "
                    "with the patch set, unchanged, or apply the patch with "
                    "verify=False if you know that the change does no harm."
                )

    def apply(
        self, workspace: Source, key: Key, *, verify: bool = True
    ) -> dict[str, Any]:
        """Return the workspace with a patch applied.

        Args:
            workspace: A file, JSON text or a dict; stays as it is.
            key: Name or values of the patch.
            verify: Whether to `verify` the digests first.

        Raises:
            UnknownKeyError: If there is no such patch.
            ConflictError: If a digest differs.
            SpecificationError: If an operation has no place in the workspace, or the
                result is no valid workspace.
        """
        patch = self[key]
        loaded = load_json(workspace)
        if verify:
            self.verify(loaded)
        return apply_patches(loaded, patch)


PatchSource = Patch | str | os.PathLike[str] | bytes | Sequence[Mapping[str, Any] | Any]


def apply_patches(workspace: Source, patches: PatchSource) -> dict[str, Any]:
    """Return a workspace with one or several JSON patches applied, one after another.

    Args:
        workspace: A file, JSON text or a dict; stays as it is.
        patches: A `Patch` of a `PatchSet`, a list of operations, a file or text with
            one, or a list of these.

    Raises:
        SpecificationError: If a patch is not valid, an operation has no place in the
            workspace, or the result is no valid workspace; has the JSON pointer.
        ArgumentTypeError: If something is no patch.

    Example:
        >>> config = {"poi": "", "parameters": []}
        >>> workspace = {
        ...     "channels": [
        ...         {
        ...             "name": "SR",
        ...             "samples": [{"name": "bkg", "data": [9.0], "modifiers": []}],
        ...         }
        ...     ],
        ...     "observations": [{"name": "SR", "data": [9]}],
        ...     "measurements": [{"name": "m", "config": config}],
        ...     "version": "1.0.0",
        ... }
        >>> patch = [
        ...     {"op": "replace", "path": "/channels/0/samples/0/data", "value": [7.0]}
        ... ]
        >>> apply_patches(workspace, patch)["channels"][0]["samples"][0]["data"]
        [7.0]
    """
    loaded = load_json(workspace)
    result = patched_workspace(loaded, patches)
    checked(result, "the patched workspace")
    return copied(result)


def patched_workspace(loaded: Any, patches: Any) -> Any:
    """Apply patches; what comes back shares lists with what was given."""
    for name, operations in _sequence(patches):
        loaded = patched(loaded, operations, name=name)
    return loaded


def _sequence(patches: Any) -> list[tuple[str, Sequence[dict[str, Any]]]]:
    """Return name and operations of each patch."""
    if isinstance(patches, Patch):
        return [(f"patch {shortened(patches.name)}", patches.operations)]
    if isinstance(patches, str | bytes | os.PathLike):
        loaded = load_json(patches)
        name = source_name(patches) or "the patch"
        if isinstance(loaded, dict) and "patches" in loaded:
            raise SpecificationError(
                f"{name} is a patch set with several patches. Read it with PatchSet "
                "and choose one by its name or values."
            )
        try:
            return [(name, check_operations(loaded))]
        except SpecificationError as error:
            raise SpecificationError(f"{name}: {error}", error.pointer) from None
    if not isinstance(patches, list | tuple):
        raise ArgumentTypeError(
            "patches: expected a Patch, a file, a list of operations or a list of "
            f"these, got {type(patches).__name__}."
        )
    if patches and all(isinstance(part, dict) for part in patches):
        return [("the patch", check_operations(patches))]
    return [found for patch in patches for found in _sequence(patch)]


def _read(document: Any) -> tuple[dict[str, Any], tuple[Patch, ...]]:
    check_keys(document, ("metadata", "patches", "version"), ())
    version = document["version"]
    if not isinstance(version, str) or version != VERSION:
        raise fault(("version",), f"the string {VERSION!r}", version)
    metadata = document["metadata"]
    place = ("metadata",)
    keys = ("references", "digests", "labels", "description")
    optional = tuple(metadata) if isinstance(metadata, dict) else ()
    check_keys(metadata, keys, place, optional)
    for key in ("references", "digests"):
        _check_strings(metadata[key], (*place, key))
    if not isinstance(metadata["description"], str):
        raise fault((*place, "description"), "a string", metadata["description"])
    labels = entries(metadata["labels"], (*place, "labels"), "label")
    for index, label in enumerate(labels):
        if not isinstance(label, str):
            raise fault((*place, "labels", index), "a string", label)
    parts = entries(document["patches"], ("patches",), "patch")
    patches = tuple(
        _read_patch(part, ("patches", index), len(labels))
        for index, part in enumerate(parts)
    )
    unique(patches, ("patches",), "patch")
    seen: dict[Any, str] = {}
    for index, patch in enumerate(patches):
        if patch.values in seen:
            found = Words(f"{patch.values} of {shortened(seen[patch.values])} again")
            where = ("patches", index, "metadata", "values")
            raise fault(where, "values that differ from patch to patch", found)
        seen[patch.values] = patch.name
    return metadata, patches


def _check_strings(part: Any, where: Where) -> None:
    if not isinstance(part, dict) or not part:
        raise fault(where, "an object with at least one entry", part)
    for key, value in part.items():
        if not isinstance(value, str):
            raise fault((*where, key), "a string", value)


def _read_patch(part: Any, where: Where, size: int) -> Patch:
    check_keys(part, ("metadata", "patch"), where)
    metadata = part["metadata"]
    place = (*where, "metadata")
    optional = tuple(metadata) if isinstance(metadata, dict) else ()
    check_keys(metadata, ("name", "values"), place, optional)
    name = name_of(metadata, place)
    values = metadata["values"]
    if not isinstance(values, list | tuple) or len(values) != size:
        expected = f"a list of {size}, one value for each label"
        raise fault((*place, "values"), expected, values)
    for index, value in enumerate(values):
        if not isinstance(value, str) and not is_real(value):
            raise fault((*place, "values", index), "a number or a string", value)
    operations = check_operations(part["patch"], (*where, "patch"))
    return Patch(name, tuple(values), tuple(operations), metadata)
