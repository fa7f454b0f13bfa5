"""Derivatives of a fit, by the implicit function theorem.

At a minimum the gradient vanishes on every parameter that is free to move, and a
parameter at an active bound moves with the bound. With H the Hessian,

    H dx = -(change of the gradient at fixed x)    on the free parameters,
    dx   = change of the bound                     on those held at one,
    dx   = change of the value                     on those that are fixed.

The value and the Hessian are differentiated as functions of x and of all numbers, so
parameters, value, gradient and Hessian have derivatives. Outputs that describe the
path of the solver, such as the number of steps, have none.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx

from everwillow._derivatives import gradient_of, has_custom_vjp, push_forward
from everwillow._errors import RESULTS
from everwillow.engine.core import Task, run_solver
from everwillow.engine.outcome import Outcome, conclude, scaled_solver
from everwillow.engine.positivity_edge import (
    fewest_events,
    minimise_with_edge,
    minimise_without_edge,
    with_events_in_empty_bins,
)
from everwillow.engine.problem import Numbers
from everwillow.solvers.conjugate_gradients import steihaug
from everwillow.solvers.lanes import LANE_STEPS, lane_solver, rerun


def minimise(
    task: Task,
    numbers: Numbers,
    once: Callable[[Task, Numbers], tuple[Outcome, optx.Solution]] = minimise_with_edge,
) -> tuple[Outcome, optx.Solution]:
    """Minimise, batched under `jax.vmap` and differentiable in every number.

    Args:
        task: The structure; its array leaves are numbers too.
        numbers: The arguments.
        once: Minimises a single problem, without derivatives.
    """
    arrays, structure = eqx.partition((task, numbers), eqx.is_array)

    @jax.custom_jvp
    def solve(arrays):
        return _batchable(structure, once)(arrays)

    @solve.defjvp
    def push(primals, tangents):
        (arrays,), (change,) = primals, tangents
        out = solve(arrays)
        outcome, solution = eqx.combine(out[0], out[1].value)
        moved = moves(structure, arrays, change, outcome, solution)
        blank = jax.tree.map(zero_tangent, out[0])
        fields = ("x", "value", "gradient", "hessian")
        present = [f for f in fields if getattr(blank[0], f) is not None]
        filled = eqx.tree_at(
            lambda o: [getattr(o[0], f) for f in present],
            blank,
            [moved[f] for f in present],
        )
        return out, (filled, out[1])

    dynamic, static = solve(arrays)
    return eqx.combine(dynamic, static.value)


def minimise_plain(task: Task, numbers: Numbers) -> tuple[Outcome, optx.Solution]:
    """Minimise like `minimise`, without minima at the edge of positivity.

    Args:
        task: The structure; its array leaves are numbers too.
        numbers: The arguments.
    """
    return minimise(task, numbers, minimise_without_edge)


def _batchable(structure, once):
    """Return the minimisation of arrays, with a rule of its own for `jax.vmap`."""

    def solve_with(arrays, solver=None, max_steps=None):
        task, numbers = eqx.combine(arrays, structure)
        if solver is None:
            end = once(task, numbers)
        else:
            task = dataclasses.replace(task, solver=solver, max_steps=max_steps)
            end = conclude(task, numbers, run_solver(task, numbers))
        dynamic, static = eqx.partition(end, eqx.is_array)
        return dynamic, _AlwaysEqual(static)

    task, _ = structure
    lanes = lane_solver(task.solver)
    if lanes is None:
        return solve_with

    @jax.custom_batching.custom_vmap
    def solve(arrays):
        return solve_with(arrays)

    @solve.def_vmap
    def batch(axis_size, in_batched, arrays):
        (batched,) = in_batched
        axes = jax.tree.map(lambda b: 0 if b else None, batched)
        steps = min(task.max_steps, LANE_STEPS)
        out = jax.vmap(
            lambda a: solve_with(a, lanes, steps), in_axes=(axes,), axis_size=axis_size
        )(arrays)

        def pick(i):
            return jax.tree.map(lambda a, b: a[i] if b else a, arrays, batched)

        status = eqx.combine(out[0], out[1].value)[0].status
        settled = jax.vmap(
            lambda s: (s == RESULTS.successful) | (s == RESULTS.nonfinite_start)
        )(status)
        out, _ = rerun(out, ~settled, solve, pick)
        return out, jax.tree.map(lambda _: True, out)

    return solve


@jax.tree_util.register_static
class _AlwaysEqual:
    """A static value that passes through a transformation of JAX.

    The value follows from the structure of the task alone, so that of another trace is
    the same: all instances compare equal.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _AlwaysEqual)

    def __hash__(self) -> int:
        return hash(_AlwaysEqual)


