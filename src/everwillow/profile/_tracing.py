"""The tracing of a level curve by predictor and corrector: one compiled program."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._numerics import select
from everwillow.fitting._core import Task
from everwillow.fitting._outcome import _range, scaled_solver
from everwillow.fitting._problem import Numbers
from everwillow.fitting.follow import Foothold
from everwillow.profile._arcs import SHARP, Arc
from everwillow.profile._walk import step_to


# The rise of -ln L on the curve is that of the level to this part of it, and rounding.
TOLERANCE = 1e-9
MOST_CORRECTIONS = 8
# A correction of more than this part of the step asks for a smaller one.
LARGEST_CORRECTION = 0.4
SMALLEST_STEP = 1e-5
# A curve may take as many times the points of an ellipse; longer ones are left open.
LONGEST = 4
# The cosine of the angle between two normals at which larger steps do.
STRAIGHT = 0.999
STRIDE = 16
# Where curves are looked for. Bounds on all sides cut a convex one in four.
DIRECTIONS = 24
PIECES = 4


class _Tracing(eqx.Module):
    """Where the tracing stands, in units in which the curve is nearly a circle.

    There is one loop for all: either it looks for a point on the curve in one direction
    after the other, or it goes on from the last one.

    Attributes:
        at: The fit at the last point.
        u: The last point.
        normal: The gradient there.
        begin: All parameters at the first point of the piece, the point and the
            gradient there.
        sense: Which way round, 1 or -1.
        bend: The curvature, from the last two normals.
        step: The length of the next step.
        length: Of the way since the first point.
        seeking: Whether a point is looked for.
        direction: Which direction is the next.
        way: Which way this is: twice the piece of the curve, and its second way 1 more.
        count: How many points there are on it.
        total: How many there are on all.
        points: All points, NaN beyond their end.
        x: All parameters there.
        ways: Which way each is on.
        closed: Whether the curve came back to its first point.
        going: Whether there is more to do.
    """

    at: Foothold
    u: Float[Array, " 2"]
    normal: Float[Array, " 2"]
    begin: tuple[Array, Array, Array]
    sense: Float[Array, ""]
    bend: Float[Array, ""]
    step: Float[Array, ""]
    length: Float[Array, ""]
    seeking: Any
    direction: Any
    way: Any
    count: Any
    total: Any
    points: Float[Array, "k 2"]
    x: Float[Array, "k n"]
    ways: Any
    closed: Any
    going: Any

    def is_new(self, u: Array, near: Array) -> Array:
        """Return whether no curve is near a point, nor crosses the ray through it."""
        x, y = self.points.T
        across = u[0] * y - u[1] * x
        along = u[0] * x + u[1] * y
        crosses = (across[1:] * across[:-1] <= 0) & (along[1:] > 0) & (along[:-1] > 0)
        crosses = crosses & (self.ways[1:] == self.ways[:-1])
        return ~jnp.any(crosses) & ~jnp.any(jnp.hypot(x - u[0], y - u[1]) <= near)

    def from_begin(
        self, begin: Any, sense: Array, longest: Array, wanted: Array
    ) -> "_Tracing":
        """Return to the first point of the piece to go on in a sense, if wanted."""
        x, u, normal = begin
        return dataclasses.replace(
            self,
            # The Hessian is that of elsewhere; if it does not do there will be another.
            at=dataclasses.replace(self.at, x=jnp.where(wanted, x, self.at.x)),
            u=jnp.where(wanted, u, self.u),
            normal=jnp.where(wanted, normal, self.normal),
            begin=begin,
            sense=jnp.where(wanted, sense, self.sense),
            # That of the ellipse.
            bend=jnp.where(wanted, sense, self.bend),
            step=jnp.where(wanted, longest, self.step),
            length=jnp.where(wanted, 0, self.length),
        )


class _Plane(eqx.Module):
    """The two parameters, in units of the level curve of the quadratic model."""

    task: Task
    numbers: Numbers
    base: Foothold
    held: Array
    places: Array
    root: Float[Array, "2 2"]
    rise: Float[Array, ""]
    box: Float[Array, "2 2"]

    @property
    def tolerance(self) -> Array:
        """Return how close to the level heights are on the curve."""
        rounding = 16 * jnp.finfo(self.rise.dtype).eps * jnp.abs(self.base.value)
        return TOLERANCE + rounding / self.rise

    def values(self, u: Array) -> Array:
        """Return the parameters at a point of the plane."""
        return self.base.x[self.places] + self.root @ u

    def inside(self, u: Array) -> Array:
        """Return whether a point is within the bounds."""
        value = self.values(u)
        return jnp.all((value >= self.box[0]) & (value <= self.box[1]))

    def visit(self, last: Foothold, u: Array) -> tuple[Foothold, Array, Array]:
        """Return the fit at a point, the height above the level, and its gradient."""
        x = last.x.at[self.places].set(self.values(u))
        at = step_to(self.task, self.numbers, last, self.held, x)
        height = (at.value - self.base.value) / self.rise - 1
        return at, height, self.root.T @ at.gradient[self.places] / self.rise

    def corrected(self, last: Foothold, u: Array, reach: Array, way: Arc):
        """Move a point onto the curve, along the gradient, if that is wanted.

        Then look at the middle of the arc to it, where that is long: a step may have
        come to another arm of a narrow valley.

        Returns:
            The fit, the point, the gradient there, and whether it is on the curve.
        """

        def going(s):
            _, _, _, count, good, done, _ = s
            return good & ~done & (count <= MOST_CORRECTIONS)

        def advance(s):
            at, v, g, count, _, _, last_look = s
            place = jnp.where(last_look, way.middle(v, g), v)
            end, height, gradient = self.visit(at, place)
            on_curve = end.success & (jnp.abs(height) <= self.tolerance)
            better = v - height * gradient / jnp.vdot(gradient, gradient)
            near = (jnp.linalg.norm(better - u) <= reach) & self.inside(better)
            good = end.success & (on_curve | near)
            along = end.success & way.passes(v, g, height, gradient)
            look = on_curve & way.is_long(v, gradient)
            moved = jnp.where(good & ~on_curve, better, v)
            return (
                select(good & ~last_look, end, at),
                jnp.where(last_look, v, moved),
                jnp.where(last_look, g, gradient),
                count + jnp.where(last_look | look, 0, 1),
                jnp.where(last_look, along, good),
                jnp.where(last_look, along, on_curve & ~look),
                last_look | look,
            )

        count, false = jnp.asarray(0), jnp.asarray(False)
        v = jnp.where(way.closes, way.end, u)
        wanted = way.closes | (self.inside(u) & way.wanted)
        start = (last, v, way.end_normal, count, wanted, false, way.closes)
        at, v, gradient, _, _, done, _ = jax.lax.while_loop(going, advance, start)
        return at, v, gradient, done


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
        held: What else is held there, shape ``(n,)``.
        places: The positions of the two parameters, shape ``(2,)``.
        rise: Of -ln L on the curve.
        blank: Its length says how many points there may be on each way.

    Returns:
        Points ``(pieces, 2, m, 2)``, all parameters ``(pieces, 2, m, n)`` and counts
        ``(pieces, 2)`` of both ways, and whether the curve is closed.
    """
    held = jnp.asarray(held)
    free = jnp.asarray(numbers.mask) & ~held & ~base.at_bound
    free = free.at[places].set(True)
    solve, _ = scaled_solver(base.hessian, free)
    unit = jnp.zeros((2, base.x.size), base.x.dtype)
    columns = jax.vmap(solve)(unit.at[jnp.arange(2), places].set(1))
    root = jnp.linalg.cholesky(columns[:, places]) * jnp.sqrt(2 * rise)
    box = jnp.stack([end[places] for end in _range(numbers, base.x)])
    held = held.at[places].set(True)
    plane = _Plane(task, numbers, base, held, places, root, rise, box)
    size = blank.shape[0]
    longest = jnp.asarray(2 * jnp.pi * LONGEST / size, base.x.dtype)
    end = jax.lax.while_loop(
        lambda t: t.going,
        lambda t: _advance(plane, t, longest),
        _start(plane, longest, size),
    )
    return _sorted(plane, end, size)


