"""A place in a JSON document: its value, and where it stands for the message."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

import numpy as np

from everwillow._errors import (
    NonFiniteError,
    SpecificationError,
    UnknownKeyError,
    nearest,
)


_SHOWN = 40  # characters of a value in a message


class Node:
    """A value of a JSON document that knows its JSON pointer.

    Every method either returns what the document should hold there, or raises an error
    with the pointer, what was expected and what was found.

    Attributes:
        value: The JSON value.
    """

    __slots__ = ("_key", "_parent", "value")

    def __init__(
        self, value: Any, parent: "Node | str" = "", key: str | int | None = None
    ) -> None:
        self.value = value
        self._parent = parent  # of the root: the name of the document
        self._key = key

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    @property
    def pointer(self) -> str:
        """The JSON pointer (RFC 6901), after the name of the document if it has one."""
        if not isinstance(self._parent, Node):
            return f"{self._parent}#" if self._parent else ""
        part = str(self._key).replace("~", "~0").replace("/", "~1")
        return f"{self._parent.pointer}/{part}"

    def child(self, key: str) -> "Node":
        """Return a required entry of an object."""
        if key in self:
            return Node(self.value[key], self, key)
        if not isinstance(self.value, dict):
            self.fail("an object")
        hint = nearest(key, self.value)
        raise SpecificationError(
            f"{self.where}: the entry {key!r} is missing.{hint}", self.pointer
        )

    def get(self, key: str) -> "Node | None":
        """Return an optional entry of an object; null counts as absent."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        value = self.value.get(key)
        return None if value is None else Node(value, self, key)

    def items(self) -> Iterator["Node"]:
        """Return the elements of a list."""
        if not isinstance(self.value, list):
            self.fail("a list")
        return (Node(value, self, i) for i, value in enumerate(self.value))

    def text(self) -> str:
        """Return a string that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            self.fail("a text")
        return self.value

    def reference(self) -> str | float:
        """Return a name or a finite number."""
        return self.text() if isinstance(self.value, str) else self.number()

    def number(self, *, infinite: bool = False) -> float:
        """Return a number, finite unless told otherwise."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail("a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isnan(number) or (math.isinf(number) and not infinite):
            raise NonFiniteError(
                f"{self.where}: expected a finite number, found {_shown(self.value)}."
            )
        return number

    def numbers(self, *, size: int | None = None, what: str = "") -> np.ndarray:
        """Return a list of finite numbers as a vector.

        Args:
            size: How many there must be.
            what: What has that many of them, for the message.
        """
        if not isinstance(self.value, list):
            self.fail("a list of numbers")
        if not all(type(v) is float or type(v) is int for v in self.value):
            vector = np.array([item.number() for item in self.items()], np.float64)
        else:
            try:
                vector = np.array(self.value, np.float64)
            except OverflowError:
                vector = np.array([item.number() for item in self.items()], np.float64)
        finite = np.isfinite(vector)
        if not finite.all():
            Node(
                self.value[int(np.argmin(finite))], self, int(np.argmin(finite))
            ).number()
        if size is not None and vector.size != size:
            owner = f"{what} has {size} bins" if what else f"{size} are needed"
            raise SpecificationError(
                f"{self.where}: {vector.size} numbers, but {owner}.", self.pointer
            )
        return vector

    @property
    def where(self) -> str:
        """The pointer, or words for the root of a document without a name."""
        return self.pointer or "the document"

    def fail(self, expected: str) -> NoReturn:
        """Raise the error of a value that is not what was expected."""
        raise SpecificationError(
            f"{self.where}: expected {expected}, found {_shown(self.value)}.",
            self.pointer,
        )


def listed(node: Node, key: str) -> Iterator[Node]:
    """Return the elements of a required list; null, as ROOT has it, is an empty one."""
    if isinstance(node.value, dict) and node.value.get(key, ()) is None:
        return iter(())
    return node.child(key).items()


def refuse(node: Node, problem: str) -> NoReturn:
    """Raise the error of a value that has the right type and cannot be used."""
    raise SpecificationError(f"{node.where}: {problem}", node.pointer)


def unknown(name: object, known: Iterable[str], *, node: Node, kind: str) -> NoReturn:
    """Raise the error of a name that refers to nothing.

    Args:
        name: What was asked for.
        known: The names that exist.
        node: Where it was asked for.
        kind: What it should have named, for example ``"distribution"``.
    """
    known = list(known)
    hint = nearest(name, known)
    if not hint:
        shown = ", ".join(repr(one) for one in known[:8]) or "none"
        more = f", ... ({len(known)} in all)" if len(known) > 8 else ""
        hint = f" There is: {shown}{more}."
    raise UnknownKeyError(f"{node.where}: there is no {kind} {name!r}.{hint}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a very large integer"  # Python may refuse to write it
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
