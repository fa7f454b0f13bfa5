"""Parameters of interest on hidden scales."""

import hashlib
import statistics

import jax
import numpy as np
import pytest

import everwillow as ew
import tests.models.templates.cases as cases
from everwillow.goodness import saturated_test
from everwillow.impacts import rank
from everwillow.models.templates.booking.builder import TemplateBuilder
from everwillow.models.templates.likelihood.blinding import hidden_number
from everwillow.models.templates.rates import AxisExponential, Strengths


POIS = ("signal", "slope")


@pytest.fixture(scope="module")
def open_fit():
    return cases.fitted("base")


@pytest.fixture(scope="module")
def blind_fit():
    return cases.fitted("base", blind=True)


def numbers(source="data", names=POIS):
    return [hidden_number(name, source) for name in names]


def test_the_number_is_that_of_the_name_and_the_source():
    digest = hashlib.sha256(b"signal_data").digest()
    uniform = (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
    by_hand = statistics.NormalDist(0.0, 5.0).inv_cdf(uniform)
    assert hidden_number("signal", "data") == by_hand
    drawn = [hidden_number(f"p{i}", "data") for i in range(2000)]
    assert abs(np.mean(drawn)) < 5 * 5 / np.sqrt(2000)
    np.testing.assert_allclose(np.std(drawn), 5.0, rtol=5 / np.sqrt(4000))


def test_nothing_is_hidden_unless_asked_for(open_fit):
    assert open_fit[0].hidden == ()
    assert open_fit[0].terms.hidden is None


@pytest.mark.slow
def test_values_are_hidden_and_all_else_is_not(open_fit, blind_fit):
    (model, result), (blind, hidden) = open_fit, blind_fit
    factor, offset = np.exp(numbers()[0]), numbers()[1]
    assert blind.hidden == POIS
    assert "blinded" in repr(blind)
    np.testing.assert_allclose(hidden.nll, result.nll, rtol=1e-13)
    wanted = factor * result.params["signal"], result.params["slope"] + offset
    for name, value in zip(POIS, wanted, strict=True):
        np.testing.assert_allclose(hidden.params[name], value, rtol=1e-7)
    assert abs(offset) > 0.1
    assert abs(factor - 1) > 0.1
    for name in set(model.state) - set(POIS):
        near = {"atol": 1e-7 * result.errors[name]}
        np.testing.assert_allclose(hidden.params[name], result.params[name], **near)
    # An offset leaves errors as they are, a factor the relative ones.
    scale = np.ones(len(model.state))
    scale[hidden.labels.index("signal")] = factor
    wanted = result.covariance * scale[:, None] * scale
    unit = np.sqrt(np.diag(wanted))
    away = (hidden.covariance - wanted) / unit[:, None] / unit
    assert np.abs(away).max() < 1e-7


@pytest.mark.slow
def test_impacts_are_those_of_the_reported_values(open_fit, blind_fit):
    both = [rank(*fit, poi=POIS, names="*").postfit for fit in (open_fit, blind_fit)]
    scale = np.array([np.exp(numbers()[0]), 1.0])[:, None]
    np.testing.assert_allclose(both[1], both[0] * scale, rtol=1e-5)


@pytest.mark.slow
def test_the_goodness_of_fit_is_not_hidden(open_fit, blind_fit):
    one, other = (saturated_test(*fit) for fit in (open_fit, blind_fit))
    np.testing.assert_allclose(one.statistic, other.statistic, rtol=1e-10)
    assert one.ndof == other.ndof


@pytest.mark.slow
def test_yields_are_those_of_the_physical_values(open_fit, blind_fit):
    (model, result), (blind, hidden) = open_fit, blind_fit
    for observation in (None, model.observation):
        np.testing.assert_allclose(
            blind.yields(hidden.params, observation).values,
            model.yields(result.params, observation).values,
            rtol=1e-7,
        )
    expected = [m.asimov(r.params) for m, r in (open_fit, blind_fit)]
    counts = [one["main"]["counts"] for one in expected]
    np.testing.assert_allclose(counts[1], counts[0], rtol=1e-7)


@pytest.mark.slow
def test_unblinding(open_fit, blind_fit):
    (model, result), (blind, hidden) = open_fit, blind_fit
    physical = blind.physical(hidden.params)
    for name in model.state:
        near = {"atol": 1e-7 * result.errors[name]}
        np.testing.assert_allclose(physical[name], result.params[name], **near)
    shown = blind.unblinded()
    assert shown.hidden == ()
    for key, value in model.state.items():
        np.testing.assert_allclose(shown.state[key], value, atol=1e-14)
    assert blind.unblinded("sl*").hidden == ("signal",)
    assert cases.builder("base").build(blind=True, unblind="signal").hidden == (
        "slope",
    )
    assert cases.builder("base").build(blind=True, unblind=True).hidden == ()
    assert model.unblinded() is model
    value = shown.nll(result.params)
    np.testing.assert_allclose(value, result.nll, rtol=1e-13)


def test_simulated_data_have_other_numbers():
    builder = small()
    data, simulation = (
        builder.build(blind=True, data=counts)
        for counts in (None, np.array([30.0, 40.0]))
    )
    starts = [float(model.state["mu"]) for model in (data, simulation)]
    wanted = [np.exp(hidden_number("mu", kind)) for kind in ("data", "simulation")]
    np.testing.assert_allclose(starts, wanted, rtol=1e-12)


def small(**options):
    builder = TemplateBuilder(**options)
    builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
    counts = np.array([20.0, 30.0]), np.array([10.0, 10.0])
    builder.add_process(counts[0], "mu", "ch0", signal=True)
    builder.add_process(counts[1], "tau", "ch0", signal=True)
    builder.add_norm_systematic("mass", "mu", "ch0", 1.1, noi=True)
    builder.add_norm_systematic("norm", "mu", "ch0", 1.1)
    builder.add_data(np.array([31.0, 38.0]), "ch0")
    return builder


def test_a_group_shares_one_number():
    model = small().build(blind={"mu": "rates", "tau": "rates"})
    assert model.hidden == ("mu", "tau")
    wanted = np.exp(hidden_number("rates", "data"))
    np.testing.assert_allclose([model.state[n] for n in model.hidden], wanted)


@pytest.mark.slow
def test_a_constraint_moves_along():
    """The pull of a constrained parameter is what it was, and so is the likelihood."""
    model, blind = small().build(), small().build(blind="mass")
    number = hidden_number("mass", "data")
    assert blind.hidden == ("mass",)
    np.testing.assert_allclose(blind.constraints["mass"].center, number)
    np.testing.assert_allclose(blind.observation["aux"]["mass"], number)
    params = {"mu": 1.1, "tau": 0.9, "mass": 0.7, "norm": -0.2}
    moved = {**params, "mass": 0.7 + number}
    np.testing.assert_allclose(blind.nll(moved), model.nll(params), rtol=1e-13)
    shown = blind.unblinded("mass")
    np.testing.assert_allclose(shown.nll(params), model.nll(params), rtol=1e-13)


@pytest.mark.slow
def test_bounds_hold_on_the_physical_scale():
    """Without events of its own a strength ends at zero, hidden or not."""
    data = np.array([15.0, 25.0])
    blind = small().build(blind=True, data=data)
    bounds = blind.bounds["tau"]
    assert (bounds.lower, bounds.upper) == (0.0, np.inf)
    result = ew.fit(blind, fixed={"mu": ..., "mass": ..., "norm": ...})
    assert result.at_bound.tolist() == [True]
    assert blind.physical(result.params)["tau"] == 0

    def rates(layout):
        return Strengths(layout, "mu", negative=True)

    other = small().build(blind="mu", parameters=rates)
    assert other.bounds["mu"].lower == -np.inf
    assert float(other.state["mu"]) == np.exp(hidden_number("mu", "data"))


def test_parameters_without_a_scale_get_an_offset():
    def rates(layout):
        return AxisExponential(layout, "mu", "ch0", "x", interest=True)

    model = small().build(blind=True, parameters=rates)
    assert model.hidden == ("mass", "mu_log_norm", "mu_slope")
    for name in model.hidden:
        value = float(model.state[name])
        np.testing.assert_allclose(value, hidden_number(name, "data"), rtol=1e-12)


@pytest.mark.slow
def test_likelihoods_from_elsewhere_act_on_physical_values():
    builder = cases.builder("ext")
    model, blind = builder.build(), builder.build(blind=True)
    values = {**dict.fromkeys(model.state, 0.1), "signal": 1.2}
    state = model.state.with_values([values[key] for key in model.state])
    reported = {
        **values,
        "signal": 1.2 * np.exp(numbers()[0]),
        "slope": 0.1 + numbers()[1],
    }
    hidden = blind.state.with_values([reported[key] for key in blind.state])
    np.testing.assert_allclose(blind.nll(hidden), model.nll(state), rtol=1e-12)
    one, other = ew.fit(model), ew.fit(blind)
    np.testing.assert_allclose(one.nll, other.nll, rtol=1e-12)
    physical = blind.physical(other.params)
    for name in POIS:
        near = {"atol": 1e-6 * one.errors[name]}
        np.testing.assert_allclose(physical[name], one.params[name], **near)


@pytest.mark.slow
@pytest.mark.parametrize("sparse", [False, True])
def test_derivatives_by_reported_values(sparse):
    blind = small(sparse=sparse).build(blind=True)
    state = blind.state
    slope = ew.hessian_matrix(blind, state)
    wanted = jax.hessian(blind.nll)(state.to_pytree())
    for i, row in enumerate(state):
        for j, column in enumerate(state):
            np.testing.assert_allclose(slope[i, j], wanted[row][column], rtol=1e-8)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"blind": "mua"}, KeyError, "mu"),
        ({"blind": "norm"}, KeyError, "blind"),
        ({"blind": 3}, TypeError, "patterns"),
        ({"blind": True, "unblind": "nu"}, KeyError, "unblind"),
    ],
)
def test_bad_requests_are_refused(options, error, words):
    with pytest.raises(error, match=words) as caught:
        small().build(**options)
    assert isinstance(caught.value, ew.EverwillowError)
