r"""The search for upper limits: one compiled loop, one conditional fit a turn.

The observed limit and the five expected ones are roots of functions of the POI that
cost a conditional fit or two each. Their slopes are known from the same fits (the
envelope theorem), so that every root takes two or three turns of Newton's method; and
each fit follows the one before (`everwillow.fitting.follow`), mostly by gradients.

With Asimov data at 0, data that fluctuate by N standard deviations have
:math:`\mathrm{CL_s} = \alpha` where :math:`\sqrt{q_A} = N + \Phi^{-1}(1 - \alpha\,
\Phi(N))`, so the expected limits are roots of :math:`\sqrt{q_A(\mu)}` alone.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from everwillow._numerics import select
from everwillow.engine.adjoint import zero_tangent
from everwillow.engine.core import Task
from everwillow.engine.problem import Numbers
from everwillow.fitting.follow import Foothold, follow, holding
from everwillow.hypotest._limit_problem import Machine, set_up
from everwillow.hypotest._limit_state import OBSERVED, Recipe, Roots
from everwillow.hypotest._limit_turns import run


def search(
    task: Task,
    numbers: Numbers,
    base: Foothold,
    place: Array,
    level: Array,
    recipe: Recipe,
) -> Roots:
    """Find the limits; differentiable in everything by the implicit function theorem.

    Args:
        task: The structure of the fit.
        numbers: Its arguments, with the data.
        base: The free fit of the data.
        place: The position of the POI.
        level: The CLs of a limit.
        recipe: What kind of limits.
    """
    arrays, structure = eqx.partition(
        (task, numbers, place, level, recipe), eqx.is_array
    )

    @jax.custom_jvp
    def solve(arrays, base):
        task, numbers, place, level, recipe = eqx.combine(arrays, structure)
        return run(set_up(task, numbers, base, place, level, recipe))

    @solve.defjvp
    def push(primals, tangents):
        arrays, base = primals
        out = solve(arrays, base)

        def conditions(arrays):
            task, numbers, place, level, recipe = eqx.combine(arrays, structure)
            machine = set_up(task, numbers, base, place, level, recipe)
            return _conditions(machine, out)

        _, change = jax.jvp(conditions, (arrays,), (tangents[0],))
        blank = jax.tree.map(zero_tangent, out)
        return out, eqx.tree_at(lambda r: r.values, blank, -change / out.slopes)

    return solve(arrays, jax.lax.stop_gradient(base))


def _conditions(machine: Machine, out: Roots) -> Array:
    """Return what vanishes at the limits, differentiable in all numbers."""
    fixed = jax.lax.stop_gradient(out)
    held = jnp.zeros(machine.base.x.shape, bool).at[machine.place].set(True)

    data = machine.sets()

    def at(on_data, mu, last, asimov):
        def value(observation):
            numbers = dataclasses.replace(machine.numbers, observation=observation)
            x = jnp.where(held, mu, last.x)
            return follow(machine.task, holding(numbers, x, held), last)

        return data.apply(value, on_data, asimov).value

    numbers = dataclasses.replace(machine.numbers, observation=data.data)
    x = jnp.where(held, 0.0, fixed.zero.x)
    zero = follow(machine.task, holding(numbers, x, held), fixed.zero)
    asimov = data.asimov(machine.make_asimov(machine.asimov_point(zero)))
    with_asimov = dataclasses.replace(machine.numbers, observation=asimov)
    best = machine.task.value(with_asimov, fixed.asimov.x)
    reference = machine.reference(zero, machine.task.value(numbers, machine.base.x))

    def one(job):
        mu, on_data = job
        last = select(on_data, fixed.zero, fixed.asimov)
        return at(on_data, mu, last, asimov)

    mus = jnp.append(fixed.values, fixed.values[OBSERVED])
    on_data = jnp.arange(OBSERVED + 2) > OBSERVED
    values = jax.lax.map(one, (mus, on_data))
    q_asimov = 2 * (values[: OBSERVED + 1] - best)
    q = 2 * (values[OBSERVED + 1] - reference)
    expected = jnp.sqrt(q_asimov[:OBSERVED]) - machine.wanted
    return jnp.append(expected, machine.excess(q, q_asimov[OBSERVED]))
