"""The sandwich covariance against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import (
    ArgumentTypeError,
    NonFiniteError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
)
from everwillow.uncertainty import covariance_matrix, propagate, robust, sandwich
from tests.uncertainty.likelihoods import state


def mean_terms(params, data):
    """Weighted Gaussians of a width that is not that of the data."""
    return 0.5 * data["w"] * (data["x"] - params["mu"]) ** 2


def mean_nll(params, data):
    return jnp.sum(mean_terms(params, data))


def shape_terms(params, data):
    """Weighted Gaussians of free mean and width."""
    pull = (data["x"] - params["mu"]) / params["sigma"]
    return data["w"] * (0.5 * pull**2 + jnp.log(params["sigma"]))


def shape_nll(params, data):
    return jnp.sum(shape_terms(params, data))


RNG = np.random.default_rng(7)
EVENTS = {
    "x": 1.0 + 2.0 * RNG.standard_t(5, size=400),
    "w": RNG.uniform(0.2, 3.0, size=400),
}
UNWEIGHTED = {**EVENTS, "w": np.ones(400)}


def test_a_width_that_is_wrong_is_mended():
    """The mean of N events has the error rms / sqrt(N), whatever the width assumed."""
    result = ew.fit(mean_nll, state(mu=0.0), UNWEIGHTED)
    found = sandwich(mean_nll, result, UNWEIGHTED, nll_terms=mean_terms)
    np.testing.assert_allclose(found, [[np.var(EVENTS["x"]) / 400]], rtol=1e-10)
    naive = covariance_matrix(mean_nll, result, UNWEIGHTED)
    np.testing.assert_allclose(naive, [[1 / 400]], rtol=1e-12)


def test_weighted_events():
    """``Σ w² (x - mean)² / (Σ w)²``, the variance of a weighted mean."""
    x, w = EVENTS["x"], EVENTS["w"]
    result = ew.fit(mean_nll, state(mu=0.0), EVENTS)
    mean = np.sum(w * x) / np.sum(w)
    np.testing.assert_allclose(result.params["mu"], mean, rtol=1e-9)
    found = sandwich(mean_nll, result, EVENTS, nll_terms=mean_terms)
    exact = np.sum((w * (x - mean)) ** 2) / np.sum(w) ** 2
    np.testing.assert_allclose(found, [[exact]], rtol=1e-9)


@pytest.mark.slow
def test_two_parameters_by_the_matrix_of_scores():
    result = ew.fit(
        shape_nll, state(mu=0.0, sigma=1.0), EVENTS, bounds={"sigma": ew.Interval(0.1)}
    )

    def terms(x):
        return shape_terms({"mu": x[0], "sigma": x[1]}, EVENTS)

    x = jnp.stack([result.params["mu"], result.params["sigma"]])
    scores = jax.jacfwd(terms)(x)
    inverse = np.linalg.inv(jax.hessian(lambda x: jnp.sum(terms(x)))(x))
    exact = inverse @ (scores.T @ scores) @ inverse
    for where in (result, result.params):
        found = sandwich(shape_nll, where, EVENTS, nll_terms=shape_terms)
        np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_weights_of_one_size_have_no_influence():
    """Counting each event k times must not make the error smaller."""
    result = ew.fit(mean_nll, state(mu=0.0), UNWEIGHTED)
    once = sandwich(mean_nll, result, UNWEIGHTED, nll_terms=mean_terms)
    heavy = {**UNWEIGHTED, "w": np.full(400, 9.0)}
    again = sandwich(mean_nll, result.params, heavy, nll_terms=mean_terms)
    np.testing.assert_allclose(again, once, rtol=1e-12)


def extended_terms(params, data):
    return -data["w"] * jnp.log(params["nu"])


def extended_nll(params, data):
    return params["nu"] + jnp.sum(extended_terms(params, data))


def test_the_yield_of_weighted_events_has_the_error_of_the_squared_weights():
    """``ν = Σ w`` with variance ``Σ w²``: the total ν does not fluctuate."""
    w = EVENTS["w"]
    result = ew.fit(extended_nll, state(nu=300.0), EVENTS)
    np.testing.assert_allclose(result.params["nu"], np.sum(w), rtol=1e-8)
    found = sandwich(extended_nll, result, EVENTS, nll_terms=extended_terms)
    np.testing.assert_allclose(found, [[np.sum(w**2)]], rtol=1e-7)


def test_constraints_are_believed():
    """A model that is true up to its sample: the constraint counts as information."""
    width = 0.05
    model = ew.Model(
        mean_nll, {"mu": 0.0}, UNWEIGHTED, constraints={"mu": ew.Normal(0.9, width)}
    )
    result = ew.fit(model)

    def terms(params, observation):
        return mean_terms(params, observation["main"])

    found = sandwich(model, result, nll_terms=terms)
    hessian = 400 + width**-2
    scores = np.sum((EVENTS["x"] - result.params["mu"]) ** 2)
    exact = (scores + width**-2) / hessian**2
    np.testing.assert_allclose(found, [[exact]], rtol=1e-10)

    def constraint(params, data):
        return 0.5 * ((params["mu"] - 0.9) / width) ** 2

    def nll(params, data):
        return mean_nll(params, data) + constraint(params, data)

    by_hand = sandwich(
        nll,
        result.params,
        UNWEIGHTED,
        nll_terms=mean_terms,
        constraint_nll=constraint,
    )
    np.testing.assert_allclose(by_hand, found, rtol=1e-12)


def test_many_passes_over_the_events_give_the_same(monkeypatch):
    """With a budget of a single direction at a time."""
    where = state(mu=0.9, sigma=2.2)
    once = sandwich(shape_nll, where, EVENTS, nll_terms=shape_terms)
    monkeypatch.setattr(robust, "SCORE_BYTES", 8 * 400)

    def terms(params, data):  # another function: that of the first is compiled
        return shape_terms(params, data)

    again = sandwich(shape_nll, where, EVENTS, nll_terms=terms)
    np.testing.assert_allclose(again, once, rtol=1e-12)


@pytest.mark.slow
def test_fixed_and_held_parameters():
    where = state(mu=0.9, sigma=1.0)
    fixed = {"sigma": 1.0}
    alone = sandwich(shape_nll, where, EVENTS, nll_terms=shape_terms, fixed=fixed)
    mean = sandwich(mean_nll, state(mu=0.9), EVENTS, nll_terms=mean_terms)
    np.testing.assert_allclose(alone, mean, rtol=1e-12)
    nothing = {"mu": ..., "sigma": ...}
    assert sandwich(
        shape_nll, where, EVENTS, nll_terms=shape_terms, fixed=nothing
    ).shape == (0, 0)
    result = ew.fit(shape_nll, where, EVENTS, bounds={"sigma": ew.Interval(0.5, 1.0)})
    assert result.at_bound.tolist() == [False, True]
    held = sandwich(shape_nll, result, EVENTS, nll_terms=shape_terms)
    at_end = sandwich(
        mean_nll, result.params, EVENTS, nll_terms=mean_terms, fixed={"sigma": ...}
    )
    np.testing.assert_allclose(held, [[at_end[0, 0], 0], [0, 0]], rtol=1e-12)
    errors = propagate(lambda p: p, result, held).errors
    np.testing.assert_allclose(errors["mu"], at_end[0, 0] ** 0.5, rtol=1e-12)
    assert np.isnan(errors["sigma"])


def test_no_covariance_where_there_is_no_minimum():
    far = state(mu=0.9, sigma=50.0)
    with pytest.raises(NotPositiveDefiniteError, match=r"downwards .* sigma"):
        sandwich(shape_nll, far, EVENTS, nll_terms=shape_terms)
    found = sandwich(shape_nll, far, EVENTS, nll_terms=shape_terms, throw=False)
    assert np.isnan(found).all()


def test_wrong_terms_say_what_is_wrong():
    where = state(mu=1.0)
    with pytest.raises(ShapeMismatchError, match="one for each event"):
        sandwich(mean_nll, where, EVENTS, nll_terms=mean_nll)
    with pytest.raises(ArgumentTypeError, match="nll_terms: expected a function"):
        sandwich(mean_nll, where, EVENTS, nll_terms=EVENTS["x"])

    def infinite(params, data):
        return jnp.sqrt(params["mu"] - 1.0) * data["x"]

    with pytest.raises(NonFiniteError, match="not finite in mu"):
        sandwich(mean_nll, where, EVENTS, nll_terms=infinite)
    found = sandwich(mean_nll, where, EVENTS, nll_terms=infinite, throw=False)
    assert np.isnan(found).all()
