"""JSON documents of models: nodes, errors, and the report of a reader.

All families that read JSON (`histfactory`, `hs3`) use these, so that messages have one
form: the place of the error (a JSON pointer), what was expected, what was found and how
to mend it.

`Node` is a value with its place. Code that checks a million values makes a `Node` only
for an error.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

import numpy as np

from everwillow._errors import NonFiniteError, SpecificationError, nearest, unknown_key


_SHOWN = 60  # characters of a text in a message
_LISTED = 4  # names in a sentence of a report


class Node:
    """A value of a JSON document with its place.

    Every method either returns a valid value, or raises an error with the pointer, what
    was expected and what was found.

    Args:
        value: The JSON value.
        parent: The node that contains it; for the root the name of the document, which
            may be empty.
        key: Key or index in the parent.

    Attributes:
        value: The JSON value.

    Example:
        >>> root = Node({"bins": [1, 2]}, "model.json")
        >>> last = list(root.child("bins").items())[-1]
        >>> last.pointer, last.where, last.number()
        ('/bins/1', 'model.json#/bins/1', 2.0)
        >>> root.child("bin")
        Traceback (most recent call last):
            ...
        everwillow...SpecificationError: model.json#: the entry 'bin' is missing. ...
    """

    __slots__ = ("_key", "_parent", "value")

    def __init__(
        self, value: Any, parent: "Node | str" = "", key: str | int | None = None
    ) -> None:
        self.value = value
        self._parent = parent
        self._key = key

    def __contains__(self, key: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(key) is not None

    @property
    def pointer(self) -> str:
        """The place inside the document as a JSON pointer (RFC 6901)."""
        if not isinstance(self._parent, Node):
            return ""
        part = str(self._key).replace("~", "~0").replace("/", "~1")
        return f"{self._parent.pointer}/{part}"

    @property
    def where(self) -> str:
        """The place for messages: the name of the document, if any, and the pointer."""
        root = self
        while isinstance(root._parent, Node):
            root = root._parent
        name = f"{root._parent}#" if root._parent else ""
        return f"{name}{self.pointer}" or "the document"

    @property
    def name(self) -> str:
        """The required entry `name` of an object."""
        return self.child("name").text()

    @property
    def type(self) -> str:
        """The required entry `type` of an object."""
        return self.child("type").text()

    def child(self, key: str) -> "Node":
        """Return a required entry of an object."""
        node = self.get(key)
        if node is None:
            self.refuse(f"the entry {key!r} is missing.{nearest(key, self.value)}")
        return node

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

    def listed(self, key: str) -> Iterator["Node"]:
        """Return the elements of a required list; null, from ROOT, is an empty one."""
        if isinstance(self.value, dict) and self.value.get(key, ()) is None:
            return iter(())
        return self.child(key).items()

    def at(self, *keys: str | int) -> "Node":
        """Return the node at keys and indices, with the value None if it is missing.

        Nothing is checked: this is for the place of an error.
        """
        node = self
        for key in keys:
            try:
                value = node.value[key]
            except (TypeError, LookupError):
                value = None
            node = Node(value, node, key)
        return node

    def text(self) -> str:
        """Return a string that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            self.fail("a text")
        return self.value

    def reference(self) -> str | float:
        """Return a name or a finite number."""
        return self.text() if isinstance(self.value, str) else self.number()

    def number(self, *, infinite: bool = False) -> float:
        """Return a number, which is finite by default."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail("a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isnan(number) or (math.isinf(number) and not infinite):
            raise NonFiniteError(
                f"{self.where}: expected a finite number, found {described(value)}."
            )
        return number

    def numbers(self, *, size: int | None = None, owner: str = "") -> np.ndarray:
        """Return a list of finite numbers as a vector.

        Args:
            size: The required length; any if None.
            owner: The owner of that number of bins, for the message.
        """
        if not isinstance(self.value, list):
            self.fail("a list of numbers")
        try:
            plain = all(type(value) in (float, int) for value in self.value)
            vector = np.array(self.value, np.float64) if plain else None
        except OverflowError:
            vector = None
        if vector is None or not np.isfinite(vector).all():
            vector = np.array([item.number() for item in self.items()], np.float64)
        if size is not None and vector.size != size:
            needed = f"{owner} has {size} bins" if owner else f"{size} are needed"
            self.refuse(f"{vector.size} numbers, but {needed}.")
        return vector

    def fault(
        self,
        expected: str,
        found: str = "",
        mend: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> SpecificationError:
        """Return the error for an invalid value.

        Args:
            expected: A description of a valid value.
            found: A description of the present value; by default the value in short.
            mend: A sentence that says how to mend it.
            settings: Arguments that the sentence names, and their values.
        """
        text = f"expected {expected}, found {found or described(self.value)}."
        return SpecificationError(
            f"{self.where}: {text}", self.pointer, mend=mend, settings=settings
        )

    def fail(self, expected: str) -> NoReturn:
        """Raise the error for an invalid value."""
        raise self.fault(expected)

    def refuse(self, problem: str) -> NoReturn:
        """Raise the error for a value of the right type that cannot be used."""
        raise SpecificationError(f"{self.where}: {problem}", self.pointer)

    def unknown(self, name: object, known: Iterable[str], kind: str) -> NoReturn:
        """Raise the error for an unknown name.

        Args:
            name: The name.
            known: The names that exist.
            kind: The kind of thing that has such names, such as ``"distribution"``.
        """
        raise unknown_key(name, known, where=self.where, kind=kind)


def described(value: Any) -> str:
    """Return a short description of a value in the terms of JSON.

    The `repr` of unknown objects is not used, as it may be long or fail.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the string {shortened(value)}"
    if isinstance(value, int | float | np.integer | np.floating):
        # Python refuses to write integers of thousands of digits.
        huge = isinstance(value, int) and value.bit_length() > 1024
        text = "a very large integer of hundreds of digits"
        return text if huge else f"the number {value}"
    if isinstance(value, dict):
        keys = ", ".join(shortened(key) for key in list(value)[:6])
        more = ", ..." if len(value) > 6 else ""
        return f"an object with the keys {keys}{more}" if value else "an empty object"
    if isinstance(value, list | tuple):
        count = len(value)
        return f"a list of {count}" if count else "an empty list"
    return f"a Python {type(value).__name__}"


