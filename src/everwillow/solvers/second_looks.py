"""Evaluations at a second point, where the best one alone does not decide the end.

A fit may reach its minimum in one step from a point with another curvature. No further
step then confirms it, and a point nearby is evaluated instead. A fit that halves its
steps towards a point at which the gradient jumps (a kink) would not end if that point
is near zero, where floating-point numbers are dense; comparing the gradients on both
sides of the kink stops it.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow._numerics import any_lane
from everwillow.curvature import AbstractCurvature, AbstractFactor
from everwillow.solvers.acceleration import PreviousPoint
from everwillow.solvers.box import active_set, project
from everwillow.solvers.newton_state import NewtonState
from everwillow.solvers.open_ends import Phase, away_from_ends
from everwillow.solvers.quadratic_model import least_direction
from everwillow.solvers.termination import SAFE_PIVOT, SAME_PIVOT, StopCode


# Distance of the point nearby, in standard errors; the second is nearer by this factor.
ASIDE = 1e-2
MOST_LOOKS = 2
# Two points within this many standard errors are on both sides of a kink if the
# gradient changes by this factor more than curvature or rounding explain.
TOGETHER = 1e-6
JUMP = 30.0
# After this many rejected steps across a kink the fit stops there.
MANY = 12
# A parameter takes part in a kink if its jump is at least this part of the largest.
SHARE = 0.3


def short_step(
    x: Float[Array, " n"],
    curvature: AbstractCurvature,
    free: Bool[Array, " n"],
    looks: Int[Array, ""],
    options: dict[str, Any] | None,
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Return a short step inside the box, and the expected rise of the objective.

    Args:
        x: The point from which it starts.
        curvature: The curvature there.
        free: Which parameters may move.
        looks: Number of such steps so far.
        options: Options of the solver, with the box.
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


def pivot_confirmed(
    pivot: Float[Array, ""],
    curvature: AbstractCurvature,
    other: PreviousPoint,
    apart: Float[Array, " n"],
    *,
    factor: AbstractFactor,
    shrink: Float[Array, " n"],
    free: Bool[Array, " n"],
) -> Bool[Array, ""]:
    """Return whether a small pivot is confirmed by the curvature of another point.

    That point has to be as far away as `short_step` leads: the curvature of points that
    are too close is the same without any meaning.

    Args:
        pivot: The smallest relative pivot of the curvature.
        curvature: The curvature at the best point.
        other: The other point.
        apart: The vector to it.
        factor: The factorised curvature, in scaled coordinates.
        shrink: Unit lengths of the scaled coordinates.
        free: Which parameters may move.
    """
    safe = pivot > SAFE_PIVOT
    if other.evaluation is None:
        return safe
    elsewhere = other.evaluation.curvature

    def same_curvature():
        direction = least_direction(factor, free, shrink.dtype)
        direction = shrink * direction
        here = jnp.vdot(direction, curvature.matvec(direction))
        there = jnp.vdot(direction, elsewhere.matvec(direction))
        distance = jnp.vdot(jnp.where(free, apart**2, 0), jnp.abs(curvature.diagonal()))
        far = distance >= (0.5 * ASIDE**2) ** 2
        return far & (there * SAME_PIVOT > here) & (there < SAME_PIVOT * here)

    return jax.lax.cond(safe, lambda: safe, same_curvature)


def look_aside(
    state: NewtonState,
    move: Float[Array, " n"],
    free: Bool[Array, " n"],
    look: Bool[Array, ""],
    options: dict[str, Any] | None,
) -> tuple[NewtonState, Float[Array, " n"]]:
    """Replace the next trial by one beside the best point, if that was decided.

    Args:
        state: The state of the solver.
        move: The step to try otherwise.
        free: Which parameters may move.
        look: Whether to try a point beside the best one.
        options: Options of the solver, with the box.
    """

    def stay() -> tuple[Array, Array]:
        return move, state.predicted

    def choose() -> tuple[Array, Array]:
        x, curvature = state.x, state.evaluation.curvature
        return jax.lax.cond(
            look, lambda: short_step(x, curvature, free, state.looks, options), stay
        )

    if state.lanes:
        trial, rise = jax.lax.cond(any_lane(look), choose, stay)
    else:
        trial, rise = choose()
    state = dataclasses.replace(
        state,
        predicted=rise,
        code=jnp.where(look, StopCode.RUNNING, state.code),
        looks=jnp.where(look, state.looks + 1, state.looks),
    )
    return state, trial


def look_at_the_ends(
    state: NewtonState,
    move: Float[Array, " n"],
    options: dict[str, Any] | None,
    goal: float,
) -> tuple[NewtonState, Float[Array, " n"]]:
    """Try the ends at which nothing is finite before stopping next to them.

    Args:
        state: The state of the solver.
        move: The step to try next.
        options: Options of the solver, with the box.
        goal: As in `OpenEnds.verdict`.
    """
    ends, code, x = state.ends, state.code, state.x
    names = ("x", "scale", "code", "ends", "evaluations")
    as_it_is = {name: getattr(state, name) for name in names} | {"move": move}

    def start_inside() -> dict[str, Any]:
        start = away_from_ends(x, options, state.evaluation.value)
        again = jnp.any(start != x)
        return as_it_is | {
            "x": start,
            "scale": jnp.where(again, 0, state.scale),
            "code": jnp.where(again, StopCode.RUNNING, code),
            "evaluations": jnp.where(again, 0, state.evaluations),
        }

    def search() -> dict[str, Any]:
        inwards = active_set(x, state.evaluation.gradient, ends.box(options))[0]
        moved, planned, leap = ends.beyond(
            x, inwards=inwards, active=state.active, code=code
        )
        return as_it_is | {
            "move": jnp.where(moved.phase == Phase.LEAPING, leap, move),
            "code": jnp.where(planned, StopCode.RUNNING, code),
            "ends": moved,
        }

    def end() -> dict[str, Any]:
        verdict = ends.verdict(x, state.evaluation.gradient, options, goal)
        return as_it_is | {"code": verdict}

    if ends.lower is None:
        return state, move
    case = jnp.where(ends.involved, jnp.where(ends.over, 3, 2), 0)
    case = jnp.where(code == StopCode.NONFINITE_START, 1, case)

    def choose() -> dict[str, Any]:
        return jax.lax.switch(case, [lambda: as_it_is, start_inside, search, end])

    if state.lanes:
        changes = jax.lax.cond(any_lane(case != 0), choose, lambda: as_it_is)
    else:
        changes = choose()
    move = changes.pop("move")
    return dataclasses.replace(state, **changes), move


def kink_beside(
    state: NewtonState,
    noise: Float[Array, " n"],
    free: Bool[Array, " n"],
    rejected: Bool[Array, ""],
    look: Bool[Array, ""],
) -> NewtonState:
    """Stop at the best point if there is a kink next to it; see `kink`.

    Args:
        state: The state of the solver.
        noise: Rounding error of the gradient.
        free: Which parameters may move.
        rejected: Whether the last trial was rejected, and the search has not stopped.
        look: Whether a trial beside the best point comes first.
    """
    x, here, other = state.x, state.evaluation, state.previous
    assert other.evaluation is not None
    there = other.evaluation

    def compare():
        apart = other.x - x
        bent = jnp.abs(here.curvature.matvec(apart))
        bent = jnp.vdot(jnp.abs(apart), bent + jnp.abs(there.curvature.matvec(apart)))
        gradients = (here.gradient, there.gradient)
        return kink(apart, gradients, bent, noise, state.scale, free)

    kinked, across = jax.lax.cond(
        rejected, compare, lambda: (jnp.asarray(False), state.newton)
    )
    kinks = jnp.where(kinked, state.kinks + 1, state.kinks)
    over = kinked & ~look & ((state.code == StopCode.STALLED) | (kinks >= MANY))
    return dataclasses.replace(
        state,
        code=jnp.where(over, StopCode.KINK, state.code),
        newton=jnp.where(over, across, state.newton),
        kinks=kinks,
    )


def kink(
    apart: Float[Array, " n"],
    gradients: tuple[Float[Array, " n"], Float[Array, " n"]],
    bent: Float[Array, ""],
    noise: Float[Array, " n"],
    scale: Float[Array, " n"],
    free: Bool[Array, " n"],
) -> tuple[Bool[Array, ""], Float[Array, " n"]]:
    """Return whether there is a kink between two points, and the step across it.

    Args:
        apart: The vector from the best point to the other one.
        gradients: The gradients at both points.
        bent: The change of the gradient by curvature, times `apart`.
        noise: Rounding error of the gradient.
        scale: Inverse unit lengths.
        free: Which parameters may move.

    Returns:
        Whether the gradient jumps, and `apart` in the parameters whose slope jumps.
    """
    change = jnp.where(free, gradients[1] - gradients[0], 0)
    jump = jnp.vdot(change, apart)
    smooth = jnp.abs(bent) + jnp.vdot(noise, jnp.abs(apart))
    together = jnp.sqrt(jnp.sum((apart * scale) ** 2)) <= TOGETHER
    size = jnp.where(apart == 0, 0, jnp.abs(change) / scale)
    across = jnp.where(size >= SHARE * jnp.max(size, initial=0), apart, 0)
    return (jump > JUMP * smooth) & together & (jump > 0), across
