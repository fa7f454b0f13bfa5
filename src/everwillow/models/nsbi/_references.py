"""The places of a workspace that name arrays of events."""

import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any


_KEYS = ("weights", "ratios", "hi_ratio", "lo_ratio")


def changed_references(value: Any, change: Callable[[str], str]) -> Any:
    """Return a copy of a part of a workspace with other names of arrays.

    Args:
        value: The part, such as the list of channels.
        change: Returns the new name of an array.

    Example:
        >>> changed_references([{"name": "SR", "weights": "w.npy"}], "data/{}".format)
        [{'name': 'SR', 'weights': 'data/w.npy'}]
    """
    return _changed(value, change, inside=False)


def _changed(value: Any, change: Callable[[str], str], *, inside: bool) -> Any:
    if isinstance(value, dict):
        # Within ``ratios`` of an observation: entries by sample, or one such entry.
        entry = "ratios" in value and ("name" in value or "modifiers" in value)
        inside = inside and not entry
        return {
            key: _changed(one, change, inside=inside or key in _KEYS)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_changed(one, change, inside=inside) for one in value]
    return change(value) if inside and isinstance(value, str) else value


def with_references(
    workspace: Mapping[str, Any], change: Callable[[str], str]
) -> dict[str, Any]:
    """Return a copy of a workspace with other names of arrays, without `arrays`."""
    parts = ("channels", "observations")
    changed = {
        key: changed_references(value, change) if key in parts else value
        for key, value in workspace.items()
    }
    changed.pop("arrays", None)
    return changed


def references(workspace: Mapping[str, Any]) -> Iterator[str]:
    """Return the names of all arrays, each of them once."""
    found: dict[str, None] = {}

    def note(name: str) -> str:
        found[name] = None
        return name

    with_references(workspace, note)
    return iter(found)


def relative(path: str, folder: pathlib.Path) -> str:
    """Return a path relative to a folder, with slashes."""
    try:
        return pathlib.Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path
