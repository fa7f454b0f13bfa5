"""`fit`: from start values to a minimum with errors, in one call."""

import dataclasses
import functools as ft
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx

from everwillow._captures import opened
from everwillow._errors import (
    RESULTS,
    ArgumentTypeError,
    ArgumentValueError,
    UnknownKeyError,
    unknown_key,
)
from everwillow._mesh_axes import mesh_axes, on_one_device
from everwillow._numerics import is_traced, namespace
from everwillow._progress import stage
from everwillow._rounding import counted
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.bound_errors import bound_distances
from everwillow.engine.core import Task, knows_curvature
from everwillow.engine.layout import Layout, float_dtype, ravel_state
from everwillow.engine.outcome import Outcome
from everwillow.engine.problem import Numbers, build, check_mapping
from everwillow.fitting._empty_bins import (
    could_not_begin,
    feasible_start,
    largest_changes,
    remark,
)
from everwillow.fitting.result import FitResult
from everwillow.model import AbstractModel
from everwillow.objective import curvature_hook, flat_hook
from everwillow.solvers.newton_cg import NewtonCG
from everwillow.solvers.trust_region_newton import TrustRegionNewton
from everwillow.statelib import State, update
from everwillow.statelib.state import Parameters


Minimise: TypeAlias = Callable[[Task, Numbers], tuple[Outcome, optx.Solution]]
"""A function that runs the compiled program of a fit."""

# Beyond this many fitted parameters the default is matrix-free: a dense Hessian would
# take 8 n² bytes (200 MB) and its factorisation n³/3 operations.
DENSE_LIMIT = 5000

DOUBLE_BYTES = 8

_DEFAULT = TrustRegionNewton()
# Packed likelihoods have no curved valleys, and the third derivatives of piecewise
# interpolations are misleading, so steps are not bent. Their curvature is accurate at
# the start, and up to some hundred parameters a Hessian costs hardly more than a
# gradient.
_STRAIGHT = TrustRegionNewton(bending=False, reach=1e3, chords_beyond=300)
_MATRIX_FREE = NewtonCG()


@dataclasses.dataclass(frozen=True)
class FitArguments:
    """The arguments of a fit, completed from a Model if there is one.

    Attributes:
        objective: ``objective(params, observation)`` returns -ln L.
        params: State of start values.
        observation: Second argument of the objective.
        fixed: Key to fixed value, or to ``...`` for the start value; None for nothing.
        bounds: Key to `Interval` or transform; None for nothing.
        constraints: Constraints of the Model, by key; empty for a plain function.
    """

    objective: Callable[[Any, Any], Any]
    params: Any
    observation: Any
    fixed: Mapping[Key, Any] | None
    bounds: Mapping[Key, Any] | None
    constraints: Mapping[Key, Any]


def fit(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    bounds: Mapping[Key, Any] | None = None,
    solver: optx.AbstractMinimiser | None = None,
    max_steps: int = 256,
    throw: bool = True,
) -> FitResult:
    """Minimise a negative log-likelihood over its free parameters.

    The first call with an objective compiles; further calls with other start values,
    data, fixed values or bounds only run. Inside `jax.jit`, `jax.vmap` and `jax.grad`
    it is one more JAX function: every output is differentiable by the implicit
    function theorem, and a batch runs as one program.

    Args:
        nll_fn: ``nll_fn(params, observation)`` returning -ln L (not -2 ln L), a
            scalar, for the original pytree of parameters; or a Model, whose
            parameters, data, bounds and fixed values are then the defaults.
        params: Start values: a State, or a dict or another pytree of parameters, of
            which a State is made; or the result of a fit, to start from its end. Python
            numbers become float arrays. With a Model a dict may have some of its
            parameters; the others start where the Model says.
        observation: The second argument of `nll_fn`, any pytree of numbers and arrays;
            if None, the data of a Model. A table (``DataFrame``, structured array) is
            passed on as a dict of its columns, a series as an array, a dataclass as a
            pytree of its fields.
        fixed: Parameters that are not fitted: key to value, or to ``...`` for the
            start value. Entries that are None stay free.
        bounds: For each bounded parameter an `Interval`, which the solver honours
            exactly, or a transform.
        solver: An `optimistix.AbstractMinimiser`. By default `TrustRegionNewton`, or
            `NewtonCG` from 5000 fitted parameters on.
        max_steps: Largest number of evaluations.
        throw: Whether to raise when there is no minimum. If False, and always in a
            batch under `jax.vmap` and on the devices of a `jax.shard_map`, look at
            ``result.success`` and ``result.status``.

    Returns:
        The best fit. In a call outside of any JAX transformation its arrays are on
        the host, in NumPy.

    Raises:
        ArgumentTypeError: If an argument has the wrong type, or an array of the
            observation holds text or other things that are no numbers.
        UnknownKeyError: If `fixed` or `bounds` name a parameter that does not exist.
        ArgumentValueError: If a start value is outside its bounds, or data are masked.
        FitError: If no minimum was found and `throw` is True; its ``result`` is that of
            the failed fit.

    Example:
        >>> import everwillow as ew
        >>> def nll(params, data):
        ...     return 0.5 * ((params["mu"] - data) / 2.0) ** 2
        >>> result = ew.fit(nll, {"mu": 0.0}, 3.0)
        >>> print(f"{result.params['mu']:.3f} +- {result.covariance[0, 0] ** 0.5:.3f}")
        3.000 +- 2.000
    """
    arguments = resolve(nll_fn, params, observation, fixed, bounds)
    task, numbers = prepare_task(arguments, solver, max_steps)
    warn_before_fit(task, numbers)
    return solve_task(task, numbers, arguments.constraints, throw=throw)


