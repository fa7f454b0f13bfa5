"""The fits that a profile likelihood ratio is made of, one after the other.

Each starts where the one before ended. There are two ways to run them, which do the
same: in a call outside of any JAX transformation each is a call of the compiled fit;
in a trace they are the steps of one scan, so that the program of the fit is there only
once, however many fits there are.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.core import knows_curvature
from everwillow.engine.flat_directions import idle, start_elsewhere, value_is_minimal
from everwillow.engine.layout import as_array, is_traced
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import Problem
from everwillow.fitting.follow import foothold
from everwillow.fitting.run import assemble
from everwillow.hypotest._scan_of_fits import scan_fits, tolerance
from everwillow.model import AbstractModel
from everwillow.statelib import State


class Fits(eqx.Module):
    """The fits of one data set.

    Attributes:
        free: The best fit.
        held: With the POI at each of the values asked for.
        zero: With the POI at 0; None where it was not needed.
        twice_ratio: Twice -ln of the likelihood ratio of the first held fit; NaN if a
            fit failed or no reference minimum was found.
        mu_hat: The POI of the best fit.

    A fit that is flat in what does not matter is none by its own account, as not all of
    its parameters are known; the ratio takes its value.
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
        raise ArgumentValueError(
            f"{where}: which parameter is of interest? Neither was poi= given nor does "
            f"{type(nll_fn).__name__} name one."
        )
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
        raise ArgumentValueError(
            f"{where}: {poi_key!r} has {here.size} elements. Name one of them, such as "
            f"{problem.labels[int(here[0])]!r}."
        )
    return int(here[0])


def run_fits(
    problem: Problem,
    poi_key: Key,
    values: tuple[Any, ...],
    *,
    floor: str | None,
    free: FitResult | None = None,
    arguments: tuple[str, str] = ("poi_key", "poi_test"),
) -> Fits:
    """Fit with the POI free, held at some values, and held at 0 where needed.

    The range of the POI counts for none of them, if it is but a range of fits.

    Args:
        problem: The data and start values.
        poi_key: The parameter of interest.
        values: Where to hold it; the likelihood ratio is that of the first.
        floor: What negative values of the POI count. None: as any others. ``"zero"``:
            nothing, the ratio is to the minimum with the POI at 0 where the best one is
            negative. ``"held"``: nothing, and the first value is 0.
        free: The best fit, if it is known.
        arguments: What the caller calls the POI and its value, for messages.
    """
    place = poi_place(problem, poi_key, where=arguments[0])
    values = tuple(_number(value, arguments[1]) for value in values)
    here = np.array([place])
    for value in values:
        problem.check_inside(poi_key, value, here, where=arguments[1])
    problem = widened(problem, place, values)
    if is_traced(problem.task, problem.numbers, values):
        return _traced(problem, place, values, floor)
    return _eager(problem, poi_key, place, values, floor, free)


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
        result: Its end.
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


def _eager(problem, poi_key, place, values, floor, free) -> Fits:
    """Run the fits one by one, and only those that are needed."""
    if free is None:
        free = best_fit(problem, place, physical=floor is not None)
    known = is_sound(problem, free, place)
    mu_hat = _mu(problem, place, free)
    near = _after(problem, free)
    held, sound = [], []
    for value in values:
        fit, good = _held_fit(problem, near, poi_key, value, mu_hat)
        held.append(fit)
        sound.append(good)
    zero, reference = None, free
    if floor == "zero" and mu_hat < 0:
        zero, known = _held_fit(problem, near, poi_key, 0.0, mu_hat)
        reference = zero
    at_value = problem.hold({poi_key: values[0]})
    starts = [
        _other_start(problem, at_value, held[0]) if sound[0] else None,
        _other_start(problem, problem, free) if known else None,
        held[0] if sound[0] else None,
    ]
    for start in starts:
        lower = 2 * (held[0].nll - reference.nll) < -tolerance(reference.nll)
        if start is None or (start is held[0] and known and not lower):
            continue
        # The free fit ended in a local minimum, or may have.
        again = _after(problem, start).fit(throw=False)
        mu_again = _mu(problem, place, again)
        counts = floor is None or mu_again >= 0
        better = not known or again.nll < reference.nll - tolerance(reference.nll)
        if counts and better and is_sound(problem, again, place):
            free, mu_hat, zero, reference, known = again, mu_again, None, again, True
    ratio = 2 * (held[0].nll - reference.nll)
    good = known and sound[0] and ratio >= -tolerance(reference.nll)
    twice_ratio = np.asarray(ratio if good and ratio > 0 else 0.0 if good else np.nan)
    return Fits(free, tuple(held), zero, twice_ratio, mu_hat)


