"""Bounds of the solvers, by projection and an active set."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def project(x: Float[Array, " n"], options: dict[str, Any] | None) -> Array:
    """Return the nearest point inside the box of the options, if they have one."""
    lower, upper = (options or {}).get("lower"), (options or {}).get("upper")
    return x if lower is None else jnp.clip(x, lower, upper)


def land(
    x: Float[Array, " n"], move: Float[Array, " n"], options: dict[str, Any] | None
) -> Array:
    """Return the end point of a step, exactly on an end of the box that it leads to.

    A step to an end is scaled back and forth and misses it by rounding; the parameter
    would then approach the end in ever smaller steps.
    """
    end = x + move
    lower: Any = (options or {}).get("lower")
    upper: Any = (options or {}).get("upper")
    if lower is None:
        return end
    slack = 4 * jnp.finfo(x.dtype).eps * (jnp.abs(x) + jnp.abs(move))
    end = jnp.where(end - lower <= slack, lower, end)
    return jnp.where(upper - end <= slack, upper, end)


def active_set(
    x: Float[Array, " n"], gradient: Float[Array, " n"], options: dict[str, Any] | None
) -> tuple[Bool[Array, " n"], Bool[Array, " n"]]:
    """Return which parameters may move, and which are held at a bound.

    A parameter is held if it is on an end and the objective falls beyond it.
    """
    options = options or {}
    lower: Any = options.get("lower")
    upper: Any = options.get("upper")
    free = options.get("free")
    free = jnp.ones(x.shape, bool) if free is None else jnp.asarray(free)
    if lower is None:
        return free, jnp.zeros(x.shape, bool)
    pushed = ((x <= lower) & (gradient > 0)) | ((x >= upper) & (gradient < 0))
    return free & ~pushed, free & pushed


# Points tried between the first bound that a step meets and its end, each four times
# further than the one before.
POINTS, RATIO = 8, 4.0


def best_inside(
    decrease: Callable[[Array], Array],
    base: Float[Array, " n"],
    step: Float[Array, " n"],
    lower: Float[Array, " n"],
    upper: Float[Array, " n"],
) -> Float[Array, " n"]:
    """Return the best point on the projection of a step that leaves the box.

    The first point tried is where the step meets its first bound: up to there a step
    that minimises a model over a ball lowers it all the way, so that at least this
    decrease is certain. The others put more parameters on their bounds.

    Args:
        decrease: Returns by how much a point lowers the model.
        base: The point from which the step starts, inside the box.
        step: The step.
        lower: Smallest allowed values.
        upper: Largest allowed values.
    """
    distances = jnp.where(step < 0, lower - base, upper - base)
    reach = jnp.where(step == 0, jnp.inf, distances / jnp.where(step == 0, 1, step))
    first = jnp.clip(jnp.min(reach), 0, 1)
    # Made here: a rule of `custom_vmap` must not close over arrays, even constant ones.
    number = jnp.arange(POINTS, dtype=base.dtype)
    fractions = jnp.where(number == 0, 0, RATIO ** (number - (POINTS - 1)))
    rates = first + (1 - first) * fractions

    def at(rate):
        met = reach <= rate
        point = jnp.clip(base + rate * step, lower, upper)
        # Exactly on the bound, in spite of rounding.
        point = jnp.where(met, jnp.where(step < 0, lower, upper), point)
        return point, decrease(point)

    points, decreases = jax.vmap(at)(rates)
    decreases = jnp.where(jnp.isfinite(decreases), decreases, -jnp.inf)
    return points[jnp.argmax(decreases)]
