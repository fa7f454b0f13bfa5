"""Whether a step along a level curve stays on it."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


# The cosine of the angle between two normals that no step may exceed.
SHARP = 0.88
# A parabola across a valley of the width w, whose floor is the minimum, has the slope
# 4 / w at the level, in units of its rise. Steps of more than w / 8 are long.
WIDTH = 4.0
LONG = 0.5
# The middle of a long step may be this part of the step and of the width off the curve.
BESIDE = 0.05


class Arc(eqx.Module):
    """The way of a step along the curve.

    Attributes:
        begin: Where it begins.
        normal: The gradient there, of length 1.
        sense: Which way round, 1 or -1.
        wanted: Whether there is a step.
        checked: Whether its middle is to be looked at where it is long.
        closes: Whether it leads to the first point; that is always checked.
        end: That point.
        end_normal: The gradient there.
    """

    begin: Float[Array, " 2"]
    normal: Float[Array, " 2"]
    sense: Float[Array, ""]
    wanted: Any
    checked: Any
    closes: Any
    end: Float[Array, " 2"]
    end_normal: Float[Array, " 2"]

    def middle(self, v: Array, gradient: Array) -> Array:
        """Return the middle of the cubic that has both points and tangents."""
        normal = gradient / jnp.linalg.norm(gradient)
        x, y = self.normal - normal
        bend = self.sense * jnp.stack([-y, x])
        length = jnp.linalg.norm(v - self.begin)
        return 0.5 * (self.begin + v) + 0.125 * length * bend

    def is_long(self, v: Array, gradient: Array) -> Array:
        """Return whether a step is long for the width that the slope allows."""
        length = jnp.linalg.norm(v - self.begin)
        return self.checked & (length * jnp.linalg.norm(gradient) > LONG)

    def passes(self, v: Array, gradient: Array, height: Array, middle: Array) -> Array:
        """Return whether the middle is next to the curve, with the normal between."""
        steep = jnp.linalg.norm(middle)
        room = jnp.minimum(jnp.linalg.norm(v - self.begin) * steep, WIDTH)
        between = self.normal + gradient / jnp.linalg.norm(gradient)
        straight = jnp.vdot(between, middle) > SHARP * steep * jnp.linalg.norm(between)
        return (jnp.abs(height) <= BESIDE * room) & straight
