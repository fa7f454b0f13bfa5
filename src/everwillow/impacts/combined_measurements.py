"""The measurements of a combination beside their average, as it is published."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, FitError
from everwillow._html import Part, Shown, Table
from everwillow._numerics import is_traced, namespace
from everwillow._rounding import alike, signed
from everwillow._typing import Key
from everwillow.combination import CombinedModel
from everwillow.fitting import FitResult, fit
from everwillow.impacts.best_fit import chosen_poi, fitted
from everwillow.impacts.error_breakdown import Breakdown, breakdown
from everwillow.impacts.measurement_weights import weights
from everwillow.model import AbstractModel


class Measurements(Shown, eqx.Module):
    r"""The measurements of a combination and their average.

    Arrays have the shape ``(names,)`` and the unit of the parameter of interest; they
    are NaN for a measurement that alone does not determine the parameter.

    Attributes:
        values: The value from each measurement alone.
        errors: Their errors.
        statistical: The statistical parts of these errors, as in `breakdown`.
        weights: The weights of the measurements in the average, as in `weights`.
        average: The combined value, and the parts of its error.
        names: Names of the measurements.
    """

    values: Float[Array, " names"]
    errors: Float[Array, " names"]
    statistical: Float[Array, " names"]
    weights: Float[Array, " names"]
    average: Breakdown
    names: tuple[str, ...] = eqx.field(static=True)

    @property
    def pulls(self) -> Float[Array, " names"]:
        r"""Distances to the average, over their errors.

        The average contains the measurement, so the variance of the difference is the
        difference of the variances. NaN for an error not larger than that of the
        average.
        """
        variance = self.errors**2 - self.average.total**2
        xp = namespace(variance)
        good = variance > 1e-9 * self.errors**2
        distance = self.values - self.average.value
        return xp.where(good, distance / xp.sqrt(xp.where(good, variance, 1)), xp.nan)

    def _parts(self) -> Sequence[Part]:
        if is_traced(self) or np.ndim(self.values) != 1:
            return [f"Measurements({', '.join(self.names)})"]
        rows = [
            (name, *alike(numbers, float(numbers[1])))
            for name, *numbers in zip(
                (*self.names, "average"),
                (*self.values, self.average.value),
                (*self.errors, self.average.total),
                (*self.statistical, self.average.statistical),
                strict=True,
            )
        ]
        weights = np.append(self.weights, self.weights.sum())
        *texts, total = alike(100 * weights, 1.0)
        more = [
            (f"{text}%", signed(float(pull)))
            for text, pull in zip(texts, self.pulls, strict=True)
        ]
        more.append((f"{total}%", ""))
        head = ("measurement", self.average.poi, "error", "stat.", "weight", "pull")
        joined = [(*left, *right) for left, right in zip(rows, more, strict=True)]
        return [Table([head, *joined])]


def measurements(
    model: CombinedModel,
    result: FitResult,
    *,
    poi: Key | None = None,
    groups: Mapping[str, Any] | None = None,
) -> Measurements:
    """Return the measurements of a combination, their average, weights and pulls.

    Each model is fitted alone to its own data, with its own constraints, which takes as
    long as these fits. `everwillow.plotting.measurements` draws the result.

    Args:
        model: The combination that was fitted to its data.
        result: Its best fit.
        poi: Key of the parameter of interest; None for that of the combination.
        groups: Groups of parameters for the parts of the error of the average, as in
            `breakdown`.

    Raises:
        ArgumentTypeError: If `model` is not a combination, or
            `result` is no result of a fit.
        UnknownKeyError: If it has no such parameter of interest.

    Example:
        >>> import everwillow as ew
        >>> def measured(mass, error):
        ...     nll = lambda p, seen: 0.5 * ((seen - p["mass"]) / error) ** 2
        ...     return ew.Model(nll, {"mass": 170.0}, mass)
        >>> both = ew.combine({"A": measured(172.0, 1.0), "B": measured(174.0, 2.0)})
        >>> measurements(both, ew.fit(both), poi="mass")
        measurement  mass    error  stat.  weight  pull
        A            172.0   1.0    1.0    80.0%   -0.89
        B            174.0   2.0    2.0    20.0%   +0.89
        average      172.40  0.89   0.89   100.0%
    """
    if not isinstance(model, CombinedModel):
        raise ArgumentTypeError(
            f"model: expected a combination of Models (ew.combine), got "
            f"{type(model).__name__}."
        )
    fitted(result, None, None)
    chosen = chosen_poi(model, poi)
    own = model.keys_of(chosen)
    found = [
        _alone(part, own[name]) if name in own else (np.nan,) * 3
        for name, part in model.models.items()
    ]
    values, errors, statistical = np.asarray(found, float).T
    return Measurements(
        values=values,
        errors=errors,
        statistical=statistical,
        weights=weights(model, result, poi=chosen).measurements,
        average=breakdown(model, result, poi=chosen, groups=groups),
        names=model.names,
    )


def _alone(model: AbstractModel, poi: Key) -> tuple[Any, Any, Any]:
    """Return value, error and its statistical part, NaN if there is no minimum."""
    try:
        result = fit(model)
        parts = breakdown(model, result, poi=poi, throw=False)
    except FitError:
        return np.nan, np.nan, np.nan
    return parts.value, parts.total, parts.statistical
