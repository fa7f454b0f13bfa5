"""Records and remarks on parameters, minimum, penalty and toys of a template fit."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._errors import ArgumentValueError, NonFiniteError
from everwillow._typing import Key
from everwillow.engine import programs
from everwillow.fitting import FitResult
from everwillow.goodness import saturated_test
from everwillow.mappings.tokens import tokenise
from everwillow.models.templates.model import TemplateModel
from everwillow.models.templates.projection import with_free_bins
from everwillow.toys import fit_toys
from everwillow.uncertainty import degeneracies
from everwillow.workflows.report import (
    FitSummary,
    Parameters,
    Toys,
    chi_square,
    parameters_of,
    summary_of,
    toy_record,
)


# A penalty below this is rounding.
NO_PENALTY = 1e-20


def template_parameters(
    model: TemplateModel, result: FitResult, unconstrained: Mapping[Key, float]
) -> Parameters:
    """Return the record of the parameters of a template fit."""
    return parameters_of(
        result,
        interest=model.interest,
        starts=model.state,
        hidden=[str(name) for name in model.hidden],
        unconstrained=unconstrained,
    )


def template_summary(model: TemplateModel, result: FitResult) -> FitSummary:
    """Return the summary of a template fit."""
    saturated = None
    if bool(result.success):
        saturated = chi_square(saturated_test(model, result))
    return summary_of(result, saturated=saturated, penalty=_penalty_of(model, result))


def _penalty_of(model: TemplateModel, result: FitResult) -> float | None:
    """Return the penalty of the regularisation in -ln L; None without one."""
    if model.terms.penalty is None:
        return None
    main = model.observation["main"]
    return float(programs.call(_penalised, model, result.params.to_pytree(), main))


def _penalised(model: TemplateModel, params: Any, main: Any) -> Any:
    return model.diagnostics.penalty(params, main)


def penalty_remarks(summary: FitSummary) -> tuple[str, ...]:
    """Return remarks on the penalty of a regularised fit."""
    if summary.penalty is None:
        return ()
    if abs(summary.penalty) < NO_PENALTY:
        return (
            "The penalty of the regularisation is 0 after the fit. This is usual for "
            "Asimov data. It also happens if one parameter scales all bins of the "
            "histogram alike: the regularisation has no effect then. Parameters of "
            "single bins are made by parameters='AxisNorms PROCESS CHANNEL,... AXIS'.",
        )
    return (
        f"-ln L contains the penalty of the regularisation, {summary.penalty:.6g}. "
        "The test against the saturated model does not contain it, but counts every "
        "parameter as free: its p-value is too small.",
    )


def degeneracy_remarks(model: TemplateModel, result: FitResult) -> tuple[str, ...]:
    """Return remarks on parameters that the data hardly distinguish."""
    if result.hessian is None or not len(result.free):
        return ()
    try:
        combinations = degeneracies(model, result, correlation=0.99, likeness=0.999)
    except NonFiniteError:
        return ()
    lines = [
        "The data hardly determine a combination of parameters: "
        + ", ".join(f"{name} ({weight:+.2f})" for name, weight in members.items())
        + "."
        for members in combinations.members
    ]
    labels = combinations.labels
    lines += [
        f"{labels[i]} and {labels[j]} have the correlation {value:+.4f}."
        for (i, j), value in zip(
            combinations.pairs, combinations.correlations, strict=True
        )
    ]
    lines += [
        f"{labels[i]} and {labels[j]} have nearly the same effect on the data "
        f"({value:+.4f}): are they the same uncertainty?"
        for (i, j), value in zip(combinations.alike, combinations.likeness, strict=True)
    ]
    return tuple(lines)


def free_projections(
    model: TemplateModel, texts: Sequence[str]
) -> dict[str, TemplateModel]:
    """Return models with free bins for projections, written ``CHANNEL AXIS ...``."""
    models = {}
    for text in texts:
        names = [piece.name() for piece in tokenise("projection", text)]
        if not names:
            raise ArgumentValueError(
                "projections: expected CHANNEL AXIS ..., got nothing."
            )
        models[text] = with_free_bins(model, *names)
    return models


def toys_of(model: TemplateModel, number: int, seed: int) -> Toys:
    """Draw toys at the start values, and fit them."""
    fits = fit_toys(model, ntoys=number, key=seed)
    made = toy_record(fits, model.state, seed)
    hidden = np.isin(made.names, [str(name) for name in model.hidden])
    true = np.where(hidden, np.nan, made.true_values)
    return dataclasses.replace(made, true_values=true)
