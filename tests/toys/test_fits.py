"""Fits of toys: those of a loop, with pulls as they should be, and none forgotten."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.toys import DrawnParameters, fit_toys, sample_toys
from tests.hypotest.models import (
    GAUSSIAN_START,
    SIGMA,
    gaussian,
    gaussian_toy,
    uncorrelated_background,
)


MODEL = uncorrelated_background(bounds=(-5.0, 10.0))


@pytest.mark.slow
def test_a_batch_of_toys_is_the_loop():
    fits = fit_toys(MODEL, ntoys=7, key=3, batch_size=4)
    toys = sample_toys(MODEL, MODEL.state, ntoys=7, key=3)
    for i in range(7):
        data = jax.tree.map(lambda leaf, i=i: leaf[i], toys)
        one = ew.fit(MODEL, observation=data)
        np.testing.assert_allclose(fits.nll[i], one.nll, rtol=1e-12)
        for key in fits.params:
            np.testing.assert_allclose(fits.params[key][i], one.params[key], rtol=1e-7)
            np.testing.assert_allclose(fits.errors[key][i], one.errors[key], rtol=1e-5)
    assert fits.labels == one.labels
    assert fits.failures == 0


@pytest.mark.slow
def test_toys_do_not_depend_on_how_the_work_is_divided():
    whole = fit_toys(MODEL, ntoys=30, key=3, batch_size=30)
    part = fit_toys(MODEL, ntoys=11, key=3, first=12, batch_size=4)
    np.testing.assert_allclose(part.params["mu"], whole.params["mu"][12:23], rtol=1e-9)
    np.testing.assert_array_equal(part.index, np.arange(12, 23))


@pytest.mark.slow
def test_pulls_of_a_gaussian_are_standard_normal():
    fits = fit_toys(gaussian, GAUSSIAN_START, ntoys=4000, key=1, sample_fn=gaussian_toy)
    np.testing.assert_allclose(fits.errors["mu"], SIGMA, rtol=1e-9)
    pulls = (fits.params["mu"] - 0.5) / fits.errors["mu"]
    assert abs(pulls.mean()) < 5 / np.sqrt(4000)
    assert abs(pulls.std() - 1) < 5 / np.sqrt(2 * 4000)
    # Intervals cover as often as they say, at the binomial level.
    covered = np.mean(np.abs(pulls) < 1)
    assert abs(covered - 0.6827) < 5 * np.sqrt(0.6827 * 0.3173 / 4000)


@pytest.mark.slow
def test_held_and_fixed_parameters_have_no_error():
    held = fit_toys(MODEL, ntoys=5, key=3, held={"mu": 0.4})
    fixed = fit_toys(MODEL, ntoys=5, key=3, fixed={"mu": 0.4})
    assert np.all(held.params["mu"] == 0.4)
    assert held.errors["mu"] is None
    assert held.labels == ("gamma[0]", "gamma[1]")
    np.testing.assert_allclose(held.nll, fixed.nll, rtol=1e-12)
    assert set(np.ravel(fixed.params["mu"])) == {0.4}


@pytest.mark.slow
def test_toys_at_the_end_of_a_fit():
    best = ew.fit(MODEL)
    fits = fit_toys(MODEL, best, ntoys=5, key=3)
    toys = sample_toys(MODEL, best.params, ntoys=5, key=3)
    one = ew.fit(MODEL, observation=jax.tree.map(lambda leaf: leaf[2], toys))
    np.testing.assert_allclose(fits.nll[2], one.nll, rtol=1e-12)


@pytest.mark.slow
def test_a_bound_is_told():
    bounded = uncorrelated_background(bounds=(0.9, 10.0))
    fits = fit_toys(bounded, ntoys=20, key=3)
    at_bound = fits.params["mu"] == 0.9
    assert 0 < at_bound.sum() < 20
    place = fits.labels.index("mu")
    np.testing.assert_array_equal(fits.at_bound[:, place], at_bound)
    np.testing.assert_array_equal(np.isnan(fits.errors["mu"]), at_bound)


def fragile(params, data):
    """A likelihood that has no minimum for some data."""
    value = gaussian(params, data)
    return jnp.where(data["x"] > 1.5, -jnp.exp(params["mu"]), value)


@pytest.mark.slow
def test_fits_that_failed_are_kept_and_counted():
    options = {"ntoys": 40, "key": 2, "sample_fn": gaussian_toy}
    fits = fit_toys(fragile, GAUSSIAN_START, max_steps=30, **options)
    wrong = sample_toys(None, GAUSSIAN_START, **options)["x"] > 1.5
    np.testing.assert_array_equal(fits.success, ~wrong)
    np.testing.assert_array_equal(fits.failed, np.nonzero(wrong)[0])
    assert fits.failures == wrong.sum() > 0
    for values in (fits.nll, fits.errors["mu"]):
        np.testing.assert_array_equal(np.isnan(values), wrong)
    assert f"{(~wrong).sum()} of 40 toys" in repr(fits)
    assert f"{wrong.sum()} " in repr(fits)


@pytest.mark.slow
def test_parameters_drawn_spread_the_estimates():
    drawn = fit_toys(MODEL, ntoys=1500, key=3, sample_fn=DrawnParameters(MODEL)).params[
        "mu"
    ]
    frequentist = fit_toys(MODEL, ntoys=1500, key=3).params["mu"]
    # The spread of the estimate is the same to first order; relative error 1.8 %.
    np.testing.assert_allclose(drawn.std(), frequentist.std(), rtol=0.15)


def test_second_call_traces_nothing():
    traces = []

    def counted(params, data):
        traces.append(0)
        return gaussian(params, data)

    def run(key):
        return fit_toys(
            counted, GAUSSIAN_START, ntoys=10, key=key, sample_fn=gaussian_toy
        )

    run(1)
    before = len(traces)
    run(2)
    assert len(traces) == before


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ntoys": 0}, ValueError, "ntoys"),
        ({"ntoys": 5, "batch_size": 0}, ValueError, "batch_size"),
        ({"ntoys": 5, "held": {"mux": 1.0}}, KeyError, "'mu'"),
        ({"ntoys": 5, "params": [1.0]}, TypeError, "State"),
        ({"ntoys": 5, "params": {"mux": 1.0}}, KeyError, "'mu'"),
    ],
)
def test_bad_input(options, error, words):
    params = options.pop("params", None)
    with pytest.raises(error, match=words) as caught:
        fit_toys(MODEL, params, key=1, **options)
    assert isinstance(caught.value, ew.EverwillowError)
