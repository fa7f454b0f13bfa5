"""Parts of errors and variations in the records of histograms.

Entries that reveal the values of hidden parameters are removed.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.tree_util as jtu
import numpy as np

from everwillow.engine import programs
from everwillow.engine.prefit import centers_and_widths
from everwillow.fitting import FitResult
from everwillow.mappings import VariationsResult, variations
from everwillow.mappings.error_propagation import root_of
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows.templates.results import (
    Breakdown,
    HistogramResult,
    MappingOutcome,
    Variations,
)


def with_breakdown(
    outcome: MappingOutcome,
    factor: np.ndarray,
    model: TemplateModel,
    result: FitResult,
    groups: Mapping[str, list[str]],
) -> MappingOutcome:
    """Divide the errors after the fit by groups of systematics.

    Args:
        outcome: The record of a mapping.
        factor: The rows of the factor of the covariance that belong to its values.
        model: The model.
        result: The fit of the model.
        groups: The systematics of each group.
    """
    labels, covariance = result.labels, result.covariance
    root = programs.call(root_of, covariance, np.ones(len(labels), bool)).matrix
    # The covariance of values with parameters over the width of a constraint is the
    # shift of the values when the auxiliary measurement moves by its error.
    shifts = factor[:, : len(labels)] @ np.asarray(root).T
    constraints = model.constraints
    widths = centers_and_widths(constraints, result.layout)[1][list(result.free)]
    squares = (shifts / np.where(np.isnan(widths), np.inf, widths)) ** 2
    # A group without an auxiliary measurement has no global impact.
    groups = {
        name: inside
        for name, names in groups.items()
        if (inside := [one for one in names if one in constraints])
    }
    parts = np.array(
        [squares[:, np.isin(labels, names)].sum(1) for names in groups.values()]
    ).reshape(len(groups), -1)
    rest = np.clip((factor**2).sum(1) - squares.sum(1), 0, None)
    start, histograms = 0, {}
    for name, histogram in outcome.histograms.items():
        shape = histogram.prefit.values.shape
        stop = start + histogram.prefit.values.size
        breakdown = Breakdown(
            tuple(groups),
            np.sqrt(parts[:, start:stop]).reshape(-1, *shape),
            np.sqrt(rest[start:stop]).reshape(shape),
        )
        histograms[name] = dataclasses.replace(histogram, breakdown=breakdown)
        start = stop
    return dataclasses.replace(outcome, histograms=histograms)


def blinded(outcome: MappingOutcome) -> MappingOutcome:
    """Remove entries that reveal the values of hidden parameters."""
    histograms = {name: _blinded(h) for name, h in outcome.histograms.items()}
    has_data = all(h.data is not None for h in histograms.values())
    covariance = outcome.postfit_covariance if has_data else None
    return dataclasses.replace(
        outcome, histograms=histograms, postfit_covariance=covariance
    )


def _blinded(histogram: HistogramResult) -> HistogramResult:
    if histogram.data is None:
        # Parts of errors and variations reveal what scales the yields.
        return dataclasses.replace(
            histogram, postfit=None, breakdown=None, postfit_variations=None
        )
    if histogram.postfit is None:
        return histogram
    post = dataclasses.replace(histogram.postfit, processes=None)
    # Variations reveal what scales a process.
    return dataclasses.replace(histogram, postfit=post, postfit_variations=None)


def with_variations(
    outcomes: Sequence[MappingOutcome],
    fn: Callable[[Any, Any], tuple[Any, ...]],
    model: TemplateModel,
    result: FitResult,
    names: Sequence[str],
    unconstrained: Mapping[Any, float],
) -> list[MappingOutcome]:
    """Add the histograms with one parameter moved at a time.

    They are evaluated at the moved parameter, not extrapolated linearly, so that those
    before the fit are the booked templates.

    Args:
        outcomes: The records of mappings.
        fn: All of these mappings, in this order.
        model: The model.
        result: The fit of the model.
        names: The free parameters that are moved.
        unconstrained: Prefit errors of parameters without a constraint; parameters with
            neither are not moved before the fit.
    """
    keys = {*map(str, model.constraints), *map(str, unconstrained)}
    moved = [name for name in names if name in keys or name.partition("[")[0] in keys]
    sides: dict[str, VariationsResult] = {}
    if moved:
        options: dict[str, Any] = {"exact": True, "unconstrained": unconstrained}
        sides["prefit_variations"] = variations(fn, model, names=moved, **options)
    if bool(result.success) and result.hessian is not None:
        sides["postfit_variations"] = variations(
            fn, model, result, names=list(names), exact=True
        )
    return [_with(outcome, i, sides) for i, outcome in enumerate(outcomes)]


def _with(
    outcome: MappingOutcome, i: int, sides: Mapping[str, VariationsResult]
) -> MappingOutcome:
    histograms = dict(outcome.histograms)
    for field, side in sides.items():
        # The leaves of the values are the histograms, in this order.
        moved = (jtu.tree_leaves(values[i]) for values in (side.up, side.down))
        for name, up, down in zip(outcome.histograms, *moved, strict=True):
            part = Variations(side.names, np.asarray(up), np.asarray(down))
            histograms[name] = dataclasses.replace(histograms[name], **{field: part})
    return dataclasses.replace(outcome, histograms=histograms)
