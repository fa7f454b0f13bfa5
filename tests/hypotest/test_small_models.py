"""Limits and significances of small models, where fits have the least to hold on to.

Bins without events, bins of signal alone, parameters that vanish without signal. One
structure serves all random models: yields are arguments of the programs.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import xlogy
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.stats import norm

import everwillow as ew
from everwillow.hypotest import LIMIT, Q0, QMu, ToyGenerator
from everwillow.models.histfactory import from_pyhf
from everwillow.toys import fit_toys


class Rates(eqx.Module):
    signal: jax.Array
    background: jax.Array

    def __call__(self, params):
        scale = jnp.exp(0.1 * params["a"]) if "a" in params else 1.0
        return params["mu"] * self.signal + scale * self.background


class Nll(eqx.Module):
    rates: Rates

    def __call__(self, params, counts):
        rate = self.rates(params)
        return jnp.sum(rate - xlogy(counts, rate))


def small(signal, background, counts, *, nuisance, low=0.0):
    rates = Rates(np.asarray(signal, float), np.asarray(background, float))
    state = {"mu": 1.0} | ({"a": 0.0} if nuisance else {})
    return ew.Model(
        Nll(rates),
        state,
        np.asarray(counts, float),
        constraints={"a": ew.Normal(0.0, 1.0)} if nuisance else {},
        bounds={"mu": ew.Interval(low, np.inf)},
        expected=rates,
    )


def by_scipy(signal, background, counts, level=0.05):
    """The observed and the median limit of a model without nuisance parameters."""

    def nll(mu, n):
        rate = mu * signal + background
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sum(rate - np.where(n > 0, n * np.log(rate), 0.0))

    def slope(mu):
        return np.sum(signal - counts * signal / (mu * signal + background))

    best = 0.0
    if not slope(1e-12) >= 0:
        best = brentq(slope, 1e-12, 1e3, xtol=1e-13)

    def log_cls(mu):
        q = max(2 * (nll(mu, counts) - nll(best, counts)), 0)
        a = np.sqrt(2 * (nll(mu, background) - nll(0.0, background)))
        root = np.sqrt(q)
        if root <= a:
            return norm.logsf(root) - norm.logsf(root - a)
        up, down = (q + a**2) / (2 * a), (q - a**2) / (2 * a)
        return norm.logsf(up) - norm.logsf(down)

    observed = brentq(lambda mu: log_cls(mu) - np.log(level), best + 1e-5, 1e3)
    wanted = norm.isf(level / 2)
    median = brentq(
        lambda mu: 2 * (nll(mu, background) - nll(0.0, background)) - wanted**2,
        1e-9,
        1e3,
    )
    return observed, median


def random_models(count, seed):
    """Yields of models of two bins: with background, with signal alone, empty."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        signal = np.round(rng.uniform(0.3, 4, 2), 2)
        background = np.round(rng.uniform(0.2, 6, 2), 2)
        background[1] *= rng.random() < 0.7
        counts = rng.poisson(background + rng.choice([0, 1]) * signal).astype(float)
        counts *= rng.random(2) < 0.7
        yield signal, background, counts


@pytest.mark.slow
def test_limits_of_random_models_without_nuisance_parameters():
    """Against scipy; many have no event at all, so that -ln L is a straight line."""
    empty = alone = 0
    for signal, background, counts in random_models(200, 7):
        result = ew.limits(small(signal, background, counts, nuisance=False), "mu")
        wanted = by_scipy(signal, background, counts)
        found = float(result.observed), float(result.expected.median)
        np.testing.assert_allclose(found, wanted, rtol=2e-6, err_msg=str(counts))
        empty += not counts.any()
        alone += bool(background[1] == 0 and counts[1] > 0)
    assert empty > 10
    assert alone > 3


