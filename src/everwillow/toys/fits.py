"""Fit many pseudo-experiments, a batch at a time."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from everwillow._errors import RESULTS
from everwillow._html import Table, html_of
from everwillow._rounding import with_error
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.covariance import covariance_of
from everwillow.engine.flat_directions import idle, start_elsewhere
from everwillow.engine.layout import Layout
from everwillow.engine.outcome import Outcome
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import Problem, pose
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.statelib import State
from everwillow.statelib.state import Parameters
from everwillow.toys.lanes import (
    FLAT,
    batch_size_for,
    code_of,
    map_batches,
    minimise_in_lanes,
    select_toys,
    settled,
)
from everwillow.toys.sampling import (
    Sampler,
    check_count,
    checked_key,
    choose_sampler,
    draw,
)


class ToyFits(eqx.Module):
    """The fits of pseudo-experiments, stacked along the first axis.

    A failed fit has a status; its parameters are those at which it stopped, and its
    `nll` and `errors` are NaN. `failures` is the number of failed fits.

    Attributes:
        params: Fitted values, each of shape ``(toys, ...)``.
        errors: Standard errors, each of shape ``(toys, ...)``; NaN at a bound, None for
            fixed and held parameters. None altogether if the solver has no Hessian.
        nll: -ln L at the minimum, shape ``(toys,)``.
        success: Whether a minimum was found, shape ``(toys,)``.
        status: How each fit ended, codes of `RESULTS`.
        at_bound: Which of the free parameters ended at a bound, shape
            ``(toys, free)``.
        num_steps: Number of evaluations, shape ``(toys,)``.
        index: Index of each toy, which its key was folded with, shape ``(toys,)``.
        free: Positions of the fitted parameters among all.
        layout: The structure of the parameters.
    """

    params: State
    errors: State | None
    nll: Float[np.ndarray, " toys"]
    success: Bool[np.ndarray, " toys"]
    status: RESULTS
    at_bound: Bool[np.ndarray, "toys free"]
    num_steps: Int[np.ndarray, " toys"]
    index: Int[np.ndarray, " toys"]
    free: tuple[int, ...] = eqx.field(static=True)
    layout: Layout = eqx.field(static=True)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the fitted parameters."""
        return tuple(self.layout.labels[i] for i in self.free)

    @property
    def failures(self) -> int:
        """The number of toys without a minimum."""
        return int(np.sum(~np.asarray(self.success)))

    @property
    def failed(self) -> Int[np.ndarray, " failures"]:
        """The indices of the toys without a minimum."""
        return np.asarray(self.index)[~np.asarray(self.success)]

    def __repr__(self) -> str:
        """Return the numbers of successful and failed fits."""
        outcomes = describe(self.success, self.status, self.index)
        return f"ToyFits({', '.join(map(str, self.params))}; {outcomes})"

    def _repr_html_(self) -> str:
        """Return means and standard deviations of the fitted values for notebooks."""
        good = np.asarray(self.success)
        rows = []
        if good.sum() > 1:
            numeric = zip(self.params.values(), self.layout.numeric, strict=True)
            flat = [np.reshape(x, (good.size, -1)) for x, fits in numeric if fits]
            values = np.concatenate(flat, axis=1)[good][:, list(self.free)]
            means, spreads = values.mean(axis=0), values.std(axis=0, ddof=1)
            rows = [
                (name, *with_error(float(mean), float(spread)))
                for name, mean, spread in zip(self.labels, means, spreads, strict=True)
            ]
        table = Table([("parameter", "mean", "standard deviation"), *rows])
        return html_of([table, repr(self)])


def describe(success: Any, status: Any, index: Any) -> str:
    """Return a sentence with the number of failed toys, the reasons and the indices.

    Args:
        success: Whether each ended at a minimum, shape ``(toys,)``.
        status: How each fit ended, codes of `RESULTS`.
        index: Index of each toy.
    """
    failed = ~np.asarray(success)
    count, failures = failed.size, int(np.sum(failed))
    text = f"{count - failures} of {count} toys ended at a minimum"
    if not failures:
        return text + "."
    codes = code_of(status)[failed]
    kinds = [f"{np.sum(codes == code)} {name}" for name, code in _names(codes)]
    shown = ", ".join(map(str, np.asarray(index)[failed][:10].tolist()))
    more = ", ..." if failures > 10 else ""
    return f"{text}; failed: {', '.join(kinds)} (toys {shown}{more})."


