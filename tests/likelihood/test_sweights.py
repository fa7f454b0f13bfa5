"""sWeights against their identities, closed forms and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import (
    ArgumentValueError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
)
from everwillow.likelihood.sweights import orthogonal_weights, sweights
from everwillow.likelihood.unbinned import extended_nll
from tests.helpers import finite_difference_gradient


RNG = np.random.default_rng(11)
MASS = np.concatenate([RNG.normal(0.5, 0.1, 300), RNG.uniform(0, 1, 500)])
# A Gaussian, a flat and a rising component on 0 to 1, normalised up to 1e-6.
DENSITIES = np.stack(
    [
        np.exp(-0.5 * ((MASS - 0.5) / 0.1) ** 2) / (0.1 * np.sqrt(2 * np.pi)),
        np.ones(800),
        2 * MASS.clip(0, 1),
    ]
)
# A part of an event counts, too, and one that does not count.
COUNTS = RNG.uniform(0.5, 1.5, 800) * (np.arange(800) != 17)


def yields_nll(params, data):
    densities, counts = data
    rates = params["yields"]
    return extended_nll(jnp.log(rates @ densities), counts, jnp.sum(rates))


def fitted(densities, counts):
    """Fit the yields, shapes fixed."""
    start = {"yields": np.full(len(densities), counts.sum() / len(densities))}
    state = ew.State.from_pytree(start)
    return ew.fit(yields_nll, state, (densities, counts))


TWO = DENSITIES[:2]
FIT = fitted(TWO, COUNTS)
YIELDS = np.asarray(FIT.params["yields"])


def test_the_identities_at_the_maximum():
    """Sums over events are the yields and their covariance, over components 1."""
    weights = sweights(TWO, YIELDS, COUNTS)
    np.testing.assert_allclose(weights @ COUNTS, YIELDS, rtol=1e-12)
    counted = COUNTS > 0
    np.testing.assert_allclose(weights.sum(axis=0)[counted], 1.0, rtol=1e-6)
    assert weights[:, 17].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(
        (weights * COUNTS) @ weights.T, FIT.covariance, rtol=1e-9
    )


def test_two_identities_hold_for_all_yields():
    """One of them negative, and three components."""
    yields = np.array([310.0, 550.0, -20.0])
    weights = sweights(DENSITIES, yields)
    np.testing.assert_allclose(weights.sum(axis=1), yields, rtol=1e-10)
    shares = DENSITIES / (yields @ DENSITIES)
    np.testing.assert_allclose(
        np.linalg.inv(weights @ weights.T), shares @ shares.T, rtol=1e-9
    )


def test_the_covariance_of_a_fit_and_an_integral_give_them_too():
    weights = sweights(TWO, YIELDS, COUNTS)
    intensity = YIELDS @ TWO
    by_fit = orthogonal_weights(TWO, np.linalg.inv(FIT.covariance), intensity)
    counted = COUNTS > 0
    np.testing.assert_allclose(by_fit[:, counted], weights[:, counted], rtol=1e-8)
    m = (np.arange(20_000) + 0.5) / 20_000
    grid = np.stack(
        [np.exp(-0.5 * ((m - 0.5) / 0.1) ** 2) / (0.1 * np.sqrt(2 * np.pi)), 1 + 0 * m]
    )
    matrix = (grid / (YIELDS @ grid)) @ grid.T / m.size
    by_integral = orthogonal_weights(grid, matrix, YIELDS @ grid)
    np.testing.assert_allclose(by_integral @ grid.T / m.size, np.eye(2), atol=1e-12)
    # They differ from those by the sum over events by the fluctuations of the sample.
    at_events = orthogonal_weights(TWO, matrix, intensity)
    np.testing.assert_allclose(at_events[:, counted], weights[:, counted], atol=0.1)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_have_no_effect(scale):
    """Neither the unit of the variable, nor the scale of one component."""
    weights = sweights(TWO, YIELDS, COUNTS)
    in_units = sweights(scale * TWO, YIELDS, COUNTS)
    np.testing.assert_allclose(in_units, weights, rtol=1e-9)
    factors = np.array([scale, 1.0])
    one = sweights(factors[:, None] * TWO, YIELDS / factors, COUNTS)
    np.testing.assert_allclose(one, weights / factors[:, None], rtol=1e-9)
    many = sweights(TWO, scale * YIELDS, scale * COUNTS)
    np.testing.assert_allclose(many, weights, rtol=1e-9)


def test_jit_and_vmap_give_the_same():
    plain = sweights(TWO, YIELDS, COUNTS)
    assert isinstance(plain, np.ndarray)
    jitted = jax.jit(sweights)(TWO, YIELDS, COUNTS)
    np.testing.assert_allclose(jitted, plain, rtol=1e-10)
    mapped = jax.vmap(sweights, (None, 0, None))(TWO, np.stack([YIELDS] * 2), COUNTS)
    np.testing.assert_allclose(mapped[1], plain, rtol=1e-10)


def test_derivatives_through_the_weights():
    t = RNG.exponential(size=800)

    def mean(inputs):
        shift, yields, counts = inputs
        width = 0.1
        gauss = jnp.exp(-0.5 * ((MASS - 0.5 - shift) / width) ** 2) / width
        weights = sweights(jnp.stack([gauss, TWO[1]]), yields, counts)[0] * counts
        return jnp.sum(weights * t) / jnp.sum(weights)

    # The event that does not count has another derivative from above than from below.
    inputs = (0.01, jnp.asarray(YIELDS), jnp.asarray(COUNTS.clip(0.5)))
    found = jax.tree.leaves(jax.grad(mean)(inputs))
    exact = jax.tree.leaves(finite_difference_gradient(mean, inputs, step=1e-4))
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-10)


def test_impossible_events_are_refused():
    """Except for those that do not count."""
    impossible = TWO.copy()
    impossible[:, [3, 5]] = 0.0
    with pytest.raises(ArgumentValueError, match=r"at 2 of 800 events.* event 3"):
        sweights(impossible, YIELDS)
    assert np.isnan(jax.jit(sweights)(impossible, YIELDS)).all()
    counts = np.ones(800)
    counts[[3, 5]] = 0.0
    without = np.delete(np.arange(800), [3, 5])
    padded = sweights(impossible, YIELDS, counts)
    np.testing.assert_allclose(
        padded[:, without], sweights(TWO[:, without], YIELDS), rtol=1e-10
    )
    assert not padded[:, [3, 5]].any()
    with pytest.raises(ArgumentValueError, match="denominator has to be positive"):
        orthogonal_weights(TWO, np.eye(2), np.zeros(800))


def test_components_that_look_the_same_are_refused():
    for second in (2 * TWO[0], 0 * TWO[0]):
        same = np.stack([TWO[0], second])
        with pytest.raises(NotPositiveDefiniteError, match="do not distinguish"):
            sweights(same, YIELDS, TWO[0] > 0)
        assert np.isnan(jax.jit(sweights)(same, YIELDS, TWO[0] > 0)).all()
    with pytest.raises(NotPositiveDefiniteError, match="do not distinguish"):
        orthogonal_weights(TWO, np.ones((2, 2)), np.ones(800))


def test_a_component_without_events_has_its_weights():
    """At the yield 0 of a component the others still do not depend on scales."""
    weights = sweights(DENSITIES, [300.0, 500.0, 0.0])
    np.testing.assert_allclose(weights.sum(axis=1), [300.0, 500.0, 0.0], atol=1e-9)


def test_wrong_shapes_say_what_is_expected():
    with pytest.raises(ShapeMismatchError, match=r"\(components, events\)"):
        sweights(TWO.T, YIELDS)
    with pytest.raises(ShapeMismatchError, match="one for each of the 800 events"):
        sweights(TWO, YIELDS, np.ones(3))
    with pytest.raises(ShapeMismatchError, match=r"got .*\(2, 800\), \(3, 3\)"):
        orthogonal_weights(TWO, np.eye(3), np.ones(800))
