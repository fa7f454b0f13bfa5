"""The options of ``everwillow template``, each with its help."""

from typing import Annotated, Any, Literal, Optional, TypeAlias

import typer


_WHAT, _MODEL, _SMOOTH = "What to fit", "Model", "Regularisation"
_PARTS, _ERRORS, _OUTPUT = "Impacts", "Intervals and limits", "Output"
_Text: TypeAlias = Optional[str]  # noqa: UP045
_Number: TypeAlias = Optional[float]  # noqa: UP045
_Texts: TypeAlias = Optional[list[str]]  # noqa: UP045
_Numbers: TypeAlias = Optional[list[float]]  # noqa: UP045
_REPEAT = "May be repeated."


def _option(panel: str | None, about: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=about, rich_help_panel=panel, **more)


def _several(panel: str, metavar: str, about: str, *names: str) -> Any:
    return _option(panel, f"{about} {_REPEAT}", *names, metavar=metavar)


Spec = Annotated[str, typer.Argument(help="What `template build` wrote (HDF5).")]
File = Annotated[
    str, typer.Argument(help="Results of `template fit`; or a file to be fitted.")
]
Out = Annotated[
    str, _option(None, "Where to write (HDF5).", "--out", "-o", metavar="FILE")
]
Cache = Annotated[
    bool, _option(None, "Whether compiled programs are kept for the next run.")
]
Traceback = Annotated[
    bool, _option(None, "Show where an error came from.", "--traceback")
]
All = Annotated[bool, _option(_OUTPUT, "Show all rows.", "--all")]
Results = Annotated[
    _Text, _option(None, "Where to write results (HDF5).", "--out", "-o")
]
MaxSteps = Annotated[int, _option(None, "Largest number of evaluations.", min=1)]

Data = Annotated[
    _Text,
    _option(
        _WHAT,
        "The data (default), what is expected at the start values, pseudo-experiments, "
        "or pseudodata of a name.",
        metavar="data|asimov|toys|NAME",
    ),
]
Toys = Annotated[Optional[int], _option(_WHAT, "How many toys.", min=1)]  # noqa: UP045
Seed = Annotated[int, _option(_WHAT, "Of toys.")]
Start = Annotated[
    _Texts,
    _several(
        _WHAT,
        "NAME=VALUE",
        "Where the fit starts, which is what Asimov data and toys contain.",
    ),
]
FromResult = Annotated[
    _Text,
    _option(_WHAT, "Begin the fit where that of these results ended.", metavar="FILE"),
]
Refit = Annotated[
    bool,
    _option(
        _WHAT,
        "Whether to fit; if not, what --from-result found is propagated.",
    ),
]
Freeze = Annotated[
    _Texts,
    _several(
        _WHAT,
        "NAME[=VALUE]",
        "Take a parameter out of the fit, or all that match a pattern.",
    ),
]
Blind = Annotated[
    _Texts,
    _several(
        _WHAT,
        "PATTERN",
        "Hide parameters of interest by a reproducible number; '*' for all.",
    ),
]
Unblind = Annotated[_Texts, _several(_WHAT, "PATTERN", "What of --blind not to hide.")]

Parameters = Annotated[
    _Text,
    _option(
        _MODEL,
        "What scales the processes, such as 'Mixture light heavy'; by default a "
        "strength for each signal.",
    ),
]
Likelihood = Annotated[
    Literal["poisson", "chi2", "covariance"], _option(_MODEL, "How data enter.")
]
Statistics = Annotated[
    Literal["default", "gamma", "normal", "additive", "none"],
    _option(_MODEL, "What simulated samples fluctuate by."),
]
PerProcess = Annotated[
    bool,
    _option(_MODEL, "Let each process of a bin fluctuate on its own.", "--per-process"),
]
Profile = Annotated[
    bool,
    _option(
        _MODEL,
        "Whether these fluctuations are profiled in closed form, or fitted as the "
        "parameters bin_by_bin[0], ...",
    ),
]
Sparse = Annotated[
    Optional[bool],  # noqa: UP045
    _option(
        _MODEL,
        "Keep effects as a list, or as a dense array; by default as they were built.",
        "--sparse/--dense",
    ),
]

