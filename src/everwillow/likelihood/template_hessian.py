r"""The derivatives of a template likelihood, written out.

With the rows :math:`n_r = r_r e_r` (rate and deformed template) and the columns
:math:`F_{rk} = \partial \ln e_r / \partial \theta_k`, the profile of the bins gives a
gradient q for every row, and (see `everwillow.likelihood.barlow_beeston`)

.. math:: H = (\gamma J)^T \omega\, (\gamma J) - J^T \delta J + \sum_r q_r \nabla^2 n_r,

where J are the derivatives of the rows, summed over those that share a bin in the first
and over those that share an auxiliary parameter in the second term.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.likelihood.barlow_beeston import BinStatistics, Profile
from everwillow.likelihood.template_arrays import DenseResponses, TemplateArrays


class Derivatives(NamedTuple):
    """Derivatives by the systematics, then by the parameters of the rates.

    Attributes:
        gradient: First ones.
        hessian: Second ones, but for those of the rates themselves.
        gauss_newton: The part that is never negative.
        rate_weights: What the second derivatives of the rate of each slot count.
    """

    gradient: Float[Array, " n"]
    hessian: Float[Array, "n n"]
    gauss_newton: Float[Array, "n n"]
    rate_weights: Float[Array, "bins slots"]


def dense_derivatives(
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
        statistics: What is known about the samples behind them.
        profile: The likelihood at these yields.
        yields: Of every slot.
        rates: The derivatives of what multiplies each slot, by its parameters.
        theta: The systematics.
    """
    responses = arrays.responses
    assert isinstance(responses, DenseResponses)
    columns = responses.columns(theta)
    strength, deformed = arrays.strength(yields), arrays.deformed(theta)
    by_rate = deformed[None] * rates
    q, count = profile.gradient, theta.shape[0]

    def summed(weights: Array) -> Float[Array, "n bins"]:
        """Sum the derivatives of the rows of each bin, with weights."""
        # As matrix products these would copy the columns into another order.
        by_theta = jnp.sum(columns * (weights * strength)[None], 2)
        return jnp.concatenate([by_theta, jnp.sum(by_rate * weights[None], 2)])

    swayed = summed(profile.sway)
    response = profile.response
    turned = swayed @ response if response.ndim == 2 else swayed * response[None]
    gauss_newton = turned @ swayed.T
    hessian = gauss_newton
    loose = statistics.kind in ("gamma", "normal")
    outer = jnp.zeros_like(q)
    if loose and statistics.per_process:
        outer = -jnp.where(statistics.follows, profile.relief, 0)
    elif loose:
        moved = summed(jnp.asarray(statistics.follows, q.dtype))
        hessian = hessian - (moved * profile.relief[None, :, 0]) @ moved.T
    if arrays.log_normal or (loose and statistics.per_process):
        bent = q if arrays.log_normal else jnp.zeros_like(q)
        flat = columns.reshape(count, q.size)
        sides = by_rate.reshape(by_rate.shape[0], q.size)
        # The weights of two systematics, of one with a rate, and of two rates.
        pair = (bent * strength + outer * strength**2).ravel()[None]
        cross = (sides * (bent + outer * strength).ravel()[None]) @ flat.T
        inner = (sides * outer.ravel()[None]) @ sides.T
        upper = jnp.concatenate([(flat * pair) @ flat.T, cross.T], 1)
        lower = jnp.concatenate([cross, inner], 1)
        hessian = hessian + jnp.concatenate([upper, lower])
    second = responses.second(theta, q * strength)
    diagonal = jnp.pad(second, (0, by_rate.shape[0]))
    return Derivatives(
        jnp.concatenate(
            [
                responses.cotangent(theta, q * strength),
                jnp.tensordot(by_rate, q, 2),
            ]
        ),
        hessian + jnp.diag(diagonal),
        gauss_newton,
        q * deformed,
    )


__all__ = ["Derivatives", "dense_derivatives"]
