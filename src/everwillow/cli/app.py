"""The commands and their options; what they do is imported when they are called."""

import importlib
import os
import pathlib
import sys
from typing import Annotated, Any, Literal, Optional


try:
    import typer

    from everwillow.cli.parsing import Command, Group
    from everwillow.cli.template_app import template
except ImportError as error:
    _MSG = (
        "The command everwillow needs typer and rich, which cannot be imported here. "
        'Install them with: pip install "everwillow[cli]"'
    )
    # Whoever typed the command wants a sentence, whoever imports this an exception.
    typed = pathlib.PurePath(sys.argv[0]).stem == "everwillow"
    raise (SystemExit if typed else ImportError)(_MSG) from error


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

_INPUT, _OUTPUT = "Input", "Output"

Workspace = Annotated[
    str, typer.Argument(help="A pyhf workspace or an HS3 document; - reads stdin.")
]
Measurement = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--measurement",
        "-m",
        help="Of a workspace: name or number.",
        rich_help_panel=_INPUT,
    ),
]
Analysis = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Of an HS3 document: name or number.", rich_help_panel=_INPUT),
]
Patches = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--patch",
        "-p",
        metavar="FILE|PATCHSET:NAME",
        help="Apply a JSON patch, or one of a patch set. May be repeated.",
        rich_help_panel=_INPUT,
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        help="Whether a patch set must be made for this workspace.",
        rich_help_panel=_INPUT,
    ),
]
Poi = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Parameter of interest.", rich_help_panel=_INPUT),
]
Fix = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--fix",
        "-f",
        metavar="NAME[=VALUE]",
        help="Hold a parameter, an element such as gamma[3], or all that match a "
        "pattern such as 'stat*'. May be repeated.",
        rich_help_panel=_INPUT,
    ),
]
Interpolation = Annotated[
    str,
    typer.Option(
        help="Of a workspace: default (codes 4 and 4p), pyhf-python (codes 1 and 0), "
        "or normsys=CODE,histosys=CODE.",
        rich_help_panel=_INPUT,
    ),
]
Out = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--out",
        "-o",
        help="Write the result: .json, .npz or .h5.",
        rich_help_panel=_OUTPUT,
    ),
]
Plot = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Draw the result: .pdf, .png or .svg.", rich_help_panel=_OUTPUT),
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
def fit(
    workspace: Workspace,
    *,
    measurement: Measurement = None,
    analysis: Analysis = None,
    patch: Patches = None,
    verify: Verify = True,
    poi: Poi = None,
    fix: Fix = None,
    interpolation: Interpolation = "default",
    max_steps: Annotated[
        int, typer.Option(min=1, help="Largest number of evaluations.")
    ] = 256,
    out: Out = None,
    plot: Plot = None,
    everything: All = False,
    cache: Cache = True,
    traceback: Traceback = False,
) -> None:
    """Fit all parameters to the data, and show values, errors and pulls."""
    request = {k: v for k, v in locals().items() if k in _SHARED}
    _run("fit", request, traceback, everything=everything, max_steps=max_steps)


@app.command(cls=Command)
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
        int, typer.Option(min=5, help="Of the plot of CLs.", rich_help_panel=_OUTPUT)
    ] = 21,
    measurement: Measurement = None,
    analysis: Analysis = None,
    patch: Patches = None,
    verify: Verify = True,
    poi: Poi = None,
    fix: Fix = None,
    interpolation: Interpolation = "default",
    out: Out = None,
    plot: Plot = None,
    cache: Cache = True,
    traceback: Traceback = False,
) -> None:
    """Set CLs upper limits on the parameter of interest, observed and expected."""
    request = {k: v for k, v in locals().items() if k in _SHARED}
    nuisances = "a priori" if prefit else "a posteriori"
    _run("limit", request, traceback, cl=cl, nuisances=nuisances, points=points)