def solve_task(
    task: Task,
    numbers: Numbers,
    constraints: Mapping[Key, Any],
    *,
    throw: bool,
    distances: bool = True,
    minimise: Minimise = programs.run,
) -> FitResult:
    """Minimise a prepared task, and return the result with names.

    Args:
        task: The structure of the fit.
        numbers: Its arguments.
        constraints: Constraints of the model.
        throw: Whether to raise where there is no minimum.
        distances: Whether to find `FitResult.bound_distances`, which take another
            program.
        minimise: Runs the compiled program.
    """
    if np.any(numbers.mask):
        solve = ft.partial(_solved, minimise=minimise, distances=distances)
        result = solve(task, numbers, constraints)
        if could_not_begin(result) and not is_traced(task, numbers):
            result = _from_feasible_start(task, numbers, result, solve)
    else:
        result = _nothing_to_fit(task, numbers, constraints)
    return _checked(result) if throw else result


def _solved(
    task: Task,
    numbers: Numbers,
    constraints: Mapping[Key, Any],
    *,
    minimise: Minimise,
    distances: bool,
) -> FitResult:
    """Minimise, find one-sided errors, and remark on bins without expected count."""
    with stage(f"fit of {counted(np.size(numbers.index), 'parameter')}"):
        outcome, solution = minimise(task, numbers)
    sides = bound_distances(task, numbers, outcome) if distances else None
    result = assemble(task.layout, numbers, outcome, solution, constraints, sides)
    return with_remark(task, numbers, result)


def _from_feasible_start(
    task: Task,
    numbers: Numbers,
    result: FitResult,
    solve: Callable[[Task, Numbers, Mapping[Key, Any]], FitResult],
) -> FitResult:
    """Fit once more, from start values at which all bins have a likelihood, if any."""
    start = feasible_start(task, numbers)
    if start is None:
        return result
    vector = np.array(numbers.vector)
    vector[np.asarray(numbers.index)] = start
    moved = dataclasses.replace(numbers, vector=vector)
    found = solve(task, moved, result.constraints)
    where = largest_changes(task.layout.labels, np.asarray(numbers.vector), vector)
    text = f"At the start values {result.remark} The fit began at {where} instead."
    text = f"{text} {found.remark}".rstrip()
    return dataclasses.replace(found, remark=text)


def with_remark(task: Task, numbers: Numbers, result: FitResult) -> FitResult:
    """Return a result that names the bins of its Model without positive expected count.

    At the edge of positivity its value is evaluated again for the data, without the few
    events that the fit added to empty bins.
    """
    if is_traced(result.success) or np.ndim(result.success):
        return result
    assert result.solver_result is not None
    if result.success and not result.solver_result.stats.get("edge", False):
        return result
    if is_traced(task, numbers, result):  # differentiated
        return result
    start = task.layout.state(numbers.vector, numbers.others)
    if result.success:
        _, vector, _ = ravel_state(result.params)
        end = dataclasses.replace(numbers, vector=vector)
        value = np.asarray(programs.call(evaluate_at, task, end))
        result = dataclasses.replace(result, nll=value)
    text = remark(task.objective, result.params, numbers.observation, start)
    if result.success and not text:
        text = "It lies at the edge where a bin without events expects nothing."
    return dataclasses.replace(result, remark=text)


