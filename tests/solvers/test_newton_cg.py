"""The matrix-free solver on functions whose minima are known, and its inner loop."""

import functools as ft
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from everwillow.curvature import Dense
from everwillow.engine.problem import Numbers
from everwillow.fitting.run import DENSE_LIMIT, choose_solver
from everwillow.objective import Evaluation
from everwillow.solvers import NewtonCG, TrustRegionNewton
from everwillow.solvers.conjugate_gradients import steihaug
from everwillow.solvers.termination import StopCode
from tests.solvers.driver import QUICK_TO_COMPILE


@ft.partial(eqx.filter_jit, compiler_options=QUICK_TO_COMPILE)
def _solve(fn, start, args, options):
    solver = NewtonCG()
    return optx.minimise(
        fn, solver, start, args, options=options, max_steps=256, throw=False
    )


def minimise(fn, start, args=None, **options):
    """Minimise ``fn(x, args)`` from a start, compiled as a whole."""
    options = {name: jnp.asarray(value) for name, value in options.items()}
    return _solve(fn, jnp.asarray(start, float), args, options)


def quadratic(x, args):
    hessian, centre = args
    return 0.5 * jnp.vdot(x - centre, hessian @ (x - centre))


def conditioned(size, condition, scale, seed=0):
    """A Hessian in units `scale`, of a condition number in units of one."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(size, size)))[0]
    values = np.geomspace(1 / condition, 1.0, size)
    hessian = (vectors * values) @ vectors.T
    hessian = 0.5 * (hessian + hessian.T)
    return hessian / np.outer(scale, scale), rng.normal(size=size) * scale


SIZE = 12


@pytest.mark.parametrize(
    ("condition", "decades"), [(10.0, 0), (1e8, 0), (10.0, 6), (1e8, 6)]
)
def test_a_quadratic_of_any_condition_and_scale(condition, decades):
    scale = np.geomspace(10.0**-decades, 10.0**decades, SIZE)
    hessian, centre = conditioned(SIZE, condition, scale)
    solution = minimise(quadratic, np.zeros(SIZE), (hessian, centre))
    assert solution.state.code == StopCode.MINIMUM
    # The distance to the minimum in -ln L, which success promises to be 1e-8.
    away = np.asarray(solution.value) - centre
    assert 0.5 * away @ hessian @ away < 1e-7


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bounds_are_exact(seed):
    hessian, centre = conditioned(SIZE, 100.0, np.ones(SIZE), seed)
    lower, upper = np.full(SIZE, -0.3), np.full(SIZE, 0.5)
    solution = minimise(
        quadratic, np.zeros(SIZE), (hessian, centre), lower=lower, upper=upper
    )
    x = np.asarray(solution.value)
    assert solution.state.code == StopCode.MINIMUM
    # What Karush, Kuhn and Tucker ask for; here there is one such point.
    slope = hessian @ (x - centre)
    low, high = x == lower, x == upper
    inside = ~low & ~high
    assert np.any(low | high)
    assert np.any(inside)
    assert np.all((x >= lower) & (x <= upper))
    assert np.all(slope[low] > 0)
    assert np.all(slope[high] < 0)
    left = slope[inside]
    edm = 0.5 * left @ np.linalg.solve(hessian[np.ix_(inside, inside)], left)
    assert edm < 1e-8
    np.testing.assert_array_equal(solution.state.active, low | high)


def test_what_is_not_free_stays():
    hessian, centre = conditioned(SIZE, 10.0, np.ones(SIZE))
    free = np.arange(SIZE) != 3
    start = np.linspace(-1.0, 1.0, SIZE)
    solution = minimise(quadratic, start, (hessian, centre), free=free)
    x = np.asarray(solution.value)
    assert solution.state.code == StopCode.MINIMUM
    assert x[3] == start[3]
    # The free parameters follow the one that is held.
    pull = hessian[free, 3] * (start[3] - centre[3])
    wanted = centre[free] - np.linalg.solve(hessian[np.ix_(free, free)], pull)
    np.testing.assert_allclose(x[free], wanted, atol=1e-4)


FLAT = {
    "a sum": (lambda x, _: (x[0] + x[1] - 1) ** 2, [3.0, -1.0]),
    "a product": (lambda x, _: (x[0] * x[1] - 2) ** 2, [1.0, 5.0]),
    "one direction of thirty": (
        lambda x, _: jnp.sum((x - jnp.mean(x) - jnp.linspace(-1, 1, 30)) ** 2),
        np.sin(np.arange(30.0)),
    ),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_flat_valley_is_never_a_success(name):
    fn, start = FLAT[name]
    solution = minimise(fn, start)
    assert solution.state.code in (StopCode.FLAT, StopCode.STALLED)
    # It found the floor of the valley, and says that there is no minimum on it.
    np.testing.assert_allclose(fn(solution.value, None), 0.0, atol=1e-8)


def test_a_parameter_without_effect_is_never_a_success():
    solution = minimise(lambda x, _: (x[0] - 1) ** 2, [3.0, 2.0])
    assert solution.state.code != StopCode.MINIMUM


def test_a_plateau_is_never_a_success():
    solution = minimise(lambda x, _: jnp.sum(jnp.exp(-x)), [0.0, 1.0])
    assert solution.state.code != StopCode.MINIMUM


def double_well(x, _):
    """Minima at ``x₁ = ±√2``; a saddle at the origin."""
    return x[0] ** 2 - x[1] ** 2 + 0.25 * x[1] ** 4


def hidden_saddle(x, _):
    """A saddle whose direction downward is seen by no gradient at ``x₇ = 0``."""
    return jnp.sum((x - 1) ** 2) - (x[7] - 1) ** 2 - x[7] ** 2 + 0.1 * x[7] ** 4


@pytest.mark.parametrize(
    ("fn", "start"),
    [
        (double_well, [0.0, 0.0]),
        (double_well, [1.0, 0.0]),
        (hidden_saddle, np.zeros(20)),
        (lambda x, _: jnp.sum(x**2) - 3 * x[0] ** 2, [0.0, 1.0, 1.0]),
        (lambda x, _: -jnp.sum(x**2), [0.0, 0.0]),
    ],
    ids=["on the saddle", "towards the saddle", "hidden", "unbounded", "maximum"],
)
def test_a_saddle_is_never_a_success(fn, start):
    solution = minimise(fn, start)
    if solution.state.code == StopCode.MINIMUM:
        curvatures = np.linalg.eigvalsh(
            jax.hessian(lambda x: fn(x, None))(solution.value)
        )
        assert curvatures[0] > 0


def test_a_saddle_is_left_where_the_gradient_shows_the_way():
    solution = minimise(double_well, [1.0, 0.01])
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_allclose(np.abs(solution.value), [0.0, np.sqrt(2)], atol=1e-4)


def above_a_step(x, _):
    """A parabola on a large value, with a high step up before its minimum."""
    return 1e10 + 0.5 * x[0] ** 2 + 1000.0 * jax.nn.sigmoid(100.0 * (0.5 - x[0]))


def test_slopes_do_not_hide_a_step_up():
    """What is promised drowns in rounding here, and what happens does not."""
    solution = minimise(above_a_step, [1.0])
    assert above_a_step(solution.value, None) < above_a_step(jnp.ones(1), None)


def test_a_start_that_is_not_finite():
    solution = minimise(lambda x, _: jnp.sum(jnp.log(x)), [-1.0, 1.0])
    assert solution.state.code == StopCode.NONFINITE_START


MANY = 3000


def chain(x, counts):
    """Poisson terms of rates ``exp(x_i - ½ x_{i-1})``: curved, coupled, solvable."""
    rise = x - 0.5 * jnp.concatenate([jnp.zeros(1), x[:-1]])
    return jnp.sum(jnp.exp(rise) - counts * rise)


def chain_minimum(counts):
    x = np.log(counts)
    for i in range(1, len(x)):
        x[i] += 0.5 * x[i - 1]
    return x


def sizes_in(jaxpr):
    """Sizes of all arrays that a program makes, in its inner programs too."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield math.prod(getattr(variable.aval, "shape", ()))
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
        ):
            if hasattr(value, "eqns"):
                yield from sizes_in(value)


