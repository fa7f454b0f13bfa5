"""`ifit`: the fit of `fit`, step by step, with callbacks and checkpoints."""

import contextlib
import copy
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Float

from everwillow._captures import holds_tracer
from everwillow._errors import RESULTS, ArgumentTypeError
from everwillow._numerics import all_finite, is_traced
from everwillow._progress import LOGGER
from everwillow._typing import Key
from everwillow.callback import Callback, nll_of
from everwillow.engine import programs
from everwillow.engine.bound_errors import bound_distances
from everwillow.engine.core import (
    Task,
    from_physical,
    knows_curvature,
    objective_in_solver_coordinates,
    solver_options,
    to_physical,
)
from everwillow.engine.outcome import Outcome, conclude
from everwillow.engine.problem import Numbers
from everwillow.fitting._checkpoint import Checkpoint, fingerprint_of
from everwillow.fitting.result import FitResult
from everwillow.fitting.run import assemble, fit, prepare_task, resolve, warn_before_fit
from everwillow.statelib import State
from everwillow.statelib.state import Parameters


class Progress(eqx.Module):
    """The state of a fit between two steps.

    Attributes:
        y: The solver's point, in its coordinates, shape ``(n,)``.
        state: The solver's state.
        going: Whether another step follows.
        result: The reason if not.
    """

    y: Float[Array, " n"]
    state: Any
    going: Bool[Array, ""]
    result: optx.RESULTS


