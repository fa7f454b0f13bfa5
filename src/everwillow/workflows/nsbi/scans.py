"""Profile scans with and without systematics, and comparisons of several models."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from everwillow._errors import (
    ArgumentValueError,
    EverwillowError,
    UnknownKeyError,
    unknown_key,
)
from everwillow.engine.layout import ravel_state
from everwillow.fitting import FitResult, fit
from everwillow.hypotest.model_tests import discovery
from everwillow.impacts import split_errors
from everwillow.impacts.best_fit import held_is_known
from everwillow.model import AbstractModel
from everwillow.profile import ScanResult, SplitScan, minos, scan, scan_split
from everwillow.profile.minos_intervals import words_of
from everwillow.workflows.nsbi.fits import held_at_minimum
from everwillow.workflows.report import range_of


LEVELS = (0.6827, 0.95)
"""The confidence levels of the intervals of a comparison."""


class ModelScan(NamedTuple):
    """The profile likelihood of a parameter of one model.

    Attributes:
        total: The scan in which all parameters are fitted.
        statistical: The scan with the constrained parameters held at the best fit; None
            if there are none, or it was not asked for.
    """

    total: ScanResult
    statistical: ScanResult | None

    @property
    def scans(self) -> tuple[ScanResult, ...]:
        """Both scans, or the one that there is."""
        held = self.statistical
        return (self.total,) if held is None else (self.total, held)


class Sensitivity(NamedTuple):
    """The best value of a parameter, its uncertainty, and the significance.

    Attributes:
        best: The best-fit value.
        error: The error from the covariance.
        intervals: The ends of the intervals of the profile likelihood, one row for each
            confidence level, shape ``(levels, 2)``; NaN where there is no end.
        observed: The significance of a value different from 0, in standard deviations,
            one-sided; NaN if there is none.
        expected: The median significance of data with the value 1.
    """

    best: float
    error: float
    intervals: Float[np.ndarray, "levels 2"]
    observed: float
    expected: float


class Comparison(NamedTuple):
    """The profile likelihoods of one parameter of several models.

    Attributes:
        name: The parameter.
        levels: The confidence levels of the intervals.
        scans: The scans by the label of the model.
        total: The numbers of each model with all uncertainties.
        statistical: The numbers without systematic uncertainties.
    """

    name: str
    levels: tuple[float, ...]
    scans: dict[str, ModelScan]
    total: dict[str, Sensitivity]
    statistical: dict[str, Sensitivity]

    def figure(self, plotting: Any, **options: Any) -> Any:
        """Draw all curves with `everwillow.plotting.sensitivity`.

        Args:
            plotting: The package `everwillow.plotting`.
            **options: As in `sensitivity`.
        """
        curves = {label: both.total for label, both in self.scans.items()}
        held = {
            label: both.statistical
            for label, both in self.scans.items()
            if both.statistical is not None
        }
        return plotting.sensitivity(curves, stat_only=held or None, **options)

    def record(self) -> dict[str, Any]:
        """Return all numbers and scans as dictionaries, for `everwillow.io.save`."""
        entries = {}
        for label, both in self.scans.items():
            parts = {"total": self.total, "statistical": self.statistical}
            entries[label] = {
                kind: {"scan": one, **numbers[label]._asdict()}
                for (kind, numbers), one in zip(parts.items(), both.scans, strict=False)
            }
        return {"name": self.name, "levels": list(self.levels), "models": entries}


def scan_model(
    model: AbstractModel,
    best: FitResult,
    name: str,
    values: Any,
    *,
    statistical: bool = True,
    starts: int = 0,
    fixed: Mapping[Any, Any] | None = None,
) -> ModelScan:
    """Scan a parameter of a model, with and without systematic uncertainties.

    Args:
        model: The model.
        best: Its fit.
        name: The parameter.
        values: Where to hold it.
        statistical: Whether to scan with the constrained parameters held too.
        starts: As in `everwillow.profile.scan`.
        fixed: As in `everwillow.fit`.

    Warns:
        UserWarning: As `everwillow.profile.scan`.
    """
    options: dict[str, Any] = {"starts": starts, "fixed": dict(fixed or {})}
    held = set(held_at_minimum(model, best, {}, keep=name)) - set(options["fixed"])
    if not (statistical and held):
        return ModelScan(scan(model, best, name=name, values=values, **options), None)
    both: SplitScan = scan_split(model, best, name=name, values=values, **options)
    return ModelScan(both.total, both.statistical)


def sensitivity_of(
    model: AbstractModel,
    best: FitResult,
    name: str,
    *,
    levels: Sequence[float] = LEVELS,
    held: Sequence[str] = (),
    fixed: Mapping[Any, Any] | None = None,
) -> Sensitivity:
    """Find intervals and significance of a parameter.

    Args:
        model: The model.
        best: Its fit.
        name: The parameter.
        levels: The confidence levels of the intervals.
        held: Labels of parameters that are held at the best fit, so that there is no
            uncertainty of these.
        fixed: What was fixed in the fit.
    """
    fixed = dict(fixed or {})
    layout, values, _ = ravel_state(best.params)
    ends = np.full((len(levels), 2), np.nan)
    for i, level in enumerate(levels):
        found = minos(model, best, names=[name], cl=level, held=held, fixed=fixed)
        states = words_of(found.lower_status) + words_of(found.upper_status)
        sides = found.values[0] + np.array([found.lower[0], found.upper[0]])
        ends[i] = np.where([word == "found" for word in states], sides, np.nan)
    observed, expected = np.nan, np.nan
    if name not in map(str, model.constraints):
        if held:
            fixed = held_at_minimum(model, best, fixed, keep=name)
        # Of a parameter that cannot be 0, or fits that fail, there is none.
        with contextlib.suppress(EverwillowError):
            test = discovery(model, name, best.params, fixed=fixed)
            observed, expected = float(test.significance), float(test.expected)
    value = float(values[layout.labels.index(name)])
    return Sensitivity(value, _error(best, name, held), ends, observed, expected)


def _error(best: FitResult, name: str, held: Sequence[str]) -> float:
    """Return the error of a parameter, with others held; NaN at a bound."""
    if not held:
        covariance, place = best.covariance, best.labels.index(name)
        variance = np.nan if covariance is None else float(covariance[place, place])
        return float(np.sqrt(variance)) if variance > 0 else np.nan
    with held_is_known():
        return float(split_errors(best, poi=name, systematic=held).statistical[0])


def compare(
    models: Mapping[str, AbstractModel],
    name: str | None = None,
    values: Any = None,
    *,
    fits: Mapping[str, FitResult] | None = None,
    points: int = 41,
    statistical: bool = True,
    starts: int = 0,
    levels: Sequence[float] = LEVELS,
    fixed: Mapping[str, Mapping[Any, Any]] | None = None,
) -> Comparison:
    """Compare the sensitivity of several models to one parameter.

    Args:
        models: The models by label.
        name: The parameter; by default the parameter of interest of the first model.
        values: Where to hold it; by default three standard errors on both sides of the
            best fits of all models.
        fits: Fits of the models that were made already, by label.
        points: The number of values, if they are not given.
        statistical: Whether to find everything without systematic uncertainties too,
            with the constrained parameters held at the best fit.
        starts: As in `everwillow.profile.scan`.
        levels: The confidence levels of the intervals.
        fixed: For each label what is fixed, as in `everwillow.fit`.

    Raises:
        UnknownKeyError: If a model has no such parameter.
        ArgumentValueError: If there is no model, no parameter of interest, or the
            parameter is fixed.
        FitError: If a fit failed.

    Warns:
        UserWarning: As `everwillow.profile.scan`.
    """
    if not models:
        raise ArgumentValueError("models: expected one or more models.")
    name = name or _poi(models)
    known = {label: dict((fixed or {}).get(label, {})) for label in models}
    for label, model in models.items():
        _check_name(label, model, name)
    best = {
        label: (fits or {}).get(label) or fit(model, fixed=known[label])
        for label, model in models.items()
    }
    best = {label: result.check() for label, result in best.items()}
    if values is None:
        ends = [range_of(models[label], best[label], name) for label in models]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        values = np.linspace(low, high, points)
    scans, total, held = {}, {}, {}
    for label, model in models.items():
        with _labelled(label):
            scans[label] = scan_model(
                model,
                best[label],
                name,
                values,
                statistical=statistical,
                starts=starts,
                fixed=known[label],
            )
        lowest = scans[label].total.minimum
        options: dict[str, Any] = {"levels": levels, "fixed": known[label]}
        total[label] = sensitivity_of(model, lowest, name, **options)
        if (without := scans[label].statistical) is not None:
            held[label] = sensitivity_of(
                model, lowest, name, held=without.held, **options
            )
    return Comparison(name, tuple(levels), scans, total, held)


@contextlib.contextmanager
def _labelled(label: str) -> Iterator[None]:
    """Name the model in warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for one in caught:
        warnings.warn(f"{label}, {one.message}", one.category, stacklevel=4)


def _poi(models: Mapping[str, AbstractModel]) -> str:
    label, model = next(iter(models.items()))
    poi = getattr(model, "poi", None)
    if poi is None:
        raise ArgumentValueError(
            f"name: the model {label!r} has no parameter of interest. Name one."
        )
    return poi


def _check_name(label: str, model: AbstractModel, name: str) -> None:
    layout, _, _ = ravel_state(model.state)
    if name in layout.labels:
        return
    error: UnknownKeyError = unknown_key(name, layout.labels, where="name")
    error.add(f"This is the model {label!r}.")
    raise error
