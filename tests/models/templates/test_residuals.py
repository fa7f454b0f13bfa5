"""The chi2 of fitted data, against Pearson's chi2 with pulls and the saturated test."""

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.goodness import saturated_test
from everwillow.mappings import Select, mapping_chi2, postfit, residual_chi2
from everwillow.models.templates import TemplateBuilder
from everwillow.uncertainty import covariance_matrix


SHAPES = np.array([[60.0, 20, 5], [20, 60, 20], [5, 20, 60], [5, 10, 40]])


@pytest.fixture(scope="module")
def three():
    """Three free strengths in four bins: one degree of freedom."""
    builder = TemplateBuilder()
    builder.add_channel([("x", np.arange(5.0))], "c")
    for j, shape in enumerate(SHAPES.T):
        builder.add_process(shape, f"s{j}", "c", signal=True, variances=0 * shape)
    builder.add_data(SHAPES.sum(1), "c")
    return builder.build(statistics=None)


@pytest.mark.slow
def test_fitted_strengths_are_no_degrees_of_freedom(three):
    """In toys p-values are uniform: 48 % were above 0.95 with two too many."""
    rng, model = np.random.default_rng(1), three
    pvalues = []
    for _ in range(200):
        counts = rng.poisson(SHAPES.sum(1)).astype(float)
        data = {**model.observation, "main": {"counts": counts}}
        result = ew.fit(model, observation=data)
        found = residual_chi2(Select("c"), model, result, observation=data)
        wanted = saturated_test(model, result, data)
        assert found.ndof == wanted.ndof == 1 + np.sum(result.at_bound) or (
            np.any(result.at_bound)
        )
        expected = np.asarray(model.yields(result.params, data)["c"])
        pearson = np.sum((counts - expected) ** 2 / expected)
        np.testing.assert_allclose(found.statistic, pearson, rtol=1e-6, atol=1e-7)
        pvalues.append(float(found.pvalue))
    fractions = [np.mean(np.less(pvalues, level)) for level in (0.05, 0.5, 0.95)]
    np.testing.assert_allclose(fractions, [0.05, 0.5, 0.95], atol=0.08)


@pytest.mark.slow
def test_it_is_the_chi2_of_a_mapping_with_the_expected_covariance(three):
    counts = np.array([80.0, 110, 79, 61])
    data = {**three.observation, "main": {"counts": counts}}
    result = ew.fit(three, observation=data)
    fisher = covariance_matrix(three, result, data, kind="fisher")
    options = {"covariance": fisher, "factor": True, "observation": data}
    mapping = postfit(Select("c"), three, result, **options)
    variance = np.asarray(three.yields(result.params, data)["c"])
    wanted = mapping_chi2(mapping, counts, variance, relation="fitted")
    found = residual_chi2(Select("c"), three, result, observation=data)
    np.testing.assert_allclose(found.statistic, wanted.statistic, rtol=1e-6)
    assert found.ndof == wanted.ndof == 1


@pytest.mark.slow
def test_far_from_linear():
    """0, 4 and 30 events where 6, 4 and 30 are expected: it was 30.6 for 3."""
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1, 2, 3])], "c")
    signal, background = np.array([3.0, 2, 10]), np.array([3.0, 2, 20])
    builder.add_process(signal, "s", "c", signal=True, variances=0 * signal)
    builder.add_process(background, "b", "c", variances=0 * background)
    builder.add_norm_systematic("u", "b", "c", 1.1)
    data = np.array([0.0, 4, 30])
    builder.add_data(data, "c")
    model = builder.build(statistics=None)
    result = ew.fit(model)
    found = residual_chi2(Select("c"), model, result)
    expected = result.params["s"] * signal + 1.1 ** result.params["u"] * background
    pulls = np.sum((data - expected) ** 2 / expected) + result.params["u"] ** 2
    np.testing.assert_allclose(found.statistic, pulls, rtol=1e-6)
    assert found.ndof == saturated_test(model, result).ndof == 2


@pytest.mark.slow
def test_correlated_data_and_likelihoods_from_elsewhere():
    """Linear and Gaussian, it is the saturated chi2: twice -ln L above its least."""
    builder = TemplateBuilder()
    builder.add_channel([("x", np.arange(4.0))], "c")
    signal, flat = np.array([30.0, 50, 20]), np.array([100.0, 90, 80])
    builder.add_process(signal, "s", "c", signal=True, variances=0 * signal)
    builder.add_process(flat, "b", "c", variances=[40.0, 30.0, 50.0])
    builder.add_data([150.0, 130, 90], "c")
    covariance = np.diag([150.0, 130, 90]) + 40.0
    builder.add_data_covariance(covariance)
    builder.add_external_likelihood((["s"], [-8.0]), (["s"], [[8.0]]))
    for kind in ("additive", None):
        model = builder.build(likelihood="covariance", statistics=kind)
        result = ew.fit(model)
        found = residual_chi2(Select("c"), model, result)
        wanted = saturated_test(model, result)
        np.testing.assert_allclose(found.statistic, wanted.statistic, rtol=1e-7)
        assert found.ndof == wanted.ndof == 3


@pytest.mark.slow
@pytest.mark.parametrize("per_process", [False, True])
def test_added_events_need_no_yield(per_process):
    """A yield of 0 with a variance is the limit of small yields with it."""
    values = []
    for tiny in (0.0, 1e-9):
        builder = TemplateBuilder()
        builder.add_channel([("x", [0.0, 1, 2])], "c")
        builder.add_process([20.0, 0], "s", "c", signal=True, variances=[9.0, 0])
        builder.add_process([30.0, tiny], "b", "c", variances=[16.0, 2.0])
        builder.add_data([55.0, 1.0], "c")
        model = builder.build(statistics="additive", per_process=per_process)
        result = ew.fit(model)
        values.append(
            (result.nll, *model.yields(result.params, model.observation)["c"])
        )
        # Of N = sqrt(2) b with 1 event and b**2 / 2: N**2 / 2 + N - 1 = 0.
        np.testing.assert_allclose(values[-1][2], np.sqrt(3) - 1, rtol=1e-6)
        per = model.yields(result.params, model.observation).values
        np.testing.assert_allclose(per[:, 1], [0.0, np.sqrt(3) - 1], atol=1e-6)
    np.testing.assert_allclose(*values, rtol=1e-8)
    assert jax.numpy.isfinite(values[0][0])
