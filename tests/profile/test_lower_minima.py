"""Profiles of likelihoods with two minima, and without systematic uncertainties."""

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.parameters import Normal
from everwillow.profile import scan, scan_2d, scan_split


VALUES = np.linspace(-2.0, 2.0, 9)


def wells(params, data):
    """Two wells in b: "pull" draws b to a, "tilt" lowers the one of the sign of a."""
    a, b = params["a"], params["b"]
    wells = 2 * (b**2 - 1) ** 2 + data["slope"] * b - data["tilt"] * a * b
    return wells + data["pull"] * (a - b) ** 2 + 0.5 * (a - data["center"]) ** 2


def data(slope=0.0, tilt=0.0, pull=0.0, center=0.0):
    return {"slope": slope, "tilt": tilt, "pull": pull, "center": center}


def start(a=1.0, b=1.0):
    return ew.State.from_pytree({"a": a, "b": b})


def lowest(observation, values=VALUES):
    """The profile by values at many points of b."""
    b = np.linspace(-2, 2, 400_001)
    return np.array([np.min(wells({"a": a, "b": b}, observation)) for a in values])


@pytest.mark.slow
def test_a_scan_that_falls_below_its_minimum_is_repeated_from_there():
    observation = data(slope=0.5, pull=2.0)
    with pytest.warns(UserWarning, match="scan of a: -ln L fell below its minimum"):
        result = scan(wells, start(), observation, name="a", values=VALUES)
    assert result.new_minimum
    deepest = ew.fit(wells, start(-1.0, -1.0), observation)
    np.testing.assert_allclose(result.minimum.nll, deepest.nll, atol=1e-8)
    np.testing.assert_allclose(result.nll, lowest(observation), atol=1e-6)
    assert np.all(result.twice_delta_nll >= 0)
    # From the lower minimum there is nothing to tell.
    again = scan(wells, result.minimum, observation, name="a", values=VALUES)
    assert not again.new_minimum
    np.testing.assert_allclose(again.minimum.nll, deepest.nll, atol=1e-8)


@pytest.mark.slow
def test_a_grid_that_falls_below_its_minimum_is_repeated_from_there():
    observation = data(slope=0.5, pull=2.0)
    grid = (VALUES[::2], np.array([-1.0, 0.0, 1.0]))
    with pytest.warns(UserWarning, match="scan of a and b: -ln L fell below"):
        result = scan_2d(wells, start(), observation, names=("a", "b"), values=grid)
    assert result.new_minimum
    expected = wells({"a": grid[0][:, None], "b": grid[1][None]}, observation)
    np.testing.assert_allclose(result.nll, expected, atol=1e-12)
    np.testing.assert_allclose(
        result.twice_delta_nll, 2 * (expected - result.minimum.nll), atol=1e-9
    )
    assert np.all(result.twice_delta_nll >= 0)


@pytest.mark.slow
def test_other_starts_find_the_lower_minimum_of_all_points():
    observation = data(slope=0.5)
    near = scan(wells, start(), observation, name="a", values=VALUES)
    assert not near.new_minimum
    assert near.other_start is None
    with (
        pytest.warns(UserWarning, match="fell below its minimum"),
        pytest.warns(UserWarning, match="9 of 9 points a fit from another start"),
    ):
        result = scan(wells, start(), observation, name="a", values=VALUES, starts=6)
    assert result.other_start.all()
    assert result.new_minimum
    np.testing.assert_allclose(result.nll, lowest(observation), atol=1e-6)
    assert np.all(near.nll > result.nll + 0.5)
    np.testing.assert_allclose(result.params["b"], result.minimum.params["b"])
    assert float(result.minimum.params["b"]) < 0
    with pytest.raises(ArgumentValueError, match=r"^starts: "):
        jax.jit(
            lambda shift: (
                scan(
                    wells, start(), data(slope=shift), name="a", values=VALUES, starts=6
                ).nll
            )
        )(0.5)


@pytest.mark.slow
def test_other_starts_find_the_points_where_another_minimum_is_lower():
    # The free fit is the lowest one; beyond a = 0 the other well is lower.
    observation = data(tilt=0.3, center=1.0)
    near = scan(wells, start(), observation, name="a", values=VALUES)
    with pytest.warns(UserWarning, match="4 of 9 points"):
        result = scan(wells, start(), observation, name="a", values=VALUES, starts=6)
    assert not result.new_minimum
    np.testing.assert_array_equal(result.other_start, VALUES < 0)
    np.testing.assert_allclose(result.nll, lowest(observation), atol=1e-6)
    np.testing.assert_array_equal(near.nll > result.nll + 1e-3, VALUES < 0)
    np.testing.assert_allclose(result.minimum.nll, near.minimum.nll)


@pytest.mark.slow
def test_other_starts_stay_in_bounds_and_change_nothing_where_one_minimum_is(recwarn):
    box = {"b": ew.Interval(0.0, 1.5)}
    observation = data(slope=0.5, pull=0.1)
    options = {"name": "a", "values": VALUES, "bounds": box}
    plain = scan(wells, start(), observation, **options)
    result = scan(wells, start(), observation, starts=4, **options)
    np.testing.assert_allclose(result.nll, plain.nll, atol=1e-8)
    assert not result.other_start.any()
    assert not recwarn.list


def measured(params, y):
    shift = params["mu"] + params["theta"] + params["eta"][1]
    return 0.5 * ((y - shift) / 3.0) ** 2


# "mu" is 5 +- 3 and two systematic uncertainties.
CONSTRAINTS = {"theta": Normal(0.0, 4.0), "eta": Normal(np.zeros(2), 2.0)}
MODEL = ew.Model(
    measured,
    {"mu": 0.0, "theta": 0.0, "eta": np.zeros(2)},
    5.0,
    constraints=CONSTRAINTS,
)


@pytest.mark.slow
def test_profiles_with_and_without_systematics():
    values = np.array([-5.0, 2.0, 5.0, 10.0])
    result = scan_split(MODEL, name="mu", values=values)
    distance = (values - 5.0) ** 2
    np.testing.assert_allclose(
        result.total.twice_delta_nll, distance / (9 + 16 + 4), atol=1e-9
    )
    np.testing.assert_allclose(
        result.statistical.twice_delta_nll, distance / 9, atol=1e-9
    )
    assert result.statistical.held == ("eta[0]", "eta[1]", "theta")
    assert result.total.held == ()
    assert "without eta[0], eta[1], theta" in repr(result)
    some = scan_split(MODEL, name="mu", values=values, systematic=["th*"])
    np.testing.assert_allclose(
        some.statistical.twice_delta_nll, distance / (9 + 4), atol=1e-9
    )
    # What is scanned is not held.
    other = scan_split(MODEL, name="theta", values=[1.0, 2.0], fixed={"mu": 5.0})
    assert other.statistical.held == ("eta[0]", "eta[1]")


@pytest.mark.slow
def test_profiles_without_systematics_need_some():
    with pytest.raises(ArgumentValueError, match=r"^systematic: no parameter with"):
        scan_split(wells, start(), data(pull=1.0), name="a", values=[0.5])
    with pytest.raises(ArgumentValueError, match=r"^systematic: none of these"):
        scan_split(MODEL, name="mu", values=[1.0], systematic="mu")
    with pytest.raises(ArgumentTypeError, match="call scan twice"):
        jax.jit(
            lambda y: scan_split(MODEL, None, y, name="mu", values=[1.0]).total.nll
        )(MODEL.observation)
