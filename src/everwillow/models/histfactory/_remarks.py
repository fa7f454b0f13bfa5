"""Remarks on unusual parts of a workspace, and checks of its yields."""

from collections.abc import Mapping

import numpy as np

from everwillow.models._document import shortened
from everwillow.models.histfactory._inventory import Inventory
from everwillow.models.histfactory.reading import Channel, Document, Sample


_SHOWN = 4  # bins in one sentence


def check_yields(
    document: Document, inventory: Inventory, starts: Mapping[str, float]
) -> list[str]:
    """Return remarks on yields for which the likelihood may be zero.

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
                raise channel.node.at("samples").fault(
                    f"a sample with events in bin {bin_} of channel {shown}, where "
                    f"{observed[bin_]:g} events are observed",
                    "none",
                    "No value of any parameter makes these data possible; add what is "
                    "missing.",
                )
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


def dropped_errors(document: Document, inventory: Inventory) -> list[str]:
    """Return remarks on bins with errors but without a yield.

    The yield is that of the sample of a shapesys, and the sum of all samples of the
    channel with a staterror. The factor of such a bin is held at 1, as in pyhf.
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
        for channel in dict.fromkeys(place.channel.name for place in places):
            own = [one for one in places if one.channel.name == channel]
            nominal = sum(document.arrays[one.sample.nominal] for one in own)
            errors = [document.arrays[one.modifier.data] for one in own]
            where = np.flatnonzero((nominal <= 0) & (np.max(errors, axis=0) > 0))
            label = shortened(channel)
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


def systematics_without_effect(document: Document) -> list[str]:
    """Return remarks on systematics without any effect."""
    arrays = document.arrays
    used, idle = set(), {}
    for sample in (
        sample for channel in document.channels for sample in channel.samples
    ):
        nominal = arrays[sample.nominal]
        for name, kind, data, _ in sample.modifiers:
            without = False
            if kind == "normsys":
                without = data[0] == data[1] == 1
            elif kind == "histosys":
                low, high = arrays[data[0]], arrays[data[1]]
                # Mostly the first bin is enough, which is faster than all bins.
                if high[0] == nominal[0] == low[0]:
                    without = (low == nominal).all() and (high == nominal).all()
            if without:
                idle[name] = None
            else:
                used.add(name)
    names = [shortened(name) for name in idle if name not in used]
    if not names:
        return []
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return [f"{len(names)} systematics change no yield: {shown}."]
