"""What is common to all toys of a test: how one is drawn, fitted and tested."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from everwillow._errors import RESULTS
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.core import Task, knows_curvature
from everwillow.engine.flat_directions import idle, start_elsewhere
from everwillow.engine.layout import as_array, is_traced
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import Problem
from everwillow.fitting.options import FitOptions
from everwillow.hypotest._likelihood_ratio import from_zero, is_sound
from everwillow.hypotest._scan_of_fits import scan_fits
from everwillow.hypotest.test_statistics import (
    CowanTestStatistic,
    TestStatistic,
    check_nuisances,
    fits_of,
)
from everwillow.statelib import State
from everwillow.toys.lanes import minimise_in_lanes
from everwillow.toys.sampling import Sampler, draw


class Batch(eqx.Module):
    """What the program of a batch returns.

    Attributes:
        q: The test statistic of each toy.
        status: How its fits ended; the first failure if there was one.
        vector: All parameters of the best fits.
        nll: -ln L of those.
        held: All parameters of the fits with the POI held.
        held_sound: Whether -ln L is at its minimum there.
        idle: Which parameters do not matter where one of its fits ended.
        end: That end.
    """

    q: Any
    status: Any
    vector: Any
    nll: Any
    held: Any
    held_sound: Any
    idle: Any
    end: Any


@dataclasses.dataclass(frozen=True)
class Job:
    """What is common to all toys.

    Attributes:
        statistic: The test statistic.
        nll_fn: What is fitted.
        problem: The fit to the data.
        poi_key: The parameter of interest.
        place: Its position.
        tested: Its tested value.
        sampler: Draws one toy.
        key: From which the keys of all toys come.
        options: Of the fits.
    """

    statistic: TestStatistic
    nll_fn: Any
    problem: Problem
    poi_key: Key
    place: int
    tested: Any
    sampler: Sampler
    key: Any
    options: FitOptions

    def is_traced(self, *more: Any) -> bool:
        """Return whether this is the work of a trace."""
        return is_traced(self.problem.task, self.problem.numbers, self.key, more)

    def draw(self, state: State, number: int, indices: np.ndarray) -> Any:
        """Draw toys of a hypothesis; their data have the dtypes of the observation."""
        like = self.problem.numbers.observation
        number_of = np.asarray(number)
        return programs.call(
            draw, self.sampler, state, self.key, indices, like, number_of
        )

    def test(self, toy: Any, state: State) -> tuple[Any, Any]:
        """Return test statistic and status of one toy."""
        options: dict[str, Any] = {"throw": False} if self._takes_throw() else {}
        result = self.statistic.compute(
            self.nll_fn,
            state,
            toy,
            self.poi_key,
            self.tested,
            **self.options,
            **options,
        )
        status = first_failure(fits_of(result.extras))
        if status is not None:
            # A fit that is flat in what does not matter has a value all the same.
            good: Any = RESULTS.successful
            known = jnp.isfinite(result.value)
            status = RESULTS.where(known, good, status)
        return result.value, status

    def _takes_throw(self) -> bool:
        return isinstance(self.statistic, CowanTestStatistic)

    def fit(self, problem: Problem, starts: Any, poi: Any, toys: Any) -> Batch:
        """Run one batch of toys in lanes."""
        numbers, floor = self._numbers(problem)
        out = programs.call(
            _fit_lanes,
            self.statistic,
            problem.task,
            numbers,
            np.asarray(self.place),
            floor,
            starts,
            poi,
            toys,
        )
        return jax.tree.map(np.asarray, out)

    def starts_elsewhere(self, problem: Problem, batch: Batch, toys: Any) -> Any:
        """Return other start values, where parameters do not matter at an end."""
        numbers, _ = self._numbers(problem)
        out = programs.call(_start_lanes, problem.task, numbers, batch, toys)
        return np.asarray(out)

    def _numbers(self, problem: Problem) -> tuple[Numbers, str | None]:
        """Return what all toys of a hypothesis have in common."""
        numbers = dataclasses.replace(problem.numbers, vector=None, observation=None)
        return self.without_negative(numbers)

    def without_negative(self, numbers: Numbers) -> tuple[Numbers, str | None]:
        """Keep the POI from negative values, if those count for nothing.

        The minimum over allowed values is then found by one fit rather than two.

        Returns:
            The numbers, and the `floor` of `run_fits` that is left.
        """
        floor = getattr(self.statistic, "floor", None)
        lower, _ = self.problem.range(np.array([self.place]))
        smooth = any(np.any(at == self.place) for at in numbers.transformed)
        if floor is None or smooth or not knows_curvature(self.problem.task.solver):
            return numbers, floor
        return numbers if lower[0] >= 0 else from_zero(numbers, self.place), None

    def attempt(self, size: int) -> Callable[[Problem, Any], State | None]:
        """Return a conditional fit to the data in the program of the toys.

        That one has to be compiled anyhow, the program of a single fit perhaps not.
        """

        def fit(problem: Problem, poi: Any) -> State | None:
            numbers = problem.numbers
            starts = np.tile(np.asarray(numbers.vector), (size, 1))
            toys = jax.tree.map(
                lambda leaf: np.broadcast_to(leaf, (size, *np.shape(leaf))),
                numbers.observation,
            )
            out = self.fit(problem, starts, np.full(size, as_array(poi)), toys)
            if not out.held_sound[0]:
                return None
            return problem.task.layout.state(out.held[0], numbers.others)

        return fit


def first_failure(fits: dict[str, FitResult]) -> Any:
    """Return the status of the first fit that failed, or success; None of no fits."""
    if not fits:
        return None
    status: Any = RESULTS.successful
    for fit in reversed(list(fits.values())):
        # Where a fit was not needed its status is blank, which is success.
        status = RESULTS.where(jnp.asarray(fit.success), status, fit.status)
    return status


def truth(
    problem: Problem, poi_key: Key, poi: Any, nuisances: str, *, attempt: Any = None
) -> State:
    """Return the parameters that toys of a hypothesis are drawn with."""
    held = problem.hold({poi_key: poi}, where="poi")
    if check_nuisances(nuisances):
        found = attempt(problem, poi) if attempt is not None else None
        if found is not None:
            return found
        result = held.fit(throw=False)
        place = int(problem.positions(poi_key)[0])
        return (result if is_sound(held, result, place) else result.check()).params
    numbers = held.numbers
    return problem.task.layout.state(numbers.vector, numbers.others)


def _fit_lanes(
    statistic: Any,
    task: Task,
    numbers: Numbers,
    place: Any,
    floor: str | None,
    starts: Any,
    poi: Any,
    toys: Any,
) -> Batch:
    """Compute the test statistic of one batch; for `programs.call`."""
    index = jnp.asarray(numbers.index)

    def one(vector: Any, tested: Any, toy: Any) -> Batch:
        here = dataclasses.replace(numbers, vector=vector, observation=toy)
        arrays, rest, sound, ratio, mu_hat = scan_fits(
            task, here, place, (tested,), floor, minimise_in_lanes
        )
        outcome = eqx.combine(arrays, rest)[0]
        free, held = (jax.tree.map(lambda a, i=i: a[i], outcome) for i in (0, 1))
        good: Any = RESULTS.successful
        status = RESULTS.where(sound[1], good, held.status)
        status = RESULTS.where(sound[0], status, free.status)
        mask = jnp.asarray(numbers.mask)
        others = mask & (jnp.arange(mask.shape[0]) != place)
        with_poi = idle(free.gradient, free.hessian, mask)
        without = idle(held.gradient, held.hessian, others)
        return Batch(
            statistic._of_ratio(ratio, mu_hat, tested),
            status,
            jnp.asarray(vector).at[index].set(free.x),
            free.value,
            jnp.asarray(vector).at[index].set(held.x),
            sound[1],
            with_poi | without,
            jnp.where(jnp.any(without), held.x, free.x),
        )

    return jax.vmap(one)(starts, poi, toys)


def _start_lanes(task: Task, numbers: Numbers, batch: Batch, toys: Any) -> Any:
    """Return where else to start the free fits of a batch; for `programs.call`."""
    index = jnp.asarray(numbers.index)

    def one(vector: Any, x: Any, without: Any, toy: Any) -> Any:
        here = dataclasses.replace(numbers, vector=vector, observation=toy)
        x = start_elsewhere(task, here, x, without)
        return jnp.asarray(vector).at[index].set(x)

    return jax.vmap(one)(batch.vector, batch.end, batch.idle, toys)
