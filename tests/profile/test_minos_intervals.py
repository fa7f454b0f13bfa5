"""MINOS: closed forms, and what can stop it on the way."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import ndtr, ndtri

import everwillow as ew
from everwillow._errors import RESULTS
from everwillow.profile import CROSSING, minos
from tests.helpers import count_jax_work
from tests.profile.models import (
    START,
    bounds,
    counting,
    counting_ends,
    data,
    landscape,
)


RATE = ew.State.from_pytree({"rate": 5.0})


def exact_errors(observation, cl=0.6827, take=slice(None)):
    """Return z √(H⁻¹)ᵢᵢ of a landscape that is quadratic, in NumPy."""
    hessian = np.diag([observation["precision"], 0.0, 0.0, 1.0])
    hessian[0, 3] = hessian[3, 0] = -observation["tilt"]
    for i, (slope, spread) in enumerate(
        zip(observation["slope"], observation["spread"], strict=True)
    ):
        row = np.zeros(4)
        row[0], row[1 + i] = -slope / spread, 1 / spread
        hessian += np.outer(row, row)
    hessian = hessian[take, take]
    return float(ndtri(0.5 + 0.5 * cl)) * np.sqrt(np.diag(np.linalg.inv(hessian)))


def a_only(observation, **options):
    """Search the interval of "a", in the program that most tests here share."""
    start, box = options.pop("start", START), options.pop("box", bounds())
    return minos(landscape, start, observation, names=["a"], bounds=box, **options)


@pytest.mark.slow
@pytest.mark.parametrize("cl", [0.6827, 0.95])
def test_errors_of_a_gaussian_are_those_of_its_hessian(cl):
    result = minos(landscape, START, data(), cl=cl, bounds=bounds())
    assert result.names == ("a", "b[0]", "b[1]", "c")
    exact = exact_errors(data(), cl)
    np.testing.assert_allclose(result.upper, exact, rtol=1e-8)
    np.testing.assert_allclose(result.lower, -exact, rtol=1e-8)
    assert np.all(result.upper_status == CROSSING.found)
    # All parameters at an end: that one is there, the others follow to first order.
    np.testing.assert_allclose(
        result.upper_params["c"][3], result.values[3] + result.upper[3], rtol=1e-12
    )
    covariance = result.minimum.covariance
    z = exact[0] / np.sqrt(covariance[0, 0])
    np.testing.assert_allclose(
        result.upper_params["b"][0] - result.minimum.params["b"],
        z * covariance[0, 1:3] / np.sqrt(covariance[0, 0]),
        rtol=1e-6,
    )


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_neither_units_nor_offsets_matter(size, offset):
    observation = data(
        mean=1.0 * size, precision=4.0 / size**2, tilt=0.6 / size, offset=offset
    )
    observation["slope"] = observation["slope"] / size
    result = a_only(observation)
    exact = exact_errors(data())[0] * size
    # An error in the height of δ moves an end by δ/z standard errors.
    rounding = 1e-8 + 20 * np.finfo(float).eps * offset
    np.testing.assert_allclose(result.upper[0], exact, rtol=rounding)
    np.testing.assert_allclose(result.lower[0], -exact, rtol=rounding)


@pytest.mark.parametrize("observed", [1.0, 3.0, 9.0, 1000.0])
@pytest.mark.parametrize("cl", [0.6827, 0.9973])
def test_poisson_counts_have_the_roots_of_their_likelihood(observed, cl):
    result = minos(counting, RATE, observed, cl=cl)
    rise = 0.5 * float(ndtri(0.5 + 0.5 * cl)) ** 2
    exact = counting_ends(observed, rise)
    np.testing.assert_allclose([result.lower[0], result.upper[0]], exact, rtol=1e-8)
    assert np.all(result.lower_status == CROSSING.found)


def test_held_parameters_make_intervals_narrower():
    result = a_only(data(), held=["b*", "c"])
    assert result.held == ("b[0]", "b[1]", "c")
    exact = exact_errors(data(), take=slice(1))
    np.testing.assert_allclose(result.upper, exact, rtol=1e-8)
    full = a_only(data())
    assert full.upper[0] > 1.05 * result.upper[0]
    np.testing.assert_allclose(
        result.upper_params["c"], full.minimum.params["c"], rtol=1e-12
    )


def test_an_element_of_an_array_has_an_interval():
    result = minos(landscape, START, data(), names=["b[1]"], bounds=bounds())
    assert result.names == ("b[1]",)
    np.testing.assert_allclose(result.upper, exact_errors(data())[2], rtol=1e-8)


@pytest.mark.slow
def test_all_elements_of_an_array_have_intervals():
    names = ["c", "b", "a"]
    result = minos(landscape, START, data(), names=names, bounds=bounds())
    assert result.names == ("c", "b[0]", "b[1]", "a")
    np.testing.assert_allclose(
        result.upper, exact_errors(data())[[3, 1, 2, 0]], rtol=1e-8
    )
    table = repr(result).splitlines()
    assert table[0].split() == ["parameter", "value", "lower", "upper"]
    assert table[2].split() == ["b[0]", "0.44", "-0.73", "+0.73"]


def test_ends_at_a_bound_say_so():
    best = a_only(data())
    near = best.values[0] + 0.4 * best.upper[0]
    result = a_only(data(), box=bounds(a=(-5.0, near)))
    assert (result.upper_status == CROSSING.at_bound)[0]
    np.testing.assert_allclose(result.upper, 0.4 * best.upper, rtol=1e-6)
    np.testing.assert_allclose(result.upper_params["a"], [near], rtol=1e-15)
    assert (result.lower_status == CROSSING.found)[0]
    np.testing.assert_allclose(result.lower, best.lower, rtol=1e-7)
    assert "upper: at bound" in repr(result)


def test_a_minimum_at_the_bound_has_no_room_on_that_side():
    result = a_only(data(mean=-1.0), box=bounds(a=(0.0, 5.0)))
    assert result.values[0] == 0
    assert result.lower[0] == 0
    assert (result.lower_status == CROSSING.at_bound)[0]
    # ½ p ((a + 1)² - 1) - ½ 0.36 a² + ½ a² (...) with b, c following: all quadratic.
    curvature = 4.0 - 0.36
    level = float(ndtri(0.5 + 0.5 * 0.6827)) ** 2
    exact = (-4.0 + np.sqrt(16.0 + curvature * level)) / curvature
    np.testing.assert_allclose(result.upper[0], exact, rtol=1e-8)


def test_a_nuisance_parameter_reaches_its_bound_on_the_way():
    # c = 0.6 a up to its bound, from where on it stays there.
    box = bounds(c=(-1.0, 0.7))
    result = a_only(data(), box=box)
    assert result.minimum.params["c"] < 0.7
    np.testing.assert_allclose(result.upper_params["c"], [0.7])
    end = result.values[0] + result.upper[0]
    level = 0.5 * float(ndtri(0.5 + 0.5 * 0.6827)) ** 2
    height = 2.0 * (end - 1) ** 2 + 0.5 * 0.49 - 0.6 * end * 0.7
    np.testing.assert_allclose(height - result.minimum.nll, level, rtol=1e-8)


def test_a_nuisance_parameter_leaves_its_bound_on_the_way():
    box = bounds(c=(-1.0, 0.5))
    result = a_only(data(), box=box)
    np.testing.assert_allclose(result.minimum.params["c"], 0.5)
    end = result.values[0] + result.lower[0]
    np.testing.assert_allclose(result.lower_params["c"], [0.6 * end], rtol=1e-6)
    level = 0.5 * float(ndtri(0.5 + 0.5 * 0.6827)) ** 2
    height = 2.0 * (end - 1) ** 2 - 0.5 * 0.36 * end**2
    np.testing.assert_allclose(height - result.minimum.nll, level, rtol=1e-8)


PLATEAU = {"precision": 0.0, "tilt": 0.0, "slope": np.zeros(2)}


@pytest.mark.filterwarnings("error")
def test_a_plateau_has_no_crossing():
    result = a_only(data(**PLATEAU, height=0.3))
    assert np.isnan(result.upper[0])
    assert np.isnan(result.lower[0])
    assert (result.upper_status == CROSSING.no_crossing)[0]
    assert (result.lower_status == CROSSING.no_crossing)[0]
    assert np.isnan(result.upper_params["a"][0])


def test_a_plateau_that_is_high_enough_is_crossed_below_it():
    # A level of ½ and a height of 0.501: the crossing is where exp(-a²/2) = 0.002.
    cl = 0.682689492137
    result = a_only(data(**PLATEAU, height=0.501), cl=cl)
    level = 0.5 * float(ndtri(0.5 + 0.5 * cl)) ** 2
    exact = np.sqrt(-2 * np.log(1 - level / 0.501))
    np.testing.assert_allclose(result.upper[0], exact, rtol=1e-7)
    np.testing.assert_allclose(result.lower[0], -exact, rtol=1e-7)


def test_a_crossing_is_found_before_fits_begin_to_fail():
    exact = a_only(data())
    # The first step, or the second of a wider interval, lands beyond the wall.
    wall = exact.values[0] + 1.5 * exact.upper[0]
    result = a_only(data(wall=wall), cl=0.8)
    reference = exact_errors(data(), 0.8)[0]
    np.testing.assert_allclose(result.upper[0], reference, rtol=1e-8)
    beyond = a_only(data(wall=wall), cl=0.95)
    assert np.isnan(beyond.upper[0])
    assert (beyond.upper_status == CROSSING.fit_failed)[0]
    np.testing.assert_allclose(beyond.lower[0], -exact_errors(data(), 0.95)[0])


# Searches that step into the other well, and some that jump over it.
@pytest.mark.parametrize("cl", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("precision", [0.1, 0.5])
def test_a_deeper_minimum_comes_back_with_a_warning(cl, precision):
    # Minima near a = ±1; the mean makes the one on the left the deeper one.
    observation = data(mean=-1.0, precision=precision, well=1.0, tilt=0.0)
    with pytest.warns(UserWarning, match=r"on the way from 'a' .*result\.minimum"):
        result = a_only(observation, cl=cl)
    assert result.new_minimum
    assert (result.lower_status == CROSSING.new_minimum)[0]
    assert np.isnan(result.lower[0])
    assert bool(result.minimum.success)
    np.testing.assert_allclose(result.minimum.params["a"], -1.0)
    again = a_only(observation, cl=cl, start=result.minimum)
    assert again.minimum.nll == result.minimum.nll
    assert not again.new_minimum


def test_a_minimum_that_splits_is_followed_down():
    # For a > 1 the minimum c = 0 turns into a maximum between c = ±√(a - 1).
    observation = data(
        mean=0.0, precision=1.0, slope=np.zeros(2), tilt=0.0, pitch=1.0, quartic=1.0
    )
    result = a_only(observation, cl=0.95)
    level = 0.5 * float(ndtri(0.975)) ** 2
    np.testing.assert_allclose(result.lower[0], -np.sqrt(2 * level), rtol=1e-8)
    # ½ a² - ¼ (a - 1)² = level
    exact = -1 + np.sqrt(1 + 4 * (level + 0.25))
    np.testing.assert_allclose(result.upper[0], exact, rtol=1e-7)
    np.testing.assert_allclose(
        np.abs(result.upper_params["c"]), np.sqrt(exact - 1), rtol=1e-5
    )


def test_a_second_search_traces_nothing():
    a_only(data())
    with count_jax_work() as work:
        best = a_only(data(mean=0.7), cl=0.9).minimum
        a_only(data(mean=0.7), start=best, held=["c"])
        minos(landscape, best, data(mean=0.7), names=["b[1]"], bounds=bounds())
    assert work.traces == 0
    assert work.compilations == 0


def wide(params, data):
    return data["offset"] + 0.5 * ((params["x"] - 3) / data["width"]) ** 2


@pytest.mark.parametrize("offset", [0.0, 1e12, -1e12, 5e13, 5e14])
@pytest.mark.parametrize("width", [605.0, 0.01])
def test_a_level_below_the_rounding_is_refused(offset, width):
    """Found with the error that rounding leaves, or not at all: nothing between."""
    data = {"offset": offset, "width": width}
    start = ew.State.from_pytree({"x": 3.0})
    result = minos(wide, start, data, cl=float(2 * ndtr(1.0) - 1))
    rounding = np.spacing(np.abs(offset)) / 2
    if 32 * rounding > 0.1:
        for status in (result.lower_status, result.upper_status):
            assert (status == CROSSING.below_rounding)[0]
        assert np.isnan([result.lower[0], result.upper[0]]).all()
        assert "below rounding" in repr(result)
    else:
        assert (result.upper_status == CROSSING.found)[0]
        accuracy = max(1e-8, 4 * rounding)
        np.testing.assert_allclose(-result.lower[0], width, rtol=accuracy)
        np.testing.assert_allclose(result.upper[0], width, rtol=accuracy)


@pytest.mark.slow
def test_single_precision_is_no_number_where_it_cannot_be():
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = ew.State.from_pytree({"x": 2.0})
        for offset, found in ((1e4, True), (3e5, False)):
            data = {"offset": np.float32(offset), "width": np.float32(605)}
            result = minos(wide, start, data)
            assert (result.upper_status == CROSSING.found)[0] == found
            np.testing.assert_allclose(
                result.upper[0], 605 if found else np.nan, rtol=0.02
            )


def large_counts(params, data):
    rate = data["b"] * (1 + 0.01 * params["theta"]) + params["mu"] * data["s"]
    main = jnp.sum(rate - data["n"] * jnp.log(rate))
    return main + 0.5 * params["theta"] ** 2


@pytest.mark.slow
def test_rounding_is_not_called_a_flat_direction():
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        background = np.full(50, 1e4, np.float32)
        signal = np.linspace(1, 30, 50, dtype=np.float32)
        data = {"b": background, "n": background, "s": signal}
        start = ew.State.from_pytree({"mu": 1.0, "theta": 0.0})
        result = ew.fit(large_counts, start, data, throw=False)
    assert not result.success
    assert result.status == RESULTS.rounded
    assert "rounding" in result.message()
    assert "does not depend" not in result.message()
