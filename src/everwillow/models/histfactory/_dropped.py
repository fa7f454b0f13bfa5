"""Errors of bins that have no effect, as their bins expect nothing."""

import numpy as np

from everwillow.models.histfactory._document import Document
from everwillow.models.histfactory._inventory import Inventory
from everwillow.models.histfactory.faults import shortened


_SHOWN = 4  # bins in one sentence


def dropped_errors(document: Document, inventory: Inventory) -> list[str]:
    """Say where bins have errors and no yield that these could be errors of.

    A shapesys is about its sample, a staterror about the sum of all samples of the
    channel that have it. The factor of such a bin is held at 1, as in pyhf.
    """
    notes = []
    for name, places in inventory.uses["shapesys"].items():
        bins = []
        for place in places:
            nominal = document.arrays[place.sample.nominal]
            error = document.arrays[place.modifier.data]
            where = np.flatnonzero((nominal <= 0) & (error > 0))
            bins += [f"bin {i} of {place.words}" for i in where]
        notes += _sentence("shapesys", name, bins)
    for name, places in inventory.uses["staterror"].items():
        bins = []
        for channel in dict.fromkeys(place.channel.position for place in places):
            own = [one for one in places if one.channel.position == channel]
            nominal = sum(document.arrays[one.sample.nominal] for one in own)
            errors = [document.arrays[one.modifier.data] for one in own]
            where = np.flatnonzero((nominal <= 0) & (np.max(errors, axis=0) > 0))
            label = shortened(own[0].channel.name)
            bins += [f"bin {i} of channel {label}" for i in where]
        notes += _sentence("staterror", name, bins)
    return notes


def _sentence(kind: str, name: str, bins: list[str]) -> list[str]:
    if not bins:
        return []
    more = f" and {len(bins) - _SHOWN} more" if len(bins) > _SHOWN else ""
    return [
        f"The errors of the {kind} {shortened(name)} are dropped where no events are "
        f"expected, and its factors held at 1: {', '.join(bins[:_SHOWN])}{more}."
    ]
