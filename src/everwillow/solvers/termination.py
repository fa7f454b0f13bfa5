"""When a second-order minimiser may say "this is a minimum".

A small gradient is no proof: it is small on a plateau too, and on the way to a minimum
at infinity. What sets a minimum apart is that Newton steps collapse quadratically in
front of it. The tests here therefore look at three things together: the estimated
distance to the minimum (EDM), the Newton step against the size of the parameters, and
whether the last step shrank the EDM as it should have.
"""

import dataclasses
import enum
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from everwillow._numerics import select


# An EDM of 1e-8 leaves a parameter within 1.4e-4 standard errors of the minimum.
EDM_GOAL = 1e-8
STEP_GOAL = 1e-7
TIGHT_STEP_GOAL = 1e-10
# Steps contract the EDM of x⁴ by 0.1 to 0.2 and that of exp(-x) by 0.26 to 0.37; in
# front of a proper minimum the factor tends to zero.
CONTRACTION = 0.02
# Part of a standard error against which a step may be small, if it is small against
# nothing else, as for a parameter that ends at zero where it started.
PART_OF_SIGMA = 1e-3
# The same, where it is not known whether the curvature is the same a step away.
UNCHECKED_PART_OF_SIGMA = 2e-12
# On the way to a minimum at infinity the last curvature there is comes from being
# beside the floor of a valley, and dies out with the distance to it. A smaller pivot
# than this must have stayed the same, within a factor, for two points.
SAFE_PIVOT = 1e-6
SAME_PIVOT = 2.0
# An EDM that falls by this factor in one step is that of a proper minimum. If the value
# is needed and no covariance, the last step can be taken without an evaluation.
COLLAPSE = 1e-4
SLOW_STEPS = 192
SLOW_PACE = 8
IDLE_STEPS = 3


class StopCode(enum.IntEnum):
    """Why a second-order minimiser stopped.

    Attributes:
        RUNNING: It has not.
        MINIMUM: It is at a minimum.
        FLAT: It is at a minimum in some directions, and others are flat.
        STALLED: No step improves the objective in floating-point arithmetic.
        NONFINITE_START: The objective or its gradient is not finite at the start.
        KINK: The gradient jumps at the best point.
        NO_LIMIT: The objective falls without limit towards an end of the box.
    """

    RUNNING = 0
    MINIMUM = 1
    FLAT = 2
    STALLED = 3
    NONFINITE_START = 4
    KINK = 5
    NO_LIMIT = 6


class Tolerances(eqx.Module):
    """The goals of a fit, widened to what the floating-point type can reach."""

    edm: float
    step: float
    tight_step: float
    unseen: bool


def tolerances(dtype, edm_goal: float, *, unseen: bool = False) -> Tolerances:
    """Return the goals for a floating-point type.

    Args:
        dtype: Of the parameters.
        edm_goal: Wanted EDM, in units of -ln L.
        unseen: Whether the last step may be taken as soon as the EDM has collapsed.
    """
    eps = float(jnp.finfo(dtype).eps)
    return Tolerances(
        edm=max(edm_goal, 100 * eps),
        step=max(STEP_GOAL, 100 * eps),
        tight_step=max(TIGHT_STEP_GOAL, 20 * eps),
        unseen=unseen,
    )


# At this EDM the minimum is a billionth of a standard error away, and the Hessian there
# is the same to nine digits: nothing better can be asked for.
EXACT_EDM = 1e-18
# Part of the smallest standard error seen that is no step at all.
NEGLIGIBLE = 1e-11


class ConvergenceHistory(eqx.Module):
    """How the fit has come nearer to its minimum so far.

    Attributes:
        edm: EDM at the last accepted point.
        best_edm: The smallest EDM seen.
        slow: Grows with consecutive steps with small EDM that did not shrink it as a
            Newton step in front of a minimum does.
        idle: Consecutive steps with small EDM that did not shrink it.
        span: For each parameter the largest of its values and moves, shape ``(n,)``.
        sigma: For each parameter the smallest standard error seen, shape ``(n,)``.
        pivot: Smallest relative pivot of the curvature at the last accepted point;
            None if the solver has none.
        settled: Whether it was much the same at the point before.
    """

    edm: Float[Array, ""]
    best_edm: Float[Array, ""]
    slow: Int[Array, ""]
    idle: Int[Array, ""]
    span: Float[Array, " n"]
    sigma: Float[Array, " n"]
    pivot: Any = None
    settled: Any = None

    @classmethod
    def before(cls, x: Float[Array, " n"], *, pivots: bool) -> "ConvergenceHistory":
        """Return what is known before the first point: nothing.

        Args:
            x: A point.
            pivots: Whether the solver knows the pivots of the curvature.
        """
        infinite, count = jnp.full_like(x, jnp.inf, shape=()), jnp.asarray(0)
        return cls(
            edm=infinite,
            best_edm=infinite,
            slow=count,
            idle=count,
            span=jnp.zeros_like(x),
            sigma=jnp.full_like(x, jnp.inf),
            pivot=infinite if pivots else None,
            settled=jnp.asarray(True) if pivots else None,
        )

    def after_step(
        self,
        move: Float[Array, " n"],
        accepted: Bool[Array, ""],
        *,
        leapt: Bool[Array, ""],
    ) -> "ConvergenceHistory":
        """Return the history after a step, of which a leap keeps the span alone.

        Next to an end of the box where the curvature is infinite, EDM and standard
        errors are almost zero and say nothing of the points that follow.

        Args:
            move: The step.
            accepted: Whether it was accepted.
            leapt: Whether it was an accepted leap from next to an end of the box.
        """
        span = jnp.where(accepted, jnp.maximum(self.span, jnp.abs(move)), self.span)
        fresh = ConvergenceHistory.before(span, pivots=self.pivot is not None)
        history, fresh = (dataclasses.replace(h, span=span) for h in (self, fresh))
        return select(leapt, fresh, history)


