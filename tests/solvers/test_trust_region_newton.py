"""The default solver on functions whose minima are known."""

import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
from everwillow.objective import LeastSquares, evaluate
from everwillow.solvers import TrustRegionNewton
from everwillow.solvers.termination import StopCode
from tests.solvers.driver import QUICK_TO_COMPILE


def minimise(fn, start, args=None, *, max_steps=256, **options):
    """Minimise ``fn(x, args)`` and return the solution, compiled as a whole."""
    start = jnp.asarray(start, float)
    options["evaluate"] = lambda x, a: evaluate(fn, x, a)

    @ft.partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    def solve(start, args, vectors):
        return optx.minimise(
            fn,
            TrustRegionNewton(),
            start,
            args,
            options=options | vectors,
            max_steps=max_steps,
            throw=False,
        )

    vectors = {k: options.pop(k) for k in ("lower", "upper", "free") if k in options}
    return solve(start, args, {k: jnp.asarray(v) for k, v in vectors.items()})


def quadratic(x, args):
    hessian, centre = args
    return 0.5 * jnp.vdot(x - centre, hessian @ (x - centre))


def rosenbrock(x, args):
    del args
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def random_hessian(key, size):
    root = jr.normal(key, (size, size))
    return root @ root.T + 0.1 * jnp.eye(size)


def box_minimum(hessian, centre, lower, upper):
    """Minimise a convex quadratic in a box by projected coordinate descent."""
    hessian, centre = np.asarray(hessian), np.asarray(centre)
    x = np.clip(centre, lower, upper)
    for _ in range(20_000):
        for i in range(len(x)):
            slope = hessian[i] @ (x - centre)
            x[i] = np.clip(x[i] - slope / hessian[i, i], lower[i], upper[i])
    return x


