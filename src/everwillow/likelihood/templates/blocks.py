"""Responses in blocks, for systematics that act on few channels each.

Every block of bins (see `everwillow.likelihood.templates.partition`) has a matrix of
those systematics alone that act on it.
"""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow.likelihood.templates.arrays import Rows, asymmetric, entries
from everwillow.likelihood.templates.dense import DenseResponses, pack_dense
from everwillow.likelihood.templates.partition import (
    Blocks,
    Partition,
    best_partition,
    work,
)
from everwillow.likelihood.templates.responses import (
    AbstractResponses,
    LocalHessian,
    mirrored,
    scatter_blocks,
    smooth_absolute,
)
from everwillow.likelihood.templates.spec import Responses


# Blocks are used if their Hessian costs at most this fraction of that of one matrix.
_SHARE = 0.5
# Below a millisecond blocks gain nothing, and take longer to compile.
_SMALL = 1e6


class BlockClass(eqx.Module):
    """Blocks of one size, padded.

    Attributes:
        bins: The bins of each, padded with the number of all bins.
        which: The systematics of each, padded with the number of all.
        average: Means of the responses up and down.
        half: Half their differences, of the asymmetric systematics.
        curved: The numbers of the asymmetric systematics, padded with the number of
            all.
        column: Their positions among the systematics of the block; padded out of range.
    """

    bins: Int[Array, "blocks bins"]
    which: Int[Array, "blocks k"]
    average: Float[Array, "blocks k bins slots"]
    half: Float[Array, "blocks c bins slots"]
    curved: Int[Array, "blocks c"]
    column: Int[Array, "blocks c"]


