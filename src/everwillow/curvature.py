"""Second derivatives of an objective, dense or structured.

A curvature is the symmetric matrix of second derivatives of an objective in its flat
parameter vector, in one of three forms: a `Dense` matrix, an `Arrow` (a dense block and
many parameters that only couple to it), or an `Operator` that can only be multiplied.
Solvers use the methods of `AbstractCurvature` only. `gather_transpose` and
`block_diagonal` convert curvatures to other vectors: of fewer parameters, and of
several likelihoods.
"""

import abc
from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from everwillow._errors import ArgumentTypeError
from everwillow._lazy_names import own_names
from everwillow._numerics import Factor, factorise


# Number of products with an operator that are computed together.
AT_ONCE = 16


class AbstractFactor(eqx.Module):
    """A factorised curvature."""

    smallest_pivot: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def solve(self, rhs: Float[Array, " n"]) -> Float[Array, " n"]:
        """Return the solution y of ``curvature @ y = rhs``."""


class AbstractCurvature(eqx.Module):
    """A symmetric matrix of second derivatives in the flat parameter vector."""

    @abc.abstractmethod
    def matvec(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """Multiply with a vector."""

    @abc.abstractmethod
    def diagonal(self) -> Float[Array, " n"]:
        """Return the diagonal."""

    @abc.abstractmethod
    def scaled(self, scale: Float[Array, " n"]) -> Self:
        """Return ``diag(scale) @ self @ diag(scale)``."""

    @abc.abstractmethod
    def plus_diagonal(self, values: Float[Array, " n"]) -> Self:
        """Return ``self + diag(values)``."""

    @abc.abstractmethod
    def masked(self, keep: Bool[Array, " n"]) -> Self:
        """Replace the rows and columns that are not kept by those of the identity."""

    @abc.abstractmethod
    def factor(self, *, lanes: bool = False) -> "AbstractFactor":
        """Factorise by Cholesky, without raising; ``lanes``: as one of many at once."""

    @abc.abstractmethod
    def as_matrix(self) -> Float[Array, "n n"]:
        """Write all entries out, shape ``(n, n)``."""


class Dense(AbstractCurvature):
    """A curvature with all its entries.

    Attributes:
        matrix: The symmetric matrix of second derivatives, shape ``(n, n)``.
    """

    matrix: Float[Array, "n n"]

    def matvec(self, vector):
        """Multiply with a vector."""
        return self.matrix @ vector

    def diagonal(self):
        """Return the diagonal."""
        return jnp.diagonal(self.matrix)

    def scaled(self, scale):
        """Return ``diag(scale) @ self @ diag(scale)``."""
        return Dense(scale[:, None] * self.matrix * scale[None, :])

    def plus_diagonal(self, values):
        """Return ``self + diag(values)``."""
        return Dense(self.matrix + jnp.diag(values))

    def masked(self, keep):
        """Replace the rows and columns that are not kept by those of the identity."""
        both = keep[:, None] & keep[None, :]
        eye = jnp.eye(keep.shape[0], dtype=self.matrix.dtype)
        return Dense(jnp.where(both, self.matrix, eye))

    def as_matrix(self):
        """Write all entries out, shape ``(n, n)``."""
        return self.matrix

    def factor(self, *, lanes: bool = False) -> "DenseFactor":
        """Factorise by Cholesky."""
        factor = factorise(self.matrix, lanes=lanes)
        return DenseFactor(factor.smallest_pivot, factor)


class DenseFactor(AbstractFactor):
    """A factorised `Dense`."""

    smallest_pivot: Float[Array, ""]
    cholesky: Factor

    def solve(self, rhs):
        """Return the solution y of ``curvature @ y = rhs``."""
        return self.cholesky.solve(rhs)


class Arrow(AbstractCurvature):
    """A dense block, and parameters that couple to it but not to each other.

    With the dense parameters first the matrix is ``[[A, B], [Bᵀ, diag(d)]]``. Bin-wise
    factors of a binned likelihood (gammas) have this form. Solving costs a Cholesky
    factorisation of the block alone, by a Schur complement.

    Attributes:
        block: A, shape ``(a, a)``.
        coupling: B, shape ``(a, b)``.
        tail: d, shape ``(b,)``.
        block_index: Places of the dense parameters in the flat vector, shape ``(a,)``;
            in NumPy, as combinations need the numbers while tracing.
        tail_index: Places of the others, shape ``(b,)``, in NumPy too.
    """

    block: Float[Array, "a a"]
    coupling: Float[Array, "a b"]
    tail: Float[Array, " b"]
    block_index: Int[Array | np.ndarray, " a"]
    tail_index: Int[Array | np.ndarray, " b"]

    def _join(self, block, tail):
        out = jnp.zeros(block.shape[0] + tail.shape[0], tail.dtype)
        return out.at[self.block_index].set(block).at[self.tail_index].set(tail)

    def _with(self, block, coupling, tail):
        return Arrow(block, coupling, tail, self.block_index, self.tail_index)

    def matvec(self, vector):
        """Multiply with a vector."""
        top, low = vector[self.block_index], vector[self.tail_index]
        return self._join(
            self.block @ top + self.coupling @ low,
            top @ self.coupling + self.tail * low,
        )

    def diagonal(self):
        """Return the diagonal."""
        return self._join(jnp.diagonal(self.block), self.tail)

    def scaled(self, scale):
        """Return ``diag(scale) @ self @ diag(scale)``."""
        top, low = scale[self.block_index], scale[self.tail_index]
        return self._with(
            top[:, None] * self.block * top[None, :],
            top[:, None] * self.coupling * low[None, :],
            low * self.tail * low,
        )

    def plus_diagonal(self, values):
        """Return ``self + diag(values)``."""
        top, low = values[self.block_index], values[self.tail_index]
        return self._with(self.block + jnp.diag(top), self.coupling, self.tail + low)

    def masked(self, keep):
        """Replace the rows and columns that are not kept by those of the identity."""
        top, low = keep[self.block_index], keep[self.tail_index]
        return self._with(
            Dense(self.block).masked(top).matrix,
            jnp.where(top[:, None] & low[None, :], self.coupling, 0),
            jnp.where(low, self.tail, 1),
        )

    def as_matrix(self):
        """Write all entries out, shape ``(n, n)``."""
        size = self.block.shape[0] + self.tail.shape[0]
        top, low = self.block_index, self.tail_index
        out = jnp.zeros((size, size), self.block.dtype)
        out = out.at[top[:, None], top[None, :]].set(self.block)
        out = out.at[top[:, None], low[None, :]].set(self.coupling)
        out = out.at[low[:, None], top[None, :]].set(self.coupling.T)
        return out.at[low, low].set(self.tail)

    def factor(self, *, lanes: bool = False) -> "ArrowFactor":
        """Factorise by Cholesky of the Schur complement of the tail."""
        weighted = self.coupling / self.tail[None, :]
        schur = factorise(self.block - weighted @ self.coupling.T, lanes=lanes)
        # The Schur complement is what elimination leaves of the block.
        schur_diagonal = jnp.diagonal(self.block - weighted @ self.coupling.T)
        pivots = schur.smallest_pivot * jnp.min(
            schur_diagonal / jnp.abs(jnp.diagonal(self.block)), initial=1
        )
        smallest = jnp.where(jnp.all(self.tail > 0), pivots, -1.0)
        return ArrowFactor(smallest, schur, weighted, self)


class ArrowFactor(AbstractFactor):
    """A factorised `Arrow`."""

    smallest_pivot: Float[Array, ""]
    schur: Factor
    weighted: Float[Array, "a b"]
    arrow: Arrow

    def solve(self, rhs):
        """Return the solution y of ``curvature @ y = rhs``."""
        arrow = self.arrow
        top, low = rhs[arrow.block_index], rhs[arrow.tail_index]
        head = self.schur.solve(top - self.weighted @ low)
        return arrow._join(head, low / arrow.tail - head @ self.weighted)


class Operator(AbstractCurvature):
    """A curvature that can only be multiplied with vectors.

    Attributes:
        product: Maps a vector ``(n,)`` to ``curvature @ vector``.
        preconditioner: Approximate diagonal, shape ``(n,)``, positive; it only affects
            the speed of the conjugate gradients of `NewtonCG`.
        entries: Returns the matrix if that is cheaper than by products, else None.
    """

    product: Callable[[Array], Array]
    preconditioner: Float[Array, " n"]
    entries: Callable[[], Float[Array, "n n"]] | None = None

    def matvec(self, vector):
        """Multiply with a vector."""
        return self.product(vector)

    def diagonal(self):
        """Return the approximate diagonal."""
        return self.preconditioner

    def scaled(self, scale):
        """Return ``diag(scale) @ self @ diag(scale)``."""
        return Operator(
            lambda v: scale * self.product(scale * v),
            scale**2 * self.preconditioner,
            self._of_entries(lambda dense: dense.scaled(scale)),
        )

    def plus_diagonal(self, values):
        """Return ``self + diag(values)``."""
        return Operator(
            lambda v: self.product(v) + values * v,
            self.preconditioner + values,
            self._of_entries(lambda dense: dense.plus_diagonal(values)),
        )

    def masked(self, keep):
        """Replace the rows and columns that are not kept by those of the identity."""
        return Operator(
            lambda v: jnp.where(keep, self.product(jnp.where(keep, v, 0)), v),
            jnp.where(keep, self.preconditioner, 1),
            self._of_entries(lambda dense: dense.masked(keep)),
        )

    def _of_entries(self, change: Callable[[Dense], AbstractCurvature]):
        """Return the `entries` of this curvature after a change of it."""
        entries = self.entries
        return None if entries is None else lambda: change(Dense(entries())).as_matrix()

    def factor(self, *, lanes: bool = False):
        """Refuse: an operator has no entries to factorise."""
        del lanes
        raise ArgumentTypeError(
            "The curvature of this objective is an Operator, which can be multiplied "
            "but not factorised. Use the matrix-free solver: solver=NewtonCG()."
        )

    def as_matrix(self):
        """Write all entries out, shape ``(n, n)``, by few products at a time."""
        if self.entries is not None:
            return self.entries()
        eye = jnp.eye(self.preconditioner.shape[0], dtype=self.preconditioner.dtype)
        return jax.lax.map(self.product, eye, batch_size=AT_ONCE)


def gather_transpose(
    curvature: AbstractCurvature, index: np.ndarray, size: int
) -> AbstractCurvature:
    """Return a curvature in the short vector, where ``long = short[index]``.

    Where several entries of the long vector are one parameter, their second
    derivatives add. An `Arrow` stays an Arrow: a tail parameter that appears more than
    once moves to the block.

    Args:
        curvature: The curvature in the long vector.
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
    staying = np.nonzero(stays)[0]
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
    b = jnp.zeros((new_block.size, staying.size), arrow.block.dtype)
    b = b.at[rows].add(arrow.coupling[:, staying])
    # Parameters that are not in the long vector have no curvature.
    unused = np.setdiff1d(np.arange(size), index)
    return Arrow(
        a,
        jnp.pad(b, ((0, 0), (0, unused.size))),
        jnp.pad(arrow.tail[staying], (0, unused.size)),
        new_block,
        np.concatenate([tail[staying], unused]),
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
            # Without entries if one of the blocks has products only.
            None
            if any(isinstance(b, Operator) and b.entries is None for b in blocks)
            else lambda: jsp.linalg.block_diag(*[b.as_matrix() for b in blocks]),
        )
    arrows = [
        b if isinstance(b, Arrow) else _dense_as_arrow(b.as_matrix()) for b in blocks
    ]
    shifted = list(zip(arrows, starts[:-1], strict=True))
    joined = Arrow(
        jsp.linalg.block_diag(*[a.block for a in arrows]),
        jsp.linalg.block_diag(*[a.coupling for a in arrows]),
        jnp.concatenate([a.tail for a in arrows]),
        np.concatenate([_concrete(a.block_index) + s for a, s in shifted]),
        np.concatenate([_concrete(a.tail_index) + s for a, s in shifted]),
    )
    if all(isinstance(b, Dense) for b in blocks):
        return Dense(joined.block)
    return joined


def _dense_as_arrow(matrix: Float[Array, "n n"]) -> Arrow:
    size = matrix.shape[0]
    none = np.zeros(0, int)
    zero = jnp.zeros((size, 0), matrix.dtype)
    return Arrow(matrix, zero, jnp.zeros(0, matrix.dtype), np.arange(size), none)


__dir__ = own_names(globals())
