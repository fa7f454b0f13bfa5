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


class LikelihoodAtPoint(NamedTuple):
    """A likelihood with its data, and the point at which to differentiate it."""

    objective: Any
    observation: Any
    point: Point


def likelihood_at(
    nll_fn: Any, params: Any, observation: Any, fixed: Any
) -> LikelihoodAtPoint:
    """Check the arguments, and take those that are None from a Model or a FitResult."""
    fixed = None if fixed is None else check_mapping(fixed, "fixed")
    is_model = isinstance(nll_fn, AbstractModel)
    start = params.params if isinstance(params, FitResult) else params
    arguments = resolve(nll_fn, start, observation, fixed)
    if not isinstance(params, FitResult):
        fixed = arguments.fixed
    elif is_model and fixed is not None:
        # The result contains the values of the parameters that the model fixes.
        fixed = {**dict.fromkeys(nll_fn.fixed, ...), **fixed}
    at = params if isinstance(params, FitResult) else arguments.params
    point = locate(at, fixed)
    return LikelihoodAtPoint(arguments.objective, arguments.observation, point)


def covariance_at(likelihood: LikelihoodAtPoint, *, kind: str, throw: bool) -> Any:
    """Return the inverse of the observed or of the expected information."""
    if kind not in get_args(Kind):
        raise ArgumentValueError(f"kind: expected 'hessian' or 'fisher', got {kind!r}.")
    matrix = observed(likelihood) if kind == "hessian" else expected(likelihood)
    return checked_inverse(matrix, likelihood.point, throw=throw)


def observed(likelihood: LikelihoodAtPoint) -> Any:
    """Return the observed information: the Hessian of the fit, or a new one."""
    hessian = likelihood.point.hessian
    if hessian is not None:
        return hessian
    return second_derivatives(likelihood.objective, likelihood)


def expected(likelihood: LikelihoodAtPoint) -> Any:
    """Return the expected information."""
    objective, _, point = likelihood
    if isinstance(objective, AbstractModel):
        try:
            asimov = _asimov(objective, point)
        except ArgumentValueError:
            # A model without Asimov data may have a Gauss-Newton matrix.
            matrix = _gauss_newton(likelihood)
            if matrix is None:
                raise
            return matrix
        return second_derivatives(objective, likelihood._replace(observation=asimov))
    matrix = _gauss_newton(likelihood)
    if matrix is not None:
        return matrix
    raise ArgumentTypeError(
        "nll_fn: a function alone does not tell what data it expects, so there is no "
        'expected information for kind="fisher". Give a Model with '
        "`expected=`, a LeastSquares objective, or an objective whose curvature has a "
        'gauss_newton part; or use kind="hessian".'
    )


def second_derivatives(objective: Any, likelihood: LikelihoodAtPoint) -> Any:
    """Return the exact second derivatives in the free parameters."""
    return _matrix_of_free(_hessian, objective, likelihood)


def _gauss_newton(likelihood: LikelihoodAtPoint) -> Any:
    if curvature_hook(likelihood.objective) is None:
        return None
    return _matrix_of_free(_gauss_newton_at, likelihood.objective, likelihood)


def _matrix_of_free(
    function: Any, objective: Any, likelihood: LikelihoodAtPoint
) -> Any:
    """Evaluate a matrix, and return the rows and columns of the free parameters."""
    point = likelihood.point
    if point.free.size == 0:
        return np.zeros((0, 0), float_dtype())
    whole = curvature_hook(objective) is not None
    matrix, numbers = evaluate_at(
        function, objective, point, likelihood.observation, whole=whole
    )
    if matrix is None or np.all(numbers.mask):
        return matrix
    (keep,) = np.nonzero(numbers.mask)
    return matrix[keep][:, keep]


def _hessian(task: Task, numbers: Numbers) -> Any:
    return task.evaluate(numbers, task.start(numbers)).curvature.as_matrix()


def _gauss_newton_at(task: Task, numbers: Numbers) -> Any:
    matrix = task.evaluate(numbers, task.start(numbers)).gauss_newton
    return None if matrix is None else matrix.as_matrix()


def _asimov(model: AbstractModel, point: Point) -> Any:
    """Return the Asimov data of a model at a point."""
    objective = _Asimov(model)
    return evaluate_at(_value, objective, point, None)[0]


class _Asimov(NamedTuple):
    """The Asimov data of a model, with the signature of a likelihood."""

    model: AbstractModel

    def __call__(self, params: Any, observation: Any) -> Any:
        del observation
        return self.model.asimov(params)


def _value(task: Task, numbers: Numbers) -> Any:
    return output(task, numbers, task.start(numbers))


__all__ = [
    "Kind",
    "LikelihoodAtPoint",
    "covariance_at",
    "expected",
    "likelihood_at",
    "observed",
    "second_derivatives",
]
