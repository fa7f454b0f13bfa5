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


# Nanoseconds on one core: to add a number to a place in a matrix, and to multiply two
# numbers in a product of matrices. Only their ratio matters.
_ADD, _MULTIPLY = 6.0, 0.05
# The most classes, and what one more has to save.
_CLASSES, _SAVING = 3, 0.9
# Lengths of runs that are tried, and places at which classes may be told apart.
LENGTHS = (256, 64, 16, 4, 1)
_CUTS = 24
# What a table of runs and systematics may have of entries.
_ROOM = 2**28


class Blocks(NamedTuple):
    """Blocks of one size.

    Attributes:
        bins: Their bins; the number of all bins where filled up.
        which: Their systematics, ascending; the number of all where filled up.
    """

    bins: Int[np.ndarray, "blocks bins"]
    which: Int[np.ndarray, "blocks systematics"]


class Partition(NamedTuple):
    """All bins in blocks.

    Attributes:
        classes: Blocks of equal sizes.
        work: What a Hessian costs, see `work`.
        stored: How many numbers the blocks have, for each slot of a bin.
    """

    classes: tuple[Blocks, ...]
    work: float
    stored: int


def work(systematics: int, bins: int, slots: int) -> float:
    """Return what the share of a block in the Hessian costs, in nanoseconds."""
    return systematics**2 * (_ADD + _MULTIPLY * bins * (slots + 2))


def partition(
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
    whole: bool = False,
) -> Partition:
    """Return the partition whose Hessian costs least.

    Tried are whole channels, and channels cut into runs of `LENGTHS` bins.

    Args:
        bin_: The bin that each entry acts on.
        systematic: Its systematic.
        edges: Where channels start, and the number of bins.
        count: Number of systematics.
        slots: Slots of a bin.
        whole: Whether to cut all bins as if they were one channel, always.
    """
    total = edges[-1]
    longest = int(np.diff(edges).max())
    if whole:
        edges, longest = np.array([0, total]), int(min(total, LENGTHS[0]))
    tried = [longest, *(length for length in LENGTHS if length < longest)]
    tried = [n for n in tried if count * (total / n + edges.size) <= _ROOM] or tried[:1]
    found = (
        partition(bin_, systematic, runs(edges, n), count=count, slots=slots)
        for n in tried
    )
    return min(found, key=lambda partition: partition.work)


def runs(edges: Int[np.ndarray, " n+1"], length: int) -> Int[np.ndarray, " m+1"]:
    """Cut every run into some that are not longer than a length."""
    starts = [
        np.arange(low, high, length) for low, high in itertools.pairwise(edges.tolist())
    ]
    return np.concatenate([*starts, edges[-1:]])


def size_classes(
    systematics: Int[np.ndarray, " blocks"],
    bins: Int[np.ndarray, " blocks"],
    slots: int,
) -> list[Int[np.ndarray, " some"]]:
    """Put blocks into classes such that filling them up costs little.

    Args:
        systematics: How many each block has.
        bins: How many each block has.
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
        found = min(
            ((sum(cost[p] for p in itertools.pairwise(c)), c) for c in divided),
            default=(np.inf, best),
        )
        if found[0] < _SAVING * least:
            least, best = found
    return [np.sort(order[low:high]) for low, high in itertools.pairwise(best)]


def _blocks(
    touched: Bool[np.ndarray, "blocks count"],
    start: Int[np.ndarray, " blocks"],
    widths: Int[np.ndarray, " blocks"],
    total: int,
) -> Blocks:
    """Fill blocks up to one size."""
    count = touched.shape[1]
    block, systematic = np.nonzero(touched)
    sizes = touched.sum(1)
    within = np.arange(block.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    which = np.full((start.size, max(1, int(sizes.max()))), count, np.int32)
    which[block, within] = systematic
    step = np.arange(int(widths.max()))
    bins = np.where(step < widths[:, None], start[:, None] + step, total)
    return Blocks(bins.astype(np.int32), which)
