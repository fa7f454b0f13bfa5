"""Traditional and pre-fit impacts, from the covariance and by fits."""

import dataclasses
import functools as ft

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import tests.impacts.models as cases
from everwillow.fitting.conditional import conditional_fit
from everwillow.impacts import rank
from everwillow.parameters import Normal


# Compiled to be run once.
jit = ft.partial(
    jax.jit,
    compiler_options={
        "xla_cpu_use_fusion_emitters": False,
        "xla_backend_optimization_level": 0,
    },
)


@pytest.fixture(scope="module")
def linear():
    return ew.fit(cases.LINEAR)


@pytest.fixture(scope="module")
def counting():
    return ew.fit(cases.COUNTING)


@pytest.fixture(scope="module")
def ranked(linear):
    both = ("postfit", "prefit")
    return rank(cases.LINEAR, linear, poi=["mu", "nu"], refit=both)


@pytest.mark.slow
def test_impacts_of_a_linear_model_by_hand(ranked):
    C = cases.COVARIANCE
    assert ranked.pois == ("mu", "nu")
    assert ranked.names == ("a", "b", "c", "d")
    sigma = np.sqrt(np.diag(C))
    np.testing.assert_allclose(ranked.errors, sigma[:4], rtol=1e-10)
    np.testing.assert_allclose(ranked.poi_errors, sigma[4:], rtol=1e-10)
    np.testing.assert_allclose(ranked.postfit, C[4:, :4] / sigma[:4], rtol=1e-9)
    widths = np.array([0.5, 0.7, 0.8, np.nan])
    np.testing.assert_allclose(ranked.widths, widths)
    expected = C[4:, :4] / sigma[:4] ** 2 * widths
    np.testing.assert_allclose(ranked.prefit, expected, rtol=1e-9)


