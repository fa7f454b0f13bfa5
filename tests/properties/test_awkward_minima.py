"""Minima that are hard to reach: flat valleys in a box, saddles, empty bins.

Each kind is one likelihood whose templates and counts are arguments, fitted for many
random ones in one program, and compared with minimisers of SciPy: from the same start
and from the point that was reported, none of them may find anything lower.
"""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import everwillow as ew
from everwillow._errors import RESULTS
from everwillow.solvers import NewtonCG


# Lower by more than this is a minimum that was missed.
MISSED = 1e-6

MANY = [
    pytest.param(200, id="200"),
    pytest.param(600, id="600", marks=[pytest.mark.slow, pytest.mark.exhaustive]),
]


def poisson(rate, count):
    safe = jnp.where(count > 0, rate, 1.0)
    terms = rate - jnp.where(count > 0, count * jnp.log(safe), 0.0)
    possible = (rate > 0) | ((rate >= 0) & (count == 0))
    return jnp.sum(jnp.where(possible, terms, jnp.inf))


@ft.cache
def value_and_slope(nll, state):
    _, unravel = jax.flatten_util.ravel_pytree(state.to_pytree())
    return jax.jit(jax.value_and_grad(lambda x, data: nll(unravel(x), data)))


def lowest(nll, state, data, starts, bounds):
    """Return the lowest value that L-BFGS-B finds from some starts."""
    look = value_and_slope(nll, state)

    def both(x):
        value, slope = look(x, data)
        return float(value), np.asarray(slope)

    return min(
        minimize(
            both,
            x,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-9},
        ).fun
        for x in starts
    )


def vector(state):
    return np.asarray(jax.flatten_util.ravel_pytree(state.to_pytree())[0])


# A control region and two signal regions, with two backgrounds of nearly the same
# composition: what pyhf workspaces of WZ and ZZ look like. The valley between their
# strengths is flat and bent, and leads to an end of the box.
VALLEY = ew.State.from_pytree(
    {"mu": jnp.ones(3), "np": jnp.zeros(2), "gamma": jnp.ones(3)}
)
STRENGTHS = ew.Interval(0.0, 10.0)


def valley(params, data):
    pull = params["np"][None, :]
    up, down = data["aux"]["up"], data["aux"]["down"]
    # Through both sides, and without a kink between them.
    kappa = jnp.exp(jnp.sum(pull * (up - down) / 2 + pull**2 * (up + down) / 2, -1))
    strength = jnp.concatenate([params["mu"], jnp.ones(1)])
    rate = params["gamma"] * (data["aux"]["yields"] @ (strength * kappa))
    constraint = jnp.sum(params["np"] ** 2) + jnp.sum(
        ((params["gamma"] - 1) / data["aux"]["width"]) ** 2
    )
    return poisson(rate, data["main"]) + 0.5 * constraint


def random_valley(rng):
    yields = np.array(
        [[5.0, 1400.0, 130.0, 30.0], [70.0, 95.0, 9.2, 20.0], [140.0, 60.0, 5.7, 25.0]]
    )
    yields = yields * rng.uniform(0.97, 1.03, yields.shape)
    total = yields.sum(1) * np.array([1.0, 1.25, 1.3])
    return {
        "main": rng.poisson(total).astype(float),
        "aux": {
            "yields": yields,
            "up": rng.normal(0, 0.05, (4, 2)),
            "down": rng.normal(0, 0.05, (4, 2)),
            "width": np.full(3, 0.004),
        },
    }


@pytest.mark.slow
@pytest.mark.parametrize("count", MANY)
def test_flat_valleys_in_a_box(count):
    rng = np.random.default_rng(20261129)
    ends = [*[(None, None)] * 3, *[(0, 10)] * 3, *[(None, None)] * 2]
    for _ in range(count):
        data = random_valley(rng)
        fit = ew.fit(valley, VALLEY, data, bounds={"mu": STRENGTHS}, throw=False)
        assert fit.success, fit.message()
        starts = [vector(fit.params), vector(VALLEY)]
        found = lowest(valley, VALLEY, data, starts, ends)
        assert found > fit.nll - MISSED


# A systematic that acts alike upwards and downwards: its likelihood is even, and its
# start is a saddle if the data ask for more than the other parameters can give.
EVEN = ew.State.from_pytree({"jes": jnp.zeros(2), "mu": 0.5})


