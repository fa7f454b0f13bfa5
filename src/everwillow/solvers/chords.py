"""Go on from a Newton step by gradients alone, while the same Hessian still serves.

A Hessian costs as much as many gradients. Where the quadratic model is good, Newton
steps with the Hessian of the point before ("chords") shrink the distance to the minimum
by a constant factor each, so that the next Hessian is only evaluated much closer to it
(Shamanskii, Ukr. Math. J. 19 (1967) 118). Where the model is not good it costs one
gradient to find out.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow.curvature import AbstractFactor
from everwillow.solvers.box import land


MOST_CHORDS = 8
# Each one has to shrink the EDM by this factor at least; where they shrink it less, a
# new Hessian is worth its price.
CONTRACTION = 0.03
# Beyond this there is nothing more to gain.
EDM_FLOOR = 1e-24


def follow_chords(
    slope: Callable[[Array], Array],
    x: Float[Array, " n"],
    move: Float[Array, " n"],
    *,
    factor: AbstractFactor,
    scale: Float[Array, " n"],
    moving: Bool[Array, " n"],
    edm: Float[Array, ""],
    options: dict[str, Any] | None,
) -> Float[Array, " n"]:
    """Return where to evaluate next: at the end of a step, or nearer to the minimum.

    Args:
        slope: The gradient of the objective.
        x: Where the step starts.
        move: The step, a full Newton step.
        factor: The factorised curvature that gave it, in scaled coordinates.
        scale: Inverse length of a unit step for each parameter.
        moving: Which parameters the step moved freely.
        edm: Estimated distance to the minimum at `x`.
        options: Those of the solver, with the box.
    """

    def going(carry):
        _, _, count, good = carry
        return good & (count < MOST_CHORDS)

    def advance(carry):
        here, before, count, _ = carry
        force = jnp.where(moving, slope(here), 0) / scale
        chord = jnp.where(moving, -factor.solve(force), 0)
        after = -0.5 * jnp.vdot(force, chord)
        good = (after >= 0) & (after <= CONTRACTION * before)
        wanted = chord / scale
        there = land(here, wanted, options)
        # What is cut off by the box is a matter for the full step.
        inside = jnp.all((there == here + wanted) | ~moving)
        there = jnp.where(good, there, here)
        # The step that was just taken shrinks the EDM as the one before did.
        coming = after * after / before
        return there, after, count + 1, good & inside & (coming > EDM_FLOOR)

    start = (land(x, move, options), edm, jnp.asarray(0), jnp.isfinite(edm))
    return jax.lax.while_loop(going, advance, start)[0]
