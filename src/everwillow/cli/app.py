"""The commands and their options; their code is imported when they are called."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from everwillow._errors import missing_package


try:
    import typer

    from everwillow.cli.options import spellings, with_options
    from everwillow.cli.parsing import Command, Group
except ImportError as error:
    failure = missing_package("The command everwillow needs typer and rich", "cli")
    # On the command line a sentence is enough; an import raises the exception.
    typed = pathlib.PurePath(sys.argv[0]).stem == "everwillow"
    raise (SystemExit(str(failure)) if typed else failure) from error

from everwillow.cli.common_options import (
    OUTPUT,
    RowsOption,
    TracebackOption,
    out_option,
)
from everwillow.cli.request import Request
from everwillow.cli.running import run_module
from everwillow.cli.sas import sas
from everwillow.workflows.command_options import CommandOption, option
from everwillow.workflows.templates.fit_options import (
    MinimisationOptions,
    ModelOptions,
    ResultOptions,
)


app = typer.Typer(
    name="everwillow",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Fit binned likelihoods, set limits, scan the profile likelihood and rank "
        "impacts, for published analyses: pyhf workspaces and HS3 documents (JSON, "
        "gzipped or not; - is the standard input)."
    ),
    epilog=(
        "Exit codes: 0 success; 1 internal error; 2 bad input or usage; 3 a fit did "
        "not converge, or there is no limit; 130 interrupted. Compiled programs are "
        "kept in the cache folder of the user, which makes the next run faster: "
        "--no-cache or EVERWILLOW_CACHE=0 switches that off."
    ),
)
template = typer.Typer(
    name="template",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Template fits: histograms of many processes and systematics, with results "
        "propagated to distributions that are not fitted."
    ),
)

nsbi = typer.Typer(
    name="nsbi",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Unbinned fits of density ratios together with binned channels, from a YAML "
        "configuration or a workspace (JSON)."
    ),
)

_RATIOS = (
    "measurement",
    "poi",
    "fixed",
    "interpolation",
    "normalize",
    "template_statistics",
    "storage",
    "out",
    "plot",
    "cache",
)
_DOCUMENT = ("analysis", "patches", "verify")
_TEMPLATE_OPTIONS = (ModelOptions, MinimisationOptions, ResultOptions)

Workspace: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A pyhf workspace, an HS3 document or a density-ratio workspace; - is "
        "standard input."
    ),
]
RatioFile: TypeAlias = Annotated[
    str,
    typer.Argument(help="A density-ratio workspace (JSON), or a configuration (YAML)."),
]
TemplateFile: TypeAlias = Annotated[
    str,
    typer.Argument(help="Results of `template fit`, or a file of `template build`."),
]


# Options of single commands, and those that several share.
@dataclass(frozen=True)
class _Only:
    only: tuple[str, ...] = option(
        (),
        "Only the parts that match: fit, parameters, impacts, limits, 'scans/*', "
        "'ch0', ...",
        panel=OUTPUT,
        metavar="PATTERN",
        repeated=True,
    )


@dataclass(frozen=True)
class _Fit:
    max_steps: int = option(
        256, "Largest number of evaluations of the likelihood.", minimum=1
    )


@dataclass(frozen=True)
class _Limit:
    cl: float = option(0.95, "Confidence level.")
    prefit: bool = option(
        False,
        "Expected limits with nominal nuisance parameters instead of nuisance "
        "parameters fitted to the data.",
        "--a-priori",
    )
    points: int = option(
        21, "Number of points of the plot of CLs.", panel=OUTPUT, minimum=5
    )


@dataclass(frozen=True)
class _Scan:
    between: tuple[float, float] | None = option(
        None,
        "Range of the scan; by default three standard errors on both sides.",
        "--range",
        kind=tuple[float, float],
        metavar="LOW HIGH",
    )
    points: int = option(21, "Number of points.", minimum=2)
    starts: int = option(
        0,
        "Number of other start values for the fit at each point, to look for lower "
        "minima.",
        minimum=0,
    )


@dataclass(frozen=True)
class _Impacts:
    refit: bool = option(
        False,
        "Compute impacts by two fits for each parameter, instead of from the "
        "covariance.",
    )
    count: int = option(
        20,
        "Number of parameters in the table and in the plot.",
        panel=OUTPUT,
        minimum=1,
    )


@dataclass(frozen=True)
class _Convert:
    to: str | None = option(
        None,
        "Format of the new document; by default the one that it does not have.",
        kind=Literal["pyhf", "hs3"],
    )
    file: str | None = out_option(
        "File for the new document; by default standard output."
    )


@dataclass(frozen=True)
class _Build:
    out: str = out_option("File for the template fit (HDF5).", ...)


@dataclass(frozen=True)
class _RatioBuild:
    out: str = out_option("File for the workspace (JSON).", ...)
    arrays: str = option(
        "paths",
        "Where the arrays of events are: the files where they are, inside of the "
        "workspace, or copies in a folder beside it.",
        kind=Literal["paths", "inside", "beside"],
    )


@dataclass(frozen=True)
class _RatioFit:
    stat_only: bool = option(
        False,
        "Show errors without systematic uncertainties: constrained parameters are held "
        "at their best-fit values.",
    )
    minos: tuple[str, ...] = option(
        (),
        "Find the asymmetric interval of a parameter, or of all parameters that match "
        "a pattern.",
        metavar="NAME",
        repeated=True,
    )
    ratio_errors: bool = option(
        False,
        "Show the errors that come from the training of the density ratios (where they "
        "are ensembles) and from the reference sample.",
    )


@dataclass(frozen=True)
class _RatioScan:
    statistical: bool = option(
        True, "Scan without systematic uncertainties too, and show both."
    )


@dataclass(frozen=True)
class _Compare:
    labels: tuple[str, ...] = option(
        (),
        "Name of a file in the table and in the plot, in their order; by default that "
        "of the file.",
        "--label",
        "--labels",
        panel=OUTPUT,
        metavar="TEXT",
        repeated=True,
    )


@dataclass(frozen=True)
class _TemplateFit:
    out: str | None = out_option("File for the results (HDF5).")
    cache: bool = option(True, "Keep compiled programs for the next run.")


@dataclass(frozen=True)
class _Plot:
    out: str = out_option("Folder for the plots.", ..., "FOLDER")
    ending: str = option(
        "pdf", "Format of the plots.", "--format", kind=Literal["pdf", "png", "svg"]
    )
    title: str | None = option(None, "Title of all plots.")
    log: bool = option(False, "Use logarithmic axes for events.")
    per_width: bool | None = option(
        None,
        "Divide events by the bin widths; by default if these differ.",
        "--per-width/--no-per-width",
        kind=bool,
    )


def _show_version(requested: bool) -> None:  # noqa: FBT001
    if requested:
        from importlib import metadata  # noqa: PLC0415

        typer.echo(f"everwillow {metadata.version('everwillow')}")
        raise typer.Exit


@app.callback()
def _everwillow(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
) -> None:
    del version


@app.command(cls=Command)
@with_options(Request, _Fit, RowsOption, TracebackOption)
def fit(workspace: Workspace, **options: Any) -> None:
    """Fit all parameters to the data, and show values, errors and pulls."""
    _run("fit", workspace, options)


@app.command(cls=Command)
@with_options(Request, _Limit, TracebackOption)
def limit(workspace: Workspace, **options: Any) -> None:
    """Set CLs upper limits on the parameter of interest, observed and expected."""
    _run("limit", workspace, options)


@app.command(cls=Command)
@with_options(Request, _Scan, TracebackOption)
def scan(workspace: Workspace, **options: Any) -> None:
    """Scan the profile likelihood of the parameter of interest."""
    _run("scan", workspace, options)


@app.command(cls=Command)
@with_options(Request, _Impacts, TracebackOption)
def impacts(workspace: Workspace, **options: Any) -> None:
    """Rank nuisance parameters by their impact on the parameter of interest."""
    _run("impacts", workspace, options)


@app.command(cls=Command)
@with_options(Request, RowsOption, TracebackOption, only=_DOCUMENT)
def inspect(workspace: Workspace, **options: Any) -> None:
    """Show the content of a document, and the assumptions of its reader."""
    _run("inspect", workspace, options)


@app.command(cls=Command)
@with_options(Request, _Convert, TracebackOption, only=_DOCUMENT)
def convert(workspace: Workspace, **options: Any) -> None:
    """Convert a pyhf workspace to HS3, or an HS3 document to pyhf."""
    _run("convert", workspace, options)


@template.command(cls=Command)
@with_options(_Build, TracebackOption)
def build(
    script: Annotated[
        str,
        typer.Argument(
            help="A Python file that defines a function build(), which returns a "
            "TemplateBuilder, or a TemplateBuilder with the name `builder`."
        ),
    ],
    **options: Any,
) -> None:
    """Run a script that books histograms, write them, and report possible mistakes."""
    _run_template("build", script, {"script": script, **options})


@template.command("fit", cls=Command)
@with_options(
    *_TEMPLATE_OPTIONS,
    _TemplateFit,
    RowsOption,
    TracebackOption,
    without_default=("ntoys",),
)
def template_fit(
    spec: Annotated[str, typer.Argument(help="A file of `template build` (HDF5).")],
    **options: Any,
) -> None:
    """Fit templates, and propagate the result to distributions."""
    own = ("out", "everything", "cache", "traceback")
    more = {name: options.pop(name) for name in own}
    _run_template("fit", spec, {"spec": spec, "options": options, **more})


@template.command("print", cls=Command)
@with_options(_Only, RowsOption, TracebackOption)
def template_print(file: TemplateFile, **options: Any) -> None:
    """Show results as tables; for a file of `template build` a report on the inputs."""
    _run_template("print", file, {"file": file, **options})


@template.command("plot", cls=Command)
@with_options(_Plot, _Only, TracebackOption)
def template_plot(file: TemplateFile, **options: Any) -> None:
    """Draw all plots of results; for a file of `template build` its templates."""
    _run_template("plot", file, {"file": file, **options})


@nsbi.command("build", cls=Command)
@with_options(_RatioBuild, TracebackOption)
def nsbi_build(
    config: Annotated[str, typer.Argument(help="A configuration (YAML).")],
    **options: Any,
) -> None:
    """Build the workspace of a configuration, and report on it."""
    title = pathlib.Path(config).name
    run_module("nsbi.build", title, {}, {"config": config, **options})


@nsbi.command("fit", cls=Command)
@with_options(Request, _RatioFit, _Fit, RowsOption, TracebackOption, only=_RATIOS)
def nsbi_fit(file: RatioFile, **options: Any) -> None:
    """Fit all parameters to the data, and show values, errors and pulls."""
    _run("nsbi.fit", file, options, names="--minos")


@nsbi.command("scan", cls=Command)
@with_options(Request, _Scan, _RatioScan, TracebackOption, only=_RATIOS)
def nsbi_scan(file: RatioFile, **options: Any) -> None:
    """Scan the profile likelihood with and without systematic uncertainties."""
    _run("nsbi.scan", file, options)


@nsbi.command("compare", cls=Command)
@with_options(Request, _Scan, _RatioScan, _Compare, TracebackOption, only=_RATIOS)
def nsbi_compare(
    files: Annotated[
        list[str],
        typer.Argument(help="Density-ratio workspaces (JSON), or configurations."),
    ],
    **options: Any,
) -> None:
    """Compare the profile likelihoods of several workspaces."""
    _run("nsbi.compare", files[0], {"files": tuple(files), **options})


app.add_typer(template)
app.add_typer(nsbi)
app.add_typer(sas)


def _run(name: str, workspace: str, options: dict[str, Any], **others: str) -> None:
    """Run a command for workspaces; its options that are no fields of `Request` too.

    Args:
        name: The name of its module.
        workspace: The file.
        options: All options by name.
        **others: Options in place of arguments of Python, for messages.
    """
    fields = {field.name for field in dataclasses.fields(Request)} & options.keys()
    request = Request.of(workspace, {key: options.pop(key) for key in fields})
    known = {"level": "--cl", "max_steps": "--max-steps", "pois": "--poi"}
    words = spellings(Request, **known, values="--range", **others)
    # Commands that only read have no option --cache.
    if "cache" in fields:
        options["cache"] = request.cache
    run_module(name, request.title, words, {"request": request, **options})


def _run_template(name: str, source: str, arguments: dict[str, Any]) -> None:
    """Run a command for templates."""
    words: Mapping[str, CommandOption] = {}
    if name == "fit":
        aliases = {"fixed": "--freeze", "frozen": "--freeze", "with_starts": "--start"}
        words = spellings(*_TEMPLATE_OPTIONS, toys="--toys", **aliases)
    title = pathlib.Path(source).name
    run_module(f"template.{name}", title, words, arguments)


def main() -> None:
    """Run the command line, and end the process at once.

    The regular end of JAX takes a third of a second, which a process that is not needed
    any more does not need.
    """
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = code or 1
    os._exit(code or 0)
