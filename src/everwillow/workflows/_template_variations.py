"""Histograms of a template fit with one parameter moved at a time."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.tree_util as jtu
import numpy as np

from everwillow.fitting import FitResult
from everwillow.mappings import VariationsResult, variations
from everwillow.models.templates.model import TemplateModel
from everwillow.workflows.template_profiles import Variations
from everwillow.workflows.template_results import MappingOutcome


def with_variations(
    outcomes: Sequence[MappingOutcome],
    fn: Callable[[Any, Any], tuple[Any, ...]],
    model: TemplateModel,
    result: FitResult,
    names: Sequence[str],
    unconstrained: Mapping[Any, float],
) -> list[MappingOutcome]:
    """Add what the histograms are when parameters move, one at a time.

    They are evaluated where the parameter is, not continued linearly, so that those
    before the fit are the templates that were booked.

    Args:
        outcomes: The records of mappings.
        fn: All of these mappings, in this order.
        model: The model.
        result: Its fit.
        names: The free parameters that are moved.
        unconstrained: Errors before the fit of parameters without a constraint; what
            has neither is not moved there.
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
    # The leaves of the values are the histograms, in this order.
    leaves = {
        field: [jtu.tree_leaves(part[i]) for part in (found.up, found.down)]
        for field, found in sides.items()
    }
    histograms = {
        name: dataclasses.replace(
            histogram,
            **{
                field: Variations(
                    sides[field].names, np.asarray(up[k]), np.asarray(down[k])
                )
                for field, (up, down) in leaves.items()
            },
        )
        for k, (name, histogram) in enumerate(outcome.histograms.items())
    }
    return dataclasses.replace(outcome, histograms=histograms)


__all__ = ["with_variations"]
