"""Ends of a box at which the objective, or a derivative of it, is not finite.

With no event ``2 μ - n ln(2 μ)`` has its minimum at μ = 0, where a computer finds
``0 · ∞``; ``√μ`` has a value there and no slope. A step that ends on such an end is
rejected, and shorter ones would creep towards it for ever. Therefore an end at which a
trial was not finite is moved inside, to where the objective is finite and so near that
the rest of the way does not count. There it is an end as any other. When all else is
at its minimum, the very end is looked at once, for its value alone: a minimum there is
said to be there.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


# Where an end is moved to, in units of the way to it: ``eps`` to this power. A root of
# such a distance is less than 1e-9.
POWER = 1.25
# If the objective is not finite there either, so much further inside, up to here.
FURTHER = 1e5
FURTHEST = 1e-4
# Who leaves a moved end leaps, as the curvature there knows nothing of the rest: by
# this part of the way that led there, then by this part of that, so many times.
LEAP = 0.01
MOST_LEAPS = 8
# A start on such an end is moved inside by this part of the range.
START_INSIDE = 0.01

SEARCHING, LOOKING, CLOSED, OPEN = range(4)


class OpenEnds(eqx.Module):
    """Which ends have been moved.

    Attributes:
        margin: By how much, shape ``(n,)``: positive for lower ends, negative for upper
            ones, zero for ends that stay.
        phase: `SEARCHING` for the minimum, `LOOKING` at the very ends; then `CLOSED` if
            they are part of the minimum, or `OPEN` if it is next to them.
        leaps: How often it was tried to leap from a moved end.
    """

    margin: Float[Array, " n"]
    phase: Int[Array, ""]
    leaps: Int[Array, ""]

    @classmethod
    def before(cls, x: Float[Array, " n"]) -> "OpenEnds":
        """Return that no end was moved."""
        return cls(jnp.zeros_like(x), jnp.asarray(SEARCHING), jnp.asarray(0))

    @property
    def plain(self) -> Bool[Array, ""]:
        """Whether steps are those of the search, neither looks nor leaps."""
        return (self.phase == SEARCHING) & (self.leaps == 0)

    def box(self, options: dict[str, Any] | None) -> dict[str, Any]:
        """Return the options of a solver with the ends where they are now."""
        options = options or {}
        if options.get("lower") is None:
            return options
        lower, upper = jnp.asarray(options["lower"]), jnp.asarray(options["upper"])
        margin = self.margin
        # The next number, where the margin is less than rounding.
        above = jnp.maximum(lower + margin, _next(lower, jnp.inf))
        below = jnp.minimum(upper + margin, _next(upper, -jnp.inf))
        return options | {
            "lower": jnp.where(margin > 0, above, lower),
            "upper": jnp.where(margin < 0, below, upper),
        }

    def inside(self, x: Float[Array, " n"], options: dict[str, Any]) -> Array:
        """Return the point next to those ends that were moved, as far as it is on one.

        Args:
            x: A point.
            options: The ends where they were, ``"lower"`` and ``"upper"``.
        """
        box = self.box(options)
        if box.get("lower") is None:
            return x
        return jnp.where(self.margin != 0, jnp.clip(x, box["lower"], box["upper"]), x)

    def very_ends(self, x: Float[Array, " n"], options: dict[str, Any]) -> Array:
        """Return the point with what is next to a moved end on the end itself."""
        box = self.box(options)
        if box.get("lower") is None:
            return x
        x = jnp.where((self.margin > 0) & (x <= box["lower"]), options["lower"], x)
        return jnp.where((self.margin < 0) & (x >= box["upper"]), options["upper"], x)

    def after(
        self,
        x: Float[Array, " n"],
        trial: Float[Array, " n"],
        values: tuple[Float[Array, ""], Float[Array, ""]],
        options: dict[str, Any] | None,
        usable: Bool[Array, ""],
        first: Bool[Array, ""],
    ) -> tuple["OpenEnds", Bool[Array, ""], Bool[Array, ""]]:
        """Move the ends that a trial stands on, or weigh a look at the very ends.

        Args:
            x: Where the trial started.
            trial: Where it ended.
            values: The objective at both; an infinite one is a wall: no end moves.
            options: Those of the solver, with the ends where they were.
            usable: Whether everything at the trial is finite.
            first: Whether the trial is the start.

        Returns:
            The ends, whether one was moved that had never been moved, and whether the
            very ends are part of the minimum.
        """
        box = self.box(options)
        if box.get("lower") is None:
            return self, jnp.asarray(False), jnp.asarray(False)
        looking = self.phase == LOOKING
        old, new = values
        rounding = 4 * float(jnp.finfo(x.dtype).eps) * jnp.abs(old)
        good = looking & jnp.isfinite(new) & (new <= old + rounding)
        ended = jnp.where(good, CLOSED, OPEN)
        # What is all finite is an end as any other, and the search goes on from there.
        phase = jnp.where(looking & ~(good & usable), ended, SEARCHING)

        low = (trial <= box["lower"]) & (x > box["lower"])
        high = (trial >= box["upper"]) & (x < box["upper"])
        way = jnp.where(low, x - box["lower"], box["upper"] - x)
        nearest = way * float(jnp.finfo(x.dtype).eps) ** POWER
        size = jnp.where(self.margin == 0, nearest, FURTHER * jnp.abs(self.margin))
        barred = ~usable & ~first & ~looking & ~jnp.isposinf(new)
        moving = (low | high) & (size <= FURTHEST * way) & barred
        margin = jnp.where(moving, jnp.where(low, size, -size), self.margin)
        margin = jnp.where(good & usable, 0, margin)
        fresh = jnp.any(moving & (self.margin == 0))
        return OpenEnds(margin, phase, self.leaps), fresh, good & ~usable

    def verdict(
        self,
        x: Float[Array, " n"],
        gradient: Float[Array, " n"],
        options: dict[str, Any] | None,
        goal: float,
        code: Int[Array, ""],
        codes: tuple[int, int],
    ) -> Int[Array, ""]:
        """Return how the search ends, after a look at the very ends.

        Args:
            x: Where it ends.
            gradient: Of the objective there, or next to it.
            options: Those of the solver, with the ends where they were.
            goal: By how much the objective may still fall on the way to open ends.
            code: How it ended so far.
            codes: Of a minimum, and of a fall without limit.
        """
        options = options or {}
        if options.get("lower") is None:
            return code
        minimum, falls = codes
        way = jnp.where(self.margin > 0, x - options["lower"], options["upper"] - x)
        fall = jnp.where(self.near(x, options), jnp.abs(gradient * way), 0)
        small = jnp.max(fall, initial=0) <= goal
        code = jnp.where(self.phase == OPEN, jnp.where(small, minimum, falls), code)
        return jnp.where(self.phase == CLOSED, minimum, code)

    def leap(
        self,
        x: Float[Array, " n"],
        free: Bool[Array, " n"],
        options: dict[str, Any] | None,
        going: Bool[Array, ""],
    ) -> tuple["OpenEnds", Bool[Array, ""], Float[Array, " n"]]:
        """Leave moved ends, where the gradient points inside.

        Args:
            x: The best point.
            free: Which parameters are neither fixed nor held at a bound.
            options: Those of the solver, with the ends where they were.
            going: Whether to go on at all.

        Returns:
            The ends, whether to leap, and by how much.
        """
        leave = self.near(x, options) & free
        leap = jnp.any(leave) & (self.leaps < MOST_LEAPS) & going
        way = self.margin / float(jnp.finfo(x.dtype).eps) ** POWER
        part = jnp.asarray(LEAP, x.dtype) ** (self.leaps + 1).astype(x.dtype)
        count = jnp.where(
            leap, self.leaps + 1, jnp.where(jnp.any(leave), self.leaps, 0)
        )
        ends = OpenEnds(self.margin, self.phase, count)
        return ends, leap, jnp.where(leave, part * way, 0)

    def near(self, x: Float[Array, " n"], options: dict[str, Any] | None) -> Array:
        """Return which parameters stand on an end that was moved."""
        box = self.box(options)
        if box.get("lower") is None:
            return jnp.zeros(x.shape, bool)
        low = (self.margin > 0) & (x <= box["lower"])
        return low | ((self.margin < 0) & (x >= box["upper"]))


def _next(x: Float[Array, " n"], towards: float) -> Float[Array, " n"]:
    """Return the next numbers in floating-point arithmetic."""
    return jnp.nextafter(x, jnp.full_like(x, towards))


def away_from_ends(
    x: Float[Array, " n"], options: dict[str, Any] | None, value: Float[Array, ""]
) -> Float[Array, " n"]:
    """Return a start that is on no end: inside; next to it for what is held there.

    Args:
        x: A point.
        options: Those of the solver.
        value: The objective there. Where it is infinite, and not only unknown, what is
            held stays: next to a wall there are other numbers, which mean nothing.
    """
    options = options or {}
    if options.get("lower") is None:
        return x
    lower, upper = jnp.asarray(options["lower"]), jnp.asarray(options["upper"])
    width = upper - lower
    size = jnp.where(jnp.isfinite(width), width, jnp.maximum(1, jnp.abs(x)))
    free = options.get("free")
    free = jnp.ones(x.shape, bool) if free is None else jnp.asarray(free)
    part = jnp.where(free, START_INSIDE, float(jnp.finfo(x.dtype).eps) ** POWER) * size
    above = jnp.maximum(x + part, _next(x, jnp.inf))
    below = jnp.minimum(x - part, _next(x, -jnp.inf))
    inside = jnp.where(x <= lower, above, jnp.where(x >= upper, below, x))
    return jnp.where((width > 0) & (free | ~jnp.isposinf(value)), inside, x)
