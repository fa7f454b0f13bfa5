"""The compiled core of a fit: an objective of flat vectors, minimised by a solver.

`minimise` is an ordinary JAX function of `Numbers`: under `jax.vmap` it switches to
the batched solver, and it is differentiated by the implicit function theorem, never
through the iterations.
"""

import dataclasses
from typing import Any, TypeGuard

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array

from everwillow._captures import reclosed
from everwillow._derivatives import for_any_solver
from everwillow._errors import ShapeMismatchError
from everwillow.curvature import gather_transpose
from everwillow.engine._user_code import defined
from everwillow.engine.layout import Layout
from everwillow.engine.problem import Numbers
from everwillow.model.entries import check_kind
from everwillow.objective import (
    Evaluation,
    curvature_hook,
    evaluate,
    evaluate_matrix_free,
    flat_hook,
)
from everwillow.solvers.second_order import AbstractSecondOrderMinimiser


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Task:
    """The structure of a fit; its array leaves are those of the objective and solver.

    Attributes:
        objective: ``objective(params, observation)``.
        layout: The places of the parameters in the vector.
        solver: An `optimistix.AbstractMinimiser`.
        max_steps: Largest number of steps.
    """

    objective: Any
    layout: Layout = dataclasses.field(metadata={"static": True})
    solver: Any
    max_steps: int = dataclasses.field(metadata={"static": True})

    def params(self, numbers: Numbers, x: Array) -> Any:
        """Rebuild the pytree of parameters from the fitted ones."""
        vector = jnp.asarray(numbers.vector).at[numbers.index].set(x)
        return self.layout.state(vector, numbers.others).to_pytree()

    def start(self, numbers: Numbers) -> Array:
        """Return the start values of the fitted parameters."""
        return jnp.asarray(numbers.vector)[numbers.index]

    def data(self, numbers: Numbers) -> Any:
        """Return the observation in the form that the objective takes."""
        return reclosed(numbers.observation)

    def flat(self) -> Any:
        """Return the objective as a function of vectors, if it offers that."""
        return flat_hook(self.objective) if all(self.layout.numeric) else None

    def ravelled(self, numbers: Numbers, x: Array) -> Array:
        """Return the vector of the ravelled pytree of parameters."""
        vector = jnp.asarray(numbers.vector).at[numbers.index].set(x)
        return vector[self.layout.long_index]

    def value(self, numbers: Numbers, x: Array) -> Array:
        """Evaluate the objective at fitted parameters in physical units."""
        flat = self.flat()
        if flat is not None:
            return flat.nll(self.ravelled(numbers, x), self.data(numbers))
        value = self.objective(self.params(numbers, x), self.data(numbers))
        return checked_scalar(value, self.objective)

    @property
    def matrix_free(self) -> bool:
        """Whether the solver only multiplies vectors with the Hessian."""
        return knows_curvature(self.solver) and self.solver.matrix_free

    @property
    def cheap_hessian(self) -> bool:
        """Whether a Hessian costs little more than a gradient, as the model says."""
        flat = self.flat()
        return bool(flat is not None and getattr(flat.main, "cheap_hessian", False))

    def evaluate(
        self, numbers: Numbers, x: Array, *, matrix_free: bool | None = None
    ) -> Evaluation:
        """Evaluate the objective to second order in physical units.

        Args:
            numbers: The arguments of the fit.
            x: The fitted parameters, shape ``(n,)``.
            matrix_free: Whether to return the Hessian as products only; if None, as the
                solver needs it.
        """
        if matrix_free is None:
            matrix_free = self.matrix_free
        if curvature_hook(self.objective) is None:

            def value(v: Array, n: Numbers) -> Array:
                return self.value(n, v)

            if matrix_free:
                return evaluate_matrix_free(value, x, numbers)
            return evaluate(value, x, numbers, parameter_ranges(numbers, x))
        flat, data = self.flat(), self.data(numbers)
        if flat is not None:
            evaluation = flat.evaluation(self.ravelled(numbers, x), data)
        else:
            evaluation = evaluate(self.objective, self.params(numbers, x), data)
        return _in_state_order(evaluation, self.layout, x.dtype)


def _in_state_order(evaluation: Evaluation, layout: Layout, dtype: Any) -> Evaluation:
    """Convert an evaluation from the vector of the pytree to that of the State.

    Where a parameter appears several times in the pytree, its derivatives add.
    """
    index, size = layout.long_index, layout.size
    stand_in = evaluation.gauss_newton
    gradient = jnp.zeros(size, dtype).at[index].add(evaluation.gradient)
    jacobian = evaluation.jacobian
    if jacobian is not None:
        rows = jnp.zeros((jacobian.shape[0], size), dtype)
        jacobian = rows.at[:, index].add(jacobian)
    return dataclasses.replace(
        evaluation,
        gradient=gradient,
        curvature=gather_transpose(evaluation.curvature, index, size),
        gauss_newton=(
            None if stand_in is None else gather_transpose(stand_in, index, size)
        ),
        jacobian=jacobian,
    )


def checked_scalar(value: Any, objective: Any = None) -> Array:
    """Check that an objective returned one real number, and return it as an array."""
    place = defined(objective)
    where = f"nll_fn: {place}" if place else "nll_fn"
    check_kind(value, where=where)
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape == () and not jnp.issubdtype(dtype, jnp.inexact):
        raise ShapeMismatchError(
            f"{where}: expected one floating-point number, got dtype {dtype}. Return "
            "-ln L as a float that depends on the parameters."
        )
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        raise ShapeMismatchError(
            f"{where}: expected one floating-point number, got shape {shape} and "
            f"dtype {dtype}. Sum the contributions of bins or events: jnp.sum(...)."
        )
    return jnp.asarray(value)


