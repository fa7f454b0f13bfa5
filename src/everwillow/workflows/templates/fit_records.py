"""From fits of template models to the numbers of their results."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError, NonFiniteError
from everwillow.engine import programs
from everwillow.engine.layout import ravel_state
from everwillow.engine.prefit import centers_and_widths
from everwillow.fitting import FitResult
from everwillow.goodness import saturated_test
from everwillow.mappings.tokens import words
from everwillow.models.templates.model import TemplateModel
from everwillow.models.templates.projection import with_free_bins
from everwillow.toys import fit_toys
from everwillow.uncertainty import degeneracies
from everwillow.workflows.templates.results import (
    ChiSquare,
    Covariance,
    FitSummary,
    Parameters,
    Toys,
)


# A penalty below this is rounding.
NO_PENALTY = 1e-20


def chi_square(found: Any) -> ChiSquare:
    """Return a record of what a test of the fit returned."""
    numbers = found.statistic, found.ndof, found.pvalue
    return ChiSquare(*(float(number) for number in numbers))


def parameters_of(
    model: TemplateModel, result: FitResult, unconstrained: Mapping[Any, float]
) -> Parameters:
    """Return the table of parameters, one row for each element of an array."""
    layout, values, _ = ravel_state(result.params)
    names, here = layout.labels, np.array(result.free, int)
    size, good = layout.size, bool(result.success)
    values = np.asarray(values, float)
    errors, at_bound = np.full(size, np.nan), np.zeros(size, bool)
    at_bound[here] = np.asarray(result.at_bound)
    covariance, sides = result.covariance, result.bound_errors
    if good and covariance is not None and sides is not None:
        variance = np.diagonal(covariance)
        roots = np.sqrt(np.where(variance > 0, variance, np.nan))
        errors[here] = np.where(result.at_bound, sides, roots)
    centers, widths = (
        np.array(part, float) for part in centers_and_widths(model.constraints, layout)
    )
    constrained = np.isfinite(widths)
    for name, error in unconstrained.items():
        widths[layout.elements(layout.where[name])] = error
    frozen = np.ones(size, bool)
    frozen[here] = False
    hidden = np.isin(names, [str(name) for name in model.hidden])
    # Where a hidden parameter starts would tell its number.
    starts = np.asarray(ravel_state(model.state)[1], float)
    starts = np.where(hidden, np.nan, starts)
    return Parameters(
        names=names,
        values=np.where((good | frozen) & ~(hidden & frozen), values, np.nan),
        errors=errors,
        prefit_values=starts,
        prefit_errors=widths,
        interest=np.isin(names, model.interest),
        constrained=constrained,
        frozen=frozen,
        at_bound=at_bound,
        blinded=hidden,
        stopped_at=None if good else np.where(hidden, np.nan, values),
        centers=np.where(hidden, np.nan, centers),
    )


def summary_of(model: TemplateModel, result: FitResult) -> FitSummary:
    """Return how the fit ended."""
    saturated = None
    if bool(result.success):
        saturated = chi_square(saturated_test(model, result))
    return FitSummary(
        success=bool(result.success),
        status=result.message(),
        nll=float(result.nll),
        edm=float(result.edm),
        evaluations=int(result.num_steps),
        saturated=saturated,
        penalty=_penalty_of(model, result),
    )


def _penalty_of(model: TemplateModel, result: FitResult) -> float | None:
    """Return what the regularisation adds to -ln L; None without any."""
    if model.terms.penalty is None:
        return None
    main = model.observation["main"]
    return float(programs.call(_penalised, model, result.params.to_pytree(), main))


def _penalised(model: TemplateModel, params: Any, main: Any) -> Any:
    return model.diagnostics.penalty(params, main)


def penalty_remarks(summary: FitSummary) -> tuple[str, ...]:
    """Return remarks on where the penalty of a regularised fit enters."""
    if summary.penalty is None:
        return ()
    if abs(summary.penalty) < NO_PENALTY:
        return (
            "The penalty of the regularisation is 0 after the fit: so it is for Asimov "
            "data, and where a strength scales all bins of the histogram alike, so "
            "that it does nothing. Parameters of single bins come with "
            "parameters='AxisNorms PROCESS CHANNEL,... AXIS'.",
        )
    return (
        f"-ln L has the penalty of the regularisation in it, {summary.penalty:.6g}. "
        "The test against the saturated model has not, but counts every parameter as "
        "free: its p-value is rather too small.",
    )


def covariance_of(result: FitResult) -> Covariance | None:
    """Return the covariance; None if there is none."""
    covariance = result.covariance
    if covariance is None:
        return None
    matrix = np.asarray(covariance)
    variance = np.diagonal(matrix)
    roots = np.sqrt(np.where(variance > 0, variance, np.nan))
    return Covariance(result.labels, matrix, matrix / np.outer(roots, roots))


def degeneracy_remarks(model: TemplateModel, result: FitResult) -> tuple[str, ...]:
    """Return sentences on parameters that the data hardly tell apart."""
    if result.hessian is None or not len(result.free):
        return ()
    try:
        found = degeneracies(model, result, correlation=0.99, likeness=0.999)
    except NonFiniteError:
        return ()
    lines = [
        "The data hardly determine a combination of parameters: "
        + ", ".join(f"{name} ({weight:+.2f})" for name, weight in members.items())
        + "."
        for members in found.members
    ]
    labels = found.labels
    lines += [
        f"{labels[i]} and {labels[j]} have the correlation {value:+.4f}."
        for (i, j), value in zip(found.pairs, found.correlations, strict=True)
    ]
    lines += [
        f"{labels[i]} and {labels[j]} have nearly the same effect on the data "
        f"({value:+.4f}): are they the same uncertainty?"
        for (i, j), value in zip(found.alike, found.likeness, strict=True)
    ]
    return tuple(lines)


def free_projections(
    model: TemplateModel, texts: Sequence[str]
) -> dict[str, TemplateModel]:
    """Return models with free bins for projections, written ``CHANNEL AXIS ...``."""
    models = {}
    for text in texts:
        names = [piece.name() for piece in words("projection", text)]
        if not names:
            raise ArgumentValueError(
                "projections: expected CHANNEL AXIS ..., got nothing."
            )
        models[text] = with_free_bins(model, *names)
    return models


def toys_of(model: TemplateModel, number: int, seed: int) -> Toys:
    """Draw toys at the start values, and fit them."""
    fits = fit_toys(model, ntoys=number, key=seed)
    names, free = fits.labels, np.array(fits.free, int)
    good = np.asarray(fits.success)
    true = np.asarray(ravel_state(model.state)[1], float)[free]
    hidden = np.isin(names, [str(name) for name in model.hidden])
    values = _columns(fits.params, fits.layout, number)[:, free]
    errors = np.full_like(values, np.nan)
    if fits.errors is not None:
        errors = _columns(fits.errors, fits.layout, number)[:, free]
    return Toys(
        names=names,
        true_values=np.where(hidden, np.nan, true),
        values=np.where(good[:, None], values, np.nan),
        errors=np.where(good[:, None], errors, np.nan),
        nll=np.asarray(fits.nll),
        success=good,
        seed=seed,
    )


def _columns(state: Any, layout: Any, rows: int) -> Float[np.ndarray, "rows size"]:
    """Return the entries of a State of toys beside each other, NaN for None."""
    parts = [
        np.full((rows, size), np.nan)
        if value is None
        else np.asarray(value, float).reshape(rows, size)
        for value, size in zip(state.values(), layout.sizes, strict=True)
    ]
    return np.concatenate(parts, 1)


__all__ = [
    "chi_square",
    "covariance_of",
    "degeneracy_remarks",
    "free_projections",
    "parameters_of",
    "penalty_remarks",
    "summary_of",
    "toys_of",
]
