"""Fits with some parameters held at values, for profiles, impacts and tests.

A parameter that is held stays in the compiled program: a traced mask keeps it from
moving. All conditional fits of an objective, whichever parameters are held and at
whatever values, therefore use the one executable of the free fit.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np
import optimistix as optx

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow._numerics import is_traced
from everwillow._typing import Key
from everwillow.engine.core import Task
from everwillow.engine.layout import Layout, as_arrays, float_dtype, ravel_state
from everwillow.engine.names import named_elements, unknown_name
from everwillow.engine.problem import Numbers, check_mapping
from everwillow.fitting.options import FitOptions, takes_options
from everwillow.fitting.result import FitResult
from everwillow.fitting.run import prepare_task, resolve, solve_task, warn_before_fit
from everwillow.model import AbstractModel
from everwillow.statelib import State
from everwillow.statelib.state import Parameters


@dataclasses.dataclass(frozen=True)
class Problem:
    """A fit whose arguments were checked and turned into arrays, to be run many times.

    Positions are those among the parameters that the compiled core sees, the order of
    ``numbers.index``.

    Attributes:
        task: The structure.
        numbers: The arguments of the compiled core.
        constraints: Constraints of the model; empty for a plain function.
        ranges: Which bounds are ranges for fits only, shape ``(n,)``: a parameter may
            be held beyond them. None if no bound is such a range.
    """

    task: Task
    numbers: Numbers
    constraints: Mapping[Key, Any]
    ranges: np.ndarray | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the parameters that the core sees, ``"gamma[3]"`` in arrays."""
        labels = self.task.layout.labels
        return tuple(labels[i] for i in self.numbers.index)

    @property
    def free(self) -> np.ndarray:
        """The positions of the parameters that are free."""
        return np.nonzero(np.asarray(self.numbers.mask))[0]

    @property
    def start(self) -> State:
        """The start values, with held and fixed parameters at their values."""
        return self.task.layout.state(self.numbers.vector, self.numbers.others)

    def positions(self, name: Key, *, where: str = "name") -> np.ndarray:
        """Return the positions of a free parameter.

        Args:
            name: A key, which refers to all elements of its entry, or the label of
                one element such as ``"gamma[3]"``.
            where: The argument that the name came from, for messages.

        Raises:
            UnknownKeyError: If there is no such parameter.
            ArgumentValueError: If the parameter is fixed.
        """
        layout = self.task.layout
        elements = named_elements(name, layout)
        if elements is None:
            raise unknown_name(name, layout, where=where)
        place = np.full(layout.size, -1)
        place[np.asarray(self.numbers.index)[self.free]] = self.free
        positions = place[elements]
        if positions.size == 0 or np.any(positions < 0):
            raise ArgumentValueError(
                f"{where}: the parameter {name!r} is fixed in this fit. Free it, or "
                "leave it out."
            )
        return positions

    def hold(self, held: Mapping[Key, Any] | None, *, where: str = "held") -> "Problem":
        """Return the problem with some parameters held, in the same program.

        Args:
            held: Key or label to value; ``...`` means the start value.
            where: The name of this argument in messages.

        Raises:
            UnknownKeyError: If there is no such parameter.
            ArgumentValueError: If a parameter is fixed, or a value outside its bounds
                or not finite.
            ShapeMismatchError: If a value has another shape than its parameter.
        """
        problem, numbers = self, self.numbers
        held = check_mapping(held, where)
        vector, mask = numbers.vector, np.array(numbers.mask)
        if is_traced(vector, dict(held)):
            vector = jnp.asarray(vector)
        for key, entry in held.items():
            positions = self.positions(key, where=where)
            mask[positions] = False
            if entry is Ellipsis or entry is None:
                continue
            value = self._held_value(key, entry, positions, where)
            problem = problem.reaching(positions, value)
            index = np.asarray(numbers.index)[positions]
            if isinstance(vector, np.ndarray):
                vector = vector.copy()
                vector[index] = value
            else:
                vector = vector.at[index].set(value)
        return problem._with(vector=vector, mask=mask)

    def reaching(self, positions: np.ndarray, values: Any) -> "Problem":
        """Return the problem with ranges widened to include some values.

        Bounds that are more than ranges are kept.

        Args:
            positions: Positions, shape ``(elements,)``.
            values: Values of these parameters, shape ``(..., elements)``.
        """
        soft = self._soft(positions)
        if not soft.any():
            return self
        positions, values = positions[soft], values[..., soft]
        axes = tuple(range(values.ndim - 1))
        return self._with_ends(positions, values.min(axis=axes), values.max(axis=axes))

    def without_range(self, positions: np.ndarray, *, least: float = 0.0) -> "Problem":
        """Return the problem without the ranges of some positions.

        Bounds that are more than ranges are kept, and so are lower ends below `least`.

        Args:
            positions: Positions, shape ``(elements,)``.
            least: Lower ends above this value are lowered to it.
        """
        positions = positions[self._soft(positions)]
        if not positions.size:
            return self
        return self._with_ends(positions, np.full(positions.shape, least), np.inf)

    def _with(self, **changes: Any) -> "Problem":
        """Return the problem with some of its numbers replaced."""
        numbers = dataclasses.replace(self.numbers, **changes)
        return dataclasses.replace(self, numbers=numbers)

    def _soft(self, positions: np.ndarray) -> np.ndarray:
        """Return which positions have a range for fits only as interval."""
        if self.ranges is None or self.numbers.lower is None:
            return np.zeros(positions.shape, bool)
        return self.ranges[positions]

    def _with_ends(self, positions: np.ndarray, low: Any, high: Any) -> "Problem":
        """Return the problem with intervals widened to include some values."""
        numbers = self.numbers
        lower, upper = numbers.lower, numbers.upper
        if is_traced(lower, upper, low, high):
            lower = jnp.asarray(lower).at[positions].min(low)
            upper = jnp.asarray(upper).at[positions].max(high)
        else:
            lower, upper = np.array(lower), np.array(upper)
            lower[positions] = np.minimum(lower[positions], low)
            upper[positions] = np.maximum(upper[positions], high)
        return self._with(lower=lower, upper=upper)

    def _held_value(
        self, key: Key, entry: Any, positions: np.ndarray, where: str
    ) -> Any:
        shape = np.shape(entry)
        layout = self.task.layout
        full_shape = layout.shapes[layout.where[key]] if key in layout.where else ()
        if shape not in ((), full_shape):
            raise ShapeMismatchError(
                f"{where}[{key!r}]: the value has shape {shape}, the parameter has "
                f"shape {full_shape}."
            )
        if is_traced(entry):
            return jnp.broadcast_to(jnp.ravel(entry), positions.shape)
        value = np.broadcast_to(
            np.ravel(np.asarray(entry, float_dtype())), positions.shape
        )
        self.check_inside(key, value, positions, where=where)
        return value

    def check_inside(
        self, name: Key, values: Any, positions: np.ndarray, *, where: str
    ) -> None:
        """Refuse values of a parameter that are not finite or beyond its bounds.

        Ranges of fits do not count as bounds, with one exception: a range that begins
        at 0 or above means that negative values have no meaning.

        Args:
            name: The parameter.
            values: Its values, shape ``(..., elements)``.
            positions: Its positions, shape ``(elements,)``.
            where: The argument, for messages.
        """
        lower, upper = self.range(positions)
        if is_traced(values, lower, upper):
            return
        soft = self._soft(positions)
        lower = np.where(soft, np.where(lower < 0, -np.inf, 0.0), lower)
        upper = np.where(soft, np.inf, upper)
        inside = np.isfinite(values) & (values >= lower) & (values <= upper)
        if not np.all(inside):
            wrong = np.ravel(np.broadcast_to(values, inside.shape)[~inside])[0]
            raise ArgumentValueError(
                f"{where}[{name!r}]: {wrong:g} is not a finite value inside the bounds "
                f"[{np.min(lower):g}, {np.max(upper):g}] of the parameter."
            )

    def range(self, positions: np.ndarray) -> tuple[Any, Any]:
        """Return the ends of the bounds of some positions, infinite without bounds."""
        numbers = self.numbers
        lower: Any = np.full(positions.shape, -np.inf)
        upper: Any = np.full(positions.shape, np.inf)
        if numbers.lower is not None:
            lower, upper = numbers.lower[positions], numbers.upper[positions]
        for transform, places in zip(
            numbers.transforms, numbers.transformed, strict=True
        ):
            low, high = (np.broadcast_to(e, places.shape) for e in transform._range())
            for i, place in enumerate(places):
                lower = np.where(positions == place, low[i], lower)
                upper = np.where(positions == place, high[i], upper)
        return lower, upper

    def at(self, values: State | FitResult) -> "Problem":
        """Return the problem with other start values.

        Args:
            values: A State of the same structure, or the result of a fit.
        """
        state = values.params if isinstance(values, FitResult) else values
        _, vector, _ = ravel_state(state)
        return self._with(vector=vector)

    def given(self, observation: Any) -> "Problem":
        """Return the problem for other data of the same structure."""
        return self._with(observation=as_arrays(observation, "observation"))

    def fit(self, *, throw: bool = True, distances: bool = False) -> FitResult:
        """Minimise from the start values, over parameters that are free and not held.

        Args:
            throw: Whether to raise where there is no minimum.
            distances: Whether to find `FitResult.bound_distances`.
        """
        warn_before_fit(self.task, self.numbers)
        return solve_task(
            self.task, self.numbers, self.constraints, throw=throw, distances=distances
        )


