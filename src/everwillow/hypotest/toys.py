"""Distributions of test statistics from pseudo-experiments."""

import dataclasses
from collections.abc import Callable
from typing import Any, Unpack

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from everwillow._captures import up_to_date
from everwillow._errors import RESULTS
from everwillow._keywords import also_called
from everwillow._numerics import is_traced
from everwillow._progress import stage
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.flat_directions import idle, start_elsewhere
from everwillow.engine.layout import as_array
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.fitting.conditional import Problem, pose
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.hypotest._likelihood_ratio import (
    is_sound,
    not_negative,
    poi_place,
    scan_fits,
    tolerance,
    widened,
)
from everwillow.hypotest.asimov import check_nuisances
from everwillow.hypotest.results import ToyResult
from everwillow.hypotest.test_statistics import (
    CowanTestStatistic,
    TestStatistic,
    check_test_statistic,
    fits_of,
)
from everwillow.statelib import State
from everwillow.toys.lanes import (
    SUCCESS,
    at_once,
    batch_size_for,
    code_of,
    map_batches,
    minimise_in_lanes,
    select_toys,
    settled,
)
from everwillow.toys.sampling import (
    Sampler,
    as_key,
    check_count,
    checked_key,
    choose_sampler,
    draw,
)


class _ToyBatch(eqx.Module):
    """The tests of one batch of toys.

    Attributes:
        q: The test statistic of each toy.
        status: The status of the first failed fit of each toy, or success.
        vector: All parameters of the best fits.
        nll: -ln L of the best fits.
        held: All parameters of the fits with the POI held.
        held_sound: Whether -ln L is at its minimum there.
        idle: Which parameters have no effect at the end of a fit.
        end: The parameters at this end.
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
class _ToyTest:
    """The test of one value of the POI with toys.

    Attributes:
        statistic: The test statistic.
        nll_fn: -ln L or a Model.
        problem: The fit of the data.
        poi: The parameter of interest.
        place: Its position.
        tested: Its tested value.
        sampler: The function that draws one toy.
        key: PRNG key or seed of all toys.
        options: Options of the fits.
    """

    statistic: TestStatistic
    nll_fn: Any
    problem: Problem
    poi: Key
    place: int
    tested: Any
    sampler: Sampler
    key: Any
    options: FitOptions

    def is_traced(self, *more: Any) -> bool:
        """Return whether the test runs inside of a JAX transformation."""
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
            self.nll_fn, state, toy, self.poi, self.tested, **self.options, **options
        )
        status = _first_failure(fits_of(result.extras))
        if status is not None:
            # The value of a fit is known even if parameters have no effect at its end.
            good: Any = RESULTS.successful
            known = jnp.isfinite(result.value)
            status = RESULTS.where(known, good, status)
        return result.value, status

    def _takes_throw(self) -> bool:
        return isinstance(self.statistic, CowanTestStatistic)

    def fit(self, problem: Problem, starts: Any, tested: Any, toys: Any) -> _ToyBatch:
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
            tested,
            toys,
            hasty=False,
        )
        return jax.tree.map(np.asarray, out)

    def starts_elsewhere(self, problem: Problem, batch: _ToyBatch, toys: Any) -> Any:
        """Return other start values for fits that ended where parameters are idle."""
        numbers, _ = self._numbers(problem)
        out = programs.call(_start_lanes, problem.task, numbers, batch, toys)
        return np.asarray(out)

    def _numbers(self, problem: Problem) -> tuple[Numbers, str | None]:
        """Return the numbers that all toys of a hypothesis have in common.

        If negative values of the POI are unphysical, 0 becomes its lower bound, so that
        one fit instead of two finds the minimum over allowed values.

        Returns:
            The numbers, and the `floor` of `likelihood_ratio` that is left.
        """
        floor = getattr(self.statistic, "floor", None)
        bounded = None if floor is None else not_negative(problem, self.place)
        if bounded is not None:
            problem, floor = bounded, None
        numbers = dataclasses.replace(problem.numbers, vector=None, observation=None)
        return numbers, floor

    def attempt(self, size: int) -> Callable[[Problem, Any], State | None]:
        """Return a conditional fit to the data in the program of the toys.

        That program is compiled in any case, the one of a single fit perhaps not.
        """

        def fit(problem: Problem, value: Any) -> State | None:
            numbers = problem.numbers
            starts = np.tile(np.asarray(numbers.vector), (size, 1))
            toys = jax.tree.map(
                lambda leaf: np.broadcast_to(leaf, (size, *np.shape(leaf))),
                numbers.observation,
            )
            out = self.fit(problem, starts, np.full(size, as_array(value)), toys)
            if not out.held_sound[0]:
                return None
            return problem.task.layout.state(out.held[0], numbers.others)

        return fit


@dataclasses.dataclass(frozen=True)
class ToyGenerator:
    """Draws toys and computes their test statistic.

    Attributes:
        test_statistic: The test statistic, for example `QTilde`.
        ntoys: The number of toys of each hypothesis.
        map_fn: Transformation of a function of one toy into a function of many:
            `jax.vmap`, or for instance ``lambda f: lambda xs: jax.lax.map(f, xs,
            batch_size=100)``. With `jax.vmap` the toys run in batches of `batch_size`,
            on all cores; other functions get all toys at once.
        batch_size: The number of toys in a batch, which bounds the memory. By default a
            batch fits into the cache of a CPU, or into a part of the memory of another
            device.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.hypotest import EmpiricalDistribution, QMu, ToyGenerator
        >>> import jax.numpy as jnp
        >>> def nll(params, count):
        ...     rate = 50 + 10 * params["mu"]
        ...     return rate - count * jnp.log(rate)
        >>> start = ew.State.from_pytree({"mu": 0.0})
        >>> toys = ToyGenerator(QMu(), ntoys=500).generate(
        ...     nll, start, 50.0, "mu", 1.0, key=3,
        ...     predict_fn=lambda state: 50 + 10 * state["mu"],
        ... )
        >>> print(toys)
        ToyResult(null: 500 of 500 toys ended at a minimum.)
    """

    test_statistic: TestStatistic
    ntoys: int = 1000
    map_fn: Callable[..., Any] = jax.vmap
    batch_size: int | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_test_statistic(self.test_statistic)
        check_count(self.ntoys, "ntoys")
        if self.batch_size is not None:
            check_count(self.batch_size, "batch_size")

    @also_called(poi="poi_key")
    @takes_options(FitOptions)
    def generate(
        self,
        nll_fn: Any,
        params: State | None,
        observation: Any,
        poi_key: Key,
        poi_null: Any,
        *,
        poi_alt: Any = None,
        key: Any,
        sample_fn: Sampler | None = None,
        predict_fn: Callable[[State], Any] | None = None,
        nuisances: str = "a posteriori",
        **options: Unpack[FitOptions],
    ) -> ToyResult:
        """Draw toys of one or two hypotheses and test `poi_null` with each.

        Args:
            nll_fn: -ln L or a Model, as in `fit`.
            params: Start values; those of a Model if None.
            observation: The data, to which nuisance parameters are fitted; those of a
                Model if None.
            poi_key: The parameter of interest.
            poi_null: Its tested value.
            poi_alt: Its value in the alternative hypothesis; no such toys if None.
            key: PRNG key or integer seed. It is split into one key for each
                hypothesis, and toy i has the fold of that with i.
            sample_fn: ``sample_fn(state, key)`` draws an observation. A Model draws
                main and auxiliary data by default.
            predict_fn: From a State to expected counts, for Poisson toys.
            nuisances: ``"a posteriori"``: toys are drawn with the nuisance parameters
                fitted to the data for each hypothesis. ``"a priori"``: with the start
                values.
            **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver` and
                `max_steps`.

        Returns:
            The test statistics. Toys whose fits failed are NaN, with their status.

        Raises:
            ArgumentValueError: If nothing tells how to draw toys.
            FitError: If a fit to the data fails.
        """
        sampler = choose_sampler(nll_fn, sample_fn, predict_fn)
        problem = pose(nll_fn, params, observation, **options)
        place = poi_place(problem, poi_key)
        tested = as_array(poi_null)
        if isinstance(self.test_statistic, CowanTestStatistic):
            tested = as_array(self.test_statistic._tested(poi_null))
        hypotheses = [poi_null] if poi_alt is None else [poi_null, poi_alt]
        values = (tested, *(as_array(value) for value in hypotheses))
        problem = widened(problem, place, values)
        test = _ToyTest(
            self.test_statistic,
            nll_fn,
            problem,
            poi_key,
            place,
            tested,
            sampler,
            checked_key(key),
            options,
        )
        if self._is_fast(test, hypotheses):
            states = self._warm_up(test, hypotheses, nuisances)
            results = [self._fast(test, s, i) for i, s in enumerate(states)]
        else:
            states = [
                _parameters_of(problem, poi_key, h, nuisances) for h in hypotheses
            ]
            with stage("toys of all hypotheses"):
                results = [self._general(test, s, i) for i, s in enumerate(states)]
        q, status = zip(*results, strict=True)
        if poi_alt is None:
            return ToyResult(q[0], None, status[0], None)
        return ToyResult(q[0], q[1], status[0], status[1])

    def _is_fast(self, test: _ToyTest, hypotheses: list[Any]) -> bool:
        """Return whether toys run in batches of lanes."""
        # A subclass may compute something else.
        own = getattr(type(self.test_statistic), "_compute", None)
        return (
            own is CowanTestStatistic._compute
            and self.map_fn is jax.vmap
            and not test.is_traced(hypotheses)
        )

    def _general(self, test: _ToyTest, state: State, number: int) -> tuple[Any, Any]:
        """Run all toys by the `map_fn` of the user."""
        key = jr.split(as_key(test.key))[number]

        def one(index: Any) -> Any:
            toy = test.sampler(state, jr.fold_in(key, index))
            return test.test(toy, state)

        indices = jnp.arange(self.ntoys)
        if test.is_traced(state):
            return self.map_fn(one)(indices)
        with up_to_date(test.sampler, test.nll_fn, test.statistic, self.map_fn):
            q, status = jax.jit(self.map_fn(one))(indices)
        return np.asarray(q), jax.tree.map(np.asarray, status)

    def _size(self, test: _ToyTest) -> int:
        chosen = self.batch_size or batch_size_for(len(test.problem.numbers.index))
        return min(chosen, self.ntoys)

    def _warm_up(
        self, test: _ToyTest, hypotheses: list[Any], nuisances: str
    ) -> list[State]:
        """Return the parameters of the toys; compile the programs meanwhile."""
        problem, size = test.problem, self._size(test)
        indices = np.zeros(size, int)

        def sample() -> Any:
            return test.draw(problem.start, 0, indices)

        def profile() -> list[State]:
            return [
                _parameters_of(
                    problem, test.poi, h, nuisances, attempt=test.attempt(size)
                )
                for h in hypotheses
            ]

        return at_once(profile, sample)[0]

    def _fast(self, test: _ToyTest, state: State, number: int) -> tuple[Any, Any]:
        """Run toys in batches, and those that fail there again, one by one."""
        size = self._size(test)
        problem = test.problem.at(state)
        start = np.asarray(problem.numbers.vector)

        def work(indices: np.ndarray) -> Any:
            toys = test.draw(state, number, indices)
            tested = np.full(len(indices), test.tested)
            out = test.fit(problem, np.tile(start, (len(indices), 1)), tested, toys)
            if np.any(out.idle):
                starts = test.starts_elsewhere(problem, out, toys)
                out = _better(out, test.fit(problem, starts, tested, toys))
            good = _done(out.q, out.status)
            if np.all(good):
                return out.q, out.status
            # From halfway, which leads the solver along another path.
            ends = np.where(np.isfinite(out.vector), out.vector, start)
            other = test.fit(problem, 0.5 * (start + ends), tested, toys)
            return select_toys(~good, (out.q, out.status), (other.q, other.status))

        q, status = map_batches(
            work, self.ntoys, size, f"toys of hypothesis {number + 1}"
        )
        codes = np.array(code_of(status))
        q = np.array(q)
        for i in np.nonzero(~_done(q, status))[0]:
            toy = jax.tree.map(
                lambda a: a[0], test.draw(state, number, np.full(size, i))
            )
            q[i], code = test.test(toy, state)
            codes[i] = code_of(code)
        return q, jax.tree.map(lambda _: codes, status)


def _better(one: _ToyBatch, other: _ToyBatch) -> _ToyBatch:
    """Return for each toy the attempt with the lower minimum."""
    lower = other.nll < one.nll - tolerance(one.nll)
    better = _done(other.q, other.status) & (lower | ~_done(one.q, one.status))
    return select_toys(better, one, other)


def _done(q: Any, status: Any) -> np.ndarray:
    """Return which toys need no other attempt."""
    # All fits may succeed and yet not agree on which minimum is the lowest.
    agree = np.isfinite(q) | (code_of(status) != code_of(SUCCESS))
    return settled(status) & agree


def _first_failure(fits: dict[str, FitResult]) -> Any:
    """Return the status of the first fit that failed, or success; None of no fits."""
    if not fits:
        return None
    status: Any = RESULTS.successful
    for fit in reversed(list(fits.values())):
        # Where a fit was not needed its status is blank, which is success.
        status = RESULTS.where(jnp.asarray(fit.success), status, fit.status)
    return status


def _parameters_of(
    problem: Problem, poi: Key, value: Any, nuisances: str, *, attempt: Any = None
) -> State:
    """Return the parameters that toys of a hypothesis are drawn with."""
    held = problem.hold({poi: value}, where="poi")
    if check_nuisances(nuisances):
        state = attempt(problem, value) if attempt is not None else None
        if state is not None:
            return state
        result = held.fit(throw=False)
        place = int(problem.positions(poi)[0])
        return (result if is_sound(held, result, place) else result.check()).params
    return held.start


def _fit_lanes(
    statistic: Any,
    task: Task,
    numbers: Numbers,
    place: Any,
    floor: str | None,
    starts: Any,
    tested: Any,
    toys: Any,
) -> _ToyBatch:
    """Compute the test statistic of one batch; for `programs.call`."""
    index = jnp.asarray(numbers.index)

    def one(vector: Any, value: Any, toy: Any) -> _ToyBatch:
        here = dataclasses.replace(numbers, vector=vector, observation=toy)
        arrays, rest, sound, ratio, mu_hat = scan_fits(
            task, here, place, (value,), floor, minimise_in_lanes
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
        return _ToyBatch(
            statistic._of_ratio(ratio, mu_hat, value),
            status,
            jnp.asarray(vector).at[index].set(free.x),
            free.value,
            jnp.asarray(vector).at[index].set(held.x),
            sound[1],
            with_poi | without,
            jnp.where(jnp.any(without), held.x, free.x),
        )

    return jax.vmap(one)(starts, tested, toys)


def _start_lanes(task: Task, numbers: Numbers, batch: _ToyBatch, toys: Any) -> Any:
    """Return other start values of the free fits of a batch; for `programs.call`."""
    index = jnp.asarray(numbers.index)

    def one(vector: Any, x: Any, without: Any, toy: Any) -> Any:
        here = dataclasses.replace(numbers, vector=vector, observation=toy)
        x = start_elsewhere(task, here, x, without)
        return jnp.asarray(vector).at[index].set(x)

    return jax.vmap(one)(batch.vector, batch.end, batch.idle, toys)
