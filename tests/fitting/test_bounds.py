"""Minima at bounds are exact; smooth maps and boxes agree where nothing is active."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import everwillow as ew
from everwillow._errors import ArgumentTypeError
from tests.fitting.objectives import (
    DECAY_DATA,
    DECAY_START,
    FOREIGN,
    GAUSSIAN_START,
    SAMPLE,
    SOLVERS,
    decay,
    gaussian,
    quadratic,
    quadratic_data,
    state,
)
from tests.helpers import tree_allclose


def box_minimum(data, lower, upper):
    """Minimise a quadratic in a box by trying every set of active bounds."""
    hessian, centre = data["hessian"], data["centre"]
    size = centre.size
    found = []
    for chosen in itertools.product((-1, 0, 1), repeat=size):
        sides = np.array(chosen)
        x = np.where(sides < 0, lower, np.where(sides > 0, upper, 0.0))
        free = sides == 0
        if not np.all(np.isfinite(x)):
            continue
        shift = hessian @ (np.where(free, 0.0, x) - np.where(free, 0.0, centre))
        if free.any():
            block = hessian[np.ix_(free, free)]
            x[free] = centre[free] - np.linalg.solve(block, shift[free])
        if np.all((x >= lower - 1e-12) & (x <= upper + 1e-12)):
            away = x - centre
            found.append((0.5 * away @ hessian @ away, tuple(x)))
    return np.array(min(found)[1])


def random_box(size, seed):
    """A quadratic with its minimum outside of a box, and the box."""
    rng = np.random.default_rng(seed)
    data = quadratic_data(size, seed=seed)
    lower = data["centre"] + rng.uniform(-1.5, 0.5, size)
    upper = lower + rng.uniform(0.3, 2.0, size)
    return data, lower, upper


@pytest.mark.slow
@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_quadratics_in_a_box(size, solver):
    """The minimum, the multipliers and the covariance of every active set."""
    active_sets = set()
    for seed in range(12):
        data, lower, upper = random_box(size, seed)
        expected = box_minimum(data, lower, upper)
        result = ew.fit(
            quadratic,
            state(x=0.5 * (lower + upper)),
            data,
            bounds={"x": ew.Interval(lower, upper)},
            solver=solver,
        )
        x = result.params["x"]
        np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-9)
        at_end = (expected == lower) | (expected == upper)
        np.testing.assert_array_equal(result.at_bound, at_end)
        # At the bound means exactly there.
        np.testing.assert_array_equal(x[at_end], expected[at_end])
        active_sets.add(tuple(at_end))
        check_multipliers(result, data, lower)
        check_errors_in_a_box(result, data, at_end, lower, upper)
    assert len(active_sets) > 1


def check_multipliers(result, data, lower):
    """The gradient vanishes inside and points outwards at a bound."""
    x = result.params["x"]
    gradient = data["hessian"] @ (x - data["centre"])
    np.testing.assert_allclose(result.gradient, gradient, atol=1e-7)
    np.testing.assert_allclose(gradient[~result.at_bound], 0, atol=1e-7)
    outwards = np.where(x == lower, gradient, -gradient)
    assert np.all(outwards[result.at_bound] > 0)


def check_errors_in_a_box(result, data, held, lower, upper):
    if result.covariance is None:
        return
    hessian = data["hessian"]
    expected = np.zeros_like(hessian)
    inside = np.ix_(~held, ~held)
    expected[inside] = np.linalg.inv(hessian[inside])
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-9, atol=1e-14)
    expected = [
        profiled_distance(data, lower, upper, i) if on_end else np.nan
        for i, on_end in enumerate(held)
    ]
    np.testing.assert_allclose(result.bound_errors, expected, rtol=1e-6)


def profiled_distance(data, lower, upper, i):
    """Return where a quadratic, minimised in a box over the others, has risen by ½."""

    def height(x):
        return 0.5 * (x - data["centre"]) @ data["hessian"] @ (x - data["centre"])

    best = box_minimum(data, lower, upper)
    at_lower = best[i] == lower[i]

    def rise(distance):
        low, high = lower.copy(), upper.copy()
        low[i] = high[i] = best[i] + (distance if at_lower else -distance)
        return height(box_minimum(data, low, high)) - height(best) - 0.5

    width = upper[i] - lower[i]
    return width if rise(width) < 0 else brentq(rise, 0, width, xtol=1e-12)


@pytest.mark.parametrize("side", ["lower", "upper"])
def test_one_sided_intervals(side):
    # The other end is infinite, which must not turn into NaN anywhere.
    data = quadratic_data(2, seed=1)
    end = data["centre"] + (0.5 if side == "lower" else -0.5)
    box = {"x": ew.Interval(**{side: end})}
    start = state(x=end + (1.0 if side == "lower" else -1.0))
    result = ew.fit(quadratic, start, data, bounds=box)
    infinite = np.full(2, np.inf)
    ends = (end, infinite) if side == "lower" else (-infinite, end)
    np.testing.assert_allclose(result.params["x"], box_minimum(data, *ends), rtol=1e-10)
    assert result.at_bound.any()


def test_an_interval_without_ends_changes_nothing():
    data = quadratic_data(2, seed=1)
    start = state(x=np.zeros(2))
    free = ew.fit(quadratic, start, data)
    boxed = ew.fit(quadratic, start, data, bounds={"x": ew.Interval()})
    np.testing.assert_allclose(boxed.params["x"], free.params["x"], rtol=1e-12)
    np.testing.assert_allclose(boxed.covariance, free.covariance, rtol=1e-12)
    assert not boxed.at_bound.any()
    assert np.all(np.isnan(boxed.bound_errors))


@pytest.mark.parametrize("begin", [0, 1])
def test_a_start_exactly_at_a_bound(begin):
    data = quadratic_data(3, seed=2)
    ends = data["centre"] + np.array([[-1.0, 0.2, -2.0], [1.0, 0.7, 0.0]])
    box = {"x": ew.Interval(*ends)}
    # Of the third element the upper end is the minimum itself.
    result = ew.fit(quadratic, state(x=ends[begin]), data, bounds=box)
    expected = box_minimum(data, *ends)
    np.testing.assert_allclose(result.params["x"], expected, rtol=1e-10, atol=1e-10)
    assert result.success


def test_a_start_at_the_bound_that_is_the_minimum():
    data = quadratic_data(2, seed=3)
    lower = data["centre"] + 0.5
    x = box_minimum(data, lower, np.full(2, np.inf))
    start = state(x=np.maximum(x, lower))
    result = ew.fit(quadratic, start, data, bounds={"x": ew.Interval(lower, np.inf)})
    np.testing.assert_allclose(result.params["x"], x, rtol=1e-12)


def test_a_minimum_at_the_bound_without_slope():
    """The unbounded minimum is the bound itself: on either side of "at the bound"."""
    data = quadratic_data(2, seed=4)
    box = {"x": ew.Interval(data["centre"], data["centre"] + 2.0)}
    result = ew.fit(quadratic, state(x=data["centre"] + 1.0), data, bounds=box)
    np.testing.assert_allclose(result.params["x"], data["centre"], rtol=1e-10)
    assert result.success
    assert np.all(result.params["x"] >= data["centre"])


@pytest.mark.slow
def test_a_signal_that_cannot_be_negative():
    """A counting deficit: the signal strength ends at zero with a one-sided error."""
    data = {"signal": 4.0, "background": 10.0, "observed": 7.0}
    bounds = {"mu": ew.Interval(0.0)}
    result = ew.fit(deficit, state(mu=1.0), data, bounds=bounds)
    assert result.params["mu"] == 0.0
    np.testing.assert_allclose(result.gradient, [4 - 7 * 4 / 10], rtol=1e-12)
    distance = brentq(lambda mu: 4 * mu - 7 * np.log1p(0.4 * mu) - 0.5, 0, 1)
    np.testing.assert_allclose(result.bound_errors, [distance], rtol=1e-7)
    np.testing.assert_array_equal(result.covariance, [[0.0]])
    assert "(at bound)" in repr(result)


def deficit(params, data):
    expected = params["mu"] * data["signal"] + data["background"]
    return expected - data["observed"] * jnp.log(expected)


# ------------------------------------------------------------------ smooth maps


FREE_DECAY = {"share": 1.0}
INSIDE = {
    "interval": ew.Interval(0.1, 3.0),
    "minuit": ew.MinuitTransform(0.1, 3.0),
    "sigmoid": ew.SigmoidTransform(0.1, 3.0),
    "log, lower": ew.OneSidedLogTransform(0.1, "lower"),
    "log, upper": ew.OneSidedLogTransform(3.0, "upper"),
    "soft plus": ew.SoftPlusTransform(),
}


@pytest.fixture(scope="module")
def free_decay():
    return ew.fit(decay, DECAY_START, DECAY_DATA, fixed=FREE_DECAY)


@pytest.mark.slow
@pytest.mark.parametrize("bound", INSIDE.values(), ids=INSIDE)
def test_bounds_that_are_not_active_change_nothing(bound, free_decay):
    bounds = {"rate": bound, "level": bound}
    result = ew.fit(decay, DECAY_START, DECAY_DATA, fixed=FREE_DECAY, bounds=bounds)
    expected = free_decay.params.to_dict()
    assert tree_allclose(result.params.to_dict(), expected, rtol=1e-7)
    np.testing.assert_allclose(result.nll, free_decay.nll, rtol=1e-13)
    # Errors are those of the parameter, not of its image on the real line.
    np.testing.assert_allclose(
        result.covariance, free_decay.covariance, rtol=1e-6, atol=1e-9
    )
    assert not result.at_bound.any()


@pytest.mark.slow
def test_kinds_of_bounds_in_one_fit(free_decay):
    bounds = {
        "height": ew.OneSidedLogTransform(1.0),
        "rate": ew.MinuitTransform(0.1, 3.0),
        "level": ew.Interval(2.3, 9.0),
        "share": ew.SigmoidTransform(0.0, 5.0),
    }
    start = DECAY_START.with_values(
        [2.5 if key == "level" else value for key, value in DECAY_START.items()]
    )
    result = ew.fit(decay, start, DECAY_DATA, fixed=FREE_DECAY, bounds=bounds)
    assert result.params["level"] == 2.3
    np.testing.assert_array_equal(
        result.at_bound, [name == "level" for name in result.labels]
    )
    held = ew.fit(decay, start, DECAY_DATA, fixed={**FREE_DECAY, "level": 2.3})
    np.testing.assert_allclose(result.nll, held.nll, rtol=1e-13)
    inside = np.ix_(~result.at_bound, ~result.at_bound)
    np.testing.assert_allclose(result.covariance[inside], held.covariance, rtol=1e-6)
    assert result.nll > free_decay.nll


@pytest.mark.slow
def test_a_minimum_beyond_a_smooth_map_is_no_quiet_success():
    """Its image is at infinity; what comes back is at the end, or says that it is."""
    bounds = {"sigma": ew.SigmoidTransform(0.5, 1.1)}
    boxed = ew.fit(
        gaussian, GAUSSIAN_START, SAMPLE, bounds={"sigma": ew.Interval(0.5, 1.1)}
    )
    result = ew.fit(gaussian, GAUSSIAN_START, SAMPLE, bounds=bounds, throw=False)
    assert result.params["sigma"] <= 1.1
    np.testing.assert_allclose(result.params["sigma"], 1.1, rtol=1e-3)
    np.testing.assert_allclose(result.nll, boxed.nll, rtol=1e-3)
    assert not result.success or result.at_bound[1]


# ------------------------------------------------------------------ foreign solvers


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_solvers_with_bounds(name, free_decay):
    # For a solver without boxes the interval becomes a smooth map.
    bounds = {"rate": ew.Interval(0.1, 3.0), "height": ew.OneSidedLogTransform(1.0)}
    result = ew.fit(
        decay,
        DECAY_START,
        DECAY_DATA,
        fixed=FREE_DECAY,
        bounds=bounds,
        solver=FOREIGN[name],
        max_steps=4000,
    )
    # An EDM of 1e-4, the goal for others, is 1.4 % of an error.
    errors = np.sqrt(np.diag(free_decay.covariance))
    keys = result.labels
    assert keys == free_decay.labels
    away = [(result.params[k] - free_decay.params[k]) for k in keys] / errors
    assert np.all(np.abs(away) < 0.015)
    assert result.edm <= 1e-4
    np.testing.assert_allclose(result.nll, free_decay.nll, atol=1e-4)
    np.testing.assert_allclose(result.covariance, free_decay.covariance, rtol=0.05)


@pytest.mark.slow
def test_a_foreign_solver_may_start_at_an_end():
    bounds = {"rate": ew.Interval(0.6, 3.0), "height": ew.Interval(0.0, 18.0)}
    result = ew.fit(
        decay,
        DECAY_START,
        DECAY_DATA,
        fixed=FREE_DECAY,
        bounds=bounds,
        solver=FOREIGN["BFGS"],
        throw=False,
    )
    exact = ew.fit(decay, DECAY_START, DECAY_DATA, fixed=FREE_DECAY, bounds=bounds)
    assert result.params["rate"] >= 0.6
    assert result.params["height"] <= 18.0
    np.testing.assert_allclose(result.nll, exact.nll, atol=1e-2)


def test_a_tuple_is_written_as_an_interval():
    start = ew.State.from_pytree({"x": 1.0})
    square = lambda params, data: (params["x"] - data) ** 2
    with pytest.raises(ArgumentTypeError, match=r"ew\.Interval\(0, 5\)"):
        ew.fit(square, start, 1.0, bounds={"x": (0, 5)})
    with pytest.raises(ArgumentTypeError, match=r"ew\.Interval\(0, 5\)"):
        ew.Model(square, start, 1.0, bounds={"x": (0, 5)})
