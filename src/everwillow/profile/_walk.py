"""The compiled programs of profiles: walks from one conditional minimum to the next."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._numerics import select
from everwillow.fitting._adjoint import minimise
from everwillow.fitting._core import Task
from everwillow.fitting._outcome import Outcome
from everwillow.fitting._problem import Numbers
from everwillow.fitting.follow import Foothold, follow, holding


def step_to(
    task: Task, numbers: Numbers, last: Foothold, held: Array, x: Array
) -> Foothold:
    """Go to where the held parameters have other values.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        last: Where to come from.
        held: Which parameters to hold, shape ``(n,)``.
        x: Their values, shape ``(n,)``; other entries are not used.
    """
    target = jnp.where(held, x, last.x)
    return follow(task, holding(numbers, target, held), last)


def light(at: Foothold | Outcome) -> tuple[Array, Array, Array, Any, Array]:
    """Return what is kept of each point: no matrix."""
    value = jnp.where(at.success, at.value, jnp.nan)
    gradient = jnp.where(at.success, at.gradient, jnp.nan)
    return jnp.where(at.success, at.x, jnp.nan), value, gradient, at.status, at.success


def walk(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Bool[Array, " n"],
    place: Array,
    values: Float[Array, " m"],
) -> tuple[Any, ...]:
    """Visit values of one parameter, from the nearest outwards, on both sides.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        base: Where both ways begin.
        held: What else is held at the base, shape ``(n,)``.
        place: The position of the parameter.
        values: In any order.

    Returns:
        What `light` returns, each with a leading axis of the values, in their order.
    """
    here = base.x[place]
    held = jnp.asarray(held).at[place].set(True)
    below = values < here
    order = jnp.lexsort((jnp.abs(values - here), below))
    ordered, side = values[order], below[order]
    turn = jnp.concatenate([jnp.ones(1, bool), side[1:] != side[:-1]])

    def advance(last: Foothold, stop):
        value, again = stop
        last = select(again, constant, last)
        end = step_to(task, numbers, last, held, base.x.at[place].set(value))
        # A failed point is no place to start from.
        return jax.lax.stop_gradient(select(end.success, end, last)), light(end)

    constant = jax.lax.stop_gradient(base)
    _, found = jax.lax.scan(advance, constant, (ordered, turn))
    back = jnp.argsort(order)
    return jax.tree.map(lambda leaf: leaf[back], found)


def walk_2d(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Bool[Array, " n"],
    places: tuple[Array, Array],
    values: tuple[Float[Array, " k"], Float[Array, " m"]],
) -> tuple[Any, ...]:
    """Visit a grid: rows from the nearest outwards, and columns likewise in each.

    Returns:
        What `light` returns, each with leading axes ``(k, m)``.
    """
    first, second = places
    held = jnp.asarray(held).at[first].set(True)
    here = base.x[first]
    below = values[0] < here
    order = jnp.lexsort((jnp.abs(values[0] - here), below))
    ordered, side = values[0][order], below[order]
    turn = jnp.concatenate([jnp.ones(1, bool), side[1:] != side[:-1]])
    both = held.at[second].set(True)

    def row(last: Foothold, stop):
        value, again = stop
        last = select(again, constant, last)
        target = base.x.at[first].set(value)
        end = step_to(task, numbers, last, both, target)
        end = jax.lax.stop_gradient(select(end.success, end, last))
        # A row whose first point failed is still that row.
        start = eqx.tree_at(lambda f: f.x, end, jnp.where(held, target, end.x))
        return end, walk(task, numbers, start, held, second, values[1])

    constant = jax.lax.stop_gradient(base)
    _, found = jax.lax.scan(row, constant, (ordered, turn))
    back = jnp.argsort(order)
    return jax.tree.map(lambda leaf: leaf[back], found)


def visit(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Bool[Array, " n"],
    place: Array,
    values: Float[Array, " m"],
) -> tuple[Any, ...]:
    """Visit values of one parameter all at once, each from the base.

    The arguments and what is returned are those of `walk`.
    """
    held = jnp.asarray(held).at[place].set(True)

    def at(value):
        start = holding(numbers, base.x.at[place].set(value), held)
        outcome, _ = minimise(task, start)
        return light(outcome)

    return jax.vmap(at)(values)
