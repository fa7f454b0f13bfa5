"""Likelihoods of the tests of fits, with their exact answers.

They live here, at module level, so that fits of several files share compiled programs:
use the same structure of parameters and data wherever the numbers allow it.
"""

import functools as ft
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

import everwillow as ew
import everwillow.statelib as sl


# Tests run a program once, so compiling costs more than running: leave out what makes
# it fast. A fit inside chooses no options of its own.
jit = ft.partial(
    jax.jit,
    compiler_options={
        "xla_cpu_use_fusion_emitters": False,
        "xla_backend_optimization_level": 0,
    },
)

# Our own solvers: what is promised of derivatives and statuses holds for each of them.
SOLVERS: dict[str, optx.AbstractMinimiser] = {
    "TrustRegionNewton": ew.TrustRegionNewton(),
    "NewtonCG": ew.NewtonCG(),
}

# What optimistix brings. NelderMead looks at no derivative, so it needs tight goals.
FOREIGN: dict[str, optx.AbstractMinimiser] = {
    "BFGS": optx.BFGS(rtol=1e-8, atol=1e-8),
    "LBFGS": optx.LBFGS(rtol=1e-8, atol=1e-8),
    "NonlinearCG": optx.NonlinearCG(rtol=1e-8, atol=1e-8),
    "NelderMead": optx.NelderMead(rtol=1e-7, atol=1e-9),
}


def state(**values: Any) -> sl.State:
    """Make a State of scalars and arrays by name."""
    return sl.State.from_pytree(values)


def quadratic(params, data):
    """``offset + ½ (x - centre)ᵀ H (x - centre)``: minimum and errors are the data."""
    away = params["x"] - data["centre"]
    return data["offset"] + 0.5 * jnp.vdot(away, data["hessian"] @ away)


def quadratic_data(
    size: int, *, seed: int = 0, scale: Any = 1.0, offset: float = 0.0
) -> dict[str, Any]:
    """Data of `quadratic` with correlations; `scale` is the size of each parameter."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    unit = np.broadcast_to(np.asarray(scale, float), (size,))
    return {
        "centre": rng.normal(size=size) * unit,
        "hessian": (root @ root.T + np.eye(size)) / np.outer(unit, unit),
        "offset": np.asarray(offset),
    }


def gaussian(params, data):
    """``-ln L`` of a sample from a Gaussian, up to a constant."""
    pull = (data - params["mu"]) / params["sigma"]
    return 0.5 * jnp.sum(pull**2) + data.size * jnp.log(params["sigma"])


SAMPLE = np.array([1.0, 2.0, 4.0, 5.0, 3.5])
GAUSSIAN_START = state(mu=0.0, sigma=1.0)


def decay(params, data):
    """``-ln L`` of counts on a falling spectrum over a constrained background."""
    expected = (
        params["height"] * jnp.exp(-params["rate"] * data["time"])
        + params["level"] * params["share"]
    )
    counts = data["counts"]
    pull = (params["level"] - data["aux"]) / 0.3
    return jnp.sum(expected - counts * jnp.log(expected)) + 0.5 * pull**2


DECAY_START = state(height=18.0, rate=0.6, level=2.0, share=1.0)
DECAY_DATA = {
    "time": np.arange(6.0),
    "counts": np.array([22.0, 15.0, 9.0, 6.0, 3.0, 4.0]),
    "aux": np.asarray(2.1),
}


# Everything that `fit` takes as a number. "level" is fixed and "rate" in a box.
INPUTS = {
    "start": {"height": 18.0, "rate": 0.6, "level": 2.0, "share": 1.0},
    "counts": DECAY_DATA["counts"],
    "aux": 2.1,
    "level": 2.2,
    "lower": 0.1,
    "upper": 3.0,
}
INPUTS = jax.tree.map(jnp.asarray, INPUTS)
# The unbounded rate is 0.58, so this end holds it.
AT_LOWER = INPUTS | {
    "lower": jnp.asarray(0.7),
    "start": INPUTS["start"] | {"rate": jnp.asarray(1.0)},
}
AT_UPPER = INPUTS | {
    "upper": jnp.asarray(0.5),
    "start": INPUTS["start"] | {"rate": jnp.asarray(0.3)},
}


def fit_decay(inputs, solver, *, bound=ew.Interval, throw=False):
    return ew.fit(
        decay,
        sl.State.from_pytree(inputs["start"]),
        DECAY_DATA | {"counts": inputs["counts"], "aux": inputs["aux"]},
        fixed={"level": inputs["level"], "share": ...},
        bounds={"rate": bound(inputs["lower"], inputs["upper"])},
        solver=solver,
        throw=throw,
    )


def outputs(result):
    """What has a derivative; a solver without a Hessian has no covariance."""
    out = {"params": result.params.to_dict(), "nll": result.nll}
    if result.covariance is not None:
        out |= {"covariance": result.covariance, "hessian": result.hessian}
    return out


def saddle(params, data):
    """``a² - b² + ¼ b⁴``: a saddle at the origin, minima at b = ±√2 of value -1."""
    a, b = params["a"], params["b"]
    return a**2 - b**2 + data * b**4
