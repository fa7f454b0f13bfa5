"""The elements of the flat vector that a name or a pattern refers to."""

import fnmatch
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from everwillow._errors import ArgumentTypeError, UnknownKeyError, nearest, unknown_key
from everwillow._typing import Key
from everwillow.engine.layout import Layout, key_text


class Match(NamedTuple):
    """The elements that a name or a pattern refers to.

    Attributes:
        marks: Whether each element of the vector is among them, shape ``(size,)``.
        named: Whether the name is a key or a label, not a pattern.
    """

    marks: np.ndarray
    named: bool


def meant_elements(name: Any, layout: Layout, *, where: str) -> Match:
    """Return the elements that a name refers to: named ones, or else those that match.

    Args:
        name: A key, which refers to all elements of its entry; the label of one
            element such as ``"gamma[3]"``; or a pattern as in `fnmatch`, compared with
            keys and labels. A name that exists is never taken as a pattern.
        layout: The layout of the parameters.
        where: The argument that the name came from, for messages.

    Raises:
        UnknownKeyError: If it refers to no parameter.
    """
    marks = np.zeros(layout.size, bool)
    elements = named_elements(name, layout)
    if elements is not None:
        marks[elements] = True
        return Match(marks, named=True)
    pattern = str(name)
    for i, key in enumerate(layout.keys):
        if fnmatch.fnmatchcase(key_text(key), pattern):
            marks[layout.elements(i)] = True
    marks |= [fnmatch.fnmatchcase(label, pattern) for label in layout.labels]
    if not marks.any():
        raise unknown_name(name, layout, where=where)
    return Match(marks, named=False)


def named_elements(name: Any, layout: Layout) -> np.ndarray | None:
    """Return the elements that a key or the label of one element names, or None."""
    if name in layout.where:
        return layout.elements(layout.where[name])
    if name in layout.labels:
        return np.array([layout.labels.index(name)])
    return None


def as_names(names: Any, layout: Layout, *, where: str) -> tuple[Key, ...]:
    """Return one name or several as a tuple of names.

    Raises:
        ArgumentTypeError: If it is neither.
    """
    if isinstance(names, str) or (isinstance(names, tuple) and names in layout.where):
        return (names,)
    if isinstance(names, Iterable):
        return tuple(names)
    raise ArgumentTypeError(
        f"{where}: expected a name or several, got {type(names).__name__}."
    )


_ELEMENT = re.compile(r"(?P<name>.+)\[[\d,]+\]")


def unknown_name(name: Any, layout: Layout, *, where: str) -> UnknownKeyError:
    """Build the error for a name or a pattern that refers to no parameter."""
    known = dict.fromkeys((*layout.keys, *layout.labels))
    text = str(name)
    element = _ELEMENT.fullmatch(text)
    if element is not None and element["name"] in layout.where:
        key = element["name"]
        shape = layout.shapes[layout.where[key]]
        have = f"elements, with shape {shape}" if shape else "no elements"
        if len(shape) == 1:
            have = f"the elements 0 to {shape[0] - 1}"
        msg = f"{where}: there is no parameter {name!r}; {key!r} has {have}."
        return UnknownKeyError(msg)
    if any(letter in text for letter in "*?"):
        hint = nearest(text.strip("*?"), known)
        return UnknownKeyError(f"{where}: no parameter matches {name!r}.{hint}")
    return unknown_key(name, known, where=where)
