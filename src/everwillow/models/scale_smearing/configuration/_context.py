"""What all sections of a configuration need: its folder, faults, paths and files."""

import dataclasses
import itertools
import math
import pathlib
import re
from collections.abc import Sequence

from everwillow._errors import EverwillowError, nearest
from everwillow._file_formats import format_of_file
from everwillow.models._document import Report
from everwillow.models.data_files import check_file, locate, remote
from everwillow.models.event_files import EventFiles
from everwillow.models.faults import Faults
from everwillow.models.yaml_section import Section, number
from everwillow.models.yaml_source import YamlValue


_EVENTS = ("root", "parquet", "zip")
_INFINITE = re.compile(r"([-+]?)\.?inf(inity)?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclasses.dataclass
class Context:
    """The state of the reading of a configuration.

    Attributes:
        folder: The folder of the configuration.
        faults: Gets the faults.
        events: Opens files of events, to see their columns.
        check_files: Whether files must exist.
        report: Gets sentences on what was assumed.
        idle: Gets keys that have no effect.
    """

    folder: pathlib.Path
    faults: Faults
    events: EventFiles
    check_files: bool
    report: Report = dataclasses.field(default_factory=Report)
    idle: dict[str, None] = dataclasses.field(default_factory=dict)

    def ignore(self, section: Section, *keys: str) -> None:
        """Accept keys, and remember those given as without effect."""
        for key in keys:
            if section.entry(key) is not None:
                self.idle[f"{section.name}.{key}"] = None

    def paths(self, section: Section, key: str) -> list[tuple[pathlib.Path, int]]:
        """Read the paths of files of events, each with its line."""
        found = []
        for one in section.texts(key, required=True) or ():
            name = one.text.strip()
            if (problem := remote(name)) is not None:
                section.fault(one.line, f"{key}: {problem}")
                continue
            path, elsewhere = locate(name, self.folder)
            if elsewhere:
                self.report.collect(
                    "Files found relative to the working directory, not to the "
                    "configuration: {names}.",
                    name,
                )
            if any(path == other for other, _ in found):
                section.fault(one.line, f"{key}: {name} is listed twice.")
            elif not self.check_files or self._is_file_of_events(key, path, one.line):
                found.append((path, one.line))
        return found

    def _is_file_of_events(self, key: str, path: pathlib.Path, line: int) -> bool:
        try:
            check_file(path, where=key)
            if format_of_file(path) in _EVENTS:
                return True
        except EverwillowError as error:
            self.faults.caught(line, error)
            return False
        empty = " It is empty." if path.stat().st_size == 0 else ""
        self.faults.add(
            line,
            f"{key}: {path} is not a parquet file, a ROOT file or an npz archive."
            f"{empty}",
        )
        return False


def choose_line(section: Section, *keys: str, preferred: frozenset[int]) -> int:
    """Return the line of the first of several keys, preferably one of an override."""
    lines = [section.line_of(key) for key in keys if key in section]
    chosen = [line for line in lines if line in preferred]
    return next(iter([*chosen, *lines]), section.line)


def file_name_part(section: Section, key: str, default: str) -> str:
    """Read a text that becomes a part of names of files."""
    text = section.text(key)
    if text is None:
        return default
    if problem := unusable_name(text):
        section.fault(section.line_of(key), f"{key} {problem}")
    return text


def unusable_name(text: str) -> str:
    """Return why a text cannot be a part of names of files, or nothing."""
    if _NAME.fullmatch(text):
        return ""
    return (
        f"{text!r} becomes a part of names of files. Use letters, digits, '_', '-', "
        "'+' and '.' only, and no '.' at the beginning."
    )


def whole(section: Section, key: str, default: int) -> int:
    """Read a number without a fraction that is not negative."""
    value = section.number(key)
    if value is None:
        return default
    if value < 0 or value != math.floor(value):
        section.fault(
            section.line_of(key), f"{key} must be a whole number >= 0, not {value:g}."
        )
        return default
    return int(value)


def edges(section: Section, key: str) -> tuple[float, ...] | None:
    """Read increasing edges, the first and last of which may be infinite."""
    entry = section.entry(key, required=True)
    if entry is None:
        return None
    if not isinstance(entry.value, list):
        section.fault(entry.line, f"{key} must be a list of edges.")
        return None
    values = [_number(one) for one in entry.value]
    for one, value in zip(entry.value, values, strict=True):
        if value is None:
            shown = repr(one.text) if one.text else "an entry"
            section.fault(one.line, f"{key}: {shown} is not a number.")
            return None
    found = tuple(value for value in values if value is not None)
    if len(found) < 2:
        section.fault(entry.line, f"{key} must have two or more edges.")
        return None
    for low, high in itertools.pairwise(found):
        if not low < high:
            section.fault(
                entry.line,
                f"{key}: the edges must increase, but {high:g} follows {low:g}.",
            )
            return None
    return found


def _number(entry: YamlValue) -> float | None:
    match = _INFINITE.fullmatch(entry.text.strip()) if entry.text else None
    if match is not None:
        return -math.inf if match[1] == "-" else math.inf
    return number(entry)


def unknown(key: str, known: Sequence[str]) -> str:
    """Return a sentence on a key that does not exist."""
    hint = nearest(key, known) or f" The keys are: {', '.join(known)}."
    return f"there is no key {key!r}.{hint}"
