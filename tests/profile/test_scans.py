"""Scans: the loop of fits with fixed parameters, and what happens on the way."""

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import RESULTS
from everwillow.profile import scan, scan_2d
from tests.helpers import count_jax_work
from tests.profile.models import START, bounds, data, fixed_fit, landscape


VALUES = np.linspace(-1.0, 3.0, 9)


def scan_a(observation, *, values=VALUES, box=None, **options):
    """Scan "a" at nine values, in the program that most tests here share."""
    start, box = options.pop("start", START), bounds() if box is None else box
    return scan(
        landscape, start, observation, name="a", values=values, bounds=box, **options
    )


def loop(observation, box, values=VALUES, **held):
    fits = [fixed_fit(observation, {"a": v, **held}, box) for v in values]
    return fits, np.array([float(fit.nll) for fit in fits])


# name: data, bounds
LANDSCAPES = {
    "gaussian": (data(), bounds()),
    "banana": (data(bend=np.array([0.6, -0.3]), quartic=0.5), bounds()),
    "a bound is reached": (data(), bounds(c=(-1.0, 1.0))),
    "a bound is left": (data(), bounds(c=(-1.0, 0.2))),
    "two bounds": (data(slope=np.array([1.0, -1.0])), bounds(b=(-0.5, 0.8))),
    "large": (data(offset=1e8), bounds()),
    "flat in the others": (data(spread=np.array([50.0, 80.0])), bounds()),
}


@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("name", LANDSCAPES)
def test_is_the_loop_of_fits(name, vectorised):
    observation, box = LANDSCAPES[name]
    result = scan_a(observation, box=box, vectorised=vectorised)
    fits, nlls = loop(observation, box)
    offset = float(observation["offset"])
    tolerance = 1e-9 + 1e-15 * offset
    np.testing.assert_allclose(result.nll, nlls, rtol=0, atol=tolerance)
    assert result.success.all()
    assert np.all(result.status == RESULTS.successful)
    for key in ("b", "c"):
        found = np.stack([fit.params[key] for fit in fits])
        np.testing.assert_allclose(result.params[key], found, atol=1e-4)
    np.testing.assert_array_equal(result.params["a"], VALUES)
    np.testing.assert_allclose(
        result.twice_delta_nll, 2 * (nlls - result.minimum.nll), atol=2e-9 + tolerance
    )


def test_a_gaussian_rises_as_its_variance_says():
    result = scan_a(data())
    away = VALUES - result.minimum.params["a"]
    variance = result.minimum.covariance[0, 0]
    np.testing.assert_allclose(result.twice_delta_nll, away**2 / variance, atol=1e-12)
    np.testing.assert_allclose(result.slope, away / variance, atol=1e-10)


def test_the_slope_is_that_of_the_profile():
    observation, box = LANDSCAPES["banana"]
    step = 1e-3
    centre = VALUES[2]
    near = centre + step * np.array([-4, -3, -2, -1, 0, 1, 2, 3, 4])
    result = scan_a(observation, values=near, box=box)
    difference = 8 * (result.nll[5] - result.nll[3]) - result.nll[6] + result.nll[2]
    # The end of a chord is 4e-6 standard errors away, to which the slope is linear.
    np.testing.assert_allclose(result.slope[4], difference / (12 * step), rtol=1e-6)


def test_values_come_in_any_order_and_more_than_once():
    sorted_ = scan_a(data())
    order = np.array([4, 0, 8, 2, 2, 7, 1, 3, 4])
    result = scan_a(data(), values=VALUES[order])
    np.testing.assert_array_equal(result.values, VALUES[order])
    np.testing.assert_allclose(result.nll, sorted_.nll[order], atol=1e-10)
    assert result.nll[3] == result.nll[4]


def test_all_values_may_be_on_one_side():
    values = np.linspace(2.0, 4.0, 9)
    for side in (1.0, -1.0):
        result = scan_a(data(), values=side * values)
        exact = scan_a(data(), values=side * values[::-1])
        np.testing.assert_allclose(result.nll, exact.nll[::-1], atol=1e-9)


@pytest.mark.slow
def test_one_value_is_enough():
    result = scan_a(data(), values=[1.5])
    assert result.nll.shape == (1,)
    _, nlls = loop(data(), bounds(), values=[1.5])
    np.testing.assert_allclose(result.nll, nlls, atol=1e-9)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_units_do_not_matter(size):
    observation = data(mean=size, precision=4.0 / size**2, tilt=0.6 / size)
    observation["slope"] = observation["slope"] / size
    start = ew.State.from_pytree({**START.to_pytree(), "a": 0.8 * size})
    result = scan_a(observation, values=size * VALUES, start=start)
    np.testing.assert_allclose(
        result.twice_delta_nll, scan_a(data()).twice_delta_nll, atol=1e-9
    )


@pytest.mark.parametrize("vectorised", [False, True])
def test_failed_points_are_nan_and_leave_the_others_alone(vectorised):
    whole = scan_a(data(), vectorised=vectorised)
    # The likelihood exists up to 2.2, and again nowhere.
    result = scan_a(data(wall=2.2), vectorised=vectorised)
    bad = VALUES > 2.2
    assert bad.sum() == 2
    np.testing.assert_array_equal(result.success, ~bad)
    np.testing.assert_array_equal(np.isnan(result.nll), bad)
    np.testing.assert_array_equal(np.isnan(result.params["c"]), bad)
    assert np.all((result.status == RESULTS.nonfinite_start)[bad])
    np.testing.assert_allclose(result.nll[~bad], whole.nll[~bad], atol=1e-10)
    text = "ScanResult(a in [-1, 3]; 7 of 9 fits ended at a minimum)"
    assert repr(result) == text


