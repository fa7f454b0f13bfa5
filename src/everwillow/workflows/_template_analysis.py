"""The fit of a run, or another one in its place, and everything that is asked of it."""

import dataclasses
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from everwillow._errors import ArgumentValueError
from everwillow.fitting import FitResult
from everwillow.goodness import nested_test
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows._template_external import (
    begun_at,
    taken_from,
    without_tests,
)
from everwillow.workflows._template_histograms import histograms_of
from everwillow.workflows._template_impacts import impacts_of, nonprofiled_of
from everwillow.workflows._template_inference import NOTHING, inferred
from everwillow.workflows._template_numbers import (
    chi_square,
    covariance_of,
    degenerate,
    free_projections,
    parameters_of,
    said_of_penalty,
    summary_of,
    toys_of,
)
from everwillow.workflows.template_profiles import Regularisation
from everwillow.workflows.template_questions import Questions
from everwillow.workflows.template_results import (
    ChiSquare,
    FitSummary,
    TemplateResults,
)


TAKEN = "Values and covariance of another result, not fitted again."


class Ended(NamedTuple):
    """The end of a fit.

    Attributes:
        model: What was fitted.
        result: Its fit, or what was taken in its place.
        summary: How it ended.
        remarks: What was assumed.
        at_minimum: Whether -ln L of the model has its minimum there.
    """

    model: TemplateModel
    result: FitResult
    summary: FitSummary
    remarks: tuple[str, ...]
    at_minimum: bool


def ended(
    model: TemplateModel,
    what: str,
    found: TemplateResults | None,
    minimise: Callable[..., FitResult],
    *,
    refit: bool,
    max_steps: int,
) -> Ended:
    """Fit, or take what another fit found.

    Args:
        model: The model.
        what: Which data are fitted.
        found: Another fit, if there is one.
        minimise: What fits.
        refit: Whether to fit.
        max_steps: Of a fit.
    """
    if refit or found is None:
        start = model if found is None else begun_at(model, found, what)
        result = minimise(start, max_steps=max_steps, throw=False)
        return Ended(model, result, summary_of(model, result), (), bool(result.success))
    taken = taken_from(model, found, what)
    summary = summary_of(taken.model, taken.result)
    saturated = summary.saturated if taken.at_minimum else None
    summary = dataclasses.replace(summary, status=TAKEN, saturated=saturated)
    return Ended(taken.model, taken.result, summary, taken.remarks, taken.at_minimum)


def check_without_fit(asked: Questions, others: Iterable[str]) -> None:
    """Refuse what takes a minimum where nothing is fitted.

    Raises:
        ArgumentValueError: If something is asked for that does.
    """
    wanted = sorted({*asked.fits, *others})
    if wanted:
        raise ArgumentValueError(
            f"refit: False fits nothing, and {', '.join(wanted)} needs a fit. Leave it "
            "out, or let the fit begin at that result with refit=True."
        )


def results_of(
    end: Ended,
    what: str,
    likelihood: str,
    asked: Questions,
    smooth: Regularisation | None,
    minimise: Callable[..., FitResult],
    max_steps: int,
) -> TemplateResults:
    """Answer everything that is asked.

    Args:
        end: Of the fit.
        what: Which data were fitted.
        likelihood: How they entered.
        asked: What is asked.
        smooth: How the fit was regularised.
        minimise: What fits.
        max_steps: Of each fit.
    """
    model, result, good = end.model, end.result, bool(end.result.success)
    known = good and result.hessian is not None
    found = histograms_of(
        model,
        result,
        asked.mappings,
        asked.unconstrained,
        covariances=asked.covariances,
        breakdown=asked.breakdown,
        groups=asked.groups,
        varied=asked.variations,
    )
    mappings = found.mappings if end.at_minimum else without_tests(found.mappings)
    more = inferred(model, result, asked, max_steps) if known else NOTHING
    options: dict[str, Any] = {"max_steps": max_steps}
    impacts = moved = None
    refit = asked.asymmetric_impacts
    if known and (asked.impacts or refit):
        impacts = impacts_of(model, result, asked.groups, refit=refit, **options)
    if known and asked.nonprofiled_impacts:
        moved = nonprofiled_of(model, result, **options)
    tests, failed = {}, ()
    if good and asked.projections:
        tests, failed = _projected(model, result, asked, minimise, max_steps)
    return TemplateResults(
        data=what,
        likelihood=likelihood,
        made_by=version("everwillow"),
        parameters=parameters_of(model, result, asked.unconstrained),
        fit=end.summary,
        channels=found.channels,
        covariance=covariance_of(result) if good else None,
        impacts=impacts,
        nonprofiled_impacts=moved,
        asymmetric_errors=more.asymmetric_errors,
        limits=more.limits,
        regularisation=smooth,
        mappings=mappings,
        scans=more.scans,
        grid_scans=more.grid_scans,
        contours=more.contours,
        projections=tests,
        toys=None if asked.toys is None else toys_of(model, *asked.toys),
        remarks=(
            *model.report,
            *asked.remarks,
            *end.remarks,
            *said_of_penalty(end.summary),
            *found.remarks,
            *more.remarks,
            *failed,
            *degenerate(model, result),
        ),
    )


def _projected(
    model: TemplateModel,
    result: FitResult,
    asked: Questions,
    minimise: Callable[..., FitResult],
    max_steps: int,
) -> tuple[dict[str, ChiSquare], tuple[str, ...]]:
    """Test projections against fits in which their bins are free.

    Returns:
        The tests; and why there is none, for fits with free bins that failed.
    """
    tests, failed = {}, []
    for text, free in free_projections(model, asked.projections).items():
        better = minimise(free, max_steps=max_steps, throw=False)
        tests[text] = chi_square(nested_test(result, better))
        if np.isnan(tests[text].statistic):
            failed.append(f"{text}: the fit with free bins failed. {better.message()}")
    return tests, tuple(failed)


__all__ = ["Ended", "check_without_fit", "ended", "results_of"]
