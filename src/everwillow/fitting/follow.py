"""Go from one conditional minimum to the next one nearby, mostly by gradients alone.

A profile, an interval or a limit visits many conditional minima that lie close
together. The Hessian found at one of them tells, to first order, where the next one
is; and it stays good enough there for Newton steps, which then cost a gradient each
instead of a Hessian ("chord" steps). Where these do not collapse fast, or a parameter
reaches a bound or leaves one, the full solver takes over and brings a new Hessian.

Gradients alone cannot tell a minimum from a saddle: where a likelihood is symmetric (a
coupling that enters squared, say) a minimum may turn into a maximum between two others
while its gradient stays zero. Therefore each way starts a little beside the predicted
point; chord steps take that away where the curvature still is what it was, and blow it
up where it has changed sign.
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
from everwillow._numerics import all_finite
from everwillow.engine.adjoint import minimise, moves, zero_tangent
from everwillow.engine.core import Task, constant, open_ranges, parameter_ranges
from everwillow.engine.flat_directions import idle, value_is_minimal
from everwillow.engine.layout import namespace, ravel_state
from everwillow.engine.outcome import Outcome, scaled_solver
from everwillow.engine.problem import Numbers
from everwillow.fitting.conditional import Problem
from everwillow.fitting.result import FitResult
from everwillow.solvers.box import active_set


# The last step is taken and not looked at again, so this is the error of the value.
EDM_GOAL = 1e-11
# Each chord step has to lower the EDM by this factor at least: half in distance.
CONTRACTION = 0.25
MOST_STEPS = 16
# Rounding may keep the EDM of a large -ln L above the goal.
GOOD_ENOUGH = 1e-8
# The EDM of the point beside the predicted one: above `GOOD_ENOUGH` in each direction.
NUDGE = 1e-5
# A change of the slopes of what is held may be this many times less than foretold, if
# that is more than a part of the slopes themselves.
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
        gradient: Of -ln L, shape ``(n,)``; for a parameter that is held, the slope of
            the profile likelihood in its value (the envelope theorem).
        hessian: Of -ln L here or at a foothold before, shape ``(n, n)``.
        at_bound: Which parameters are held at a bound, shape ``(n,)``.
        status: How the fit ended.
        success: Whether the value is a minimum; parameters that do not matter there
            are where they were.
        gradients: Number of gradients that it took to come here.
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
        problem: The fit, posed.
        result: Its end, with the same free parameters.
    """
    index = np.asarray(problem.numbers.index)
    _, vector, _ = ravel_state(result.params)
    place = {element: i for i, element in enumerate(index.tolist())}
    here = np.array([place[element] for element in result.free], int)
    library = namespace(result.hessian, result.nll)

    # What is fixed is in the numbers where the objective has its own curvature; there
    # it takes a row of zeros.
    where = np.full(index.size, here.size)
    where[here] = np.arange(here.size)

    def spread(values: Any) -> Any:
        return library.pad(library.asarray(values), (0, 1))[where]

    hessian = library.pad(library.asarray(result.hessian), (0, 1))
    return Foothold(
        x=library.asarray(vector)[index],
        value=library.asarray(result.nll),
        gradient=spread(result.gradient),
        hessian=hessian[where[:, None], where[None, :]],
        at_bound=spread(result.at_bound),
        status=result.status,
        success=library.asarray(result.success),
        gradients=library.asarray(0),
        refitted=library.asarray(False),
    )


def holding(numbers: Numbers, x: Array, held: Array) -> Numbers:
    """Return the numbers with some parameters held.

    Args:
        numbers: Of the free fit.
        x: Values of all parameters that the core sees, shape ``(n,)``; those that are
            not held are where a fit starts.
        held: Which to hold, shape ``(n,)``.
    """
    return dataclasses.replace(numbers.at(x), mask=jnp.asarray(numbers.mask) & ~held)


