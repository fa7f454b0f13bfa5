"""The commands and their options; their code is imported when they are called."""

import importlib
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias


try:
    import typer

    from everwillow.cli.options import All, Cache, Traceback, spellings, with_options
    from everwillow.cli.parsing import Command, Group
except ImportError as error:
    _MSG = (
        "The command everwillow needs typer and rich, which cannot be imported here. "
        'Install them with: pip install "everwillow[cli]"'
    )
    # On the command line a sentence is enough; an import raises the exception.
    typed = pathlib.PurePath(sys.argv[0]).stem == "everwillow"
    raise (SystemExit if typed else ImportError)(_MSG) from error

from everwillow.cli.request import Request
from everwillow.workflows.command_options import CommandOption
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

_OUTPUT = "Output"
_DOCUMENT = ("analysis", "patches", "verify")
_TEMPLATE_OPTIONS = (ModelOptions, MinimisationOptions, ResultOptions)

Workspace: TypeAlias = Annotated[
    str,
    typer.Argument(help="A pyhf workspace or an HS3 document; - is standard input."),
]
TemplateFile: TypeAlias = Annotated[
    str,
    typer.Argument(help="Results of `template fit`, or a file of `template build`."),
]
Only: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="Only the parts that match: fit, parameters, impacts, limits, 'scans/*', "
        "'ch0', ... May be repeated.",
        metavar="PATTERN",
        rich_help_panel=_OUTPUT,
    ),
]


def _out(help: str) -> Any:
    return typer.Option("--out", "-o", help=help, metavar="FILE")


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
@with_options(Request)
def fit(
    workspace: Workspace,
    *,
    max_steps: Annotated[
        int,
        typer.Option(min=1, help="Largest number of evaluations of the likelihood."),
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
            help="Expected limits with nominal nuisance parameters instead of nuisance "
            "parameters fitted to the data.",
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
        tuple[float, float] | None,
        typer.Option(
            "--range",
            metavar="LOW HIGH",
            help="Range of the scan; by default three standard errors on both sides.",
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
            "--refit",
            help="Compute impacts by two fits for each parameter, instead of from the "
            "covariance.",
        ),
    ] = False,
    count: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of parameters in the table and in the plot.",
            rich_help_panel=_OUTPUT,
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
    """Show the content of a document, and the assumptions of its reader."""
    _run("inspect", workspace, request, traceback, everything=everything)


@app.command(cls=Command)
@with_options(Request, only=_DOCUMENT)
def convert(
    workspace: Workspace,
    *,
    to: Annotated[
        Literal["pyhf", "hs3"] | None,
        typer.Option(
            help="Format of the new document; by default the one that the document "
            "does not have."
        ),
    ] = None,
    out: Annotated[
        str | None, _out("File for the new document; by default standard output.")
    ] = None,
    traceback: Traceback = False,
    **request: Any,
) -> None:
    """Convert a pyhf workspace to HS3, or an HS3 document to pyhf."""
    file = None if out is None else pathlib.Path(out)
    _run("convert", workspace, request, traceback, target=to, file=file)


@template.command(cls=Command)
def build(
    script: Annotated[
        str,
        typer.Argument(
            help="A Python file that defines a function build(), which returns a "
            "TemplateBuilder, or a TemplateBuilder with the name `builder`."
        ),
    ],
    *,
    out: Annotated[str, _out("File for the template fit (HDF5).")],
    traceback: Traceback = False,
) -> None:
    """Run a script that books histograms, write them, and report possible mistakes."""
    _run_template("build", script, traceback, script=script, out=out)


@template.command("fit", cls=Command)
@with_options(*_TEMPLATE_OPTIONS, without_default=("ntoys",))
def template_fit(
    spec: Annotated[str, typer.Argument(help="A file of `template build` (HDF5).")],
    *,
    out: Annotated[str | None, _out("File for the results (HDF5).")] = None,
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
    only: Only = None,
    everything: All = False,
    traceback: Traceback = False,
) -> None:
    """Show results as tables; for a file of `template build` a report on the inputs."""
    more = {"file": file, "only": only, "everything": everything}
    _run_template("print", file, traceback, **more)


@template.command("plot", cls=Command)
def template_plot(
    file: TemplateFile,
    *,
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="Folder for the plots.", metavar="FOLDER"),
    ],
    ending: Annotated[
        Literal["pdf", "png", "svg"],
        typer.Option("--format", help="Format of the plots."),
    ] = "pdf",
    title: Annotated[str | None, typer.Option(help="Title of all plots.")] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Use logarithmic axes for events.")
    ] = False,
    per_width: Annotated[
        bool | None,
        typer.Option(
            "--per-width/--no-per-width",
            help="Divide events by the bin widths; by default if these differ.",
        ),
    ] = None,
    only: Only = None,
    traceback: Traceback = False,
) -> None:
    """Draw all plots of results; for a file of `template build` its templates."""
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
    request = Request.of(workspace, options)
    words = spellings(
        Request, level="--cl", max_steps="--max-steps", pois="--poi", values="--range"
    )
    # Commands that only read have no option --cache.
    if "cache" in options:
        more["cache"] = request.cache
    more["request"] = request
    _run_module(name, request.title, words, traceback, more)


def _run_template(
    name: str,
    source: str,
    traceback: bool,  # noqa: FBT001
    **more: Any,
) -> None:
    """Run a command for templates, and end with its exit code."""
    words: Mapping[str, CommandOption] = {}
    if name == "fit":
        aliases = {"fixed": "--freeze", "frozen": "--freeze", "with_starts": "--start"}
        words = spellings(*_TEMPLATE_OPTIONS, toys="--toys", **aliases)
    title = pathlib.Path(source).name
    _run_module(f"template.{name}", title, words, traceback, more)


def _run_module(
    name: str,
    title: str,
    words: Mapping[str, CommandOption],
    traceback: bool,  # noqa: FBT001
    arguments: dict[str, Any],
) -> None:
    """Run the module of a command; with `cache` it takes the folder of programs."""
    from everwillow.cli.session import setup  # noqa: PLC0415

    setup.prepare()
    from everwillow.cli.report.outcome import ending  # noqa: PLC0415

    with ending(title, traceback=traceback, options=words):
        cache = arguments.pop("cache", None)
        folder = setup.start(cache=bool(cache))
        if cache is not None:
            arguments["folder"] = folder
        importlib.import_module(f"everwillow.cli.commands.{name}").run(**arguments)


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
