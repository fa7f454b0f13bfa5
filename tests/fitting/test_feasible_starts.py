"""Fits of Models that begin where a bin would expect less than nothing."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import everwillow as ew
from everwillow._errors import RESULTS


BINS = 4


def expected(params):
    scale = jnp.exp(0.1 * params["a"])
    return params["mu"] * params["s"] + scale * params["b"]


def main_nll(params, counts):
    rate = expected(params)
    return jnp.sum(rate - counts * jnp.log(rate))


def model_of(seed: int, mu: float, **options: Any) -> ew.Model:
    """Return a Model whose signal exceeds its background, to be begun at μ."""
    rng = np.random.default_rng(seed)
    s, b = rng.uniform(5, 30, BINS), rng.uniform(1, 5, BINS)
    counts = rng.poisson(rng.uniform(0, 2) * s + b) + 1.0
    start = {"mu": mu, "a": rng.normal(), "s": s, "b": b}
    fixed = {"s": ..., "b": ..., **options.pop("fixed", {})}
    constraints = {"a": ew.Normal(0.0, 1.0)}
    return ew.Model(
        main_nll,
        start,
        counts,
        expected=expected,
        constraints=constraints,
        fixed=fixed,
        **options,
    )


def smallest(model: ew.Model) -> float:
    """Return the smallest -ln L, found without derivatives from a possible start."""
    s, b = model.state["s"], model.state["b"]
    n = model.observation["main"]

    def value(point):
        rate = point[0] * s + np.exp(0.1 * point[1]) * b
        if np.any(rate <= 0):
            return np.inf
        aux = 0.5 * point[1] ** 2 + 0.5 * np.log(2 * np.pi)
        return np.sum(rate - n * np.log(rate)) + aux

    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000}
    return minimize(value, [1.0, 0.0], method="Nelder-Mead", options=options).fun


@pytest.mark.parametrize("mu", [-1.0, -30.0])
@pytest.mark.parametrize(
    "seeds", [range(5), pytest.param(range(5, 100), marks=pytest.mark.slow)], ids=len
)
def test_the_minimum_is_found_from_where_nothing_is_possible(mu, seeds):
    for seed in seeds:
        model = model_of(seed, mu)
        result = ew.fit(model)
        np.testing.assert_allclose(result.nll, smallest(model), atol=1e-8)
        assert result.remark.startswith("At the start values observation")
        assert "The fit began at " in result.remark


@pytest.mark.slow
def test_a_start_stays_inside_of_its_bounds():
    # The data prefer more signal than is allowed.
    bounds: Any = {"mu": ew.Interval(-1, 0.02)}
    result = ew.fit(model_of(0, -1.0, bounds=bounds))
    assert result.params["mu"] == 0.02
    assert result.at_bound[1]


@pytest.mark.slow
def test_what_is_fixed_stays_and_the_fit_fails_as_before():
    model = model_of(0, -30.0, fixed={"mu": ...}, bounds={"a": ew.Interval(-5, 5)})
    result = ew.fit(model, throw=False)
    assert bool(result.status == RESULTS.nonfinite_start)
    assert result.params["mu"] == -30
    assert "The fit began" not in result.message()
    assert "expects -" in result.message()


def test_a_start_that_is_possible_is_kept():
    result = ew.fit(model_of(0, 1.0))
    assert result.remark == ""