def even(params, data):
    effect = jnp.exp(data["aux"]["kappa"] @ params["jes"] ** 2)
    rate = params["mu"] * data["aux"]["signal"] + data["aux"]["background"] * effect
    return poisson(rate, data["main"]) + 0.5 * jnp.sum(params["jes"] ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("count", MANY)
def test_saddles_are_left(count):
    rng = np.random.default_rng(2379)
    bounds = {"mu": ew.Interval(0.0, 10.0), "jes": ew.Interval(-5.0, 5.0)}
    ends = [(-5, 5), (-5, 5), (0, 10)]
    left = 0
    for _ in range(count):
        background = rng.uniform(50, 200, 3)
        data = {
            "main": np.round(background * rng.uniform(0.9, 1.5, 3)),
            "aux": {
                "signal": np.array([1.0, 4.0, 10.0]) * rng.uniform(0.2, 1),
                "background": background,
                "kappa": rng.uniform(0.0, 0.1, (3, 2)),
            },
        }
        fit = ew.fit(even, EVEN, data, bounds=bounds, throw=False)
        assert fit.success, fit.message()
        left += bool(np.any(np.abs(fit.params["jes"]) > 0.01))
        beside = vector(EVEN) + np.array([0.3, 0.2, 0.0])
        found = lowest(even, EVEN, data, [vector(fit.params), beside], ends)
        assert found > fit.nll - MISSED
    assert left > count / 4


# The expected count of an empty bin may be nothing, and no less.
EDGE = ew.State.from_pytree({"a": 0.0, "mu": 1.0})


def rates(params, aux):
    scale = jnp.exp(aux["kappa"] * params["a"])
    return params["mu"] * aux["signal"] + aux["background"] * scale


def edged(params, data):
    constraint = 0.5 * (params["a"] - data["aux"]["center"]) ** 2
    return poisson(rates(params, data["aux"]), data["main"]) + constraint


def random_edge(rng):
    background = rng.uniform(0.2, 6.0, 4)
    signal = rng.uniform(0.0, 3.0, 4)
    # Generators with negative weights leave such templates.
    signal[rng.integers(4)] *= rng.choice([1.0, -0.2])
    background[rng.integers(4)] *= rng.choice([1.0, -0.02])
    main = rng.poisson(np.maximum(background, 0) * rng.uniform(0.3, 1.2)).astype(float)
    main[(main > 0) & (background < 0)] = 0
    main[rng.integers(4)] = 0
    center = rng.normal(0, 1)
    kappa = rng.uniform(0.05, 0.4)
    return {
        "main": main,
        "aux": {
            "background": background,
            "signal": signal,
            "center": np.asarray(center),
            "kappa": np.asarray(kappa),
        },
    }


def constrained(data, start):
    """Minimise with rates that are not negative as a constraint."""
    n, aux = data["main"], data["aux"]

    def rate(x):
        scale = np.exp(aux["kappa"] * x[0])
        return x[1] * aux["signal"] + aux["background"] * scale

    def value(x):
        safe = np.maximum(rate(x), 1e-300)
        return np.sum(rate(x) - n * np.log(safe)) + 0.5 * (x[0] - aux["center"]) ** 2

    found = minimize(
        value,
        start,
        method="SLSQP",
        bounds=[(-5, 5)] * 2,
        constraints={"type": "ineq", "fun": rate},
        options={"ftol": 1e-13, "maxiter": 500},
    )
    # It goes a little beyond the edge.
    feasible = np.min(rate(found.x)) >= -1e-9
    return found.fun if feasible and found.success else np.inf


@pytest.mark.slow
@pytest.mark.parametrize("count", MANY)
def test_empty_bins_that_expect_nothing(count):
    rng = np.random.default_rng(2093)
    bounds = {"mu": ew.Interval(-5.0, 5.0), "a": ew.Interval(-5.0, 5.0)}
    tried = edge = 0
    while tried < count:
        data = random_edge(rng)
        start = np.asarray(rates(EDGE.to_pytree(), data["aux"]))
        if np.any(start <= 0):
            continue
        tried += 1
        fit = ew.fit(edged, EDGE, data, bounds=bounds, throw=False)
        assert fit.success, (fit.message(), data)
        edge += bool(fit.status == RESULTS.edge_of_positivity)
        here = vector(fit.params)
        assert np.all(np.asarray(rates(fit.params.to_pytree(), data["aux"])) >= 0)
        found = min(constrained(data, here), constrained(data, np.array([0.0, 1.0])))
        assert found > fit.nll - MISSED, data
    assert edge > count / 2


@pytest.mark.slow
def test_flat_valleys_without_a_matrix():
    rng = np.random.default_rng(7)
    bounds = {"mu": STRENGTHS}
    for _ in range(60):
        data = random_valley(rng)
        dense = ew.fit(valley, VALLEY, data, bounds=bounds)
        fit = ew.fit(valley, VALLEY, data, bounds=bounds, solver=NewtonCG())
        assert fit.nll < dense.nll + MISSED