def pose(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    bounds: Mapping[Key, Any] | None = None,
    solver: optx.AbstractMinimiser | None = None,
    max_steps: int = 256,
) -> Problem:
    """Check the arguments of a fit once; they are those of `fit`."""
    arguments = resolve(nll_fn, params, observation, fixed, bounds)
    task, numbers = prepare_task(arguments, solver, max_steps)
    ranges = None
    if isinstance(nll_fn, AbstractModel) and nll_fn.bounds_are_ranges:
        ranges = _ranges(task.layout, numbers, check_mapping(bounds, "bounds"))
    return Problem(task, numbers, arguments.constraints, ranges)


def _ranges(layout: Layout, numbers: Numbers, given: Mapping[Key, Any]) -> np.ndarray:
    """Return which bounds are ranges: those of the model that were not replaced."""
    elements = np.ones(layout.size, bool)
    for key in given:
        elements[layout.elements(layout.where[key])] = False
    ranges = elements[np.asarray(numbers.index)]
    # Smooth maps cannot reach values beyond their ends.
    for places in numbers.transformed:
        ranges[places] = False
    return ranges


@takes_options(FitOptions)
def conditional_fit(
    nll_fn: Any,
    params: Parameters | FitResult | None = None,
    observation: Any = None,
    *,
    held: Mapping[Key, Any],
    throw: bool = True,
    **options: Unpack[FitOptions],
) -> FitResult:
    """Minimise with some parameters held at values, in the program of the free fit.

    The result is that of ``fit(..., fixed={**fixed, **held})``, which compiles a
    smaller program for each set of fixed parameters. This function runs the program of
    the free fit, whichever parameters are held, and is faster for many conditional
    fits.

    Args:
        nll_fn: As in `fit`, like all arguments that are not listed here.
        params: Start values.
        observation: Data.
        held: Key, or label of one element such as ``"gamma[3]"``, to value; ``...``
            means the start value.
        throw: As in `fit`.
        **options: `FitOptions`, as in `fit`: `fixed`, `bounds`, `solver`, `max_steps`.

    Raises:
        UnknownKeyError: If `held` names a parameter that does not exist.
        ArgumentValueError: If one is fixed, or its value outside its bounds.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.fitting.conditional import conditional_fit
        >>> def nll(params, data):
        ...     return 0.5 * ((data - params["a"] - params["b"]) ** 2 + params["b"]**2)
        >>> start = ew.State.from_pytree({"a": 0.0, "b": 0.0})
        >>> result = conditional_fit(nll, start, 3.0, held={"a": 1.0})
        >>> print(f"{result.params['b']:.3f}")
        1.000
    """
    problem = pose(nll_fn, params, observation, **options)
    return problem.hold(held).fit(throw=throw, distances=True)
