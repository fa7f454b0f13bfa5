"""chi2 tests, p-values from toys, and pulls of the data."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew
import tests.impacts.models as cases
from everwillow.goodness import chi2_test, data_pulls, toy_pvalue, yield_chi2


@pytest.fixture(scope="module")
def linear():
    return ew.fit(cases.LINEAR)


VARIANCE = cases.SIGMA**2
FOLLOWS = cases.DESIGN @ cases.COVARIANCE @ cases.DESIGN.T


def residuals(result):
    x = np.array([result.params[key] for key in cases.KEYS])
    return cases.DATA - cases.DESIGN @ x


def test_a_full_covariance():
    V = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.2], [0.0, -0.2, 0.5]])
    r = np.array([1.0, -0.5, 0.7])
    out = chi2_test(r, V)
    np.testing.assert_allclose(out.statistic, r @ np.linalg.solve(V, r), rtol=1e-12)
    assert out.ndof == 3
    variances = chi2_test(r, np.diag(V))
    np.testing.assert_allclose(variances.statistic, np.sum(r**2 / np.diag(V)))


@pytest.mark.parametrize(
    ("statistic", "ndof", "pvalue"),
    [
        # erfc(sqrt(q/2)), exp(-q/2) and exp(-q/2) (1 + q/2).
        (1.0, 1, 0.31731050786291415),
        (9.0, 1, 0.0026997960632601866),
        (3.0, 2, np.exp(-1.5)),
        (8.0, 4, 5 * np.exp(-4.0)),
        (0.0, 3, 1.0),
    ],
)
def test_pvalues(statistic, ndof, pvalue):
    out = chi2_test(np.array([np.sqrt(statistic)]), np.ones(1), ndof=ndof)
    np.testing.assert_allclose(out.pvalue, pvalue, rtol=1e-10)


def test_shapes_of_unit_area_have_one_direction_less():
    """Counts divided by their sum: the covariance is singular."""
    n = np.array([20.0, 50.0, 30.0])
    total = n.sum()
    J = np.eye(3) / total - n[:, None] / total**2
    V = J @ np.diag(n) @ J.T
    away = np.array([0.02, -0.03, 0.01])
    out = chi2_test(away, V)
    assert out.ndof == 2
    np.testing.assert_allclose(out.statistic, total**2 * np.sum(away**2 / n), rtol=1e-9)
    assert chi2_test(away + 0.01, V).statistic == np.inf
    assert chi2_test(away + 0.01, V).pvalue == 0


def test_what_is_no_covariance_gives_no_number():
    out = chi2_test(np.ones(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
    assert np.isnan(out.statistic)
    assert np.isnan(out.pvalue)
    assert np.isnan(chi2_test(np.ones(2), np.array([1.0, np.nan])).statistic)
    with pytest.raises(ValueError, match=r"\(n, n\)"):
        chi2_test(np.ones(2), np.ones(3))


@pytest.mark.slow
def test_the_residuals_of_a_fit(linear):
    r = residuals(linear)
    matrix = np.diag(VARIANCE) - FOLLOWS
    values, vectors = np.linalg.eigh(matrix)
    # a, b, c are constrained; d, mu and nu take one direction each.
    assert np.sum(values > 1e-10) == 2
    along = (vectors.T @ r)[-2:]
    by_hand = np.sum(along**2 / values[-2:])
    out = yield_chi2(cases.LINEAR, linear, data_variance=VARIANCE)
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-6)
    assert out.ndof == 2


@pytest.mark.slow
def test_independent_data(linear):
    r = residuals(linear)
    out = yield_chi2(
        cases.LINEAR, linear, data_variance=VARIANCE, relation="independent"
    )
    by_hand = r @ np.linalg.solve(np.diag(VARIANCE) + FOLLOWS, r)
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-8)
    assert out.ndof == 5


@pytest.mark.slow
def test_the_chi2_of_counts_has_the_right_degrees_of_freedom():
    result = ew.fit(cases.COUNTING)
    out = yield_chi2(cases.COUNTING, result)
    # 3 bins, and mu is not constrained.
    assert out.ndof == 2
    assert 0 < out.statistic < 10


def test_statistics_of_fits_follow_chi2():
    """Mean and variance of the statistic over pseudo-data are n and 2n."""

    def statistic(key):
        first, second = jr.split(key)
        y = cases.SIGMA * jr.normal(first, (5,))
        pulls = jnp.linalg.cholesky(jnp.asarray(cases.PRIOR[:3, :3])) @ jr.normal(
            second, (3,)
        )
        rhs = cases.DESIGN.T @ (y / VARIANCE)
        x = cases.COVARIANCE @ rhs.at[:3].add(pulls)
        return chi2_test(y - cases.DESIGN @ x, np.diag(VARIANCE) - FOLLOWS).statistic

    toys = jax.jit(jax.vmap(statistic))(jr.split(jr.key(1), 4000))
    assert abs(np.mean(toys) - 2) < 5 * np.sqrt(4 / 4000)
    assert abs(np.var(toys) - 4) < 5 * np.sqrt(8 * 16 / 4000)


def test_toys_by_counting():
    out = toy_pvalue(2.0, np.array([0.5, 2.0, 3.0, np.nan, 1.0]))
    assert (out.at_least, out.valid, out.failed) == (2, 4, 1)
    assert out.pvalue == 0.5
    # Wilson: (k + 1/2 ± sqrt(k (n - k) / n + 1/4)) / (n + 1).
    np.testing.assert_allclose(
        [out.lower, out.upper], (2.5 + np.array([-1, 1]) * np.sqrt(1.25)) / 5
    )


def test_no_extreme_toy_is_no_proof():
    out = toy_pvalue(10.0, lambda: np.zeros(99))
    assert out.pvalue == 0
    np.testing.assert_allclose([out.lower, out.upper], [0, 0.01], atol=1e-12)


def test_toys_that_all_failed():
    assert np.isnan(toy_pvalue(1.0, np.full(3, np.nan)).pvalue)
    assert np.isnan(toy_pvalue(np.nan, np.ones(3)).pvalue)
    with pytest.raises(ValueError, match="at least one"):
        toy_pvalue(1.0, np.zeros(0))


def test_toys_under_jit():
    toys = np.array([0.5, 2.0, 3.0, np.nan, 1.0])
    eager, traced = toy_pvalue(1.5, toys), jax.jit(toy_pvalue)(1.5, toys)
    for a, b in zip(jax.tree.leaves(eager), jax.tree.leaves(traced), strict=True):
        np.testing.assert_allclose(a, b)


def test_pulls_of_a_linear_fit(linear):
    out = data_pulls(cases.LINEAR, linear, data_variance=VARIANCE)
    r = residuals(linear)
    np.testing.assert_allclose(out.residuals, r, rtol=1e-9)
    np.testing.assert_allclose(out.pulls, r / cases.SIGMA, rtol=1e-9)
    own = np.sqrt(VARIANCE - np.diag(FOLLOWS))
    np.testing.assert_allclose(out.standardised, r / own, rtol=1e-6)
    np.testing.assert_array_equal(out.deviances, out.pulls)


@pytest.mark.slow
def test_pulls_of_counts():
    result = ew.fit(cases.COUNTING)
    out = data_pulls(cases.COUNTING, result)
    n, nu = cases.COUNTS, np.asarray(cases.counting_expected(result.params))
    np.testing.assert_allclose(out.pulls, (n - nu) / np.sqrt(nu), rtol=1e-9)
    deviance = 2 * (nu - n + n * np.log(n / nu))
    np.testing.assert_allclose(out.deviances**2, deviance, rtol=1e-9)
    np.testing.assert_array_equal(np.sign(out.deviances), np.sign(n - nu))
    assert np.all(np.abs(out.standardised) > np.abs(out.pulls))


@pytest.mark.slow
def test_data_that_do_not_fluctuate_are_left_out():
    def nll(params, main):
        return 0.5 * jnp.sum((main["y"] - params["a"] * main["x"]) ** 2)

    x = np.array([1.0, 2.0])
    model = ew.Model(
        nll,
        {"a": 1.0},
        {"x": x, "y": np.array([1.5, 1.9])},
        expected=lambda p: {"x": x, "y": p["a"] * x},
    )
    result = ew.fit(model)
    out = data_pulls(model, result, data_variance={"x": None, "y": 1.0})
    assert out.pulls["x"] is None
    # In one direction the fit follows the data, in the other it cannot.
    np.testing.assert_allclose(np.abs(out.standardised["y"]), 0.49193495, rtol=1e-6)
    chi2 = yield_chi2(model, result, data_variance={"x": None, "y": 1.0})
    assert chi2.ndof == 1
    with pytest.raises(ValueError, match="there is no 'z' in the data"):
        yield_chi2(model, result, data_variance={"z": 1.0})


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        (cases.linear_nll, {}, TypeError, "expected a Model"),
        (cases.LINEAR, {"data_variance": "normal"}, ValueError, "'poisson'"),
        (cases.LINEAR, {"relation": "same"}, ValueError, "'fitted'"),
        (cases.LINEAR, {"data_variance": np.ones(3)}, ValueError, r"\(3,\)"),
    ],
)
def test_bad_arguments_are_refused(linear, model, options, error, words):
    with pytest.raises(error, match=words) as caught:
        yield_chi2(model, linear, **options)
    assert isinstance(caught.value, ew.EverwillowError)
