"""Distributions: formulas against sampled best fits and identities."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest import (
    EmpiricalDistribution,
    Q0Asymptotic,
    QMuAsymptotic,
    QTildeAsymptotic,
    SimpleEmpiricalDistribution,
    TestStatResult,
    TMuAsymptotic,
    TMuTildeAsymptotic,
    ToyResult,
)
from everwillow.hypotest.formulas import (
    expected_cls,
    qmu_log_cls,
    qtilde_log_cls,
    significance_of_log,
)


def t(hat, mu):
    return (mu - hat) ** 2


def t_tilde(hat, mu):
    return t(hat, mu) - hat**2 * (hat < 0)


# Of a best fit with standard deviation 1: test statistic by its definition.
DEFINITIONS = {
    "TMu": (TMuAsymptotic(), t),
    "TMuTilde": (TMuTildeAsymptotic(), t_tilde),
    "QMu": (QMuAsymptotic(), lambda hat, mu: t(hat, mu) * (hat <= mu)),
    "QTilde": (QTildeAsymptotic(), lambda hat, mu: t_tilde(hat, mu) * (hat <= mu)),
    "Q0": (Q0Asymptotic(), lambda hat, mu: hat**2 * (hat >= 0)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("mu_prime", [0.0, 0.7, 2.0])
def test_cdf_is_that_of_sampled_best_fits(name, mu_prime):
    distribution, definition = DEFINITIONS[name]
    mu = 0.0 if name == "Q0" else 1.3
    # Quantiles of the normal distribution instead of random numbers: no noise.
    levels = (np.arange(200_000) + 0.5) / 200_000
    hats = mu_prime + np.asarray(jax.scipy.special.ndtri(levels))
    values = np.sort(definition(hats, mu))
    points = np.array([0.05, 0.8, 1.69, 2.5, 6.0])
    below = np.searchsorted(values, points, side="right") / len(values)
    cdf = distribution.cdf(points, mu, mu_prime, 1.0)
    np.testing.assert_allclose(cdf, below, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFINITIONS)
def test_expected_band_is_the_quantile_of_the_alternative(name):
    distribution, definition = DEFINITIONS[name]
    mu, mu_prime = (0.0, 3.0) if name == "Q0" else (3.0, 0.0)
    levels = (np.arange(400_000) + 0.5) / 400_000
    normal = np.asarray(jax.scipy.special.ndtri(levels))
    alt = np.sort(definition(mu_prime + normal, mu))[::-1]
    result = TestStatResult(2.0, mu, 9.0, {"mu_asimov": mu_prime})
    bands = distribution.expected_pvalues(result)
    for n_sigma, (band, palt) in zip(
        (-2.0, -1.0, 0.0, 1.0, 2.0), bands.alt_pvalue, strict=True
    ):
        level = float(jax.scipy.special.ndtr(n_sigma))
        np.testing.assert_allclose(palt, level, rtol=1e-9)
        q = alt[int(level * len(alt))]
        at_q = TestStatResult(q, mu, 9.0, {"mu_asimov": mu_prime})
        null = distribution.null_pval(at_q)
        np.testing.assert_allclose(bands.null_pvalue[band], null, rtol=2e-3)
        np.testing.assert_allclose(bands.cl_s[band], null / level, rtol=2e-3)


def test_pvalues_and_significances_of_known_values():
    five = TestStatResult(25.0, 0.0)
    np.testing.assert_allclose(Q0Asymptotic().null_pval(five), 2.866515718791939e-07)
    np.testing.assert_allclose(Q0Asymptotic().null_significance(five), 5.0, rtol=1e-12)
    two_sided = TMuAsymptotic().null_pval(TestStatResult(4.0, 1.0))
    np.testing.assert_allclose(two_sided, 0.04550026389635842, rtol=1e-12)


@pytest.mark.parametrize("z", [-3.0, 0.0, 0.5, 2.0, 8.0, 40.0, 200.0])
def test_significance_far_in_the_tail(z):
    result = TestStatResult(max(z, 0.0) ** 2, 0.0)
    if z >= 0:
        found = Q0Asymptotic().null_significance(result)
        np.testing.assert_allclose(found, z, rtol=1e-12, atol=1e-12)
    found = significance_of_log(log_tail(z))
    np.testing.assert_allclose(found, z, rtol=1e-9, atol=1e-9)


def log_tail(z):
    """ln(1 - Phi(z)), from the error function or from its asymptotic series."""
    if z < 25:
        return math.log(math.erfc(z / math.sqrt(2)) / 2)
    series = -1 / z**2 + 3 / z**4 - 15 / z**6 + 105 / z**8
    return -(z**2) / 2 - math.log(z * math.sqrt(2 * math.pi)) + math.log1p(series)


def test_cls_does_not_underflow():
    assert qmu_log_cls(4000.0, 3600.0) < -500
    root = math.sqrt(4000)
    expected = log_tail(root) - log_tail(root - 60)
    np.testing.assert_allclose(qmu_log_cls(4000.0, 3600.0), expected, rtol=1e-10)


def test_closed_forms_of_limits_are_the_distributions():
    for q, q_asimov in ((0.0, 2.0), (1.2, 2.0), (3.5, 2.0)):
        result = TestStatResult(q, 1.0, q_asimov, {"mu_asimov": 0.0})
        for formula, distribution in (
            (qmu_log_cls, QMuAsymptotic()),
            (qtilde_log_cls, QTildeAsymptotic()),
        ):
            ratio = distribution.null_pval(result) / distribution.alt_pval(result)
            np.testing.assert_allclose(np.exp(formula(q, q_asimov)), ratio, rtol=1e-12)
    result = TestStatResult(1.0, 1.0, 6.0, {"mu_asimov": 0.0})
    for distribution in (QMuAsymptotic(), QTildeAsymptotic()):
        bands = distribution.expected_pvalues(result).cl_s
        for name, value in expected_cls(6.0):
            np.testing.assert_allclose(bands[name], value, rtol=1e-12)


def test_a_band_beyond_the_tested_value_is_that_of_the_best_fit():
    # As pyhf 0.7.6 has it: Phi(N - sqrt(q_A)) / Phi(N) also for N > sqrt(q_A).
    def phi(z):
        return math.erfc(-z / math.sqrt(2)) / 2

    bands = expected_cls(2.25)
    np.testing.assert_allclose(bands.plus_2sigma, phi(0.5) / phi(2.0), rtol=1e-12)


@pytest.mark.parametrize("formula", [qmu_log_cls, qtilde_log_cls])
def test_closed_forms_have_derivatives(formula):
    for q, q_asimov in ((1.2, 2.0), (3.5, 2.0)):
        slope = jax.grad(formula, argnums=(0, 1))(q, q_asimov)
        step = 1e-5
        first = formula(q + step, q_asimov) - formula(q - step, q_asimov)
        second = formula(q, q_asimov + step) - formula(q, q_asimov - step)
        expected = np.array([first, second]) / (2 * step)
        np.testing.assert_allclose(slope, expected, rtol=1e-8)
    assert np.all(np.isfinite(jax.grad(formula, argnums=(0, 1))(0.0, 2.0)))


@pytest.mark.slow
def test_bands_of_two_sided_statistics_have_derivatives():
    @jax.jit
    def median(q_asimov):
        result = TestStatResult(jnp.asarray(1.0), jnp.asarray(1.0), q_asimov)
        return TMuTildeAsymptotic().expected_pvalues(result).null_pvalue.median

    slope = jax.jit(jax.grad(median))(4.0)
    difference = (median(4.001) - median(3.999)) / 0.002
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_batches_of_results():
    q = jnp.array([0.0, 1.0, 5.0])

    def both(value):
        result = TestStatResult(value, jnp.asarray(1.0), jnp.asarray(3.0))
        return jnp.stack(QTildeAsymptotic().log_pvalues(result))

    batch = jax.vmap(both)(q)
    for i, value in enumerate(q):
        np.testing.assert_allclose(batch[i], both(value), rtol=1e-13)


@pytest.mark.parametrize("distribution", [QMuAsymptotic(), QTildeAsymptotic()])
def test_without_asimov_data(distribution):
    result = TestStatResult(1.0, 1.0)
    with pytest.raises(ew.EverwillowError, match="cannot be performed without"):
        distribution.alt_pval(result)
    with pytest.raises(ew.EverwillowError, match="cannot be performed without"):
        distribution.expected_pvalues(result)
    if isinstance(distribution, QTildeAsymptotic):
        with pytest.raises(ew.EverwillowError, match="Asimov"):
            distribution.null_pval(result)
    else:
        assert 0 < distribution.null_pval(result) < 1


def test_fractions_of_toys():
    toys = EmpiricalDistribution.from_toys(
        ToyResult(np.arange(100.0), np.arange(50.0, 150.0))
    )
    result = TestStatResult(np.float64(90.0))
    np.testing.assert_allclose(toys.null_pval(result), 0.10)
    np.testing.assert_allclose(toys.alt_pval(result), 0.60)
    # A toy with the data of the observation counts, whatever the rounding.
    above = TestStatResult(np.float64(90.0 + 1e-9))
    np.testing.assert_allclose(toys.null_pval(above), 0.10)
    np.testing.assert_allclose(toys.null_significance(result), 1.2815515655446004)
    bands = toys.expected_pvalues(result)
    for name, level in (("minus_2sigma", 0.0228), ("median", 0.5)):
        np.testing.assert_allclose(bands.alt_pvalue[name], level, atol=0.01)
    assert bands.cl_s.median == bands.null_pvalue.median / bands.alt_pvalue.median
    assert dict(bands)["cl_s"] is bands["cl_s"]


def test_toys_of_one_hypothesis():
    toys = EmpiricalDistribution(np.arange(10.0))
    simple = SimpleEmpiricalDistribution(np.arange(10.0))
    result = TestStatResult(8.5)
    for distribution in (toys, simple):
        np.testing.assert_allclose(distribution.null_pval(result), 0.1)
        with pytest.raises(ew.EverwillowError, match="cannot be performed without"):
            distribution.alt_pval(result)
        with pytest.raises(ew.EverwillowError, match="cannot be performed without"):
            distribution.expected_pvalues(result)


def test_toys_that_failed_are_counted():
    with pytest.warns(UserWarning, match="2 of 4 toys failed"):
        toys = EmpiricalDistribution([0.0, np.nan, 2.0, np.nan])
    assert toys.null_pval(TestStatResult(1.0)) == 0.5
    with pytest.raises(ew.EverwillowError, match="none of the 3"):
        EmpiricalDistribution([np.nan] * 3)
    with pytest.raises(ew.EverwillowError, match="shape"):
        EmpiricalDistribution([])


def test_a_test_statistic_that_is_nan_has_no_pvalue():
    result = TestStatResult(np.nan, 1.0, 2.0)
    assert np.isnan(EmpiricalDistribution([1.0, 2.0]).null_pval(result))
    assert np.isnan(QTildeAsymptotic().null_pval(result))
    assert np.isnan(QTildeAsymptotic().alt_pval(result))
