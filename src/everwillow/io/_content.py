"""The content that all formats have: named arrays, and a document for JSON.

An array is named by its path, whose segments show the keys.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


FORMAT = "everwillow record"
ROOT = "value"
_SPECIAL = re.compile(r'[\x00-\x1f%/\\:*?"<>|]')


class Content(NamedTuple):
    """The contents of a file.

    Attributes:
        arrays: The arrays by path.
        document: The header and the structure, a JSON value.
        types: The name of a record or "State", by path; for readers in other languages,
            since the structure has it too.
    """

    arrays: dict[str, np.ndarray]
    document: dict[str, Any]
    types: dict[str, str]


def segment(text: str, *, at_root: bool) -> str:
    """Return the segment of a path for a key; distinct keys have distinct segments.

    Characters with a meaning in paths or archives are percent-encoded, ``%2F`` for
    ``/``.
    """
    if not text:
        return "%"
    # The store of arrays keeps this name for itself.
    if at_root and text == "metadata":
        return "%6Detadata"
    out = _SPECIAL.sub(lambda match: f"%{ord(match[0]):02X}", text)
    out = out.encode("utf-8", "backslashreplace").decode().replace("\\", "%5C")
    return out.replace(".", "%2E") if set(out) == {"."} else out


def segments(keys: Sequence[Any], *, at_root: bool) -> list[str]:
    """Return a segment for each key of a mapping: its text, or all by position."""
    texts = [".".join(key) if _is_path(key) else str(key) for key in keys]
    names = [segment(text, at_root=at_root) for text in texts]
    if len(set(names)) == len(names):
        return names
    return [str(position) for position in range(len(keys))]


def _is_path(key: Any) -> bool:
    return isinstance(key, tuple) and all(isinstance(part, str) for part in key)


def join(path: tuple[str, ...]) -> str:
    """Return the name of the array at a path."""
    return "/".join(path) or ROOT
