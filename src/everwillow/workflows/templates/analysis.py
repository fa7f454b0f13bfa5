"""Template fits from files: one call that fits, and answers what is asked."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from everwillow._errors import ArgumentValueError, NameOnly
from everwillow.fitting import FitResult, fit
from everwillow.goodness import nested_test
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.mappings import AbstractHistogramMapping
from everwillow.models.templates.likelihood.blinding import Blind
from everwillow.models.templates.model import Likelihood, Statistics, TemplateModel
from everwillow.models.templates.reading import load
from everwillow.workflows.templates.external import (
    begun_at,
    taken_from,
    without_tests,
)
from everwillow.workflows.templates.files import load_results
from everwillow.workflows.templates.fit_records import (
    chi_square,
    covariance_of,
    degenerate,
    free_projections,
    parameters_of,
    said_of_penalty,
    summary_of,
    toys_of,
)
from everwillow.workflows.templates.histograms import histograms_of
from everwillow.workflows.templates.inference import (
    NOTHING,
    impacts_of,
    inferred,
    nonprofiled_of,
)
from everwillow.workflows.templates.model import TOYS, Starts, model_of
from everwillow.workflows.templates.questions import Pairs, Questions, questions_of
from everwillow.workflows.templates.regularisation import (
    Smooth,
    Strength,
    curvatures_of,
    smoothed,
)
from everwillow.workflows.templates.results import (
    ChiSquare,
    FitSummary,
    Regularisation,
    TemplateResults,
)


def run(
    spec: TemplateSpec | str | os.PathLike[str],
    *,
    data: str | None = None,
    parameters: Any = None,
    starts: Starts | None = None,
    from_result: TemplateResults | str | os.PathLike[str] | None = None,
    refit: bool = True,
    likelihood: Likelihood = "poisson",
    statistics: Statistics = "default",
    per_process: bool = False,
    profile: bool = True,
    sparse: bool | None = None,
    regularise: Smooth | Iterable[Smooth] = (),
    strength: Strength | None = None,
    l_curve: Sequence[float] | None = None,
    freeze: Sequence[str] | Mapping[str, float | None] = (),
    mappings: Sequence[str | AbstractHistogramMapping] = (),
    covariances: bool = False,
    impacts: bool = False,
    asymmetric_impacts: bool = False,
    nonprofiled_impacts: bool = False,
    groups: Mapping[str, str | Sequence[str]] | None = None,
    breakdown: bool = False,
    variations: bool | str | Sequence[str] = (),
    minos: bool | str | Sequence[str] = False,
    scans: Pairs = (),
    scan_points: int = 21,
    contours: Pairs = (),
    contour_levels: Sequence[float] = (0.6827, 0.95),
    limits: bool | str | Sequence[str] = False,
    limit_level: float = 0.05,
    projections: Sequence[str] = (),
    ntoys: int = 100,
    seed: int = 0,
    unconstrained: float | None = None,
    blind: Blind = False,
    unblind: bool | str | Iterable[str] = False,
    max_steps: int = 256,
    minimise: Callable[..., FitResult] = fit,
) -> TemplateResults:
    """Fit templates, and compute everything that is asked for.

    A fit that fails is no exception: ``results.fit.success`` is False then, and all
    numbers after the fit are NaN or absent.

    Args:
        spec: What the builder says, or the file that it wrote.
        data: What to fit. ``"data"``: what was observed, the default, an error where
            there is nothing. ``"asimov"``: what is expected at the start values. The
            name of pseudodata. ``"toys"``: pseudo-experiments at the start values, in
            addition to the Asimov data.
        parameters: What scales the processes: a text as `parse_parameters` reads it, or
            what `TemplateModel.from_spec` takes.
        starts: Values where the fit starts, by parameter: what is expected before the
            fit, and so what Asimov data and toys contain. Systematics that are added
            (``systematic_type="normal"``) are in proportion to these expectations, so
            that other starts are another likelihood; begin a fit elsewhere by
            `from_result` there.
        from_result: What another fit found, or its file. The fit begins at its values
            where both have a parameter; what is expected before the fit, Asimov data
            and toys stay those of `starts`.
        refit: Whether to fit, which is the default. If not, the values and the
            covariance of `from_result` are propagated to channels and mappings, which
            may be others than those of that fit. What needs a minimum is an error then.
        likelihood: As in `TemplateModel.from_spec`.
        statistics: As there.
        per_process: As there.
        profile: As there. If False, ``bin_by_bin[0]``, ... are among the parameters.
        sparse: Whether effects are kept as a list; None as the builder says.
        regularise: Histograms that ought to be smooth
            (`everwillow.models.templates.likelihood.regularisation`): mappings, as
            `mappings` has them; ``Parameters PATTERN ...`` for the values of parameters
            in a row; or `Curvature`, which has a strength of its own.
        strength: τ of all of them, or one for each; 0 by default. ``"corner"`` takes
            that at the corner of the L-curve.
        l_curve: Strengths of an L-curve, each of which takes a fit.
        freeze: Parameters that are taken out of the fit, names or patterns; a mapping
            tells their values.
        mappings: As `everwillow.mappings.parse_mapping` reads them, or mappings.
        covariances: Whether to keep the covariance of the values of each mapping.
        impacts: Whether to compute impacts on the parameters of interest, traditional
            and global ones, of parameters and of groups.
        asymmetric_impacts: Whether to compute these, and the traditional ones of each
            parameter by two more fits.
        nonprofiled_impacts: Whether to move each frozen parameter by the width of its
            constraint, and fit again.
        groups: More parameters of groups, names or patterns: of parameter models, say.
        breakdown: Whether to divide the errors of all bins by groups of systematics.
        variations: Names or patterns of parameters: all histograms are evaluated with
            each of them moved up and down, before the fit by the width of its
            constraint (or `unconstrained`; others are left out), after the fit by its
            error. All other parameters stay, also those that are profiled. True for
            all that are fitted.
        minos: Names or patterns of parameters that get asymmetric errors; True for
            those of interest.
        scans: Parameters whose profile likelihood is scanned; two of them, as
            ``"A,B"`` or ``("A", "B")``, on a grid.
        scan_points: How many points a scan has, in each direction.
        contours: Pairs of parameters, likewise, whose contours are followed.
        contour_levels: The confidence levels of these, for both parameters together.
        limits: Names or patterns of parameters of interest that get CLs upper limits,
            observed and expected (`everwillow.limits`); True for all of interest.
        limit_level: The CLs of these, 0.05 for 95 % confidence.
        projections: Projections of channels, written ``CHANNEL AXIS ...``, that are
            tested against a fit with free bins. Each takes a fit.
        ntoys: Number of toys, if these are asked for.
        seed: Of the toys.
        unconstrained: The error before the fit of systematics without a constraint;
            without it they count as known.
        blind: As in `TemplateModel.from_spec`. What would tell hidden parameters at
            once is left out then: after the fit masked channels, and parts of
            processes; limits on hidden parameters. Scans and contours have hidden
            scales. It takes little arithmetic to get them from the yields all the same.
        unblind: As there.
        max_steps: As in `everwillow.fit`.
        minimise: What fits, in place of `everwillow.fit`, with the same arguments.

    Raises:
        ArgumentValueError: If there are no data of that kind, or an option fits not.
        UnknownKeyError: If a name means nothing.

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
    spec = spec if isinstance(spec, TemplateSpec) else load(spec)
    if sparse is not None:
        spec = dataclasses.replace(spec, sparse=bool(sparse))
    model, what = model_of(
        spec,
        data=data,
        parameters=parameters,
        starts=starts,
        likelihood=likelihood,
        statistics=statistics,
        per_process=per_process,
        profile=profile,
        regularisation=curvatures_of(regularise, strength, spec.layout),
        freeze=freeze,
        blind=blind,
        unblind=unblind,
    )
    asked = questions_of(
        model,
        mappings=mappings,
        covariances=covariances,
        impacts=impacts,
        asymmetric_impacts=asymmetric_impacts,
        nonprofiled_impacts=nonprofiled_impacts,
        groups=groups,
        breakdown=breakdown,
        variations=variations,
        minos=minos,
        scans=scans,
        scan_points=scan_points,
        contours=contours,
        contour_levels=contour_levels,
        limits=limits,
        limit_level=limit_level,
        projections=projections,
        toys=(ntoys, seed) if what == TOYS else None,
        unconstrained=unconstrained,
    )
    if not refit:
        others = {"from_result": from_result is None, "l_curve": l_curve is not None}
        check_without_fit(asked, (name for name, one in others.items() if one))
    other = from_result
    if other is not None and not isinstance(other, TemplateResults):
        other = load_results(other)
    model, smooth = smoothed(model, strength, l_curve, max_steps)
    end = ended(model, what, other, minimise, refit=refit, max_steps=max_steps)
    return results_of(end, what, likelihood, asked, smooth, minimise, max_steps)


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
            f"{{refit}} fits nothing, and {', '.join(map('{{{}}}'.format, wanted))} "
            "needs a fit. Leave it out, or let the fit begin at that result without "
            "{refit}.",
            settings={**dict.fromkeys(wanted, NameOnly), "refit": False},
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


__all__ = ["run"]
