"""What all sections of a configuration need: declared names, paths and faults."""

import dataclasses
import math
import pathlib
from collections.abc import Collection, Iterable

from everwillow._errors import EverwillowError, nearest
from everwillow._file_formats import FileFormat, format_of_file
from everwillow.models._document import Report
from everwillow.models.data_files import check_file, locate, remote
from everwillow.models.event_filter import EventFilter
from everwillow.models.faults import Faults
from everwillow.models.nsbi.configuration.records import (
    EventSource,
    ParameterEntry,
    Selection,
)
from everwillow.models.yaml_section import Section
from everwillow.models.yaml_source import YamlValue


_FORMATS: dict[FileFormat, str] = {
    "root": "a ROOT file",
    "parquet": "a parquet file",
    "zip": "an npz archive",
    "npy": "an .npy file",
}
_EVENTS: tuple[FileFormat, ...] = ("root", "parquet", "zip")


@dataclasses.dataclass
class Context:
    """The state of the reading of a configuration.

    Attributes:
        folder: The folder of the configuration.
        faults: Gets the faults.
        report: Gets sentences on what was assumed.
        samples: The names of all samples, with their lines.
        regions: The names of all regions, with their lines.
        parameters: The names of all parameters, with their lines.
    """

    folder: pathlib.Path
    faults: Faults
    report: Report = dataclasses.field(default_factory=Report)
    samples: dict[str, int] = dataclasses.field(default_factory=dict)
    regions: dict[str, int] = dataclasses.field(default_factory=dict)
    parameters: dict[str, int] = dataclasses.field(default_factory=dict)

    def declare(self, section: Section, names: dict[str, int], kind: str) -> str:
        """Read the name of a section, which must be new.

        Args:
            section: The section; its name for messages becomes the kind and the name.
            names: The names of this kind so far; gets the name.
            kind: The kind, for messages.
        """
        name = section.text("Name", required=True)
        if name is None:
            return ""
        section.name = f"{kind} {name!r}"
        if name in names:
            section.fault(
                section.line, f"the name is in line {names[name]} too. Rename one."
            )
        names.setdefault(name, section.line)
        return name

    def known(
        self,
        section: Section,
        listed: Iterable[YamlValue],
        known: Collection[str],
        kind: str,
    ) -> tuple[str, ...]:
        """Return the declared ones of some names, without repetition."""
        found: dict[str, None] = {}
        for one in listed:
            name = one.text.strip()
            if name in known:
                found[name] = None
            else:
                hint = nearest(name, known) or f" Declared: {', '.join(known)}."
                section.fault(one.line, f"there is no {kind} {name!r}.{hint}")
        return tuple(found)

    def affected(
        self, section: Section
    ) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """Read `Samples` (None if absent) and `Regions` or `Region` (default all)."""
        samples = section.texts("Samples")
        chosen = (
            None
            if samples is None
            else self.known(section, samples, self.samples, "sample")
        )
        return chosen, self.restricted(section)

    def restricted(self, section: Section) -> tuple[str, ...]:
        """Read `Regions` or `Region`; all, if there is neither."""
        both = [section.texts("Regions"), section.texts("Region")]
        if all(listed is None for listed in both):
            return tuple(self.regions)
        listed = [one for some in both for one in some or ()]
        return self.known(section, listed, self.regions, "region")

    def parameter(
        self,
        section: Section,
        name: str,
        samples: tuple[str, ...],
        regions: tuple[str, ...],
        default: float | None,
    ) -> ParameterEntry:
        """Read `Nominal` and `Bounds` of a parameter."""
        nominal = section.number("Nominal", required=default is None)
        if nominal is None:
            nominal = default or 0.0
            if "Nominal" not in section and default is not None:
                self.report.collect(
                    f"Nominal is not given for {{names}}, and is {default:g}.", name
                )
        bounds = section.numbers("Bounds", infinite=True)
        ends = None
        if bounds is not None:
            line = section.line_of("Bounds")
            if len(bounds) != 2 or bounds[0] >= bounds[1]:
                section.fault(
                    line, "Bounds must be two numbers, of which the first is smaller."
                )
            else:
                ends = (bounds[0], bounds[1])
                if not ends[0] <= nominal <= ends[1] and not math.isnan(nominal):
                    section.fault(
                        line, f"Nominal is {nominal:g}, which is outside of Bounds."
                    )
        return ParameterEntry(name, nominal, ends, samples, regions, section.line)

    def selection(self, section: Section) -> Selection | None:
        """Read `Filter`."""
        text = section.text("Filter")
        if text is None:
            return None
        line = section.line_of("Filter")
        try:
            return Selection(EventFilter(text), line)
        except EverwillowError as error:
            section.fault(line, f"Filter: {error}")
            return None

    def files(
        self, section: Section, key: str, *, required: bool = False
    ) -> list[tuple[pathlib.Path, int]]:
        """Read paths of files that exist, each with its line."""
        listed = section.texts(key, required=required)
        return [
            (path, one.line)
            for one in listed or ()
            if (path := self.file(section, key, one)) is not None
        ]

    def file(self, section: Section, key: str, named: YamlValue) -> pathlib.Path | None:
        """Return the path of a file, or None after a fault."""
        if (problem := remote(named.text.strip())) is not None:
            section.fault(named.line, f"{key}: {problem}")
            return None
        path, elsewhere = locate(named.text.strip(), self.folder)
        try:
            check_file(path, where=f"{section.name}, {key}")
        except EverwillowError as error:
            self.faults.caught(named.line, error)
            return None
        if elsewhere:
            self.report.collect(
                "Files found relative to the working directory, not to the "
                "configuration: {names}.",
                named.text.strip(),
            )
        return path

    def array_files(
        self, section: Section, key: str, *, required: bool = False
    ) -> tuple[pathlib.Path, ...]:
        """Read paths of .npy files."""
        found = self.files(section, key, required=required)
        for path, line in found:
            self._check_format(section, key, path, line, ("npy",))
        return tuple(path for path, _ in found)

    def source(self, section: Section, key: str = "SamplePath") -> EventSource:
        """Read the files, the tree and the weights of events."""
        found = self.files(section, key, required=True)
        tree = section.text("Tree")
        for path, line in found:
            known = self._check_format(section, key, path, line, _EVENTS)
            if known == "root" and tree is None:
                section.fault(section.line, "the key 'Tree' is missing.")
        paths = tuple(path for path, _ in found)
        return EventSource(paths, tree or "", section.text("Weight"), section.line)

    def _check_format(
        self,
        section: Section,
        key: str,
        path: pathlib.Path,
        line: int,
        allowed: tuple[FileFormat, ...],
    ) -> FileFormat | None:
        known = format_of_file(path)
        if known not in allowed:
            expected = " or ".join(_FORMATS[one] for one in allowed)
            empty = " It is empty." if path.stat().st_size == 0 else ""
            section.fault(line, f"{key}: {path} is not {expected}.{empty}")
        return known