@pytest.mark.slow
def test_thousands_of_parameters_need_no_matrix():
    counts = np.random.default_rng(1).uniform(5.0, 50.0, MANY)

    def solve(start, counts):
        solution = optx.minimise(
            chain, NewtonCG(), start, counts, max_steps=256, throw=False
        )
        return solution.value, solution.state.code

    start = jnp.ones(MANY)
    program = jax.make_jaxpr(solve)(start, counts)
    assert max(sizes_in(program.jaxpr)) < MANY**2 / 4
    compiled = jax.jit(solve).lower(start, counts).compile(QUICK_TO_COMPILE)
    memory = compiled.memory_analysis()
    if memory is not None:
        assert memory.temp_size_in_bytes < 8 * MANY**2 / 4
    x, code = compiled(start, counts)
    assert code == StopCode.MINIMUM
    np.testing.assert_allclose(x, chain_minimum(counts), atol=1e-4)


def numbers_of(size):
    return Numbers(
        vector=np.zeros(size),
        others=(),
        index=np.arange(size),
        mask=np.ones(size, bool),
        lower=None,
        upper=None,
        transforms=(),
        transformed=(),
        observation=None,
    )


class Hooked(eqx.Module):
    def __call__(self, params, observation):
        return 0.5 * jnp.vdot(params, params)

    def curvature(self, params, observation):
        size = params.shape[0]
        return Evaluation(self(params, observation), params, Dense(jnp.eye(size)))