def zero_tangent(leaf: jax.Array) -> Any:
    """Return the tangent of a leaf without derivative."""
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros_like(leaf)
    return jnp.zeros(leaf.shape, jax.dtypes.float0)


def moves(structure, arrays, change, outcome: Outcome, solution) -> dict[str, Any]:
    """Return the change of x, value, gradient and Hessian."""

    def at(arrays) -> tuple[Task, Numbers]:
        task, numbers = eqx.combine(arrays, structure)
        return task, with_events_in_empty_bins(numbers, events)

    def value(arrays, x):
        task, numbers = at(arrays)
        return task.value(numbers, x)

    x = outcome.x if outcome.inside is None else outcome.inside
    edge = outcome.status == RESULTS.edge_of_positivity
    events = jnp.where(edge, fewest_events(x.dtype), 0)
    _, numbers = at(arrays)
    # Traced once, used several times.
    value = eqx.filter_closure_convert(value, arrays, x)
    gradient = eqx.filter_closure_convert(
        lambda arrays, x: gradient_of(lambda v: value(arrays, v))(x), arrays, x
    )
    plain = not has_custom_vjp(value)
    forward = not has_custom_vjp(gradient)
    free = jnp.asarray(numbers.mask) & ~outcome.at_bound
    held = _held_change(structure, arrays, change, outcome)

    def push_gradient(dx):
        return push_forward(gradient, (arrays, x), (change, dx), forward=forward)

    def curve(vector):
        moved = push_forward(
            lambda v: gradient(arrays, v), (x,), (vector,), forward=forward
        )
        return jnp.where(free, moved, vector)

    rhs = jnp.where(free, -push_gradient(held), 0)
    if outcome.hessian is None:
        dx = _solve_iteratively(curve, rhs, solution.state.scale)
    else:
        dx = _solve(outcome.hessian, free, rhs)
    dx = jnp.where(free, dx, held)
    moved: dict[str, Any] = {
        "x": dx,
        "value": push_forward(value, (arrays, x), (change, dx), forward=plain),
        "gradient": push_gradient(dx),
    }
    if outcome.hessian is not None:

        def hessian(arrays, x):
            task, numbers = at(arrays)
            return task.evaluate(numbers, x).curvature.as_matrix()

        moved["hessian"] = push_forward(
            hessian, (arrays, x), (change, dx), forward=forward
        )
    return moved


def _held_change(structure, arrays, change, outcome: Outcome):
    """Return the tangent of fixed parameters, and of those at a bound."""

    def outside(arrays):
        task, numbers = eqx.combine(arrays, structure)
        start = task.start(numbers)
        if numbers.lower is None:
            return start, start
        return (
            jnp.asarray(numbers.lower) + jnp.zeros_like(start),
            jnp.asarray(numbers.upper) + jnp.zeros_like(start),
        )

    def starts(arrays):
        task, numbers = eqx.combine(arrays, structure)
        return task.start(numbers)

    (lower, upper), (move_lower, move_upper) = jax.jvp(outside, (arrays,), (change,))
    _, move_start = jax.jvp(starts, (arrays,), (change,))
    _, numbers = eqx.combine(arrays, structure)
    near_lower = jnp.abs(outcome.x - lower) <= jnp.abs(outcome.x - upper)
    bound = jnp.where(near_lower, move_lower, move_upper)
    moved = jnp.where(outcome.at_bound, bound, 0)
    return jnp.where(jnp.asarray(numbers.mask), moved, move_start)


def _solve(hessian, free, rhs):
    """Solve with the free block of the Hessian; linear in the right-hand side."""
    keep = free[:, None] & free[None, :]
    eye = jnp.eye(free.shape[0], dtype=hessian.dtype)
    matrix = jnp.where(keep, hessian, eye)

    def solver(_, vector):
        solve, definite = scaled_solver(jax.lax.stop_gradient(hessian), free)
        solution = jnp.where(free, solve(vector), vector)
        return jnp.where(definite, solution, jnp.nan)

    return jax.lax.custom_linear_solve(
        lambda v: matrix @ v, rhs, solver, symmetric=True
    )


def _solve_iteratively(curve, rhs, scale):
    """Solve with Hessian-vector products alone, by conjugate gradients."""
    scale = jax.lax.stop_gradient(scale)

    def solver(matvec, vector):
        inner = steihaug(
            lambda v: matvec(v / scale) / scale, -vector / scale, jnp.inf, 1e-12, 5000
        )
        return jnp.where(inner.definite, inner.unbounded / scale, jnp.nan)

    return jax.lax.custom_linear_solve(curve, rhs, solver, symmetric=True)
