"""Steps that go on by gradients alone: the same minima, fewer Hessians."""

import functools as ft

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from tests.cases.more_garbow_hillstrom import CLASSIC


NEVER = 10**9


def templates(params, counts):
    bins = jnp.linspace(0.0, 1.0, counts.size)[None, :]
    waves = jnp.sin(np.arange(1.0, 25.0)[:, None] * bins)
    rate = 100.0 * jnp.exp(0.05 * params["a"] @ waves)
    return jnp.sum(rate - counts * jnp.log(rate)) + 0.5 * jnp.sum(params["a"] ** 2)


COUNTS = np.random.default_rng(3).poisson(110.0, 60).astype(float)
START = ew.State.from_pytree({"a": np.full(24, 0.5)})


def both(objective, state, *args, **options):
    return [
        ew.fit(
            objective,
            state,
            *args,
            solver=ew.TrustRegionNewton(chords_beyond=beyond),
            throw=False,
            **options,
        )
        for beyond in (0, NEVER)
    ]


@pytest.mark.slow
def test_the_same_minimum_with_fewer_hessians():
    chords, newton = both(templates, START, COUNTS)
    assert bool(chords.success)
    assert int(chords.num_steps) < int(newton.num_steps)
    np.testing.assert_allclose(chords.params["a"], newton.params["a"], rtol=1e-8)
    np.testing.assert_allclose(chords.covariance, newton.covariance, rtol=1e-8)


@pytest.mark.slow
def test_bounds_on_the_way():
    bounds = {"a": ew.Interval(0.2, 0.6)}
    chords, newton = both(templates, START, COUNTS, bounds=bounds)
    assert bool(chords.success)
    assert 3 < np.sum(chords.at_bound) < 24
    np.testing.assert_array_equal(chords.at_bound, newton.at_bound)
    np.testing.assert_allclose(chords.params["a"], newton.params["a"], rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units(scale):
    def scaled(params, counts):
        return templates({"a": params["a"] / scale}, counts)

    state = ew.State.from_pytree({"a": np.full(24, 0.5 * scale)})
    chords, _ = both(scaled, state, COUNTS)
    reference, _ = both(templates, START, COUNTS)
    np.testing.assert_allclose(
        chords.params["a"], scale * reference.params["a"], rtol=1e-7
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["rosenbrock", "helical_valley", "wood", "powell_badly_scaled", "gaussian"]
)
def test_hard_problems_end_where_they_did(name):
    problem = next(p for p in CLASSIC if p.name == name)

    def nll(x, _):
        return 0.5 * jnp.sum(problem.residuals(x["x"]) ** 2)

    # Each problem is a function of its own, and meant to be.
    objective = ft.partial(nll)
    state = ew.State.from_pytree({"x": np.asarray(problem.x0)})
    chords, newton = both(objective, state, None)
    assert bool(chords.success) == bool(newton.success)
    np.testing.assert_allclose(
        chords.params["x"], newton.params["x"], rtol=1e-6, atol=1e-9
    )


@pytest.mark.slow
def test_a_saddle_on_the_way_is_no_minimum():
    def nll(params, _):
        x = params["x"]
        return jnp.sum((x[:1] ** 2 - 1) ** 2) + 0.5 * jnp.sum(x[1:] ** 2)

    # The first coordinate starts on the ridge between two minima.
    state = ew.State.from_pytree({"x": np.array([0.0, *np.ones(20)])})
    chords, _ = both(nll, state, None)
    assert bool(chords.success)
    np.testing.assert_allclose(np.abs(chords.params["x"][0]), 1.0, rtol=1e-8)