def _checked(result: FitResult) -> FitResult:
    """Return a result, or raise if it is no minimum, in traced code at run time."""
    if not is_traced(result.success):
        # Looking up a method of a Module costs as much as a small fit.
        return result if np.all(result.success) else result.check()
    if mesh_axes(result.success):
        return result  # One of a batch of fits, as under `jax.vmap`.
    # Every number carries the error, as compiled code drops unused ones.
    numbers, rest = eqx.partition(result, eqx.is_inexact_array)
    failed = _unless_batched(~jnp.asarray(result.success))
    numbers = result.status.error_if(numbers, failed)
    return eqx.combine(numbers, rest)


@jax.custom_batching.custom_vmap
def _unless_batched(failed):
    """Return whether a fit outside of a batch failed.

    In a batch every lane has its own status, and none may stop the others.
    """
    return failed


@_unless_batched.def_vmap
def _in_a_batch(axis_size, in_batched, failed):
    del axis_size, in_batched
    return jnp.zeros_like(failed), True


def resolve(
    nll_fn: Any,
    params: Any = None,
    observation: Any = None,
    fixed: Any = None,
    bounds: Any = None,
) -> FitArguments:
    """Complete the arguments of `fit` from a Model, and check the objective.

    Args:
        nll_fn: As in `fit`, like all other arguments.
        params: Start values.
        observation: Data.
        fixed: Parameters that are not fitted.
        bounds: Ranges of parameters.

    Raises:
        ArgumentTypeError: If `nll_fn` is not callable, or `params` of a Model is
            neither a State nor a dict.
        ArgumentValueError: If `params` is the result of a batch of fits.
        UnknownKeyError: If a dict has a key that no parameter of the Model has.
    """
    constraints: Mapping[Key, Any] = {}
    if isinstance(params, FitResult):
        params = _reached(params)
    # Values that a function closes over have derivatives only as arguments.
    nll_fn = opened(nll_fn)
    if isinstance(nll_fn, AbstractModel):
        params = _start(nll_fn, params)
        if observation is None:
            observation = nll_fn.observation
        else:
            nll_fn.check_observation(observation)
        own_bounds = check_mapping(bounds, "bounds")
        # A table is kept, as it costs less than a thousand entries.
        bounds = {**nll_fn.bounds, **own_bounds} if own_bounds else nll_fn.bounds
        fixed = {**nll_fn.fixed, **check_mapping(fixed, "fixed")}
        constraints = nll_fn.constraints
        nll_fn = nll_fn.bare
    if not callable(nll_fn):
        raise ArgumentTypeError(
            f"nll_fn: expected a function (params, observation) -> -ln L or a Model, "
            f"got {type(nll_fn).__name__}."
        )
    return FitArguments(nll_fn, params, observation, fixed, bounds, constraints)


def _start(model: AbstractModel, params: Any) -> State:
    """Return the start values of a Model, replaced by those that are given."""
    if params is None:
        return model.state
    if isinstance(params, State):
        return params
    if not isinstance(params, Mapping):
        raise ArgumentTypeError(
            f"params: expected a State or a dict, got {type(params).__name__}. A Model "
            "has its own parameters; give other data by name: fit(model, "
            "observation=...)."
        )
    values = State.from_pytree(params)
    for key in values:
        if key not in model.state:
            mend = " Give other data by name: fit(model, observation=...)."
            problem = str(unknown_key(key, model.state, where="params"))
            raise UnknownKeyError(problem + mend)
    return update(model.state, values)


def _reached(result: FitResult) -> State:
    """Return the end of a fit as start of another one."""
    if np.ndim(result.success):
        raise ArgumentValueError(
            "params: got the result of a batch of fits, and a fit starts from one. "
            "Choose it: jax.tree.map(lambda leaf: leaf[i], result.params)."
        )
    return result.params


def prepare_task(
    arguments: FitArguments,
    solver: optx.AbstractMinimiser | None = None,
    max_steps: int = 256,
) -> tuple[Task, Numbers]:
    """Check the arguments, and separate the structure of a fit from its numbers.

    Args:
        arguments: The result of `resolve`.
        solver: As in `fit`.
        max_steps: As in `fit`.
    """
    if solver is not None and not isinstance(solver, optx.AbstractMinimiser):
        raise ArgumentTypeError(
            f"solver: expected an optimistix.AbstractMinimiser such as "
            f"TrustRegionNewton() or optimistix.BFGS(rtol, atol), got "
            f"{type(solver).__name__}."
        )
    if not isinstance(max_steps, int | np.integer) or max_steps < 1:
        raise ArgumentValueError(
            f"max_steps: expected a positive integer, got {max_steps!r}."
        )
    objective = arguments.objective
    layout, numbers = build(
        arguments.params,
        arguments.observation,
        arguments.fixed,
        arguments.bounds,
        native_boxes=solver is None or knows_curvature(solver),
        whole=curvature_hook(objective) is not None,
    )
    if solver is None:
        solver = choose_solver(objective, numbers)
    return Task(objective, layout, solver, int(max_steps)), numbers


