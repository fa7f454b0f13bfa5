"""What only template fits find, as records of NumPy arrays; the rest is in `report`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from everwillow.likelihood.histograms import Axis
from everwillow.workflows.report import (
    AsymmetricErrors,
    ChiSquare,
    Contour,
    Covariance,
    FitSummary,
    GridScan,
    Impacts,
    Limit,
    NonprofiledShifts,
    Parameters,
    Scan,
    Toys,
)


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
