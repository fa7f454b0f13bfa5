"""Likelihoods of the tests of uncertainties, with their exact covariances."""

import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import everwillow.statelib as sl


# Tests run a program once, so compiling costs more than running.
jit = ft.partial(
    jax.jit,
    compiler_options={
        "xla_cpu_use_fusion_emitters": False,
        "xla_backend_optimization_level": 0,
    },
)


def state(**values: Any) -> sl.State:
    return sl.State.from_pytree(values)


def line_residuals(params, data):
    """Residuals of straight-line measurements ``y ± error`` at ``x``."""
    model = params["a"] + params["b"] * data["x"]
    return (data["y"] - model) / data["error"]


def line(params, data):
    return 0.5 * jnp.sum(line_residuals(params, data) ** 2)


LINE = {
    "x": np.array([0.0, 1.0, 2.0, 3.0]),
    "y": np.array([1.1, 2.9, 5.2, 6.8]),
    "error": np.array([0.1, 0.2, 0.1, 0.3]),
}
LINE_STATE = state(a=1.0, b=2.0)


def line_covariance(data):
    """``(AᵀWA)⁻¹``, exact as the model is linear."""
    design = np.stack([np.ones_like(data["x"]), data["x"]], axis=1)
    return np.linalg.inv(design.T @ (design / data["error"][:, None] ** 2))


def counting(params, counts):
    """-ln L of counts with expectation ``mu s + gamma b`` over constrained gammas."""
    expected = params["mu"] * SIGNAL + params["gamma"] * BACKGROUND
    pull = (params["gamma"] - 1) / WIDTH
    return jnp.sum(expected - counts * jnp.log(expected)) + 0.5 * jnp.sum(pull**2)


SIGNAL = np.array([5.0, 12.0, 3.0])
BACKGROUND = np.array([50.0, 60.0, 70.0])
WIDTH = np.array([0.1, 0.05, 0.2])
COUNTS = np.array([60.0, 75.0, 70.0])
COUNTING_STATE = state(mu=1.1, gamma=np.array([1.05, 0.97, 1.02]))


def counting_hessian(values, counts):
    """Second derivatives of `counting` by hand, in State order: gamma, then mu."""
    gamma, mu = np.asarray(values["gamma"]), float(values["mu"])
    expected = mu * SIGNAL + gamma * BACKGROUND
    weight = counts / expected**2
    out = np.zeros((4, 4))
    out[:3, :3] = np.diag(weight * BACKGROUND**2 + 1 / WIDTH**2)
    out[:3, 3] = out[3, :3] = weight * BACKGROUND * SIGNAL
    out[3, 3] = np.sum(weight * SIGNAL**2)
    return out


def two_measurements(params, data):
    """Two correlated measurements of one quantity."""
    away = data["x"] - params["mu"]
    return 0.5 * away @ jnp.linalg.solve(data["covariance"], away)


def product(params, data):
    """``½ ((a b - data)/0.1)²``: one combination of a and b at its minimum."""
    return 0.5 * ((params["a"] * params["b"] - data) / 0.1) ** 2


def total(params, data):
    """``½ ((a + b - data)/0.1)²``: seen in one combination of a and b, everywhere."""
    return 0.5 * ((params["a"] + params["b"] - data) / 0.1) ** 2


def saddle(params, data):
    """``a² - b² + a c + c²``, curved downwards along b alone."""
    a, b, c = params["a"], params["b"], params["c"]
    return data * (a**2 - b**2 + a * c + c**2)
