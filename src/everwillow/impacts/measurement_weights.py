"""Weights of measurements in a combination."""

import contextlib
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from everwillow._errors import ArgumentTypeError, ArgumentValueError, EverwillowError
from everwillow._html import Part, Shown, Table
from everwillow._numerics import is_traced
from everwillow._rounding import alike
from everwillow._typing import Key
from everwillow.combination import CombinedModel
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.layout import on_host
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.impacts._data_derivatives import as_float, derivatives_by_data
from everwillow.impacts.best_fit import (
    Fitted,
    chosen_poi,
    computed,
    fitted,
    only_position,
    warn_if_held,
)
from everwillow.impacts.definitions import (
    covariance_from,
    errors_from,
    scattered,
    unless_held,
)
from everwillow.model import AbstractModel
from everwillow.uncertainty.evaluation_point import evaluate_at
from everwillow.uncertainty.fisher_information import likelihood_at


class Weights(Shown, eqx.Module):
    """The weights of measurements in the combined value of a parameter of interest.

    Attributes:
        measurements: The weight of each measurement, shape ``(names,)``.
        data: The derivative of the combined value by each observation, in the structure
            of the main data.
        names: Names of the measurements.
        poi: Label of the parameter of interest.
    """

    measurements: Float[Array, " names"]
    data: PyTree
    names: tuple[str, ...] = eqx.field(static=True)
    poi: str = eqx.field(static=True)

    @property
    def by_name(self) -> dict[str, Any]:
        """The weights by the name of the measurement."""
        return dict(zip(self.names, self.measurements, strict=True))

    @property
    def total(self) -> Float[Array, ""]:
        """The sum of the weights: 1 for measurements that are linear in parameters."""
        return self.measurements.sum()

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.measurements) != 1:
            return [f"Weights({', '.join(self.names)})"]
        rows = [
            (name, f"{text}%")
            for name, text in zip(
                (*self.names, "sum"),
                alike(100 * np.append(self.measurements, self.total), 1.0),
                strict=True,
            )
        ]
        return [Table([("measurement", f"weight in {self.poi}"), *rows])]


def weights(
    model: AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    poi: Key | None = None,
    covariance: Float[Array, "free free"] | None = None,
    throw: bool = True,
) -> Weights:
    r"""Return the weight of each measurement in a combined value.

    The derivative of the best value :math:`\hat\mu` by the main data d follows from the
    implicit function theorem, :math:`d\hat\mu / dd = -C\, \partial^2 (-\ln L) /
    \partial\theta\, \partial d` with the covariance C. The weight of a measurement is
    the shift of :math:`\hat\mu` if its data move as they are expected to for one unit
    of the parameter of interest:

    .. math:: w_i = \sum_{d \in i} \frac{d\hat\mu}{dd}\,
              \frac{\partial\nu_d}{\partial\mu} .

    For a Gaussian measurement of :math:`\mu` itself it is the derivative by the
    measured value, the weight of the best linear unbiased estimate (BLUE, Nucl.
    Instrum. Meth. A 270 (1988) 110). A weight may be negative, and the weights add up
    to one: exactly if data are Gaussian with expectations linear in the parameters and
    the parameter of interest has no constraint, otherwise up to the difference of the
    observed and the expected information.

    Args:
        model: The combination that was fitted. Any other Model is one measurement.
        result: Its best fit.
        observation: The fitted data; None for the data of the Model.
        poi: Key or label of the parameter of interest; None for that of the Model.
        covariance: As in `rank`.
        throw: As in `rank`.

    Raises:
        ArgumentTypeError: If `model` is not a Model.
        ArgumentValueError: If several data are one measurement, and it is not known
            what the Model expects: it has no `expected`.

    Warns:
        UserWarning: If the parameter of interest is held at a bound: all weights are
            NaN.

    Example:
        >>> import everwillow as ew
        >>> def measured(mass, error):
        ...     nll = lambda p, seen: 0.5 * ((seen - p["mass"]) / error) ** 2
        ...     return ew.Model(nll, {"mass": 170.0}, mass)
        >>> both = ew.combine({"A": measured(172.0, 1.0), "B": measured(174.0, 2.0)})
        >>> weights(both, ew.fit(both), poi="mass")
        measurement  weight in mass
        A            80.0%
        B            20.0%
        sum          100.0%
    """
    if not isinstance(model, AbstractModel):
        raise ArgumentTypeError(
            f"model: expected a Model, such as a combination, got "
            f"{type(model).__name__}: a function alone has no measurements."
        )
    fit = fitted(result, None, covariance)
    place = only_position(chosen_poi(model, poi), fit)
    rows = lambda fit: _covariance_rows(fit, place)
    fit, (errors, row) = computed(fit, rows, throw=throw)
    warn_if_held(fit, place, errors, stacklevel=3)
    objective, observed, point = likelihood_at(model, result, observation, None)
    direction = np.zeros(fit.layout.size)
    direction[fit.free[place]] = 1.0
    args = (objective, point, observed, row, direction)
    data, measurements = evaluate_at(_weigh, *args)[0]
    return Weights(
        measurements=measurements,
        data=jax.tree.map(lambda leaf: leaf[0], data),
        names=_names(model),
        poi=result.labels[place[0]],
    )