def follow(task: Task, numbers: Numbers, last: Foothold) -> Foothold:
    """Find a conditional minimum from one nearby; traceable and differentiable.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with the parameters that are held masked and at their
            new values (see `holding`); start values of the others are not used.
        last: Where to come from. Derivatives do not pass through it.
    """
    end = _follow(*constant((task, numbers, last)))
    # A failed point must not spoil, by NaN times zero, the derivatives of others.
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
        last: Where to come from.
        held: Which parameters to hold, shape ``(n,)``.
        values: Where to hold them, shape ``(n,)`` or ``()``; entries of parameters that
            are not held are not used.
    """
    x = jnp.where(held, values, last.x)
    return follow(task, holding(numbers, x, held), last)


def attached(
    task: Task, numbers: Numbers, end: Foothold, x: Array | None = None
) -> Foothold:
    """Return a foothold that moves with the numbers of the fit that it is the end of.

    Its parameters, value and gradient have the derivatives of a conditional minimum, by
    the implicit function theorem; its Hessian, which may be of a point before, none.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with the parameters that are held masked and in place.
        end: The foothold.
        x: Where to differentiate, if not there.
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
    nothing = jnp.zeros((), x.dtype)
    found = task.evaluate(numbers, x)
    hessian = found.curvature.as_matrix()
    outcome = Outcome(
        x=x,
        value=end.value,
        gradient=end.gradient,
        hessian=hessian,
        edm=nothing,
        status=end.status,
        success=end.success,
        num_steps=end.gradients,
        # What does not matter stays where it is.
        at_bound=end.at_bound | idle(found.gradient, hessian, numbers.mask),
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
    wanted = task.start(numbers)
    box = _Box.of(numbers, last.x)
    here = jnp.where(mask, last.x, wanted)
    moving = mask & ~last.at_bound
    # Where the minimum moves to, to first order in what is held.
    solve, definite = scaled_solver(last.hessian, moving)
    shift = solve(last.hessian @ jnp.where(mask, 0, wanted - last.x))
    shift = shift - _perturbation(solve, last.hessian, moving)
    x = jnp.where(mask & definite, last.x - shift, here)
    if box is not None:
        x = jnp.where(mask, box.moved_into(x, last.x), x)
    end = _chord(task, numbers, x, last, solve, definite, box)

    def refit() -> Foothold:
        starts = [end.x, x, here]
        if box is not None:
            starts = [jnp.where(mask, box.moved_into(s, last.x), s) for s in starts]
        starts = jnp.stack(starts)
        heights = jax.lax.map(lambda start: task.value(numbers, start), starts)
        best = jnp.argmin(jnp.where(jnp.isfinite(heights), heights, jnp.inf))
        there = holding(numbers, starts[best], ~mask)
        outcome, _ = minimise(task, there)
        assert outcome.hessian is not None
        return Foothold(
            x=outcome.x,
            value=outcome.value,
            gradient=outcome.gradient + outcome.hessian @ outcome.newton,
            hessian=outcome.hessian,
            at_bound=outcome.at_bound,
            status=outcome.status,
            success=value_is_minimal(task, there, outcome),
            gradients=end.gradients,
            refitted=jnp.asarray(True),
        )

    return jax.lax.cond(end.success, lambda: end, refit)


def _perturbation(solve, hessian: Array, moving: Array) -> Array:
    """Return a small step with a part along every direction, most along flat ones."""
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
    good: Bool[Array, ""]


def _chord(task, numbers, x, last: Foothold, solve, definite, box) -> Foothold:
    """Take Newton steps with a Hessian that stays."""
    mask = jnp.asarray(numbers.mask)
    moving = mask & ~last.at_bound
    slope = value_and_gradient(lambda x: task.value(numbers, x))
    eps = 100 * jnp.finfo(x.dtype).eps
    rounding = eps * (jnp.abs(last.hessian) @ jnp.abs(x))

    def advance(at: _Chord) -> _Chord:
        x = at.x + at.step
        value, gradient = slope(x)
        step = -solve(jnp.where(moving, gradient, 0))
        edm = -0.5 * jnp.vdot(step, jnp.where(moving, gradient, 0))
        usable = all_finite(value, gradient, step)
        # The slope of what is held is known by the Hessian after the last step. One
        # from next to a root or a logarithm has columns that are much too large.
        foretold = jnp.abs(last.hessian @ at.step)
        seen = OVERSHOOT * jnp.abs(gradient - at.gradient)
        slack = SLOPE_GOAL * jnp.abs(gradient)
        stale = ~mask & (foretold > seen + slack + rounding)
        usable = usable & ((at.count == 0) | ~jnp.any(stale))
        if box is not None:
            same = box.free(x, gradient, mask) == moving
            usable = usable & jnp.all(same & (box.contains(x + step) | ~moving))
        done = edm <= EDM_GOAL
        shrinks = edm <= CONTRACTION * at.edm
        close = ~shrinks & (edm <= GOOD_ENOUGH) & (at.edm <= GOOD_ENOUGH)
        good = usable & (done | close)
        going = usable & ~good & shrinks & (at.count + 1 < MOST_STEPS)
        return _Chord(x, step, value, gradient, edm, at.count + 1, going, good)

    start = _Chord(
        x=x,
        step=jnp.zeros_like(x),
        value=last.value,
        gradient=jnp.zeros_like(x),
        edm=jnp.full_like(last.value, jnp.inf),
        count=jnp.asarray(0),
        going=definite & last.success,
        good=jnp.asarray(False),
    )
    end = jax.lax.while_loop(lambda at: at.going, advance, start)
    status: Any = RESULTS.successful
    return Foothold(
        x=end.x + end.step,
        value=end.value - end.edm,
        gradient=end.gradient + last.hessian @ end.step,
        hessian=last.hessian,
        at_bound=last.at_bound,
        status=RESULTS.where(end.good, status, RESULTS.stalled),
        success=end.good,
        gradients=end.count,
        refitted=jnp.asarray(False),
    )
