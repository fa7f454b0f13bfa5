"""Preferred values and errors of all parameters before a fit, from constraints."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow._errors import unknown_key
from everwillow._numerics import namespace
from everwillow._typing import Key
from everwillow.engine.layout import Layout, float_dtype


def constrained_elements(name: Key, constraint: Any, layout: Layout) -> np.ndarray:
    """Return the positions of the elements that a constraint constrains.

    Args:
        name: Its name; of a constraint of one parameter the key of the parameter.
        constraint: The constraint, or a summary of one that was read from a file.
        layout: The structure of the parameters.

    Raises:
        UnknownKeyError: If there is no such parameter.
    """
    # A summary of a MultivariateNormal is of another class, and has its keys.
    keys = getattr(constraint, "keys", None) or (name,)
    for key in keys:
        if key not in layout.where:
            raise unknown_key(key, layout.keys, where="constraints")
    return np.concatenate([layout.elements(layout.where[key]) for key in keys])


def centers_and_widths(
    constraints: Mapping[Key, Any], layout: Layout
) -> tuple[Any, Any]:
    """Return the preferred values and the pre-fit errors of all parameters.

    Returns:
        Two vectors over all elements, shape ``(params,)``, NaN where there is no
        constraint; of JAX if a constraint is traced, else of NumPy.
    """
    xp = namespace(dict(constraints))
    vectors = [xp.full(layout.size, xp.nan) for _ in range(2)]
    constrained = [
        (n, c, constrained_elements(n, c, layout)) for n, c in constraints.items()
    ]
    # Entries that are no floating-point numbers have no elements.
    constrained = [entry for entry in constrained if entry[2].size]
    if not constrained:
        return vectors[0], vectors[1]
    index = np.concatenate([elements for _, _, elements in constrained])
    for i, attribute in enumerate(("center", "width")):
        parts = [
            _spread(xp, getattr(constraint, attribute), name, constraint, layout)
            for name, constraint, _ in constrained
        ]
        values = xp.concatenate(parts)
        if xp is np:
            vectors[i][index] = values
        else:
            vectors[i] = vectors[i].at[index].set(values)
    return vectors[0], vectors[1]


def pull(value: Any, center: Any, width: Any) -> Any:
    """Return the pull, (value - center) / width; NaN where there is no constraint."""
    return (value - center) / width


def _spread(xp: Any, value: Any, name: Key, constraint: Any, layout: Layout) -> Any:
    """Return a number or an array as a vector with one entry for each element."""
    keys = getattr(constraint, "keys", None)
    shape = (len(keys),) if keys else layout.shapes[layout.where[name]]
    return xp.ravel(xp.broadcast_to(value, shape)).astype(float_dtype())