class Verdict(eqx.Module):
    """What the tests say of a point.

    Attributes:
        minimum: Whether it is a minimum.
        flat: Whether it is one in some directions, and others are flat.
        unsure: Whether it is a minimum if the curvature is the same beside it.
        near: Whether the EDM is small enough, or at rounding level.
    """

    minimum: Bool[Array, ""]
    flat: Bool[Array, ""]
    unsure: Bool[Array, ""]
    near: Bool[Array, ""]

    @classmethod
    def none(cls) -> "Verdict":
        """Return that nothing is known of a point."""
        return cls(*[jnp.asarray(False)] * 4)


def rounding_level(x, value, gradient, absolute_curvature_times_x, root, free):
    """Compare the gradient with its rounding errors.

    The parameters are only known to a relative eps, which moves the gradient by
    ``|H| |x| eps`` and the objective by half of ``|x| |H| |x| eps²``; and the gradient
    is a sum of terms whose size is about ``sqrt(2 |value|)`` times the root of the
    diagonal of the curvature here, as for a sum of squares.

    Returns:
        Whether the gradient is no larger than that, and by how much rounding moves the
        objective and the gradient.
    """
    eps = jnp.finfo(x.dtype).eps
    terms = root * jnp.sqrt(2 * jnp.abs(value))
    noise = 32 * eps * (absolute_curvature_times_x + terms)
    small = jnp.all(jnp.where(free, jnp.abs(gradient) <= noise, True))
    moved = 32 * eps**2 * jnp.vdot(jnp.abs(x), absolute_curvature_times_x)
    return small, moved, noise


def compare(diagonal, elsewhere, *, newton, apart, free):
    """Compare the curvature with that of the point looked at before.

    Args:
        diagonal: Absolute diagonal of the curvature, shape ``(n,)``.
        elsewhere: The same at the other point.
        newton: The Newton step.
        apart: From here to the other point.
        free: Which parameters are neither fixed nor held at a bound.

    Returns:
        Whether the diagonal is the same within a factor of two, and for which
        parameters it is the same closely, at least as far away as the Newton step.
    """
    change = jnp.abs(elsewhere - diagonal)
    alike = change <= jnp.maximum(elsewhere, diagonal) / 2
    far = jnp.abs(apart) >= 0.1 * jnp.abs(newton)
    return jnp.all(jnp.where(free, alike, True)), far & (change <= 0.01 * diagonal)


def is_negligible(x, move, rejected, approach: ConvergenceHistory):
    """Return whether a step is none in floating-point arithmetic.

    Next to zero every step is one. So where the last one was rejected, and not in front
    of a minimum, it is measured by how far the fit has come and by the smallest
    standard error seen, too.
    """
    size = jnp.minimum(approach.span, approach.sigma)
    short = jnp.abs(move) <= float(jnp.finfo(x.dtype).eps) * size
    return jnp.all((x + move == x) | (short & rejected))


def absolute_product(curvature, vector):
    """Multiply the absolute values of a curvature with those of a vector."""
    absolute = jax.tree.map(
        lambda leaf: jnp.abs(leaf) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf,
        curvature,
    )
    return absolute.matvec(vector)


