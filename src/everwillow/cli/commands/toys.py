"""``everwillow toys``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import typer

from everwillow._errors import ArgumentValueError
from everwillow.cli.report.outcome import NOT_CONVERGED
from everwillow.cli.report.toys import toy_answer, toy_summary
from everwillow.cli.request import Request, settings_of
from everwillow.cli.workspace_fit import WorkspaceFit
from everwillow.engine.layout import ravel_state
from everwillow.engine.names import meant_elements
from everwillow.toys.fits import fit_toys
from everwillow.workflows.report import toy_record
from everwillow.workflows.toy_figure import toy_figure


def run(
    request: Request,
    *,
    ntoys: int,
    seed: int,
    truths: Sequence[str] | None,
    everything: bool,
) -> None:
    """Draw toys, fit them, and print pulls, coverage and failures."""
    settings = settings_of(tuple(truths or ()), "--at")
    best = WorkspaceFit.of(request, needs_poi=False)
    model = best.given.model
    truth = true_values(best.result.check().params, settings)
    with best.timed("toys", f"Fitting {ntoys} toys"):
        fits = fit_toys(model, truth, ntoys=ntoys, key=seed, fixed=best.given.fixed)
    toys = toy_record(fits, truth, seed)
    where = "at the best fit" if not settings else f"with {', '.join(truths or ())}"
    best.finish(
        {"fits": fits, "true_values": truth, "seed": seed},
        lambda plotting: toy_figure(plotting, toys, request.title),
        toy_summary(toys, model.poi, where, everything=everything),
        str(fits).partition("; ")[2].removesuffix(")"),
        answer=toy_answer(toys, fits),
    )
    if fits.failures == ntoys:
        raise typer.Exit(NOT_CONVERGED)


def true_values(best: Any, settings: dict[str, float | None]) -> Any:
    """Return the State with which toys are drawn.

    Args:
        best: The State of the best fit.
        settings: The true values of parameters by name, element or pattern.

    Raises:
        ArgumentValueError: If a name has no value.
        UnknownKeyError: If a name matches no parameter.
    """
    layout, vector, others = ravel_state(best)
    vector = np.array(vector, float)
    for name, value in settings.items():
        if value is None:
            raise ArgumentValueError(f"--at {name}: expected NAME=VALUE.")
        vector[meant_elements(name, layout, where="truths").marks] = value
    return layout.state(vector, others)
