"""Checks of the entries of a document, and conversion of its numbers to arrays.

A workspace has up to a million numbers in short lists. To convert and check them one by
one would be slow: `Numbers` converts all of them at once.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from everwillow._errors import nearest
from everwillow.models._document import Node, shortened


Place = tuple[Any, ...]
"""A node, then keys and indices from there: a `Node` that is made if it is needed."""

# Larger numbers have no meaning and let derivatives overflow; some documents are padded
# with the largest double.
LARGEST = 1e100

_PLAIN = {float, int}
_REAL = (float, int, np.floating, np.integer)


def node_at(place: Place) -> Node:
    """Return the node at a place."""
    return place[0].at(*place[1:])


def check_keys(
    node: Node, required: Sequence[str], optional: Iterable[str] = ()
) -> None:
    """Check that a part of a document is an object with certain keys and no others.

    Raises:
        SpecificationError: Otherwise; names the nearest key for an unknown one.
    """
    if not isinstance(node.value, dict):
        raise node.fault(f"an object with the keys {_quoted(required)}")
    known = (*required, *optional)
    strange = [key for key in node.value if key not in known]
    for key in required:
        if key not in node.value:
            hint = nearest(key, strange) if strange else ""
            mend = f"Add it.{hint.replace('Did you mean', 'Is it called')}"
            raise node.fault(f"the key {key!r}", mend=mend)
    if strange:
        raise node.fault(
            f"no other keys than {_quoted(known)}",
            f"the unknown key {shortened(strange[0])}",
            f"Remove it.{nearest(strange[0], known)}",
        )


def _quoted(keys: Iterable[str]) -> str:
    return ", ".join(map(repr, keys))


def entries(node: Node, kind: str) -> list[Node]:
    """Return the entries of a list that must not be empty.

    Raises:
        SpecificationError: If it is not a list, or is empty.
    """
    is_list = isinstance(node.value, list | tuple) or getattr(node.value, "ndim", 0)
    if not is_list or not len(node.value):
        raise node.fault(f"a list of at least one {kind}")
    return [Node(part, node, index) for index, part in enumerate(node.value)]


def name_of(node: Node) -> str:
    """Return the name of an entry, an object that has the key.

    Raises:
        SpecificationError: If it is not a string, or is empty.
    """
    name = node.value["name"]
    if not isinstance(name, str) or not name:
        raise node.at("name").fault("a name")
    return name


def check_unique(parts: Iterable[Any], nodes: Iterable[Node], kind: str) -> None:
    """Check that all entries have different names.

    Raises:
        SpecificationError: At the second entry of a name.
    """
    seen: dict[str, int] = {}
    for index, (part, node) in enumerate(zip(parts, nodes, strict=True)):
        if part.name in seen:
            raise node.at("name").fault(
                "names that differ",
                f"a second {kind} {shortened(part.name)}",
                f"The first is entry {seen[part.name]}; rename or remove one.",
            )
        seen[part.name] = index


def is_real(value: Any) -> bool:
    """Return whether a value is a number; true and false are not."""
    return isinstance(value, _REAL) and not isinstance(value, bool)


def check_real(node: Node) -> None:
    """Check that a value is a number, which need not be finite.

    Raises:
        SpecificationError: If it is not a number.
    """
    if not is_real(node.value):
        quoted = isinstance(node.value, str)
        raise node.fault(
            "a number", mend="Write numbers without quotes." if quoted else ""
        )


def number(node: Node) -> float:
    """Return one finite number of a document as a float.

    Raises:
        SpecificationError: If it is not a finite number.
    """
    check_real(node)
    try:
        finite = abs(float(node.value)) <= LARGEST
    except OverflowError:
        finite = False
    if not finite:
        raise node.fault(
            f"a finite number of size {LARGEST:g} at most",
            mend="Replace it, or prune what it belongs to.",
        )
    return float(node.value)


class Numbers:
    """Collects lists of numbers, then makes arrays of all of them.

    Attributes:
        arrays: One read-only array for each list in the order of `add`, from `convert`.
    """

    def __init__(self) -> None:
        self._lists: list[list[Any]] = []
        self._places: list[Place] = []
        self.arrays: list[np.ndarray] = []

    def add(self, values: Any, place: Place) -> int:
        """Add a list; `convert` checks its elements.

        Returns:
            Its index in `arrays`.

        Raises:
            SpecificationError: If it is not a list, or is empty.
        """
        if type(values) is not list:
            if isinstance(values, np.ndarray) and values.ndim == 1:
                values = values.tolist()
            elif isinstance(values, list | tuple):
                values = list(values)
            else:
                raise node_at(place).fault("a list of numbers")
        if not values:
            raise node_at(place).fault("at least one number")
        self._lists.append(values)
        self._places.append(place)
        return len(self._lists) - 1

    def size(self, slot: int) -> int:
        """Return the length of a list."""
        return len(self._lists[slot])

    def convert(self) -> None:
        """Make the arrays.

        Raises:
            SpecificationError: At the first element that is not a finite number.
        """
        if not set(map(type, chain.from_iterable(self._lists))) <= _PLAIN:
            self._check_each(check_real)
        ends = np.cumsum(np.fromiter(map(len, self._lists), int, len(self._lists)))
        total = int(ends[-1]) if len(ends) else 0
        try:
            flat = np.fromiter(chain.from_iterable(self._lists), float, total)
            finite = bool((np.abs(flat) <= LARGEST).all())
        except OverflowError:
            flat, finite = np.empty(0), False
        if not finite:
            self._check_each(number)
        flat.flags.writeable = False
        bounds = ends.tolist()
        self.arrays = [
            flat[start:stop] for start, stop in zip([0, *bounds], bounds, strict=False)
        ]

    def _check_each(self, check: Any) -> None:
        for values, place in zip(self._lists, self._places, strict=True):
            for index in range(len(values)):
                check(node_at((*place, index)))
