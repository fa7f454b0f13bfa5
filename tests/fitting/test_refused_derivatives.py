"""Likelihoods that JAX differentiates in one mode only, once only, or not at all.

The troubles of users behind it: `jax.experimental.ode.odeint` has a custom_vjp
(pyro-ppl/numpyro#1195, jax-ml/jax#7401), external codes come through callbacks
(jax-ml/jax#16650, PlasmaControl/DESC#1028).
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from jax.experimental.ode import odeint
from scipy.optimize import minimize

import everwillow as ew
from everwillow._derivatives import DIFFERENCES, EXACT, NONE, second_order
from everwillow._errors import DerivativeError
from everwillow.profile import minos


SIGNAL = np.array([1.0, 4.0, 2.0])
START = ew.State.from_pytree({"mu": 1.0, "slope": 0.1})
COUNTS = np.array([7.0, 15.0, 12.0])


def poisson(v, counts):
    """Return -ln L of counts with a curved dependence on both parameters."""
    rate = v[0] * SIGNAL + 5.0 * jnp.exp(v[1] * np.arange(3.0))
    return jnp.sum(rate - counts * jnp.log(rate))


def _twice(rule):
    """Return `poisson` with a gradient of its own, which has a rule of its own."""

    @jax.custom_vjp
    def slope(v, counts):
        return jax.grad(poisson)(v, counts)

    slope.defvjp(lambda *args: (slope(*args), args), rule)

    @jax.custom_vjp
    def value(v, counts):
        return poisson(v, counts)

    def pull(args, change):
        return change * slope(*args), change * jax.grad(poisson, 1)(*args)

    value.defvjp(lambda *args: (poisson(*args), args), pull)
    return value


def _no_rule(args, change):
    raise NotImplementedError("a second derivative was never written")


def _root(x):
    """Return a square root by a loop of unknown length, which refuses reverse mode."""

    def nearer(carry):
        old, _ = carry
        new = 0.5 * (old + x / old)
        return new, jnp.abs(new - old)

    return jax.lax.while_loop(lambda c: c[1] > 1e-14, nearer, (x * 0 + 1, x * 0 + 1))[0]


def _external(v, counts):
    """Evaluate outside of JAX; as a user writes it, without a `vmap_method`."""

    def host(v, counts):
        rate = v[0] * SIGNAL + 5.0 * np.exp(v[1] * np.arange(3.0))
        return np.asarray(np.sum(rate - counts * np.log(rate)))

    shape = jax.ShapeDtypeStruct((), jnp.float64)
    return jax.pure_callback(host, shape, v, counts)


@jax.custom_vjp
def _external_with_slope(v, counts):
    return _external(v, counts)


def _external_slope(args, change):
    def host(v, counts):
        bend = np.exp(np.asarray(v)[1] * np.arange(3.0))
        pull = 1 - counts / (np.asarray(v)[0] * SIGNAL + 5.0 * bend)
        return np.array([pull @ SIGNAL, pull @ (5.0 * bend * np.arange(3.0))])

    v, counts = args
    shape = jax.ShapeDtypeStruct(v.shape, v.dtype)
    return change * jax.pure_callback(host, shape, v, counts), jnp.zeros_like(counts)


_external_with_slope.defvjp(lambda *args: (_external(*args), args), _external_slope)


class Likelihood(eqx.Module):
    """-ln L of a strength and a slope, by one of the functions above."""

    function: Callable = eqx.field(static=True)

    def __call__(self, params, counts):
        return self.function(jnp.stack([params["mu"], params["slope"]]), counts)


plain = Likelihood(poisson)
reverse_only = Likelihood(
    _twice(lambda args, change: jax.vjp(jax.grad(poisson), *args)[1](change))
)
once = Likelihood(_twice(_no_rule))
forward_only = Likelihood(lambda v, n: poisson(v.at[0].set(_root(v[0] ** 2)), n))
with_slope = Likelihood(_external_with_slope)
external = Likelihood(_external)

KINDS = {
    "reverse only": (reverse_only, EXACT, 1e-8),
    "forward only": (forward_only, EXACT, 1e-6),
    "once only": (once, DIFFERENCES, 5e-6),
    "external with gradient": (with_slope, DIFFERENCES, 5e-6),
}
slow = pytest.mark.slow
# The gate runs the kind that takes most care.
kinds = pytest.mark.parametrize(
    "kind",
    [
        kind
        if kind == "once only"
        else pytest.param(kind, marks=[slow, pytest.mark.exhaustive])
        for kind in KINDS
    ],
)


@pytest.mark.slow
@kinds
def test_two_hundred_fits_are_those_of_the_plain_likelihood(kind):
    nll, derivatives, rtol = KINDS[kind]
    rng = np.random.default_rng(11)
    truth = np.stack([rng.uniform(2, 30, 200), rng.uniform(-0.3, 0.5, 200)])
    rates = truth[0] * SIGNAL[:, None] + 5 * np.exp(truth[1] * np.arange(3.0)[:, None])
    for counts in rng.poisson(rates).T.astype(float):
        best = ew.fit(plain, START, counts, throw=False)
        found = ew.fit(nll, START, counts, throw=False)
        assert found.derivatives == derivatives
        # Where nothing is known of the slope, differences may say less than is known.
        if not best.success or best.errors["slope"] > 1:
            continue
        assert found.success
        for key in START:
            error = float(best.errors[key])
            assert abs(found.params[key] - best.params[key]) < 1e-5 * error
            assert abs(found.errors[key] / error - 1) < rtol


@slow
@kinds
@pytest.mark.parametrize("solver", [optx.BFGS(1e-9, 1e-9), ew.NewtonCG()])
def test_other_solvers(kind, solver):
    nll, derivatives, _ = KINDS[kind]
    best = ew.fit(plain, START, COUNTS)
    found = ew.fit(nll, START, COUNTS, solver=solver)
    assert found.derivatives == derivatives
    np.testing.assert_allclose(found.covariance, best.covariance, rtol=1e-4)


@slow
def test_message_says_where_the_hessian_is_from():
    assert "differences of gradients" in ew.fit(once, START, COUNTS).message()
    assert "differences" not in ew.fit(reverse_only, START, COUNTS).message()


@slow
@pytest.mark.parametrize("nll", [reverse_only, forward_only])
def test_derivatives_through_the_fit(nll):
    def strength(fn):
        return lambda counts: ew.fit(fn, START, counts).params["mu"]

    change = np.array([1.0, -2.0, 0.5])
    wanted = jax.jvp(strength(plain), (COUNTS,), (change,))[1]
    found = jax.jvp(strength(nll), (COUNTS,), (change,))[1]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


@slow
def test_derivatives_in_reverse_mode():
    def variance(nll):
        return lambda counts: ew.fit(nll, START, counts).covariance[0, 0]

    wanted = jax.grad(variance(plain))(COUNTS)
    found = jax.grad(variance(reverse_only))(COUNTS)
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


@slow
def test_no_derivatives_through_a_fit_with_differences():
    with pytest.raises(DerivativeError, match="derivative through the fit"):
        jax.grad(lambda counts: ew.fit(once, START, counts).params["mu"])(COUNTS)


@slow
@pytest.mark.parametrize("nll", [reverse_only, once, with_slope])
def test_profiled_intervals(nll):
    wanted = minos(plain, ew.fit(plain, START, COUNTS), COUNTS, names=["mu"])
    found = minos(nll, ew.fit(nll, START, COUNTS), COUNTS, names=["mu"])
    for side in ("lower", "upper"):
        np.testing.assert_allclose(
            getattr(found, side), getattr(wanted, side), rtol=1e-5
        )


# -- differential equations --

TIMES = np.linspace(0.0, 5.0, 12)
NOISE = 0.05 * np.random.default_rng(0).normal(size=12)
CURVE = 3 * np.exp(-0.7 * TIMES) + NOISE


def decay(params, y):
    """Return -ln L of a decay, as the solution of its differential equation."""
    curve = odeint(
        lambda y, t, k: -k * y, params["y0"], jnp.asarray(TIMES), params["k"]
    )
    return 0.5 * jnp.sum(((y - curve) / 0.05) ** 2)


@slow
@pytest.mark.parametrize("solver", [None, optx.BFGS(1e-8, 1e-8)])
def test_differential_equation(solver):
    def closed(v, y=CURVE):
        return 0.5 * jnp.sum(((y - v[0] * jnp.exp(-v[1] * TIMES)) / 0.05) ** 2)

    start = ew.State.from_pytree({"y0": 2.0, "k": 1.0})
    result = ew.fit(decay, start, CURVE, solver=solver)
    best = minimize(closed, [2.0, 1.0], jac=jax.grad(closed)).x
    found = np.array([result.params["y0"], result.params["k"]])
    np.testing.assert_allclose(found, best, rtol=1e-5)
    covariance = np.linalg.inv(jax.hessian(closed)(best))
    errors = np.array([result.errors["y0"], result.errors["k"]])
    np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=1e-4)
    assert result.derivatives == EXACT


# -- no derivatives at all --

SIMPLEX = optx.NelderMead(1e-9, 1e-9)


@pytest.mark.slow
def test_external_code_is_fitted_without_derivatives():
    result = ew.fit(external, START, COUNTS, solver=SIMPLEX)
    best = ew.fit(plain, START, COUNTS)
    for key in START:
        assert abs(result.params[key] - best.params[key]) < 1e-3 * best.errors[key]
    assert result.nll == pytest.approx(best.nll, abs=1e-6)
    assert result.derivatives == NONE
    assert result.hessian is None
    assert result.covariance is None
    assert result.errors is None
    assert "no derivatives" in result.message()
    assert "not computed" in repr(result)


@slow
def test_external_code_at_a_bound():
    bounds = {"slope": ew.Interval(0.5, 2.0)}
    start = ew.State.from_pytree({"mu": 1.0, "slope": 0.7})
    result = ew.fit(
        external, start, COUNTS, bounds=bounds, solver=SIMPLEX, max_steps=2000
    )
    best = ew.fit(plain, start, COUNTS, bounds=bounds)
    assert best.at_bound.tolist() == result.at_bound.tolist() == [False, True]
    assert result.params["mu"] == pytest.approx(best.params["mu"], abs=1e-3)


class Height(eqx.Module):
    """A function of NumPy, evaluated on the host."""

    function: Callable = eqx.field(static=True)

    def __call__(self, params, scale):
        def host(v, scale):
            return np.asarray(self.function(np.asarray(v) / scale), float)

        shape = jax.ShapeDtypeStruct((), jnp.float64)
        return jax.pure_callback(host, shape, params["v"], scale)


@pytest.mark.parametrize(
    ("height", "good"),
    [
        (lambda v: 0.5 * v @ np.array([[1.0, 0.9], [0.9, 1.0]]) @ v + 7.0, True),
        pytest.param(lambda v: np.sum(np.abs(v)), True, marks=slow),
        (lambda v: v[0] + v[1], False),
        # Flat, a saddle, and beside the minimum.
        pytest.param(lambda v: 0.5 * v[0] ** 2, False, marks=slow),
        pytest.param(lambda v: v[0] ** 2 - v[1] ** 2, False, marks=slow),
        pytest.param(lambda v: 0.5 * np.sum((v - 0.1) ** 2), False, marks=slow),
    ],
)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_a_solver_is_not_believed_blindly(height, good, scale):
    """Loose tolerances end the simplex at the start, whatever that is."""
    start = ew.State.from_pytree({"v": np.zeros(2)})
    loose = optx.NelderMead(1e9, 1e9)
    result = ew.fit(Height(height), start, scale, solver=loose, throw=False)
    assert bool(result.success) == good
    if not good:
        assert "no derivatives" in result.message()


@slow
@pytest.mark.parametrize("solver", [None, optx.BFGS(1e-8, 1e-8), ew.NewtonCG()])
def test_what_needs_derivatives_says_so(solver):
    with pytest.raises(DerivativeError, match="NelderMead"):
        ew.fit(external, START, COUNTS, solver=solver)


@slow
def test_inference_without_derivatives_says_so():
    result = ew.fit(external, START, COUNTS, solver=SIMPLEX)
    with pytest.raises(DerivativeError, match="no derivatives"):
        ew.uncertainties(external, result, COUNTS)
    with pytest.raises(DerivativeError, match="no derivatives"):
        minos(external, result, COUNTS)
    with pytest.raises(DerivativeError, match="no derivatives"):
        jax.grad(lambda n: ew.fit(external, START, n, solver=SIMPLEX).params["mu"])(
            COUNTS
        )


@slow
def test_stepwise_fits_are_the_same():
    whole = ew.fit(external, START, COUNTS, solver=SIMPLEX)
    steps = ew.ifit(external, START, COUNTS, solver=SIMPLEX)
    assert steps.derivatives == NONE
    np.testing.assert_allclose(steps.params["mu"], whole.params["mu"])
    with pytest.raises(DerivativeError):
        ew.ifit(external, START, COUNTS)


# -- the pieces --


@slow
@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 1e5])
@pytest.mark.parametrize("start", [0.0, 2.0])
def test_differences_find_the_scale_of_a_parameter(scale, start):
    rng = np.random.default_rng(5)
    half = rng.normal(size=(3, 3))
    exact = (half @ half.T + np.eye(3)) / scale**2

    @jax.custom_vjp
    def slope(x):
        return exact @ x + 0.1 * jnp.tanh(x / scale) / scale

    slope.defvjp(lambda x: (slope(x), x), _no_rule)

    @jax.custom_vjp
    def fn(x):
        return 0.5 * x @ exact @ x + 0.1 * jnp.sum(jnp.log(jnp.cosh(x / scale)))

    fn.defvjp(lambda x: (fn(x), x), lambda x, change: (change * slope(x),))
    x = jnp.full(3, start * scale)
    _, gradient, hessian, kind = second_order(fn, x)
    wanted = exact + 0.1 / scale**2 * np.diag(1 - np.tanh(x / scale) ** 2)
    assert kind == DIFFERENCES
    np.testing.assert_allclose(gradient, slope(x), rtol=1e-12)
    np.testing.assert_allclose(hessian, wanted, rtol=1e-7, atol=1e-7 / scale**2)


@pytest.mark.parametrize("place", [0.0, 1e-9, 1e-3, 0.02])
def test_no_gradient_is_taken_beyond_the_ends(place):
    """With 0 events -ln L is not defined below 0, and 40 times steeper above 1."""

    @jax.custom_vjp
    def slope(x):
        inside = (x >= 0) & (x <= 1)
        return jnp.where(inside, jnp.exp(x), jnp.where(x > 1, 40 * x, jnp.nan))

    slope.defvjp(lambda x: (slope(x), x), _no_rule)

    @jax.custom_vjp
    def fn(x):
        return jnp.sum(jnp.exp(x))

    fn.defvjp(lambda x: (fn(x), x), lambda x, change: (change * slope(x),))
    x = jnp.asarray([place, 1 - place])
    hessian = second_order(fn, x, jnp.zeros(2), jnp.ones(2))[2]
    np.testing.assert_allclose(hessian, jnp.diag(jnp.exp(x)), rtol=1e-6, atol=1e-9)


def test_a_fault_of_the_likelihood_is_its_own():
    def nll(params, _):
        return params["mu"].no_such_thing

    with pytest.raises(AttributeError):
        ew.fit(nll, START)

    def wrong(params, _):
        raise TypeError("the user's own")

    with pytest.raises(TypeError, match="the user's own"):
        ew.fit(wrong, START)
