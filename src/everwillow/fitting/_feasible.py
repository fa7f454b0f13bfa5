"""Starts at which bins expect something, in place of those at which they do not.

With ``s > b`` a start at μ = -1 expects less than nothing, and there is no likelihood.
Where a Model tells what it expects, such a start is moved by damped Gauss-Newton steps
on ``Σ min(expected - wanted, 0)²``, as little as it takes. This is done on the host,
and only after a fit that could not begin.
"""

from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from everwillow._errors import RESULTS
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import is_traced
from everwillow.engine.problem import Numbers
from everwillow.fitting.result import FitResult
from everwillow.model import AbstractModel


# What each bin should expect at least, as a part of what was counted, or of one event.
SHARE = 0.1
MOST_STEPS = 40
# Elements of a Jacobian matrix: 200 MB.
MOST_ELEMENTS = 25_000_000
# Of steps; the least one is such that what hardly helps is hardly moved.
LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e6
# So many values of a start are named.
MOST_NAMES = 4


def could_not_begin(result: FitResult) -> bool:
    """Return whether a single fit is known to have had no likelihood at its start."""
    if is_traced(result.success) or np.ndim(result.success) or result.success:
        return False
    return bool(result.status == RESULTS.nonfinite_start)


def feasible_start(task: Task, numbers: Numbers) -> np.ndarray | None:
    """Return values of the parameters at which all bins can be what they are.

    Args:
        task: The structure of a fit that could not begin.
        numbers: Its arguments.

    Returns:
        The values at ``numbers.index``, inside their bounds, fixed ones as they were;
        None if none were found, or it is not known what is expected.
    """
    if not isinstance(task.objective, AbstractModel) or numbers.transforms:
        return None
    x = np.asarray(numbers.vector)[np.asarray(numbers.index)]
    try:
        counts = _counts(numbers.observation["main"])
        shape = jax.eval_shape(lambda v: rates(task, numbers, v), x).shape
        if shape != counts.shape or counts.size * x.size > MOST_ELEMENTS:
            return None
        # A slope may be infinite there, and a step that is not finite is none.
        with np.errstate(all="ignore"):
            return _search(task, numbers, x, counts)
    except Exception:  # a function of the user, without which it stays a failure
        return None


def named(labels: tuple[str, ...], before: np.ndarray, after: np.ndarray) -> str:
    """Return the values that were changed most, as a text.

    Args:
        labels: The names of all parameters.
        before: Their values before, shape ``(params,)``.
        after: Their values after.
    """
    moved = np.abs(after - before)
    order = [i for i in np.argsort(-moved, kind="stable") if moved[i] > 0]
    texts = [f"{labels[i]} = {after[i]:.4g}" for i in order[:MOST_NAMES]]
    return ", ".join(texts) + (", ..." if len(order) > MOST_NAMES else "")


def _counts(main: Any) -> np.ndarray:
    """Return what was counted in all bins; NaN where data are no counts."""
    leaves = [np.ravel(np.asarray(leaf, float)) for leaf in jtu.tree_leaves(main)]
    return np.concatenate([np.where(np.any(v < 0), np.nan, v) for v in leaves])


def rates(task: Task, numbers: Numbers, x: Any) -> jax.Array:
    """Return what is expected in all bins, one after the other."""
    leaves = jtu.tree_leaves(task.objective.expected(task.params(numbers, x)))
    return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])


def rates_and_slopes(task: Task, numbers: Numbers, x: Any) -> tuple[Any, Any]:
    """Return what is expected in all bins, and its Jacobian matrix."""

    def expected(v):
        return rates(task, numbers, v)

    found = expected(x)
    backward = found.size < x.size
    return found, (jax.jacrev if backward else jax.jacfwd)(expected)(x)


def _search(
    task: Task, numbers: Numbers, x: np.ndarray, counts: np.ndarray
) -> np.ndarray | None:
    """Step towards expecting enough, until every bin does or no step helps."""
    lower = np.full(x.shape, -np.inf) if numbers.lower is None else numbers.lower
    upper = np.full(x.shape, np.inf) if numbers.upper is None else numbers.upper
    lower, upper = np.asarray(lower), np.asarray(upper)
    unit = np.minimum(np.maximum(np.abs(x), 1), upper - lower)
    unit = np.where(np.asarray(numbers.mask), unit, 0)
    wanted = SHARE * np.maximum(counts, 1)

    def look(point):
        found, slopes = map(
            np.asarray, programs.call(rates_and_slopes, task, numbers, point)
        )
        lack = np.where(found < wanted, (found - wanted) / np.sqrt(wanted), 0)
        return found, lack, slopes / np.sqrt(wanted)[:, None]

    found, lack, slopes = look(x)
    if _possible(found, counts):
        return None  # what is not finite is something else
    damping = LEAST_DAMPING
    for _ in range(MOST_STEPS):
        if not np.any(lack) or damping > MOST_DAMPING:
            break
        rows = lack != 0
        step = _step(slopes[rows], lack[rows], damping, (x, unit, lower, upper))
        trial = np.clip(x + step, lower, upper)
        there = look(trial)
        if np.sum(there[1] ** 2) < np.sum(lack**2):
            x, (found, lack, slopes) = trial, there
            damping = max(damping / 10, LEAST_DAMPING)
        else:
            damping *= 10
    return x if _possible(found, counts) else None


def _possible(found: np.ndarray, counts: np.ndarray) -> bool:
    """Return whether each bin expects something where something was counted."""
    return bool(np.all((found > 0) | ((found == 0) & (counts == 0)) | np.isnan(counts)))


def _step(slopes, lack, damping, place) -> np.ndarray:
    """Return the least step in some units that mends what bins lack, inside a box."""
    x, unit, lower, upper = place
    step = np.zeros_like(x)
    for _ in range(x.size):
        scaled = slopes * unit
        matrix = scaled @ scaled.T
        shift = damping * max(np.max(np.diagonal(matrix)), np.finfo(float).tiny)
        weights = np.linalg.solve(matrix + shift * np.eye(len(lack)), -lack)
        step = unit * (scaled.T @ weights)
        blocked = ((x <= lower) & (step < 0)) | ((x >= upper) & (step > 0))
        if not np.any(blocked & (unit > 0)):
            break
        unit = np.where(blocked, 0, unit)
    return step


__all__ = ["could_not_begin", "feasible_start", "named"]
