"""Ends of a box at which the objective, or a derivative of it, is not finite.

With no event ``2 μ - n ln(2 μ)`` has its minimum at μ = 0, where a computer finds
``0 · ∞``; ``√μ`` has a value there and no slope. A step that ends on such an end is
rejected, and shorter ones would creep towards it for ever. Therefore an end at which a
trial was not finite is moved inside, to where the objective is finite and so near that
the rest of the way does not count. What stands there is held, as the slope next to
such an end says nothing before all else is at its minimum. Then, if the slope points
inside, the end is left by a leap; else the very end is looked at once, for its value
alone: a minimum there is said to be there.
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


# Where an end is moved to, in units of the way to it: ``eps`` to this power. A root of
# such a distance is less than 1e-9.
POWER = 1.25
# If the objective is not finite there either, so much further inside, up to here.
FURTHER = 1e5
FURTHEST = 1e-4
# A moved end is left by a leap, since the curvature there says nothing about the rest:
# by this part of the way that led there, then by this part of that, so many times.
LEAP = 0.01
MOST_LEAPS = 8
# A start on such an end is moved inside by this part of the range.
START_INSIDE = 0.01


class Phase(enum.IntEnum):
    """What a fit does about ends at which the objective is not finite.

    Attributes:
        SEARCHING: It searches the minimum, next to ends that were moved.
        LOOKING: Its next trial is on the ends themselves.
        CLOSED: It is over, and the ends are part of the minimum.
        OPEN: It is over, and the minimum is next to the ends.
        LEAPING: Its next trial leaps from an end that was moved.
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
            ones, zero for ends that stay.
        phase: What is being done about them, a `Phase`.
        leaps: How often it was tried to leap from a moved end.
        moved: Whether any end was moved.
        lower: Smallest allowed values now, shape ``(n,)``; None if there are no ends.
        upper: Largest allowed values now, likewise.
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
        """Return that no end was moved.

        Args:
            x: A point.
            options: Those of the solver, with the box.
        """
        ends = (options or {}).get("lower"), (options or {}).get("upper")
        lower, upper = (None if e is None else _like(x, e) for e in ends)
        fresh = jnp.asarray(Phase.SEARCHING), jnp.asarray(0), jnp.asarray(False)
        return cls(jnp.zeros_like(x), *fresh, lower, upper)

    @property
    def plain(self) -> Bool[Array, ""]:
        """Whether steps are those of the search, neither looks nor leaps."""
        return (self.phase == Phase.SEARCHING) & (self.leaps == 0)

    @property
    def involved(self) -> Bool[Array, ""]:
        """Whether any end was moved, or is being looked at."""
        return (self.phase != Phase.SEARCHING) | self.moved

    def box(self, options: dict[str, Any] | None) -> dict[str, Any]:
        """Return the options of a solver with the ends where they are now."""
        if self.lower is None:
            return options or {}
        return (options or {}) | {"lower": self.lower, "upper": self.upper}

    def inside(self, x: Float[Array, " n"]) -> Array:
        """Return the point next to those ends that were moved, as far as it is on one.

        Args:
            x: A point.
        """
        if self.lower is None:
            return x
        return jnp.where(self.margin != 0, jnp.clip(x, self.lower, self.upper), x)

    def very_ends(self, x: Float[Array, " n"], options: dict[str, Any]) -> Array:
        """Return the point with what is next to a moved end on the end itself."""
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
        """Move the ends that a trial stands on, or judge a look at the very ends.

        Args:
            x: Where the trial started.
            trial: Where it ended.
            values: The objective at both. No end moves where it is infinite.
            options: Those of the solver, with the ends where they were.
            usable: Whether everything at the trial is finite.
            lanes: Whether this is one of many fits in step.

        Returns:
            The ends, whether one was moved that had never been moved, and whether the
            very ends are part of the minimum.
        """
        no = jnp.asarray(False)
        if self.lower is None or options is None:
            return self, no, no
        looking = self.phase == Phase.LOOKING
        barred = ~usable & ~jnp.isposinf(values[1])

        def looked():
            return self._after_a_look(values, options, usable)

        def moved():
            return self._moved(x, trial, options)

        def stay():
            back = jnp.where(self.phase == Phase.LEAPING, Phase.SEARCHING, self.phase)
            return dataclasses.replace(self, phase=back), no, no

        def choose():
            return jax.lax.cond(
                looking, looked, lambda: jax.lax.cond(barred, moved, stay)
            )

        if not lanes:
            return choose()
        needed = barred | (self.phase != Phase.SEARCHING)
        return jax.lax.cond(any_lane(needed), choose, lambda: (self, no, no))

    def _after_a_look(self, values, options, usable):
        """Weigh what was found on the very ends."""
        old, new = values
        rounding = 4 * float(jnp.finfo(old.dtype).eps) * jnp.abs(old)
        good = jnp.isfinite(new) & (new <= old + rounding)
        # What is all finite is an end as any other, and the search goes on from there.
        back = good & usable
        ended = jnp.where(good, Phase.CLOSED, Phase.OPEN)
        margin = jnp.where(back, 0, self.margin)
        ends = self._with(margin, options)
        ends = dataclasses.replace(ends, phase=jnp.where(back, Phase.SEARCHING, ended))
        return ends, jnp.asarray(False), good & ~usable

    def _moved(self, x, trial, options):
        """Move the ends on which a trial stands that was not finite."""
        low = (trial <= self.lower) & (x > self.lower)
        high = (trial >= self.upper) & (x < self.upper)
        way = jnp.where(low, x - self.lower, self.upper - x)
        nearest = way * float(jnp.finfo(x.dtype).eps) ** POWER
        size = jnp.where(self.margin == 0, nearest, FURTHER * jnp.abs(self.margin))
        moving = (low | high) & (size <= FURTHEST * way)
        margin = jnp.where(moving, jnp.where(low, size, -size), self.margin)
        fresh = jnp.any(moving & (self.margin == 0))
        return self._with(margin, options), fresh, jnp.asarray(False)

    def _with(self, margin, options: dict[str, Any]) -> "OpenEnds":
        """Return the ends moved by other margins, in the phase of a search."""
        lower, upper = (_like(margin, options[end]) for end in ("lower", "upper"))
        # The next number, where the margin is less than rounding.
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
        """Whether the very ends have been looked at, and nothing is left to do."""
        return (self.phase == Phase.OPEN) | (self.phase == Phase.CLOSED)

    def verdict(
        self,
        x: Float[Array, " n"],
        gradient: Float[Array, " n"],
        options: dict[str, Any] | None,
        goal: float,
    ) -> Int[Array, ""]:
        """Return the `StopCode` of a search after a look at the very ends.

        It is at its minimum, or the objective falls without limit.

        Args:
            x: Where it ends.
            gradient: Of the objective there, or next to it.
            options: Those of the solver, with the ends where they were.
            goal: By how much the objective may still fall on the way to open ends.
        """
        if self.lower is None or options is None:
            return jnp.asarray(StopCode.MINIMUM)
        way = jnp.where(self.margin > 0, x - options["lower"], options["upper"] - x)
        fall = jnp.where(self.near(x), jnp.abs(gradient * way), 0)
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
            gradient: Of the objective there.
            box: Options of the solver, with the ends where they are now.

        Returns:
            Which parameters may move; which are held at an end; and which the gradient
            alone does not push against one.
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
        """Leave moved ends with a slope that points inside, or look at the very ends.

        Args:
            x: A point.
            inwards: Which parameters are neither fixed nor pushed against an end.
            active: Which parameters do not move in the search.
            code: The `StopCode` of the search.

        Returns:
            The ends, whether the next trial is neither a step of the search nor its
            end, and the leap, zero if there is none.
        """
        dtype = self.margin.dtype
        near = self.near(x)
        leave = near & inwards
        some = jnp.any(leave)
        over = code != StopCode.RUNNING
        leap = some & (self.leaps < MOST_LEAPS) & (over | (self.leaps > 0))
        look = (code == StopCode.MINIMUM) & jnp.any(active & near) & ~leap
        way = self.margin / float(jnp.finfo(dtype).eps) ** POWER
        part = jnp.asarray(LEAP, dtype) ** (self.leaps + 1).astype(dtype)
        phase = jnp.where(
            look, Phase.LOOKING, jnp.where(leap, Phase.LEAPING, self.phase)
        )
        leaps = jnp.where(some, self.leaps, 0) + leap.astype(self.leaps.dtype)
        ends = dataclasses.replace(self, leaps=leaps, phase=phase)
        return ends, look | leap, jnp.where(leap & leave, part * way, 0)

    def near(self, x: Float[Array, " n"]) -> Bool[Array, " n"]:
        """Return which parameters stand on an end that was moved."""
        if self.lower is None or self.upper is None:
            return jnp.zeros(x.shape, bool)
        low = (self.margin > 0) & (x <= self.lower)
        return low | ((self.margin < 0) & (x >= self.upper))


def lower_by_value(old: Float[Array, ""], new: Float[Array, ""]) -> Bool[Array, ""]:
    """Return whether a leap from a moved end led lower, by more than rounding.

    The slopes at both ends of a leap do not tell, as next to a moved end they are those
    of a root, or of a logarithm.

    Args:
        old: The objective on the moved end.
        new: The objective where the leap ended.
    """
    return old - new > 4 * float(jnp.finfo(old.dtype).eps) * jnp.abs(old)


def _like(x: Float[Array, " n"], end: Any) -> Float[Array, " n"]:
    """Return the ends of a box as an array of the shape and kind of a point."""
    return jnp.broadcast_to(jnp.asarray(end, x.dtype), x.shape)


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
