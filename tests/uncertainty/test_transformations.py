"""jit, vmap, grad, and programs that are compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.uncertainty import (
    correlation_matrix,
    covariance_matrix,
    hessian_matrix,
    propagate,
    sandwich,
    uncertainties,
)
from tests.helpers import (
    TraceCounter,
    count_jax_work,
    finite_difference_jacobian,
    tree_allclose,
)
from tests.uncertainty.likelihoods import (
    COUNTING_STATE,
    COUNTS,
    LINE,
    LINE_STATE,
    SIGNAL,
    counting,
    jit,
    line,
    state,
)


def counting_terms(params, counts):
    expected = params["mu"] * SIGNAL + 50.0 * params["gamma"]
    return expected - counts * jnp.log(expected)


def from_state(counts, mu):
    """Everything that can be computed at given values."""
    where = state(mu=mu, gamma=COUNTING_STATE["gamma"])
    covariance = covariance_matrix(counting, where, counts)
    spread = propagate(lambda p: {"s": p["mu"] * p["gamma"]}, where, covariance)
    return {
        "hessian": hessian_matrix(counting, where, counts),
        "covariance": covariance,
        "correlation": correlation_matrix(counting, where, counts),
        "fixed": uncertainties(counting, where, counts, fixed={"mu": mu}).notnone,
        "errors": uncertainties(counting, where, counts),
        "propagated": (spread.values, spread.errors, spread.covariance),
        "sandwich": sandwich(counting, where, counts, nll_terms=counting_terms),
    }


def from_fit(counts, mu):
    """The same with a fit before, one parameter fixed at a number."""
    start = state(mu=1.0, gamma=np.ones(3))
    result = ew.fit(counting, start, counts, fixed={"mu": mu})
    spread = propagate(lambda p: p["mu"] * p["gamma"], result)
    return {
        "reused": uncertainties(counting, result, counts),
        "anew": uncertainties(counting, result, counts, fixed={}),
        "propagated": spread.errors,
    }


@pytest.mark.slow
@pytest.mark.parametrize("function", [from_state, from_fit])
def test_jit_gives_what_eager_gives(function):
    eager = function(COUNTS, np.asarray(1.1))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(eager))
    assert tree_allclose(jit(function)(COUNTS, 1.1), eager, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("function", [from_state, from_fit])
def test_vmap_gives_what_a_loop_gives(function):
    counts = COUNTS + np.arange(3.0)[:, None]
    mus = np.array([1.1, 0.9, 1.3])
    loop = [function(n, mu) for n, mu in zip(counts, mus, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *loop)
    found = jit(jax.vmap(function))(counts, mus)
    assert tree_allclose(found, stacked, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("function", [from_state, from_fit])
def test_derivatives_agree_with_finite_differences(function):
    def flat(x):
        return jax.flatten_util.ravel_pytree(function(x[:3], x[3]))[0]

    x = np.array([*COUNTS, 1.1])
    forward = jit(jax.jacfwd(flat))(x)
    slopes = finite_difference_jacobian(jit(flat), x)
    np.testing.assert_allclose(forward, slopes, rtol=1e-6, atol=1e-8)
    # Backwards, through one number that has everything in it.
    weights = np.cos(np.arange(slopes.shape[0]))
    backward = jit(jax.grad(lambda x: flat(x) @ weights))(x)
    np.testing.assert_allclose(backward, weights @ slopes, rtol=1e-6, atol=1e-7)


def test_a_likelihood_may_close_over_what_is_traced():
    @jit
    def errors(width):
        def nll(params, data):
            return 0.5 * ((params["x"] - data) / width) ** 2

        least = ew.LeastSquares(lambda p, data: (p["x"] - data) / width)
        model = ew.Model(nll, {"x": 1.0}, 2.0, expected=lambda p: p["x"] + 0 * width)
        where = state(x=1.0)
        return (
            uncertainties(model, where, kind="fisher")["x"],
            uncertainties(nll, where, 2.0)["x"],
            uncertainties(least, where, 2.0, kind="fisher")["x"],
            propagate(lambda p: width * p["x"], where, np.eye(1)).errors,
        )

    np.testing.assert_allclose(errors(0.5), 0.5, rtol=1e-12)
    np.testing.assert_allclose(errors(2.0), 2.0, rtol=1e-12)


def test_a_result_may_enter_a_compiled_function():
    result = ew.fit(line, LINE_STATE, LINE)
    inside = jit(lambda r: uncertainties(line, r, LINE))(result)
    assert tree_allclose(inside, uncertainties(line, result, LINE), rtol=1e-10)


@pytest.mark.parametrize("fixed", [None, {"b": ...}])
def test_a_result_knows_its_fixed_parameters_in_a_compiled_function(fixed):
    result = ew.fit(line, LINE_STATE, LINE, fixed={"b": 2.0})
    inside = jit(lambda r: uncertainties(line, r, LINE, fixed=fixed))(result)
    assert tree_allclose(inside, uncertainties(line, result, LINE), rtol=1e-10)


@pytest.mark.slow
def test_results_can_be_mapped_over():
    ys = LINE["y"] + np.array([[0.0], [1.0]])

    def data(y):
        return {**LINE, "y": y}

    start = state(a=1.0, b=3.0)
    bounds = {"b": ew.Interval(2.2, 5.0)}
    fits = jit(jax.vmap(lambda y: ew.fit(line, start, data(y), bounds=bounds)))
    results = fits(ys)
    spread = jax.vmap(lambda r: propagate(lambda p: p["a"] + p["b"], r).errors)(results)
    alone = np.sum(LINE["error"] ** -2.0) ** -0.5
    np.testing.assert_allclose(spread, alone, rtol=1e-10)
    errors = jax.vmap(lambda r, y: uncertainties(line, r, data(y)))(results, ys)
    np.testing.assert_allclose(errors["a"], alone, rtol=1e-10)
    assert np.isnan(errors["b"]).all()


def test_second_calls_trace_nothing():
    nll, terms = TraceCounter(counting), TraceCounter(counting_terms)
    fn = TraceCounter(lambda p: p["mu"] * p["gamma"])

    def work_at(mu, counts, fixed):
        where = state(mu=mu, gamma=np.ones(3))
        covariance = covariance_matrix(nll, where, counts)
        uncertainties(nll, where, counts)
        correlation_matrix(nll, where, counts)
        uncertainties(nll, where, counts, fixed={"mu": fixed})
        propagate(fn, where, covariance)
        sandwich(nll, where, counts, nll_terms=terms)

    work_at(1.0, COUNTS, 1.0)
    assert min(nll.calls, terms.calls, fn.calls) >= 1
    with count_jax_work() as work:
        work_at(1.2, COUNTS + 3, 0.8)
    assert (work.traces, work.compilations) == (0, 0)


def test_models_made_again_of_the_same_functions_are_not_compiled_again():
    main = TraceCounter(lambda p, x: 0.5 * jnp.sum((p["x"] - x) ** 2))
    expected = TraceCounter(lambda p: p["x"] * jnp.ones(2))

    def work_at(x, width):
        model = ew.Model(
            main,
            {"x": x},
            np.array([x, x + 1]),
            constraints={"x": ew.Normal(0.0, width)},
            expected=expected,
        )
        uncertainties(model, model.state, kind="fisher")

    work_at(1.0, 1.0)
    with count_jax_work() as work:
        work_at(2.0, 0.5)
    assert (work.traces, work.compilations) == (0, 0)