@final
class BlockResponses(AbstractResponses):
    """Responses in blocks.

    Attributes:
        classes: The blocks, by size.
        shape: Number of systematics, of bins and of slots of a bin.
    """

    classes: tuple[BlockClass, ...]
    shape: tuple[int, int, int] = eqx.field(static=True)
    curved_bytes: bytes = eqx.field(static=True)

    def apply(self, linear: Array, curved: Array) -> Float[Array, "bins slots"]:
        """Return ``average @ linear + half @ curved``."""
        out = jnp.zeros(self.shape[1:], linear.dtype)
        for part in self.classes:
            values = _weighted(_gather(linear, part.which), part.average)
            if self.curved.size:
                values = values + _weighted(_gather(curved, part.curved), part.half)
            out = out.at[part.bins].set(values, mode="drop")
        return out

    def apply_transposed(self, rows: Float[Array, "bins slots"]) -> tuple[Array, Array]:
        """Return the rows summed with ``average`` and with ``half`` as weights."""
        straight = jnp.zeros(self.shape[0], rows.dtype)
        bent = jnp.zeros(self.curved.size, rows.dtype)
        for part in self.classes:
            block_rows = _gather(rows, part.bins)
            straight = straight.at[part.which].add(
                _summed(part.average, block_rows), mode="drop"
            )
            if self.curved.size:
                bent = bent.at[part.curved].add(
                    _summed(part.half, block_rows), mode="drop"
                )
        return straight, bent

    def squared(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the squared derivatives of the responses, summed over rows."""
        slope = smooth_absolute(theta[self.curved])[1]
        out = jnp.zeros(self.shape[0], rows.dtype)
        for part in self.classes:
            weights = _gather(rows, part.bins)

            def summed(block, slope=slope):
                part, weights = block
                return jnp.tensordot(self._columns(part, slope) ** 2, weights, 2)

            sums = jax.lax.map(summed, (part, weights))
            out = out.at[part.which].add(sums, mode="drop")
        return out

    def over_blocks(self, theta: Array, local: LocalHessian, extra: int) -> Any:
        """Return matrices that are sums over bins, made block by block."""
        slope = smooth_absolute(theta[self.curved])[1]
        matrices = None
        for part in self.classes:
            matrices = scatter_blocks(
                part,
                lambda block: local(self._columns(block, slope), block.bins),
                part.which,
                (self.shape[0], extra),
                matrices,
            )
        return mirrored(matrices)

    def _columns(self, block: BlockClass, slope: Array) -> Float[Array, "k bins slots"]:
        """Return the derivatives of the responses of a single block."""
        if not self.curved.size:
            return block.average
        bent = _gather(slope, block.curved)[:, None, None] * block.half
        return block.average.at[block.column].add(bent, mode="drop")


def _gather(values: Array, where: Array) -> Array:
    """Return values at places, 0 for places out of range."""
    return values.at[where].get(mode="fill", fill_value=0)


def _weighted(weights: Array, matrices: Array) -> Float[Array, "blocks bins slots"]:
    return jnp.einsum("ck,ckbs->cbs", weights, matrices)


def _summed(matrices: Array, rows: Array) -> Float[Array, "blocks k"]:
    return jnp.einsum("ckbs,cbs->ck", matrices, rows)


def pack_best(
    responses: Responses, rows: Rows, edges: Int[np.ndarray, " channels+1"]
) -> DenseResponses | BlockResponses:
    """Store the responses of some bins as one matrix, or in blocks if these cost less.

    Blocks are whole channels, or channels cut into runs of 256, 64, 16, 4 or 1 bins,
    whichever makes the Hessian cheapest. They are used if it then costs at
    most half of what it costs in one matrix, where that is more than a millisecond,
    and if they take no more memory.

    Args:
        responses: Responses to all systematics.
        rows: Places of the rows among the slots.
        edges: First bins of the channels, counted from the first of these bins, and the
            number of bins.
    """
    count, bins = responses.count, int(edges[-1])
    dense_work = work(count, bins, rows.slots)
    stored = np.count_nonzero(rows.selected[responses.row])
    # The cost of blocks, relative to one matrix, is at least the square of the density.
    too_dense = stored**2 > _SHARE * (count * np.count_nonzero(rows.selected)) ** 2
    if too_dense or dense_work < _SMALL:
        return pack_dense(responses, rows)
    place, systematic, _, _ = entries(responses, rows)
    partition = best_partition(
        place // rows.slots, systematic, edges, count=count, slots=rows.slots
    )
    if partition.work > _SHARE * dense_work or partition.stored > count * bins:
        return pack_dense(responses, rows)
    return pack_blocks(responses, rows, partition)


def pack_blocks(
    responses: Responses, rows: Rows, partition: Partition
) -> BlockResponses:
    """Store the responses of some bins in blocks."""
    listed = entries(responses, rows)
    curved = asymmetric(responses)
    count = responses.count
    bins = rows.bins.stop - rows.bins.start
    return BlockResponses(
        classes=tuple(
            _block_class(part, listed, curved, (count, bins, rows.slots))
            for part in partition.classes
        ),
        shape=(count, bins, rows.slots),
        curved_bytes=curved.tobytes(),
    )


def _block_class(
    part: Blocks,
    listed: tuple[np.ndarray, ...],
    curved: np.ndarray,
    shape: tuple[int, int, int],
) -> BlockClass:
    """Put entries into the blocks of one size."""
    place, systematic, average, half = listed
    count, bins, slots = shape
    number, size = part.which.shape
    # For each bin its block, and its place there.
    block, within = np.full(bins, -1), np.zeros(bins, int)
    existing = part.bins < bins
    block[part.bins[existing]], within[part.bins[existing]] = np.nonzero(existing)
    bin_, slot = np.divmod(place, slots)
    inside = block[bin_] >= 0
    block, within = block[bin_[inside]], within[bin_[inside]]
    systematic, slot = systematic[inside], slot[inside]
    # The pairs of block and systematic are in ascending order.
    block_keys = part.which + (count + 1) * np.arange(number)[:, None]
    column = np.searchsorted(block_keys.ravel(), systematic + (count + 1) * block)
    column -= size * block
    matrix = np.zeros((number, size, part.bins.shape[1], slots))
    matrix[block, column, within, slot] = average[inside]
    # The asymmetric ones among the systematics of each block.
    asymmetric_ = np.full(count + 1, -1)
    asymmetric_[curved] = np.arange(curved.size)
    curved_number = asymmetric_[part.which]
    longest = int((curved_number >= 0).sum(1).max())
    order = np.argsort(curved_number < 0, axis=1, kind="stable")[:, :longest]
    curved_number = np.take_along_axis(curved_number, order, 1)
    bent = np.zeros((number, longest, *matrix.shape[2:]))
    place_of = np.full((number, size), -1)
    rows_, columns_ = np.nonzero(curved_number >= 0)
    place_of[rows_, order[rows_, columns_]] = columns_
    target = place_of[block, column]
    bends = target >= 0
    bent[block[bends], target[bends], within[bends], slot[bends]] = half[inside][bends]
    return BlockClass(
        # On the device once, not at every call.
        bins=jnp.asarray(part.bins),
        which=jnp.asarray(part.which),
        average=jnp.asarray(matrix),
        half=jnp.asarray(bent),
        curved=jnp.asarray(
            np.where(curved_number >= 0, curved_number, curved.size), np.int32
        ),
        column=jnp.asarray(np.where(curved_number >= 0, order, size), np.int32),
    )
