"""Test statistics: closed forms of Gaussian data, and what must not go wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest import Q0, QMu, QTilde, TestStatistic, TMu, TMuTilde
from tests.helpers import finite_difference_gradient, tree_allclose
from tests.hypotest.models import (
    GAUSSIAN_DATA,
    GAUSSIAN_START,
    gaussian,
    gaussian_prediction,
    quadratic,
    uncorrelated_background,
)


def data(mu_hat):
    return {"x": np.float64(mu_hat + 0.2), "a": np.float64(0.2)}


def compute(statistic, mu_hat, poi, **options):
    return statistic.compute(
        gaussian, GAUSSIAN_START, data(mu_hat), "mu", poi, **options
    )


def positive(mu_hat, mu):
    """-2 ln(lambda tilde), eq. (10)."""
    return quadratic(mu_hat, mu) - quadratic(mu_hat, 0) * (mu_hat < 0)


CLOSED_FORMS = {
    "TMu": (TMu(), quadratic),
    "TMuTilde": (TMuTilde(), positive),
    "QMu": (QMu(), lambda hat, mu: quadratic(hat, mu) * (hat <= mu)),
    "QTilde": (QTilde(), lambda hat, mu: positive(hat, mu) * (hat <= mu)),
    "Q0": (Q0(), lambda hat, mu: quadratic(hat, 0) * (hat >= 0)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("mu_hat", [-0.8, 0.4, 2.5])
def test_closed_form(name, mu_hat):
    statistic, formula = CLOSED_FORMS[name]
    result = compute(statistic, mu_hat, 1.5)
    np.testing.assert_allclose(result.value, formula(mu_hat, 1.5), atol=1e-9)
    np.testing.assert_allclose(result.extras["mu_hat"], mu_hat, atol=1e-8)
    assert result.test == (0.0 if name == "Q0" else 1.5)
    assert result.q_asimov is None


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_asimov_data_of_a_prediction(name):
    statistic, _ = CLOSED_FORMS[name]
    result = compute(statistic, 0.4, 1.5, predict_fn=gaussian_prediction, mu_asimov=0.0)
    distance = 1.0 if name == "Q0" else 1.5
    np.testing.assert_allclose(result.q_asimov, quadratic(0, distance), rtol=1e-9)
    fits = ("fit_free", "fit_constrained", "asimov_fit_free", "asimov_fit_constrained")
    for key in fits:
        assert result.extras[key].success
    asimov = result.extras["asimov_fit_free"].params
    expected = 1.0 if name == "Q0" else 0.0
    np.testing.assert_allclose(asimov["mu"], expected, atol=1e-9)


def test_asimov_data_that_are_given():
    asimov = {"x": np.float64(0.0), "a": np.float64(0.0)}
    result = compute(QTilde(), 0.4, 1.5, asimov_observation=asimov)
    np.testing.assert_allclose(result.q_asimov, quadratic(0, 1.5), rtol=1e-9)


def test_nuisance_parameters_of_asimov_data():
    def prediction(state):
        seen.append(state["theta"])
        return gaussian_prediction(state)

    seen = []
    for nuisances in ("a posteriori", "a priori"):
        compute(QTilde(), 0.4, 1.5, predict_fn=prediction, nuisances=nuisances)
    # By hand: theta minimises (0.6 - theta)² + ((0.2 - theta) / 0.75)².
    profiled = (0.6 + 0.2 / 0.75**2) / (1 + 1 / 0.75**2)
    np.testing.assert_allclose(seen, [profiled, 0.0], atol=1e-9)
    with pytest.raises(ew.EverwillowError, match="a priori"):
        compute(QTilde(), 0.4, 1.5, nuisances="posterior")


@pytest.mark.slow
def test_a_best_fit_at_zero_is_made_only_where_it_is_needed():
    assert compute(QTilde(), 0.4, 1.5).extras["fit_zero"] is None
    zero = compute(QTilde(), -0.4, 1.5).extras["fit_zero"]
    assert zero.params["mu"] == 0.0
    bounds = {"mu": ew.Interval(0.0, 5.0)}
    bounded = compute(QTilde(), -0.4, 1.5, bounds=bounds)
    assert bounded.extras["fit_zero"] is None
    assert bounded.extras["mu_hat"] == 0.0
    np.testing.assert_allclose(bounded.value, positive(-0.4, 1.5), rtol=1e-9)


@pytest.mark.parametrize(
    "statistic", [QTilde(), TMuTilde()], ids=["QTilde", "TMuTilde"]
)
def test_traced_and_batched_values_are_the_eager_ones(statistic):
    hats = np.array([-0.8, 0.4, 2.5])
    options = {"predict_fn": gaussian_prediction}

    def both(mu_hat, poi):
        observation = {"x": mu_hat + 0.2, "a": jnp.asarray(0.2)}
        result = statistic.compute(
            gaussian, GAUSSIAN_START, observation, "mu", poi, **options
        )
        return result.value, result.q_asimov, result.extras["mu_hat"]

    batch = jax.jit(jax.vmap(both, in_axes=(0, None)))(hats, 1.5)
    for i, hat in enumerate(hats):
        eager = compute(statistic, hat, 1.5, **options)
        one = eager.value, eager.q_asimov, eager.extras["mu_hat"]
        assert tree_allclose([b[i] for b in batch], list(one), rtol=1e-9, atol=1e-9)


MODEL = uncorrelated_background(bounds=(-5.0, 10.0))


def q_and_asimov(inputs):
    """Test statistics as a function of the tested value and the data."""
    observation = {**MODEL.observation, "main": inputs["data"]}
    result = QTilde().compute(
        MODEL, None, observation, "mu", inputs["poi"], predict_fn=MODEL.asimov
    )
    return jnp.stack([result.value, result.q_asimov])


# Compiled once for all data.
VALUES = jax.jit(q_and_asimov)
SLOPES = jax.jit(jax.jacrev(q_and_asimov))


@pytest.mark.slow
@pytest.mark.parametrize("data", [(51.0, 48.0), (58.0, 57.0)], ids=["below", "inside"])
def test_derivatives_are_finite_differences(data):
    inputs = {"poi": jnp.asarray(1.3), "data": jnp.array(data)}
    slopes = SLOPES(inputs)
    for i in range(2):
        expected = finite_difference_gradient(lambda v, i=i: VALUES(v)[i], inputs)
        found = jax.tree.map(lambda leaf, i=i: leaf[i], slopes)
        assert tree_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_derivative_in_the_tested_value_is_the_envelope():
    inputs = {"poi": jnp.asarray(1.3), "data": jnp.array([58.0, 57.0])}
    result = QTilde().compute(
        MODEL, None, {**MODEL.observation, "main": np.array([58.0, 57.0])}, "mu", 1.3
    )
    held = result.extras["fit_constrained"].params
    partial = jax.grad(
        lambda mu: MODEL.nll(
            {**held.to_pytree(), "mu": mu},
            {**MODEL.observation, "main": inputs["data"]},
        )
    )(1.3)
    slope = SLOPES(inputs)["poi"][0]
    np.testing.assert_allclose(slope, 2 * partial, rtol=1e-8)


def double_well(params, data):
    """-ln L with a local minimum near 0 and a lower one near 3, in mu."""
    mu, theta = params["mu"], params["theta"]
    well = 0.5 * mu**2 * (mu - 3.0) ** 2 - data * mu
    return well + 0.5 * theta**2


@pytest.mark.slow
def test_a_local_minimum_of_the_free_fit_is_left():
    start = ew.State.from_pytree({"mu": 0.0, "theta": 0.1})
    result = TMu().compute(double_well, start, 0.5, "mu", 2.5)
    best = result.extras["fit_free"]
    assert best.params["mu"] > 2.9
    lowest = min(
        double_well({"mu": m, "theta": 0.0}, 0.5) for m in np.linspace(2, 4, 4001)
    )
    at_test = double_well({"mu": 2.5, "theta": 0.0}, 0.5)
    np.testing.assert_allclose(result.value, 2 * (at_test - lowest), rtol=1e-5)

    def traced(data):
        return TMu().compute(double_well, start, data, "mu", 2.5).value

    values = jax.jit(jax.vmap(traced))(jnp.array([0.5, 0.4]))
    np.testing.assert_allclose(values[0], result.value, rtol=1e-9)


def no_minimum(params, data):
    return data * params["mu"] + 0.5 * params["theta"] ** 2


@pytest.mark.slow
def test_a_fit_that_failed_is_nan_and_keeps_its_status():
    start = ew.State.from_pytree({"mu": 0.0, "theta": 0.1})
    result = QMu().compute(no_minimum, start, 1.0, "mu", 1.0, max_steps=20)
    assert np.isnan(result.value)
    assert not result.extras["fit_free"].success
    assert result.extras["fit_constrained"].success
    with pytest.raises(ew.FitError):
        QMu().compute(no_minimum, start, 1.0, "mu", 1.0, max_steps=20, throw=True)


def test_second_call_traces_nothing():
    traces = []

    def counted(params, observation):
        traces.append(0)
        return gaussian(params, observation)

    def run(x, poi):
        observation = {"x": np.float64(x), "a": np.float64(0.2)}
        QTilde().compute(
            counted,
            GAUSSIAN_START,
            observation,
            "mu",
            poi,
            predict_fn=gaussian_prediction,
        )

    run(0.4, 1.0)
    before = len(traces)
    run(-0.7, 1.5)
    run(2.7, 0.5)
    assert len(traces) == before


def test_inputs_stay_what_they_are():
    state, observation = dict(GAUSSIAN_START), dict(GAUSSIAN_DATA)
    QTilde().compute(gaussian, GAUSSIAN_START, GAUSSIAN_DATA, "mu", 1.0)
    assert dict(GAUSSIAN_START) == state
    assert observation == GAUSSIAN_DATA


@pytest.mark.parametrize(
    ("poi_key", "poi", "options", "error", "words"),
    [
        ("mux", 1.0, {}, KeyError, "'mu'"),
        ("mu", np.inf, {}, ValueError, "finite"),
        ("mu", 7.0, {"bounds": {"mu": ew.Interval(0.0, 5.0)}}, ValueError, r"\[0, 5\]"),
        ("mu", 1.0, {"fixed": {"mu": ...}}, ValueError, "'mu' is fixed"),
    ],
)
def test_bad_input(poi_key, poi, options, error, words):
    with pytest.raises(error, match=words) as caught:
        QTilde().compute(
            gaussian, GAUSSIAN_START, GAUSSIAN_DATA, poi_key, poi, **options
        )
    assert isinstance(caught.value, ew.EverwillowError)


@pytest.mark.slow
def test_a_poi_of_many_elements_has_to_be_named():
    with pytest.raises(ValueError, match=r"gamma\[0\]"):
        QMu().compute(MODEL, None, None, "gamma", 1.0)
    one = QMu().compute(MODEL, None, None, "gamma[1]", 1.0)
    assert np.isfinite(one.value)


class Distance(TestStatistic):
    def _compute(self, nll_fn, params, observation, poi_key, poi_test, **fit_kwargs):
        del nll_fn, params, fit_kwargs
        return jnp.abs(observation - poi_test), {"what": poi_key}


def test_a_test_statistic_of_ones_own():
    result = Distance().compute(None, None, 3.0, "mu", 1.0)
    assert result.value == 2.0
    assert result.test == 1.0
    assert result.extras == {"what": "mu"}
