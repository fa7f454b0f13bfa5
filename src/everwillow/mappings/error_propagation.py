"""Propagation of the covariance of parameters to the errors of many outputs.

With the root L of the covariance, ``C = L Lᵀ``, and the derivatives J of the outputs,
the factor ``F = J L`` gives the covariance of the outputs as ``F Fᵀ``. The variances
are the sums of the squares of its rows, which need not all be in memory at a time.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


# Number of directions whose derivatives are in memory at a time.
DIRECTIONS = 64


class Root(NamedTuple):
    """The root of a covariance.

    Attributes:
        matrix: L with ``C = L Lᵀ``, and a unit column for each parameter that is held,
            shape ``(free, free)``.
        held: Which columns belong to held parameters. The error of an output that
            depends on held parameters only is NaN.
    """

    matrix: Float[Array, "free free"]
    held: Bool[Array, " free"]


def root_of(covariance: Array, held: Array) -> Root:
    """Factorise a covariance, which may be singular; NaN if it is indefinite.

    Args:
        covariance: Shape ``(free, free)``.
        held: Which parameters of zero variance are held; the others are known.
    """
    variance = jnp.diagonal(covariance)
    moving = variance != 0
    width = jnp.sqrt(jnp.where(moving, variance, 1))
    both = moving[:, None] & moving[None, :]
    scaled = covariance / width[:, None] / width[None, :]
    eye = jnp.eye(variance.shape[0], dtype=variance.dtype)
    scaled = jnp.where(both, scaled, eye)
    lower = jnp.linalg.cholesky(scaled)
    # Perfect correlations give a pivot that is zero up to rounding and may be negative:
    # add the rounding error of the matrix to the diagonal.
    singular = ~jnp.all(jnp.isfinite(lower))
    lift = 100 * variance.shape[0] * jnp.finfo(variance.dtype).eps
    lifted = jnp.linalg.cholesky(scaled + jnp.where(singular, lift, 0) * eye)
    lower = jnp.where(both, jnp.where(singular, lifted, lower), 0) * width[:, None]
    held = held & ~moving
    return Root(lower + jnp.diag(held.astype(lower.dtype)), held)


def errors_and_factor(
    fn: Callable[[Array], Array], x: Array, root: Root, *, keep: bool
) -> tuple[Float[Array, " outputs"], Float[Array, "outputs inputs"] | None]:
    """Return the errors of the outputs and, if `keep`, the factor.

    Args:
        fn: Function from a vector of inputs to a vector of outputs. The inputs are the
            parameters, and after them unit Gaussian variables if there are any.
        x: The inputs.
        root: The root of the covariance of the parameters.
        keep: Whether to return the factor, too.
    """
    outputs, inputs = jax.eval_shape(fn, x).shape[0], x.shape[0]
    held = jnp.pad(root.held, (0, inputs - root.held.shape[0]))
    if keep:
        factor = _factor(fn, x, root, outputs)
        moved = jnp.where(held[None, :], 0, factor)
        squares, known = jnp.sum(moved**2, axis=1), jnp.any(moved != 0, axis=1)
        lost = jnp.any(jnp.where(held[None, :], factor, 0) != 0, axis=1)
        return _errors(squares, known, lost), moved
    if outputs < inputs:
        return _errors(*_by_rows(fn, x, root, held, outputs)), None
    return _errors(*_by_columns(fn, x, root, held, outputs)), None


def _row(root: Root, pulled: Array) -> Array:
    """Return a row of the factor from the derivatives of an output."""
    size = root.held.shape[0]
    return jnp.concatenate([pulled[:size] @ root.matrix, pulled[size:]])


def _columns(root: Root, which: Array, inputs: int) -> Array:
    """Return directions of differentiation: columns of the root, then unit vectors."""
    size = root.held.shape[0]
    own = jnp.zeros((which.shape[0], size), root.matrix.dtype)
    if size:
        own = jnp.take(root.matrix.T, which, 0, mode="fill", fill_value=0)
    # The index is out of range, hence the column zero, for directions of parameters.
    units = jax.nn.one_hot(which - size, inputs - size, dtype=own.dtype)
    return jnp.concatenate([own, units], 1)


def _factor(fn: Callable[[Array], Array], x: Array, root: Root, outputs: int) -> Array:
    inputs = x.shape[0]
    if inputs == 0 or outputs == 0:
        return jnp.zeros((outputs, inputs), x.dtype)
    if outputs < inputs:
        _, pullback = jax.vjp(fn, x)
        basis = jnp.eye(outputs, dtype=x.dtype)
        row = lambda unit: _row(root, pullback(unit)[0])
        return jax.lax.map(row, basis, batch_size=DIRECTIONS)
    _, push = jax.linearize(fn, x)
    column = lambda which: push(_columns(root, which[None], inputs)[0])
    return jax.lax.map(column, jnp.arange(inputs), batch_size=DIRECTIONS).T


def _by_rows(
    fn: Callable[[Array], Array], x: Array, root: Root, held: Array, outputs: int
) -> tuple[Array, Array, Array]:
    """Return the arguments of `_errors`, from some rows of the factor at a time."""
    _, pullback = jax.vjp(fn, x)

    def one(unit):
        row = _row(root, pullback(unit)[0])
        moved = jnp.where(held, 0, row)
        lost = jnp.any(jnp.where(held, row, 0) != 0)
        return jnp.sum(moved**2), jnp.any(moved != 0), lost

    basis = jnp.eye(outputs, dtype=x.dtype)
    return jax.lax.map(one, basis, batch_size=DIRECTIONS)


def _by_columns(
    fn: Callable[[Array], Array], x: Array, root: Root, held: Array, outputs: int
) -> tuple[Array, Array, Array]:
    """Return the arguments of `_errors`, from some columns of the factor at a time."""
    _, push = jax.linearize(fn, x)
    inputs = x.shape[0]
    count = -(-inputs // DIRECTIONS)
    # Indices that fill the last block are out of range, and their columns are zero.
    which = jnp.arange(count * DIRECTIONS)
    fixed = jnp.pad(held, (0, count * DIRECTIONS - inputs))
    start = (
        jnp.zeros(outputs, x.dtype),
        jnp.zeros(outputs, bool),
        jnp.zeros(outputs, bool),
    )

    def add(carry, block):
        squares, known, lost = carry
        numbers, fixed = block
        moved = jax.vmap(push)(_columns(root, numbers, inputs))
        free = jnp.where(fixed[:, None], 0, moved)
        squares = squares + jnp.sum(free**2, axis=0)
        known = known | jnp.any(free != 0, axis=0)
        lost = lost | jnp.any(jnp.where(fixed[:, None], moved, 0) != 0, axis=0)
        return (squares, known, lost), None

    blocks = (which.reshape(-1, DIRECTIONS), fixed.reshape(-1, DIRECTIONS))
    return jax.lax.scan(add, start, blocks)[0]


def _errors(squares: Array, known: Array, lost: Array) -> Array:
    """Return the errors, NaN for outputs that depend on held parameters only.

    Args:
        squares: The variances.
        known: Whether an output depends on parameters that are not held.
        lost: Whether it depends on held parameters.
    """
    positive = squares > 0
    error = jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), squares)
    return jnp.where(lost & ~known, jnp.nan, error)
