"""The whole of a configuration, checked before any event is read."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from everwillow._errors import EverwillowError, SpecificationError
from everwillow.models.data_files import expanded
from everwillow.models.event_files import EventFiles, EventTable
from everwillow.models.faults import Faults
from everwillow.models.scale_smearing.branches import missing_columns
from everwillow.models.scale_smearing.configuration._context import (
    Context,
    file_name_part,
    unknown,
    unusable_name,
)
from everwillow.models.scale_smearing.configuration._overrides import (
    COMMON,
    PLAIN,
    SECTIONS,
    Override,
    overrides,
)
from everwillow.models.scale_smearing.configuration._settings import (
    Places,
    read_settings,
)
from everwillow.models.scale_smearing.configuration.records import (
    CorrectionSettings,
    FitSettings,
    SasConfiguration,
)
from everwillow.models.scale_smearing.event_input import lepton_columns
from everwillow.models.yaml_section import Section, described
from everwillow.models.yaml_source import YamlValue, as_yaml, load_yaml


RESERVED = ("Nominal", "NominalWithSyst", "Nominal2GWithSyst")
"""Names of results that no systematic may have."""


def read_configuration(
    source: str | os.PathLike[str] | Mapping[str, Any],
    *,
    results: str | os.PathLike[str] | None = None,
    check_files: bool = True,
) -> SasConfiguration:
    """Read a configuration of scale and smearing, and check all of it.

    Of files of events only the names of columns are read. Their paths are relative to
    the folder of the configuration or, if there is no such file, to the working
    directory. The path of results is always relative to the folder of the
    configuration. A mapping has the working directory in place of this folder.

    Args:
        source: The YAML file, or its content.
        results: The folder of results, relative to the working directory; that of the
            configuration if None.
        check_files: Whether the files of events must exist and have the columns.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: With all faults and their lines, if it has any.

    Example:
        >>> found = read_configuration(
        ...     {
        ...         "file_dt": "data.parquet",
        ...         "file_mc": "simulation.parquet",
        ...         "dir_results": "results",
        ...         "sas": {"categories": {"ScEta": [0, 1.5, 2.5]}, "cut": "pt1 > 30"},
        ...     },
        ...     check_files=False,
        ... )
        >>> found.nominal.categories.size, found.nominal.simulation_window
        (2, (50.0, 130.0))
    """
    if isinstance(source, Mapping):
        path, folder = None, pathlib.Path.cwd()
        faults = Faults("the configuration")
        document = as_yaml(source)
    else:
        path = pathlib.Path(source).absolute()
        folder = path.parent
        faults = Faults(path.name)
        document = load_yaml(path, faults)
    if not isinstance(document.value, dict) or not document.value:
        raise SpecificationError(
            f"{faults.document}: expected the keys {', '.join((*PLAIN, *SECTIONS))}, "
            f"..., not {described(document)}."
        )
    for key, entry in document.value.items():
        if key not in (*PLAIN, *SECTIONS, *COMMON):
            problem = unknown(key, ("file_dt", "file_mc", *COMMON, *SECTIONS, "seed"))
            faults.add(entry.line, problem)
    with EventFiles() as events:
        context = Context(folder, faults, events, check_files)
        read = _Reader(context).read(document)
    common = _common(context, document, results)
    if read is not None and common["corrections"].smoothing:
        _check_smoothing(document, read[0], faults)
    faults.check()
    assert read is not None  # without a fault, there are settings
    nominal, systematics = read
    return SasConfiguration(
        path=path,
        nominal=nominal,
        systematics=systematics,
        source=document.plain(),
        report=_report(context),
        **common,
    )


class _Reader:
    """Reads the nominal settings, and those of all systematics."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def read(
        self, document: YamlValue
    ) -> tuple[FitSettings, dict[str, FitSettings]] | None:
        """Return the settings, or None after faults."""
        nominal = self._settings(self._context, document, frozenset())
        found = {}
        for one in overrides(self._context, document):
            self._check_name(one)
            faults = Faults(self._context.faults.document)
            context = dataclasses.replace(self._context, faults=faults)
            settings = self._settings(context, one.document, one.lines)
            if settings is not None and nominal is not None:
                _check_shape(nominal, settings, one, faults)
                found[one.name] = settings
            self._context.faults.include(faults, f"syst {one.name!r}")
        return None if nominal is None else (nominal, found)

    def _settings(
        self, context: Context, document: YamlValue, changed: frozenset[int]
    ) -> FitSettings | None:
        read = read_settings(context, document, changed)
        if read is None:
            return None
        settings, places = read
        if context.check_files:
            for sample in (False, True):
                _check_columns(context, settings, places, simulated=sample)
        return settings

    def _check_name(self, one: Override) -> None:
        problem = unusable_name(one.name)
        if one.name in RESERVED:
            problem = f"{one.name!r} is the name of another result. Choose another one."
        if problem:
            self._context.faults.add(one.line, f"syst: the name {problem}")


