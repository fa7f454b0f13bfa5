"""Derivatives of estimates by the main data."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from everwillow.engine.core import Task
from everwillow.engine.problem import Numbers
from everwillow.model import AbstractModel


# Number of POIs whose responses to all data are computed at a time.
AT_ONCE = 16


def derivatives_by_data(task: Task, numbers: Numbers, rows: Array) -> Any:
    r"""Return :math:`-C\, \partial^2 (-\ln L) / \partial\theta\, \partial d`.

    Args:
        task: The likelihood.
        numbers: Its data, and the parameters of the best fit.
        rows: Rows of the covariance C over all parameters, shape ``(pois, params)``.

    Returns:
        A pytree like the main data with a leading axis of POIs, None for data that are
        not numbers.
    """
    model, observation = task.objective, numbers.observation
    is_model = isinstance(model, AbstractModel)
    main = jax.tree.map(as_float, observation["main"] if is_model else observation)
    numeric, rest = eqx.partition(main, eqx.is_inexact_array)
    x = task.start(numbers)

    def slope(numeric, row):
        data = eqx.combine(numeric, rest)
        whole = {**observation, "main": data} if is_model else data
        params = lambda v: task.params(numbers, v)
        nll = lambda v: jnp.asarray(model(params(v), whole))
        return -jax.jvp(nll, (x,), (row,))[1]

    rows = rows[:, numbers.index]
    return jax.lax.map(
        lambda row: jax.grad(slope)(numeric, row), rows, batch_size=AT_ONCE
    )


def as_float(leaf: Any) -> Any:
    """Return whole numbers as floats, which have derivatives."""
    kind = jnp.result_type(leaf)
    if jnp.issubdtype(kind, jnp.integer):
        return jnp.asarray(leaf, float)
    return jnp.asarray(leaf)
