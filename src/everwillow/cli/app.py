"""The commands and their options; what they do is imported when they are called."""

import importlib
import os
import pathlib
import sys
from typing import Annotated, Any, Literal, Optional


try:
    import typer

    from everwillow.cli.options import All, Cache, Traceback, spellings, with_options
    from everwillow.cli.parsing import Command, Group
except ImportError as error:
    _MSG = (
        "The command everwillow needs typer and rich, which cannot be imported here. "
        'Install them with: pip install "everwillow[cli]"'
    )
    # Whoever typed the command wants a sentence, whoever imports this an exception.
    typed = pathlib.PurePath(sys.argv[0]).stem == "everwillow"
    raise (SystemExit if typed else ImportError)(_MSG) from error

from everwillow.cli.request import Request
from everwillow.workflows.templates.options import (
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
        "Fit binned likelihoods, set limits, scan and rank, from the files that "
        "analyses publish: pyhf workspaces and HS3 documents (JSON, gzipped or not; "
        "- is the standard input)."
    ),
    epilog=(
        "Exit codes: 0 success; 1 internal error; 2 bad input or usage; 3 a fit did "
        "not converge, or there is no limit; 130 interrupted. Compiled programs are "
        "kept in the cache folder of the user, so that a second run starts at once: "
        "--no-cache or EVERWILLOW_CACHE=0 switches that off."
    ),
)
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

_OUTPUT = "Output"
_DOCUMENT = ("analysis", "patches", "verify")
_TEMPLATE_OPTIONS = (ModelOptions, MinimisationOptions, ResultOptions)

Workspace = Annotated[
    str, typer.Argument(help="A pyhf workspace or an HS3 document; - reads stdin.")
]
TemplateFile = Annotated[
    str, typer.Argument(help="Results of `template fit`; or a file to be fitted.")
]


def _show_version(wanted: bool) -> None:  # noqa: FBT001
    if wanted:
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
@with_options(Request)
def fit(
    workspace: Workspace,
    *,
    max_steps: Annotated[
        int, typer.Option(min=1, help="Largest number of evaluations.")
    ] = 256,
    everything: All = False,
    traceback: Traceback = False,
    **request: Any,
) -> None:
    """Fit all parameters to the data, and show values, errors and pulls."""
    more = {"everything": everything, "max_steps": max_steps}
    _run("fit", workspace, request, traceback, **more)


@app.command(cls=Command)
@with_options(Request)
def limit(
    workspace: Workspace,
    *,
    cl: Annotated[float, typer.Option(help="Confidence level.")] = 0.95,
    prefit: Annotated[
        bool,
        typer.Option(
            "--a-priori",
            help="Expected limits with nominal nuisance parameters instead of those "
            "fitted to the data.",
        ),
    ] = False,
    points: Annotated[
        int,
        typer.Option(
            min=5,
            help="Number of points of the plot of CLs.",
            rich_help_panel=_OUTPUT,
        ),
    ] = 21,
    traceback: Traceback = False,
    **request: Any,
) -> None:
    """Set CLs upper limits on the parameter of interest, observed and expected."""
    nuisances = "a priori" if prefit else "a posteriori"
    more = {"cl": cl, "nuisances": nuisances, "points": points}
    _run("limit", workspace, request, traceback, **more)


@app.command(cls=Command)
@with_options(Request)
def scan(
    workspace: Workspace,
    *,
    between: Annotated[
        Optional[tuple[float, float]],  # noqa: UP045
        typer.Option(
            "--range",
            metavar="LOW HIGH",
            help="Range of the scan; three standard errors by default.",
        ),
    ] = None,
    points: Annotated[int, typer.Option(min=2, help="Number of points.")] = 21,
    traceback: Traceback = False,
    **request: Any,
) -> None:
    """Scan the profile likelihood of the parameter of interest."""
    _run("scan", workspace, request, traceback, between=between, points=points)


@app.command(cls=Command)
@with_options(Request)
def impacts(
    workspace: Workspace,
    *,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="Fit again for each parameter, instead of the covariance."
        ),
    ] = False,
    count: Annotated[
        int,
        typer.Option(
            min=1, help="Number of parameters to show.", rich_help_panel=_OUTPUT
        ),
    ] = 20,
    traceback: Traceback = False,
    **request: Any,
) -> None:
    """Rank nuisance parameters by their impact on the parameter of interest."""
    _run("impacts", workspace, request, traceback, refit=refit, count=count)


@app.command(cls=Command)
@with_options(Request, only=_DOCUMENT)
def inspect(
    workspace: Workspace,
    *,
    everything: All = False,
    traceback: Traceback = False,
    **request: Any,
) -> None:
    """Show what is in a document, and what its reader assumes."""
    _run("inspect", workspace, request, traceback, everything=everything)


