"""The search for the ends of an interval: one compiled loop of conditional fits."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._numerics import select
from everwillow.engine.core import Task, constant, parameter_ranges
from everwillow.engine.outcome import scaled_solver
from everwillow.engine.problem import Numbers
from everwillow.fitting.continuation import Foothold, attached, follow_held, holding
from everwillow.profile._lower_minima import DEEPER


class CROSSING(eqx.Enumeration):
    """How the search for the end of an interval ended."""

    found = "The profile likelihood crosses the level here."
    at_bound = "The parameter reaches its bound before the level is crossed."
    no_crossing = "The profile likelihood does not reach the level, however far."
    new_minimum = "-ln L is smaller here than at the minimum of the free fit."
    fit_failed = "Fits with the parameter held fail before the level is crossed."
    below_rounding = (
        "-ln L is so large that its rounding hides the level: use double precision."
    )


# Accuracy of an end in standard errors; the rounding of -ln L may be coarser.
TOLERANCE = 1e-9
# Newton's method takes 3 to 8 points; after `NEWTON_POINTS` the bracket is halved
# instead, which takes 52 at most.
NEWTON_POINTS = 16
MOST_POINTS = 72
# Where the level is not reached the distance from the best fit grows by this part.
GROWTH = 1.0
# Beyond as many standard errors there is no crossing.
FAR = 1e9
# This close, in standard errors, to where fits begin to fail there is no crossing.
NEAR_FAILURE = 1e-6
# A fall of -ln L by this in one standard error outwards hints at another minimum.
FALL = 1e-3
# Largest rounding of -ln L as a part of the rise to the level.
COARSE = 0.2
# Largest rounding that may end a search by itself; beyond, the bracket has to close.
FINE = 0.02
# Smooth maps cannot be evaluated at the ends of their range: distance from the end, as
# a part of the range.
MARGIN = 1e-9


class _SearchState(eqx.Module):
    """The state of a search: a bracket and the next value.

    Attributes:
        at: The last fit that did not fail.
        value: The next value.
        inside: The outermost value below the level.
        outside: The innermost value that is not below the level.
        wall: Whether the fit at `outside` failed.
        beyond: The parameters where -ln L falls on the way outwards, or NaN.
        status: How the search has ended.
        going: Whether the search continues.
        count: The number of points.
    """

    at: Foothold
    value: Float[Array, ""]
    inside: Float[Array, ""]
    outside: Float[Array, ""]
    wall: Any
    beyond: Float[Array, " n"]
    status: CROSSING
    going: Any
    count: Any


class _CrossingProblem(eqx.Module):
    """The constants of a search.

    Attributes:
        task: The structure of the fit.
        numbers: Its arguments.
        base: The minimum.
        held: Parameters that are held, shape ``(n,)``.
        place: The position of the parameter.
        side: The direction, -1 or 1.
        level: The level in standard errors.
        sigma: The standard error.
        end: The outermost possible value.
        rounding: The rounding error of -ln L.
    """

    task: Task
    numbers: Numbers
    base: Foothold
    held: Array
    place: Array
    side: Array
    level: Array
    sigma: Array
    end: Array
    rounding: Array

    def limited(self, value: Array) -> Array:
        """Return the value, or the outermost possible value if it is beyond that."""
        beyond = (value - self.end) * self.side > 0
        return jnp.where(beyond, self.end, value)

    def start(self) -> _SearchState:
        """Return the first point, where a parabola would cross."""
        codes: Any = CROSSING
        best = self.base.x[self.place]
        away = (self.end - best) * self.side > 0
        status = codes.where(away, codes.fit_failed, codes.at_bound)
        hidden = away & (self.rounding > COARSE * 0.5 * self.level**2)
        status = codes.where(hidden, codes.below_rounding, status)
        return _SearchState(
            at=self.base,
            value=self.limited(best + self.side * self.level * self.sigma),
            inside=best,
            outside=self.side * jnp.full_like(best, jnp.inf),
            wall=jnp.asarray(False),
            beyond=jnp.full_like(self.base.x, jnp.nan),
            status=codes.where(self.base.success, status, codes.fit_failed),
            going=away & ~hidden & self.base.success,
            count=jnp.asarray(0),
        )

    def advance(self, s: _SearchState) -> _SearchState:
        """Fit at the next value, update the bracket and choose another value."""
        x = self.base.x.at[self.place].set(s.value)
        at = follow_held(self.task, self.numbers, s.at, self.held, x)
        good = at.success
        rise, root = _height(at, self.base)
        slope = at.gradient[self.place] / jnp.where(root > 0, root, 1)
        miss = root - self.level
        # A value at which -ln L is not finite, as for negative yields, is outside, too.
        crossed = ~good | (miss >= 0)
        inside = jnp.where(crossed, s.inside, s.value)
        outside = jnp.where(crossed, s.value, s.outside)
        wall = jnp.where(crossed, ~good, s.wall)
        newton = s.value - miss / slope
        fall = -self.side * self.sigma * at.gradient[self.place]
        falls = good & (fall > FALL + self.rounding)

        low, high = jnp.minimum(inside, outside), jnp.maximum(inside, outside)
        usable = good & (newton > low) & (newton < high) & (s.count < NEWTON_POINTS)
        within = jnp.where(usable, newton, 0.5 * (low + high))
        tried = (s.value - self.base.x[self.place]) * self.side
        ahead = (newton - s.value) * self.side
        reach = GROWTH * jnp.maximum(tried, self.sigma)
        further = jnp.where(ahead > 0, jnp.minimum(ahead, reach), reach)
        bracketed = jnp.isfinite(outside)
        value = jnp.where(
            bracketed, within, self.limited(s.value + self.side * further)
        )

        inner = good & (miss < 0)
        epsilon = jnp.finfo(low.dtype).eps
        known = jnp.minimum(self.rounding / self.level, FINE * self.level)
        converged = good & (jnp.abs(miss) <= TOLERANCE + known)
        narrow = bracketed & (high - low <= 4 * epsilon * jnp.abs(s.value))
        blocked = bracketed & wall & (high - low <= NEAR_FAILURE * self.sigma)
        lost = inner & (tried > FAR * self.sigma)
        stopped = inner & (s.value == self.end)
        deeper = good & (rise < -(DEEPER + self.rounding))
        codes: Any = CROSSING
        status = codes.where(narrow, codes.found, s.status)
        status = codes.where(blocked | (narrow & wall), codes.fit_failed, status)
        status = codes.where(lost, codes.no_crossing, status)
        status = codes.where(stopped, codes.at_bound, status)
        status = codes.where(converged, codes.found, status)
        status = codes.where(deeper, codes.new_minimum, status)
        over = converged | narrow | blocked | lost | stopped | deeper
        return _SearchState(
            at=select(good, at, s.at),
            value=value,
            inside=inside,
            outside=outside,
            wall=wall,
            beyond=jnp.where(falls, at.x, s.beyond),
            status=status,
            going=~over,
            count=s.count + 1,
        )


def _height(at: Foothold, base: Foothold) -> tuple[Array, Array]:
    """Return the rise of -ln L, and its signless root in standard errors."""
    rise = at.value - base.value
    return rise, jnp.sqrt(2 * jnp.maximum(rise, 0))


def crossing(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Array,
    place: Array,
    side: Array,
    level: Array,
) -> tuple[Array, Any, Array, Array]:
    """Find the value at which the profile of one parameter has risen to a level.

    Solves ``sqrt(2 (nll - nll_min)) = level``, which is a straight line for a parabola,
    by Newton's method: the slope of the profile is the partial derivative of -ln L
    (envelope theorem). A bracket keeps it safe.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        base: The minimum.
        held: Which other parameters are held there, shape ``(n,)``.
        place: The position of the parameter.
        side: The direction, -1 or 1.
        level: The level in standard errors.

    Returns:
        The value of the parameter, a `CROSSING`, all parameters there, and the
        parameters at a point where -ln L falls outwards, which hints at another minimum
        (NaN without such a point).
    """
    held = jnp.asarray(held)
    free = jnp.asarray(numbers.mask) & ~held & ~base.at_bound
    solve, _ = scaled_solver(base.hessian, free.at[place].set(True))
    variance = solve(jnp.zeros_like(base.x).at[place].set(1))[place]
    best = base.x[place]
    guess = jnp.where(jnp.abs(best) > 0, jnp.abs(best), 1)
    bound, end = _ends(numbers, base.x, place, side)
    held = held.at[place].set(True)
    problem: _CrossingProblem = constant(
        _CrossingProblem(
            task=task,
            numbers=numbers,
            base=base,
            held=held,
            place=place,
            side=side,
            level=level,
            sigma=jnp.where(variance > 0, jnp.sqrt(jnp.abs(variance)), guess),
            end=end,
            rounding=16 * jnp.finfo(best.dtype).eps * jnp.abs(base.value),
        )
    )

    # Functions, as JAX would hash a bound method with the arrays of its object.
    def advance(s: _SearchState) -> _SearchState:
        return problem.advance(s)

    last = jax.lax.while_loop(
        lambda s: s.going & (s.count < MOST_POINTS), advance, problem.start()
    )
    # One more Newton step, whose derivative is that of the crossing.
    here = last.at.x[place]
    others = jnp.where(held, base.x, last.at.x)
    at = attached(task, holding(numbers, others.at[place].set(here), held), last.at)
    codes: Any = CROSSING
    crosses = last.status == codes.found
    rise = jnp.where(crosses, at.value - base.value, 1)
    root = jnp.sqrt(2 * jnp.where(rise > 0, rise, 1))
    slope = jnp.where(crosses, jax.lax.stop_gradient(at.gradient[place] / root), 1)
    value = here - jnp.where(crosses, (root - level) / slope, 0)
    value = jnp.where(last.status == codes.at_bound, bound, value)
    moved = holding(numbers, others.at[place].set(value), held)
    x = attached(task, moved, last.at).x.at[place].set(value)
    return value, last.status, x, jax.lax.stop_gradient(last.beyond)


def _ends(numbers: Numbers, x: Array, place: Array, side: Array) -> tuple[Array, Array]:
    """Return the bound of a parameter on one side, and the outermost value to try."""
    lower, upper = (end[place] for end in parameter_ranges(numbers, x))
    bound = jnp.where(side > 0, upper, lower)
    is_open = jnp.zeros(x.shape, bool)
    for where in numbers.transformed:
        is_open = is_open.at[where].set(True)
    width = jnp.where(jnp.isfinite(upper - lower), upper - lower, 1 + jnp.abs(x[place]))
    return bound, jnp.where(is_open[place], bound - side * MARGIN * width, bound)


def crossings(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Array,
    places: Array,
    sides: Array,
    level: Array,
) -> tuple[Array, Any, Array, Array]:
    """Find several crossings, one after the other in one program."""

    def one(job):
        place, side = job
        return crossing(task, numbers, base, held, place, side, level)

    return jax.lax.map(one, (places, sides))
