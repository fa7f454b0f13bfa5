"""``everwillow limit``."""

import contextlib
from typing import Any

import numpy as np
import typer

from everwillow._errors import ArgumentValueError, FitError
from everwillow.cli.report.answers import band_answer
from everwillow.cli.report.inference import limit_table
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.request import Request
from everwillow.cli.workspace import Input
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.hypotest.calculators import AsymptoticCalculator
from everwillow.hypotest.model_limits import limits
from everwillow.hypotest.test_statistics import QTilde
from everwillow.workflows.report import limit_of


# The smallest number of points of a plot.
LEAST = 2


def run(
    request: Request,
    *,
    cl: float,
    prefit: bool,
    points: int,
) -> None:
    """Compute limits, and print them."""
    if not 0.5 < cl < 1:
        raise ArgumentValueError(
            f"--cl {cl:g}: expected a confidence level such as 0.95 for 95 %."
        )
    best = WorkspaceFit.of(request)
    given, poi = best.given, best.given.poi()
    level = round(1 - cl, 12)
    nuisances = "a priori" if prefit else "a posteriori"
    with best.timed("limits", "Searching the limits"):
        result = limits(
            given.model,
            poi,
            best.result if bool(best.result.success) else None,
            cl=cl,
            nuisances=nuisances,
            fixed=given.fixed,
        )
    notes = [f"{int(result.fits)} conditional fits.", *result.reasons]
    best.finish(
        result,
        lambda plotting: _figure(plotting, request.title, given, result, level, points),
        limit_table({poi: limit_of(result)}) + "\n" + "\n".join(notes),
        answer={
            "poi": poi,
            "cl": cl,
            "observed": result.observed,
            "expected": band_answer([value for _, value in result.expected]),
            "nuisances": nuisances,
            "reasons": result.reasons,
        },
    )
    if result.reasons:
        raise typer.Exit(NOT_CONVERGED)


def _figure(
    plotting: Any, title: str, given: Input, result: Any, level: float, points: int
) -> Any:
    """Draw CLs against the POI, with the bands; or say why there is no plot."""
    calculator = AsymptoticCalculator(
        given.model,
        result.minimum.params if result.nuisances == "a posteriori" else None,
        None,
        result.poi,
        QTilde(),
        nuisances=result.nuisances,
        fit_kwargs={"fixed": given.fixed},
    )
    ends = [float(result.observed), *(float(value) for _, value in result.expected)]
    values, tests = [], []
    for value in np.linspace(0, 1.25 * np.nanmax(ends), points)[1:]:
        # A value whose fits fail leaves a gap.
        with contextlib.suppress(FitError):
            tests.append(calculator.test(value))
            values.append(value)
    if len(values) < LEAST:
        return "There is no plot, as fits at nearly all values of the POI failed."
    return plotting.brazil_band(
        values=values,
        observed=[float(calculator.cls(test)) for test in tests],
        expected=[calculator.expected(test) for test in tests],
        level=level,
        name=result.poi,
        title=title,
    )
