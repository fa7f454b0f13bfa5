"""What is fixed needs no derivative, not even on a bound where there is none."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import xlogy

import everwillow as ew
from everwillow.fitting.conditional import conditional_fit
from everwillow.solvers import NewtonCG, TrustRegionNewton
from tests.fitting.objectives import state


BINS = 4
SOLVERS = {"Newton": TrustRegionNewton(), "NewtonCG": NewtonCG()}
# Each has no derivative on the end at which it vanishes.
SHAPES = {
    "root": (jnp.sqrt, 0.0),
    "root at the upper end": (lambda mu: jnp.sqrt(1 - mu), 1.0),
    "entropy": (jax.scipy.special.entr, 0.0),
    "power": (lambda mu: mu**0.75, 0.0),
}


def nll(params: Any, data: Any) -> Any:
    """-ln L of counts that expect β b + i f(μ)."""
    branches = [shape for shape, _ in SHAPES.values()]
    term = jax.lax.switch(data["which"], branches, params["mu"])
    rate = params["beta"] * data["b"] + data["i"] * term
    return jnp.sum(rate - data["n"] * jnp.log(rate))


def draw(shape: str, seed: int) -> Any:
    """Return data, and what is fitted where the interference vanishes."""
    rng = np.random.default_rng(seed)
    b = rng.uniform(2, 30, BINS)
    n = rng.poisson(rng.uniform(0.5, 2) * b).astype(float) + (np.arange(BINS) == 0)
    which = np.int32(list(SHAPES).index(shape))
    data = {"n": n, "b": b, "i": rng.uniform(-1, 1, BINS), "which": which}
    # Σ (β b - n ln(β b)) is smallest at β = Σ n / Σ b.
    beta = n.sum() / b.sum()
    return data, beta, np.sum(beta * b - xlogy(n, beta * b))


def check(result, shape, data, beta, nll):
    assert result.success
    assert result.params["mu"] == SHAPES[shape][1]
    np.testing.assert_allclose(result.params["beta"], beta, rtol=1e-7)
    np.testing.assert_allclose(result.nll, nll, atol=1e-7)
    # -ln L = Σ n ln β + ..., so the variance of β is β² / Σ n.
    variance = beta**2 / data["n"].sum()
    np.testing.assert_allclose(result.covariance, [[variance]], rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 60), marks=pytest.mark.slow)], ids=len
)
def test_fixed_where_a_slope_is_infinite(shape, solver, seeds):
    end = SHAPES[shape][1]
    options: Any = {"bounds": {"mu": ew.Interval(0, 1)}, "solver": SOLVERS[solver]}
    for seed in seeds:
        data, beta, value = draw(shape, seed)
        start = state(beta=1.0, mu=0.5)
        fixed = ew.fit(nll, start, data, fixed={"mu": end}, **options)
        check(fixed, shape, data, beta, value)
        held = conditional_fit(nll, start, data, held={"mu": end}, **options)
        check(held, shape, data, beta, value)


@pytest.mark.slow
def test_an_element_of_an_array_on_an_open_bound():
    data, beta, value = draw("root", 1)

    def of_array(params, data):
        term = jnp.sqrt(params["mu"][0]) + 1e-3 * jnp.sum(params["mu"][1:])
        rate = params["beta"] * data["b"] + data["i"] * term
        return jnp.sum(rate - data["n"] * jnp.log(rate))

    bounds: Any = {"mu": ew.Interval(0, np.inf)}
    start = state(beta=1.0, mu=np.ones(3))
    result = ew.fit(of_array, start, data, fixed={"mu": np.zeros(3)}, bounds=bounds)
    np.testing.assert_allclose(result.params["beta"], beta, rtol=1e-7)
    np.testing.assert_allclose(result.nll, value, atol=1e-7)
    assert result.free == (0,)


@pytest.mark.slow
def test_derivatives_of_a_fit_that_is_fixed_on_an_open_bound():
    data, beta, _ = draw("root", 1)

    def smallest(n):
        given = {**data, "n": n}
        return ew.fit(
            nll,
            state(beta=1.0, mu=0.5),
            given,
            fixed={"mu": 0.0},
            bounds={"mu": ew.Interval(0, 1)},
        ).nll

    slope = jax.jit(jax.grad(smallest))(data["n"])
    np.testing.assert_allclose(slope, -np.log(beta * data["b"]), rtol=1e-6)


@pytest.mark.slow
def test_what_is_impossible_on_a_bound_stays_impossible():
    # Nothing is expected at μ = 0 where three events were counted.
    def impossible(params, data):
        return params["mu"] - data * jnp.log(params["mu"]) + params["a"] ** 2

    bounds: Any = {"mu": ew.Interval(0, 9)}
    start = state(mu=1.0, a=1.0)
    fixed: Any = {"mu": 0.0}
    result = ew.fit(impossible, start, 3.0, fixed=fixed, bounds=bounds, throw=False)
    assert not result.success
    assert result.nll == np.inf
