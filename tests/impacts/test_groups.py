"""Groups of parameters, and the statistical and systematic parts of errors."""

import jax
import numpy as np
import pytest

import everwillow as ew
import tests.impacts.models as cases
from everwillow.fitting.conditional import conditional_fit
from everwillow.impacts import global_impacts, group_impacts, rank, split_errors


@pytest.fixture(scope="module")
def linear():
    return ew.fit(cases.LINEAR)


@pytest.fixture(scope="module")
def counting():
    return ew.fit(cases.COUNTING)


GROUPS = {"joint": ["a", "b"], "c": "c", "all": "*", "shape": ["[cd]"]}


@pytest.mark.slow
def test_the_formula_by_hand(linear):
    out = group_impacts(linear, poi=["mu", "nu"], groups=GROUPS)
    C = cases.COVARIANCE
    for group, members in (("joint", [0, 1]), ("c", [2]), ("all", [0, 1, 2, 3])):
        v = C[4:, members]
        by_hand = v @ np.linalg.inv(C[np.ix_(members, members)]) @ v.T
        k = out.groups.index(group)
        square = np.diag(by_hand)
        np.testing.assert_allclose(out.traditional[:, k] ** 2, square, rtol=1e-9)
    assert out.members == (("a", "b"), ("c",), ("a", "b", "c", "d"), ("c", "d"))
    assert "mu: traditional" in repr(out)


@pytest.mark.slow
def test_one_member_is_the_impact_of_the_parameter(linear):
    groups = {name: name for name in ("a", "b", "c", "d")}
    out = group_impacts(linear, poi="mu", groups=groups)
    ranked = rank(cases.LINEAR, linear, poi="mu", names="[abcd]")
    np.testing.assert_allclose(out.traditional, np.abs(ranked.postfit), rtol=1e-9)


@pytest.mark.parametrize("group", ["gamma", ["lumi", "norm"], ["*"]])
def test_it_is_the_error_lost_by_holding_the_group(counting, group):
    out = group_impacts(counting, poi="mu", groups={"g": group})
    values = dict.fromkeys(out.members[0], ...)
    held = conditional_fit(cases.COUNTING, counting.params, held=values)
    np.testing.assert_allclose(held.params["mu"], counting.params["mu"], rtol=1e-6)
    k = held.labels.index("mu")
    lost = out.errors[0] ** 2 - held.covariance[k, k]
    np.testing.assert_allclose(out.traditional[0, 0] ** 2, lost, rtol=1e-5)


def test_global_impacts_of_groups_are_sums_of_squares(linear):
    out = group_impacts(linear, poi=["mu", "nu"], groups=GROUPS)
    single = global_impacts(cases.LINEAR, linear, poi=["mu", "nu"], data_variance=None)
    square = single.auxiliary**2
    np.testing.assert_allclose(out.auxiliary[:, 0] ** 2, square[:, :2].sum(axis=1))
    np.testing.assert_allclose(out.auxiliary[:, 1] ** 2, square[:, 2])
    np.testing.assert_allclose(out.auxiliary[:, 2], single.systematic)
    np.testing.assert_allclose(out.auxiliary[:, 3] ** 2, square[:, 2])


def test_the_split_by_quadrature(counting):
    split = split_errors(counting, poi="mu")
    assert split.names == ("gamma[0]", "gamma[1]", "gamma[2]", "lumi", "norm", "tilt")
    held = dict.fromkeys(("gamma", "lumi", "norm", "tilt"), ...)
    alone = conditional_fit(cases.COUNTING, counting.params, held=held)
    np.testing.assert_allclose(
        split.statistical, np.sqrt(alone.covariance[0, 0]), rtol=1e-5
    )
    total = np.sqrt(split.statistical**2 + split.systematic**2)
    np.testing.assert_allclose(total, split.total, rtol=1e-12)
    assert "syst (global)" in repr(split)


def test_the_split_by_the_global_method(linear):
    split = split_errors(linear, poi=["mu", "nu"])
    shares = global_impacts(
        cases.LINEAR, linear, poi=["mu", "nu"], data_variance=cases.SIGMA**2
    )
    np.testing.assert_allclose(split.systematic_global, shares.systematic, rtol=1e-9)
    np.testing.assert_allclose(split.statistical_global, shares.statistical, rtol=1e-8)
    # What the data know of the constrained parameters counts differently.
    assert np.all(split.systematic_global < split.systematic)


