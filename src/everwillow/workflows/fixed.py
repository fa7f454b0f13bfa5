"""Parameters that are held constant, by name or pattern."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from everwillow.engine.layout import Layout, ravel_state
from everwillow.engine.names import meant_elements
from everwillow.model import AbstractModel


def fixed_parameters(
    model: AbstractModel,
    settings: Mapping[str, float | None],
    *,
    free: Iterable[str] = (),
) -> dict[Any, Any]:
    """Return the parameters to fix and to free, for the argument `fixed` of a fit.

    Args:
        model: The model.
        settings: Name of a parameter, of an element such as ``"gamma[3]"``, or a
            pattern such as ``"stat*"``, to its value; None for its start value.
        free: Names or patterns of parameters that the model, or a pattern of
            `settings`, holds constant, and that are to be fitted.

    Returns:
        The value of each parameter, an array with NaN for elements that stay free; None
        for parameters that are free.

    Raises:
        UnknownKeyError: If a name matches no parameter.

    Example:
        >>> import everwillow as ew
        >>> model = ew.Model(lambda p, d: p["mu"] ** 2, {"mu": 1.0, "norm": 2.0}, None)
        >>> fixed_parameters(model, {"n*": None, "mu": 3.0})
        {'norm': array(2.), 'mu': array(3.)}
        >>> fixed_parameters(model, {"*": None}, free=["mu"])
        {'mu': None, 'norm': array(2.)}
    """
    fixed: dict[Any, Any] = {}
    layout, _, _ = ravel_state(model.state)
    steps = [(name, "fixed", value) for name, value in settings.items()]
    steps += [(name, "free", np.nan) for name in free]
    for name, where, value in steps:
        elements, _ = meant_elements(name, layout, where=where)
        for place, key in enumerate(layout.keys):
            here = elements[layout.elements(place)]
            if not here.any():
                continue
            start = np.asarray(model.state[key], float)
            chosen = here.reshape(start.shape)
            known = fixed.get(key, model.fixed.get(key))
            whole = np.full(start.shape, np.nan)
            if known is not None:
                whole = np.array(np.broadcast_to(known, start.shape), float)
            whole[chosen] = start[chosen] if value is None else value
            fixed[key] = whole
    # None frees all of a parameter that the model fixes.
    return {key: None if np.isnan(v).all() else v for key, v in fixed.items()}


def frozen_elements(model: AbstractModel, layout: Layout) -> np.ndarray:
    """Return which elements of the parameters the model holds constant."""
    frozen = np.zeros(layout.size, bool)
    for key, value in model.fixed.items():
        here = layout.elements(layout.where[key])
        frozen[here] = ~np.isnan(np.ravel(np.asarray(value, float)))
    return frozen
