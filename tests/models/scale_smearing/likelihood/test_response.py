"""Tests of the response of a mass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.models.scale_smearing.likelihood.response import (
    component_bends,
    component_slopes,
    floored,
    mass_components,
)


R1, R2, S1, S2 = 1.01, 0.98, 0.02, 0.03
WIDE1, WIDE2, MU1, MU2, F1, F2 = 0.05, 0.06, 0.93, 0.9, 0.9, 0.8
FLOOR = 1e-3


def components(local, exponent=0.5, floor=FLOOR):
    found = np.asarray(mass_components(jnp.array(local), exponent, floor))
    return np.stack([np.exp(found[:, 0]), np.exp(found[:, 1]), found[:, 2]], 1)


def test_two_leptons():
    found = components([[R1, S1**2], [R2, S2**2]])
    expected = [np.sqrt(R1 * R2), 0.5 * np.hypot(S1, S2), 1.0]
    np.testing.assert_allclose(found, [expected], rtol=1e-14)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 0.3])
def test_one_object(exponent):
    found = components([[R1, S1**2]], exponent)
    np.testing.assert_allclose(found, [[R1**exponent, exponent * S1, 1.0]], rtol=1e-14)


def test_two_leptons_with_two_gaussians():
    local = [[R1, S1**2, WIDE1**2, MU1, F1], [R2, S2**2, WIDE2**2, MU2, F2]]
    r = np.sqrt(R1 * R2)
    expected = [
        [r, 0.5 * np.hypot(S1, S2), F1 * F2],
        [r * np.sqrt(MU2), 0.5 * np.hypot(S1, WIDE2), F1 * (1 - F2)],
        [r * np.sqrt(MU1), 0.5 * np.hypot(WIDE1, S2), (1 - F1) * F2],
        [r * np.sqrt(MU1 * MU2), 0.5 * np.hypot(WIDE1, WIDE2), (1 - F1) * (1 - F2)],
    ]
    found = components(local)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    np.testing.assert_allclose(found[:, 2].sum(), 1, rtol=1e-14)


def test_one_object_with_two_gaussians():
    found = components([[R1, S1**2, WIDE1**2, MU1, F1]], 1.0)
    expected = [[R1, S1, F1], [R1 * MU1, WIDE1, 1 - F1]]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_without_smearing_the_width_is_the_floor():
    found = components([[R1, 0.0], [R2, 0.0]])
    np.testing.assert_allclose(found[0, 1], FLOOR, rtol=1e-14)


def test_a_fit_can_leave_zero_smearing():
    slopes = jax.jacfwd(lambda x: mass_components(x, 0.5, FLOOR))(
        jnp.array([[R1, 0.0], [R2, 0.0]])
    )
    # ln s = ln(f^2 + v/16 + ...) / 2 with v the sum of both, so 1 / (32 f^2).
    np.testing.assert_allclose(slopes[0, 1, :, 1], 1 / (32 * FLOOR**2), rtol=1e-12)


@pytest.mark.parametrize(
    ("place", "value", "slope", "bend"),
    [(0.0, 1.0, 0.25, 0.375), (4.0, 4.0, 1.0, 0.0), (2.0, 2.125, 0.8125, 0.1875)],
)
def test_the_floor_has_two_derivatives(place, value, slope, bend):
    floor = 3e-6
    here = jnp.array(place * floor)
    derivatives = [floored, jax.grad(floored), jax.grad(jax.grad(floored))]
    expected = [value * floor, slope, bend / floor]
    for function, number in zip(derivatives, expected, strict=True):
        np.testing.assert_allclose(function(here, floor), number, atol=1e-9 * value)
    # Nothing jumps where the floor ends.
    end = 4 * floor
    for function, number in zip(derivatives, [end, 1.0, 0.0], strict=True):
        for side in (end * (1 - 1e-9), end * (1 + 1e-9)):
            np.testing.assert_allclose(
                function(jnp.array(side), floor), number, rtol=1e-8, atol=1e-2
            )


def test_the_floor_rises_everywhere_and_is_exact_above():
    variance = jnp.linspace(0, 8, 401)
    found = np.asarray(floored(variance, 1.0))
    assert np.all(np.diff(found) > 0)
    assert np.all(found >= np.maximum(variance, 1.0))
    np.testing.assert_array_equal(found[variance >= 4], variance[variance >= 4])


DERIVATIVE_CASES = {
    "pair": [[R1, S1**2], [R2, S2**2]],
    "pair below the floor": [[R1, 1e-6], [R2, 5e-7]],
    "object": [[R1, S1**2]],
    "pair of two Gaussians": [
        [R1, S1**2, WIDE1**2, MU1, F1],
        [R2, S2**2, WIDE2**2, MU2, F2],
    ],
    "two Gaussians below the floor": [
        [R1, 1e-6, 2e-6, MU1, 1.0],
        [R2, 0.0, WIDE2**2, 1.0, F2],
    ],
    "object of two Gaussians": [[R1, S1**2, WIDE1**2, MU1, F1]],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DERIVATIVE_CASES)
def test_derivatives_equal_those_of_jax(name):
    local, exponent = jnp.array(DERIVATIVE_CASES[name]), 0.6
    shape = mass_components(local, exponent, FLOOR).shape
    weights = jnp.asarray(np.random.default_rng(2).normal(size=shape))

    @jax.jit
    def derivatives(flat):
        def components(x):
            return mass_components(x.reshape(local.shape), exponent, FLOOR)

        weighted = jax.hessian(lambda x: jnp.sum(weights * components(x)))
        return jax.jacfwd(components)(flat), weighted(flat)

    slopes, bends = derivatives(local.ravel())
    found = component_slopes(local, exponent, FLOOR)
    np.testing.assert_allclose(found, slopes, rtol=1e-11, atol=1e-11)
    found = component_bends(local, exponent, FLOOR, weights)
    scale = np.max(np.abs(bends))
    np.testing.assert_allclose(found, bends, rtol=1e-10, atol=1e-12 * scale)
