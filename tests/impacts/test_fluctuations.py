"""Global impacts: shares of the variance, which add up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
import tests.impacts.models as cases
from everwillow.impacts import global_impacts
from everwillow.parameters import Normal


@pytest.fixture(scope="module")
def linear():
    return ew.fit(cases.LINEAR)


@pytest.fixture(scope="module")
def asimov():
    """A fit to Asimov data away from the nominal parameters."""
    truth = sl.update(cases.COUNTING.state, {"mu": 1.5, "lumi": 1.02, "tilt": 0.4})
    truth = sl.update(truth, {"gamma": np.array([1.02, 0.97, 1.05])})
    data = jax.tree.map(np.asarray, cases.COUNTING.asimov(truth))
    return data, ew.fit(cases.COUNTING, observation=data)


@pytest.fixture(scope="module")
def shares(linear):
    return global_impacts(
        cases.LINEAR,
        linear,
        poi=["mu", "nu"],
        data_variance=cases.SIGMA**2,
        refit=True,
    )


@pytest.mark.slow
def test_shares_of_a_linear_model_by_hand(shares):
    C = cases.COVARIANCE
    assert shares.names == ("a", "b", "c")
    # The main data: C Aᵀ V⁻¹ σ.
    data = C @ cases.DESIGN.T / cases.SIGMA
    np.testing.assert_allclose(shares.data, data[4:], rtol=1e-9, atol=1e-12)
    # One constraint alone: C / w.
    np.testing.assert_allclose(shares.auxiliary[:, 2], C[4:, 2] / 0.8, rtol=1e-9)
    # Two together: the sum of squares is C V⁻¹ C.
    joint = C[4:, :2] @ np.linalg.inv(cases.JOINT) @ C[:2, 4:]
    square = np.sum(shares.auxiliary[:, :2] ** 2, axis=1)
    np.testing.assert_allclose(square, np.diag(joint), rtol=1e-9)


@pytest.mark.slow
def test_squares_add_up_to_the_variance(shares):
    np.testing.assert_allclose(shares.total, shares.errors, rtol=1e-9)
    np.testing.assert_allclose(
        shares.errors, np.sqrt(np.diag(cases.COVARIANCE)[4:]), rtol=1e-9
    )
    square = shares.statistical**2 + shares.systematic**2
    np.testing.assert_allclose(square, shares.total**2, rtol=1e-12)
    assert "in quadrature" in repr(shares)


def test_refits_of_a_linear_model_are_the_shares(shares):
    np.testing.assert_allclose(shares.refits.up, shares.auxiliary, rtol=1e-7)
    np.testing.assert_allclose(shares.refits.down, -shares.auxiliary, rtol=1e-7)


@pytest.mark.slow
def test_squares_add_up_on_asimov_data(asimov):
    data, result = asimov
    every = ("mu", "gamma", "lumi", "norm", "tilt")
    out = global_impacts(cases.COUNTING, result, data, poi=every)
    np.testing.assert_allclose(out.total, out.errors, rtol=1e-7)
    assert out.data.shape == (7, 3)


@pytest.mark.slow
def test_moved_observations_are_fitted(asimov):
    """Against fits with each auxiliary observation moved by hand."""
    data, result = asimov
    out = global_impacts(
        cases.COUNTING, result, data, poi="mu", data_variance=None, refit=True
    )
    assert out.data is None
    assert out.total is None
    expected = {
        "gamma[1]": ("gamma", np.sqrt(900.0 * 0.97), 1),
        "lumi": ("lumi", 1.02 * np.log(1.03), ()),
        "norm": ("norm", 0.1, ()),
        "tilt": ("tilt", 1.0, ()),
    }
    for label, (name, size, element) in expected.items():
        k = out.names.index(label)
        for side, sign in enumerate((-1, 1)):
            moved = np.array(data["aux"][name], float)
            moved[element] += sign * size
            observation = {**data, "aux": {**data["aux"], name: moved}}
            other = ew.fit(cases.COUNTING, result.params, observation)
            shift = other.params["mu"] - result.params["mu"]
            np.testing.assert_allclose(
                out.refits.shifts[side, 0, k], shift, rtol=1e-5, atol=1e-7
            )
        slope = 0.5 * (out.refits.up[0, k] - out.refits.down[0, k])
        np.testing.assert_allclose(out.auxiliary[0, k], slope, rtol=0.02)


@pytest.mark.slow
def test_the_response_to_counts_is_that_of_a_fit(asimov):
    data, result = asimov
    out = global_impacts(cases.COUNTING, result, data, poi="mu")
    step = 1e-3
    moved = {**data, "main": data["main"] + step * np.array([0.0, 1.0, 0.0])}
    shift = ew.fit(cases.COUNTING, observation=moved).params["mu"]
    slope = (shift - result.params["mu"]) / step
    spread = np.sqrt(data["main"][1])
    np.testing.assert_allclose(out.data[0, 1], slope * spread, rtol=1e-4)


@pytest.mark.slow
def test_whole_numbers_fluctuate_too():
    result = ew.fit(cases.COUNTING)
    out = global_impacts(cases.COUNTING, result, poi="mu")
    assert cases.COUNTING.observation["main"].dtype.kind == "i"
    # Not Asimov data: the squares add up roughly only.
    np.testing.assert_allclose(out.total, out.errors, rtol=0.1)


@pytest.mark.slow
def test_correlated_data():
    mixing = np.eye(5) + 0.3 * np.diag(np.ones(4), 1)
    V = mixing @ np.diag(cases.SIGMA**2) @ mixing.T
    inverse = np.linalg.inv(V)

    def nll(params, data):
        away = data["y"] - data["x"] @ jnp.stack([params["a"], params["b"]])
        return 0.5 * away @ inverse @ away

    data = {"x": cases.DESIGN[:, 3:5], "y": cases.DATA}
    start = ew.State.from_pytree({"a": 0.0, "b": 0.0})
    result = ew.fit(nll, start, data)
    out = global_impacts(
        nll, result, data, poi=["a", "b"], data_variance={"x": None, "y": V}
    )
    assert out.data["x"] is None
    np.testing.assert_allclose(out.total, out.errors, rtol=1e-9)
    assert out.auxiliary.shape == (2, 0)


@pytest.mark.slow
def test_parameters_that_are_fixed_leave_their_measurements_out():
    result = ew.fit(cases.LINEAR, fixed={"c": 0.0, "b": 0.1})
    out = global_impacts(
        cases.LINEAR, result, poi="mu", data_variance=cases.SIGMA**2, refit=True
    )
    # The measurement of b is correlated with that of a.
    assert out.names == ("a", "b")
    np.testing.assert_allclose(out.total, out.errors, rtol=1e-9)
    np.testing.assert_allclose(out.refits.up, out.auxiliary, rtol=1e-7)


@pytest.mark.slow
def test_variances_that_are_not_those_of_the_likelihood_are_noticed():
    model = ew.Model(
        lambda p, y: 0.5 * ((y - p["mass"] * p["scale"]) / 1.5) ** 2,
        {"mass": 125.0, "scale": 1.0},
        125.5,
        constraints={"scale": Normal(1.0, 0.001)},
        expected=lambda p: p["mass"] * p["scale"],
    )
    result = ew.fit(model)
    with pytest.warns(UserWarning, match="no counts"):
        global_impacts(model, result, poi="mass")
    out = global_impacts(model, result, poi="mass", data_variance=1.5**2)
    np.testing.assert_allclose(out.total, out.errors, rtol=1e-6)


@pytest.mark.slow
def test_the_same_under_jit(asimov):
    data, result = asimov

    @jax.jit
    def impacts(counts):
        observation = {**data, "main": counts}
        fitted = ew.fit(cases.COUNTING, observation=observation)
        out = global_impacts(cases.COUNTING, fitted, observation, poi="mu")
        return out.auxiliary, out.data, out.total

    eager = global_impacts(cases.COUNTING, result, data, poi="mu")
    compiled = impacts(data["main"])
    for a, b in zip((eager.auxiliary, eager.data, eager.total), compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


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
    )
    result = ew.fit(model)
    variance = cases.SIGMA**2
    options = {"poi": "mu", "data_variance": variance, "refit": True}
    global_impacts(model, result, **options)
    before = len(traces)
    global_impacts(model, result, **options)
    assert len(traces) == before


@pytest.mark.parametrize(
    ("nll_fn", "options", "error", "words"),
    [
        (cases.LINEAR, {"data_variance": "gauss"}, ValueError, "'poisson'"),
        (cases.linear_nll, {}, ValueError, "function alone"),
        (
            cases.linear_nll,
            {"data_variance": None, "refit": True},
            ValueError,
            "Build a Model",
        ),
        (cases.LINEAR, {"data_variance": np.ones(3)}, ValueError, "data_variance"),
        (cases.LINEAR, {"data_variance": [1.0, 2.0]}, ValueError, "structure"),
    ],
)
def test_bad_arguments_are_refused(linear, nll_fn, options, error, words):
    with pytest.raises(error, match=words) as caught:
        global_impacts(nll_fn, linear, cases_observation(nll_fn), poi="mu", **options)
    assert isinstance(caught.value, ew.EverwillowError)


def cases_observation(nll_fn):
    return None if nll_fn is cases.LINEAR else cases.DATA
