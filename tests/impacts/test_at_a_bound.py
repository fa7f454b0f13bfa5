"""Impacts on a parameter of interest that ends at a bound of its range."""

import warnings

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.impacts import global_impacts, group_impacts, rank, split_errors
from tests.impacts import models as cases


@pytest.fixture(scope="module")
def ended():
    result = ew.fit(cases.AT_ITS_END)
    assert result.at_bound.tolist() == [True, False]
    np.testing.assert_allclose(result.params["theta"], -0.5, rtol=1e-7)
    return result


HELD = "held at a bound: mu"


@pytest.mark.slow
def test_there_is_no_impact_to_first_order(ended):
    with pytest.warns(UserWarning, match=f"{HELD}.*wider range.*refit='postfit'"):
        ranked = rank(cases.AT_ITS_END, ended, poi="mu", refit=())
    assert np.isnan(ranked.postfit).all()
    assert np.isnan(ranked.prefit).all()
    assert np.isnan(ranked.poi_errors).all()
    # What is known of the nuisance parameter stays.
    np.testing.assert_allclose(ranked.errors, [0.5**0.5], rtol=1e-9)
    np.testing.assert_allclose(ranked.pulls, [-0.5], rtol=1e-7)
    assert "mu = 0, which has no error: it is held at a bound" in repr(ranked)
    assert "nan" not in repr(ranked)


@pytest.mark.slow
def test_fits_are_made_where_the_covariance_says_nothing(ended):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranked = rank(cases.AT_ITS_END, ended, poi="mu")
    down = ranked.postfit_refits.down[0, 0]
    np.testing.assert_allclose(down, 0.5**0.5 - 0.5, rtol=1e-7)
    assert "nothing moves it to first order: impacts are from fits." in repr(ranked)


@pytest.mark.slow
def test_a_nuisance_parameter_at_its_bound_moves_to_one_side():
    """-ln L is (m + t - 1)^2 / 2 + (t + 1)^2 / 2, and t is not negative."""

    def nll(params, data):
        return 0.5 * (params["mu"] + params["theta"] - data) ** 2

    model = ew.Model(
        nll,
        {"mu": 0.0, "theta": 1.0},
        1.0,
        constraints={"theta": ew.Normal(-1.0, 1.0)},
        bounds={"theta": ew.Interval(0.0)},
    )
    result = ew.fit(model)
    assert result.at_bound.tolist() == [False, True]
    ranked = rank(model, result, poi="mu")
    # The profile rises by 1/2 where t + t^2 / 2 = 1/2, and mu follows with 1 - t.
    move = 2.0**0.5 - 1
    np.testing.assert_allclose(ranked.postfit_refits.up, [[-move]], rtol=1e-6)
    assert np.isnan(ranked.postfit_refits.down).all()
    assert ranked.postfit_refits.inside.tolist() == [[False], [True]]
    assert ranked.order.tolist() == [[0]]
    assert "theta: held at a bound, and moved by its one-sided error" in repr(ranked)
    assert rank(model, result, poi="mu", refit=()).postfit_refits is None


@pytest.mark.slow
def test_refits_are_one_sided(ended):
    """The best mu is max(0, -1 - theta) with theta held."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranked = rank(cases.AT_ITS_END, ended, poi="mu", refit=("postfit", "prefit"))
    assert np.isnan(ranked.postfit).all()
    down = ranked.postfit_refits.down[0, 0]
    np.testing.assert_allclose(down, 0.5**0.5 - 0.5, rtol=1e-7)
    np.testing.assert_allclose(ranked.postfit_refits.up[0, 0], 0.0, atol=1e-12)
    np.testing.assert_allclose(ranked.prefit_refits.down[0, 0], 0.5, rtol=1e-7)
    np.testing.assert_allclose(ranked.prefit_refits.up[0, 0], 0.0, atol=1e-12)
    assert f"{down:+.3g}" in repr(ranked)


@pytest.mark.slow
def test_refits_give_the_order_where_the_covariance_has_none():
    """A move of b counts for three times as much as one of a."""

    def nll(params, data):
        total = params["mu"] + params["a"] + 3.0 * params["b"]
        return 50.0 * (total - data) ** 2

    model = ew.Model(
        nll,
        {"mu": 1.0, "a": 0.0, "b": 0.0},
        -0.2,
        constraints={name: ew.parameters.Normal(0.0, 1.0) for name in "ab"},
        bounds={"mu": ew.Interval(0.0)},
    )
    result = ew.fit(model)
    assert result.at_bound.tolist() == [False, False, True]
    ranked = rank(model, result, poi="mu", refit="postfit")
    assert np.isnan(ranked.postfit).all()
    largest = np.abs(ranked.postfit_refits.shifts[:, 0]).max(axis=0)
    assert largest[1] > largest[0]
    assert ranked.order.tolist() == [[1, 0]]


@pytest.mark.slow
def test_groups_and_parts_are_unknown(ended):
    with pytest.warns(UserWarning, match=HELD):
        groups = group_impacts(ended, poi="mu", groups={"all": "*"})
    assert np.isnan(groups.traditional).all()
    assert np.isnan(groups.auxiliary).all()
    with pytest.warns(UserWarning, match=HELD):
        split = split_errors(ended, poi="mu")
    for part in (split.total, split.systematic, split.statistical_global):
        assert np.isnan(part).all()


@pytest.mark.slow
def test_global_impacts_are_unknown_but_by_fits(ended):
    """The best mu is max(0, -1 - m) when theta is measured as m."""
    with pytest.warns(UserWarning, match=f"{HELD}.*refit=True"):
        shares = global_impacts(cases.AT_ITS_END, ended, poi="mu", data_variance=1.0)
    for part in (shares.auxiliary, shares.data, shares.total, shares.errors):
        assert np.isnan(part).all()
    moved = global_impacts(
        cases.AT_ITS_END, ended, poi="mu", data_variance=None, refit=True
    )
    np.testing.assert_allclose(moved.refits.shifts[:, 0, 0], 0.0, atol=1e-7)


def test_other_parameters_of_interest_have_theirs():
    """With mu held at 0 it is a fit of theta alone."""
    model = cases.AT_ITS_END
    result = ew.fit(model)
    with pytest.warns(UserWarning, match=HELD):
        shares = global_impacts(model, result, poi=["mu", "theta"], data_variance=1.0)
    assert np.isnan(shares.auxiliary[0]).all()
    # theta = (data + m) / 2.
    np.testing.assert_allclose(shares.auxiliary[1], 0.5, rtol=1e-9)
    np.testing.assert_allclose(shares.data[1], 0.5, rtol=1e-9)


def test_a_given_covariance_counts(ended):
    """Who knows the covariance of a parameter at its bound has impacts of it."""
    covariance = np.array([[2.0, -1.0], [-1.0, 1.0]])
    ranked = rank(cases.AT_ITS_END, ended, poi="mu", covariance=covariance)
    np.testing.assert_allclose(ranked.postfit, [[-1.0]], rtol=1e-12)


def test_traced_impacts_are_unknown_too():
    @jax.jit
    def impact(data):
        observation = {**cases.AT_ITS_END.observation, "main": data}
        best = ew.fit(cases.AT_ITS_END, observation=observation)
        return rank(cases.AT_ITS_END, best, poi="mu").postfit[0, 0]

    assert np.isnan(impact(-1.0))
    # A covariance of mu and theta of -1, and a variance of theta of 1.
    np.testing.assert_allclose(impact(1.0), -1.0, rtol=1e-9)
