"""``everwillow fit``."""

import pathlib

import typer

from everwillow.cli.report.fits import (
    parameter_tables,
    parameters_of,
    status,
    summary_of,
)
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.terminal import busy, show
from everwillow.cli.request import Request, load
from everwillow.cli.workspace_fit import WorkspaceFit


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
    found = parameters_of(result, given.model.poi)
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
