"""The options of a template fit: their defaults, meaning, checks and command line.

`everwillow.workflows.templates.run` takes the fields of all three dataclasses as
keywords, and ``everwillow template fit`` derives its options from their metadata by
`everwillow.workflows.command_options.command_options`. An option is added here, and
nowhere else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from everwillow._errors import ArgumentValueError
from everwillow.workflows.command_options import option


Names: TypeAlias = bool | str | Sequence[str]
"""Names of parameters or patterns; a truth value means all or none of a kind."""

Pair: TypeAlias = tuple[str, str]
Pairs: TypeAlias = str | Sequence[str | Pair]
"""Parameters, or two of them: ``"A,B"`` or ``("A", "B")``."""

# A comma between two names, and not one between the indices of an element.
COMMA = re.compile(r",(?![^\[\]]*\])")

_WHAT, _MODEL, _SMOOTH = "What to fit", "Model", "Regularisation"
_PARTS, _ERRORS, _OUTPUT = "Impacts", "Intervals and limits", "Output"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model is fitted to which data.

    Attributes:
        data: What to fit. ``"data"``: what was observed, the default, an error where
            there is nothing. ``"asimov"``: what is expected at the start values. The
            name of pseudodata. ``"toys"``: pseudo-experiments at the start values, in
            addition to the Asimov data.
        starts: Values where the fit starts, by parameter: what is expected before the
            fit, and so what Asimov data and toys contain. Systematics that are added
            (``systematic_type="normal"``) are in proportion to these expectations, so
            that other starts are another likelihood; begin a fit elsewhere by
            `from_result` there.
        freeze: Parameters that are taken out of the fit, names or patterns; a mapping
            tells their values.
        blind: As in `TemplateModel.from_spec`. What would reveal hidden parameters at
            once is left out then: after the fit masked channels, and parts of
            processes; limits on hidden parameters. Scans and contours have hidden
            scales. It takes little arithmetic to get them from the yields all the same.
        unblind: As there.
        parameters: What scales the processes: a text as `parse_parameters` reads it, or
            what `TemplateModel.from_spec` takes.
        likelihood: As in `TemplateModel.from_spec`.
        statistics: As there.
        per_process: As there.
        profile: As there. If False, ``bin_by_bin[0]``, ... are among the parameters.
        sparse: Whether effects are kept as a list; None as the builder says.
        regularise: Histograms that ought to be smooth
            (`everwillow.models.templates.likelihood.regularisation`): mappings, as
            `mappings` has them; ``Parameters PATTERN ...`` for the values of parameters
            in a row; or `Curvature`, which has a strength of its own.
        strength: τ of all of them, or one for each; 0 by default. ``"corner"`` takes
            that at the corner of the L-curve.
    """

    data: str | None = option(
        None,
        "The data (default), what is expected at the start values, pseudo-experiments, "
        "or pseudodata of a name.",
        "--data",
        panel=_WHAT,
        metavar="data|asimov|toys|NAME",
    )
    starts: Mapping[str, float] | None = option(
        None,
        "Where the fit starts, which is what Asimov data and toys contain.",
        "--start",
        panel=_WHAT,
        metavar="NAME=VALUE",
        repeated=True,
    )
    freeze: str | Sequence[str] | Mapping[str, float | None] = option(
        (),
        "Take a parameter out of the fit, or all that match a pattern.",
        "--freeze",
        panel=_WHAT,
        metavar="NAME[=VALUE]",
        repeated=True,
    )
    blind: Any = option(
        False,
        "Hide parameters of interest by a reproducible number; '*' for all.",
        "--blind",
        panel=_WHAT,
        metavar="PATTERN",
        repeated=True,
    )
    unblind: bool | str | Iterable[str] = option(
        False,
        "What of --blind not to hide.",
        "--unblind",
        panel=_WHAT,
        metavar="PATTERN",
        repeated=True,
    )
    parameters: Any = option(
        None,
        "What scales the processes, such as 'Mixture light heavy'; by default a "
        "strength for each signal.",
        "--parameters",
        panel=_MODEL,
    )
    likelihood: Literal["poisson", "chi2", "covariance"] = option(
        "poisson",
        "How data enter.",
        "--likelihood",
        panel=_MODEL,
        kind=Literal["poisson", "chi2", "covariance"],
    )
    statistics: Literal["default", "gamma", "normal", "additive"] | None = option(
        "default",
        "What simulated samples fluctuate by.",
        "--statistics",
        panel=_MODEL,
        kind=Literal["default", "gamma", "normal", "additive", "none"],
    )
    per_process: bool = option(
        False,
        "Let each process of a bin fluctuate on its own.",
        "--per-process",
        panel=_MODEL,
        kind=bool,
    )
    profile: bool = option(
        True,
        "Whether these fluctuations are profiled in closed form, or fitted as the "
        "parameters bin_by_bin[0], ...",
        "--profile/--no-profile",
        panel=_MODEL,
        kind=bool,
    )
    sparse: bool | None = option(
        None,
        "Keep effects as a list, or as a dense array; by default as they were built.",
        "--sparse/--dense",
        panel=_MODEL,
        kind=bool,
    )
    regularise: Any = option(
        (),
        "A histogram that ought to be smooth, such as 'Select xsec', or 'Parameters "
        "PATTERN'.",
        "--regularise",
        panel=_SMOOTH,
        metavar="MAPPING",
        repeated=True,
    )
    strength: float | Sequence[float] | Literal["corner"] | None = option(
        None,
        "The strength for all of them, or one for each; that at the corner of the "
        "L-curve.",
        "--strength",
        panel=_SMOOTH,
        metavar="TAU|corner",
        repeated=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MinimisationOptions:
    """Where the minimum comes from.

    Attributes:
        from_result: What another fit found, or its file. The fit begins at its values
            where both have a parameter; what is expected before the fit, Asimov data
            and toys stay those of `starts`.
        refit: Whether to fit, which is the default. If not, the values and the
            covariance of `from_result` are propagated to channels and mappings, which
            may be others than those of that fit. What needs a minimum is an error then.
        l_curve: Strengths of an L-curve, each of which takes a fit.
        max_steps: As in `everwillow.fit`.
    """

    from_result: Any = option(
        None,
        "Begin the fit where that of these results ended.",
        "--from-result",
        panel=_WHAT,
        metavar="FILE",
    )
    refit: bool = option(
        True,
        "Whether to fit; if not, what --from-result found is propagated.",
        "--refit/--no-refit",
        panel=_WHAT,
        kind=bool,
    )
    l_curve: Sequence[float] | None = option(
        None,
        "Fit with N strengths from LOW to HIGH.",
        "--l-curve",
        panel=_SMOOTH,
        metavar="LOW:HIGH:N",
    )
    max_steps: int = option(
        256, "Largest number of evaluations.", "--max-steps", kind=int, minimum=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOptions:
    """What is computed besides the fit.

    Attributes:
        ntoys: The number of toys, if these are fitted.
        seed: The random seed of the toys.
        mappings: As `everwillow.mappings.parse_mapping` reads them, or mappings.
        covariances: Whether to keep the covariance of the values of each mapping.
        impacts: Whether to compute impacts on the parameters of interest, traditional
            and global ones, of parameters and of groups.
        asymmetric_impacts: Whether to compute these, and the traditional ones of each
            parameter by two more fits.
        nonprofiled_impacts: Whether to move each frozen parameter by the width of its
            constraint, and fit again.
        groups: More parameters of groups, names or patterns: of parameter models, say.
        breakdown: Whether to divide the errors of all bins by groups of systematics.
        variations: Names or patterns of parameters: all histograms are evaluated with
            each of them moved up and down, before the fit by the width of its
            constraint (or `unconstrained`; others are left out), after the fit by its
            error. All other parameters stay, also those that are profiled. True for
            all that are fitted.
        minos: Names or patterns of parameters that get asymmetric errors; True for
            those of interest.
        scans: Parameters whose profile likelihood is scanned; two of them, as
            ``"A,B"`` or ``("A", "B")``, on a grid.
        scan_points: How many points a scan has, in each direction.
        contours: Pairs of parameters, likewise, whose contours are followed.
        contour_levels: The confidence levels of these, for both parameters together.
        limits: Names or patterns of parameters of interest that get CLs upper limits,
            observed and expected (`everwillow.limits`); True for all of interest.
        limit_level: The CLs of these, 0.05 for 95 % confidence.
        projections: Projections of channels, written ``CHANNEL AXIS ...``, that are
            tested against a fit with free bins. Each takes a fit.
        unconstrained: The error before the fit of systematics without a constraint;
            without it they count as known.
    """

    ntoys: int = option(
        100, "How many toys.", "--toys", panel=_WHAT, kind=int, minimum=1
    )
    seed: int = option(
        0, "The random seed of the toys.", "--seed", panel=_WHAT, kind=int
    )
    mappings: Any = option(
        (),
        "A mapping such as 'Project ch0 x', spelled as in Python.",
        "--mapping",
        "-m",
        panel=_OUTPUT,
        metavar="TEXT",
        repeated=True,
    )
    covariances: bool = option(
        False,
        "Keep the covariance of each mapping.",
        "--covariances",
        panel=_OUTPUT,
        kind=bool,
    )
    impacts: bool = option(
        False,
        "On the parameters of interest.",
        "--impacts",
        panel=_PARTS,
        kind=bool,
    )
    asymmetric_impacts: bool = option(
        False,
        "These, up and down by two fits for each.",
        "--asymmetric-impacts",
        panel=_PARTS,
        kind=bool,
    )
    nonprofiled_impacts: bool = option(
        False,
        "Move each frozen parameter by its width, and fit again.",
        "--nonprofiled-impacts",
        panel=_PARTS,
        kind=bool,
    )
    groups: Mapping[str, str | Sequence[str]] | None = option(
        None,
        "More parameters of a group of impacts.",
        "--group",
        panel=_PARTS,
        metavar="GROUP=PATTERN,...",
        repeated=True,
    )
    breakdown: bool = option(
        False,
        "Divide errors of bins by groups of systematics.",
        "--breakdown",
        panel=_PARTS,
        kind=bool,
    )
    variations: Names = option(
        (),
        "Evaluate all histograms with a parameter moved by its error, before and after "
        "the fit; '*' for all.",
        "--variation",
        panel=_PARTS,
        metavar="PATTERN",
        repeated=True,
    )
    minos: Names = option(
        False,
        "Asymmetric errors of parameters.",
        "--minos",
        panel=_ERRORS,
        metavar="PATTERN",
        repeated=True,
    )
    scans: Pairs = option(
        (),
        "Scan the profile likelihood of one parameter, or two.",
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
        kind=int,
        minimum=2,
    )
    contours: Pairs = option(
        (),
        "Follow the contours of two parameters.",
        "--contour",
        panel=_ERRORS,
        metavar="NAME,NAME",
        repeated=True,
    )
    contour_levels: Sequence[float] = option(
        (0.6827, 0.95),
        "Confidence level of a contour; 0.6827 and 0.95 by default.",
        "--contour-level",
        panel=_ERRORS,
        kind=float,
        metavar="CL",
        repeated=True,
    )
    limits: Names = option(
        False,
        "CLs upper limits on parameters of interest.",
        "--limit",
        panel=_ERRORS,
        metavar="PATTERN",
        repeated=True,
    )
    limit_level: float = option(
        0.05,
        "CLs of limits: 0.05 for 95 % confidence.",
        "--limit-level",
        panel=_ERRORS,
        kind=float,
        metavar="CLS",
    )
    projections: str | Sequence[str] = option(
        (),
        "Test a projection against a fit with free bins.",
        "--projection",
        panel=_OUTPUT,
        metavar="'CHANNEL AXIS ...'",
        repeated=True,
    )
    unconstrained: float | None = option(
        None,
        "Error before the fit of systematics without a constraint.",
        "--unconstrained",
        panel=_OUTPUT,
        kind=float,
    )

    def __post_init__(self) -> None:
        """Check numbers.

        Raises:
            ArgumentValueError: If one is out of its range.
        """
        points, levels, level = self.scan_points, self.contour_levels, self.limit_level
        if not hasattr(points, "__index__") or points < 2:
            raise ArgumentValueError(
                f"scan_points: expected 2 or more, got {points!r}."
            )
        if not len(levels) or not all(0 < one < 1 for one in levels):
            raise ArgumentValueError(
                f"contour_levels: expected numbers between 0 and 1, got {levels!r}."
            )
        if not 0 < level < 0.5:
            raise ArgumentValueError(
                "limit_level: expected a CLs such as 0.05, for limits at 95 % "
                f"confidence, got {level!r}."
            )


__all__ = [
    "COMMA",
    "MinimisationOptions",
    "ModelOptions",
    "Names",
    "Pair",
    "Pairs",
    "ResultOptions",
]
