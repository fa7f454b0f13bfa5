"""The compiled core of a fit: flat vectors in, an `Outcome` out.

`minimise` is an ordinary JAX function of `Numbers`: under `jax.vmap` it switches to
the batched solver, and it is differentiated by the implicit function theorem, never
through the iterations.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int

from everwillow._errors import RESULTS, ShapeMismatchError
from everwillow.curvature import Dense, gather_transpose
from everwillow.fitting._layout import Layout
from everwillow.fitting._problem import Numbers
from everwillow.objective import (
    Evaluation,
    curvature_hook,
    evaluate,
    evaluate_matrix_free,
)
from everwillow.solvers.newton_cg import NewtonCG
from everwillow.solvers.trust_region_newton import (
    CODE_FLAT,
    CODE_MINIMUM,
    CODE_NONFINITE_START,
    CODE_STALLED,
    TrustRegionNewton,
)


# A solver that does not look at second derivatives is believed if the curvature at its
# end point says that it is this close: 1.4 % of a standard error.
FOREIGN_EDM_GOAL = 1e-4

# Up to this many parameters a matrix-free fit ends with a covariance all the same: its
# Hessian takes 8 MB and as many gradients as parameters.
HESSIAN_LIMIT = 1000

# One standard error away from a minimum -ln L has risen by ½, if it is parabolic; by
# much less only where it flattens.
ENOUGH = 0.05


class Outcome(eqx.Module):
    """What the compiled core returns.

    Attributes:
        x: The parameters at ``Numbers.index`` in physical units, shape ``(free,)``.
        value: The objective there.
        gradient: Its gradient, shape ``(free,)``.
        hessian: Its exact Hessian, shape ``(free, free)``; None for `NewtonCG`.
        edm: Estimated distance to the minimum.
        status: How it ended.
        success: Whether that is at a minimum.
        num_steps: Evaluations of our solvers, steps of others.
        at_bound: Which parameters are held at a bound, shape ``(free,)``.
        newton: The last Newton step, shape ``(free,)``.
    """

    x: Float[Array, " free"]
    value: Float[Array, ""]
    gradient: Float[Array, " free"]
    hessian: Float[Array, "free free"] | None
    edm: Float[Array, ""]
    status: RESULTS
    success: Bool[Array, ""]
    num_steps: Int[Array, ""]
    at_bound: Bool[Array, " free"]
    newton: Float[Array, " free"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Task:
    """The structure of a fit; its array leaves are those of the objective and solver.

    Attributes:
        objective: ``objective(params, observation)``.
        layout: Where the parameters are in the vector.
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

    def value(self, numbers: Numbers, x: Array) -> Array:
        """Evaluate the objective at fitted parameters in physical units."""
        value = self.objective(self.params(numbers, x), numbers.observation)
        return checked_scalar(value)

    def evaluate(self, numbers: Numbers, x: Array) -> Evaluation:
        """Evaluate the objective to second order in physical units."""
        to_second_order = (
            evaluate_matrix_free if isinstance(self.solver, NewtonCG) else evaluate
        )
        if curvature_hook(self.objective) is None:
            return to_second_order(lambda v, n: self.value(n, v), x, numbers)
        found = to_second_order(
            self.objective, self.params(numbers, x), numbers.observation
        )
        layout = self.layout
        index, size = layout.long_index, layout.size
        stand_in = found.gauss_newton
        gradient = jnp.zeros(size, x.dtype).at[index].add(found.gradient)

        jacobian = found.jacobian
        if jacobian is not None:
            rows = jnp.zeros((jacobian.shape[0], size), x.dtype)
            jacobian = rows.at[:, index].add(jacobian)
        return Evaluation(
            found.value,
            gradient,
            gather_transpose(found.curvature, index, size),
            None if stand_in is None else gather_transpose(stand_in, index, size),
            found.residuals,
            jacobian,
        )


def checked_scalar(value: Any) -> Array:
    """Return what an objective returned, if it is one real number."""
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        msg = (
            f"nll_fn: expected one floating-point number, got shape {shape} and dtype "
            f"{dtype}. Sum the contributions of bins or events: jnp.sum(...)."
        )
        raise ShapeMismatchError(msg)
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


def knows_curvature(solver: Any) -> bool:
    """Return whether a solver is one of ours, which look at second derivatives."""
    return isinstance(solver, TrustRegionNewton | NewtonCG)


