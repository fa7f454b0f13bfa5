"""Following conditional minima: by gradients where that does, else by the solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import everwillow as ew
from everwillow._errors import RESULTS
from everwillow.engine import programs
from everwillow.fitting.conditional import pose
from everwillow.fitting.continuation import attached, follow, foothold, holding
from tests.fitting.objectives import jit
from tests.helpers import finite_difference_jacobian


START = ew.State.from_pytree({"x": 0.5, "y": np.array([0.3, 0.2])})
PLAIN = {"well": 0.0, "slope": np.array([0.5, -1.0]), "wall": np.inf, "offset": 0.0}


def nll(params, data):
    """``½ x² + ½ |y - slope x|²``, and for y[0] a well that splits at x = 1."""
    x, y = params["x"], params["y"]
    return (
        data["offset"]
        + 0.5 * x**2
        + 0.5 * jnp.sum((y - data["slope"] * x) ** 2)
        + data["well"] * (0.25 * y[0] ** 4 - 0.5 * x * y[0] ** 2)
        + jnp.where(x > data["wall"], jnp.nan, 0)
    )


def problem_of(*, lower=-np.inf, upper=np.inf, **features):
    data = {key: np.asarray(value) for key, value in (PLAIN | features).items()}
    return pose(nll, START, data, bounds={"y": ew.Interval(lower, upper)})


def to(task, numbers, last, value):
    """Follow to where "x" has a value."""
    held = jnp.zeros(last.x.shape, bool).at[0].set(True)
    return follow(task, holding(numbers, last.x.at[0].set(value), held), last)


def step(problem, value, last=None):
    last = foothold(problem, problem.fit()) if last is None else last
    end = programs.call(to, problem.task, problem.numbers, last, np.asarray(value))
    return jax.tree.map(np.asarray, end)


@pytest.mark.slow
def test_the_foothold_is_the_end_of_the_fit():
    problem = problem_of(offset=3.0)
    fit = problem.fit()
    base = foothold(problem, fit)
    assert problem.labels == ("x", "y[0]", "y[1]")
    np.testing.assert_array_equal(base.x, [fit.params["x"], *fit.params["y"]])
    np.testing.assert_array_equal(base.hessian, fit.hessian)
    assert base.value == fit.nll
    assert bool(base.success)


@pytest.mark.slow
def test_a_parabola_is_followed_by_gradients():
    end = step(problem_of(), 2.0)
    np.testing.assert_allclose(end.x, [2.0, 1.0, -2.0], atol=1e-7)
    np.testing.assert_allclose(end.value, 2.0, rtol=1e-13)
    np.testing.assert_allclose(end.gradient, [2.0, 0.0, 0.0], atol=1e-7)
    assert not end.refitted
    assert end.gradients == 2
    assert end.status == RESULTS.successful


@pytest.mark.slow
def test_a_parameter_that_reaches_a_bound_or_leaves_it_takes_the_solver():
    problem = problem_of(lower=-1.0)
    end = step(problem, 2.0)
    assert end.refitted
    np.testing.assert_allclose(end.x, [2.0, 1.0, -1.0], atol=1e-9)
    np.testing.assert_array_equal(end.at_bound, [False, False, True])
    # Along the bound gradients do again, and away from it the solver is needed.
    along = step(problem, 2.5, end)
    assert not along.refitted
    np.testing.assert_allclose(along.x, [2.5, 1.25, -1.0], atol=1e-7)
    back = step(problem, 0.5, along)
    assert back.refitted
    np.testing.assert_allclose(back.x, [0.5, 0.25, -0.5], atol=1e-9)
    np.testing.assert_allclose(back.value, 0.125, rtol=1e-12)


def test_a_minimum_that_turned_into_a_saddle_is_left():
    # The gradient stays zero at y = 0.
    end = step(problem_of(well=1.0, slope=np.zeros(2)), 3.0)
    assert end.refitted
    assert bool(end.success)
    np.testing.assert_allclose(np.abs(end.x[1]), np.sqrt(2.0), rtol=1e-6)
    np.testing.assert_allclose(end.value, 4.5 - 1.0, rtol=1e-9)


def test_a_failed_step_says_so():
    end = step(problem_of(wall=1.5), 2.0)
    assert not bool(end.success)
    assert end.status == RESULTS.nonfinite_start


@pytest.mark.parametrize("offset", [0.0, 1e10])
def test_large_values_are_followed_as_well(offset):
    end = step(problem_of(offset=offset), 1.0)
    np.testing.assert_allclose(end.x, [1.0, 0.5, -1.0], atol=1e-4)
    np.testing.assert_allclose(end.value, offset + 0.5, rtol=1e-13)
    assert bool(end.success)


@pytest.mark.slow
def test_derivatives_are_those_of_the_conditional_minimum():
    problem = problem_of(well=0.3, upper=0.7)
    last = jax.tree.map(jnp.asarray, foothold(problem, problem.fit()))

    def outputs(value, slope):
        data = {**problem.numbers.observation, "slope": slope}
        end = to(problem.task, problem.given(data).numbers, last, value)
        return end.x, end.value, end.gradient[0]

    point = (jnp.asarray(1.2), jnp.asarray([0.4, -1.0]))
    derivative = jit(jax.jacrev(outputs, argnums=(0, 1)))(*point)
    compiled = jit(outputs)
    # Parameters and gradients are good to 4e-6 standard errors, their differences less.
    difference = finite_difference_jacobian(lambda p: compiled(*p), point, step=5e-3)
    by_value, by_slope = (
        ravel_pytree(part)[0] for part in zip(*derivative, strict=True)
    )
    np.testing.assert_allclose(by_value, difference[:, 0], rtol=1e-5, atol=2e-4)
    np.testing.assert_allclose(
        by_slope.reshape(-1, 2), difference[:, 1:], rtol=1e-5, atol=2e-4
    )


def test_a_foothold_moves_with_the_numbers_that_it_is_attached_to():
    problem = problem_of()
    held = problem.hold({"x": 2.0})
    end = step(problem, 2.0)

    def follower(slope):
        data = {**problem.numbers.observation, "slope": slope}
        return attached(problem.task, held.given(data).numbers, end).x

    # y = 2 slope
    np.testing.assert_allclose(
        jit(jax.jacfwd(follower))(jnp.asarray([0.5, -1.0])),
        [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]],
        atol=1e-6,
    )
