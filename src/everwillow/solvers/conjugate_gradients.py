"""Conjugate gradients inside a trust region, after Steihaug and Toint."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class SteihaugResult(eqx.Module):
    """The result of the inner iteration.

    Attributes:
        step: The step, inside the ball.
        unbounded: The step without the ball; the Newton step if `solved`.
        solved: Whether the linear system was solved to the required accuracy.
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
    negative curvature, and stops there on the sphere. Where it leaves the ball only,
    the iteration goes on outside to estimate the Newton step.

    Args:
        product: Multiplies with H.
        gradient: The slope g.
        radius: Radius of the ball.
        relative: Residual, relative to the gradient, at which the system is solved.
        max_count: Largest number of products.
    """
    size = jnp.sqrt(jnp.vdot(gradient, gradient))
    zero = jnp.zeros_like(gradient)
    false = jnp.asarray(False)
    start = _Carry(
        zero,
        zero,
        gradient,
        -gradient,
        false,
        jnp.asarray(True),
        jnp.full_like(size, jnp.inf),
        jnp.asarray(0),
        ~(size > 0),
    )

    def advance(c: _Carry) -> _Carry:
        curved = product(c.direction)
        curvature = jnp.vdot(c.direction, curved)
        length_squared = jnp.vdot(c.direction, c.direction)
        square = jnp.vdot(c.residual, c.residual)
        positive = curvature > 0
        rate = square / jnp.where(positive, curvature, 1)
        ahead = c.unbounded + rate * c.direction
        leaves = ~positive | (jnp.vdot(ahead, ahead) >= radius**2)
        way = _to_sphere(c.unbounded, c.direction, radius)
        on_sphere = c.unbounded + way * c.direction
        step = jnp.where(c.crossed, c.step, jnp.where(leaves, on_sphere, ahead))
        residual = c.residual + rate * curved
        new_square = jnp.vdot(residual, residual)
        count = c.count + 1
        solved = jnp.sqrt(new_square) <= relative * size
        done = ~positive | solved | (count >= max_count) | ~jnp.isfinite(curvature)
        return _Carry(
            step=step,
            unbounded=jnp.where(positive, ahead, c.unbounded),
            residual=jnp.where(positive, residual, c.residual),
            direction=-residual + new_square / square * c.direction,
            crossed=c.crossed | leaves,
            definite=c.definite & positive,
            # NaN is ignored: in a flat direction the iteration may overflow.
            least=jnp.fmin(c.least, curvature / length_squared),
            count=count,
            done=done,
        )

    end = jax.lax.while_loop(lambda c: ~c.done, advance, start)
    residual_norm = jnp.sqrt(jnp.vdot(end.residual, end.residual))
    return SteihaugResult(
        end.step,
        end.unbounded,
        (residual_norm <= relative * size) & end.definite,
        end.definite,
        end.least,
        end.count,
    )


def _to_sphere(point, direction, radius):
    """Return the distance to the sphere along a direction, 0 if it is infinite."""
    norm = jnp.vdot(direction, direction)
    towards = jnp.vdot(point, direction)
    rest = radius**2 - jnp.vdot(point, point)
    root = jnp.sqrt(jnp.maximum(towards**2 + norm * rest, 0))
    distance = (root - towards) / norm
    return jnp.where(jnp.isfinite(distance), distance, 0)
