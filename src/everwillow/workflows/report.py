"""Results of fits of all kinds: records of parameters, minima, intervals and impacts.

The commands print these records, and files of results hold them. All are NumPy arrays,
numbers and names; -ln L is never doubled unless a name says so (``twice_delta_nll``).
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from everwillow._errors import ArgumentValueError
from everwillow._html import Table, html_of
from everwillow._rounding import with_error
from everwillow._typing import Key
from everwillow.engine.layout import ravel_state
from everwillow.engine.prefit import centers_and_widths, pull
from everwillow.fitting import FitResult
from everwillow.profile.minos_intervals import MinosResult, words_of
from everwillow.toys.fits import ToyFits
from everwillow.workflows.records import about, record


# Half of the range of a scan, in standard errors.
REACH = 3.0
DATA, SIMULATION = "data statistics", "simulation statistics"


@record
class Parameters:
    """The parameters of a fit, including frozen ones."""

    names: tuple[str, ...] = about("The names of the parameters.")
    values: Float[np.ndarray, " n"] = about(
        "Values after the fit; NaN if it failed. What was frozen keeps its value."
    )
    errors: Float[np.ndarray, " n"] = about(
        "Errors after the fit; NaN where there is none. At a bound the distance into "
        "the allowed range at which -ln L has risen by 1/2."
    )
    prefit_values: Float[np.ndarray, " n"] = about(
        "Where the fit started: the nominal values."
    )
    prefit_errors: Float[np.ndarray, " n"] = about(
        "The widths of the constraints, and what was given for parameters without "
        "one; else NaN."
    )
    interest: Bool[np.ndarray, " n"] = about("Which parameters are of interest.")
    constrained: Bool[np.ndarray, " n"] = about("Which parameters have a constraint.")
    frozen: Bool[np.ndarray, " n"] = about("Which parameters were not fitted.")
    at_bound: Bool[np.ndarray, " n"] = about("Which parameters ended at a bound.")
    blinded: Bool[np.ndarray, " n"] = about(
        "Which parameters are shifted by a hidden offset."
    )
    stopped_at: Float[np.ndarray, " n"] | None = about(
        "Where a fit that failed stopped; None if it did not fail.", default=None
    )
    centers: Float[np.ndarray, " n"] | None = about(
        "What the constraints prefer; NaN without one, and where it would tell a "
        "hidden number. None in older files: the values before the fit.",
        default=None,
    )

    @property
    def by_name(self) -> dict[str, float]:
        """The values after the fit by name, such as for `starts` of another fit."""
        return dict(zip(self.names, self.values.tolist(), strict=True))

    @property
    def pulls(self) -> Float[np.ndarray, " n"]:
        """(value - center) / width of the constraint; NaN without one."""
        centers = self.prefit_values if self.centers is None else self.centers
        pulls = pull(self.values, centers, self.prefit_errors)
        return np.where(self.constrained, pulls, np.nan)

    @property
    def constraints(self) -> Float[np.ndarray, " n"]:
        """Error / width of the constraint; NaN without one."""
        return np.where(self.constrained, self.errors / self.prefit_errors, np.nan)

    def table(self) -> Table:
        """Return the values and errors as a table, rounded to the errors."""
        rows = []
        for i, name in enumerate(self.names):
            value, error = with_error(float(self.values[i]), float(self.errors[i]))
            note = "fixed" if self.frozen[i] else "at bound" if self.at_bound[i] else ""
            rows.append((name, value, error, note))
        return Table([("parameter", "value", "error", ""), *rows])

    def _repr_html_(self) -> str:
        """Return the table for notebooks."""
        return html_of([self.table()])


@record
class ChiSquare:
    """A statistic that follows a chi2 distribution if the model is right."""

    statistic: float = about("The value of the statistic.")
    ndof: float = about("The number of degrees of freedom.")
    pvalue: float = about("The probability of a value at least as large.")


@record
class FitSummary:
    """The summary of a fit: its minimum and its goodness."""

    success: bool = about("Whether the fit ended at a minimum.")
    status: str = about("A sentence on how the fit ended.")
    nll: float = about(
        "-ln L where it ended, with all constants, and the penalty of a "
        "regularisation in it. The constants are the normalisations of all "
        "probabilities: those of the data, of the Gaussian constraints, and of the "
        "auxiliary data of the simulated samples, be these profiled or fitted."
    )
    edm: float = about("The estimated distance to the minimum, in units of -ln L.")
    evaluations: int = about("How many there were.")
    saturated: ChiSquare | None = about(
        "The comparison with a model that describes all data exactly, in which a "
        "penalty is no part.",
        default=None,
    )
    penalty: float | None = about(
        "What a regularisation adds to -ln L; None without any.", default=None
    )


@record
class Covariance:
    """The covariance of the fitted parameters, the inverse of the Hessian of -ln L."""

    names: tuple[str, ...] = about("The fitted parameters.")
    matrix: Float[np.ndarray, "n n"] = about(
        "The covariance of the parameters; zero for those at a bound."
    )
    correlation: Float[np.ndarray, "n n"] = about(
        "The correlations of the parameters; NaN where a variance is zero."
    )


@record
class Impacts:
    """Impacts on the parameters of interest, in their units.

    A traditional impact is the shift of the parameter of interest when another one
    moves by its error after the fit; a global impact is its shift when an auxiliary
    measurement moves by its error (arXiv:2307.04007).
    """

    interest: tuple[str, ...] = about("The parameters of interest.")
    errors: Float[np.ndarray, " pois"] = about(
        "The errors of the parameters of interest."
    )
    names: tuple[str, ...] = about("The other parameters.")
    traditional: Float[np.ndarray, "pois names"] = about(
        "The traditional impacts of the parameters, signed, one row for each "
        "parameter of interest."
    )
    global_names: tuple[str, ...] = about(
        "The parameters with an auxiliary measurement."
    )
    global_impacts: Float[np.ndarray, "pois auxiliary"] = about(
        "The global impacts of auxiliary measurements, signed, one row for each "
        "parameter of interest."
    )
    groups: tuple[str, ...] = about(
        "Names of groups of systematics, then ``data statistics`` and ``simulation "
        "statistics``, the one of simulated samples."
    )
    grouped_traditional: Float[np.ndarray, "pois groups"] = about(
        "The traditional impacts of each group, never negative."
    )
    grouped_global: Float[np.ndarray, "pois groups"] = about(
        "The global impacts of each group, never negative."
    )
    up: Float[np.ndarray, "pois names"] | None = about(
        "The traditional impacts of a move up, by fits; NaN where one failed. None if "
        "not asked for.",
        default=None,
    )
    down: Float[np.ndarray, "pois names"] | None = about(
        "The traditional impacts of a move down, by fits.", default=None
    )


@record
class NonprofiledShifts:
    """Shifts of parameters of interest in fits with a frozen parameter moved."""

    interest: tuple[str, ...] = about("The parameters of interest.")
    names: tuple[str, ...] = about("The frozen parameters.")
    widths: Float[np.ndarray, " names"] = about(
        "By how much each was moved, the width of its constraint."
    )
    down: Float[np.ndarray, "pois names"] = about("The shifts for a move down, signed.")
    up: Float[np.ndarray, "pois names"] = about("The shifts for a move up.")
    groups: tuple[str, ...] = about(
        "Names of groups of systematics, and ``total`` for all."
    )
    grouped_down: Float[np.ndarray, "pois groups"] = about(
        "The errors that each group brings to the left, at most zero: the most "
        "negative shifts in quadrature."
    )
    grouped_up: Float[np.ndarray, "pois groups"] = about(
        "The errors that each group brings to the right, at least zero."
    )


@record
class AsymmetricErrors:
    """Intervals in which the profile likelihood rises by a given amount (MINOS)."""

    names: tuple[str, ...] = about("The parameters.")
    values: Float[np.ndarray, " n"] = about("Values of the parameters after the fit.")
    lower: Float[np.ndarray, " n"] = about(
        "The errors to the left, at most zero; NaN where there is none."
    )
    upper: Float[np.ndarray, " n"] = about("The errors to the right.")
    lower_status: tuple[str, ...] = about(
        'On the left ``"found"``, or why the error is another number or none: ``"at '
        'bound"``, ``"no crossing"``, ``"new minimum"`` or ``"fit failed"``.'
    )
    upper_status: tuple[str, ...] = about("The same words on the errors to the right.")
    cl: float = about("The confidence level of each interval by itself.")


@record
class Limit:
    """The CLs upper limit on a parameter of interest, NaN where none was found."""

    level: float = about("The CLs of the limit, 0.05 for 95 % confidence.")
    observed: float = about("The limit of the data.")
    expected: Float[np.ndarray, " 5"] = about(
        "Limits expected without signal: -2, -1, 0, 1 and 2 sigma."
    )
    nuisances: str = about(
        '``"a posteriori"``: nuisance parameters of the expected limits were fitted '
        "to the data without signal."
    )


@record
class Scan:
    """The profile likelihood of a parameter."""

    values: Float[np.ndarray, " points"] = about("Where the parameter was held.")
    twice_delta_nll: Float[np.ndarray, " points"] = about(
        "Twice the rise of -ln L; NaN where a fit failed."
    )
    best: float = about("The value of the parameter in the free fit.")


@record
class GridScan:
    """The profile likelihood on a grid of two parameters."""

    names: tuple[str, ...] = about("The parameters.")
    first: Float[np.ndarray, " k"] = about("Where the first one was held.")
    second: Float[np.ndarray, " m"] = about("Where the second one was held.")
    twice_delta_nll: Float[np.ndarray, "k m"] = about(
        "Twice the rise of -ln L; NaN where a fit failed."
    )
    best: Float[np.ndarray, " 2"] = about("The values of the free fit.")


@record
class ContourCurve:
    """A curve of constant profile likelihood."""

    cl: float = about(
        "The confidence level of what is inside, for both parameters together."
    )
    points: Float[np.ndarray, "m 2"] = about(
        "Points on the curve, in order; rows of NaN part pieces."
    )
    closed: bool = about(
        "Whether the curve is closed. If not it ends at bounds, or where a fit failed."
    )


@record
class Contour:
    """Contours of the profile likelihood of two parameters."""

    names: tuple[str, ...] = about("The parameters.")
    best: Float[np.ndarray, " 2"] = about("The values of the free fit.")
    curves: Mapping[str, ContourCurve] = about(
        "The curves, by confidence level, written as a number."
    )


@record
class Toys:
    """Fits of pseudo-experiments."""

    names: tuple[str, ...] = about("The fitted parameters.")
    true_values: Float[np.ndarray, " names"] = about("What the toys were drawn with.")
    values: Float[np.ndarray, "toys names"] = about(
        "Fitted values, NaN where a fit failed, shape ``(toys, names)``."
    )
    errors: Float[np.ndarray, "toys names"] = about("Errors of the fitted values.")
    nll: Float[np.ndarray, " toys"] = about("-ln L at the minimum of each toy.")
    success: Bool[np.ndarray, " toys"] = about("Which fits ended at a minimum.")
    seed: int = about("The seed of the random numbers.")

    @property
    def pulls(self) -> Float[np.ndarray, "toys names"]:
        """(fitted - true value) / error; NaN where a fit failed or has no error."""
        errors = np.where(self.errors > 0, self.errors, np.nan)
        return (self.values - self.true_values) / errors

    def summary(self) -> dict[str, tuple[float, float]]:
        """Return mean and width of the pulls of each parameter, NaN without any.

        The width is the root of the mean square deviation from the mean.
        """
        summary = {}
        for name, column in zip(self.names, self.pulls.T, strict=True):
            known = column[np.isfinite(column)]
            both = (np.mean(known), np.std(known)) if known.size else (np.nan, np.nan)
            summary[name] = (float(both[0]), float(both[1]))
        return summary

    def coverage(self) -> dict[str, tuple[float, float]]:
        """Return how often the interval value ± error contains the true value.

        For each parameter the fraction of the toys that have an error, and its binomial
        error; NaN without any.
        """
        coverage = {}
        for name, column in zip(self.names, self.pulls.T, strict=True):
            known = column[np.isfinite(column)]
            if not known.size:
                coverage[name] = (np.nan, np.nan)
                continue
            part = float(np.mean(np.abs(known) <= 1))
            coverage[name] = (part, float(np.sqrt(part * (1 - part) / known.size)))
        return coverage


def toy_record(fits: ToyFits, truth: Any, seed: int) -> Toys:
    """Return a record of fits of toys.

    Args:
        fits: The fits.
        truth: The State with which the toys were drawn.
        seed: The seed of the random numbers.
    """
    free, good = np.array(fits.free, int), np.asarray(fits.success)
    rows = good.size
    values = _columns(fits.params, fits.layout, rows)[:, free]
    errors = np.full_like(values, np.nan)
    if fits.errors is not None:
        errors = _columns(fits.errors, fits.layout, rows)[:, free]
    return Toys(
        names=fits.labels,
        true_values=np.asarray(ravel_state(truth)[1], float)[free],
        values=np.where(good[:, None], values, np.nan),
        errors=np.where(good[:, None], errors, np.nan),
        nll=np.asarray(fits.nll),
        success=good,
        seed=seed,
    )


def _columns(state: Any, layout: Any, rows: int) -> Float[np.ndarray, "rows size"]:
    """Return the entries of a State of toys as columns, NaN for None."""
    parts = [
        np.full((rows, size), np.nan)
        if value is None
        else np.asarray(value, float).reshape(rows, size)
        for value, size in zip(state.values(), layout.sizes, strict=True)
    ]
    return np.concatenate(parts, 1)


def chi_square(test: Any) -> ChiSquare:
    """Return a record of the result of a goodness-of-fit test."""
    numbers = test.statistic, test.ndof, test.pvalue
    return ChiSquare(*(float(number) for number in numbers))


def asymmetric_errors_of(intervals: MinosResult) -> AsymmetricErrors:
    """Return a record of the result of `everwillow.profile.minos`."""
    return AsymmetricErrors(
        names=intervals.names,
        values=np.asarray(intervals.values, float),
        lower=np.asarray(intervals.lower, float),
        upper=np.asarray(intervals.upper, float),
        lower_status=tuple(words_of(intervals.lower_status)),
        upper_status=tuple(words_of(intervals.upper_status)),
        cl=float(intervals.cl),
    )


def limit_of(limits: Any) -> Limit:
    """Return a record of the result of `everwillow.limits`."""
    expected = np.array([float(value) for _, value in limits.expected])
    level, observed = float(limits.level), float(limits.observed)
    return Limit(level, observed, expected, limits.nuisances)


def summary_of(
    result: FitResult,
    *,
    saturated: ChiSquare | None = None,
    penalty: float | None = None,
) -> FitSummary:
    """Return the summary of a fit.

    Args:
        result: The fit.
        saturated: As in `FitSummary`.
        penalty: As in `FitSummary`.
    """
    return FitSummary(
        success=bool(result.success),
        status=result.message(),
        nll=float(result.nll),
        edm=float(result.edm),
        evaluations=int(result.num_steps),
        saturated=saturated,
        penalty=penalty,
    )


def parameters_of(
    result: FitResult,
    *,
    interest: Collection[str],
    starts: Any = None,
    hidden: Collection[str] = (),
    unconstrained: Mapping[Key, float] | None = None,
) -> Parameters:
    """Return the record of all parameters, one entry for each element of an array.

    Args:
        result: The fit.
        interest: The labels of the parameters of interest.
        starts: The start values of the fit as a State; None for the values that the
            constraints prefer.
        hidden: The names of parameters whose values are hidden.
        unconstrained: Errors before the fit of parameters without a constraint.
    """
    layout, values, _ = ravel_state(result.params)
    names, here = layout.labels, np.array(result.free, int)
    size, success = layout.size, bool(result.success)
    values = np.asarray(values, float)
    errors, at_bound = np.full(size, np.nan), np.zeros(size, bool)
    at_bound[here] = np.asarray(result.at_bound)
    errors_of_free = _errors_of_free(result)
    if success and errors_of_free is not None:
        errors[here] = errors_of_free
    centers, widths = (
        np.array(part, float) for part in centers_and_widths(result.constraints, layout)
    )
    constrained = np.isfinite(widths)
    for name, error in (unconstrained or {}).items():
        widths[layout.elements(layout.where[name])] = error
    frozen = np.ones(size, bool)
    frozen[here] = False
    blinded = np.isin(names, list(hidden))
    before = centers if starts is None else np.asarray(ravel_state(starts)[1], float)
    return Parameters(
        names=names,
        values=np.where((success | frozen) & ~(blinded & frozen), values, np.nan),
        errors=errors,
        # The start value of a hidden parameter reveals its shift.
        prefit_values=np.where(blinded, np.nan, before),
        prefit_errors=widths,
        interest=np.isin(names, list(interest)),
        constrained=constrained,
        frozen=frozen,
        at_bound=at_bound,
        blinded=blinded,
        stopped_at=None if success else np.where(blinded, np.nan, values),
        centers=np.where(blinded, np.nan, centers),
    )


def scan_range(
    result: FitResult, name: str, lower: float, upper: float
) -> tuple[float, float]:
    """Return the range of a scan: three standard errors around the best value.

    Args:
        result: The fit.
        name: The label of a free parameter.
        lower: The lower bound of the parameter, a limit of the range.
        upper: The upper bound.
    """
    layout, values, _ = ravel_state(result.params)
    best, i = float(values[layout.labels.index(name)]), result.labels.index(name)
    errors = _errors_of_free(result)
    assert errors is not None
    error = float(errors[i])
    return max(best - REACH * error, lower), min(best + REACH * error, upper)


def range_of(model: Any, result: FitResult, name: str) -> tuple[float, float]:
    """Return the range of a scan within the bounds of a model.

    Args:
        model: The model.
        result: Its fit.
        name: The label of the parameter.

    Raises:
        ArgumentValueError: If the parameter is fixed.
    """
    if name not in result.labels:
        raise ArgumentValueError(f"fixed: {name!r} is scanned, and cannot be fixed.")
    return scan_range(result, name, *bounds_of(model, result, name))


def bounds_of(model: Any, result: FitResult, name: str) -> tuple[float, float]:
    """Return the bounds of a parameter of a model, infinite without one."""
    layout = result.layout
    place = layout.labels.index(name)
    position = int(np.searchsorted(layout.starts, place, side="right")) - 1
    bound = model.bounds.get(layout.keys[position])
    if bound is None:
        return -np.inf, np.inf
    element, shape = place - layout.starts[position], layout.shapes[position]
    lower, upper = (
        float(np.ravel(np.broadcast_to(end, shape))[element])
        for end in (bound.lower, bound.upper)
    )
    return lower, upper


def covariance_record(result: FitResult) -> Covariance | None:
    """Return the covariance; None if there is none."""
    covariance = result.covariance
    if covariance is None:
        return None
    matrix = np.asarray(covariance)
    roots = _standard_deviations(matrix)
    return Covariance(result.labels, matrix, matrix / np.outer(roots, roots))


def _errors_of_free(result: FitResult) -> np.ndarray | None:
    """Return the errors of the free parameters, at a bound the one-sided errors."""
    covariance, sides = result.covariance, result.bound_errors
    if covariance is None or sides is None:
        return None
    return np.where(result.at_bound, sides, _standard_deviations(covariance))


def _standard_deviations(covariance: Any) -> np.ndarray:
    """Return the roots of the diagonal, NaN where it is not positive."""
    variance = np.diagonal(covariance)
    return np.sqrt(np.where(variance > 0, variance, np.nan))
