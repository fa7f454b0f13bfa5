"""What fits of all kinds report: records of parameters, minima, intervals and impacts.

The commands print these records, and files of results hold them. All are NumPy arrays,
numbers and names; -ln L is never doubled unless a name says so (``twice_delta_nll``).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from everwillow._typing import Key
from everwillow.engine.layout import ravel_state
from everwillow.engine.prefit import centers_and_widths
from everwillow.fitting import FitResult


# Half of the range of a scan, in standard errors.
REACH = 3.0
DATA, SIMULATION = "data statistics", "simulation statistics"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a fit, those that were not fitted included.

    Attributes:
        names: The names of the parameters.
        values: Values after the fit; NaN if it failed. What was frozen keeps its value.
        errors: Errors after the fit; NaN where there is none. At a bound the distance
            into the allowed range at which -ln L has risen by 1/2.
        prefit_values: Where the fit started: the nominal values.
        prefit_errors: The widths of the constraints, and what was given for parameters
            without one; else NaN.
        interest: Which parameters are of interest.
        constrained: Which parameters have a constraint.
        frozen: Which parameters were not fitted.
        at_bound: Which parameters ended at a bound.
        blinded: Which parameters are shifted by a hidden offset.
        stopped_at: Where a fit that failed stopped; None if it did not fail.
        centers: What the constraints prefer; NaN without one, and where it would tell a
            hidden number. None in older files: the values before the fit.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, " n"]
    errors: Float[np.ndarray, " n"]
    prefit_values: Float[np.ndarray, " n"]
    prefit_errors: Float[np.ndarray, " n"]
    interest: Bool[np.ndarray, " n"]
    constrained: Bool[np.ndarray, " n"]
    frozen: Bool[np.ndarray, " n"]
    at_bound: Bool[np.ndarray, " n"]
    blinded: Bool[np.ndarray, " n"]
    stopped_at: Float[np.ndarray, " n"] | None = None
    centers: Float[np.ndarray, " n"] | None = None

    @property
    def by_name(self) -> dict[str, float]:
        """The values after the fit by name, for `starts` of another one."""
        return dict(zip(self.names, self.values.tolist(), strict=True))

    @property
    def pulls(self) -> Float[np.ndarray, " n"]:
        """(value - center) / width of the constraint; NaN without one."""
        centers = self.prefit_values if self.centers is None else self.centers
        away = (self.values - centers) / self.prefit_errors
        return np.where(self.constrained, away, np.nan)

    @property
    def constraints(self) -> Float[np.ndarray, " n"]:
        """Error / width of the constraint; NaN without one."""
        return np.where(self.constrained, self.errors / self.prefit_errors, np.nan)


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """A statistic that follows a chi2 distribution if the model is right.

    Attributes:
        statistic: The value of the statistic.
        ndof: The number of degrees of freedom.
        pvalue: The probability of a value at least as large.
    """

    statistic: float
    ndof: float
    pvalue: float


@dataclass(frozen=True, slots=True)
class FitSummary:
    """How a fit ended.

    Attributes:
        success: Whether the fit ended at a minimum.
        status: A sentence on how the fit ended.
        nll: -ln L where it ended, with all constants, and the penalty of a
            regularisation in it. The constants are the normalisations of all
            probabilities: those of the data, of the Gaussian constraints, and of the
            auxiliary data of the simulated samples, be these profiled or fitted.
        edm: The estimated distance to the minimum, in units of -ln L.
        evaluations: How many there were.
        saturated: The comparison with a model that describes all data exactly, in
            which a penalty is no part.
        penalty: What a regularisation adds to -ln L; None without any.
    """

    success: bool
    status: str
    nll: float
    edm: float
    evaluations: int
    saturated: ChiSquare | None = None
    penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Covariance:
    """The covariance of the fitted parameters, the inverse of the Hessian of -ln L.

    Attributes:
        names: The fitted parameters.
        matrix: The covariance of the parameters; zero for those at a bound.
        correlation: The correlations of the parameters; NaN where a variance is zero.
    """

    names: tuple[str, ...]
    matrix: Float[np.ndarray, "n n"]
    correlation: Float[np.ndarray, "n n"]


@dataclass(frozen=True, slots=True)
class Impacts:
    """What the errors of the parameters of interest come from, in their units.

    A traditional impact is the shift of the parameter of interest for a move of another
    one by its error after the fit; a global one that for a fluctuation of the auxiliary
    measurement by its own (arXiv:2307.04007).

    Attributes:
        interest: The parameters of interest.
        errors: The errors of the parameters of interest.
        names: The other parameters.
        traditional: The traditional impacts of the parameters, signed, one row for each
            parameter of interest.
        global_names: The parameters with an auxiliary measurement.
        global_impacts: The global impacts of auxiliary measurements, signed, one row
            for each parameter of interest.
        groups: Names of groups of systematics, then ``data statistics`` and
            ``simulation statistics``, the one of simulated samples.
        grouped_traditional: The traditional impacts of each group, never negative.
        grouped_global: The global impacts of each group, never negative.
        up: The traditional impacts of a move up, by fits; NaN where one failed. None if
            not asked for.
        down: The traditional impacts of a move down, by fits.
    """

    interest: tuple[str, ...]
    errors: Float[np.ndarray, " pois"]
    names: tuple[str, ...]
    traditional: Float[np.ndarray, "pois names"]
    global_names: tuple[str, ...]
    global_impacts: Float[np.ndarray, "pois auxiliary"]
    groups: tuple[str, ...]
    grouped_traditional: Float[np.ndarray, "pois groups"]
    grouped_global: Float[np.ndarray, "pois groups"]
    up: Float[np.ndarray, "pois names"] | None = None
    down: Float[np.ndarray, "pois names"] | None = None


@dataclass(frozen=True, slots=True)
class NonprofiledShifts:
    """Shifts of parameters of interest in fits with a frozen parameter moved.

    Attributes:
        interest: The parameters of interest.
        names: The frozen parameters.
        widths: By how much each was moved, the width of its constraint.
        down: The shifts for a move down, signed.
        up: The shifts for a move up.
        groups: Names of groups of systematics, and ``total`` for all.
        grouped_down: The errors that each group brings to the left, at most zero: the
            most negative shifts in quadrature.
        grouped_up: The errors that each group brings to the right, at least zero.
    """

    interest: tuple[str, ...]
    names: tuple[str, ...]
    widths: Float[np.ndarray, " names"]
    down: Float[np.ndarray, "pois names"]
    up: Float[np.ndarray, "pois names"]
    groups: tuple[str, ...]
    grouped_down: Float[np.ndarray, "pois groups"]
    grouped_up: Float[np.ndarray, "pois groups"]


@dataclass(frozen=True, slots=True)
class AsymmetricErrors:
    """Intervals in which the profile likelihood rises by a given amount (MINOS).

    Attributes:
        names: The parameters.
        values: Values of the parameters after the fit.
        lower: The errors to the left, at most zero; NaN where there is none.
        upper: The errors to the right.
        lower_status: On the left ``"found"``, or why the error is another number or
            none: ``"at bound"``, ``"no crossing"``, ``"new minimum"`` or ``"fit
            failed"``.
        upper_status: The same words on the errors to the right.
        cl: The confidence level of each interval by itself.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    lower_status: tuple[str, ...]
    upper_status: tuple[str, ...]
    cl: float