Regularise = Annotated[
    _Texts,
    _several(
        _SMOOTH,
        "MAPPING",
        "A histogram that ought to be smooth, such as 'Select xsec', or 'Parameters "
        "PATTERN'.",
    ),
]
Strength = Annotated[
    _Texts,
    _several(
        _SMOOTH,
        "TAU|corner",
        "The strength for all of them, or one for each; that at the corner of the "
        "L-curve.",
    ),
]
LCurve = Annotated[
    _Text,
    _option(_SMOOTH, "Fit with N strengths from LOW to HIGH.", metavar="LOW:HIGH:N"),
]

Impacts = Annotated[
    bool, _option(_PARTS, "On the parameters of interest.", "--impacts")
]
AsymmetricImpacts = Annotated[
    bool,
    _option(_PARTS, "These, up and down by two fits for each.", "--asymmetric-impacts"),
]
NonprofiledImpacts = Annotated[
    bool,
    _option(
        _PARTS,
        "Move each frozen parameter by its width, and fit again.",
        "--nonprofiled-impacts",
    ),
]
Group = Annotated[
    _Texts,
    _several(_PARTS, "GROUP=PATTERN,...", "More parameters of a group of impacts."),
]
Breakdown = Annotated[
    bool,
    _option(_PARTS, "Divide errors of bins by groups of systematics.", "--breakdown"),
]
Variation = Annotated[
    _Texts,
    _several(
        _PARTS,
        "PATTERN",
        "Evaluate all histograms with a parameter moved by its error, before and after "
        "the fit; '*' for all.",
    ),
]

Minos = Annotated[
    _Texts, _several(_ERRORS, "PATTERN", "Asymmetric errors of parameters.")
]
Scan = Annotated[
    _Texts,
    _several(
        _ERRORS, "NAME[,NAME]", "Scan the profile likelihood of one parameter, or two."
    ),
]
Points = Annotated[int, _option(_ERRORS, "Of a scan, in each direction.", min=2)]
Contour = Annotated[
    _Texts, _several(_ERRORS, "NAME,NAME", "Follow the contours of two parameters.")
]
ContourLevel = Annotated[
    _Numbers,
    _option(
        _ERRORS,
        f"Confidence level of a contour; 0.6827 and 0.95 by default. {_REPEAT}",
        metavar="CL",
    ),
]
Limit = Annotated[
    _Texts,
    _several(_ERRORS, "PATTERN", "CLs upper limits on parameters of interest."),
]
LimitLevel = Annotated[
    float, _option(_ERRORS, "CLs of limits: 0.05 for 95 % confidence.", metavar="CLS")
]

Mapping = Annotated[
    _Texts,
    _several(
        _OUTPUT,
        "TEXT",
        "A mapping such as 'Project ch0 x', spelled as in Python.",
        "--mapping",
        "-m",
    ),
]
Covariances = Annotated[
    bool, _option(_OUTPUT, "Keep the covariance of each mapping.", "--covariances")
]
Projection = Annotated[
    _Texts,
    _several(
        _OUTPUT,
        "'CHANNEL AXIS ...'",
        "Test a projection against a fit with free bins.",
    ),
]
Unconstrained = Annotated[
    _Number,
    _option(_OUTPUT, "Error before the fit of systematics without a constraint."),
]

OnlyParts = Annotated[
    _Texts,
    _several(
        _OUTPUT,
        "PATTERN",
        "Only these parts: fit, parameters, impacts, limits, 'scans/*', 'ch0', ...",
    ),
]
OnlyPlots = Annotated[
    _Texts, _several(_OUTPUT, "PATTERN", "Only plots of these names.")
]
Folder = Annotated[
    str, _option(None, "The folder for the plots; it is made.", "--out", "-o")
]
Ending = Annotated[
    Literal["pdf", "png", "svg"], _option(None, "Of the plots.", "--format")
]
Title = Annotated[_Text, _option(None, "Written above each plot.")]
PerWidth = Annotated[
    Optional[bool],  # noqa: UP045
    _option(
        None,
        "Divide events by the widths of bins; by default where these are unequal.",
        "--per-width/--no-per-width",
    ),
]
Log = Annotated[bool, _option(None, "Logarithmic axes of events.", "--log")]
