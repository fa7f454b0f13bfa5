"""``everwillow nsbi fit``."""

import pathlib
from collections.abc import Sequence

import typer

from everwillow import profile
from everwillow.cli.commands.fit import ADVICE
from everwillow.cli.report.fits import parameter_tables, status
from everwillow.cli.report.inference import interval_table
from everwillow.cli.report.nsbi import ratio_error_table
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.terminal import remarks
from everwillow.cli.request import Request
from everwillow.cli.session.programs import fit
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.engine.names import meant_elements
from everwillow.fitting import FitResult
from everwillow.profile import MinosResult
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
    folder: pathlib.Path | None,
    *,
    stat_only: bool,
    minos: Sequence[str] | None,
    ratio_errors: bool,
    everything: bool,
    max_steps: int,
) -> None:
    """Fit, and print the result."""
    best = WorkspaceFit.of(
        request, folder, max_steps=max_steps, needs_poi=False, kinds=RATIOS
    )
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
    if minos and success:
        found = _intervals(best, shown, minos)
        parts.append(interval_table(asymmetric_errors_of(found)))
    record = {"fit": result, "statistical": statistical, "intervals": found}
    if ratio_errors and success:
        with best.timed("errors of ratios", "Resampling the reference sample"):
            errors = ratio_errors_of(model, result)
        parts.append(ratio_error_table(errors))
        record["ratios"] = {
            "labels": list(errors.labels),
            "ensemble": errors.ensemble,
            "reference": errors.reference,
        }
    best.finish(
        record,
        (lambda plotting: plotting.pulls(result)) if success else None,
        *parts,
        *remarks(model.report),
    )
    if not success:
        raise typer.Exit(NOT_CONVERGED)


def _statistical(best: WorkspaceFit) -> FitResult:
    """Fit with the constrained parameters held at the minimum."""
    held = held_at_minimum(best.given.model, best.result, best.given.fixed)
    with best.timed("fit without systematics", "Fitting"):
        result, _ = fit(best.given.model, held, None, kept=best.stored)
    return result.check()


def _intervals(
    best: WorkspaceFit, result: FitResult, patterns: Sequence[str]
) -> MinosResult:
    """Find asymmetric intervals, in the fit whose errors are shown."""
    layout, model = result.layout, best.given.model
    fixed = dict(best.given.fixed)
    if result is not best.result:
        fixed = held_at_minimum(model, best.result, fixed)
    marks = [meant_elements(name, layout, where="names").marks for name in patterns]
    names = [layout.labels[i] for i in result.free if any(one[i] for one in marks)]
    with best.timed("intervals", "Searching the intervals"):
        return profile.minos(model, result, names=names or patterns, fixed=fixed)
