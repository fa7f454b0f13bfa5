r"""Likelihoods of single events, weighted or not, extended or not.

They do not contain the constant term :math:`\ln n!`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._typing import ArrayLike, Scalar


def shape_nll(
    log_density: Float[Array, " events"], weights: Float[ArrayLike, " events"]
) -> Scalar:
    r"""Return :math:`-\sum_i w_i \ln p(x_i)`, where only the shape is known.

    Args:
        log_density: :math:`\ln p` at the events, normalised over the range.
        weights: One for each event. Events of weight 0 do not enter, whatever their
            density, so that toys can be padded.

    Returns:
        A scalar, ``inf`` where an event is impossible.

    Example:
        >>> print(shape_nll(jnp.array([-1.0, -2.0, -jnp.inf]), jnp.array([1.0, 2, 0])))
        5.0
    """
    weights = jnp.asarray(weights)
    enters = weights != 0.0
    # Not a product with zero, which would be NaN for an infinite logarithm.
    return -jnp.sum(jnp.where(enters, weights * jnp.where(enters, log_density, 0.0), 0))


def extended_nll(
    log_intensity: Float[Array, " events"],
    weights: Float[ArrayLike, " events"],
    rate: ArrayLike,
) -> Scalar:
    r"""Return :math:`\lambda - \sum_i w_i \ln(\lambda p(x_i))`.

    Args:
        log_intensity: :math:`\ln(\lambda p)` at the events, where the integral of
            :math:`\lambda p` over the range is `rate`.
        weights: As for `shape_nll`.
        rate: The expected number of events :math:`\lambda`.

    Returns:
        A scalar, ``inf`` where an event is impossible.

    Example:
        >>> print(extended_nll(jnp.log(jnp.array([1.0, 1.0])), jnp.ones(2), 2.0))
        2.0

    References:
        R. Barlow, Nucl. Instrum. Meth. A 297 (1990) 496, eq. (5).
    """
    return jnp.asarray(rate) + shape_nll(log_intensity, weights)
