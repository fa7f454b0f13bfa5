"""``everwillow fit``."""

from collections.abc import Sequence
from typing import Any

import typer

from everwillow.cli.intervals import find_intervals
from everwillow.cli.report.answers import fit_answer, interval_answer
from everwillow.cli.report.fits import parameter_tables, status
from everwillow.cli.report.inference import interval_table
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.workflows.report import (
    asymmetric_errors_of,
    parameters_of,
    summary_of,
)


ADVICE = (
    "Check the start values and the bounds with `everwillow inspect`; fix parameters "
    "that the data do not determine with --fix NAME; allow more evaluations with "
    "--max-steps."
)


def run(
    request: Request,
    *,
    everything: bool,
    max_steps: int,
    minos: Sequence[str] | None,
) -> None:
    """Fit, and print the result."""
    best = WorkspaceFit.of(request, max_steps=max_steps, needs_poi=False)
    result, poi = best.result, best.given.model.poi
    labels = result.layout.labels
    interest = [name for name in labels if name == poi or name.startswith(f"{poi}[")]
    success = bool(result.success)
    summary, params = summary_of(result), parameters_of(result, interest=interest)
    parts = [status(summary, ADVICE, "all constants kept")]
    parts += parameter_tables(params, everything=everything)
    record: Any = result
    answer = fit_answer(summary, params)
    if minos and success:
        found = find_intervals(best, result, minos, best.given.fixed)
        errors = asymmetric_errors_of(found)
        parts.append(interval_table(errors))
        answer["minos"] = interval_answer(errors)
        record = {"fit": result, "intervals": found}
    best.finish(
        record,
        (lambda plotting: plotting.pulls(result)) if success else None,
        *parts,
        answer=answer,
    )
    if not success:
        raise typer.Exit(NOT_CONVERGED)
