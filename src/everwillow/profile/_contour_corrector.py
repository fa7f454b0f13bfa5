"""Corrections that move points of the plane of two parameters onto a contour."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow._numerics import select
from everwillow.engine.core import Task
from everwillow.engine.problem import Numbers
from everwillow.fitting.continuation import Foothold, follow_held
from everwillow.profile._contour_geometry import Arc


# The rise of -ln L on the curve is that of the level to this part of it, and rounding.
TOLERANCE = 1e-9
MOST_CORRECTIONS = 8
# From a step the curve may be this part of the height of the minimum away.
FAR = 0.5
# The time of a step may be another one than was wanted by this part.
LATE = 0.5


class Step(eqx.Module):
    """A step along the curve, or from a distance onto it, with its criteria.

    Attributes:
        wanted: Whether there is a step.
        traces: Whether it leads along the curve; else it leads onto it from a distance.
        first: The point on the curve where it begins, and the gradient there.
        sense: The sense of rotation, 1 or -1.
        time: The time that the step should take.
        reach: The largest length of a correction.
        across: The direction of corrections; the gradient if `plain`.
        plain: Whether corrections go along the gradient.
        checks_middle: Whether to check that the middle is on the curve, too.
        closes: Whether it ends at the first point of the piece. Its middle is always
            checked.
        last: The first point of the piece, and the gradient there.
    """

    wanted: Bool[Array, ""]
    traces: Bool[Array, ""]
    first: tuple[Float[Array, " 2"], Float[Array, " 2"]]
    sense: Float[Array, ""]
    time: Float[Array, ""]
    reach: Float[Array, ""]
    across: Float[Array, " 2"]
    plain: Bool[Array, ""]
    checks_middle: Bool[Array, ""]
    closes: Bool[Array, ""]
    last: tuple[Float[Array, " 2"], Float[Array, " 2"]]

    def arc(self, v: Array, gradient: Array) -> Arc:
        """Return the arc to a point on the curve."""
        return Arc.between(self.sense, self.first, (v, gradient))

    def accepts(self, v: Array, gradient: Array) -> Array:
        """Return whether a point on the curve fulfils the criteria of the step."""
        arc = self.arc(v, gradient)
        late = jnp.abs(arc.time - self.time) > LATE * self.time
        return ~self.traces | (arc.is_sound() & ~late)

    def onto(self, v: Array, height: Array, gradient: Array) -> Array:
        """Return the next point of Newton's method across the curve."""
        slope = jnp.vdot(gradient, self.across)
        # The direction is useless where it is parallel to the curve.
        before = jnp.abs(jnp.vdot(self.first[1], self.across))
        plain = self.plain | (jnp.abs(slope) < 0.5 * before) | (slope == 0)
        across = jnp.where(plain, gradient, self.across)
        steep = jnp.where(plain, jnp.vdot(gradient, gradient), slope)
        return v - height * across / jnp.where(steep == 0, 1, steep)


class Plane(eqx.Module):
    """The two parameters, in units of the level curve of the quadratic model.

    Attributes:
        task: The structure of the fit.
        numbers: Its arguments.
        base: The minimum, which is the point 0 of the plane.
        held: Which parameters are held on the curve, including the two, shape ``(n,)``.
        places: The positions of the two parameters.
        root: The matrix from a point of the plane to a change of the parameters.
        rise: The rise of -ln L from the minimum to the curve.
        box: The lower and the upper bounds of the two parameters.
    """

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
        """Return the largest height of a point that counts as on the curve."""
        rounding = 16 * jnp.finfo(self.rise.dtype).eps * jnp.abs(self.base.value)
        return TOLERANCE + rounding / self.rise

    def values(self, u: Array) -> Array:
        """Return the parameters at a point of the plane."""
        return self.base.x[self.places] + self.root @ u

    def inside(self, u: Array) -> Array:
        """Return whether a point is within the bounds."""
        value = self.values(u)
        return jnp.all((value >= self.box[0]) & (value <= self.box[1]))

    def fit_at(self, last: Foothold, u: Array) -> tuple[Foothold, Array, Array]:
        """Return the fit at a point, the height above the level, and its gradient."""
        x = last.x.at[self.places].set(self.values(u))
        at = follow_held(self.task, self.numbers, last, self.held, x)
        height = (at.value - self.base.value) / self.rise - 1
        return at, height, self.root.T @ at.gradient[self.places] / self.rise

    def corrected(self, last: Foothold, u: Array, step: Step) -> "Landing":
        """Move a point onto the curve, if a step is wanted.

        Then check the middle of the arc to it, if the step requires that: the step may
        have led to another arm of a narrow valley.
        """

        def going(s: _Correction) -> Array:
            return s.good & ~s.done & (s.count <= MOST_CORRECTIONS)

        def advance(s: _Correction) -> _Correction:
            middle = step.first[0] + step.arc(s.v, s.gradient).middle()
            place = jnp.where(s.checking_middle, middle, s.v)
            end, height, gradient = self.fit_at(s.at, place)
            on_curve = end.success & (jnp.abs(height) <= self.tolerance)
            better = step.onto(s.v, height, gradient)
            near = jnp.linalg.norm(better - u) <= step.reach
            near = near & self.inside(better) & (~step.traces | (height < FAR))
            good = end.success & jnp.where(on_curve, step.accepts(s.v, gradient), near)
            along = end.success & step.arc(s.v, s.gradient).passes(height, gradient)
            look = on_curve & good & step.checks_middle
            on = ~s.checking_middle
            return _Correction(
                at=select(good & on, end, s.at),
                v=jnp.where(on & good & ~on_curve, better, s.v),
                gradient=jnp.where(on, gradient, s.gradient),
                # Checking the middle is no correction.
                count=s.count + jnp.where(s.checking_middle | look, 0, 1),
                good=jnp.where(s.checking_middle, along, good),
                done=jnp.where(s.checking_middle, along, on_curve & ~look),
                checking_middle=s.checking_middle | look,
                visits=s.visits + 1,
            )

        start = _Correction(
            at=last,
            v=jnp.where(step.closes, step.last[0], u),
            gradient=step.last[1],
            count=jnp.asarray(0),
            good=step.closes | (self.inside(u) & step.wanted),
            done=jnp.asarray(False),
            checking_middle=step.closes,
            visits=jnp.asarray(0),
        )
        end = jax.lax.while_loop(going, advance, start)
        return Landing(end.at, end.v, end.gradient, end.good & end.done, end.visits)


class _Correction(eqx.Module):
    at: Foothold
    v: Float[Array, " 2"]
    gradient: Float[Array, " 2"]
    count: Int[Array, ""]
    good: Bool[Array, ""]
    done: Bool[Array, ""]
    checking_middle: Bool[Array, ""]
    visits: Int[Array, ""]


class Landing(eqx.Module):
    """The end of a step.

    Attributes:
        at: The fit at the end.
        u: The end point.
        gradient: The gradient of the height there.
        good: Whether the end is on the curve.
        visits: The number of fits of the step.
    """

    at: Foothold
    u: Float[Array, " 2"]
    gradient: Float[Array, " 2"]
    good: Any
    visits: Any
