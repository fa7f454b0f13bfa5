"""Bins whose expected count is not positive: their names, and starts without them.

Poisson counts have a likelihood only where the expected count is positive, or zero
without events. If a fit failed at such a bin, or ended where an expected count is zero,
the result names the bins and the parameters that lowered the expected counts.

With ``s > b`` a start at μ = -1 has negative expected counts, and no likelihood. If a
Model has expected counts, such a start is moved by damped Gauss-Newton steps on
``Σ min(expected - least, 0)²``, as little as possible. This is done on the host, and
only after a fit that could not begin.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np

from everwillow._captures import up_to_date
from everwillow._errors import RESULTS
from everwillow._numerics import is_traced
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import Layout, ravel_state
from everwillow.engine.problem import Numbers
from everwillow.fitting.result import FitResult
from everwillow.model import AbstractModel
from everwillow.statelib import State


# Largest numbers of bins, and of parameters for each, that a message names.
MOST_BINS, MOST_PARAMETERS = 4, 3
# An empty bin with a smaller expected count is at the edge.
NOTHING = 1e-6
# Least expected count of a bin at a start, in units of its count, or of one event.
SHARE = 0.1
MOST_STEPS = 40
# Largest number of elements of a Jacobian matrix: 200 MB.
MOST_ELEMENTS = 25_000_000
# Damping of steps; the least is large enough that parameters with little effect hardly
# move.
LEAST_DAMPING, MOST_DAMPING = 1e-2, 1e6
# Largest number of start values that a message names.
MOST_NAMES = 4


class _Bin(NamedTuple):
    """A bin whose expected count is zero or negative.

    Attributes:
        place: The number of its leaf of the data, and its position there.
        label: Its name.
        expected: Its expected count.
        observed: Its observed count.
    """

    place: tuple[int, int]
    label: str
    expected: float
    observed: float


def remark(model: Any, params: State, observation: Any, start: State) -> str:
    """Return a sentence for each bin whose expected count is zero or negative.

    Returns "" if there is no such bin.

    Args:
        model: The objective of a fit; if it is no Model it has no expected counts.
        params: The end of the fit.
        observation: Its data.
        start: The start of the fit. The parameters named are those whose moves lowered
            the expected count most; at the start itself, those whose values do.
    """
    if not isinstance(model, AbstractModel):
        return ""
    with up_to_date(model):
        return _remark(model, params, observation, start)


def _remark(model: AbstractModel, params: State, observation: Any, start: State) -> str:
    layout, end, others = ravel_state(params)
    _, begin, _ = ravel_state(start)

    def expected(vector):
        return jtu.tree_leaves(model.expected(layout.state(vector, others).to_pytree()))

    # Two small programs: compiling operation by operation takes many times longer.
    @jax.jit
    def slope_of(vector, leaf, bin_):
        rates, vjp_fn = jax.vjp(expected, vector)
        places = [
            jnp.arange(rate.size, dtype=int).reshape(rate.shape) for rate in rates
        ]
        seeds = [
            jnp.where((i == leaf) & (place == bin_), 1, 0).astype(rate.dtype)
            for i, (rate, place) in enumerate(zip(rates, places, strict=True))
        ]
        return vjp_fn(seeds)[0]

    try:
        rates = jax.jit(expected)(jnp.asarray(end))
    except Exception:  # the function of a user may raise anything
        return ""
    texts, omitted = [], 0
    for empty in _bins(model, rates, observation["main"]):
        slope = np.asarray(slope_of(end, *empty.place))
        if empty.expected == empty.observed == 0 and not np.any(slope):
            continue  # a bin without templates is empty for all parameters
        if len(texts) == MOST_BINS:
            omitted += 1
            continue
        moved = end - begin if np.any(end != begin) else end
        texts.append(_sentence(empty, _most_responsible(layout, slope * moved)))
    return " ".join([*texts, f"So do {omitted} more bins."] if omitted else texts)


def _bins(model: AbstractModel, rates: list[Any], main: Any) -> list[_Bin]:
    """Return the bins of counts whose expected count is zero or negative."""
    leaves = jtu.tree_flatten_with_path(main)[0]
    if len(leaves) != len(rates):
        return []
    out = []
    for i, (path, leaf) in enumerate(leaves):
        labels, named = _labels(model.bin_labels, path)
        if not named:
            continue
        rate, count = np.asarray(rates[i]), np.asarray(leaf)
        counts = count.dtype.kind in "fiu" and not np.any(count < 0)
        if rate.shape != count.shape or not counts:
            continue
        wrong = (rate < 0) | ((rate == 0) & (count > 0))
        if model.counts_may_vanish:
            wrong |= (rate <= NOTHING) & (count == 0)
        for j in np.flatnonzero(wrong):
            name = f'observation["main"]{jtu.keystr(path)}[{j}]'
            label = name if labels is None else labels[int(j)]
            expected, observed = float(rate.flat[j]), float(count.flat[j])
            out.append(_Bin((i, int(j)), label, expected, observed))
    return out


def _most_responsible(layout: Layout, change: np.ndarray) -> list[str]:
    """Return the parameters with the largest negative changes, largest first."""
    order = np.argsort(change)[:MOST_PARAMETERS]
    least = 0.1 * np.min(change, initial=0)
    return [layout.labels[i] for i in order if change[i] < 0 and change[i] <= least]


def _sentence(bin_: _Bin, parameters: list[str]) -> str:
    at_edge = 0 <= bin_.expected <= NOTHING
    rate = "nothing" if at_edge else f"{bin_.expected:.3g}"
    verb = "was" if bin_.observed == 1 else "were"
    count = "nothing was" if bin_.observed == 0 else f"{bin_.observed:g} {verb}"
    towards = f"; {', '.join(parameters)} took it there" if parameters else ""
    return f"{bin_.label} expects {rate} where {count} observed{towards}."


def _labels(labels: Any, path: tuple[Any, ...]) -> tuple[Any, bool]:
    """Return the names of the bins of one array, and whether it holds counts.

    A model with names has no bins in arrays for which it has none.
    """
    for step in path:
        if labels is None:
            break
        key = getattr(step, "key", getattr(step, "idx", getattr(step, "name", None)))
        if not isinstance(labels, Mapping) or key not in labels:
            return None, False
        labels = labels[key]
    return labels, True


def could_not_begin(result: FitResult) -> bool:
    """Return whether a single fit is known to have had no likelihood at its start."""
    if is_traced(result.success) or np.ndim(result.success) or result.success:
        return False
    return bool(result.status == RESULTS.nonfinite_start)


def feasible_start(task: Task, numbers: Numbers) -> np.ndarray | None:
    """Return values of the parameters at which all observed counts are possible.

    Args:
        task: The structure of a fit that could not begin.
        numbers: Its arguments.

    Returns:
        The values at ``numbers.index``, inside their bounds, fixed ones as they were;
        None if none were found, or the expected counts are not known.
    """
    if not isinstance(task.objective, AbstractModel) or numbers.transforms:
        return None
    x = np.asarray(numbers.vector)[np.asarray(numbers.index)]
    try:
        counts = _counts(numbers.observation["main"])
        shape = jax.eval_shape(lambda v: rates(task, numbers, v), x).shape
        if shape != counts.shape or counts.size * x.size > MOST_ELEMENTS:
            return None
        # A slope may be infinite there; a step that is not finite is not taken.
        with np.errstate(all="ignore"):
            return _search(task, numbers, x, counts)
    except Exception:  # a function of the user, without which it stays a failure
        return None


def largest_changes(
    labels: tuple[str, ...], before: np.ndarray, after: np.ndarray
) -> str:
    """Return the values with the largest changes, as a text.

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
    """Return the counts of all bins; NaN where data are no counts."""
    leaves = [np.ravel(np.asarray(leaf, float)) for leaf in jtu.tree_leaves(main)]
    return np.concatenate([np.where(np.any(v < 0), np.nan, v) for v in leaves])


