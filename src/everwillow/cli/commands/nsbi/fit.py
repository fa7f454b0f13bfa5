"""``everwillow nsbi fit``."""

from collections.abc import Sequence

import typer

from everwillow.cli.commands.fit import ADVICE
from everwillow.cli.intervals import find_intervals
from everwillow.cli.report.answers import fit_answer, interval_answer
from everwillow.cli.report.fits import parameter_tables, status
from everwillow.cli.report.inference import interval_table
from everwillow.cli.report.nsbi import ratio_error_table
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.terminal import remarks
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.fitting import FitResult, fit
from everwillow.workflows.documents import RATIOS
from everwillow.workflows.nsbi.fits import held_at_minimum
from everwillow.workflows.nsbi.ratio_statistics import ratio_errors as ratio_errors_of
from everwillow.workflows.report import (
    asymmetric_errors_of,
    parameters_of,
    summary_of,
)


_HELD = (
    "Constrained parameters are held at their best-fit values: these errors are "
    "without systematic uncertainties."
)


def run(
    request: Request,
    *,
    stat_only: bool,
    minos: Sequence[str] | None,
    ratio_errors: bool,
    everything: bool,
    max_steps: int,
) -> None:
    """Fit, and print the result."""
    best = WorkspaceFit.of(request, max_steps=max_steps, needs_poi=False, kinds=RATIOS)
    result, model = best.result, best.given.model
    success = bool(result.success)
    statistical = _statistical(best) if stat_only and success else None
    shown = result if statistical is None else statistical
    parts = [status(summary_of(result), ADVICE, "all constants kept")]
    if statistical is not None:
        parts.append(_HELD)
    params = parameters_of(shown, interest=[model.poi] if model.poi else [])
    parts += parameter_tables(params, everything=everything)
    found = None
    answer = fit_answer(summary_of(result), params) | {"remarks": model.report}
    if minos and success:
        fixed = best.given.fixed
        if statistical is not None:
            fixed = held_at_minimum(model, result, fixed)
        found = find_intervals(best, shown, minos, fixed)
        errors = asymmetric_errors_of(found)
        parts.append(interval_table(errors))
        answer["minos"] = interval_answer(errors)
    record = {"fit": result, "statistical": statistical, "intervals": found}
    if ratio_errors and success:
        with best.timed("errors of ratios", "Resampling the reference sample"):
            ratios = ratio_errors_of(model, result)
        parts.append(ratio_error_table(ratios))
        record["ratios"] = answer["ratios"] = {
            "labels": list(ratios.labels),
            "ensemble": ratios.ensemble,
            "reference": ratios.reference,
        }
    best.finish(
        record,
        (lambda plotting: plotting.pulls(result)) if success else None,
        *parts,
        *remarks(model.report),
        answer=answer,
    )
    if not success:
        raise typer.Exit(NOT_CONVERGED)


def _statistical(best: WorkspaceFit) -> FitResult:
    """Fit with the constrained parameters held at the minimum."""
    held = held_at_minimum(best.given.model, best.result, best.given.fixed)
    with best.timed("fit without systematics", "Fitting"):
        return fit(best.given.model, fixed=held)
