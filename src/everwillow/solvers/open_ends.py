"""Ends of a box at which the objective, or a derivative of it, is not finite.

Without events ``2 μ - n ln(2 μ)`` has its minimum at μ = 0, where it evaluates to
``0 · ∞``; ``√μ`` has a value there and no slope. A step onto such an end is rejected,
and ever shorter steps would approach it without an end. Therefore an end at which a
trial was not finite is moved inside, to a point at which the objective is finite and
whose distance from the end is negligible. A parameter on a moved end is held, as its
slope there has no meaning before all others are at their minimum. Then, if the slope
points inside, a leap leaves the end; else one trial on the end itself compares the
value alone, and a minimum there is reported there.
"""

import dataclasses
import enum
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow._numerics import any_lane
from everwillow.solvers.box import active_set
from everwillow.solvers.termination import StopCode


# An end is moved by ``eps`` to this power of the distance to it, whose square root is
# less than 1e-9.
POWER = 1.25
# If the objective is not finite there either, the end is moved by this factor more, up
# to this part of the distance.
FURTHER = 1e5
FURTHEST = 1e-4
# A leap, not a Newton step, leaves a moved end, since the curvature there is not that
# of the rest of the range: by this part of the distance that led there, then by this
# part of the last leap, at most so often.
LEAP = 0.01
MOST_LEAPS = 8
# A start on such an end is moved inside by this part of the range.
START_INSIDE = 0.01


class Phase(enum.IntEnum):
    """The phase of a fit with ends at which the objective is not finite.

    Attributes:
        SEARCHING: It searches the minimum, inside of the ends that were moved.
        LOOKING: Its next trial is on the ends themselves.
        CLOSED: It has stopped, with the minimum on the ends themselves.
        OPEN: It has stopped, with the minimum next to the ends.
        LEAPING: Its next trial leaps away from an end that was moved.
    """

    SEARCHING = 0
    LOOKING = 1
    CLOSED = 2
    OPEN = 3
    LEAPING = 4