@app.command(cls=Command)
@with_options(Request, only=_DOCUMENT)
def convert(
    workspace: Workspace,
    *,
    to: Annotated[
        Optional[Literal["pyhf", "hs3"]],  # noqa: UP045
        typer.Option(help="The format; by default the one that it does not have."),
    ] = None,
    out: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--out", "-o", help="Where to write; stdout by default."),
    ] = None,
    traceback: Traceback = False,
    **request: Any,
) -> None:
    """Convert a pyhf workspace to HS3, or the other way round."""
    file = None if out is None else pathlib.Path(out)
    _run("convert", workspace, request, traceback, target=to, file=file)


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
    out: Annotated[
        str, typer.Option("--out", "-o", help="Where to write (HDF5).", metavar="FILE")
    ],
    traceback: Traceback = False,
) -> None:
    """Run a script that books histograms, write the file, and report what is odd."""
    _run_template("build", script, traceback, script=script, out=out)


@template.command("fit", cls=Command)
@with_options(*_TEMPLATE_OPTIONS, without_default=("ntoys",))
def template_fit(
    spec: Annotated[str, typer.Argument(help="What `template build` wrote (HDF5).")],
    *,
    out: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--out", "-o", help="Where to write results (HDF5)."),
    ] = None,
    everything: All = False,
    cache: Cache = True,
    traceback: Traceback = False,
    **options: Any,
) -> None:
    """Fit templates, and propagate the result to distributions."""
    more = {"spec": spec, "out": out, "everything": everything, "options": options}
    _run_template("fit", spec, traceback, cache=cache, **more)


@template.command("print", cls=Command)
def template_print(
    file: TemplateFile,
    *,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Only these parts: fit, parameters, impacts, limits, 'scans/*', "
            "'ch0', ... May be repeated.",
            metavar="PATTERN",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    everything: All = False,
    traceback: Traceback = False,
) -> None:
    """Show results as tables; of a file to be fitted what is in it and what is odd."""
    more = {"file": file, "only": only, "everything": everything}
    _run_template("print", file, traceback, **more)


@template.command("plot", cls=Command)
def template_plot(
    file: TemplateFile,
    *,
    out: Annotated[
        str, typer.Option("--out", "-o", help="The folder for the plots; it is made.")
    ],
    ending: Annotated[
        Literal["pdf", "png", "svg"],
        typer.Option("--format", help="The format of the plots."),
    ] = "pdf",
    title: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Written above each plot."),
    ] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Logarithmic axes of events.")
    ] = False,
    per_width: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            "--per-width/--no-per-width",
            help="Divide events by the widths of bins; by default where these are "
            "unequal.",
        ),
    ] = None,
    only: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Only plots of these names. May be repeated.",
            metavar="PATTERN",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    traceback: Traceback = False,
) -> None:
    """Draw all plots of results; of a file to be fitted its templates."""
    more = {"title": title, "log": log, "per_width": per_width, "only": only}
    _run_template("plot", file, traceback, file=file, out=out, ending=ending, **more)


app.add_typer(template)


def _run(
    name: str,
    workspace: str,
    options: dict[str, Any],
    traceback: bool,  # noqa: FBT001
    **more: Any,
) -> None:
    """Run a command for workspaces, and end with its exit code."""
    from everwillow.cli.session import setup  # noqa: PLC0415

    setup.prepare()
    from everwillow.cli.report.outcome import ending  # noqa: PLC0415

    request = Request.of(workspace, options)
    words = spellings(
        Request, level="--cl", max_steps="--max-steps", pois="--poi", values="--range"
    )
    with ending(request.title, traceback=traceback, options=words):
        # What only reads has no option --cache, and computes nothing.
        if "cache" in options:
            more["folder"] = setup.start(cache=request.cache)
        command = importlib.import_module(f"everwillow.cli.commands.{name}")
        command.run(request, **more)


def _run_template(
    name: str,
    source: str,
    traceback: bool,  # noqa: FBT001
    /,
    *,
    cache: bool = False,
    **more: Any,
) -> None:
    """Run a command for templates, and end with its exit code."""
    from everwillow.cli.session import setup  # noqa: PLC0415

    setup.prepare()
    from everwillow.cli.report.outcome import ending  # noqa: PLC0415

    words = {}
    if name == "fit":
        aliases = {"fixed": "--freeze", "frozen": "--freeze", "with_starts": "--start"}
        words = spellings(*_TEMPLATE_OPTIONS, toys="--toys", **aliases)
    with ending(pathlib.Path(source).name, traceback=traceback, options=words):
        folder = setup.start(cache=cache)
        if name == "fit":
            more["folder"] = folder
        command = importlib.import_module(f"everwillow.cli.commands.template.{name}")
        command.run(**more)


def main() -> None:
    """Run the command line, and end the process at once.

    Taking JAX apart in good order takes a fifth of a second, for a process that is not
    needed any more.
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
