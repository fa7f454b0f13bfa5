"""The likelihood ratio to the saturated model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import tests.impacts.models as cases
from everwillow.goodness import saturated_test, yield_chi2
from everwillow.parameters import AbstractConstraint, Normal


@pytest.fixture(scope="module")
def linear():
    return ew.fit(cases.LINEAR)


@pytest.fixture(scope="module")
def counting():
    return ew.fit(cases.COUNTING)


@pytest.mark.slow
def test_counts_with_constraints_by_hand(counting):
    out = saturated_test(cases.COUNTING, counting)
    best = counting.params
    n, nu = cases.COUNTS, np.asarray(cases.counting_expected(best))
    main = 2 * np.sum(nu - n + n * np.log(n / nu))
    tau, gamma = np.array([400.0, 900.0, 200.0]), best["gamma"]
    poisson = 2 * np.sum(tau * gamma - tau - tau * np.log(gamma))
    gauss = ((best["norm"] - 1) / 0.1) ** 2 + best["tilt"] ** 2
    lognormal = (np.log(best["lumi"]) / np.log(1.03)) ** 2
    by_hand = main + poisson + gauss + lognormal
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-8)
    # 3 bins, 6 auxiliary observations, 7 free parameters.
    assert out.ndof == 2
    np.testing.assert_allclose(out.pvalue, np.exp(-by_hand / 2), rtol=1e-8)
    assert "ndof=2" in repr(out)


@pytest.mark.slow
def test_gaussian_data_by_hand(linear):
    out = saturated_test(cases.LINEAR, linear, data_variance=cases.SIGMA**2)
    x = np.array([linear.params[key] for key in cases.KEYS])
    center = np.array([0.1, -0.2, 0.3, 0, 0, 0])
    away = (cases.DATA - cases.DESIGN @ x) / cases.SIGMA
    by_hand = away @ away + (x - center) @ cases.PRIOR @ (x - center)
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-9)
    assert out.ndof == 5 + 3 - 6
    matrix = saturated_test(cases.LINEAR, linear, data_variance=np.diag(cases.SIGMA**2))
    np.testing.assert_allclose(matrix.statistic, by_hand, rtol=1e-9)


@pytest.mark.slow
def test_it_is_the_chi2_of_the_fitted_yields(linear):
    """In a linear Gaussian model the two are one."""
    variance = cases.SIGMA**2
    saturated = saturated_test(cases.LINEAR, linear, data_variance=variance)
    chi2 = yield_chi2(cases.LINEAR, linear, data_variance=variance)
    np.testing.assert_allclose(chi2.statistic, saturated.statistic, rtol=1e-6)
    assert chi2.ndof == saturated.ndof == 2


def test_empty_bins():
    def expected(params):
        return params["rate"] * jnp.array([1.0, 2.0])

    def nll(params, counts):
        return jnp.sum(expected(params)) - counts[1] * jnp.log(expected(params)[1])

    model = ew.Model(nll, {"rate": 1.0}, np.array([0.0, 6.0]), expected=expected)
    out = saturated_test(model, ew.fit(model))
    by_hand = 2 * (2.0 + 4.0 - 6.0 + 6.0 * np.log(6.0 / 4.0))
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-9)


@pytest.mark.slow
def test_a_saturated_likelihood_may_be_given(counting):
    n = np.asarray(cases.COUNTS, float)
    by_default = saturated_test(cases.COUNTING, counting)
    value = np.sum(n - n * np.log(n))
    for given in (value, lambda main: jnp.sum(main - main * jnp.log(main))):
        observation = {**cases.COUNTING.observation, "main": n}
        out = saturated_test(cases.COUNTING, counting, observation, saturated=given)
        np.testing.assert_allclose(out.statistic, by_default.statistic, rtol=1e-7)
        assert out.ndof == by_default.ndof


class Offset(ew.AbstractModel):
    """A model whose likelihood is zero where it is saturated."""

    state: ew.State
    bounds: dict
    fixed: dict
    constraints: dict
    observation: dict

    def main_nll(self, params, main):
        return 0.5 * jnp.sum((main - self.expected(params)) ** 2)

    def saturated_nll(self, main):
        return jnp.zeros(())

    def expected(self, params):
        return params["x"] * jnp.ones(3)

    def sample(self, params, key):
        raise NotImplementedError


def test_a_model_may_know_its_saturated_likelihood():
    state = ew.State.from_pytree({"x": 0.0})
    data = np.array([1.0, 2.0, 3.0])
    model = Offset(state, {}, {}, {}, {"main": data, "aux": {}})
    out = saturated_test(model, ew.fit(model))
    np.testing.assert_allclose(out.statistic, 2.0, rtol=1e-9)
    assert out.ndof == 2


@pytest.mark.slow
def test_a_plain_function_needs_to_be_told(linear):
    result = ew.fit(cases.linear_nll, cases.LINEAR.state, cases.DATA, fixed={"a": 0.0})
    with pytest.raises(ValueError, match="function alone"):
        saturated_test(cases.linear_nll, result, cases.DATA)
    out = saturated_test(cases.linear_nll, result, cases.DATA, saturated=0.0, ndof=0)
    # Both are zero, one of them up to rounding.
    np.testing.assert_allclose(out.statistic, 2 * result.nll, rtol=1e-12, atol=1e-30)
    assert np.isnan(out.pvalue)


def test_rounding_is_no_negative_statistic(linear):
    best = float(linear.nll)
    for above, statistic, pvalue in ((1e-13, 0.0, 1.0), (1e-3, -2e-3, np.nan)):
        out = saturated_test(lambda p: None, linear, saturated=best + above, ndof=3)
        np.testing.assert_allclose(out.statistic, statistic, rtol=1e-6)
        np.testing.assert_array_equal(out.pvalue, pvalue)


@pytest.mark.parametrize("variance", ["poisson", 2 * cases.SIGMA**2])
def test_a_likelihood_that_is_another_one_is_refused(linear, variance):
    with pytest.raises(ValueError, match="saturated=") as caught:
        saturated_test(cases.LINEAR, linear, data_variance=variance)
    assert isinstance(caught.value, ew.EverwillowError)


class Cauchy(AbstractConstraint):
    aux: float = 0.0
    center: float = 0.0
    width: float = 1.0

    def _nll(self, value, aux):
        return jnp.log(1 + (value - aux) ** 2)

    def _sample(self, value, key):
        return value + jax.random.cauchy(key, value.shape)


class KnownCauchy(Cauchy):
    def preferred(self, aux):
        return aux


def cauchy_nll(params, y):
    return 0.5 * (y - params["x"]) ** 2


def test_other_constraints_tell_what_they_prefer():
    def model(constraint):
        return ew.Model(
            cauchy_nll,
            {"x": 0.5},
            1.0,
            constraints={"x": constraint},
            expected=lambda p: p["x"],
        )

    result = ew.fit(model(Cauchy()))
    with pytest.raises(TypeError, match="preferred"):
        saturated_test(model(Cauchy()), result, data_variance=1.0)
    out = saturated_test(model(KnownCauchy()), result, data_variance=1.0)
    x = result.params["x"]
    by_hand = (1 - x) ** 2 + 2 * np.log(1 + x**2)
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-9)


@pytest.mark.slow
def test_the_same_under_jit_and_with_a_derivative():
    def pvalue(shift):
        data = {**cases.LINEAR.observation, "main": cases.DATA + shift}
        result = ew.fit(cases.LINEAR, observation=data)
        variance = cases.SIGMA**2
        return saturated_test(cases.LINEAR, result, data, data_variance=variance).pvalue

    move = np.array([0.3, 0.0, 0.1, 0.0, 0.0])
    np.testing.assert_allclose(jax.jit(pvalue)(move), pvalue(move), rtol=1e-9)
    step = 1e-4
    unit = np.eye(5)[0]
    difference = (pvalue(move + step * unit) - pvalue(move - step * unit)) / (2 * step)
    slope = jax.jvp(pvalue, (move,), (unit,))[1]
    np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_the_second_call_traces_nothing():
    traces = []

    def counted(params, data):
        traces.append(0)
        return cases.linear_nll(params, data)

    model = ew.Model(
        counted,
        dict.fromkeys(cases.KEYS, 0.0),
        cases.DATA,
        constraints={key: Normal(0.0, 1.0) for key in "abc"},
        expected=cases.linear_expected,
    )
    result = ew.fit(model)
    saturated_test(model, result, data_variance=cases.SIGMA**2)
    yield_chi2(model, result, data_variance=cases.SIGMA**2)
    before = len(traces)
    saturated_test(model, result, data_variance=cases.SIGMA**2)
    yield_chi2(model, result, data_variance=cases.SIGMA**2)
    assert len(traces) == before


@pytest.mark.slow
def test_constraints_of_fixed_parameters_are_no_part_of_it():
    variance = cases.SIGMA**2
    result = ew.fit(cases.LINEAR, fixed={"c": 1.5})
    out = saturated_test(cases.LINEAR, result, data_variance=variance)
    x = np.array([result.params[key] for key in cases.KEYS])
    away = (cases.DATA - cases.DESIGN @ x) / cases.SIGMA
    joint = x[:2] - [0.1, -0.2]
    by_hand = away @ away + joint @ cases.PRIOR[:2, :2] @ joint
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-9)
    assert out.ndof == 5 + 2 - 5
    # One of two that were measured together: both measurements still tell something.
    result = ew.fit(cases.LINEAR, fixed={"a": 0.4})
    out = saturated_test(cases.LINEAR, result, data_variance=variance)
    x = np.array([result.params[key] for key in cases.KEYS])
    away = (cases.DATA - cases.DESIGN @ x) / cases.SIGMA
    off = x - [0.1, -0.2, 0.3, 0, 0, 0]
    by_hand = away @ away + off @ cases.PRIOR @ off
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-9)
    assert out.ndof == 5 + 3 - 5


@pytest.mark.slow
def test_elements_of_an_array_that_are_fixed(counting):
    fixed = {"gamma": np.array([np.nan, 1.2, np.nan])}
    result = ew.fit(cases.COUNTING, fixed=fixed)
    out = saturated_test(cases.COUNTING, result)
    best = result.params
    n, nu = cases.COUNTS, np.asarray(cases.counting_expected(best))
    main = 2 * np.sum(nu - n + n * np.log(n / nu))
    tau, gamma = np.array([400.0, 200.0]), best["gamma"][[0, 2]]
    poisson = 2 * np.sum(tau * gamma - tau - tau * np.log(gamma))
    gauss = ((best["norm"] - 1) / 0.1) ** 2 + best["tilt"] ** 2
    lognormal = (np.log(best["lumi"]) / np.log(1.03)) ** 2
    by_hand = main + poisson + gauss + lognormal
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-8)
    assert out.ndof == saturated_test(cases.COUNTING, counting).ndof