class OpenEnds(eqx.Module):
    """Which ends have been moved, and where they are now.

    Attributes:
        margin: By how much, shape ``(n,)``: positive for lower ends, negative for upper
            ones, zero for ends that were not moved.
        phase: A `Phase`.
        leaps: Number of leaps from moved ends so far.
        moved: Whether any end was moved.
        lower: Smallest allowed values now, shape ``(n,)``; None if there are no ends.
        upper: Largest allowed values now, shape ``(n,)``; None if there are no ends.
    """

    margin: Float[Array, " n"]
    phase: Int[Array, ""]
    leaps: Int[Array, ""]
    moved: Bool[Array, ""]
    lower: Float[Array, " n"] | None
    upper: Float[Array, " n"] | None

    @classmethod
    def before(
        cls, x: Float[Array, " n"], options: dict[str, Any] | None
    ) -> "OpenEnds":
        """Return the ends before the first step, none of them moved.

        Args:
            x: A point.
            options: Options of the solver, with the box.
        """
        ends = (options or {}).get("lower"), (options or {}).get("upper")
        lower, upper = (None if e is None else _like(x, e) for e in ends)
        fresh = jnp.asarray(Phase.SEARCHING), jnp.asarray(0), jnp.asarray(False)
        return cls(jnp.zeros_like(x), *fresh, lower, upper)

    @property
    def plain(self) -> Bool[Array, ""]:
        """Whether the next trial is a step of the search."""
        return (self.phase == Phase.SEARCHING) & (self.leaps == 0)

    @property
    def involved(self) -> Bool[Array, ""]:
        """Whether any end was moved, or the next trial is not part of the search."""
        return (self.phase != Phase.SEARCHING) | self.moved

    def box(self, options: dict[str, Any] | None) -> dict[str, Any]:
        """Return the options of a solver with the ends where they are now."""
        if self.lower is None:
            return options or {}
        return (options or {}) | {"lower": self.lower, "upper": self.upper}

    def inside(self, x: Float[Array, " n"]) -> Array:
        """Return a point with the parameters on original ends put on the moved ones.

        Args:
            x: A point.
        """
        if self.lower is None:
            return x
        return jnp.where(self.margin != 0, jnp.clip(x, self.lower, self.upper), x)

    def very_ends(self, x: Float[Array, " n"], options: dict[str, Any]) -> Array:
        """Return a point with the parameters on moved ends put on the original ones."""
        if self.lower is None or self.upper is None:
            return x
        x = jnp.where((self.margin > 0) & (x <= self.lower), options["lower"], x)
        return jnp.where((self.margin < 0) & (x >= self.upper), options["upper"], x)

    def after(
        self,
        x: Float[Array, " n"],
        trial: Float[Array, " n"],
        values: tuple[Float[Array, ""], Float[Array, ""]],
        options: dict[str, Any] | None,
        usable: Bool[Array, ""],
        *,
        lanes: bool = False,
    ) -> tuple["OpenEnds", Bool[Array, ""], Bool[Array, ""]]:
        """Move the ends on which a trial was not finite, or judge a trial on them.

        Args:
            x: The point from which the trial started.
            trial: The trial point.
            values: The objective at both. Where it is infinite no end is moved.
            options: Options of the solver, with the original ends.
            usable: Whether everything at the trial is finite.
            lanes: Whether this is one fit of a batch.

        Returns:
            The ends, whether one was moved for the first time, and whether the minimum
            is on the original ends.
        """
        no = jnp.asarray(False)
        if self.lower is None or options is None:
            return self, no, no
        at_bounds = self.phase == Phase.LOOKING
        not_finite = ~usable & ~jnp.isposinf(values[1])

        def judge():
            return self._judge_bounds(values, options, usable)

        def move():
            return self._move_ends(x, trial, options)

        def keep():
            back = jnp.where(self.phase == Phase.LEAPING, Phase.SEARCHING, self.phase)
            return dataclasses.replace(self, phase=back), no, no

        def choose():
            return jax.lax.cond(
                at_bounds, judge, lambda: jax.lax.cond(not_finite, move, keep)
            )

        if not lanes:
            return choose()
        needed = not_finite | (self.phase != Phase.SEARCHING)
        return jax.lax.cond(any_lane(needed), choose, lambda: (self, no, no))

    def _judge_bounds(self, values, options, usable):
        """Judge a trial on the original ends by its value."""
        old, new = values
        rounding = 4 * float(jnp.finfo(old.dtype).eps) * jnp.abs(old)
        no_higher = jnp.isfinite(new) & (new <= old + rounding)
        # Where all is finite the end is an ordinary one, and the search goes on there.
        all_finite = no_higher & usable
        final = jnp.where(no_higher, Phase.CLOSED, Phase.OPEN)
        margin = jnp.where(all_finite, 0, self.margin)
        phase = jnp.where(all_finite, Phase.SEARCHING, final)
        ends = dataclasses.replace(self._with(margin, options), phase=phase)
        return ends, jnp.asarray(False), no_higher & ~usable

    def _move_ends(self, x, trial, options):
        """Move the ends on which a trial was not finite."""
        low = (trial <= self.lower) & (x > self.lower)
        high = (trial >= self.upper) & (x < self.upper)
        distance = jnp.where(low, x - self.lower, self.upper - x)
        nearest = distance * float(jnp.finfo(x.dtype).eps) ** POWER
        size = jnp.where(self.margin == 0, nearest, FURTHER * jnp.abs(self.margin))
        moving = (low | high) & (size <= FURTHEST * distance)
        margin = jnp.where(moving, jnp.where(low, size, -size), self.margin)
        fresh = jnp.any(moving & (self.margin == 0))
        return self._with(margin, options), fresh, jnp.asarray(False)

    def _with(self, margin, options: dict[str, Any]) -> "OpenEnds":
        """Return the ends with other margins, in the phase of a search."""
        lower, upper = (_like(margin, options[end]) for end in ("lower", "upper"))
        # The next floating-point number, where the margin is less than rounding.
        above = jnp.maximum(lower + margin, _next(lower, jnp.inf))
        below = jnp.minimum(upper + margin, _next(upper, -jnp.inf))
        return OpenEnds(
            margin,
            jnp.full_like(self.phase, Phase.SEARCHING),
            self.leaps,
            jnp.any(margin != 0),
            jnp.where(margin > 0, above, lower),
            jnp.where(margin < 0, below, upper),
        )

    @property
    def over(self) -> Bool[Array, ""]:
        """Whether the search has stopped after a trial on the original ends."""
        return (self.phase == Phase.OPEN) | (self.phase == Phase.CLOSED)

    def verdict(
        self,
        x: Float[Array, " n"],
        gradient: Float[Array, " n"],
        options: dict[str, Any] | None,
        goal: float,
    ) -> Int[Array, ""]:
        """Return the `StopCode` of a search after a trial on the original ends.

        Args:
            x: The end point.
            gradient: The gradient of the objective there, or next to it.
            options: Options of the solver, with the original ends.
            goal: By how much the objective may still fall between moved and original
                ends at a minimum; if by more, it falls without limit.
        """
        if self.lower is None or options is None:
            return jnp.asarray(StopCode.MINIMUM)
        distance = jnp.where(
            self.margin > 0, x - options["lower"], options["upper"] - x
        )
        fall = jnp.where(self.near(x), jnp.abs(gradient * distance), 0)
        good = (self.phase == Phase.CLOSED) | (jnp.max(fall, initial=0) <= goal)
        return jnp.where(good, StopCode.MINIMUM, StopCode.NO_LIMIT)

    def active_set(
        self,
        x: Float[Array, " n"],
        gradient: Float[Array, " n"],
        box: dict[str, Any] | None,
    ) -> tuple[Bool[Array, " n"], Bool[Array, " n"], Bool[Array, " n"]]:
        """Return which parameters may move, with those on moved ends held.

        Args:
            x: A point.
            gradient: The gradient of the objective there.
            box: Options of the solver, with the moved ends.

        Returns:
            Which parameters may move; which are held at an end; and which the gradient
            does not push against an end.
        """
        inwards, active = active_set(x, gradient, box)
        held = self.near(x) & (self.leaps == 0)
        return inwards & ~held, active | (inwards & held), inwards

    def beyond(
        self,
        x: Float[Array, " n"],
        *,
        inwards: Bool[Array, " n"],
        active: Bool[Array, " n"],
        code: Int[Array, ""],
    ) -> tuple["OpenEnds", Bool[Array, ""], Float[Array, " n"]]:
        """Plan a leap from moved ends with a slope inwards, or a trial on the ends.

        Args:
            x: A point.
            inwards: Which parameters are neither fixed nor pushed against an end.
            active: Which parameters do not move in the search.
            code: The `StopCode` of the search.

        Returns:
            The ends, whether the next trial is a leap or one on the original ends, and
            the leap, zero if there is none.
        """
        dtype = self.margin.dtype
        near = self.near(x)
        leave = near & inwards
        any_leaves = jnp.any(leave)
        stopped = code != StopCode.RUNNING
        leap = any_leaves & (self.leaps < MOST_LEAPS) & (stopped | (self.leaps > 0))
        look = (code == StopCode.MINIMUM) & jnp.any(active & near) & ~leap
        distance = self.margin / float(jnp.finfo(dtype).eps) ** POWER
        fraction = jnp.asarray(LEAP, dtype) ** (self.leaps + 1).astype(dtype)
        phase = jnp.where(
            look, Phase.LOOKING, jnp.where(leap, Phase.LEAPING, self.phase)
        )
        leaps = jnp.where(any_leaves, self.leaps, 0) + leap.astype(self.leaps.dtype)
        ends = dataclasses.replace(self, leaps=leaps, phase=phase)
        return ends, look | leap, jnp.where(leap & leave, fraction * distance, 0)

    def near(self, x: Float[Array, " n"]) -> Bool[Array, " n"]:
        """Return which parameters are on an end that was moved."""
        if self.lower is None or self.upper is None:
            return jnp.zeros(x.shape, bool)
        low = (self.margin > 0) & (x <= self.lower)
        return low | ((self.margin < 0) & (x >= self.upper))