def _names(model: AbstractModel) -> tuple[str, ...]:
    return model.names if isinstance(model, CombinedModel) else ("model",)


def _parts(model: AbstractModel, params: Any, main: Any) -> list[tuple[Any, Any, Any]]:
    """Return the models of a combination, each with its parameters and data."""
    if not isinstance(model, CombinedModel):
        return [(model, params, main)]
    trees = model.params_of(params)
    return [(part, trees[name], main[name]) for name, part in model.models.items()]


def _expected(name: str, model: AbstractModel, params: Any, data: Any) -> Any:
    """Return the expectation of each datum of a measurement.

    It is None for a single number if the Model does not define its expectation.

    Raises:
        ArgumentValueError: If that of several data is not defined.
    """
    shapes = lambda tree: jax.tree.map(lambda leaf: tuple(np.shape(leaf)), tree)
    with contextlib.suppress(EverwillowError):
        found = jax.tree.map(as_float, model.expected(params))
        if shapes(found) == shapes(data):
            return found
    sizes = [np.size(leaf) for leaf in jax.tree.leaves(data)]
    if sizes == [1]:
        return None
    raise ArgumentValueError(
        f"model: the measurement {name!r} has {sum(sizes)} data, and its Model does "
        "not define what it expects of each, so its weight is not known. Build it with "
        "Model(..., expected=function)."
    )


def _covariance_rows(fit: Fitted, place: np.ndarray) -> Any:
    args = (fit.curvature, fit.free, place, fit.layout.size)
    return on_host(programs.call(_compiled_rows, *args))


def _compiled_rows(curvature, free, place, size: int) -> tuple[Array, Array]:
    covariance = covariance_from(*curvature)
    errors = errors_from(covariance)[place]
    return errors, scattered(unless_held(covariance[place], errors), free, size)


def _weigh(
    task: Task, numbers: Numbers, row: Array, direction: Array
) -> tuple[Any, Array]:
    """Return the derivatives by all data, and the weights of the measurements."""
    model, main = task.objective, numbers.observation["main"]
    data = derivatives_by_data(task, numbers, row)

    def expected(x):
        parts = zip(
            _names(model), _parts(model, task.params(numbers, x), main), strict=True
        )
        return [_expected(name, *part) for name, part in parts]

    x = task.start(numbers)
    moves = jax.jvp(expected, (x,), (jnp.asarray(direction)[numbers.index],))[1]
    parts = _parts(model, task.params(numbers, x), data)
    weights = [
        _along(below, move) for move, (_, _, below) in zip(moves, parts, strict=True)
    ]
    return data, jnp.stack(weights)


def _along(data: Any, move: Any) -> Array:
    """Return the sum of derivatives times moves; a single number moves by one."""
    if move is None:
        (only,) = jax.tree.leaves(data)
        return only.reshape(())
    terms = jax.tree.map(
        lambda slope, shift: None if slope is None else jnp.sum(slope[0] * shift),
        data,
        move,
        is_leaf=lambda leaf: leaf is None,
    )
    return sum(jax.tree.leaves(terms), start=jnp.zeros(()))
