"""Tests of the migration of masses into bins."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.models.scale_smearing.likelihood.migration import (
    between,
    migrate,
    probabilities,
    probability_derivatives,
)


LOW = np.array([80.0, 88.0, 91.0])
HIGH = np.array([88.0, 91.0, 103.0])
MASSES = np.linspace(70, 115, 46)
RHO = np.log([1.01, 0.98, 1.003])
LAM = np.log([0.02, 0.013, 0.03])


move = jax.jit(migrate)


def below(edge, r, s, x):
    """The part of a mass that is below an edge, from the error function of C."""
    return 0.5 * math.erfc(-(edge / (r * x) - 1) / (s * math.sqrt(2)))


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).uniform(0, 2, (3, MASSES.size))


def sums(low, high, rho, lam, weights):
    moved = probabilities(low, high, jnp.exp(rho), jnp.exp(lam), MASSES)
    return jnp.sum(moved * weights, -1)


def test_probabilities_equal_the_closed_form():
    r, s = np.exp(RHO), np.exp(LAM)
    expected = [
        [below(b, q, w, x) - below(a, q, w, x) for x in MASSES]
        for a, b, q, w in zip(LOW, HIGH, r, s, strict=True)
    ]
    found = probabilities(LOW, HIGH, jnp.asarray(r), jnp.asarray(s), MASSES)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("low", [0.5, 4.0, 8.0, 20.0, 36.0])
@pytest.mark.parametrize("width", [1e-3, 0.5, 3.0])
def test_tails_keep_their_relative_accuracy(low, width):
    ends = jnp.array(low), jnp.array(low + width)
    root = math.sqrt(0.5)
    expected = 0.5 * (math.erfc(low * root) - math.erfc((low + width) * root))
    # The argument's rounding is multiplied by its own size in the exponent.
    tolerance = 1e-15 * (10 + low**2) * max(1, 1 / (low * width))
    found = between(*ends)
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    mirrored = between(-ends[1], -ends[0])
    np.testing.assert_allclose(mirrored, found, rtol=1e-14)


def test_an_interval_over_the_centre():
    expected = 1 - 0.5 * (math.erfc(3 * math.sqrt(0.5)) + math.erfc(math.sqrt(0.5)))
    np.testing.assert_allclose(between(jnp.array(-1.0), jnp.array(3.0)), expected)


def test_the_value_of_sums_is_that_of_probabilities(weights):
    r, s = jnp.exp(RHO), jnp.exp(LAM)
    found = move(LOW, HIGH, r, s, MASSES, weights)
    expected = jnp.sum(probabilities(LOW, HIGH, r, s, MASSES) * weights, -1)
    np.testing.assert_allclose(found.value, expected, rtol=1e-14)


def test_derivatives_of_sums_equal_those_of_jax(weights):
    def row(point, low, high, weight):
        found = sums(low[None], high[None], point[:1], point[1:], weight[None])
        return found[0]

    points = np.stack([RHO, LAM], -1)
    arguments = points, LOW, HIGH, weights
    first = jax.jit(jax.vmap(jax.grad(row)))(*arguments)
    second = jax.jit(jax.vmap(jax.hessian(row)))(*arguments)
    found = move(LOW, HIGH, jnp.exp(RHO), jnp.exp(LAM), MASSES, weights)
    np.testing.assert_allclose(found.gradient, first, rtol=1e-10)
    np.testing.assert_allclose(found.hessian, second, rtol=1e-10)


def test_derivatives_of_probabilities_equal_those_of_jax():
    def moved(rho, lam):
        return probabilities(LOW, HIGH, jnp.exp(rho), jnp.exp(lam), MASSES)

    found = probability_derivatives(LOW, HIGH, jnp.exp(RHO), jnp.exp(LAM), MASSES)
    ones = jnp.ones(3)
    for place, derivative in enumerate(found):
        direction = [jnp.zeros(3), jnp.zeros(3)]
        direction[place] = ones
        _, expected = jax.jvp(moved, (RHO, LAM), tuple(direction))
        np.testing.assert_allclose(derivative, expected, rtol=1e-9, atol=1e-14)


def test_neighbouring_bins_add_up(weights):
    r, s = jnp.full(2, 1.01), jnp.full(2, 0.02)
    parts = move(LOW[:2], HIGH[:2], r, s, MASSES, weights[:1].repeat(2, 0))
    whole = move(LOW[:1], HIGH[1:2], r[:1], s[:1], MASSES, weights[:1])
    for some, one in zip(parts, whole, strict=True):
        np.testing.assert_allclose(jnp.sum(some, 0), one[0], rtol=1e-12)


def test_rows_without_width_are_zero_with_all_derivatives(weights):
    found = move(LOW, LOW, jnp.exp(RHO), jnp.exp(LAM), MASSES, weights)
    for one in found:
        np.testing.assert_allclose(one, 0, atol=1e-12)


def test_masses_far_from_all_edges_have_finite_derivatives():
    low, high = np.array([80.0]), np.array([100.0])
    found = move(
        low, high, jnp.ones(1), jnp.full(1, 1e-3), np.array([1.0, 90.0, 1e4]), 1.0
    )
    np.testing.assert_allclose(found.value, 1)
    assert np.all(np.isfinite(found.gradient))
    assert np.all(np.isfinite(found.hessian))
    np.testing.assert_allclose(found.gradient, 0, atol=1e-12)
