"""Common probabilities and integrals of densities over intervals, in log space.

Ends of intervals are constants and may be infinite. Everything here has finite
derivatives of first and second order wherever the value is finite.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike


# Further out than any probability that a double can hold, and its square is no overflow
# in single precision.
_FAR = 1e6


def log1mexp(gap: Array) -> Array:
    """Return ``log(1 - exp(-gap))``; ``-inf`` with zero gradient if not positive."""
    positive = gap > 0.0
    gap = jnp.where(positive, gap, 1.0)
    small = gap < 0.7
    near = jnp.log(-jnp.expm1(-jnp.where(small, gap, 0.5)))
    far = jnp.log1p(-jnp.exp(-jnp.where(small, 1.0, gap)))
    return jnp.where(positive, jnp.where(small, near, far), -jnp.inf)


def standardise(
    edge: ArrayLike, center: Array, width: Array, far: float = _FAR
) -> Array:
    """Return ``(edge - center) / width``, the constant `far` for an infinite edge."""
    edge = np.asarray(edge)
    finite = np.isfinite(edge)
    inner = (np.where(finite, edge, 0.0) - center) / width
    return jnp.where(finite, inner, np.where(edge > 0.0, far, -far))


def log_ndtr(x: Array) -> Array:
    """Return the logarithm of the cumulative standard normal distribution."""
    # The default, three terms of the asymptotic series, is off by 4e-9 where it starts.
    return jax.scipy.special.log_ndtr(x, series_order=8)


def log_normal_interval(lower: Array, upper: Array) -> Array:
    r"""Return :math:`\ln(\Phi(b) - \Phi(a))` for standardised ends, in either tail."""
    # In the upper tail both values are 1: use the mirror image.
    mirrored = lower + upper > 0.0
    below = jnp.where(mirrored, -upper, lower)
    above = jnp.where(mirrored, -lower, upper)
    # One evaluation for both: it is the largest piece of the program.
    log_above, log_below = log_ndtr(jnp.stack(jnp.broadcast_arrays(above, below)))
    return log_above + log1mexp(log_above - log_below)


def log_exponential_interval(
    rate: Array, lower: ArrayLike | Array, upper: ArrayLike | Array
) -> Array:
    r"""Return :math:`\ln \int_a^b e^{-rx} dx`, also for :math:`r` near or below zero.

    One end may be infinite where it is a constant; the result is ``inf`` where the
    integral is.
    """
    low_open, high_open = _is_infinite(lower), _is_infinite(upper)
    low = jnp.where(low_open, jnp.where(high_open, 0.0, upper), lower)
    high = jnp.where(high_open, low + 1.0, upper)
    low = jnp.where(low_open, high - 1.0, low)
    falls = rate >= 0.0
    width = high - low
    wide = width > 0.0
    width = jnp.where(wide, width, 1.0)
    anchor = jnp.where(falls, low, high)
    inside = jnp.log(width) + _log_decayed(jnp.where(falls, rate, -rate) * width)
    closed = jnp.where(wide, inside - rate * anchor, -jnp.inf)
    if not (np.any(low_open) or np.any(high_open)):
        return closed
    slope = jnp.where(high_open, rate, -rate)
    converges = (slope > 0.0) & ~(low_open & high_open)
    tail = -rate * jnp.where(high_open, low, high) - jnp.log(
        jnp.where(converges, slope, 1.0)
    )
    return jnp.where(low_open | high_open, jnp.where(converges, tail, jnp.inf), closed)


def _is_infinite(edge: ArrayLike | Array) -> np.ndarray:
    # A traced end is a computed one, which is finite.
    if isinstance(edge, jax.Array):
        return np.zeros((), bool)
    return np.isinf(np.asarray(edge))


def _log_decayed(u: Array) -> Array:
    """Return ``log((1 - exp(-u)) / u)`` for ``u >= 0``."""
    small = u < 0.1
    v = jnp.where(small, u, 0.0)
    v2 = v * v
    series = -0.5 * v + v2 * (1.0 / 24.0 + v2 * (-1.0 / 2880.0 + v2 / 181440.0))
    w = jnp.where(small, 1.0, u)
    return jnp.where(small, series, log1mexp(w) - jnp.log(w))


def log_poisson(count: Array, mean: Array) -> Array:
    """Return the logarithm of the probability of a count; ``-inf`` for a negative one.

    The mean may be zero, where a count of zero is certain.
    """
    possible = (count >= 0.0) & (mean >= 0.0) & ((mean > 0.0) | (count == 0.0))
    count = jnp.where(count >= 0.0, count, 0.0)
    positive = mean > 0.0
    logs = jnp.where(positive, jnp.log(jnp.where(positive, mean, 1.0)), 0.0)
    value = count * logs - mean - jax.scipy.special.gammaln(count + 1.0)
    return jnp.where(possible, value, -jnp.inf)
