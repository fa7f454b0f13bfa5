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
    rates: Float[Array, "bins slots m"],
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
    log_normal = arrays.log_normal
    strength, deformed = arrays.strength(yields), arrays.deformed(theta)
    by_rate = deformed[..., None] * rates
    q = profile.gradient

    def summed(weights: Array) -> Array:
        """Sum the derivatives of the rows of each bin, with weights."""
        by_theta = jnp.einsum("bs,bsk->bk", weights * strength, columns)
        both = [by_theta, jnp.einsum("bs,bsm->bm", weights, by_rate)]
        return jnp.concatenate(both, 1)

    swayed = summed(profile.sway)
    response = profile.response
    if response.ndim == 2:
        gauss_newton = swayed.T @ (response @ swayed)
    else:
        gauss_newton = swayed.T @ (response[:, None] * swayed)
    hessian = gauss_newton
    loose = statistics.kind in ("gamma", "normal")
    if loose and not statistics.per_process:
        moved = summed(jnp.asarray(statistics.follows, q.dtype))
        hessian = hessian - moved.T @ (profile.relief * moved)
    outer = jnp.zeros_like(q)
    if loose and statistics.per_process:
        outer = -jnp.where(statistics.follows, profile.relief, 0)
    count = theta.shape[0]
    bent = q * strength if log_normal else jnp.zeros_like(q)
    flat = columns.reshape(q.size, count)
    if log_normal or (loose and statistics.per_process):
        weights = (bent + outer * strength**2).reshape(-1, 1)
        hessian = hessian.at[:count, :count].add(flat.T @ (weights * flat))
        sides = by_rate.reshape(q.size, by_rate.shape[-1])
        crossing = (q if log_normal else 0) + outer * strength
        cross = flat.T @ (crossing.reshape(-1, 1) * sides)
        hessian = hessian.at[:count, count:].add(cross)
        hessian = hessian.at[count:, :count].add(cross.T)
        inner = sides.T @ (outer.reshape(-1, 1) * sides)
        hessian = hessian.at[count:, count:].add(inner)
    second = responses.second(theta, q * strength)
    hessian = hessian.at[jnp.arange(count), jnp.arange(count)].add(second)
    gradient = jnp.concatenate(
        [
            responses.cotangent(theta, q * strength),
            jnp.einsum("bs,bsm->m", q, by_rate),
        ]
    )
    return Derivatives(gradient, hessian, gauss_newton, q * deformed)


__all__ = ["Derivatives", "dense_derivatives"]
