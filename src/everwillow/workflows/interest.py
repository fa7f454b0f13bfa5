"""The parameter of interest of a model, by name."""

import dataclasses
from typing import Any

from everwillow._errors import ArgumentValueError
from everwillow.engine.layout import ravel_state
from everwillow.engine.names import named_elements, unknown_name


def with_interest(model: Any, poi: str) -> Any:
    """Return a model with another parameter of interest.

    Args:
        model: The model, a frozen dataclass with the field `poi`.
        poi: The name of a parameter, or of an element such as ``"gamma[3]"``.

    Raises:
        UnknownKeyError: If there is no such parameter.
        ArgumentValueError: If it has several elements.
    """
    layout, _, _ = ravel_state(model.state)
    elements = named_elements(poi, layout)
    if elements is None:
        raise unknown_name(poi, layout, where="poi")
    if elements.size != 1:
        raise ArgumentValueError(
            f"poi: {poi!r} has {elements.size} elements. Name one of them, such as "
            f"{layout.labels[int(elements[0])]!r}."
        )
    return dataclasses.replace(model, poi=poi)
