"""What constraints say of the parameters before a fit, as vectors over all of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow._errors import unknown_key
from everwillow._typing import Key
from everwillow.engine.layout import Layout, float_dtype, namespace


def constrained_elements(name: Key, constraint: Any, layout: Layout) -> np.ndarray:
    """Return the positions of the elements that a constraint is about.

    Args:
        name: Its name, which is the key of the parameter if it is about one.
        constraint: The constraint, or a summary of one that was read from a file.
        layout: The structure of the parameters.

    Raises:
        UnknownKeyError: If there is no such parameter.
    """
    # A summary is no MultivariateNormal, but has its keys.
    keys = getattr(constraint, "keys", None) or (name,)
    for key in keys:
        if key not in layout.where:
            raise unknown_key(key, layout.keys, where="constraints")
    return np.concatenate([layout.elements(layout.where[key]) for key in keys])


def centers_and_widths(
    constraints: Mapping[Key, Any], layout: Layout
) -> tuple[Any, Any]:
    """Return the preferred values and the pre-fit errors of all parameters.

    A pull is (value - center) / width, a constraint post-fit error / width.

    Returns:
        Two vectors over all elements, shape ``(params,)``, NaN where there is no
        constraint; of JAX if a constraint is traced, else of NumPy.
    """
    library = namespace(dict(constraints))
    vectors = [library.full(layout.size, library.nan) for _ in range(2)]
    found = [(n, c, constrained_elements(n, c, layout)) for n, c in constraints.items()]
    # Entries that are no floating-point numbers have no elements.
    found = [one for one in found if one[2].size]
    if not found:
        return vectors[0], vectors[1]
    index = np.concatenate([here for _, _, here in found])
    for i, attribute in enumerate(("center", "width")):
        parts = [
            _spread(library, getattr(constraint, attribute), name, constraint, layout)
            for name, constraint, _ in found
        ]
        values = library.concatenate(parts)
        if library is np:
            vectors[i][index] = values
        else:
            vectors[i] = vectors[i].at[index].set(values)
    return vectors[0], vectors[1]


def _spread(
    library: Any, value: Any, name: Key, constraint: Any, layout: Layout
) -> Any:
    """Return a number, or an array of them, as a vector with one for each element."""
    keys = getattr(constraint, "keys", None)
    shape = (len(keys),) if keys else layout.shapes[layout.where[name]]
    return library.ravel(library.broadcast_to(value, shape)).astype(float_dtype())
