"""The group ``everwillow template``: template fits."""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

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
from everwillow.workflows.command_options import CommandOption, option
from everwillow.workflows.templates.fit_options import (
    MinimisationOptions,
    ModelOptions,
    ResultOptions,
)


template = typer.Typer(
    name="template",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Template fits: histograms of many processes and systematics, with results "
        "propagated to distributions that are not fitted."
    ),
)

_TEMPLATE_OPTIONS = (ModelOptions, MinimisationOptions, ResultOptions)

TemplateFile: TypeAlias = Annotated[
    str,
    typer.Argument(help="Results of `template fit`, or a file of `template build`."),
]


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
class _Build:
    out: str = out_option("File for the template fit (HDF5).", ...)


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


def _run_template(name: str, source: str, arguments: dict[str, Any]) -> None:
    """Run a command for templates."""
    words: Mapping[str, CommandOption] = {}
    if name == "fit":
        aliases = {"frozen": "--fix", "with_starts": "--start"}
        words = spellings(*_TEMPLATE_OPTIONS, toys="--toys", **aliases)
    title = pathlib.Path(source).name
    run_module(f"template.{name}", title, words, arguments)
