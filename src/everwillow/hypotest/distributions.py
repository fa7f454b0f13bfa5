r"""Distributions of test statistics: asymptotic formulas, and toys.

The formulas themselves, as functions of arrays, are in `everwillow.hypotest.formulas`.
"""

import abc
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from jaxtyping import Array, ArrayLike, Float

from everwillow._errors import ArgumentValueError
from everwillow._numerics import is_traced, namespace
from everwillow.engine import programs
from everwillow.engine.layout import as_array
from everwillow.hypotest import formulas
from everwillow.hypotest.formulas import safe_root, significance_of_log
from everwillow.hypotest.results import (
    N_SIGMA,
    BandValues,
    ExpectedBands,
    TestStatResult,
    ToyResult,
)


# Toys equal to the observation have its test statistic up to the accuracy of fits. With
# this tolerance they count as at least as extreme.
TIE = 1e-7


class Distribution(eqx.Module):
    """The distribution of a test statistic under two hypotheses.

    *Null* is the tested value, *alt* the alternative hypothesis of the Asimov data or
    of the second set of toys. P-values are probabilities of a test statistic at least
    as large as the observed one.
    """

    @abc.abstractmethod
    def _log_pvalues(self, result: TestStatResult) -> tuple[Array, Array]:
        """Return the logarithms of both p-values, NaN if one is not known."""

    @abc.abstractmethod
    def _expected(self, result: TestStatResult) -> ExpectedBands:
        """Return p-values at quantiles of the alternative."""

    @abc.abstractmethod
    def _missing(self, result: TestStatResult, *, alt: bool) -> str | None:
        """Return what is missing for the null or the alternative p-value, or None."""

    def _null_needs_alt(self) -> bool:
        """Return whether the null p-value depends on the Asimov data."""
        return False

    def null_pval(self, result: TestStatResult) -> Any:
        """Return the p-value of the tested value."""
        return _exp(self.log_pvalues(result, alt=False)[0])

    def alt_pval(self, result: TestStatResult) -> Any:
        """Return the p-value of the alternative hypothesis.

        Raises:
            ArgumentValueError: If the alternative is not known.
        """
        return _exp(self.log_pvalues(result)[1])

    def null_significance(self, result: TestStatResult) -> Any:
        r"""Return :math:`Z = \Phi^{-1}(1 - p)` of the tested value."""
        return _run(significance_of_log, self.log_pvalues(result, alt=False)[0])

    def alt_significance(self, result: TestStatResult) -> Any:
        r"""Return :math:`Z = \Phi^{-1}(1 - p)` of the alternative hypothesis.

        Raises:
            ArgumentValueError: If the alternative is not known.
        """
        return _run(significance_of_log, self.log_pvalues(result)[1])

    def expected_pvalues(self, result: TestStatResult) -> ExpectedBands:
        r"""Return the p-values expected for data of the alternative hypothesis.

        The band of N standard deviations is that of the test statistic with the
        alternative p-value :math:`\Phi(N)`. For one-sided test statistics the bands are
        those of the best fit, also if it is beyond the tested value.

        Raises:
            ArgumentValueError: If the alternative is not known.
        """
        self._require(result, alt=True)
        return _run(_expected_of, self, _core(result))

    def log_pvalues(
        self, result: TestStatResult, *, alt: bool = True
    ) -> tuple[Any, Any]:
        """Return the logarithms of both p-values, which do not underflow.

        Args:
            result: A test statistic.
            alt: Whether to require the alternative p-value; else it may be NaN.
        """
        self._require(result, alt=alt)
        return _run(_log_pvalues_of, self, _core(result))

    def _require(self, result: TestStatResult, *, alt: bool) -> None:
        missing = self._missing(result, alt=alt)
        if missing is not None:
            raise ArgumentValueError(
                f"{type(self).__name__}: this cannot be performed without {missing}"
            )


def _core(result: TestStatResult) -> TestStatResult:
    """Return the part of a result that distributions use, as arrays."""
    extras = {k: v for k, v in result.extras.items() if k == "mu_asimov"}
    core = TestStatResult(result.value, result.test, result.q_asimov, extras)
    return jax.tree.map(lambda leaf: as_array(_as_float(leaf)), core)


def _as_float(leaf: Any) -> Any:
    return float(leaf) if isinstance(leaf, int) else leaf


def _log_pvalues_of(distribution: Distribution, result: TestStatResult):
    return distribution._log_pvalues(result)


def _expected_of(distribution: Distribution, result: TestStatResult):
    return distribution._expected(result)


def _run(function: Any, *args: Any) -> Any:
    """Call a compiled function; its results are on the host unless they are traced."""
    out = programs.call(function, *args)
    return out if is_traced(out) else jax.tree.map(np.asarray, out)


