"""Channels and mappings of a template fit as histograms, before and after it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Float

from everwillow.engine import programs
from everwillow.fitting import FitResult
from everwillow.goodness.chi2 import inverse_quadratic_form
from everwillow.goodness.pvalues import with_pvalue
from everwillow.likelihood.data_terms import CovarianceTerm, GaussianTerm
from everwillow.likelihood.histograms import Axis, Yields
from everwillow.mappings import (
    AbstractHistogramMapping,
    Composite,
    Identity,
    MappingResult,
    ObservedMapping,
    degrees_of_freedom,
    integer_axes,
    observed,
    postfit,
    prefit,
    with_data,
)
from everwillow.mappings.chi2 import residual_chi2
from everwillow.models.templates.model import TemplateModel
from everwillow.statelib.transform import update
from everwillow.workflows.report import ChiSquare, chi_square
from everwillow.workflows.templates.histogram_details import (
    veiled,
    with_breakdown,
    with_variations,
)
from everwillow.workflows.templates.requested import RequestedResults
from everwillow.workflows.templates.results import (
    Expectation,
    HistogramResult,
    MappingOutcome,
)


# A factor of the covariance of all values is kept up to so many numbers.
LARGEST = 50_000_000
# A matrix of all parameters is made for up to so many.
MOST = 10_000
# Residuals with this share of the largest variance do not fluctuate.
SINGULAR = 1e-9


class Histograms(NamedTuple):
    """What a run says of histograms."""

    channels: dict[str, HistogramResult]
    mappings: dict[str, MappingOutcome]
    remarks: tuple[str, ...]


class _Together(eqx.Module):
    """Several mappings, evaluated in one program."""

    mappings: tuple[AbstractHistogramMapping, ...]

    def __call__(self, params: Any, yields: Yields) -> tuple[Any, ...]:
        return tuple(mapping(params, yields) for mapping in self.mappings)


class _Sides(NamedTuple):
    """Values, errors and factor of all mappings, and what processes contribute."""

    result: MappingResult
    processes: Any


def histograms_of(
    model: TemplateModel, result: FitResult, requested: RequestedResults
) -> Histograms:
    """Evaluate channels and mappings before and after the fit."""
    mappings, unconstrained = requested.mappings, requested.unconstrained
    breakdown = requested.options.breakdown
    every = (Identity(), *mappings)
    fn = _Together(every)
    rows = _rows(fn, model)
    columns = len(result.free) + model.fluctuations
    wanted = bool(mappings) or breakdown
    keep = wanted and rows * columns <= LARGEST and result.hessian is not None
    remarks: tuple[str, ...] = ()
    if bool(result.success) and result.hessian is None:
        remarks = (
            "The solver keeps no Hessian of so many parameters: there are no errors "
            "after the fit, no covariances and no impacts.",
        )
    elif wanted and not keep:
        remarks = (
            f"{rows} values with {columns} sources of errors are too many for a joint "
            "covariance: the chi2 of mappings, their covariances and the breakdown of "
            "errors were left out.",
        )
    before = _before(fn, _physical(model), result, unconstrained, keep=keep)
    if len(result.free) > MOST:
        remarks = (*remarks, f"More than {MOST} parameters: no errors before the fit.")
    after = _after(fn, model, result, keep=keep)
    data = _data(every, model)
    work = _Work(model, result, before, after, data)
    found = [work.outcome(i, mapping) for i, mapping in enumerate(every)]
    if requested.groups and breakdown and keep and after is not None:
        factor = np.asarray(after.result.factor)
        groups = requested.groups
        found = [
            with_breakdown(outcome, factor[work.rows(i)], model, result, groups)
            for i, outcome in enumerate(found)
        ]
    if requested.variations:
        moved = requested.variations
        found = with_variations(found, fn, model, result, moved, unconstrained)
    if model.hidden:
        found = [veiled(outcome) for outcome in found]
        remarks = (
            *remarks,
            "Parameters of interest are hidden. After the fit histograms without data "
            "and what processes contribute were left out. That keeps them from a "
            "glance only: expected yields after the fit, those of processes before it "
            "and pulls are shown, and from these they can be computed.",
        )
    if not requested.options.covariances:
        found = [_without_covariances(outcome) for outcome in found]
    channels = {c.name: found[0].histograms[c.name] for c in model.layout.channels}
    return Histograms(channels, {m.key: m for m in found[1:]}, remarks)


def _physical(model: TemplateModel) -> TemplateModel:
    """Return the model on physical scales: before a fit these are no secret."""
    if not model.hidden:
        return model
    values = {
        key: np.where(np.isnan(value), np.asarray(model.state[key]), value)
        for key, value in model.fixed.items()
    }
    there = model.physical(update(model.state, values))
    fixed = {
        key: np.where(np.isnan(value), value, np.asarray(there[key]))
        for key, value in model.fixed.items()
    }
    return dataclasses.replace(model.unblinded(), fixed=fixed)


def _before(
    fn: _Together,
    model: TemplateModel,
    result: FitResult,
    unconstrained: Mapping[Any, float],
    *,
    keep: bool,
) -> _Sides:
    """Evaluate at the start values, without errors where there are too many."""
    start = model.state.to_pytree()
    parts = _processes(fn.mappings, model, start, None)
    if len(result.free) > MOST:
        return _Sides(_without_errors(fn, model, result, start, None), parts)
    found = prefit(fn, model, unconstrained=unconstrained, factor=keep)
    return _Sides(found, parts)


def _after(
    fn: _Together, model: TemplateModel, result: FitResult, *, keep: bool
) -> _Sides | None:
    """Evaluate at the best fit, without errors where there is no Hessian."""
    if not bool(result.success):
        return None
    end, data = result.params.to_pytree(), model.observation
    parts = _processes(fn.mappings, model, end, data)
    if result.hessian is None:
        return _Sides(_without_errors(fn, model, result, end, data), parts)
    return _Sides(postfit(fn, model, result, factor=keep), parts)


def _rows(fn: _Together, model: TemplateModel) -> int:
    values = jax.eval_shape(
        lambda p: fn(p, model.predicted(p)), model.state.to_pytree()
    )
    return sum(leaf.size for leaf in jax.tree.leaves(values))


def _processes(mappings: Any, model: TemplateModel, params: Any, data: Any) -> Any:
    """Return what processes contribute to the values of each mapping."""
    return programs.call(_contributed, mappings, model, params, data)


def _without_errors(
    fn: _Together, model: TemplateModel, result: FitResult, params: Any, data: Any
) -> MappingResult:
    values = programs.call(_valued, fn, model, params, data)
    errors = jax.tree.map(lambda v: np.full(np.shape(v), np.nan), values)
    return MappingResult(values, errors, None, result.labels)


def _valued(fn: Any, model: TemplateModel, params: Any, data: Any) -> Any:
    return fn(params, model.predicted(params, data))


def _contributed(mappings: Any, model: TemplateModel, params: Any, data: Any) -> Any:
    yields = model.predicted(params, data)
    return tuple(mapping.of_processes(params, yields) for mapping in mappings)


def _data(
    mappings: Sequence[AbstractHistogramMapping], model: TemplateModel
) -> dict[str, ObservedMapping]:
    """Return the data of each mapping that has any, in one program for all."""
    parts = {}
    for mapping in mappings:
        part = with_data(mapping, model.layout)
        for one in part.mappings if isinstance(part, Composite) else (part,):
            if one is not None:
                parts[one.key] = one
    if not parts:
        return {}
    counts = np.asarray(model.observation["main"]["counts"])
    joint = Composite(*parts.values())
    found = observed(joint, model.layout, counts, variance=_variance(model, counts))
    return {
        key: ObservedMapping(found.values[key], found.variances[key], None)
        for key in parts
    }


def _variance(model: TemplateModel, yields: np.ndarray) -> np.ndarray:
    """Return variances of the data, or their covariance if there is one."""
    term, counts = model.terms.term, np.asarray(model.observation["main"]["counts"])
    if isinstance(term, CovarianceTerm):
        return np.asarray(term.covariance)
    if isinstance(term, GaussianTerm):
        return np.asarray(term.variance)
    return np.where(counts > 0, counts, yields)


class _Work(NamedTuple):
    """What the records of mappings are made of."""

    model: TemplateModel
    result: FitResult
    before: _Sides
    after: _Sides | None
    data: dict[str, ObservedMapping]

    def outcome(self, i: int, mapping: AbstractHistogramMapping) -> MappingOutcome:
        """Return the record of a mapping."""
        layout = self.model.layout
        axes, names = mapping.axes(layout), mapping.process_names(layout)
        seen = self._seen(mapping)
        histograms = {}
        for path, values in jtu.tree_leaves_with_path(self.before.result.values[i]):
            post = None if self.after is None else _side(self.after, i, path)
            inner = tuple(path)
            part = seen.get(name_of(path))
            histograms[name_of(path)] = HistogramResult(
                axes=_axes(found_at(axes, inner), np.shape(values)),
                process_names=tuple(found_at(names, inner) or ()),
                prefit=_side(self.before, i, path),
                postfit=post,
                data=None if part is None else part[0],
                data_errors=None if part is None else np.sqrt(part[1]),
                quantity=quantity_at(mapping, inner),
            )
        before, after = (
            self._covariance(side, i) for side in (self.before, self.after)
        )
        has_data = i > 0 and mapping.has_data(layout)
        compared = has_data and before is not None
        return MappingOutcome(
            mapping.key,
            histograms,
            before,
            after,
            self._prefit_chi2(i, mapping, before) if compared else None,
            self._postfit_chi2(mapping) if compared and self.after else None,
        )

    def _covariance(self, side: _Sides | None, i: int) -> np.ndarray | None:
        """Return the covariance of the values of a mapping, if it is kept."""
        if side is None or side.result.factor is None:
            return None
        factor = np.asarray(side.result.factor)[self.rows(i)]
        return factor @ factor.T

    def rows(self, i: int) -> slice:
        """Return where the values of a mapping are among those of all."""
        sizes = [
            sum(np.size(leaf) for leaf in jax.tree.leaves(values))
            for values in self.before.result.values
        ]
        return slice(sum(sizes[:i]), sum(sizes[: i + 1]))

    def _seen(self, mapping: AbstractHistogramMapping) -> dict[str, Any]:
        """Return data and variances of a mapping by the names of its histograms."""
        part = with_data(mapping, self.model.layout)
        if part is None:
            return {}
        found = self.data
        is_joint = isinstance(part, Composite)
        value: Any = (
            {
                one.key: (found[one.key].values, found[one.key].variances)
                for one in part.mappings
            }
            if is_joint
            else (found[part.key].values, found[part.key].variances)
        )
        split = (
            [{k: v[j] for k, v in value.items()} for j in (0, 1)] if is_joint else value
        )
        both = [dict(named_leaves(side)) for side in split]
        return {name: (both[0][name], both[1][name]) for name in both[0]}

    def _prefit_chi2(
        self, i: int, mapping: AbstractHistogramMapping, covariance: Any
    ) -> ChiSquare:
        """Compare the data with what was expected before the fit."""
        model, channels = self.model, self.model.layout.channels
        whole = self.before.result.values[0]
        yields = [np.ravel(whole[c.name]) for c in channels if not c.masked]
        counts = np.asarray(model.observation["main"]["counts"])
        variance = _variance(model, np.concatenate(yields))
        seen = observed(
            mapping, model.layout, counts, variance=variance, covariance=True
        )
        flat = [np.ravel(leaf) for leaf in jax.tree.leaves(seen.values)]
        mine = [np.ravel(v) for v in jax.tree.leaves(self.before.result.values[i])]
        away = np.concatenate(flat) - np.concatenate(mine)
        ndof = degrees_of_freedom(mapping, model.layout)
        return _independent(away, np.asarray(seen.covariance) + covariance, ndof)

    def _postfit_chi2(self, mapping: AbstractHistogramMapping) -> ChiSquare:
        return chi_square(residual_chi2(mapping, self.model, self.result))


def _independent(
    away: Float[np.ndarray, " n"], covariance: Float[np.ndarray, "n n"], ndof: int
) -> ChiSquare:
    """Return the chi2 of residuals, in the directions in which they fluctuate."""
    width = np.sqrt(np.diagonal(covariance))
    safe = np.where(width > 0, width, 1)
    if not np.all(np.isfinite(covariance)):
        return ChiSquare(np.nan, float(ndof), np.nan)
    matrix = covariance / safe[:, None] / safe
    form = inverse_quadratic_form(
        away / safe, matrix, threshold=SINGULAR, relative=True
    )
    count = min(int(form.regular.sum()), ndof)
    return chi_square(with_pvalue(form.value, float(count)))


def _side(side: _Sides, i: int, path: Any) -> Expectation:
    parts = found_at(side.processes[i], tuple(path))
    return Expectation(
        np.asarray(found_at(side.result.values[i], tuple(path))),
        np.asarray(found_at(side.result.errors[i], tuple(path))),
        None if parts is None else np.asarray(parts),
    )


def _axes(axes: tuple[Axis, ...] | None, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    return integer_axes(shape) if axes is None else tuple(axes)


def _without_covariances(outcome: MappingOutcome) -> MappingOutcome:
    return dataclasses.replace(outcome, prefit_covariance=None, postfit_covariance=None)


SINGLE = "values"


def named_leaves(tree: Any) -> list[tuple[str, np.ndarray]]:
    """Return the arrays of a tree with the names of their histograms."""
    return [
        (name_of(path), np.asarray(leaf))
        for path, leaf in jtu.tree_leaves_with_path(tree)
    ]


def name_of(path: Any) -> str:
    """Return the name of a histogram: its keys in the values of the mapping."""
    return "/".join(str(key_of(part)) for part in path) or SINGLE


def key_of(part: Any) -> Any:
    """Return a step of a path as a plain key."""
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return getattr(part, attribute)
    return part


def found_at(tree: Any, path: tuple[Any, ...]) -> Any:
    """Return what is at a path; None where a tree does not go so far."""
    for part in path:
        key = key_of(part)
        if tree is None or (isinstance(tree, Mapping) and key not in tree):
            return None
        tree = getattr(tree, key) if hasattr(part, "name") else tree[key]
    return tree


def quantity_at(mapping: AbstractHistogramMapping, path: tuple[Any, ...]) -> str:
    """Return what the values of a mapping are, those of a part of a composite."""
    if isinstance(mapping, Composite):
        parts = {part.key: part for part in mapping.mappings}
        return parts[key_of(path[0])].quantity
    return mapping.quantity


__all__ = [
    "Histograms",
    "found_at",
    "histograms_of",
    "key_of",
    "name_of",
    "named_leaves",
    "quantity_at",
]
