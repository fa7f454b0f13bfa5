"""Fits of toys in lanes alone, without the full solver in the same program.

Under `jax.vmap` a fit compiles two solvers: the solver in lanes, and the full solver
that repeats lanes which did not end at a minimum. Toys that are fitted outside of a
trace use the program of a single fit for the second, which mostly exists already.
"""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import optimistix as optx

from everwillow._errors import RESULTS
from everwillow._progress import counted
from everwillow.engine.core import Task, run_solver
from everwillow.engine.outcome import Outcome, conclude
from everwillow.engine.problem import Numbers
from everwillow.solvers.lanes import LANE_STEPS, lane_solver


# Most bytes of the intermediate values of one batch on a CPU. A batch that fits into
# the second-level cache runs several times faster than ten thousand toys at once.
CACHE_BYTES = 2**21
# The same on other devices, where only the memory limits batches.
DEVICE_BYTES = 2**30
LARGEST = {True: 512, False: 2**16}
SMALLEST = 8

SUCCESS: Any = RESULTS.successful
FLAT: Any = RESULTS.flat_direction
_NONFINITE_START: Any = RESULTS.nonfinite_start


def minimise_in_lanes(task: Task, numbers: Numbers) -> tuple[Outcome, optx.Solution]:
    """Minimise with the batched solver, without derivatives and without a second try.

    Solvers that have no batched variant run as they are.
    """
    lanes = lane_solver(task.solver)
    if lanes is not None:
        steps = min(task.max_steps, LANE_STEPS)
        # Toys need no covariance.
        lanes = dataclasses.replace(lanes, unseen=True)
        task = dataclasses.replace(task, solver=lanes, max_steps=steps)
    return conclude(task, numbers, run_solver(task, numbers))


def code_of(status: Any) -> np.ndarray:
    """Return the integer codes of statuses."""
    return np.asarray(jax.tree.leaves(status)[0])


def settled(status: Any) -> np.ndarray:
    """Return which toys need no other attempt, according to their status."""
    # Compared on the host: enumerations would dispatch several JAX operations.
    codes = code_of(status)
    return (codes == code_of(SUCCESS)) | (codes == code_of(_NONFINITE_START))


def select_toys(which: np.ndarray, one: Any, other: Any) -> Any:
    """Return the results of `one`, replaced by those of `other` for some toys.

    Args:
        which: Whether to take each toy from `other`, shape ``(toys,)``.
        one: Arrays with a first axis of toys.
        other: Arrays of the same shapes.
    """
    return jax.tree.map(
        lambda a, b: np.where(which.reshape(-1, *[1] * (a.ndim - 1)), b, a), one, other
    )


def batch_size_for(parameters: int) -> int:
    """Return the number of toys in a batch.

    Args:
        parameters: The number of parameters of the solver.
    """
    on_cpu = jax.default_backend() == "cpu"
    each = 8 * (8 * parameters**2 + 64 * parameters + 256)
    most = (CACHE_BYTES if on_cpu else DEVICE_BYTES) // each
    power = 2 ** round(np.log2(max(1, most)))
    return min(max(power, SMALLEST), LARGEST[on_cpu])


def _workers() -> int:
    if jax.default_backend() != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_SETTINGS = (
    "jax_enable_x64",
    "jax_default_device",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_debug_nans",
)


def _settings() -> tuple[Any, ...]:
    """Return settings of JAX that a context manager may change for one thread only."""
    return tuple(getattr(jax.config, name) for name in _SETTINGS)


def map_batches(
    work: Callable[[np.ndarray], Any], count: int, batch_size: int, what: str
) -> Any:
    """Run batches of toys on several cores at once, and concatenate their results.

    XLA does not divide programs as small as one batch over several cores.

    Args:
        work: From indices of shape ``(batch_size,)`` to arrays with that first axis.
        count: The number of toys.
        batch_size: The size of a batch; the last batch is filled up by repetition.
        what: What is counted where progress is shown.

    Returns:
        The arrays in NumPy, with a first axis of length `count`.
    """

    def one(start: int) -> Any:
        indices = np.minimum(np.arange(start, start + batch_size), count - 1)
        out = jax.tree.map(np.asarray, work(indices))
        advance(min(batch_size, count - start))
        return jax.tree.map(lambda a: a[: count - start], out)

    starts = range(0, count, batch_size)
    with counted(what, count) as advance:
        parts = [one(0)]
        workers = min(_workers(), len(starts) - 1)
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                if pool.submit(_settings).result() == _settings():
                    parts += pool.map(one, starts[1:])
        parts += [one(start) for start in starts[len(parts) :]]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make independent calls in threads, so that their programs compile in parallel."""
    with ThreadPoolExecutor(len(calls)) as pool:
        if pool.submit(_settings).result() == _settings():
            return [future.result() for future in [pool.submit(c) for c in calls]]
    return [call() for call in calls]
