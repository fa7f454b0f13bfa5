"""Partition of the bins of a template fit into blocks, in NumPy.

A *block* is a run of bins with the systematics that act on any of them: its share of
the Hessian is a product of matrices of these alone, added to the rows and columns that
are theirs. Blocks are put into a few *classes*, and filled up to one size in each, so
that a compiled program is as long for a thousand channels as for one.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int


# Nanoseconds on one core, of scattering a number into a matrix, and of a multiplication
# in a product of matrices. Only their ratio matters.
_ADD, _MULTIPLY = 6.0, 0.05
# Largest number of classes, and the factor by which each further one must reduce the
# cost.
_CLASSES, _SAVING = 3, 0.9
# Lengths of runs that are tried, and number of positions at which classes may be
# divided.
LENGTHS = (256, 64, 16, 4, 1)
_CUTS = 24
# Largest number of entries of a table of runs and systematics.
_ROOM = 2**28


class Blocks(NamedTuple):
    """Blocks of one size.

    Attributes:
        bins: Their bins, padded with the number of all bins.
        which: Their systematics, ascending, padded with the number of all.
    """

    bins: Int[np.ndarray, "blocks bins"]
    which: Int[np.ndarray, "blocks systematics"]


class Partition(NamedTuple):
    """All bins in blocks.

    Attributes:
        classes: Blocks of equal sizes.
        work: Cost of a Hessian, see `work`.
        stored: Number of responses in the blocks, for each slot of a bin.
    """

    classes: tuple[Blocks, ...]
    work: float
    stored: int


def work(systematics: int, bins: int, slots: int) -> float:
    """Return the cost of the part of a Hessian of one block, in nanoseconds."""
    return systematics**2 * (_ADD + _MULTIPLY * bins * (slots + 2))


def partition_by_runs(
    bin_: Int[np.ndarray, " entries"],
    systematic: Int[np.ndarray, " entries"],
    edges: Int[np.ndarray, " groups+1"],
    *,
    count: int,
    slots: int,
) -> Partition:
    """Make a block of every run of bins.

    Args:
        bin_: The bin that each entry acts on.
        systematic: Its systematic.
        edges: Where runs start, and the number of bins.
        count: Number of systematics.
        slots: Slots of a bin.
    """
    widths = np.diff(edges)
    run = np.repeat(np.arange(widths.size), widths)
    touched = np.zeros((widths.size, count), bool)
    touched[run[bin_], systematic] = True
    sizes = np.maximum(touched.sum(1), 1)
    classes = [
        _blocks(touched[part], edges[part], widths[part], edges[-1])
        for part in size_classes(sizes, widths, slots)
    ]
    return Partition(
        tuple(classes),
        sum(
            part.bins.shape[0] * work(part.which.shape[1], part.bins.shape[1], slots)
            for part in classes
        ),
        sum(part.which.size * part.bins.shape[1] for part in classes),
    )


def best_partition(
    bin_: Int[np.ndarray, " entries"],
    systematic: Int[np.ndarray, " entries"],
    edges: Int[np.ndarray, " channels+1"],
    *,
    count: int,
    slots: int,
    as_one_channel: bool = False,
) -> Partition:
    """Return the partition whose Hessian costs least.

    Tried are whole channels, and channels cut into runs of `LENGTHS` bins.

    Args:
        bin_: The bin that each entry acts on.
        systematic: Its systematic.
        edges: Where channels start, and the number of bins.
        count: Number of systematics.
        slots: Slots of a bin.
        as_one_channel: Whether to cut all bins into runs as if they were one channel.
    """
    total = edges[-1]
    longest = int(np.diff(edges).max())
    if as_one_channel:
        edges, longest = np.array([0, total]), int(min(total, LENGTHS[0]))
    lengths = [longest, *(length for length in LENGTHS if length < longest)]
    lengths = [
        n for n in lengths if count * (total / n + edges.size) <= _ROOM
    ] or lengths[:1]
    partitions = (
        partition_by_runs(bin_, systematic, runs(edges, n), count=count, slots=slots)
        for n in lengths
    )
    return min(partitions, key=lambda partition: partition.work)


def runs(edges: Int[np.ndarray, " n+1"], length: int) -> Int[np.ndarray, " m+1"]:
    """Cut every run into runs of at most a length."""
    starts = [
        np.arange(low, high, length) for low, high in itertools.pairwise(edges.tolist())
    ]
    return np.concatenate([*starts, edges[-1:]])


def size_classes(
    systematics: Int[np.ndarray, " blocks"],
    bins: Int[np.ndarray, " blocks"],
    slots: int,
) -> list[Int[np.ndarray, " some"]]:
    """Divide blocks into classes such that padding costs little.

    Args:
        systematics: Number of systematics of each block.
        bins: Number of bins of each block.
        slots: Slots of a bin.
    """
    order = np.lexsort((bins, systematics))
    cuts = np.unique(np.linspace(0, order.size, _CUTS + 1).astype(int))
    cost = {
        (low, high): (high - low)
        * work(
            int(systematics[order[high - 1]]), int(bins[order[low:high]].max()), slots
        )
        for low, high in itertools.combinations(cuts.tolist(), 2)
    }
    best, least = (0, order.size), cost[0, order.size]
    for number in range(1, _CLASSES):
        inner = itertools.combinations(cuts[1:-1].tolist(), number)
        divided = ((0, *middle, order.size) for middle in inner)
        cheapest = min(
            ((sum(cost[p] for p in itertools.pairwise(c)), c) for c in divided),
            default=(np.inf, best),
        )
        if cheapest[0] < _SAVING * least:
            least, best = cheapest
    return [np.sort(order[low:high]) for low, high in itertools.pairwise(best)]


def _blocks(
    touched: Bool[np.ndarray, "blocks count"],
    start: Int[np.ndarray, " blocks"],
    widths: Int[np.ndarray, " blocks"],
    total: int,
) -> Blocks:
    """Pad blocks to one size."""
    count = touched.shape[1]
    block, systematic = np.nonzero(touched)
    sizes = touched.sum(1)
    within = np.arange(block.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    which = np.full((start.size, max(1, int(sizes.max()))), count, np.int32)
    which[block, within] = systematic
    step = np.arange(int(widths.max()))
    bins = np.where(step < widths[:, None], start[:, None] + step, total)
    return Blocks(bins.astype(np.int32), which)