def test_the_default_is_matrix_free_above_the_limit():
    assert isinstance(choose_solver(chain, numbers_of(DENSE_LIMIT + 1)), NewtonCG)
    assert isinstance(choose_solver(chain, numbers_of(DENSE_LIMIT)), TrustRegionNewton)


def test_an_objective_with_its_own_curvature_keeps_the_solver_that_uses_it():
    chosen = choose_solver(Hooked(), numbers_of(DENSE_LIMIT + 1))
    assert isinstance(chosen, TrustRegionNewton)


def inner(hessian, gradient, radius, relative=1e-12, max_count=100):
    hessian = jnp.asarray(hessian, float)
    gradient = jnp.asarray(gradient, float)
    return steihaug(lambda v: hessian @ v, gradient, radius, relative, max_count)


@pytest.mark.parametrize("radius", [np.inf, 1e3])
def test_steihaug_solves_the_system_inside_the_ball(radius):
    hessian, gradient = conditioned(8, 10.0, np.ones(8))
    found = inner(hessian, gradient, radius)
    wanted = -np.linalg.solve(hessian, gradient)
    assert np.linalg.norm(wanted) < 1e3
    np.testing.assert_allclose(found.step, wanted, rtol=1e-8)
    np.testing.assert_array_equal(found.step, found.unbounded)
    assert found.solved
    assert found.definite
    # Conjugate gradients need one product for each dimension, and one for rounding.
    assert found.count <= 9
    assert 0 < found.least_curvature <= 1.0


def test_steihaug_needs_a_product_for_each_distinct_curvature():
    found = inner(np.diag([2.0, 2.0, 5.0, 5.0]), [1.0, 2.0, 3.0, 4.0], np.inf, 1e-10)
    assert found.count == 2


def test_steihaug_stops_on_the_sphere_along_the_gradient():
    gradient = np.array([3.0, -4.0])
    found = inner(2 * np.eye(2), gradient, 1.0)
    np.testing.assert_allclose(found.step, -gradient / 5, rtol=1e-14)
    # The Newton step is found all the same.
    np.testing.assert_allclose(found.unbounded, -gradient / 2, rtol=1e-14)
    assert found.solved
    assert found.least_curvature == pytest.approx(2.0)


def test_steihaug_turns_before_it_meets_the_sphere():
    # With H = diag(1, 4) and g = (-1, -1) the path leads by (0.4, 0.4) to (1, 0.25).
    first, newton, radius = np.array([0.4, 0.4]), np.array([1.0, 0.25]), 0.8
    along = newton - first
    b, c = first @ along, first @ first - radius**2
    share = (np.sqrt(b**2 - along @ along * c) - b) / (along @ along)
    found = inner(np.diag([1.0, 4.0]), [-1.0, -1.0], radius)
    np.testing.assert_allclose(found.step, first + share * along, rtol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(found.step), radius, rtol=1e-14)
    np.testing.assert_allclose(found.unbounded, newton, rtol=1e-13)


def test_steihaug_follows_negative_curvature_to_the_sphere():
    found = inner(np.diag([1.0, -2.0]), [0.0, 3.0], 5.0)
    np.testing.assert_allclose(found.step, [0.0, -5.0], rtol=1e-14)
    assert not found.definite
    assert not found.solved
    assert found.least_curvature == pytest.approx(-2.0)
    assert found.count == 1


def test_steihaug_meets_negative_curvature_on_its_second_direction():
    hessian, gradient = np.diag([4.0, -1.0]), np.array([1.0, 0.5])
    found = inner(hessian, gradient, 10.0)
    assert not found.definite
    assert found.count == 2
    np.testing.assert_allclose(np.linalg.norm(found.step), 10.0, rtol=1e-13)
    decrease = gradient @ found.step + 0.5 * found.step @ hessian @ found.step
    # Further down than the best point along the gradient.
    cauchy = -0.5 * (gradient @ gradient) ** 2 / (gradient @ hessian @ gradient)
    assert decrease < cauchy


def test_steihaug_without_a_gradient_stays():
    found = inner(np.eye(3), np.zeros(3), 1.0)
    np.testing.assert_array_equal(found.step, np.zeros(3))
    assert found.count == 0
    assert found.definite


def test_steihaug_out_of_products_does_not_claim_to_have_solved():
    hessian, gradient = conditioned(8, 1e4, np.ones(8))
    found = inner(hessian, gradient, np.inf, max_count=3)
    assert found.count == 3
    assert not found.solved
    assert found.definite


def test_steihaug_ends_on_nan():
    found = inner(np.full((2, 2), np.nan), [1.0, 1.0], 1.0)
    assert not found.solved
    assert found.count == 1
