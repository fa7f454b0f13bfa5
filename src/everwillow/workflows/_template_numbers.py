"""From fits of template models to the numbers of their results."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._errors import ArgumentValueError, NonFiniteError, unknown_key
from everwillow.fitting import FitResult
from everwillow.fitting._layout import ravel_state
from everwillow.goodness import saturated_test
from everwillow.impacts import (
    global_impacts,
    group_impacts,
    rank,
    split_errors,
    statistical_impacts,
)
from everwillow.mappings._words import words
from everwillow.models.templates.model import TemplateModel
from everwillow.models.templates.projection import with_free_bins
from everwillow.profile.scans import scan
from everwillow.toys import fit_toys
from everwillow.uncertainty import degeneracies
from everwillow.workflows.template_results import (
    DATA,
    SIMULATION,
    ChiSquare,
    Covariance,
    FitSummary,
    Impacts,
    Parameters,
    Scan,
    Toys,
)


# The range of a scan, in standard errors.
REACH = 3.0


def chi_square(found: Any) -> ChiSquare:
    """Return a record of what a test of the fit returned."""
    numbers = found.statistic, found.ndof, found.pvalue
    return ChiSquare(*(float(number) for number in numbers))


def parameters_of(
    model: TemplateModel, result: FitResult, unconstrained: Mapping[Any, float]
) -> Parameters:
    """Return the table of parameters; all of a template fit are scalars."""
    names = tuple(map(str, model.state))
    place = {name: i for i, name in enumerate(names)}
    size, good = len(names), bool(result.success)
    here = np.array([place[label] for label in result.labels], int)
    values = np.asarray(ravel_state(result.params)[1], float)
    errors, at_bound = np.full(size, np.nan), np.zeros(size, bool)
    at_bound[here] = np.asarray(result.at_bound)
    covariance, sides = result.covariance, result.bound_errors
    if good and covariance is not None and sides is not None:
        variance = np.diagonal(covariance)
        roots = np.sqrt(np.where(variance > 0, variance, np.nan))
        errors[here] = np.where(result.at_bound, sides, roots)
    widths = np.full(size, np.nan)
    for name, constraint in model.constraints.items():
        widths[place[str(name)]] = float(np.asarray(constraint.width))
    constrained = np.isfinite(widths)
    for name, error in unconstrained.items():
        widths[place[str(name)]] = error
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
        stopped_at=None if good else values,
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


def groups_of(model: TemplateModel) -> dict[str, list[str]]:
    """Return the systematics of each group, in the order of the groups' names."""
    free = {
        group: [name for name in names if name not in model.fixed]
        for group, names in model.groups.items()
    }
    return {name: free[name] for name in sorted(free) if free[name]}


def impacts_of(model: TemplateModel, result: FitResult) -> Impacts | None:
    """Return impacts on the parameters of interest; None if none is free."""
    pois = tuple(name for name in model.interest if name in result.labels)
    if not pois:
        return None
    ranking = rank(model, result, pois=pois)
    every = global_impacts(model, result, pois=pois, data_variance=None)
    members = {
        name: inside
        for name, names in groups_of(model).items()
        if (inside := [n for n in names if n not in pois])
    }
    groups, traditional, auxiliary = _grouped(model, result, pois, members)
    return Impacts(
        interest=pois,
        errors=np.asarray(ranking.poi_errors),
        names=ranking.names,
        traditional=np.asarray(ranking.postfit),
        global_names=every.names,
        global_impacts=np.asarray(every.auxiliary),
        groups=groups,
        grouped_traditional=traditional,
        grouped_global=auxiliary,
    )


def _grouped(
    model: TemplateModel,
    result: FitResult,
    pois: tuple[str, ...],
    members: Mapping[str, list[str]],
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return groups with their traditional and global impacts, statistics last."""
    names: list[str] = list(members)
    columns: list[tuple[Any, Any]] = []
    if members:
        found = group_impacts(result, pois=pois, groups=members)
        columns += zip(found.traditional.T, found.auxiliary.T, strict=True)
    if model.diagnostics.simulated:
        parts = statistical_impacts(model, result, pois=pois)
        names += [DATA, SIMULATION]
        columns += [
            (parts.data, parts.data_global),
            (parts.simulation, parts.simulation_global),
        ]
    elif len(model.constraints) > sum(k in model.fixed for k in model.constraints):
        split = split_errors(result, pois=pois)
        names.append(DATA)
        columns.append((split.statistical, split.statistical_global))
    both = np.array(columns, float).reshape(len(names), 2, len(pois))
    return tuple(names), both[:, 0].T, both[:, 1].T


def degenerate(model: TemplateModel, result: FitResult) -> tuple[str, ...]:
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
            msg = "projections: expected CHANNEL AXIS ..., got nothing."
            raise ArgumentValueError(msg)
        models[text] = with_free_bins(model, *names)
    return models


def check_scans(model: TemplateModel, names: Sequence[str]) -> None:
    """Refuse to scan what cannot be, before anything is fitted."""
    for name in names:
        if name not in model.state:
            raise unknown_key(name, model.state, where="scans")
        if name in model.fixed:
            msg = f"scans: {name!r} is frozen, so it cannot be scanned."
            raise ArgumentValueError(msg)


def scans_of(
    model: TemplateModel, result: FitResult, names: Sequence[str], points: int
) -> dict[str, Scan]:
    """Scan parameters over some standard errors, inside of their bounds."""
    found = {}
    for name in names:
        i = result.labels.index(name)
        best = float(np.asarray(result.params[name]))
        sides, covariance = result.bound_errors, result.covariance
        if sides is None or covariance is None:
            msg = f"scans: without a covariance there is no range for {name!r}."
            raise ArgumentValueError(msg)
        error = float(sides[i] if result.at_bound[i] else np.sqrt(covariance[i, i]))
        ends = np.array([best - REACH * error, best + REACH * error])
        bound = model.bounds.get(name)
        if bound is not None:
            ends = np.clip(ends, np.asarray(bound.lower), np.asarray(bound.upper))
        values = np.linspace(ends[0], ends[1], points)
        profile = scan(model, result, name=name, values=values, fixed=model.fixed)
        heights = np.asarray(profile.twice_delta_nll)
        heights = np.where(np.asarray(profile.success), heights, np.nan)
        found[name] = Scan(np.asarray(values), heights, best)
    return found


def toys_of(model: TemplateModel, number: int, seed: int) -> Toys:
    """Draw toys at the start values, and fit them."""
    fits = fit_toys(model, ntoys=number, key=seed)
    names = fits.labels
    good = np.asarray(fits.success)
    starts = dict(zip(map(str, model.state), ravel_state(model.state)[1], strict=True))
    starts |= dict.fromkeys(map(str, model.hidden), np.nan)
    columns = [np.asarray(fits.params[name], float) for name in names]
    errors = fits.errors
    spreads = [
        np.full(number, np.nan) if errors is None else np.asarray(errors[name], float)
        for name in names
    ]
    return Toys(
        names=names,
        true_values=np.array([float(starts[name]) for name in names]),
        values=np.where(good[:, None], np.stack(columns, 1), np.nan),
        errors=np.where(good[:, None], np.stack(spreads, 1), np.nan),
        nll=np.asarray(fits.nll),
        success=good,
        seed=seed,
    )


__all__ = [
    "check_scans",
    "chi_square",
    "covariance_of",
    "degenerate",
    "free_projections",
    "groups_of",
    "impacts_of",
    "parameters_of",
    "scans_of",
    "summary_of",
    "toys_of",
]