def _check_smoothing(document: YamlValue, nominal: FitSettings, faults: Faults) -> None:
    names = nominal.categories.names
    if nominal.pt not in names:
        section = Section(document, faults, "").section("corrlib")
        assert section is not None
        section.fault(
            section.line_of("smoothing"),
            f"smoothing: functions of {nominal.pt!r} need bins of it, and the "
            f"categories are in {', '.join(names)}. Leave smoothing out, or name the "
            "variable by sas: name_pt_var.",
        )


def _check_shape(
    nominal: FitSettings, settings: FitSettings, one: Override, faults: Faults
) -> None:
    shape, other = nominal.categories.shape, settings.categories.shape
    if shape != other:
        faults.add(
            one.line,
            f"it has {' x '.join(map(str, other))} categories, the nominal fit "
            f"{' x '.join(map(str, shape))}. Systematics compare categories one by "
            "one, and may not change their number.",
        )


def _check_columns(
    context: Context, settings: FitSettings, places: Places, *, simulated: bool
) -> None:
    """Report columns that files of events do not have."""
    names = [*lepton_columns(settings), *(settings.cut.names if settings.cut else ())]
    if simulated and settings.weight is not None:
        names.append(settings.weight)
    wanted = tuple(dict.fromkeys(names))
    paths = settings.simulation if simulated else settings.data
    lines = places.simulation if simulated else places.data
    for path, line in zip(paths, lines, strict=True):
        try:
            table: EventTable = context.events.table(path, settings.tree)
            missing = missing_columns(table, wanted, settings.branches)
        except EverwillowError as error:
            context.faults.caught(line, error)
            continue
        for name, problem in missing.items():
            hint = _suffix_hint(settings, name, table.columns)
            context.faults.add(places.names.get(name, line), problem + hint)
        if not table.entries and len(paths) == 1:
            context.faults.add(line, f"{path} has no events.")


def _suffix_hint(settings: FitSettings, name: str, columns: Collection[str]) -> str:
    """Return a sentence if a variable has the suffix of a lepton already."""
    for variable in settings.categories.names:
        leptons = [f"{variable}{suffix}" for suffix in settings.suffixes]
        if name in leptons and variable in columns:
            return (
                f" Write {variable!r} without the suffix of a lepton: suffixes are "
                f"{', '.join(map(repr, settings.suffixes))}."
            )
    return ""


def _common(
    context: Context, document: YamlValue, results: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Read what all fits of a configuration share."""
    root = Section(document, context.faults, "")
    given = root.text("dir_results", required=results is None) or "."
    folder = context.folder / expanded(given)
    if results is not None:
        folder = pathlib.Path(expanded(results)).absolute()
    if folder.is_file():
        root.fault(
            root.line_of("dir_results"), f"dir_results: {folder} is a file, no folder."
        )
    return {
        "results": pathlib.Path(os.path.normpath(folder)),
        "dataset": file_name_part(root, "dset_name", "DSET"),
        "correction_set": file_name_part(root, "cset_name", "CSET"),
        "labels": _labels(root),
        "scale_flat": _flat(root, "scale_flat_syst"),
        "smear_flat": _flat(root, "smear_flat_syst"),
        "corrections": _corrections(root),
    }


def _labels(root: Section) -> dict[str, str]:
    section, entry = root.section("cat_latex"), root.entry("cat_latex")
    if section is None or entry is None or not isinstance(entry.value, dict):
        return {}
    return {name: section.text(name) or name for name in entry.value}


def _flat(root: Section, key: str) -> float:
    value = root.number(key) or 0.0
    if value < 0:
        root.fault(root.line_of(key), f"{key} must not be negative.")
    return value


def _corrections(root: Section) -> CorrectionSettings:
    """Read what is written; the key `corrlib` alone asks for a correction file."""
    given = root.section("corrlib")
    nothing = Section(YamlValue({}, 0), root.faults, "corrlib")
    section = given or nothing
    sas = root.section("sas") or nothing
    found = CorrectionSettings(
        description=section.text("cset_description"),
        version=_version(section),
        smoothing=bool(section.flag("smoothing")),
        write=given is not None or root.is_null("corrlib"),
        correct_data=bool(sas.flag("correct_data")),
        correct_simulation=bool(sas.flag("correct_mc")),
    )
    section.finish()
    return found


def _version(section: Section) -> int:
    entry = section.entry("cset_version")
    if entry is None:
        return 1
    value = entry.value
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        section.fault(
            entry.line,
            f"cset_version must be a whole number >= 0, not {described(entry)}.",
        )
        return 1
    return value


def _report(context: Context) -> tuple[str, ...]:
    idle: Sequence[str] = sorted(context.idle)
    if not idle:
        return context.report.sentences()
    return (
        *context.report.sentences(),
        f"These keys have no effect: {', '.join(idle)}. The fit is by Newton's method "
        "with exact derivatives, and needs no options.",
    )
