"""Functions of parameters and expected yields, evaluated before and after a fit."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ShapeMismatchError,
    unknown_key,
)
from everwillow._html import html_of
from everwillow._numerics import is_traced, namespace
from everwillow._tree import values_table
from everwillow._typing import Key
from everwillow.engine.core import Task
from everwillow.engine.layout import float_dtype
from everwillow.engine.prefit import constrained_elements
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.mappings.error_propagation import errors_and_factor, root_of
from everwillow.model import AbstractModel
from everwillow.model.constraint_terms import constrained_keys
from everwillow.parameters import MultivariateNormal
from everwillow.statelib import State
from everwillow.uncertainty.evaluation_point import Point, evaluate_at, locate, output
from everwillow.uncertainty.inversion import checked_inverse


class MappingResult(eqx.Module):
    r"""Values of a function of parameters and expected yields, with their errors.

    Attributes:
        values: The values that the function returned.
        errors: The standard error of each value, in the same structure.
        factor: F, where :math:`F F^\mathsf T` is the covariance of the ravelled values:
            one column for each free parameter, then one for each parameter that the
            model profiles; None without ``factor=True``.
        labels: The names of the free parameters.
    """

    values: PyTree
    errors: PyTree
    factor: Float[Array, "outputs columns"] | None
    labels: tuple[str, ...] = eqx.field(static=True)

    def _repr_html_(self) -> str:
        """Return a table of the values for notebooks."""
        if is_traced(self):
            return html_of([repr(self)])
        return html_of([values_table(self.values, self.errors)])

    @property
    def covariance(self) -> Float[Array, "outputs outputs"]:
        """The covariance of all values, ravelled.

        Raises:
            ArgumentValueError: If the result has no factor.
        """
        factor = checked_factor(self)
        return factor @ factor.T


def checked_factor(result: MappingResult) -> Any:
    """Return the factor of the covariance.

    Raises:
        ArgumentValueError: If the result has none.
    """
    if result.factor is None:
        raise ArgumentValueError(
            "factor: the covariance of the values was not kept. Request it: "
            "postfit(..., factor=True)."
        )
    return result.factor


class MappingFunction(eqx.Module):
    """A function of parameters and expected yields, with the signature of an objective.

    Attributes:
        fn: The function; None for the yields.
        model: The Model that predicts the yields.
    """

    fn: Callable[[Any, Any], Any] | None
    model: AbstractModel

    def __call__(self, params: Any, inputs: "PredictionInputs") -> Any:
        """Return the values of the function, or the yields if it is None."""
        expected = self.model.predicted(params, *inputs)
        out = expected if self.fn is None else self.fn(params, expected)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, float_dtype()), out)


class PredictionInputs(NamedTuple):
    """The arguments of a prediction besides the parameters.

    Attributes:
        observation: The data of the fit; None before a fit.
        normals: Fluctuations of the parameters that the model profiles, in units of
            their errors.
        around: The parameters for which the model profiles its own; None for those of
            the prediction.
    """

    observation: Any
    normals: Any
    around: Any = None


def prediction_inputs(model: Any, observation: Any) -> PredictionInputs:
    """Return the inputs of a prediction without fluctuations."""
    return PredictionInputs(observation, np.zeros(model.fluctuations))


class ParameterPoint(NamedTuple):
    """Parameter values with their covariance.

    Attributes:
        point: The parameters.
        covariance: The covariance of the free parameters.
        held: Which parameters of zero variance are held at a bound; the others are
            known.
    """

    point: Point
    covariance: Any
    held: Any


def prefit_point(
    model: Any, params: State | None, unconstrained: Mapping[Key, Any] | None
) -> ParameterPoint:
    """Return the parameters of a model before a fit, with their covariance."""
    check_model(model)
    point = locate(model.state if params is None else params, model.fixed)
    covariance = nominal_covariance(model, unconstrained)
    return ParameterPoint(point, covariance, np.zeros(point.free.size, bool))


def postfit_point(
    model: Any, result: Any, covariance: Any, *, throw: bool
) -> ParameterPoint:
    """Return the parameters of a model after a fit, with their covariance."""
    check_model(model)
    if not isinstance(result, FitResult):
        raise ArgumentTypeError(
            f"result: expected a FitResult, got {type(result).__name__}. For values "
            "before a fit use prefit(fn, model)."
        )
    point = locate(result, None)
    if covariance is None:
        if point.hessian is None:
            raise ArgumentValueError(
                "covariance: needed, as this FitResult has none (its solver makes no "
                "Hessian). Give covariance_matrix(model, result)."
            )
        covariance = checked_inverse(point.hessian, point, throw=throw)
    size = point.free.size
    if np.shape(covariance) != (size, size):
        raise ShapeMismatchError(
            f"covariance: its shape is {np.shape(covariance)}, and {size} parameters "
            "are free in the fit."
        )
    return ParameterPoint(point, covariance, np.ones(size, bool))


def check_model(model: Any) -> None:
    """Check that an object is a Model, which can predict yields.

    Raises:
        ArgumentTypeError: If it is not a Model.
    """
    if not isinstance(model, AbstractModel):
        raise ArgumentTypeError(
            f"model: expected a Model, got {type(model).__name__}: only a Model knows "
            "which yields it expects. For a function of parameters alone use "
            "everwillow.uncertainty.propagate."
        )


def nominal_covariance(
    model: AbstractModel, unconstrained: Mapping[Key, Any] | None = None
) -> Float[Array, "free free"]:
    """Return the covariance of the free parameters before the fit.

    It contains the squared widths of the constraints and the covariances of joint
    Gaussians. A parameter without a constraint has a variance of zero.

    Args:
        model: The Model.
        unconstrained: The errors of parameters without a constraint, by key.

    Raises:
        UnknownKeyError: If a key of `unconstrained` is not a parameter.
        ArgumentValueError: If such a parameter has a constraint.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * (y - p["mu"] - p["theta"]) ** 2,
        ...     {"mu": 0.0, "theta": 0.0},
        ...     5.0,
        ...     constraints={"theta": Normal(0.0, 4.0)},
        ... )
        >>> print(nominal_covariance(model))
        [[ 0.  0.]
         [ 0. 16.]]
    """
    point = locate(model.state, model.fixed)
    layout, free = point.layout, point.free
    widths = _widths(model, unconstrained or {}, layout)
    xp = namespace(widths, model.constraints)
    size = layout.size
    diagonal = np.zeros(size) if xp is np else jnp.zeros(size)
    for key, width in widths.items():
        here = layout.elements(layout.where[key])
        shape = layout.shapes[layout.where[key]]
        square = xp.ravel(xp.broadcast_to(width, shape)) ** 2
        diagonal = _put(xp, diagonal, here, square.astype(float_dtype()))
    matrix = xp.diag(diagonal)
    for name, constraint in model.constraints.items():
        if isinstance(constraint, MultivariateNormal):
            here = constrained_elements(name, constraint, layout)
            matrix = _put(xp, matrix, np.ix_(here, here), constraint.covariance)
    return matrix[np.ix_(free, free)]


def _widths(model: AbstractModel, unconstrained: Mapping[Key, Any], layout: Any) -> Any:
    """Return the pre-fit errors of parameters without a joint constraint, by key."""
    constrained = {
        key
        for name, constraint in model.constraints.items()
        for key in constrained_keys(name, constraint)
    }
    widths: dict[Key, Any] = {
        name: constraint.width
        for name, constraint in model.constraints.items()
        if not isinstance(constraint, MultivariateNormal)
    }
    for key, error in unconstrained.items():
        if key not in layout.where:
            raise unknown_key(key, layout.keys, where="unconstrained")
        if key in constrained:
            raise ArgumentValueError(
                f"unconstrained[{key!r}]: this parameter has a constraint, which "
                "gives its error."
            )
        widths[key] = error
    return widths


def _put(xp: Any, array: Any, where: Any, value: Any) -> Any:
    if xp is np:
        array[where] = value
        return array
    return array.at[where].set(value)


def prefit(
    fn: Callable[[Any, Any], PyTree] | None,
    model: AbstractModel,
    *,
    params: State | None = None,
    unconstrained: Mapping[Key, Any] | None = None,
    factor: bool = False,
) -> MappingResult:
    r"""Evaluate a function of parameters and expected yields before the fit.

    The errors come from the constraints alone, to first order: with J the total
    derivatives of the function, yields included, and C from `nominal_covariance`, the
    covariance of the values is :math:`J C J^\mathsf T`.

    Args:
        fn: ``fn(params, expected)``, from the pytree of parameters and the expected
            yields there to a pytree of arrays; None for the expected yields.
        model: The Model.
        params: The parameters; the start values of the Model by default.
        unconstrained: The errors of parameters without a constraint, by key; zero by
            default.
        factor: Whether to return the factor of the covariance of all values. Without
            it, only some rows or columns of it are in memory at a time.

    Raises:
        ArgumentTypeError: If `model` is not a Model.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * (y - p["mu"] - p["theta"]) ** 2,
        ...     {"mu": 1.0, "theta": 0.0},
        ...     5.0,
        ...     constraints={"theta": Normal(0.0, 4.0)},
        ...     expected=lambda p: p["mu"] + p["theta"],
        ... )
        >>> out = prefit(None, model)
        >>> print(out.values, out.errors)
        1.0 4.0
    """
    where = prefit_point(model, params, unconstrained)
    return _evaluate(fn, model, where, None, factor=factor)


def postfit(
    fn: Callable[[Any, Any], PyTree] | None,
    model: AbstractModel,
    result: FitResult,
    *,
    observation: Any = None,
    covariance: Float[Array, "free free"] | None = None,
    factor: bool = False,
    throw: bool = True,
) -> MappingResult:
    """Evaluate a function of parameters and expected yields after the fit.

    Like `prefit`, at the best fit and with its covariance.

    Args:
        fn: As in `prefit`.
        model: The Model.
        result: Its best fit.
        observation: The fitted data; None for the data of the Model. Only models that
            profile parameters inside their likelihood depend on it.
        covariance: The covariance of the free parameters, in place of that of the fit.
            A zero variance marks a parameter held at a bound, as in
            `everwillow.uncertainty.propagate`.
        factor: As in `prefit`.
        throw: Whether to raise an error if the fit has no covariance. If False, and
            always inside JAX transformations, the errors are NaN then.

    Raises:
        NotPositiveDefiniteError: If the fit has no covariance.
        ArgumentTypeError: If `model` is not a Model or `result` not a FitResult.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, y: 0.5 * (y - p["mu"] - p["theta"]) ** 2,
        ...     {"mu": 1.0, "theta": 0.0},
        ...     5.0,
        ...     constraints={"theta": Normal(0.0, 4.0)},
        ...     expected=lambda p: p["mu"] + p["theta"],
        ... )
        >>> out = postfit(lambda p, n: {"twice": 2 * n}, model, ew.fit(model))
        >>> print(out.values["twice"].round(6), out.errors["twice"].round(6))
        10.0 2.0
    """
    where = postfit_point(model, result, covariance, throw=throw)
    data = model.observation if observation is None else observation
    return _evaluate(fn, model, where, data, factor=factor)


def _evaluate(
    fn: Any, model: Any, where: ParameterPoint, observation: Any, *, factor: bool
) -> MappingResult:
    if fn is not None and not callable(fn):
        raise ArgumentTypeError(
            f"fn: expected a function of (params, expected), got {type(fn).__name__}."
        )
    args = (where.covariance, where.held, bool(factor))
    inputs, mapped = prediction_inputs(model, observation), MappingFunction(fn, model)
    outputs, _ = evaluate_at(_values_and_errors, mapped, where.point, inputs, *args)
    values, errors, kept = outputs
    return MappingResult(values, errors, kept, where.point.labels)


def _values_and_errors(
    task: Task, numbers: Numbers, covariance: Array, held: Array, keep: Any
) -> tuple[Any, Any, Any]:
    x = task.start(numbers)
    values = output(task, numbers, x)
    _, unravel = ravel_pytree(values)

    data, size = numbers.observation, x.shape[0]

    def flat(both):
        moved = PredictionInputs(data.observation, both[size:])
        there = dataclasses.replace(numbers, observation=moved)
        return ravel_pytree(output(task, there, both[:size]))[0]

    root = root_of(jnp.asarray(covariance), jnp.asarray(held))
    both = jnp.concatenate([x, jnp.asarray(data.normals, x.dtype)])
    errors, kept = errors_and_factor(flat, both, root, keep=keep)
    # Values that are NaN, such as a ratio to an empty bin, have a gradient of zero.
    lost = jnp.isnan(ravel_pytree(values)[0])
    errors = jnp.where(lost, jnp.nan, errors)
    if kept is not None:
        kept = jnp.where(lost[:, None], jnp.nan, kept)
    return values, unravel(errors), kept


__all__ = ["MappingResult", "nominal_covariance", "postfit", "prefit"]
