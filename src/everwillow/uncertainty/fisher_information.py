"""Observed and expected information of a likelihood at a point."""

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.engine.core import Task
from everwillow.engine.layout import float_dtype
from everwillow.engine.problem import Numbers, check_mapping
from everwillow.fitting import FitResult
from everwillow.fitting.run import resolve
from everwillow.model import AbstractModel
from everwillow.objective import curvature_hook
from everwillow.uncertainty.evaluation_point import Point, evaluate_at, locate, output
from everwillow.uncertainty.inversion import checked_inverse


Kind: TypeAlias = Literal["hessian", "fisher"]


class Situation(NamedTuple):
    """A likelihood with its data, and the point to look at."""

    objective: Any
    observation: Any
    point: Point


def look_at(nll_fn: Any, params: Any, observation: Any, fixed: Any) -> Situation:
    """Fill what was not given from a Model or a FitResult, and check the rest."""
    fixed = None if fixed is None else check_mapping(fixed, "fixed")
    is_model = isinstance(nll_fn, AbstractModel)
    start = params.params if isinstance(params, FitResult) else params
    objective, _, observation, merged, _, _ = resolve(
        nll_fn, start, observation, fixed, None
    )
    if not isinstance(params, FitResult):
        fixed = merged
    elif is_model and fixed is not None:
        # The result has the values at which the fit held what the model fixes.
        fixed = {**dict.fromkeys(nll_fn.fixed, ...), **fixed}
    return Situation(objective, observation, locate(params, fixed))


def covariance_at(situation: Situation, *, kind: str, throw: bool) -> Any:
    """Return the covariance of one kind."""
    if kind not in get_args(Kind):
        raise ArgumentValueError(f"kind: expected 'hessian' or 'fisher', got {kind!r}.")
    matrix = observed(situation) if kind == "hessian" else expected(situation)
    return checked_inverse(matrix, situation.point, throw=throw)


def observed(situation: Situation) -> Any:
    """Return the Hessian: that of the fit if there is one, else evaluated."""
    known = situation.point.hessian
    if known is not None:
        return known
    return second_derivatives(situation.objective, situation)


def expected(situation: Situation) -> Any:
    """Return the expected information."""
    objective, _, point = situation
    if isinstance(objective, AbstractModel):
        try:
            asimov = _asimov(objective, point)
        except ArgumentValueError:
            # A model that does not say what it expects may still know the answer.
            stand_in = _gauss_newton(situation)
            if stand_in is None:
                raise
            return stand_in
        return second_derivatives(objective, situation._replace(observation=asimov))
    stand_in = _gauss_newton(situation)
    if stand_in is not None:
        return stand_in
    raise ArgumentTypeError(
        "nll_fn: a function alone does not tell what data it expects, so there is no "
        'expected information for kind="fisher". Give a Model with '
        "`expected=`, a LeastSquares objective, or an objective whose curvature has a "
        'gauss_newton part; or use kind="hessian".'
    )


def second_derivatives(objective: Any, situation: Situation) -> Any:
    """Evaluate the exact second derivatives in the free parameters."""
    return _picked(_hessian, objective, situation)


def _gauss_newton(situation: Situation) -> Any:
    if curvature_hook(situation.objective) is None:
        return None
    return _picked(_stand_in, situation.objective, situation)


def _picked(function: Any, objective: Any, situation: Situation) -> Any:
    """Evaluate a matrix, and pick the rows of the free parameters."""
    point = situation.point
    if point.free.size == 0:
        return np.zeros((0, 0), float_dtype())
    whole = curvature_hook(objective) is not None
    matrix, numbers = evaluate_at(
        function, objective, point, situation.observation, whole=whole
    )
    if matrix is None or np.all(numbers.mask):
        return matrix
    (keep,) = np.nonzero(numbers.mask)
    return matrix[keep][:, keep]


def _hessian(task: Task, numbers: Numbers) -> Any:
    return task.evaluate(numbers, task.start(numbers)).curvature.as_matrix()


def _stand_in(task: Task, numbers: Numbers) -> Any:
    found = task.evaluate(numbers, task.start(numbers)).gauss_newton
    return None if found is None else found.as_matrix()


def _asimov(model: AbstractModel, point: Point) -> Any:
    """Return the data that a model expects at a point."""
    objective = _Asimov(model)
    return evaluate_at(_value, objective, point, None)[0]


class _Asimov(NamedTuple):
    """The Asimov data of a model, where a likelihood is expected."""

    model: AbstractModel

    def __call__(self, params: Any, observation: Any) -> Any:
        del observation
        return self.model.asimov(params)


def _value(task: Task, numbers: Numbers) -> Any:
    return output(task, numbers, task.start(numbers))


__all__ = [
    "Kind",
    "Situation",
    "covariance_at",
    "expected",
    "look_at",
    "observed",
    "second_derivatives",
]
