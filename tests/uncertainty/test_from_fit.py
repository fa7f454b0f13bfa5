"""Errors that a fit brings along: reuse, bounds, batches and failures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
from everwillow._errors import ArgumentValueError, FitError, NotPositiveDefiniteError
from everwillow.uncertainty import (
    correlation_matrix,
    covariance_matrix,
    hessian_matrix,
    labels,
    propagate,
    uncertainties,
)
from tests.helpers import TraceCounter, count_jax_work, tree_allclose
from tests.uncertainty.likelihoods import (
    COUNTING_STATE,
    COUNTS,
    LINE,
    LINE_STATE,
    counting,
    jit,
    line,
    product,
    state,
    total,
)


def measured_a(params, data):
    return (
        0.5 * ((125.5 - params["mass"] * params["scale_a"]) / 1.5) ** 2
        + 0.5 * ((params["scale_a"] - 1) / 0.02) ** 2
    )


def measured_b(params, data):
    return (
        0.5 * ((124.8 - params["mass"] * params["scale_b"]) / 2.0) ** 2
        + 0.5 * ((params["scale_b"] - 1) / 0.03) ** 2
    )


@pytest.mark.slow
def test_two_measurements_of_a_mass_alone_and_together():
    """Alone, the error is that of ``x / scale``; together, the curvature adds up."""
    start_a, start_b = state(mass=125.0, scale_a=1.0), state(mass=125.0, scale_b=1.0)
    joint, merged = ew.prepare([measured_a, measured_b], [start_a, start_b])
    found = {}
    for name, nll, start in (
        ("a", measured_a, start_a),
        ("b", measured_b, start_b),
        ("joint", joint, merged),
    ):
        result = ew.fit(nll, start, None)
        found[name] = uncertainties(nll, result, None)["mass"]
    np.testing.assert_allclose(found["a"], np.hypot(1.5, 125.5 * 0.02), rtol=1e-8)
    np.testing.assert_allclose(found["b"], np.hypot(2.0, 124.8 * 0.03), rtol=1e-8)
    published = {"a": 2.9241, "b": 4.2447, "joint": 2.4084}
    for name, value in published.items():
        np.testing.assert_allclose(found[name], value, atol=5e-5)


@pytest.mark.parametrize("fixed", [None, {"gamma": ...}, {"mu": 1.3}])
def test_a_result_gives_what_its_values_give(fixed):
    result = ew.fit(counting, COUNTING_STATE, COUNTS, fixed=fixed)
    # The Hessian of a fit may be from a point one last, tiny step before its end.
    args = (result.params, COUNTS)
    for function in (hessian_matrix, covariance_matrix, correlation_matrix):
        again = function(counting, *args, fixed=fixed)
        for given in (None, fixed):
            np.testing.assert_allclose(
                function(counting, result, COUNTS, fixed=given), again, rtol=1e-9
            )
    assert tree_allclose(
        uncertainties(counting, result, COUNTS),
        uncertainties(counting, *args, fixed=fixed),
        rtol=1e-9,
    )
    assert labels(result) == result.labels


def test_a_result_needs_no_likelihood_and_no_compilation():
    nll = TraceCounter(line)
    result = ew.fit(nll, LINE_STATE, LINE, fixed={"b": 2.0})
    seen = nll.calls
    with count_jax_work() as work:
        uncertainties(nll, result, LINE)
        uncertainties(nll, result, LINE, fixed={"b": 2.0})
        uncertainties(nll, result, LINE, fixed={"b": ...})
        correlation_matrix(nll, result, LINE)
    assert nll.calls == seen
    assert (work.traces, work.compilations) == (0, 0)


def test_other_fixed_parameters_are_evaluated_anew():
    result = ew.fit(line, LINE_STATE, LINE, fixed={"b": 2.0})
    for fixed in ({}, {"a": ...}, {"b": 3.0}):
        assert tree_allclose(
            uncertainties(line, result, LINE, fixed=fixed),
            uncertainties(line, result.params, LINE, fixed=fixed),
            rtol=1e-14,
        )
    assert uncertainties(line, result, LINE, fixed={})["b"] is not None


def test_a_result_keeps_the_values_that_replace_those_a_model_fixes():
    model = ew.Model(
        lambda p, y: 0.5 * (p["a"] * p["b"] * p["c"] - y) ** 2 + 0.5 * p["c"] ** 2,
        {"a": 1.0, "b": 1.0, "c": 1.0},
        1.0,
        fixed={"b": 1.0},
    )
    result = ew.fit(model, fixed={"b": 4.0, "c": 1.0})
    np.testing.assert_allclose(uncertainties(model, result)["a"], 0.25, rtol=1e-12)
    errors = uncertainties(model, result, fixed={"c": 0.5})
    np.testing.assert_allclose(errors["a"], 0.5, rtol=1e-12)
    assert errors["b"] is None


def without_hessian(result):
    """Return a result as a matrix-free fit of very many parameters ends."""
    return eqx.tree_at(lambda r: r.hessian, result, None)


def test_a_matrix_free_fit_has_its_hessian_evaluated():
    result = without_hessian(ew.fit(line, LINE_STATE, LINE, solver=ew.NewtonCG()))
    assert result.covariance is None
    np.testing.assert_allclose(
        covariance_matrix(line, result, LINE),
        covariance_matrix(line, LINE_STATE, LINE),
        rtol=1e-12,
    )


# The unbounded minimum is at b = 1.93, outside.
BOUNDED = {"b": ew.Interval(2.2, 5.0)}


@pytest.mark.slow
def test_a_parameter_at_its_bound_is_held():
    result = ew.fit(line, state(a=1.0, b=3.0), LINE, bounds=BOUNDED)
    assert result.at_bound.tolist() == [False, True]
    alone = np.sum(LINE["error"] ** -2.0) ** -1.0
    covariance = covariance_matrix(line, result, LINE)
    np.testing.assert_allclose(covariance, [[alone, 0], [0, 0]], rtol=1e-12)
    errors = uncertainties(line, result, LINE)
    np.testing.assert_allclose(errors["a"], alone**0.5, rtol=1e-12)
    assert np.isnan(errors["b"])
    correlation = correlation_matrix(line, result, LINE)
    np.testing.assert_array_equal(correlation, [[1, np.nan], [np.nan, np.nan]])
    # A State knows of no bounds.
    assert np.isfinite(uncertainties(line, result.params, LINE)["b"])


@pytest.mark.slow
def test_what_is_held_stays_held_with_other_fixed_parameters():
    result = ew.fit(line, state(a=1.0, b=3.0), LINE, bounds=BOUNDED)
    errors = uncertainties(line, result, LINE, fixed={"a": ...})
    assert errors["a"] is None
    assert np.isnan(errors["b"])


@pytest.mark.slow
def test_held_parameters_of_several_elements():
    def nll(params, data):
        return 0.5 * jnp.sum((params["x"] - data) ** 2)

    data = np.array([1.0, -1.0, 2.0])
    result = ew.fit(nll, state(x=np.full(3, 0.5)), data, bounds={"x": ew.Interval(0.0)})
    np.testing.assert_allclose(
        uncertainties(nll, result, data)["x"], [1, np.nan, 1], rtol=1e-12
    )


@pytest.mark.slow
def test_a_direction_hidden_by_a_bound_is_not_looked_at():
    """-ln L curves downwards in b, and the bound holds it."""

    def nll(params, data):
        return 0.5 * (params["a"] - data) ** 2 - params["b"] ** 2

    result = ew.fit(nll, state(a=0.0, b=0.5), 1.0, bounds={"b": ew.Interval(-1.0, 2.0)})
    np.testing.assert_allclose(uncertainties(nll, result, 1.0)["a"], 1, rtol=1e-12)
    with pytest.raises(NotPositiveDefiniteError, match="downwards in a direction of b"):
        uncertainties(nll, result.params, 1.0)


@pytest.mark.slow
def test_a_batch_of_fits_has_a_batch_of_errors():
    rng = np.random.default_rng(3)
    shifts = rng.normal(size=(4, 4))
    widths = 0.1 + rng.uniform(size=(4, 4))

    def data(shift, error):
        return {**LINE, "y": LINE["y"] + shift, "error": error}

    fits = jit(jax.vmap(lambda s, e: ew.fit(line, LINE_STATE, data(s, e))))
    results = fits(shifts, widths)
    errors = uncertainties(line, results, None)
    covariances = covariance_matrix(line, results, None)
    for i in range(4):
        exact = covariance_matrix(line, LINE_STATE, data(shifts[i], widths[i]))
        np.testing.assert_allclose(covariances[i], exact, rtol=1e-10)
        np.testing.assert_allclose(errors["b"][i], exact[1, 1] ** 0.5, rtol=1e-10)
    assert labels(results) == ("a", "b")


@pytest.mark.slow
def test_a_batch_keeps_the_shape_of_arrays_and_what_is_fixed():
    def fit(counts):
        return ew.fit(counting, COUNTING_STATE, counts, fixed={"mu": 1.0})

    results = jit(jax.vmap(fit))(COUNTS + np.arange(2.0)[:, None])
    errors = uncertainties(counting, results, None)
    assert errors["gamma"].shape == (2, 3)
    assert errors["mu"] is None
    with pytest.raises(ArgumentValueError, match="batch of 2 fits"):
        uncertainties(counting, results, None, fixed={})
    with pytest.raises(ArgumentValueError, match="batch of 2 fits"):
        propagate(lambda p: p["gamma"], results, np.eye(3))


@pytest.mark.slow
def test_one_bad_fit_of_a_batch_is_nan_alone():
    def nll(params, curve):
        return 0.5 * curve * (params["x"] - 1) ** 2

    fits = jit(jax.vmap(lambda c: ew.fit(nll, state(x=0.0), c, throw=False)))
    results = fits(np.array([4.0, 0.0, 1.0]))
    with pytest.raises(
        NotPositiveDefiniteError, match=r"1 of 3 fits.* In fit 1 .*of x"
    ):
        uncertainties(nll, results, None)
    errors = uncertainties(nll, results, None, throw=False)
    np.testing.assert_allclose(errors["x"], [0.5, np.nan, 1], rtol=1e-12)


@pytest.mark.parametrize("nll", [total, product])
def test_a_flat_fit_has_no_errors(nll):
    result = ew.fit(nll, state(a=2.0, b=3.0), 5.0, throw=False)
    assert result.status == ew.RESULTS.flat_direction
    with pytest.raises(NotPositiveDefiniteError, match=r"a, b"):
        uncertainties(nll, result, 5.0)
    errors = uncertainties(nll, result, 5.0, throw=False)
    assert np.isnan([errors["a"], errors["b"]]).all()


@pytest.mark.slow
def test_a_fit_that_did_not_converge_has_no_errors():
    start = state(mu=30.0, gamma=np.ones(3))
    result = ew.fit(
        counting, start, COUNTS, solver=optx.BFGS(1e-9, 1e-9), max_steps=2, throw=False
    )
    assert not result.success
    with pytest.raises(FitError, match=r"pass result\.params"):
        covariance_matrix(counting, result, COUNTS)
    covariance = covariance_matrix(counting, result, COUNTS, throw=False)
    assert np.isnan(covariance).all()
    # The Hessian itself makes no claim, and is there.
    assert np.isfinite(hessian_matrix(counting, result, COUNTS)).all()
