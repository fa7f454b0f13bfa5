"""The outcome of a fit: the result of a solver in physical units, with its status."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int

from everwillow._derivatives import EXACT, NONE
from everwillow._errors import RESULTS, DerivativeError
from everwillow.curvature import Dense, Operator
from everwillow.engine._derivative_free import judge_by_values
from everwillow.engine.core import (
    Task,
    knows_curvature,
    parameter_ranges,
    to_physical,
    with_held_values,
)
from everwillow.engine.problem import Numbers
from everwillow.objective import curvature_hook
from everwillow.solvers.termination import EDM_GOAL, StopCode


# The end point of a solver without second derivatives is accepted if the exact
# curvature gives at most this EDM: 1.4 % of a standard error.
FOREIGN_EDM_GOAL = 1e-4

# Rounding errors of -ln L in units of its last digit.
ROUNDING = 256

# Up to this many parameters a matrix-free fit still computes the Hessian at its end,
# which takes 8 MB and as many gradients as parameters.
HESSIAN_LIMIT = 1000

# The same where the objective writes out its Hessian without products: 200 MB.
WRITTEN_LIMIT = 5000

# One standard error away from a minimum a parabolic -ln L has risen by ½; a rise of
# less than this means a plateau.
ENOUGH = 0.05

# Rounding error of -ln L above which the rise by ½ at one standard error is hidden.
COARSE = 0.1


class Outcome(eqx.Module):
    """The arrays that the compiled core returns.

    Attributes:
        x: The parameters at ``Numbers.index`` in physical units, shape ``(free,)``.
        value: The objective there.
        gradient: Its gradient, shape ``(free,)``.
        hessian: Its Hessian, shape ``(free, free)``; None for `NewtonCG`, and where
            there are no derivatives.
        edm: Estimated distance to the minimum.
        status: The status code of the end.
        success: Whether the end is a minimum.
        num_steps: Evaluations of our solvers, steps of others.
        at_bound: Which parameters are held at a bound, shape ``(free,)``.
        newton: The last Newton step, shape ``(free,)``; after `RESULTS.kink` the way
            across the kink, in the parameters in which the slope jumps.
        inside: The point at which derivatives are taken: `x` with parameters on bounds
            without derivatives moved next to them, shape ``(free,)``; None if it is
            `x`.
        derivatives: The source of the Hessian: ``"exact"``, ``"finite differences"``
            of gradients, or ``"none"``.
    """

    x: Float[Array, " free"]
    value: Float[Array, ""]
    gradient: Float[Array, " free"]
    hessian: Float[Array, "free free"] | None
    edm: Float[Array, ""]
    status: RESULTS
    success: Bool[Array, ""]
    num_steps: Int[Array, ""]
    at_bound: Bool[Array, " free"]
    newton: Float[Array, " free"]
    inside: Float[Array, " free"] | None = None
    derivatives: str = eqx.field(static=True, default=EXACT)


def conclude(
    task: Task, numbers: Numbers, solution: optx.Solution
) -> tuple[Outcome, optx.Solution]:
    """Return the outcome of a solver, and the solution without a state with matrices.

    These would be copied out of every fit.
    """
    outcome = outcome_of(task, numbers, solution)
    if knows_curvature(task.solver) and not task.matrix_free:
        solution = dataclasses.replace(solution, state=None)
    # Whether the minimum lies at the edge of positivity: the host reads it faster here
    # than from the status.
    stats = {**solution.stats, "edge": jnp.zeros_like(outcome.success)}
    return outcome, dataclasses.replace(solution, stats=stats)


def outcome_of(task: Task, numbers: Numbers, solution: optx.Solution) -> Outcome:
    """Convert the result of a solver to physical units, and determine its status."""
    state, second_order = solution.state, knows_curvature(task.solver)
    x, slope_of_map, _ = to_physical(numbers, solution.value)
    x = with_held_values(task, numbers, x)
    inside = _inside(task, numbers, solution)
    if inside is not None:
        # Held parameters on an end may have been moved next to it, for derivatives.
        x = jnp.where(jnp.asarray(numbers.mask), x, task.start(numbers))
    place = x if inside is None else inside
    kind = EXACT
    if task.matrix_free:
        gradient, value = state.gradient / slope_of_map, state.nll
        hessian, kind = _affordable_hessian(task, numbers, place)
        edm, active, newton = state.edm, state.active, state.newton * slope_of_map
        status = _status(state, solution, value)
    elif second_order and not numbers.transforms:
        end = state.evaluation
        gradient, hessian = end.gradient, end.curvature.as_matrix()
        kind = end.derivatives
        # The last Newton step was not evaluated; the model predicts its decrease.
        value = end.value - jnp.where(state.code == StopCode.MINIMUM, state.edm, 0)
        edm, active, newton = state.edm, state.active, state.newton
        status = _status(state, solution, value)
    else:
        try:
            end = task.evaluate(numbers, place)
        except DerivativeError:
            return _without_derivatives(task, numbers, solution, x)
        value, gradient, kind = end.value, end.gradient, end.derivatives
        hessian = end.curvature.as_matrix()
        active = _at_bound(x, gradient, *parameter_ranges(numbers, x)) & numbers.mask
        newton, edm, definite = newton_step(hessian, gradient, numbers.mask & ~active)
        if second_order:
            status = _status(state, solution, value)
            # Smooth maps flatten at the ends of their ranges.
            ended = _pressed(x, gradient, value, active) & definite
            ended = ended & (edm <= EDM_GOAL) & (status == RESULTS.flat_direction)
            good: Any = RESULTS.successful
            status = RESULTS.where(ended, good, status)
        else:
            rises = _rises(task, numbers, x, value, newton, edm)
            status = _foreign_status(solution, edm, definite, rises)
    return Outcome(
        x=x,
        value=value,
        gradient=gradient,
        hessian=hessian,
        edm=edm,
        status=status,
        success=status == RESULTS.successful,
        num_steps=solution.stats["num_steps"],
        at_bound=active,
        newton=newton,
        inside=inside,
        derivatives=kind,
    )


def _pressed(x: Array, gradient: Array, value: Array, active: Array) -> Array:
    """Return whether parameters are held at ends, by slopes that are no rounding."""
    noise = ROUNDING * jnp.finfo(x.dtype).eps * jnp.abs(value)
    steep = jnp.abs(gradient) * (1 + jnp.abs(x)) > noise
    return jnp.any(active) & jnp.all(steep | ~active)


def _inside(task: Task, numbers: Numbers, solution: optx.Solution) -> Array | None:
    """Return the end point, next to ends of boxes at which nothing is finite."""
    if numbers.lower is None or not knows_curvature(task.solver):
        return None
    return to_physical(numbers, solution.state.ends.inside(solution.value))[0]


def _without_derivatives(
    task: Task, numbers: Numbers, solution: optx.Solution, x: Array
) -> Outcome:
    """Judge the end of a fit by values alone."""
    value = task.value(numbers, x)
    free, ends = jnp.asarray(numbers.mask), parameter_ranges(numbers, x)
    around = judge_by_values(lambda v: task.value(numbers, v), x, value, free, *ends)
    status: Any = RESULTS.promote(solution.result)
    ended = status == RESULTS.successful
    near = around.minimum & (around.edm <= FOREIGN_EDM_GOAL)
    status = RESULTS.where(ended & ~near, RESULTS.no_derivatives, status)
    unknown = jnp.full_like(x, jnp.nan)
    return Outcome(
        x=x,
        value=value,
        gradient=unknown,
        hessian=None,
        edm=around.edm,
        status=status,
        success=status == RESULTS.successful,
        num_steps=solution.stats["num_steps"],
        at_bound=around.at_bound,
        newton=unknown,
        derivatives=NONE,
    )


def _affordable_hessian(
    task: Task, numbers: Numbers, x: Array
) -> tuple[Array | None, str]:
    """Return the Hessian at the end of a matrix-free fit, if there is room for it."""
    if x.shape[0] > WRITTEN_LIMIT:
        return None, EXACT
    if x.shape[0] > HESSIAN_LIMIT:
        if curvature_hook(task.objective) is None:
            return None, EXACT
        curvature = task.evaluate(numbers, x).curvature
        written = isinstance(curvature, Operator) and curvature.entries is not None
        return (curvature.as_matrix() if written else None), EXACT
    evaluation = task.evaluate(numbers, x, matrix_free=False)
    return evaluation.curvature.as_matrix(), evaluation.derivatives


def _rises(task, numbers, x, value, newton, edm) -> Array:
    """Return whether -ln L rises on both sides, one standard error away.

    At a minimum it rises by about ½. On a plateau gradient and curvature may look like
    those of a minimum, but -ln L hardly changes within the error that they give.
    """
    lower, upper = parameter_ranges(numbers, x)
    sigma = newton / jnp.sqrt(2 * edm)

    def rises_on_side(direction):
        point = x + direction * sigma
        end = jnp.clip(point, lower, upper)
        rise = task.value(numbers, end) - value
        return (rise > ENOUGH) | ~jnp.isfinite(rise) | jnp.any(end != point)

    # One after the other, as external code may not support `jax.vmap`.
    both = jax.lax.map(rises_on_side, jnp.asarray([-1.0, 1.0], x.dtype))
    return jnp.all(both) | ~(edm > 0)


def _foreign_status(solution, edm: Array, definite: Array, rises: Array) -> RESULTS:
    """Return the status of a solver without curvature, checked with the exact one."""
    status: Any = RESULTS.promote(solution.result)
    ended = status == RESULTS.successful
    near = edm <= FOREIGN_EDM_GOAL
    status = RESULTS.where(ended & ~rises, RESULTS.flat_direction, status)
    status = RESULTS.where(ended & ~near, RESULTS.edm_above_goal, status)
    return RESULTS.where(ended & ~definite, RESULTS.not_a_minimum, status)


def _status(state: Any, solution: optx.Solution, value: Array) -> RESULTS:
    """Return the status of a second-order solver; a success only at its minimum."""
    # Not `RESULTS.promote`, which indexes a table: constant arrays must not be inside
    # of a function with its own rule for batches.
    stalled: Any = RESULTS.stalled
    status: Any = stalled
    for name in ("nonlinear_max_steps_reached", "nonlinear_divergence"):
        ended = solution.result == getattr(optx.RESULTS, name)
        status = RESULTS.where(ended, getattr(RESULTS, name), status)
    saddle = (state.code == StopCode.STALLED) & ~state.definite
    where: Any = RESULTS.where
    # Where the curvature is definite, an apparent flat direction is due to rounding.
    coarse = 16 * jnp.finfo(value.dtype).eps * jnp.abs(value) > COARSE
    codes = (
        (state.code == StopCode.MINIMUM, RESULTS.successful),
        (state.code == StopCode.FLAT, RESULTS.flat_direction),
        ((state.code == StopCode.FLAT) & state.definite & coarse, RESULTS.rounded),
        (state.code == StopCode.STALLED, RESULTS.stalled),
        (saddle, RESULTS.not_a_minimum),
        (state.code == StopCode.KINK, RESULTS.kink),
        (state.code == StopCode.NO_LIMIT, RESULTS.no_limit),
        (state.code == StopCode.NONFINITE_START, RESULTS.nonfinite_start),
        # The loop of optimistix checks the start before the first step.
        (state.evaluations == 0, RESULTS.nonfinite_start),
    )
    for code, result in codes:
        status = where(code, result, status)
    return status


def _at_bound(x, gradient, lower, upper):
    """Return which parameters with smooth maps ended at an end of their range."""
    width = jnp.where(jnp.isfinite(upper - lower), upper - lower, 1 + jnp.abs(x))
    near = 1e-7 * width
    return ((x - lower <= near) & (gradient > 0)) | (
        (upper - x <= near) & (gradient < 0)
    )


def newton_step(hessian: Array, gradient: Array, free: Array):
    """Return the Newton step on the free parameters, its EDM, and definiteness.

    The matrix is scaled to a unit diagonal, so that parameters may have any size.
    """
    solve, definite = scaled_solver(hessian, free)
    step = -solve(jnp.where(free, gradient, 0))
    edm = -0.5 * jnp.vdot(step, jnp.where(free, gradient, 0))
    return step, jnp.where(definite, edm, jnp.inf), definite


def scaled_solver(hessian: Array, free: Array):
    """Return a function that solves with the free block, and whether it is definite."""
    diagonal = jnp.diagonal(hessian)
    scale = jnp.where(free & (diagonal > 0), jax.lax.rsqrt(jnp.abs(diagonal)), 1)
    factor = Dense(hessian).scaled(scale).masked(free).factor()
    eps = jnp.finfo(hessian.dtype).eps
    definite = factor.smallest_pivot > hessian.shape[0] * eps

    def solve(rhs):
        return scale * factor.solve(scale * jnp.where(free, rhs, 0))

    return solve, definite
