"""Newton steps with the Hessian of a previous point ("chords"), by gradients alone.

A Hessian costs as much as many gradients. Where the quadratic model is good, chords
reduce the distance to the minimum by a constant factor each, so that the next Hessian
is evaluated much closer to it (Shamanskii, Ukr. Math. J. 19 (1967) 118). Where the
model is not good, one gradient shows it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow.curvature import AbstractFactor
from everwillow.solvers.box import land


MOST_CHORDS = 8
# Each chord has to reduce the EDM by this factor at least; where it does not, a new
# Hessian is cheaper.
CONTRACTION = 0.03
# Below this EDM chords stop: rounding is larger.
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
    """Return the next trial: the end of a step, or a point nearer to the minimum.

    Args:
        slope: The gradient of the objective.
        x: The point from which the step starts.
        move: The step, a full Newton step.
        factor: Factor of the curvature that gave it, in scaled coordinates.
        scale: Inverse length of a unit step for each parameter.
        moving: Which parameters the step moved freely.
        edm: Estimated distance to the minimum at `x`.
        options: Options of the solver, with the box.
    """

    def going(carry):
        _, _, count, contracts = carry
        return contracts & (count < MOST_CHORDS)

    def advance(carry):
        here, old_edm, count, _ = carry
        force = jnp.where(moving, slope(here), 0) / scale
        chord = jnp.where(moving, -factor.solve(force), 0)
        new_edm = -0.5 * jnp.vdot(force, chord)
        contracts = (new_edm >= 0) & (new_edm <= CONTRACTION * old_edm)
        full = chord / scale
        there = land(here, full, options)
        # A chord that the box cuts ends the loop: the full step treats bounds.
        inside = jnp.all((there == here + full) | ~moving)
        there = jnp.where(contracts, there, here)
        # The chord just taken is expected to reduce the EDM as the one before did.
        next_edm = new_edm * new_edm / old_edm
        return there, new_edm, count + 1, contracts & inside & (next_edm > EDM_FLOOR)

    start = (land(x, move, options), edm, jnp.asarray(0), jnp.isfinite(edm))
    return jax.lax.while_loop(going, advance, start)[0]
