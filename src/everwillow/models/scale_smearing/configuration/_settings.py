"""The settings of one fit: the sections `sas`, `fitter` and `minimizer`."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from everwillow._errors import EverwillowError, UnknownKeyError, nearest
from everwillow.models.event_filter import EventExpression, EventFilter
from everwillow.models.scale_smearing.branches import preset
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.configuration._context import (
    Context,
    edges,
    whole,
)
from everwillow.models.scale_smearing.configuration._windows import read_windows
from everwillow.models.scale_smearing.configuration.records import FitSettings
from everwillow.models.yaml_section import Section
from everwillow.models.yaml_source import YamlValue


_SHARED = ("reso2", "mu", "frac")
_OFF = ("", "0", "0.0", "false", "no", "none", "null", "off")


@dataclasses.dataclass(frozen=True)
class Places:
    """The lines of what names columns, for messages on missing ones.

    Attributes:
        names: The lines of columns by name.
        data: The lines of files of data.
        simulation: The lines of files of simulation.
    """

    names: Mapping[str, int]
    data: tuple[int, ...]
    simulation: tuple[int, ...]


def read_settings(
    context: Context, document: YamlValue, changed: frozenset[int] = frozenset()
) -> tuple[FitSettings, Places] | None:
    """Read the settings of one fit.

    Args:
        context: The state of the reading.
        document: The whole document, a mapping.
        changed: The lines of values that are not those of the nominal fit.

    Returns:
        The settings, and where they are; None if there are faults without which there
        are none.
    """
    root = Section(document, context.faults, "")
    sas = _section(root, "sas", required=True)
    fitter, minimizer = _section(root, "fitter"), _section(root, "minimizer")
    data = context.paths(root, "file_dt")
    simulation = context.paths(root, "file_mc")
    seed = whole(root, "seed", 0)
    lines: dict[str, int] = {}
    found = _leptons(context, sas, lines)
    found |= _layout(sas)
    found |= _errors(context, sas)
    found |= _fit(context, fitter, lines, changed)
    categories = found["categories"]
    found |= _start(context, minimizer, categories)
    for section in (sas, fitter, minimizer):
        section.finish()
    if categories is None or not data or not simulation:
        return None
    settings = FitSettings(
        data=tuple(path for path, _ in data),
        simulation=tuple(path for path, _ in simulation),
        seed=seed,
        **found,
    )
    lines.setdefault(settings.mass, fitter.line)
    places = Places(
        lines, tuple(line for _, line in data), tuple(line for _, line in simulation)
    )
    return settings, places


def _section(root: Section, key: str, *, required: bool = False) -> Section:
    """Return a section, which is empty if it is absent."""
    found = root.section(key, required=required)
    return found or Section(YamlValue({}, root.line), root.faults, key)


def _leptons(context: Context, sas: Section, lines: dict[str, int]) -> dict[str, Any]:
    """Read the categories and the leptons that have them."""
    categories, suffixes = _categories(sas, lines), _suffixes(sas)
    pt = sas.text("name_pt_var") or "pt"
    relative = sas.flag("use_rpt")
    names = () if categories is None else categories.names
    for name, line in list(lines.items()):
        lines |= {f"{name}{suffix}": line for suffix in suffixes}
    exponent = sas.number("mass_exponent")
    if exponent is not None and exponent <= 0:
        sas.fault(sas.line_of("mass_exponent"), "mass_exponent must be positive.")
    if exponent is None and len(suffixes) == 1:
        context.report.say(
            "sas.mass_exponent is not given, and is 0.5: the mass changes with the "
            "square root of the one response."
        )
    return {
        "categories": categories,
        "suffixes": suffixes,
        "pt": pt,
        "relative_pt": (relative is None or relative) and pt in names,
        "mass_exponent": 0.5 if exponent is None else exponent,
        "cut": _cut(sas, lines),
    }


def _categories(sas: Section, lines: dict[str, int]) -> Categories | None:
    section = sas.section("categories", required=True)
    entry = sas.entry("categories")
    if section is None or entry is None or not isinstance(entry.value, dict):
        return None
    if not entry.value:
        sas.fault(entry.line, "categories: there is no variable.")
        return None
    found = {name: edges(section, name) for name in entry.value}
    lines |= {name: section.line_of(name) for name in found}
    known = {name: values for name, values in found.items() if values is not None}
    return Categories.of(known) if len(known) == len(found) else None


def _suffixes(sas: Section) -> tuple[str, ...]:
    entry = sas.entry("suffixes")
    if entry is None:
        return ("1", "2")
    listed = entry.value if isinstance(entry.value, list) else [entry]
    texts = tuple(one.text.strip() for one in listed)
    scalars = not any(isinstance(one.value, list | dict) for one in listed)
    if scalars and len(texts) in (1, 2) and len(set(texts)) == len(texts):
        return texts
    sas.fault(
        entry.line,
        "suffixes must be one or two different texts, such as [1, 2], or [''] if one "
        "object without a suffix has the response.",
    )
    return ("1", "2")


def _cut(sas: Section, lines: dict[str, int]) -> EventFilter | None:
    text = sas.text("cut")
    if text is None:
        return None
    line = sas.line_of("cut")
    try:
        found = EventFilter(text)
    except EverwillowError as error:
        sas.fault(line, f"cut: {error}")
        return None
    for name in found.names:
        lines.setdefault(name, line)
    return found


def _layout(sas: Section) -> dict[str, Any]:
    """Read the tree and the table of branches."""
    tree, entry = sas.text("tree") or "", sas.entry("branches")
    if entry is None:
        return {"tree": tree, "branches": {}}
    given = entry.value if isinstance(entry.value, dict) else {"preset": entry}
    branches: dict[str, str] = {}
    for name, one in given.items():
        text = one.text.strip()
        if not text or isinstance(one.value, list | dict):
            sas.fault(one.line, f"branches: {name} must be a column or an expression.")
        elif name == "preset":
            try:
                known = preset(text)
            except UnknownKeyError as error:
                sas.fault(one.line, str(error))
            else:
                tree, branches = tree or known.tree, {**known.branches, **branches}
        else:
            branches[name] = text
            try:
                EventExpression(text)
            except EverwillowError as error:
                sas.fault(one.line, f"branches: {error}")
    return {"tree": tree, "branches": branches}


def _errors(context: Context, sas: Section) -> dict[str, Any]:
    """Read which errors are computed; those of simulation need the statistical ones."""
    entry, simulated = sas.entry("hess"), sas.flag("err_mc")
    off = entry is not None and entry.text.strip().lower() in _OFF
    if entry is not None and isinstance(entry.value, list | dict):
        sas.fault(entry.line, "hess must be a text, true or false.")
    if simulated and off:
        context.report.say(
            "sas.hess is off, but sas.err_mc needs the second derivatives, so that all "
            "errors are computed."
        )
    context.ignore(sas, "learning_rate", "dump_json")
    # Written by the workflow, and read from the nominal document.
    for key in ("correct_data", "correct_mc"):
        sas.flag(key)
    return {
        "errors": bool(simulated) or not off,
        "simulation_errors": not off if simulated is None else simulated,
    }


def _fit(
    context: Context, fitter: Section, lines: dict[str, int], changed: frozenset[int]
) -> dict[str, Any]:
    """Read the section of the fit."""
    context.ignore(fitter, "name_cat", "fast_hist", "error_parameters")
    mass, weight = fitter.text("name_mll"), fitter.text("name_weights")
    if mass is not None:
        lines.setdefault(mass, fitter.line_of("name_mll"))
    if weight is not None:
        lines.setdefault(weight, fitter.line_of("name_weights"))
    double = bool(fitter.flag("double_gaussian"))
    shared = _shared(fitter)
    if shared and not double:
        context.idle["fitter.single_parameters"] = None
    return {
        "mass": mass or "mass",
        "weight": weight,
        "min_data": whole(fitter, "min_nevt_region_dt", 10),
        "min_simulation": whole(fitter, "min_nevt_region_mc", 100),
        "double_gaussian": double,
        "shared": shared,
        **read_windows(fitter, changed),
    }


def _shared(fitter: Section) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for one in fitter.texts("single_parameters", empty=True) or ():
        name = one.text.strip()
        if name in _SHARED:
            found[name] = None
        else:
            hint = nearest(name, _SHARED) or f" They are: {', '.join(_SHARED)}."
            fitter.fault(
                one.line,
                f"single_parameters: {name!r} is no parameter of the second Gaussian."
                f"{hint}",
            )
    return tuple(found)


def _start(
    context: Context, minimizer: Section, categories: Categories | None
) -> dict[str, Any]:
    """Read the start values, and accept the options of other minimisers."""
    context.ignore(
        minimizer,
        *("minimizer", "dnll_tol", "max_epochs", "nepoch_print"),
        *("batch_size", "batch_training", "device"),
    )
    cats = minimizer.entry("cats")
    if cats is not None and cats.text != "all":
        minimizer.fault(cats.line, "cats cannot choose regions. Remove it.")
    random = bool(minimizer.flag("init_rand"))
    found: dict[str, Any] = {"random_start": random}
    for key, name, low in (
        ("init_resp", "start_resp", 0.0),
        ("init_reso", "start_reso", -math.ulp(0.0)),
    ):
        values = minimizer.numbers(key)
        found[name] = values
        line = minimizer.line_of(key)
        size = 0 if categories is None else categories.size
        if values is None or not size:
            continue
        if len(values) != size:
            minimizer.fault(
                line, f"{key} has {len(values)} numbers for {size} categories."
            )
        wrong = [value for value in values if not value > low]
        if wrong:
            bound = "positive" if low == 0 else ">= 0"
            minimizer.fault(line, f"{key}: {wrong[0]:g} must be {bound}.")
    if random and (found["start_resp"] or found["start_reso"]):
        context.report.say(
            "minimizer.init_rand applies to the parameters without start values only."
        )
    return found
