"""Several mappings in one, with the joint covariance of all their values."""

from collections.abc import Mapping
from typing import Any, final

import jax
import numpy as np
from jaxtyping import PyTree

from everwillow._errors import ArgumentTypeError, ArgumentValueError, KeyCollisionError
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping


@final
class Composite(AbstractHistogramMapping):
    """Several mappings; their values are a dictionary by the text of the mapping.

    They are evaluated together and have one joint covariance, in which the values are
    ordered by key (`places`). The mappings of a composite inside are added one by one.

    The text has semicolons: ``Project ch0 x; Project ch0 cat``.

    Attributes:
        mappings: The mappings.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Axis, Channel
        >>> from everwillow.mappings import Normalize, Project
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal",))
        >>> yields = Yields(np.array([[1.0, 4.0]]), layout)
        >>> mapping = Composite(Project("ch0"), Normalize("ch0"))
        >>> for key, values in mapping(None, yields).items():
        ...     print(key, values)
        Project ch0 [5.]
        Normalize ch0 [0.2 0.8]
    """

    mappings: tuple[AbstractHistogramMapping, ...]

    def __init__(self, *mappings: AbstractHistogramMapping) -> None:
        """Join mappings.

        Args:
            *mappings: Mappings with different keys.

        Raises:
            KeyCollisionError: If two mappings have the same key.
        """
        parts: dict[str, AbstractHistogramMapping] = {}
        for mapping in mappings:
            if not isinstance(mapping, AbstractHistogramMapping):
                raise ArgumentTypeError(
                    f"mappings: expected mappings, got {type(mapping).__name__}. Use "
                    "parse_mapping for a text and Custom for a function."
                )
            is_joint = isinstance(mapping, Composite)
            for part in mapping.mappings if is_joint else (mapping,):
                if part.key in parts:
                    raise KeyCollisionError(f"mappings: {part.key!r} is there twice.")
                parts[part.key] = part
        if not parts:
            raise ArgumentValueError("mappings: none are given.")
        self.mappings = tuple(parts.values())

    @property
    def key(self) -> str:
        """The text of the mapping, which `parse_mapping` reads."""
        return "; ".join(mapping.key for mapping in self.mappings)

    def __call__(self, params: Any, yields: Yields) -> dict[str, PyTree]:
        """Return the values of each mapping."""
        return {m.key: m(params, yields) for m in self.mappings}

    def axes(self, layout: Layout) -> dict[str, Any]:
        """Return the axes of each mapping."""
        return {mapping.key: mapping.axes(layout) for mapping in self.mappings}

    def has_data(self, layout: Layout) -> bool:
        """Return whether all mappings have data."""
        return all(mapping.has_data(layout) for mapping in self.mappings)

    @property
    def ndof_reduction(self) -> int:
        """Return the sum over the mappings, as if they shared no bins.

        `everwillow.mappings.degrees_of_freedom` accounts for shared bins.
        """
        return sum(mapping.ndof_reduction for mapping in self.mappings)

    def of_processes(self, params: Any, yields: Yields) -> dict[str, Any]:
        """Return the contribution of each process, for mappings that define it."""
        parts = {m.key: m.of_processes(params, yields) for m in self.mappings}
        return {key: part for key, part in parts.items() if part is not None}

    def process_names(self, layout: Layout) -> dict[str, Any]:
        """Return the processes of each mapping that defines their contributions."""
        parts = {m.key: m.process_names(layout) for m in self.mappings}
        return {key: part for key, part in parts.items() if part is not None}


def places(values: Mapping[str, PyTree]) -> dict[str, slice]:
    """Return the rows of each mapping in the joint covariance.

    Args:
        values: The values, variances or errors of a composite.

    Example:
        >>> places({"b": np.zeros(3), "a": np.zeros((2, 2))})
        {'a': slice(0, 4, None), 'b': slice(4, 7, None)}
    """
    slices, start = {}, 0
    for key in sorted(values):
        size = sum(np.size(leaf) for leaf in jax.tree.leaves(values[key]))
        slices[key] = slice(start, start + size)
        start += size
    return slices
