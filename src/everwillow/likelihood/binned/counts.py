r"""Expected counts and -ln L of a packed binned likelihood.

The yield of a row in a bin is :math:`Y = (N + \Delta)\,F\,\Gamma`: nominal plus shape
effects, times the factors of its block, times the bin's own factor. The number of
operations does not depend on the number of channels, samples, effects or parameters.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.likelihood.binned.packed import Packed
from everwillow.likelihood.poisson import poisson_nll


# Replaces a factor of zero, whose logarithmic derivative would be infinite. Its square
# times a squared yield does not underflow.
TINY = 1e-100
# Yields below this are zero.
NOTHING = 1e-80


class Yields(eqx.Module):
    """The parts of the expected counts at one point.

    Attributes:
        values: All parameters, derived numbers and the constant 1.
        factors: Products of the factors of each block, ``(K,)``.
        norm_rates: ``f'/f`` of each normalisation effect, ``(E,)``.
        norm_bends: ``f''/f`` of each, ``(E,)``.
        gammas: The factor of each row in each bin, ``(R, b)``.
        slopes: Derivative of each shape effect by its parameter, before factors,
            ``(X, b)``.
        bend_curves: Second derivative of the bend of each shape effect, ``(X,)``.
        rows: The yields, ``(R, b)``.
        tiles: Their sums, ``(T, b)``.
    """

    values: Float[Array, " p"]
    factors: Float[Array, " K"]
    norm_rates: Float[Array, " E"]
    norm_bends: Float[Array, " E"]
    gammas: Float[Array, "R b"]
    slopes: Float[Array, "X b"]
    bend_curves: Float[Array, " X"]
    rows: Float[Array, "R b"]
    tiles: Float[Array, "T b"]


def expected_counts(packed: Packed, x: Float[Array, " p"]) -> Float[Array, " B"]:
    """Return the expected count of each bin."""
    return yields(packed, x).tiles.ravel()[packed.bin_place]


def binned_nll(
    packed: Packed, x: Float[Array, " p"], counts: Float[Array, " B"]
) -> Float[Array, ""]:
    """Return -ln L of the counts, all constants included."""
    return jnp.sum(poisson_nll(counts, expected_counts(packed, x)))


def yields(packed: Packed, x: Float[Array, " p"]) -> Yields:
    """Evaluate all yields at a vector of parameters."""
    values = with_derived(packed, x)
    blocks = packed.scale_place.shape[0]
    factors = jnp.prod(nonzero(values)[packed.scale_place], axis=1)
    rates = bends = jnp.zeros(0, x.dtype)
    if packed.norm_block.shape[0]:
        f, first, second = packed.norms(values[packed.norm_place])
        f = nonzero(f)
        rates, bends = first / f, second / f
        logs = jnp.stack([jnp.log(jnp.abs(f)), (f < 0).astype(f.dtype)], 1)
        total, negative = sums(logs, packed.norm_block, blocks).T
        factors = factors * jnp.exp(total) * (1 - 2 * (negative % 2))
    nominal = jnp.asarray(packed.nominal)
    slopes, curves = jnp.zeros((0, nominal.shape[1])), jnp.zeros(0)
    if packed.shape_row.shape[0]:
        alpha = values[packed.bend_place]
        bend = jnp.stack([alpha, *packed.bends(alpha)], 1)[packed.shape_bend]
        changes = bend[:, :1] * packed.slope + bend[:, 1:2] * packed.curve
        slopes = packed.slope + bend[:, 2:3] * packed.curve
        curves = bend[:, 3]
        nominal = nominal + sums(changes, packed.shape_row, nominal.shape[0])
    rows = nominal * factors[packed.row_block][:, None]
    gammas = jnp.ones((1, 1), x.dtype)
    if packed.tail_place.shape[0]:
        tail = jnp.append(nonzero(values[packed.places.tail]), 1.0)
        in_bin = tail[packed.tail_slot][packed.row_tile]
        gammas = jnp.where(packed.carries, in_bin, 1)
        rows = rows * gammas
    tiles = sums(rows, packed.row_tile, packed.tail_slot.shape[0])
    # Yields with a replaced factor are set to zero again, without their derivatives.
    tiles = tiles - jax.lax.stop_gradient(jnp.where(jnp.abs(tiles) < NOTHING, tiles, 0))
    return Yields(values, factors, rates, bends, gammas, slopes, curves, rows, tiles)


def with_derived(packed: Packed, x: Float[Array, " p"]) -> Float[Array, " q"]:
    """Return the parameters, the numbers derived from them, and the constant 1."""
    parts = [x]
    count = packed.places.size
    derived: list[Array] = []
    for inputs, function in packed.places.derived:
        values = [x[i] if i < count else derived[i - count] for i in inputs]
        derived.append(jnp.asarray(function(*values), x.dtype))
    if derived:
        parts.append(jnp.stack(derived))
    return jnp.concatenate([*parts, jnp.ones(1, x.dtype)])


def nonzero(values: Array) -> Array:
    """Return the values with zeros made `TINY`, their derivatives unchanged."""
    return values + jnp.where(jnp.abs(values) < TINY, TINY, 0)


def sums(rows: Array, owner: Array, count: int) -> Array:
    """Return the sum of the rows of each owner, which come in ascending order."""
    return jax.ops.segment_sum(rows, owner, count, indices_are_sorted=True)
