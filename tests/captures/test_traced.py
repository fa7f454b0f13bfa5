"""Values that JAX traces inside of Models: derivatives, and never a zero.

The rate of a counting experiment is s mu + b, so the best mu is (n - b) / s, its
derivative by s is -mu / s, and its error is sqrt(n) / s.
"""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentTypeError


S, B, N = 10.0, 50.0, 70.0


def _given(s, p, n):
    rate = p["mu"] * s + B
    return rate - n * jnp.log(rate)


class _Callable:
    def __init__(self, s):
        self.parts = {"s": [s]}

    def __call__(self, p, n):
        return _given(self.parts["s"][0], p, n)

    def method(self, p, n):
        return self(p, n)


def _nested(s):
    def inner(p, n):
        return _given(s, p, n)

    return lambda p, n: inner(p, n)  # noqa: PLW0108  # a cell in a cell


KINDS = {
    "closure": lambda s: lambda p, n: _given(s, p, n),
    "nested": _nested,
    "jit": lambda s: jax.jit(lambda p, n: _given(s, p, n)),
    "default": lambda s: lambda p, n, t=s: _given(t, p, n),
    "partial": lambda s: ft.partial(_given, s),
    "object": _Callable,
    "method": lambda s: _Callable(s).method,
}


def _model(kind, s):
    return ew.Model(KINDS[kind](s), {"mu": 1.0}, N, expected=lambda p: p["mu"] * s + B)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_has_its_derivative(kind):
    def best(s):
        return ew.fit(_model(kind, s)).params["mu"]

    np.testing.assert_allclose(jax.jit(jax.grad(best))(S), -(N - B) / S**2, rtol=1e-6)


@pytest.mark.slow
def test_plain_derivatives_and_batches():
    def both(s):
        result = ew.fit(_model("closure", s))
        return jnp.stack([result.params["mu"], result.errors["mu"]])

    right = np.array([(N - B) / S, np.sqrt(N) / S])
    np.testing.assert_allclose(jax.jacfwd(both)(S), -right / S, rtol=1e-6)
    scales = jnp.array([S, 2 * S])
    np.testing.assert_allclose(jax.vmap(both)(scales), [right, right / 2], rtol=1e-6)


@pytest.mark.slow
def test_limits_have_their_derivative():
    def limit(s):
        found = ew.limits(_model("object", s), "mu")
        return jnp.stack([found.observed, found.expected.median])

    # A limit on s mu does not depend on s.
    np.testing.assert_allclose(
        jax.jacfwd(limit)(S), -np.asarray(limit(S)) / S, rtol=1e-5
    )


def test_a_class_that_closes_over_a_traced_value_is_refused():
    def best(s):
        class Local:
            def __call__(self, p, n):
                return _given(s, p, n)

        return ew.fit(ew.Model(Local(), {"mu": 1.0}, N)).params["mu"]

    with pytest.raises(ArgumentTypeError, match="traced value"):
        jax.grad(best)(S)


@pytest.mark.slow
def test_a_significance_has_its_derivative():
    def significance(b):
        def nll(p, n):
            rate = p["mu"] * S + b
            return rate - n * jnp.log(rate)

        model = ew.Model(nll, {"mu": 1.0}, N, expected=lambda p: p["mu"] * S + b)
        found = ew.discovery(model, "mu")
        both = jnp.stack([found.significance, found.expected])
        return both, both

    slopes, found = jax.jit(jax.jacrev(significance, has_aux=True))(B)
    # Z = sqrt(2 (n ln(n / b) - n + b)) falls by (n / b - 1) / Z, and what is expected
    # is that at n = s + b, with n moving along.
    n = np.array([N, S + B])
    right = np.sqrt(2 * (n * np.log(n / B) - n + B))
    np.testing.assert_allclose(found, right, rtol=1e-6)
    moving = np.array([0.0, np.log((S + B) / B)])
    np.testing.assert_allclose(slopes, (1 - n / B + moving) / right, rtol=1e-6)


@pytest.mark.slow
def test_a_combination_has_its_derivative():
    def best(s):
        parts = [_model("closure", s), _model("object", 2 * s)]
        return ew.fit(ew.combine(parts)).params["mu"]

    # Score of both: s (n / r1 - 1) + 2 s (n / r2 - 1), a function of s mu alone.
    mu, slope = jax.jit(jax.value_and_grad(best))(S)
    rates = mu * S + B, 2 * mu * S + B
    np.testing.assert_allclose(N / rates[0] + 2 * N / rates[1], 3.0, rtol=1e-6)
    np.testing.assert_allclose(slope, -mu / S, rtol=1e-6)
