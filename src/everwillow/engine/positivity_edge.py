"""Minima at the edge of positivity, where a bin without events expects nothing.

A bin without events adds its expected count to -ln L, which therefore falls with it
until the expected count is zero; it must not become negative. A minimum may thus lie
where an expected count is zero, with a nonzero slope: this is no stationary point, and
Newton's method cannot find it.

If a fit fails, it is repeated with a few events ``t`` in each empty bin, which add the
barrier ``-t ln(expected)``, and then with fewer and fewer events (the logarithmic
barrier of interior-point methods: Nocedal and Wright, Numerical Optimization, chapter
19). With the last, tiny ``t`` the slopes balance, and the Hessian holds the combination
of parameters that would cross the edge. For each bin at the edge -ln L is then too high
by ``t``, and by ``t ln(1/expected)`` before these events are left out of it. Only data
change, so that one program does all of this.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array

from everwillow._errors import RESULTS
from everwillow._numerics import select, zeros_of
from everwillow.engine.core import Task, knows_curvature, run_solver
from everwillow.engine.outcome import Outcome, conclude
from everwillow.engine.problem import Numbers


# Numbers of events in empty bins of the fits after the first. The fewest must add more
# to -ln L than the EDM of a success, or a fit could stop anywhere near the edge. Each
# fit has ten times fewer than the one before: with a larger ratio the steps towards the
# barrier are so short and many that they look like those along a flat valley.
MOST_EVENTS, FEWEST_EVENTS, STAGES = 0.1, 1e-7, 7
# In single precision fewer events would be lost in rounding.
FEWEST_EVENTS_SINGLE = 1e-3


def may_have_empty_bins(task: Task, numbers: Numbers) -> bool:
    """Return whether the structure of a fit allows empty bins that expect nothing."""
    if not getattr(task.objective, "counts_may_vanish", True):
        return False
    leaves = _main(numbers.observation)
    return knows_curvature(task.solver) and any(map(_is_real, leaves))


def with_events_in_empty_bins(numbers: Numbers, events: Array) -> Numbers:
    """Return the numbers of a fit with some events in each empty bin.

    Arrays with a negative entry are no counts, and are kept.

    Args:
        numbers: The numbers of the fit.
        events: How many; 0 changes nothing.
    """

    def add_events(leaf: Any) -> Any:
        if not _is_real(leaf):
            return leaf
        counts = jnp.asarray(leaf)
        empty = (counts == 0) & jnp.all(counts >= 0)
        # Added, not replaced, so that derivatives by the counts are kept.
        return counts + jnp.where(empty, jnp.asarray(events, counts.dtype), 0)

    def add_to_part(part: Any) -> Any:
        if _is_of_model(part):
            return {**part, "main": jax.tree.map(add_events, part["main"])}
        return add_events(part)

    observation = jax.tree.map(add_to_part, numbers.observation, is_leaf=_is_of_model)
    return dataclasses.replace(numbers, observation=observation)


def minimise_without_edge(
    task: Task, numbers: Numbers
) -> tuple[Outcome, optx.Solution]:
    """Minimise without the constraint of positivity, in a program of half the size.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.

    Returns:
        What `minimise_with_edge` returns where the minimum is not at the edge. The
        entry ``"again"`` of the statistics says whether it may be at the edge.
    """
    outcome, solution = conclude(task, numbers, run_solver(task, numbers))
    again = ~outcome.success & _may_be_at_edge(outcome) & _has_empty_bins(numbers)
    stats = {**solution.stats, "again": again}
    return outcome, dataclasses.replace(solution, stats=stats)


def minimise_with_edge(task: Task, numbers: Numbers) -> tuple[Outcome, optx.Solution]:
    """Minimise with the constraint that expected counts are not negative.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
    """
    if not may_have_empty_bins(task, numbers):
        return conclude(task, numbers, run_solver(task, numbers))
    start = task.start(numbers)
    dtype = start.dtype
    static_parts = []

    arrays, structure = eqx.partition((task, numbers), eqx.is_array)

    def stage(arrays: Any, x: Array, events: Array) -> Any:
        task, numbers = eqx.combine(arrays, structure)
        soft = with_events_in_empty_bins(numbers.at(x), events)
        end = conclude(task, soft, run_solver(task, soft))
        arrays_at_end, static = eqx.partition(end, eqx.is_array)
        static_parts.append(static)
        return arrays_at_end

    # Traced once, for its shapes here and for the body of the loop.
    stage = eqx.filter_closure_convert(stage, arrays, start, jnp.zeros((), dtype))
    shapes = jax.eval_shape(stage, arrays, start, jnp.zeros((), dtype))
    (static,) = static_parts

    def body(carry):
        count, _, x, steps, final_end = carry
        arrays_at_end = stage(arrays, x, _events(count, dtype))
        outcome, _ = eqx.combine(arrays_at_end, static)

        def after_the_first():
            failed = ~outcome.success & _may_be_at_edge(outcome) & empty
            return failed, jnp.asarray(True), start

        def along_the_path():
            end = count == STAGES
            return outcome.success & ~end, outcome.success & end, outcome.x

        # In branches XLA computes the decisions once, not for each number of the state.
        again, final, x = jax.lax.cond(count == 0, after_the_first, along_the_path)
        steps = steps + outcome.num_steps
        return count + 1, again, x, steps, select(final, arrays_at_end, final_end)

    empty = _has_empty_bins(numbers)
    blank = zeros_of(shapes)
    steps = jnp.zeros_like(blank[0].num_steps)
    first = (jnp.asarray(0), jnp.asarray(True), start, steps, blank)
    count, _, _, steps, final_end = jax.lax.while_loop(lambda c: c[1], body, first)
    outcome, solution = eqx.combine(final_end, static)
    edge = (count > STAGES) & outcome.success
    good: Any = RESULTS.edge_of_positivity
    outcome = dataclasses.replace(
        outcome,
        status=RESULTS.where(edge, good, outcome.status),
        num_steps=jnp.where(edge, steps, outcome.num_steps),
    )
    stats = {**solution.stats, "edge": edge}
    return outcome, dataclasses.replace(solution, stats=stats)


def fewest_events(dtype: Any) -> float:
    """Return the number of events in each empty bin at a minimum at the edge."""
    double = jnp.dtype(dtype).itemsize >= jnp.dtype("float64").itemsize
    return FEWEST_EVENTS if double else FEWEST_EVENTS_SINGLE


def _events(count: Array, dtype: Any) -> Array:
    """Return the events in empty bins of a stage; none in the first."""
    ratio = (fewest_events(dtype) / MOST_EVENTS) ** (1 / (STAGES - 1))
    power = jnp.asarray(ratio, dtype) ** (count - 1).astype(dtype)
    return jnp.where(count == 0, 0, MOST_EVENTS * power)


def _may_be_at_edge(outcome: Outcome) -> Array:
    """Return whether a failed fit may have ended at the edge."""
    status: Any = outcome.status
    return (status != RESULTS.flat_direction) & (status != RESULTS.nonfinite_start)


def _has_empty_bins(numbers: Numbers) -> Array:
    """Return whether there is a bin without events."""
    empty = [
        jnp.any(leaf == 0) & jnp.all(leaf >= 0)
        for leaf in map(jnp.asarray, filter(_is_real, _main(numbers.observation)))
    ]
    return jnp.any(jnp.stack(empty))


def _main(observation: Any) -> Any:
    """Return the leaves of an observation that may hold counts."""
    parts = jax.tree.leaves(observation, is_leaf=_is_of_model)
    return jax.tree.leaves([p["main"] if _is_of_model(p) else p for p in parts])


def _is_of_model(part: Any) -> bool:
    return isinstance(part, Mapping) and set(part) == {"main", "aux"}


def _is_real(leaf: Any) -> bool:
    return eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
