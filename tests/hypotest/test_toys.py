"""Toys of test statistics: reproducible, complete, and distributed as they should."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest import (
    Q0,
    CowanTestStatistic,
    QMu,
    QTilde,
    TestStatistic,
    TMuAsymptotic,
    TMuTilde,
    ToyGenerator,
)
from tests.hypotest.models import (
    GAUSSIAN_DATA,
    GAUSSIAN_START,
    gaussian,
    gaussian_toy,
    quadratic,
    uncorrelated_background,
)


def generate(statistic, ntoys, *, nll=gaussian, key=5, generator=None, **options):
    generator = generator or {}
    return ToyGenerator(statistic, ntoys=ntoys, **generator).generate(
        nll,
        GAUSSIAN_START,
        GAUSSIAN_DATA,
        "mu",
        options.pop("poi_null", 1.0),
        key=key,
        sample_fn=options.pop("sample_fn", gaussian_toy),
        **options,
    )


def toys_of(poi, key, count):
    """The same toys by hand: drawn with theta fitted to the data, at the POI."""
    theta = ((0.9 - poi) + 0.2 / 0.75**2) / (1 + 1 / 0.75**2)
    state = ew.State.from_pytree({"mu": poi, "theta": theta})
    return [gaussian_toy(state, jr.fold_in(key, i)) for i in range(count)]


@pytest.mark.slow
def test_toys_have_the_test_statistic_of_their_data():
    null_key, alt_key = jr.split(jr.key(5))
    toys = generate(QTilde(), 40, poi_alt=0.0)
    for values, poi, key in ((toys.q_null, 1.0, null_key), (toys.q_alt, 0.0, alt_key)):
        hats = np.array([float(t["x"] - t["a"]) for t in toys_of(poi, key, 40)])
        expected = quadratic(hats, 1.0) - quadratic(hats, 0.0) * (hats < 0)
        expected *= hats <= 1.0
        np.testing.assert_allclose(values, expected, atol=1e-8)
    assert toys.failures == {"null": 0, "alt": 0}


@pytest.mark.slow
def test_toys_do_not_depend_on_how_the_work_is_divided():
    all_at_once = generate(QMu(), 37).q_null
    for generator in (
        {"batch_size": 5},
        {"map_fn": lambda f: lambda xs: jax.lax.map(f, xs, batch_size=10)},
    ):
        divided = generate(QMu(), 37, generator=generator).q_null
        np.testing.assert_allclose(divided, all_at_once, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(generate(QMu(), 9).q_null, all_at_once[:9], atol=1e-9)
    assert not np.allclose(generate(QMu(), 9, key=6).q_null, all_at_once[:9])


@pytest.mark.slow
def test_keys_and_seeds_are_the_same():
    by_key = generate(QMu(), 9, key=jr.key(5)).q_null
    np.testing.assert_array_equal(by_key, generate(QMu(), 9, key=5).q_null)
    with pytest.raises(TypeError, match="seed"):
        generate(QMu(), 9, key="five")


@pytest.mark.slow
def test_toys_follow_the_asymptotic_distribution_of_a_gaussian():
    values = np.sort(generate(TMuTilde(), 2000, poi_null=30.0).q_null)
    # So far from 0 the statistic is that of a parabola.
    cdf = np.asarray(TMuAsymptotic().cdf(values, 30.0, 30.0, 1.0))
    steps = (np.arange(2000) + 0.5) / 2000
    # Kolmogorov's distance exceeds this once in 10 000 times.
    assert np.max(np.abs(cdf - steps)) < 2.23 / np.sqrt(2000)


@pytest.mark.slow
def test_poisson_toys_of_a_prediction():
    start = ew.State.from_pytree({"mu": 0.5})
    generator = ToyGenerator(QMu(), ntoys=200)
    toys = generator.generate(
        counting,
        start,
        55.0,
        "mu",
        1.0,
        key=2,
        predict_fn=lambda state: 50.0 + 10.0 * state["mu"],
    )
    # One count, one test statistic: there are only some dozen.
    assert len(np.unique(np.round(toys.q_null, 8))) < 40
    with pytest.raises(ew.EverwillowError, match="sample_fn"):
        generator.generate(counting, start, 55.0, "mu", 1.0, key=2)


@pytest.mark.slow
def test_toys_of_a_model():
    toys = ToyGenerator(QTilde(), ntoys=300).generate(
        uncorrelated_background(), None, None, "mu", 1.0, poi_alt=0.0, key=1
    )
    assert toys.failures == {"null": 0, "alt": 0}
    assert np.all(toys.q_null >= 0)
    # Toys without signal are less compatible with the tested one.
    assert np.median(toys.q_alt) > np.median(toys.q_null)
    assert "300 of 300" in repr(toys)


@pytest.mark.slow
def test_q0_tests_zero():
    toys = generate(Q0(), 30, poi_null=0.0)
    by_hand = toys_of(0.0, jr.split(jr.key(5))[0], 30)
    hats = np.array([float(t["x"] - t["a"]) for t in by_hand])
    expected = quadratic(hats, 0.0) * (hats >= 0)
    np.testing.assert_allclose(toys.q_null, expected, atol=1e-8)


@pytest.mark.slow
def test_a_bound_by_a_smooth_map():
    smooth = {"mu": ew.MinuitTransform(-50.0, 50.0)}
    bounded = generate(QTilde(), 25, bounds=smooth).q_null
    np.testing.assert_allclose(bounded, generate(QTilde(), 25).q_null, atol=1e-7)


def fragile(params, data):
    """A likelihood that has no minimum for some data."""
    value = gaussian(params, data)
    return jnp.where(data["x"] > 1.5, -jnp.exp(params["mu"]), value)


@pytest.mark.slow
def test_failed_toys_are_kept_and_counted():
    toys = generate(QMu(), 60, nll=fragile, max_steps=30)
    by_hand = toys_of(1.0, jr.split(jr.key(5))[0], 60)
    wrong = np.array([float(t["x"]) > 1.5 for t in by_hand])
    np.testing.assert_array_equal(np.isnan(toys.q_null), wrong)
    assert 0 < wrong.sum() == toys.failures["null"]
    assert f"{60 - wrong.sum()} of 60" in repr(toys)
    sound = generate(QMu(), 60).q_null
    np.testing.assert_allclose(toys.q_null[~wrong], sound[~wrong], atol=1e-9)


class Counted(CowanTestStatistic):
    def _of_ratio(self, twice_ratio, mu_hat, poi_test):
        del mu_hat, poi_test
        return 2 * twice_ratio


class Residual(TestStatistic):
    def _compute(self, nll_fn, params, observation, poi_key, poi_test, **fit_kwargs):
        del nll_fn, params, poi_key, fit_kwargs
        return jnp.abs(observation["x"] - observation["a"] - poi_test), {}


@pytest.mark.slow
def test_test_statistics_of_ones_own():
    by_hand = toys_of(1.0, jr.split(jr.key(5))[0], 10)
    hats = np.array([float(t["x"] - t["a"]) for t in by_hand])
    doubled = generate(Counted(), 10).q_null
    np.testing.assert_allclose(doubled, 2 * quadratic(hats, 1.0), atol=1e-8)
    residual = generate(Residual(), 10)
    np.testing.assert_allclose(residual.q_null, np.abs(hats - 1.0), rtol=1e-12)
    assert residual.status_null is None


def test_toys_in_a_trace():
    def residuals(x):
        data = {"x": x, "a": jnp.asarray(0.2)}
        generator = ToyGenerator(Residual(), ntoys=20)
        options = {"key": 5, "sample_fn": gaussian_toy, "nuisances": "a priori"}
        toys = generator.generate(gaussian, GAUSSIAN_START, data, "mu", 1.0, **options)
        return toys.q_null

    eager = generate(Residual(), 20, nuisances="a priori").q_null
    np.testing.assert_allclose(jax.jit(residuals)(0.9), eager, rtol=1e-12)


@pytest.mark.slow
def test_second_call_compiles_nothing():
    traces = []

    def counted(params, observation):
        traces.append(0)
        return gaussian(params, observation)

    generate(QMu(), 20, nll=counted)
    before = len(traces)
    generate(QMu(), 20, nll=counted, key=8, poi_null=1.4, poi_alt=0.1)
    assert len(traces) == before


@pytest.mark.slow
def test_toys_a_priori():
    toys = generate(QMu(), 10, nuisances="a priori")
    state = ew.State.from_pytree({"mu": 1.0, "theta": 0.0})
    key = jr.split(jr.key(5))[0]
    by_hand = [gaussian_toy(state, jr.fold_in(key, i)) for i in range(10)]
    hats = np.array([float(t["x"] - t["a"]) for t in by_hand])
    expected = quadratic(hats, 1.0) * (hats <= 1.0)
    np.testing.assert_allclose(toys.q_null, expected, atol=1e-8)


@pytest.mark.parametrize("options", [{"ntoys": 0}, {"ntoys": 5, "batch_size": 0}])
def test_no_toys_at_all(options):
    with pytest.raises(ew.EverwillowError, match="positive"):
        ToyGenerator(QMu(), **options)


@pytest.mark.slow
def test_toys_of_another_structure():
    with pytest.raises(ew.EverwillowError, match="like the observation"):
        generate(QMu(), 5, sample_fn=lambda state, key: jr.normal(key))


def counting(params, count):
    rate = 50.0 + 10.0 * params["mu"]
    return rate - jnp.asarray(count, rate.dtype) * jnp.log(rate)


def counting_toy(state, key):
    return jr.poisson(key, 50.0 + 10.0 * state["mu"])


@pytest.mark.slow
@pytest.mark.parametrize("count", [55, 55.0])
def test_toys_of_integers(count):
    start = ew.State.from_pytree({"mu": 0.5})
    toys = ToyGenerator(QMu(), ntoys=20).generate(
        counting, start, count, "mu", 1.0, key=2, sample_fn=counting_toy
    )
    assert toys.failures == {"null": 0}
