"""Quadrature and sums in log space, against closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.likelihood.quadrature import (
    gauss_legendre,
    log_integrate,
    log_integrate_panels,
    log_sum,
)
from everwillow.likelihood.unbinned import extended_nll, shape_nll


@pytest.mark.parametrize(("panels", "order"), [(1, 1), (1, 5), (3, 4), (64, 16)])
def test_a_rule_is_exact_for_polynomials_of_its_degree(panels, order):
    nodes, weights = gauss_legendre(panels, order)
    assert nodes.shape == weights.shape == (panels * order,)
    for power in range(2 * order):
        integral = np.sum(weights * nodes**power)
        assert integral == pytest.approx(1.0 / (power + 1), rel=1e-13)


def test_a_rule_may_be_changed_by_who_got_it():
    gauss_legendre(2, 2)[0][:] = 0.0
    assert gauss_legendre(2, 2)[0][0] > 0.0


@pytest.mark.parametrize(("width", "accuracy"), [(1 / 20, 1e-13), (1 / 400, 1e-11)])
@pytest.mark.parametrize("center", [0.5, 0.5031, 0.4923])
def test_the_accuracy_is_what_is_said(width, accuracy, center):
    log = log_integrate(lambda x: -0.5 * ((x - center) / width) ** 2, 0.0, 1.0)
    assert abs(log - math.log(width * math.sqrt(2.0 * math.pi))) < accuracy


def test_intervals_of_any_shape_at_once_and_without_underflow():
    lower, upper = np.array([[0.0, 1.0, 5.0]]), np.array([[1.0, 5.0, 5.0]])
    log = log_integrate(lambda x: -x - 2000.0, lower, upper, panels=2)
    assert log.shape == (1, 3)
    assert log[0, 0] == pytest.approx(math.log(1.0 - math.exp(-1.0)) - 2000.0)
    assert log[0, 1] == pytest.approx(math.log(math.exp(-1.0) - math.exp(-5.0)) - 2000)
    assert log[0, 2] == -jnp.inf


def test_panels_follow_their_edges_and_may_be_empty():
    edges = jnp.array([0.0, 1e-6, 1e-3, 1e-3, 0.1, 1.0])
    log = log_integrate_panels(lambda x: 0.5 * jnp.log(x), edges)
    assert log == pytest.approx(math.log(2.0 / 3.0), abs=1e-7)


@pytest.mark.slow
def test_derivatives_of_an_integral_are_those_of_the_closed_form():
    def total(rate):
        return log_integrate(lambda x: -rate * x, 0.0, 3.0, panels=4)

    def closed(rate):
        return jnp.log((1.0 - jnp.exp(-3.0 * rate)) / rate)

    for derivative in (jax.grad, jax.hessian):
        assert derivative(total)(0.7) == pytest.approx(derivative(closed)(0.7))


def test_sums_with_weights_of_any_sign():
    logs = jnp.array([[-800.0, 1e6], [-801.0, 0.0], [-802.0, -jnp.inf]])
    weights = jnp.array([[1.0, 0.0], [-0.5, 1.0], [2.0, 1.0]])
    value = 1.0 - 0.5 * math.exp(-1.0) + 2.0 * math.exp(-2.0)
    np.testing.assert_allclose(log_sum(logs, weights), [math.log(value) - 800.0, 0.0])


def test_a_sum_that_is_not_positive_has_no_gradient():
    logs = jnp.array([0.0, -jnp.inf])
    assert log_sum(logs, jnp.array([-1.0, 1.0])) == -jnp.inf
    gradient = jax.grad(lambda w: log_sum(logs, w))(jnp.array([-1.0, 1.0]))
    np.testing.assert_array_equal(gradient, 0.0)
    assert log_sum(jnp.full(2, -jnp.inf), jnp.ones(2)) == -jnp.inf


def test_the_gradient_of_a_weight_of_zero_is_finite():
    def total(weight):
        return log_sum(jnp.array([0.0, -5.0]), jnp.stack([weight, 1.0 - weight]))

    assert jax.grad(total)(0.0) == pytest.approx(math.exp(5.0) - 1.0)


def test_events_without_weight_do_not_enter():
    logs = jnp.array([-1.0, -2.0, -jnp.inf])
    weights = jnp.array([2.0, 0.5, 0.0])
    assert shape_nll(logs, weights) == 3.0
    assert extended_nll(logs, weights, 4.0) == 7.0
    assert jax.grad(shape_nll)(logs, weights).tolist() == [-2.0, -0.5, 0.0]
    assert shape_nll(logs, jnp.ones(3)) == jnp.inf
