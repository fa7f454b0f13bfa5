"""Packing the events of a specification into an `EventTable`, once, in NumPy."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from everwillow.models.nsbi.likelihood import memory
from everwillow.models.nsbi.likelihood.events import EventTable
from everwillow.models.nsbi.likelihood.reference import reference_weights
from everwillow.models.nsbi.likelihood.responses import stored
from everwillow.models.nsbi.spec import Events, NsbiSpec, UnbinnedRegion


# Numbers of a chunk for all of its effects and slots: with their derivatives they fit
# into the cache of a processor.
_CHUNK_NUMBERS = 1 << 17
_LEAST_CHUNK, _LARGEST_CHUNK = 256, 16384


@dataclass(frozen=True)
class _Part:
    """Events of a region that fill chunks of their own.

    Attributes:
        region: The number of the region.
        first: The number of the first of its events in the data.
        events: The events.
        reference: The weights of the reference sample, with sum 1; None if these events
            are not in it.
    """

    region: int
    first: int
    events: Events
    reference: np.ndarray | None


def pack(
    spec: NsbiSpec, places: Mapping[str, int], *, storage: str = "float64"
) -> EventTable:
    """Pack all events into arrays.

    Args:
        spec: The specification.
        places: The place of each parameter in the vector.
        storage: The dtype of densities and their changes.
    """
    parameters = sorted({p for r in spec.unbinned for _, p in r.events.variations})
    slots = max(len(region.samples) for region in spec.unbinned)
    effects = max(len(region.events.variations) for region in spec.unbinned)
    parts = sorted(_parts(spec.unbinned), key=lambda part: part.reference is not None)
    sizes = [part.events.weights.size for part in parts]
    size = _chunk_size(sizes, slots + 2 * effects)
    starts = np.concatenate([[0], np.cumsum([-(-n // size) for n in sizes])])
    chunks = int(starts[-1])
    ratios = memory.zeros((chunks, slots, size), storage)
    changes = memory.zeros((chunks, 2 * effects, size), storage)
    if spec.interpolation == "linear":
        changes += 1
    weights = np.zeros((chunks, size))
    place = np.zeros(sum(sizes), np.int32)
    region = np.zeros(chunks, np.int32)
    for part, start, stop in zip(parts, starts[:-1], starts[1:], strict=True):
        here = slice(start, stop)
        region[here] = part.region
        count = part.events.weights.size
        place[part.first : part.first + count] = start * size + np.arange(count)
        if part.reference is not None:
            _spread(weights[here], part.reference)
        _fill(ratios[here], _densities(spec.unbinned[part.region], part.events))
        _fill(changes[here], _changes(spec, part, "up"))
        _fill(changes[here, effects:], _changes(spec, part, "down"))
    own = [part.reference is not None for part in parts]
    first_reference = int(starts[own.index(True)]) if any(own) else chunks
    tables = _tables(spec.unbinned, parameters, slots, effects)
    return EventTable(
        event_place=jnp.asarray(place),
        ratios=memory.on_devices(ratios),
        changes=memory.on_devices(changes),
        reference=memory.on_devices(weights[first_reference:]),
        region=jnp.asarray(region),
        **{name: jnp.asarray(table) for name, table in tables.items()},
        place_bytes=np.array([places[p] for p in parameters], np.int32).tobytes(),
        components=sum(len(r.samples) for r in spec.unbinned),
        interpolation=spec.interpolation,
    )


def _parts(regions: Sequence[UnbinnedRegion]) -> list[_Part]:
    parts, first = [], 0
    for number, region in enumerate(regions):
        if region.reference is not None:
            parts.append(_Part(number, first, region.events, None))
            first += region.events.weights.size
        weights = reference_weights(region)
        parts.append(_Part(number, first, region.simulated, weights))
        first += weights.size
    return parts


def _chunk_size(sizes: Sequence[int], rows: int) -> int:
    """Return the number of events in a chunk, with little padding."""
    most = int(np.clip(_CHUNK_NUMBERS // rows, _LEAST_CHUNK, _LARGEST_CHUNK))
    largest = max(sizes)
    chunks = max(-(-largest // most), 1)
    multiple = chunks * memory.multiple()
    return -(-max(largest, 1) // multiple) * multiple // chunks


def _densities(region: UnbinnedRegion, events: Events) -> Iterator[np.ndarray]:
    for sample in region.samples:
        yield events.ratios[sample.name]


def _changes(
    spec: NsbiSpec, part: _Part, end: Literal["up", "down"]
) -> Iterator[np.ndarray]:
    """Yield what is stored of each effect, in the order of the observed events."""
    for key in spec.unbinned[part.region].events.variations:
        factors = getattr(part.events.variations[key], end)
        yield stored(spec.interpolation, factors)


def _fill(chunks: Float[np.ndarray, "m rows n"], rows: Iterable[np.ndarray]) -> None:
    # One row after another: all of them would take as much memory as the chunks.
    for number, row in enumerate(rows):
        _spread(chunks[:, number], row)


def _spread(chunks: Float[np.ndarray, "m n"], values: Float[np.ndarray, " N"]) -> None:
    """Write one number for each event into chunks."""
    size = chunks.shape[1]
    whole = values.size // size
    chunks[:whole] = values[: whole * size].reshape(whole, size)
    if whole < chunks.shape[0]:
        chunks[whole, : values.size - whole * size] = values[whole * size :]


def _tables(
    regions: Sequence[UnbinnedRegion],
    parameters: Sequence[str],
    slots: int,
    effects: int,
) -> dict[str, np.ndarray]:
    """Return the tables of slots, effects and parameters of each region."""
    count = len(regions)
    components = sum(len(region.samples) for region in regions)
    names = [sorted({p for _, p in r.events.variations}) for r in regions]
    local = max(map(len, names))
    component = np.full((count, slots), components, np.int32)
    effect_parameter = np.full((count, effects), len(parameters), np.int32)
    effect_of = np.full((count, slots, local), effects, np.int32)
    region_parameter = np.full((count, local), len(parameters), np.int32)
    first = 0
    for number, region in enumerate(regions):
        samples = [sample.name for sample in region.samples]
        component[number, : len(samples)] = first + np.arange(len(samples))
        first += len(samples)
        for place, name in enumerate(names[number]):
            region_parameter[number, place] = parameters.index(name)
        for effect, (sample, name) in enumerate(region.events.variations):
            effect_parameter[number, effect] = parameters.index(name)
            slot, place = samples.index(sample), names[number].index(name)
            effect_of[number, slot, place] = effect
    return {
        "component": component,
        "effect_parameter": effect_parameter,
        "effect_of": effect_of,
        "region_parameter": region_parameter,
    }
