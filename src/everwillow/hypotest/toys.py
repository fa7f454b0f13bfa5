"""Distributions of test statistics from pseudo-experiments."""

import dataclasses
from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from everwillow._captures import up_to_date
from everwillow._typing import Key
from everwillow.engine.layout import as_array
from everwillow.fitting.conditional import pose
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.hypotest._job import Batch, Job, truth
from everwillow.hypotest._likelihood_ratio import poi_place, widened
from everwillow.hypotest._scan_of_fits import tolerance
from everwillow.hypotest.results import ToyResult
from everwillow.hypotest.test_statistics import (
    CowanTestStatistic,
    TestStatistic,
    check_test_statistic,
)
from everwillow.statelib import State
from everwillow.toys.lanes import (
    SUCCESS,
    at_once,
    batch_size_for,
    code_of,
    map_batches,
    settled,
)
from everwillow.toys.sampling import (
    Sampler,
    as_key,
    check_count,
    checked_key,
    choose_sampler,
)


@dataclasses.dataclass(frozen=True)
class ToyGenerator:
    """Draws toys and computes their test statistic.

    Attributes:
        test_statistic: For example `QTilde`.
        ntoys: How many toys of each hypothesis.
        map_fn: Turns a function of one toy into one of many: `jax.vmap`, or for
            instance ``lambda f: lambda xs: jax.lax.map(f, xs, batch_size=100)``. With
            `jax.vmap` the toys run in batches of `batch_size`, on all cores; what is
            given instead gets all toys at once.
        batch_size: How many toys at once, so that memory is bounded. By default as
            many as fit the cache of a CPU, or a part of the memory of another device.

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
        values = (tested, *(as_array(poi) for poi in hypotheses))
        problem = widened(problem, place, values)
        job = Job(
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
        if self._is_fast(job, hypotheses):
            states = self._warm_up(job, hypotheses, nuisances)
            results = [self._fast(job, s, i) for i, s in enumerate(states)]
        else:
            states = [truth(problem, poi_key, h, nuisances) for h in hypotheses]
            results = [self._general(job, s, i) for i, s in enumerate(states)]
        q, status = zip(*results, strict=True)
        if poi_alt is None:
            return ToyResult(q[0], None, status[0], None)
        return ToyResult(q[0], q[1], status[0], status[1])

    def _is_fast(self, job: Job, hypotheses: list[Any]) -> bool:
        """Return whether toys run in batches of our own making."""
        # A subclass that computes something else is run as it is.
        own = getattr(type(self.test_statistic), "_compute", None)
        return (
            own is CowanTestStatistic._compute
            and self.map_fn is jax.vmap
            and not job.is_traced(hypotheses)
        )

    def _general(self, job: Job, state: State, number: int) -> tuple[Any, Any]:
        """Map over toys as the user says."""
        key = jr.split(as_key(job.key))[number]

        def one(index: Any) -> Any:
            toy = job.sampler(state, jr.fold_in(key, index))
            return job.test(toy, state)

        indices = jnp.arange(self.ntoys)
        if job.is_traced(state):
            return self.map_fn(one)(indices)
        with up_to_date(job.sampler, job.nll_fn, job.statistic, self.map_fn):
            q, status = jax.jit(self.map_fn(one))(indices)
        return np.asarray(q), jax.tree.map(np.asarray, status)

    def _size(self, job: Job) -> int:
        chosen = self.batch_size or batch_size_for(len(job.problem.numbers.index))
        return min(chosen, self.ntoys)

    def _warm_up(self, job: Job, hypotheses: list[Any], nuisances: str) -> list[State]:
        """Find the parameters of the toys; compile both programs in the meantime."""
        problem, size = job.problem, self._size(job)
        numbers = problem.numbers
        start = problem.task.layout.state(numbers.vector, numbers.others)
        indices = np.zeros(size, int)

        def sample() -> Any:
            return job.draw(start, 0, indices)

        def profile() -> list[State]:
            return [
                truth(problem, job.poi_key, h, nuisances, attempt=job.attempt(size))
                for h in hypotheses
            ]

        return at_once(profile, sample)[0]

    def _fast(self, job: Job, state: State, number: int) -> tuple[Any, Any]:
        """Run toys in batches; those that fail there once more, one by one."""
        size = self._size(job)
        problem = job.problem.at(state)
        start = np.asarray(problem.numbers.vector)

        def work(indices: np.ndarray) -> Any:
            toys = job.draw(state, number, indices)
            poi = np.full(len(indices), job.tested)
            out = job.fit(problem, np.tile(start, (len(indices), 1)), poi, toys)
            if np.any(out.idle):
                starts = job.starts_elsewhere(problem, out, toys)
                out = _better(out, job.fit(problem, starts, poi, toys))
            good = _done(out.q, out.status)
            if np.all(good):
                return out.q, out.status
            # From halfway, where the solver has forgotten what it got stuck in.
            ends = np.where(np.isfinite(out.vector), out.vector, start)
            other = job.fit(problem, 0.5 * (start + ends), poi, toys)
            return jax.tree.map(
                lambda a, b: np.where(good, a, b),
                (out.q, out.status),
                (other.q, other.status),
            )

        q, status = map_batches(work, self.ntoys, size)
        codes = np.array(code_of(status))
        q = np.array(q)
        for i in np.nonzero(~_done(q, status))[0]:
            toy = jax.tree.map(
                lambda a: a[0], job.draw(state, number, np.full(size, i))
            )
            q[i], code = job.test(toy, state)
            codes[i] = code_of(code)
        return q, jax.tree.map(lambda _: codes, status)


def _better(one: Batch, other: Batch) -> Batch:
    """Return for each toy what has the lower minimum of two attempts."""
    lower = other.nll < one.nll - tolerance(one.nll)
    better = _done(other.q, other.status) & (lower | ~_done(one.q, one.status))
    return jax.tree.map(
        lambda a, b: np.where(better.reshape(-1, *[1] * (a.ndim - 1)), b, a), one, other
    )


def _done(q: Any, status: Any) -> np.ndarray:
    """Return which toys need no other attempt."""
    # All fits may succeed and yet not agree on which minimum is the lowest.
    agree = np.isfinite(q) | (code_of(status) != code_of(SUCCESS))
    return settled(status) & agree
