"""One-sided errors of parameters at a bound, followed on the likelihood itself.

From its bound a parameter goes into its range until -ln L, minimised over all others,
has risen by one half: what `everwillow.profile.minos` finds by fits with the parameter
held. Here the Hessian of the minimum serves as long as it does: each point costs a
gradient, one Newton step of the other parameters is foreseen, and the parabola through
the height and slope after it says where to go on. The first point, at the minimum
itself, gives the answer of the quadratic model, with the Schur complement of the other
parameters for curvature. Others that reach a bound on the way, or leave theirs, do so:
a primal active set method (Nocedal and Wright, Numerical Optimization, chapter 16).
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from everwillow._derivatives import has_custom_vjp, push_forward, value_and_gradient
from everwillow._numerics import any_lane, select, zeros_of
from everwillow.curvature import Dense
from everwillow.engine import programs
from everwillow.engine.adjoint import zero_tangent
from everwillow.engine.core import Task, open_ranges, parameter_ranges
from everwillow.engine.layout import is_traced
from everwillow.engine.outcome import Outcome
from everwillow.engine.problem import Numbers


RISE = 0.5
# Of the distance, when it counts as found.
TOLERANCE = 1e-8
# Of -ln L: what one more step of the other parameters may bring.
STILL = 1e-9
# Of a range without ends this much is left.
MARGIN = 1e-7
# Up to so many parameters compiling takes longer than running.
FEW = 600
# What is not found in so many steps is not.
MOST_STEPS = 40
# Where a step of the other parameters promises more than this of -ln L, and more than
# this part of what the last one did, the Hessian is made anew; and where it promises
# more than a part of the rise, the parameter itself waits.
UNSETTLED, CONTRACTION, CALM = 1e-3, 0.25, 0.05


def bound_distances(task: Task, numbers: Numbers, outcome: Outcome) -> Any:
    """Return how far into their range parameters at a bound may go.

    Compiled only where there is one, unless it is traced.

    Returns:
        The distances, shape ``(n,)``: NaN for what is not at a bound, and where the way
        was not found. None where the fit has no Hessian.
    """
    if outcome.hessian is None:
        return None
    if not is_traced(outcome) and not np.any(np.asarray(outcome.at_bound)):
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
    """Where the search stands; it does one parameter after the other.

    Attributes:
        place: The parameter.
        count: Points so far.
        x: The next point, shape ``(n,)``.
        held: Which others are held at an end of their range there, likewise.
        good: The last point below the rise, and what was held there.
        low: The largest distance known not to be far enough.
        high: The smallest distance known to be too far.
        steep: Whether -ln L has no finite slope at the bound itself.
        hessian: The last one, shape ``(n, n)``.
        stale: Whether it has to be made anew.
        gain: What the last step of the other parameters promised.
        moving: Which parameters the factor is of.
        factor: Factor of the scaled Hessian of these.
        found: Distances found, NaN elsewhere.
        points: All parameters there, shape ``(n, n)``.
        left: Which parameters are still to do.
    """

    place: Array
    count: Array
    x: Float[Array, " n"]
    held: Bool[Array, " n"]
    good: tuple[Array, Array]
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
    left: Bool[Array, " n"]


class _Point(eqx.Module):
    """What is found at a point, and what one Newton step of the others would change.

    Attributes:
        distance: How far the parameter is from its bound.
        bad: Whether -ln L or its gradient is not finite.
        steep: Whether -ln L has no finite slope at the bound itself.
        gradient: Slope of -ln L, zero for fixed parameters, shape ``(n,)``.
        known: The Hessian, shape ``(n, n)``.
        hessian: The Hessian to compute with: without the row of a steep parameter.
        moving: Which others move freely, shape ``(n,)``.
        factor: Factor of their scaled Hessian.
        lost: Whether it is not positive definite.
        step: Newton step of the others, shape ``(n,)``.
        ahead: Way of all parameters as the one goes into its range, shape ``(n,)``.
        after: Slope after the step, shape ``(n,)``.
        promised: By how much the step should lower -ln L.
        rise: -ln L after the step, above the minimum.
        rate: Slope along the way after the step.
        bend: Curvature along the way.
    """

    distance: Float[Array, ""]
    bad: Bool[Array, ""]
    steep: Bool[Array, ""]
    gradient: Float[Array, " n"]
    known: Float[Array, "n n"]
    hessian: Float[Array, "n n"]
    moving: Bool[Array, " n"]
    factor: Any
    lost: Bool[Array, ""]
    step: Float[Array, " n"]
    ahead: Float[Array, " n"]
    after: Float[Array, " n"]
    promised: Float[Array, ""]
    rise: Float[Array, ""]
    rate: Float[Array, ""]
    bend: Float[Array, ""]


class _Minimum(eqx.Module):
    """What does not change in a search: the fit, its end, and the ends of all ranges.

    Attributes:
        task: The structure of the fit.
        numbers: Its arguments.
        x: Where it ended, shape ``(n,)``.
        base: -ln L there.
        hessian: Its second derivatives there, shape ``(n, n)``.
        at_bound: Which parameters are at a bound, shape ``(n,)``.
        side: Sign of the way from a bound into the range, shape ``(n,)``.
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
        """Return what makes the diagonal of the Hessian 1."""
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
            good=(x, self.at_bound),
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
            left=self.at_bound,
        )

    def look(self, s: _Search) -> _Point:
        """Evaluate -ln L at the next point, and solve for the other parameters."""
        i, mask = s.place, jnp.asarray(self.numbers.mask)
        value, g = value_and_gradient(lambda x: self.task.value(self.numbers, x))(s.x)
        g = jnp.where(mask, g, 0)
        bad = ~jnp.isfinite(value) | ~jnp.all(jnp.isfinite(g))
        g = jnp.where(bad, 0, g)
        distance = self.side[i] * (s.x[i] - self.x[i])
        steep = s.steep | (bad & (distance == 0) & jnp.isfinite(value))
        # There the curvature tells of nothing but the bound.
        own = jnp.arange(mask.size) == i
        known = jax.lax.cond(
            any_lane(s.stale),
            lambda: jnp.where(s.stale, self.curvature(s.x), s.hessian),
            lambda: s.hessian,
        )
        hessian = jnp.where(steep & (own[None] | own[:, None]), 0, known)
        moving = (mask & ~s.held).at[i].set(False)
        changed = (s.count == 0) | s.stale | jnp.any(moving != s.moving)
        factor = jax.lax.cond(
            changed, lambda: self.factor(known, moving), lambda: s.factor
        )
        lost = ~(factor.smallest_pivot > 0)
        sources = jnp.where(moving[:, None], jnp.stack([g, hessian[:, i]], -1), 0)
        scale = self.scale[:, None]
        step, response = (-scale * factor.solve(scale * sources)).T
        step, response = (jnp.where(lost, 0, v) for v in (step, response))
        gain = 0.5 * jnp.vdot(g, step)
        ahead = response.at[i].set(1) * self.side[i]
        after = g + hessian @ step
        return _Point(
            distance=distance,
            bad=bad,
            steep=steep,
            gradient=g,
            known=known,
            hessian=hessian,
            moving=moving,
            factor=factor,
            lost=lost,
            step=step,
            ahead=ahead,
            after=after,
            promised=jnp.abs(gain),
            rise=value + gain - self.base,
            rate=jnp.vdot(ahead, after),
            bend=jnp.vdot(ahead, hessian @ ahead),
        )

    def advance(self, s: _Search) -> _Search:
        """Look at a point, and choose the next."""
        i, mask, p = s.place, jnp.asarray(self.numbers.mask), self.look(s)
        below = ~p.bad & (p.rise < RISE)
        settled = ~p.bad & ~p.lost & (p.promised <= STILL + self.rounding)
        others = s.held & mask
        # Where the others are at their best: what they may do could change the side.
        least = settled & ~jnp.any(others & (self.inwards(s.x, p.after) > 0))
        low = jnp.where(least & below, jnp.maximum(p.distance, s.low), s.low)
        outside = (p.bad & (p.distance != 0)) | (least & ~below)
        high = jnp.where(outside, jnp.minimum(p.distance, s.high), s.high)
        goal, sure = self.goal(i, p, low, high)
        goal = jnp.where((p.promised > CALM) | p.lost, p.distance, goal)

        move = jnp.where(p.bad, 0, p.step + p.ahead * (goal - p.distance))
        share, blocked = self.room(s.x, move, p.moving)
        slope = self.inwards(s.x, p.gradient + p.hessian @ move)
        wanted = others & (slope > 0) & settled & (share == 1)
        stays = jnp.abs(goal - p.distance) <= self.slack(goal, p.rate)
        crossed = settled & sure & stays & (share == 1) & (s.count > 0)
        crossed = crossed & ~jnp.any(wanted)
        far = jnp.abs(self.far - self.x)[i]
        at_end = settled & below & (p.distance == far) & ~jnp.any(wanted)
        over = crossed | at_end | (s.count + 1 >= MOST_STEPS)

        # One at a time, so that it does go inwards.
        first = jnp.argmax(jnp.where(wanted, slope * self.scale, -1))
        freed = wanted & (jnp.arange(wanted.size) == first)
        back = s.good[0].at[i].set(self.x[i] + self.side[i] * goal)
        x = jnp.where(p.bad, back, self.landed(s.x + share * move, blocked, move))
        x = jnp.where((share == 1) & (jnp.arange(x.size) == i), back, x)
        held = jnp.where(p.bad, s.good[1], (s.held | blocked) & ~freed)
        found = jnp.where(crossed | at_end, goal, jnp.nan)
        going = _Search(
            place=i,
            count=s.count + 1,
            x=x,
            held=held,
            good=select(below, (s.x, s.held), s.good),
            low=low,
            high=high,
            steep=p.steep,
            hessian=jnp.where(p.lost, s.hessian, p.known),
            stale=(p.promised > UNSETTLED) & (p.promised > CONTRACTION * s.gain),
            gain=jnp.where(p.bad | p.lost, jnp.inf, p.promised),
            # None, where the factor is of no use.
            moving=p.moving & ~p.lost,
            factor=p.factor,
            found=jnp.where(over, s.found.at[i].set(found), s.found),
            points=s.points.at[i].set(jnp.where(over, x, s.points[i])),
            left=jnp.where(over, s.left.at[i].set(False), s.left),
        )
        return self.next_parameter(going, over)

    def next_parameter(self, s: _Search, over: Bool[Array, ""]) -> _Search:
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
        begun = {k: jnp.where(over, v, getattr(s, k)) for k, v in start.items()}
        good = select(over, (self.x, self.at_bound), s.good)
        place = jnp.argmax(s.left)
        return dataclasses.replace(s, place=place, good=good, **begun)

    def curvature(self, x: Array) -> Array:
        """Return the Hessian at a point."""
        return self.task.evaluate(self.numbers, x).curvature.as_matrix()

    def goal(self, i: Array, p: _Point, low: Array, high: Array) -> tuple[Array, Array]:
        """Return the next distance, and whether a parabola says that it is the last."""
        here, rate, bad = p.distance, p.rate, p.bad
        miss = RISE - p.rise
        inside = rate**2 + 2 * p.bend * miss
        total = rate + jnp.sqrt(jnp.maximum(inside, 0))
        sure = (inside >= 0) & (total > 0) & ~bad
        # The smaller root in the form that does not cancel.
        wanted = here + 2 * miss / jnp.where(sure, total, 1)
        slack = self.slack(wanted, rate)
        sure = sure & (wanted >= low - slack) & (wanted <= high + slack)
        guess = 1 / jnp.where(rate > 0, rate, jnp.sqrt(jnp.abs(self.hessian[i, i])))
        least = jnp.finfo(here.dtype).eps * (1 + jnp.abs(self.x[i]))
        guess = jnp.where(bad & (here == 0), least, guess)
        outwards = jnp.where(here > 0, 2 * here, guess)
        outwards = jnp.where(jnp.isfinite(outwards), outwards, 1)
        # Without a crossing ahead: halfway, or further.
        blind = jnp.where(jnp.isfinite(high), 0.5 * (low + high), outwards)
        far = jnp.abs(self.far - self.x)[i]
        return jnp.minimum(jnp.where(sure, wanted, blind), far), sure

    def slack(self, distance: Array, rate: Array) -> Array:
        """Return how well a distance is known where -ln L rises with it."""
        return TOLERANCE * distance + self.rounding / jnp.where(rate > 0, rate, jnp.inf)

    @property
    def rounding(self) -> Array:
        """Return what -ln L is rounded to."""
        return 16 * jnp.finfo(self.x.dtype).eps * jnp.abs(self.base)

    @property
    def far(self) -> Array:
        """Return the other ends of the ranges."""
        return jnp.where(self.side > 0, self.upper, self.lower)

    def room(self, x: Array, move: Array, moving: Array) -> tuple[Array, Array]:
        """Return which part of a move stays in all ranges, and what ends it."""
        end = jnp.where(move > 0, self.upper, self.lower)
        some = moving & (move != 0)
        shares = jnp.where(some, (end - x) / jnp.where(some, move, 1), jnp.inf)
        share = jnp.clip(jnp.min(shares), 0, 1)
        return share, (shares <= share) & (shares < 1)

    def landed(self, x: Array, blocked: Array, move: Array) -> Array:
        """Return a point with what reached an end exactly there."""
        end = jnp.where(move > 0, self.upper, self.lower)
        return jnp.where(blocked, end, jnp.clip(x, self.lower, self.upper))

    def inwards(self, x: Array, gradient: Array) -> Array:
        """Return how steeply -ln L falls from the ends of ranges into these."""
        return jnp.where(x >= self.upper, gradient, -gradient)


