"""Values of mappings against data, by Woodbury's formula."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import tests.impacts.models as cases
from everwillow.mappings import mapping_chi2, postfit, prefit
from everwillow.parameters import Normal


@pytest.fixture(scope="module")
def mapping():
    return postfit(None, cases.LINEAR, ew.fit(cases.LINEAR), factor=True)


VARIANCE = cases.SIGMA**2
SPREAD = cases.DESIGN @ cases.COVARIANCE @ cases.DESIGN.T


@pytest.mark.slow
def test_independent_data(mapping):
    data = np.array([0.5, 2.0, 5.0, 3.0, 1.0])
    r = data - mapping.values
    out = mapping_chi2(mapping, data, VARIANCE)
    by_hand = r @ np.linalg.solve(np.diag(VARIANCE) + SPREAD, r)
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-9)
    assert out.ndof == 5
    assert "ndof=5" in repr(out)


@pytest.mark.slow
def test_correlated_data(mapping):
    data = np.array([0.5, 2.0, 5.0, 3.0, 1.0])
    r = data - mapping.values
    V = np.diag(VARIANCE) + 0.1
    out = mapping_chi2(mapping, data, V)
    by_hand = r @ np.linalg.solve(V + SPREAD, r)
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-9)


def test_the_data_of_the_fit(mapping):
    r = cases.DATA - mapping.values
    values, vectors = np.linalg.eigh(np.diag(VARIANCE) - SPREAD)
    by_hand = np.sum((vectors.T @ r)[-2:] ** 2 / values[-2:])
    out = mapping_chi2(mapping, cases.DATA, VARIANCE, relation="fitted")
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-6)
    assert out.ndof == 2
    np.testing.assert_allclose(out.pvalue, np.exp(-by_hand / 2), rtol=1e-6)
    one = mapping_chi2(mapping, cases.DATA, VARIANCE, relation="fitted", ndof=1)
    assert one.pvalue < out.pvalue


def test_too_small_variances_give_no_number(mapping):
    out = mapping_chi2(mapping, cases.DATA, 0.5 * VARIANCE, relation="fitted")
    assert np.isnan(out.statistic)
    assert np.isnan(out.pvalue)


def test_unknown_errors_give_no_number(mapping):
    unknown = eqx.tree_at(lambda m: m.factor, mapping, mapping.factor * np.nan)
    for relation in ("fitted", "independent"):
        out = mapping_chi2(unknown, cases.DATA, VARIANCE, relation=relation)
        assert np.isnan(out.statistic)
        assert np.isnan(out.pvalue)


def test_many_values_need_no_matrix_of_pairs():
    """A dense matrix of so many values would take 20 GB."""
    size = 50_000
    x = np.linspace(0.0, 1.0, size)
    model = ew.Model(
        cases.linear_nll,
        {"a": 0.0, "b": 0.0},
        np.zeros(size),
        constraints={"a": Normal(0.0, 1.0), "b": Normal(0.0, 2.0)},
        expected=lambda p: {"y": p["a"] + p["b"] * x},
    )
    mapping = prefit(None, model, factor=True)
    np.testing.assert_allclose(mapping.errors["y"], np.sqrt(1 + 4 * x**2), rtol=1e-12)
    out = mapping_chi2(mapping, {"y": 1.0 + 2.0 * x}, {"y": np.ones(size)})
    # The data are one deviation of each parameter: as an exact measurement, 1 + 1.
    np.testing.assert_allclose(out.statistic, 2, rtol=1e-3)


def test_the_same_under_jit(mapping):
    def statistic(shift):
        return mapping_chi2(mapping, cases.DATA + shift, VARIANCE).statistic

    eager = statistic(0.3)
    np.testing.assert_allclose(jax.jit(statistic)(0.3), eager, rtol=1e-12)
    step = 1e-5
    difference = (statistic(0.3 + step) - statistic(0.3 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(statistic)(0.3), difference, rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "variance", "options", "error", "words"),
    [
        ({"y": cases.DATA}, VARIANCE, {}, ValueError, "structure"),
        (cases.DATA[:3], VARIANCE, {}, ValueError, r"\(3,\)"),
        (cases.DATA, VARIANCE[:3], {}, ValueError, "3 variances"),
        (cases.DATA, VARIANCE, {"relation": "x"}, ValueError, "'fitted'"),
    ],
)
def test_bad_arguments_are_refused(mapping, data, variance, options, error, words):
    with pytest.raises(error, match=words) as caught:
        mapping_chi2(mapping, data, variance, **options)
    assert isinstance(caught.value, ew.EverwillowError)


def test_without_a_factor():
    with pytest.raises(ValueError, match="factor=True"):
        mapping_chi2(prefit(None, cases.LINEAR), cases.DATA, jnp.asarray(VARIANCE))
