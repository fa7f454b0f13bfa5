"""The criterion by which a second-order minimiser recognises a minimum.

A small gradient is no proof: it is also small on a plateau, and on the way to a minimum
at infinity. At a minimum, Newton steps converge quadratically. The tests here therefore
combine the estimated distance to the minimum (EDM), the Newton step relative to the
size of the parameters, and the factor by which the last step reduced the EDM.
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
# A step reduces the EDM of x⁴ by a factor of 0.1 to 0.2 and that of exp(-x) by 0.26 to
# 0.37; near a minimum with positive curvature the factor tends to zero.
CONTRACTION = 0.02
# A step is compared with this part of a standard error where the parameter itself gives
# no scale, as if it starts and ends at zero.
PART_OF_SIGMA = 1e-3
# The same where it is not known whether the curvature is the same a step away.
UNCHECKED_PART_OF_SIGMA = 2e-12
# On the way to a minimum at infinity the last curvature that remains comes from the
# distance to the floor of a valley, and vanishes with it. A pivot below `SAFE_PIVOT`
# must therefore be the same, within this factor, at two points.
SAFE_PIVOT = 1e-6
SAME_PIVOT = 2.0
# An EDM that falls by this factor in one step is that of a minimum with positive
# curvature. If only the value is needed, the last step can be taken unevaluated.
COLLAPSE = 1e-4
# So many slow steps in sequence mean a flat direction; each counts `SLOW_PACE` times
# where it no longer changes the objective much.
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
    """The goals of a fit, not below the precision of the floating-point type."""

    edm: float
    step: float
    tight_step: float
    unseen: bool


def tolerances(dtype, edm_goal: float, *, unseen: bool = False) -> Tolerances:
    """Return the goals for a floating-point type.

    Args:
        dtype: Dtype of the parameters.
        edm_goal: Largest EDM of a success, in units of -ln L.
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
# is the same to nine digits.
EXACT_EDM = 1e-18
# A step of less than this part of the smallest standard error so far is negligible.
NEGLIGIBLE = 1e-11


