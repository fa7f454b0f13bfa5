"""Checked access to the entries of a YAML mapping; wrong ones become faults."""

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from everwillow._errors import nearest
from everwillow.models.faults import Faults
from everwillow.models.yaml_source import YamlValue


T = TypeVar("T")


class Section:
    r"""A mapping, whose entries are read by name.

    Every method returns an entry, or None after it has reported a fault; entries that
    are null count as absent. `finish` reports the entries that were not asked for.

    Args:
        value: The mapping.
        faults: Gets the faults.
        name: What it describes, for messages.

    Attributes:
        name: What it describes.
        line: The line of the mapping.

    Example:
        >>> from everwillow.models.yaml_source import read_yaml
        >>> faults = Faults("config.yml")
        >>> section = Section(read_yaml("Nam: mu\nNominal: one"), faults, "a factor")
        >>> section.text("Name", required=True), section.number("Nominal")
        (None, None)
        >>> section.finish()
        >>> faults.check()
        Traceback (most recent call last):
            ...
        everwillow._errors.SpecificationError: config.yml has 3 faults:
          config.yml:1: a factor: the key 'Name' is missing.
          config.yml:1: a factor: there is no key 'Nam'. Did you mean 'Name'?
          config.yml:2: a factor: Nominal must be a number, not 'one'.
    """

    def __init__(self, value: YamlValue, faults: Faults, name: str) -> None:
        self.name = name
        self.line = value.line
        self.faults = faults
        self._asked: dict[str, None] = {}
        self._entries: Mapping[str, YamlValue] = {}
        if isinstance(value.value, dict):
            self._entries = value.value
        elif value.value is not None:
            self.fault(value.line, f"expected a mapping, not {described(value)}.")

    def __contains__(self, key: str) -> bool:
        return self.entry(key) is not None

    def fault(self, line: int, problem: str) -> None:
        """Report a fault of this mapping."""
        self.faults.add(line, f"{self.name}: {problem}" if self.name else problem)

    def line_of(self, key: str) -> int:
        """Return the line of an entry, or of the mapping if it has none."""
        entry = self._entries.get(key)
        return self.line if entry is None else entry.line

    def entry(self, key: str, *, required: bool = False) -> YamlValue | None:
        """Return an entry as it is."""
        self._asked[key] = None
        entry = self._entries.get(key)
        if entry is None or entry.value is None:
            if required:
                self.fault(self.line, f"the key {key!r} is missing.")
            return None
        return entry

    def is_null(self, key: str) -> bool:
        """Return whether an entry is there, and is null."""
        self._asked[key] = None
        entry = self._entries.get(key)
        return entry is not None and entry.value is None

    def text(self, key: str, *, required: bool = False) -> str | None:
        """Return a text; a number or date is the text that it is written as."""
        entry = self.entry(key, required=required)
        if entry is None:
            return None
        if isinstance(entry.value, dict | list) or not entry.text.strip():
            return self._wrong(key, "a text", entry)
        return entry.text.strip()

    def number(
        self, key: str, *, required: bool = False, infinite: bool = False
    ) -> float | None:
        """Return a number, which must be finite unless it may be infinite."""
        entry = self.entry(key, required=required)
        if entry is None:
            return None
        value = number(entry)
        if value is None or not (infinite or math.isfinite(value)):
            return self._wrong(key, "a number", entry)
        return value

    def numbers(
        self, key: str, *, required: bool = False, infinite: bool = False
    ) -> tuple[float, ...] | None:
        """Return a list of numbers."""
        entry = self.entry(key, required=required)
        if entry is None:
            return None
        if not isinstance(entry.value, list):
            return self._wrong(key, "a list of numbers", entry)
        values = [number(one) for one in entry.value]
        for one, value in zip(entry.value, values, strict=True):
            if value is None or not (infinite or math.isfinite(value)):
                self.fault(one.line, f"{key}: {described(one)} is not a number.")
                return None
        return tuple(value for value in values if value is not None)

    def texts(
        self, key: str, *, required: bool = False, empty: bool = False
    ) -> list[YamlValue] | None:
        """Return a list of texts, or the only one; each with its line.

        Args:
            key: The name of the entry.
            required: Whether it must be there.
            empty: Whether the list may be empty.
        """
        entry = self.entry(key, required=required)
        if entry is None:
            return None
        listed = entry.value if isinstance(entry.value, list) else [entry]
        if not listed and not empty:
            self.fault(entry.line, f"{key} is empty.")
        found = [one for one in listed if one.text.strip()]
        for one in listed:
            if not one.text.strip():
                self.fault(
                    one.line, f"{key} must be a text or a list, not {described(one)}."
                )
        return found

    def flag(self, key: str) -> bool | None:
        """Return true or false."""
        entry = self.entry(key)
        if entry is None:
            return None
        if not isinstance(entry.value, bool):
            return self._wrong(key, "true or false", entry)
        return entry.value

    def choice(
        self, key: str, choices: Mapping[str, T], *, required: bool = False
    ) -> T | None:
        """Return what stands for one of several texts."""
        text = self.text(key, required=required)
        if text is not None and text not in choices:
            known = " or ".join(choices)
            hint = nearest(text, choices)
            self.fault(self.line_of(key), f"{key} is {text!r}, not {known}.{hint}")
        return choices.get(text or "")

    def section(self, key: str, *, required: bool = False) -> "Section | None":
        """Return a mapping."""
        entry = self.entry(key, required=required)
        if entry is None:
            return None
        return Section(entry, self.faults, self._inside(key))

    def sections(
        self, key: str, *, required: bool = False, single: bool = False
    ) -> list["Section"]:
        """Return a list of mappings.

        Args:
            key: The name of the entry.
            required: Whether it must be there and have an element.
            single: Whether it may be one mapping instead of a list.
        """
        entry = self.entry(key, required=required)
        if entry is None:
            return []
        value = entry.value
        if single and isinstance(value, dict):
            return [Section(entry, self.faults, self._inside(key))]
        if not isinstance(value, list):
            self._wrong(key, "a list", entry)
            return []
        if required and not value:
            self.fault(entry.line, f"{key} is empty.")
        return [
            Section(one, self.faults, self._inside(f"{key}[{i}]"))
            for i, one in enumerate(value)
        ]

    def finish(
        self, accepted: Collection[str] = (), *, more: Iterable[str] = ()
    ) -> None:
        """Report entries that were not asked for.

        Args:
            accepted: Keys that are accepted, and have no effect.
            more: Keys that are valid here in other cases, for hints.
        """
        known = [*self._asked, *more]
        for key, entry in self._entries.items():
            if key not in self._asked and key not in accepted:
                same = [one for one in known if one.lower() == key.lower()]
                hint = nearest(same[0] if same else key, same or known)
                hint = hint or f" The keys are: {', '.join(known)}."
                self.fault(entry.line, f"there is no key {key!r}.{hint}")

    def _inside(self, key: str) -> str:
        return f"{self.name}, {key}" if self.name else key

    def _wrong(self, key: str, expected: str, entry: YamlValue) -> None:
        self.fault(entry.line, f"{key} must be {expected}, not {described(entry)}.")


def number(entry: YamlValue) -> float | None:
    """Return the value of a number, or None."""
    value: Any = entry.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return None if math.isnan(value) else float(value)
    except OverflowError:
        return None


def described(entry: YamlValue) -> str:
    """Describe a value for messages."""
    if isinstance(entry.value, dict):
        return "a mapping"
    if isinstance(entry.value, list):
        return f"a list of {len(entry.value)}"
    if entry.value is None:
        return "null"
    return repr(entry.text[:60])
