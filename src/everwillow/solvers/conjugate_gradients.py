"""Conjugate gradients inside a trust region, after Steihaug and Toint."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class SteihaugResult(eqx.Module):
    """The end of the inner iteration.

    Attributes:
        step: The step, inside the ball.
        unbounded: The step as if there were no ball; the Newton step if `solved`.
        solved: Whether the linear system was solved to the wanted accuracy.
        definite: Whether all curvature met was positive.
        least_curvature: The smallest curvature met, along unit vectors.
        count: Number of products.
    """

    step: Float[Array, " n"]
    unbounded: Float[Array, " n"]
    solved: Bool[Array, ""]
    definite: Bool[Array, ""]
    least_curvature: Float[Array, ""]
    count: Int[Array, ""]


class _Carry(eqx.Module):
    step: Float[Array, " n"]
    unbounded: Float[Array, " n"]
    residual: Float[Array, " n"]
    direction: Float[Array, " n"]
    crossed: Bool[Array, ""]
    definite: Bool[Array, ""]
    least: Float[Array, ""]
    count: Int[Array, ""]
    done: Bool[Array, ""]


def steihaug(
    product: Callable[[Array], Array],
    gradient: Float[Array, " n"],
    radius: Float[Array, ""] | float,
    relative: Float[Array, ""] | float,
    max_count: int,
) -> SteihaugResult:
    """Minimise ``g·s + ½ s·H·s`` over a ball, with products ``H·v`` only.

    Follows the path of conjugate gradients from zero until it leaves the ball or meets
    negative curvature, and stops there on the sphere. Where it merely leaves the ball,
    the iteration goes on outside to estimate the Newton step.

    Args:
        product: Multiplies with H.
        gradient: The slope g.
        radius: Of the ball.
        relative: Residual, relative to the gradient, at which the system is solved.
        max_count: Largest number of products.
    """
    size = jnp.sqrt(jnp.vdot(gradient, gradient))
    zero = jnp.zeros_like(gradient)
    no = jnp.asarray(False)
    start = _Carry(
        zero,
        zero,
        gradient,
        -gradient,
        no,
        jnp.asarray(True),
        jnp.full_like(size, jnp.inf),
        jnp.asarray(0),
        ~(size > 0),
    )

    def advance(c: _Carry) -> _Carry:
        curved = product(c.direction)
        curve = jnp.vdot(c.direction, curved)
        norm = jnp.vdot(c.direction, c.direction)
        square = jnp.vdot(c.residual, c.residual)
        positive = curve > 0
        rate = square / jnp.where(positive, curve, 1)
        further = c.unbounded + rate * c.direction
        leaves = ~positive | (jnp.vdot(further, further) >= radius**2)
        rim = c.unbounded + _to_sphere(c.unbounded, c.direction, radius) * c.direction
        step = jnp.where(c.crossed, c.step, jnp.where(leaves, rim, further))
        residual = c.residual + rate * curved
        new_square = jnp.vdot(residual, residual)
        count = c.count + 1
        solved = jnp.sqrt(new_square) <= relative * size
        done = ~positive | solved | (count >= max_count) | ~jnp.isfinite(curve)
        return _Carry(
            step=step,
            unbounded=jnp.where(positive, further, c.unbounded),
            residual=jnp.where(positive, residual, c.residual),
            direction=-residual + new_square / square * c.direction,
            crossed=c.crossed | leaves,
            definite=c.definite & positive,
            # In a flat direction the iteration may overflow; what it met counts.
            least=jnp.fmin(c.least, curve / norm),
            count=count,
            done=done,
        )

    end = jax.lax.while_loop(lambda c: ~c.done, advance, start)
    left = jnp.sqrt(jnp.vdot(end.residual, end.residual))
    return SteihaugResult(
        end.step,
        end.unbounded,
        (left <= relative * size) & end.definite,
        end.definite,
        end.least,
        end.count,
    )


def _to_sphere(point, direction, radius):
    """Return how far along a direction the sphere is; no distance if it is infinite."""
    norm = jnp.vdot(direction, direction)
    towards = jnp.vdot(point, direction)
    rest = radius**2 - jnp.vdot(point, point)
    root = jnp.sqrt(jnp.maximum(towards**2 + norm * rest, 0))
    distance = (root - towards) / norm
    return jnp.where(jnp.isfinite(distance), distance, 0)
