"""``everwillow template``: its commands and options."""

import importlib
import pathlib
from typing import Annotated, Any, Literal, Optional

import typer

from everwillow.cli._parsing import Command, Group


template = typer.Typer(
    name="template",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Template fits: histograms of many processes and systematics, results "
        "propagated to distributions that are not fitted."
    ),
)

_WHAT, _MODEL, _OUTPUT = "What to fit", "Model", "Output"

Texts = Optional[list[str]]  # noqa: UP045
Spec = Annotated[str, typer.Argument(help="What `template build` wrote (HDF5).")]
Out = Annotated[
    str, typer.Option("--out", "-o", help="Where to write (HDF5).", metavar="FILE")
]
Cache = Annotated[
    bool, typer.Option(help="Whether compiled programs are kept for the next run.")
]
Traceback = Annotated[
    bool, typer.Option("--traceback", help="Show where an error came from.")
]
All = Annotated[
    bool, typer.Option("--all", help="Show all rows.", rich_help_panel=_OUTPUT)
]


@template.command(cls=Command)
def build(
    script: Annotated[
        str,
        typer.Argument(
            help="A Python file that defines a function build(), which returns a "
            "TemplateBuilder, or the builder itself under the name `builder`."
        ),
    ],
    *,
    out: Out,
    traceback: Traceback = False,
) -> None:
    """Run a script that books histograms, write the file, and report what is odd."""
    _run("_template_build", script, traceback, script=script, out=out)


@template.command(cls=Command)
def fit(
    spec: Spec,
    *,
    out: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--out", "-o", help="Where to write results (HDF5)."),
    ] = None,
    data: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="data|asimov|toys|NAME",
            help="The data (default), what is expected at the start values, "
            "pseudo-experiments, or pseudodata of a name.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    toys: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="How many pseudo-experiments.", rich_help_panel=_WHAT),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of toys.", rich_help_panel=_WHAT)] = 0,
    start: Annotated[
        Texts,
        typer.Option(
            metavar="NAME=VALUE",
            help="Where the fit starts, which is what Asimov data and toys contain. "
            "May be repeated.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    freeze: Annotated[
        Texts,
        typer.Option(
            metavar="NAME[=VALUE]",
            help="Take a parameter out of the fit, or all that match a pattern. May "
            "be repeated.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    blind: Annotated[
        Texts,
        typer.Option(
            metavar="PATTERN",
            help="Hide parameters of interest by a reproducible number; '*' for all. "
            "May be repeated.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    unblind: Annotated[
        Texts,
        typer.Option(
            metavar="PATTERN",
            help="What of --blind not to hide. May be repeated.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    parameters: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="What scales the processes, such as 'Mixture light heavy'; by "
            "default a strength for each signal.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    likelihood: Annotated[
        Literal["poisson", "chi2", "covariance"],
        typer.Option(help="How data enter.", rich_help_panel=_MODEL),
    ] = "poisson",
    statistics: Annotated[
        Literal["default", "gamma", "normal", "additive", "none"],
        typer.Option(
            help="What simulated samples fluctuate by.", rich_help_panel=_MODEL
        ),
    ] = "default",
    per_process: Annotated[
        bool,
        typer.Option(
            "--per-process",
            help="Let each process of a bin fluctuate on its own.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    mapping: Annotated[
        Texts,
        typer.Option(
            "--mapping",
            "-m",
            metavar="TEXT",
            help="A mapping such as 'Project ch0 x', spelled as in Python. May be "
            "repeated.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    covariances: Annotated[
        bool,
        typer.Option(
            "--covariances",
            help="Keep the covariance of each mapping.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    impacts: Annotated[
        bool,
        typer.Option(
            "--impacts",
            help="On the parameters of interest.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    breakdown: Annotated[
        bool,
        typer.Option(
            "--breakdown",
            help="Divide errors of bins by groups of systematics.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    scan: Annotated[
        Texts,
        typer.Option(
            metavar="NAME",
            help="Scan the profile likelihood of a parameter. May be repeated.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    points: Annotated[
        int, typer.Option(min=2, help="Of a scan.", rich_help_panel=_OUTPUT)
    ] = 21,
    projection: Annotated[
        Texts,
        typer.Option(
            metavar="'CHANNEL AXIS ...'",
            help="Test a projection against a fit with free bins. May be repeated.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    unconstrained: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Error before the fit of systematics without a constraint.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    max_steps: Annotated[
        int, typer.Option(min=1, help="Largest number of evaluations.")
    ] = 256,
    everything: All = False,
    cache: Cache = True,
    traceback: Traceback = False,
) -> None:
    """Fit templates, and propagate the result to distributions."""
    given = dict(locals())
    shown = {name: given.pop(name) for name in ("traceback", "cache", "everything")}
    _run(
        "_template_fit",
        spec,
        shown["traceback"],
        cache=shown["cache"],
        everything=shown["everything"],
        options=given,
    )


@template.command(cls=Command, name="print")
def show(
    file: Annotated[
        str, typer.Argument(help="Results of `template fit`; or a file to be fitted.")
    ],
    *,
    everything: All = False,
    traceback: Traceback = False,
) -> None:
    """Show results as tables; of a file to be fitted what is in it and what is odd."""
    _run("_template_print", file, traceback, file=file, everything=everything)


@template.command(cls=Command)
def plot(
    file: Annotated[
        str, typer.Argument(help="Results of `template fit`; or a file to be fitted.")
    ],
    *,
    out: Annotated[
        str, typer.Option("--out", "-o", help="The folder for the plots; it is made.")
    ],
    ending: Annotated[
        Literal["pdf", "png", "svg"], typer.Option("--format", help="Of the plots.")
    ] = "pdf",
    title: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Written above each plot."),
    ] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Logarithmic axes of events.")
    ] = False,
    only: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="PATTERN", help="Only plots of these names."),
    ] = None,
    traceback: Traceback = False,
) -> None:
    """Draw all plots of results; of a file to be fitted its templates."""
    options = {"out": out, "ending": ending, "title": title, "log": log}
    options["only"] = only
    _run("_template_plot", file, traceback, file=file, **options)


def _run(
    module: str,
    source: str,
    traceback: bool,  # noqa: FBT001
    /,
    *,
    cache: bool = False,
    **options: Any,
) -> None:
    """Run a command, and end with its exit code."""
    from everwillow.cli import _session  # noqa: PLC0415

    _session.prepare()
    from everwillow.cli._outcome import ending  # noqa: PLC0415

    with ending(pathlib.Path(source).name, traceback=traceback):
        folder = _session.start(cache=cache)
        if module == "_template_fit":
            options["folder"] = folder
        command = importlib.import_module(f"everwillow.cli.{module}")
        command.run(**options)
