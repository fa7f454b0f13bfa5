"""Bins that expect nothing or less: their names, and starts without such bins.

Poisson counts have a likelihood only where something is expected, or where nothing is
expected and nothing was counted. If a fit failed there, or ended at that edge, the
result names the bins and the parameters that took the expected counts away.

With ``s > b`` a start at μ = -1 expects less than nothing, and there is no likelihood.
Where a Model tells what it expects, such a start is moved by damped Gauss-Newton steps
on ``Σ min(expected - wanted, 0)²``, as little as it takes. This is done on the host,
and only after a fit that could not begin.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from everwillow._captures import up_to_date
from everwillow._errors import RESULTS
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import Layout, is_traced, ravel_state
from everwillow.engine.problem import Numbers
from everwillow.fitting.result import FitResult
from everwillow.model import AbstractModel
from everwillow.statelib import State


# So many bins, and parameters of each, are named.
MOST_BINS, MOST_PARAMETERS = 4, 3
# An empty bin that expects less than this is one at the edge.
NOTHING = 1e-6
# What each bin should expect at least, as a part of what was counted, or of one event.
SHARE = 0.1
MOST_STEPS = 40
# Elements of a Jacobian matrix: 200 MB.
MOST_ELEMENTS = 25_000_000
# Of steps; the least one is such that what hardly helps is hardly moved.
LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e6
# So many values of a start are named.
MOST_NAMES = 4


class _Bin(NamedTuple):
    """A bin that expects nothing or less.

    Attributes:
        place: The leaf of the data that it is in, and where in that.
        label: Its name.
        expected: What is expected there.
        observed: What was counted.
    """

    place: tuple[int, int]
    label: str
    expected: float
    observed: float


def remark(model: Any, params: State, observation: Any, start: State) -> str:
    """Return a sentence for each bin that expects nothing or less; "" if there is none.

    Args:
        model: The objective of a fit; what is no Model has no expected counts.
        params: Where the fit ended.
        observation: Its data.
        start: Where it started. Parameters are named by what their moves took away from
            the bin; at the start itself, by what their values take away.
    """
    if not isinstance(model, AbstractModel):
        return ""
    with up_to_date(model):
        return _remark(model, params, observation, start)


def _remark(model: AbstractModel, params: State, observation: Any, start: State) -> str:
    layout, here, others = ravel_state(params)
    _, before, _ = ravel_state(start)

    def expected(vector):
        return jtu.tree_leaves(model.expected(layout.state(vector, others).to_pytree()))

    # Two small programs: operation by operation compiling takes many times longer.
    @jax.jit
    def slope_of(vector, leaf, bin_):
        rates, pull = jax.vjp(expected, vector)
        places = [
            jnp.arange(rate.size, dtype=int).reshape(rate.shape) for rate in rates
        ]
        seeds = [
            jnp.where((i == leaf) & (place == bin_), 1, 0).astype(rate.dtype)
            for i, (rate, place) in enumerate(zip(rates, places, strict=True))
        ]
        return pull(seeds)[0]

    try:
        rates = jax.jit(expected)(jnp.asarray(here))
    except Exception:  # a function of the user, without which there is less to say
        return ""
    texts, more = [], 0
    for found in _bins(model, rates, observation["main"]):
        slope = np.asarray(slope_of(here, *found.place))
        if found.expected == found.observed == 0 and not np.any(slope):
            continue  # it has no templates
        if len(texts) == MOST_BINS:
            more += 1
            continue
        moved = here - before if np.any(here != before) else here
        texts.append(_sentence(found, _pushing(layout, slope * moved)))
    return " ".join([*texts, f"So do {more} more bins."] if more else texts)


def _bins(model: AbstractModel, rates: list[Any], main: Any) -> list[_Bin]:
    """Return the bins of counts that expect nothing or less."""
    leaves = jtu.tree_flatten_with_path(main)[0]
    if len(leaves) != len(rates):
        return []
    out = []
    for i, (path, leaf) in enumerate(leaves):
        rate, count = np.asarray(rates[i]), np.asarray(leaf)
        counts = count.dtype.kind in "fiu" and not np.any(count < 0)
        if rate.shape != count.shape or not counts:
            continue
        wrong = (rate < 0) | ((rate == 0) & (count > 0))
        wrong |= (rate <= NOTHING) & (count == 0)
        for j in np.flatnonzero(wrong):
            label = _label(model.bin_labels, path, int(j))
            expected, observed = float(rate.flat[j]), float(count.flat[j])
            out.append(_Bin((i, int(j)), label, expected, observed))
    return out


def _pushing(layout: Layout, change: np.ndarray) -> list[str]:
    """Return the parameters that took most away, the most important one first."""
    order = np.argsort(change)[:MOST_PARAMETERS]
    least = 0.1 * np.min(change, initial=0)
    return [layout.labels[i] for i in order if change[i] < 0 and change[i] <= least]


def _sentence(found: _Bin, pushing: list[str]) -> str:
    at_edge = 0 <= found.expected <= NOTHING
    rate = "nothing" if at_edge else f"{found.expected:.3g}"
    verb = "was" if found.observed == 1 else "were"
    count = "nothing was" if found.observed == 0 else f"{found.observed:g} {verb}"
    towards = f"; {', '.join(pushing)} took it there" if pushing else ""
    return f"{found.label} expects {rate} where {count} observed{towards}."


def _label(labels: Any, path: tuple[Any, ...], place: int) -> str:
    """Return the name of a bin, by the model's labels as far as they go."""
    for step in path:
        key = getattr(step, "key", getattr(step, "idx", getattr(step, "name", None)))
        if not isinstance(labels, Mapping) or key not in labels:
            return f'observation["main"]{jtu.keystr(path)}[{place}]'
        labels = labels[key]
    return f'observation["main"][{place}]' if labels is None else labels[place]


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


def largest_changes(
    labels: tuple[str, ...], before: np.ndarray, after: np.ndarray
) -> str:
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
