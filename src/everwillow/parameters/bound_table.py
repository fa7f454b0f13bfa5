"""Intervals of very many parameters, packed into two arrays."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# (the signatures of jax and equinox are not fully known to it)

from collections.abc import Iterator, Mapping
from typing import Any, final

import equinox as eqx
import numpy as np

from everwillow._typing import Array, Key
from everwillow.parameters.bounds import Interval
from everwillow.parameters.constraint_table import AbstractTable, TableLayout


@final
class BoundTable(AbstractTable[Interval]):
    """Intervals by parameter key, with the interface of a dictionary.

    Attributes:
        layout: The elements of each parameter, in the order of the State.
        lower: Lower ends of all elements, ``-inf`` where there is none.
        upper: Upper ends, ``inf`` where there is none.

    Example:
        >>> table = BoundTable.of({"b": Interval(0.0, 1.0)}, {"a": (), "b": (2,)})
        >>> table["b"].upper
        array([1., 1.])
    """

    layout: TableLayout = eqx.field(static=True)
    lower: Array | np.ndarray
    upper: Array | np.ndarray

    @classmethod
    def of(
        cls, bounds: Mapping[Any, Any], shapes: Mapping[Any, tuple[int, ...]]
    ) -> "BoundTable":
        """Pack intervals.

        Args:
            bounds: By parameter key, anything with ends `lower` and `upper`; those of
                other parameters are infinite.
            shapes: The shapes of the parameters, in the order of the State.
        """
        everywhere = Interval()
        given = [(bounds.get(key, everywhere), shape) for key, shape in shapes.items()]
        ends = [
            np.concatenate(
                [np.zeros(0)]
                + [np.ravel(np.broadcast_to(getattr(b, end), s)) for b, s in given]
            )
            for end in ("lower", "upper")
        ]
        return cls(TableLayout.of(shapes), *ends)

    def __getitem__(self, key: Key) -> Interval:
        """Return one interval."""
        _, elements, shape = self.layout.find(key)
        ends = [end[elements].reshape(shape)[()] for end in (self.lower, self.upper)]
        return Interval(*ends)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the keys."""
        return iter(self.layout.keys())
