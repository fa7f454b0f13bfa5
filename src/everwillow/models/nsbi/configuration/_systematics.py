"""The section of systematic uncertainties."""

from everwillow.models.nsbi.configuration._context import Context
from everwillow.models.nsbi.configuration.records import (
    SystematicEntry,
    Variation,
)
from everwillow.models.yaml_section import Section
from everwillow.models.yaml_source import YamlValue


_TYPES = {"NormPlusShape": True, "Norm": False, "Normalization": False}


def read_systematic(context: Context, section: Section) -> SystematicEntry:
    """Read an element of `Systematics`."""
    name = context.declare(section, context.parameters, "systematic")
    shape = section.choice("Type", _TYPES, required=True)
    samples, regions = context.affected(section)
    up = _variations(context, section, "Up", samples, shape=shape)
    down = _variations(context, section, "Dn", samples, shape=shape)
    if not all(isinstance(one, dict | None) for one in (up, down)):
        up, down = _completed(context, section, name, up, down)
    if samples is None:
        listed = [name for one in (up, down) if isinstance(one, dict) for name in one]
        numbers = not all(isinstance(one, dict | None) for one in (up, down))
        samples = tuple(context.samples) if numbers else tuple(dict.fromkeys(listed))
    ups, downs = _of_samples(up, samples), _of_samples(down, samples)
    if shape is not None:
        _check_complete(section, samples, ups, downs)
    parameter = context.parameter(section, name, samples, regions, 0.0)
    section.finish(("ModifierName",))
    return SystematicEntry(parameter, bool(shape), ups, downs)


def _variations(
    context: Context,
    section: Section,
    key: str,
    samples: tuple[str, ...] | None,
    *,
    shape: bool | None,
) -> dict[str, Variation] | float | None:
    """Read `Up` or `Dn`: a factor for all samples, or a variation for each."""
    entry = section.entry(key)
    if entry is None:
        return None
    if not isinstance(entry.value, list):
        if shape:
            section.fault(
                entry.line,
                f"{key} must be a list of trees, one for each sample. A factor needs "
                "Type: Norm.",
            )
            return {}
        return _factor(section, key, entry)
    found: dict[str, Variation] = {}
    for one in section.sections(key):
        named = one.texts("SampleName", required=True)
        variation = _variation(context, one, shape=shape)
        one.finish()
        for sample in context.known(one, named or (), context.samples, "sample"):
            if sample in found:
                one.fault(one.line, f"the sample {sample!r} has another entry.")
            if samples is not None and sample not in samples:
                context.report.say(
                    f"{section.name} has an entry of {key} for the sample {sample!r}, "
                    "which is not in its Samples: it is not used."
                )
            else:
                found.setdefault(sample, variation)
    return found


def _variation(context: Context, section: Section, *, shape: bool | None) -> Variation:
    """Read the factor or the tree of a sample; 1 after a fault."""
    given = [key for key in ("Factor", "Normalization") if key in section]
    trees = [key for key in ("Path", "SamplePath") if key in section]
    if len(given) + len(trees) > 1 or (given and "Tree" in section):
        both = " and ".join([*given, *trees, *(["Tree"] if given else [])])
        section.fault(section.line, f"it has {both}. Use a factor or a tree.")
        return 1.0
    if not given:
        section.entry("Factor")
        return context.source(section, trees[0] if trees else "Path")
    if shape:
        section.fault(section.line, f"{given[0]} needs Type: Norm.")
    factor = section.number(given[0])
    return _positive(section, given[0], section.line_of(given[0]), factor)


def _factor(section: Section, key: str, entry: YamlValue) -> float:
    """Read the factor of all samples."""
    if not isinstance(entry.value, dict):
        return _positive(section, key, entry.line, section.number(key))
    inner = section.section(key)
    assert inner is not None
    value = inner.number("Normalization", required=True)
    inner.finish()
    return _positive(section, "Normalization", entry.line, value)


def _positive(section: Section, key: str, line: int, value: float | None) -> float:
    """Return a factor, given as it is or by its difference from 1; 1 after a fault."""
    if value is None:
        return 1.0
    factor = 1.0 + value if key == "Normalization" else value
    if factor <= 0:
        section.fault(line, f"{key} is {value:g}: the factor of a yield must be > 0.")
        return 1.0
    return factor


def _completed(
    context: Context,
    section: Section,
    name: str,
    up: dict[str, Variation] | float | None,
    down: dict[str, Variation] | float | None,
) -> tuple[float, float]:
    """Return both factors where one is given."""
    if isinstance(up, dict) or isinstance(down, dict):
        section.fault(section.line, "Up and Dn must both be numbers or both be lists.")
        return 1.0, 1.0
    if up is None or down is None:
        context.report.collect(
            "One factor is given for {names}; the other is its inverse.", name
        )
    up = up if up is not None else 1.0 / (down or 1.0)
    return up, down if down is not None else 1.0 / up


def _of_samples(
    variations: dict[str, Variation] | float | None, samples: tuple[str, ...]
) -> dict[str, Variation]:
    if isinstance(variations, dict | None):
        return variations or {}
    return dict.fromkeys(samples, variations)


def _check_complete(
    section: Section,
    samples: tuple[str, ...],
    up: dict[str, Variation],
    down: dict[str, Variation],
) -> None:
    if not samples:
        section.fault(section.line, "it affects no sample: Up and Dn are missing.")
    for key, found in (("Up", up), ("Dn", down)):
        lacking = [sample for sample in samples if sample not in found]
        if lacking:
            section.fault(
                section.line_of(key),
                f"{key} has no entry for {', '.join(map(repr, lacking))}. Add one, or "
                "list the affected samples in Samples.",
            )
