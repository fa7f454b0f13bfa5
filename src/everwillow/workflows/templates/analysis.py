"""Template fits from files: one function that fits and computes all results."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, cast

import numpy as np

from everwillow._errors import ArgumentValueError, NameOnly
from everwillow._keywords import renamed_keywords
from everwillow._progress import stage
from everwillow.fitting import FitResult, fit
from everwillow.goodness import nested_test
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows.command_options import options_of, takes_fields
from everwillow.workflows.documents import load_document
from everwillow.workflows.report import ChiSquare, chi_square, covariance_record
from everwillow.workflows.templates.external import (
    FitOutcome,
    outcome_of_other_fit,
    with_start_values_of,
)
from everwillow.workflows.templates.fit_options import (
    MinimisationOptions,
    ModelOptions,
    ResultOptions,
)
from everwillow.workflows.templates.fit_records import (
    degeneracy_remarks,
    free_projections,
    penalty_remarks,
    template_parameters,
    template_summary,
    toys_of,
)
from everwillow.workflows.templates.histograms import histograms_of
from everwillow.workflows.templates.inference import (
    impacts_of,
    inferred,
    nonprofiled_of,
)
from everwillow.workflows.templates.model import TOYS, model_of
from everwillow.workflows.templates.regularisation import smoothed
from everwillow.workflows.templates.requested import RequestedResults, requested_results
from everwillow.workflows.templates.results import TemplateResults


@renamed_keywords(
    freeze="fixed",
    contour_levels="contour_cl",
    limit_level=("cl", lambda level: round(1 - level, 12)),
)
@takes_fields(ModelOptions, MinimisationOptions, ResultOptions)
def run(
    spec: TemplateSpec | str | os.PathLike[str],
    *,
    minimise: Callable[..., FitResult] = fit,
    **options: Any,
) -> TemplateResults:
    """Fit templates, and compute all results that the options request.

    A fit that fails raises no exception: ``results.fit.success`` is False then, and all
    numbers after the fit are NaN or absent.

    Args:
        spec: The specification of a `TemplateBuilder`, or the file that it wrote.
        minimise: A function in place of `everwillow.fit`, with the same arguments.
        **options: The fields of `ModelOptions`, `MinimisationOptions` and
            `ResultOptions` (`everwillow.workflows.templates.fit_options`):
            ``data="asimov"``, ``mappings=["Project ch0 x"]``, ...

    Raises:
        ArgumentTypeError: If there is no such option.
        ArgumentValueError: If there are no such data, or an option is not valid.
        UnknownKeyError: If a parameter, channel or process does not exist.

    Example:
        >>> from everwillow.models.templates import TemplateBuilder
        >>> builder = TemplateBuilder()
        >>> builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
        >>> builder.add_process([30.0, 10.0], "signal", "ch0", signal=True)
        >>> builder.add_process([50.0, 50.0], "flat", "ch0")
        >>> builder.add_norm_systematic("norm", "flat", "ch0", 1.1)
        >>> builder.add_data([83.0, 58.0], "ch0")
        >>> results = run(builder.spec(), statistics=None, mappings=["Project ch0 x"])
        >>> print(results.parameters.names, results.parameters.values.round(2))
        ('norm', 'signal') [-0.12  1.08]
        >>> histogram = results.mappings["Project ch0 x"].histograms["values"]
        >>> print(histogram.postfit.values.round(1))
        [82.  60.3]
    """
    if isinstance(spec, str | os.PathLike):
        spec = cast("TemplateSpec", load_document(spec, ("template fit",)))
    settings = options_of(MinimisationOptions, options)
    chosen = options_of(ModelOptions, options)
    with stage("arrays of templates"):
        model, data = model_of(spec, chosen)
    requested = requested_results(
        model, options_of(ResultOptions, options), toys=data == TOYS
    )
    if not settings.refit:
        _check_without_fit(requested, settings)
    start = settings.from_result
    if start is not None and not isinstance(start, TemplateResults):
        start = load_document(start, ("template results",))
    model, smooth = smoothed(
        model, chosen.strength, settings.l_curve, settings.max_steps
    )
    outcome = _fit_outcome(model, data, start, minimise, settings)
    results = _results(outcome, requested, minimise, settings.max_steps)
    return TemplateResults(
        data=data, likelihood=chosen.likelihood, regularisation=smooth, **results
    )


def _fit_outcome(
    model: TemplateModel,
    data: str,
    start: TemplateResults | None,
    minimise: Callable[..., FitResult],
    settings: MinimisationOptions,
) -> FitOutcome:
    """Fit from the values of other results, or use them in place of a fit."""
    if not settings.refit and start is not None:
        return outcome_of_other_fit(model, start, data)
    begin = model if start is None else with_start_values_of(model, start, data)
    result = minimise(begin, max_steps=settings.max_steps, throw=False)
    success = bool(result.success)
    return FitOutcome(model, result, template_summary(model, result), (), success)


def _check_without_fit(
    requested: RequestedResults, settings: MinimisationOptions
) -> None:
    """Refuse options that need a minimum if nothing is fitted."""
    others = {
        "from_result": settings.from_result is None,
        "l_curve": settings.l_curve is not None,
    }
    needing = sorted(
        {
            *requested.options_with_fits,
            *(name for name, given in others.items() if given),
        }
    )
    if needing:
        raise ArgumentValueError(
            f"{{refit}} fits nothing, and {', '.join(map('{{{}}}'.format, needing))} "
            "needs a fit. Leave it out, or start a fit at that result without "
            "{refit}.",
            settings={**dict.fromkeys(needing, NameOnly), "refit": False},
        )


def _results(
    outcome: FitOutcome,
    requested: RequestedResults,
    minimise: Callable[..., FitResult],
    max_steps: int,
) -> dict[str, Any]:
    """Compute all requested results of a fit, by the fields of the results."""
    model, result, options = outcome.model, outcome.result, requested.options
    success = bool(result.success)
    has_hessian = success and result.hessian is not None
    with stage("histograms and mappings"):
        histograms = histograms_of(model, result, requested)
    mappings = histograms.mappings
    if not outcome.at_minimum:
        # Data that were not fitted are not tested.
        mappings = {
            key: dataclasses.replace(one, postfit_chi2=None)
            for key, one in mappings.items()
        }
    fields: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    if has_hessian:
        fields, remarks = inferred(model, result, requested, max_steps)
        if options.impacts or options.asymmetric_impacts:
            fields["impacts"] = impacts_of(
                model,
                result,
                requested.groups,
                refit=options.asymmetric_impacts,
                max_steps=max_steps,
            )
        if options.nonprofiled_impacts:
            shifts = nonprofiled_of(model, result, max_steps=max_steps)
            fields["nonprofiled_impacts"] = shifts
    tests, failed = {}, ()
    if success and requested.projections:
        projections = requested.projections
        tests, failed = _projected(model, result, projections, minimise, max_steps)
    toys = toys_of(model, options.ntoys, options.seed) if requested.toys else None
    return fields | {
        "made_by": version("everwillow"),
        "parameters": template_parameters(model, result, requested.unconstrained),
        "fit": outcome.summary,
        "channels": histograms.channels,
        "covariance": covariance_record(result) if success else None,
        "mappings": mappings,
        "projections": tests,
        "toys": toys,
        "remarks": (
            *model.report,
            *requested.remarks,
            *outcome.remarks,
            *penalty_remarks(outcome.summary),
            *histograms.remarks,
            *remarks,
            *failed,
            *degeneracy_remarks(model, result),
        ),
    }


def _projected(
    model: TemplateModel,
    result: FitResult,
    projections: Sequence[str],
    minimise: Callable[..., FitResult],
    max_steps: int,
) -> tuple[dict[str, ChiSquare], tuple[str, ...]]:
    """Test projections against fits in which their bins are free.

    Returns:
        The tests; and remarks on fits with free bins that failed.
    """
    tests, failed = {}, []
    for text, free in free_projections(model, projections).items():
        better = minimise(free, max_steps=max_steps, throw=False)
        tests[text] = chi_square(nested_test(result, better))
        if np.isnan(tests[text].statistic):
            failed.append(f"{text}: the fit with free bins failed. {better.message()}")
    return tests, tuple(failed)
