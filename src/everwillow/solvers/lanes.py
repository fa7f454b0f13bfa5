"""The batched solver: many fits at once, with one factorisation per evaluation.

Under `jax.vmap` every lane (one fit of the batch) waits for the slowest, and a search
inside a step would make all lanes search. `lane_step` therefore takes the Newton step,
cut to the ball, where the curvature is positive definite, and the gradient step where
it is not. This is enough for nearly every pseudo-experiment; the few lanes that do not
end at a minimum are run again, one by one, with the full solver.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow._numerics import any_lane, norm
from everwillow.solvers.quadratic_model import QuadraticModel
from everwillow.solvers.termination import absolute_product
from everwillow.solvers.trust_region_newton import TrustRegionNewton
from everwillow.solvers.trust_region_step import Step, flat_curvature


# After this many evaluations a lane leaves the batch and is run by itself.
LANE_STEPS = 32
# No chords in a batch, as all lanes would wait for the slowest in each of them.
NEVER = 10**9


def lane_step(model: QuadraticModel, radius: Float[Array, ""]) -> Step:
    """Minimise a quadratic model roughly, with one factorisation and no loop.

    Args:
        model: The function to second order, in scaled coordinates.
        radius: Radius of the trust region.

    Returns:
        A step of descent inside ball and box.
    """
    gradient = jnp.where(model.free, model.gradient, 0)
    scaled = model.curvature.scaled(model.shrink)
    # A parameter without slope and curvature is held. The minimum is then called flat,
    # or, if the parameter is coupled to others, a saddle.
    without_effect = model.free & (gradient == 0) & (model.curvature.diagonal() == 0)
    moving = model.free & ~without_effect
    ones = model.free.astype(gradient.dtype)
    coupled = jax.lax.cond(
        any_lane(jnp.any(without_effect)),
        lambda: absolute_product(scaled, ones) > 0,
        lambda: jnp.zeros_like(without_effect),
    )
    factor = scaled.masked(moving).factor(lanes=True)
    newton = -factor.solve(gradient)
    length = norm(newton)
    definite = (factor.smallest_pivot > flat_curvature(gradient.dtype)) & jnp.isfinite(
        length
    )
    slope = norm(gradient)
    downhill = -gradient * jnp.minimum(1, radius / jnp.where(slope > 0, slope, 1))
    cut = jnp.minimum(1, radius / jnp.where(length > 0, length, 1))
    step = jnp.where(definite, cut * newton, downhill)
    if model.lower is not None:
        step, downhill = model.inside(step), model.inside(downhill)
        better = model.decrease(downhill) > model.decrease(step)
        step = jnp.where(better, downhill, step)
    edm = jnp.where(definite, -0.5 * jnp.vdot(gradient, newton), jnp.inf)
    return Step(
        step=step,
        decrease=model.decrease(step),
        interior=definite & (length <= radius),
        newton=jnp.where(definite, newton, 0),
        edm=edm,
        definite=definite & ~jnp.any(without_effect),
        semidefinite=definite & ~jnp.any(without_effect & coupled),
        factor=factor,
        moving=moving,
        pivot=jnp.where(definite, factor.smallest_pivot, jnp.inf),
    )


def lane_solver(solver: Any) -> Any | None:
    """Return the batched variant of a solver, or None if it has none."""
    if isinstance(solver, TrustRegionNewton):
        return TrustRegionNewton(
            edm_goal=solver.edm_goal,
            step_rule=lane_step,
            bending=False,
            chords_beyond=NEVER,
        )
    return None


def rerun(
    out: Any, again: Bool[Array, " lanes"], one: Any, pick: Any
) -> tuple[Any, Bool[Array, " lanes"]]:
    """Replace the results of some lanes, one after the other.

    Args:
        out: Results with a leading axis of lanes.
        again: Which lanes to run again.
        one: ``one(inputs)`` runs a lane by itself.
        pick: ``pick(i)`` returns the inputs of a lane.

    Returns:
        The results, and which lanes remain (none).
    """

    def advance(carry):
        out, todo = carry
        i = jnp.argmax(todo)
        new = one(pick(i))
        out = jax.tree.map(lambda a, b: a.at[i].set(b), out, new)
        return out, todo.at[i].set(False)

    return jax.lax.while_loop(lambda c: jnp.any(c[1]), advance, (out, again))