@pytest.mark.slow
def test_limits_of_random_models_with_a_nuisance_parameter():
    """CLs at the limit is its level, by the calculator that shares no search."""
    for signal, background, counts in random_models(12, 11):
        model = small(signal, np.maximum(background, 0.1), counts, nuisance=True)
        result = ew.limits(model, "mu")
        tested = ew.cls(model, "mu", float(result.observed))
        assert float(tested.observed) == pytest.approx(0.05, abs=1e-6)


def nothing_seen(params, count):
    rate = 3.0 + 2.0 * params["mu"]
    return rate - count * jnp.log(rate)


@pytest.mark.slow
@pytest.mark.parametrize("low", [None, 0.0])
def test_a_straight_line_has_a_limit(low):
    """0 events, s = 2, b = 3; the closed form by brentq is 1.28316."""
    bounds = None if low is None else {"mu": ew.Interval(low, np.inf)}
    options = {"predict_fn": lambda s: 3.0 + 2.0 * s["mu"], "bounds": bounds}
    start = ew.State.from_pytree({"mu": 1.0})
    result = ew.limits(nothing_seen, "mu", start, 0.0, **options)
    assert float(result.observed) == pytest.approx(1.28316, abs=5e-6)
    found = ew.discovery(nothing_seen, "mu", start, 0.0, **options)
    assert (found.significance, found.mu_hat) == (0.0, 0.0)


@pytest.mark.slow
def test_limits_that_are_found_survive_those_that_are_not():
    """-ln L ends at 2; expected limits up to there are found, and stay."""

    def nll(params, n):
        return jnp.where(params["mu"] > 2.0, jnp.nan, nothing_seen(params, n))

    start = ew.State.from_pytree({"mu": 1.0})
    bounds = {"mu": ew.Interval(0.0, 20.0)}
    options = {"predict_fn": lambda s: 3.0 + 2.0 * s["mu"], "bounds": bounds}
    result = ew.limits(nll, "mu", start, 0.0, **options)
    whole = ew.limits(nothing_seen, "mu", start, 0.0, **options)
    assert result.observed == pytest.approx(float(whole.observed), rel=1e-6)
    for name in ("minus_2sigma", "minus_1sigma"):
        assert result.expected[name] == pytest.approx(float(whole.expected[name]))
    missing = np.asarray(result.expected_status == LIMIT.fit_failed)
    np.testing.assert_array_equal(missing, [False, False, True, True, True])
    assert np.isnan(result.expected.median)
    assert "expected median, +1 sigma" not in repr(result)
    assert "expected median, expected +1 sigma" in repr(result)


