"""Results of template fits as records of NumPy arrays, in addition to `report`."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from everwillow._html import html_of
from everwillow.likelihood.histograms import Axis
from everwillow.workflows.records import about, record
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


@record
class Expectation:
    """The expected values of the bins of a histogram."""

    values: Float[np.ndarray, "..."] = about(
        "What is expected, in the shape of the axes."
    )
    errors: Float[np.ndarray, "..."] = about(
        "Errors of the values, those of simulated samples included."
    )
    processes: Float[np.ndarray, "processes ..."] | None = about(
        "What each process contributes; None where values are no sums.", default=None
    )


@record
class Breakdown:
    """The parts of the errors of the bins of a histogram."""

    groups: tuple[str, ...] = about("Names of groups of systematics.")
    impacts: Float[np.ndarray, "groups ..."] = about(
        "What the auxiliary measurements of each group bring (global impacts), never "
        "negative, a leading axis of groups."
    )
    rest: Float[np.ndarray, "..."] = about(
        "What is left in quadrature: data, simulated samples, and parameters without "
        "a constraint."
    )


@record
class Variations:
    """Values of a histogram with one parameter moved by its error, the others held."""

    names: tuple[str, ...] = about("The parameters that are moved.")
    up: Float[np.ndarray, "names ..."] = about(
        "Values with each parameter moved up, a leading axis of names."
    )
    down: Float[np.ndarray, "names ..."] = about(
        "Values with each parameter moved down, a leading axis of names."
    )


@record
class HistogramResult:
    """A histogram before and after a fit, with data where there are any."""

    axes: tuple[Axis, ...] = about("The axes, one for each dimension of the arrays.")
    process_names: tuple[str, ...] = about(
        "The processes, in the order of the rows of `processes`."
    )
    prefit: Expectation = about("What is expected before the fit.")
    postfit: Expectation | None = about(
        "What is expected after the fit; None if it failed.", default=None
    )
    data: Float[np.ndarray, "..."] | None = about(
        "What was fitted; None for masked channels and parts of processes.",
        default=None,
    )
    data_errors: Float[np.ndarray, "..."] | None = about(
        "Errors of the data, the roots of their variances.", default=None
    )
    breakdown: Breakdown | None = about(
        "Where the errors after the fit come from, if asked for.", default=None
    )
    prefit_variations: Variations | None = about(
        "Values with parameters moved before the fit, if asked for.", default=None
    )
    postfit_variations: Variations | None = about(
        "Values with parameters moved after the fit, if asked for.", default=None
    )
    quantity: str = about(
        'What the values are: ``"Events"`` for counts. Empty in older files.',
        default="",
    )

    def processes(self, *, prefit: bool = False) -> dict[str, np.ndarray]:
        """Return the contribution of each process by name; empty if it is not known.

        Args:
            prefit: Whether to return the contributions before the fit.
        """
        side = self.prefit if prefit else self.postfit
        if side is None or side.processes is None:
            return {}
        return dict(zip(self.process_names, side.processes, strict=True))


@record
class MappingOutcome:
    """The values of a mapping."""

    key: str = about("How the mapping is written.")
    histograms: Mapping[str, HistogramResult] = about(
        "The values of the mapping. One array has the name ``values``; several have "
        "those of the channels or mappings they belong to."
    )
    prefit_covariance: Float[np.ndarray, "n n"] | None = about(
        "The covariance of all values before the fit, one histogram after the other, "
        "each in C order; None if not asked for.",
        default=None,
    )
    postfit_covariance: Float[np.ndarray, "n n"] | None = about(
        "The covariance of all values after the fit, in the same order as that before "
        "it; None if not asked for.",
        default=None,
    )
    prefit_chi2: ChiSquare | None = about(
        "The comparison with the data before the fit.", default=None
    )
    postfit_chi2: ChiSquare | None = about(
        "The comparison with the data after the fit, which takes into account "
        "that the values follow the data.",
        default=None,
    )


@record
class StrengthScan:
    """Fits with a regularisation of several strengths: the L-curve."""

    strengths: Float[np.ndarray, " n"] = about(
        "τ, ascending; each was used for all regularised histograms."
    )
    nll: Float[np.ndarray, " n"] = about(
        "-ln L without the penalty; NaN where a fit failed."
    )
    misfit: Float[np.ndarray, " n"] = about(
        "-ln L without the penalty, less that of a model that describes everything "
        "exactly."
    )
    curvature: Float[np.ndarray, " n"] = about(
        "The curvature of the curve of the logarithms of misfit and penalty."
    )
    corner: float = about(
        "The strength at the corner of the curve; NaN if it has none."
    )
    penalty: Float[np.ndarray, " n"] | None = about(
        "The sum of squared curvatures of the histograms, without its weight; None "
        "while parameters of interest are hidden.",
        default=None,
    )


@record
class Regularisation:
    """The regularised histograms of a fit, and the strengths."""

    histograms: tuple[str, ...] = about(
        "The regularised histograms, as they are written."
    )
    strengths: Float[np.ndarray, " n"] = about("τ of each histogram in this fit.")
    l_curve: StrengthScan | None = about(
        "Fits with other strengths, if asked for.", default=None
    )


@record
class TemplateResults:
    """All results of one run of a template fit."""

    data: str = about(
        'What was fitted: ``"data"``, ``"asimov"``, ``"toys"`` or the name of '
        "pseudodata."
    )
    likelihood: str = about("How data entered: the kind of likelihood.")
    made_by: str = about("The version of everwillow that made the results.")
    parameters: Parameters = about("The parameters of the fit, and what they became.")
    fit: FitSummary = about("How the fit ended.")
    channels: Mapping[str, HistogramResult] = about(
        "All channels, masked ones included."
    )
    covariance: Covariance | None = about(
        "The covariance of the fitted parameters; None if the fit failed.", default=None
    )
    impacts: Impacts | None = about(
        "What the errors of the parameters of interest come from, if asked for.",
        default=None,
    )
    nonprofiled_impacts: NonprofiledShifts | None = about(
        "Impacts of frozen parameters, if asked for.", default=None
    )
    asymmetric_errors: AsymmetricErrors | None = about(
        "Intervals of the profile likelihood (MINOS), if asked for.", default=None
    )
    limits: Mapping[str, Limit] = about(
        "CLs upper limits, by parameter of interest.", default_factory=dict
    )
    regularisation: Regularisation | None = about(
        "What the fit wished to be smooth, if anything.", default=None
    )
    mappings: Mapping[str, MappingOutcome] = about(
        "Values of mappings, by how they are written.", default_factory=dict
    )
    scans: Mapping[str, Scan] = about(
        "Scans of the profile likelihood, by parameter.", default_factory=dict
    )
    grid_scans: Mapping[str, GridScan] = about(
        "Scans of the profile likelihood on grids, by two parameters, ``A,B``.",
        default_factory=dict,
    )
    contours: Mapping[str, Contour] = about(
        "Contours of the profile likelihood, by two parameters, ``A,B``.",
        default_factory=dict,
    )
    projections: Mapping[str, ChiSquare] = about(
        "Tests of projections of channels against free bins, if asked for.",
        default_factory=dict,
    )
    toys: Toys | None = about(
        "Fits of pseudo-experiments, if there were any.", default=None
    )
    remarks: tuple[str, ...] = about("What was assumed or looks odd.", default=())

    def __repr__(self) -> str:
        """Return a summary in one line; `everwillow template print` shows tables."""
        return (
            f"TemplateResults({self.data}; {len(self.parameters.names)} parameters, "
            f"{len(self.channels)} channels, {len(self.mappings)} mappings; "
            f"{self.fit.status})"
        )

    def _repr_html_(self) -> str:
        """Return the parameters and the summary for notebooks."""
        return html_of([self.parameters.table(), repr(self), *self.remarks])