@pytest.mark.slow
def test_a_quadratic_takes_one_step(getkey):
    hessian = random_hessian(getkey(), 20)
    centre = jr.normal(getkey(), (20,))
    solution = minimise(quadratic, jnp.zeros(20), (hessian, centre))
    assert solution.state.code == StopCode.MINIMUM
    assert solution.state.evaluations <= 3
    np.testing.assert_allclose(solution.value, centre, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_quadratic_whose_minimum_is_outside_the_box(size, getkey):
    hessian = random_hessian(getkey(), size)
    centre = 3 * jr.normal(getkey(), (size,))
    lower, upper = -np.ones(size), 0.5 * np.ones(size)
    solution = minimise(
        quadratic, np.zeros(size), (hessian, centre), lower=lower, upper=upper
    )
    assert solution.state.code == StopCode.MINIMUM
    wanted = box_minimum(hessian, centre, lower, upper)
    np.testing.assert_allclose(solution.value, wanted, atol=1e-9)
    at_bound = (wanted == lower) | (wanted == upper)
    np.testing.assert_array_equal(solution.state.active, at_bound)
    # What is at a bound is there exactly.
    np.testing.assert_array_equal(
        np.asarray(solution.value)[at_bound], wanted[at_bound]
    )


@pytest.mark.slow
def test_a_bound_across_a_curved_valley():
    solution = minimise(
        rosenbrock, [-1.2, 1.0], lower=[-np.inf, -np.inf], upper=[0.5, np.inf]
    )
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_allclose(solution.value, [0.5, 0.25], rtol=1e-9)
    assert solution.value[0] == 0.5
    np.testing.assert_array_equal(solution.state.active, [True, False])


@pytest.mark.slow
def test_a_bound_that_is_left_again():
    # At the start the gradient pushes against the bound; further along it does not.
    solution = minimise(rosenbrock, [0.0, 0.0], lower=[-5.0, 0.0], upper=[5.0, 5.0])
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_allclose(solution.value, [1.0, 1.0], rtol=1e-8)


@pytest.mark.slow
def test_a_minimum_exactly_at_a_bound():
    solution = minimise(
        lambda x, _: jnp.sum((x - 1) ** 2),
        [3.0, 3.0],
        lower=[1.0, 0.0],
        upper=[9.0, 9.0],
    )
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_allclose(solution.value, [1.0, 1.0], rtol=1e-12)


@pytest.mark.slow
def test_fixed_parameters_stay():
    free = jnp.array([True, False])
    solution = minimise(rosenbrock, [-1.2, 2.25], free=free)
    assert solution.state.code == StopCode.MINIMUM
    assert solution.value[1] == 2.25
    # d/dx [100 (2.25 - x²)² + (1 - x)²] = 0 near x = -1.5.
    np.testing.assert_allclose(
        -400 * solution.value[0] * (2.25 - solution.value[0] ** 2)
        - 2 * (1 - solution.value[0]),
        0,
        atol=1e-6,
    )


def test_nothing_free_is_a_minimum_of_no_dimension():
    solution = minimise(rosenbrock, [3.0, 4.0], free=jnp.zeros(2, bool))
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_array_equal(solution.value, [3.0, 4.0])


@pytest.mark.slow
def test_parameters_of_very_different_size_live_together():
    unit = jnp.array([1e-6, 1.0, 1e6])

    def fn(x, args):
        del args
        z = x / unit
        return rosenbrock(z[:2], None) + 0.5 * (z[2] - 3) ** 2 + jnp.sum((z - 1) ** 4)

    solution = minimise(fn, jnp.array([-1.2e-6, 1.0, 5e6]))
    assert solution.state.code == StopCode.MINIMUM
    same = minimise(lambda z, _: fn(z * unit, None), jnp.array([-1.2, 1.0, 5.0]))
    # The solver does not see units, so the path is the same one.
    np.testing.assert_allclose(solution.value, same.value * unit, rtol=1e-8)
    assert solution.state.evaluations == same.state.evaluations


def test_a_saddle_is_left():
    def fn(x, args):
        del args
        return x[0] ** 2 - x[1] ** 2 + x[1] ** 4

    solution = minimise(fn, [0.0, 0.0])
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_allclose(jnp.abs(solution.value[1]), np.sqrt(0.5), rtol=1e-8)
    np.testing.assert_allclose(solution.state.nll, -0.25, rtol=1e-12)


@pytest.mark.parametrize("start", [[0.3, 0.4], [2.0, -1.0]])
def test_a_sum_of_parameters_is_flat(start):
    solution = minimise(lambda x, _: (x[0] + x[1] - 1) ** 2, start)
    assert solution.state.code == StopCode.FLAT
    np.testing.assert_allclose(jnp.sum(solution.value), 1.0, rtol=1e-8)
    assert np.all(np.isfinite(solution.value))


def test_a_parameter_nobody_sees_is_flat():
    solution = minimise(lambda x, _: jnp.cosh(x[0] - 1), [3.0, 2.0])
    assert solution.state.code == StopCode.FLAT
    np.testing.assert_allclose(solution.value, [1.0, 2.0], rtol=1e-6)


@pytest.mark.parametrize("start", [0.0, 5.0, 30.0])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_minimum_at_infinity_is_no_success(start, offset):
    solution = minimise(lambda x, _: offset + jnp.exp(-x[0]), [start])
    assert solution.state.code != StopCode.MINIMUM


def test_a_quartic_minimum_is_flat():
    solution = minimise(lambda x, _: jnp.sum(x**4), [1.0, 2.0])
    assert solution.state.code == StopCode.FLAT
    assert np.all(np.abs(solution.value) < 1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [1e5, -1e8])
def test_a_large_offset_hides_nothing(offset):
    free = minimise(rosenbrock, [-1.2, 1.0])
    solution = minimise(lambda x, _: rosenbrock(x, None) + offset, [-1.2, 1.0])
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_allclose(solution.value, free.value, rtol=1e-6)


def test_what_is_not_finite_on_the_way_is_stepped_back_from():
    # ln(x) is NaN where the first Newton steps from afar lead.
    solution = minimise(lambda x, _: x[0] - 0.1 * jnp.log(x[0]), [3.0])
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_allclose(solution.value, [0.1], rtol=1e-9)


def test_a_start_that_is_not_finite_says_so():
    solution = minimise(lambda x, _: jnp.log(x[0]), [-1.0])
    assert solution.state.code == StopCode.NONFINITE_START


def test_ending_at_the_start():
    solution = minimise(rosenbrock, [1.0, 1.0])
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_array_equal(solution.value, [1.0, 1.0])


def histogram(x, args):
    """Poisson bins with a signal, a background and Gaussian nuisances of unit width."""
    counts, signal, background, effects = args
    rates = x[0] * signal + background * jnp.exp(effects @ x[1:])
    return jnp.sum(rates - counts * jnp.log(rates)) + 0.5 * jnp.sum(x[1:] ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("nuisances", [2, 29, 299])
def test_a_likelihood_takes_few_evaluations(nuisances, getkey):
    bins = 100
    signal = 50 * jnp.exp(-0.5 * ((jnp.arange(bins) - 50) / 5) ** 2)
    background = 200 * jnp.exp(-jnp.arange(bins) / 40)
    effects = 0.2 * jr.normal(getkey(), (bins, nuisances)) / np.sqrt(nuisances)
    truth = jr.normal(getkey(), (nuisances,))
    rates = 1.3 * signal + background * jnp.exp(effects @ truth)
    counts = jr.poisson(getkey(), rates).astype(float)
    args = (counts, signal, background, effects)
    start = jnp.zeros(nuisances + 1).at[0].set(1.0)
    solution = minimise(histogram, start, args)
    assert solution.state.code == StopCode.MINIMUM
    assert solution.state.evaluations <= 8
    gradient = jax.grad(histogram)(solution.value, args)
    np.testing.assert_allclose(gradient, 0, atol=1e-7)


@pytest.mark.slow
def test_lanes_of_vmap_are_those_of_a_loop():
    starts = jnp.array([[-1.2, 1.0], [2.0, 2.0], [0.0, 5.0], [1.0, 1.0]])

    def solve(start):
        solution = optx.minimise(
            rosenbrock, TrustRegionNewton(), start, max_steps=256, throw=False
        )
        return solution.value, solution.state.code, solution.state.evaluations

    together = eqx.filter_jit(jax.vmap(solve))(starts)
    for i, start in enumerate(starts):
        x, code, evaluations = eqx.filter_jit(solve)(start)
        np.testing.assert_allclose(together[0][i], x, rtol=1e-9)
        assert together[1][i] == code == StopCode.MINIMUM
        assert abs(int(together[2][i] - evaluations)) <= 2


@pytest.mark.slow
def test_residuals_are_worth_knowing():
    def residuals(x, args):
        del args
        return jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    known = minimise(LeastSquares(residuals), [-1.2, 1.0])
    plain = minimise(lambda x, _: 0.5 * jnp.sum(residuals(x, None) ** 2), [-1.2, 1.0])
    for solution in (known, plain):
        assert solution.state.code == StopCode.MINIMUM
        np.testing.assert_allclose(solution.value, [1.0, 1.0], rtol=1e-9)
    assert known.state.evaluations < plain.state.evaluations


def test_the_step_is_compiled_once_with_one_evaluation():
    calls = []

    def fn(x, args):
        calls.append(1)
        return rosenbrock(x, args)

    minimise(fn, [-1.2, 1.0])
    # Once for its shape in `init`, once in the loop; the aux of optimistix is asked
    # for by shape alone, twice.
    assert len(calls) <= 6


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32])
def test_single_precision_ends_at_the_minimum(dtype):
    start = jnp.array([-1.2, 1.0], dtype)
    solution = optx.minimise(
        rosenbrock, TrustRegionNewton(), start, max_steps=256, throw=False
    )
    assert solution.state.code == StopCode.MINIMUM
    np.testing.assert_allclose(solution.value, [1.0, 1.0], rtol=1e-3)


@pytest.mark.slow
def test_a_step_to_a_bound_ends_there_in_spite_of_rounding():
    # From here the step to 0, scaled and scaled back, missed it by a rounding error.
    def nll(params, data):
        counts, aux = data
        rate = params["mu"] * jnp.array([12.0, 11.0])
        rate = rate + params["gamma"] * jnp.array([50.0, 52.0])
        tau = jnp.array([2500 / 9, 2704 / 49])
        known = tau * params["gamma"]
        poisson = jnp.sum(rate - counts * jnp.log(rate))
        return poisson + jnp.sum(known - aux * jnp.log(known))

    start = {"mu": 0.5, "gamma": np.array([0.98617174, 0.91633885])}
    data = (np.array([42.0, 57.0]), np.array([294.0, 48.0]))
    bounds = {"mu": ew.Interval(0.0, 10.0), "gamma": ew.Interval(1e-10, 10.0)}
    result = ew.fit(nll, ew.State.from_pytree(start), data, bounds=bounds)
    assert result.params["mu"] == 0.0
    assert int(result.num_steps) < 10