def _exp(log_pvalue: Any) -> Any:
    return namespace(log_pvalue).exp(log_pvalue)


class AbstractAsymptotic(Distribution):
    """A distribution in the limit of large samples."""

    # ln(1 - F(q)), a function of q, mu/sigma and mu'/sigma.
    _log_tail: ClassVar[Callable[[Array, Array, Array], Array]]

    @abc.abstractmethod
    def _band(self, n_sigma: float, c: Array, c_prime: Array) -> tuple[Array, Array]:
        """Return the logarithms of both tails; the alternative's is ln Phi(n_sigma)."""

    def cdf(self, q: ArrayLike, mu: ArrayLike, mu_prime: ArrayLike, sigma: ArrayLike):
        r"""Return :math:`F(q_\mu | \mu')`.

        Args:
            q: Value of the test statistic, not negative.
            mu: The tested value.
            mu_prime: The true value of the POI.
            sigma: Standard deviation of the best-fit value.
        """
        q, mu, mu_prime, sigma = (
            jnp.asarray(v, jnp.result_type(float)) for v in (q, mu, mu_prime, sigma)
        )
        return -jnp.expm1(self._log_tail(q, mu / sigma, mu_prime / sigma))

    def _log_pvalues(self, result: TestStatResult) -> tuple[Array, Array]:
        c, c_prime = _in_sigma(result)
        q = jnp.asarray(result.value)
        alt = self._log_tail(q, c, c_prime)
        if result.q_asimov is None:
            alt = jnp.full_like(q, jnp.nan)
        if not self._null_needs_alt():
            c = jnp.zeros_like(c)
        return self._log_tail(q, c, c), alt

    def _expected(self, result: TestStatResult) -> ExpectedBands:
        c, c_prime = _in_sigma(result)
        logs = [self._band(n_sigma, c, c_prime) for n_sigma in N_SIGMA]
        null, alt = (jnp.stack(each) for each in zip(*logs, strict=True))
        return _bands(jnp.exp(null), jnp.exp(alt), jnp.exp(null - alt), null, alt)

    def _missing(self, result: TestStatResult, *, alt: bool) -> str | None:
        if result.q_asimov is not None or not (alt or self._null_needs_alt()):
            return None
        return (
            "the test statistic of Asimov data. Give asimov_observation or predict_fn "
            "to the test statistic or its calculator."
        )

    def _null_needs_alt(self) -> bool:
        return isinstance(self, TMuTildeAsymptotic | QTildeAsymptotic)


class AbstractTwoSided(AbstractAsymptotic):
    """The distribution of a two-sided test statistic."""

    def _band(self, n_sigma: float, c: Array, c_prime: Array) -> tuple[Array, Array]:
        q = formulas.quantile_of(self._log_tail, n_sigma, c, c_prime)
        return self._log_tail(q, c, c), self._log_tail(q, c, c_prime)


class AbstractOneSided(AbstractAsymptotic):
    r"""The distribution of a one-sided test statistic.

    The test statistic is 0 for all data whose best fit is beyond the tested value.
    Bands are nevertheless those of the best fit, with the tails :math:`\Phi(N - |\mu -
    \mu'|/\sigma)` and :math:`\Phi(N)`.
    """

    def _band(self, n_sigma: float, c: Array, c_prime: Array) -> tuple[Array, Array]:
        n = jnp.asarray(n_sigma, c.dtype)
        return log_ndtr(n - jnp.abs(c - c_prime)), log_ndtr(n) + 0 * c


def _in_sigma(result: TestStatResult) -> tuple[Array, Array]:
    """Return mu/sigma and mu'/sigma, from the Asimov data; eq. (30)."""
    mu = jnp.asarray(result.test)
    if result.q_asimov is None:
        # Only distributions without Asimov data get here, which do not use these.
        return jnp.zeros_like(mu), jnp.zeros_like(mu)
    root = safe_root(jnp.asarray(result.q_asimov))
    mu_prime = jnp.asarray(result.extras.get("mu_asimov", 0.0), root.dtype)
    distance = jnp.abs(mu - mu_prime)
    known = distance > 0
    scale = root / jnp.where(known, distance, 1)
    return scale * mu, scale * mu_prime


class TMuAsymptotic(AbstractTwoSided):
    r"""The distribution of :math:`t_\mu`: two tails of a normal one; eq. (33)."""

    _log_tail = staticmethod(formulas.t_log_tail)


class TMuTildeAsymptotic(AbstractTwoSided):
    r"""The distribution of :math:`\tilde t_\mu`; section 3.4."""

    _log_tail = staticmethod(formulas.t_tilde_log_tail)


class QMuAsymptotic(AbstractOneSided):
    r"""The distribution of :math:`q_\mu`; eq. (57)."""

    _log_tail = staticmethod(formulas.q_log_tail)


