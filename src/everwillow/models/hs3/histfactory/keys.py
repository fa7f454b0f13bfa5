"""Which keys of a histfactory distribution are read; the report names all others."""

import functools as ft
from collections.abc import Iterable

from everwillow._errors import nearest
from everwillow.models._document import Node, Report
from everwillow.models.hs3.definition import COMMON
from everwillow.models.hs3.histfactory.modifiers import CONSTRAINT_KEYS, Modifier


_CHANNEL = ("axes", "samples", "default_interpolation", "staterror")
_SETTINGS = ("constraint", "constraint_type", "relThreshold")
_SAMPLE = ("data", "modifiers", "staterror")
_TEMPLATE = ("contents", "errors")
_MODIFIER = ("parameter", "parameters", *CONSTRAINT_KEYS)
# What the entry `data` of a modifier may hold; no entry is read where there is none.
_DATA = {
    "normsys": ("lo", "hi", "interpolation"),
    "histosys": ("lo", "hi", "lo_data", "hi_data", "interpolation"),
    "shapesys": ("vals",),
    "shapefactor": ("vals",),
    "staterror": ("uncertainties", "errors", "vals"),
}


def report_unread(channel: Node, report: Report) -> None:
    """Say which keys of a channel and of its samples nobody reads."""
    _check(channel, _CHANNEL, report)
    _check(channel.get("staterror"), _SETTINGS, report)
    for sample in channel.child("samples").items():
        _check(sample, _SAMPLE, report)
        _check(sample.get("staterror"), _SETTINGS, report)
        _check(sample.get("data"), _TEMPLATE, report)


def report_unread_of(modifiers: Iterable[Modifier], report: Report) -> None:
    """Say which keys of modifiers nobody reads."""
    for modifier in modifiers:
        node, inside = modifier.node, _DATA.get(modifier.kind, ())
        known = (*_MODIFIER, "data") if inside else _MODIFIER
        if "interpolation" in inside:
            known = (*known, "interpolation")
        _check(node, known, report)
        if inside:
            data = node.get("data")
            _check(data, inside, report)
            for key in ("lo", "hi", "lo_data", "hi_data"):
                if modifier.kind == "histosys" and data is not None:
                    _check(data.get(key), ("contents",), report)


def _check(node: Node | None, known: tuple[str, ...], report: Report) -> None:
    if node is None or not isinstance(node.value, dict):
        return
    for key, value in node.value.items():
        if value is None or key in known or key in COMMON:
            continue
        absent = tuple(one for one in known if one not in node.value)
        # Not refused, as distributions do: exporters add keys of their own here.
        report.collect(_sentence(key, absent), node.where)


@ft.lru_cache(256)  # one key may stand in thousands of modifiers
def _sentence(key: str, absent: tuple[str, ...]) -> str:
    escaped = key.replace("{", "{{").replace("}", "}}")
    hint = nearest(key, absent).replace("Did you mean", "Was it meant to be")
    return f"The key {escaped!r} has no meaning and is ignored at {{names}}.{hint}"
