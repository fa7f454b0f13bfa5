"""The tracing of a level curve by predictor and corrector: one compiled program."""

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
from everwillow.profile._walk import step_to


# The rise of -ln L on the curve is that of the level to this part of it, and rounding.
TOLERANCE = 1e-9
MOST_CORRECTIONS = 8
# A correction of more than this part of the step asks for a smaller one.
LARGEST_CORRECTION = 0.4
SMALLEST_STEP = 1e-5
# A curve may take as many times the points of an ellipse; longer ones are left open.
LONGEST = 4
# Cosines of the angle between two normals: larger steps do, smaller ones must.
STRAIGHT = 0.999
STRIDE = 16
SHARP = 0.88
# Where curves are looked for. Bounds on all sides cut a convex one in four.
DIRECTIONS = 24
PIECES = 4


class _Curve(eqx.Module):
    """Where the tracing stands, in units in which the curve is nearly a circle."""

    at: Foothold
    u: Float[Array, " 2"]
    normal: Float[Array, " 2"]
    first: Float[Array, " 2"]
    bend: Float[Array, ""]
    step: Float[Array, ""]
    length: Float[Array, ""]
    points: Float[Array, "m 2"]
    x: Float[Array, "m n"]
    count: Any
    going: Any
    closed: Any


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

    def corrected(self, last: Foothold, u: Array, reach: Array):
        """Move a point onto the curve, along the gradient.

        Returns:
            The fit, the point, the gradient there, and whether it is on the curve.
        """

        def going(s):
            _, _, _, count, good, done = s
            return good & ~done & (count <= MOST_CORRECTIONS)

        def advance(s):
            at, v, _, count, _, _ = s
            end, height, gradient = self.visit(at, v)
            done = end.success & (jnp.abs(height) <= self.tolerance)
            better = v - height * gradient / jnp.vdot(gradient, gradient)
            near = (jnp.linalg.norm(better - u) <= reach) & self.inside(better)
            good = end.success & (done | near)
            v = jnp.where(good & ~done, better, v)
            return select(good, end, at), v, gradient, count + 1, good, done

        count, false = jnp.asarray(0), jnp.asarray(False)
        start = (last, u, jnp.zeros_like(u), count, self.inside(u), false)
        at, v, gradient, _, _, done = jax.lax.while_loop(going, advance, start)
        return at, v, gradient, done


def trace(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Array,
    places: Array,
    rise: Array,
    blank: Array,
) -> tuple[Array, Array, Array, Array]:
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

    def piece(carry, number):
        old, over = carry
        at, u, normal, found = _beginning(plane, old, longest, ~over)

        def way(closed, sense):
            start = _start(at, u, normal, sense, longest, size, found & ~closed)
            end = jax.lax.while_loop(
                lambda c: c.going, lambda c: _advance(plane, c, longest, sense), start
            )
            count = jnp.where(found & ~closed, end.count, 0)
            gone = (jnp.arange(size) >= count)[:, None]
            points, x = (jnp.where(gone, jnp.nan, p) for p in (end.points, end.x))
            return closed | end.closed, (points, x, count)

        senses = jnp.asarray([1.0, -1.0], base.x.dtype)
        closed, (points, x, counts) = jax.lax.scan(way, jnp.asarray(False), senses)
        over = over | closed | ~found
        values = jax.vmap(jax.vmap(plane.values))(points)
        return (old.at[number].set(points), over), (values, x, counts, closed)

    none = jnp.full((PIECES, 2, size, 2), jnp.nan, base.x.dtype)
    start = (none, ~base.success)
    _, (points, x, counts, closed) = jax.lax.scan(piece, start, jnp.arange(PIECES))
    return points, x, counts, jnp.any(closed)


