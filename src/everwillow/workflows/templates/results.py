"""What a template fit found, as records of NumPy arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from everwillow.likelihood.histograms import Axis


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
class Expectation:
    """What is expected in the bins of a histogram.

    Attributes:
        values: What is expected, in the shape of the axes.
        errors: Errors of the values, those of simulated samples included.
        processes: What each process contributes; None where values are no sums.
    """

    values: Float[np.ndarray, "..."]
    errors: Float[np.ndarray, "..."]
    processes: Float[np.ndarray, "processes ..."] | None = None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Where the errors of the bins of a histogram come from.

    Attributes:
        groups: Names of groups of systematics.
        impacts: What the auxiliary measurements of each group bring (global impacts),
            never negative, a leading axis of groups.
        rest: What is left in quadrature: data, simulated samples, and parameters
            without a constraint.
    """

    groups: tuple[str, ...]
    impacts: Float[np.ndarray, "groups ..."]
    rest: Float[np.ndarray, "..."]


@dataclass(frozen=True, slots=True)
class Variations:
    """Values of a histogram with one parameter moved by its error, the others held.

    Attributes:
        names: The parameters that are moved.
        up: Values with each parameter moved up, a leading axis of names.
        down: Values with each parameter moved down, a leading axis of names.
    """

    names: tuple[str, ...]
    up: Float[np.ndarray, "names ..."]
    down: Float[np.ndarray, "names ..."]


@dataclass(frozen=True, slots=True)
class HistogramResult:
    """A histogram before and after a fit, with data where there are any.

    Attributes:
        axes: The axes, one for each dimension of the arrays.
        process_names: The processes, in the order of the rows of `processes`.
        prefit: What is expected before the fit.
        postfit: What is expected after the fit; None if it failed.
        data: What was fitted; None for masked channels and parts of processes.
        data_errors: Errors of the data, the roots of their variances.
        breakdown: Where the errors after the fit come from, if asked for.
        prefit_variations: Values with parameters moved before the fit, if asked for.
        postfit_variations: Values with parameters moved after the fit, if asked for.
        quantity: What the values are: ``"Events"`` for counts. Empty in older files.
    """

    axes: tuple[Axis, ...]
    process_names: tuple[str, ...]
    prefit: Expectation
    postfit: Expectation | None = None
    data: Float[np.ndarray, "..."] | None = None
    data_errors: Float[np.ndarray, "..."] | None = None
    breakdown: Breakdown | None = None
    prefit_variations: Variations | None = None
    postfit_variations: Variations | None = None
    quantity: str = ""

    def processes(self, *, prefit: bool = False) -> dict[str, np.ndarray]:
        """Return what each process contributes, by name; empty if that is not known.

        Args:
            prefit: Whether before the fit.
        """
        side = self.prefit if prefit else self.postfit
        if side is None or side.processes is None:
            return {}
        return dict(zip(self.process_names, side.processes, strict=True))


@dataclass(frozen=True, slots=True)
class MappingOutcome:
    """The values of a mapping.

    Attributes:
        key: How the mapping is written.
        histograms: The values of the mapping. One array has the name ``values``;
            several have those of the channels or mappings they belong to.
        prefit_covariance: The covariance of all values before the fit, one histogram
            after the other, each in C order; None if not asked for.
        postfit_covariance: The covariance of all values after the fit, in the same
            order as that before it; None if not asked for.
        prefit_chi2: The comparison with the data before the fit.
        postfit_chi2: The comparison with the data after the fit, which knows that the
            values follow the data.
    """

    key: str
    histograms: Mapping[str, HistogramResult]
    prefit_covariance: Float[np.ndarray, "n n"] | None = None
    postfit_covariance: Float[np.ndarray, "n n"] | None = None
    prefit_chi2: ChiSquare | None = None
    postfit_chi2: ChiSquare | None = None


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
class StrengthScan:
    """Fits with a regularisation of several strengths: the L-curve.

    Attributes:
        strengths: τ, ascending; each was used for all regularised histograms.
        nll: -ln L without the penalty; NaN where a fit failed.
        misfit: -ln L without the penalty, less that of a model that describes
            everything exactly.
        curvature: The curvature of the curve of the logarithms of misfit and penalty.
        corner: The strength at the corner of the curve; NaN if it has none.
        penalty: The sum of squared curvatures of the histograms, without its weight;
            None while parameters of interest are hidden.
    """

    strengths: Float[np.ndarray, " n"]
    nll: Float[np.ndarray, " n"]
    misfit: Float[np.ndarray, " n"]
    curvature: Float[np.ndarray, " n"]
    corner: float
    penalty: Float[np.ndarray, " n"] | None = None


