r"""The second derivatives of a packed binned likelihood, in closed form.

With :math:`u = 1 - n / \lambda` and :math:`W = n / \lambda^2` in each bin,

.. math:: H = J^T W J + \sum_i u_i \nabla^2 \lambda_i .

Effects enter by their logarithmic derivatives :math:`g = f'/f`, which need no products
over all others. The second term is then a sum over blocks: with the logarithmic
derivatives :math:`G` of the blocks, :math:`v = \sum u Y` over the bins of a block and
the sum :math:`D` of :math:`u` times the shape derivatives, it is
:math:`G^T v G + D^T G + G^T D`, with :math:`f''/f` in place of :math:`g^2` on the
diagonal.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.curvature import AbstractCurvature, Arrow, Dense
from everwillow.likelihood.binned.counts import (
    Yields,
    nonzero,
    sums,
    with_derived,
    yields,
)
from everwillow.likelihood.binned.packed import Packed, Places
from everwillow.likelihood.poisson import poisson_nll
from everwillow.objective import Evaluation


def binned_evaluation(
    packed: Packed, x: Float[Array, " p"], counts: Float[Array, " B"]
) -> Evaluation:
    """Evaluate -ln L of the counts with its gradient and its exact Hessian.

    Returns:
        The evaluation. If there are many factors of single bins, its curvature is an
        `Arrow` with these as tail; the Gauss-Newton part is :math:`J^T W J`.
    """
    parts = yields(packed, x)
    places, place = packed.places, packed.tail_place
    rate = parts.tiles.ravel()[packed.bin_place]
    ratio = jnp.where(counts > 0, counts / rate, 0)
    u = _in_tiles(packed, parts, 1 - ratio)
    w = _in_tiles(packed, parts, jnp.where(counts > 0, ratio / rate, 0)).ravel()
    logs = _logarithmic_derivatives(packed, parts)
    jacobian = _jacobian(packed, parts, logs, jnp.ones_like(parts.gammas))
    gradient, bent, diagonal = _second_order(packed, parts, logs, u)
    tail_rates = tail_gradient = jnp.zeros(0, x.dtype)
    mixed = jnp.zeros((jacobian.shape[0], 0), x.dtype)
    if place.shape[0]:
        gamma = nonzero(x[places.tail])
        carries = jnp.asarray(packed.carries, x.dtype)
        carried = sums(parts.rows * carries, packed.row_tile, u.shape[0])
        tail_rates = carried.ravel()[place] / gamma
        tail_gradient = u.ravel()[place] * tail_rates
        carried_jacobian = jacobian
        if not places.whole_bins:
            carried_jacobian = _jacobian(packed, parts, logs, carries)
        mixed = carried_jacobian[:, place] * (u.ravel()[place] / gamma)[None]
    if places.tail_in_block:
        jacobian = jacobian.at[places.tail, place].set(tail_rates)
        gradient = gradient.at[places.tail].set(tail_gradient)
        bent = bent.at[:, places.tail].add(mixed)
        place, tail_rates, mixed = place[:0], tail_rates[:0], mixed[:, :0]
    weighted = jacobian * w[None]
    gauss_newton = weighted @ jacobian.T
    symmetric = gauss_newton + bent + bent.T
    # The diagonal of `bent` is not valid; `diagonal` replaces it.
    exact_diagonal = diagonal + jnp.diagonal(gauss_newton)
    block = jnp.where(
        jnp.eye(exact_diagonal.shape[0], dtype=bool), exact_diagonal[:, None], symmetric
    )
    stand_in = weighted[:, place] * tail_rates[None]
    tail = w[place] * tail_rates**2
    return _in_parameters(
        packed,
        x,
        jnp.sum(poisson_nll(counts, rate)),
        (gradient, tail_gradient),
        (block, stand_in + mixed, tail),
        (gauss_newton, stand_in, tail),
    )


class CountDerivatives(NamedTuple):
    """Expected counts with their derivatives by the dense parameters.

    Attributes:
        counts: The expected count of each bin.
        jacobian: Its first derivatives, shape ``(bins, parameters)``.
        bend: From a weight of each bin to the weighted sum of second derivatives, shape
            ``(parameters, parameters)``.
    """

    counts: Float[Array, " B"]
    jacobian: Float[Array, "B a"]
    bend: Callable[[Float[Array, " B"]], Float[Array, "a a"]]


def count_derivatives(packed: Packed, x: Float[Array, " p"]) -> CountDerivatives:
    """Return the expected counts with their exact derivatives.

    Args:
        packed: A likelihood without factors of single bins.
        x: The parameters.
    """
    assert not packed.tail_place.shape[0]
    parts = yields(packed, x)
    logs = _logarithmic_derivatives(packed, parts)
    whole = _jacobian(packed, parts, logs, jnp.ones_like(parts.gammas))
    columns = whole[:, packed.bin_place]
    places = packed.places
    none = jnp.zeros((columns.shape[0], 0), x.dtype)
    jacobian, chain = columns, _Chain(packed, x)
    if places.derived:
        rates = chain.rates
        jacobian = (
            columns[: places.dense.size]
            .at[chain.column]
            .add(rates.T @ columns[places.dense.size :])
        )

    def bend(weights: Array) -> Array:
        u = _in_tiles(packed, parts, weights)
        gradient, half, diagonal = _second_order(packed, parts, logs, u)
        eye = jnp.eye(diagonal.size, dtype=bool)
        block = jnp.where(eye, diagonal[:, None], half + half.T)
        if not places.derived:
            return block
        bent = chain.bend(gradient[places.dense.size :])
        return _pulled_back((block, none, none[0]), chain.rates, chain.column, bent)[0]

    counts = parts.tiles.ravel()[packed.bin_place]
    return CountDerivatives(counts, jacobian.T, bend)


def _in_tiles(packed: Packed, parts: Yields, bins: Array) -> Array:
    flat = jnp.zeros(parts.tiles.size, bins.dtype)
    return flat.at[packed.bin_place].set(bins).reshape(parts.tiles.shape)


def _logarithmic_derivatives(packed: Packed, parts: Yields) -> Float[Array, "K a"]:
    """Return ``f'/f`` of each block and dense column."""
    blocks, scales = packed.scale_place.shape
    columns = packed.places.dense.size + len(packed.places.derived)
    logs = jnp.zeros((blocks, columns), parts.rows.dtype)
    if packed.norm_block.shape[0]:
        # Each parameter has at most one effect on a block, so nothing is overwritten.
        logs = logs.at[packed.norm_block, packed.norm_column].set(parts.norm_rates)
    if scales:
        value = nonzero(parts.values)[packed.scale_place]
        block = jnp.arange(blocks)[:, None]
        logs = logs.at[block, packed.scale_column].set(1 / value, mode="drop")
    return logs