def to_physical(numbers: Numbers, y: Array) -> tuple[Array, Array, Array]:
    """Map solver coordinates to physical ones, with two derivatives, element-wise."""
    x, first, second = y, jnp.ones_like(y), jnp.zeros_like(y)
    for transform, where in zip(numbers.transforms, numbers.transformed, strict=True):

        def slope(v, t=transform):
            return jax.jvp(t._wrap, (v,), (jnp.ones_like(v),))

        inner = y[where]
        (value, rise), (_, bend) = jax.jvp(slope, (inner,), (jnp.ones_like(inner),))
        x, first, second = (
            x.at[where].set(value),
            first.at[where].set(rise),
            second.at[where].set(bend),
        )
    return x, first, second


def from_physical(numbers: Numbers, x: Array) -> Array:
    """Map physical values to solver coordinates."""
    for transform, where in zip(numbers.transforms, numbers.transformed, strict=True):
        x = x.at[where].set(transform._unwrap(x[where]))
    return x


def parameter_ranges(numbers: Numbers, x: Array) -> tuple[Array, Array]:
    """Return the ends of boxes and of the ranges of transforms."""
    infinite = jnp.full_like(x, jnp.inf)
    lower = -infinite if numbers.lower is None else jnp.asarray(numbers.lower)
    upper = infinite if numbers.upper is None else jnp.asarray(numbers.upper)
    for transform, where in zip(numbers.transforms, numbers.transformed, strict=True):
        low, high = transform._range()
        lower, upper = lower.at[where].set(low), upper.at[where].set(high)
    return lower, upper


def open_ranges(numbers: Numbers, x: Array) -> Array:
    """Return which parameters have the open range of a smooth map, shape ``(n,)``."""
    is_open = jnp.zeros(x.shape, bool)
    for where in numbers.transformed:
        is_open = is_open.at[where].set(True)
    return is_open


def knows_curvature(solver: Any) -> TypeGuard[AbstractSecondOrderMinimiser]:
    """Return whether a solver uses second derivatives and honours boxes."""
    return isinstance(solver, AbstractSecondOrderMinimiser)


def objective_in_solver_coordinates(y: Array, args: tuple[Task, Numbers]) -> Array:
    """Evaluate -ln L as an `optimistix` function of the solver's coordinates."""
    task, numbers = args

    def value(v: Array) -> Array:
        x, _, _ = to_physical(numbers, v)
        return task.value(numbers, with_held_values(task, numbers, x))

    if knows_curvature(task.solver):
        return value(y)
    return for_any_solver(value, y)(y)


def with_held_values(task: Task, numbers: Numbers, x: Array) -> Array:
    """Return the parameters, with held ones at their values.

    Second-order solvers keep them there; others ignore the mask.
    """
    if knows_curvature(task.solver):
        return x
    return jnp.where(jnp.asarray(numbers.mask), x, task.start(numbers))


def evaluate_in_solver_coordinates(y: Array, args: tuple[Task, Numbers]) -> Evaluation:
    """Evaluate -ln L to second order, with the chain rule of the smooth maps."""
    task, numbers = args
    x, first, second = to_physical(numbers, y)
    evaluation = task.evaluate(numbers, x)
    if not numbers.transforms:
        return evaluation
    stand_in = evaluation.gauss_newton
    return dataclasses.replace(
        evaluation,
        gradient=evaluation.gradient * first,
        curvature=evaluation.curvature.scaled(first).plus_diagonal(
            evaluation.gradient * second
        ),
        gauss_newton=None if stand_in is None else stand_in.scaled(first),
        jacobian=None if evaluation.jacobian is None else evaluation.jacobian * first,
    )


def solver_options(task: Task, numbers: Numbers) -> dict[str, Any]:
    """Return the options of second-order solvers: evaluation, mask and box."""
    if not knows_curvature(task.solver):
        return {}
    options = {"evaluate": evaluate_in_solver_coordinates, "free": numbers.mask}
    if numbers.lower is not None:
        options |= {"lower": numbers.lower, "upper": numbers.upper}
    return options


def constant(tree: Any) -> Any:
    """Return a tree whose arrays are constants of differentiation.

    Args:
        tree: Any pytree; leaves that are no arrays are kept.
    """
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree
    )


def run_solver(task: Task, numbers: Numbers) -> optx.Solution:
    """Minimise once; not differentiable."""
    task, numbers = constant((task, numbers))
    return optx.minimise(
        objective_in_solver_coordinates,
        task.solver,
        from_physical(numbers, task.start(numbers)),
        (task, numbers),
        solver_options(task, numbers),
        max_steps=task.max_steps,
        adjoint=_NoAdjoint(),
        throw=False,
    )


class _NoAdjoint(optx.AbstractAdjoint):
    """Run the loop without derivatives, which `everwillow.engine.adjoint` defines."""

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del rewrite_fn, tags
        return primal_fn((*inputs, _while_loop))


def _while_loop(cond_fun, body_fun, init_val, *, max_steps, **ignored):
    """Run `jax.lax.while_loop` for at most a number of steps."""
    del ignored

    def going(carry):
        count, value = carry
        return (count < max_steps) & cond_fun(value)

    def advance(carry):
        count, value = carry
        return count + 1, body_fun(value)

    return jax.lax.while_loop(going, advance, (jnp.asarray(0), init_val))[1]
