"""Upper limits: roots that are known, and what happens where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
from everwillow.hypotest import (
    AsymptoticCalculator,
    BandValues,
    QTilde,
    expected_upper_limit,
    upper_limit_scan,
    upper_limit_toys,
)
from everwillow.hypotest.formulas import expected_cls
from everwillow.hypotest.upper_limit import upper_limit
from tests.hypotest.models import SIGMA, uncorrelated_background
from tests.hypotest.test_calculators import calculator, phi


@pytest.mark.slow
def test_limit_of_cls_of_a_gaussian():
    tests = calculator(0.4)
    evaluations = []

    def cls(poi):
        evaluations.append(poi)
        return tests.cls(tests.test(poi))

    limit = upper_limit(cls, (0.0, 10.0))
    np.testing.assert_allclose(cls(limit), 0.05, rtol=1e-6)
    # arXiv:1007.1727 has no formula for CLs; of a Gaussian it is a ratio of tails.
    ratio = (1 - phi((limit - 0.4) / SIGMA)) / (1 - phi(-0.4 / SIGMA))
    np.testing.assert_allclose(ratio, 0.05, rtol=1e-6)
    assert len(evaluations) < 20


def test_expected_limits_of_a_gaussian():
    tests = calculator(0.4)
    limits = expected_upper_limit(
        lambda poi: tests.expected(tests.test(poi)), (0.0, 10.0)
    )
    for n_sigma, (_, limit) in zip(range(-2, 3), limits, strict=True):
        quantile = jax.scipy.special.ndtri(1 - 0.05 * phi(n_sigma))
        np.testing.assert_allclose(limit, SIGMA * (n_sigma + quantile), rtol=1e-7)


@pytest.mark.slow
def test_cls_at_the_limit_of_a_model():
    tests = AsymptoticCalculator(uncorrelated_background(), None, None, "mu", QTilde())
    limit = upper_limit(lambda poi: tests.cls(tests.test(poi)), (0.0, 5.0))
    np.testing.assert_allclose(tests.cls(tests.test(limit)), 0.05, rtol=1e-6)


def test_traced_limit_and_its_derivative():
    def limit(rate):
        return upper_limit(lambda poi: jnp.exp(-rate * poi), (0.0, 10.0))

    expected = -np.log(0.05)
    for function in (limit, jax.jit(limit)):
        np.testing.assert_allclose(function(1.3), expected / 1.3, rtol=1e-9)
        slope = jax.grad(function)(1.3)
        np.testing.assert_allclose(slope, -expected / 1.3**2, rtol=1e-8)
    rates = jnp.array([0.7, 1.3, 2.0])
    np.testing.assert_allclose(jax.vmap(limit)(rates), expected / rates, rtol=1e-9)


def test_traced_expected_limits_and_their_derivatives():
    def limits(scale):
        return expected_upper_limit(
            lambda mu: expected_cls((scale * mu) ** 2), (0.1, 9.0)
        )

    values = limits(1.0)
    slopes = jax.jit(jax.jacfwd(limits))(1.0)
    for (_, value), (_, slope) in zip(values, slopes, strict=True):
        np.testing.assert_allclose(slope, -value, rtol=1e-7)


@pytest.mark.parametrize(
    "function",
    [lambda x: (x - 2.0) ** 3, lambda x: np.cbrt(2.0 - x), lambda x: 2.0 - x],
)
def test_roots_of_awkward_functions(function):
    limit = upper_limit(lambda x: function(x) + 0.05, (0.3, 7.0))
    np.testing.assert_allclose(limit, 2.0, atol=1e-6)


def test_a_limit_on_a_bound():
    assert upper_limit(lambda x: 1.5 - x, (0.0, 1.0), 0.5) == 1.0


def test_a_solver_of_optimistix():
    solver = optx.Bisection(rtol=1e-10, atol=1e-10)

    def limit(rate):
        return upper_limit(lambda poi: jnp.exp(-rate * poi), (0.0, 10.0), solver=solver)

    np.testing.assert_allclose(limit(1.0), -np.log(0.05), rtol=1e-8)
    np.testing.assert_allclose(jax.grad(limit)(1.0), np.log(0.05), rtol=1e-7)
    with pytest.raises(ew.EverwillowError, match="not inside the bounds"):
        upper_limit(lambda poi: jnp.exp(-poi), (0.0, 1.0), solver=solver)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [((0.0, 1.0), "Raise the upper"), ((4.0, 9.0), "Lower the lower")],
)
def test_a_limit_outside_of_the_bounds_is_an_error(bounds, words):
    with pytest.raises(ew.EverwillowError, match=f"not inside the bounds.*{words}"):
        upper_limit(lambda x: float(np.exp(-x)), bounds)
    bands = lambda x: BandValues(*[np.exp(-x)] * 5)
    with pytest.raises(ew.EverwillowError, match="minus_2sigma: the limit is not"):
        expected_upper_limit(bands, bounds)
    traced = jax.jit(lambda a: upper_limit(lambda x: jnp.exp(-a * x), bounds))(1.0)
    assert np.isnan(traced)


def test_an_objective_that_is_nan():
    with pytest.raises(ew.EverwillowError, match="NaN at 5"):
        upper_limit(lambda x: 1.0 if x < 5 else np.nan, (0.0, 5.0))
    with pytest.raises(ew.EverwillowError, match="no limit was found"):
        upper_limit(lambda x: 1.0 if x < 1 else 0.0 if x > 4 else np.nan, (0.0, 5.0))
    with pytest.raises(ew.EverwillowError, match="NaN at 3"):
        upper_limit_scan(lambda x: np.nan if x == 3 else 1 - x / 4, [0.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("bounds", "level"), [((2.0, 1.0), 0.05), ((0.0, np.inf), 0.05), ((0.0, 1.0), 1.5)]
)
def test_bad_arguments(bounds, level):
    with pytest.raises(ValueError, match=r"bounds|level"):
        upper_limit(lambda x: 1 - x, bounds, level)
    with pytest.raises(ValueError, match=r"bounds|level"):
        upper_limit_toys(lambda x, key: 1 - x, bounds, None, level)


def test_bounds_have_two_ends():
    with pytest.raises(TypeError, match="two values"):
        upper_limit(lambda x: 1 - x, 3.0)


def test_scan():
    grid = np.linspace(0.0, 6.0, 601)
    limit = upper_limit_scan(lambda x: np.exp(-x), grid)
    np.testing.assert_allclose(limit, -np.log(0.05), atol=1e-4)
    # Of several crossings the largest counts.
    wave = upper_limit_scan(lambda x: 0.05 + np.cos(np.pi * x), np.arange(0, 4, 0.1))
    np.testing.assert_allclose(wave, 2.5, atol=1e-9)
    with pytest.raises(ew.EverwillowError, match="does not fall below"):
        upper_limit_scan(lambda x: np.exp(-x), [0.0, 1.0])
    with pytest.raises(ew.EverwillowError, match="increasing"):
        upper_limit_scan(lambda x: np.exp(-x), [1.0, 0.0])


def test_limit_from_toys():
    keys = []

    def noisy(poi, key):
        keys.append(key)
        return np.exp(-poi) + 1e-3 * np.sin(1e3 * poi)

    limit = upper_limit_toys(noisy, (0.0, 8.0), "key", tol=1e-3)
    np.testing.assert_allclose(limit, -np.log(0.05), atol=0.03)
    assert set(keys) == {"key"}
    with pytest.raises(ew.EverwillowError, match="after 3 bisections"):
        upper_limit_toys(noisy, (0.0, 8.0), "key", tol=1e-3, max_iterations=3)
    with pytest.raises(ew.EverwillowError, match="tol"):
        upper_limit_toys(noisy, (0.0, 8.0), "key", tol=0.0)