def ifit(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    bounds: Mapping[Key, Any] | None = None,
    solver: optx.AbstractMinimiser | None = None,
    max_steps: int = 256,
    throw: bool | None = None,
    callbacks: Iterable[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> FitResult:
    """Minimise like `fit`, step by step, with callbacks and checkpoints.

    For long fits, and to watch a fit. A step costs a millisecond more than inside
    `fit`; one step is compiled, once, for any start values, data, fixed values and
    bounds. It runs on the host, so not inside `jax.jit`, `jax.vmap` or `jax.grad`.

    Args:
        nll_fn: As for `fit`.
        params: As for `fit`.
        observation: As for `fit`.
        fixed: As for `fit`.
        bounds: As for `fit`.
        solver: As for `fit`.
        max_steps: As for `fit`. Steps made before a restart count.
        throw: Whether to raise an error if there is no minimum. By default, unless only
            `max_steps` ended the fit: its result is returned then, and a warning goes
            to the logger ``everwillow``.
        callbacks: Each is called after each step as ``callback(iteration, y, state)``
            with iteration 0, 1, 2, ..., the State of the best parameters so far in
            physical units, fixed ones included, and the solver's state with -ln L as
            ``nll``, which for our solvers has ``edm``, too. An exception in a callback
            ends the fit and reaches the caller.
        checkpoint: A directory in which each step is saved before the callbacks see
            it, in one file that is replaced as a whole. The same call again, after the
            process was killed or a callback raised, continues with the next step and
            ends with the identical result; after the end it returns that result at
            once. A larger `max_steps` continues a fit that had too few. Code is not
            compared: delete the directory after a change of what `nll_fn` computes.
        progress: Whether to show a `everwillow.progress.ProgressBar`. By default on a
            terminal, if tqdm is installed.

    Returns:
        The best fit, as from `fit`.

    Raises:
        CheckpointError: If the checkpoint is damaged or belongs to another fit; the
            message names the differences.
        ArgumentTypeError: If an argument has the wrong type or is traced by JAX.
        EverwillowError: As `fit`.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.fitting import ifit
        >>> def nll(params, data):
        ...     return 0.5 * ((params["mu"] - data) / 2.0) ** 2
        >>> def show(iteration, y, state):
        ...     print(iteration, f"mu = {y['mu']:.2f}", f"-ln L = {state.nll:.2f}")
        >>> state = ew.State.from_pytree({"mu": 0.0})
        >>> result = ifit(nll, state, 3.0, callbacks=[show])
        0 mu = 0.00 -ln L = 1.12
        1 mu = 3.00 -ln L = 0.00
    """
    _refuse_tracers(nll_fn, params, observation, fixed, bounds)
    callbacks = _check_callbacks(callbacks)
    arguments = resolve(nll_fn, params, observation, fixed, bounds)
    task, numbers = prepare_task(arguments, solver, max_steps)
    if not np.any(numbers.mask):
        return fit(
            arguments.objective,
            arguments.params,
            arguments.observation,
            fixed=arguments.fixed,
            bounds=arguments.bounds,
            throw=throw is not False,
        )
    warn_before_fit(task, numbers)
    # The programs of single steps are the same for any number of them.
    task = Task(task.objective, task.layout, task.solver, 0)
    with _bar(progress=progress) as bar:
        watching = (*callbacks, *bar)
        count, end = _iterate(task, numbers, max_steps, watching, checkpoint)
    outcome, solution = programs.call(finish, task, numbers, end, np.asarray(count))
    stats = {**solution.stats, "max_steps": max_steps}
    solution = eqx.tree_at(lambda s: s.stats, solution, stats)
    sides = bound_distances(task, numbers, outcome)
    result = assemble(
        task.layout, numbers, outcome, solution, arguments.constraints, sides
    )
    return _checked(result, throw=throw)


def _checked(result: FitResult, *, throw: bool | None) -> FitResult:
    """Return a result, or raise `FitError` if there is no minimum and that is asked."""
    if throw is None and bool(result.status == RESULTS.nonlinear_max_steps_reached):
        LOGGER.warning("ifit: %s", result.message())
        return result
    return result if throw is False else result.check()


@contextlib.contextmanager
def _bar(*, progress: bool | None) -> Iterator[tuple[Callback, ...]]:
    """Give the callback that shows the progress of a fit, if it is wanted."""
    wanted = sys.stderr.isatty() if progress is None else progress
    made = _progress_bar(needed=progress is True) if wanted else None
    if made is None:
        yield ()
        return
    with made as bar:
        yield (bar,)


def _progress_bar(*, needed: bool) -> Any:
    """Return a progress bar; None without tqdm, unless it is needed."""
    try:
        # tqdm is optional, and slow to import.
        from everwillow.progress import ProgressBar  # noqa: PLC0415
    except ImportError:
        if needed:
            raise
        return None
    return ProgressBar()


def _iterate(
    task: Task,
    numbers: Numbers,
    max_steps: int,
    callbacks: tuple[Callback, ...],
    directory: str | os.PathLike[str] | None,
) -> tuple[int, Progress]:
    """Step until the solver stops; return the number of steps and the end."""
    file = None
    if directory is not None:
        file = Checkpoint(directory, fingerprint_of(task, numbers))
    count, progress = 0, programs.call(begin, task, numbers)
    if file is not None:
        count, progress = file.resume(progress)
    _, static = programs.split(progress)
    while bool(progress.going) and count < max_steps:
        arrays, x = programs.call(advance, task, numbers, progress)
        # Leaves that are no arrays stay the same objects, as the compiled step is
        # cached by their identity.
        progress = programs.join(arrays, static)
        count += 1
        if file is not None:
            file.save(count, progress)
        if callbacks:
            point, state = _point(task, numbers, x), _with_nll(progress.state)
            for callback in callbacks:
                callback(count - 1, point, state)
    return count, progress


def _with_nll(state: Any) -> Any:
    """Return a state of a solver that has -ln L as ``nll``, if it is known."""
    if hasattr(state, "nll") or not hasattr(state, "__dict__"):
        return state
    try:
        value = nll_of(state)
    except ArgumentTypeError:
        return state
    # Of the same class, which may be frozen, so that callbacks may treat it as such.
    copied = copy.copy(state)
    object.__setattr__(copied, "nll", value)
    return copied


def _point(task: Task, numbers: Numbers, x: Array) -> State:
    """Return all parameters in physical units, from those of the solver."""
    vector = np.array(numbers.vector)
    vector[np.asarray(numbers.index)] = np.asarray(x)
    return task.layout.state(vector, numbers.others)


def begin(task: Task, numbers: Numbers) -> Progress:
    """Set up the solver, as `optimistix.minimise` does."""
    y = from_physical(numbers, task.start(numbers))
    args, options = (task, numbers), solver_options(task, numbers)
    struct, aux = eqx.filter_eval_shape(_function, y, args)
    state = task.solver.init(_function, y, args, options, struct, aux, frozenset())
    return _without_weak_types(_judged(task, numbers, y, y, state))


def advance(
    task: Task, numbers: Numbers, progress: Progress
) -> tuple[list[Array], Array]:
    """Make one step.

    Returns:
        The arrays of the new `Progress`, and the best parameters in physical units.
    """
    y, (_, structure) = progress.y, programs.split(progress)
    args, options = (task, numbers), solver_options(task, numbers)
    new_y, state, aux = task.solver.step(
        _function, y, args, options, progress.state, frozenset()
    )
    # The finiteness of y is judged one step late, as in optimistix, so that both count
    # the same number of steps.
    progress = _without_weak_types(_judged(task, numbers, y, new_y, state))
    arrays, new_structure = programs.split(progress)
    if new_structure != structure:
        raise ArgumentTypeError(
            f"solver: the state of {type(task.solver).__name__} changes its structure "
            f"from step to step, which optimistix does not allow."
        )
    if knows_curvature(task.solver):
        best = state.x
    else:
        best, _, _ = task.solver.postprocess(
            _function, new_y, aux, args, options, state, frozenset(), progress.result
        )
    return arrays, to_physical(numbers, best)[0]


def finish(
    task: Task, numbers: Numbers, progress: Progress, count: Array
) -> tuple[Outcome, optx.Solution]:
    """Return the outcome of a fit."""
    result = optx.RESULTS.where(
        progress.going, optx.RESULTS.nonlinear_max_steps_reached, progress.result
    )
    y, _, stats = task.solver.postprocess(
        _function,
        progress.y,
        None,
        (task, numbers),
        solver_options(task, numbers),
        progress.state,
        frozenset(),
        result,
    )
    stats = {"num_steps": count, "max_steps": 0, **stats}
    solution = optx.Solution(
        value=y, result=result, aux=None, stats=stats, state=progress.state
    )
    return conclude(task, numbers, solution)


def _function(y: Array, args: tuple[Task, Numbers]) -> tuple[Array, None]:
    """Evaluate the objective, with the empty auxiliary output that solvers expect."""
    return jnp.asarray(objective_in_solver_coordinates(y, args)), None


def _judged(
    task: Task, numbers: Numbers, y: Array, new_y: Array, state: Any
) -> Progress:
    """Return the progress, with the solver's decision whether to go on."""
    stop, result = task.solver.terminate(
        _function, y, (task, numbers), solver_options(task, numbers), state, frozenset()
    )
    result = optx.RESULTS.where(all_finite(y), result, optx.RESULTS.nonfinite)
    going = jnp.invert(stop) & (result == optx.RESULTS.successful)
    return Progress(new_y, state, going, result)


def _without_weak_types(progress: Progress) -> Progress:
    """Give all arrays the types that they have after loading from a file."""

    def convert(leaf: Any) -> Any:
        if not eqx.is_array(leaf) or jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            return leaf
        return jax.lax.convert_element_type(leaf, leaf.dtype)

    return jax.tree.map(convert, progress)


def _refuse_tracers(nll_fn: Any, *trees: Any) -> None:
    # Inside `jit` even a constant is traced.
    if not is_traced(nll_fn, trees, jnp.zeros(())) and not holds_tracer(nll_fn):
        return
    raise ArgumentTypeError(
        "ifit runs on the host, one step at a time, so it does not work inside of "
        "jax.jit, jax.vmap, jax.grad or another transformation of JAX. Use fit there: "
        "it gives the same result."
    )


def _check_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    if not isinstance(callbacks, Iterable):
        raise ArgumentTypeError(
            f"callbacks: expected a list of functions, got {type(callbacks).__name__}. "
            f"Write callbacks=[...] also for a single one."
        )
    callbacks = tuple(callbacks)
    for callback in callbacks:
        if not callable(callback):
            raise ArgumentTypeError(
                f"callbacks: expected functions, got {type(callback).__name__}."
            )
    return callbacks
