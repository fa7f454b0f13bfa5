"""The Poisson probability of counts."""

import jax
import jax.numpy as jnp
import jax.scipy as jsp
from jaxtyping import Array, Float


def poisson_nll(
    count: Float[Array, "*shape"], rate: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`\lambda - n \ln\lambda + \ln\Gamma(n + 1)`, element by element.

    Counts need not be whole numbers (Asimov data and scaled simulation are not). The
    value is computed as a difference from its minimum, at a rate equal to the count, so
    that changes of the size of a statistical error are not lost in the rounding of
    large counts.

    Args:
        count: Observed counts, zero or positive.
        rate: Expected counts.

    Returns:
        The values; ``inf`` where the rate is negative, or zero with a positive count;
        NaN only where an argument is NaN.

    Example:
        >>> print(f"{poisson_nll(jnp.array(2.0), jnp.array(3.0)):.4f}")
        1.4959
    """
    counted = count > 0
    possible = (rate > 0) | ((rate == 0) & ~counted) | jnp.isnan(rate)
    # The logarithm of 1 where one of the two is not positive.
    safe = jnp.where(counted & possible, rate, 1)
    origin = jnp.where(counted, count, 1)
    fixed = jax.lax.stop_gradient(origin)
    excess = (safe - fixed) / fixed
    near = jnp.abs(excess) < 0.5
    log_ratio = jnp.where(
        near,
        jnp.log1p(jnp.where(near, excess, 0)),
        jnp.log(jnp.where(near, 1, safe / fixed)),
    )
    least = count - count * jnp.log(fixed) + jsp.special.gammaln(count + 1)
    terms = (rate - count) - jnp.where(counted, count * log_ratio, 0) + least
    return jnp.where(possible, terms, jnp.inf)
