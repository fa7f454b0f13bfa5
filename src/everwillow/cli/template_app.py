"""``everwillow template``: its commands and options."""

import importlib
import pathlib
from typing import Annotated, Any

import typer

from everwillow.cli import options as o
from everwillow.cli.parsing import Command, Group


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
    out: o.Out,
    traceback: o.Traceback = False,
) -> None:
    """Run a script that books histograms, write the file, and report what is odd."""
    _run("build", script, traceback, script=script, out=out)


@template.command(cls=Command)
def fit(
    spec: o.Spec,
    *,
    out: o.Results = None,
    data: o.Data = None,
    toys: o.Toys = None,
    seed: o.Seed = 0,
    start: o.Start = None,
    from_result: o.FromResult = None,
    refit: o.Refit = True,
    freeze: o.Freeze = None,
    blind: o.Blind = None,
    unblind: o.Unblind = None,
    parameters: o.Parameters = None,
    likelihood: o.Likelihood = "poisson",
    statistics: o.Statistics = "default",
    per_process: o.PerProcess = False,
    profile: o.Profile = True,
    sparse: o.Sparse = None,
    regularise: o.Regularise = None,
    strength: o.Strength = None,
    l_curve: o.LCurve = None,
    mapping: o.Mapping = None,
    covariances: o.Covariances = False,
    impacts: o.Impacts = False,
    asymmetric_impacts: o.AsymmetricImpacts = False,
    nonprofiled_impacts: o.NonprofiledImpacts = False,
    group: o.Group = None,
    breakdown: o.Breakdown = False,
    variation: o.Variation = None,
    minos: o.Minos = None,
    scan: o.Scan = None,
    points: o.Points = 21,
    contour: o.Contour = None,
    contour_level: o.ContourLevel = None,
    limit: o.Limit = None,
    limit_level: o.LimitLevel = 0.05,
    projection: o.Projection = None,
    unconstrained: o.Unconstrained = None,
    max_steps: o.MaxSteps = 256,
    everything: o.All = False,
    cache: o.Cache = True,
    traceback: o.Traceback = False,
) -> None:
    """Fit templates, and propagate the result to distributions."""
    given = dict(locals())
    shown = {name: given.pop(name) for name in ("traceback", "cache", "everything")}
    _run(
        "fit",
        spec,
        shown["traceback"],
        cache=shown["cache"],
        everything=shown["everything"],
        options=given,
    )


@template.command(cls=Command, name="print")
def show(
    file: o.File,
    *,
    only: o.OnlyParts = None,
    everything: o.All = False,
    traceback: o.Traceback = False,
) -> None:
    """Show results as tables; of a file to be fitted what is in it and what is odd."""
    options = {"file": file, "only": only, "everything": everything}
    _run("print", file, traceback, **options)


@template.command(cls=Command)
def plot(
    file: o.File,
    *,
    out: o.Folder,
    ending: o.Ending = "pdf",
    title: o.Title = None,
    log: o.Log = False,
    per_width: o.PerWidth = None,
    only: o.OnlyPlots = None,
    traceback: o.Traceback = False,
) -> None:
    """Draw all plots of results; of a file to be fitted its templates."""
    options = {"out": out, "ending": ending, "title": title, "log": log}
    options["per_width"] = per_width
    options["only"] = only
    _run("plot", file, traceback, file=file, **options)


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
    from everwillow.cli.session import setup  # noqa: PLC0415

    setup.prepare()
    from everwillow.cli.report.outcome import ending  # noqa: PLC0415
    from everwillow.cli.report.wording import TEMPLATES  # noqa: PLC0415

    fits = module == "fit"
    words = TEMPLATES if fits else {}
    with ending(pathlib.Path(source).name, traceback=traceback, options=words):
        folder = setup.start(cache=cache)
        if fits:
            options["folder"] = folder
        command = importlib.import_module(f"everwillow.cli.commands.template.{module}")
        command.run(**options)
