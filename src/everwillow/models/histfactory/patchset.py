"""Patch sets: many signal hypotheses for one workspace of the background.

Analyses publish a patch set with their background-only workspace: it contains a JSON
patch for each point of a grid of signals, which adds the signal.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from everwillow._errors import (
    ArgumentTypeError,
    ConflictError,
    SpecificationError,
    unknown_key,
)
from everwillow.models._document import Node, shortened
from everwillow.models.histfactory._checks import (
    check_keys,
    check_unique,
    entries,
    is_real,
    name_of,
)
from everwillow.models.histfactory._json_patch import check_operations, patched
from everwillow.models.histfactory.operations import digest
from everwillow.models.histfactory.reading import check_version, read_document
from everwillow.models.json_source import Source, copied, load_json, source_name


Key = str | float | Sequence[str | float]
"""The name of a patch, or its values."""


@dataclass(frozen=True, slots=True)
class Patch:
    """One JSON patch of a patch set.

    Attributes:
        name: Its name.
        values: The point of the grid, one value for each label of the patch set.
        operations: The JSON patch (RFC 6902).
        metadata: All metadata of the patch.
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
    """A list of patches, which can be looked up by name or by their values.

    ``patchset["name"]`` and ``patchset[300, 150]`` are patches; iteration and `len` are
    those of the list of patches.

    Args:
        source: A file, JSON text or a dict.

    Attributes:
        patches: All patches, in the order of the document.
        labels: The names of the values of the patches.
        digests: Digests of the workspace of the patches, by algorithm.
        description: A description of the patch set.
        references: References to its publication.
        metadata: All metadata of the patch set.

    Raises:
        SpecificationError: If it is not a valid patch set, with the JSON pointer.
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
        root = Node(load_json(source), source_name(source))
        self.metadata, self.patches = _read(root)
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
        lookup: Any = tuple(key) if isinstance(key, list) else key
        try:
            entry = self._by_key.get(lookup)
            if entry is None and not isinstance(lookup, tuple):
                entry = self._by_key.get((lookup,))
        except TypeError:
            entry = None
        if entry is None:
            names = [patch.name for patch in self.patches]
            shown = lookup if isinstance(lookup, str) else str(lookup)
            raise unknown_key(shown, names, where="the patch set", kind="patch")
        return entry

    def verify(self, workspace: Source) -> None:
        """Check that the patches are for a workspace, by its digests.

        Args:
            workspace: A file, JSON text or a dict.

        Raises:
            ConflictError: If a digest differs.
        """
        loaded = load_json(workspace)
        for algorithm, expected in self.digests.items():
            actual = digest(loaded, algorithm=algorithm)
            if actual != expected.lower():
                raise ConflictError(
                    "This patch set is made for another workspace: the "
                    f"{algorithm} of the workspace is {actual}, that in the patch set "
                    f"{expected}. Use the background-only workspace that was published "
                    "with the patch set, unchanged, or apply the patch with "
                    "verify=False if you know that the change does no harm."
                )

    def apply(
        self, workspace: Source, key: Key, *, verify: bool = True
    ) -> dict[str, Any]:
        """Return the workspace with a patch applied.

        Args:
            workspace: A file, JSON text or a dict, which is not changed.
            key: Name or values of the patch.
            verify: Whether to `verify` the digests first.

        Raises:
            UnknownKeyError: If there is no such patch.
            ConflictError: If a digest differs.
            SpecificationError: If an operation has no place in the workspace, or the
                result is not a valid workspace.
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
        workspace: A file, JSON text or a dict, which is not changed.
        patches: A `Patch` of a `PatchSet`, a list of operations, a file or text with
            one, or a list of these.

    Raises:
        SpecificationError: If a patch is not valid, an operation has no place in the
            workspace, or the result is not a valid workspace, with the JSON pointer.
        ArgumentTypeError: If one of `patches` is not a patch.

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
    read_document(result, "the patched workspace")
    return copied(result)


def patched_workspace(loaded: Any, patches: Any) -> Any:
    """Apply patches; the result shares unchanged lists with the argument."""
    for name, operations in _sequence(patches):
        loaded = patched(loaded, operations, name=name)
    return loaded


def _sequence(patches: Any) -> list[tuple[str, Sequence[dict[str, Any]]]]:
    """Return name and operations of each patch."""
    if isinstance(patches, Patch):
        return [(f"patch {shortened(patches.name)}", patches.operations)]
    if isinstance(patches, str | bytes | os.PathLike):
        name = source_name(patches)
        root = Node(load_json(patches), name)
        if isinstance(root.value, dict) and "patches" in root.value:
            raise SpecificationError(
                f"{name or 'the patch'} is a patch set with several patches. Read it "
                "with PatchSet and choose one by its name or values."
            )
        return [(name or "the patch", check_operations(root))]
    if not isinstance(patches, list | tuple):
        raise ArgumentTypeError(
            "patches: expected a Patch, a file, a list of operations or a list of "
            f"these, got {type(patches).__name__}."
        )
    if patches and all(isinstance(part, dict) for part in patches):
        return [("the patch", check_operations(Node(patches)))]
    return [each for patch in patches for each in _sequence(patch)]


def _read(root: Node) -> tuple[dict[str, Any], tuple[Patch, ...]]:
    check_keys(root, ("metadata", "patches", "version"))
    check_version(root.at("version"))
    metadata = root.at("metadata")
    _check_metadata(metadata, ("references", "digests", "labels", "description"))
    for key in ("references", "digests"):
        _check_strings(metadata.at(key))
    if not isinstance(metadata.value["description"], str):
        raise metadata.at("description").fault("a string")
    labels = entries(metadata.at("labels"), "label")
    for label in labels:
        if not isinstance(label.value, str):
            raise label.fault("a string")
    parts = entries(root.at("patches"), "patch")
    patches = tuple(_read_patch(part, len(labels)) for part in parts)
    check_unique(patches, parts, "patch")
    seen: dict[Any, str] = {}
    for part, patch in zip(parts, patches, strict=True):
        if patch.values in seen:
            repeated = f"{patch.values} of {shortened(seen[patch.values])} again"
            expected = "values that differ from patch to patch"
            raise part.at("metadata", "values").fault(expected, repeated)
        seen[patch.values] = patch.name
    return metadata.value, patches


def _check_metadata(node: Node, required: Sequence[str]) -> None:
    check_keys(node, required, node.value if isinstance(node.value, dict) else ())


def _check_strings(node: Node) -> None:
    if not isinstance(node.value, dict) or not node.value:
        raise node.fault("an object with at least one entry")
    for key, value in node.value.items():
        if not isinstance(value, str):
            raise node.at(key).fault("a string")


def _read_patch(node: Node, size: int) -> Patch:
    check_keys(node, ("metadata", "patch"))
    metadata = node.at("metadata")
    _check_metadata(metadata, ("name", "values"))
    name, values = name_of(metadata), metadata.at("values")
    if not isinstance(values.value, list | tuple) or len(values.value) != size:
        raise values.fault(f"a list of {size}, one value for each label")
    for index, value in enumerate(values.value):
        if not isinstance(value, str) and not is_real(value):
            raise values.at(index).fault("a number or a string")
    operations = check_operations(node.at("patch"))
    return Patch(name, tuple(values.value), tuple(operations), metadata.value)
