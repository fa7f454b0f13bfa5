"""A workspace as its format defines it: every entry checked, every number an array.

What the entries mean together, such as which modifiers share a parameter, is looked at
in `everwillow.models.histfactory._inventory` and later.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from everwillow._errors import SpecificationError, nearest
from everwillow.models.histfactory._measurements import Measurement, read_measurement
from everwillow.models.histfactory._numbers import LARGEST, Numbers, Where, number
from everwillow.models.histfactory._objects import (
    check_keys,
    entries,
    name_of,
    unique,
)
from everwillow.models.histfactory.faults import Words, fault, shortened
from everwillow.models.histfactory.reading import refuse_others
from everwillow.models.json_source import load_json, source_name


VERSION = "1.0.0"


class Modifier(NamedTuple):
    """A modifier; `data` are numbers, or indices into `Document.arrays`."""

    name: str
    kind: str
    data: Any
    position: int


class Sample(NamedTuple):
    """A sample; `nominal` is an index into `Document.arrays`."""

    name: str
    nominal: int
    modifiers: list[Modifier]
    position: int


class Channel(NamedTuple):
    """A channel; `observed` is an index into `Document.arrays`."""

    name: str
    bins: int
    observed: int
    samples: list[Sample]
    position: int


@dataclass(frozen=True, slots=True)
class Document:
    """A workspace that is what the schema asks for, and consistent in its lengths.

    Attributes:
        channels: In the order of the document.
        measurements: In the order of the document; at least one.
        arrays: The numbers of samples, observations and modifiers.
        notes: What is odd, one sentence each.
    """

    channels: list[Channel]
    measurements: list[Measurement]
    arrays: list[np.ndarray]
    notes: list[str]


def read_document(workspace: Any) -> Document:
    """Read a workspace from a file, text or dict, and check all of it.

    Raises:
        SpecificationError: At the first entry that is not what it should be, with its
            JSON pointer.
        MissingFileError: If there is no such file.
    """
    return checked(load_json(workspace), source_name(workspace))


def checked(loaded: Any, file: str) -> Document:
    """Check a workspace that is a dict; a file is named in messages."""
    try:
        return parse(loaded)
    except SpecificationError as error:
        if not file:
            raise
        raise SpecificationError(f"{file}: {error}", error.pointer) from None


def parse(workspace: Any) -> Document:
    """Check a workspace that is a dict."""
    refuse_others(workspace)
    required = ("channels", "observations", "measurements", "version")
    check_keys(workspace, required, ())
    _check_version(workspace["version"])
    numbers = Numbers()
    notes: list[str] = []
    parts = entries(workspace["channels"], ("channels",), "channel")
    observations = _read_observations(workspace, numbers)
    channels = [
        _read_channel(part, ("channels", index), observations, numbers)
        for index, part in enumerate(parts)
    ]
    unique(channels, ("channels",), "channel")
    parts = entries(workspace["measurements"], ("measurements",), "measurement")
    measurements = [
        read_measurement(part, ("measurements", index))
        for index, part in enumerate(parts)
    ]
    unique(measurements, ("measurements",), "measurement")
    numbers.convert()
    for channel in channels:
        _check_observed(channel, observations[channel.name], numbers)
    names = {channel.name for channel in channels}
    for name in observations.keys() - names:
        notes.append(f"The observation {shortened(name)} belongs to no channel.")
    return Document(channels, measurements, numbers.arrays, sorted(notes))


def _check_version(version: Any) -> None:
    if not isinstance(version, str) or version != VERSION:
        mend = "Other versions of the format are not known."
        raise fault(("version",), f"the string {VERSION!r}", version, mend)


class _Observation(NamedTuple):
    name: str
    slot: int
    position: int


def _read_observations(
    workspace: Mapping[str, Any], numbers: Numbers
) -> dict[str, _Observation]:
    place = ("observations",)
    read = []
    for index, part in enumerate(entries(workspace[place[0]], place, "observation")):
        where = (*place, index)
        check_keys(part, ("name", "data"), where)
        name = name_of(part, where)
        read.append(
            _Observation(name, numbers.add(part["data"], (*where, "data")), index)
        )
    unique(read, place, "observation")
    return {observation.name: observation for observation in read}


def _read_channel(
    part: Any,
    where: Where,
    observations: Mapping[str, _Observation],
    numbers: Numbers,
) -> Channel:
    check_keys(part, ("name", "samples"), where)
    name = name_of(part, where)
    observation = observations.get(name)
    if observation is None:
        others = observations.keys()
        mend = "Add an entry with its name and its counts, or prune the channel."
        found = Words(f"none of that name.{nearest(name, others)}".rstrip("."))
        expected = (
            f"an observation of channel {shortened(name)} ({'/'.join(map(str, where))})"
        )
        raise fault(("observations",), expected, found, mend)
    samples: list[Sample] = []
    bins = 0
    place = (*where, "samples")
    parts = entries(part["samples"], place, "sample")
    _check_sizes(parts, place, name, numbers.size(observation.slot))
    for index, sample in enumerate(parts):
        made = _read_sample(sample, (*place, index), bins, name, numbers)
        bins = bins or numbers.size(made.nominal)
        samples.append(made)
    unique(samples, place, "sample")
    return Channel(name, bins, observation.slot, samples, int(where[1]))


def _check_sizes(
    samples: Sequence[Any], where: Where, channel: str, observed: int
) -> None:
    """Find the sample that is at fault where lists of a channel differ in length."""
    sizes = [_length(sample, "data") for sample in samples]
    if {*sizes, None, observed} == {None, observed}:
        return
    # What most lists say is right, those of modifiers too.
    votes: Counter[int | None] = Counter([observed, *sizes])
    for sample in samples:
        modifiers = sample.get("modifiers") if isinstance(sample, dict) else None
        for modifier in modifiers if isinstance(modifiers, list) else ():
            votes[_length(modifier, "data")] += 1
            data = modifier.get("data") if isinstance(modifier, dict) else None
            votes.update(_length(data, key) for key in ("lo_data", "hi_data"))
    del votes[None]
    (bins, most), *others = votes.most_common(2)
    if bins is None or (others and others[0][1] == most):
        return
    for index, size in enumerate(sizes):
        if size not in (None, bins):
            words = f"as most lists of channel {shortened(channel)} have"
            expected = f"{_numbers(bins)}, {words}"
            raise fault((*where, index, "data"), expected, Words(str(size)))


def _length(part: Any, key: str) -> int | None:
    """Return how long a list is, None if there is none or nothing in it."""
    data = part.get(key) if isinstance(part, dict) else None
    return (len(data) or None) if isinstance(data, list | tuple | np.ndarray) else None


def _read_sample(
    part: Any, where: Where, bins: int, channel: str, numbers: Numbers
) -> Sample:
    check_keys(part, ("name", "data", "modifiers"), where)
    name = name_of(part, where)
    nominal = numbers.add(part["data"], (*where, "data"))
    size = numbers.size(nominal)
    if bins and size != bins:
        expected = (
            f"{_numbers(bins)}, as the first sample of channel {shortened(channel)}"
        )
        raise fault((*where, "data"), expected, Words(str(size)))
    place = (*where, "modifiers")
    modifiers = part["modifiers"]
    if not isinstance(modifiers, list | tuple):
        raise fault(place, "a list of modifiers, which may be empty", modifiers)
    read = []
    for index, modifier in enumerate(modifiers):
        if not isinstance(modifier, dict) or modifier.keys() != _MODIFIER:
            check_keys(modifier, ("name", "type", "data"), (*place, index))
        kind = modifier["type"]
        reader = _READERS.get(kind) if isinstance(kind, str) else None
        if reader is None:
            raise _unknown_type(kind, (*place, index, "type"))
        data = reader(modifier["data"], (*place, index, "data"), size, numbers)
        named = modifier["name"]
        if type(named) is not str or not named:
            named = name_of(modifier, (*place, index))
        read.append(Modifier(named, kind, data, index))
    if len({modifier[:2] for modifier in read}) < len(read):
        raise _repeated(read, place)
    return Sample(name, nominal, read, int(where[3]))


_MODIFIER = frozenset(("name", "type", "data"))


def _numbers(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"


def _read_nothing(data: Any, where: Where, bins: int, numbers: Numbers) -> None:
    del bins, numbers
    if data is not None:
        mend = "This type of modifier has no numbers."
        raise fault(where, "null", data, mend)


def _read_bins(data: Any, where: Where, bins: int, numbers: Numbers) -> int:
    slot = numbers.add(data, where)
    if len(data) != bins:
        expected = f"{_numbers(bins)}, one for each bin of the sample"
        raise fault(where, expected, Words(str(len(data))))
    return slot


def _read_factors(
    data: Any, where: Where, bins: int, numbers: Numbers
) -> tuple[float, float]:
    del bins, numbers
    if not isinstance(data, dict) or data.keys() != _FACTORS:
        check_keys(data, ("lo", "hi"), where)
    low, high = data["lo"], data["hi"]
    if type(low) is not float or not -LARGEST <= low <= LARGEST:
        low = number(low, (*where, "lo"))
    if type(high) is not float or not -LARGEST <= high <= LARGEST:
        high = number(high, (*where, "hi"))
    return low, high


def _read_templates(
    data: Any, where: Where, bins: int, numbers: Numbers
) -> tuple[int, int]:
    if not isinstance(data, dict) or data.keys() != _TEMPLATES:
        check_keys(data, ("lo_data", "hi_data"), where)
    return (
        _read_bins(data["lo_data"], (*where, "lo_data"), bins, numbers),
        _read_bins(data["hi_data"], (*where, "hi_data"), bins, numbers),
    )


_FACTORS = frozenset(("lo", "hi"))
_TEMPLATES = frozenset(("lo_data", "hi_data"))
_READERS: Mapping[str, Callable[[Any, Where, int, Numbers], Any]] = {
    "histosys": _read_templates,
    "lumi": _read_nothing,
    "normfactor": _read_nothing,
    "normsys": _read_factors,
    "shapefactor": _read_nothing,
    "shapesys": _read_bins,
    "staterror": _read_bins,
}
KINDS = tuple(_READERS)


def _unknown_type(kind: Any, where: Where) -> SpecificationError:
    mend = f"The types are {', '.join(KINDS)}.{nearest(kind, KINDS)}"
    return fault(where, "a type of modifier", kind, mend)


def _repeated(modifiers: Iterable[Modifier], where: Where) -> SpecificationError:
    seen: dict[tuple[str, str], int] = {}
    for modifier in modifiers:
        key = (modifier.name, modifier.kind)
        if key in seen:
            found = Words(f"a second {modifier.kind} {shortened(modifier.name)}")
            mend = f"The first is entry {seen[key]}; remove one or rename it."
            place = (*where, modifier.position)
            return fault(place, "each modifier once in a sample", found, mend)
        seen[key] = modifier.position
    raise AssertionError("no modifier is repeated")


def _check_observed(
    channel: Channel, observation: _Observation, numbers: Numbers
) -> None:
    where = ("observations", observation.position, "data")
    counts = numbers.arrays[observation.slot]
    if len(counts) != channel.bins:
        expected = (
            f"{_numbers(channel.bins)}, one for each bin of channel "
            f"{shortened(channel.name)}"
        )
        raise fault(where, expected, Words(str(len(counts))))
    if counts.min() < 0:
        bin_ = int(np.argmin(counts))
        expected = "counts of events, which are not negative"
        raise fault((*where, bin_), expected, counts[bin_])