@pytest.mark.slow
def test_refits_of_a_linear_model_are_the_linear_impacts(ranked):
    for linear, exact in (
        (ranked.postfit, ranked.postfit_refits),
        (ranked.prefit, ranked.prefit_refits),
    ):
        np.testing.assert_allclose(exact.up, linear, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(exact.down, -linear, rtol=1e-7, atol=1e-9)
    # One post-fit error away -ln L has risen by one half.
    np.testing.assert_allclose(ranked.postfit_refits.delta_nll, 0.5, rtol=1e-8)


def test_pulls_and_constraints_by_hand(ranked, linear):
    values = np.array([linear.params[key] for key in "abc"])
    pulls = (values - [0.1, -0.2, 0.3]) / [0.5, 0.7, 0.8]
    np.testing.assert_allclose(ranked.pulls[:3], pulls, rtol=1e-12)
    constraints = ranked.errors[:3] / [0.5, 0.7, 0.8]
    np.testing.assert_allclose(ranked.constraints[:3], constraints, rtol=1e-12)
    assert np.isnan(ranked.pulls[3])
    assert np.isnan(ranked.constraints[3])


def test_the_order_is_by_size(ranked):
    for row, order in zip(ranked.postfit, ranked.order, strict=True):
        assert np.all(np.diff(np.abs(row[order])) <= 0)
    text = repr(ranked)
    first = ranked.names[ranked.order[0][0]]
    assert text.splitlines()[2].startswith(first)
    assert "impacts on nu" in text
    # A pull has a sign, a width has none.
    rows = [line.split() for line in text.splitlines()]
    row = next(row for row in rows if row[0] == ranked.names[0])
    assert row[1:3] == [f"{ranked.pulls[0]:+.3f}", f"{ranked.constraints[0]:.3f}"]


@pytest.mark.slow
def test_refits_are_conditional_fits(counting):
    ranked = rank(
        cases.COUNTING, counting, poi="mu", names=["norm", "gamma"], refit="prefit"
    )
    assert ranked.postfit_refits is None
    refits = ranked.prefit_refits
    assert refits.success.all()
    assert refits.inside.all()
    for k, name in enumerate(ranked.names):
        for side in (0, 1):
            held = {name: refits.values[side, k]}
            other = conditional_fit(cases.COUNTING, held=held)
            shift = other.params["mu"] - counting.params["mu"]
            np.testing.assert_allclose(
                refits.shifts[side, 0, k], shift, rtol=1e-6, atol=1e-7
            )
            np.testing.assert_allclose(
                refits.delta_nll[side, k], other.nll - counting.nll, rtol=1e-6
            )
    # Not linear: the sides differ, and the first order lies between them.
    k = ranked.names.index("norm")
    sides = np.sort([refits.up[0, k], -refits.down[0, k]])
    assert sides[0] < ranked.prefit[0, k] < sides[1]
    assert sides[1] - sides[0] > 1e-3


@pytest.mark.slow
def test_refits_in_a_batch_are_the_same(linear, ranked):
    batch = rank(cases.LINEAR, linear, poi=["mu", "nu"], refit="postfit", batch_size=3)
    np.testing.assert_allclose(
        batch.postfit_refits.shifts, ranked.postfit_refits.shifts, rtol=1e-7, atol=1e-9
    )


@pytest.mark.slow
def test_the_same_under_jit_and_vmap():
    main = np.stack([cases.DATA, cases.DATA + np.array([0.5, 0.0, 0.0, 1.0, 0.0])])
    data = [{**cases.LINEAR.observation, "main": y} for y in main]
    fits = [ew.fit(cases.LINEAR, observation=one) for one in data]

    def ranking(result, observation):
        out = rank(
            cases.LINEAR, result, observation, poi="mu", names="c", refit="postfit"
        )
        return out.postfit, out.pulls, out.postfit_refits.shifts, out.order

    results = jax.tree.map(lambda *leaves: np.stack(leaves), *fits)
    main_axis = {"main": 0, "aux": None}
    compiled = jit(jax.vmap(ranking, in_axes=(0, main_axis)))(
        results, {**data[0], "main": main}
    )
    for i in (0, 1):
        for a, b in zip(ranking(fits[i], data[i]), compiled, strict=True):
            np.testing.assert_allclose(a, b[i], rtol=1e-7, atol=1e-9)
    assert abs(compiled[1][1, 0] - compiled[1][0, 0]) > 1e-3


@pytest.mark.slow
def test_an_impact_is_differentiable():
    def impact(width):
        model = cases.counting(width)
        out = rank(model, ew.fit(model), poi="mu", names=["norm", "lumi"])
        return out.postfit[0]

    step = 1e-4
    slope = jax.jacfwd(impact)(0.1)
    difference = (impact(0.1 + step) - impact(0.1 - step)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-5, atol=1e-7)
    assert abs(slope[1]) > 1


def test_the_second_call_traces_nothing():
    traces = []

    def counted(params, counts):
        traces.append(0)
        return cases.counting_nll(params, counts)

    start = cases.COUNTING.state
    width = {"norm": Normal(1.0, 0.1)}
    fixed = {"lumi": 1.0, "tilt": 0.0, "gamma": 1.0}
    result = ew.fit(counted, start, cases.COUNTS, fixed=fixed)

    def ranking(refit):
        return rank(
            counted,
            result,
            cases.COUNTS,
            poi="mu",
            constraints=width,
            refit=refit,
            throw=False,
        )

    before = len(traces)
    ranking(())
    assert len(traces) == before
    ranking("postfit")
    before = len(traces)
    ranking("postfit")
    assert len(traces) == before


@pytest.mark.slow
def test_inputs_are_unchanged(counting):
    before = jax.tree.map(np.array, dataclasses.asdict(counting)["hessian"])
    rank(cases.COUNTING, counting, poi="mu", refit="postfit")
    np.testing.assert_array_equal(counting.hessian, before)


@pytest.mark.slow
def test_a_value_outside_the_bounds_is_nan():
    """gamma[2] = 0.02 ± 0.02: one pre-fit width below is out of its range."""

    def nll(params, data):
        away = (params["gamma"] - jnp.array([1.0, 1.0, 0.02])) / 0.02
        rest = params["mu"] - data - params["gamma"].sum()
        return 0.5 * jnp.sum(away**2) + 0.5 * rest**2

    start = ew.State.from_pytree({"gamma": np.ones(3), "mu": 0.0})
    bounds = {"gamma": ew.Interval(0.0)}
    result = ew.fit(nll, start, 1.0, bounds=bounds)
    ranked = rank(
        nll,
        result,
        1.0,
        poi="mu",
        names="gamma",
        constraints={"gamma": Normal(np.array([1.0, 1.0, 0.02]), 0.05)},
        refit=("prefit", "postfit"),
        bounds=bounds,
    )
    assert ranked.prefit_refits.inside.tolist() == [[True, True, False], [True] * 3]
    assert np.isnan(ranked.prefit_refits.down[0, 2])
    np.testing.assert_allclose(ranked.prefit_refits.up[0], 0.05, rtol=1e-7)
    np.testing.assert_allclose(ranked.prefit_refits.down[0, :2], -0.05, rtol=1e-7)


@pytest.mark.slow
def test_a_parameter_at_its_bound_moves_into_its_range():
    def nll(params, data):
        pull = 0.5 * (params["theta"] + 1.0) ** 2
        return 0.5 * (params["mu"] + params["theta"] - data) ** 2 + pull

    start = ew.State.from_pytree({"mu": 0.0, "theta": 1.0})
    bounds = {"theta": ew.Interval(0.0)}
    result = ew.fit(nll, start, 1.0, bounds=bounds)
    assert result.at_bound.tolist() == [False, True]
    ranked = rank(nll, result, 1.0, poi="mu", refit="postfit", bounds=bounds)
    assert np.isnan(ranked.postfit).all()
    assert np.isnan(ranked.postfit_refits.down).all()
    move = 2.0**0.5 - 1
    np.testing.assert_allclose(ranked.postfit_refits.up, [[-move]], rtol=1e-6)
    # Without bounds a fit could leave the range, so none is made.
    assert rank(nll, result, 1.0, poi="mu").postfit_refits is None


@pytest.mark.slow
def test_fixed_parameters_stay_fixed():
    fixed = {"nu": 0.7, "d": 1.0}
    result = ew.fit(cases.LINEAR, fixed=fixed)
    ranked = rank(cases.LINEAR, result, poi="mu", refit="postfit")
    keep = [0, 1, 2, 4]
    C = np.linalg.inv(cases.HESSIAN[np.ix_(keep, keep)])
    by_hand = C[3, :3] / np.sqrt(np.diag(C)[:3])
    np.testing.assert_allclose(ranked.postfit[0], by_hand, rtol=1e-9)
    np.testing.assert_allclose(ranked.postfit_refits.up[0], by_hand, rtol=1e-7)


def test_another_covariance_may_be_given(linear):
    C = 4 * cases.COVARIANCE
    ranked = rank(cases.LINEAR, linear, poi="mu", covariance=C)
    np.testing.assert_allclose(ranked.poi_errors, np.sqrt(C[4, 4]), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"poi": "mux"}, KeyError, "'mu'"),
        ({"poi": []}, ValueError, "at least one"),
        ({"poi": "mu", "names": "zz*"}, KeyError, "names"),
        ({"poi": "mu", "names": ["a", "mu"]}, ValueError, "at once"),
        ({"poi": "mu", "refit": "both"}, ValueError, "postfit"),
        ({"poi": "mu", "covariance": np.eye(2)}, ValueError, "6 parameters"),
        ({"poi": "mu", "constraints": {"q": Normal(0.0, 1.0)}}, KeyError, "'q'"),
    ],
)
def test_bad_arguments_are_refused(linear, options, error, words):
    with pytest.raises(error, match=words) as caught:
        rank(cases.LINEAR, linear, **options)
    assert isinstance(caught.value, ew.EverwillowError)


@pytest.mark.slow
def test_what_is_no_fit_is_refused(linear):
    with pytest.raises(TypeError, match="FitResult"):
        rank(cases.LINEAR, linear.params, poi="mu")
    fixed = ew.fit(cases.LINEAR, fixed={"mu": 1.0, "nu": 0.7})
    with pytest.raises(ValueError, match="'mu' was fixed"):
        rank(cases.LINEAR, fixed, poi="mu")
    bare = eqx.tree_at(lambda r: r.hessian, linear, None)
    with pytest.raises(ValueError, match="covariance_matrix"):
        rank(cases.LINEAR, bare, poi="mu")


@pytest.mark.slow
def test_a_flat_fit_raises_or_is_nan():
    def nll(params, data):
        return 0.5 * (params["a"] + params["b"] - data) ** 2

    start = ew.State.from_pytree({"a": 0.0, "b": 0.0})
    result = ew.fit(nll, start, 1.0, throw=False)
    with pytest.raises(ew.EverwillowError, match="a, b"):
        rank(nll, result, poi="a")
    assert np.isnan(rank(nll, result, poi="a", throw=False).postfit).all()