def objective_in_solver_coordinates(y: Array, args: tuple[Task, Numbers]) -> Array:
    """Evaluate -ln L as an `optimistix` function of the solver's coordinates."""
    task, numbers = args
    return task.value(numbers, to_physical(numbers, y)[0])


def evaluate_in_solver_coordinates(y: Array, args: tuple[Task, Numbers]) -> Evaluation:
    """Evaluate -ln L to second order, with the chain rule of the smooth maps."""
    task, numbers = args
    x, first, second = to_physical(numbers, y)
    found = task.evaluate(numbers, x)
    if not numbers.transforms:
        return found
    stand_in = found.gauss_newton
    return Evaluation(
        found.value,
        found.gradient * first,
        found.curvature.scaled(first).plus_diagonal(found.gradient * second),
        None if stand_in is None else stand_in.scaled(first),
        found.residuals,
        None if found.jacobian is None else found.jacobian * first,
    )


def solver_options(task: Task, numbers: Numbers) -> dict[str, Any]:
    """Return what our own solvers need to know besides the function."""
    if not knows_curvature(task.solver):
        return {}
    evaluator = evaluate_in_solver_coordinates
    if isinstance(task.solver, TrustRegionNewton):
        # Differentiating twice is most of the time that tracing takes: do it once.
        # (An Operator is no array and cannot be returned by what this makes.)
        start = from_physical(numbers, task.start(numbers))
        evaluator = eqx.filter_closure_convert(evaluator, start, (task, numbers))
    options = {"evaluate": evaluator, "free": numbers.mask}
    if numbers.lower is not None:
        options |= {"lower": numbers.lower, "upper": numbers.upper}
    return options


def run_solver(task: Task, numbers: Numbers) -> tuple[Outcome, optx.Solution]:
    """Minimise once; not differentiable."""
    task, numbers = jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf,
        (task, numbers),
    )
    solution = optx.minimise(
        objective_in_solver_coordinates,
        task.solver,
        from_physical(numbers, task.start(numbers)),
        (task, numbers),
        solver_options(task, numbers),
        max_steps=task.max_steps,
        adjoint=_NoAdjoint(),
        throw=False,
    )
    return outcome_of(task, numbers, solution), solution


class _NoAdjoint(optx.AbstractAdjoint):
    """Run the loop as it is; derivatives are the business of `minimise`."""

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


def outcome_of(task: Task, numbers: Numbers, solution: optx.Solution) -> Outcome:
    """Bring what a solver returned into physical units, and judge it."""
    state = solution.state
    x, first, _ = to_physical(numbers, solution.value)
    steps = solution.stats["num_steps"]
    if isinstance(task.solver, NewtonCG):
        gradient, value = state.gradient / first, state.nll
        hessian = _affordable_hessian(task, numbers, x)
        edm, active, newton = state.edm, state.active, state.newton * first
        status = _status(state, solution)
    elif isinstance(task.solver, TrustRegionNewton) and not numbers.transforms:
        found = state.evaluation
        gradient, hessian = found.gradient, found.curvature.as_matrix()
        # The last Newton step was taken and not evaluated; the model knows its gain.
        value = found.value - jnp.where(state.code == CODE_MINIMUM, state.edm, 0)
        edm, active, newton = state.edm, state.active, state.newton
        status = _status(state, solution)
    else:
        found = task.evaluate(numbers, x)
        value, gradient = found.value, found.gradient
        hessian = found.curvature.as_matrix()
        lower, upper = _range(numbers, x)
        active = _at_bound(x, gradient, lower, upper) & numbers.mask
        newton, edm, definite = newton_step(hessian, gradient, numbers.mask & ~active)
        if knows_curvature(task.solver):
            status = _status(state, solution)
        else:
            rises = _rises(task, numbers, x, value, newton, edm)
            status = _foreign_status(solution, edm, definite, rises)
    return Outcome(
        x=x,
        value=value,
        gradient=gradient,
        hessian=hessian,
        edm=edm,
        status=status,
        success=status == RESULTS.successful,
        num_steps=steps,
        at_bound=active,
        newton=newton,
    )


def _affordable_hessian(task: Task, numbers: Numbers, x: Array) -> Array | None:
    """Return the Hessian at the end of a matrix-free fit, if there is room for it."""
    if x.shape[0] > HESSIAN_LIMIT:
        return None
    dense = dataclasses.replace(task, solver=TrustRegionNewton())
    return dense.evaluate(numbers, x).curvature.as_matrix()