@dataclass(frozen=True, slots=True)
class Limit:
    """The CLs upper limit on a parameter of interest, NaN where none was found.

    Attributes:
        level: The CLs of the limit, 0.05 for 95 % confidence.
        observed: The limit of the data.
        expected: Limits expected without signal: -2, -1, 0, 1 and 2 sigma.
        nuisances: ``"a posteriori"``: nuisance parameters of the expected limits were
            fitted to the data without signal.
    """

    level: float
    observed: float
    expected: Float[np.ndarray, " 5"]
    nuisances: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The profile likelihood of a parameter.

    Attributes:
        values: Where the parameter was held.
        twice_delta_nll: Twice the rise of -ln L; NaN where a fit failed.
        best: The value of the parameter in the free fit.
    """

    values: Float[np.ndarray, " points"]
    twice_delta_nll: Float[np.ndarray, " points"]
    best: float


@dataclass(frozen=True, slots=True)
class GridScan:
    """The profile likelihood on a grid of two parameters.

    Attributes:
        names: The parameters.
        first: Where the first one was held.
        second: Where the second one was held.
        twice_delta_nll: Twice the rise of -ln L; NaN where a fit failed.
        best: The values of the free fit.
    """

    names: tuple[str, ...]
    first: Float[np.ndarray, " k"]
    second: Float[np.ndarray, " m"]
    twice_delta_nll: Float[np.ndarray, "k m"]
    best: Float[np.ndarray, " 2"]


@dataclass(frozen=True, slots=True)
class ContourCurve:
    """A curve of constant profile likelihood.

    Attributes:
        cl: The confidence level of what is inside, for both parameters together.
        points: Points on the curve, in order; rows of NaN part pieces.
        closed: Whether the curve is closed. If not it ends at bounds, or where a fit
            failed.
    """

    cl: float
    points: Float[np.ndarray, "m 2"]
    closed: bool


@dataclass(frozen=True, slots=True)
class Contour:
    """Contours of the profile likelihood of two parameters.

    Attributes:
        names: The parameters.
        best: The values of the free fit.
        curves: The curves, by confidence level, written as a number.
    """

    names: tuple[str, ...]
    best: Float[np.ndarray, " 2"]
    curves: Mapping[str, ContourCurve]


@dataclass(frozen=True, slots=True)
class Toys:
    """Fits of pseudo-experiments.

    Attributes:
        names: The fitted parameters.
        true_values: What the toys were drawn with.
        values: Fitted values, NaN where a fit failed, shape ``(toys, names)``.
        errors: Errors of the fitted values.
        nll: -ln L at the minimum of each toy.
        success: Which fits ended at a minimum.
        seed: The seed of the random numbers.
    """

    names: tuple[str, ...]
    true_values: Float[np.ndarray, " names"]
    values: Float[np.ndarray, "toys names"]
    errors: Float[np.ndarray, "toys names"]
    nll: Float[np.ndarray, " toys"]
    success: Bool[np.ndarray, " toys"]
    seed: int

    @property
    def pulls(self) -> Float[np.ndarray, "toys names"]:
        """(fitted - true value) / error; NaN where a fit failed or has no error."""
        errors = np.where(self.errors > 0, self.errors, np.nan)
        return (self.values - self.true_values) / errors

    def summary(self) -> dict[str, tuple[float, float]]:
        """Return mean and width of the pulls of each parameter, NaN without any.

        The width is the root of the mean square deviation from the mean.
        """
        found = {}
        for name, column in zip(self.names, self.pulls.T, strict=True):
            known = column[np.isfinite(column)]
            both = (np.mean(known), np.std(known)) if known.size else (np.nan, np.nan)
            found[name] = (float(both[0]), float(both[1]))
        return found


def chi_square(found: Any) -> ChiSquare:
    """Return a record of what a test of the fit returned."""
    numbers = found.statistic, found.ndof, found.pvalue
    return ChiSquare(*(float(number) for number in numbers))


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
    """Return how a fit ended.

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
    """Return the table of parameters, one row for each element of an array.

    Args:
        result: The fit.
        interest: The labels of the parameters of interest.
        starts: The State that the fit started from; the values that the constraints
            prefer if None.
        hidden: The names of parameters whose values are hidden.
        unconstrained: Errors before the fit of parameters without a constraint.
    """
    layout, values, _ = ravel_state(result.params)
    names, here = layout.labels, np.array(result.free, int)
    size, success = layout.size, bool(result.success)
    values = np.asarray(values, float)
    errors, at_bound = np.full(size, np.nan), np.zeros(size, bool)
    at_bound[here] = np.asarray(result.at_bound)
    found = _errors_of_free(result)
    if success and found is not None:
        errors[here] = found
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
        # Where a hidden parameter starts would reveal its number.
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
        lower: The lower bound of the parameter, which is not crossed.
        upper: The upper bound.
    """
    layout, values, _ = ravel_state(result.params)
    best, i = float(values[layout.labels.index(name)]), result.labels.index(name)
    errors = _errors_of_free(result)
    assert errors is not None
    error = float(errors[i])
    return max(best - REACH * error, lower), min(best + REACH * error, upper)


def covariance_of(result: FitResult) -> Covariance | None:
    """Return the covariance; None if there is none."""
    covariance = result.covariance
    if covariance is None:
        return None
    matrix = np.asarray(covariance)
    roots = _standard_deviations(matrix)
    return Covariance(result.labels, matrix, matrix / np.outer(roots, roots))


def _errors_of_free(result: FitResult) -> np.ndarray | None:
    """Return the errors of the free parameters; at a bound those into the range."""
    covariance, sides = result.covariance, result.bound_errors
    if covariance is None or sides is None:
        return None
    return np.where(result.at_bound, sides, _standard_deviations(covariance))


def _standard_deviations(covariance: Any) -> np.ndarray:
    """Return the roots of the diagonal, NaN where it is not positive."""
    variance = np.diagonal(covariance)
    return np.sqrt(np.where(variance > 0, variance, np.nan))
