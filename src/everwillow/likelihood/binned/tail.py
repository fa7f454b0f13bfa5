"""Selection of the factors of single bins that are the tail of the Hessian."""

import collections
from dataclasses import dataclass

import numpy as np

from everwillow._errors import ShapeMismatchError
from everwillow.likelihood.binned.places import PlaceTable
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    NormVariation,
    Scale,
    ShapeVariation,
)
from everwillow.likelihood.interpolation import MULTIPLICATIVE


@dataclass(frozen=True, slots=True)
class Gammas:
    """The tail parameters: each scales one bin, and no bin has two.

    Attributes:
        first_bins: The number of the first bin of each channel.
        tail: Their places in the vector, ascending.
        tail_of_bin: The place of the tail parameter of each bin, or -1.
        slot: The number of that parameter among the tail, or the size of the tail.
        split: Channels with factors of bins that are not in the tail.
    """

    first_bins: tuple[int, ...]
    tail: np.ndarray
    tail_of_bin: np.ndarray
    slot: np.ndarray
    split: frozenset[str]


def assign_gammas(spec: BinnedSpec, table: PlaceTable) -> Gammas:
    """Choose for each bin the tail parameter that most of its samples carry.

    Raises:
        ShapeMismatchError: If an array parameter has another length than a channel
            that it scales.
    """
    ends = np.cumsum([0, *(channel.observed.size for channel in spec.channels)])
    starts = ends[:-1].tolist()
    uses: collections.Counter[tuple[int, int]] = collections.Counter()
    bins_of: dict[int, set[int]] = collections.defaultdict(set)
    excluded = {i for inputs, _ in table.derived for i in inputs}
    for channel, first in zip(spec.channels, starts, strict=True):
        for sample in channel.samples:
            once: collections.Counter[int] = collections.Counter()
            for effect in sample.effects:
                if not isinstance(effect, BinScale):
                    excluded.add(table.scalar(effect.parameter))
                    continue
                places = table.elements(effect.parameters)
                _check_length(effect, places, channel.name, channel.observed.size)
                for bin_, place in enumerate(places.tolist(), first):
                    uses[bin_, place] += 1
                    bins_of[place].add(bin_)
                    once[place] += 1
            excluded |= {place for place, number in once.items() if number > 1}
    best: dict[int, tuple[int, int]] = {}
    for (bin_, place), number in uses.items():
        if place in excluded or len(bins_of[place]) > 1 or place >= table.size:
            continue
        if number > best.get(bin_, (0, 0))[0]:
            best[bin_] = (number, place)
    tail_of_bin = np.full(ends[-1], -1)
    for bin_, (_, place) in best.items():
        tail_of_bin[bin_] = place
    tail = np.unique(tail_of_bin[tail_of_bin >= 0])
    slot = np.where(tail_of_bin >= 0, np.searchsorted(tail, tail_of_bin), tail.size)
    split = {
        channel.name
        for channel, first in zip(spec.channels, starts, strict=True)
        if _must_split(
            channel, tail_of_bin[first : first + channel.observed.size], table
        )
    }
    return Gammas(tuple(starts), tail, tail_of_bin, slot, frozenset(split))


def _must_split(channel, tail_of_bin: np.ndarray, table: PlaceTable) -> bool:
    for sample in channel.samples:
        for effect in sample.effects:
            match effect:
                case BinScale(parameters):
                    if (table.elements(parameters) != tail_of_bin).any():
                        return True
                case ShapeVariation(interpolation=code) if code in MULTIPLICATIVE:
                    return True
                case Scale() | NormVariation() | ShapeVariation():
                    pass
    return False


def _check_length(effect: BinScale, places, channel: str, bins: int) -> None:
    if places.size != bins:
        raise ShapeMismatchError(
            f"channel {channel!r}: {effect.parameters!r} has {places.size} elements "
            f"for {bins} bins."
        )