def _names(codes: np.ndarray) -> list[tuple[str, int]]:
    """Return the name and the code of each status that occurs."""
    numbers = {int(code_of(getattr(RESULTS, name))): name for name in _STATUSES}
    other = "without a common minimum"
    return [(numbers.get(int(c), other), int(c)) for c in np.unique(codes)]


_STATUSES = (
    "flat_direction",
    "stalled",
    "not_a_minimum",
    "edm_above_goal",
    "nonfinite_start",
    "nonlinear_max_steps_reached",
)


@takes_options(FitOptions)
def fit_toys(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    *,
    ntoys: int,
    key: Any,
    first: int = 0,
    sample_fn: Sampler | None = None,
    predict_fn: Callable[[State], Any] | None = None,
    held: Mapping[Key, Any] | None = None,
    batch_size: int | None = None,
    **options: Unpack[FitOptions],
) -> ToyFits:
    """Draw pseudo-experiments and fit each of them.

    The toys are drawn at `params` and the fits start from there. The memory depends on
    the size of a batch and not on the number of toys; batches run on all cores. Toys
    whose fit does not end at a minimum in its batch are fitted again, in the end one by
    one with the full solver; if that fails, too, they are returned with their status.
    Fits that end where a parameter has no effect (a mass without signal) start again
    from values in the whole range of that parameter; they have the status of a flat
    direction if no lower minimum is found.

    Args:
        nll_fn: A Model or ``nll_fn(params, observation)``, as in `fit`.
        params: The parameters at which toys are drawn: a State, a dict or another
            pytree, or a FitResult; the start values of the Model if None.
        ntoys: The number of toys.
        key: PRNG key or integer seed; toy i has the key ``fold_in(key, i)``.
        first: Index of the first toy, so that work can be divided.
        sample_fn: ``sample_fn(state, key)`` returns an observation. The default for a
            Model is `Fluctuated`; see also `DrawnParameters`.
        predict_fn: From a State to expected counts, for Poisson toys.
        held: Parameters held in the fits: from keys to values, or to ``...`` for the
            value in `params`.
        batch_size: The number of toys in a batch. By default a batch fits into the
            cache of a CPU, or into a part of the memory of another device.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Raises:
        ArgumentValueError: If `ntoys` or `batch_size` is not positive, or if neither a
            Model nor a function to draw toys is given.

    Example:
        >>> import everwillow as ew
        >>> import jax.numpy as jnp
        >>> from everwillow.toys import fit_toys
        >>> def nll(params, count):
        ...     return params["rate"] - count * jnp.log(params["rate"])
        >>> start = ew.State.from_pytree({"rate": 100.0})
        >>> toys = fit_toys(
        ...     nll, start, ntoys=400, key=1, predict_fn=lambda state: state["rate"]
        ... )
        >>> pulls = (toys.params["rate"] - 100.0) / toys.errors["rate"]
        >>> print(toys.failures, f"{pulls.std():.1f}")
        0 1.0
    """
    check_count(ntoys, "ntoys")
    if batch_size is not None:
        check_count(batch_size, "batch_size")
    sampler = choose_sampler(nll_fn, sample_fn, predict_fn)
    state = params.params if isinstance(params, FitResult) else params
    problem = pose(nll_fn, state, **options).hold(held)
    numbers, truth = problem.numbers, problem.start
    base, size = checked_key(key), batch_size or batch_size_for(len(numbers.index))

    def work(indices: np.ndarray) -> dict[str, Any]:
        shifted = first + indices
        toys = programs.call(draw, sampler, truth, base, shifted, None)
        return fit_batch(problem, toys)

    size = min(size, ntoys)
    return _record(problem, map_batches(work, ntoys, size, "toys"), first)


def fit_lanes(task: Task, numbers: Numbers, starts: Any, observations: Any) -> Outcome:
    """Minimise one batch in lanes; for `programs.call`.

    Args:
        task: The structure of the fit.
        numbers: The arguments, without start values and observation.
        starts: The start values of all parameters, shape ``(toys, params)``.
        observations: The observations, stacked along a first axis.
    """

    def one(vector: Any, observation: Any) -> Outcome:
        here = dataclasses.replace(numbers, vector=vector, observation=observation)
        return minimise_in_lanes(task, here)[0]

    return jax.vmap(one)(starts, observations)


