"""Bins that expect exactly nothing, and have nothing, are no part of a test.

The model of `test_a_bin_that_expects_nothing` is from scikit-hep/pyhf#1852.
"""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.goodness import saturated_test, yield_chi2
from everwillow.models.histfactory import from_pyhf


MODELS = 200
BINS = 6


def expected(params):
    return params["a"] * params["shape"] + params["b"] * params["other"]


def poisson(params, counts):
    rate, some = expected(params), counts > 0
    logs = jnp.where(some, counts * jnp.log(jnp.where(some, rate, 1.0)), 0.0)
    return jnp.sum(rate - logs)


def gauss(params, data):
    return 0.5 * jnp.sum((expected(params) - data) ** 2)


def model_of(nll, shape, other, data):
    templates = {"shape": np.asarray(shape), "other": np.asarray(other)}
    start = {"a": 1.0, "b": 1.0, **templates}
    return ew.Model(
        nll,
        start,
        np.asarray(data, float),
        expected=expected,
        fixed=templates,
        bounds={"a": ew.Interval(0.0, 1e3), "b": ew.Interval(0.0, 1e3)},
    )


def deviance(nu, n):
    some = n > 0
    return 2 * np.sum(nu - n + np.where(some, n * np.log(np.where(some, n / nu, 1)), 0))


@pytest.mark.slow
def test_a_bin_that_expects_nothing():
    shape, counts = np.array([1, 2, 3, 0.5, 0.0]), np.array([1, 2, 3, 0.0, 0.0])
    model = model_of(poisson, shape, np.array([0.0, 0.0, 0.0, 0.0, 1.0]), counts)
    out = saturated_test(model, ew.fit(model))
    nu = 6 / 6.5 * np.array([1, 2, 3, 0.5])
    np.testing.assert_allclose(out.statistic, deviance(nu, counts[:4]), rtol=1e-7)
    assert f"{out.statistic:.6f}" == "0.960512"
    # Of the second strength, at 0 in its own bin, nothing is left but the parameter.
    assert out.ndof == 4 - 2


@pytest.mark.slow
def test_random_models_with_empty_bins():
    """Deviance and number of data are those of the bins that are left."""
    rng = np.random.default_rng(1852)
    for _ in range(MODELS):
        shape, other = rng.uniform(1, 10, (2, BINS))
        empty = rng.random(BINS) < 0.4
        empty[rng.choice(BINS, 3, replace=False)] = False
        shape[empty], other[empty] = 0.0, 0.0
        counts = np.where(empty, 0, rng.poisson(shape + other))
        if counts.sum() == 0:
            continue
        model = model_of(poisson, shape, other, counts)
        result = ew.fit(model)
        out = saturated_test(model, result)
        nu = result.params["a"] * shape + result.params["b"] * other
        by_hand = deviance(nu[~empty], counts[~empty])
        np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-8, atol=1e-9)
        assert out.ndof == np.sum(~empty) - 2
        assert np.isfinite(out.pvalue) == (out.ndof > 0)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["variances", "matrix"])
def test_data_without_variance(form):
    shape, data = np.array([1.0, 2, 3, 0, 0, 0]), np.array([2.0, 1, 4, 0, 0, 0])
    other = np.array([1.0, 0, 1, 0, 0, 0])
    model = model_of(gauss, shape, other, data)
    variance = np.array([1.0, 1, 1, 0, 0, 0])
    given = variance if form == "variances" else np.diag(variance)
    result = ew.fit(model)
    out = saturated_test(model, result, data_variance=given)
    away = data - expected(result.params.to_pytree())
    np.testing.assert_allclose(out.statistic, np.sum(away**2), rtol=1e-8)
    assert out.ndof == 3 - 2
    chi2 = yield_chi2(model, result, data_variance=given)
    np.testing.assert_allclose(chi2.statistic, out.statistic, rtol=1e-6)
    assert chi2.ndof == out.ndof


def workspace(counts, background):
    sample = {"name": "b", "data": background, "modifiers": []}
    sample["modifiers"].append({"name": "k", "type": "normfactor", "data": None})
    side = {"hi": 1.1, "lo": 0.9}
    sample["modifiers"].append({"name": "alpha", "type": "normsys", "data": side})
    signal = {
        "name": "s",
        "data": [0.5 * b for b in background],
        "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
    }
    signal["data"][0] += 3.0
    return {
        "channels": [{"name": "c", "samples": [signal, sample]}],
        "observations": [{"name": "c", "data": counts}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


@pytest.mark.slow
def test_a_workspace_with_an_empty_bin():
    whole = from_pyhf(workspace([14.0, 18.0, 33.0, 0.0], [10.0, 20.0, 30.0, 0.0]))
    without = from_pyhf(workspace([14.0, 18.0, 33.0], [10.0, 20.0, 30.0]))
    found, expected = (saturated_test(m, ew.fit(m)) for m in (whole, without))
    np.testing.assert_allclose(
        found.statistic, expected.statistic, rtol=1e-7, atol=1e-8
    )
    assert found.ndof == expected.ndof
    chi2 = [yield_chi2(m, ew.fit(m)) for m in (whole, without)]
    np.testing.assert_allclose(chi2[0].statistic, chi2[1].statistic, rtol=1e-6)
    assert chi2[0].ndof == chi2[1].ndof
