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
from everwillow.likelihood.histograms import Yields
from everwillow.mappings import (
    AbstractHistogramMapping,
    Composite,
    Identity,
    MappingResult,
    degrees_of_freedom,
    integer_axes,
    observed,
    postfit,
    prefit,
    with_data,
)
from everwillow.mappings.chi2 import residual_chi2
from everwillow.models.templates.model import TemplateModel
from everwillow.statelib import State
from everwillow.statelib.transform import update
from everwillow.workflows.report import ChiSquare, chi_square
from everwillow.workflows.templates.histogram_details import (
    blinded,
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
MAX_FACTOR_SIZE = 50_000_000
# A matrix of all parameters is made for up to so many.
MAX_PARAMETERS = 10_000
# Residuals with this share of the largest variance do not fluctuate.
SINGULAR = 1e-9


class Histograms(NamedTuple):
    """The histograms of a run, and remarks on them."""

    channels: dict[str, HistogramResult]
    mappings: dict[str, MappingOutcome]
    remarks: tuple[str, ...]


class _JointMapping(eqx.Module):
    """Several mappings, evaluated in one program."""

    mappings: tuple[AbstractHistogramMapping, ...]

    def __call__(self, params: Any, yields: Yields) -> tuple[Any, ...]:
        return tuple(mapping(params, yields) for mapping in self.mappings)


class _Evaluation(NamedTuple):
    """Values, errors and factor of all mappings, and contributions of processes."""

    result: MappingResult
    processes: Any


def histograms_of(
    model: TemplateModel, result: FitResult, requested: RequestedResults
) -> Histograms:
    """Evaluate channels and mappings before and after the fit."""
    mappings, unconstrained = requested.mappings, requested.unconstrained
    breakdown = requested.options.breakdown
    every = (Identity(), *mappings)
    fn = _JointMapping(every)
    rows = _rows(fn, model)
    columns = len(result.free) + model.fluctuations
    needs_factor = bool(mappings) or breakdown
    keep = (
        needs_factor
        and rows * columns <= MAX_FACTOR_SIZE
        and result.hessian is not None
    )
    remarks: tuple[str, ...] = ()
    if bool(result.success) and result.hessian is None:
        remarks = (
            "The solver keeps no Hessian of so many parameters: there are no errors "
            "after the fit, no covariances and no impacts.",
        )
    elif needs_factor and not keep:
        remarks = (
            f"{rows} values with {columns} sources of errors are too many for a joint "
            "covariance: the chi2 of mappings, their covariances and the breakdown of "
            "errors were left out.",
        )
    if len(result.free) > MAX_PARAMETERS:
        text = f"More than {MAX_PARAMETERS} parameters: no errors before the fit."
        remarks = (*remarks, text)
    before, after = _before_and_after(fn, model, result, unconstrained, keep=keep)
    data = _data(every, model)
    records = _HistogramRecords(model, result, before, after, data)
    outcomes = [records.outcome(i, mapping) for i, mapping in enumerate(every)]
    if requested.groups and breakdown and keep and after is not None:
        factor = np.asarray(after.result.factor)
        groups = requested.groups
        outcomes = [
            with_breakdown(outcome, factor[records.rows(i)], model, result, groups)
            for i, outcome in enumerate(outcomes)
        ]
    if requested.variations:
        moved = requested.variations
        outcomes = with_variations(outcomes, fn, model, result, moved, unconstrained)
    if model.hidden:
        outcomes = [blinded(outcome) for outcome in outcomes]
        remarks = (
            *remarks,
            "Parameters of interest are hidden. After the fit, histograms without data "
            "and contributions of processes were left out. This protects from a glance "
            "only: the hidden values can be computed from results that are shown, the "
            "expected yields after the fit, the yields of processes before the fit, "
            "and pulls.",
        )
    if not requested.options.covariances:
        none = dict.fromkeys(("prefit_covariance", "postfit_covariance"))
        outcomes = [dataclasses.replace(outcome, **none) for outcome in outcomes]
    channels = {c.name: outcomes[0].histograms[c.name] for c in model.layout.channels}
    return Histograms(channels, {m.key: m for m in outcomes[1:]}, remarks)


def _physical(model: TemplateModel) -> TemplateModel:
    """Return the model on physical scales, which are not hidden before the fit."""
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


def _before_and_after(
    fn: _JointMapping,
    model: TemplateModel,
    result: FitResult,
    unconstrained: Mapping[Any, float],
    *,
    keep: bool,
) -> tuple[_Evaluation, _Evaluation | None]:
    """Evaluate at the start values, and at the best fit if there is one."""
    start, moved = _physical(model), None
    if len(result.free) <= MAX_PARAMETERS:
        moved = prefit(fn, start, unconstrained=unconstrained, factor=keep)
    before = _evaluated(fn, start, result, start.state, None, moved)
    if not bool(result.success):
        return before, None
    moved = None
    if result.hessian is not None:
        moved = postfit(fn, model, result, factor=keep)
    data = model.observation
    return before, _evaluated(fn, model, result, result.params, data, moved)


def _evaluated(
    fn: _JointMapping,
    model: TemplateModel,
    result: FitResult,
    state: State,
    data: Any,
    propagated: MappingResult | None,
) -> _Evaluation:
    """Add the contributions of processes to values of mappings.

    Args:
        fn: The mappings.
        model: The model.
        result: The fit of the model.
        state: The parameters at which they are evaluated.
        data: The data that profiled parameters follow; None before the fit.
        propagated: Values with errors; None for errors of NaN.
    """
    params = state.to_pytree()
    processes = programs.call(_contributed, fn.mappings, model, params, data)
    if propagated is None:
        values = programs.call(_valued, fn, model, params, data)
        errors = jax.tree.map(lambda v: np.full(np.shape(v), np.nan), values)
        propagated = MappingResult(values, errors, None, result.labels)
    return _Evaluation(propagated, processes)


def _rows(fn: _JointMapping, model: TemplateModel) -> int:
    values = jax.eval_shape(
        lambda p: fn(p, model.predicted(p)), model.state.to_pytree()
    )
    return sum(leaf.size for leaf in jax.tree.leaves(values))


def _valued(fn: Any, model: TemplateModel, params: Any, data: Any) -> Any:
    return fn(params, model.predicted(params, data))


def _contributed(mappings: Any, model: TemplateModel, params: Any, data: Any) -> Any:
    yields = model.predicted(params, data)
    return tuple(mapping.of_processes(params, yields) for mapping in mappings)


def _data(
    mappings: Sequence[AbstractHistogramMapping], model: TemplateModel
) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Return data and variances of the histograms of each mapping, by their names."""
    several = [with_data(mapping, model.layout) for mapping in mappings]
    parts = {
        part.key: part
        for one in several
        for part in (one.mappings if isinstance(one, Composite) else (one,))
        if part is not None
    }
    if not parts:
        return [{} for _ in mappings]
    # All mappings in one program.
    counts = np.asarray(model.observation["main"]["counts"])
    joint = Composite(*parts.values())
    data = observed(joint, model.layout, counts, variance=_variance(model, counts))

    def histograms(one: AbstractHistogramMapping, by_key: Any) -> dict[str, np.ndarray]:
        if isinstance(one, Composite):
            return _by_name({part.key: by_key[part.key] for part in one.mappings})
        return _by_name(by_key[one.key])

    records = []
    for one in several:
        values = {} if one is None else histograms(one, data.values)
        variances = {} if one is None else histograms(one, data.variances)
        records.append({name: (values[name], variances[name]) for name in values})
    return records


def _variance(model: TemplateModel, yields: np.ndarray) -> np.ndarray:
    """Return variances of the data, or their covariance if there is one."""
    term, counts = model.terms.term, np.asarray(model.observation["main"]["counts"])
    if isinstance(term, CovarianceTerm):
        return np.asarray(term.covariance)
    if isinstance(term, GaussianTerm):
        return np.asarray(term.variance)
    return np.where(counts > 0, counts, yields)


class _HistogramRecords(NamedTuple):
    """The values, errors and data from which the records of mappings are made."""

    model: TemplateModel
    result: FitResult
    before: _Evaluation
    after: _Evaluation | None
    data: list[dict[str, tuple[np.ndarray, np.ndarray]]]

    def outcome(self, i: int, mapping: AbstractHistogramMapping) -> MappingOutcome:
        """Return the record of a mapping."""
        layout = self.model.layout
        axes, names = mapping.axes(layout), mapping.process_names(layout)
        histograms = {}
        for path, values in jtu.tree_leaves_with_path(self.before.result.values[i]):
            post = None if self.after is None else _side(self.after, i, path)
            inner = tuple(path)
            data, variances = self.data[i].get(_name_of(path), (None, None))
            histograms[_name_of(path)] = HistogramResult(
                axes=tuple(_subtree_at(axes, inner) or integer_axes(np.shape(values))),
                process_names=tuple(_subtree_at(names, inner) or ()),
                prefit=_side(self.before, i, path),
                postfit=post,
                data=data,
                data_errors=None if variances is None else np.sqrt(variances),
                quantity=_quantity_at(mapping, inner),
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
            chi_square(residual_chi2(mapping, self.model, self.result))
            if compared and self.after
            else None,
        )

    def _covariance(self, side: _Evaluation | None, i: int) -> np.ndarray | None:
        """Return the covariance of the values of a mapping, if it is kept."""
        if side is None or side.result.factor is None:
            return None
        factor = np.asarray(side.result.factor)[self.rows(i)]
        return factor @ factor.T

    def rows(self, i: int) -> slice:
        """Return the positions of the values of a mapping among all values."""
        sizes = [
            sum(np.size(leaf) for leaf in jax.tree.leaves(values))
            for values in self.before.result.values
        ]
        return slice(sum(sizes[:i]), sum(sizes[: i + 1]))

    def _prefit_chi2(
        self, i: int, mapping: AbstractHistogramMapping, covariance: Any
    ) -> ChiSquare:
        """Compare the data with the expectation before the fit."""
        model, channels = self.model, self.model.layout.channels
        whole = self.before.result.values[0]
        yields = [np.ravel(whole[c.name]) for c in channels if not c.masked]
        counts = np.asarray(model.observation["main"]["counts"])
        variance = _variance(model, np.concatenate(yields))
        observation = observed(
            mapping, model.layout, counts, variance=variance, covariance=True
        )
        flat = [np.ravel(leaf) for leaf in jax.tree.leaves(observation.values)]
        expected = [np.ravel(v) for v in jax.tree.leaves(self.before.result.values[i])]
        away = np.concatenate(flat) - np.concatenate(expected)
        ndof = degrees_of_freedom(mapping, model.layout)
        return _independent(away, np.asarray(observation.covariance) + covariance, ndof)


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


def _side(side: _Evaluation, i: int, path: Any) -> Expectation:
    parts = _subtree_at(side.processes[i], tuple(path))
    return Expectation(
        np.asarray(_subtree_at(side.result.values[i], tuple(path))),
        np.asarray(_subtree_at(side.result.errors[i], tuple(path))),
        None if parts is None else np.asarray(parts),
    )


SINGLE = "values"


def _by_name(tree: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a tree by the names of their histograms."""
    leaves = jtu.tree_leaves_with_path(tree)
    return {_name_of(path): np.asarray(leaf) for path, leaf in leaves}


def _name_of(path: Any) -> str:
    """Return the name of a histogram: its keys in the values of the mapping."""
    return "/".join(str(_key_of(part)) for part in path) or SINGLE


def _key_of(part: Any) -> Any:
    """Return a step of a path as a plain key."""
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return getattr(part, attribute)
    return part


def _subtree_at(tree: Any, path: tuple[Any, ...]) -> Any:
    """Return the part of a tree at a path; None if the path does not exist."""
    for part in path:
        key = _key_of(part)
        if tree is None or (isinstance(tree, Mapping) and key not in tree):
            return None
        tree = getattr(tree, key) if hasattr(part, "name") else tree[key]
    return tree


def _quantity_at(mapping: AbstractHistogramMapping, path: tuple[Any, ...]) -> str:
    """Return the quantity of the values of a mapping, or of a part of a composite."""
    if isinstance(mapping, Composite):
        parts = {part.key: part for part in mapping.mappings}
        return parts[_key_of(path[0])].quantity
    return mapping.quantity
