"""Test of a minimum by values alone, for likelihoods without derivatives.

A solver may stop without a minimum: a simplex can shrink anywhere. The values around
the end point give a quadratic model and its EDM. The model is accurate enough to test
for a minimum, but not for errors.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from everwillow.curvature import Dense


# Steps are chosen such that -ln L rises by about this much, or by this many rounding
# errors: small enough for a parabola, and large enough for differences of values.
RISE = 1e-3
ROUNDINGS = 1e4
# The rise may differ from that by this factor.
WITHIN = 10.0
# Sixty steps by a factor of four span all lengths that floating-point numbers have.
MOST_STEPS = 60
# A parameter this close to an end, in units of the width or size, is at the end.
AT_END = 1e-6


class VerdictByValues(NamedTuple):
    """The result of the test of a point.

    Attributes:
        edm: Estimated distance to the minimum; infinite if the point is near none.
        minimum: Whether the model is positive definite, and -ln L rises from the ends
            at which parameters are into their ranges.
        at_bound: Which parameters are at an end of their range, shape ``(n,)``.
    """

    edm: Float[Array, ""]
    minimum: Bool[Array, ""]
    at_bound: Bool[Array, " n"]


def judge_by_values(
    value: Callable[[Array], Array],
    x: Float[Array, " n"],
    here: Float[Array, ""],
    free: Bool[Array, " n"],
    lower: Float[Array, " n"],
    upper: Float[Array, " n"],
) -> VerdictByValues:
    """Test a point for a minimum by the values around it.

    Evaluations follow one after another, as external code may not support `jax.vmap`:
    about ten for each parameter, and two for each pair.

    Args:
        value: The function.
        x: The point.
        here: Its value there.
        free: Which parameters may move.
        lower: Lower ends of their ranges.
        upper: Upper ends.
    """
    size = x.shape[0]
    width = jnp.where(jnp.isfinite(upper - lower), upper - lower, 1 + jnp.abs(x))
    at_lower, at_upper = x - lower <= AT_END * width, upper - x <= AT_END * width
    at_bound = free & (at_lower | at_upper)
    moving = free & ~at_bound
    around = _LocalFunction(value, x, here, lower, upper)
    steps = jax.lax.map(around.step_of, jnp.arange(size))
    slope, hessian = around.parabola(jnp.where(moving, steps, 0))

    scale = jnp.where(moving & (jnp.diagonal(hessian) > 0), jnp.diagonal(hessian), 1)
    factor = Dense(hessian).scaled(jax.lax.rsqrt(scale)).masked(moving).factor()
    slope = jnp.where(moving, slope * jax.lax.rsqrt(scale), 0)
    # Second differences lose half of the digits.
    definite = factor.smallest_pivot > size * jnp.sqrt(jnp.finfo(x.dtype).eps)
    edm = 0.5 * jnp.vdot(slope, factor.solve(slope))

    def rises_inside(i):
        return ~at_bound[i] | around.rises_inside(i, jnp.where(at_lower[i], 1, -1))

    inside = jnp.all(jax.lax.map(rises_inside, jnp.arange(size)))
    minimum = definite & inside & jnp.isfinite(edm)
    return VerdictByValues(jnp.where(minimum, edm, jnp.inf), minimum, at_bound)


class _LocalFunction(NamedTuple):
    """A function around a point: the arguments of `judge_by_values`."""

    value: Callable[[Array], Array]
    x: Array
    here: Array
    lower: Array
    upper: Array

    def rise(self, move: Array) -> Array:
        """Return the rise of the function after a move."""
        moved = jnp.clip(self.x + move, self.lower, self.upper)
        return self.value(moved) - self.here

    def unit(self, i: Array) -> Array:
        """Return the direction of one parameter."""
        return jnp.zeros_like(self.x).at[i].set(1)

    def step_of(self, i: Array) -> Array:
        """Return the step of a parameter by which the function rises as required."""
        x, eps = self.x, jnp.finfo(self.x.dtype).eps
        goal = jnp.maximum(RISE, ROUNDINGS * eps * jnp.maximum(jnp.abs(self.here), 1))
        room = jnp.minimum(x[i] - self.lower[i], self.upper[i] - x[i])
        first = jnp.minimum(1e-3 * jnp.maximum(jnp.abs(x[i]), 1), room / 2)
        unit = self.unit(i)

        def both(step):
            return 0.5 * (self.rise(step * unit) + self.rise(-step * unit))

        def going(carry):
            count, step, mean = carry
            found = (mean > goal / WITHIN) & (mean < goal * WITHIN)
            stuck = (mean < goal) & (step >= room / 2)
            return (count < MOST_STEPS) & ~found & ~stuck

        def advance(carry):
            count, step, mean = carry
            longer = jnp.minimum(4 * step, room / 2)
            step = jnp.where(mean < goal, longer, step / 4)
            return count + 1, step, both(step)

        start = jnp.asarray(0), first, both(first)
        return jax.lax.while_loop(going, advance, start)[1]

    def parabola(self, steps: Array) -> tuple[Array, Array]:
        """Return slope and Hessian of a quadratic model, in units of the steps."""
        size = steps.shape[0]
        eye = jnp.eye(size, dtype=steps.dtype)
        ahead = jax.lax.map(lambda row: self.rise(steps * row), eye)
        behind = jax.lax.map(lambda row: self.rise(-steps * row), eye)
        hessian = jnp.diag(ahead + behind)
        if size == 1:
            return (ahead - behind) / 2, hessian
        rows, columns = jnp.triu_indices(size, 1)

        def mixed(pair):
            move = steps * (eye[pair[0]] + eye[pair[1]])
            alone = ahead[pair] + behind[pair]
            return 0.5 * (self.rise(move) + self.rise(-move) - jnp.sum(alone))

        entries = jax.lax.map(mixed, jnp.stack([rows, columns], axis=1))
        hessian = hessian.at[rows, columns].set(entries)
        return (ahead - behind) / 2, hessian.at[columns, rows].set(entries)

    def rises_inside(self, i: Array, sign: Array) -> Array:
        """Return whether the function rises from an end of a range into it."""
        inward = 1e-3 * jnp.maximum(jnp.abs(self.x[i]), 1)
        inward = jnp.minimum(inward, (self.upper[i] - self.lower[i]) / 4)
        return self.rise(sign * inward * self.unit(i)) > 0
