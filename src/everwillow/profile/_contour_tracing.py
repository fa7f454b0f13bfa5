"""The tracing of a level curve by predictor and corrector: one compiled program."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._numerics import select
from everwillow.engine.core import Task, parameter_ranges
from everwillow.engine.outcome import scaled_solver
from everwillow.engine.problem import Numbers
from everwillow.fitting.continuation import Foothold
from everwillow.profile._contour_corrector import Plane, Step
from everwillow.profile._contour_geometry import AIM, SKEW, TURN, Arc, Orbit, guess


# A correction of more than this part of the step asks for a smaller one.
LARGEST_CORRECTION = 0.4
SMALLEST_STEP = 1e-5
GROWTH = 1.5
# The arrays have room for this many times the points of an ellipse, half of it for each
# branch; longer curves are left open.
LONGEST = 32
# Largest ratio of a step to the usual one, where the curve is straight.
STRIDE = 2
# Largest angle of a step in units of the usual one, where the curve turns sharply.
SHARPEST = 3
# The middle of a step is checked if it is longer than usual by this factor.
LONG = 1.2
# To end where a parameter is extreme a step may be longer by this factor; an extreme
# nearer than `SHORTEST` of a step is not aimed at.
STRETCH = 1.35
SHORTEST = 0.05
# A step that goes back to an extreme that was passed is shortened by this factor.
SHRINK = 0.9
# Number of rays on which a point of the curve is sought, and of pieces of the curve:
# bounds on all sides cut a convex one in four.
DIRECTIONS = 24
PIECES = 4


class _TracingState(eqx.Module):
    """The state of the tracing, in units in which the curve is nearly a circle.

    A single loop either searches a point of the curve in one direction after the other,
    or makes a step along the curve from the last point.

    Attributes:
        at: The fit at the last point.
        u: The last point.
        gradient: The gradient there.
        orbit: The extrapolation of the curve from the last step.
        plain: Whether corrections go along the gradient, as the orbit is too uncertain.
        begin: The first point of the piece: all parameters, the point of the plane and
            the gradient.
        sense: The sense of rotation, 1 or -1.
        step_time: The time of the next step.
        aim: The time to an extreme of a parameter that the last step passed, or NaN.
        time: The time on the branch since the first point.
        seeking: Whether the loop searches a point of the curve.
        direction: The number of the next direction.
        branch: The number of the branch: twice the number of the piece, plus 1 for the
            branch that leaves the first point in the other sense.
        count: The number of points on the branch.
        total: The number of points on all branches.
        visits: The number of fits.
        points: All points; rows that are not used yet are NaN.
        x: All parameters at the points.
        branches: The branch of each point.
        closed: Whether the curve came back to its first point.
        going: Whether the tracing continues.
    """

    at: Foothold
    u: Float[Array, " 2"]
    gradient: Float[Array, " 2"]
    orbit: Orbit
    plain: Any
    begin: tuple[Array, Array, Array]
    sense: Float[Array, ""]
    step_time: Float[Array, ""]
    aim: Float[Array, ""]
    time: Float[Array, ""]
    seeking: Any
    direction: Any
    branch: Any
    count: Any
    total: Any
    visits: Any
    points: Float[Array, "k 2"]
    x: Float[Array, "k n"]
    branches: Any
    closed: Any
    going: Any

    def is_new(self, u: Array, near: Array) -> Array:
        """Return whether no curve is near a point, nor crosses the ray through it."""

        def compare() -> Array:
            x, y = self.points.T
            across = u[0] * y - u[1] * x
            along = u[0] * x + u[1] * y
            crosses = (across[1:] * across[:-1] <= 0) & (along[1:] > 0)
            crosses = (
                crosses & (along[:-1] > 0) & (self.branches[1:] == self.branches[:-1])
            )
            close = jnp.hypot(x - u[0], y - u[1]) <= near
            return ~jnp.any(crosses) & ~jnp.any(close)

        return jax.lax.cond(self.seeking, compare, lambda: jnp.asarray(True))

    def from_begin(
        self, begin: Any, sense: Array, longest: Array, wanted: Array
    ) -> "_TracingState":
        """Return to the first point of the piece to continue in a sense, if wanted."""
        x, u, gradient = begin
        # That of the ellipse.
        orbit = guess(u, gradient, sense)
        return dataclasses.replace(
            self,
            # This Hessian is that of another point; it is replaced if it is too bad.
            at=dataclasses.replace(self.at, x=jnp.where(wanted, x, self.at.x)),
            u=jnp.where(wanted, u, self.u),
            gradient=jnp.where(wanted, gradient, self.gradient),
            orbit=select(wanted, orbit, self.orbit),
            plain=wanted | self.plain,
            begin=begin,
            sense=jnp.where(wanted, sense, self.sense),
            step_time=jnp.where(wanted, longest, self.step_time),
            aim=jnp.where(wanted, jnp.nan, self.aim),
            time=jnp.where(wanted, 0, self.time),
        )

    def after(self, arc: Arc, good: Array, past: Array, step: Step, longest: Array):
        """Return the state after a step along the curve, with the time of the next one.

        Args:
            arc: The arc of the step.
            good: Whether the step is accepted.
            past: The time at which it passed an extreme of a parameter, which rejects
                it; or NaN.
            step: The intended step.
            longest: The usual time of a step.
        """
        passed = jnp.isfinite(past)
        bends = jnp.maximum(jnp.abs(arc.falls), jnp.abs(arc.rises)) / TURN
        ideal = jnp.minimum(AIM, (SHARPEST * longest) ** 2 / TURN)
        room = jnp.minimum(jnp.sqrt(ideal / bends), jnp.cbrt(AIM * SKEW / arc.skew))
        orbit = arc.onward(self.orbit)
        # Where areas are larger than at the minimum, or the curve is straight, an
        # angle takes longer.
        most = jnp.clip(longest / orbit.rate, longest, STRIDE * longest)
        # A step that was divided to end at an extreme was not too long.
        tried = jnp.where(room < 1, step.time, jnp.maximum(step.time, self.step_time))
        grown = jnp.minimum(tried * jnp.clip(room, 0.5, GROWTH), most)
        smaller = 0.5 * jnp.minimum(step.time, self.step_time)
        return dataclasses.replace(
            self,
            orbit=select(good, orbit, self.orbit),
            plain=jnp.where(good, arc.skew > 0.5 * jnp.abs(arc.turn), self.plain),
            step_time=jnp.where(
                good, grown, jnp.where(passed, self.step_time, smaller)
            ),
            aim=past,
            time=self.time + jnp.where(good, arc.time, 0),
        )


def trace(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Array,
    places: Array,
    rise: Array,
    blank: Array,
) -> tuple[Array, ...]:
    """Follow all pieces of the curve, each in both senses where it does not close.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        base: The minimum.
        held: Which other parameters are held there, shape ``(n,)``.
        places: The positions of the two parameters, shape ``(2,)``.
        rise: The rise of -ln L on the curve.
        blank: An array whose length is the largest number of points.

    Returns:
        Points ``(m, 2)`` and all parameters there ``(m, n)``, in order, with a row of
        NaN between pieces and more at the end; the number of rows without those at the
        end; whether the curve is closed; and the number of fits.
    """
    held = jnp.asarray(held)
    free = jnp.asarray(numbers.mask) & ~held & ~base.at_bound
    free = free.at[places].set(True)
    solve, _ = scaled_solver(base.hessian, free)
    unit = jnp.zeros((2, base.x.size), base.x.dtype)
    columns = jax.vmap(solve)(unit.at[jnp.arange(2), places].set(1))
    root = jnp.linalg.cholesky(columns[:, places]) * jnp.sqrt(2 * rise)
    box = jnp.stack([end[places] for end in parameter_ranges(numbers, base.x)])
    held = held.at[places].set(True)
    plane = Plane(task, numbers, base, held, places, root, rise, box)
    size = blank.shape[0]
    longest = jnp.asarray(2 * jnp.pi * LONGEST / size, base.x.dtype)
    end = jax.lax.while_loop(
        lambda t: t.going,
        lambda t: _advance(plane, t, longest),
        _start(plane, longest, size),
    )
    return _sorted(plane, end)


def _sorted(plane: Plane, end: _TracingState) -> tuple[Array, ...]:
    """Put points in order: second branches backwards, then first branches forwards."""
    row = jnp.arange(end.branches.size)
    used = row < end.total
    # The second branch of a closed curve contains all points of the first one.
    alone = end.closed & (end.branch % 2 == 1) & (end.branches == end.branch - 1)
    begins = (row == 0) | (jnp.roll(end.branches, 1) != end.branches)
    used = used & ~(alone & ~begins)
    piece = jnp.where(used, end.branches // 2, PIECES)
    along = jnp.where(end.branches % 2 == 1, -1 - row, row)
    order = jnp.lexsort((along, piece))
    piece = piece[order]
    # A row of NaN separates each piece from the one before.
    place = jnp.where(piece < PIECES, row + piece, 2 * row.size)

    def spread(rows: Array) -> Array:
        none = jnp.full((row.size + PIECES, rows.shape[1]), jnp.nan, rows.dtype)
        return none.at[place].set(rows[order], mode="drop")

    count = jnp.max(jnp.where(piece < PIECES, place + 1, 0))
    points = spread(jax.vmap(plane.values)(end.points))
    return points, spread(end.x), count, end.closed, end.visits


def _start(plane: Plane, longest: Array, size: int) -> _TracingState:
    """Return the state before the tracing."""
    base = plane.base
    one, zero = jnp.ones_like(longest), jnp.zeros(2, longest.dtype)
    number = jnp.asarray(0)
    return _TracingState(
        at=base,
        u=zero,
        gradient=zero,
        orbit=guess(zero, zero, one),
        plain=jnp.asarray(True),
        begin=(base.x, zero, zero),
        sense=one,
        step_time=longest,
        aim=jnp.nan * one,
        time=0 * one,
        seeking=jnp.asarray(True),
        direction=number,
        branch=number,
        count=number,
        total=number,
        visits=number,
        points=jnp.full((size, 2), jnp.nan, one.dtype),
        x=jnp.full((size, base.x.size), jnp.nan, one.dtype),
        branches=jnp.zeros(size, number.dtype),
        closed=jnp.asarray(False),
        going=base.success,
    )


def _ray(direction: Array, like: Array) -> Array:
    """Return a direction of the search; the first one crosses narrow valleys."""
    # Along the first one only the second parameter changes.
    angle = 0.5 * jnp.pi + direction.astype(like.dtype) * (2 * jnp.pi / DIRECTIONS)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def _next_step(plane: Plane, t: _TracingState, longest: Array, ray: Array):
    """Return the next step, and the point that the predictor returns."""
    _, *first = t.begin
    back = Arc.between(t.sense, (t.u, t.gradient), (first[0], first[1]))
    returns = back.is_sound() & (back.time <= GROWTH * t.step_time)
    closes = ~t.seeking & (t.time > 2 * t.step_time) & returns & jnp.isnan(t.aim)
    # The step ends at an extreme of a parameter if that is next.
    extremes = t.orbit.to_extremes(plane.root)
    ahead = (extremes > SHORTEST * t.step_time) & (extremes < STRETCH * t.step_time)
    time = jnp.minimum(jnp.min(jnp.where(ahead, extremes, jnp.inf)), 2 * t.step_time)
    time = jnp.where(jnp.any(ahead), time, t.step_time)
    time = jnp.where(jnp.isnan(t.aim), time, t.aim)
    chord = t.orbit.after(time)
    step = Step(
        wanted=~t.seeking | t.is_new(ray, longest),
        traces=~t.seeking,
        first=(t.u, t.gradient),
        sense=t.sense,
        time=time,
        reach=jnp.where(t.seeking, 2, LARGEST_CORRECTION * jnp.linalg.norm(chord)),
        across=t.orbit.bend,
        plain=t.seeking | t.plain,
        checks_middle=~t.seeking & (time > LONG * STRETCH * longest),
        closes=closes,
        last=(first[0], first[1]),
    )
    return step, jnp.where(t.seeking, ray, t.u + chord)


def _advance(plane: Plane, t: _TracingState, longest: Array) -> _TracingState:
    """Search in one direction, or make one step along the curve, or a smaller one."""
    step, ahead = _next_step(plane, t, longest, _ray(t.direction, t.u))
    source = select(t.seeking, plane.base, t.at)
    end = plane.corrected(source, ahead, step)
    hit = t.seeking & end.good & t.is_new(end.u, longest)
    arc = Arc.between(t.sense, (t.u, t.gradient), (end.u, end.gradient))
    # Points are put on extremes of parameters: return to an extreme that was passed.
    past = jnp.nanmin(arc.past_extremes(plane.root))
    stepped = end.good & ~t.seeking
    past = jnp.minimum(past, SHRINK * step.time)
    past = jnp.where(stepped & (past > SMALLEST_STEP * longest), past, jnp.nan)
    close = stepped & step.closes & jnp.isnan(past)
    good = stepped & ~step.closes & jnp.isnan(past)
    moved = dataclasses.replace(
        t.after(arc, good, past, step, longest),
        at=select(good | hit, end.at, t.at),
        u=jnp.where(good, end.u, t.u),
        gradient=jnp.where(good, end.gradient, t.gradient),
    )
    begin = select(hit, (end.at.x, end.u, end.gradient), t.begin)
    # The points of one branch fill half of the rows.
    full = (2 * t.count >= t.branches.size) | (t.total >= t.branches.size - 1)
    stuck = ~good & jnp.isnan(past) & (t.step_time < SMALLEST_STEP * longest)
    over = ~t.seeking & (close | full | stuck)
    sense = jnp.where(hit, 1.0, -1.0)
    moved = moved.from_begin(begin, sense, longest, hit | over)

    more = hit | good | close
    # Written in place; choosing between whole arrays would copy them.
    put = jax.lax.dynamic_update_index_in_dim
    u, x = select(close, (t.begin[1], t.begin[0]), (end.u, end.at.x))
    points = put(t.points, jnp.where(more, u, jnp.nan), t.total, 0)
    # The first branch is followed by the second, and that by the next piece.
    number = t.branch + jnp.where(over, 1, 0)
    direction = t.direction + jnp.where(t.seeking, 1, 0)
    lost = t.seeking & ~hit & (direction >= DIRECTIONS)
    return dataclasses.replace(
        moved,
        seeking=(t.seeking & ~hit) | (over & (number % 2 == 0)),
        direction=direction,
        branch=jnp.where(close, t.branch, number),
        count=jnp.where(over, 0, t.count + jnp.where(more, 1, 0)),
        total=t.total + jnp.where(more, 1, 0),
        visits=t.visits + end.visits,
        points=points,
        x=put(t.x, x, t.total, 0),
        branches=put(t.branches, t.branch, t.total, 0),
        closed=close,
        going=~(close | lost | (number >= 2 * PIECES)),
    )
