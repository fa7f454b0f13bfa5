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


# Blocks are taken if their Hessian costs at most this share of that of one matrix.
_SHARE = 0.5
# Below a millisecond nothing is to be gained, and blocks take longer to compile.
_SMALL = 1e6


class BlockClass(eqx.Module):
    """Blocks of one size, filled up with what does not exist.

    Attributes:
        bins: The bins of each; the number of all bins where filled up.
        which: The systematics of each; the number of all where filled up.
        average: Means of the responses up and down.
        half: Half their differences, of the asymmetric systematics.
        curved: Which asymmetric ones these are, the number of all where filled up.
        column: Which of its systematics, out of range where filled up.
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
            found = _weighted(_taken(linear, part.which), part.average)
            if self.curved.size:
                found = found + _weighted(_taken(curved, part.curved), part.half)
            out = out.at[part.bins].set(found, mode="drop")
        return out

    def apply_transposed(self, rows: Float[Array, "bins slots"]) -> tuple[Array, Array]:
        """Return the rows summed with ``average`` and with ``half`` as weights."""
        straight = jnp.zeros(self.shape[0], rows.dtype)
        bent = jnp.zeros(self.curved.size, rows.dtype)
        for part in self.classes:
            own = _taken(rows, part.bins)
            straight = straight.at[part.which].add(
                _summed(part.average, own), mode="drop"
            )
            if self.curved.size:
                bent = bent.at[part.curved].add(_summed(part.half, own), mode="drop")
        return straight, bent

    def squared(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the squared derivatives of the responses, summed over rows."""
        slope = smooth_absolute(theta[self.curved])[1]
        out = jnp.zeros(self.shape[0], rows.dtype)
        for part in self.classes:
            own = _taken(rows, part.bins)

            def one(block, slope=slope):
                part, own = block
                return jnp.tensordot(self._columns(part, slope) ** 2, own, 2)

            out = out.at[part.which].add(jax.lax.map(one, (part, own)), mode="drop")
        return out

    def over_blocks(self, theta: Array, local: LocalHessian, extra: int) -> Any:
        """Return matrices that are sums over bins, made block by block."""
        slope = smooth_absolute(theta[self.curved])[1]
        found = None
        for part in self.classes:
            found = scatter_blocks(
                part,
                lambda block: local(self._columns(block, slope), block.bins),
                part.which,
                (self.shape[0], extra),
                found,
            )
        return mirrored(found)

    def _columns(self, block: BlockClass, slope: Array) -> Float[Array, "k bins slots"]:
        """Return the derivatives of the responses of a single block."""
        if not self.curved.size:
            return block.average
        bent = _taken(slope, block.curved)[:, None, None] * block.half
        return block.average.at[block.column].add(bent, mode="drop")


def _taken(values: Array, where: Array) -> Array:
    """Return values at places, 0 for those that do not exist."""
    return values.at[where].get(mode="fill", fill_value=0)


def _weighted(weights: Array, matrices: Array) -> Float[Array, "blocks bins slots"]:
    return jnp.einsum("ck,ckbs->cbs", weights, matrices)


def _summed(matrices: Array, rows: Array) -> Float[Array, "blocks k"]:
    return jnp.einsum("ckbs,cbs->ck", matrices, rows)


def pack_best(
    responses: Responses, rows: Rows, edges: Int[np.ndarray, " channels+1"]
) -> DenseResponses | BlockResponses:
    """Write the responses of some bins out, in blocks where these cost less.

    Blocks are whole channels, or channels cut into runs of 256, 64, 16, 4 or 1 bins,
    whichever of these makes the Hessian cheapest. They are taken if it then costs at
    most half of what it costs in one matrix, where that is more than a millisecond,
    and if they take no more memory.

    Args:
        responses: Of all systematics.
        rows: Where the rows are among the slots.
        edges: Where channels start, counted from the first of these bins, and the
            number of bins.
    """
    count, bins = responses.count, int(edges[-1])
    whole = work(count, bins, rows.slots)
    here = np.count_nonzero(rows.mine[responses.row])
    # Blocks of equally many bins would cost at least the square of the density.
    full = here**2 > _SHARE * (count * np.count_nonzero(rows.mine)) ** 2
    if full or whole < _SMALL:
        return pack_dense(responses, rows)
    place, systematic, _, _ = entries(responses, rows)
    found = best_partition(
        place // rows.slots, systematic, edges, count=count, slots=rows.slots
    )
    if found.work > _SHARE * whole or found.stored > count * bins:
        return pack_dense(responses, rows)
    return pack_blocks(responses, rows, found)


def pack_blocks(
    responses: Responses, rows: Rows, partition: Partition
) -> BlockResponses:
    """Write the responses of some bins out in blocks."""
    given = entries(responses, rows)
    curved = asymmetric(responses)
    count = responses.count
    bins = rows.bins.stop - rows.bins.start
    return BlockResponses(
        classes=tuple(
            _class(part, given, curved, (count, bins, rows.slots))
            for part in partition.classes
        ),
        shape=(count, bins, rows.slots),
        curved_bytes=curved.tobytes(),
    )


def _class(
    part: Blocks,
    given: tuple[np.ndarray, ...],
    curved: np.ndarray,
    shape: tuple[int, int, int],
) -> BlockClass:
    """Put entries into the blocks of one size."""
    place, systematic, average, half = given
    count, bins, slots = shape
    number, size = part.which.shape
    # For each bin its block, and its place there.
    block, within = np.full(bins, -1), np.zeros(bins, int)
    real = part.bins < bins
    block[part.bins[real]], within[part.bins[real]] = np.nonzero(real)
    bin_, slot = np.divmod(place, slots)
    here = block[bin_] >= 0
    block, within = block[bin_[here]], within[bin_[here]]
    systematic, slot = systematic[here], slot[here]
    # The pairs of block and systematic are in ascending order.
    known = part.which + (count + 1) * np.arange(number)[:, None]
    column = np.searchsorted(known.ravel(), systematic + (count + 1) * block)
    column -= size * block
    matrix = np.zeros((number, size, part.bins.shape[1], slots))
    matrix[block, column, within, slot] = average[here]
    # The asymmetric ones among the systematics of each block.
    asymmetric_ = np.full(count + 1, -1)
    asymmetric_[curved] = np.arange(curved.size)
    turned = asymmetric_[part.which]
    most = int((turned >= 0).sum(1).max())
    order = np.argsort(turned < 0, axis=1, kind="stable")[:, :most]
    turned = np.take_along_axis(turned, order, 1)
    bent = np.zeros((number, most, *matrix.shape[2:]))
    back = np.full((number, size), -1)
    rows_, columns_ = np.nonzero(turned >= 0)
    back[rows_, order[rows_, columns_]] = columns_
    to = back[block, column]
    has = to >= 0
    bent[block[has], to[has], within[has], slot[has]] = half[here][has]
    return BlockClass(
        # On the device once, not at every call.
        bins=jnp.asarray(part.bins),
        which=jnp.asarray(part.which),
        average=jnp.asarray(matrix),
        half=jnp.asarray(bent),
        curved=jnp.asarray(np.where(turned >= 0, turned, curved.size), np.int32),
        column=jnp.asarray(np.where(turned >= 0, order, size), np.int32),
    )
