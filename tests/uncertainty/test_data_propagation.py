"""Errors from those of the data: closed forms, one fit, and fits to sWeighted data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import everwillow as ew
from everwillow._errors import ArgumentTypeError, NonFiniteError, ShapeMismatchError
from everwillow.likelihood.sweights import sweights
from everwillow.likelihood.unbinned import extended_nll
from everwillow.uncertainty import propagate_data, sandwich
from tests.helpers import TraceCounter, assert_no_retrace
from tests.uncertainty.likelihoods import state


def test_a_linear_function_of_correlated_data():
    rng = np.random.default_rng(1)
    matrix, data = rng.normal(size=(3, 5)), rng.normal(size=5)
    root = rng.normal(size=(5, 5))
    covariance = root @ root.T

    def estimate(data):
        return {"a": (matrix @ data)[:2], "b": (matrix @ data)[2]}

    out = propagate_data(estimate, data, covariance)
    exact = matrix @ covariance @ matrix.T
    np.testing.assert_allclose(out.covariance, exact, rtol=1e-10)
    np.testing.assert_allclose(out.values["a"], (matrix @ data)[:2], rtol=1e-12)
    np.testing.assert_allclose(out.errors["b"], exact[2, 2] ** 0.5, rtol=1e-12)
    single = propagate_data(estimate, data, np.diagonal(covariance))
    exact = (matrix * np.diagonal(covariance)) @ matrix.T
    np.testing.assert_allclose(single.covariance, exact, rtol=1e-10)
    known = propagate_data(estimate, data, np.zeros(5))
    assert known.errors["a"].tolist() == [0, 0]


def test_the_shape_of_data_is_kept():
    data = np.arange(6.0).reshape(2, 3)
    out = propagate_data(lambda d: d.sum(axis=1), data, data)
    np.testing.assert_allclose(out.covariance, np.diag([3.0, 12.0]), rtol=1e-12)
    assert isinstance(out.covariance, np.ndarray)


EVENTS = np.random.default_rng(7).standard_t(5, size=300)
WEIGHTS = np.random.default_rng(8).uniform(0.2, 3.0, size=300)


def gauss_terms(params, data):
    x, w = data
    pull = (x - params["mu"]) / params["sigma"]
    return w * (0.5 * pull**2 + jnp.log(params["sigma"]))


def gauss_nll(params, data):
    return jnp.sum(gauss_terms(params, data))


@pytest.mark.slow
def test_one_fit_of_weighted_events_has_the_errors_of_the_sandwich():
    start = state(mu=0.0, sigma=1.0)
    calls = TraceCounter(gauss_nll)

    def estimate(weights):
        return ew.fit(calls, start, (EVENTS, weights)).params.to_pytree()

    out = propagate_data(estimate, WEIGHTS, WEIGHTS**2)
    result = ew.fit(gauss_nll, start, (EVENTS, WEIGHTS))
    exact = sandwich(gauss_nll, result, (EVENTS, WEIGHTS), nll_terms=gauss_terms)
    np.testing.assert_allclose(out.covariance, exact, rtol=1e-7)
    np.testing.assert_allclose(out.errors["mu"], exact[0, 0] ** 0.5, rtol=1e-7)
    with assert_no_retrace(calls):
        propagate_data(estimate, 2 * WEIGHTS, WEIGHTS**2)


def test_what_cannot_be_computed_is_an_error():
    def root(data):
        return jnp.sqrt(data)

    with pytest.raises(NonFiniteError, match="derivatives by the data are not finite"):
        propagate_data(root, np.array([1.0, 0.0]), np.ones(2))
    out = propagate_data(root, np.array([1.0, 0.0]), np.ones(2), throw=False)
    assert np.isnan(out.errors).all()
    with pytest.raises(ShapeMismatchError, match=r"is \(3,\). Expected .* \(2,\)"):
        propagate_data(root, np.ones(2), np.ones(3))
    with pytest.raises(ArgumentTypeError, match="estimate: expected a function"):
        propagate_data(np.ones(2), np.ones(2), np.ones(2))


@pytest.mark.slow
def test_a_fit_that_fails_leaves_no_errors():
    """-ln L falls without limit."""

    def estimate(data):
        result = ew.fit(
            lambda p, x: -jnp.sum(x) * p["mu"], state(mu=0.0), data, throw=False
        )
        return result.params["mu"]

    with pytest.raises(NonFiniteError, match="each fit in it succeeds"):
        propagate_data(estimate, np.ones(3), np.ones(3))


# A peak over an exponential background in the mass, and two lifetimes.
START = {"ns": 600.0, "nb": 1200.0, "mean": 0.6, "width": 0.12, "slope": 2.0}
LIFETIMES = (1.0, 0.3)
RANGES = {
    "ns": ew.Interval(1.0),
    "nb": ew.Interval(1.0),
    "mean": ew.Interval(0.2, 0.8),
    "width": ew.Interval(0.01, 0.4),
}
SIZE = 2100


def densities(params, mass):
    mean, width, slope = params["mean"], params["width"], params["slope"]
    inside = norm.cdf((1 - mean) / width) - norm.cdf(-mean / width)
    background = slope * jnp.exp(-slope * mass) / -jnp.expm1(-slope)
    return jnp.stack([norm.pdf(mass, mean, width) / inside, background])


def yields_of(params):
    return jnp.stack([params["ns"], params["nb"]])


def mass_nll(params, data):
    mass, counts = data
    yields = yields_of(params)
    intensity = yields @ densities(params, mass)
    return extended_nll(jnp.log(intensity), counts, jnp.sum(yields))


def lifetime_terms(params, data):
    t, weights = data
    return weights * (t / params["tau"] + jnp.log(params["tau"]))


def lifetime_nll(params, data):
    return jnp.sum(lifetime_terms(params, data))


def signal_weights(counts, mass, fixed):
    """Fit the mass; return the weights with which events count, and the success."""
    result = ew.fit(
        mass_nll,
        ew.State.from_pytree(START),
        (mass, counts),
        bounds=RANGES,
        fixed=fixed,
        throw=False,
    )
    params = result.params.to_pytree()
    weights = sweights(densities(params, mass), yields_of(params), counts)[0]
    return counts * weights, result.success


def lifetime(counts, mass, t, fixed):
    """Fit the mass, then the lifetime of the signal.

    Returns:
        The lifetime, the inverse of the second derivative, and the sandwich of that
        with squared weights.
    """
    weights, success = signal_weights(counts, mass, fixed)
    bounds = {"tau": ew.Interval(0.01)}
    result = ew.fit(
        lifetime_nll, state(tau=1.0), (t, weights), bounds=bounds, throw=False
    )
    tau = jnp.where(success & result.success, result.params["tau"], jnp.nan)
    inverse = 1 / jnp.sum(weights * (2 * t / tau**3 - 1 / tau**2))
    squares = jnp.sum((weights * (t / tau**2 - 1 / tau)) ** 2)
    return jnp.stack([tau, inverse, squares * inverse**2])


def drawn(key):
    """Return masses, lifetimes and multiplicities, 0 for unused places."""
    keys = jax.random.split(key, 5)
    numbers = jax.random.poisson(keys[0], jnp.array([START["ns"], START["nb"]]))
    places = jnp.arange(SIZE)
    signal = places < numbers[0]
    peak = START["mean"] + START["width"] * jax.random.normal(keys[1], (SIZE,))
    uniform = jax.random.uniform(keys[2], (SIZE,))
    falling = -jnp.log1p(uniform * jnp.expm1(-START["slope"])) / START["slope"]
    t = jax.random.exponential(keys[3], (SIZE,)) * jnp.where(signal, *LIFETIMES)
    mass = jnp.where(signal, jnp.clip(peak, 0, 1), falling)
    return mass, t, (places < jnp.sum(numbers)).astype(float)


FIXED = {"mean": 0.6, "width": 0.12, "slope": 2.0}


@pytest.mark.slow
def test_a_fit_to_sweighted_data_by_all_estimating_equations():
    """One linear system of all parameters, the matrix of the weights included."""
    mass, t, counts = (x[:1800] for x in drawn(jax.random.key(5)))
    out = propagate_data(lambda u: lifetime(u, mass, t, None), counts, counts**2)
    names = list(START)

    def equations(x, u):
        def nll(params):
            return mass_nll(params, (mass, u))

        params = dict(zip(names, x[:5], strict=True))
        slopes = jax.grad(nll)(params)
        yields = yields_of(params)
        shares = densities(params, mass) / (yields @ densities(params, mass))[None, :]
        matrix = x[5:9].reshape(2, 2)
        weights = u * (jnp.linalg.inv(matrix) @ shares)[0]
        last = jax.grad(lambda tau: lifetime_nll({"tau": tau}, (t, weights)))(x[9])
        sums = (shares * u[None, :]) @ shares.T
        return jnp.concatenate(
            [
                jnp.stack([slopes[name] for name in names]),
                (matrix - sums).ravel(),
                last[None],
            ]
        )

    result = ew.fit(
        mass_nll, ew.State.from_pytree(START), (mass, counts), bounds=RANGES
    )
    params = result.params.to_pytree()
    intensity = yields_of(params) @ densities(params, mass)
    shares = densities(params, mass) / intensity[None, :]
    x = jnp.concatenate(
        [
            jnp.stack([params[name] for name in names]),
            ((shares * counts[None, :]) @ shares.T).ravel(),
            out.values[:1],
        ]
    )
    np.testing.assert_allclose(equations(x, counts)[-1], 0, atol=1e-6)
    by_parameters = jax.jacfwd(equations)(x, counts)
    scores = counts[None, :] * jax.jacfwd(equations, 1)(x, counts)
    influence = np.linalg.solve(by_parameters, scores)
    np.testing.assert_allclose(out.covariance[0, 0], influence[-1] @ influence[-1])


@pytest.mark.slow
@pytest.mark.parametrize("fixed", [FIXED, None], ids=["known shapes", "fitted shapes"])
def test_the_errors_of_a_lifetime_of_sweighted_events_cover(fixed):
    """Pulls of toys; the inverse Hessian is too small, also scaled or squared."""

    def toy(key):
        mass, t, counts = drawn(key)
        out = propagate_data(lambda u: lifetime(u, mass, t, fixed), counts, counts**2)
        return jnp.stack([out.values[0], out.errors[0], *jnp.sqrt(out.values[1:])])

    toys = 600
    keys = jax.random.split(jax.random.key(3), toys)
    tau, *errors = jax.jit(lambda k: jax.lax.map(toy, k, batch_size=20))(keys).T
    assert np.isfinite(tau).all()
    widths = [np.std((tau - LIFETIMES[0]) / error) for error in errors]
    tolerance = 3 / np.sqrt(2 * toys)
    assert abs(widths[0] - 1) < tolerance
    assert widths[1] > 1 + tolerance
    if fixed is None:
        # Squared weights do not contain the errors of the shapes.
        assert widths[2] > 1 + tolerance
