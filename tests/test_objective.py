"""Evaluations to second order, and the linear algebra below them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from everwillow._numerics import (
    SMALL,
    _columns_per_block,
    factorise,
    value_gradient_hessian,
)
from everwillow.curvature import Dense, Operator
from everwillow.objective import (
    Evaluation,
    LeastSquares,
    curvature_hook,
    evaluate,
    evaluate_matrix_free,
)
from tests.fitting.objectives import jit


PARAMS = {"height": jnp.asarray(3.0), "rates": jnp.array([0.3, 0.8])}
TIMES = np.linspace(0.0, 4.0, 7)
DATA = {"y": jnp.asarray(np.cos(TIMES)), "sigma": jnp.asarray(0.1 + 0.05 * TIMES)}


def two_decays(params, data):
    """Residuals in two arrays of different shapes."""
    curve = params["height"] * jnp.sum(
        jnp.exp(-params["rates"][:, None] * TIMES[None, :]), axis=0
    )
    return {"curve": (data["y"] - curve) / data["sigma"], "ridge": params["rates"] ** 2}


def smooth(params, data):
    """A scalar with a full and indefinite Hessian."""
    height, rates = params["height"], params["rates"]
    return data * jnp.sin(height) * jnp.sum(rates**3) + jnp.prod(rates) / height


def flat(fn, data):
    x, unravel = ravel_pytree(PARAMS)
    return x, lambda v: fn(unravel(v), data)


def all_residuals(v, unravel):
    return ravel_pytree(two_decays(unravel(v), DATA))[0]


class Structured(eqx.Module):
    """``½ s |x|²`` with its own evaluation, which marks itself by a wrong value."""

    strength: jax.Array
    as_tuple: bool = eqx.field(static=True, default=False)

    def __call__(self, params, observation):
        return 0.5 * self.strength * jnp.vdot(params, params)

    def curvature(self, params, observation):
        found = (
            self(params, observation) + 1000.0,
            self.strength * params,
            Dense(self.strength * jnp.eye(params.size)),
        )
        return found if self.as_tuple else Evaluation(*found)


def test_least_squares_is_half_the_sum_of_squares():
    residuals = two_decays(PARAMS, DATA)
    wanted = 0.5 * sum(np.sum(np.asarray(r) ** 2) for r in residuals.values())
    objective = LeastSquares(two_decays)
    np.testing.assert_allclose(objective(PARAMS, DATA), wanted, rtol=1e-14)
    found = jit(objective.curvature)(PARAMS, DATA)
    np.testing.assert_allclose(found.value, wanted, rtol=1e-14)


def test_least_squares_has_the_exact_derivatives():
    objective = LeastSquares(two_decays)
    x, fn = flat(objective, DATA)
    found = jit(objective.curvature)(PARAMS, DATA)
    np.testing.assert_allclose(found.gradient, jax.grad(fn)(x), rtol=1e-12)
    hessian = jit(jax.hessian(fn))(x)
    np.testing.assert_allclose(found.curvature.as_matrix(), hessian, rtol=1e-11)


def test_least_squares_has_residuals_jacobian_and_gauss_newton():
    found = jit(LeastSquares(two_decays).curvature)(PARAMS, DATA)
    x, unravel = ravel_pytree(PARAMS)
    jacobian = np.asarray(jax.jacrev(lambda v: all_residuals(v, unravel))(x))
    np.testing.assert_allclose(found.residuals, all_residuals(x, unravel), rtol=1e-14)
    np.testing.assert_allclose(found.jacobian, jacobian, rtol=1e-12, atol=1e-14)
    assert found.gauss_newton is not None
    stand_in = found.gauss_newton.as_matrix()
    np.testing.assert_allclose(stand_in, jacobian.T @ jacobian, rtol=1e-12)
    # It is not the Hessian: these residuals bend, and are not zero.
    assert np.max(np.abs(stand_in - found.curvature.as_matrix())) > 1


def test_gauss_newton_is_exact_for_linear_residuals():
    matrix = np.random.default_rng(4).normal(size=(9, 4))
    line = LeastSquares(lambda p, y: matrix @ p - y)
    found = line.curvature(jnp.ones(4), jnp.arange(9.0))
    assert found.gauss_newton is not None
    wanted = matrix.T @ matrix
    np.testing.assert_allclose(found.curvature.as_matrix(), wanted, rtol=1e-12)
    np.testing.assert_allclose(found.gauss_newton.as_matrix(), wanted, rtol=1e-12)


def test_evaluate_differentiates_any_function():
    x, fn = flat(smooth, 1.7)
    found = jit(lambda p: evaluate(smooth, p, 1.7))(PARAMS)
    np.testing.assert_allclose(found.value, fn(x), rtol=1e-14)
    np.testing.assert_allclose(found.gradient, jax.grad(fn)(x), rtol=1e-12)
    hessian = found.curvature.as_matrix()
    np.testing.assert_allclose(hessian, jit(jax.hessian(fn))(x), rtol=1e-11)
    np.testing.assert_array_equal(hessian, hessian.T)


@pytest.mark.parametrize(
    ("objective", "data"),
    [(smooth, 1.7), (LeastSquares(two_decays), DATA)],
    ids=["function", "least squares"],
)
def test_evaluating_with_and_without_a_matrix_agrees(objective, data):
    dense = jit(lambda p: evaluate(objective, p, data))(PARAMS)
    free = evaluate_matrix_free(objective, PARAMS, data)
    np.testing.assert_allclose(free.value, dense.value, rtol=1e-14)
    np.testing.assert_allclose(free.gradient, dense.gradient, rtol=1e-13)
    for vector in np.random.default_rng(0).normal(size=(3, 3)):
        product = free.curvature.matvec(jnp.asarray(vector))
        wanted = dense.curvature.as_matrix() @ vector
        np.testing.assert_allclose(product, wanted, rtol=1e-11, atol=1e-11)


def test_without_a_matrix_the_curvature_is_an_operator():
    found = evaluate_matrix_free(smooth, PARAMS, 1.7)
    assert isinstance(found.curvature, Operator)


@pytest.mark.parametrize("look", [evaluate, evaluate_matrix_free])
@pytest.mark.parametrize("as_tuple", [False, True])
def test_an_objective_with_a_hook_is_asked_and_not_differentiated(look, as_tuple):
    objective = Structured(jnp.asarray(2.0), as_tuple=as_tuple)
    found = look(objective, jnp.array([1.0, 3.0]), None)
    assert isinstance(found, Evaluation)
    assert found.value == 1010.0
    np.testing.assert_array_equal(found.gradient, [2.0, 6.0])
    np.testing.assert_array_equal(found.curvature.as_matrix(), 2 * np.eye(2))


def test_a_hook_of_none_is_no_hook():
    class Plain(eqx.Module):
        curvature: None = None

        def __call__(self, params, observation):
            return jnp.sum(params**2)

    assert curvature_hook(Plain()) is None
    assert curvature_hook(smooth) is None
    found = evaluate(Plain(), jnp.ones(2), None)
    np.testing.assert_allclose(found.curvature.as_matrix(), 2 * np.eye(2))


WIDE = 70_000


@pytest.mark.parametrize("size", [8, 19])
def test_a_hessian_in_blocks_of_columns_is_the_hessian(size):
    # So many terms that only the least number of columns fits into a block. The last
    # block of 19 columns is not full.
    matrix = jnp.asarray(np.random.default_rng(7).normal(size=(WIDE, size)))
    fn = lambda x: jnp.sum(jnp.logaddexp(0.0, matrix @ x)) / WIDE
    x = jnp.linspace(-0.5, 0.5, size)
    _, push = jax.linearize(jax.grad(fn), x)
    assert _columns_per_block(push, x) == 8
    value, gradient, hessian = jax.jit(lambda x: value_gradient_hessian(fn, x))(x)
    np.testing.assert_allclose(value, fn(x), rtol=1e-12)
    # In closed form: s = sigmoid(Ax), g = Aᵀs, H = Aᵀ diag(s(1-s)) A.
    share = 1 / (1 + np.exp(-np.asarray(matrix @ x)))
    slope = np.asarray(matrix).T @ share / WIDE
    bend = np.asarray(matrix).T @ ((share * (1 - share))[:, None] * matrix) / WIDE
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(hessian, bend, rtol=1e-9, atol=1e-13)


def test_a_hessian_of_many_events_has_its_columns_one_after_the_other():
    """Without a product of matrices, which is faster in blocks, also inside a jit."""
    events = jnp.asarray(np.random.default_rng(3).normal(size=10_000))
    fn = lambda x: jnp.sum(0.5 * ((events - x[0]) / x[1]) ** 2 + jnp.log(x[1]))
    x = jnp.array([0.1, 1.2])
    _, push = jax.linearize(jax.grad(fn), x)
    assert _columns_per_block(push, x) == 1
    _, _, hessian = jax.jit(lambda x: value_gradient_hessian(fn, x))(x)
    np.testing.assert_allclose(hessian, jit(jax.hessian(fn))(x), rtol=1e-10)

    product = jax.jit(lambda x: jnp.stack([events, events**2], axis=1) @ x)
    _, push = jax.linearize(jax.grad(lambda x: jnp.sum(jnp.exp(product(x)))), x)
    assert _columns_per_block(push, x) > 1


@pytest.mark.parametrize("size", [0, 1, 12])
def test_a_small_hessian_is_the_hessian(size):
    x = jnp.linspace(0.1, 1.0, size)
    fn = lambda x: jnp.sum(jnp.sin(x)) ** 2 + jnp.sum(x**4)
    value, gradient, hessian = jit(lambda x: value_gradient_hessian(fn, x))(x)
    np.testing.assert_allclose(value, fn(x), rtol=1e-14)
    np.testing.assert_allclose(gradient, jax.grad(fn)(x), rtol=1e-12)
    assert hessian.shape == (size, size)
    np.testing.assert_allclose(hessian, jit(jax.hessian(fn))(x), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [1, 2, SMALL, SMALL + 1, 40])
def test_factorising_agrees_with_numpy(size):
    rng = np.random.default_rng(size)
    root = rng.normal(size=(size, size))
    matrix = root @ root.T + 0.5 * np.eye(size)
    lower = np.linalg.cholesky(matrix)
    factor = factorise(jnp.asarray(matrix))
    assert factor.inverted == (size <= SMALL)
    held = np.linalg.inv(lower) if factor.inverted else lower
    np.testing.assert_allclose(factor.lower, held, rtol=1e-9, atol=1e-11)
    pivot = np.min(np.diagonal(lower) ** 2 / np.diagonal(matrix))
    np.testing.assert_allclose(factor.smallest_pivot, pivot, rtol=1e-10)
    for rhs in (rng.normal(size=size), rng.normal(size=(size, 3))):
        wanted = np.linalg.solve(matrix, rhs)
        found = factor.solve(jnp.asarray(rhs))
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("size", [2, SMALL, SMALL + 1, 40])
def test_factorising_sees_one_negative_eigenvalue(size):
    # Definite but for the last direction, which has a positive diagonal as well.
    matrix = np.eye(size)
    matrix[0, -1] = matrix[-1, 0] = 1.0 + 1e-9
    assert not factorise(jnp.asarray(matrix)).smallest_pivot > 0
    matrix[0, -1] = matrix[-1, 0] = 1.0 - 1e-9
    # 1 - (1 - 1e-9)², which rounding spoils at 1e-7 of itself.
    pivot = factorise(jnp.asarray(matrix)).smallest_pivot
    np.testing.assert_allclose(pivot, 2e-9, rtol=1e-6)


@pytest.mark.parametrize("size", [3, SMALL + 1])
def test_factorising_a_batch_is_factorising_each(size):
    rng = np.random.default_rng(3)
    roots = rng.normal(size=(4, size, size))
    matrices = jnp.asarray(roots @ np.swapaxes(roots, 1, 2) + np.eye(size))
    # One of the batch is indefinite, which must not spoil the others.
    matrices = matrices.at[2, 0, 0].set(-1.0)
    pivots = jax.vmap(lambda m: factorise(m).smallest_pivot)(matrices)
    for i, matrix in enumerate(matrices):
        alone = factorise(matrix).smallest_pivot
        if i == 2:
            assert not alone > 0
            assert not pivots[i] > 0
        else:
            np.testing.assert_allclose(pivots[i], alone, rtol=1e-10)
