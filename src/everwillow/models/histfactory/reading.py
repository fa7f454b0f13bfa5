"""Reading of workspaces: checks of all entries, and arrays from lists of numbers.

These are the requirements of the format. Relations of entries, such as modifiers that
share a parameter, are in `everwillow.models.histfactory._inventory` and later modules.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from everwillow._errors import SpecificationError, nearest
from everwillow.models._document import Node, shortened
from everwillow.models.histfactory._checks import (
    LARGEST,
    Numbers,
    Place,
    check_keys,
    check_real,
    check_unique,
    entries,
    is_real,
    name_of,
    node_at,
    number,
)
from everwillow.models.json_source import (
    DocumentKind,
    document_kind,
    load_json,
    source_name,
)


VERSION = "1.0.0"
_LISTS = ("inits", "auxdata", "factors", "sigmas")


class Modifier(NamedTuple):
    """A modifier; `data` are numbers, or indices into `Document.arrays`."""

    name: str
    kind: str
    data: Any
    place: Place

    @property
    def node(self) -> Node:
        """Its place in the document."""
        return node_at(self.place)


class Sample(NamedTuple):
    """A sample; `nominal` is an index into `Document.arrays`."""

    name: str
    nominal: int
    modifiers: list[Modifier]
    node: Node


class Channel(NamedTuple):
    """A channel; `observed` is an index into `Document.arrays`."""

    name: str
    bins: int
    observed: int
    samples: list[Sample]
    node: Node


class ParameterConfig(NamedTuple):
    """The settings of a measurement for one parameter.

    Attributes:
        name: The name of the parameter.
        values: The settings: `inits`, `auxdata`, `factors`, `sigmas` are arrays of
            shape ``(size,)``, `bounds` of shape ``(size, 2)``, `fixed` is a bool.
        node: Its place in the document.
    """

    name: str
    values: dict[str, Any]
    node: Node


class Measurement(NamedTuple):
    """A measurement; `poi` is empty if it has none, `parameters` are by name."""

    name: str
    poi: str
    parameters: dict[str, ParameterConfig]
    node: Node


@dataclass(frozen=True, slots=True)
class Document:
    """A workspace that satisfies the schema and has consistent lengths.

    Attributes:
        channels: The channels in the order of the document.
        measurements: The measurements in the order of the document, at least one.
        arrays: The numbers of samples, observations and modifiers.
        notes: Remarks on unusual parts, one sentence each.
        root: The root node of the document.
    """

    channels: list[Channel]
    measurements: list[Measurement]
    arrays: list[np.ndarray]
    notes: list[str]
    root: Node


def read_document(workspace: Any, name: str = "") -> Document:
    """Read a workspace and check all of it.

    Args:
        workspace: A file, JSON text or a dict.
        name: The name of the document in messages, if it is not the name of a file.

    Raises:
        SpecificationError: At the first invalid entry, with its JSON pointer.
        MissingFileError: If there is no such file.
    """
    name = source_name(workspace) or name
    root = Node(load_json(workspace), name)
    refuse_others(root.value, name)
    check_keys(root, ("channels", "observations", "measurements", "version"))
    check_version(root.at("version"), "Other versions of the format are not known.")
    numbers = Numbers()
    parts = entries(root.at("channels"), "channel")
    observations = _read_observations(root.at("observations"), numbers)
    channels = [_read_channel(part, root, observations, numbers) for part in parts]
    check_unique(channels, parts, "channel")
    parts = entries(root.at("measurements"), "measurement")
    measurements = [_read_measurement(part) for part in parts]
    check_unique(measurements, parts, "measurement")
    numbers.convert()
    for channel in channels:
        _check_observed(channel, observations[channel.name], numbers)
    unused = observations.keys() - {channel.name for channel in channels}
    notes = [
        f"The observation {shortened(name)} belongs to no channel." for name in unused
    ]
    return Document(channels, measurements, numbers.arrays, sorted(notes), root)


def refuse_others(document: Any, name: str = "") -> None:
    """Raise an error for JSON documents that are not workspaces.

    Args:
        document: The JSON value.
        name: The name of the document, for the message.

    Raises:
        SpecificationError: For HS3, density ratios, patch sets, JSON patches and pyhf
            models, with the function that reads each.
    """
    remark = _OTHERS.get(document_kind(document))
    if remark:
        Node(document, name).refuse(remark)


_OTHERS: Mapping[DocumentKind | None, str] = {
    "patch": "This is a JSON patch, which changes a workspace. Give the workspace, and "
    "the patch as `patches`.",
    "pyhf model": "This has channels, but neither observations nor measurements: it is "
    "a pyhf model, not a workspace. Add the keys 'observations', 'measurements' and "
    "'version'.",
    "density ratios": "This is a workspace of density ratios, with binned and unbinned "
    "channels, not a pyhf workspace; use everwillow.models.nsbi.load.",
    "hs3": "This is an HS3 document, not a pyhf workspace; use "
    "everwillow.models.hs3.load.",
    "patch set": "This is a patch set, which changes a workspace. Give the workspace, "
    "and the patch set as everwillow.models.histfactory.PatchSet.",
}


def check_version(node: Node, mend: str = "") -> None:
    """Check the version of the format.

    Raises:
        SpecificationError: If it is another one.
    """
    if node.value != VERSION:
        raise node.fault(f"the string {VERSION!r}", mend=mend)


class _Observation(NamedTuple):
    name: str
    slot: int
    node: Node


def _read_observations(node: Node, numbers: Numbers) -> dict[str, _Observation]:
    parts = entries(node, "observation")
    read = []
    for part in parts:
        check_keys(part, ("name", "data"))
        name, data = name_of(part), part.at("data")
        read.append(_Observation(name, numbers.add(data.value, (data,)), data))
    check_unique(read, parts, "observation")
    return {observation.name: observation for observation in read}


def _read_channel(
    node: Node, root: Node, observations: Mapping[str, _Observation], numbers: Numbers
) -> Channel:
    check_keys(node, ("name", "samples"))
    name = name_of(node)
    observation = observations.get(name)
    if observation is None:
        raise root.at("observations").fault(
            f"an observation of channel {shortened(name)} ({node.pointer[1:]})",
            f"none of that name.{nearest(name, observations)}".rstrip("."),
            "Add an entry with its name and its counts, or prune the channel.",
        )
    samples: list[Sample] = []
    bins = 0
    parts = entries(node.at("samples"), "sample")
    _check_sizes(parts, name, numbers.size(observation.slot))
    for part in parts:
        samples.append(_read_sample(part, bins, name, numbers))
        bins = bins or numbers.size(samples[0].nominal)
    check_unique(samples, parts, "sample")
    return Channel(name, bins, observation.slot, samples, node)


def _check_sizes(samples: Sequence[Node], channel: str, observed: int) -> None:
    """Raise an error at the sample with a wrong length in a channel."""
    sizes = [_length(sample.value, "data") for sample in samples]
    if {*sizes, None, observed} == {None, observed}:
        return
    # The right length is that of most lists, those of modifiers included.
    votes: Counter[int | None] = Counter([observed, *sizes])
    for sample in samples:
        modifiers = sample.at("modifiers").value
        for modifier in modifiers if isinstance(modifiers, list) else ():
            votes[_length(modifier, "data")] += 1
            data = modifier.get("data") if isinstance(modifier, dict) else None
            votes.update(_length(data, key) for key in ("lo_data", "hi_data"))
    del votes[None]
    (bins, most), *others = votes.most_common(2)
    if bins is None or (others and others[0][1] == most):
        return
    for sample, size in zip(samples, sizes, strict=True):
        if size not in (None, bins):
            words = f"as most lists of channel {shortened(channel)} have"
            raise sample.at("data").fault(f"{_count(bins)}, {words}", str(size))


def _length(part: Any, key: str) -> int | None:
    """Return the length of a list, None if there is no list or if it is empty."""
    data = part.get(key) if isinstance(part, dict) else None
    return (len(data) or None) if isinstance(data, list | tuple | np.ndarray) else None


def _read_sample(node: Node, bins: int, channel: str, numbers: Numbers) -> Sample:
    check_keys(node, ("name", "data", "modifiers"))
    name = name_of(node)
    data = node.at("data")
    nominal = numbers.add(data.value, (data,))
    size = numbers.size(nominal)
    if bins and size != bins:
        words = f"as the first sample of channel {shortened(channel)}"
        raise data.fault(f"{_count(bins)}, {words}", str(size))
    listed = node.at("modifiers")
    if not isinstance(listed.value, list | tuple):
        raise listed.fault("a list of modifiers, which may be empty")
    # There are many modifiers: full checks are made only if a quick one fails.
    read = []
    for index, modifier in enumerate(listed.value):
        if not isinstance(modifier, dict) or modifier.keys() != _MODIFIER:
            check_keys(listed.at(index), ("name", "type", "data"))
        kind = modifier["type"]
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            mend = f"The types are {', '.join(_READERS)}.{nearest(kind, _READERS)}"
            raise listed.at(index, "type").fault("a type of modifier", mend=mend)
        content = reader(modifier["data"], (listed, index, "data"), size, numbers)
        named = modifier["name"]
        if type(named) is not str or not named:
            named = name_of(listed.at(index))
        read.append(Modifier(named, kind, content, (listed, index)))
    if len({modifier[:2] for modifier in read}) < len(read):
        raise _repeated(read)
    return Sample(name, nominal, read, node)


_MODIFIER = frozenset(("name", "type", "data"))


def _count(numbers: int) -> str:
    return "1 number" if numbers == 1 else f"{numbers} numbers"


def _read_nothing(data: Any, place: Place, bins: int, numbers: Numbers) -> None:
    del bins, numbers
    if data is not None:
        mend = "This type of modifier has no numbers."
        raise node_at(place).fault("null", mend=mend)


def _read_bins(data: Any, place: Place, bins: int, numbers: Numbers) -> int:
    slot = numbers.add(data, place)
    if len(data) != bins:
        expected = f"{_count(bins)}, one for each bin of the sample"
        raise node_at(place).fault(expected, str(len(data)))
    return slot


def _read_factors(
    data: Any, place: Place, bins: int, numbers: Numbers
) -> tuple[float, float]:
    del bins, numbers
    if not isinstance(data, dict) or data.keys() != _FACTORS:
        check_keys(node_at(place), ("lo", "hi"))
    low, high = data["lo"], data["hi"]
    if type(low) is not float or not -LARGEST <= low <= LARGEST:
        low = number(node_at((*place, "lo")))
    if type(high) is not float or not -LARGEST <= high <= LARGEST:
        high = number(node_at((*place, "hi")))
    return low, high


def _read_templates(
    data: Any, place: Place, bins: int, numbers: Numbers
) -> tuple[int, int]:
    if not isinstance(data, dict) or data.keys() != _TEMPLATES:
        check_keys(node_at(place), ("lo_data", "hi_data"))
    return (
        _read_bins(data["lo_data"], (*place, "lo_data"), bins, numbers),
        _read_bins(data["hi_data"], (*place, "hi_data"), bins, numbers),
    )


_FACTORS = frozenset(("lo", "hi"))
_TEMPLATES = frozenset(("lo_data", "hi_data"))
_READERS: Mapping[str, Callable[[Any, Place, int, Numbers], Any]] = {
    "histosys": _read_templates,
    "lumi": _read_nothing,
    "normfactor": _read_nothing,
    "normsys": _read_factors,
    "shapefactor": _read_nothing,
    "shapesys": _read_bins,
    "staterror": _read_bins,
}


def _repeated(modifiers: Iterable[Modifier]) -> SpecificationError:
    seen: dict[tuple[str, str], int] = {}
    for index, modifier in enumerate(modifiers):
        key = (modifier.name, modifier.kind)
        if key in seen:
            return modifier.node.fault(
                "each modifier once in a sample",
                f"a second {modifier.kind} {shortened(modifier.name)}",
                f"The first is entry {seen[key]}; remove one or rename it.",
            )
        seen[key] = index
    raise AssertionError("no modifier is repeated")


def _check_observed(
    channel: Channel, observation: _Observation, numbers: Numbers
) -> None:
    counts = numbers.arrays[observation.slot]
    if len(counts) != channel.bins:
        words = f"one for each bin of channel {shortened(channel.name)}"
        raise observation.node.fault(
            f"{_count(channel.bins)}, {words}", str(len(counts))
        )
    if counts.min() < 0:
        raise observation.node.at(int(np.argmin(counts))).fault(
            "counts of events, which are not negative"
        )


def _read_measurement(node: Node) -> Measurement:
    check_keys(node, ("name", "config"))
    name = name_of(node)
    config = node.at("config")
    check_keys(config, ("poi", "parameters"))
    poi = config.at("poi")
    if poi.value is not None and not isinstance(poi.value, str):
        mend = "Write an empty string if there is no parameter of interest."
        raise poi.fault("the name of a parameter", mend=mend)
    listed = config.at("parameters")
    if not isinstance(listed.value, list | tuple):
        raise listed.fault("a list of parameters, which may be empty")
    parts = [Node(part, listed, index) for index, part in enumerate(listed.value)]
    read = [read_parameter(part) for part in parts]
    check_unique(read, parts, "entry for parameter")
    return Measurement(name, poi.value or "", {one.name: one for one in read}, node)


def read_parameter(node: Node) -> ParameterConfig:
    """Read and check the settings of one parameter.

    Raises:
        SpecificationError: If an entry is not valid.
    """
    check_keys(node, ("name",), (*_LISTS, "bounds", "fixed"))
    name = name_of(node)
    values: dict[str, Any] = {
        key: np.array([number(one) for one in entries(node.at(key), "number")])
        for key in _LISTS
        if key in node.value
    }
    if "bounds" in node.value:
        pairs = entries(node.at("bounds"), "pair of bounds")
        values["bounds"] = np.array([_read_bounds(pair) for pair in pairs])
    if "fixed" in node.value:
        values["fixed"] = node.value["fixed"]
        if not isinstance(values["fixed"], bool):
            raise node.at("fixed").fault("true or false")
    return ParameterConfig(name, values, node)


def _read_bounds(node: Node) -> tuple[float, float]:
    ends = entries(node, "number")
    if len(ends) != 2:
        got = f"{len(ends)} number{'s' * (len(ends) > 1)}"
        raise node.fault("a lower and an upper bound", got)
    lower, upper = map(_read_bound, ends)
    if not lower <= upper or lower == np.inf or upper == -np.inf:
        raise node.fault("a lower bound below the upper bound", f"{lower} and {upper}")
    return lower, upper


def _read_bound(node: Node) -> float:
    """Return an end of a range; Python writes a missing one as infinity."""
    value = node.value
    if is_real(value) and isinstance(value, float | np.floating):
        if np.isnan(value):
            raise node.fault("a number")
        return float(value)
    check_real(node)
    return number(node)
