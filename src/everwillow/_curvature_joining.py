"""Curvatures in other vectors: of fewer parameters, and of several likelihoods."""

from typing import Any

import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError
from everwillow.curvature import AbstractCurvature, Arrow, Dense, Operator


def gather_transpose(
    curvature: AbstractCurvature, index: np.ndarray, size: int
) -> AbstractCurvature:
    """Carry a curvature back through ``long = short[index]``.

    Where several entries of the long vector are one parameter, their second
    derivatives add. An `Arrow` stays an Arrow: a tail parameter that appears more than
    once moves to the block.

    Args:
        curvature: In the long vector.
        index: For each entry of the long vector, its place in the short one;
            concrete integers.
        size: Length of the short vector.
    """
    if np.array_equal(index, np.arange(size)):
        return curvature
    if isinstance(curvature, Dense):
        matrix = jnp.zeros((size, size), curvature.matrix.dtype)
        spread = matrix.at[index[:, None], index[None, :]].add(curvature.matrix)
        return Dense(spread)
    if isinstance(curvature, Arrow):
        return _gather_arrow(curvature, index, size)
    assert isinstance(curvature, Operator)
    return Operator(
        lambda v: jnp.zeros_like(v).at[index].add(curvature.matvec(v[index])),
        jnp.zeros(size, curvature.diagonal().dtype).at[index].add(curvature.diagonal()),
        curvature._of_entries(lambda dense: gather_transpose(dense, index, size)),
    )


def _concrete(index: Any) -> np.ndarray:
    if isinstance(index, Tracer):
        raise ArgumentTypeError(
            "Arrow: block_index and tail_index must be concrete where models are "
            "combined, and are traced. Write them with numpy, not with jax.numpy."
        )
    return np.asarray(index)


def _gather_arrow(arrow: Arrow, index: np.ndarray, size: int) -> Arrow:
    block = index[_concrete(arrow.block_index)]
    tail = index[_concrete(arrow.tail_index)]
    uses = np.bincount(tail, minlength=size)
    in_block = np.zeros(size, bool)
    in_block[block] = True
    stays = (uses[tail] == 1) & ~in_block[tail]
    in_block[tail[~stays]] = True
    (new_block,) = np.nonzero(in_block)
    place = np.full(size, -1)
    place[new_block] = np.arange(new_block.size)
    kept = np.nonzero(stays)[0]
    moved = np.nonzero(~stays)[0]
    rows = place[block]
    a = jnp.zeros((new_block.size, new_block.size), arrow.block.dtype)
    a = a.at[rows[:, None], rows[None, :]].add(arrow.block)
    if moved.size:
        columns = place[tail[moved]]
        part = arrow.coupling[:, moved]
        a = a.at[rows[:, None], columns[None, :]].add(part)
        a = a.at[columns[:, None], rows[None, :]].add(part.T)
        a = a.at[columns, columns].add(arrow.tail[moved])
    b = jnp.zeros((new_block.size, kept.size), arrow.block.dtype)
    b = b.at[rows].add(arrow.coupling[:, kept])
    # What is nobody's has no curvature.
    nobody = np.setdiff1d(np.arange(size), index)
    return Arrow(
        a,
        jnp.pad(b, ((0, 0), (0, nobody.size))),
        jnp.pad(arrow.tail[kept], (0, nobody.size)),
        new_block,
        np.concatenate([tail[kept], nobody]),
    )


def block_diagonal(blocks: list[AbstractCurvature]) -> AbstractCurvature:
    """Put curvatures of separate parameters side by side, in this order.

    The result is `Dense` if all are, an `Operator` if one of them is, else an `Arrow`.
    """
    sizes = [b.diagonal().shape[0] for b in blocks]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    if any(isinstance(b, Operator) for b in blocks):
        cuts = starts[1:-1].tolist()
        return Operator(
            lambda v: jnp.concatenate(
                [b.matvec(p) for b, p in zip(blocks, jnp.split(v, cuts), strict=True)]
            ),
            jnp.concatenate([b.diagonal() for b in blocks]),
            # One that has products only has no entries.
            None
            if any(isinstance(b, Operator) and b.entries is None for b in blocks)
            else lambda: jsp.linalg.block_diag(*[b.as_matrix() for b in blocks]),
        )
    arrows = [
        b if isinstance(b, Arrow) else _dense_as_arrow(b.as_matrix()) for b in blocks
    ]
    joined = Arrow(
        jsp.linalg.block_diag(*[a.block for a in arrows]),
        jsp.linalg.block_diag(*[a.coupling for a in arrows]),
        jnp.concatenate([a.tail for a in arrows]),
        np.concatenate(
            [_concrete(a.block_index) + s for a, s in zip(arrows, starts, strict=False)]
        ),
        np.concatenate(
            [_concrete(a.tail_index) + s for a, s in zip(arrows, starts, strict=False)]
        ),
    )
    if all(isinstance(b, Dense) for b in blocks):
        return Dense(joined.block)
    return joined


def _dense_as_arrow(matrix: Float[Array, "n n"]) -> Arrow:
    size = matrix.shape[0]
    none = np.zeros(0, int)
    zero = jnp.zeros((size, 0), matrix.dtype)
    return Arrow(matrix, zero, jnp.zeros(0, matrix.dtype), np.arange(size), none)
