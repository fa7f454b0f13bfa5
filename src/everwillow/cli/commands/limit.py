"""``everwillow limit``."""

import contextlib
import pathlib
from typing import Any

import numpy as np
import typer

from everwillow._errors import ArgumentValueError, FitError
from everwillow.cli.report.fits import limit_text
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.terminal import busy, show, table
from everwillow.cli.request import Input, Request, load
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.hypotest.results import BAND_TEXTS


# Fewer values make no plot.
LEAST = 2


def run(
    request: Request,
    folder: pathlib.Path | None,
    *,
    cl: float,
    nuisances: str,
    points: int,
) -> None:
    """Find limits, and print them."""
    request.check()
    if not 0.5 < cl < 1:
        raise ArgumentValueError(
            f"--cl {cl:g}: expected a confidence level such as 0.95 for 95 %."
        )
    with busy("Reading"):
        given = load(request)
        poi = given.poi
    from everwillow.hypotest.model_limits import limits  # noqa: PLC0415

    with busy("Fitting"):
        best = WorkspaceFit.of(given, folder)
    with best.timed("limits", "Searching the limits"):
        result = limits(
            given.model,
            poi,
            best.result if bool(best.result.success) else None,
            level=round(1 - cl, 12),
            nuisances=nuisances,
            fixed=given.fixed,
        )
    rows = [("observed", limit_text(result.observed, 6))]
    rows += [
        (f"expected {name}", limit_text(value, 6))
        for name, (_, value) in zip(BAND_TEXTS, result.expected, strict=True)
    ]
    how = {
        "a posteriori": "nuisance parameters fitted to the data at mu = 0",
        "a priori": "nuisance parameters at their nominal values",
    }
    text = (
        f"CLs with the test statistic q-tilde, asymptotic formulas (arXiv:1007.1727).\n"
        f"Expected: data without signal, {how[nuisances]}.\n"
        f"{int(result.fits)} conditional fits."
    )
    if result.reasons:
        text += "\n" + "\n".join(result.reasons)
    title = f"{100 * cl:g} % CL upper limits on {poi}"
    # What is known is shown before anything else can fail.
    show(best.headline(request), table(("", "limit"), rows, title=title), text)
    best.finish(request, result, lambda: _figure(request, given, result, cl, points))
    if result.reasons:
        raise typer.Exit(NOT_CONVERGED)


def _figure(request: Request, given: Input, result: Any, cl: float, points: int) -> Any:
    """Draw CLs against the POI, with the bands; or say why there is no plot."""
    from everwillow import plotting  # noqa: PLC0415
    from everwillow.hypotest.calculators import AsymptoticCalculator  # noqa: PLC0415
    from everwillow.hypotest.test_statistics import QTilde  # noqa: PLC0415

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
        level=round(1 - cl, 12),
        name=result.poi,
        title=request.title,
    )