def test_a_minimum_that_splits_is_followed_down():
    observation = data(
        mean=0.0, precision=1.0, slope=np.zeros(2), tilt=0.0, pitch=1.0, quartic=1.0
    )
    result = scan_a(observation)
    split = np.where(VALUES > 1, 0.25 * (VALUES - 1) ** 2, 0)
    np.testing.assert_allclose(result.nll, 0.5 * VALUES**2 - split, atol=1e-9)


@pytest.mark.slow
def test_held_parameters_stay_at_their_best_values():
    full, result = scan_a(data()), scan_a(data(), held=["b[0]", "c"])
    assert result.held == ("b[0]", "c")
    np.testing.assert_array_equal(result.params["c"], np.full(9, result.params["c"][0]))
    np.testing.assert_allclose(result.params["c"][0], full.minimum.params["c"])
    best = full.minimum.params
    _, nlls = loop(data(), bounds(), values=VALUES[:2], c=float(best["c"]))
    assert np.all(result.nll[:2] > nlls)
    assert np.all(result.nll >= full.nll - 1e-12)
    assert result.nll[0] > full.nll[0] + 0.1


def test_an_element_of_an_array_is_scanned():
    values = np.linspace(-2.0, 0.0, 9)
    result = scan(landscape, START, data(), name="b[1]", values=values, bounds=bounds())
    assert result.name == "b[1]"
    np.testing.assert_array_equal(result.params["b"][:, 1], values)
    away = values - result.minimum.params["b"][1]
    variance = result.minimum.covariance[2, 2]
    np.testing.assert_allclose(result.twice_delta_nll, away**2 / variance, atol=1e-12)


@pytest.mark.slow
def test_a_fit_that_is_given_is_not_repeated():
    best = ew.fit(landscape, START, data(), bounds=bounds())
    result = scan_a(data(), start=best)
    assert result.minimum is best
    # A fit of other free parameters, or with other fixed values, is no such minimum.
    one = ew.fit(landscape, START, data(), bounds=bounds(), fixed={"c": 0.3})
    again = scan_a(data(), start=one, fixed={"c": 0.5})
    assert again.minimum is not one
    np.testing.assert_allclose(again.params["c"], np.full(9, 0.5))
    assert scan_a(data(), start=one, fixed={"c": ...}).minimum is one


def test_a_second_scan_traces_nothing():
    scan_a(data())
    scan_a(data(), vectorised=True)
    with count_jax_work() as work:
        scan_a(data(mean=0.7), values=VALUES - 0.5)
        scan_a(data(mean=0.7), vectorised=True)
        scan_a(data(), held=["c"])
        best = scan_a(data(), box=bounds(c=(-1.0, 1.0))).minimum
        options = {"name": "b[0]", "values": VALUES, "bounds": bounds()}
        scan(landscape, best, data(), **options)
    assert work.traces == 0
    assert work.compilations == 0


def test_inputs_are_left_alone():
    observation, values = data(), VALUES.copy()
    before = jax.tree.map(np.copy, observation)
    scan_a(observation, values=values)
    np.testing.assert_array_equal(values, VALUES)
    jax.tree.map(np.testing.assert_array_equal, observation, before)


AXES = (np.linspace(-0.5, 2.5, 4), np.array([1.0, -0.5, 0.3]))


@pytest.mark.parametrize("name", ["gaussian", "banana", "a bound is reached"])
def test_a_grid_is_the_loop_of_fits(name):
    observation, box = LANDSCAPES[name]
    result = scan_2d(
        landscape, START, observation, names=("a", "c"), values=AXES, bounds=box
    )
    _, first = loop(observation, box, values=AXES[0], c=AXES[1][0])
    _, last = loop(observation, box, values=AXES[0], c=AXES[1][2])
    np.testing.assert_allclose(result.nll[:, 0], first, atol=1e-9)
    np.testing.assert_allclose(result.nll[:, 2], last, atol=1e-9)
    assert result.success.all()
    assert result.params["b"].shape == (4, 3, 2)
    np.testing.assert_array_equal(result.params["a"], AXES[0][:, None].repeat(3, 1))
    np.testing.assert_array_equal(result.params["c"], AXES[1][None].repeat(4, 0))


def test_failed_rows_of_a_grid_leave_the_others_alone():
    options = {"names": ("a", "c"), "values": AXES, "bounds": bounds()}
    whole = scan_2d(landscape, START, data(), **options)
    result = scan_2d(landscape, START, data(wall=1.2), **options)
    bad = AXES[0] > 1.2
    np.testing.assert_array_equal(result.success, ~bad[:, None].repeat(3, 1))
    np.testing.assert_array_equal(np.isnan(result.nll), ~result.success)
    np.testing.assert_allclose(result.nll[~bad], whole.nll[~bad], atol=1e-10)


def test_held_parameters_of_a_grid_stay():
    result = scan_2d(
        landscape,
        START,
        data(),
        names=("a", "c"),
        values=AXES,
        bounds=bounds(),
        held=["b*"],
    )
    best = result.minimum.params["b"]
    np.testing.assert_allclose(result.params["b"], np.broadcast_to(best, (4, 3, 2)))
