"""The group ``everwillow sas``: energy scale and smearing."""

import pathlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from everwillow.cli.common_options import (
    OUTPUT,
    RowsOption,
    TracebackOption,
    out_option,
)
from everwillow.cli.options import spellings, with_options
from everwillow.cli.parsing import Command, Group
from everwillow.cli.running import run_module
from everwillow.workflows.command_options import option
from everwillow.workflows.scale_smearing.figure_options import FigureChoice


sas = typer.Typer(
    name="sas",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Energy scale and smearing: responses and resolutions of categories of leptons "
        "from masses of Z bosons, and corrections from them."
    ),
)

_COLUMNS = "Columns"


@dataclass(frozen=True)
class _Fit:
    out: str | None = out_option(
        "Folder for all files; by default that of the configuration.",
        None,
        "FOLDER",
    )
    dry_run: bool = option(
        False, "Check the configuration and show its fits; read no events."
    )
    plots: bool = option(True, "Draw figures.", panel=OUTPUT)
    ending: str = option(
        "png",
        "Format of figures.",
        "--format",
        kind=Literal["pdf", "png", "svg"],
        panel=OUTPUT,
    )
    cache: bool = option(True, "Keep compiled programs for the next run.")


@dataclass(frozen=True)
class _Smooth:
    out: str | None = out_option(
        "File (.json.gz) or folder; by default the folder of the result.",
        None,
        "FILE|FOLDER",
    )
    dset: str = option("DSET", "Name of the data, in names of corrections.")
    cset: str = option("CSET", "Name of the categories, in names of corrections.")
    description: str | None = option(None, "Description in the file.")
    vers: int = option(
        1, "Version of the file and its corrections.", "--vers", "-v", minimum=0
    )
    pt: str = option("pt", "Name of the transverse momentum.")


@dataclass(frozen=True)
class _Correct:
    out: str = out_option("Folder for the corrected files.", ..., "FOLDER")
    kind: str = option(
        ...,
        "Whether the events are data, whose energies are corrected, or simulation, "
        "whose energies are smeared.",
        kind=Literal["data", "simulation"],
    )
    source: str = option(
        ...,
        "Result of `sas fit` (JSON), or a file for correctionlib.",
        "--corrections",
        metavar="FILE",
    )
    cset: str = option("CSET", "Part of the names of the corrected files.")
    seed: int = option(0, "Seed of the smearing.")
    mass: str = option("mass", "Column of the mass.", panel=_COLUMNS)
    pt: str = option(
        "pt", "Transverse momentum, without suffix of a lepton.", panel=_COLUMNS
    )
    suffixes: tuple[str, ...] = option(
        (),
        "Suffix of the columns of a lepton with a response; by default 1 and 2.",
        "--suffix",
        panel=_COLUMNS,
        metavar="TEXT",
        repeated=True,
    )
    mass_exponent: float = option(
        0.5, "Power of the factor of one lepton in that of the mass.", panel=_COLUMNS
    )
    tree: str = option("", "Tree in ROOT files.", panel=_COLUMNS)
    layout: str | None = option(
        None,
        "Known names of columns.",
        kind=Literal["higgsdna", "ecalelf"],
        panel=_COLUMNS,
    )


@dataclass(frozen=True)
class _SasPlot:
    out: str = out_option(
        "File for the plot (pages after the first get numbers), or folder for all "
        "plots, with those of errors and correlations.",
        ...,
        "FILE|FOLDER",
    )
    ending: str | None = option(
        None,
        "Format of the plots in a folder; pdf by default.",
        "--format",
        kind=Literal["pdf", "png", "svg"],
        panel=OUTPUT,
    )
    mode: str | None = option(
        None,
        "Each result alone, ratios to the first, or all over each other; by default "
        "single for one file and compare for several.",
        kind=Literal["single", "ratio", "compare"],
    )
    names: tuple[str, ...] = option(
        (),
        "Name of a file in the plots, in their order; by default that of the file.",
        "--label",
        "--labels",
        metavar="TEXT",
        repeated=True,
    )
    latex: str | None = option(
        None,
        "File with labels of variables (YAML or JSON), with $...$ for mathematics.",
        metavar="FILE",
    )


@sas.command(cls=Command)
@with_options(_Fit, RowsOption, TracebackOption)
def fit(
    config: Annotated[str, typer.Argument(help="A configuration (YAML).")],
    **options: Any,
) -> None:
    """Fit nominal and systematics, combine errors, and write all files and figures."""
    title = pathlib.Path(config).name
    run_module("sas.fit", title, {}, {"config": config, **options})


@sas.command(cls=Command)
@with_options(_Smooth, TracebackOption)
def smooth(
    file: Annotated[
        str, typer.Argument(help="A result of `sas fit` with bins in pt (JSON).")
    ],
    **options: Any,
) -> None:
    """Fit functions of pt to a result, and write them for correctionlib."""
    title = pathlib.Path(file).name
    words = spellings(_Smooth, parameters="FILE")
    run_module("sas.smooth", title, words, {"file": file, **options})


@sas.command(cls=Command)
@with_options(_Correct, TracebackOption)
def correct(
    files: Annotated[
        list[str], typer.Argument(help="Files of events: parquet, ROOT or npz.")
    ],
    **options: Any,
) -> None:
    """Write copies of files of events with corrected or smeared energies."""
    title = pathlib.Path(files[0]).name
    words = spellings(_Correct, identifiers="--seed")
    run_module("sas.correct", title, words, {"files": tuple(files), **options})


@sas.command("plot", cls=Command)
@with_options(_SasPlot, FigureChoice, TracebackOption)
def sas_plot(
    files: Annotated[list[str], typer.Argument(help="Results of `sas fit` (JSON).")],
    **options: Any,
) -> None:
    """Draw responses and resolutions, ratios of them, or several over each other."""
    title = pathlib.Path(files[0]).name
    words = spellings(FigureChoice, _SasPlot, parameters="--parameter")
    run_module("sas.plot", title, words, {"files": tuple(files), **options})