def start_lanes(
    task: Task, numbers: Numbers, starts: Any, ends: Outcome, observations: Any
) -> Any:
    """Return other start values for fits that ended where parameters have no effect.

    Args:
        task: The structure of the fit.
        numbers: The arguments, without start values and observation.
        starts: The start values of all parameters, shape ``(toys, params)``.
        ends: The outcomes of the fits, along a first axis.
        observations: The observations, stacked along a first axis.
    """

    def one(vector: Any, end: Outcome, observation: Any) -> Any:
        here = dataclasses.replace(numbers, vector=vector, observation=observation)
        if end.hessian is None:
            return vector
        without = idle(end.gradient, end.hessian, jnp.asarray(numbers.mask))
        x = start_elsewhere(task, here, end.x, without)
        return jnp.asarray(vector).at[numbers.index].set(x)

    return jax.vmap(one)(starts, ends, observations)


def fit_batch(problem: Problem, toys: Any) -> dict[str, Any]:
    """Fit a batch of toys: in lanes, then from other start values, then one by one.

    Returns:
        Arrays with a first axis of toys.
    """
    task = problem.task
    numbers = dataclasses.replace(problem.numbers, observation=None)
    vector = np.asarray(numbers.vector)
    count = jax.tree.leaves(toys)[0].shape[0]
    starts = np.tile(vector, (count, 1))
    numbers = dataclasses.replace(numbers, vector=None)
    outcome = _host(programs.call(fit_lanes, task, numbers, starts, toys, hasty=False))
    good = settled(outcome.status)
    if not np.all(good):
        # Start halfway to the end, which leads the solver along another path.
        index = np.asarray(numbers.index)
        ends = np.where(np.isfinite(outcome.x), outcome.x, starts[:, index])
        starts[:, index] = 0.5 * (starts[:, index] + ends)
        flat = code_of(outcome.status) == code_of(FLAT)
        if np.any(flat):
            others = programs.call(start_lanes, task, numbers, starts, outcome, toys)
            starts = np.where(flat[:, None], np.asarray(others), starts)
        other = _host(
            programs.call(fit_lanes, task, numbers, starts, toys, hasty=False)
        )
        lower = ~flat | (other.value <= outcome.value)
        better = ~good & settled(other.status) & lower
        outcome = select_toys(better, outcome, other)
        good = good | better | flat
    for i in np.nonzero(~good)[0].tolist():
        data = jax.tree.map(lambda leaf, i=i: leaf[i], toys)
        alone = programs.run(task, problem.given(data).numbers)[0]
        outcome = jax.tree.map(lambda a, b, i=i: _put(a, i, b), outcome, alone)
    return _arrays(problem, outcome)


def _host(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)


def _put(array: np.ndarray, i: int, value: Any) -> np.ndarray:
    array = array.copy()
    array[i] = value
    return array


def _arrays(problem: Problem, outcome: Outcome) -> dict[str, Any]:
    """Return the arrays of a batch that are kept, with errors in place of Hessians."""
    keep = problem.free
    good = np.asarray(outcome.success)
    arrays = {
        "x": outcome.x,
        "nll": np.where(good, outcome.value, np.nan),
        "success": good,
        "status": outcome.status,
        "at_bound": outcome.at_bound[:, keep],
        "num_steps": outcome.num_steps,
    }
    if outcome.hessian is None:
        return arrays
    hessian: Any = outcome.hessian[:, keep][:, :, keep]
    variance = np.diagonal(
        covariance_of(hessian, arrays["at_bound"]), axis1=-2, axis2=-1
    )
    usable = good[:, None] & (variance > 0)
    arrays["errors"] = np.where(usable, np.sqrt(np.where(usable, variance, 1)), np.nan)
    return arrays


def _record(problem: Problem, arrays: dict[str, Any], first: int) -> ToyFits:
    """Return the record of the arrays of all batches."""
    numbers, layout = problem.numbers, problem.task.layout
    count = len(arrays["nll"])
    index = np.asarray(numbers.index)
    vectors = np.tile(np.asarray(numbers.vector), (count, 1))
    vectors[:, index] = arrays["x"]
    parts = iter(
        vectors[:, start : start + size].reshape(count, *shape)
        for start, size, shape, numeric in zip(
            layout.starts, layout.sizes, layout.shapes, layout.numeric, strict=True
        )
        if numeric
    )
    others = iter(numbers.others)
    values = [next(parts) if numeric else next(others) for numeric in layout.numeric]
    free = tuple(index[problem.free].tolist())
    errors = arrays.get("errors")
    return ToyFits(
        params=layout.template.with_values(values),
        errors=None if errors is None else layout.named(errors, free),
        nll=arrays["nll"],
        success=arrays["success"],
        status=arrays["status"],
        at_bound=arrays["at_bound"],
        num_steps=arrays["num_steps"],
        index=first + np.arange(count),
        free=free,
        layout=layout,
    )