class QTildeAsymptotic(AbstractOneSided):
    r"""The distribution of :math:`\tilde q_\mu`; eq. (65)."""

    _log_tail = staticmethod(formulas.q_tilde_log_tail)


class Q0Asymptotic(AbstractOneSided):
    r"""The distribution of :math:`q_0`, the test statistic for discovery; eq. (49)."""

    _log_tail = staticmethod(formulas.q0_log_tail)


class EmpiricalDistribution(Distribution):
    """The empirical distribution of toys under both hypotheses.

    Toys without a test statistic, because their fits failed, are left out, and a
    warning gives their number.

    Attributes:
        q_null: The test statistic of toys of the tested value, shape ``(toys,)``.
        q_alt: The test statistic of toys of the alternative; None if there are none.

    Example:
        >>> from everwillow.hypotest import EmpiricalDistribution, TestStatResult
        >>> toys = EmpiricalDistribution([0.0, 1.0, 2.0, 3.0], [2.0, 4.0])
        >>> result = TestStatResult(2.0)
        >>> print(toys.null_pval(result), toys.alt_pval(result))
        0.5 1.0
    """

    q_null: Float[Any, " toys"]
    q_alt: Float[Any, " toys"] | None = None

    def __init__(self, q_null: Any, q_alt: Any = None) -> None:
        self.q_null = checked_toys(q_null, "q_null")
        self.q_alt = None if q_alt is None else checked_toys(q_alt, "q_alt")

    @classmethod
    def from_toys(cls, toys: ToyResult) -> "EmpiricalDistribution":
        """Make the distribution of the toys of a `ToyGenerator`."""
        return cls(toys.q_null, toys.q_alt)

    def _log_pvalues(self, result: TestStatResult) -> tuple[Array, Array]:
        q = jnp.asarray(result.value)
        null = jnp.log(_tail_fraction(self.q_null, q))
        if self.q_alt is None:
            return null, jnp.full_like(null, jnp.nan)
        return null, jnp.log(_tail_fraction(self.q_alt, q))

    def _expected(self, result: TestStatResult) -> ExpectedBands:
        del result
        assert self.q_alt is not None
        # The test statistic with the tail probability Phi(N) is the (1 - Phi(N))
        # quantile.
        alt = jnp.asarray(self.q_alt)
        levels = jax.scipy.special.ndtr(-jnp.asarray(N_SIGMA, alt.dtype))
        q = jnp.nanquantile(alt, levels, method="higher")
        null, other = (_tail_fraction(toys, q) for toys in (self.q_null, alt))
        return _bands(null, other, null / other, jnp.log(null), jnp.log(other))

    def _missing(self, result: TestStatResult, *, alt: bool) -> str | None:
        del result
        if alt and self.q_alt is None:
            return "toys of the alternative hypothesis. Generate them with poi_alt=..."
        return None


SimpleEmpiricalDistribution = EmpiricalDistribution
"""Another name of `EmpiricalDistribution`, which needs no toys of the alternative."""


def _bands(
    null: Array, alt: Array, ratio: Array, log_null: Array, log_alt: Array
) -> ExpectedBands:
    """Return expected values of shape ``(5, ...)``, with their significances."""
    sigs = significance_of_log(jnp.stack((log_null, log_alt)))
    return ExpectedBands(*(BandValues(*row) for row in (null, alt, ratio, *sigs)))


def checked_toys(q: Any, name: str) -> Any:
    """Return toys as an array, with a warning for those that failed."""
    q = q if is_traced(q) else np.asarray(q, np.result_type(float))
    if jnp.ndim(q) != 1 or q.shape[0] == 0:
        raise ArgumentValueError(
            f"{name}: expected one number for each toy, got shape {jnp.shape(q)}."
        )
    if is_traced(q):
        return q
    failures = int(np.sum(np.isnan(q)))
    if failures == len(q):
        raise ArgumentValueError(
            f"{name}: none of the {failures} toys has a test statistic."
        )
    if failures:
        warnings.warn(
            f"{name}: the fits of {failures} of {len(q)} toys failed. P-values leave "
            f"them out and may be off by {failures / len(q):.2g} for it.",
            stacklevel=3,
        )
    return q


def _tail_fraction(toys: Any, q: Array) -> Array:
    """Return the fraction of toys at least as large as q, NaN if q is NaN."""
    toys = jnp.asarray(toys)
    known = ~jnp.isnan(toys)
    least = jnp.ravel(q - TIE * (1 + jnp.abs(q)))
    above = jnp.sum(known[None] & (toys[None] >= least[:, None]), axis=-1)
    above = above.reshape(jnp.shape(q))
    fraction = above / jnp.sum(known)
    return jnp.where(jnp.isnan(q), q, fraction)
