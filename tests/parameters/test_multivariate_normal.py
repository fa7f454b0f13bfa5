"""The joint Gaussian constraint of several parameters."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
import scipy.stats

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
)
from everwillow.parameters import MultivariateNormal, Normal
from tests.helpers import finite_difference_gradient, tree_allclose


KEYS = ("lumi", "scale", "tune")
MEAN = np.array([1.0, 0.0, -3.0])
WIDTHS = np.array([0.02, 1.0, 300.0])
CORRELATION = np.array([[1.0, 0.3, -0.2], [0.3, 1.0, 0.6], [-0.2, 0.6, 1.0]])
COVARIANCE = CORRELATION * np.outer(WIDTHS, WIDTHS)


@pytest.fixture
def joint():
    return MultivariateNormal(KEYS, MEAN, COVARIANCE)


def test_it_is_the_joint_density(joint):
    rng = np.random.default_rng(5)
    for _ in range(5):
        value = MEAN + WIDTHS * rng.normal(size=3)
        aux = MEAN + WIDTHS * rng.normal(size=3)
        expected = -scipy.stats.multivariate_normal(value, COVARIANCE).logpdf(aux)
        # The reference does not scale, and the condition of the matrix is 5e8.
        np.testing.assert_allclose(joint.nll(value, aux), expected, rtol=1e-10)


def test_without_correlations_it_is_a_product_of_normals():
    joint = MultivariateNormal(KEYS, MEAN, np.diag(WIDTHS**2))
    value = MEAN + 0.7 * WIDTHS
    expected = sum(
        Normal(m, w).nll(v, m) for m, w, v in zip(MEAN, WIDTHS, value, strict=True)
    )
    np.testing.assert_allclose(joint.nll(value, joint.aux), expected, rtol=1e-14)
    np.testing.assert_array_equal(joint.width, WIDTHS)
    np.testing.assert_array_equal(joint.center, MEAN)


def test_one_parameter_is_a_normal():
    joint = MultivariateNormal(["a"], [2.0], [[0.25]])
    expected = Normal(2.0, 0.5).nll(2.9, 2.1)
    np.testing.assert_allclose(joint.nll([2.9], [2.1]), expected, rtol=1e-14)


def test_the_hessian_is_the_inverse_covariance(joint):
    hessian = jax.hessian(joint.nll)(jnp.asarray(MEAN), joint.aux)
    # Compared as correlations: the elements are of very different sizes.
    scaled = np.asarray(hessian) * np.outer(WIDTHS, WIDTHS)
    np.testing.assert_allclose(scaled, np.linalg.inv(CORRELATION), rtol=1e-13)


def test_the_gradient_agrees_with_finite_differences(joint):
    def nll(pulls):
        return joint.nll(MEAN + WIDTHS * pulls[0], MEAN + WIDTHS * pulls[1])

    pulls = jnp.array([[0.3, -0.4, 1.0], [1.3, 0.1, -0.7]])
    expected = finite_difference_gradient(nll, pulls)
    np.testing.assert_allclose(jax.grad(nll)(pulls), expected, rtol=1e-9)


def test_samples_have_its_mean_and_covariance(joint):
    count = 20_000
    value = jnp.array([1.1, 0.5, 100.0])
    keys = jr.split(jr.key(2), count)
    draws = np.asarray(jax.vmap(joint.sample, (None, 0))(value, keys))
    pulls = (draws - np.asarray(value)) / WIDTHS
    # Four standard errors: 1/sqrt(n) for a mean, sqrt((1 + rho^2) / n) for a moment.
    assert np.all(np.abs(pulls.mean(axis=0)) < 4 / np.sqrt(count))
    error = np.sqrt((1 + CORRELATION**2) / count)
    assert np.all(np.abs(np.cov(pulls.T) - CORRELATION) < 4 * error)


def test_jit_vmap_and_stacking(joint):
    other = MultivariateNormal(KEYS, MEAN + 1.0, 4.0 * COVARIANCE)
    assert jtu.tree_structure(joint) == jtu.tree_structure(other)
    stacked = jtu.tree_map(lambda *leaves: np.stack(leaves), joint, other)
    value = jnp.asarray(MEAN)
    expected = jnp.stack([one.nll(value, MEAN + 0.1) for one in (joint, other)])
    mapped = jax.vmap(lambda one: one.nll(value, MEAN + 0.1))
    assert tree_allclose(mapped(stacked), expected, rtol=1e-13)
    assert tree_allclose(jax.jit(mapped)(stacked), expected, rtol=1e-13)


def test_it_can_be_built_from_traced_numbers():
    def nll(rho):
        covariance = jnp.stack([jnp.stack([1.0, rho]), jnp.stack([rho, 1.0])])
        joint = MultivariateNormal(("a", "b"), [0.0, 0.0], covariance)
        return joint.nll(jnp.array([0.4, -0.3]), joint.aux)

    # d/d rho of (x^2 + y^2 - 2 rho x y) / (2 (1 - rho^2)) + ln(1 - rho^2) / 2
    rho, x, y = 0.3, 0.4, -0.3
    gap = 1 - rho**2
    expected = -x * y / gap + rho * (x**2 + y**2 - 2 * rho * x * y) / gap**2 - rho / gap
    np.testing.assert_allclose(jax.jit(jax.grad(nll))(rho), expected, rtol=1e-12)
    concrete = MultivariateNormal(("a", "b"), [0.0, 0.0], [[1.0, rho], [rho, 1.0]])
    np.testing.assert_allclose(
        jax.jit(nll)(rho), concrete.nll([x, y], [0.0, 0.0]), rtol=1e-14
    )


def test_parameters_of_very_different_size_lose_no_digits():
    widths = np.array([1e-9, 1.0, 1e9])
    joint = MultivariateNormal(
        KEYS, np.zeros(3), CORRELATION * np.outer(widths, widths)
    )
    unit = MultivariateNormal(KEYS, np.zeros(3), CORRELATION)
    pulls = np.array([0.5, -1.0, 2.0])
    expected = unit.nll(pulls, unit.aux) + np.sum(np.log(widths))
    np.testing.assert_allclose(
        joint.nll(pulls * widths, joint.aux), expected, rtol=1e-13
    )


def test_the_covariance_is_copied_and_made_exactly_symmetric():
    covariance = COVARIANCE.copy()
    covariance[0, 1] *= 1 + 1e-10
    joint = MultivariateNormal(KEYS, MEAN, covariance)
    np.testing.assert_array_equal(joint.covariance, np.transpose(joint.covariance))
    covariance[0, 0] = 7.0
    assert np.asarray(joint.covariance)[0, 0] == COVARIANCE[0, 0]


def test_a_matrix_that_is_not_symmetric():
    covariance = COVARIANCE.copy()
    covariance[0, 2] *= 1.1
    with pytest.raises(ArgumentValueError, match=r"symmetric.*'lumi', 'tune'"):
        MultivariateNormal(KEYS, MEAN, covariance)


def test_a_matrix_that_is_not_positive_definite_names_the_direction():
    # Pairs that agree with a third but not with each other.
    correlation = np.eye(4)
    correlation[1, 2] = correlation[2, 1] = 0.9
    correlation[1, 3] = correlation[3, 1] = 0.9
    correlation[2, 3] = correlation[3, 2] = -0.9
    with pytest.raises(NotPositiveDefiniteError) as error:
        MultivariateNormal(("a", "b", "c", "d"), np.zeros(4), correlation)
    message = str(error.value)
    assert "eigenvalue -0.8" in message
    for key in ("'b'", "'c'", "'d'"):
        assert key in message
    assert "'a'" not in message


@pytest.mark.parametrize("size", [2, 5, 40])
def test_complete_correlation_is_refused_whatever_its_rounding(size):
    widths = np.geomspace(1e-3, 1e3, size)
    keys = [f"p{i}" for i in range(size)]
    with pytest.raises(NotPositiveDefiniteError, match="share it instead"):
        MultivariateNormal(keys, np.zeros(size), np.outer(widths, widths))


def test_nearly_complete_correlation_is_accepted():
    gap = 1e-10
    rho = 1.0 - gap
    joint = MultivariateNormal(("a", "b"), np.zeros(2), [[1.0, rho], [rho, 1.0]])
    # Along (1, -1) / sqrt(2) the variance is 1 - rho, known to an ulp over the gap.
    value = np.sqrt(gap / 2) * np.array([1.0, -1.0])
    nll = joint.nll(value, joint.aux) - joint.nll(np.zeros(2), joint.aux)
    np.testing.assert_allclose(nll, 0.5, rtol=1e-5)


@pytest.mark.parametrize(
    ("keys", "mean", "covariance", "error", "message"),
    [
        ("ab", [0.0, 0.0], np.eye(2), ArgumentTypeError, "sequence of keys, got 'ab'"),
        (("a", "a"), [0.0, 0.0], np.eye(2), KeyCollisionError, "'a' twice"),
        ((), [], np.eye(0), ArgumentValueError, "got none"),
        (("a", "b"), [0.0], np.eye(2), ShapeMismatchError, r"mean has shape \(1,\)"),
        (
            ("a", "b"),
            [0.0, 0.0],
            np.eye(3),
            ShapeMismatchError,
            r"2 keys need \(2, 2\)",
        ),
        (("a",), [np.nan], np.eye(1), ArgumentValueError, "mean must be finite"),
        (("a",), [0.0], [[np.inf]], ArgumentValueError, "covariance must be finite"),
        (("a", "b"), [0.0, 0.0], np.diag([1.0, 0.0]), NotPositiveDefiniteError, "'b'"),
    ],
)
def test_bad_arguments(keys, mean, covariance, error, message):
    with pytest.raises(error, match=message):
        MultivariateNormal(keys, mean, covariance)


def test_values_of_the_wrong_shape(joint):
    for shape in [(), (1,), (2,), (2, 3)]:
        with pytest.raises(
            ShapeMismatchError, match="one number for each of the 3 keys"
        ):
            joint.nll(jnp.ones(shape), 0.0)
        with pytest.raises(
            ShapeMismatchError, match="one number for each of the 3 keys"
        ):
            joint.sample(jnp.ones(shape), jr.key(0))
