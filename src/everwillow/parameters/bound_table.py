"""The intervals of very many parameters, packed into two arrays."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# (the signatures of jax and equinox are not fully known to it)

from collections.abc import Iterator, Mapping
from typing import final

import equinox as eqx
import numpy as np

from everwillow._typing import Array, Key
from everwillow.parameters.bounds import Interval
from everwillow.parameters.constraint_table import TableLayout, shown


@final
class BoundTable(eqx.Module, Mapping[Key, Interval]):
    """Intervals by parameter key, which look like a dictionary of them.

    Attributes:
        layout: Where the elements of each parameter are, in the order of the State.
        lower: Lower ends of all elements, ``-inf`` where there is none.
        upper: Upper ends, likewise.

    Example:
        >>> layout = TableLayout([("a", 0, ()), ("b", 0, (2,))])
        >>> table = BoundTable(layout, np.zeros(3), np.ones(3))
        >>> table["b"].upper
        array([1., 1.])
    """

    layout: TableLayout = eqx.field(static=True)
    lower: Array | np.ndarray
    upper: Array | np.ndarray

    def __getitem__(self, key: Key) -> Interval:
        """Return one interval."""
        _, here, shape = self.layout.find(key)
        ends = [end[here].reshape(shape)[()] for end in (self.lower, self.upper)]
        return Interval(*ends)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the keys."""
        return iter(self.layout.keys())

    def __len__(self) -> int:
        """Return the number of intervals."""
        return len(self.layout)

    def __repr__(self) -> str:
        """Return the entries, as a dictionary shows them."""
        return shown(self)