def judge(
    *,
    x: Float[Array, " n"],
    value: Float[Array, ""],
    fresh: Bool[Array, ""],
    newton: Float[Array, " n"],
    sigma: Float[Array, " n"],
    free: Bool[Array, " n"],
    edm: Float[Array, ""],
    definite: Bool[Array, ""],
    semidefinite: Bool[Array, ""],
    rounding: Bool[Array, ""],
    noise: Float[Array, ""],
    approach: ConvergenceHistory,
    goals: Tolerances,
    pivot: Float[Array, ""] | None = None,
    same: Bool[Array, ""] | None = None,
    steady: Bool[Array, " n"] | None = None,
    beside: Bool[Array, ""] | bool = False,
) -> tuple[Verdict, ConvergenceHistory]:
    """Judge an accepted point.

    Args:
        x: The point.
        value: The objective there.
        fresh: Whether the point is new; if not, a trial near it was just rejected.
        newton: The Newton step there.
        sigma: One over the root of the diagonal of the curvature.
        free: Which parameters are neither fixed nor held at a bound.
        edm: Estimated distance to the minimum.
        definite: Whether the curvature is positive definite.
        semidefinite: Whether it is at least semi-definite.
        rounding: Whether the gradient is at the level of its rounding errors.
        noise: By how much rounding moves the objective.
        approach: What was known before this point.
        goals: The tolerances.
        pivot: Smallest relative pivot of the curvature, if known.
        same: Whether the diagonal of the curvature is much the same at the point
            looked at before, if known.
        steady: For which parameters the curvature was seen to be the same as far away
            as the Newton step leads, if known. On a plateau it is not.
        beside: Whether the point looked at before is another one, and the curvature
            not small in any direction or the same there too, if known.

    Returns:
        The verdict, and what is known now.
    """
    ratio, negligible, span, sharpest = _measure(
        x, newton, sigma, free, approach, steady
    )
    near = (edm <= goals.edm) | (rounding & (edm <= noise))
    contracted = fresh & (edm <= CONTRACTION * approach.edm)
    collapsed = fresh & (edm <= COLLAPSE * approach.edm) & jnp.isfinite(approach.edm)
    shrunk = fresh & (edm <= 0.5 * approach.best_edm)
    idle = jnp.where(near & ~shrunk, approach.idle + 1, 0)
    # A step that changes the objective by much still leads somewhere.
    pace = jnp.where(edm > 1e-8 * jnp.abs(value), 1, SLOW_PACE)
    slow = jnp.where(near & ~contracted, approach.slow + pace, 0)
    stuck = idle >= IDLE_STEPS
    exact = (edm <= EXACT_EDM) & ((ratio <= goals.step) | negligible)
    rounded = rounding & (ratio <= goals.step)
    over = (exact | rounded) & beside
    nearer = edm <= 0.5 * approach.edm
    settled = _settled(fresh, pivot, same, approach, nearer, over)
    minimum = (
        definite
        & near
        & settled
        & (
            (contracted & (ratio <= goals.tight_step))
            | exact
            | rounded
            | (stuck & (ratio <= goals.step))
            | (collapsed & goals.unseen)
        )
    )
    unsure = definite & near & ~settled & (exact | rounded)
    over = stuck | rounding | (edm <= 1e-6 * goals.edm)
    hopeless = stuck | (rounding & (slow > SLOW_STEPS // SLOW_PACE))
    singular = (~definite & over) | (~settled & hopeless)
    flat = semidefinite & ~minimum & near & (singular | (slow > SLOW_STEPS))
    known = ConvergenceHistory(
        edm,
        jnp.minimum(edm, approach.best_edm),
        slow,
        idle,
        span,
        sharpest,
        None if pivot is None else jnp.where(fresh, pivot, approach.pivot),
        None if pivot is None else settled,
    )
    return Verdict(minimum, flat, unsure, near), known


def _measure(x, newton, sigma, free, approach: ConvergenceHistory, steady):
    """Compare a Newton step with the size of the parameters and of their errors.

    Returns:
        The largest part of its parameter that a step is; whether each is negligible
        against the smallest standard error seen; the largest values of the parameters;
        and these smallest standard errors.
    """
    span = jnp.maximum(approach.span, jnp.abs(x))
    # sigma alone would allow any step on a plateau, where it is huge.
    reach = jnp.where(span > 0, jnp.minimum(sigma, span), sigma)
    # The smallest sigma seen, since on the way to infinity sigma grows without limit.
    sharpest = jnp.minimum(approach.sigma, sigma)
    if steady is None:
        part = UNCHECKED_PART_OF_SIGMA * sharpest
    else:
        part = jnp.where(steady, PART_OF_SIGMA * sigma, 0)
    reach = jnp.maximum(reach, part)
    size = jnp.abs(x) + reach
    ratio = jnp.max(jnp.where(free, jnp.abs(newton) / size, 0), initial=0)
    # A parameter that starts at zero and belongs there has nothing to compare with.
    negligible = jnp.abs(newton) <= NEGLIGIBLE * sharpest
    return ratio, jnp.all(jnp.where(free, negligible, True)), span, sharpest


def _settled(fresh, pivot, same, approach: ConvergenceHistory, nearer, beside):
    """Return whether the curvature is that of the place, not of the approach."""
    if pivot is None:
        return jnp.asarray(True)
    ratio = pivot / approach.pivot
    # A step that leads no nearer, as rounding cut it short, tells nothing: next to each
    # other all points are alike.
    informative = nearer | approach.settled
    alike = (ratio < SAME_PIVOT) & (ratio * SAME_PIVOT > 1) & informative
    # At the first point there is nothing to compare with; behind an indefinite one
    # there is.
    alike = alike | jnp.all(jnp.isinf(approach.sigma))
    safe = pivot > SAFE_PIVOT
    # A point found in one leap is compared with the trials beside it.
    return jnp.where(fresh, same & (alike | safe), approach.settled | (same & beside))