def _beginning(plane: _Plane, old: Array, longest: Array, wanted: Array):
    """Return a point on the curve, in the first direction that has a new one."""
    dtype = plane.base.x.dtype
    angles = jnp.arange(DIRECTIONS, dtype=dtype) * (2 * jnp.pi / DIRECTIONS)
    directions = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)

    def is_new(u: Array) -> Array:
        """Return whether no curve is near a point, nor crosses the ray through it."""
        across = u[0] * old[..., 1] - u[1] * old[..., 0]
        along = jnp.minimum((old @ u)[..., 1:], (old @ u)[..., :-1])
        crosses = (across[..., 1:] * across[..., :-1] <= 0) & (along > 0)
        near = jnp.hypot(old[..., 0] - u[0], old[..., 1] - u[1]) <= longest
        return ~jnp.any(crosses) & ~jnp.any(near)

    def going(s):
        number, _, _, _, found = s
        return wanted & ~found & (number < DIRECTIONS)

    def advance(s):
        number, *_ = s
        u = directions[number]

        def search():
            at, v, normal, good = plane.corrected(plane.base, u, jnp.asarray(2.0))
            return number + 1, at, v, normal, good & is_new(v)

        useful = is_new(u) & plane.inside(u)
        return jax.lax.cond(useful, search, lambda: (number + 1, *s[1:]))

    zero = jnp.zeros(2, dtype)
    start = (jnp.asarray(0), plane.base, zero, zero, jnp.asarray(False))
    start = jax.tree.map(jnp.asarray, start)
    _, at, u, normal, found = jax.lax.while_loop(going, advance, start)
    return at, u, normal, found


def _start(at: Foothold, u, normal, sense, longest, size: int, going) -> _Curve:
    """Return the beginning of a curve at a point on it."""
    return _Curve(
        at=at,
        u=u,
        normal=normal,
        first=normal,
        # That of the ellipse.
        bend=sense,
        step=longest,
        length=jnp.zeros_like(longest),
        points=jnp.full((size, 2), jnp.nan, u.dtype).at[0].set(u),
        x=jnp.full((size, at.x.size), jnp.nan, u.dtype).at[0].set(at.x),
        count=jnp.asarray(1),
        going=going,
        closed=jnp.asarray(False),
    )


def _advance(plane: _Plane, c: _Curve, longest: Array, sense: Array) -> _Curve:
    """Take one step along the curve, or make the step smaller."""
    first = c.points[0]
    normal = c.normal / jnp.linalg.norm(c.normal)
    tangent = sense * jnp.stack([-normal[1], normal[0]])
    # It is closed if it comes back to where it began, and not to the other side of a
    # narrow valley.
    to_first = first - c.u
    distance = jnp.linalg.norm(to_first)
    close = (
        (c.length > 2 * c.step)
        & (distance <= 1.5 * c.step)
        & (jnp.vdot(to_first, tangent) > SHARP * distance)
        & (jnp.vdot(c.first, normal) > SHARP * jnp.linalg.norm(c.first))
    )
    # The chord of an arc that bends as the last one did.
    half = 0.5 * jnp.clip(c.bend * c.step, -1, 1)
    guess = c.u + c.step * _turned(tangent, jnp.cos(half), jnp.sin(half))
    at, u, gradient, good = plane.corrected(c.at, guess, LARGEST_CORRECTION * c.step)
    ahead = gradient / jnp.linalg.norm(gradient)
    cosine = jnp.vdot(ahead, normal)
    # A turn of more than half a radian is too sharp for the step.
    good = good & (cosine > SHARP) & ~close
    full = c.count >= c.points.shape[0] - 1
    over = close | full | (~good & (c.step < SMALLEST_STEP * longest))
    # Where the curve is straight larger steps do.
    most = jnp.where(cosine > STRAIGHT, STRIDE * longest, longest)
    wider = jnp.minimum(1.5 * c.step, most)
    sine = normal[0] * ahead[1] - normal[1] * ahead[0]
    more = good | close
    return _Curve(
        at=select(good, at, c.at),
        u=jnp.where(good, u, c.u),
        normal=jnp.where(good, gradient, c.normal),
        first=c.first,
        bend=jnp.where(good, jnp.arctan2(sine, cosine) / c.step, c.bend),
        step=jnp.where(good, wider, 0.5 * c.step),
        length=c.length + jnp.where(good, c.step, 0),
        points=jnp.where(
            more, c.points.at[c.count].set(jnp.where(close, first, u)), c.points
        ),
        x=jnp.where(more, c.x.at[c.count].set(jnp.where(close, c.x[0], at.x)), c.x),
        count=c.count + jnp.where(more, 1, 0),
        going=~over,
        closed=close,
    )


def _turned(vector: Array, cosine: Array, sine: Array) -> Array:
    """Return a vector turned by an angle."""
    x, y = vector
    return jnp.stack([cosine * x - sine * y, sine * x + cosine * y])
