"""The standard normal distribution far out in its tails.

Probabilities are handled as logarithms, which do not underflow: a significance of 40
is a p-value of 1e-350.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtri
from jaxtyping import Array


# Newton steps from the asymptotic start are converged to the last digit after these.
NEWTON_STEPS = 6
# Below this logarithm of a p-value its Newton steps converge from one side.
TAIL = -2.0

_HALF_LOG_TWO_PI = 0.9189385332046727


def safe_root(value: Array) -> Array:
    """Return the square root; 0, with derivative 0, where the value is not positive."""
    positive = value > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1)), 0)
    return jnp.where(jnp.isnan(value), value, root)


@jax.custom_jvp
def significance_of_log(log_pvalue: Array) -> Array:
    r"""Return the Z with :math:`\ln(1 - \Phi(Z))` as given."""
    tail = jnp.minimum(log_pvalue, TAIL)
    square = -2 * tail
    z = jnp.sqrt(jnp.maximum(square - jnp.log(square) - 2 * _HALF_LOG_TWO_PI, 0.25))
    for _ in range(NEWTON_STEPS):
        z = z + (log_ndtr(-z) - tail) / _hazard(z)
    near = -ndtri(jnp.exp(jnp.maximum(log_pvalue, TAIL)))
    z = jnp.where(log_pvalue < TAIL, z, near)
    return jnp.where(jnp.isneginf(log_pvalue), jnp.inf, z)


def _hazard(z: Array) -> Array:
    r"""Return :math:`\varphi(z) / (1 - \Phi(z))`."""
    return jnp.exp(-0.5 * z**2 - _HALF_LOG_TWO_PI - log_ndtr(-z))


@significance_of_log.defjvp
def _(primals, tangents):
    z = significance_of_log(*primals)
    return z, -tangents[0] / _hazard(z)