def _rises(task, numbers, x, value, newton, edm) -> Array:
    """Return whether -ln L rises on both sides, one standard error away.

    By how much is known: ½. On a plateau the gradient is small and the curvature
    positive as well, but the error they give leads nowhere, or far beyond the plateau.
    """
    lower, upper = _range(numbers, x)
    sigma = newton / jnp.sqrt(2 * edm)

    def side(direction):
        wanted = x + direction * sigma
        end = jnp.clip(wanted, lower, upper)
        rise = task.value(numbers, end) - value
        return (rise > ENOUGH) | ~jnp.isfinite(rise) | jnp.any(end != wanted)

    return jnp.all(jax.vmap(side)(jnp.asarray([-1.0, 1.0], x.dtype))) | ~(edm > 0)


def _foreign_status(solution, edm: Array, definite: Array, rises: Array) -> RESULTS:
    """Believe a solver that looks at no curvature only if the curvature agrees."""
    status: Any = RESULTS.promote(solution.result)
    ended = status == RESULTS.successful
    near = edm <= FOREIGN_EDM_GOAL
    status = RESULTS.where(ended & ~rises, RESULTS.flat_direction, status)
    status = RESULTS.where(ended & ~near, RESULTS.edm_above_goal, status)
    return RESULTS.where(ended & ~definite, RESULTS.not_a_minimum, status)


def _status(state: Any, solution: optx.Solution) -> RESULTS:
    """Translate the code of our solvers."""
    status: Any = RESULTS.promote(solution.result)
    saddle = (state.code == CODE_STALLED) & ~state.definite
    for code, result in (
        (state.code == CODE_MINIMUM, RESULTS.successful),
        (state.code == CODE_FLAT, RESULTS.flat_direction),
        (state.code == CODE_STALLED, RESULTS.stalled),
        (saddle, RESULTS.not_a_minimum),
        (state.code == CODE_NONFINITE_START, RESULTS.nonfinite_start),
        # The driver looks at the start before the solver does.
        (state.evaluations == 0, RESULTS.nonfinite_start),
    ):
        status = RESULTS.where(code, result, status)
    return status


def _range(numbers: Numbers, x: Array) -> tuple[Array, Array]:
    """Return the ends of boxes and of the ranges of transforms."""
    infinite = jnp.full_like(x, jnp.inf)
    lower = -infinite if numbers.lower is None else jnp.asarray(numbers.lower)
    upper = infinite if numbers.upper is None else jnp.asarray(numbers.upper)
    for transform, where in zip(numbers.transforms, numbers.transformed, strict=True):
        low, high = transform._range()
        lower, upper = lower.at[where].set(low), upper.at[where].set(high)
    return lower, upper


def _at_bound(x, gradient, lower, upper):
    """Return which parameters a smooth map has driven into an end of its range."""
    width = jnp.where(jnp.isfinite(upper - lower), upper - lower, 1 + jnp.abs(x))
    near = 1e-7 * width
    return ((x - lower <= near) & (gradient > 0)) | (
        (upper - x <= near) & (gradient < 0)
    )


def newton_step(hessian: Array, gradient: Array, free: Array):
    """Return the Newton step on the free parameters, its EDM, and definiteness.

    The matrix is scaled to a unit diagonal first, so parameters of any size do.
    """
    solve, definite = scaled_solver(hessian, free)
    step = -solve(jnp.where(free, gradient, 0))
    edm = -0.5 * jnp.vdot(step, jnp.where(free, gradient, 0))
    return step, jnp.where(definite, edm, jnp.inf), definite


def scaled_solver(hessian: Array, free: Array):
    """Return a function that solves with the free block, and whether it is definite."""
    diagonal = jnp.diagonal(hessian)
    scale = jnp.where(free & (diagonal > 0), jax.lax.rsqrt(jnp.abs(diagonal)), 1)
    factor = Dense(hessian).scaled(scale).masked(free).factor()
    eps = jnp.finfo(hessian.dtype).eps
    definite = factor.smallest_pivot > hessian.shape[0] * eps

    def solve(rhs):
        return scale * factor.solve(scale * jnp.where(free, rhs, 0))

    return solve, definite