@dataclass(frozen=True, slots=True)
class Regularisation:
    """Which histograms the fit wished to be smooth, and how much.

    Attributes:
        histograms: The regularised histograms, as they are written.
        strengths: τ of each histogram in this fit.
        l_curve: Fits with other strengths, if asked for.
    """

    histograms: tuple[str, ...]
    strengths: Float[np.ndarray, " n"]
    l_curve: StrengthScan | None = None


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


@dataclass(frozen=True, slots=True)
class TemplateResults:
    """All that one run of a template fit found.

    Attributes:
        data: What was fitted: ``"data"``, ``"asimov"``, ``"toys"`` or the name of
            pseudodata.
        likelihood: How data entered: the kind of likelihood.
        made_by: The version of everwillow that made the results.
        parameters: The parameters of the fit, and what they became.
        fit: How the fit ended.
        channels: All channels, masked ones included.
        covariance: The covariance of the fitted parameters; None if the fit failed.
        impacts: What the errors of the parameters of interest come from, if asked for.
        nonprofiled_impacts: Impacts of frozen parameters, if asked for.
        asymmetric_errors: Intervals of the profile likelihood (MINOS), if asked for.
        limits: CLs upper limits, by parameter of interest.
        regularisation: What the fit wished to be smooth, if anything.
        mappings: Values of mappings, by how they are written.
        scans: Scans of the profile likelihood, by parameter.
        grid_scans: Scans of the profile likelihood on grids, by two parameters,
            ``A,B``.
        contours: Contours of the profile likelihood, by two parameters, ``A,B``.
        projections: Tests of projections of channels against free bins, if asked for.
        toys: Fits of pseudo-experiments, if there were any.
        remarks: What was assumed or looks odd.
    """

    data: str
    likelihood: str
    made_by: str
    parameters: Parameters
    fit: FitSummary
    channels: Mapping[str, HistogramResult]
    covariance: Covariance | None = None
    impacts: Impacts | None = None
    nonprofiled_impacts: NonprofiledShifts | None = None
    asymmetric_errors: AsymmetricErrors | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    regularisation: Regularisation | None = None
    mappings: Mapping[str, MappingOutcome] = field(default_factory=dict)
    scans: Mapping[str, Scan] = field(default_factory=dict)
    grid_scans: Mapping[str, GridScan] = field(default_factory=dict)
    contours: Mapping[str, Contour] = field(default_factory=dict)
    projections: Mapping[str, ChiSquare] = field(default_factory=dict)
    toys: Toys | None = None
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return a line; `everwillow template print` shows tables."""
        return (
            f"TemplateResults({self.data}; {len(self.parameters.names)} parameters, "
            f"{len(self.channels)} channels, {len(self.mappings)} mappings; "
            f"{self.fit.status})"
        )


__all__ = [
    "DATA",
    "SIMULATION",
    "AsymmetricErrors",
    "Breakdown",
    "ChiSquare",
    "Contour",
    "ContourCurve",
    "Covariance",
    "Expectation",
    "FitSummary",
    "GridScan",
    "HistogramResult",
    "Impacts",
    "Limit",
    "MappingOutcome",
    "NonprofiledShifts",
    "Parameters",
    "Regularisation",
    "Scan",
    "StrengthScan",
    "TemplateResults",
    "Toys",
    "Variations",
]
