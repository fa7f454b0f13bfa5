"""Go from one conditional minimum to the next one nearby, mostly by gradients alone.

A profile, an interval or a limit visits many conditional minima that lie close
together. The Hessian found at one of them tells, to first order, where the next one
is; and it stays good enough there for Newton steps, which then cost a gradient each
instead of a Hessian ("chord" steps). Where these do not collapse fast, or a parameter
reaches a bound or leaves one, the full solver takes over and brings a new Hessian.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from everwillow._errors import RESULTS
from everwillow._numerics import all_finite
from everwillow.fitting._adjoint import minimise, moves
from everwillow.fitting._core import Task
from everwillow.fitting._layout import is_traced, ravel_state
from everwillow.fitting._outcome import Outcome, scaled_solver
from everwillow.fitting._problem import Numbers
from everwillow.fitting.conditional import Problem
from everwillow.fitting.result import FitResult
from everwillow.solvers._box import active_set


# The last step is taken and not looked at again, so this is the error of the value.
EDM_GOAL = 1e-11
# Each chord step has to lower the EDM by this factor at least: half in distance.
CONTRACTION = 0.25
MOST_STEPS = 16
# Rounding may keep the EDM of a large -ln L above the goal.
GOOD_ENOUGH = 1e-8


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
        success: Whether it is a minimum.
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
    library: Any = jnp if is_traced(result.hessian, result.nll) else np

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
    vector = jnp.asarray(numbers.vector).at[numbers.index].set(x)
    return dataclasses.replace(
        numbers, vector=vector, mask=jnp.asarray(numbers.mask) & ~held
    )


def follow(task: Task, numbers: Numbers, last: Foothold) -> Foothold:
    """Find a conditional minimum from one nearby; traceable and differentiable.

    Derivatives follow from the implicit function theorem, as those of a fit do.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with the parameters that are held masked and at their
            new values (see `holding`); start values of the others are not used.
        last: Where to come from.
    """
    arrays, structure = eqx.partition((task, numbers), eqx.is_array)

    @jax.custom_jvp
    def solve(arrays: Any, last: Foothold) -> Foothold:
        task, numbers = eqx.combine(arrays, structure)
        return _follow(task, numbers, last)

    @solve.defjvp
    def push(primals, changes):
        arrays, last = primals
        end = solve(arrays, last)
        return end, _moved(structure, arrays, changes[0], end)

    return solve(arrays, jax.lax.stop_gradient(last))


def _moved(structure, arrays, change, end: Foothold) -> Foothold:
    """Return the tangent of a foothold."""
    task, numbers = eqx.combine(arrays, structure)
    exact = task.evaluate(numbers, end.x).curvature.as_matrix()
    nothing = jnp.zeros((), end.x.dtype)
    outcome = Outcome(
        x=end.x,
        value=end.value,
        gradient=end.gradient,
        hessian=exact,
        edm=nothing,
        status=end.status,
        success=end.success,
        num_steps=end.gradients,
        at_bound=end.at_bound,
        newton=jnp.zeros_like(end.x),
    )
    moved = moves(structure, arrays, change, outcome, None)
    blank = jax.tree.map(
        lambda leaf: (
            jnp.zeros_like(leaf)
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
            else jnp.zeros(leaf.shape, jax.dtypes.float0)
        ),
        end,
    )
    return eqx.tree_at(
        lambda f: (f.x, f.value, f.gradient, f.hessian),
        blank,
        (moved["x"], moved["value"], moved["gradient"], moved["hessian"]),
    )


def _follow(task: Task, numbers: Numbers, last: Foothold) -> Foothold:
    mask = jnp.asarray(numbers.mask)
    wanted = task.start(numbers)
    # Where the minimum moves to, to first order in what is held.
    held = jnp.where(mask, 0, wanted - last.x)
    solve, definite = scaled_solver(last.hessian, mask & ~last.at_bound)
    x = last.x + jnp.where(mask, -solve(last.hessian @ held), held)
    x = jnp.where(definite, x, jnp.where(mask, last.x, wanted))
    box = {} if numbers.lower is None else {"lower": numbers.lower}
    if numbers.upper is not None:
        box["upper"] = numbers.upper
        x = jnp.where(mask, jnp.clip(x, numbers.lower, numbers.upper), x)
    end = _chord(task, numbers, x, last, solve, definite, {**box, "free": mask})

    def refit() -> Foothold:
        start = jnp.where(jnp.all(jnp.isfinite(end.x)), end.x, x)
        whole = holding(numbers, jnp.where(mask, start, wanted), ~mask)
        outcome, _ = minimise(task, whole)
        assert outcome.hessian is not None
        return Foothold(
            x=outcome.x,
            value=outcome.value,
            gradient=outcome.gradient + outcome.hessian @ outcome.newton,
            hessian=outcome.hessian,
            at_bound=outcome.at_bound,
            status=outcome.status,
            success=outcome.success,
            gradients=end.gradients,
            refitted=jnp.asarray(True),
        )

    return jax.lax.cond(end.success, lambda: end, refit)


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
    mask = box["free"]
    moving = mask & ~last.at_bound
    slope = jax.value_and_grad(lambda x: task.value(numbers, x))

    def advance(at: _Chord) -> _Chord:
        x = at.x + at.step
        value, gradient = slope(x)
        free, _ = active_set(x, gradient, box)
        step = -solve(jnp.where(moving, gradient, 0))
        edm = -0.5 * jnp.vdot(step, jnp.where(moving, gradient, 0))
        usable = all_finite(value, gradient, step) & jnp.all(free == moving)
        if "lower" in box:
            after = x + step
            inside = (after >= box["lower"]) & (after <= box["upper"])
            usable = usable & jnp.all(inside | ~moving)
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


__all__ = ["Foothold", "follow", "foothold", "holding"]