def _jacobian(
    packed: Packed, parts: Yields, logs: Float[Array, "K a"], weights: Array
) -> Float[Array, "a Tb"]:
    """Return the derivatives of the counts in the tiles, with weights on the rows."""
    tiles, bins = parts.tiles.shape
    columns = logs.shape[1]
    rows = jnp.pad(parts.rows * weights, ((0, 1), (0, 0)))[packed.tile_rows]
    block = jnp.append(jnp.asarray(packed.row_block), 0)[packed.tile_rows]
    jacobian = jnp.einsum("tsb,tsa->atb", rows, logs[block])
    if packed.shape_row.shape[0]:
        row = packed.shape_row
        window = parts.slopes * _effect_scale(packed, parts, weights)[row]
        tile = packed.row_tile[row]
        jacobian = jacobian.at[packed.shape_column, tile].add(window)
    return jacobian.reshape(columns, tiles * bins)


def _effect_scale(packed: Packed, parts: Yields, weights: Array) -> Float[Array, "R b"]:
    """Return the product of all factors of a row, which multiplies shape effects."""
    factors = parts.factors[packed.row_block][:, None] * parts.gammas * weights
    return jnp.broadcast_to(factors, parts.rows.shape)


def _second_order(
    packed: Packed, parts: Yields, logs: Float[Array, "K a"], u: Float[Array, "T b"]
) -> tuple[Array, Array, Array]:
    """Return the gradient, and the part of the Hessian from curved yields.

    This part is the sum of the second result and its transpose, with the third result
    as diagonal.
    """
    blocks, columns = logs.shape
    at_row = u[packed.row_tile]
    v = jax.ops.segment_sum(jnp.sum(at_row * parts.rows, 1), packed.row_block, blocks)
    gradient = diagonal = jnp.zeros(columns, u.dtype)
    half = 0.5 * v[:, None] * logs
    if packed.norm_block.shape[0]:
        both = jnp.stack([parts.norm_rates, parts.norm_bends], 1)
        both = both * v[packed.norm_block][:, None]
        gradient, diagonal = jnp.zeros((columns, 2)).at[packed.norm_column].add(both).T
    if packed.scale_place.shape[1]:
        value = nonzero(parts.values)[packed.scale_place]
        gradient = gradient.at[packed.scale_column].add(v[:, None] / value, mode="drop")
    if packed.shape_row.shape[0]:
        row, column = packed.shape_row, packed.shape_column
        scale = (_effect_scale(packed, parts, at_row))[row]
        block = packed.row_block[row]
        slope = jnp.sum(scale * parts.slopes, 1)
        curve = jnp.sum(scale * packed.curve, 1) * parts.bend_curves
        half = half.at[block, column].add(slope)
        gradient = gradient.at[column].add(slope)
        diagonal = diagonal.at[column].add(curve + 2 * slope * logs[block, column])
    return gradient, half.T @ logs, diagonal


