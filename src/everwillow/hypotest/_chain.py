"""The fits that a profile likelihood ratio is made of, one after the other.

Each starts where the one before ended. There are two ways to run them, which do the
same: in a call outside of any JAX transformation each is a call of the compiled fit;
in a trace they are the steps of one scan, so that the program of the fit is there only
once, however many fits there are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._typing import Key
from everwillow.fitting import FitResult, _execute
from everwillow.fitting._adjoint import minimise
from everwillow.fitting._core import Task
from everwillow.fitting._layout import as_array, float_dtype, is_traced
from everwillow.fitting._problem import Numbers
from everwillow.fitting.conditional import Problem
from everwillow.fitting.run import assemble
from everwillow.model import AbstractModel


# What two fits to the same minimum may differ by: twice the EDM that each is allowed,
# and the rounding of -ln L.
EDM_SLACK = 4e-8
ROUNDING_SLACK = 256


class Fits(eqx.Module):
    """The fits of one data set.

    Attributes:
        free: The best fit.
        held: With the POI at each of the values asked for.
        zero: With the POI at 0; None where it was not needed.
        twice_ratio: Twice -ln of the likelihood ratio of the first held fit; NaN if a
            fit failed or no reference minimum was found.
        mu_hat: The POI of the best fit.
    """

    free: FitResult
    held: tuple[FitResult, ...]
    zero: FitResult | None
    twice_ratio: Any
    mu_hat: Any


def own_poi(nll_fn: Any, poi: Key | None, *, where: str) -> Key:
    """Return the parameter of interest: the one given, or that of the model.

    Raises:
        ArgumentValueError: If there is neither.
    """
    if poi is None and isinstance(nll_fn, AbstractModel):
        poi = nll_fn.poi
    if poi is None:
        msg = (
            f"{where}: which parameter is of interest? Neither was poi= given nor does "
            f"{type(nll_fn).__name__} name one."
        )
        raise ArgumentValueError(msg)
    return poi


def poi_place(problem: Problem, poi_key: Key, *, where: str = "poi_key") -> int:
    """Return the position of the POI.

    Args:
        problem: The fit.
        poi_key: The POI.
        where: What to call this argument in messages.

    Raises:
        UnknownKeyError: If there is no such parameter.
        ArgumentValueError: If it is fixed, or has more than one element.
    """
    here = problem.positions(poi_key, where=where)
    if here.size != 1:
        msg = (
            f"{where}: {poi_key!r} has {here.size} elements. Name one of them, such as "
            f"{problem.labels[int(here[0])]!r}."
        )
        raise ArgumentValueError(msg)
    return int(here[0])


def run_fits(
    problem: Problem,
    poi_key: Key,
    values: tuple[Any, ...],
    *,
    physical: bool,
    free: FitResult | None = None,
    arguments: tuple[str, str] = ("poi_key", "poi_test"),
) -> Fits:
    """Fit with the POI free, held at some values, and held at 0 where needed.

    Args:
        problem: The data and start values.
        poi_key: The parameter of interest.
        values: Where to hold it; the likelihood ratio is that of the first.
        physical: Whether negative values of the POI are unphysical, so that the ratio
            is to the minimum with the POI at 0 where the best one is negative.
        free: The best fit, if it is known.
        arguments: What the caller calls the POI and its value, for messages.
    """
    place = poi_place(problem, poi_key, where=arguments[0])
    values = tuple(_number(value, arguments[1]) for value in values)
    for value in values:
        problem.check_inside(poi_key, value, np.array([place]), where=arguments[1])
    if is_traced(problem.task, problem.numbers, values):
        return _traced(problem, place, values, physical)
    return _eager(problem, poi_key, place, values, physical, free)


def _number(value: Any, where: str) -> Any:
    """Return the value of a parameter of one element."""
    value = as_array(value)
    if not isinstance(value, np.ndarray | np.generic | jax.Array):
        msg = f"{where}: expected a number, got {type(value).__name__}."
        raise ArgumentTypeError(msg)
    return value


def _mu(problem: Problem, place: int, result: FitResult) -> Any:
    """Return the value of the POI in a fit."""
    element = np.asarray(problem.numbers.index)[place]
    numeric = problem.task.layout.numeric
    values = zip(result.params.values(), numeric, strict=True)
    return np.concatenate([np.ravel(v) for v, n in values if n])[element]


def tolerance(nll: Any) -> Any:
    """Return by how much twice a difference of -ln L may be wrong."""
    eps = float(np.finfo(float_dtype()).eps)
    return EDM_SLACK + ROUNDING_SLACK * eps * abs(nll)


def _eager(problem, poi_key, place, values, physical, free) -> Fits:
    """Run the fits one by one, and only those that are needed."""
    if free is None:
        free = problem.fit(throw=False)
    near = _after(problem, free)
    held = tuple(near.hold({poi_key: v}).fit(throw=False) for v in values)
    mu_hat = _mu(problem, place, free)
    zero, reference = None, free
    if physical and mu_hat < 0:
        zero = near.hold({poi_key: 0.0}).fit(throw=False)
        reference = zero
    ratio = 2 * (held[0].nll - reference.nll)
    if ratio < -tolerance(reference.nll):
        # The free fit ended in a local minimum: this one is lower.
        again = _after(problem, held[0]).fit(throw=False)
        mu_again = _mu(problem, place, again)
        if _replaces(again, mu_again, reference, physical):
            free, mu_hat, zero, reference = again, mu_again, None, again
            ratio = 2 * (held[0].nll - reference.nll)
    good = bool(free.success) and bool(held[0].success) and bool(reference.success)
    good = good and ratio >= -tolerance(reference.nll)
    twice_ratio = np.asarray(ratio if good and ratio > 0 else 0.0 if good else np.nan)
    return Fits(free, held, zero, twice_ratio, mu_hat)


def _after(problem: Problem, result: FitResult) -> Problem:
    """Return the problem started where a fit ended, if that is anywhere."""
    finite = np.isfinite(result.nll) and all(
        np.all(np.isfinite(v)) for v in result.params.values() if _is_float(v)
    )
    return problem.at(result) if finite else problem


def _is_float(value: Any) -> bool:
    return value is not None and np.asarray(value).dtype.kind == "f"


def _replaces(again: FitResult, mu: Any, reference: FitResult, physical: Any) -> bool:
    lower = bool(again.success) and bool(again.nll < reference.nll)
    return lower and not (physical and mu < 0)


@jax.custom_batching.custom_vmap
def any_lane(flag: jax.Array) -> jax.Array:
    """Return a flag; in a batch, whether it is set in any lane, for all of them.

    What only few lanes need can so stand in a `jax.lax.cond` that stays one under
    `jax.vmap`, and costs nothing where no lane needs it.
    """
    return flag


@any_lane.def_vmap
def _any_lane_in_a_batch(axis_size, in_batched, flag):
    del axis_size
    (batched,) = in_batched
    return any_lane(jnp.any(flag) if batched else flag), False


def scan_fits(
    task: Task,
    numbers: Numbers,
    place: Any,
    values: tuple[Any, ...],
    physical: Any,
    minimiser: Callable[[Task, Numbers], Any] = minimise,
) -> tuple[Any, ...]:
    """Run the fits as the steps of one scan; for `_execute.call` and batches.

    Args:
        task: The structure.
        numbers: The arguments; the start values are those of the free fit.
        place: Position of the POI, an integer array.
        values: As in `run_fits`.
        physical: As in `run_fits`; None stands for False, anything else for True.
        minimiser: Runs one fit.

    Returns:
        What the minimiser returned, stacked along a first axis of fits, split into its
        arrays and the rest: free, held at each value, held at zero if `physical`. Then
        the likelihood ratio, and the POI of the best fit.
    """
    mask, vector = jnp.asarray(numbers.mask), jnp.asarray(numbers.vector)
    index = jnp.asarray(numbers.index)
    held = [*values, 0.0] if physical is not None else [*values]
    last = len(held) + 1
    others = mask & (jnp.arange(mask.shape[0]) != place)
    masks = jnp.stack([mask, *[others] * len(held), mask])
    plan = _Plan(
        index[place],
        jnp.stack([jnp.asarray(value, vector.dtype) for value in held]),
        last,
        physical is not None,
    )
    rest: Any = None

    # A `jax.jit` only so that the fit is traced once for its shapes and its two uses.
    @jax.jit
    def fit_at(start, moving):
        nonlocal rest
        here = dataclasses.replace(numbers, vector=start, mask=moving)
        arrays, rest = eqx.partition(minimiser(task, here), eqx.is_array)
        return arrays

    shapes = jax.eval_shape(fit_at, vector, mask)

    def step(progress, i):
        start, moving = progress.starts[i], masks[i]
        arrays = jax.lax.cond(
            any_lane(progress.active[i]),
            lambda: fit_at(start, moving),
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        )
        outcome = jax.lax.stop_gradient(eqx.combine(arrays, rest)[0])
        x = vector.at[index].set(outcome.x)
        x = jnp.where(jnp.all(jnp.isfinite(x)), x, jax.lax.stop_gradient(vector))
        return _follow(plan, progress, i, x, outcome.value), arrays

    # The last two of them are only run where it turns out that they are needed.
    needed = jnp.arange(last + 1) < (last - 1 if plan.physical else last)
    first = _Progress(
        jnp.stack([vector] * (last + 1)),
        needed,
        jnp.full(last + 1, jnp.nan, vector.dtype),
        vector[plan.element],
    )
    progress, arrays = jax.lax.scan(step, first, jnp.arange(last + 1))
    return _conclude(arrays, rest, progress.active, place, plan)


class _Plan(eqx.Module):
    """Which fits there are: free, held at values, at zero, and free again.

    Attributes:
        element: Where the POI is in the vector of all parameters.
        held: The values it is held at, shape ``(fits,)``.
        last: Number of the last fit.
        physical: Whether the last held value is 0, for a negative best fit.
    """

    element: Any
    held: Any
    last: int = eqx.field(static=True)
    physical: bool = eqx.field(static=True)

    def reference(self, nll: Any, mu_hat: Any) -> Any:
        """Return -ln L of the minimum that others are compared with."""
        if not self.physical:
            return nll[0]
        return jnp.where(mu_hat < 0, nll[self.last - 1], nll[0])


class _Progress(eqx.Module):
    """What is known after some of the fits.

    Attributes:
        starts: Start values of each fit, shape ``(fits, params)``.
        active: Which of them are needed, shape ``(fits,)``.
        nll: Their minima so far.
        mu_hat: The POI of the best fit.
    """

    starts: Any
    active: Any
    nll: Any
    mu_hat: Any


def _follow(plan: _Plan, progress: _Progress, i: Any, x: Any, value: Any) -> _Progress:
    """Return what is known after fit `i`, which ended at `x`."""
    last, active, starts = plan.last, progress.active, progress.starts
    nll = progress.nll.at[i].set(jnp.where(active[i], value, jnp.nan))
    mu_hat = jnp.where(i == 0, x[plan.element], progress.mu_hat)
    after = jnp.broadcast_to(x, (*plan.held.shape, *x.shape))
    after = after.at[:, plan.element].set(plan.held)
    starts = jnp.where(i == 0, starts.at[1:last].set(after), starts)
    starts = jnp.where(i == 1, starts.at[last].set(x), starts)
    if plan.physical:
        active = jnp.where(i == 0, active.at[last - 1].set(mu_hat < 0), active)
    reference = plan.reference(nll, mu_hat)
    # The free fit ended in a local minimum where a conditional one is lower.
    lower = 2 * (nll[1] - reference) < -tolerance(reference)
    active = jnp.where(i == last - 1, active.at[last].set(lower), active)
    return _Progress(starts, active, nll, mu_hat)


def _conclude(arrays, rest, active, place, plan: _Plan) -> tuple[Any, ...]:
    """Choose between the first and the second free fit, and form the ratio."""
    outcome = eqx.combine(arrays, rest)[0]
    last, nll, mu = plan.last, outcome.value, outcome.x[:, place]
    reference = plan.reference(nll, mu[0])
    again = active[last] & outcome.success[last] & (nll[last] < reference)
    if plan.physical:
        again = again & (mu[last] >= 0)
    arrays = jax.tree.map(
        lambda a: a.at[0].set(jnp.where(again, a[last], a[0]))[:last], arrays
    )
    outcome = eqx.combine(arrays, rest)[0]
    reference = jnp.where(again, outcome.value[0], reference)
    ratio = 2 * (outcome.value[1] - reference)
    good = outcome.success[0] & outcome.success[1]
    if plan.physical:
        unused = ~active[last - 1] | again
        good = good & (outcome.success[last - 1] | unused)
    good = good & (ratio >= -tolerance(reference))
    ratio = jnp.where(ratio > 0, ratio, 0)
    return arrays, rest, jnp.where(good, ratio, jnp.nan), outcome.x[0, place]


def _traced(problem: Problem, place: int, values: Any, physical: Any) -> Fits:
    """Run the scan inside of a trace, and give its outcomes their names."""
    numbers = problem.numbers
    lower, _ = problem.range(np.array([place]))
    if not is_traced(lower) and lower[0] >= 0:
        physical = False
    arrays, rest, ratio, mu_hat = _execute.call(
        scan_fits,
        problem.task,
        numbers,
        np.asarray(place),
        values,
        np.asarray(True) if physical else None,
    )
    free = np.asarray(numbers.mask)
    held = free.copy()
    held[place] = False

    def fit(i: int) -> FitResult:
        outcome, solution = eqx.combine(jax.tree.map(lambda a: a[i], arrays), rest)
        here = dataclasses.replace(numbers, mask=held if i else free)
        layout = problem.task.layout
        return assemble(layout, here, outcome, solution, problem.constraints)

    fits = tuple(fit(i) for i in range(1, len(values) + 1))
    zero = fit(len(values) + 1) if physical else None
    return Fits(fit(0), fits, zero, ratio, mu_hat)
