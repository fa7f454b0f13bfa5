"""The arrays that a binned likelihood is packed into.

Every channel is cut into *tiles* of equally many bins, padded at the end; a *row* is
one sample in one tile, a *block* one sample in one channel. Effects are lists sorted by
the row or block that they act on, so that memory is proportional to the number of
effects. There are no names here.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from everwillow.likelihood.interpolation import Bend, NormFactors


class Places(eqx.Module):
    """The places of parameters; concrete, since programs are compiled for them.

    Compared by content, so that models of one structure share a compiled program.

    Attributes:
        size: Number of parameters.
        dense: Parameters with a column of the dense block, ascending; shape ``(a,)``.
            They may act on anything.
        tail: Parameters that each scale a single bin, ascending; shape ``(t,)``. They
            have no columns, unless they are so few that all parameters are dense.
        derived: For each derived number the places of its inputs (parameters, then
            earlier derived ones) and its function.
        whole_bins: Whether every tail parameter scales all samples of its bin.
    """

    size: int = eqx.field(static=True)
    dense_bytes: bytes = eqx.field(static=True)
    tail_bytes: bytes = eqx.field(static=True)
    derived: tuple[tuple[tuple[int, ...], Callable[..., Any]], ...] = eqx.field(
        static=True
    )
    whole_bins: bool = eqx.field(static=True)

    @property
    def dense(self) -> np.ndarray:
        """Places of the dense parameters."""
        return np.frombuffer(self.dense_bytes, np.int32)

    @property
    def tail(self) -> np.ndarray:
        """Places of the tail parameters."""
        return np.frombuffer(self.tail_bytes, np.int32)

    @property
    def tail_in_block(self) -> bool:
        """Whether the tail parameters have columns of the dense block."""
        return self.tail.size > 0 and self.dense.size == self.size

    @property
    def inputs(self) -> np.ndarray:
        """Places of the parameters that something is derived from, ascending."""
        places = {i for inputs, _ in self.derived for i in inputs if i < self.size}
        return np.array(sorted(places), np.int32)


class Packed(eqx.Module):
    """A binned likelihood in arrays.

    With B bins in T tiles of b, R rows, K blocks, a dense columns (dense parameters,
    then derived numbers) and t tail parameters. Parameter places count the parameters,
    then the derived numbers, then a constant 1.

    Attributes:
        places: The static part.
        bin_place: The place of each bin in the flattened tiles, ``(B,)``.
        nominal: Nominal yields, ``(R, b)``.
        row_tile: The tile of each row, ascending.
        row_block: The block of each row.
        tile_rows: The rows of each tile, padded with R, ``(T, samples)``.
        tail_slot: The tail parameter of each bin, t where there is none, ``(T, b)``.
        tail_place: The place of the bin of each tail parameter there, ``(t,)``.
        carries: Which rows follow the tail parameter, ``(R, b)``.
        scale_place: Parameters that scale each block, padded with that of the constant
            1, ``(K, m)``.
        scale_column: Their dense columns; out of range for padding.
        norm_block: The block of each normalisation effect, ascending.
        norm_place: Its parameter.
        norm_column: Its dense column.
        norms: Its factor.
        shape_row: The row of each shape effect, ascending.
        shape_bend: Which of the bends it follows.
        shape_column: The dense column of its parameter.
        slope: Half the difference of its templates, ``(X, b)``.
        curve: Their mean less the nominal one, ``(X, b)``.
        bend_place: The parameter of each bend.
        bends: One for each pair of a parameter and a code.
    """

    places: Places
    bin_place: Int[Array, " B"]
    nominal: Float[Array, "R b"]
    row_tile: Int[Array, " R"]
    row_block: Int[Array, " R"]
    tile_rows: Int[Array, "T s"]
    tail_slot: Int[Array, "T b"]
    tail_place: Int[Array, " t"]
    carries: Bool[Array, "R b"]
    scale_place: Int[Array, "K m"]
    scale_column: Int[Array, "K m"]
    norm_block: Int[Array, " E"]
    norm_place: Int[Array, " E"]
    norm_column: Int[Array, " E"]
    norms: NormFactors
    shape_row: Int[Array, " X"]
    shape_bend: Int[Array, " X"]
    shape_column: Int[Array, " X"]
    slope: Float[Array, "X b"]
    curve: Float[Array, "X b"]
    bend_place: Int[Array, " J"]
    bends: Bend