def _in_parameters(
    packed: Packed, x: Any, value: Any, gradients: Any, exact: Any, stand_in: Any
) -> Evaluation:
    """Convert dense columns to parameters, by the chain rule for derived ones."""
    places = packed.places
    dense, tail = places.dense, places.tail
    gradient, tail_gradient = gradients
    if places.derived:
        chain = _Chain(packed, x)
        rates, column, outer = chain.rates, chain.column, gradient[dense.size :]
        bend = chain.bend(outer)
        gradient = gradient[: dense.size].at[column].add(outer @ rates)
        exact = _pulled_back(exact, rates, column, bend)
        stand_in = _pulled_back(stand_in, rates, column, jnp.zeros_like(bend))
    if dense.size < places.size:
        whole = jnp.zeros(places.size, x.dtype).at[dense].set(gradient)
        gradient = whole.at[tail].set(tail_gradient)
    return Evaluation(
        value, gradient, _curvature(exact, places), _curvature(stand_in, places)
    )


class _Chain:
    """The derivatives of derived numbers by the parameters they depend on.

    Attributes:
        column: The dense columns of these parameters.
        rates: First derivatives, one row for each derived number.
    """

    def __init__(self, packed: Packed, x: Array) -> None:
        places = packed.places
        inputs = places.inputs

        def derived(values: Array) -> Array:
            return with_derived(packed, x.at[inputs].set(values))[places.size : -1]

        self._derived, self._at = derived, x[inputs]
        self.column = np.searchsorted(places.dense, inputs)
        self.rates = jax.jacfwd(derived)(self._at)

    def bend(self, weights: Array) -> Array:
        """Return the weighted sum of second derivatives."""
        return jax.hessian(lambda v: jnp.vdot(weights, self._derived(v)))(self._at)


def _curvature(parts: Any, places: Places) -> AbstractCurvature:
    """Return an `Arrow`, or a dense matrix where there is no tail."""
    block, coupling, tail = parts
    if places.dense.size == places.size:
        return Dense(block)
    return Arrow(block, coupling, tail, places.dense, places.tail)


def _pulled_back(parts: Any, rates: Any, column: Any, bend: Any) -> Any:
    """Apply the chain rule from derived columns, the last ones, to their inputs."""
    block, coupling, tail = parts
    count = block.shape[0] - rates.shape[0]
    cross = block[:count, count:] @ rates
    inner = rates.T @ block[count:, count:] @ rates + bend
    block = block[:count, :count].at[:, column].add(cross).at[column].add(cross.T)
    block = block.at[column[:, None], column].add(inner)
    lower = rates.T @ coupling[count:]
    return block, coupling[:count].at[column].add(lower), tail