def best_fit(problem: Problem, place: int, *, physical: bool) -> FitResult:
    """Return the free fit; that over POIs from 0 on where it fails below.

    Args:
        problem: The fit.
        place: The position of the POI.
        physical: Whether a negative POI counts for nothing.
    """
    free = problem.fit(throw=False)
    if not physical or is_sound(problem, free, place):
        return free
    without = _not_negative(problem, place)
    if without is None:
        return free
    above = without.fit(throw=False)
    return above if is_sound(without, above, place) else free


def _not_negative(problem: Problem, place: int) -> Problem | None:
    """Return the problem with a POI from 0 on; None where it is so already."""
    numbers = problem.numbers
    lower, _ = problem.range(np.array([place]))
    smooth = any(np.any(at == place) for at in numbers.transformed)
    if lower[0] >= 0 or smooth or not knows_curvature(problem.task.solver):
        return None
    return dataclasses.replace(problem, numbers=from_zero(numbers, place))


def from_zero(numbers: Numbers, place: int) -> Numbers:
    """Return the numbers of a fit with a POI from 0 on.

    Args:
        numbers: Of a fit whose POI has no smooth map.
        place: The position of the POI.
    """
    count = len(numbers.index)
    ends = numbers.lower, numbers.upper
    lower, upper = (
        np.full(count, fill) if end is None else np.array(end)
        for end, fill in zip(ends, (-np.inf, np.inf), strict=True)
    )
    lower[place] = max(lower[place], 0.0)
    return dataclasses.replace(numbers, lower=lower, upper=upper)


def _held_fit(problem, near, poi_key, value, mu_hat) -> tuple[FitResult, bool]:
    """Fit with the POI held: from the last fit, the start values, and a step back."""
    place = poi_place(problem, poi_key)
    first = None
    for origin in (near, problem):
        held = origin.hold({poi_key: value})
        result = held.fit(throw=False)
        first = result if first is None else first
        if is_sound(held, result, place):
            return result, True
    back = near.hold({poi_key: 0.5 * (value + mu_hat)}) if np.isfinite(mu_hat) else None
    if back is not None:
        half = back.fit(throw=False)
        held = _after(problem, half).hold({poi_key: value})
        result = held.fit(throw=False)
        if is_sound(held, result, place):
            return result, True
    assert first is not None
    return first, False


def _other_start(problem: Problem, posed: Problem, result: FitResult) -> State | None:
    """Return where else to start the free fit, None where there is no need to.

    A parameter that does not matter at the end of a fit had no start value worth the
    name either.

    Args:
        problem: The free fit.
        posed: A fit whose value is a minimum.
        result: Its end.
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
    """Return the problem started where a fit ended, if that is anywhere."""
    finite = not isinstance(end, FitResult) or _finite(end)
    return problem.at(end) if finite else problem


def _finite(result: FitResult) -> bool:
    return bool(np.isfinite(result.nll)) and all(
        np.all(np.isfinite(v)) for v in result.params.values() if _is_float(v)
    )


def _is_float(value: Any) -> bool:
    return value is not None and np.asarray(value).dtype.kind == "f"


def _traced(problem: Problem, place: int, values: Any, floor: str | None) -> Fits:
    """Run the scan inside of a trace, and give its outcomes their names."""
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
    return Fits(fit(0), fits, zero, ratio, mu_hat)
