"""Covariances, correlations and errors against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
from everwillow._errors import ArgumentTypeError, ArgumentValueError, UnknownKeyError
from everwillow.uncertainty import (
    correlation_matrix,
    covariance_matrix,
    hessian_matrix,
    labels,
    uncertainties,
)
from tests.helpers import finite_difference_jacobian, tree_allclose
from tests.uncertainty.likelihoods import (
    COUNTING_STATE,
    COUNTS,
    LINE,
    LINE_STATE,
    counting,
    counting_hessian,
    line,
    line_covariance,
    state,
    two_measurements,
)


def test_a_straight_line_has_its_exact_covariance():
    exact = line_covariance(LINE)
    np.testing.assert_allclose(
        covariance_matrix(line, LINE_STATE, LINE), exact, rtol=1e-12
    )
    np.testing.assert_allclose(
        hessian_matrix(line, LINE_STATE, LINE), np.linalg.inv(exact), rtol=1e-12
    )
    errors = uncertainties(line, LINE_STATE, LINE)
    assert isinstance(errors, sl.State)
    np.testing.assert_allclose(
        [errors["a"], errors["b"]], np.sqrt(np.diag(exact)), rtol=1e-12
    )


def test_a_counting_experiment_has_the_error_sqrt_n():
    def nll(params, n):
        return params["nu"] - n * jnp.log(params["nu"])

    errors = uncertainties(nll, state(nu=49.0), 49.0)
    np.testing.assert_allclose(errors["nu"], 7.0, rtol=1e-13)


def test_two_correlated_measurements_have_the_error_of_their_best_mean():
    covariance = np.array([[4.0, 1.5], [1.5, 9.0]])
    weight = np.linalg.inv(covariance).sum()
    data = {"x": np.array([10.0, 12.0]), "covariance": covariance}
    errors = uncertainties(two_measurements, state(mu=10.5), data)
    np.testing.assert_allclose(errors["mu"], weight**-0.5, rtol=1e-12)


def test_hessian_of_counts_by_hand_and_by_finite_differences():
    hessian = hessian_matrix(counting, COUNTING_STATE, COUNTS)
    by_hand = counting_hessian(COUNTING_STATE, COUNTS)
    np.testing.assert_allclose(hessian, by_hand, rtol=1e-12)

    def slope(values):
        return finite_difference_jacobian(lambda s: counting(s, COUNTS), values)[0]

    # Two stencils in a row lose half of the digits.
    twice = finite_difference_jacobian(slope, dict(COUNTING_STATE), step=1e-3)
    np.testing.assert_allclose(twice, hessian, rtol=1e-5, atol=1e-5)


def test_array_parameters_keep_their_shape():
    errors = uncertainties(counting, COUNTING_STATE, COUNTS)
    exact = np.sqrt(np.diag(np.linalg.inv(counting_hessian(COUNTING_STATE, COUNTS))))
    assert tree_allclose(
        errors, COUNTING_STATE.with_values([exact[:3], exact[3]]), rtol=1e-12
    )
    assert isinstance(errors["gamma"], np.ndarray)


def test_matrices_of_parameters_are_ravelled_in_row_order():
    widths = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    def nll(params, width):
        return 0.5 * jnp.sum((params["m"] / width) ** 2)

    start = state(m=np.zeros((2, 3)), z=1.0)
    fixed = {"z": ...}
    assert labels(start, fixed)[:2] == ("m[0,0]", "m[0,1]")
    covariance = covariance_matrix(nll, start, widths, fixed=fixed)
    np.testing.assert_allclose(covariance, np.diag(widths.ravel() ** 2), rtol=1e-14)
    errors = uncertainties(nll, start, widths, fixed=fixed)
    np.testing.assert_allclose(errors["m"], widths, rtol=1e-14)
    assert errors["z"] is None


def test_correlations():
    covariance = line_covariance(LINE)
    sigma = np.sqrt(np.diag(covariance))
    correlation = correlation_matrix(line, LINE_STATE, LINE)
    np.testing.assert_allclose(
        correlation, covariance / np.outer(sigma, sigma), rtol=1e-12
    )
    np.testing.assert_array_equal(np.diag(correlation), 1.0)


def test_parameters_of_very_different_size():
    scale = np.array([1e-6, 1.0, 1e6])
    mixing = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]])
    exact = mixing * np.outer(scale, scale)

    def nll(params, inverse):
        x = jnp.stack([params["small"], params["unit"], params["zbig"]])
        return 0.5 * x @ inverse @ x

    start = state(small=2e-6, unit=0.5, zbig=-3e6)
    inverse = np.linalg.inv(mixing) / np.outer(scale, scale)
    np.testing.assert_allclose(
        covariance_matrix(nll, start, inverse), exact, rtol=1e-11
    )
    np.testing.assert_allclose(
        correlation_matrix(nll, start, inverse), mixing, rtol=1e-11
    )


@pytest.mark.parametrize("fixed", [{"b": 2.5}, {"b": ...}, {"a": None, "b": 2.5}])
def test_fixed_parameters_are_left_out(fixed):
    errors = uncertainties(line, LINE_STATE, LINE, fixed=fixed)
    assert errors["b"] is None
    np.testing.assert_allclose(
        errors["a"], np.sum(LINE["error"] ** -2.0) ** -0.5, rtol=1e-13
    )
    assert labels(LINE_STATE, fixed) == ("a",)
    assert covariance_matrix(line, LINE_STATE, LINE, fixed=fixed).shape == (1, 1)


def test_the_value_of_a_fixed_parameter_counts():
    def nll(params, data):
        return 0.5 * (params["a"] * params["b"] - data) ** 2

    start = state(a=1.0, b=1.0)
    errors = uncertainties(nll, start, 1.0, fixed={"b": 4.0})
    np.testing.assert_allclose(errors["a"], 0.25, rtol=1e-14)


def test_nothing_free():
    fixed = {"a": ..., "b": ...}
    assert covariance_matrix(line, LINE_STATE, LINE, fixed=fixed).shape == (0, 0)
    assert correlation_matrix(line, LINE_STATE, LINE, fixed=fixed).shape == (0, 0)
    assert uncertainties(line, LINE_STATE, LINE, fixed=fixed).notnone == {}
    assert labels(LINE_STATE, fixed) == ()


def test_integers_and_empty_entries_have_no_error():
    def nll(params, data):
        return 0.5 * (params["x"] * params["n"].astype(float) - data) ** 2

    start = state(n=np.array(2), x=1.0, none=np.zeros(0))
    errors = uncertainties(nll, start, 0.0, fixed={"n": ...})
    assert errors["n"] is None
    assert errors["none"].shape == (0,)
    np.testing.assert_allclose(errors["x"], 0.5)


def test_renamed_and_merged_parameters():
    nll, merged = ew.prepare(
        [lambda p, d: 0.5 * (p["m"] - d) ** 2, lambda p, d: 2.0 * (p["mass"] - d) ** 2],
        [sl.rename(state(m=1.0), {"m": "mass"}), state(mass=1.0)],
    )
    errors = uncertainties(nll, merged, 1.0)
    np.testing.assert_allclose(errors["mass"], 5**-0.5, rtol=1e-14)
    assert tree_allclose(
        errors.to_pytree(), ({"m": errors["mass"]}, {"mass": errors["mass"]})
    )


def test_a_model_brings_its_data_and_fixed_values():
    model = ew.Model(
        lambda p, y: line(p, {**LINE, "y": y}),
        {"a": 1.0, "b": 2.0},
        LINE["y"],
        fixed={"b": 2.0},
    )
    errors = uncertainties(model, model.state)
    assert errors["b"] is None
    np.testing.assert_allclose(
        errors["a"], np.sum(LINE["error"] ** -2.0) ** -0.5, rtol=1e-13
    )
    free = uncertainties(model, model.state, fixed={"b": None})
    np.testing.assert_allclose(free["b"], line_covariance(LINE)[1, 1] ** 0.5)


def test_inputs_are_left_alone():
    data = {name: values.copy() for name, values in LINE.items()}
    start = state(a=np.array(1.0), b=np.array(2.0))
    uncertainties(line, start, data, fixed={"a": 5.0})
    assert tree_allclose(data, LINE, rtol=0)
    assert start["a"] == 1.0


def test_wrong_arguments_say_what_is_wrong():
    with pytest.raises(ArgumentTypeError, match="expected a State, a dict"):
        uncertainties(line, 1.0, LINE)
    with pytest.raises(UnknownKeyError, match="Did you mean 'a'"):
        uncertainties(line, LINE_STATE, LINE, fixed={"aa": 1.0})
    with pytest.raises(ArgumentTypeError, match="fixed: expected"):
        uncertainties(line, LINE_STATE, LINE, fixed=["a"])
    with pytest.raises(ArgumentTypeError, match="nll_fn"):
        uncertainties(3, LINE_STATE, LINE)
    with pytest.raises(ArgumentValueError, match="kind: expected 'hessian'"):
        uncertainties(line, LINE_STATE, LINE, kind="minos")


def test_labels():
    start = state(gamma=np.ones(3), mu=1.0)
    assert labels(start) == ("gamma[0]", "gamma[1]", "gamma[2]", "mu")
    assert labels(start, {"gamma": 1.0}) == ("mu",)
    with pytest.raises(UnknownKeyError, match="fixed"):
        labels(start, {"nu": 1.0})
