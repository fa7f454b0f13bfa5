"""Tests and limits of events, whose Asimov data are another number of weighted events.

The truth is the same likelihood as counts in bins, and fits one by one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ShapeMismatchError
from everwillow.goodness import data_pulls, saturated_test, yield_chi2
from everwillow.hypotest import (
    AsymptoticCalculator,
    QMu,
    QTilde,
    ToyGenerator,
    expected_upper_limit,
)
from everwillow.hypotest.formulas import expected_cls, qtilde_log_cls
from everwillow.hypotest.upper_limit import upper_limit
from everwillow.impacts import global_impacts, rank
from everwillow.toys import asimov_data, fit_toys
from tests.helpers import count_jax_work
from tests.hypotest.events import (
    AUX,
    GRID,
    Events,
    bins_of_events,
    of_counts,
    of_events,
)


BINS = bins_of_events()
NUISANCES = ("a posteriori", "a priori")


def numbers(limits):
    return np.array([limits.observed, *(value for _, value in limits.expected)])


def minimum(model, observation, mu=None):
    """-ln L of a fit of its own, with the signal free or fixed."""
    fixed = {} if mu is None else {"mu": mu}
    return float(ew.fit(model, observation=observation, fixed=fixed).nll)


def by_hand(model, mu, nuisances):
    """q-tilde of the data and of the Asimov data, from four fits and the Asimov fit."""
    without = ew.fit(model, fixed={"mu": 0.0}).params
    start = ew.statelib.update(model.state, {"mu": 0.0})
    asimov = model.asimov(without if nuisances == "a posteriori" else start)
    q, q_asimov = (
        2 * (minimum(model, data, mu) - minimum(model, data))
        for data in (model.observation, asimov)
    )
    return q, q_asimov


def test_shapes_of_data_and_asimov_data():
    model = of_events(BINS)
    made = asimov_data(model, model.state)["main"]
    assert model.observation["main"]["x"].shape == (37,)
    assert made["x"].shape == made["weights"].shape == (400,)


@pytest.mark.slow
@pytest.mark.parametrize("nuisances", NUISANCES)
def test_limits_and_cls_by_hand(nuisances):
    model = of_events(BINS)
    limits = ew.limits(model, "mu", nuisances=nuisances)
    at_limit = by_hand(model, float(limits.observed), nuisances)
    assert np.exp(qtilde_log_cls(*at_limit)) == pytest.approx(0.05, abs=1e-6)
    for name, limit in limits.expected:
        _, q_asimov = by_hand(model, float(limit), nuisances)
        bands = expected_cls(q_asimov)
        assert float(getattr(bands, name)) == pytest.approx(0.05, abs=1e-6), name
    q, q_asimov = by_hand(model, 1.7, nuisances)
    cls = ew.cls(model, "mu", 1.7, nuisances=nuisances)
    wanted = float(jnp.exp(qtilde_log_cls(q, q_asimov)))
    assert float(cls.observed) == pytest.approx(wanted, abs=1e-6)
    wanted = float(expected_cls(q_asimov).median)
    assert float(cls.expected.median) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("nuisances", NUISANCES)
def test_significance_by_hand(nuisances):
    model = of_events(BINS)
    found = ew.discovery(model, "mu", nuisances=nuisances)
    q0 = 2 * (minimum(model, None, 0.0) - minimum(model, None))
    with_signal = ew.fit(model, fixed={"mu": 1.0}).params
    at = with_signal if nuisances == "a posteriori" else model.state
    asimov = model.asimov(at)
    q0_asimov = 2 * (minimum(model, asimov, 0.0) - minimum(model, asimov))
    assert found.significance == pytest.approx(np.sqrt(q0), abs=1e-6)
    assert found.expected == pytest.approx(np.sqrt(q0_asimov), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [QTilde(), QMu()])
@pytest.mark.parametrize("nuisances", NUISANCES)
def test_limits_are_those_of_the_counts(statistic, nuisances):
    options = {"nuisances": nuisances, "test_statistic": statistic}
    of = lambda model: numbers(ew.limits(model, "mu", **options))
    events, counts = of(of_events(BINS)), of(of_counts(BINS))
    np.testing.assert_allclose(events, counts, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_limits_of_no_event_and_of_one(number):
    bins = np.array([210])[:number]
    events = ew.limits(of_events(bins), "mu")
    counts = ew.limits(of_counts(bins), "mu")
    np.testing.assert_allclose(numbers(events), numbers(counts), rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [QTilde(), QMu()])
def test_limits_from_the_calculator(statistic):
    model = of_events(BINS)
    calculator = AsymptoticCalculator(model, None, None, "mu", statistic)
    test = calculator.test
    observed = upper_limit(lambda mu: calculator.cls(test(mu)), (1.5, 4.0))
    bands = expected_upper_limit(lambda mu: calculator.expected(test(mu)), (0.2, 4.0))
    limits = ew.limits(model, "mu", test_statistic=statistic)
    found = [observed, *(value for _, value in bands)]
    np.testing.assert_allclose(found, numbers(limits), rtol=1e-6)


@pytest.mark.slow
def test_second_calls_trace_nothing():
    def tests(model, mu):
        ew.limits(model, "mu")
        ew.limits(model, "mu", nuisances="a priori")
        ew.cls(model, "mu", mu)
        ew.discovery(model, "mu")

    tests(of_events(BINS), 1.0)
    other = of_events(bins_of_events(seed=4))
    with count_jax_work() as work:
        tests(other, 2.0)
    assert (work.traces, work.compilations) == (0, 0)


@pytest.mark.slow
def test_events_without_weights():
    model = Events.of({"x": GRID[BINS]})
    weighted = of_events(BINS)
    np.testing.assert_allclose(
        numbers(ew.limits(model, "mu")), numbers(ew.limits(weighted, "mu")), rtol=1e-9
    )
    found, wanted = (ew.cls(m, "mu", 1.0).observed for m in (model, weighted))
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.slow
def test_derivative_in_the_events():
    def observed(shift):
        main = {"x": GRID[BINS] + shift, "weights": jnp.ones(len(BINS))}
        data = {"main": main, "aux": AUX}
        model = of_events(BINS)
        return ew.limits(model, "mu", observation=data, throw=False).observed

    _, slope = jax.jvp(observed, (0.0,), (1.0,))
    difference = (observed(1e-3) - observed(-1e-3)) / 2e-3
    assert slope == pytest.approx(difference, rel=1e-5)


@pytest.mark.slow
def test_toys_are_those_of_the_counts():
    """Toys have room for 120 events; the fits of the same draws agree."""
    events, counts = of_events(BINS), of_counts(BINS)
    fits = [fit_toys(model, ntoys=30, key=1) for model in (events, counts)]
    assert fits[0].failures == 0
    np.testing.assert_allclose(fits[0].params["mu"], fits[1].params["mu"], atol=1e-5)
    generator = ToyGenerator(QTilde(), ntoys=30)
    tests = [
        generator.generate(model, None, None, "mu", 2.0, poi_alt=0.0, key=1)
        for model in (events, counts)
    ]
    np.testing.assert_allclose(tests[0].q_null, tests[1].q_null, atol=1e-6)
    np.testing.assert_allclose(tests[0].q_alt, tests[1].q_alt, atol=1e-6)


@pytest.mark.slow
def test_intervals_and_impacts_are_those_of_the_counts():
    """Of the observed data, and of the Asimov data of both likelihoods."""
    models = of_events(BINS), of_counts(BINS)
    at = ew.statelib.update(models[0].state, {"mu": 1.2})
    for observations in ((None, None), tuple(asimov_data(m, at) for m in models)):
        found = []
        for model, data in zip(models, observations, strict=True):
            best = ew.fit(model, observation=data)
            interval = ew.profile.minos(model, best, data, names=["mu"])
            impacts = rank(model, best, data, poi="mu")
            auxiliary = global_impacts(
                model, best, data, poi="mu", data_variance=None
            ).auxiliary
            ends = interval.upper[0], interval.lower[0]
            found.append(np.hstack([ends, impacts.postfit[0], auxiliary[0]]))
        np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-8)


def one_number(state):
    del state
    return {"main": {"x": 1.0, "weights": 1.0}, "aux": AUX}


def no_auxiliary_data(state):
    del state
    return {"main": {"x": GRID, "weights": GRID}}


@pytest.mark.parametrize("made", [one_number, no_auxiliary_data])
def test_asimov_data_of_other_shapes_are_refused(made):
    model = of_events(BINS)
    words = "predict_fn, .*like the observation.*number of rows"
    with pytest.raises(ShapeMismatchError, match=words):
        ew.limits(model, "mu", predict_fn=made)
    with pytest.raises(ShapeMismatchError, match=words):
        ew.cls(model, "mu", 1.0, predict_fn=made)
    calculator = AsymptoticCalculator(
        model, None, None, "mu", QTilde(), asimov_observation=made(None)
    )
    with pytest.raises(ShapeMismatchError, match=r"asimov_observation: .*number of"):
        calculator.test(1.0)


def test_toys_of_other_shapes_are_refused():
    generator = ToyGenerator(QTilde(), ntoys=2)
    with pytest.raises(ShapeMismatchError, match=r"sample_fn, .*like the observation"):
        generator.generate(
            of_events(BINS),
            *(None, None, "mu", 1.0),
            key=1,
            sample_fn=lambda state, key: one_number(state),
            nuisances="a priori",
        )


def test_tests_of_single_data_refuse_events():
    """Events have no expectation each; the messages name what there is instead."""
    model = of_events(BINS)
    best = ew.fit(model)
    for test in (saturated_test, yield_chi2, data_pulls):
        with pytest.raises(ShapeMismatchError, match=r"\(37,\).*toy_pvalue"):
            test(model, best)
    with pytest.raises(ShapeMismatchError, match=r"data_variance: .*or None"):
        global_impacts(model, best, poi="mu")