def shortened(value: Any) -> str:
    """Quote a name; cut it if it is long."""
    if not isinstance(value, str):
        return described(value)
    text = value if len(value) <= _SHOWN else value[: _SHOWN - 3] + "..."
    return repr(text)


class Report:
    """Sentences on the normalisations and assumptions of a reader, without repetition.

    Example:
        >>> report = Report()
        >>> report.collect("The parameters {names} are constant.", "a")
        >>> report.collect("The parameters {names} are constant.", "b")
        >>> report.sentences()
        ("The parameters 'a', 'b' are constant.",)
    """

    def __init__(self) -> None:
        self._said: dict[str, list[str] | None] = {}

    def say(self, sentence: str) -> None:
        """Add a sentence."""
        self._said.setdefault(sentence, None)

    def collect(self, sentence: str, name: str) -> None:
        """Add a name to a sentence with the placeholder ``{names}``."""
        names = self._said.setdefault(sentence, [])
        if names is not None and name not in names[-1:]:
            names.append(name)

    def sentences(self) -> tuple[str, ...]:
        """Return all sentences in the order in which they were first needed."""
        return tuple(
            sentence if names is None else sentence.format(names=_enumerated(names))
            for sentence, names in self._said.items()
        )


def _enumerated(names: list[str]) -> str:
    names = list(dict.fromkeys(names))
    shown = ", ".join(repr(name) for name in names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown}, ... ({len(names)} in all)"
