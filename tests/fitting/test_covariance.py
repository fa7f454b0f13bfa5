"""Covariances found from Hessians, on the host and in a trace."""

import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.engine import covariance
from everwillow.engine.covariance import covariance_of


SIZE = 40
HELD = np.arange(SIZE) == 3


def hessian_of(seed):
    """Return a positive definite matrix of parameters of very different sizes."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(SIZE, 2 * SIZE))
    scale = 10.0 ** rng.uniform(-6, 6, SIZE)
    return scale[:, None] * (root @ root.T) * scale


def frozen(matrix):
    """Return a copy that nobody can write to, as results of JAX are."""
    copy = matrix.copy()
    copy.setflags(write=False)
    return copy


def by_inverse(matrix):
    """Invert the free block, by another way."""
    free = np.nonzero(~HELD)[0]
    scale = 1 / np.sqrt(np.diagonal(matrix)[free])
    block = scale[:, None] * matrix[np.ix_(free, free)] * scale
    values, vectors = np.linalg.eigh(block)
    inverse = scale[:, None] * ((vectors / values) @ vectors.T) * scale
    out = np.zeros_like(matrix)
    out[np.ix_(free, free)] = inverse
    return out


@pytest.mark.parametrize("way", ["host", "remembered", "traced", "batch", "lanes"])
def test_it_is_the_inverse_of_the_free_block(way):
    matrix = hessian_of(1)
    found = {
        "host": lambda: covariance_of(matrix, HELD),
        "remembered": lambda: covariance_of(frozen(matrix), HELD),
        "traced": lambda: jax.jit(covariance_of)(matrix, HELD),
        "batch": lambda: covariance_of(matrix[None], HELD[None])[0],
        "lanes": lambda: jax.jit(covariance_of)(matrix[None], HELD[None])[0],
    }[way]()
    wanted = by_inverse(matrix)
    size = np.sqrt(np.diagonal(wanted))
    unit = np.where(size > 0, size, 1)
    unit = unit * unit[:, None]
    np.testing.assert_allclose(np.asarray(found) / unit, wanted / unit, atol=1e-11)


@pytest.mark.parametrize("wrong", [np.nan, -1.0], ids=["not finite", "indefinite"])
@pytest.mark.parametrize("way", [covariance_of, jax.jit(covariance_of)])
def test_no_covariance_is_nan(way, wrong):
    matrix = hessian_of(2)
    matrix[5, 5] *= wrong
    assert np.isnan(way(frozen(matrix), HELD)).all()


@pytest.mark.parametrize("way", ["one", "batch"])
def test_small_eigenvalues_count_where_all_pivots_are_large(way):
    # A triangle of Kahan's: its pivots end at 1e-8, its smallest eigenvalue is nothing.
    sine = np.sqrt(1e-8 ** (1 / (SIZE - 1)))
    above = np.sqrt(1 - sine**2) * np.triu(np.ones((SIZE, SIZE)), 1)
    root = np.diag(sine ** np.arange(SIZE)) @ (np.eye(SIZE) - above)
    matrix, held = root.T @ root, np.zeros(SIZE, bool)
    width = np.sqrt(np.diagonal(matrix))
    pivots = np.diagonal(np.linalg.cholesky(matrix / width / width[:, None])) ** 2
    assert pivots.min() > 1e-9
    if way == "batch":
        matrix, held = matrix[None], held[None]
    assert np.isnan(covariance_of(matrix, held)).all()


def test_what_is_remembered_cannot_be_spoiled():
    hessian = frozen(hessian_of(3))
    first = covariance_of(hessian, HELD)
    wanted = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(covariance_of(hessian, HELD), wanted)
    other = covariance_of(hessian, ~HELD)
    assert other[3, 3] == 1 / hessian[3, 3]
    assert np.count_nonzero(other) == 1


def test_views_of_what_can_be_written_to_are_inverted_again():
    source = hessian_of(4)
    view = source.view()
    view.setflags(write=False)
    first = covariance_of(view, HELD)
    source *= 4
    np.testing.assert_allclose(covariance_of(view, HELD), first / 4, rtol=1e-12)


def test_it_is_forgotten_with_its_hessian():
    hessian = frozen(hessian_of(5))
    covariance_of(hessian, HELD)
    number = id(hessian)
    assert number in covariance._known
    del hessian
    gc.collect()
    assert number not in covariance._known


@pytest.mark.slow
def test_the_derivative_is_that_of_the_inverse():
    matrix, change = jnp.asarray(hessian_of(6)), jnp.asarray(hessian_of(7))
    scale = 1 / jnp.sqrt(jnp.diagonal(matrix))
    matrix = scale[:, None] * matrix * scale[None]
    change = change / jnp.max(jnp.abs(change))
    held = jnp.asarray(HELD)
    _, found = jax.jvp(lambda h: covariance_of(h, held), (matrix,), (change,))
    covariance = by_inverse(np.asarray(matrix))
    np.testing.assert_allclose(
        found, -covariance @ change @ covariance, atol=1e-10 * np.max(np.abs(found))
    )
