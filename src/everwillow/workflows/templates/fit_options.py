"""The options of a template fit: their defaults, meaning, checks and command line.

`everwillow.workflows.templates.run` takes the fields of all three dataclasses as
keywords, and ``everwillow template fit`` derives its options from their metadata by
`everwillow.workflows.command_options.derive_options`. An option is added here, and
nowhere else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from everwillow._errors import ArgumentValueError
from everwillow.workflows.command_options import option


Names: TypeAlias = bool | str | Sequence[str]
"""Names of parameters or patterns; True is all parameters of a kind, False none."""

Pair: TypeAlias = tuple[str, str]
Pairs: TypeAlias = str | Sequence[str | Pair]
"""Parameters, or two of them: ``"A,B"`` or ``("A", "B")``."""

# A comma between two names, not one between the indices of an element.
COMMA = re.compile(r",(?![^\[\]]*\])")

_Likelihood: TypeAlias = Literal["poisson", "chi2", "covariance"]
_Statistics: TypeAlias = Literal["default", "gamma", "normal", "additive"]

# Panels of --help.
_DATA, _MODEL, _SMOOTH = "What to fit", "Model", "Regularisation"
_PARTS, _ERRORS, _OUTPUT = "Impacts", "Intervals and limits", "Output"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model is fitted to which data.

    Attributes:
        data: The data that are fitted. ``"data"``, the default, are the observed data;
            it is an error if a fitted channel has none. ``"asimov"`` are the expected
            yields at the start values. ``"toys"`` are pseudo-experiments at the start
            values, in addition to a fit of the Asimov data. Any other text is the name
            of pseudodata.
        starts: Start values by parameter. They define the prefit expectation, and so
            the Asimov data and the toys. Additive systematics
            (``systematic_type="normal"``) are relative to this expectation, so that
            other start values make another likelihood; use `from_result` to start the
            minimisation elsewhere.
        fixed: Parameters that are held constant, by name or pattern; a mapping gives
            their values.
        blind: As in `TemplateModel.from_spec`. Results that reveal hidden parameters
            directly are left out: after the fit, masked channels and contributions of
            processes; limits on hidden parameters. Scans and contours use the hidden
            scale. Hidden values can still be computed from the yields.
        unblind: As in `TemplateModel.from_spec`.
        parameters: The model of the parameters that scale the processes: a text as for
            `parse_parameters`, or an argument of `TemplateModel.from_spec`.
        likelihood: As in `TemplateModel.from_spec`.
        statistics: As in `TemplateModel.from_spec`.
        per_process: As in `TemplateModel.from_spec`.
        profile: As in `TemplateModel.from_spec`. If False, ``bin_by_bin[0]``, ... are
            parameters of the fit.
        sparse: Whether the effects of systematics are stored as a list; None for the
            choice of the builder.
        regularise: Histograms that are regularised towards smoothness
            (`everwillow.models.templates.likelihood.regularisation`): mappings, as in
            `mappings`; ``Parameters PATTERN ...`` for the values of parameters in a
            row; or a `Curvature`, which has its own strength.
        strength: The strength τ of all regularised histograms, or one for each; 0 by
            default. ``"corner"`` is the strength at the corner of the L-curve.
    """

    data: str | None = option(
        None,
        "The data that are fitted: the observed data (default), the expected yields at "
        "the start values, pseudo-experiments, or pseudodata by name.",
        panel=_DATA,
        metavar="data|asimov|toys|NAME",
    )
    starts: Mapping[str, float] | None = option(
        None,
        "Start value of a parameter. Asimov data and toys are made at the start "
        "values.",
        "--start",
        panel=_DATA,
        metavar="NAME=VALUE",
        repeated=True,
    )
    fixed: str | Sequence[str] | Mapping[str, float | None] = option(
        (),
        "Hold a parameter, or all parameters that match a pattern, constant.",
        "--fix",
        "-f",
        panel=_DATA,
        metavar="NAME[=VALUE]",
        repeated=True,
    )
    blind: Any = option(
        False,
        "Hide parameters of interest by a reproducible random shift; '*' for all.",
        panel=_DATA,
        metavar="PATTERN",
        repeated=True,
    )
    unblind: bool | str | Iterable[str] = option(
        False,
        "Parameters that --blind does not hide.",
        panel=_DATA,
        metavar="PATTERN",
        repeated=True,
    )
    parameters: Any = option(
        None,
        "The parameters that scale the processes, such as 'Mixture light heavy'; by "
        "default one signal strength for each signal.",
        panel=_MODEL,
    )
    likelihood: _Likelihood = option(
        "poisson", "The likelihood of the data.", panel=_MODEL, kind=_Likelihood
    )
    statistics: _Statistics | None = option(
        "default",
        "The model of the statistical uncertainty of simulated samples.",
        panel=_MODEL,
        kind=Literal["default", "gamma", "normal", "additive", "none"],
    )
    per_process: bool = option(
        False,
        "One statistical parameter for each process of a bin, not one for each bin.",
        panel=_MODEL,
    )
    profile: bool = option(
        True,
        "Profile the statistical parameters of simulated samples in closed form, or "
        "fit them as bin_by_bin[0], ...",
        panel=_MODEL,
    )
    sparse: bool | None = option(
        None,
        "Store the effects of systematics as a list, or as a dense array; by default "
        "as in the file.",
        "--sparse/--dense",
        panel=_MODEL,
        kind=bool,
    )
    regularise: Any = option(
        (),
        "Regularise a histogram towards smoothness, such as 'Select xsec' or "
        "'Parameters PATTERN'.",
        panel=_SMOOTH,
        metavar="MAPPING",
        repeated=True,
    )
    strength: float | Sequence[float] | Literal["corner"] | None = option(
        None,
        "Strength of the regularisation, one for all histograms or one for each; "
        "corner is the strength at the corner of the L-curve.",
        panel=_SMOOTH,
        metavar="TAU|corner",
        repeated=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimisationOptions:
    """How the minimum is found.

    Attributes:
        from_result: The results of another fit, or their file. The minimisation starts
            at its values for the parameters that both fits have. The prefit
            expectation, Asimov data and toys stay those of `starts`.
        refit: Whether to fit; the default. If False, the values and the covariance of
            `from_result` are propagated to channels and mappings, which may differ from
            those of that fit. Results that need a minimum are an error then.
        l_curve: Strengths of the L-curve; each takes one fit.
        max_steps: As in `everwillow.fit`.
    """

    from_result: Any = option(
        None,
        "Start the minimisation at the minimum of these results.",
        panel=_DATA,
        metavar="FILE",
    )
    refit: bool = option(
        True,
        "Fit, or propagate the values and the covariance of --from-result without a "
        "fit.",
        panel=_DATA,
    )
    l_curve: Sequence[float] | None = option(
        None,
        "Make an L-curve: fit with N strengths from LOW to HIGH.",
        panel=_SMOOTH,
        metavar="LOW:HIGH:N",
    )
    max_steps: int = option(
        256, "Largest number of evaluations of the likelihood.", minimum=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOptions:
    """Results that are computed besides the fit.

    Attributes:
        ntoys: Number of toys, if toys are fitted.
        seed: Random seed for the toys.
        mappings: Mappings, or texts as for `everwillow.mappings.parse_mapping`.
        covariances: Whether to keep the covariance of the values of each mapping.
        impacts: Whether to compute traditional and global impacts on the parameters of
            interest, of parameters and of groups.
        asymmetric_impacts: Whether to compute impacts, and the traditional impact of
            each parameter also by two more fits.
        nonprofiled_impacts: Whether to move each frozen parameter by the width of its
            constraint, and fit again.
        groups: Additional parameters of groups of impacts, by names or patterns; of
            parameter models, for example.
        breakdown: Whether to split the errors of all bins by groups of systematics.
        variations: Names or patterns of parameters. All histograms are evaluated with
            each of these parameters moved up and down, before the fit by the width of
            its constraint (or by `unconstrained`; parameters with neither are left
            out), after the fit by its error. All other parameters stay constant, the
            profiled ones included. True for all fitted parameters.
        minos: Names or patterns of parameters with asymmetric errors; True for the
            parameters of interest.
        scans: Parameters whose profile likelihood is scanned; two of them, as
            ``"A,B"`` or ``("A", "B")``, are scanned on a grid.
        scan_points: Number of points of a scan, in each direction.
        contours: Pairs of parameters, ``"A,B"`` or ``("A", "B")``, with contours.
        contour_cl: The confidence levels of the contours, for both parameters
            together.
        limits: Names or patterns of parameters of interest with CLs upper limits,
            observed and expected (`everwillow.limits`); True for all of interest.
        cl: The confidence level of the limits.
        projections: Projections of channels, written ``CHANNEL AXIS ...``, that are
            tested against a fit with free bins. Each takes one fit.
        unconstrained: The prefit error of systematics without a constraint; None for
            no error.
    """

    ntoys: int = option(
        100,
        "Number of toys that are fitted, 100 by default; implies --data toys.",
        "--toys",
        panel=_DATA,
        minimum=1,
    )
    seed: int = option(0, "Random seed for the toys.", panel=_DATA)
    mappings: Any = option(
        (),
        "A mapping such as 'Project ch0 x', in the same words as in Python.",
        "--mapping",
        "-m",
        panel=_OUTPUT,
        metavar="TEXT",
        repeated=True,
    )
    covariances: bool = option(
        False, "Write the covariance of each mapping to --out.", panel=_OUTPUT
    )
    impacts: bool = option(
        False, "Compute impacts on the parameters of interest.", panel=_PARTS
    )
    asymmetric_impacts: bool = option(
        False,
        "Compute impacts, also for moves up and down by two fits for each parameter.",
        panel=_PARTS,
    )
    nonprofiled_impacts: bool = option(
        False,
        "Move each frozen parameter by the width of its constraint, and fit again.",
        panel=_PARTS,
    )
    groups: Mapping[str, str | Sequence[str]] | None = option(
        None,
        "Add parameters to a group of impacts.",
        "--group",
        panel=_PARTS,
        metavar="GROUP=PATTERN,...",
        repeated=True,
    )
    breakdown: bool = option(
        False, "Split the errors of all bins by groups of systematics.", panel=_PARTS
    )
    variations: Names = option(
        (),
        "Evaluate all histograms with a parameter moved by its error, before and after "
        "the fit; '*' for all parameters.",
        "--variation",
        panel=_PARTS,
        metavar="PATTERN",
        repeated=True,
    )
    minos: Names = option(
        False,
        "Compute asymmetric errors of parameters by name or pattern, several with "
        "commas; without names of those of interest.",
        panel=_ERRORS,
        metavar="[NAME,...]",
        repeated=True,
    )
    scans: Pairs = option(
        (),
        "Scan the profile likelihood of one parameter, or of two on a grid.",
        "--scan",
        panel=_ERRORS,
        metavar="NAME[,NAME]",
        repeated=True,
    )
    scan_points: int = option(
        21,
        "Number of points of a scan, in each direction.",
        "--points",
        panel=_ERRORS,
        minimum=2,
    )
    contours: Pairs = option(
        (),
        "Compute the contours of two parameters.",
        "--contour",
        panel=_ERRORS,
        metavar="NAME,NAME",
        repeated=True,
    )
    contour_cl: Sequence[float] = option(
        (0.6827, 0.95),
        "Confidence level of a contour; 0.6827 and 0.95 by default.",
        panel=_ERRORS,
        kind=float,
        metavar="CL",
        repeated=True,
    )
    limits: Names = option(
        False,
        "Compute CLs upper limits on parameters of interest.",
        "--limit",
        panel=_ERRORS,
        metavar="PATTERN",
        repeated=True,
    )
    cl: float = option(0.95, "Confidence level of limits.", panel=_ERRORS)
    projections: str | Sequence[str] = option(
        (),
        "Test a projection of a channel against a fit with free bins.",
        "--projection",
        panel=_OUTPUT,
        metavar="'CHANNEL AXIS ...'",
        repeated=True,
    )
    unconstrained: float | None = option(
        None,
        "Prefit error of systematics without a constraint.",
        panel=_OUTPUT,
        kind=float,
    )

    def __post_init__(self) -> None:
        """Check numbers.

        Raises:
            ArgumentValueError: If one is out of its range.
        """
        points, levels, cl = self.scan_points, self.contour_cl, self.cl
        if not hasattr(points, "__index__") or points < 2:
            raise ArgumentValueError(
                f"scan_points: expected 2 or more, got {points!r}."
            )
        if not len(levels) or not all(0 < one < 1 for one in levels):
            raise ArgumentValueError(
                f"contour_cl: expected numbers between 0 and 1, got {levels!r}."
            )
        if not 0.5 < cl < 1:
            raise ArgumentValueError(
                f"cl: expected a confidence level such as 0.95, got {cl!r}."
            )
