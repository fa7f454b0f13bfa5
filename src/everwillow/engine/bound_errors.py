"""One-sided errors of parameters at a bound, from the likelihood itself.

The error is the distance from the bound at which -ln L, minimised over all other
parameters, has risen by one half: `everwillow.profile.minos` finds the same by fits
with the parameter held. Here the Hessian of the minimum is used as long as it is
accurate enough: each point costs a gradient, one Newton step of the other parameters is
predicted, and the parabola through value and slope after it gives the next point. The
first point, at the minimum itself, gives the result of the quadratic model, whose
curvature is the Schur complement of the other parameters. Other parameters may reach
a bound on the way, or leave theirs: a primal active set method (Nocedal and Wright,
Numerical Optimization, chapter 16).
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from everwillow._derivatives import has_custom_vjp, push_forward, value_and_gradient
from everwillow._numerics import any_lane, is_traced, select, zeros_of
from everwillow.curvature import Dense
from everwillow.engine import programs
from everwillow.engine.adjoint import zero_tangent
from everwillow.engine.core import Task, open_ranges, parameter_ranges
from everwillow.engine.outcome import Outcome
from everwillow.engine.problem import Numbers


RISE = 0.5
# Relative accuracy of the distance.
TOLERANCE = 1e-8
# The other parameters are at their minimum if one more step lowers -ln L by less.
STILL = 1e-9
# Open ranges end this part of their width inside.
MARGIN = 1e-7
# Up to this many parameters compiling takes longer than running.
FEW = 600
# A distance that takes more steps is not found.
MOST_STEPS = 40
# The Hessian is computed again where a step of the other parameters predicts a decrease
# of -ln L of more than `UNSETTLED` and of more than `CONTRACTION` times the last one.
# Where it predicts more than `CALM`, the parameter itself does not move.
UNSETTLED, CONTRACTION, CALM = 1e-3, 0.25, 0.05


def bound_distances(task: Task, numbers: Numbers, outcome: Outcome) -> Any:
    """Return the distance from its bound of each parameter at one.

    The program is compiled only if a parameter is at a bound, or in a trace.

    Returns:
        The distances, shape ``(n,)``: NaN for parameters that are not at a bound, and
        where no distance was found; outside of a trace also where the fit failed. None
        where the fit has no Hessian.
    """
    if outcome.hessian is None:
        return None
    if not is_traced(outcome):
        known = np.asarray(outcome.success) & np.asarray(outcome.at_bound)
        if not np.any(known):
            return np.full(outcome.x.shape, np.nan, outcome.x.dtype)
    ends = outcome.x, outcome.value, outcome.gradient, outcome.hessian, outcome.at_bound
    hasty = outcome.x.shape[0] <= FEW
    return programs.call(distances, task, numbers, ends, hasty=hasty)


def distances(task: Task, numbers: Numbers, ends: tuple[Array, ...]) -> Array:
    """Find the distances; differentiable in all numbers."""
    arrays, structure = eqx.partition((task, numbers), eqx.is_array)

    @jax.custom_jvp
    def find(arrays: Any, ends: Any) -> tuple[Array, Array]:
        task, numbers = eqx.combine(arrays, structure)
        return _find(task, numbers, ends)

    @find.defjvp
    def push(primals, changes):
        (arrays, ends), (change, moved) = primals, changes
        found, points = find(arrays, ends)
        rate = _rates(structure, arrays, change, ends, moved, found, points)
        return (found, points), (rate, zero_tangent(points))

    return find(arrays, ends)[0]


class _Search(eqx.Module):
    """The state of the search, which treats one parameter after the other.

    Attributes:
        place: The parameter.
        count: Points so far.
        x: The next point, shape ``(n,)``.
        held: Which other parameters are held at an end of their range there.
        last_below: The last point below the rise, and which parameters were held there.
        low: The largest distance known not to be far enough.
        high: The smallest distance known to be too far.
        steep: Whether -ln L has no finite slope at the bound itself.
        hessian: The last one, shape ``(n, n)``.
        stale: Whether the Hessian has to be computed again.
        gain: Predicted decrease of the last step of the other parameters.
        moving: The parameters of the factor.
        factor: Factor of their scaled Hessian.
        found: Distances found, NaN elsewhere.
        points: All parameters at each distance, shape ``(n, n)``.
        todo: Which parameters are still to be searched.
    """

    place: Array
    count: Array
    x: Float[Array, " n"]
    held: Bool[Array, " n"]
    last_below: tuple[Array, Array]
    low: Array
    high: Array
    steep: Bool[Array, ""]
    hessian: Float[Array, "n n"]
    stale: Bool[Array, ""]
    gain: Array
    moving: Bool[Array, " n"]
    factor: Any
    found: Float[Array, " n"]
    points: Float[Array, "n n"]
    todo: Bool[Array, " n"]


class _Point(eqx.Module):
    """The evaluation of a point, with one Newton step of the other parameters.

    Attributes:
        distance: The distance of the parameter from its bound.
        nonfinite: Whether -ln L or its gradient is not finite.
        steep: Whether -ln L has no finite slope at the bound itself.
        gradient: Slope of -ln L, zero for fixed parameters, shape ``(n,)``.
        full_hessian: The Hessian, shape ``(n, n)``.
        hessian: The Hessian without the row of a steep parameter.
        moving: Which others move freely, shape ``(n,)``.
        factor: Factor of their scaled Hessian.
        indefinite: Whether the Hessian of these is not positive definite.
        step: Newton step of the others, shape ``(n,)``.
        ahead: Rates of all parameters as the one goes into its range, shape ``(n,)``.
        after: Slope after the step, shape ``(n,)``.
        predicted: Decrease of -ln L that the step predicts.
        rise: -ln L after the step, above the minimum.
        rate: Slope along the way after the step.
        bend: Curvature along the way.
    """

    distance: Float[Array, ""]
    nonfinite: Bool[Array, ""]
    steep: Bool[Array, ""]
    gradient: Float[Array, " n"]
    full_hessian: Float[Array, "n n"]
    hessian: Float[Array, "n n"]
    moving: Bool[Array, " n"]
    factor: Any
    indefinite: Bool[Array, ""]
    step: Float[Array, " n"]
    ahead: Float[Array, " n"]
    after: Float[Array, " n"]
    predicted: Float[Array, ""]
    rise: Float[Array, ""]
    rate: Float[Array, ""]
    bend: Float[Array, ""]


class _Minimum(eqx.Module):
    """The constants of a search: the fit, its minimum, and the ends of all ranges.

    Attributes:
        task: The structure of the fit.
        numbers: Its arguments.
        x: The minimum, shape ``(n,)``.
        base: -ln L there.
        hessian: Its second derivatives there, shape ``(n, n)``.
        at_bound: Which parameters are at a bound, shape ``(n,)``.
        side: The sign of the direction from a bound into the range, shape ``(n,)``.
        lower: Lower ends of the ranges, shape ``(n,)``.
        upper: Upper ends.
    """

    task: Task
    numbers: Numbers
    x: Float[Array, " n"]
    base: Float[Array, ""]
    hessian: Float[Array, "n n"]
    at_bound: Bool[Array, " n"]
    side: Float[Array, " n"]
    lower: Float[Array, " n"]
    upper: Float[Array, " n"]

    @property
    def scale(self) -> Array:
        """Return the factors that scale the diagonal of the Hessian to 1."""
        diagonal = jnp.diagonal(self.hessian)
        return jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.abs(diagonal)), 1)

    def factor(self, hessian: Array, moving: Array) -> Any:
        """Factorise the Hessian of some parameters."""
        scale = jnp.where(moving, self.scale, 1)
        return Dense(hessian).scaled(scale).masked(moving).factor()

    def start(self) -> _Search:
        """Return the beginning, at the first of the parameters."""
        x, place = self.x, jnp.argmax(self.at_bound)
        blank = eqx.filter_eval_shape(lambda: self.factor(self.hessian, self.at_bound))
        return _Search(
            place=place,
            count=jnp.asarray(0),
            x=x,
            held=self.at_bound,
            last_below=(x, self.at_bound),
            low=jnp.zeros_like(self.base),
            high=jnp.full_like(self.base, jnp.inf),
            steep=jnp.asarray(False),
            hessian=self.hessian,
            stale=jnp.asarray(False),
            gain=jnp.full_like(self.base, jnp.inf),
            moving=jnp.zeros_like(self.at_bound),
            factor=zeros_of(blank),
            found=jnp.full_like(x, jnp.nan),
            points=jnp.zeros_like(self.hessian),
            todo=self.at_bound,
        )

    def look(self, s: _Search) -> _Point:
        """Evaluate -ln L at the next point, and solve for the other parameters."""
        i, mask = s.place, jnp.asarray(self.numbers.mask)
        value, g = value_and_gradient(lambda x: self.task.value(self.numbers, x))(s.x)
        g = jnp.where(mask, g, 0)
        nonfinite = ~jnp.isfinite(value) | ~jnp.all(jnp.isfinite(g))
        g = jnp.where(nonfinite, 0, g)
        distance = self.side[i] * (s.x[i] - self.x[i])
        steep = s.steep | (nonfinite & (distance == 0) & jnp.isfinite(value))
        # There the curvature of the parameter is only that of the singularity.
        own = jnp.arange(mask.size) == i
        full = jax.lax.cond(
            any_lane(s.stale),
            lambda: jnp.where(s.stale, self.curvature(s.x), s.hessian),
            lambda: s.hessian,
        )
        hessian = jnp.where(steep & (own[None] | own[:, None]), 0, full)
        moving = (mask & ~s.held).at[i].set(False)
        changed = (s.count == 0) | s.stale | jnp.any(moving != s.moving)
        factor = jax.lax.cond(
            changed, lambda: self.factor(full, moving), lambda: s.factor
        )
        indefinite = ~(factor.smallest_pivot > 0)
        sources = jnp.where(moving[:, None], jnp.stack([g, hessian[:, i]], -1), 0)
        scale = self.scale[:, None]
        step, response = (-scale * factor.solve(scale * sources)).T
        step, response = (jnp.where(indefinite, 0, v) for v in (step, response))
        gain = 0.5 * jnp.vdot(g, step)
        ahead = response.at[i].set(1) * self.side[i]
        after = g + hessian @ step
        return _Point(
            distance=distance,
            nonfinite=nonfinite,
            steep=steep,
            gradient=g,
            full_hessian=full,
            hessian=hessian,
            moving=moving,
            factor=factor,
            indefinite=indefinite,
            step=step,
            ahead=ahead,
            after=after,
            predicted=jnp.abs(gain),
            rise=value + gain - self.base,
            rate=jnp.vdot(ahead, after),
            bend=jnp.vdot(ahead, hessian @ ahead),
        )

    def advance(self, s: _Search) -> _Search:
        """Evaluate a point, and choose the next."""
        i, mask, p = s.place, jnp.asarray(self.numbers.mask), self.look(s)
        below = ~p.nonfinite & (p.rise < RISE)
        settled = ~p.nonfinite & ~p.indefinite & (p.predicted <= STILL + self.rounding)
        others = s.held & mask
        # Bracket only with the other parameters at their minimum: a further step of
        # them could lower -ln L below the rise.
        least = settled & ~jnp.any(others & (self.inwards(s.x, p.after) > 0))
        low = jnp.where(least & below, jnp.maximum(p.distance, s.low), s.low)
        outside = (p.nonfinite & (p.distance != 0)) | (least & ~below)
        high = jnp.where(outside, jnp.minimum(p.distance, s.high), s.high)
        goal, sure = self.goal(i, p, low, high)
        goal = jnp.where((p.predicted > CALM) | p.indefinite, p.distance, goal)

        move = jnp.where(p.nonfinite, 0, p.step + p.ahead * (goal - p.distance))
        share, blocked = self.room(s.x, move, p.moving)
        slope = self.inwards(s.x, p.gradient + p.hessian @ move)
        candidates = others & (slope > 0) & settled & (share == 1)
        stays = jnp.abs(goal - p.distance) <= self.slack(goal, p.rate)
        crossed = settled & sure & stays & (share == 1) & (s.count > 0)
        crossed = crossed & ~jnp.any(candidates)
        far = jnp.abs(self.far - self.x)[i]
        at_end = settled & below & (p.distance == far) & ~jnp.any(candidates)
        finished = crossed | at_end | (s.count + 1 >= MOST_STEPS)

        # Only one parameter is freed at a time, so that it moves inwards.
        first = jnp.argmax(jnp.where(candidates, slope * self.scale, -1))
        freed = candidates & (jnp.arange(candidates.size) == first)
        own_move = s.last_below[0].at[i].set(self.x[i] + self.side[i] * goal)
        x = jnp.where(
            p.nonfinite, own_move, self.landed(s.x + share * move, blocked, move)
        )
        x = jnp.where((share == 1) & (jnp.arange(x.size) == i), own_move, x)
        held = jnp.where(p.nonfinite, s.last_below[1], (s.held | blocked) & ~freed)
        found = jnp.where(crossed | at_end, goal, jnp.nan)
        search = _Search(
            place=i,
            count=s.count + 1,
            x=x,
            held=held,
            last_below=select(below, (s.x, s.held), s.last_below),
            low=low,
            high=high,
            steep=p.steep,
            hessian=jnp.where(p.indefinite, s.hessian, p.full_hessian),
            stale=(p.predicted > UNSETTLED) & (p.predicted > CONTRACTION * s.gain),
            gain=jnp.where(p.nonfinite | p.indefinite, jnp.inf, p.predicted),
            # None where the factor cannot be used again.
            moving=p.moving & ~p.indefinite,
            factor=p.factor,
            found=jnp.where(finished, s.found.at[i].set(found), s.found),
            points=s.points.at[i].set(jnp.where(finished, x, s.points[i])),
            todo=jnp.where(finished, s.todo.at[i].set(False), s.todo),
        )
        return self.next_parameter(search, finished)

    def next_parameter(self, s: _Search, finished: Bool[Array, ""]) -> _Search:
        """Begin with the next parameter, if the search for one is over."""
        start = {
            "count": 0,
            "x": self.x,
            "held": self.at_bound,
            "low": 0,
            "high": jnp.inf,
            "steep": False,
            "hessian": self.hessian,
            "stale": False,
            "gain": jnp.inf,
        }
        fields = {k: jnp.where(finished, v, getattr(s, k)) for k, v in start.items()}
        below = select(finished, (self.x, self.at_bound), s.last_below)
        place = jnp.argmax(s.todo)
        return dataclasses.replace(s, place=place, last_below=below, **fields)

    def curvature(self, x: Array) -> Array:
        """Return the Hessian at a point."""
        return self.task.evaluate(self.numbers, x).curvature.as_matrix()

    def goal(self, i: Array, p: _Point, low: Array, high: Array) -> tuple[Array, Array]:
        """Return the next distance, and whether it is the root of the parabola."""
        here, rate, nonfinite = p.distance, p.rate, p.nonfinite
        miss = RISE - p.rise
        discriminant = rate**2 + 2 * p.bend * miss
        denominator = rate + jnp.sqrt(jnp.maximum(discriminant, 0))
        has_root = (discriminant >= 0) & (denominator > 0) & ~nonfinite
        # The smaller root, in the form without cancellation.
        root = here + 2 * miss / jnp.where(has_root, denominator, 1)
        slack = self.slack(root, rate)
        has_root = has_root & (root >= low - slack) & (root <= high + slack)
        guess = 1 / jnp.where(rate > 0, rate, jnp.sqrt(jnp.abs(self.hessian[i, i])))
        least = jnp.finfo(here.dtype).eps * (1 + jnp.abs(self.x[i]))
        guess = jnp.where(nonfinite & (here == 0), least, guess)
        outwards = jnp.where(here > 0, 2 * here, guess)
        outwards = jnp.where(jnp.isfinite(outwards), outwards, 1)
        # Without a root: bisection of the bracket, or a larger distance.
        bisection = jnp.where(jnp.isfinite(high), 0.5 * (low + high), outwards)
        far = jnp.abs(self.far - self.x)[i]
        return jnp.minimum(jnp.where(has_root, root, bisection), far), has_root

    def slack(self, distance: Array, rate: Array) -> Array:
        """Return the accuracy of a distance, given the slope of -ln L."""
        return TOLERANCE * distance + self.rounding / jnp.where(rate > 0, rate, jnp.inf)

    @property
    def rounding(self) -> Array:
        """Return the rounding error of -ln L."""
        return 16 * jnp.finfo(self.x.dtype).eps * jnp.abs(self.base)

    @property
    def far(self) -> Array:
        """Return the other ends of the ranges."""
        return jnp.where(self.side > 0, self.upper, self.lower)

    def room(self, x: Array, move: Array, moving: Array) -> tuple[Array, Array]:
        """Return the part of a move inside all ranges, and what limits it."""
        end = jnp.where(move > 0, self.upper, self.lower)
        moves = moving & (move != 0)
        shares = jnp.where(moves, (end - x) / jnp.where(moves, move, 1), jnp.inf)
        share = jnp.clip(jnp.min(shares), 0, 1)
        return share, (shares <= share) & (shares < 1)

    def landed(self, x: Array, blocked: Array, move: Array) -> Array:
        """Return a point with parameters that reached an end exactly there."""
        end = jnp.where(move > 0, self.upper, self.lower)
        return jnp.where(blocked, end, jnp.clip(x, self.lower, self.upper))

    def inwards(self, x: Array, gradient: Array) -> Array:
        """Return the slopes with which -ln L falls from ends of ranges inwards."""
        return jnp.where(x >= self.upper, gradient, -gradient)


def _find(task: Task, numbers: Numbers, ends: tuple[Array, ...]):
    """Return the distances, and all parameters there."""
    x, base, gradient, hessian, at_bound = ends
    lower, upper = range_ends(numbers, x)
    # At a bound -ln L rises into the range.
    side = jnp.sign(gradient)
    minimum = _Minimum(task, numbers, x, base, hessian, at_bound, side, lower, upper)

    def advance(s: _Search) -> _Search:  # a method of a Module has no hash
        return minimum.advance(s)

    end = jax.lax.while_loop(lambda s: jnp.any(s.todo), advance, minimum.start())
    return end.found, end.points


def range_ends(numbers: Numbers, x: Array) -> tuple[Array, Array]:
    """Return the ends of all ranges, moved a little inside for smooth maps."""
    lower, upper = parameter_ranges(numbers, x)
    is_open = open_ranges(numbers, x)
    width = jnp.where(jnp.isfinite(upper - lower), upper - lower, 1 + jnp.abs(x))
    near, far = lower + MARGIN * width, upper - MARGIN * width
    lower = jnp.where(is_open, jnp.minimum(x, near), lower)
    return lower, jnp.where(is_open, jnp.maximum(x, far), upper)


def _rates(structure, arrays, change, ends, moved, found: Array, points: Array):
    """Return the change of the distances, by the implicit function theorem.

    The rise at the distance is constant. Parameters at a bound move with it; those
    between bounds do not contribute, as -ln L has no slope in them.
    """
    x, _, gradient, _, _ = ends
    side = jnp.sign(gradient)

    def outside(arrays):
        task, numbers = eqx.combine(arrays, structure)
        return (*range_ends(numbers, jax.lax.stop_gradient(x)), task.start(numbers))

    def value(arrays, v):
        task, numbers = eqx.combine(arrays, structure)
        return task.value(numbers, v)

    value = eqx.filter_closure_convert(value, arrays, x)
    forward = not has_custom_vjp(value)

    def rate(v, *changes):
        return push_forward(value, (arrays, v), changes, forward=forward)

    still = jax.tree.map(zero_tangent, arrays)
    (lower, upper, _), moves = jax.jvp(outside, (arrays,), (change,))
    move_lower, move_upper, move_start = moves
    _, numbers = eqx.combine(arrays, structure)
    mask = jnp.asarray(numbers.mask)
    near = jnp.where(side > 0, move_lower, move_upper)
    far = jnp.where(side > 0, upper, lower)
    move_far = jnp.where(side > 0, move_upper, move_lower)

    def one(row):
        i, point = row
        on_end = jnp.where(point >= upper, move_upper, 0)
        on_end = jnp.where(point <= lower, move_lower, on_end)
        dx = jnp.where(mask, on_end, move_start).at[i].set(near[i])
        rise = rate(point, change, dx) - moved[1]
        inwards = jnp.zeros_like(x).at[i].set(side[i])
        slope = rate(point, still, inwards)
        whole = side[i] * (move_far[i] - near[i])
        # Distances that were not found have no slope; their rows are replaced below.
        slope = jnp.where(slope > 0, slope, 1)
        return jnp.where(point[i] == far[i], whole, -rise / slope)

    known = jnp.isfinite(found)
    rows = (jnp.arange(x.size), jnp.where(known[:, None], points, x))
    return jnp.where(known, jax.lax.map(one, rows), 0)
