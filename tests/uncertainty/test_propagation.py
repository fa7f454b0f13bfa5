"""Error propagation against closed forms, exact moments and the Jacobian."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
)
from everwillow.uncertainty import PropagationResult, propagate
from tests.helpers import tree_allclose
from tests.uncertainty.likelihoods import (
    LINE,
    LINE_STATE,
    line,
    line_covariance,
    state,
    total,
)


COVARIANCE = np.array([[0.04, 0.01, 0.0], [0.01, 0.09, -0.02], [0.0, -0.02, 0.16]])
POINT = state(a=1.0, b=np.array([2.0, 3.0]))


def test_a_linear_function_has_its_exact_covariance():
    matrix = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])

    def fn(params):
        x = jnp.concatenate([params["a"][None], params["b"]])
        return {"first": matrix[0] @ x, "second": matrix[1:] @ x}

    out = propagate(fn, POINT, COVARIANCE)
    assert isinstance(out, PropagationResult)
    exact = matrix @ COVARIANCE @ matrix.T
    np.testing.assert_allclose(out.covariance, exact, rtol=1e-14)
    errors = np.sqrt(np.diag(exact))
    assert tree_allclose(
        out.errors, {"first": errors[0], "second": errors[1:]}, rtol=1e-14
    )
    assert tree_allclose(out.values, fn({"a": jnp.asarray(1.0), "b": POINT["b"]}))
    assert isinstance(out.errors["second"], np.ndarray)


@pytest.mark.parametrize("outputs", [1, 3, 200])
def test_any_function_is_propagated_by_its_jacobian(outputs):
    """Also where the derivatives are taken from the other side, and in blocks."""
    size = 100
    rng = np.random.default_rng(5)
    matrix = rng.normal(size=(outputs, size)) / size
    root = rng.normal(size=(size, size))
    covariance = root @ root.T / size

    def fn(params):
        return jnp.sin(matrix @ params["x"]) + params["x"][0] ** 2

    x = rng.normal(size=size)
    jacobian = jax.jacrev(lambda x: fn({"x": x}))(jnp.asarray(x))
    out = propagate(fn, state(x=x), covariance)
    np.testing.assert_allclose(
        out.covariance, jacobian @ covariance @ jacobian.T, rtol=1e-10, atol=1e-12
    )


def test_a_mildly_nonlinear_function_against_a_large_sample():
    """``exp(x)`` for x of width s has the relative error ``sqrt(exp(s²)(exp(s²)-1))``.

    First order says s. With s = 0.05 they differ by 3/4 s² = 0.2 %, and the spread of
    N = 2e5 draws is known to 1/sqrt(2N) = 0.16 %: four of those and the difference.
    """
    s, count = 0.05, 200_000
    out = propagate(lambda p: jnp.exp(p["x"]), state(x=0.3), np.array([[s**2]]))
    np.testing.assert_allclose(out.errors, s * np.exp(0.3), rtol=1e-14)
    draws = np.exp(0.3 + s * np.random.default_rng(11).normal(size=count))
    tolerance = 4 / np.sqrt(2 * count) + 0.75 * s**2
    np.testing.assert_allclose(out.errors, draws.std(), rtol=tolerance)


def test_a_result_brings_its_covariance():
    result = ew.fit(line, LINE_STATE, LINE)
    x = np.array([0.5, 10.0])
    out = propagate(lambda p: p["a"] + p["b"] * x, result)
    design = np.stack([np.ones(2), x], axis=1)
    exact = design @ line_covariance(LINE) @ design.T
    np.testing.assert_allclose(out.covariance, exact, rtol=1e-9)


def test_the_identity_gives_the_errors_of_the_parameters():
    out = propagate(lambda p: p, POINT, COVARIANCE)
    errors = np.sqrt(np.diag(COVARIANCE))
    assert tree_allclose(out.errors, {"a": errors[0], "b": errors[1:]}, rtol=1e-14)


def test_fixed_parameters_have_values_and_no_errors():
    def fn(params):
        return params["a"] * params["b"]

    fixed = {"a": 5.0}
    out = propagate(fn, POINT, COVARIANCE[1:, 1:], fixed=fixed)
    np.testing.assert_allclose(out.values, [10.0, 15.0])
    np.testing.assert_allclose(out.errors, [5 * 0.3, 5 * 0.4], rtol=1e-14)
    known = propagate(lambda p: p["a"] ** 2, POINT, COVARIANCE[1:, 1:], fixed=fixed)
    assert (known.values, known.errors) == (25.0, 0.0)
    result = ew.fit(line, LINE_STATE, LINE, fixed={"a": 1.0})
    alone = np.sum((LINE["x"] / LINE["error"]) ** 2) ** -0.5
    out = propagate(lambda p: 2 * p["b"] + p["a"], result)
    np.testing.assert_allclose(out.errors, 2 * alone, rtol=1e-12)


@pytest.mark.slow
def test_what_depends_on_held_parameters_alone_has_no_error():
    # The minimum without bounds is at b = 1.93.
    result = ew.fit(
        line, state(a=1.0, b=3.0), LINE, bounds={"b": ew.Interval(2.2, 5.0)}
    )
    out = propagate(lambda p: {"b": p["b"], "sum": p["a"] + p["b"], "1": 1.0}, result)
    alone = np.sum(LINE["error"] ** -2.0) ** -0.5
    assert np.isnan(out.errors["b"])
    np.testing.assert_allclose(out.errors["sum"], alone, rtol=1e-12)
    assert out.errors["1"] == 0.0


def test_terms_that_cancel_leave_no_error():
    full = np.array([[0.09, 0.09], [0.09, 0.09]]) + 1e-30
    out = propagate(lambda p: 1 / 3 * (p["a"] - p["b"]), state(a=1.0, b=1.0), full)
    assert out.errors == 0.0


def test_a_matrix_that_is_no_covariance_gives_no_error():
    wrong = np.array([[1.0, 2.0], [2.0, 1.0]])
    out = propagate(lambda p: p["a"] - p["b"], state(a=1.0, b=1.0), wrong)
    assert np.isnan(out.errors)
    out = propagate(lambda p: p["a"], state(a=1.0, b=1.0), np.full((2, 2), np.nan))
    assert np.isnan(out.errors)


def test_a_flat_fit_propagates_nothing():
    result = ew.fit(total, state(a=2.0, b=3.0), 5.0, throw=False)
    with pytest.raises(NotPositiveDefiniteError, match="a, b"):
        propagate(lambda p: p["a"] + p["b"], result)
    out = propagate(lambda p: p["a"] + p["b"], result, throw=False)
    np.testing.assert_allclose(out.values, 5.0, rtol=1e-6)
    assert np.isnan(out.errors)


def test_integers_in_the_output_are_numbers_without_error():
    out = propagate(lambda p: (2, p["b"] > 0), POINT, COVARIANCE)
    assert tree_allclose(out.values, (np.asarray(2.0), np.ones(2)))
    assert tree_allclose(out.errors, (np.asarray(0.0), np.zeros(2)))


def test_an_empty_output():
    out = propagate(lambda p: {}, POINT, COVARIANCE)
    assert (out.values, out.errors, out.covariance.shape) == ({}, {}, (0, 0))


def test_wrong_arguments_say_what_is_wrong():
    with pytest.raises(ShapeMismatchError, match=r"3 free parameters \(a, b\[0\]"):
        propagate(lambda p: p["a"], POINT, np.eye(2))
    with pytest.raises(ArgumentValueError, match="a State has none"):
        propagate(lambda p: p["a"], POINT)
    with pytest.raises(ArgumentTypeError, match="fn: expected a function"):
        propagate(3.0, POINT, COVARIANCE)
    result = ew.fit(line, LINE_STATE, LINE)
    with pytest.raises(ArgumentValueError, match="for other fixed parameters"):
        propagate(lambda p: p["a"], result, fixed={"b": ...})
    bare = eqx.tree_at(lambda r: r.hessian, result, None)
    with pytest.raises(ArgumentValueError, match="its solver makes no Hessian"):
        propagate(lambda p: p["a"], bare)
