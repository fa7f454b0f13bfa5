"""The fits of a back-end, compiled once and started from the results of others."""

import dataclasses
import functools as ft
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from everwillow._errors import FitError, NonFiniteError, ShapeMismatchError, unknown_key
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.engine.layout import ravel_state
from everwillow.engine.prefit import centers_and_widths
from everwillow.engine.problem import Numbers
from everwillow.fitting.conditional import Problem, pose
from everwillow.interop.spey._programs import prediction
from everwillow.model import AbstractModel
from everwillow.parameters import Interval


# A scan or the search of a limit visits a few dozen values.
_MOST_FITS = 512


@dataclasses.dataclass(frozen=True)
class Point:
    """The end of a fit.

    Attributes:
        nll: -ln L at the end.
        vector: All parameters, fixed ones included.
    """

    nll: float
    vector: np.ndarray


@dataclasses.dataclass(frozen=True)
class Question:
    """The options of a fit.

    Attributes:
        held: The positions and the values of held parameters.
        lower: The lower bound of the parameter of interest.
        init: Start values of the floating parameters, or None.
        bounds: Lower and upper bounds for all of them, or None for those of the model.
    """

    held: tuple[tuple[int, float], ...] = ()
    lower: float = -np.inf
    init: np.ndarray | None = None
    bounds: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def key(self) -> Any:
        """The key under which the result is kept; None if it is not kept."""
        if self.init is not None or self.bounds is not None:
            return None
        # The bounds of held parameters do not matter.
        return self.held or self.lower


class DataSet:
    """Data, and the results of fits to them.

    Attributes:
        label: The name of the data in messages.
        observation: The data.
    """

    def __init__(self, label: str, observation: Mapping[str, Any]) -> None:
        self.label = label
        self.observation = observation
        self._points: OrderedDict[Any, Point] = OrderedDict()

    def get(self, key: Any) -> Point | None:
        """Return the result of a fit that was made, or None."""
        return None if key is None else self._points.get(key)

    def keep(self, key: Any, point: Point) -> None:
        """Keep a fit."""
        if key is not None:
            self._points[key] = point
            if len(self._points) > _MOST_FITS:
                self._points.popitem(last=False)

    def nearest(self, place: int, value: float | None) -> Point | None:
        """Return the fit with the nearest value of a parameter; any fit without one."""
        points = list(self._points.values())
        if not points or value is None:
            return points[-1] if points else None
        return min(points, key=lambda point: abs(float(point.vector[place]) - value))


