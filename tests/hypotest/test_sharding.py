"""Tests and limits on the devices of a mesh."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import everwillow as ew
from everwillow.hypotest import (
    AsymptoticCalculator,
    QMu,
    QTilde,
    expected_upper_limit,
)
from everwillow.hypotest.formulas import expected_cls
from everwillow.hypotest.upper_limit import upper_limit
from tests.hypotest.models import (
    GAUSSIAN_START,
    SIGMA,
    gaussian,
    gaussian_prediction,
    quadratic,
)
from tests.hypotest.test_toys import generate


SPLIT = PartitionSpec("lane")
X = np.array([0.9, 1.4])
AUX = 0.2
PREDICTED: dict[str, Any] = {"predict_fn": gaussian_prediction}


def mesh(kind=AxisType.Auto):
    return jax.make_mesh((2,), ("lane",), axis_types=(kind,))


def on_devices(function, values):
    """Call a function of one number on two devices."""
    mapped = jax.shard_map(
        jax.vmap(function), mesh=mesh(), in_specs=SPLIT, out_specs=SPLIT
    )
    return jax.jit(mapped)(values)


def given(x):
    return {"x": x, "a": jnp.asarray(AUX)}


def test_limits_of_a_function():
    def one(rate):
        return upper_limit(lambda poi: jnp.exp(-rate * poi), (0.0, 10.0))

    rates = np.array([0.7, 1.3])
    found, slopes = on_devices(jax.value_and_grad(one), rates)
    np.testing.assert_allclose(found, -np.log(0.05) / rates, rtol=1e-9)
    np.testing.assert_allclose(slopes, np.log(0.05) / rates**2, rtol=1e-8)


@pytest.mark.slow
def test_expected_limits_of_a_function():
    def bands(scale):
        found = expected_upper_limit(
            lambda mu: expected_cls((scale * mu) ** 2), (0.1, 9.0)
        )
        return jnp.stack([value for _, value in found])

    found = on_devices(bands, np.array([1.0, 2.0]))
    quantiles = np.arange(-2.0, 3.0)
    cdf = jax.scipy.stats.norm.cdf(quantiles)
    expected = quantiles + jax.scipy.stats.norm.ppf(1 - 0.05 * cdf)
    np.testing.assert_allclose(found, [expected, expected / 2], rtol=1e-7)


def statistic(x):
    return QTilde().compute(gaussian, GAUSSIAN_START, given(x), "mu", 1.5).value


def cls(x):
    found = ew.cls(gaussian, "mu", 1.5, GAUSSIAN_START, given(x), **PREDICTED)
    return found.observed


def calculator_cls(x):
    tests = AsymptoticCalculator(
        gaussian, GAUSSIAN_START, given(x), "mu", QTilde(), **PREDICTED
    )
    return tests.cls(tests.test(1.5))


def significance(x):
    found = ew.discovery(gaussian, "mu", GAUSSIAN_START, given(x), **PREDICTED)
    return found.significance


def limit(x):
    found = ew.limits(gaussian, "mu", GAUSSIAN_START, given(x), **PREDICTED)
    return found.observed


def ratio_of_tails(mu, mu_hat):
    """CLs of a Gaussian: the tails of both hypotheses beyond what was found."""
    upper = jax.scipy.stats.norm.sf((mu - mu_hat) / SIGMA)
    return upper / jax.scipy.stats.norm.cdf(mu_hat / SIGMA)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "explicit"),
    [
        (statistic, False),
        (statistic, True),
        (cls, False),
        pytest.param(cls, True, marks=pytest.mark.exhaustive),
        pytest.param(calculator_cls, False, marks=pytest.mark.exhaustive),
        (calculator_cls, True),
        (significance, False),
        pytest.param(significance, True, marks=pytest.mark.exhaustive),
        (limit, False),
        pytest.param(limit, True, marks=pytest.mark.exhaustive),
    ],
)
def test_traced_forms(function, explicit):
    if explicit:
        kind = mesh(AxisType.Explicit)
        with jax.set_mesh(kind):
            data = jax.device_put(X, NamedSharding(kind, SPLIT))
            found = jax.jit(jax.vmap(function))(data)
    else:
        found = on_devices(function, X)
    mu_hat = X - AUX
    if function is statistic:
        np.testing.assert_allclose(found, quadratic(mu_hat, 1.5), rtol=1e-8)
    elif function is significance:
        np.testing.assert_allclose(found, mu_hat / SIGMA, rtol=1e-8)
    elif function is limit:
        np.testing.assert_allclose(ratio_of_tails(found, mu_hat), 0.05, rtol=1e-6)
    else:
        np.testing.assert_allclose(found, ratio_of_tails(1.5, mu_hat), rtol=1e-8)


@pytest.mark.slow
def test_toys():
    def map_fn(function):
        return jax.shard_map(
            jax.vmap(function), mesh=mesh(), in_specs=SPLIT, out_specs=SPLIT
        )

    found = generate(QMu(), 8, generator={"map_fn": map_fn})
    expected = generate(QMu(), 8)
    np.testing.assert_allclose(found.q_null, expected.q_null, rtol=1e-9, atol=1e-9)
