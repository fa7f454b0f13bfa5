"""Responses stored as a list of the nonzero ones, for very many systematics.

The list is stored twice, sorted by row and by systematic. Each is cut into pieces of
equally many entries of one row or systematic: a piece is summed without scattering, and
only its sum is scattered.
"""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow.likelihood.templates.arrays import Rows, asymmetric, entries
from everwillow.likelihood.templates.partition import Blocks, best_partition
from everwillow.likelihood.templates.responses import (
    AbstractResponses,
    LocalHessian,
    mirrored,
    scatter_blocks,
    smooth_absolute,
)
from everwillow.likelihood.templates.spec import Responses


# Longest piece; the padding of the last piece of each row is wasted.
_LONGEST = 32


@final
class Pieces(eqx.Module):
    """A sparse matrix of which each row is cut into pieces of equal length.

    Attributes:
        rows: Number of its rows.
        columns: Number of its columns.
        row: The row of each piece, ascending.
        column: The columns of its entries, padded with `columns`.
        value: Its entries, padded with 0.
    """

    rows: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)
    row: Int[Array, " pieces"]
    column: Int[Array, "pieces length"]
    value: Float[Array, "pieces length"]

    @classmethod
    def of(
        cls,
        row: Int[np.ndarray, " entries"],
        column: Int[np.ndarray, " entries"],
        value: Float[np.ndarray, " entries"],
        shape: tuple[int, int],
    ) -> "Pieces":
        """Cut a list of entries."""
        order = np.argsort(row, kind="stable")
        row, column, value = row[order], column[order], value[order]
        counts = np.bincount(row, minlength=shape[0])
        used = np.count_nonzero(counts)
        length = int(np.clip(row.size // max(1, 4 * used), 1, _LONGEST))
        pieces = -(-counts // length)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        start = np.concatenate([[0], np.cumsum(pieces)[:-1]])
        within = np.arange(row.size) - first[row]
        place = (start[row] + within // length) * length + within % length
        total = int(pieces.sum())
        columns = np.full(total * length, shape[1], np.int32)
        columns[place] = column
        values = np.zeros(total * length)
        values[place] = value
        return cls(
            *shape,
            # On the device once, not at every call.
            jnp.asarray(np.repeat(np.arange(shape[0], dtype=np.int32), pieces)),
            jnp.asarray(columns.reshape(total, length)),
            jnp.asarray(values.reshape(total, length)),
        )

    def __matmul__(self, vector: Float[Array, " columns"]) -> Float[Array, " rows"]:
        """Multiply with a vector."""
        return self._summed(self.value, vector)

    def first(self, row: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Return the first piece that belongs to a row or to one after it."""
        return np.searchsorted(np.asarray(self.row), row)

    def piece(self, number: Int[Array, " n"]) -> tuple[Array, Array, Array]:
        """Return rows, columns and entries of pieces, padded after the last one."""
        take = {"mode": "fill", "fill_value": self.rows}
        row = self.row.at[number].get(**take)
        column = self.column.at[number].get(mode="fill", fill_value=self.columns)
        return row, column, self.value.at[number].get(mode="fill", fill_value=0)

    def squares(self, vector: Float[Array, " columns"]) -> Float[Array, " rows"]:
        """Multiply with a vector, each entry squared."""
        return self._summed(jnp.square(self.value), vector)

    def _summed(self, value: Array, vector: Array) -> Array:
        parts = jnp.sum(value * jnp.append(vector, 0)[self.column], 1)
        return jax.ops.segment_sum(parts, self.row, self.rows, indices_are_sorted=True)


class Chunks(eqx.Module):
    """Blocks of bins, all of one size, whose Hessians are added.

    Attributes:
        bins: The bins of each, padded with the number of all bins.
        which: The systematics of each, padded with the number of all.
        first: The first piece of each among those of all responses.
        first_half: The first piece of each among those of the asymmetric parts.
        pieces: The largest number of pieces of a block.
        half_pieces: The same for the asymmetric parts.
    """

    bins: Int[Array, "blocks bins"]
    which: Int[Array, "blocks k"]
    first: Int[Array, " blocks"]
    first_half: Int[Array, " blocks"]
    pieces: int = eqx.field(static=True)
    half_pieces: int = eqx.field(static=True)


@final
class ListedResponses(AbstractResponses):
    """Responses in lists.

    Attributes:
        average: By row: mean of the responses up and down.
        average_back: The same by systematic.
        half: By row: half their difference, of the asymmetric systematics.
        half_back: The same by systematic.
        chunks: Blocks of bins of which a Hessian is the sum.
        slots: Slots of a bin.
    """

    average: Pieces
    average_back: Pieces
    half: Pieces
    half_back: Pieces
    chunks: tuple[Chunks, ...]
    slots: int = eqx.field(static=True)
    curved_bytes: bytes = eqx.field(static=True)

    def apply(self, linear: Array, curved: Array) -> Float[Array, "bins slots"]:
        """Return ``average @ linear + half @ curved``."""
        responses = self.average @ linear
        if self.curved.size:
            responses = responses + self.half @ curved
        return responses.reshape(-1, self.slots)

    def apply_transposed(self, rows: Float[Array, "bins slots"]) -> tuple[Array, Array]:
        """Return the rows summed with ``average`` and with ``half`` as weights."""
        flat = rows.ravel()
        bent = self.half_back @ flat if self.curved.size else jnp.zeros(0, flat.dtype)
        return self.average_back @ flat, bent

    def squared(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the squared derivatives of the responses, summed over rows.

        Mixed terms of the two parts of asymmetric ones are left out, as the sum is only
        used as a preconditioner.
        """
        sums = self.average_back.squares(rows.ravel())
        if not self.curved.size:
            return sums
        slope = smooth_absolute(theta[self.curved])[1]
        extra = slope**2 * self.half_back.squares(rows.ravel())
        return sums.at[self.curved].add(extra)

    def over_blocks(self, theta: Array, local: LocalHessian, extra: int) -> Any:
        """Return matrices that are sums over bins, made a few bins at a time."""
        slope = smooth_absolute(theta[self.curved])[1]
        matrices = None
        for part in self.chunks:
            matrices = scatter_blocks(
                (part.bins, part.which, part.first, part.first_half),
                lambda block, part=part: local(
                    self._columns(block, part, slope), block[0]
                ),
                part.which,
                (self.average.columns, extra),
                matrices,
            )
        return mirrored(matrices)

    def _columns(
        self, block: tuple[Array, ...], part: Chunks, slope: Array
    ) -> Float[Array, "k bins slots"]:
        """Return the derivatives of the responses of one block, as a matrix."""
        bins, which, first, first_half = block
        count, (size,) = self.average.columns, which.shape
        # The column of each systematic in the block. Padding of pieces has the value 0.
        column = jnp.full(count + 1, size, which.dtype)
        column = column.at[which].set(jnp.arange(size, dtype=which.dtype))
        origin, shape = bins[0] * self.slots, (bins.shape[0], self.slots)
        out = jnp.zeros((size, shape[0] * shape[1]), slope.dtype)
        row, number, value = self.average.piece(_from(first, part.pieces))
        out = out.at[column[number], row[:, None] - origin].add(value, mode="drop")
        if self.curved.size:
            pieces = _from(first_half, part.half_pieces)
            row, number, value = self.half.piece(pieces)
            value = value * jnp.append(slope, 0)[number]
            curved = jnp.asarray(np.append(self.curved, np.int32(count)))
            number = column[curved[number]]
            out = out.at[number, row[:, None] - origin].add(value, mode="drop")
        return out.reshape(size, *shape)


def _from(first: Int[Array, ""], count: int) -> Int[Array, " count"]:
    return first + jnp.arange(count, dtype=first.dtype)


def pack_lists(responses: Responses, rows: Rows) -> ListedResponses:
    """Put the responses of some bins into lists."""
    place, systematic, mean, half = entries(responses, rows)
    curved = asymmetric(responses)
    size = (rows.bins.stop - rows.bins.start) * rows.slots
    count = responses.count
    column = np.full(count, -1)
    column[curved] = np.arange(curved.size)
    bent = half != 0
    lists = (
        (place, systematic, mean, count),
        (place[bent], column[systematic[bent]], half[bent], curved.size),
    )
    (average, average_back), (bent_half, half_back) = (
        (
            Pieces.of(row, number, value, (size, columns)),
            Pieces.of(number, row, value, (columns, size)),
        )
        for row, number, value, columns in lists
    )
    partition = best_partition(
        place // rows.slots,
        systematic,
        np.array([0, rows.bins.stop - rows.bins.start]),
        count=count,
        slots=rows.slots,
        as_one_channel=True,
    )
    return ListedResponses(
        average=average,
        average_back=average_back,
        half=bent_half,
        half_back=half_back,
        chunks=tuple(
            _chunks(part, average, bent_half, rows.slots) for part in partition.classes
        ),
        slots=rows.slots,
        curved_bytes=curved.tobytes(),
    )


def _chunks(part: Blocks, average: Pieces, half: Pieces, slots: int) -> Chunks:
    """Find the pieces of blocks of bins, each of which is a run of bins."""
    begin = part.bins[:, 0].astype(np.int64) * slots
    end = begin + part.bins.shape[1] * slots
    first, first_half = average.first(begin), half.first(begin)
    return Chunks(
        bins=jnp.asarray(part.bins),
        which=jnp.asarray(part.which),
        first=jnp.asarray(first, np.int32),
        first_half=jnp.asarray(first_half, np.int32),
        pieces=int((average.first(end) - first).max()),
        half_pieces=int((half.first(end) - first_half).max()),
    )