def signal_only(observed=(2.0, 5.0), background=0.0):
    mu = {"name": "mu", "type": "normfactor", "data": None}
    uncertain = {"name": "ub", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [
        {"name": "sig", "data": [3.0, 2.0], "modifiers": [mu]},
        {"name": "b", "data": [background, 5.0], "modifiers": [uncertain]},
    ]
    return from_pyhf(
        {
            "channels": [{"name": "SR", "samples": samples}],
            "observations": [{"name": "SR", "data": list(observed)}],
            "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
            "version": "1.0.0",
        }
    )


@pytest.mark.slow
def test_a_bin_of_signal_alone():
    """The issue 1852 of pyhf. The limit is that of next to no background in the bin."""
    model = signal_only()
    result = ew.limits(model)
    assert float(result.observed) == pytest.approx(1.509936, abs=2e-6)
    little = ew.limits(signal_only(background=1e-12))
    np.testing.assert_allclose(
        [float(v) for _, v in result.expected],
        [float(v) for _, v in little.expected],
        rtol=1e-4,
    )
    with pytest.raises(ew.FitError, match=r"SR\[0\] expects nothing where 2 were"):
        ew.discovery(model, "mu")
    none = {**model.observation, "main": np.array([0.0, 5.0])}
    found = ew.discovery(model, "mu", observation=none)
    assert (found.significance, found.pvalue) == (0.0, 0.5)
    assert np.isnan(found.expected)


@pytest.mark.slow
def test_a_free_fit_below_zero_is_not_needed():
    """The issue 2093 of pyhf: the best fit is at the edge of what is possible."""
    model = small([2.0, 3.0, 1.0], [1.0, 6.0, 10.0], [0.0, 3.0, 9.0], nuisance=True)
    below = small(
        [2.0, 3.0, 1.0], [1.0, 6.0, 10.0], [0.0, 3.0, 9.0], nuisance=True, low=-5.0
    )
    wanted = float(ew.limits(model, "mu").observed)
    assert float(ew.limits(below, "mu").observed) == pytest.approx(wanted, rel=1e-6)
    assert ew.discovery(below, "mu").significance == 0.0


CENTERS = np.linspace(101.0, 159.0, 30)
FALL = np.exp(-(CENTERS - 100) / 35.0)


def peak_rate(params):
    peak = jnp.exp(-0.5 * ((CENTERS - params["m"]) / 2.0) ** 2) / np.sqrt(2 * np.pi)
    return params["S"] * peak + params["B"] * FALL


def peak_nll(params, counts):
    rate = peak_rate(params)
    return jnp.sum(rate - counts * jnp.log(rate))


def peak_model(counts, m=130.0):
    return ew.Model(
        peak_nll,
        {"S": 10.0, "m": m, "B": 40.0},
        counts,
        bounds={
            "S": ew.Interval(0.0, 500.0),
            "m": ew.Interval(105.0, 155.0),
            "B": ew.Interval(1.0, 1000.0),
        },
        expected=peak_rate,
        sample=lambda p, key: jax.random.poisson(key, peak_rate(p)).astype(float),
    )


def peak_value(x, n):
    peak = np.exp(-0.5 * ((CENTERS - x[2]) / 2) ** 2) / np.sqrt(2 * np.pi)
    rate = x[0] * peak + x[1] * FALL
    return np.sum(rate - n * np.log(rate))


def peak_q0(n):
    """By a scan over the mass, where B is best without signal in closed form."""
    scale = n.sum() / FALL.sum()
    without = peak_value((0.0, scale, 130.0), n)
    best = min(
        minimize(
            peak_value,
            (10.0, scale, m),
            n,
            bounds=[(0, 500), (1, 1000), (105, 155)],
        ).fun
        for m in np.linspace(106, 154, 25)
    )
    return 2 * (without - best)


def peak_counts():
    counts = np.random.default_rng(5).poisson(40.0 * FALL).astype(float)
    counts[15] += 8
    return counts


@pytest.mark.slow
def test_a_mass_that_vanishes_without_signal():
    """The issue 167 of gammacombo: the mass of a peak, with the signal held at 0."""
    counts = peak_counts()
    model = peak_model(counts)
    found = ew.discovery(model, "S")
    assert float(found.q0) == pytest.approx(peak_q0(counts), abs=1e-5)
    # With the signal held there is nothing to find, and the value is in closed form.
    scale = counts.sum() / FALL.sum()
    held = ew.profile.scan(model, name="S", values=[0.0])
    np.testing.assert_allclose(held.nll, peak_value((0.0, scale, 130.0), counts))
    limits = ew.limits(model, "S")
    tested = ew.cls(model, "S", float(limits.observed))
    assert float(tested.observed) == pytest.approx(0.05, abs=1e-5)


@pytest.mark.slow
def test_toys_of_a_mass_that_vanishes():
    """At S = 0 the slope in the mass is exactly 0, wherever that is."""
    model = peak_model(peak_counts())
    none = ew.State.from_pytree({"S": 0.0, "m": 130.0, "B": 40.0})
    fits = fit_toys(model, none, ntoys=200, key=1)
    assert fits.failures == 0
    toys = ToyGenerator(Q0(), ntoys=200).generate(model, None, None, "S", 0.0, key=1)
    assert toys.failures == {"null": 0}
    drawn = ew.toys.sample_toys(model, none, ntoys=8, key=1)["main"]
    wanted = [2 * (peak_value((0.0, n.sum() / FALL.sum(), 130.0), n)) for n in drawn]
    q0 = np.array(wanted) - 2 * fits.nll[:8]
    lowest = np.array([peak_q0(np.asarray(n)) for n in drawn])
    assert np.all(q0 <= lowest + 1e-5)
    assert np.mean(np.abs(q0 - lowest) < 1e-4) >= 0.5


def dip(params, _):
    """A plateau beside a dip: no slope and no curvature, and yet no minimum."""
    return params["s"] ** 2 - jnp.exp(-0.5 * (params["x"] - 60.0) ** 2)


@pytest.mark.slow
def test_a_plateau_is_not_taken_for_a_minimum():
    start = ew.State.from_pytree({"s": 1.0, "x": 0.0})
    bounds = {"x": ew.Interval(0.0, 100.0)}
    with pytest.raises(ew.FitError):
        QMu().compute(dip, start, None, "s", 0.5, bounds=bounds, throw=True)


def counting_document(high=10.0):
    mu = {"name": "mu", "type": "normfactor", "data": None}
    sigma = {"name": "a", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [
        {"name": "sig", "data": [1.0], "modifiers": [mu]},
        {"name": "b", "data": [30.0], "modifiers": [sigma]},
    ]
    bounds = {"name": "mu", "bounds": [[0, high]]}
    return {
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": [32.0]}],
        "measurements": [
            {"name": "m", "config": {"poi": "mu", "parameters": [bounds]}}
        ],
        "version": "1.0.0",
    }


@pytest.mark.slow
def test_ranges_of_workspaces_are_ranges_for_fits_only():
    narrow, wide = (from_pyhf(counting_document(high)) for high in (10.0, 1000.0))
    limit = float(ew.limits(narrow).observed)
    assert limit == pytest.approx(float(ew.limits(wide).observed), rel=1e-7)
    assert limit > 10
    for value in (limit, 40.0):
        tested, wanted = (ew.cls(m, "mu", value).observed for m in (narrow, wide))
        assert tested == pytest.approx(float(wanted), abs=1e-7)
    values = [5.0, 15.0, 25.0]
    scans = [ew.profile.scan(m, name="mu", values=values) for m in (narrow, wide)]
    np.testing.assert_allclose(scans[0].nll, scans[1].nll, rtol=1e-9)
    # Bounds that a user gives are meant.
    with pytest.raises(ew.EverwillowError, match="mu"):
        ew.cls(narrow, "mu", 15.0, bounds={"mu": ew.Interval(0.0, 10.0)})


@pytest.mark.slow
def test_a_best_fit_beyond_the_range_of_a_workspace():
    """The likelihood ratio is to the minimum, not to the end of the range."""
    document = counting_document(1.0)
    document["observations"][0]["data"] = [60.0]
    narrow = from_pyhf(document)
    document["measurements"][0]["config"]["parameters"][0]["bounds"] = [[0, 1000.0]]
    wide = from_pyhf(document)
    pairs = [
        (ew.discovery(m, "mu"), ew.limits(m, "mu", ew.fit(m))) for m in (narrow, wide)
    ]
    for found in zip(*pairs, strict=True):
        one, other = (getattr(r, "q0", getattr(r, "observed", None)) for r in found)
        assert float(one) == pytest.approx(float(other), rel=1e-6)
    toys = [
        ToyGenerator(QMu(), ntoys=50).generate(m, None, None, "mu", 40.0, key=2).q_null
        for m in (narrow, wide)
    ]
    np.testing.assert_allclose(*toys, atol=1e-6)


@pytest.mark.slow
def test_closed_form_of_the_minimum_that_scipy_takes():
    """`by_scipy` itself, at 0 events without nuisance parameters."""
    found, _ = by_scipy(np.array([2.0]), np.array([3.0]), np.array([0.0]))
    assert found == pytest.approx(1.28316, abs=1e-5)
    low = minimize_scalar(lambda x: (x - 1) ** 2)
    assert low.success
