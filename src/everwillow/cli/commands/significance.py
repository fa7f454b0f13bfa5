"""``everwillow significance``."""

import numpy as np
import typer

from everwillow.cli.report.inference import discovery_text, expected_pvalue
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.request import Request
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.hypotest.model_tests import discovery


def run(request: Request, *, signal: float, prefit: bool) -> None:
    """Test the hypothesis of no signal, and print its significance."""
    best = WorkspaceFit.of(request)
    given, poi = best.given, best.given.poi()
    with best.timed("significance", "Testing the hypothesis of no signal"):
        result = discovery(
            given.model,
            poi,
            best.result if bool(best.result.success) else None,
            mu_asimov=signal,
            nuisances="a priori" if prefit else "a posteriori",
            fixed=given.fixed,
        )
    best.finish(
        result,
        None,
        discovery_text(result, signal),
        answer={
            "poi": poi,
            "best": result.mu_hat,
            "significance": result.significance,
            "pvalue": result.pvalue,
            "q0": result.q0,
            "expected": {
                "signal": signal,
                "significance": result.expected,
                "pvalue": expected_pvalue(result),
            },
            "nuisances": result.nuisances,
        },
    )
    if not np.isfinite([result.significance, result.expected]).all():
        raise typer.Exit(NOT_CONVERGED)