@pytest.mark.slow
def test_a_fit_that_failed_has_no_parts():
    failed = ew.fit(cases.COUNTING, max_steps=1, throw=False)
    out = split_errors(failed, poi="mu", throw=False)
    parts = (out.total, out.statistical, out.systematic)
    parts += (out.statistical_global, out.systematic_global)
    assert not failed.success
    assert np.isnan(parts).all()


def test_some_parameters_may_count_as_systematic(linear):
    split = split_errors(linear, poi="mu", systematic=["c", "d"])
    assert split.names == ("c", "d")
    # d has no auxiliary measurement: all that it costs is statistical.
    shares = global_impacts(cases.LINEAR, linear, poi="mu", data_variance=None)
    np.testing.assert_allclose(split.systematic_global, abs(shares.auxiliary[:, 2]))


def test_the_same_under_jit(linear):
    @jax.jit
    def both(covariance):
        groups = group_impacts(linear, poi="mu", groups=GROUPS, covariance=covariance)
        split = split_errors(linear, poi="mu", covariance=covariance)
        return groups.traditional, groups.auxiliary, split.statistical_global

    compiled = both(cases.COVARIANCE)
    groups = group_impacts(linear, poi="mu", groups=GROUPS)
    split = split_errors(linear, poi="mu")
    np.testing.assert_allclose(compiled[0], groups.traditional, rtol=1e-8)
    np.testing.assert_allclose(compiled[1], groups.auxiliary, rtol=1e-8)
    np.testing.assert_allclose(compiled[2], split.statistical_global, rtol=1e-8)


def test_the_derivative_of_a_group_impact(linear):
    def impact(scale):
        covariance = cases.COVARIANCE.copy()
        covariance = jax.numpy.asarray(covariance) * scale
        out = group_impacts(
            linear, poi="mu", groups={"g": ["a", "c"]}, covariance=covariance
        )
        return out.traditional[0, 0]

    np.testing.assert_allclose(jax.grad(impact)(1.0), 0.5 * impact(1.0), rtol=1e-9)


@pytest.mark.slow
def test_a_member_at_its_bound_moves_nothing():
    bounds = {"c": ew.Interval(0.5, 2.0)}
    start = {**dict.fromkeys(cases.KEYS, 0.0), "c": 1.0}
    model = ew.Model(
        cases.linear_nll,
        start,
        cases.DATA,
        constraints=cases.LINEAR.constraints,
        bounds=bounds,
        expected=cases.linear_expected,
    )
    result = ew.fit(model)
    assert result.at_bound.tolist() == [False, False, True, False, False, False]
    out = group_impacts(result, poi="mu", groups={"abc": "[abc]", "ab": "[ab]"})
    np.testing.assert_allclose(out.traditional[0, 0], out.traditional[0, 1])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"groups": {}}, TypeError, "mapping"),
        ({"groups": {"x": "q*"}}, KeyError, r"groups\['x'\]"),
    ],
)
def test_bad_groups_are_refused(linear, options, error, words):
    with pytest.raises(error, match=words):
        group_impacts(linear, poi="mu", **options)


def test_without_constraints_there_is_nothing_systematic():
    start = cases.LINEAR.state
    fixed = {"a": 0.0, "b": 0.0}
    result = ew.fit(cases.linear_nll, start, cases.DATA, fixed=fixed)
    with pytest.raises(ValueError, match="constraint"):
        split_errors(result, poi="mu")
    split = split_errors(result, poi="mu", systematic="d")
    assert split.systematic_global == 0


def test_what_is_no_nuisance_parameter_is_left_out_of_groups(linear):
    names = {"named": ["mu", "c"], "alone": ["c"], "none": ["mu"]}
    out = group_impacts(linear, poi="mu", groups=names)
    assert out.members == (("c",), ("c",), ())
    np.testing.assert_array_equal(out.traditional[:, 0], out.traditional[:, 1])
    np.testing.assert_array_equal(out.traditional[:, 2], [0.0])
    np.testing.assert_array_equal(out.auxiliary[:, 2], [0.0])
