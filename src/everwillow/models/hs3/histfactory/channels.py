"""The histfactory distributions of a likelihood with their counts, in arrays.

Spec: HS3 0.2, chapter HistFactory.
"""

import functools as ft
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from everwillow._errors import nearest
from everwillow.models._document import Node, Report
from everwillow.models.hs3.data import (
    Axis,
    BinnedData,
    PointData,
    UnbinnedData,
    bin_count,
    read_axes,
    read_data,
)
from everwillow.models.hs3.definition import COMMON
from everwillow.models.hs3.document import Document
from everwillow.models.hs3.histfactory.modifiers import (
    CONSTRAINT_KEYS,
    Modifier,
    read_modifier,
)


@dataclass(frozen=True)
class Sample:
    """One process in one channel, with normalised modifiers."""

    name: str
    node: Node
    nominal: np.ndarray
    errors: np.ndarray | None
    modifiers: tuple[Modifier, ...]


@dataclass(frozen=True)
class Channel:
    """One histfactory distribution; `observed` is None until it has data."""

    name: str
    node: Node
    axes: tuple[Axis, ...]
    bins: int
    samples: tuple[Sample, ...]
    observed: np.ndarray | None = None


def read_channel(node: Node, document: Document) -> Channel:
    """Read a histfactory distribution."""
    name = node.name
    axes = read_axes(node, report=document.report)
    bins = bin_count(axes)
    samples: list[Sample] = []
    listed = node.child("samples")
    for index, entry in enumerate(listed.items()):
        sample = _sample(entry, index, name, bins, document)
        bins = len(sample.nominal)
        if any(sample.name == other.name for other in samples):
            entry.refuse(
                f"the channel {name!r} has two samples {sample.name!r}. Rename one."
            )
        samples.append(sample)
    if not samples:
        listed.refuse(f"the channel {name!r} has no samples.")
    if not bins:
        node.refuse(f"the channel {name!r} has no bins.")
    _report_unread(node, document.report)
    return Channel(name, node, axes, bins, tuple(samples))


def with_data(channel: Channel, data: Node, document: Document) -> Channel:
    """Return the channel with its observed counts."""
    observed = _observed(channel, data, document)
    negative = observed < 0.0
    if negative.any():
        place = int(np.argmax(negative))
        document.data.get(str(data.value), data).refuse(
            f"bin {place} of {channel.name!r} has {observed[place]:g} events; a count "
            "cannot be negative."
        )
    return Channel(
        channel.name,
        channel.node,
        channel.axes,
        channel.bins,
        channel.samples,
        observed,
    )


def _sample(
    node: Node, index: int, channel: str, bins: int | None, document: Document
) -> Sample:
    name_node = node.get("name")
    name = f"sample_{index}" if name_node is None else name_node.text()
    report = document.report
    if name_node is None:
        report.collect("Samples without a name are called {names}.", name)
    data = node.child("data")
    nominal = data.child("contents").numbers(size=bins, owner=f"{channel!r}")
    if (nominal < 0.0).any():
        report.collect("There are negative yields in {names}.", f"{channel}/{name}")
    errors = data.get("errors")
    widths = None
    if errors is not None:
        widths = errors.numbers(size=len(nominal), owner=f"{channel!r}")
        if (widths < 0.0).any():
            errors.refuse("an error cannot be negative.")
    listed = node.get("modifiers")
    modifiers = tuple(
        read_modifier(item, distributions=document.distributions, report=report)
        for item in (() if listed is None else listed.items())
    )
    _check_twice(modifiers, report)
    _report_unread_of(modifiers, report)
    return Sample(name, node, nominal, widths, modifiers)


def _check_twice(modifiers: Sequence[Modifier], report: Report) -> None:
    seen: set[tuple[str, str]] = set()
    for modifier in modifiers:
        label = (modifier.kind, modifier.name)
        if label in seen:
            report.collect(
                "The modifiers {names} are there twice in one sample; both act.",
                modifier.name,
            )
        seen.add(label)


def _observed(channel: Channel, data: Node, document: Document) -> np.ndarray:
    if not isinstance(data.value, str):
        counts = np.array([data.number()])
        node = data
    else:
        node = document.data[data.value]
        read = read_data(node, report=document.report)
        match read:
            case BinnedData():
                counts = read.contents
            case PointData():
                counts = np.array([read.value])
            case UnbinnedData():
                counts = _filled(channel, read, node, document.report)
    if len(counts) != channel.bins:
        node.refuse(
            f"{len(counts)} bins of data, but the distribution {channel.name!r} has "
            f"{channel.bins}."
        )
    return counts


def _filled(
    channel: Channel, data: UnbinnedData, node: Node, report: Report
) -> np.ndarray:
    """Fill events into the bins of a channel."""
    edges = [axis.edges for axis in channel.axes if axis.edges is not None]
    names = [axis.name for axis in data.axes]
    channel_axes = [axis.name for axis in channel.axes]
    if not edges or sorted(names) != sorted(channel_axes):
        node.refuse(
            f"these are events in {names}, and the distribution {channel.name!r} has "
            f"bins in {channel_axes}."
        )
    columns = data.entries[:, [names.index(name) for name in channel_axes]]
    counts, _ = np.histogramdd(columns, bins=edges, weights=data.weights)
    report.collect(
        "The events of {names} are filled into the bins of their distribution.",
        data.name,
    )
    return counts.ravel()


# The keys that are read; the report names all others.
_CHANNEL = ("axes", "samples", "default_interpolation", "staterror")
_SETTINGS = ("constraint", "constraint_type", "relThreshold")
_SAMPLE = ("data", "modifiers", "staterror")
_TEMPLATE = ("contents", "errors")
_MODIFIER = ("parameter", "parameters", *CONSTRAINT_KEYS)
# Keys in the entry `data` of each kind of modifier that are read.
_DATA = {
    "normsys": ("lo", "hi", "interpolation"),
    "histosys": ("lo", "hi", "lo_data", "hi_data", "interpolation"),
    "shapesys": ("vals",),
    "shapefactor": ("vals",),
    "staterror": ("uncertainties", "errors", "vals"),
}


def _report_unread(channel: Node, report: Report) -> None:
    """Report keys of a channel and of its samples that are not read."""
    _check(channel, _CHANNEL, report)
    _check(channel.get("staterror"), _SETTINGS, report)
    for sample in channel.child("samples").items():
        _check(sample, _SAMPLE, report)
        _check(sample.get("staterror"), _SETTINGS, report)
        _check(sample.get("data"), _TEMPLATE, report)


def _report_unread_of(modifiers: Iterable[Modifier], report: Report) -> None:
    """Report keys of modifiers that are not read."""
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
        # Unlike in distributions not an error, as exporters add keys here.
        report.collect(_sentence(key, absent), node.where)


@ft.lru_cache(256)  # one key may stand in thousands of modifiers
def _sentence(key: str, absent: tuple[str, ...]) -> str:
    escaped = key.replace("{", "{{").replace("}", "}}")
    hint = nearest(key, absent).replace("Did you mean", "Was it meant to be")
    return f"The key {escaped!r} has no meaning and is ignored at {{names}}.{hint}"
