"""A look at a second point, where the first alone does not tell how a fit ends.

A fit may leap onto its minimum, from where the curvature was another: there is no step
left that would confirm it. And a fit that halves its steps towards a point at which the
gradient jumps would go on for ever next to zero, where numbers never end.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow.curvature import AbstractCurvature, AbstractFactor
from everwillow.objective import Evaluation
from everwillow.solvers._box import project
from everwillow.solvers.acceleration import Glance
from everwillow.solvers.quadratic_model import least_direction
from everwillow.solvers.termination import SAFE_PIVOT, SAME_PIVOT


# So far aside is looked, in standard errors; a second time so much nearer.
ASIDE = 1e-2
MOST_LOOKS = 2
# Points so near to each other, in standard errors, are on both sides of a kink if the
# gradient changes by so many times more than the curvature or its rounding says.
TOGETHER = 1e-6
JUMP = 30.0
# Who was sent back across a kink so often will not come away from it.
MANY = 12
# Parts of the largest jump that count.
SHARE = 0.3


def aside(
    x: Float[Array, " n"],
    curvature: AbstractCurvature,
    free: Bool[Array, " n"],
    looks: Int[Array, ""],
    options: dict[str, Any] | None,
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Return a short step to look at, inside the box, and by how much it should rise.

    Args:
        x: Where it starts.
        curvature: The curvature there.
        free: Which parameters may move.
        looks: How often it was looked already.
        options: Those of the solver, with the box.
    """
    diagonal = jnp.abs(curvature.diagonal())
    sigma = 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
    count = jnp.maximum(jnp.sum(free.astype(x.dtype)), 1)
    # The second time nearer, and to the other side.
    length = jnp.where(looks == 0, ASIDE, -(ASIDE**2)) / jnp.sqrt(count)
    step = jnp.where(free, length * sigma, 0)
    outside = project(x + step, options) != x + step
    step = project(x + jnp.where(outside, -step, step), options) - x
    rise = 0.5 * jnp.vdot(step, curvature.matvec(step))
    return step, jnp.maximum(rise, float(jnp.finfo(x.dtype).tiny))


def confirmed(
    pivot: Float[Array, ""],
    curvature: AbstractCurvature,
    other: Glance,
    *,
    factor: AbstractFactor,
    shrink: Float[Array, " n"],
    free: Bool[Array, " n"],
) -> Bool[Array, ""]:
    """Return whether a small pivot is that of the place: the same at another point.

    Args:
        pivot: The smallest relative pivot of the curvature.
        curvature: The curvature at the best point.
        other: The other point.
        factor: The factorised curvature, in scaled coordinates.
        shrink: Their unit lengths.
        free: Which parameters may move.
    """
    safe = pivot > SAFE_PIVOT
    if other.evaluation is None:
        return safe
    elsewhere = other.evaluation.curvature

    def alike():
        direction = least_direction(factor, free, shrink.dtype)
        direction = shrink * direction
        here = jnp.vdot(direction, curvature.matvec(direction))
        there = jnp.vdot(direction, elsewhere.matvec(direction))
        return (there * SAME_PIVOT > here) & (there < SAME_PIVOT * here)

    return jax.lax.cond(safe, lambda: safe, alike)


def kink_beside(
    x: Float[Array, " n"],
    here: Evaluation,
    other: Glance,
    noise: Float[Array, " n"],
    scale: Float[Array, " n"],
    free: Bool[Array, " n"],
) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Return whether there is a kink next to the best point, as `kink` does.

    Args:
        x: The best point.
        here: The objective there.
        other: A point that was rejected.
        noise: By how much rounding moves the gradient.
        scale: Inverse unit lengths.
        free: Which parameters may move.
    """
    assert other.evaluation is not None
    apart = other.x - x
    bent = jnp.abs(here.curvature.matvec(apart))
    bent = bent + jnp.abs(other.evaluation.curvature.matvec(apart))
    gradients = (here.gradient, other.evaluation.gradient)
    return kink(apart, gradients, jnp.vdot(jnp.abs(apart), bent), noise, scale, free)


def kink(
    apart: Float[Array, " n"],
    gradients: tuple[Float[Array, " n"], Float[Array, " n"]],
    bent: Float[Array, ""],
    noise: Float[Array, " n"],
    scale: Float[Array, " n"],
    free: Bool[Array, " n"],
) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Return whether there is a kink between two points, and the way across it.

    Args:
        apart: From the best point to the other one.
        gradients: At both points.
        bent: What the curvature adds to the slope on the way, times the way.
        noise: By how much rounding moves the gradient.
        scale: Inverse unit lengths.
        free: Which parameters may move.

    Returns:
        Whether the gradient jumps, and the way in those parameters whose slope jumps.
    """
    change = jnp.where(free, gradients[1] - gradients[0], 0)
    jump = jnp.vdot(change, apart)
    smooth = jnp.abs(bent) + jnp.vdot(noise, jnp.abs(apart))
    together = jnp.sqrt(jnp.sum((apart * scale) ** 2)) <= TOGETHER
    size = jnp.where(apart == 0, 0, jnp.abs(change) / scale)
    across = jnp.where(size >= SHARE * jnp.max(size, initial=0), apart, 0)
    return (jump > JUMP * smooth) & together & (jump > 0), across
