r"""Gradient and Hessian matrix of a template likelihood, in closed form.

With the rows :math:`n_r = r_r e_r` (rate and deformed template) and the columns
:math:`F_{rk} = \partial \ln e_r / \partial \theta_k`, the profile of the bins gives a
gradient q for every row, and (see `everwillow.likelihood.barlow_beeston`)

.. math:: H = (\gamma J)^T \omega\, (\gamma J) - J^T \delta J + \sum_r q_r \nabla^2 n_r,

where J are the derivatives of the rows, summed over those that share a bin in the first
and over those that share an auxiliary parameter in the second term. Bins are
independent, so that H is a sum over blocks of bins of such products.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.likelihood.barlow_beeston import BinStatistics, Profile
from everwillow.likelihood.templates.arrays import TemplateArrays


# Products of more than twice so many rows take three quarters of the operations.
HALVED = 100


class Derivatives(NamedTuple):
    """Derivatives by the systematics, then by the parameters of the rates.

    Attributes:
        gradient: First derivatives.
        hessian: Second derivatives, without those of the rates themselves.
        gauss_newton: The positive semi-definite part of them.
        rate_weights: Weights of the second derivatives of the rate of each slot.
    """

    gradient: Float[Array, " n"]
    hessian: Float[Array, "n n"]
    gauss_newton: Float[Array, "n n"]
    rate_weights: Float[Array, "bins slots"]


class Weights(NamedTuple):
    """Weights of the derivatives of the rows of some bins, bins first.

    Attributes:
        strength: Derivatives of the yields by the responses.
        yield_slope: γ of `everwillow.likelihood.barlow_beeston.Profile`.
        response: ω; a matrix couples all bins.
        moving: Which rows follow the profiled auxiliary parameter of their bin; None
            without such parameters.
        reduction: δ of that parameter.
        outer: Weights of the squared derivatives of rows; None if they vanish.
        bent: Weights of the second derivatives by the responses; None if they vanish.
    """

    strength: Float[Array, "bins slots"]
    yield_slope: Float[Array, "bins slots"]
    response: Array
    moving: Float[Array, "bins slots"] | None
    reduction: Float[Array, " bins"] | None
    outer: Float[Array, "bins slots"] | None
    bent: Float[Array, "bins slots"] | None


def derivatives(
    arrays: TemplateArrays,
    statistics: BinStatistics,
    profile: Profile,
    yields: Float[Array, "bins slots"],
    rates: Float[Array, "m bins slots"],
    theta: Float[Array, " k"],
) -> Derivatives:
    """Return all derivatives of the likelihood of the bins.

    Args:
        arrays: The templates.
        statistics: Variances of the samples behind them.
        profile: The likelihood at these yields.
        yields: Yields of every slot.
        rates: The derivatives of what multiplies each slot, by its parameters.
        theta: The systematics.
    """
    strength, deformed = arrays.strength(yields), arrays.deformed(theta)
    by_rate, q = deformed[None] * rates, profile.gradient
    weights = _weights(arrays, statistics, profile, strength)

    def local(columns, bins):
        return _hessian_of_bins(columns, *_pick_bins(bins, by_rate, weights))

    matrices = arrays.responses.over_blocks(theta, local, by_rate.shape[0])
    second = arrays.responses.second(theta, q * strength)
    head = arrays.responses.cotangent(theta, q * strength)
    return Derivatives(
        jnp.concatenate([head, jnp.tensordot(by_rate, q, 2)]),
        matrices[0] + jnp.diag(jnp.pad(second, (0, by_rate.shape[0]))),
        matrices[1],
        q * deformed,
    )


def hessian(
    arrays: TemplateArrays,
    statistics: BinStatistics,
    profile: Profile,
    yields: Float[Array, "bins slots"],
    rates: Float[Array, "m bins slots"],
    theta: Float[Array, " k"],
) -> Float[Array, "n n"]:
    """Return the `hessian` of `derivatives` alone."""
    strength, deformed = arrays.strength(yields), arrays.deformed(theta)
    by_rate = deformed[None] * rates
    weights = _weights(arrays, statistics, profile, strength)

    def local(columns, bins):
        return _hessian_of_bins(columns, *_pick_bins(bins, by_rate, weights))[0]

    matrix = arrays.responses.over_blocks(theta, local, by_rate.shape[0])
    second = arrays.responses.second(theta, profile.gradient * strength)
    return matrix + jnp.diag(jnp.pad(second, (0, by_rate.shape[0])))


def _weights(
    arrays: TemplateArrays, statistics: BinStatistics, profile: Profile, strength: Array
) -> Weights:
    loose = statistics.kind in ("gamma", "normal")
    moving = reduction = outer = None
    if loose and statistics.per_process:
        outer = -jnp.where(statistics.follows, profile.reduction, 0)
    elif loose:
        moving = jnp.asarray(statistics.follows, strength.dtype)
        reduction = profile.reduction[:, 0]
    return Weights(
        strength,
        profile.yield_slope,
        profile.response,
        moving,
        reduction,
        outer,
        profile.gradient if arrays.log_normal else None,
    )


def _pick_bins(
    bins: Array | None, by_rate: Array, weights: Weights
) -> tuple[Array, Weights]:
    """Select bins, with zeros for numbers out of range."""
    if bins is None:
        return by_rate, weights

    def picked(values):
        return values.at[bins].get(mode="fill", fill_value=0)

    by_rate = by_rate.at[:, bins].get(mode="fill", fill_value=0)
    return by_rate, jax.tree.map(picked, weights)


def _hessian_of_bins(
    columns: Float[Array, "k bins slots"],
    by_rate: Float[Array, "m bins slots"],
    weights: Weights,
) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
    """Return the Hessian of some bins, and its positive semi-definite part.

    Args:
        columns: Derivatives of the responses by the systematics.
        by_rate: Derivatives of the rows by the parameters of the rates.
        weights: Their weights.
    """
    strength = weights.strength

    def summed(factor: Array) -> Float[Array, "n bins"]:
        """Sum the derivatives of the rows of each bin, with weights."""
        # Not matrix products, which would copy the columns into another order.
        by_theta = jnp.sum(columns * (factor * strength)[None], 2)
        return jnp.concatenate([by_theta, jnp.sum(by_rate * factor[None], 2)])

    by_bin, response = summed(weights.yield_slope), weights.response
    weighted = by_bin @ response if response.ndim == 2 else by_bin * response[None]
    gauss_newton = weighted @ by_bin.T
    total = gauss_newton
    if weights.moving is not None and weights.reduction is not None:
        moved = summed(weights.moving)
        total = total - (moved * weights.reduction[None]) @ moved.T
    if weights.bent is not None or weights.outer is not None:
        zeros = jnp.zeros_like(strength)
        bent = zeros if weights.bent is None else weights.bent
        outer = zeros if weights.outer is None else weights.outer
        flat = columns.reshape(columns.shape[0], strength.size)
        flat_rates = by_rate.reshape(by_rate.shape[0], strength.size)
        # The weights of two systematics, of one with a rate, and of two rates.
        pair = (bent * strength + outer * strength**2).ravel()[None]
        cross = (flat_rates * (bent + outer * strength).ravel()[None]) @ flat.T
        inner = (flat_rates * outer.ravel()[None]) @ flat_rates.T
        upper = jnp.concatenate([_symmetric(flat * pair, flat), cross.T], 1)
        lower = jnp.concatenate([cross, inner], 1)
        total = total + jnp.concatenate([upper, lower])
    return total, gauss_newton


def _symmetric(left: Float[Array, "k n"], right: Float[Array, "k n"]) -> Array:
    """Return ``left @ right.T``, known to be symmetric, from its upper triangle."""
    half = left.shape[0] // 2
    if half < HALVED:
        return left @ right.T
    top = left[:half] @ right.T
    low = left[half:] @ right[half:].T
    low = jnp.concatenate([top[:, half:].T, low], 1)
    return jnp.concatenate([top, low])
