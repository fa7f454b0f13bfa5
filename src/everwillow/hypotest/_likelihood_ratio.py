"""The profile likelihood ratio and its fits.

Each fit starts at the end of the one before. There are two equivalent ways to run them:
outside of JAX transformations each is a call of the compiled fit, and only those that
are needed are made; in a trace, and in a batch of toys, they are the steps of one scan,
so that the program contains the fit only once.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from everwillow._errors import RESULTS, ArgumentTypeError, ArgumentValueError
from everwillow._numerics import any_lane, is_traced, namespace
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.adjoint import minimise
from everwillow.engine.core import Task, constant, knows_curvature
from everwillow.engine.flat_directions import idle, start_elsewhere, value_is_minimal
from everwillow.engine.layout import as_array, float_dtype
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import Problem
from everwillow.fitting.continuation import foothold
from everwillow.fitting.run import assemble
from everwillow.model import AbstractModel
from everwillow.statelib import State


# The largest difference of two fits to the same minimum: twice the EDM at which fits
# end, and the rounding error of -ln L.
EDM_SLACK = 4e-8
ROUNDING_SLACK = 256


def tolerance(nll: Any) -> Any:
    """Return the largest error of twice a difference of -ln L."""
    eps = float(np.finfo(float_dtype()).eps)
    return EDM_SLACK + ROUNDING_SLACK * eps * abs(nll)


def is_lower(nll: Any, reference: Any) -> Any:
    """Return whether a conditional minimum is lower than its reference.

    Then the reference is only a local minimum.
    """
    return 2 * (nll - reference) < -tolerance(reference)


def twice_log_ratio(nll: Any, reference: Any, known: Any) -> Any:
    """Return twice the rise of a conditional minimum above the reference.

    Args:
        nll: -ln L with the POI held.
        reference: -ln L of the minimum that it is compared with.
        known: Whether both are minima.

    Returns:
        A number of at least 0; NaN if a minimum is missing, or the conditional one is
        lower.
    """
    xp = namespace(nll, reference, known)
    ratio = 2 * (nll - reference)
    good = known & (ratio >= -tolerance(reference))
    return xp.where(good, xp.where(ratio > 0, ratio, 0), xp.nan)


class LikelihoodRatio(eqx.Module):
    """A profile likelihood ratio of one data set, and its fits.

    Attributes:
        free: The best fit.
        held: The fits with the POI at each of the tested values.
        zero: The fit with the POI at 0; None if it was not needed.
        twice_ratio: Twice -ln of the likelihood ratio of the first held fit; NaN if a
            fit failed or no reference minimum was found.
        mu_hat: The POI of the best fit.

    A fit that ends where some parameters have no effect is not a success, as these are
    not known; the ratio uses its value of -ln L.
    """

    free: FitResult
    held: tuple[FitResult, ...]
    zero: FitResult | None
    twice_ratio: Any
    mu_hat: Any


def own_poi(nll_fn: Any, poi: Key | None, *, where: str) -> Key:
    """Return the parameter of interest: `poi`, or that of the model if it is None.

    Raises:
        ArgumentValueError: If both are None.
    """
    if poi is None and isinstance(nll_fn, AbstractModel):
        poi = nll_fn.poi
    if poi is None:
        raise ArgumentValueError(
            f"{where}: which parameter is of interest? Neither was poi= given nor does "
            f"{type(nll_fn).__name__} name one."
        )
    return poi


def poi_place(problem: Problem, poi: Key, *, where: str = "poi_key") -> int:
    """Return the position of the POI.

    Args:
        problem: The fit.
        poi: The POI.
        where: The name of this argument in messages.

    Raises:
        UnknownKeyError: If there is no such parameter.
        ArgumentValueError: If it is fixed, or has more than one element.
    """
    here = problem.positions(poi, where=where)
    if here.size != 1:
        raise ArgumentValueError(
            f"{where}: {poi!r} has {here.size} elements. Name one of them, such as "
            f"{problem.labels[int(here[0])]!r}."
        )
    return int(here[0])


def likelihood_ratio(
    problem: Problem,
    poi: Key,
    values: tuple[Any, ...],
    *,
    floor: str | None,
    free: FitResult | None = None,
    arguments: tuple[str, ...] = ("poi_key", "poi_test"),
) -> LikelihoodRatio:
    """Fit with the POI free, held at some values, and held at 0 where needed.

    A bound of the POI that is only a range of fits is ignored.

    Args:
        problem: The data and start values.
        poi: The parameter of interest.
        values: The values at which to hold it; the likelihood ratio is that of the
            first.
        floor: How to treat a negative best fit of the POI. None: like any other.
            ``"zero"``: the ratio is to the minimum with the POI at 0. ``"held"``: the
            same, where the first value is 0.
        free: The best fit, if it is known.
        arguments: The names of the POI and its values in messages; the last one stands
            for all further values.
    """
    place = poi_place(problem, poi, where=arguments[0])
    names = (*arguments[1:], *arguments[-1:] * len(values))[: len(values)]
    values = tuple(map(_number, values, names))
    here = np.array([place])
    for value, name in zip(values, names, strict=True):
        problem.check_inside(poi, value, here, where=name)
    problem = widened(problem, place, values)
    if is_traced(problem.task, problem.numbers, values):
        return _in_one_scan(problem, place, values, floor)
    return _one_by_one(problem, poi, place, values, floor, free)


def widened(problem: Problem, place: int, values: tuple[Any, ...] = ()) -> Problem:
    """Return the problem without the range of the POI, wide enough for some values."""
    here = np.array([place])
    problem = problem.without_range(here)
    for value in values:
        problem = problem.reaching(here, value[None])
    return problem


def _number(value: Any, where: str) -> Any:
    """Return the value of a parameter of one element."""
    value = as_array(value)
    if not isinstance(value, np.ndarray | np.generic | jax.Array):
        raise ArgumentTypeError(
            f"{where}: expected a number, got {type(value).__name__}."
        )
    return value


def _mu(problem: Problem, place: int, result: FitResult) -> Any:
    """Return the value of the POI in a fit."""
    element = np.asarray(problem.numbers.index)[place]
    numeric = problem.task.layout.numeric
    values = zip(result.params.values(), numeric, strict=True)
    return np.concatenate([np.ravel(v) for v, n in values if n])[element]


def is_sound(problem: Problem, result: FitResult, place: int) -> bool:
    """Return whether the value of a fit is a minimum, and its POI known if free.

    Args:
        problem: The fit.
        result: The result of the fit.
        place: The position of the POI.
    """
    if bool(result.success) or result.hessian is None:
        return bool(result.success)
    if not _finite(result):
        return False
    poi = np.arange(len(problem.numbers.index)) == place
    end = foothold(problem, result)
    arguments = (problem.task, problem.numbers, end, poi)
    return bool(programs.call(value_is_minimal, *arguments))


def _one_by_one(problem, poi, place, values, floor, free) -> LikelihoodRatio:
    """Run the fits one by one, and only those that are needed."""
    if free is None:
        free = best_fit(problem, place, physical=floor is not None)
    known = is_sound(problem, free, place)
    mu_hat = _mu(problem, place, free)
    near = _after(problem, free)
    held, sound = [], []
    for value in values:
        fit, good = _held_fit(problem, near, poi, value, mu_hat)
        held.append(fit)
        sound.append(good)
    zero, reference = None, free
    if floor == "zero" and mu_hat < 0:
        zero, known = _held_fit(problem, near, poi, 0.0, mu_hat)
        reference = zero
    at_value = problem.hold({poi: values[0]})
    starts = [
        _other_start(problem, at_value, held[0]) if sound[0] else None,
        _other_start(problem, problem, free) if known else None,
        held[0] if sound[0] else None,
    ]
    for start in starts:
        lower = is_lower(held[0].nll, reference.nll)
        if start is None or (start is held[0] and known and not lower):
            continue
        # The free fit may have ended in a local minimum.
        again = _after(problem, start).fit(throw=False)
        mu_again = _mu(problem, place, again)
        counts = floor is None or mu_again >= 0
        better = not known or again.nll < reference.nll - tolerance(reference.nll)
        if counts and better and is_sound(problem, again, place):
            free, mu_hat, zero, reference, known = again, mu_again, None, again, True
    ratio = twice_log_ratio(held[0].nll, reference.nll, known and sound[0])
    return LikelihoodRatio(free, tuple(held), zero, ratio, mu_hat)


def best_fit(problem: Problem, place: int, *, physical: bool) -> FitResult:
    """Return the free fit, or one with a lower bound of 0 on the POI if it failed.

    Args:
        problem: The fit.
        place: The position of the POI.
        physical: Whether negative values of the POI are unphysical; only then there is
            a second fit.
    """
    free = problem.fit(throw=False)
    if not physical:
        return free
    # At the edge of what has a likelihood, only the value is known.
    known = bool(free.success) or bool(free.status == RESULTS.flat_direction)
    if known and is_sound(problem, free, place):
        return free
    bounded = not_negative(problem, place)
    if bounded is None or bounded is problem:
        return free
    above = bounded.fit(throw=False)
    return above if is_sound(bounded, above, place) else free


def not_negative(problem: Problem, place: int) -> Problem | None:
    """Return the problem with a lower bound of at least 0 on the POI.

    Returns:
        None if there can be no bound, because the POI has a smooth map or the solver
        does not support bounds.
    """
    numbers = problem.numbers
    smooth = any(np.any(at == place) for at in numbers.transformed)
    if smooth or not knows_curvature(problem.task.solver):
        return None
    if problem.range(np.array([place]))[0][0] >= 0:
        return problem
    count = len(numbers.index)
    ends = numbers.lower, numbers.upper
    lower, upper = (
        np.full(count, fill) if end is None else np.array(end)
        for end, fill in zip(ends, (-np.inf, np.inf), strict=True)
    )
    lower[place] = max(lower[place], 0.0)
    numbers = dataclasses.replace(numbers, lower=lower, upper=upper)
    return dataclasses.replace(problem, numbers=numbers)


def _held_fit(problem, near, poi, value, mu_hat) -> tuple[FitResult, bool]:
    """Fit with the POI held: from the last fit, the start values, and a step back."""
    place = poi_place(problem, poi)
    first = None
    for origin in (near, problem):
        held = origin.hold({poi: value})
        result = held.fit(throw=False)
        first = result if first is None else first
        if is_sound(held, result, place):
            return result, True
    back = near.hold({poi: 0.5 * (value + mu_hat)}) if np.isfinite(mu_hat) else None
    if back is not None:
        half = back.fit(throw=False)
        held = _after(problem, half).hold({poi: value})
        result = held.fit(throw=False)
        if is_sound(held, result, place):
            return result, True
    assert first is not None
    return first, False


def _other_start(problem: Problem, posed: Problem, result: FitResult) -> State | None:
    """Return another start of the free fit, or None if none is needed.

    A parameter without effect at the end of a fit may have had a poor start value.

    Args:
        problem: The free fit.
        posed: A fit that ended at a minimum.
        result: The result of that fit.
    """
    if bool(result.success):
        return None
    end = foothold(posed, result)
    without = np.asarray(idle(end.gradient, end.hessian, posed.numbers.mask))
    if not without.any():
        return None
    numbers = problem.numbers
    x = programs.call(start_elsewhere, problem.task, numbers, end.x, without)
    vector = np.array(numbers.vector)
    vector[np.asarray(numbers.index)] = x
    return problem.task.layout.state(vector, numbers.others)


def _after(problem: Problem, end: Any) -> Problem:
    """Return the problem with a start at the end of a fit, if that is finite."""
    finite = not isinstance(end, FitResult) or _finite(end)
    return problem.at(end) if finite else problem


def _finite(result: FitResult) -> bool:
    return bool(np.isfinite(result.nll)) and all(
        np.all(np.isfinite(v)) for v in result.params.values() if _is_float(v)
    )


def _is_float(value: Any) -> bool:
    return value is not None and np.asarray(value).dtype.kind == "f"


def _in_one_scan(
    problem: Problem, place: int, values: Any, floor: str | None
) -> LikelihoodRatio:
    """Run the scan inside of a trace, and return its outcomes as results of fits."""
    numbers = problem.numbers
    lower, _ = problem.range(np.array([place]))
    if floor == "zero" and not is_traced(lower) and lower[0] >= 0:
        floor = None
    arrays, rest, _, ratio, mu_hat = programs.call(
        scan_fits, problem.task, numbers, np.asarray(place), values, floor
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
    zero = fit(len(values) + 1) if floor == "zero" else None
    return LikelihoodRatio(fit(0), fits, zero, ratio, mu_hat)


def scan_fits(
    task: Task,
    numbers: Numbers,
    place: Any,
    values: tuple[Any, ...],
    floor: str | None,
    minimiser: Callable[[Task, Numbers], Any] = minimise,
) -> tuple[Any, ...]:
    """Run the fits as the steps of one scan; for `programs.call` and batches.

    Args:
        task: The structure of the fit.
        numbers: The arguments; the start values are those of the free fit.
        place: Position of the POI, an integer array.
        values: As in `likelihood_ratio`.
        floor: As in `likelihood_ratio`.
        minimiser: The function that runs one fit.

    Returns:
        The results of the minimiser, stacked along a first axis of fits and split into
        arrays and the rest: free, held at each value, held at zero if there is such a
        fit. Then whether each ended at a minimum, the likelihood ratio, and the POI of
        the best fit.
    """
    mask, vector = jnp.asarray(numbers.mask), jnp.asarray(numbers.vector)
    index = jnp.asarray(numbers.index)
    held = [*values, 0.0] if floor == "zero" else [*values]
    last = len(held) + 1
    poi = jnp.arange(mask.shape[0]) == place
    others = mask & ~poi
    masks = jnp.stack([mask, *[others] * len(held), mask])
    plan = _ScanPlan(
        index[place],
        jnp.stack([jnp.asarray(value, vector.dtype) for value in held]),
        last,
        {"zero": last - 1, "held": 1}.get(floor or ""),
        floor == "zero",
    )
    rest: Any = None

    # With `jax.jit` the fit is traced once, for its shapes and for its use.
    @jax.jit
    def fit_at(start, moving):
        nonlocal rest
        here = dataclasses.replace(numbers, vector=start, mask=moving)
        arrays, rest = eqx.partition(minimiser(task, here), eqx.is_array)
        outcome = eqx.combine(arrays, rest)[0]
        return arrays, value_is_minimal(*constant((task, here, outcome, poi)))

    shapes = jax.eval_shape(fit_at, vector, mask)

    def step(state, i):
        start, moving = state.starts[i], masks[i]
        arrays, sound = jax.lax.cond(
            any_lane(state.active[i]),
            lambda: fit_at(start, moving),
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
        )
        outcome = jax.lax.stop_gradient(eqx.combine(arrays, rest)[0])
        x = vector.at[index].set(outcome.x)
        x = jnp.where(jnp.all(jnp.isfinite(x)), x, jax.lax.stop_gradient(vector))
        slope = outcome.gradient[place]
        state = _follow(plan, state, i, x, (outcome.value, slope, sound))
        return state, arrays

    # The last fits run only if they are needed.
    needed = jnp.arange(last + 1) < (last - 1 if floor == "zero" else last)
    first = _ScanState.before(vector, needed, vector[plan.element])
    state, arrays = jax.lax.scan(step, first, jnp.arange(last + 1))
    return _conclude(arrays, rest, state, place, plan)


class _ScanPlan(eqx.Module):
    """The sequence of fits: free, held at values, held at zero, and free again.

    Attributes:
        element: The position of the POI in the vector of all parameters.
        held: The values at which it is held, shape ``(fits,)``.
        last: The number of the last fit.
        zero: The number of the fit with the POI at 0 that replaces a free fit with a
            negative POI; None if no fit does.
        extra: Whether that fit is only made if it is needed for this.
    """

    element: Any
    held: Any
    last: int = eqx.field(static=True)
    zero: int | None = eqx.field(static=True)
    extra: bool = eqx.field(static=True)

    def reference(self, state: "_ScanState") -> tuple[Any, Any, Any]:
        """Return the reference minimum.

        Returns:
            Its -ln L; whether it is a minimum; and whether it is the fit with the POI
            at 0, because the best fit is negative, or failed while -ln L rises at 0.
        """
        nll, sound = state.nll, state.sound
        if self.zero is None:
            return nll[0], sound[0], jnp.asarray(False)
        rises = sound[self.zero] & (state.slope[self.zero] >= 0)
        below = (state.mu_hat < 0) & sound[0]
        at_zero = below | (~sound[0] & rises)
        return (
            jnp.where(at_zero, nll[self.zero], nll[0]),
            jnp.where(at_zero, sound[self.zero], sound[0]),
            at_zero,
        )


class _ScanState(eqx.Module):
    """The state of the scan after some of the fits.

    Attributes:
        starts: The start values of each fit, shape ``(fits, params)``.
        active: Which fits are needed, shape ``(fits,)``.
        nll: -ln L at the end of each fit so far.
        slope: The derivative of -ln L in the POI there.
        sound: Whether each ended at a minimum.
        mu_hat: The POI of the best fit.
    """

    starts: Any
    active: Any
    nll: Any
    slope: Any
    sound: Any
    mu_hat: Any

    @classmethod
    def before(cls, start: Any, needed: Any, mu: Any) -> "_ScanState":
        """Return the state before the first fit."""
        nothing = jnp.full(needed.shape, jnp.nan, start.dtype)
        starts = jnp.stack([start] * len(needed))
        return cls(starts, needed, nothing, nothing, jnp.zeros_like(needed), mu)


def _follow(
    plan: _ScanPlan, state: _ScanState, i: Any, x: Any, outcome: tuple[Any, Any, Any]
) -> _ScanState:
    """Return the state after fit `i`, which ended at `x`."""
    last, active, starts = plan.last, state.active, state.starts
    value, slope, sound = outcome
    nll = state.nll.at[i].set(jnp.where(active[i], value, jnp.nan))
    mu_hat = jnp.where(i == 0, x[plan.element], state.mu_hat)
    after = jnp.broadcast_to(x, (*plan.held.shape, *x.shape))
    after = after.at[:, plan.element].set(plan.held)
    starts = jnp.where(i == 0, starts.at[1:last].set(after), starts)
    starts = jnp.where(i == 1, starts.at[last].set(x), starts)
    state = _ScanState(
        starts,
        active,
        nll,
        state.slope.at[i].set(slope),
        state.sound.at[i].set(active[i] & sound),
        mu_hat,
    )
    if plan.extra:
        needs_zero = (mu_hat < 0) | ~sound
        active = jnp.where(i == 0, active.at[last - 1].set(needs_zero), active)
    reference, known, _ = plan.reference(state)
    # The free fit failed, or ended in a local minimum above a conditional one.
    lower = ~known | is_lower(nll[1], reference)
    active = jnp.where(i == last - 1, active.at[last].set(lower), active)
    return dataclasses.replace(state, active=active)


def _conclude(
    arrays, rest, state: _ScanState, place, plan: _ScanPlan
) -> tuple[Any, ...]:
    """Choose between the first and the second free fit, and form the ratio."""
    outcome = eqx.combine(arrays, rest)[0]
    last, nll, mu = plan.last, outcome.value, outcome.x[:, place]
    sound = state.sound
    reference, known, at_zero = plan.reference(state)
    if plan.zero is not None:
        # With its derivatives.
        reference = jnp.where(at_zero, nll[plan.zero], nll[0])
    else:
        reference = nll[0]
    again = sound[last] & (~known | (nll[last] < reference))
    if plan.zero is not None:
        again = again & (mu[last] >= 0)
    arrays = jax.tree.map(
        lambda a: a.at[0].set(jnp.where(again, a[last], a[0]))[:last], arrays
    )
    outcome = eqx.combine(arrays, rest)[0]
    reference = jnp.where(again, outcome.value[0], reference)
    ratio = twice_log_ratio(outcome.value[1], reference, sound[1] & (known | again))
    # If the free fit failed below 0, the best physical fit has the POI at 0.
    mu_hat = jnp.where(at_zero & ~sound[0] & ~again, 0, outcome.x[0, place])
    sound = sound.at[0].set(sound[0] | again)[:last]
    return arrays, rest, sound, ratio, mu_hat
