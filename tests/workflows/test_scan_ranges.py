"""Ranges of scans: from the profile itself, on both sides and at bounds."""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow import profile
from everwillow.workflows.scan_ranges import profiled_errors, profiled_range


def model(rate, observed, bounds=(-jnp.inf, jnp.inf), start=1.0):
    return ew.Model(
        lambda p, n: rate(p["mu"]) - n * jnp.log(rate(p["mu"])),
        {"mu": start},
        observed,
        bounds={"mu": ew.Interval(*bounds)},
    )


def rise_at(one, result, value):
    held = ew.fit(one, fixed={"mu": value})
    return 2 * float(held.nll - result.nll)


def test_both_ends_are_three_profiled_errors_away():
    one = model(lambda mu: 2.0 + 3.0 * mu, 4.0, bounds=(-0.6, jnp.inf))
    result = ew.fit(one)
    low, high = profiled_range(one, result, "mu", 31)
    interval = profile.minos(one, result, names=["mu"])
    best = float(result.params["mu"])
    assert low == -0.6  # the bound is nearer than three errors
    np.testing.assert_allclose(high - best, 3 * interval.upper[0], rtol=0.25)
    assert rise_at(one, result, high) > 1


def test_a_scan_from_a_bound_reaches_one_standard_deviation():
    one = model(lambda mu: 5.0 + 3.0 * mu, 2.0, bounds=(0.0, 50.0))
    result = ew.fit(one)
    assert float(result.params["mu"]) == 0.0
    low, high = profiled_range(one, result, "mu", 21)
    assert low == 0.0
    assert rise_at(one, result, high) > 1


def test_a_range_is_made_longer_where_the_likelihood_flattens():
    # Close to the minimum a parabola of width 0.1, which bends over far above it.
    one = ew.Model(
        lambda p, x: 0.4 * jnp.log1p(((p["mu"] - x) / 0.1) ** 2 / 0.8),
        {"mu": 0.3},
        0.0,
    )
    result = ew.fit(one)
    first = 3 * float(ew.uncertainties(one, result)["mu"])
    low, high = profiled_range(one, result, "mu", 41)
    assert high > first
    assert rise_at(one, result, high) > 1
    assert rise_at(one, result, low) > 1
    np.testing.assert_allclose(low, -high, rtol=1e-3)


def test_errors_of_a_scan_are_those_of_minos():
    one = model(lambda mu: 2.0 + 3.0 * mu, 40.0)
    result = ew.fit(one)
    found = profile.scan(one, result, name="mu", values=np.linspace(5, 25, 41))
    best, down, up = profiled_errors(found)
    exact = profile.minos(one, result, names=["mu"])
    np.testing.assert_allclose(best, 38 / 3, rtol=1e-9)
    np.testing.assert_allclose([-down, up], [exact.lower[0], exact.upper[0]], rtol=2e-3)
    short = profile.scan(one, result, name="mu", values=np.linspace(12, 25, 41))
    assert np.isnan(profiled_errors(short)[1])


def test_a_fixed_parameter_has_no_range():
    one = model(lambda mu: 2.0 + 3.0 * mu, 4.0)
    result = ew.fit(one, fixed={"mu": 1.0})
    with pytest.raises(ew.EverwillowError, match="cannot be fixed"):
        profiled_range(one, result, "mu", 11)
