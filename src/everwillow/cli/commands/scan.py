"""``everwillow scan``."""

import time
from typing import Any

import numpy as np
import typer

from everwillow._errors import ArgumentValueError
from everwillow.cli import files
from everwillow.cli.commands.fit import headline, minimum, times
from everwillow.cli.report import outcome
from everwillow.cli.report.numbers import fixed_point, plain
from everwillow.cli.report.terminal import busy, show, table
from everwillow.cli.request import Request, load


# The range of a scan, in standard errors.
REACH = 3.0


def run(
    request: Request,
    folder: Any,
    *,
    between: tuple[float, float] | None,
    points: int,
) -> None:
    """Scan the profile likelihood, and print it."""
    request.check()
    if points < 2 or (between is not None and not between[0] < between[1]):
        raise ArgumentValueError(
            "--range LOW HIGH needs LOW below HIGH, and --points at least 2."
        )
    with busy("Reading"):
        given = load(request)
        poi = given.poi
    from everwillow.profile.scans import scan  # noqa: PLC0415

    with busy("Fitting"):
        best, stored, took = minimum(given, folder)
    best.check()
    values = np.linspace(*(between or _range(best, given.model, poi)), points)
    with busy("Scanning"):
        began = time.perf_counter()
        result = scan(given.model, best, name=poi, values=values, fixed=given.fixed)
        spent = time.perf_counter() - began
    good = np.asarray(result.success)
    heights = np.asarray(result.twice_delta_nll)
    rows = [
        (plain(value, 5), fixed_point(height, 4) if ok else "failed")
        for value, height, ok in zip(result.values, heights, good, strict=True)
    ]
    center = plain(float(np.ravel(best.params[poi])[0]))
    text = f"Best fit: {poi} = {center}, -2 ln L = {2 * float(best.nll):.6f}."
    title = f"Profile of {poi}: rise of -2 ln L above the minimum"
    # What is known is shown before anything else can fail.
    show(headline(request, given), table((poi, "-2 Δ ln L"), rows, title=title), text)
    notes = [times(given, stored, took, scan=spent)]
    notes += files.save_result(result, request.out)
    if request.plot is not None:
        from everwillow import plotting  # noqa: PLC0415

        figure = plotting.scan(result, title=request.title)
        notes += files.save_figure(figure, request.plot)
    show("\n".join(["", *notes]))
    stored.keep()
    if not good.all():
        show(f"FAILED: {int(np.sum(~good))} of {good.size} fits found no minimum.")
        raise typer.Exit(outcome.NOT_CONVERGED)


def _range(best: Any, model: Any, poi: str) -> tuple[float, float]:
    """Return a range of some standard errors, inside of the bounds."""
    place = best.labels.index(poi) if poi in best.labels else None
    if place is None:
        raise ArgumentValueError(f"--fix: {poi!r} is scanned, and cannot be fixed.")
    center = float(np.ravel(best.params[poi])[0])
    error = float(np.sqrt(best.covariance[place, place]))
    if best.at_bound[place]:
        error = float(best.bound_errors[place])
    low, high = center - REACH * error, center + REACH * error
    bound = model.bounds.get(poi)
    if bound is not None:
        low = max(low, float(np.ravel(bound.lower)[0]))
        high = min(high, float(np.ravel(bound.upper)[0]))
    return low, high
