"""The expected information against its closed form."""

import jax
import jax.numpy as jnp
import jax.scipy.stats as jss
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.uncertainty import covariance_matrix, uncertainties
from tests.uncertainty.likelihoods import (
    LINE,
    LINE_STATE,
    line,
    line_covariance,
    line_residuals,
    state,
)


BINS = np.arange(6.0)


def spectrum(params):
    return params["norm"] * jnp.exp(-params["slope"] * BINS) + params["level"]


def spectrum_nll(params, counts):
    expected = spectrum(params)
    return jnp.sum(expected - counts * jnp.log(expected))


def counts_model(**options):
    return ew.Model(
        spectrum_nll,
        {"level": 3.0, "norm": 40.0, "slope": 0.5},
        np.array([50.0, 25.0, 20.0, 8.0, 12.0, 4.0]),
        constraints={"level": ew.Normal(3.0, 0.5)},
        **options,
    )


def jtwj(values):
    """``JᵀWJ`` plus the information of the constraint, in State order."""
    jacobian = jax.jacfwd(
        lambda v: spectrum(dict(zip(("level", "norm", "slope"), v, strict=True)))
    )(jnp.asarray(values))
    expected = spectrum(dict(zip(("level", "norm", "slope"), values, strict=True)))
    constraint = np.diag([0.5**-2, 0.0, 0.0])
    return np.asarray(jacobian.T @ (jacobian / expected[:, None]) + constraint)


@pytest.mark.parametrize("values", [(3.0, 40.0, 0.5), (2.5, 60.0, 0.3)])
def test_information_of_counts_is_jtwj(values):
    """Where the data are is of no importance, only where the parameters are."""
    model = counts_model(expected=spectrum)
    where = model.state.with_values(values)
    found = covariance_matrix(model, where, kind="fisher")
    np.testing.assert_allclose(found, np.linalg.inv(jtwj(values)), rtol=1e-10)
    observed = covariance_matrix(model, where)
    assert not np.allclose(found, observed, rtol=1e-2)


def test_information_of_gaussian_measurements_is_jtwj():
    model = ew.Model(
        lambda p, y: -jnp.sum(jss.norm.logpdf(y, p["a"] * jnp.exp(p["b"]), 0.5)),
        {"a": 2.0, "b": 0.5},
        np.array([9.0, 1.0]),
        expected=lambda p: p["a"] * jnp.exp(p["b"]) * jnp.ones(2),
    )
    found = covariance_matrix(model, model.state, fixed={"b": ...}, kind="fisher")
    np.testing.assert_allclose(found, [[0.125 * np.exp(-1.0)]], rtol=1e-12)


def test_information_comes_from_a_result_too():
    model = counts_model(expected=spectrum)
    result = ew.fit(model)
    values = tuple(float(v) for v in result.params.values())
    errors = uncertainties(model, result, kind="fisher")
    exact = np.sqrt(np.diag(np.linalg.inv(jtwj(values))))
    np.testing.assert_allclose([float(v) for v in errors.values()], exact, rtol=1e-10)


def test_fixed_parameters_are_left_out_of_the_information():
    model = counts_model(expected=spectrum)
    found = covariance_matrix(model, model.state, kind="fisher", fixed={"norm": 60.0})
    exact = np.linalg.inv(jtwj((3.0, 60.0, 0.5))[np.ix_([0, 2], [0, 2])])
    np.testing.assert_allclose(found, exact, rtol=1e-10)


def test_least_squares_has_its_gauss_newton_matrix():
    residuals = ew.LeastSquares(lambda p, y: (p["a"] * jnp.exp(p["b"] * BINS) - y) / 3)
    start = state(a=2.0, b=0.1)
    jacobian = jax.jacfwd(lambda v: v[0] * jnp.exp(v[1] * BINS) / 3)(
        jnp.array([2.0, 0.1])
    )
    data = np.full(6, 5.0)
    found = covariance_matrix(residuals, start, data, kind="fisher")
    np.testing.assert_allclose(found, np.linalg.inv(jacobian.T @ jacobian), rtol=1e-11)
    assert not np.allclose(found, covariance_matrix(residuals, start, data), rtol=0.01)
    alone = covariance_matrix(residuals, start, data, kind="fisher", fixed={"a": ...})
    np.testing.assert_allclose(alone, 1 / (jacobian.T @ jacobian)[1:, 1:], rtol=1e-11)


def test_a_linear_least_squares_has_one_information():
    objective = ew.LeastSquares(line_residuals)
    for kind in ("hessian", "fisher"):
        np.testing.assert_allclose(
            covariance_matrix(objective, LINE_STATE, LINE, kind=kind),
            line_covariance(LINE),
            rtol=1e-12,
        )


def test_a_model_of_least_squares_needs_no_expectation():
    model = ew.Model(
        ew.LeastSquares(line_residuals),
        {"a": 1.0, "b": 2.0},
        LINE,
        constraints={"b": ew.Normal(2.0, 0.1)},
    )
    information = np.linalg.inv(line_covariance(LINE)) + np.diag([0.0, 100.0])
    np.testing.assert_allclose(
        covariance_matrix(model, model.state, kind="fisher"),
        np.linalg.inv(information),
        rtol=1e-12,
    )


def test_a_function_has_no_expected_information():
    with pytest.raises(ArgumentTypeError, match=r"Give a Model.*LeastSquares"):
        covariance_matrix(line, LINE_STATE, LINE, kind="fisher")


def test_a_model_that_expects_nothing_says_how_to_tell_it():
    model = counts_model()
    with pytest.raises(ArgumentValueError, match=r"expected=function"):
        covariance_matrix(model, model.state, kind="fisher")
