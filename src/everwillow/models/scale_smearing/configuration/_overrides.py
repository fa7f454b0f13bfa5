"""Systematics of a configuration: the same document with other values of some keys."""

import dataclasses
from collections.abc import Iterator

from everwillow.models.scale_smearing.configuration._context import Context, unknown
from everwillow.models.yaml_section import described
from everwillow.models.yaml_source import YamlValue


SECTIONS = ("sas", "fitter", "minimizer")
"""The sections that a fit needs."""
PLAIN = ("file_dt", "file_mc", "seed")
"""The other keys that a fit needs."""
COMMON = (
    *("dir_results", "dset_name", "cset_name", "cat_latex"),
    *("scale_flat_syst", "smear_flat_syst", "syst", "corrlib"),
)
"""The keys that all fits of a configuration share."""


@dataclasses.dataclass(frozen=True)
class Override:
    """A systematic.

    Attributes:
        name: Its name.
        document: The document with its values.
        lines: The lines of these values.
        line: Its own line.
    """

    name: str
    document: YamlValue
    lines: frozenset[int]
    line: int


def overrides(context: Context, document: YamlValue) -> Iterator[Override]:
    """Yield the documents of all systematics.

    Args:
        context: The state of the reading.
        document: The configuration, a mapping.
    """
    entries = document.value.get("syst")
    if entries is None or entries.value is None:
        return
    if not isinstance(entries.value, dict):
        context.faults.add(
            entries.line,
            f"syst must be a mapping of names to overrides, not {described(entries)}.",
        )
        return
    for name, entry in entries.value.items():
        where = f"syst {name!r}"
        if not isinstance(entry.value, dict):
            shown = described(entry)
            problem = f"{where} must be a mapping of overrides, not {shown}."
            context.faults.add(entry.line, problem)
            continue
        merged = dict(document.value)
        lines: set[int] = set()
        for key, value in entry.value.items():
            lines.add(value.line)
            if key in SECTIONS:
                merged[key] = _merged(document.value.get(key), value)
                if isinstance(value.value, dict):
                    lines.update(one.line for one in value.value.values())
            elif key in PLAIN:
                merged[key] = value
            elif key in COMMON and key != "syst":
                context.idle[f"syst.{name}.{key}"] = None
            else:
                problem = unknown(key, (*SECTIONS, *PLAIN))
                context.faults.add(value.line, f"{where}: {problem}")
        changed = dataclasses.replace(document, value=merged)
        yield Override(name, changed, frozenset(lines), entry.line)


def _merged(base: YamlValue | None, changes: YamlValue) -> YamlValue:
    """Return a section with other values of some keys."""
    if not isinstance(changes.value, dict):
        return changes  # the reader of the section refuses it
    known = base.value if base and isinstance(base.value, dict) else {}
    return dataclasses.replace(changes, value={**known, **changes.value})