@app.command(cls=Command)
def scan(
    workspace: Workspace,
    *,
    between: Annotated[
        Optional[tuple[float, float]],  # noqa: UP045
        typer.Option(
            "--range",
            metavar="LOW HIGH",
            help="Of the scan; three standard errors by default.",
        ),
    ] = None,
    points: Annotated[int, typer.Option(min=2, help="How many values.")] = 21,
    measurement: Measurement = None,
    analysis: Analysis = None,
    patch: Patches = None,
    verify: Verify = True,
    poi: Poi = None,
    fix: Fix = None,
    interpolation: Interpolation = "default",
    out: Out = None,
    plot: Plot = None,
    cache: Cache = True,
    traceback: Traceback = False,
) -> None:
    """Scan the profile likelihood of the parameter of interest."""
    request = {k: v for k, v in locals().items() if k in _SHARED}
    _run("scan", request, traceback, between=between, points=points)


@app.command(cls=Command)
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
        int, typer.Option(min=1, help="How many to show.", rich_help_panel=_OUTPUT)
    ] = 20,
    measurement: Measurement = None,
    analysis: Analysis = None,
    patch: Patches = None,
    verify: Verify = True,
    poi: Poi = None,
    fix: Fix = None,
    interpolation: Interpolation = "default",
    out: Out = None,
    plot: Plot = None,
    cache: Cache = True,
    traceback: Traceback = False,
) -> None:
    """Rank nuisance parameters by their impact on the parameter of interest."""
    request = {k: v for k, v in locals().items() if k in _SHARED}
    _run("impacts", request, traceback, refit=refit, count=count)


@app.command(cls=Command)
def inspect(
    workspace: Workspace,
    *,
    analysis: Analysis = None,
    patch: Patches = None,
    verify: Verify = True,
    everything: All = False,
    traceback: Traceback = False,
) -> None:
    """Show what is in a document, and what its reader assumes."""
    request = {k: v for k, v in locals().items() if k in _SHARED}
    _run("inspect", request, traceback, computes=False, everything=everything)


@app.command(cls=Command)
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
    analysis: Analysis = None,
    patch: Patches = None,
    verify: Verify = True,
    traceback: Traceback = False,
) -> None:
    """Convert a pyhf workspace to HS3, or the other way round."""
    request = {k: v for k, v in locals().items() if k in _SHARED and k != "out"}
    file = None if out is None else pathlib.Path(out)
    _run("convert", request, traceback, computes=False, target=to, file=file)


# Parameters of commands that are fields of `Request`, with their names there.
_SHARED = {
    "workspace": "workspace",
    "measurement": "measurement",
    "analysis": "analysis",
    "patch": "patches",
    "verify": "verify",
    "poi": "poi",
    "fix": "fixed",
    "interpolation": "interpolation",
    "out": "out",
    "plot": "plot",
    "cache": "cache",
}


def _run(
    module: str,
    options: dict[str, Any],
    traceback: bool,  # noqa: FBT001
    *,
    computes: bool = True,
    **more: Any,
) -> None:
    """Run a command, and end with its exit code."""
    from everwillow.cli.session import setup  # noqa: PLC0415

    setup.prepare()
    from everwillow.cli.report.outcome import ending  # noqa: PLC0415
    from everwillow.cli.report.wording import WORKSPACES  # noqa: PLC0415
    from everwillow.cli.request import Request  # noqa: PLC0415

    fields = {_SHARED[name]: value for name, value in options.items()}
    for name in ("patches", "fixed"):
        if name in fields:
            fields[name] = tuple(fields[name] or ())
    for name in ("out", "plot"):
        if fields.get(name) is not None:
            fields[name] = pathlib.Path(fields[name])
    request = Request(**fields)
    with ending(request.title, traceback=traceback, options=WORKSPACES):
        if computes:
            more["folder"] = setup.start(cache=request.cache)
        command = importlib.import_module(f"everwillow.cli.commands.{module}")
        command.run(request, **more)


app.add_typer(template)


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
