"""``everwillow scan``."""

from typing import Any

import numpy as np
import typer

from everwillow._errors import ArgumentValueError
from everwillow._rounding import with_error
from everwillow.cli.report.answers import rows
from everwillow.cli.report.fits import HEIGHT, profile_table
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.terminal import show
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.engine.layout import ravel_state
from everwillow.profile.scans import ScanResult, scan
from everwillow.workflows.scan_ranges import profiled_scan


def run(
    request: Request,
    *,
    between: tuple[float, float] | None,
    points: int,
    starts: int,
) -> None:
    """Scan the profile likelihood, and print it."""
    check_range(between, points)
    best = WorkspaceFit.of(request)
    given, poi, minimum = best.given, best.given.poi(), best.result.check()
    with best.timed("scan", "Scanning"), best.noting():
        options = {"starts": starts, "fixed": given.fixed}
        if between is None:
            result = profiled_scan(given.model, minimum, poi, points, **options)
        else:
            values = np.linspace(*between, points)
            result = scan(given.model, minimum, name=poi, values=values, **options)
    good = np.asarray(result.success)
    heights = np.where(good, np.asarray(result.twice_delta_nll), np.nan)
    best.finish(
        result,
        lambda plotting: plotting.scan(result, title=request.title),
        profile_table(poi, np.asarray(result.values), {HEIGHT: heights}),
        best_value(result),
        answer=scan_answer(result),
    )
    end_if_failed(good)


def check_range(between: tuple[float, float] | None, points: int) -> None:
    """Check the options of a scan.

    Raises:
        ArgumentValueError: If the range is empty, or there are not enough points.
    """
    if points < 2 or (between is not None and not between[0] < between[1]):
        raise ArgumentValueError(
            "--range LOW HIGH needs LOW below HIGH, and --points at least 2."
        )


def scan_answer(result: ScanResult) -> dict[str, Any]:
    """Return a scan as objects, for JSON."""
    good = np.asarray(result.success)
    heights = np.where(good, np.asarray(result.twice_delta_nll), np.nan)
    return {
        "name": result.name,
        "best": _best(result),
        "twice_nll": 2 * result.minimum.nll,
        "points": rows("value", result.values, {"twice_delta_nll": heights}),
    }


def _best(result: ScanResult) -> float:
    layout, values, _ = ravel_state(result.minimum.params)
    return float(values[layout.labels.index(result.name)])


def best_value(result: ScanResult) -> str:
    """Return a sentence on the minimum from which the heights of a scan count."""
    minimum = result.minimum
    error = np.nan
    if minimum.covariance is not None:
        place = minimum.labels.index(result.name)
        error = float(np.sqrt(np.diagonal(minimum.covariance)[place]))
    best = with_error(_best(result), error, 4)[0]
    lowest = f"-2 ln L = {2 * float(minimum.nll):.6f}"
    return f"Best fit: {result.name} = {best}, {lowest}."


def end_if_failed(*successes: np.ndarray) -> None:
    """End a command with the exit code of failures, if fits of scans failed.

    Raises:
        Exit: If one is false.
    """
    good = np.concatenate(successes)
    if not good.all():
        show(f"FAILED: {int(np.sum(~good))} of {good.size} fits found no minimum.")
        raise typer.Exit(NOT_CONVERGED)
