"""``everwillow fit``."""

import pathlib

import typer

from everwillow.cli.report.fits import parameter_tables, status
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.terminal import busy, show
from everwillow.cli.request import Request, load
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.workflows.report import parameters_of, summary_of


ADVICE = (
    "Look at the start values and at the bounds with `everwillow inspect`; fix with "
    "--fix NAME what the data do not determine; allow more evaluations with "
    "--max-steps."
)


def run(
    request: Request,
    folder: pathlib.Path | None,
    *,
    everything: bool,
    max_steps: int,
) -> None:
    """Fit, and print the result."""
    request.check()
    with busy("Reading"):
        given = load(request)
    with busy("Fitting"):
        best = WorkspaceFit.of(given, folder, max_steps)
    result = best.result
    success = bool(result.success)
    poi = given.model.poi
    labels = result.layout.labels
    interest = [one for one in labels if one == poi or one.startswith(f"{poi}[")]
    found = parameters_of(result, interest=interest)
    ended = status(summary_of(result), ADVICE, "all constants kept")
    tables = parameter_tables(found, everything=everything)
    # What is known is shown before anything else can fail.
    show(best.headline(request), ended, *tables)

    def draw() -> object:
        from everwillow import plotting  # noqa: PLC0415

        return plotting.pulls(result)

    best.finish(request, result, draw if success else None)
    if not success:
        raise typer.Exit(NOT_CONVERGED)
