"""Copies of documents."""

from typing import Any


_PLAIN = {float, int, str, bool, type(None)}


def copied(document: Any) -> Any:
    """Return a copy that shares no list or object; much faster than `copy.deepcopy`."""
    if isinstance(document, dict):
        return {key: copied(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        if set(map(type, document)) <= _PLAIN:
            return list(document)
        return [copied(value) for value in document]
    return document
