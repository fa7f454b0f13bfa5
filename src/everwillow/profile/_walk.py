"""The compiled programs of profiles: walks from one conditional minimum to the next."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._numerics import select
from everwillow.engine.adjoint import minimise
from everwillow.engine.core import Task
from everwillow.engine.outcome import Outcome
from everwillow.engine.problem import Numbers
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
    held = jnp.asarray(held).at[place].set(True)
    order, turn = _outwards(values, base.x[place])

    def advance(last: Foothold, stop):
        value, again = stop
        last = select(again, constant, last)
        end = step_to(task, numbers, last, held, base.x.at[place].set(value))
        # A failed point is no place to start from.
        return jax.lax.stop_gradient(select(end.success, end, last)), light(end)

    constant = jax.lax.stop_gradient(base)
    _, found = jax.lax.scan(advance, constant, (values[order], turn))
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
    held = jnp.asarray(held).at[first].set(True).at[second].set(True)
    rows, row_turn = _outwards(values[0], base.x[first])
    columns, column_turn = _outwards(values[1], base.x[second])
    # Each row begins with a point at the best fit of the second parameter.
    width = columns.size + 1
    ordered = jnp.concatenate([base.x[second][None], values[1][columns]])
    begins = jnp.arange(width) == 0
    stops = (
        jnp.repeat(values[0][rows], width),
        jnp.tile(ordered, rows.size),
        jnp.tile(begins, rows.size),
        jnp.where(
            jnp.tile(begins, rows.size),
            jnp.repeat(row_turn, width),
            jnp.tile(jnp.append(False, column_turn), rows.size),
        ),
    )

    def advance(carry, stop):
        row, last = carry
        one, other, is_row, turn = stop
        # Ways of rows begin at the base, those of columns at the row.
        source = select(is_row, select(turn, constant, row), select(turn, row, last))
        target = base.x.at[first].set(one).at[second].set(other)
        end = step_to(task, numbers, source, held, target)
        last = jax.lax.stop_gradient(select(end.success, end, source))
        return (select(is_row, last, row), last), light(end)

    constant = jax.lax.stop_gradient(base)
    _, found = jax.lax.scan(advance, (constant, constant), stops)
    back = jnp.argsort(rows)[:, None], 1 + jnp.argsort(columns)[None, :]
    return jax.tree.map(
        lambda leaf: leaf.reshape(rows.size, width, *leaf.shape[1:])[back], found
    )


def _outwards(values: Array, here: Array) -> tuple[Array, Array]:
    """Return the order from the nearest outwards, above first, and where ways begin."""
    below = values < here
    order = jnp.lexsort((jnp.abs(values - here), below))
    side = below[order]
    return order, jnp.concatenate([jnp.ones(1, bool), side[1:] != side[:-1]])


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
