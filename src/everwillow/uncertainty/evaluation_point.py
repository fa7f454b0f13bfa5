"""The point at which derivatives are evaluated, with its free and held parameters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentValueError
from everwillow._numerics import is_traced
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import Layout, on_host, ravel_state
from everwillow.engine.problem import Numbers, apply_fixed, build, check_mapping
from everwillow.fitting import FitResult
from everwillow.statelib import State
from everwillow.statelib.state import as_state


class Point(NamedTuple):
    """Parameter values, and the fit that ended there if there is one.

    Attributes:
        state: All parameters.
        fixed: The parameters that are not free, as in `fit`.
        layout: The structure of the State; of a single fit if `state` is a batch.
        free: Positions of the free parameters in the flat vector, shape ``(free,)``.
        held: Which free parameters are held at a bound, shape ``(..., free)``.
        result: The fit that ended here; None without one.
        same: Whether that fit had these free parameters and these fixed values.
    """

    state: State
    fixed: Mapping[Key, Any]
    layout: Layout
    free: np.ndarray
    held: Any
    result: FitResult | None
    same: bool

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the free parameters."""
        return tuple(self.layout.labels[i] for i in self.free)

    @property
    def hessian(self) -> Any:
        """The Hessian of the fit that ended here, or None."""
        if self.result is None or not self.same or self.result.hessian is None:
            return None
        return on_host(self.result.hessian)


def locate(params: Any, fixed: Any) -> Point:
    """Return the point of parameters or of the end of a fit.

    Args:
        params: A State, a dict or another pytree of parameters, or a FitResult.
        fixed: As in `fit`; None with a FitResult means "as in that fit".
    """
    if isinstance(params, FitResult) and params.at_bound is None:
        # Made of values alone: it does not tell what was fixed.
        params = params.params
    if isinstance(params, FitResult):
        return _locate_result(params, fixed)
    params = as_state(params)
    layout, vector, others = ravel_state(params)
    _, _, mask = apply_fixed(layout, vector, others, fixed)
    (free,) = np.nonzero(mask)
    held = np.zeros(free.size, bool)
    return Point(params, check_mapping(fixed, "fixed"), layout, free, held, None, False)


def _locate_result(result: FitResult, fixed: Any) -> Point:
    layout = result.layout
    fitted = np.asarray(result.free, int)
    if fixed is None:
        free_elements = set(result.free)
        # An entry without elements is neither free nor fixed, and has no error.
        fixed = {
            key: ...
            for key, start, size, numeric in zip(
                layout.keys, layout.starts, layout.sizes, layout.numeric, strict=True
            )
            if not numeric or (size and start not in free_elements)
        }
        held = on_host(result.at_bound)
        return Point(result.params, fixed, layout, fitted, held, result, True)
    refuse_batch(result, "with `fixed`")
    _, vector, others = ravel_state(result.params)
    _, _, mask = apply_fixed(layout, vector, others, fixed)
    (free,) = np.nonzero(mask)
    same = np.array_equal(free, fitted) and all(
        _unchanged(value, result.params[key]) for key, value in fixed.items()
    )
    if same:
        held = on_host(result.at_bound)
    elif is_traced(result.at_bound):
        everywhere = jnp.zeros(layout.size, bool)
        held = everywhere.at[fitted].set(result.at_bound)[free]
    else:
        held = np.zeros(layout.size, bool)
        held[fitted] = np.asarray(result.at_bound)
        held = held[free]
    return Point(result.params, fixed, layout, free, held, result, same)


def _unchanged(value: Any, old: Any) -> bool:
    """Return whether a fixed value is known to equal the old one."""
    if value is None or value is Ellipsis or value is old:
        return True
    if is_traced(value, old):
        return False
    return bool(np.all(np.asarray(value) == np.asarray(old)))


def refuse_batch(result: FitResult | None, doing: str) -> None:
    """Raise if a result is that of many fits."""
    if result is not None and np.ndim(result.nll):
        raise ArgumentValueError(
            f"params: a batch of {np.size(result.nll)} fits cannot be used {doing}. "
            "Map over it: jax.vmap(lambda result, data: ...)(results, datasets)."
        )


def evaluate_at(
    function: Callable[..., Any],
    objective: Callable[..., Any],
    point: Point,
    observation: Any,
    *args: Any,
    whole: bool = False,
) -> tuple[Any, Numbers]:
    """Call ``function(task, numbers, *args)`` at a point, compiled once.

    Args:
        function: A module-level function.
        objective: The callable of the task.
        point: The parameters.
        observation: Second argument of the objective.
        *args: Further pytrees.
        whole: Whether the task has all parameters, not only the free ones.

    Returns:
        The outputs of the function, on the host unless they are traced; the numbers.
    """
    refuse_batch(point.result, "here")
    layout, numbers = build(
        point.state, observation, point.fixed, None, native_boxes=True, whole=whole
    )
    task = Task(objective, layout, None, 1)
    return on_host(programs.call(function, task, numbers, *args)), numbers


def output(task: Task, numbers: Numbers, x: Any) -> Any:
    """Return the outputs of the callable of a task, which need not be one number."""
    return task.objective(task.params(numbers, x), numbers.observation)


__all__ = ["Point", "evaluate_at", "locate", "on_host", "output", "refuse_batch"]