def lower_by_value(old: Float[Array, ""], new: Float[Array, ""]) -> Bool[Array, ""]:
    """Return whether a leap from a moved end lowered the objective beyond rounding.

    Slopes are no measure of it: next to a moved end they may be those of a root or of a
    logarithm.

    Args:
        old: The objective on the moved end.
        new: The objective where the leap ended.
    """
    return old - new > 4 * float(jnp.finfo(old.dtype).eps) * jnp.abs(old)


def _like(x: Float[Array, " n"], end: Any) -> Float[Array, " n"]:
    """Return ends of a box with the shape and dtype of a point."""
    return jnp.broadcast_to(jnp.asarray(end, x.dtype), x.shape)


def _next(x: Float[Array, " n"], towards: float) -> Float[Array, " n"]:
    """Return the neighbouring floating-point numbers."""
    return jnp.nextafter(x, jnp.full_like(x, towards))


def away_from_ends(
    x: Float[Array, " n"], options: dict[str, Any] | None, value: Float[Array, ""]
) -> Float[Array, " n"]:
    """Return a start on no end: free parameters inside, held ones next to the end.

    Args:
        x: A point.
        options: Options of the solver.
        value: The objective there. Where it is infinite, not NaN, held parameters stay,
            as the objective jumps at their end.
    """
    options = options or {}
    if options.get("lower") is None:
        return x
    lower, upper = jnp.asarray(options["lower"]), jnp.asarray(options["upper"])
    width = upper - lower
    size = jnp.where(jnp.isfinite(width), width, jnp.maximum(1, jnp.abs(x)))
    free = options.get("free")
    free = jnp.ones(x.shape, bool) if free is None else jnp.asarray(free)
    fraction = (
        jnp.where(free, START_INSIDE, float(jnp.finfo(x.dtype).eps) ** POWER) * size
    )
    above = jnp.maximum(x + fraction, _next(x, jnp.inf))
    below = jnp.minimum(x - fraction, _next(x, -jnp.inf))
    inside = jnp.where(x <= lower, above, jnp.where(x >= upper, below, x))
    return jnp.where((width > 0) & (free | ~jnp.isposinf(value)), inside, x)
