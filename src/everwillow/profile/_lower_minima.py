"""Minima below that of the free fit, which the points of a profile may reveal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from everwillow.engine.adjoint import minimise
from everwillow.engine.core import Task, parameter_ranges
from everwillow.engine.prefit import centers_and_widths
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.continuation import Foothold, foothold, holding
from everwillow.profile._best_fit import BestFit


# A -ln L that is smaller than at the minimum by more than this is another minimum.
DEEPER = 1e-6
# Other starts are, in turn, within as many errors or widths of constraints of the best
# fit: minima may be near, and also where constraints have become weak.
REACHES = (5.0, 10.0, 15.0, 20.0)
# They are not closer to a bound than this part of the distance of the best fit.
MARGIN = 0.01
SEED = 20260


def slack(minimum: FitResult) -> float:
    """Return by how much -ln L may be below a minimum that is the lowest one."""
    rounding = float(np.finfo(minimum.nll.dtype).eps * np.abs(minimum.nll))
    return DEEPER + 16 * rounding


def fit_from_below(
    fitted: BestFit, x: Any, nll: Any, success: Any
) -> tuple[bool, BestFit | None]:
    """Fit from the lowest point of a profile, if it is below the free fit.

    Args:
        fitted: The free fit.
        x: The parameters of each point, shape ``(points, n)``.
        nll: -ln L of each, shape ``(points,)``.
        success: Whether each is a minimum, shape ``(points,)``.

    Returns:
        Whether a point is below, and the lower minimum; None without a point, or if the
        fit from there failed.
    """
    heights = np.where(success, nll, np.inf)
    lowest = int(np.argmin(heights))
    if not heights[lowest] < fitted.minimum.nll - slack(fitted.minimum):
        return False, None
    problem = fitted.problem
    found = problem.at(fitted.states(np.asarray(x)[lowest])).fit(throw=False)
    if not bool(found.success) or found.nll > heights[lowest] + slack(found):
        return True, None
    return True, fitted._replace(minimum=found, base=foothold(problem, found))


def other_starts(fitted: BestFit, count: int) -> Float[np.ndarray, "count n"]:
    """Return start values around the best fit, the same in every call.

    They are spread evenly over some errors on both sides (`REACHES`), or widths of
    constraints where these are larger.
    """
    problem, minimum = fitted.problem, fitted.minimum
    index, best = np.asarray(problem.numbers.index), np.asarray(fitted.base.x)
    _, widths = centers_and_widths(minimum.constraints, minimum.layout)
    errors = np.full(minimum.layout.size, np.nan)
    if minimum.covariance is not None:
        variance = np.diagonal(minimum.covariance)
        errors[list(minimum.free)] = np.sqrt(np.where(variance > 0, variance, np.nan))
    scales = np.fmax(errors, np.asarray(widths))[index]
    scales = np.where(np.isfinite(scales), scales, 1 + np.abs(best))
    draws = np.random.default_rng(SEED).uniform(-1, 1, (count, best.size))
    reaches = np.resize(REACHES, count)[:, None]
    starts = best + reaches * scales * draws
    low, high = map(np.asarray, parameter_ranges(problem.numbers, fitted.base.x))
    with np.errstate(invalid="ignore"):
        low = np.where(np.isfinite(low), low + MARGIN * (best - low), low)
        high = np.where(np.isfinite(high), high - MARGIN * (high - best), high)
    return np.clip(starts, low, high)


def scan_from_starts(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    held: Bool[Array, " n"],
    place: Array,
    values: Float[Array, " m"],
    starts: Float[Array, "k n"],
) -> tuple[Array, Array, Array, Any, Array]:
    """Fit at values of one parameter, each from several starts.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        base: The best fit.
        held: Which other parameters are held at the base, shape ``(n,)``.
        place: The position of the parameter.
        values: The values.
        starts: The start values of the parameters that are not held.

    Returns:
        Parameters, -ln L, gradient, status and success of the lowest minimum at each
        value.
    """
    held = jnp.asarray(held).at[place].set(True)

    def fit(point):
        value, start = point
        x = jnp.where(held, base.x.at[place].set(value), start)
        outcome, _ = minimise(task, holding(numbers, x, held))
        height = jnp.where(outcome.success, outcome.value, jnp.inf)
        return outcome.x, height, outcome.gradient, outcome.status, outcome.success

    count, size = len(starts), values.size
    points = jnp.repeat(values, count), jnp.tile(starts, (size, 1))
    ends = jax.lax.map(fit, points)
    ends = jax.tree.map(lambda a: a.reshape(size, count, *a.shape[1:]), ends)
    lowest = jnp.argmin(ends[1], axis=1)
    return jax.tree.map(lambda a: a[jnp.arange(size), lowest], ends)


def lower_of(ends: Any, others: Any, tolerance: float) -> tuple[Any, Any]:
    """Return the lower one of two sets of fits at each point.

    Args:
        ends: Parameters, -ln L, gradients, status and success.
        others: The same of other fits.
        tolerance: By how much the others have to be lower.

    Returns:
        The lower ones, and at which points two minima differ, shape ``(points,)``.
    """
    below = others[4] & (others[1] < ends[1] - tolerance)
    chosen = below | (others[4] & ~ends[4])

    def choose(new: Any, old: Any) -> Any:
        mask = chosen.reshape(chosen.shape + (1,) * (np.ndim(new) - chosen.ndim))
        return np.where(mask, new, old)

    return jax.tree.map(choose, others, ends), below