def choose_solver(objective: Any, numbers: Numbers) -> optx.AbstractMinimiser:
    """Return the default solver for a problem of this size."""
    if len(numbers.index) > DENSE_LIMIT and curvature_hook(objective) is None:
        return _MATRIX_FREE
    flat = flat_hook(objective)
    if flat is not None:
        return _MATRIX_FREE if flat.main.matrix_free else _STRAIGHT
    return _DEFAULT


def assemble(
    layout: Layout,
    numbers: Numbers,
    outcome: Outcome,
    solution: optx.Solution,
    constraints: Mapping[Key, Any],
    sides: Any = None,
) -> FitResult:
    """Return the result of a flat outcome and of `bound_distances`, with names."""
    keep = np.nonzero(np.asarray(numbers.mask))[0]
    index = np.asarray(numbers.index)
    if is_traced(outcome):
        vector = on_one_device(_placed, (numbers.vector, index, outcome.x))
    else:
        outcome, sides = jax.tree.map(np.asarray, (outcome, sides))
        vector = np.array(numbers.vector)
        vector[index] = outcome.x
    whole = len(keep) == len(index)

    def pick(leaf):
        return leaf if whole else leaf[keep]

    hessian = outcome.hessian
    if hessian is not None and not whole:
        hessian = hessian[keep][:, keep]
    return FitResult.of(
        params=layout.state(vector, numbers.others),
        nll=outcome.value,
        success=outcome.success,
        status=outcome.status,
        edm=outcome.edm,
        num_steps=outcome.num_steps,
        gradient=pick(outcome.gradient),
        hessian=hessian,
        at_bound=pick(outcome.at_bound),
        newton=pick(outcome.newton),
        bound_distances=None if sides is None else pick(sides),
        derivatives=outcome.derivatives,
        free=tuple(index[keep].tolist()),
        solver_result=solution,
        constraints=constraints,
        layout=layout,
    )


def _placed(numbers: tuple[Any, Any, Any]) -> Any:
    """Return a vector with some of its elements replaced."""
    vector, index, elements = numbers
    return jnp.asarray(vector).at[index].set(elements)


def evaluate_at(task: Task, numbers: Numbers) -> Any:
    """Return -ln L at the start values."""
    return task.value(numbers, task.start(numbers))


def _nothing_to_fit(task: Task, numbers: Numbers, constraints: Any) -> FitResult:
    """Return the value at fixed parameters, which needs no solver."""
    value = programs.call(evaluate_at, task, numbers)
    if not is_traced(value):
        value = np.asarray(value)
    none = np.zeros(0, float_dtype())
    finite = namespace(value).isfinite(value)
    good: Any = RESULTS.successful
    status = RESULTS.where(finite, good, RESULTS.nonfinite_start)
    return FitResult(
        params=task.layout.state(numbers.vector, numbers.others),
        nll=value,
        success=finite,
        status=status,
        edm=np.zeros((), float_dtype()),
        num_steps=np.asarray(0),
        gradient=none,
        hessian=none.reshape(0, 0),
        at_bound=np.zeros(0, bool),
        newton=none,
        bound_distances=none,
        free=(),
        solver_result=None,
        constraints=constraints,
        layout=task.layout,
    )


def warn_before_fit(task: Task, numbers: Numbers) -> None:
    """Warn of single precision and of functions made anew, unless JAX traces."""
    if not is_traced(task, numbers):
        warn_about_precision(float_dtype())
        programs.warn_about_new_functions(task.objective)


@ft.cache
def warn_about_precision(dtype: np.dtype) -> None:
    """Warn, once, when parameters are single precision."""
    if dtype.itemsize >= DOUBLE_BYTES:
        return
    warnings.warn(
        "JAX runs in single precision: parameters are good to three or four digits "
        "and small differences of -ln L are lost. Call "
        'jax.config.update("jax_enable_x64", True) at the start of the program.',
        stacklevel=4,
    )
