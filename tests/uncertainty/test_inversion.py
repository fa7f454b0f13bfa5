"""What happens where there is no covariance."""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import EverwillowError, NonFiniteError, NotPositiveDefiniteError
from everwillow.uncertainty import (
    correlation_matrix,
    covariance_matrix,
    hessian_matrix,
    uncertainties,
)
from everwillow.uncertainty.inversion import directions
from tests.uncertainty.likelihoods import jit, product, saddle, state


SADDLE = state(a=0.1, b=0.2, c=0.3)


def test_a_saddle_names_the_direction_that_curves_downwards():
    with pytest.raises(
        NotPositiveDefiniteError, match=r"downwards in a direction of b\."
    ):
        covariance_matrix(saddle, SADDLE, 1.0)


def test_a_flat_direction_names_all_that_take_part():
    def nll(params, data):
        return product(params, data) + 0.5 * params["c"] ** 2

    # At a b = data the second derivatives have rank one in a and b.
    with pytest.raises(
        NotPositiveDefiniteError, match=r"flat in a direction of a, b\."
    ):
        uncertainties(nll, state(a=2.0, b=3.0, c=0.1), 6.0)


def test_a_parameter_that_is_not_used_is_flat():
    def nll(params, data):
        return 0.5 * (params["x"] - data) ** 2

    with pytest.raises(NotPositiveDefiniteError, match="flat in a direction of unused"):
        uncertainties(nll, state(x=1.0, unused=3.0), 1.0)


def test_elements_of_arrays_are_named():
    def nll(params, sign):
        return 0.5 * jnp.sum(sign * params["g"] ** 2)

    sign = np.array([1.0, -1.0, 0.0, 1.0])
    with pytest.raises(NotPositiveDefiniteError, match=r"of g\[1\]; .* of g\[2\]\."):
        uncertainties(nll, state(g=np.ones(4)), sign)


def test_directions_do_not_depend_on_units():
    scale = np.array([1e-6, 1.0, 1e6])
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0]])
    names = ("x", "y", "z")
    held = np.zeros(3, bool)
    found = directions(matrix / np.outer(scale, scale), held, names)
    assert found == (["y", "z"], [])
    held = np.array([False, False, True])
    assert directions(matrix, held, names) == ([], [])


@pytest.mark.parametrize("kind", ["hessian", "fisher"])
def test_without_throw_all_is_nan(kind):
    nll = ew.LeastSquares(lambda p, d: p["a"] + p["b"] - d)
    start = state(a=1.0, b=2.0)
    options = {"kind": kind, "throw": False}
    assert np.isnan(covariance_matrix(nll, start, 3.0, **options)).all()
    assert np.isnan(correlation_matrix(nll, start, 3.0, **options)).all()
    errors = uncertainties(nll, start, 3.0, **options)
    assert np.isnan([errors["a"], errors["b"]]).all()
    assert errors["a"].shape == ()
    with pytest.raises(NotPositiveDefiniteError, match="a, b"):
        covariance_matrix(nll, start, 3.0, kind=kind)


def test_inside_a_trace_all_is_nan():
    @jit
    def errors(data):
        return uncertainties(saddle, SADDLE, data).to_dict()

    assert all(np.isnan(value) for value in errors(1.0).values())


def test_derivatives_that_are_not_finite():
    def nll(params, data):
        return 0.5 * (params["x"] - data) ** 2 + jnp.sqrt(params["root"])

    start = state(x=1.0, root=0.0)
    with pytest.raises(NonFiniteError, match="not finite in root"):
        uncertainties(nll, start, 1.0)
    errors = uncertainties(nll, start, 1.0, throw=False)
    assert np.isnan([errors["x"], errors["root"]]).all()


def test_the_error_is_one_of_ours_and_a_value_error():
    for kind in (EverwillowError, ValueError):
        with pytest.raises(kind):
            covariance_matrix(saddle, SADDLE, 1.0)


def test_the_hessian_itself_is_always_there():
    np.testing.assert_allclose(
        hessian_matrix(saddle, SADDLE, 1.0), [[2, 0, 1], [0, -2, 0], [1, 0, 2]]
    )
