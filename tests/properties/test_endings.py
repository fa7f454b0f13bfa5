"""How fits end: on a minimum reached exactly, at ends without derivatives, on kinks.

The kinds come from troubles of users: scikit-hep/pyhf#814 and #1850 (data equal to the
background), scikit-hep/pyhf#1852 and histfitter/histfitter#19 (no events),
gundam-organization/gundam#615 (a prediction approaches zero), scikit-hep/pyhf#286 (a
jump of the derivative where Asimov data have their minimum).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import xlogy
from scipy.optimize import minimize

import everwillow as ew
from everwillow._errors import RESULTS
from everwillow.models.templates import TemplateBuilder
from everwillow.solvers import NewtonCG


MODELS = 210
BINS = 4


def binned(params, data):
    """Return -ln L of a strength and unit-Gaussian shifts of the background."""
    rate = params["mu"] * data["signal"]
    rate = rate + data["background"] * jnp.exp(data["effects"] @ params["shift"])
    aux = data["aux"]
    return jnp.sum(rate - xlogy(data["n"], rate)) + 0.5 * jnp.sum(
        (params["shift"] - aux) ** 2
    )


def asimov(seed: int, nuisances: int):
    """Return the Asimov data of a random model, its strength, and a start."""
    rng = np.random.default_rng(seed)
    used = np.arange(BINS) < rng.integers(1, BINS + 1)
    signal = np.where(used, rng.uniform(0.1, 30, BINS) * 10 ** rng.uniform(-1, 1), 0)
    background = np.where(used, rng.uniform(0.5, 60, BINS), 1.0)
    if rng.random() < 0.5:
        signal, background = np.round(signal), np.maximum(np.round(background), 1)
    signal[0] = max(signal[0], 0.5)
    mu, start = rng.choice([0.0, 0.0, 0.3, 1.0]), rng.choice([0.0, 0.5, 1.0, 2.0])
    data = {
        "signal": signal,
        "background": background,
        "effects": rng.normal(0, 0.15, (BINS, nuisances)),
        "n": mu * signal + background,
        "aux": np.zeros(nuisances),
    }
    return data, mu, start


def fit_binned(data, start, solver=None):
    state = {"mu": start, "shift": np.zeros(len(data["aux"]))}
    return ew.fit(
        binned,
        ew.State.from_pytree(state),
        data,
        bounds={"mu": ew.Interval(0.0, 50.0)},
        solver=solver,
        throw=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nuisances", "solver"), [(0, None), (1, None), (5, None), (1, NewtonCG())]
)
def test_asimov_data_have_their_minimum_at_the_truth(nuisances, solver):
    for seed in range(MODELS if solver is None else MODELS // 5):
        data, mu, start = asimov(seed, nuisances)
        result = fit_binned(data, start, solver)
        assert bool(result.success), (seed, result)
        sigma = np.sqrt(np.sum(data["n"])) / np.sum(data["signal"])
        assert abs(result.params["mu"] - mu) < 1e-6 * sigma, (seed, result)
        truth = binned({"mu": mu, "shift": jnp.zeros(nuisances)}, data)
        assert float(result.nll) == pytest.approx(float(truth), abs=1e-9)
        assert np.all(np.isfinite(result.covariance))


@pytest.mark.slow
def test_asimov_data_in_lanes():
    cases = [asimov(seed, 1) for seed in range(MODELS)]
    data = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[c[0] for c in cases])
    starts = jnp.asarray([c[2] for c in cases])
    result = jax.jit(jax.vmap(fit_binned))(data, starts)
    assert bool(jnp.all(result.success))
    np.testing.assert_allclose(
        result.params["mu"], [c[1] for c in cases], rtol=0, atol=1e-7
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistics", "models"), [(None, 8), (None, MODELS), ("additive", MODELS)]
)
def test_a_bounded_strength_and_data_like_the_background(statistics, models):
    rng = np.random.default_rng(0)
    for case in range(models):
        signal = rng.integers(1, 30, 3).astype(float)
        background = rng.integers(1, 60, 3).astype(float)
        builder = TemplateBuilder()
        builder.add_channel([("x", np.arange(4.0))], "c")
        builder.add_process(signal, "s", "c", signal=True, variances=0.1 * signal)
        builder.add_process(background, "b", "c", variances=0.1 * background)
        builder.add_data(background, "c")
        model = builder.build(statistics=statistics)
        result = ew.fit(model, throw=False)
        assert bool(result.success), (case, result)
        assert abs(result.params["s"]) < 1e-8


def events(params, data):
    """Return -ln L of a rate, or of what passed and what failed, or an entropy."""
    p = params["p"]
    logs = data["n"] * jnp.log(p) + data["failed"] * jnp.log(data["end"] - p)
    return data["a"] * p - logs + data["entropy"] * p * jnp.log(p)


def events_with_limit(params, data):
    """Return the same with the limit ``0 ln 0 = 0``."""
    p = params["p"]
    logs = xlogy(data["n"], p) + xlogy(data["failed"], data["end"] - p)
    return data["a"] * p - logs + data["entropy"] * xlogy(p, p)


def interference(params, data):
    """Return -ln L of a rate with a term in the root of the strength."""
    rate = data["a"] * params["p"] + data["root"] * jnp.sqrt(params["p"])
    rate = rate + data["b"]
    return rate - data["n"] * jnp.log(rate)


def kinds_of_events():
    """Return rates, efficiencies and entropies, and where their minima are."""
    rng = np.random.default_rng(3)
    zero, one = np.zeros(MODELS), np.ones(MODELS)
    n, a = rng.poisson(1.0, MODELS).astype(float), rng.uniform(0.5, 20, MODELS)
    rates = {"a": a, "n": n, "failed": zero, "end": 100 * one, "entropy": zero}
    everything = rng.integers(1, 9, MODELS).astype(float)
    passed = np.minimum(rng.poisson(1.0, MODELS), everything)
    passed = np.where(rng.random(MODELS) < 0.3, everything, passed)
    failed = everything - passed
    passes = {"a": zero, "n": passed, "failed": failed, "end": one, "entropy": zero}
    falls = {"a": n, "n": zero, "failed": zero, "end": 100 * one, "entropy": one}
    steep = falls | {"a": rng.uniform(5, 25, MODELS)}
    right = (n / a, passed / everything, np.exp(-1 - n), np.exp(-1 - steep["a"]))
    kinds = rates, passes, falls, steep
    data = jax.tree.map(lambda *parts: np.concatenate(parts), *kinds)
    return data, np.concatenate(right)


def kinds_of_interference():
    """Return rates with a term in the root of the strength, and their minima."""
    rng = np.random.default_rng(4)
    b, a = rng.uniform(5, 60, MODELS), rng.uniform(0.5, 20, MODELS)
    n, root = rng.poisson(b).astype(float), rng.uniform(0.5, 8, MODELS)
    inside = (np.sqrt(root**2 + 4 * a * np.maximum(n - b, 0)) - root) / (2 * a)
    data = {"a": a, "n": n, "b": b, "root": root, "end": np.full(MODELS, 100.0)}
    return data, inside**2


@pytest.mark.slow
@pytest.mark.parametrize("nll", [events, events_with_limit, interference])
def test_ends_without_derivatives(nll):
    data, right = kinds_of_interference() if nll is interference else kinds_of_events()
    parts = np.random.default_rng(5).choice([0.0, 0.01, 0.3, 0.5, 0.9, 1.0], right.size)
    starts = data["end"] * parts

    def fit(start, data):
        state = ew.State.from_pytree({"p": start})
        bounds = {"p": ew.Interval(0.0, data["end"])}
        return ew.fit(nll, state, data, bounds=bounds, throw=False)

    result = jax.jit(jax.vmap(fit))(starts, data)
    assert bool(jnp.all(result.success))
    np.testing.assert_allclose(result.params["p"], right, rtol=1e-5, atol=1e-12)
    on_end = (right == 0) | (right == data["end"])
    np.testing.assert_array_equal(result.at_bound[:, 0], on_end)
    assert np.all(np.isfinite(result.covariance))
    if nll is not events:
        # There is a value on the very end.
        np.testing.assert_array_equal(result.params["p"][on_end], right[on_end])


def two_regions(params, data):
    """Return -ln L of a region of signal alone, and one with a background."""
    signal, n = data["signal"], data["n"]
    first = params["mu"] * signal[0]
    second = params["mu"] * signal[1] + params["scale"] * data["background"] * jnp.exp(
        data["effect"] * params["shift"]
    )
    constraints = params["shift"] ** 2 + ((params["scale"] - 1) / 0.3) ** 2
    return (
        (first - n[0] * jnp.log(first))
        + (second - n[1] * jnp.log(second))
        + 0.5 * constraints
    )


def with_interference(params, data):
    """Return -ln L of a region with a term in the root of the strength."""
    signal, mu = data["signal"], params["mu"]
    rate = signal[0] * mu + signal[1] * jnp.sqrt(mu)
    rate = rate + params["scale"] * data["background"] * jnp.exp(
        data["effect"] * params["shift"]
    )
    constraints = params["shift"] ** 2 + ((params["scale"] - 1) / 0.3) ** 2
    return rate - data["n"][1] * jnp.log(rate) + 0.5 * constraints


def regions(seed: int):
    rng = np.random.default_rng(seed)
    background = rng.uniform(3, 60)
    first = 0.0 if rng.random() < 0.6 else rng.poisson(1.0)
    data = {
        "signal": rng.uniform(0.2, 8, 2),
        "background": background,
        "effect": rng.uniform(-0.2, 0.2),
        "n": np.array([first, rng.poisson(background * rng.uniform(0.6, 1.2))], float),
    }
    return data, rng.choice([0.0, 0.1, 0.5, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("nll", [two_regions, with_interference])
@pytest.mark.parametrize("models", [25, 400], ids=["few", "many"])
def test_ends_without_derivatives_among_nuisances(nll, models):
    bounds = {"mu": ew.Interval(0.0, 30.0), "scale": ew.Interval(0.05, 3.0)}

    @jax.jit
    def slope(x, data):
        return jax.value_and_grad(
            lambda x: nll({"mu": x[0], "shift": x[1], "scale": x[2]}, data)
        )(x)

    def smooth(x, data):
        value, gradient = slope(x, data)
        return float(value), np.asarray(gradient)

    box = [(1e-13, 30.0), (-8.0, 8.0), (0.05, 3.0)]
    for seed in range(models):
        data, start = regions(seed)
        state = ew.State.from_pytree({"mu": start, "shift": 0.0, "scale": 0.6})
        result = ew.fit(nll, state, data, bounds=bounds, throw=False)
        assert bool(result.success), (seed, result)
        assert np.all(np.isfinite(result.covariance))
        place = np.asarray([*(result.params[k] for k in ("mu", "shift", "scale"))])
        for first in ([0.3, 0.0, 0.8], np.clip(place, *np.transpose(box))):
            other = minimize(smooth, first, (data,), "L-BFGS-B", jac=True, bounds=box)
            assert float(result.nll) < other.fun + 1e-6, (seed, result, other)


def roots_among_background(params, data):
    """Return -ln L of two bins with a term in the root of the strength."""
    mu, shift = params["mu"], params["shift"]
    rate = data["signal"] * mu + data["root"] * jnp.sqrt(mu)
    rate = rate + data["background"] * jnp.exp(0.1 * shift * data["effect"])
    return jnp.sum(rate - data["n"] * jnp.log(rate)) + 0.5 * shift**2


def background_and_root(rng):
    background = rng.uniform(20, 80, 2)
    return {
        "signal": rng.uniform(2, 10, 2),
        "root": rng.uniform(0.5, 4, 2),
        "background": background,
        "effect": rng.uniform(-1, 1, 2),
        "n": background,
    }


@pytest.mark.slow
@pytest.mark.parametrize("solver", [None, NewtonCG()], ids=["default", "NewtonCG"])
def test_background_alone_with_a_root_of_the_strength(solver):
    # The Hessian next to the end is indefinite, as a nuisance follows the root.
    rng = np.random.default_rng(3)
    for case in range(MODELS if solver is None else MODELS // 5):
        data, start = background_and_root(rng), rng.choice([0.0, 0.1, 1.0, 5.0])
        result = ew.fit(
            roots_among_background,
            ew.State.from_pytree({"mu": start, "shift": 0.0}),
            data,
            bounds={"mu": ew.Interval(0.0, 10.0)},
            solver=solver,
            throw=False,
        )
        assert bool(result.success), (case, result)
        assert float(result.params["mu"]) < 1e-20
        assert abs(float(result.params["shift"])) < 1e-6


@pytest.mark.slow
def test_limits_with_a_root_of_the_strength():
    # The Hessian of the best fit, at 0, foretells slopes that are a million times too
    # large elsewhere.
    effect, data = jnp.asarray([0.9, -0.4]), jnp.asarray([36.0, 22.0])

    def expected(p):
        rate = p["mu"] * jnp.asarray([4.0, 7.0]) + jnp.sqrt(p["mu"])
        return rate + jnp.asarray([38.0, 24.0]) * jnp.exp(0.1 * p["shift"] * effect)

    def main_nll(p, n):
        rate = expected(p)
        return jnp.sum(rate - n * jnp.log(rate))

    model = ew.Model(
        main_nll,
        {"mu": 1.0, "shift": 0.0},
        data,
        constraints={"shift": ew.Normal(0.0, 1.0)},
        bounds={"mu": ew.Interval(0.0, 10.0)},
        expected=expected,
    )
    limits = ew.limits(model, "mu")
    assert float(limits.minimum.params["mu"]) < 1e-20
    tested = ew.cls(model, "mu", float(limits.observed))
    assert float(tested.observed) == pytest.approx(0.05, rel=1e-6)
    tested = ew.cls(model, "mu", float(limits.expected.median))
    assert float(tested.expected.median) == pytest.approx(0.05, rel=1e-6)


@pytest.mark.slow
def test_ends_without_derivatives_are_left_by_the_matrix_free_solver():
    bounds = {"mu": ew.Interval(0.0, 30.0), "scale": ew.Interval(0.05, 3.0)}
    for seed in range(MODELS // 5):
        data, start = regions(seed)
        state = ew.State.from_pytree({"mu": start, "shift": 0.0, "scale": 0.6})
        exact, free = (
            ew.fit(with_interference, state, data, bounds=bounds, solver=solver)
            for solver in (None, NewtonCG())
        )
        assert float(free.nll) == pytest.approx(float(exact.nll), abs=1e-7), seed


@pytest.mark.slow
def test_what_falls_without_limit_towards_a_bound_is_no_minimum():
    state = ew.State.from_pytree({"width": 1.0})
    result = ew.fit(
        lambda p, _: jnp.log(p["width"]) + 0.0 * jnp.sqrt(p["width"]),
        state,
        None,
        bounds={"width": ew.Interval(0.0, 5.0)},
        throw=False,
    )
    assert not bool(result.success)


@pytest.mark.slow
def test_derivatives_of_a_fit_next_to_an_end():
    data, _ = regions(0)
    data = jax.tree.map(jnp.asarray, data | {"background": 50.0})
    state = ew.State.from_pytree({"mu": 0.5, "shift": 0.0, "scale": 1.0})
    bounds = {"mu": ew.Interval(0.0, 30.0)}

    def shift(n):
        counts = jnp.stack([jnp.zeros(()), n])
        fit = ew.fit(with_interference, state, data | {"n": counts}, bounds=bounds)
        return fit.params["shift"]

    numeric = (shift(43.01) - shift(42.99)) / 0.02
    assert float(jax.grad(shift)(43.0)) == pytest.approx(float(numeric), rel=1e-5)


def kinked(params, data):
    """Return a parabola with a kink, coupled to two smooth parameters."""
    t = (params["t"] - data["where"]) / data["unit"]
    rest = params["rest"] - jnp.stack([0.3 * t, -0.2 * t])
    bent = jnp.where(t > 0, data["up"] * t, -data["down"] * t)
    return data["level"] + bent + 0.5 * t**2 + 0.5 * jnp.sum(rest**2)


def fit_kinked(data, start, solver=None):
    state = {"t": start, "rest": jnp.asarray([0.5, -1.0])}
    state = ew.State.from_pytree(state)
    return ew.fit(kinked, state, data, solver=solver, throw=False)


@pytest.mark.slow
@pytest.mark.parametrize("solver", [None, NewtonCG()], ids=["default", "NewtonCG"])
def test_a_kink_is_told_wherever_it_is(solver):
    rng = np.random.default_rng(11)
    for case in range(MODELS if solver is None else MODELS // 5):
        unit = 10 ** rng.uniform(-4, 4)
        data = {
            "where": rng.choice([0.0, 0.0, 0.1, -3.0, 100.0]) * unit,
            "unit": unit,
            "up": rng.uniform(0.05, 5),
            "down": rng.uniform(0.05, 5),
            "level": rng.choice([0.0, 10.0, -300.0]),
        }
        start = data["where"] + unit * rng.uniform(-3, 3)
        result = fit_kinked(data, start, solver)
        assert bool(result.status == RESULTS.kink), (case, data, start, result)
        assert abs(result.params["t"] - data["where"]) < 1e-6 * unit
        assert "concerned: t." in result.message()
        assert int(result.num_steps) < 150
