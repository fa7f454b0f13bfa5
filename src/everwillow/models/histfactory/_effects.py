"""Conversion of modifiers to effects on yields."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinScale,
    ChannelSpec,
    Effect,
    Interpolation,
    NormVariation,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.likelihood.interpolation import EXPONENTIAL
from everwillow.models.histfactory._inventory import Inventory
from everwillow.models.histfactory.reading import Channel, Document


Codes = tuple[Interpolation, Interpolation]
"""The interpolation of normsys and that of histosys."""


def channel_specs(
    document: Document, inventory: Inventory, codes: Codes
) -> tuple[ChannelSpec, ...]:
    """Return the channels with the effects of all modifiers.

    Raises:
        SpecificationError: If an interpolation needs positive numbers and one is not.
    """
    arrays = document.arrays
    norm, shape = codes
    _check_positive(document, inventory, norm, shape)
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
        begin = inventory.layout[channel.name, name]
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


def _check_positive(
    document: Document, inventory: Inventory, norm: Interpolation, shape: Interpolation
) -> None:
    """Check that numbers are positive if an interpolation takes their logarithms."""
    uses = inventory.uses
    for places in uses["normsys"].values() if norm in EXPONENTIAL else ():
        for place in places:
            low, high = place.modifier.data
            if low <= 0 or high <= 0:
                raise place.node.at("data", "lo" if low <= 0 else "hi").fault(
                    f"a positive factor, which {norm} takes the logarithm of",
                    mend=f"In {place.words}; correct it, prune the modifier, or read "
                    "the workspace with {interpolation}.",
                    settings={"interpolation": {"normsys": "code4p"}},
                )
    for places in uses["histosys"].values() if shape in EXPONENTIAL else ():
        for place in places:
            low, high = place.modifier.data
            data = place.node.at("data")
            for slot, node in (
                (place.sample.nominal, place.sample.node.at("data")),
                (low, data.at("lo_data")),
                (high, data.at("hi_data")),
            ):
                values = document.arrays[slot]
                if (values <= 0).any():
                    raise node.at(int(np.argmin(values))).fault(
                        f"positive yields, whose ratios {shape} takes the logarithm of",
                        mend="Read the workspace with {interpolation}.",
                        settings={"interpolation": {"histosys": "code4p"}},
                    )