class Fits:
    """The fits of one model with one parameter of interest.

    Attributes:
        model: The model.
        poi: Key of the parameter of interest.
        problem: The fit to the observed data, the POI free and without bounds.
        free: The positions of the floating parameters in the vector of all.
        labels: The names of the floating parameters.
        index: The index of the POI among them.
    """

    def __init__(self, model: AbstractModel, poi: Key) -> None:
        if poi not in model.state:
            raise unknown_key(poi, model.state, where="poi_name")
        if np.shape(model.state[poi]):
            raise ShapeMismatchError(
                f"poi_name: {poi!r} is a vector of {np.size(model.state[poi])} "
                "parameters; a parameter of interest is one number."
            )
        self.model = model
        self.poi = poi
        # The POI floats even if it is constant in the file, and tests go beyond the
        # range of its best fit in the file.
        anywhere = Interval(-np.inf, np.inf)
        self.problem: Problem = pose(model, fixed={poi: None}, bounds={poi: anywhere})
        numbers = self.problem.numbers
        index = np.asarray(numbers.index)
        self._free_here = self.problem.free
        self.free = index[self._free_here]
        labels = self.problem.labels
        self.labels = tuple(labels[i] for i in self._free_here)
        (self._poi_here,) = self.problem.positions(poi, where="poi_name")
        self.place = int(index[self._poi_here])
        self.index = int(np.searchsorted(self._free_here, self._poi_here))

    @property
    def start(self) -> np.ndarray:
        """All parameters at their start values."""
        return np.array(self.problem.numbers.vector)

    @ft.cached_property
    def nominal(self) -> np.ndarray:
        """All parameters at the values of auxiliary measurements, with the POI at 0.

        Parameters without an auxiliary measurement are at their start values.
        """
        layout = self.problem.task.layout
        vector = self.start
        centers, _ = centers_and_widths(self.model.constraints, layout)
        vector = np.where(np.isnan(centers), vector, centers)
        fixed = np.setdiff1d(np.arange(vector.size), self.free)
        vector[fixed] = self.start[fixed]
        vector[self.place] = 0.0
        return vector

    def vector(self, pars: Any, *, where: str = "pars") -> np.ndarray:
        """Return all parameters from the floating ones.

        Raises:
            ShapeMismatchError: If the number of parameters is wrong.
        """
        values = np.asarray(pars, np.float64)
        if values.shape != self.free.shape:
            raise ShapeMismatchError(
                f"{where}: expected {self.free.size} numbers "
                f"({', '.join(self.labels[:6])}{', ...' * (self.free.size > 6)}), got "
                f"shape {values.shape}."
            )
        vector = self.start
        vector[self.free] = values
        return vector

    def numbers(self, vector: np.ndarray, observation: Any = None) -> Numbers:
        """Return the arguments of a compiled program for parameters and data."""
        numbers = self.problem.numbers
        if observation is None:
            observation = numbers.observation
        return dataclasses.replace(numbers, vector=vector, observation=observation)

    def run(self, program: Callable[..., Any], numbers: Numbers, *args: Any) -> Any:
        """Run one of the compiled programs, and return its arrays in NumPy."""
        out = programs.call(program, self.problem.task, numbers, *args)
        return jax.tree.map(np.asarray, out)

    def asimov(self, vector: np.ndarray) -> dict[str, Any]:
        """Return the expected data at some parameters, including auxiliary data.

        Raises:
            NonFiniteError: If a number is NaN or infinite.
        """
        made = self.run(prediction, self.numbers(vector))
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(made)):
            raise NonFiniteError(
                f"The expected data are not finite at {self.shown(vector)}."
            )
        return made

    def shown(self, vector: np.ndarray) -> str:
        """Return the first floating parameters in words, for messages."""
        values = zip(self.labels[:8], vector[self.free], strict=False)
        text = ", ".join(f"{name} = {value:.6g}" for name, value in values)
        return text + ", ..." * (len(self.labels) > 8)

    def ask(self, data: DataSet, question: Question) -> Point:
        """Return the end of a fit, from an earlier call if there was one.

        Raises:
            FitError: If there is no minimum.
        """
        known = data.get(question.key)
        if known is not None:
            return known
        problem = self._posed(data, question)
        failed = None
        for start in self._starts(data, question):
            result = self._from(problem, start, question).fit(throw=False)
            nll = float(result.nll)
            if bool(result.success) and np.isfinite(nll):
                vector = self.start
                vector[self.free] = ravel_state(result.params)[1][self.free]
                point = Point(nll, vector)
                data.keep(question.key, point)
                return point
            failed = result
        assert failed is not None
        where = ", ".join(f"{self.labels[i]} = {v:g}" for i, v in question.held)
        where = where or f"{self.poi} free"
        raise FitError(
            f"The fit of {data.label} with {where} failed: {failed.message()}", failed
        )

    def _posed(self, data: DataSet, question: Question) -> Problem:
        """Return the fit without its start values."""
        numbers = self.problem.numbers
        lower, upper = np.array(numbers.lower), np.array(numbers.upper)
        lower[self._poi_here] = question.lower
        if question.bounds is not None:
            lower[self._free_here], upper[self._free_here] = question.bounds
        mask = np.array(numbers.mask)
        for index, _ in question.held:
            here = self._free_here[index]
            mask[here], lower[here], upper[here] = False, -np.inf, np.inf
        numbers = dataclasses.replace(
            numbers, observation=data.observation, mask=mask, lower=lower, upper=upper
        )
        return dataclasses.replace(self.problem, numbers=numbers)

    def _starts(self, data: DataSet, question: Question) -> Iterator[np.ndarray]:
        """Yield start values: those of the options, of a similar fit, and defaults."""
        if question.init is not None:
            yield self.vector(question.init, where="init_pars")
        held = dict(question.held)
        near = data.nearest(self.place, held.get(self.index))
        if near is not None:
            yield near.vector
        yield self.start

    def _from(self, problem: Problem, start: np.ndarray, question: Question) -> Problem:
        """Return the fit with start values that are clipped to the bounds."""
        numbers = problem.numbers
        vector, here = start.copy(), self._free_here
        inside = np.clip(vector[self.free], numbers.lower[here], numbers.upper[here])
        vector[self.free] = inside
        for index, value in question.held:
            vector[self.free[index]] = value
        return dataclasses.replace(
            problem, numbers=dataclasses.replace(numbers, vector=vector)
        )
