"""NumPy or JAX; small dense linear algebra and exact second derivatives.

Everything here is pure, works under every JAX transformation and never raises: a
factorisation that fails has a `smallest_pivot` that is not positive.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float


# Up to this size a loop is as fast as a call of LAPACK, is faster in batches, and saves
# the 0.3 s of loading LAPACK at its first use.
SMALL = 16
# In a large batch the loop passes over memory more often than LAPACK does.
SMALL_IN_LANES = 5

# Bytes of intermediate values that one block of Hessian columns may hold at a time;
# a block that fits the second-level cache runs several times faster than all columns
# at once.
BLOCK_BYTES = 4 * 2**20

# Beyond this size of an array XLA computes several columns of element-wise operations
# on it up to 30 times slower than one after the other: it fuses them into loops that
# compute the same values again. Products of matrices have the opposite preference.
ONE_BY_ONE_BYTES = 2**16


def is_traced(*trees: Any) -> bool:
    """Return whether any leaf of the trees is a tracer."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def namespace(*trees: Any) -> Any:
    """Return the array library to compute with: `jax.numpy` if a leaf is not known.

    These are traced ones and, in trees of shapes, abstract ones. Otherwise `numpy`,
    which compiles nothing and keeps results on the host.
    """
    unknown = (Tracer, jax.ShapeDtypeStruct)
    return jnp if any(isinstance(x, unknown) for x in jax.tree.leaves(trees)) else np


class Factor(eqx.Module):
    """A Cholesky factorisation of a symmetric matrix that may not be definite.

    Attributes:
        lower: The lower triangle L, or its inverse for small matrices.
        smallest_pivot: Smallest of the squared diagonal entries of L over the
            diagonal entries of the matrix, at most 1; NaN or not positive where the
            matrix is not positive definite.
        inverted: Whether `lower` holds the inverse of L.
    """

    lower: Float[Array, "n n"]
    smallest_pivot: Float[Array, ""]
    inverted: bool = eqx.field(static=True)

    def solve(self, rhs: Float[Array, "n *k"]) -> Float[Array, "n *k"]:
        """Return the solution y of ``matrix @ y = rhs``."""
        if self.inverted:
            return self.lower.T @ (self.lower @ rhs)
        return jax.scipy.linalg.cho_solve((self.lower, True), rhs)

    def inverse(self) -> Float[Array, "n n"]:
        """Return the inverse of the matrix.

        One triangular solve and a product, which takes half as long as two solves.
        """
        half = self.lower
        if not self.inverted:
            eye = jnp.eye(half.shape[0], dtype=half.dtype)
            half = jax.scipy.linalg.solve_triangular(half, eye, lower=True)
        return half.T @ half


def factorise(matrix: Float[Array, "n n"], *, lanes: bool = False) -> Factor:
    """Factorise a symmetric matrix by Cholesky without raising.

    Args:
        matrix: The matrix; its upper triangle is not used.
        lanes: Whether this is one of many matrices in a batch.
    """
    size = matrix.shape[0]
    if size == 0:
        return Factor(matrix, jnp.ones((), matrix.dtype), inverted=True)
    if size <= (SMALL_IN_LANES if lanes else SMALL):
        inverse, pivot = _inverse_cholesky(matrix)
        return Factor(inverse, pivot, inverted=True)
    # LAPACK stores columns first: passing the transpose, the same matrix, saves a copy.
    lower = jnp.linalg.cholesky(matrix.T, symmetrize_input=False)
    pivots = jnp.diagonal(lower) ** 2 / jnp.abs(jnp.diagonal(matrix))
    return Factor(lower, jnp.min(pivots, initial=1), inverted=False)


def _inverse_cholesky(
    matrix: Float[Array, "n n"],
) -> tuple[Float[Array, "n n"], Float[Array, ""]]:
    """Return the inverse of the Cholesky factor, and the smallest relative pivot."""
    size = matrix.shape[0]
    rows = jnp.arange(size)

    def eliminate(k, carry):
        remainder, inverse, smallest = carry
        pivot = remainder[k, k]
        # `minimum` propagates NaN, so that it is not taken for a positive pivot.
        smallest = jnp.minimum(smallest, pivot / jnp.abs(matrix[k, k]))
        scale = jax.lax.rsqrt(pivot)
        column = jnp.where(rows > k, remainder[:, k] * scale, 0)
        row = inverse[k] * scale
        remainder = remainder - column[:, None] * column[None, :]
        inverse = jnp.where(
            (rows == k)[:, None], row[None, :], inverse - column[:, None] * row[None, :]
        )
        return remainder, inverse, smallest

    start = (
        matrix,
        jnp.eye(size, dtype=matrix.dtype),
        jnp.ones((), dtype=matrix.dtype),
    )
    _, inverse, smallest = jax.lax.fori_loop(0, size, eliminate, start)
    return inverse, smallest


