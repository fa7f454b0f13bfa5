"""Reading the entries of a definition: references to numbers and to names."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from everwillow._errors import SpecificationError, nearest


Reference: TypeAlias = str | float
"""The name of something in the model, or a number."""

_NUMERIC = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
# Keys that any definition may have.
COMMON = frozenset({"name", "type", "comment", "description", "tags", "dict"})


class Fields:
    """One definition of a document, with a method for each kind of value.

    It records the keys that were read, so that `close` finds the others.

    Args:
        kind: The component of the document for messages: ``"distributions"`` or
            ``"functions"``.
        name: The name of the definition.
        spec: Its keys and values.
    """

    def __init__(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        if not isinstance(spec, Mapping):
            raise SpecificationError(
                f"{kind}/{name}: an object is needed, not {spec!r}."
            )
        self.where = f"{kind}/{name}"
        self.name = name
        self.spec = spec
        self.read: set[str] = set()
        self.known_keys: set[str] = set()
        self._notes: list[str] = []

    @property
    def type(self) -> str:
        """The value of its key ``type``."""
        value = self.spec.get("type")
        if not isinstance(value, str):
            self.refuse(f"its type must be a text, not {value!r}")
        return value

    def refuse(self, message: str) -> NoReturn:
        """Raise an error with the place of the definition.

        Raises:
            SpecificationError: Always.
        """
        stop = "" if message.endswith("?") else "."
        raise SpecificationError(f"{self.where}: {message}{stop}")

    def note(self, sentence: str) -> None:
        """Store an assumption for `close`, which adds the place and a full stop."""
        self._notes.append(f"{self.where}: {sentence}.")

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        self.known_keys.add(key)
        return key in self.spec

    def raw(self, key: str, default: Any = None) -> Any:
        """Return the value of a key as it is."""
        self.read.add(key)
        return self.spec.get(key, default)

    def get(self, *keys: str, default: Reference | None = None) -> Reference:
        """Return the reference under the first of `keys` that exists."""
        self.known_keys.update(keys)
        for key in keys:
            if key in self.spec:
                self.read.add(key)
                return _reference(self, self.spec[key], key)
        if default is None:
            _missing(self, keys[0])
        return default

    def positive(self, *keys: str) -> Reference:
        """Return a reference that, if it is a number, must be positive."""
        value = self.get(*keys)
        if not isinstance(value, str) and value <= 0.0:
            self.refuse(f"{keys[0]!r} must be positive, not {value!r}")
        return value

    def name_at(self, *keys: str) -> str:
        """Return the name under the first of `keys` that exists."""
        value = self.get(*keys)
        if not isinstance(value, str):
            self.refuse(f"{keys[0]!r} must be a name, not the number {value!r}")
        return value

    def list_at(self, key: str, *, empty: bool = False) -> tuple[Reference, ...]:
        """Return a list of references; it may be empty, or null, if that is allowed."""
        self.known_keys.add(key)
        if empty and key in self.spec and self.spec[key] in (None, [], ()):
            self.read.add(key)
            return ()
        values = self.sequence(key)
        return tuple(_reference(self, x, f"{key}/{i}") for i, x in enumerate(values))

    def names_at(self, key: str, *, empty: bool = False) -> tuple[str, ...]:
        """Return a list of names; it may be empty, or null, if that is allowed."""
        values = self.list_at(key, empty=empty)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                self.refuse(f"{key}/{index} must be a name, not {value!r}")
        return tuple(str(value) for value in values)

    def sequence(self, key: str) -> Sequence[Any]:
        """Return a list as it is, not empty."""
        if key not in self.spec:
            _missing(self, key)
        self.read.add(key)
        values = self.spec[key]
        if isinstance(values, str | bytes) or not isinstance(values, Sequence):
            self.refuse(f"{key!r} must be a list, not {values!r}")
        if not values:
            self.refuse(f"{key!r} must not be empty")
        return values

    def flag(self, key: str) -> bool | None:
        """Return a boolean, or None if the key is not there."""
        self.known_keys.add(key)
        self.read.add(key)
        value = self.spec.get(key)
        if value is not None and not isinstance(value, bool):
            self.refuse(f"{key!r} must be true or false, not {value!r}")
        return value

    def close(self) -> tuple[str, ...]:
        """Return the notes, and a sentence for each key that was not read.

        Raises:
            SpecificationError: If such a key is probably misspelt.
        """
        notes = list(self._notes)
        for key in self.spec:
            if key in self.read or key in COMMON:
                continue
            hint = nearest(key, self.known_keys - self.spec.keys())
            if hint:
                self.refuse(f"the key {key!r} has no meaning here.{hint}")
            notes.append(
                f"{self.where}: the key {key!r} has no meaning and is ignored."
            )
        return tuple(notes)


def _reference(fields: Fields, value: Any, key: str) -> Reference:
    if isinstance(value, str):
        if not value.strip():
            fields.refuse(f"{key!r} is an empty name")
        # Exporters write some numbers as text.
        return float(value) if _NUMERIC.fullmatch(value) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        fields.refuse(f"{key!r} must be a name or a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        fields.refuse(f"{key!r} must be a finite number, not {value!r}")
    return number


def _missing(fields: Fields, key: str) -> NoReturn:
    hint = nearest(key, fields.spec)
    fields.refuse(f"the key {key!r} is missing" + (f".{hint}" if hint else ""))
