"""``everwillow fit``."""

import pathlib

import typer

from everwillow.cli.report.fits import parameter_tables, status
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.workflows.report import parameters_of, summary_of


ADVICE = (
    "Check the start values and the bounds with `everwillow inspect`; fix parameters "
    "that the data do not determine with --fix NAME; allow more evaluations with "
    "--max-steps."
)


def run(
    request: Request, folder: pathlib.Path | None, *, everything: bool, max_steps: int
) -> None:
    """Fit, and print the result."""
    best = WorkspaceFit.of(request, folder, max_steps=max_steps, needs_poi=False)
    result, poi = best.result, best.given.model.poi
    labels = result.layout.labels
    interest = [name for name in labels if name == poi or name.startswith(f"{poi}[")]
    success = bool(result.success)
    best.finish(
        result,
        (lambda plotting: plotting.pulls(result)) if success else None,
        status(summary_of(result), ADVICE, "all constants kept"),
        *parameter_tables(
            parameters_of(result, interest=interest), everything=everything
        ),
    )
    if not success:
        raise typer.Exit(NOT_CONVERGED)
