r"""Asymptotic formulas of arXiv:1007.1727 as pure functions of arrays.

Their arguments are the test statistic, and the tested and the true value in units of
the standard deviation of the best fit, :math:`c = \mu/\sigma` and :math:`c' =
\mu'/\sigma`, where :math:`\sigma = |\mu - \mu'| / \sqrt{q_A}` comes from Asimov data
(eq. 30). For limits with Asimov data at 0, :math:`c = \sqrt{q_A}` and :math:`c' = 0`:
`qmu_log_cls`, `qtilde_log_cls` and `expected_cls` take the two test statistics alone.

Tails are logarithms of probabilities, which do not underflow. Everything works under
`jax.jit`, `jax.vmap` and `jax.grad`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtri
from jaxtyping import Array, ArrayLike

from everwillow._keywords import also_called
from everwillow._numerics import is_traced, namespace
from everwillow.engine import programs
from everwillow.engine.layout import as_array
from everwillow.hypotest._root_finding import bisect
from everwillow.hypotest.results import N_SIGMA, BandValues


# Bisections of the quantile of a two-sided test statistic; each halves the error.
BISECTIONS = 60
# Newton steps from the asymptotic start are converged to the last digit after these.
NEWTON_STEPS = 6
# An Asimov test statistic below it gives the standard deviation of this one.
LEAST_Q_ASIMOV = 1e-10
# Below this logarithm of a p-value its Newton steps converge from one side.
TAIL = -2.0

_HALF_LOG_TWO_PI = 0.9189385332046727


def safe_root(value: Array) -> Array:
    """Return the square root; 0 with derivative 0 if the value is not positive."""
    positive = value > 0
    root = jnp.where(positive, jnp.sqrt(jnp.where(positive, value, 1)), 0)
    return jnp.where(jnp.isnan(value), value, root)


@jax.custom_jvp
def significance_of_log(log_pvalue: Array) -> Array:
    r"""Return Z with :math:`\ln(1 - \Phi(Z))` equal to the logarithm of a p-value."""
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


def t_log_tail(q: Array, c: Array, c_prime: Array) -> Array:
    r"""Return :math:`\ln P(t_\mu \ge q)`; the complement of eq. (33)."""
    root, shift = safe_root(q), c - c_prime
    return jnp.logaddexp(log_ndtr(-root - shift), log_ndtr(-root + shift))


def t_tilde_log_tail(q: Array, c: Array, c_prime: Array) -> Array:
    r"""Return :math:`\ln P(\tilde t_\mu \ge q)`; section 3.4."""
    above = log_ndtr(-safe_root(q) - (c - c_prime))
    return jnp.logaddexp(above, q_tilde_log_tail(q, c, c_prime))


def q_log_tail(q: Array, c: Array, c_prime: Array) -> Array:
    r"""Return :math:`\ln P(q_\mu \ge q)` for q > 0; the complement of eq. (57)."""
    return log_ndtr(c - c_prime - safe_root(q))


def q_tilde_log_tail(q: Array, c: Array, c_prime: Array) -> Array:
    r"""Return :math:`\ln P(\tilde q_\mu \ge q)` for q > 0; the complement of eq. (65).

    Where the best fit is below 0 the test statistic is linear in it: eq. (62).
    """
    linear = (q > c**2) & (c > 0)
    far = (q - c**2 + 2 * c * c_prime) / (2 * jnp.where(linear, c, 1))
    return log_ndtr(-jnp.where(linear, far, safe_root(q) - (c - c_prime)))


def q0_log_tail(q: Array, c: Array, c_prime: Array) -> Array:
    r"""Return :math:`\ln P(q_0 \ge q)` for q > 0; the complement of eq. (49)."""
    return log_ndtr(c_prime - c - safe_root(q))


def quantile_of(log_tail, n_sigma: ArrayLike, c: Array, c_prime: Array) -> Array:
    """Return a quantile without closed form, differentiable once.

    Args:
        log_tail: ``log_tail(q, c, c_prime)``, which decreases with q.
        n_sigma: The quantile has the tail probability Phi(n_sigma).
        c: The tested value over sigma, a scalar.
        c_prime: The value of the data over sigma, a scalar.
    """
    log_probability = log_ndtr(jnp.asarray(n_sigma, jnp.result_type(c)))

    def excess(root, c, c_prime):
        return log_tail(root**2, c, c_prime) - log_probability

    fixed_c, fixed_prime = jax.lax.stop_gradient((c, c_prime))

    def is_above(root):
        return ~(excess(root, fixed_c, fixed_prime) > 0)

    far = 2 * (jnp.abs(fixed_c) + jnp.abs(fixed_prime)) + 10
    root = bisect(is_above, jnp.zeros_like(far), far, count=BISECTIONS)
    slope = jax.grad(excess)(root, fixed_c, fixed_prime)
    # One Newton step from the solution, for the derivative in c and c_prime.
    return (root - excess(root, c, c_prime) / slope) ** 2


def qmu_log_cls(q: ArrayLike, q_asimov: ArrayLike) -> Array:
    r"""Return ln CLs for :math:`q_\mu` with Asimov data at 0.

    .. math:: \mathrm{CL_s} = \frac{1 - \Phi(\sqrt{q})}
        {1 - \Phi(\sqrt{q} - \sqrt{q_A})}

    Args:
        q: The test statistic of the data.
        q_asimov: The test statistic of the Asimov data.
    """
    q, c = jnp.asarray(q), safe_root(jnp.asarray(q_asimov))
    return q_log_tail(q, c, c) - q_log_tail(q, c, jnp.zeros_like(c))


def qtilde_log_cls(q: ArrayLike, q_asimov: ArrayLike) -> Array:
    r"""Return ln CLs for :math:`\tilde q_\mu` with Asimov data at 0.

    It equals `qmu_log_cls` for :math:`q \le q_A`. Otherwise the best fit is negative,
    and the arguments are :math:`(q + q_A)/(2\sqrt{q_A})` and
    :math:`(q - q_A)/(2\sqrt{q_A})`.

    Args:
        q: The test statistic of the data.
        q_asimov: The test statistic of the Asimov data.

    Example:
        >>> import jax.numpy as jnp
        >>> from everwillow.hypotest.formulas import qtilde_log_cls
        >>> print(f"{jnp.exp(qtilde_log_cls(3.9382449, 3.4188691)):.5f}")
        0.05252
    """
    q, c = jnp.asarray(q), safe_root(jnp.asarray(q_asimov))
    return q_tilde_log_tail(q, c, c) - q_tilde_log_tail(q, c, jnp.zeros_like(c))


def expected_cls(q_asimov: ArrayLike) -> BandValues:
    r"""Return the CLs expected without signal, for :math:`q_\mu` and :math:`\tilde q`.

    Data whose best fit is N standard deviations from 0 have
    :math:`\mathrm{CL_s} = \Phi(N - \sqrt{q_A}) / \Phi(N)`. This is also used if the
    best fit is beyond the tested value (:math:`N > \sqrt{q_A}`) and the test statistic
    0, as in other tools.

    Args:
        q_asimov: Test statistic of the Asimov data without signal.

    Example:
        >>> from everwillow.hypotest.formulas import expected_cls
        >>> print(f"{expected_cls(3.4188691).median:.5f}")
        0.06446
    """
    c = safe_root(jnp.asarray(q_asimov))
    logs = [log_ndtr(n - c) - log_ndtr(jnp.full_like(c, n)) for n in N_SIGMA]
    return BandValues(*(jnp.exp(log) for log in logs))


def sigma_from_asimov(
    mu: ArrayLike, q_asimov: ArrayLike, mu_asimov: ArrayLike = 0.0
) -> Any:
    r"""Return the standard deviation of the best fit, from Asimov data.

    :math:`\sigma = |\mu - \mu'| / \sqrt{q_A}`, arXiv:1007.1727, eq. (30), where
    :math:`q_A` is at least 1e-10.

    Args:
        mu: The tested value.
        q_asimov: Test statistic of the Asimov data.
        mu_asimov: The value in the Asimov data.

    Example:
        >>> from everwillow.hypotest.formulas import sigma_from_asimov
        >>> print(sigma_from_asimov(2.0, 16.0))
        0.5
    """
    xp = namespace(mu, mu_asimov, q_asimov)
    difference = xp.asarray(mu) - xp.asarray(mu_asimov)
    return xp.abs(difference) / xp.sqrt(xp.maximum(q_asimov, LEAST_Q_ASIMOV))


def significance(pvalue: ArrayLike) -> Any:
    r"""Return :math:`Z = \Phi^{-1}(1 - p)`, one-sided.

    Args:
        pvalue: A probability. For those that underflow use
            ``Distribution.null_significance``.

    Example:
        >>> from everwillow.hypotest.formulas import significance
        >>> print(f"{significance(2.866515718791933e-07):.6f}")
        5.000000
    """
    out = programs.call(_significance, as_array(pvalue))
    return out if is_traced(out) else np.asarray(out)


def _significance(pvalue: Any) -> Any:
    return -ndtri(pvalue)


@also_called(pnull="null_pvalue", palt="alt_pvalue")
def cl_s(null_pvalue: ArrayLike, alt_pvalue: ArrayLike) -> Any:
    r"""Return :math:`\mathrm{CL_s} = p_\mathrm{null} / p_\mathrm{alt}`.

    Args:
        null_pvalue: Probability of at least this test statistic under the tested value.
        alt_pvalue: This probability under the alternative hypothesis.

    Returns:
        The ratio, NaN if both are 0.

    Example:
        >>> from everwillow.hypotest.formulas import cl_s
        >>> print(f"{cl_s(0.02, 0.4):.2f}")
        0.05
    """
    xp = namespace(null_pvalue, alt_pvalue)
    null, alt = xp.asarray(null_pvalue), xp.asarray(alt_pvalue)
    return xp.where(alt > 0, null, np.nan) / xp.where(alt > 0, alt, 1)
