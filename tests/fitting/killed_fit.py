"""A fit with a checkpoint, slow enough to be killed: the program of a test."""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from everwillow import State
from everwillow.fitting import FitResult, ifit


DATA = {"counts": np.array([3.0, 8.0, 4.0]), "width": 0.3}


def nll(params, data):
    """Return -ln L of counts along a curved valley."""
    a, b = params["a"], params["b"]
    valley = 50 * jnp.sum((b - a**2) ** 2) + 0.5 * ((a - 1) / data["width"]) ** 2
    rate = jnp.exp(a) * jnp.array([1.0, 2.0, 1.5])
    return valley + jnp.sum(rate - data["counts"] * jnp.log(rate))


def run(directory: str | None, *callbacks) -> FitResult:
    """Fit from a far start."""
    start = State.from_pytree({"a": -1.2, "b": np.array([1.0, 1.5])})
    return ifit(nll, start, DATA, callbacks=callbacks, checkpoint=directory)


def wait(iteration, y, state):
    """Give the parent time to kill."""
    del iteration, y, state
    time.sleep(0.05)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    run(sys.argv[1], wait)