def _sorted(plane: _Plane, end: _Tracing, size: int) -> tuple[Array, ...]:
    """Give each way its rows; those of second ways begin after the first point."""
    row = jnp.arange(end.ways.size)
    ways = jnp.where(row < end.total, end.ways, -1)
    mine = ways[:, None] == jnp.arange(2 * PIECES)[None, :]
    rank = jnp.cumsum(mine, axis=0)[row, ways] - 1
    # What closed only on its second way has nothing of the first one.
    alone = end.closed & (end.way % 2 == 1)
    mine = mine & ~(alone & (ways == end.way - 1) & (rank > 0))[:, None]
    counts = jnp.sum(mine, axis=0)
    counts = counts + jnp.where(counts > 0, jnp.arange(2 * PIECES) % 2, 0)
    # Rows that are on no way go nowhere.
    here = (jnp.where(jnp.any(mine, axis=1), ways, 2 * PIECES), rank + ways % 2)

    def spread(rows: Array) -> Array:
        none = jnp.full((2 * PIECES, size, rows.shape[1]), jnp.nan, rows.dtype)
        spread = none.at[here].set(rows, mode="drop")
        return spread.reshape(PIECES, 2, size, -1)

    points = spread(jax.vmap(plane.values)(end.points))
    return points, spread(end.x), counts.reshape(PIECES, 2), end.closed


