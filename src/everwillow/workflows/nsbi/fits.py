"""Fits with the systematic parameters held, and intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow.engine.names import named_elements
from everwillow.engine.prefit import constrained_elements
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel


def held_at_minimum(
    model: AbstractModel,
    result: FitResult,
    fixed: Mapping[Any, Any],
    *,
    keep: str | None = None,
) -> dict[Any, Any]:
    """Return what a fit without systematic uncertainties fixes.

    Args:
        model: The model.
        result: Its fit.
        fixed: What is fixed in any case, as in `everwillow.fit`.
        keep: A parameter, or an element, that is not held; by default the parameter
            of interest.

    Returns:
        The argument `fixed` of a fit in which all constrained parameters are held at
        their best-fit values.
    """
    layout = result.layout
    kept = getattr(model, "poi", None) if keep is None else keep
    marked = np.zeros(layout.size, bool)
    for name, constraint in result.constraints.items():
        marked[constrained_elements(name, constraint, layout)] = True
    kept_elements = None if kept is None else named_elements(kept, layout)
    if kept_elements is not None:
        marked[kept_elements] = False
    held = dict(fixed)
    for place, key in enumerate(layout.keys):
        here = marked[layout.elements(place)]
        if not here.any():
            continue
        best = np.asarray(result.params[key], float)
        known = held.get(key, model.fixed.get(key))
        whole = np.full(best.shape, np.nan)
        if known is not None:
            whole = np.array(np.broadcast_to(known, best.shape), float)
        chosen = here.reshape(best.shape)
        whole[chosen] = best[chosen]
        held[key] = whole
    return held