def rates(task: Task, numbers: Numbers, x: Any) -> jax.Array:
    """Return the expected counts of all bins, as one vector."""
    leaves = jtu.tree_leaves(task.objective.expected(task.params(numbers, x)))
    return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])


def rates_and_slopes(task: Task, numbers: Numbers, x: Any) -> tuple[Any, Any]:
    """Return the expected counts of all bins, and their Jacobian matrix."""

    def expected(v):
        return rates(task, numbers, v)

    expected_counts = expected(x)
    backward = expected_counts.size < x.size
    return expected_counts, (jax.jacrev if backward else jax.jacfwd)(expected)(x)


def _search(
    task: Task, numbers: Numbers, x: np.ndarray, counts: np.ndarray
) -> np.ndarray | None:
    """Step until every bin has its least expected count, or no step helps."""
    lower = np.full(x.shape, -np.inf) if numbers.lower is None else numbers.lower
    upper = np.full(x.shape, np.inf) if numbers.upper is None else numbers.upper
    lower, upper = np.asarray(lower), np.asarray(upper)
    unit = np.minimum(np.maximum(np.abs(x), 1), upper - lower)
    unit = np.where(np.asarray(numbers.mask), unit, 0)
    least = SHARE * np.maximum(counts, 1)

    def evaluate(point):
        expected, slopes = map(
            np.asarray, programs.call(rates_and_slopes, task, numbers, point)
        )
        deficit = np.where(expected < least, (expected - least) / np.sqrt(least), 0)
        return expected, deficit, slopes / np.sqrt(least)[:, None]

    expected, deficit, slopes = evaluate(x)
    if _possible(expected, counts):
        return None  # the fit failed for another reason
    damping = LEAST_DAMPING
    for _ in range(MOST_STEPS):
        if not np.any(deficit) or damping > MOST_DAMPING:
            break
        rows = deficit != 0
        step = _step(slopes[rows], deficit[rows], damping, (x, unit, lower, upper))
        trial = np.clip(x + step, lower, upper)
        new = evaluate(trial)
        if np.sum(new[1] ** 2) < np.sum(deficit**2):
            x, (expected, deficit, slopes) = trial, new
            damping = max(damping / 10, LEAST_DAMPING)
        else:
            damping *= 10
    return x if _possible(expected, counts) else None


def _possible(expected: np.ndarray, counts: np.ndarray) -> bool:
    """Return whether each expected count is positive, or zero without events."""
    return bool(
        np.all((expected > 0) | ((expected == 0) & (counts == 0)) | np.isnan(counts))
    )


def _step(slopes, deficit, damping, box) -> np.ndarray:
    """Return the smallest step, in some units, that removes deficits inside a box."""
    x, unit, lower, upper = box
    step = np.zeros_like(x)
    for _ in range(x.size):
        scaled = slopes * unit
        matrix = scaled @ scaled.T
        shift = damping * max(np.max(np.diagonal(matrix)), np.finfo(float).tiny)
        weights = np.linalg.solve(matrix + shift * np.eye(len(deficit)), -deficit)
        step = unit * (scaled.T @ weights)
        blocked = ((x <= lower) & (step < 0)) | ((x >= upper) & (step > 0))
        if not np.any(blocked & (unit > 0)):
            break
        unit = np.where(blocked, 0, unit)
    return step
