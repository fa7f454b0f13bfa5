"""Calculators: p-values and CLs from the data to the number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest import (
    Q0,
    AsymptoticCalculator,
    EmpiricalDistribution,
    HypoTestCalculator,
    QMu,
    QMuAsymptotic,
    QTilde,
)
from tests.hypotest.models import (
    GAUSSIAN_START,
    SIGMA,
    gaussian,
    gaussian_prediction,
)
from tests.hypotest.test_test_statistics import data


def phi(z):
    return float(jax.scipy.special.ndtr(jnp.asarray(z, float)))


def calculator(mu_hat=0.4, statistic=None, **options):
    statistic = QMu() if statistic is None else statistic
    return AsymptoticCalculator(
        gaussian,
        GAUSSIAN_START,
        data(mu_hat),
        "mu",
        statistic,
        predict_fn=gaussian_prediction,
        **options,
    )


@pytest.mark.slow
def test_cls_of_a_gaussian():
    result = calculator().test(1.5)
    root, root_a = 1.1 / SIGMA, 1.5 / SIGMA
    np.testing.assert_allclose(result.q_obs, root**2, rtol=1e-9)
    np.testing.assert_allclose(result.null_pvalue, 1 - phi(root), rtol=1e-9)
    np.testing.assert_allclose(result.alt_pvalue, 1 - phi(root - root_a), rtol=1e-9)
    cls = calculator().cls(result)
    np.testing.assert_allclose(cls, result.null_pvalue / result.alt_pvalue, rtol=1e-9)


def test_expected_bands_of_a_gaussian():
    tests = calculator()
    expected = tests.expected(tests.test(3.5))
    for n_sigma, (_, value) in zip(range(-2, 3), expected.cl_s, strict=True):
        ratio = phi(n_sigma - 3.5 / SIGMA) / phi(n_sigma)
        np.testing.assert_allclose(value, ratio, rtol=1e-9)
    assert expected["null_pvalue"]["median"] < expected["alt_pvalue"]["median"]


def test_discovery_of_a_gaussian():
    result = calculator(2.0, Q0()).test(0.0)
    np.testing.assert_allclose(result.null_pvalue, 1 - phi(2.0 / SIGMA), rtol=1e-8)
    np.testing.assert_allclose(result.alt_pvalue, phi(1 / SIGMA - 2 / SIGMA), rtol=1e-8)


def test_the_free_and_the_asimov_fit_are_made_once():
    tests = calculator()
    first, second = tests.test(1.5), tests.test(2.5)
    for name in ("fit_free", "asimov_fit_free"):
        one = first.test_stat_result.extras[name]
        assert second.test_stat_result.extras[name] is one
    fresh = calculator().test(2.5)
    np.testing.assert_allclose(second.null_pvalue, fresh.null_pvalue, rtol=1e-10)
    np.testing.assert_allclose(second.alt_pvalue, fresh.alt_pvalue, rtol=1e-10)


def test_a_calculator_in_a_trace():
    tests = calculator()
    tests.test(1.5)

    def cls(poi):
        return tests.cls(tests.test(poi))

    values = jnp.array([0.8, 1.5, 2.5])
    batch = jax.jit(jax.vmap(cls))(values)
    np.testing.assert_allclose(batch, [cls(float(v)) for v in values], rtol=1e-9)


def test_an_empirical_distribution_without_alternative_gives_no_cls():
    toys = EmpiricalDistribution(np.linspace(0.0, 9.0, 91))
    tests = HypoTestCalculator(gaussian, GAUSSIAN_START, data(0.4), "mu", QMu(), toys)
    result = tests.test(2.75)
    np.testing.assert_allclose(result.null_pvalue, np.mean(toys.q_null >= result.q_obs))
    assert result.alt_pvalue is None
    with pytest.raises(ew.EverwillowError, match="cannot be performed without"):
        tests.cls(result)


def test_no_toy_is_as_extreme():
    toys = EmpiricalDistribution(np.zeros(5), np.zeros(5))
    tests = HypoTestCalculator(gaussian, GAUSSIAN_START, data(0.4), "mu", QMu(), toys)
    result = tests.test(2.75)
    assert (result.null_pvalue, result.alt_pvalue) == (0.0, 0.0)
    assert np.isnan(tests.cls(result))


def unbounded(params, observation):
    return observation * params["mu"] + 0.5 * params["theta"] ** 2


def test_a_failed_fit_is_an_error_that_names_it():
    tests = HypoTestCalculator(
        unbounded,
        GAUSSIAN_START,
        1.0,
        "mu",
        QMu(),
        QMuAsymptotic(),
        fit_kwargs={"max_steps": 20},
    )
    with pytest.raises(ew.FitError, match="'fit_free' failed") as caught:
        tests.test(1.0)
    assert not caught.value.result.success


@pytest.mark.parametrize(
    ("statistic", "distribution", "words"),
    [
        (QTilde, QMuAsymptotic(), "instance of a TestStatistic"),
        (QTilde(), QMuAsymptotic, "instance of a Distribution"),
    ],
)
def test_wrong_parts(statistic, distribution, words):
    for kind in (HypoTestCalculator, AsymptoticCalculator):
        with pytest.raises(TypeError, match=words):
            kind(gaussian, GAUSSIAN_START, 1.0, "mu", statistic, distribution)


def test_bands_know_their_names():
    tests = calculator()
    expected = tests.expected(tests.test(1.5))
    with pytest.raises(KeyError, match="median"):
        expected.cl_s["medain"]
    with pytest.raises(KeyError, match="cls"):
        expected["clss"]
    assert [name for name, _ in expected] == [
        "null_pvalue",
        "alt_pvalue",
        "cl_s",
        "null_sig",
        "alt_sig",
    ]
    assert len(expected.cl_s) == 5


@pytest.mark.slow
def test_impossible_data_are_named_once_in_the_error():
    signal, background = np.array([3.0, 4.0]), np.array([5.0, 0.0])

    def expected(params):
        return params["mu"] * signal + params["b"] * background

    def nll(params, counts):
        rate = expected(params)
        return jnp.sum(rate - jax.scipy.special.xlogy(counts, rate))

    model = ew.Model(
        nll,
        {"mu": 1.0, "b": 1.0},
        np.array([6.0, 3.0]),
        expected=expected,
        constraints={"b": ew.Normal(1.0, 0.1)},
        bounds={"mu": ew.Interval(0.0, 10.0)},
    )
    with pytest.raises(ew.FitError, match="expects nothing where 3 were") as error:
        ew.discovery(model, "mu")
    assert str(error.value).count("observed") == 1
