"""Fixed parameters of a fit, by pattern."""

from types import EllipsisType
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError
from everwillow._numerics import is_traced
from everwillow._typing import Key
from everwillow.engine.layout import ravel_state
from everwillow.engine.names import meant_elements
from everwillow.model import AbstractModel
from everwillow.statelib import State


def frozen(
    params: State | AbstractModel, *patterns: Key
) -> dict[Key, EllipsisType | Float[Array, "..."]]:
    """Return the argument ``fixed`` of `fit` for all parameters that match patterns.

    They keep their start values, and are not part of gradients and matrices.

    Args:
        params: The start values, or the Model that has them.
        patterns: Keys, labels of elements such as ``"gamma[3]"``, or patterns as in
            `fnmatch`, such as ``"jes_*"``. An existing name is never a pattern.

    Raises:
        UnknownKeyError: If one refers to no parameter.

    Example:
        >>> import everwillow as ew
        >>> state = ew.State.from_pytree({"jes_1": 0.0, "jes_2": 0.0, "mu": 1.0})
        >>> frozen(state, "jes_*")
        {'jes_1': Ellipsis, 'jes_2': Ellipsis}
    """
    state = params.state if isinstance(params, AbstractModel) else params
    if not isinstance(state, State):
        raise ArgumentTypeError(
            f"params: expected a State or a Model, got {type(params).__name__}."
        )
    layout, vector, _ = ravel_state(state)
    chosen = np.zeros(layout.size, bool)
    fixed: dict[Key, Any] = {}
    for pattern in patterns:
        chosen |= meant_elements(pattern, layout, where="frozen").marks
        if pattern in layout.where:
            # Also an entry without elements, which only its key can name.
            fixed[pattern] = ...
    for place, key in enumerate(layout.keys):
        elements = layout.elements(place)
        if chosen[elements].all() and elements.size:
            fixed[key] = ...
        elif chosen[elements].any():
            fixed[key] = _some(vector[elements], chosen[elements], layout.shapes[place])
    return fixed


def _some(values: Any, chosen: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Return the values of some elements, and NaN for those that stay free."""
    if is_traced(values):
        # The free elements must be known when the fit is compiled.
        raise ArgumentTypeError(
            "frozen: single elements need start values that are not traced."
        )
    return np.where(chosen, values, np.nan).reshape(shape)
