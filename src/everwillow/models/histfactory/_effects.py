"""Modifiers as effects on yields, and yields that no fit can use."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from everwillow._errors import SpecificationError
from everwillow.likelihood.binned_spec import (
    BinScale,
    ChannelSpec,
    Effect,
    Interpolation,
    NormVariation,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.models.histfactory._document import Channel, Document, Sample
from everwillow.models.histfactory._inventory import Inventory, Use
from everwillow.models.histfactory.faults import Words, fault, shortened


Codes = tuple[Interpolation, Interpolation]
"""The interpolation of normsys and that of histosys."""

MULTIPLICATIVE = ("code1", "code4")


def channel_specs(
    document: Document, inventory: Inventory, codes: Codes
) -> tuple[ChannelSpec, ...]:
    """Return the channels with the effects of all modifiers.

    Raises:
        SpecificationError: If an interpolation needs positive numbers and there are
            others.
    """
    arrays = document.arrays
    norm, shape = codes
    _check_factors(inventory, norm)
    _check_templates(document, inventory, shape)
    make = _makers(document, inventory, norm, shape)
    channels = []
    for channel in inventory.channels:
        samples = tuple(
            SampleSpec(
                sample.name,
                arrays[sample.nominal],
                tuple(
                    [
                        make[kind](channel, name, data)
                        for name, kind, data, _ in sample.modifiers
                    ]
                ),
            )
            for sample in channel.samples
        )
        channels.append(ChannelSpec(channel.name, arrays[channel.observed], samples))
    return tuple(channels)


def _makers(
    document: Document, inventory: Inventory, norm: Interpolation, shape: Interpolation
) -> Mapping[str, Callable[[Channel, str, Any], Effect]]:
    arrays = document.arrays

    def scale(channel: Channel, name: str, data: Any) -> Effect:
        del channel, data
        return Scale(name)

    def norm_variation(channel: Channel, name: str, data: Any) -> Effect:
        del channel
        return NormVariation(name, data[0], data[1], norm)

    def shape_variation(channel: Channel, name: str, data: Any) -> Effect:
        del channel
        return ShapeVariation(name, arrays[data[0]], arrays[data[1]], shape)

    def bin_scale(channel: Channel, name: str, data: Any) -> Effect:
        del data
        begin = inventory.layout[channel.position, name]
        if begin == 0 and inventory.elements[name] == channel.bins:
            return BinScale(name)
        elements = range(begin, begin + channel.bins)
        return BinScale(tuple(f"{name}[{element}]" for element in elements))

    return {
        "lumi": scale,
        "normfactor": scale,
        "normsys": norm_variation,
        "histosys": shape_variation,
        "shapefactor": bin_scale,
        "shapesys": bin_scale,
        "staterror": bin_scale,
    }


def _check_factors(inventory: Inventory, code: Interpolation) -> None:
    if code not in MULTIPLICATIVE:
        return
    for places in inventory.uses["normsys"].values():
        for place in places:
            low, high = place.modifier.data
            if low <= 0 or high <= 0:
                key = "lo" if low <= 0 else "hi"
                value = low if low <= 0 else high
                expected = f"a positive factor, which {code} takes the logarithm of"
                mend = (
                    f"In {place.words}; correct it, prune the modifier, or read the "
                    "workspace with {interpolation}."
                )
                settings = {"interpolation": {"normsys": "code4p"}}
                where = (*place.where, "data", key)
                raise fault(where, expected, value, mend, settings)


def _check_templates(
    document: Document, inventory: Inventory, code: Interpolation
) -> None:
    if code not in MULTIPLICATIVE:
        return
    for places in inventory.uses["histosys"].values():
        for place in places:
            _check_positive(document, place, code)


def _check_positive(document: Document, place: Use, code: Interpolation) -> None:
    low, high = place.modifier.data
    sample, modifier = place.where[:4], (*place.where, "data")
    for slot, where in (
        (place.sample.nominal, (*sample, "data")),
        (low, (*modifier, "lo_data")),
        (high, (*modifier, "hi_data")),
    ):
        values = document.arrays[slot]
        if (values <= 0).any():
            bin_ = int(np.argmin(values))
            expected = f"positive yields, whose ratios {code} takes the logarithm of"
            mend = "Read the workspace with {interpolation}."
            settings = {"interpolation": {"histosys": "code4p"}}
            raise fault((*where, bin_), expected, values[bin_], mend, settings)


def check_yields(
    document: Document, inventory: Inventory, starts: Mapping[str, float]
) -> list[str]:
    """Return notes on yields that may make the likelihood vanish.

    Args:
        document: The workspace.
        inventory: Its modifiers.
        starts: Start values of factors, by name.

    Raises:
        SpecificationError: If events were observed where none can be expected.
    """
    notes: list[str] = []
    for channel in inventory.channels:
        nominal = np.stack([document.arrays[s.nominal] for s in channel.samples])
        factors = [_start_factor(sample, starts) for sample in channel.samples]
        shown = shortened(channel.name)
        if nominal.min() < 0:
            index, bin_ = np.unravel_index(np.argmin(nominal), nominal.shape)
            sample = channel.samples[int(index)].name
            notes.append(
                f"Channel {shown} has negative yields, the lowest {nominal.min():.3g} "
                f"of sample {shortened(sample)} in bin {bin_}; they are used as they "
                "are."
            )
        observed = document.arrays[channel.observed]
        never = (nominal == 0).all(0) & (observed > 0)
        for bin_ in np.flatnonzero(never).tolist():
            if not _can_add(channel, document, bin_):
                raise _impossible(channel, bin_, observed[bin_])
        start = np.asarray(factors) @ nominal
        empty = (start < 0) | ((start == 0) & (observed > 0))
        if empty.any():
            bin_ = int(np.argmax(empty))
            notes.append(
                f"At the start values {start[bin_]:.3g} events are expected in bin "
                f"{bin_} of channel {shown}, and {observed[bin_]:g} are observed: the "
                "likelihood vanishes there."
            )
    return notes


def _start_factor(sample: Sample, starts: Mapping[str, float]) -> float:
    factor = 1.0
    for modifier in sample.modifiers:
        if modifier.kind in ("normfactor", "lumi"):
            factor *= starts.get(modifier.name, 1.0)
    return factor


def _can_add(channel: Channel, document: Document, bin_: int) -> bool:
    """Return whether a histosys changes the expectation of a bin."""
    templates = (
        document.arrays[slot][bin_]
        for sample in channel.samples
        for modifier in sample.modifiers
        if modifier.kind == "histosys"
        for slot in modifier.data
    )
    return any(value != 0 for value in templates)


def _impossible(channel: Channel, bin_: int, observed: float) -> SpecificationError:
    where = ("channels", channel.position, "samples")
    expected = (
        f"a sample with events in bin {bin_} of channel {shortened(channel.name)}, "
        f"where {observed:g} events are observed"
    )
    mend = "No value of any parameter makes these data possible; add what is missing."
    return fault(where, expected, Words("none"), mend)


def is_without_effect(sample: Sample, document: Document) -> list[str]:
    """Return the systematics of a sample that change nothing in it."""
    nominal = document.arrays[sample.nominal]
    idle = []
    for name, kind, data, _ in sample.modifiers:
        if kind == "normsys":
            if data[0] == data[1] == 1:
                idle.append(name)
        elif kind == "histosys":
            low, high = (document.arrays[slot] for slot in data)
            if high[0] == nominal[0] == low[0] and (
                (low == nominal).all() and (high == nominal).all()
            ):
                idle.append(name)
    return idle
