"""The group ``everwillow nsbi``: unbinned fits of density ratios."""

import pathlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import typer

from everwillow.cli.common_options import (
    OUTPUT,
    RowsOption,
    TracebackOption,
    out_option,
)
from everwillow.cli.groups.workspaces import FitOptions, MinosOption, ScanOptions
from everwillow.cli.options import with_options
from everwillow.cli.parsing import Command, Group
from everwillow.cli.request import Request
from everwillow.cli.running import run_for_workspace, run_module
from everwillow.workflows.command_options import option


nsbi = typer.Typer(
    name="nsbi",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Unbinned fits of density ratios together with binned channels, from a YAML "
        "configuration or a workspace (JSON)."
    ),
)

_RATIOS = (
    "measurement",
    "poi",
    "fixed",
    "free",
    "interpolation",
    "normalize",
    "template_statistics",
    "storage",
    "out",
    "plot",
    "form",
    "cache",
)

RatioFile: TypeAlias = Annotated[
    str,
    typer.Argument(help="A density-ratio workspace (JSON), or a configuration (YAML)."),
]


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
@with_options(
    Request,
    _RatioFit,
    MinosOption,
    FitOptions,
    RowsOption,
    TracebackOption,
    only=_RATIOS,
)
def nsbi_fit(file: RatioFile, **options: Any) -> None:
    """Fit all parameters to the data, and show values, errors and pulls."""
    run_for_workspace("nsbi.fit", file, options, names="--minos")


@nsbi.command("scan", cls=Command)
@with_options(Request, ScanOptions, _RatioScan, TracebackOption, only=_RATIOS)
def nsbi_scan(file: RatioFile, **options: Any) -> None:
    """Scan the profile likelihood with and without systematic uncertainties."""
    run_for_workspace("nsbi.scan", file, options)


@nsbi.command("compare", cls=Command)
@with_options(Request, ScanOptions, _RatioScan, _Compare, TracebackOption, only=_RATIOS)
def nsbi_compare(
    files: Annotated[
        list[str],
        typer.Argument(help="Density-ratio workspaces (JSON), or configurations."),
    ],
    **options: Any,
) -> None:
    """Compare the profile likelihoods of several workspaces."""
    run_for_workspace("nsbi.compare", files[0], {"files": tuple(files), **options})
