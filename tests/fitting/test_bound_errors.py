"""One-sided errors at bounds against closed forms and against MINOS."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.special import erf

import everwillow as ew
from everwillow.profile import minos


ONE_SIGMA = float(erf(np.sqrt(0.5)))
MODELS = 200

START = ew.State.from_pytree({"mu": np.array([0.5, 0.5]), "theta": np.zeros(3)})
BOUNDS = {
    "mu": ew.Interval(np.zeros(2), np.full(2, 50.0)),
    "theta": ew.Interval(np.full(3, -1.2), np.full(3, 1.2)),
}


def counts(params, data):
    """Two signals and three systematic uncertainties in four bins."""
    rate = data["b"] * jnp.exp(data["shifts"] @ params["theta"])
    rate = rate + data["s"] @ params["mu"]
    main = jnp.sum(rate - data["n"] * jnp.log(rate))
    return main + 0.5 * jnp.sum(params["theta"] ** 2)


def random_counts(rng):
    background = rng.uniform(20, 200, 4)
    return {
        "b": background,
        "s": rng.uniform(0, 20, (4, 2)),
        "shifts": rng.normal(0, 0.25, (4, 3)),
        "n": rng.poisson(background * np.exp(rng.normal(0, 0.25, 4))) * 1.0,
    }


def gaussian(params, data):
    away = jnp.concatenate([params["mu"], params["theta"]]) - data["centre"]
    return 0.5 * away @ data["hessian"] @ away


def random_gaussian(rng):
    """Strongly correlated: the unprofiled curvature is wrong by large factors."""
    root = rng.normal(size=(5, 5))
    root[:, 1:] += rng.uniform(0, 6) * rng.normal(size=(5, 1))
    centre = np.concatenate([rng.normal(-0.3, 1, 2), rng.normal(0, 1, 3)])
    return {"centre": centre, "hessian": root @ root.T + 0.05 * np.eye(5)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("nll", "draw"), [(counts, random_counts), (gaussian, random_gaussian)]
)
def test_one_sided_errors_are_those_of_minos(nll, draw):
    """With others that reach bounds on the way, and that leave theirs."""
    rng = np.random.default_rng(20)
    compared = 0
    for _ in range(MODELS):
        data = draw(rng)
        result = ew.fit(nll, START, data, bounds=BOUNDS)
        held = result.at_bound
        names = [n for n, one in zip(result.labels, held, strict=True) if one]
        if not names:
            continue
        found = minos(nll, result, data, bounds=BOUNDS, names=names, cl=ONE_SIGMA)
        inwards = np.where(result.gradient[held] > 0, found.upper, -found.lower)
        np.testing.assert_allclose(result.bound_errors[held], inwards, rtol=1e-6)
        # All by the likelihood, none by its quadratic model.
        assert np.isfinite(result.bound_distances[held]).all()
        compared += len(names)
    assert compared > MODELS


@pytest.mark.slow
def test_derivatives_are_those_of_finite_differences():
    """Also in what moves the bound and others that leave theirs."""
    rng = np.random.default_rng(3)

    @jax.jit
    def errors(data, low):
        bounds = BOUNDS | {"mu": ew.Interval(low, np.full(2, 50.0))}
        result = ew.fit(gaussian, START, data, bounds=bounds)
        return jnp.where(result.at_bound, result.bound_errors, 0)

    slopes = jax.jit(jax.jacrev(errors, argnums=(0, 1)))
    for _ in range(4):
        data = random_gaussian(rng)
        low = np.zeros(2)
        found = slopes(data, low)
        for where, change in (("centre", rng.normal(size=5)), ("low", np.ones(2))):

            def shifted(step, where=where, change=change, data=data, low=low):
                if where == "low":
                    return errors(data, low + step * change)
                return errors(data | {where: data[where] + step * change}, low)

            expected = (shifted(1e-5) - shifted(-1e-5)) / 2e-5
            slope = found[1] if where == "low" else found[0][where]
            np.testing.assert_allclose(slope @ change, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_batch_is_a_loop():
    rng = np.random.default_rng(5)
    several = [random_counts(rng) for _ in range(8)]
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *several)
    batch = jax.vmap(lambda d: ew.fit(counts, START, d, bounds=BOUNDS).bound_errors)
    single = [ew.fit(counts, START, d, bounds=BOUNDS).bound_errors for d in several]
    np.testing.assert_allclose(batch(stacked), single, rtol=1e-7)


def line(params, data):
    return data["slope"] * params["x"] + jnp.where(
        params["x"] > data["wall"], jnp.nan, 0
    )


@pytest.mark.parametrize(
    ("slope", "wall", "expected"),
    [
        (2.0, np.inf, 0.25),
        # It rises by less than one half inside of the range.
        (0.1, np.inf, 3.0),
        # No likelihood beyond, and no rise by one half before.
        (0.2, 1.5, 2.5),
    ],
)
def test_a_straight_line(slope, wall, expected):
    """δ = ½ / slope, at most the width of the range."""
    start = ew.State.from_pytree({"x": 1.0})
    box = {"x": ew.Interval(0.0, 3.0)}
    result = ew.fit(
        line, start, {"slope": slope, "wall": wall}, bounds=box, throw=False
    )
    np.testing.assert_allclose(result.bound_errors, [expected], rtol=1e-12)


def with_interference(params, data):
    """-ln L of two bins with a term in the root of the strength."""
    rate = data["s"] * params["mu"] + data["i"] * jnp.sqrt(params["mu"])
    rate = rate + data["b"] * jnp.exp(0.1 * params["a"] * data["k"])
    return jnp.sum(rate - data["n"] * jnp.log(rate)) + 0.5 * params["a"] ** 2


@pytest.mark.slow
def test_from_a_bound_where_the_slope_is_infinite():
    rng = np.random.default_rng(1)
    start = ew.State.from_pytree({"mu": 1.0, "a": 0.0})
    bounds = {"mu": ew.Interval(0.0, 10.0)}
    for case in range(20):
        background = rng.uniform(20, 80, 2)
        data = {
            "b": background,
            "s": rng.uniform(2, 10, 2),
            "i": rng.uniform(0.5, 4, 2),
            "k": rng.uniform(-1, 1, 2),
            "n": 0.95 * background,
        }
        result = ew.fit(with_interference, start, data, bounds=bounds)
        assert float(result.params["mu"]) == 0

        def rise(mu, data=data, least=float(result.nll)):
            found = minimize_scalar(
                lambda a: float(with_interference({"mu": mu, "a": a}, data)),
                bounds=(-4, 4),
                method="bounded",
                options={"xatol": 1e-8},
            )
            return found.fun - least - 0.5

        right = brentq(rise, 1e-6, 10, xtol=1e-9)
        assert result.bound_errors[1] == pytest.approx(right, rel=1e-6), case