class ConvergenceHistory(eqx.Module):
    """The convergence of a fit so far.

    Attributes:
        edm: EDM at the last accepted point.
        best_edm: The smallest EDM so far.
        slow: Counts consecutive steps with small EDM that reduced it less than a Newton
            step near a minimum does.
        idle: Number of consecutive steps with small EDM that did not halve it.
        span: For each parameter the largest of its values and moves, shape ``(n,)``.
        sigma: For each parameter the smallest standard error so far, shape ``(n,)``.
        pivot: Smallest relative pivot of the curvature at the last accepted point;
            None if the solver computes none.
        settled: Whether the pivot was nearly the same at the point before.
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
        """Return the history before the first point.

        Args:
            x: A point.
            pivots: Whether the solver computes the pivots of the curvature.
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
    """The result of the tests at a point.

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
        """Return the verdict on a point that was not tested."""
        return cls(*[jnp.asarray(False)] * 4)


def rounding_level(x, value, gradient, absolute_curvature_times_x, root, free):
    """Compare the gradient with its rounding errors.

    The parameters are only known to a relative eps, which moves the gradient by
    ``|H| |x| eps`` and the objective by half of ``|x| |H| |x| eps²``; and the gradient
    is a sum of terms whose size is about ``sqrt(2 |value|)`` times the root of the
    diagonal of the curvature here, as for a sum of squares.

    Returns:
        Whether the gradient is no larger than that, and the rounding errors of the
        objective and of the gradient.
    """
    eps = jnp.finfo(x.dtype).eps
    terms = root * jnp.sqrt(2 * jnp.abs(value))
    noise = 32 * eps * (absolute_curvature_times_x + terms)
    small = jnp.all(jnp.where(free, jnp.abs(gradient) <= noise, True))
    moved = 32 * eps**2 * jnp.vdot(jnp.abs(x), absolute_curvature_times_x)
    return small, moved, noise


def compare_curvatures(diagonal, elsewhere, *, newton, apart, free):
    """Compare the curvature with that of the previous point.

    Args:
        diagonal: Absolute diagonal of the curvature, shape ``(n,)``.
        elsewhere: The same at the other point.
        newton: The Newton step.
        apart: The vector to the other point.
        free: Which parameters are neither fixed nor held at a bound.

    Returns:
        Whether the diagonal is the same within a factor of two; and for which
        parameters it is the same within 1 %, at a tenth of the Newton step or more.
    """
    change = jnp.abs(elsewhere - diagonal)
    same = change <= jnp.maximum(elsewhere, diagonal) / 2
    far = jnp.abs(apart) >= 0.1 * jnp.abs(newton)
    return jnp.all(jnp.where(free, same, True)), far & (change <= 0.01 * diagonal)


def is_negligible(x, move, rejected, approach: ConvergenceHistory):
    """Return whether a step is negligible in floating-point arithmetic.

    Near zero every step changes the parameter. Where the last step was rejected, and
    not near a minimum, it is therefore also compared with the span of the fit and with
    the smallest standard error so far.
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
    is_new: Bool[Array, ""],
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
        is_new: Whether the point is new; if not, a trial near it was just rejected.
        newton: The Newton step there.
        sigma: One over the root of the diagonal of the curvature.
        free: Which parameters are neither fixed nor held at a bound.
        edm: Estimated distance to the minimum.
        definite: Whether the curvature is positive definite.
        semidefinite: Whether it is at least semi-definite.
        rounding: Whether the gradient is at the level of its rounding errors.
        noise: Rounding error of the objective.
        approach: The history before this point.
        goals: The tolerances.
        pivot: Smallest relative pivot of the curvature, if known.
        same: Whether the diagonal of the curvature is nearly the same at the previous
            point, if known.
        steady: For which parameters the curvature is the same as far away as the Newton
            step leads, if known; on a plateau it is not.
        beside: Whether the curvature at the previous point, which is another one,
            confirms that of this point, see `pivot_confirmed`.

    Returns:
        The verdict, and the history with this point.
    """
    ratio, negligible, span, sharpest = _measure(
        x, newton, sigma, free, approach, steady
    )
    near = (edm <= goals.edm) | (rounding & (edm <= noise))
    contracted = is_new & (edm <= CONTRACTION * approach.edm)
    collapsed = is_new & (edm <= COLLAPSE * approach.edm) & jnp.isfinite(approach.edm)
    shrunk = is_new & (edm <= 0.5 * approach.best_edm)
    idle = jnp.where(near & ~shrunk, approach.idle + 1, 0)
    # While steps still change the objective, slow progress is tolerated longer.
    pace = jnp.where(edm > 1e-8 * jnp.abs(value), 1, SLOW_PACE)
    slow = jnp.where(near & ~contracted, approach.slow + pace, 0)
    stuck = idle >= IDLE_STEPS
    at_minimum = (edm <= EXACT_EDM) & ((ratio <= goals.step) | negligible)
    at_rounding = rounding & (ratio <= goals.step)
    over = (at_minimum | at_rounding) & beside
    nearer = edm <= 0.5 * approach.edm
    settled = _settled(is_new, pivot, same, approach, nearer, over)
    minimum = (
        definite
        & near
        & settled
        & (
            (contracted & (ratio <= goals.tight_step))
            | at_minimum
            | at_rounding
            | (stuck & (ratio <= goals.step))
            | (collapsed & goals.unseen)
        )
    )
    unsure = definite & near & ~settled & (at_minimum | at_rounding)
    over = stuck | rounding | (edm <= 1e-6 * goals.edm)
    not_settling = stuck | (rounding & (slow > SLOW_STEPS // SLOW_PACE))
    singular = (~definite & over) | (~settled & not_settling)
    flat = semidefinite & ~minimum & near & (singular | (slow > SLOW_STEPS))
    history = ConvergenceHistory(
        edm,
        jnp.minimum(edm, approach.best_edm),
        slow,
        idle,
        span,
        sharpest,
        None if pivot is None else jnp.where(is_new, pivot, approach.pivot),
        None if pivot is None else settled,
    )
    return Verdict(minimum, flat, unsure, near), history


def _measure(x, newton, sigma, free, approach: ConvergenceHistory, steady):
    """Compare a Newton step with the size of the parameters and of their errors.

    Returns:
        The largest ratio of step to parameter; whether each step is negligible against
        the smallest standard error so far; the largest values of the parameters so far;
        and these smallest standard errors.
    """
    span = jnp.maximum(approach.span, jnp.abs(x))
    # sigma alone would allow any step on a plateau, where it is very large.
    reach = jnp.where(span > 0, jnp.minimum(sigma, span), sigma)
    # The smallest sigma so far, as on the way to infinity sigma grows without limit.
    sharpest = jnp.minimum(approach.sigma, sigma)
    if steady is None:
        part = UNCHECKED_PART_OF_SIGMA * sharpest
    else:
        part = jnp.where(steady, PART_OF_SIGMA * sigma, 0)
    reach = jnp.maximum(reach, part)
    size = jnp.abs(x) + reach
    ratio = jnp.max(jnp.where(free, jnp.abs(newton) / size, 0), initial=0)
    # A parameter that starts and ends at zero has no other scale.
    negligible = jnp.abs(newton) <= NEGLIGIBLE * sharpest
    return ratio, jnp.all(jnp.where(free, negligible, True)), span, sharpest


def _settled(is_new, pivot, same, approach: ConvergenceHistory, nearer, confirmed):
    """Return whether the pivot is that of the minimum, not of the way towards it."""
    if pivot is None:
        return jnp.asarray(True)
    ratio = pivot / approach.pivot
    # A step that rounding cut short says nothing: at adjacent points the pivots agree.
    informative = nearer | approach.settled
    same_pivot = (ratio < SAME_PIVOT) & (ratio * SAME_PIVOT > 1) & informative
    # The first point has none to compare with, unlike one after an indefinite point.
    same_pivot = same_pivot | jnp.all(jnp.isinf(approach.sigma))
    safe = pivot > SAFE_PIVOT
    # A point that is not new is compared with the trials beside it.
    return jnp.where(
        is_new, same & (same_pivot | safe), approach.settled | (same & confirmed)
    )
