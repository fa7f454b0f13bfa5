"""``everwillow scan``."""

import pathlib
from typing import Any

import numpy as np
import typer

from everwillow._errors import ArgumentValueError
from everwillow.cli.report.fits import profile_table
from everwillow.cli.report.numbers import plain
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.terminal import show
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.profile.scans import scan
from everwillow.workflows.report import scan_range


def run(
    request: Request,
    folder: pathlib.Path | None,
    *,
    between: tuple[float, float] | None,
    points: int,
) -> None:
    """Scan the profile likelihood, and print it."""
    if points < 2 or (between is not None and not between[0] < between[1]):
        raise ArgumentValueError(
            "--range LOW HIGH needs LOW below HIGH, and --points at least 2."
        )
    best = WorkspaceFit.of(request, folder)
    given, poi, minimum = best.given, best.given.poi(), best.result.check()
    values = np.linspace(*(between or _range(minimum, given.model, poi)), points)
    with best.timed("scan", "Scanning"):
        result = scan(given.model, minimum, name=poi, values=values, fixed=given.fixed)
    good = np.asarray(result.success)
    heights = np.where(good, np.asarray(result.twice_delta_nll), np.nan)
    center = plain(float(np.ravel(minimum.params[poi])[0]))
    best.finish(
        result,
        lambda plotting: plotting.scan(result, title=request.title),
        profile_table(poi, np.asarray(result.values), heights),
        f"Best fit: {poi} = {center}, -2 ln L = {2 * float(minimum.nll):.6f}.",
    )
    if not good.all():
        show(f"FAILED: {int(np.sum(~good))} of {good.size} fits found no minimum.")
        raise typer.Exit(NOT_CONVERGED)


def _range(minimum: Any, model: Any, poi: str) -> tuple[float, float]:
    """Return a range of some standard errors, within the bounds."""
    if poi not in minimum.labels:
        raise ArgumentValueError(f"--fix: {poi!r} is scanned, and cannot be fixed.")
    bound, lower, upper = model.bounds.get(poi), -np.inf, np.inf
    if bound is not None:
        lower, upper = (float(np.ravel(e)[0]) for e in (bound.lower, bound.upper))
    return scan_range(minimum, poi, lower, upper)
