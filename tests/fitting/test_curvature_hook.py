"""Fits of objectives that bring their own second derivatives."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import everwillow as ew
from everwillow.curvature import Arrow, Dense
from everwillow.objective import Evaluation
from everwillow.parameters import SoftPlusTransform
from tests.fitting.objectives import jit, state


CENTERS = np.linspace(0.0, 10.0, 16)
TRUTH = {"height": 40.0, "mass": 4.0, "slope": 0.2}
PEAK_START = state(height=30.0, mass=4.5, slope=0.1)


def peak_rates(params):
    """A peak on a falling spectrum, which bends in two of three parameters."""
    peak = jnp.exp(-0.5 * ((CENTERS - params["mass"]) / 1.2) ** 2)
    return params["height"] * peak + 50.0 * jnp.exp(-params["slope"] * CENTERS)


PEAK_COUNTS = np.random.default_rng(2).poisson(peak_rates(TRUTH)).astype(float)


def generic_peak(params, counts):
    rates = peak_rates(params)
    return jnp.sum(rates - counts * jnp.log(rates))


@jax.custom_vjp
def _only_backward(value):
    return value


_only_backward.defvjp(lambda value: (value, None), lambda _, slope: (slope,))


class Peak(eqx.Module):
    """``H = JᵀWJ + Σ cᵢ ∇²λᵢ``, and an objective that cannot be differentiated twice.

    JAX refuses to take forward derivatives of ``__call__``, so the Hessian of a fit
    that works is that of ``curvature``.
    """

    def __call__(self, params, counts):
        return _only_backward(generic_peak(params, counts))

    def curvature(self, params, counts):
        x, unravel = ravel_pytree(params)
        rates_of = lambda v: peak_rates(unravel(v))
        rates, jacobian = rates_of(x), jax.jacfwd(rates_of)(x)
        c = 1 - counts / rates
        bend = jax.hessian(lambda v: jnp.vdot(c, rates_of(v)))(x)
        weights = (counts / rates**2)[:, None]
        return Evaluation(
            jnp.sum(rates - counts * jnp.log(rates)),
            jacobian.T @ c,
            Dense(jacobian.T @ (weights * jacobian) + bend),
            Dense(jacobian.T @ (jacobian / rates[:, None])),
        )


def assert_same_fit(one, other, rtol=1e-7):
    np.testing.assert_allclose(one.nll, other.nll, rtol=1e-12)
    for key, value in one.params.to_dict().items():
        np.testing.assert_allclose(value, other.params[key], rtol=rtol)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-6, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fixed": {"mass": 3.9}},
        {"bounds": {"height": ew.Interval(0.0, 35.0)}},
        {"bounds": {"slope": SoftPlusTransform()}},
    ],
    ids=["free", "fixed", "at a bound", "transformed"],
)
def test_a_poisson_model_with_its_own_hessian(options):
    one = ew.fit(Peak(), PEAK_START, PEAK_COUNTS, **options)
    other = ew.fit(generic_peak, PEAK_START, PEAK_COUNTS, **options)
    assert_same_fit(one, other)


@pytest.mark.slow
def test_a_wrong_hook_is_seen():
    # If this held no matter what the hook says, the tests above would prove nothing.
    class Doubled(eqx.Module):
        def __call__(self, params, counts):
            return generic_peak(params, counts)

        def curvature(self, params, counts):
            found = Peak().curvature(params, counts)
            twice = found.curvature.scaled(jnp.full(3, np.sqrt(2.0)))
            return Evaluation(found.value, found.gradient, twice)

    right = ew.fit(Peak(), PEAK_START, PEAK_COUNTS)
    half = ew.fit(Doubled(), PEAK_START, PEAK_COUNTS, throw=False)
    np.testing.assert_allclose(half.hessian, 2 * right.hessian, rtol=1e-3)


def gamma_data(bins, seed=5):
    rng = np.random.default_rng(seed)
    templates = np.stack(
        [50 * np.exp(-((np.linspace(-3, 5, bins)) ** 2)), np.linspace(100, 40, bins)], 1
    )
    tau = rng.uniform(50.0, 500.0, bins)
    counts = rng.poisson(templates.sum(1)).astype(float)
    aux = rng.poisson(tau).astype(float)
    return {"templates": templates, "n": counts, "tau": tau, "aux": aux}


def gammas_nll(params, data):
    """Counts of ``γᵢ νᵢ(θ)``, and a Poisson constraint of mean ``τᵢ γᵢ`` for each γ."""
    gamma = params["gamma"]
    rates = gamma * (data["templates"] @ params["theta"])
    main = jnp.sum(rates - data["n"] * jnp.log(rates))
    return main + jnp.sum(data["tau"] * gamma - data["aux"] * jnp.log(gamma))


class Gammas(eqx.Module):
    """The same with its arrow; it cannot be differentiated twice either."""

    def __call__(self, params, data):
        return _only_backward(gammas_nll(params, data))

    def curvature(self, params, data):
        gamma, theta = params["gamma"], params["theta"]
        templates, n, aux = data["templates"], data["n"], data["aux"]
        nu = templates @ theta
        bins, strengths = templates.shape
        gradient = {
            "gamma": nu - n / gamma + data["tau"] - aux / gamma,
            "theta": templates.T @ (gamma - n / nu),
        }
        arrow = Arrow(
            templates.T @ ((n / nu**2)[:, None] * templates),
            templates.T,
            (n + aux) / gamma**2,
            bins + np.arange(strengths),
            np.arange(bins),
        )
        flat = ravel_pytree(gradient)[0]
        return Evaluation(gammas_nll(params, data), flat, arrow)


def gammas_start(bins):
    return state(gamma=np.ones(bins), theta=np.array([0.8, 1.1]))


def best_gammas(theta, data):
    """``∂/∂γ = 0`` gives ``γ = (n + aux) / (ν + τ)``."""
    return (data["n"] + data["aux"]) / (data["templates"] @ theta + data["tau"])


def profiled(theta, data, prior=0.0):
    """Solve for θ with the gammas put in, by Newton in NumPy.

    The profiled -ln L is ``Σ (n + aux) log(ν + τ) - n log ν`` and a constant.
    """
    templates, n, both = data["templates"], data["n"], data["n"] + data["aux"]
    for _ in range(30):
        nu = templates @ theta
        total = nu + data["tau"]
        gradient = templates.T @ (both / total - n / nu) + prior * (theta - 1)
        weights = n / nu**2 - both / total**2
        hessian = templates.T @ (weights[:, None] * templates) + prior * np.eye(2)
        theta = theta - np.linalg.solve(hessian, gradient)
    return theta, hessian


BINS = 1000
MANY = gamma_data(BINS)


@pytest.mark.slow
def test_a_thousand_gammas_have_the_profiled_minimum():
    result = ew.fit(Gammas(), gammas_start(BINS), MANY)
    theta, hessian = profiled(np.ones(2), MANY)
    np.testing.assert_allclose(result.params["theta"], theta, rtol=1e-8)
    gammas = best_gammas(theta, MANY)
    np.testing.assert_allclose(result.params["gamma"], gammas, rtol=1e-8)
    # Profiling leaves the inverse of the profiled Hessian as the covariance.
    corner = result.covariance[BINS:, BINS:]
    np.testing.assert_allclose(corner, np.linalg.inv(hessian), rtol=1e-6)


@pytest.mark.slow
def test_a_thousand_gammas_differentiate_through_the_fit():
    def strength(n):
        data = MANY | {"n": n}
        return ew.fit(Gammas(), gammas_start(BINS), data).params["theta"][0]

    slope = jit(jax.grad(strength))(jnp.asarray(MANY["n"]))
    theta, hessian = profiled(np.ones(2), MANY)
    nu = MANY["templates"] @ theta
    # dθ = -H⁻¹ ∂g/∂n, with the gradient of the profiled -ln L.
    mixed = MANY["templates"].T * (1 / (nu + MANY["tau"]) - 1 / nu)
    wanted = -np.linalg.solve(hessian, mixed)[0]
    np.testing.assert_allclose(slope, wanted, rtol=1e-6, atol=1e-12)


FEW = gamma_data(20)
FEW_START = gammas_start(20)


@pytest.mark.slow
def test_gammas_at_fixed_strengths():
    theta = np.array([0.7, 1.2])
    result = ew.fit(Gammas(), FEW_START, FEW, fixed={"theta": theta})
    np.testing.assert_allclose(result.params["gamma"], best_gammas(theta, FEW))
    np.testing.assert_array_equal(result.params["theta"], theta)
    wanted = best_gammas(theta, FEW) ** 2 / (FEW["n"] + FEW["aux"])
    np.testing.assert_allclose(result.covariance, np.diag(wanted), rtol=1e-6)


@pytest.mark.slow
def test_strengths_at_fixed_gammas():
    fixed = {"gamma": np.linspace(0.9, 1.1, 20)}
    one = ew.fit(Gammas(), FEW_START, FEW, fixed=fixed)
    other = ew.fit(gammas_nll, FEW_START, FEW, fixed=fixed)
    assert one.covariance.shape == (2, 2)
    assert_same_fit(one, other)


def prior(params, data):
    return 0.5 * 400.0 * jnp.sum((params["theta"] - 1) ** 2)


@pytest.mark.slow
def test_an_arrow_that_shares_its_strengths():
    nll, start = ew.prepare(
        [Gammas(), prior], [FEW_START, state(theta=np.array([0.8, 1.1]))]
    )
    result = ew.fit(nll, start, FEW)
    theta, hessian = profiled(np.ones(2), FEW, prior=400.0)
    assert np.max(np.abs(theta - profiled(np.ones(2), FEW)[0])) > 1e-3
    np.testing.assert_allclose(result.params["theta"], theta, rtol=1e-8)
    np.testing.assert_allclose(result.params["gamma"], best_gammas(theta, FEW))
    corner = result.covariance[-2:, -2:]
    np.testing.assert_allclose(corner, np.linalg.inv(hessian), rtol=1e-6)


@pytest.mark.slow
def test_two_arrows_that_share_their_gammas():
    # With all in common the sum is twice the objective, of half the covariance.
    nll, start = ew.prepare([Gammas(), Gammas()], [FEW_START, FEW_START])
    both = ew.fit(nll, start, FEW)
    alone = ew.fit(Gammas(), FEW_START, FEW)
    for key in ("gamma", "theta"):
        np.testing.assert_allclose(both.params[key], alone.params[key], rtol=1e-7)
    np.testing.assert_allclose(2 * both.covariance, alone.covariance, rtol=1e-6)


@pytest.mark.slow
def test_the_derivative_through_an_arrow_is_that_of_the_generic_fit():
    def outputs(objective):
        def fn(data):
            result = ew.fit(objective, FEW_START, data)
            return {"params": result.params.to_dict(), "nll": result.nll}

        return jit(jax.jacrev(fn))({k: jnp.asarray(v) for k, v in FEW.items()})

    one, other = outputs(Gammas()), outputs(gammas_nll)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
