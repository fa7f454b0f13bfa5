"""The p-value of the saturated test from toys."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew
from everwillow.goodness import saturated_test, saturated_toys
from everwillow.toys import sample_toys
from tests.helpers import count_jax_work


def rates(params):
    return params["rate"] * jnp.array([1.0, 2.0, 0.5])


def model_of(counts):
    return ew.Model(
        lambda p, n: jnp.sum(rates(p) - n * jnp.log(rates(p))),
        {"rate": 10.0},
        np.asarray(counts, float),
        expected=rates,
        sample=lambda p, key: jr.poisson(key, rates(p)).astype(float),
    )


@pytest.fixture(scope="module")
def model():
    return model_of([9.0, 26.0, 3.0])


@pytest.mark.slow
def test_statistics_are_those_of_single_toys(model):
    result = ew.fit(model)
    out = saturated_toys(model, result, ntoys=4, key=2)
    toys = sample_toys(model, result, ntoys=4, key=2)
    for i in range(4):
        toy = {"main": toys["main"][i], "aux": {}}
        fitted = ew.fit(model, observation=toy)
        alone = saturated_test(model, fitted, toy).statistic
        np.testing.assert_allclose(out.statistics[i], alone, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_other_seeds_compile_nothing(model):
    result = ew.fit(model)
    saturated_toys(model, result, ntoys=8, key=1)
    with count_jax_work() as work:
        saturated_toys(model, result, ntoys=8, key=2)
    assert (work.traces, work.compilations) == (0, 0)


@pytest.mark.slow
def test_large_counts_follow_the_chi2_distribution():
    model = model_of([1010.0, 1950.0, 530.0])
    out = saturated_toys(model, ew.fit(model), ntoys=2000, key=5)
    assert out.toys.failed == 0
    assert out.toys.lower - 0.02 < out.asymptotic.pvalue < out.toys.upper + 0.02
    np.testing.assert_allclose(out.statistics.mean(), 2.0, atol=0.15)


@pytest.mark.slow
def test_batches_do_not_change_the_toys(model, monkeypatch):
    result = ew.fit(model)
    whole = saturated_toys(model, result, ntoys=7, key=3)
    monkeypatch.setattr("everwillow.goodness.toys.MOST_BYTES", 3 * 24)
    parts = saturated_toys(model, result, ntoys=7, key=3)
    np.testing.assert_allclose(parts.statistics, whole.statistics, rtol=1e-12)


@pytest.mark.slow
def test_failed_fits_are_counted(model):
    out = saturated_toys(model, ew.fit(model), ntoys=20, key=1, max_steps=1)
    assert out.toys.failed == out.fits.failures > 0
    assert np.isnan(out.statistics).sum() == out.fits.failures


@pytest.mark.parametrize("ntoys", [0, 2.5])
def test_the_number_of_toys_is_checked(model, ntoys):
    with pytest.raises(ew.EverwillowError, match="ntoys"):
        saturated_toys(model, ew.fit(model), ntoys=ntoys, key=1)
