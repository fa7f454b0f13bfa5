"""The geometry of steps along a level curve, whatever its shape and units.

The height of a point is f = rise / level - 1, where rise is -ln L minus its minimum and
level is the rise on the curve: f is -1 at the minimum and 0 on the curve. The curve is
followed like the orbit of a particle whose velocity is half the gradient of f, turned
by a right angle. Where f is |u|² - 1, an orbit takes the time 2π. The same holds for
any image of this circle under a map that keeps areas, linear or not: a long, thin and
bent valley has the same times as the circle, so steps of equal time resolve its tips as
well. Lengths, distances and angles between normals depend on the units of the plane;
times and heights do not, so only these are compared. The gradient times a displacement
is a height.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


# Between two points of an arc that the quadratic part of f turns by an angle φ, each
# gradient times the chord is 4 sin²(φ/2). This is half a radian, whose chord is
# 0.06 below the level in its middle.
TURN = 0.25
# Largest difference between the two, which comes from terms beyond the quadratic ones.
SKEW = 0.1
# Steps aim at this part of the largest turn.
AIM = 0.6
# Largest height in the middle of a long step, and largest slope of f along it.
BESIDE = 0.05
OBLIQUE = 0.2
# Largest amount, in standard errors, by which a parameter may be more extreme between
# two points than at both.
MISSED = 1e-4
EPSILON = 1e-12


def velocity(gradient: Array, sense: Array) -> Array:
    """Return the velocity along the curve, the gradient turned by a right angle."""
    return 0.5 * sense * jnp.stack([-gradient[1], gradient[0]])


class Arc(eqx.Module):
    """An arc from one point of the curve to another, with the gradients at both.

    Attributes:
        chord: From the first point to the second.
        begin: The velocity at the first point.
        end: The velocity at the second point.
        falls: Minus the first gradient times the chord: how far f bends up on it.
        rises: The second gradient times the chord.
    """

    chord: Float[Array, " 2"]
    begin: Float[Array, " 2"]
    end: Float[Array, " 2"]
    falls: Float[Array, ""]
    rises: Float[Array, ""]

    @classmethod
    def between(
        cls, sense: Array, first: tuple[Array, Array], second: tuple[Array, Array]
    ) -> "Arc":
        """Return the arc between two points, each given with its gradient."""
        chord = second[0] - first[0]
        return cls(
            chord,
            velocity(first[1], sense),
            velocity(second[1], sense),
            -jnp.vdot(first[1], chord),
            jnp.vdot(second[1], chord),
        )

    @property
    def turn(self) -> Array:
        """Return the quadratic part of the bend of f, 4 sin²(φ/2) on an ellipse."""
        return 0.5 * (self.falls + self.rises)

    @property
    def skew(self) -> Array:
        """Return the part of the bend that is not quadratic."""
        return jnp.abs(self.falls - self.rises)

    @property
    def half(self) -> Array:
        """Return half of the angle by which an ellipse turns; 0 for a hollow arc."""
        return jnp.arcsin(0.5 * jnp.sqrt(jnp.clip(self.turn, EPSILON, 2.0)))

    @property
    def time(self) -> Array:
        """Return the time of the arc; negative if it leads back."""
        mean = 0.5 * (self.begin + self.end)
        size = jnp.vdot(mean, mean)
        straight = jnp.vdot(self.chord, mean) / jnp.where(size > 0, size, 1)
        return straight * self.half / jnp.tan(self.half)

    def is_sound(self) -> Array:
        """Return whether the arc is short enough to be known from its ends."""
        bends = jnp.maximum(jnp.abs(self.falls), jnp.abs(self.rises))
        return (bends <= TURN) & (self.skew <= SKEW) & (self.time > 0)

    def middle(self) -> Array:
        """Return the middle of the cubic through both ends, from the first one."""
        return 0.5 * self.chord + 0.125 * self.time * (self.begin - self.end)

    def past_extremes(self, rows: Array) -> Array:
        """Return the times of extremes of linear functions on the arc, or NaN.

        Extremes that are hardly larger than at an end of the arc do not count.

        Args:
            rows: The coefficients of the functions, shape ``(k, 2)``.
        """
        begin, end = rows @ self.begin, rows @ self.end
        slow = jnp.minimum(jnp.abs(begin), jnp.abs(end))
        size = jnp.abs(begin) + jnp.abs(end)
        missed = 0.5 * self.time * slow**2 > MISSED * size * jnp.linalg.norm(
            rows, axis=1
        )
        time = self.time * jnp.abs(begin) / jnp.where(size > 0, size, 1)
        return jnp.where((begin * end < 0) & missed, time, jnp.nan)

    def passes(self, height: Array, gradient: Array) -> Array:
        """Return whether a height and a gradient in the middle fit the arc."""
        across = jnp.abs(jnp.vdot(gradient, self.chord))
        return (jnp.abs(height) <= BESIDE) & (across <= OBLIQUE)

    def onward(self, before: "Orbit") -> "Orbit":
        """Return the orbit that extrapolates the curve from the second point.

        Args:
            before: The orbit that extrapolated it from the first point.
        """
        time = self.time
        rate = 2 * self.half / time
        bend = jnp.cos(2 * self.half) * self.end - self.begin
        missed = self.chord - before.after(time, drifts=False)
        # A guess contains no information on the change of the bend.
        guess = before.last == 0
        share, _, _ = before.share(jnp.where(guess, 1, time))
        return Orbit(
            velocity=self.end,
            bend=bend / (time * jnp.sinc(2 * self.half / jnp.pi)),
            rate=rate,
            drift=jnp.where(guess, 0, missed / share),
            last=time,
        )


class Orbit(eqx.Module):
    """The ellipse that touches the curve at a point, in time.

    Attributes:
        velocity: The velocity at the point.
        bend: The acceleration on the last step; on an ellipse it points to the centre.
        rate: The angular velocity; 0 where the curve is hollow.
        drift: The difference of the last step from its extrapolation, see `share`.
        last: The time of the last step; 0 for a guess without one.
    """

    velocity: Float[Array, " 2"]
    bend: Float[Array, " 2"]
    rate: Float[Array, ""]
    drift: Float[Array, " 2"]
    last: Float[Array, ""]

    def share(self, time: Array) -> tuple[Array, Array, Array]:
        """Return the part of the drift after a time, and its derivatives.

        It comes from the formula of Adams and Bashforth.
        """
        last = self.last
        value = time**2 * (2 * time + 3 * last)
        return value, 6 * time * (time + last), 12 * time + 6 * last

    def after(self, time: Array, *, drifts: bool = True) -> Array:
        """Return the displacement after some time."""
        angle = self.rate * time / jnp.pi
        sine = time * jnp.sinc(angle)
        versine = 0.5 * (time * jnp.sinc(0.5 * angle)) ** 2
        moved = sine * self.velocity + versine * self.bend
        return moved + self.share(time)[0] * self.drift if drifts else moved

    def to_extremes(self, rows: Array) -> Array:
        """Return the times at which linear functions of the point are extreme.

        Args:
            rows: The coefficients of the functions, shape ``(k, 2)``.
        """
        speed, bend, drift = rows @ self.velocity, rows @ self.bend, rows @ self.drift
        rate = jnp.maximum(self.rate, EPSILON)
        # The time on the ellipse, and one step of Newton's method for the drift.
        time = jnp.arctan(-rate * speed / jnp.where(bend == 0, EPSILON, bend)) / rate
        cosine, sine = jnp.cos(rate * time), jnp.sin(rate * time)
        _, first, second = self.share(time)
        now = cosine * speed + sine * bend / rate + first * drift
        change = cosine * bend - rate * sine * speed + second * drift
        return time - now / jnp.where(change == 0, 1, change)


def guess(u: Array, gradient: Array, sense: Array) -> Orbit:
    """Return the orbit from a first point, as if the curve were the ellipse."""
    none = jnp.zeros_like(sense)
    return Orbit(velocity(gradient, sense), -u, jnp.ones_like(sense), 0 * u, none)