def _find(task: Task, numbers: Numbers, ends: tuple[Array, ...]):
    """Return the distances, and all parameters there."""
    x, base, gradient, hessian, at_bound = ends
    lower, upper = range_ends(numbers, x)
    # The gradient pushes outwards.
    side = jnp.sign(gradient)
    minimum = _Minimum(task, numbers, x, base, hessian, at_bound, side, lower, upper)

    def advance(s: _Search) -> _Search:  # a method of a Module has no hash
        return minimum.advance(s)

    end = jax.lax.while_loop(lambda s: jnp.any(s.left), advance, minimum.start())
    return end.found, end.points


def range_ends(numbers: Numbers, x: Array) -> tuple[Array, Array]:
    """Return the ends of all ranges; a little inside where smooth maps have none."""
    lower, upper = parameter_ranges(numbers, x)
    is_open = open_ranges(numbers, x)
    width = jnp.where(jnp.isfinite(upper - lower), upper - lower, 1 + jnp.abs(x))
    near, far = lower + MARGIN * width, upper - MARGIN * width
    lower = jnp.where(is_open, jnp.minimum(x, near), lower)
    return lower, jnp.where(is_open, jnp.maximum(x, far), upper)


def _rates(structure, arrays, change, ends, moved, found: Array, points: Array):
    """Return the change of the distances, by the implicit function theorem.

    The rise at the end stays what it is. Parameters at a bound move with it; those
    between bounds do not matter, as -ln L has no slope in them.
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
        # Rows that are not known have no slope, and take no part in any sum.
        slope = jnp.where(slope > 0, slope, 1)
        return jnp.where(point[i] == far[i], whole, -rise / slope)

    known = jnp.isfinite(found)
    rows = (jnp.arange(x.size), jnp.where(known[:, None], points, x))
    return jnp.where(known, jax.lax.map(one, rows), 0)
