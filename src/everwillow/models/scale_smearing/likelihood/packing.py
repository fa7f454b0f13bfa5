"""Regions packed into arrays."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from everwillow.models.scale_smearing.likelihood.flat import FlatSas
from everwillow.models.scale_smearing.likelihood.response import DOUBLE_KINDS, KINDS
from everwillow.models.scale_smearing.spec import KIND_OF, SasSpec


class PackedSize(NamedTuple):
    """The lengths of packed arrays. Specifications of one size share a program.

    Attributes:
        regions: The number of regions.
        rows: The number of bins of data of all regions.
        masses: The number of bins of the templates.
        bins: The largest number of bins of data in a region.
    """

    regions: int
    rows: int
    masses: int
    bins: int

    @classmethod
    def of(cls, *specs: SasSpec) -> "PackedSize":
        """Return the smallest size that suffices for all specifications."""
        return cls(
            max(len(spec.regions) for spec in specs),
            max(sum(one.counts.size for one in spec.regions) for spec in specs),
            max(spec.masses.size for spec in specs),
            max(one.counts.size for spec in specs for one in spec.regions),
        )

    def rounded(self) -> "PackedSize":
        """Return a size up to an eighth larger, which similar specifications share."""
        return PackedSize(*(_rounded(one) for one in self))

    def contains(self, spec: SasSpec) -> bool:
        """Return whether the arrays of a specification fit in."""
        if not spec.regions:
            return True
        needed = PackedSize.of(spec)
        return all(a <= b for a, b in zip(needed, self, strict=True))


def parameter_names(spec: SasSpec) -> dict[tuple[str, int], str]:
    """Return the name of each parameter, by its kind and category.

    Categories share a name if they share the parameter: ``"mu"`` instead of ``"mu_3"``.
    """
    kinds = DOUBLE_KINDS if spec.double_gaussian else KINDS
    shared = {KIND_OF[name] for name in spec.shared}
    return {
        (kind, i): kind if kind in shared else f"{kind}_{i}"
        for kind in kinds
        for i in spec.fitted
    }


def pack(
    spec: SasSpec, starts: dict[str, int], *, size: PackedSize | None = None
) -> FlatSas:
    """Pack a specification.

    Args:
        spec: The specification, with one region or more.
        starts: The place of each parameter in the vector.
        size: The lengths of the arrays, for a common program of several specifications.
    """
    regions, rows, masses, _ = size or PackedSize.of(spec)
    kinds = DOUBLE_KINDS if spec.double_gaussian else KINDS
    names = parameter_names(spec)
    places = [
        [[starts[names[kind, i]] for kind in kinds] for i in one.categories]
        for one in spec.regions
    ]
    low = np.concatenate([one.edges[:-1] for one in spec.regions])
    high = np.concatenate([one.edges[1:] for one in spec.regions])
    templates = np.stack([one.template for one in spec.regions])
    missing = masses - spec.masses.size
    # The edges of padded rows are a mass, so that their logarithms are finite.
    edge = float(spec.masses[-1])
    return FlatSas(
        masses=np.pad(spec.masses, (0, missing), constant_values=edge),
        templates=np.pad(templates, ((0, regions - len(places)), (0, missing))),
        low=padded(low, rows, edge),
        high=padded(high, rows, edge),
        region=padded(row_regions(spec), rows, 0),
        places=np.pad(
            np.array(places, np.int32),
            ((0, regions - len(places)), (0, 0), (0, 0)),
            mode="edge",
        ),
        exponent=np.asarray(spec.mass_exponent, float),
        floor=np.asarray(spec.smearing_floor, float),
        size=len(starts),
    )


def row_regions(spec: SasSpec) -> Int[np.ndarray, " rows"]:
    """Return the region of each bin of data."""
    sizes = [one.counts.size for one in spec.regions]
    return np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def padded(values: np.ndarray, size: int, value: float) -> Float[np.ndarray, " size"]:
    """Return a vector with a value added at its end up to a size."""
    return np.pad(values, (0, size - values.size), constant_values=value)


def row_slots(
    spec: SasSpec, *, size: PackedSize | None = None
) -> Int[np.ndarray, "regions bins"]:
    """Return the rows of each region; the number of all rows where it has no more."""
    size = size or PackedSize.of(spec)
    slots = np.full((size.regions, size.bins), size.rows, np.int32)
    start = 0
    for region, one in enumerate(spec.regions):
        bins = one.counts.size
        slots[region, :bins] = np.arange(start, start + bins)
        start += bins
    return slots


def _rounded(number: int) -> int:
    """Return the next number with three binary digits behind the first."""
    step = max(1, 1 << max(0, number.bit_length() - 4))
    return -(-number // step) * step
