"""Bounds as every solver here honours them: by projection and an active set."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def project(x: Float[Array, " n"], options: dict[str, Any] | None) -> Array:
    """Return the nearest point inside the box of the options, if they have one."""
    lower, upper = (options or {}).get("lower"), (options or {}).get("upper")
    return x if lower is None else jnp.clip(x, lower, upper)


def land(
    x: Float[Array, " n"], move: Float[Array, " n"], options: dict[str, Any] | None
) -> Array:
    """Return where a step ends: on an end of the box, if that is where it leads to.

    A step to an end was scaled back and forth and misses it by rounding; left there, a
    parameter would creep on towards it for ever.
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

    Held is what the gradient pushes against the end it stands on.
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
