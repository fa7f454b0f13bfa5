"""Compiled functions besides fits: derivatives, predictions and toys at one point."""

from collections.abc import Mapping
from typing import Any

import jax

from everwillow._typing import Array, Scalar
from everwillow.engine.core import Task
from everwillow.engine.problem import Numbers


def use_double_precision() -> None:
    """Switch JAX to double precision, so that users of spey need not do it."""
    if not jax.config.read("jax_enable_x64"):
        jax.config.update("jax_enable_x64", True)


def value_and_slope(task: Task, numbers: Numbers) -> tuple[Scalar, Array]:
    """Return -ln L and its gradient at the parameters given."""
    return jax.value_and_grad(lambda x: task.value(numbers, x))(task.start(numbers))


def second_derivatives(task: Task, numbers: Numbers) -> Array:
    """Return the Hessian of -ln L at the parameters given."""
    return task.evaluate(numbers, task.start(numbers)).curvature.as_matrix()


def prediction(task: Task, numbers: Numbers) -> Mapping[str, Any]:
    """Return the Asimov data at the parameters given, auxiliary data included."""
    return task.objective.asimov(task.params(numbers, task.start(numbers)))


def pseudo_experiments(task: Task, numbers: Numbers, keys: Array) -> Mapping[str, Any]:
    """Draw one observation for each key, at the parameters given."""
    params = task.params(numbers, task.start(numbers))
    return jax.vmap(lambda key: task.objective.sample_observation(params, key))(keys)