def _start(plane: _Plane, longest: Array, size: int) -> _Tracing:
    """Return the tracing before anything is found."""
    base = plane.base
    one, zero = jnp.ones_like(longest), jnp.zeros(2, longest.dtype)
    number = jnp.asarray(0)
    return _Tracing(
        at=base,
        u=zero,
        normal=zero,
        begin=(base.x, zero, zero),
        sense=one,
        bend=one,
        step=longest,
        length=0 * one,
        seeking=jnp.asarray(True),
        direction=number,
        way=number,
        count=number,
        total=number,
        points=jnp.full((2 * size, 2), jnp.nan, one.dtype),
        x=jnp.full((2 * size, base.x.size), jnp.nan, one.dtype),
        ways=jnp.zeros(2 * size, number.dtype),
        closed=jnp.asarray(False),
        going=base.success,
    )


def _advance(plane: _Plane, t: _Tracing, longest: Array) -> _Tracing:
    """Look in one direction, or take one step along the curve or make it smaller."""
    angles = jnp.arange(DIRECTIONS, dtype=t.u.dtype) * (2 * jnp.pi / DIRECTIONS)
    angle = angles[t.direction]
    ray = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    normal = t.normal / jnp.linalg.norm(t.normal)
    tangent = t.sense * jnp.stack([-normal[1], normal[0]])
    close = ~t.seeking & _closes(t, normal, tangent)
    # The chord of an arc that bends as the last one did.
    half = 0.5 * jnp.clip(t.bend * t.step, -1, 1)
    ahead = t.u + t.step * _turned(tangent, jnp.cos(half), jnp.sin(half))
    wanted = ~t.seeking | t.is_new(ray, longest)
    way = Arc(t.u, normal, t.sense, wanted, ~t.seeking, close, *t.begin[1:])
    at, u, gradient, good = plane.corrected(
        select(t.seeking, plane.base, t.at),
        jnp.where(t.seeking, ray, ahead),
        jnp.where(t.seeking, 2.0, LARGEST_CORRECTION * t.step),
        way,
    )
    near, close = close, close & good
    found = t.seeking & good & t.is_new(u, longest)
    turned = gradient / jnp.linalg.norm(gradient)
    cosine = jnp.vdot(turned, normal)
    sine = normal[0] * turned[1] - normal[1] * turned[0]
    # A turn of more than half a radian is too sharp for the step.
    good = good & (cosine > SHARP) & ~near & ~t.seeking
    # Where the curve is straight larger steps do.
    most = jnp.where(cosine > STRAIGHT, STRIDE * longest, longest)
    moved = dataclasses.replace(
        t,
        at=select(good | found, at, t.at),
        u=jnp.where(good, u, t.u),
        normal=jnp.where(good, gradient, t.normal),
        bend=jnp.where(good, jnp.arctan2(sine, cosine) / t.step, t.bend),
        step=jnp.where(good, jnp.minimum(1.5 * t.step, most), 0.5 * t.step),
        length=t.length + jnp.where(good, t.step, 0),
    )
    begin = select(found, (at.x, u, gradient), t.begin)
    # The points of one way fill half of the rows.
    full = (2 * t.count >= t.ways.size) | (t.total >= t.ways.size - 1)
    stuck = ~good & (t.step < SMALLEST_STEP * longest)
    over = ~t.seeking & (close | full | stuck)
    sense = jnp.where(found, 1.0, -1.0)
    moved = moved.from_begin(begin, sense, longest, found | over)

    more = found | good | close
    # Written in place; choosing between whole arrays would copy them.
    put = jax.lax.dynamic_update_index_in_dim
    u, x = select(close, (t.begin[1], t.begin[0]), (u, at.x))
    points = put(t.points, jnp.where(more, u, jnp.nan), t.total, 0)
    # After the first way the second, after that the next piece.
    way = t.way + jnp.where(over, 1, 0)
    direction = t.direction + jnp.where(t.seeking, 1, 0)
    lost = t.seeking & ~found & (direction >= DIRECTIONS)
    return dataclasses.replace(
        moved,
        seeking=(t.seeking & ~found) | (over & (way % 2 == 0)),
        direction=direction,
        way=jnp.where(close, t.way, way),
        count=jnp.where(over, 0, t.count + jnp.where(more, 1, 0)),
        total=t.total + jnp.where(more, 1, 0),
        points=points,
        x=put(t.x, x, t.total, 0),
        ways=put(t.ways, t.way, t.total, 0),
        closed=close,
        going=~(close | lost | (way >= 2 * PIECES)),
    )


def _closes(t: _Tracing, normal: Array, tangent: Array) -> Array:
    """Return whether the next step comes back to where the piece began.

    And not to the other side of a narrow valley.
    """
    _, first, first_normal = t.begin
    to_first = first - t.u
    distance = jnp.linalg.norm(to_first)
    return (
        (t.length > 2 * t.step)
        & (distance <= 1.5 * t.step)
        & (jnp.vdot(to_first, tangent) > SHARP * distance)
        & (jnp.vdot(first_normal, normal) > SHARP * jnp.linalg.norm(first_normal))
    )


def _turned(vector: Array, cosine: Array, sine: Array) -> Array:
    """Return a vector turned by an angle."""
    x, y = vector
    return jnp.stack([cosine * x - sine * y, sine * x + cosine * y])
