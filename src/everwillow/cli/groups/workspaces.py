"""The commands for workspaces, without a group: ``everwillow fit`` and the like."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import typer

from everwillow.cli.common_options import (
    OUTPUT,
    RowsOption,
    TracebackOption,
    out_option,
)
from everwillow.cli.options import with_options
from everwillow.cli.parsing import Command
from everwillow.cli.request import Request
from everwillow.cli.running import run_for_workspace
from everwillow.workflows.command_options import option


_DOCUMENT = ("analysis", "patches", "verify")
_WITHOUT_PLOT = tuple(
    field.name for field in dataclasses.fields(Request) if field.name != "plot"
)

Workspace: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A pyhf workspace, an HS3 document or a density-ratio workspace; - is "
        "standard input."
    ),
]


@dataclass(frozen=True)
class FitOptions:
    """Options of commands that only fit."""

    max_steps: int = option(
        256, "Largest number of evaluations of the likelihood.", minimum=1
    )


@dataclass(frozen=True)
class MinosOption:
    """The option of commands with asymmetric intervals."""

    minos: tuple[str, ...] = option(
        (),
        "Find the asymmetric intervals of parameters by name or pattern, several with "
        "commas; without names that of the parameter of interest.",
        metavar="[NAME,...]",
        repeated=True,
    )


@dataclass(frozen=True)
class _Significance:
    signal: float = option(
        1.0, "Value of the parameter of interest for the expected significance."
    )
    prefit: bool = option(
        False,
        "Expected significance with nominal nuisance parameters instead of nuisance "
        "parameters fitted to the data.",
        "--a-priori",
    )


@dataclass(frozen=True)
class _Toys:
    ntoys: int = option(1000, "Number of toys.", "--toys", minimum=1)
    seed: int = option(0, "Seed of the random numbers.", minimum=0)
    truths: tuple[str, ...] = option(
        (),
        "True value of a parameter in the toys; by default that of the best fit.",
        "--at",
        metavar="NAME=VALUE",
        repeated=True,
    )


@dataclass(frozen=True)
class _Gof:
    ntoys: int = option(
        0,
        "Number of toys for a p-value without the chi2 distribution; none by default.",
        "--toys",
        minimum=0,
    )
    seed: int = option(0, "Seed of the random numbers.", minimum=0)


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
class ScanOptions:
    """Options of scans."""

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


@with_options(Request, FitOptions, MinosOption, RowsOption, TracebackOption)
def fit(workspace: Workspace, **options: Any) -> None:
    """Fit all parameters to the data, and show values, errors and pulls."""
    run_for_workspace("fit", workspace, options, names="--minos")


@with_options(Request, _Limit, TracebackOption)
def limit(workspace: Workspace, **options: Any) -> None:
    """Set CLs upper limits on the parameter of interest, observed and expected."""
    run_for_workspace("limit", workspace, options)


@with_options(Request, _Significance, TracebackOption, only=_WITHOUT_PLOT)
def significance(workspace: Workspace, **options: Any) -> None:
    """Test for a signal: observed and expected significance and p-value."""
    run_for_workspace("significance", workspace, options, mu_asimov="--signal")


@with_options(Request, ScanOptions, TracebackOption)
def scan(workspace: Workspace, **options: Any) -> None:
    """Scan the profile likelihood of the parameter of interest."""
    run_for_workspace("scan", workspace, options)


@with_options(Request, _Impacts, TracebackOption)
def impacts(workspace: Workspace, **options: Any) -> None:
    """Rank nuisance parameters by their impact on the parameter of interest."""
    run_for_workspace("impacts", workspace, options)


@with_options(Request, _Toys, RowsOption, TracebackOption)
def toys(workspace: Workspace, **options: Any) -> None:
    """Fit pseudo-experiments: pulls, coverage and failures."""
    run_for_workspace("toys", workspace, options, truths="--at")


@with_options(Request, _Gof, TracebackOption, only=_WITHOUT_PLOT)
def gof(workspace: Workspace, **options: Any) -> None:
    """Test the goodness of the fit against the saturated model."""
    run_for_workspace("gof", workspace, options)


@with_options(Request, RowsOption, TracebackOption, only=_DOCUMENT)
def inspect(workspace: Workspace, **options: Any) -> None:
    """Show the content of a document, and the assumptions of its reader."""
    run_for_workspace("inspect", workspace, options)


@with_options(Request, _Convert, TracebackOption, only=_DOCUMENT)
def convert(workspace: Workspace, **options: Any) -> None:
    """Convert a pyhf workspace to HS3, or an HS3 document to pyhf."""
    run_for_workspace("convert", workspace, options)


COMMANDS = (
    fit,
    limit,
    significance,
    scan,
    impacts,
    toys,
    gof,
    inspect,
    convert,
)
"""In the order of the help."""


def add_to(app: typer.Typer) -> None:
    """Add these commands to an application."""
    for command in COMMANDS:
        app.command(cls=Command)(command)
