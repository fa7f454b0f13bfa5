"""Minima at the edge of positivity, where a bin without events expects nothing.

A bin in which nothing was counted adds its expected count to -ln L, and prefers less;
what is expected must not become negative. So a minimum may lie where one expected count
is zero: with a slope, and with no allowed point beyond it, which is no stationary point
that Newton's method could find.

If a fit fails, it is made again with a few events ``t`` in each empty bin, which bars
the edge by ``-t ln(expected)``, then with fewer and fewer (the logarithmic barrier of
interior-point methods: Nocedal and Wright, Numerical Optimization, chapter 19). At
the end ``t`` is next to nothing: for each bin at the edge -ln L is too high by ``t``,
and by ``t ln(1/expected)`` before these events are left out of it, the slopes balance,
and the Hessian holds the combination of parameters that would cross the edge. Only
data change, so all of this is one program.
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


# Events in empty bins: the first fit has none, the others these. What they cost has to
# stay above the EDM of a success, which would end a fit anywhere on the way. Each time
# they are ten times fewer: from further away the steps towards a barrier are so short
# and many that they look like those along a flat valley.
MOST_EVENTS, FEWEST_EVENTS, STAGES = 0.1, 1e-7, 7
# In single precision less is lost in the rounding of what else is in the bin.
FEWEST_EVENTS_SINGLE = 1e-3


def may_have_empty_bins(task: Task, numbers: Numbers) -> bool:
    """Return whether there may be empty bins, as far as structure tells."""
    leaves = _main(numbers.observation)
    return knows_curvature(task.solver) and any(map(_is_real, leaves))


def with_events_in_empty_bins(numbers: Numbers, events: Array) -> Numbers:
    """Return the numbers of a fit with some events in each empty bin.

    Arrays with a negative entry are no counts, and stay.

    Args:
        numbers: Of the fit.
        events: How many; 0 changes nothing.
    """

    def soften(leaf: Any) -> Any:
        if not _is_real(leaf):
            return leaf
        counts = jnp.asarray(leaf)
        empty = (counts == 0) & jnp.all(counts >= 0)
        # Added, so that derivatives by the counts stay what they are.
        return counts + jnp.where(empty, jnp.asarray(events, counts.dtype), 0)

    def soften_part(part: Any) -> Any:
        if _is_of_model(part):
            return {**part, "main": jax.tree.map(soften, part["main"])}
        return soften(part)

    observation = jax.tree.map(soften_part, numbers.observation, is_leaf=_is_of_model)
    return dataclasses.replace(numbers, observation=observation)


def minimise_without_edge(
    task: Task, numbers: Numbers
) -> tuple[Outcome, optx.Solution]:
    """Minimise without the constraint of positivity, in a program half as large.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.

    Returns:
        What `minimise_with_edge` returns where the minimum is not at the edge. The
        entry ``"again"`` of the statistics tells whether it may be there.
    """
    outcome, solution = conclude(task, numbers, run_solver(task, numbers))
    again = ~outcome.success & _may_be_at_edge(outcome) & _has_empty_bins(numbers)
    stats = {**solution.stats, "again": again}
    return outcome, dataclasses.replace(solution, stats=stats)


def minimise_with_edge(task: Task, numbers: Numbers) -> tuple[Outcome, optx.Solution]:
    """Minimise, with expected counts that are not negative as a constraint.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
    """
    if not may_have_empty_bins(task, numbers):
        return conclude(task, numbers, run_solver(task, numbers))
    start = task.start(numbers)
    dtype = start.dtype
    rest = []

    arrays, structure = eqx.partition((task, numbers), eqx.is_array)

    def stage(arrays: Any, x: Array, events: Array) -> Any:
        task, numbers = eqx.combine(arrays, structure)
        soft = with_events_in_empty_bins(numbers.at(x), events)
        end = conclude(task, soft, run_solver(task, soft))
        found, static = eqx.partition(end, eqx.is_array)
        rest.append(static)
        return found

    # Traced once: its shapes are asked for here, then it is the body of a loop.
    stage = eqx.filter_closure_convert(stage, arrays, start, jnp.zeros((), dtype))
    shapes = jax.eval_shape(stage, arrays, start, jnp.zeros((), dtype))
    (static,) = rest

    def body(carry):
        count, _, x, steps, kept = carry
        found = stage(arrays, x, _events(count, dtype))
        outcome, _ = eqx.combine(found, static)

        # The first fit knows nothing of the path; the others go on along it.
        def after_the_first():
            failed = ~outcome.success & _may_be_at_edge(outcome) & empty
            return failed, jnp.asarray(True), start

        def along_the_path():
            end = count == STAGES
            return outcome.success & ~end, outcome.success & end, outcome.x

        # In branches XLA computes the decisions once, not for each number of the state.
        again, final, x = jax.lax.cond(count == 0, after_the_first, along_the_path)
        steps = steps + outcome.num_steps
        return count + 1, again, x, steps, select(final, found, kept)

    empty = _has_empty_bins(numbers)
    blank = zeros_of(shapes)
    steps = jnp.zeros_like(blank[0].num_steps)
    first = (jnp.asarray(0), jnp.asarray(True), start, steps, blank)
    count, _, _, steps, kept = jax.lax.while_loop(lambda c: c[1], body, first)
    outcome, solution = eqx.combine(kept, static)
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
    """Return what the Hessian of a minimum at the edge has in each empty bin."""
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
    found = [
        jnp.any(leaf == 0) & jnp.all(leaf >= 0)
        for leaf in map(jnp.asarray, filter(_is_real, _main(numbers.observation)))
    ]
    return jnp.any(jnp.stack(found))


def _main(observation: Any) -> Any:
    """Return the leaves of an observation that may hold counts."""
    parts = jax.tree.leaves(observation, is_leaf=_is_of_model)
    return jax.tree.leaves([p["main"] if _is_of_model(p) else p for p in parts])


def _is_of_model(part: Any) -> bool:
    return isinstance(part, Mapping) and set(part) == {"main", "aux"}


def _is_real(leaf: Any) -> bool:
    return eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