def value_gradient_hessian(fn, x: Float[Array, " n"]):
    """Evaluate a scalar function with its gradient and exact Hessian.

    The function is traced and linearised once; the columns of the Hessian are
    Hessian-vector products, in blocks under a memory budget.

    Args:
        fn: Maps a vector to a scalar.
        x: The point of evaluation, shape ``(n,)``.

    Returns:
        The value, the gradient ``(n,)`` and the symmetric Hessian ``(n, n)``.
    """
    size = x.shape[0]
    (value, gradient), jvp_fn = jax.linearize(jax.value_and_grad(fn), x)
    if size == 0:
        return value, gradient, jnp.zeros((0, 0), x.dtype)

    def column(tangent):
        return jvp_fn(tangent)[1]

    block = _columns_per_block(jvp_fn, x)
    basis = jnp.eye(size, dtype=x.dtype)
    if block >= size:
        hessian = jax.vmap(column)(basis)
    elif block == 1:
        hessian = jax.lax.map(column, basis)
    else:
        hessian = jax.lax.map(column, basis, batch_size=block)
    return value, gradient, 0.5 * (hessian + hessian.T)


def value_gradient_diagonal(fn, x: Float[Array, " n"]):
    """Evaluate a scalar function whose Hessian is diagonal.

    Args:
        fn: Maps a vector to a scalar, a sum of functions of one element each.
        x: The point of evaluation, shape ``(n,)``.

    Returns:
        The value, the gradient ``(n,)`` and the diagonal of the Hessian ``(n,)``.
    """
    # As the Hessian is diagonal, its product with ones is its diagonal.
    (value, gradient), (_, diagonal) = jax.jvp(
        jax.value_and_grad(fn), (x,), (jnp.ones_like(x),)
    )
    return value, gradient, diagonal


def _columns_per_block(jvp_fn, x: Float[Array, " n"]) -> int:
    """Choose how many Hessian-vector products to evaluate at once."""
    jaxpr = jax.make_jaxpr(jvp_fn)(x).jaxpr
    largest = max(
        (
            math.prod(v.aval.shape) * v.aval.dtype.itemsize
            for eqn in jaxpr.eqns
            for v in eqn.outvars
            if hasattr(v.aval, "dtype") and hasattr(v.aval.dtype, "itemsize")
        ),
        default=8,
    )
    if largest > ONE_BY_ONE_BYTES and not _multiplies_matrices(jaxpr):
        return 1
    return max(8, BLOCK_BYTES // max(largest, 8))


def _multiplies_matrices(jaxpr: Any) -> bool:
    """Return whether a program, or a part of it, contains a product of matrices."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in {"dot_general", "conv_general_dilated"}:
            return True
        # The parts of loops, branches and compiled functions are among the parameters.
        for part in jax.tree.leaves(list(eqn.params.values())):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns") and _multiplies_matrices(inner):
                return True
    return False


def all_finite(*trees) -> Bool[Array, ""]:
    """Return whether every floating-point leaf of the trees is finite."""
    leaves = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(trees)
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
    ]
    return jnp.all(jnp.stack(leaves)) if leaves else jnp.asarray(True)


def norm(vector: Float[Array, " n"]) -> Float[Array, ""]:
    """Return the Euclidean length of a vector."""
    return jnp.sqrt(jnp.sum(vector**2))


def zeros_of(shapes):
    """Return zeros of the shapes and dtypes that `jax.eval_shape` returned."""
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def select(pred: Bool[Array, ""], yes, no):
    """Choose between two trees of one structure, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(pred, a, b), yes, no)


@jax.custom_batching.custom_vmap
def any_lane(flag: jax.Array) -> jax.Array:
    """Return a flag; in a batch, for all lanes, whether it is set in any.

    A `jax.lax.cond` on the result stays a branch under `jax.vmap`, so that operations
    which few lanes need cost nothing where no lane needs them.
    """
    return flag


@any_lane.def_vmap
def _any_lane_in_a_batch(axis_size, in_batched, flag):
    del axis_size
    (batched,) = in_batched
    return any_lane(jnp.any(flag) if batched else flag), False
