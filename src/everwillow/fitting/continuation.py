"""Conditional minima from neighbouring ones, mostly by gradients alone.

A profile, an interval or a limit visits many conditional minima that lie close
together. The Hessian at one of them predicts the next to first order, and it is
accurate enough there for Newton steps, which then cost a gradient each instead of a
Hessian ("chord" steps). Where these do not converge fast, or a parameter reaches a
bound or leaves one, the full solver is run and computes a new Hessian.

A model may know that its Hessian costs little more than its gradient. Then each step
has a Hessian of its own, which also shows whether it is at a minimum.

Gradients alone cannot distinguish a minimum from a saddle: where a likelihood is
symmetric (for example in a coupling that enters squared) a minimum may turn into a
maximum between two others while its gradient stays zero. Therefore the chord steps
start at a small distance from the predicted point; they reduce this distance where the
sign of the curvature is unchanged, and increase it where the sign has changed.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from everwillow._derivatives import value_and_gradient
from everwillow._errors import RESULTS
from everwillow._numerics import all_finite, namespace
from everwillow.engine.adjoint import minimise, moves, zero_tangent
from everwillow.engine.core import Task, constant, open_ranges, parameter_ranges
from everwillow.engine.flat_directions import idle, value_is_minimal
from everwillow.engine.layout import ravel_state
from everwillow.engine.outcome import Outcome, scaled_solver
from everwillow.engine.problem import Numbers
from everwillow.fitting.conditional import Problem
from everwillow.fitting.result import FitResult
from everwillow.solvers.box import active_set


# The last step is not evaluated, so this is the error of the value.
EDM_GOAL = 1e-11
# The last step with a Hessian of its own leaves about the power 1.5 of the EDM before
# it, 1e-9 here: less than a fit leaves at its minimum.
EDM_GOAL_FRESH = 1e-6
# Each chord step has to reduce the EDM by this factor at least, the distance by half.
CONTRACTION = 0.25
MOST_STEPS = 16
# Rounding may keep the EDM of a large -ln L above the goal.
GOOD_ENOUGH = 1e-8
# EDM of the start of the chord steps, above `GOOD_ENOUGH` in each direction.
NUDGE = 1e-5
# The slopes of held parameters may change by this factor less than predicted, unless
# the predicted change is a smaller part of the slopes than `SLOPE_GOAL`.
OVERSHOOT = 10.0
SLOPE_GOAL = 1e-7
GOLDEN = 0.6180339887498949


class Foothold(eqx.Module):
    """A conditional minimum, and the curvature near it.

    Vectors go over the parameters that the compiled core sees (``numbers.index``),
    in physical units.

    Attributes:
        x: The parameters, shape ``(n,)``.
        value: -ln L.
        gradient: Gradient of -ln L, shape ``(n,)``; for a held parameter the slope of
            the profile likelihood (by the envelope theorem).
        hessian: Hessian of -ln L here or at a previous foothold, shape ``(n, n)``.
        at_bound: Which parameters are held at a bound, shape ``(n,)``.
        status: The status code of the fit.
        success: Whether the value is a minimum; parameters without effect there keep
            their values.
        gradients: Number of gradients of the last step, with or without a Hessian.
        refitted: Whether the full solver was needed.
    """

    x: Float[Array, " n"]
    value: Float[Array, ""]
    gradient: Float[Array, " n"]
    hessian: Float[Array, "n n"]
    at_bound: Bool[Array, " n"]
    status: RESULTS
    success: Bool[Array, ""]
    gradients: Int[Array, ""]
    refitted: Bool[Array, ""]


def foothold(problem: Problem, result: FitResult) -> Foothold:
    """Return the end of a free fit as the first foothold of a path.

    Args:
        problem: The problem of the fit.
        result: Its result, with the same free parameters.
    """
    index = np.asarray(problem.numbers.index)
    _, vector, _ = ravel_state(result.params)
    place = {element: i for i, element in enumerate(index.tolist())}
    places = np.array([place[element] for element in result.free], int)
    xp = namespace(result.hessian, result.nll)

    # Where the objective has its own curvature, fixed parameters are part of the
    # numbers; they get rows of zeros.
    row = np.full(index.size, places.size)
    row[places] = np.arange(places.size)

    def spread(values: Any) -> Any:
        return xp.pad(xp.asarray(values), (0, 1))[row]

    hessian = xp.pad(xp.asarray(result.hessian), (0, 1))
    return Foothold(
        x=xp.asarray(vector)[index],
        value=xp.asarray(result.nll),
        gradient=spread(result.gradient),
        hessian=hessian[row[:, None], row[None, :]],
        at_bound=spread(result.at_bound),
        status=result.status,
        success=xp.asarray(result.success),
        gradients=xp.asarray(0),
        refitted=xp.asarray(False),
    )


def holding(numbers: Numbers, x: Array, held: Array) -> Numbers:
    """Return the numbers with some parameters held.

    Args:
        numbers: Numbers of the free fit.
        x: Values of all parameters of the core, shape ``(n,)``; those of parameters
            that are not held are start values.
        held: Which to hold, shape ``(n,)``.
    """
    return dataclasses.replace(numbers.at(x), mask=jnp.asarray(numbers.mask) & ~held)


def follow(task: Task, numbers: Numbers, last: Foothold) -> Foothold:
    """Find a conditional minimum from one nearby; traceable and differentiable.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with the parameters that are held masked and at their
            new values (see `holding`); start values of the others are not used.
        last: The foothold to start from. Derivatives do not pass through it.
    """
    end = _follow(*constant((task, numbers, last)))
    # A failed point must not make the derivatives of others NaN, by NaN times zero.
    old = holding(numbers, jax.lax.stop_gradient(last.x), jnp.zeros_like(last.at_bound))
    vector = jnp.where(end.success, jnp.asarray(numbers.vector), old.vector)
    sound = dataclasses.replace(numbers, vector=vector)
    return attached(task, sound, end, jnp.where(end.success, end.x, last.x))


def follow_held(
    task: Task, numbers: Numbers, last: Foothold, held: Array, values: Array
) -> Foothold:
    """Find the conditional minimum with some parameters held, from one nearby.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        last: The foothold to start from.
        held: Which parameters to hold, shape ``(n,)``.
        values: Their values, shape ``(n,)`` or ``()``; entries of parameters that are
            not held are not used.
    """
    x = jnp.where(held, values, last.x)
    return follow(task, holding(numbers, x, held), last)


def attached(
    task: Task, numbers: Numbers, end: Foothold, x: Array | None = None
) -> Foothold:
    """Return a foothold with derivatives by the numbers of its fit.

    Its parameters, value and gradient have the derivatives of a conditional minimum, by
    the implicit function theorem. Its Hessian, which may be that of a previous point,
    has none.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with the parameters that are held masked and in place.
        end: The foothold.
        x: The point at which to differentiate, if another.
    """
    arrays, structure = eqx.partition((task, numbers), eqx.is_array)

    @jax.custom_jvp
    def attach(arrays: Any, end: Foothold, x: Array) -> Foothold:
        del arrays, x
        return end

    @attach.defjvp
    def push(primals, changes):
        arrays, end, x = primals
        return end, _moved(structure, arrays, changes[0], end, x)

    return attach(arrays, *constant((end, end.x if x is None else x)))


def _moved(structure, arrays, change, end: Foothold, x: Array) -> Foothold:
    """Return the tangent of a foothold."""
    task, numbers = eqx.combine(arrays, structure)
    zero = jnp.zeros((), x.dtype)
    evaluation = task.evaluate(numbers, x)
    hessian = evaluation.curvature.as_matrix()
    outcome = Outcome(
        x=x,
        value=end.value,
        gradient=end.gradient,
        hessian=hessian,
        edm=zero,
        status=end.status,
        success=end.success,
        num_steps=end.gradients,
        # Parameters without effect keep their values.
        at_bound=end.at_bound | idle(evaluation.gradient, hessian, numbers.mask),
        newton=jnp.zeros_like(x),
    )
    moved = moves(structure, arrays, change, outcome, None)
    blank = jax.tree.map(zero_tangent, end)
    return eqx.tree_at(
        lambda f: (f.x, f.value, f.gradient),
        blank,
        (moved["x"], moved["value"], moved["gradient"]),
    )


class _Box(eqx.Module):
    """The ranges of all parameters: closed ones, and open ones of smooth maps."""

    lower: Float[Array, " n"]
    upper: Float[Array, " n"]
    open: Bool[Array, " n"]

    @classmethod
    def of(cls, numbers: Numbers, x: Array) -> "_Box | None":
        """Return the ranges, None where nothing is bounded."""
        if numbers.lower is None and not numbers.transforms:
            return None
        return cls(*parameter_ranges(numbers, x), open_ranges(numbers, x))

    def contains(self, x: Array) -> Array:
        """Return which parameters are in their range."""
        on_end = (x == self.lower) | (x == self.upper)
        return (x >= self.lower) & (x <= self.upper) & ~(self.open & on_end)

    def moved_into(self, x: Array, last: Array) -> Array:
        """Return the nearest values inside; the last ones for open ranges."""
        inside = jnp.clip(x, self.lower, self.upper)
        return jnp.where(self.open & ~self.contains(x), last, inside)

    def free(self, x: Array, gradient: Array, mask: Array) -> Array:
        """Return which parameters the gradient does not push against an end."""
        options = {"lower": self.lower, "upper": self.upper, "free": mask}
        return active_set(x, gradient, options)[0]


def _follow(task: Task, numbers: Numbers, last: Foothold) -> Foothold:
    mask = jnp.asarray(numbers.mask)
    start = task.start(numbers)
    box = _Box.of(numbers, last.x)
    held_point = jnp.where(mask, last.x, start)
    moving = mask & ~last.at_bound
    # The predicted minimum, to first order in the values of held parameters.
    solve, definite = scaled_solver(last.hessian, moving)
    shift = solve(last.hessian @ jnp.where(mask, 0, start - last.x))
    if not task.cheap_hessian:
        shift = shift - _perturbation(solve, last.hessian, moving)
    x = jnp.where(mask & definite, last.x - shift, held_point)
    if box is not None:
        x = jnp.where(mask, box.moved_into(x, last.x), x)
    end = _chord(task, numbers, x, last, (solve, definite), box)

    def refit() -> Foothold:
        starts = [end.x, x, held_point]
        if box is not None:
            starts = [jnp.where(mask, box.moved_into(s, last.x), s) for s in starts]
        starts = jnp.stack(starts)
        heights = jax.lax.map(lambda start: task.value(numbers, start), starts)
        best = jnp.argmin(jnp.where(jnp.isfinite(heights), heights, jnp.inf))
        conditional = holding(numbers, starts[best], ~mask)
        outcome, _ = minimise(task, conditional)
        assert outcome.hessian is not None
        return Foothold(
            x=outcome.x,
            value=outcome.value,
            gradient=outcome.gradient + outcome.hessian @ outcome.newton,
            hessian=outcome.hessian,
            at_bound=outcome.at_bound,
            status=outcome.status,
            success=value_is_minimal(task, conditional, outcome),
            gradients=end.gradients,
            refitted=jnp.asarray(True),
        )

    return jax.lax.cond(end.success, lambda: end, refit)


def _perturbation(solve, hessian: Array, moving: Array) -> Array:
    """Return a small step with components in all directions, most in flat ones."""
    number = jnp.arange(moving.size, dtype=hessian.dtype)
    parts = 0.5 + (number * GOLDEN) % 1
    push = jnp.where(moving, parts * jnp.sqrt(jnp.abs(jnp.diagonal(hessian))), 0)
    step = solve(push)
    size = jnp.vdot(push, step)
    return step * jnp.sqrt(2 * NUDGE / jnp.where(size > 0, size, 1))


class _Chord(eqx.Module):
    x: Float[Array, " n"]
    step: Float[Array, " n"]
    value: Float[Array, ""]
    gradient: Float[Array, " n"]
    edm: Float[Array, ""]
    count: Int[Array, ""]
    going: Bool[Array, ""]
    converged: Bool[Array, ""]
    hessian: Float[Array, "n n"] | None


def _chord(task, numbers, x, last: Foothold, factor, box) -> Foothold:
    """Take Newton steps with a constant Hessian, or with new ones if they are cheap."""
    mask = jnp.asarray(numbers.mask)
    moving = mask & ~last.at_bound
    slope = value_and_gradient(lambda x: task.value(numbers, x))
    fresh = task.cheap_hessian
    eps = 100 * jnp.finfo(x.dtype).eps
    rounding = eps * (jnp.abs(last.hessian) @ jnp.abs(x))

    def advance(at: _Chord) -> _Chord:
        x = at.x + at.step
        solve, definite = factor
        hessian = None
        if fresh:
            evaluation = task.evaluate(numbers, x)
            value, gradient = evaluation.value, evaluation.gradient
            hessian = evaluation.curvature.as_matrix()
            solve, definite = scaled_solver(hessian, moving)
        else:
            value, gradient = slope(x)
        step = -solve(jnp.where(moving, gradient, 0))
        edm = -0.5 * jnp.vdot(step, jnp.where(moving, gradient, 0))
        usable = all_finite(value, gradient, step) & definite
        # The Hessian predicts the slopes of held parameters. One from next to the
        # singularity of a root or a logarithm has columns that are much too large.
        before = last.hessian if at.hessian is None else at.hessian
        predicted_change = jnp.abs(before @ at.step)
        largest_change = OVERSHOOT * jnp.abs(gradient - at.gradient)
        slack = SLOPE_GOAL * jnp.abs(gradient)
        stale = ~mask & (predicted_change > largest_change + slack + rounding)
        usable = usable & ((at.count == 0) | ~jnp.any(stale))
        if box is not None:
            same = box.free(x, gradient, mask) == moving
            usable = usable & jnp.all(same & (box.contains(x + step) | ~moving))
        done = edm <= (EDM_GOAL_FRESH if fresh else EDM_GOAL)
        shrinks = edm <= CONTRACTION * at.edm
        close = ~shrinks & (edm <= GOOD_ENOUGH) & (at.edm <= GOOD_ENOUGH)
        converged = usable & (done | close)
        going = usable & ~converged & shrinks & (at.count + 1 < MOST_STEPS)
        return _Chord(
            x, step, value, gradient, edm, at.count + 1, going, converged, hessian
        )

    start = _Chord(
        x=x,
        step=jnp.zeros_like(x),
        value=last.value,
        gradient=jnp.zeros_like(x),
        edm=jnp.full_like(last.value, jnp.inf),
        count=jnp.asarray(0),
        going=factor[1] & last.success,
        converged=jnp.asarray(False),
        hessian=last.hessian if fresh else None,
    )
    end = jax.lax.while_loop(lambda at: at.going, advance, start)
    status: Any = RESULTS.successful
    hessian = last.hessian if end.hessian is None else end.hessian
    return Foothold(
        x=end.x + end.step,
        value=end.value - end.edm,
        gradient=end.gradient + hessian @ end.step,
        hessian=hessian,
        at_bound=last.at_bound,
        status=RESULTS.where(end.converged, status, RESULTS.stalled),
        success=end.converged,
        gradients=end.count,
        refitted=jnp.asarray(False),
    )
