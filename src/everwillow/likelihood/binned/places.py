"""The places of the parameters of a binned likelihood in the vector."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from everwillow._errors import ShapeMismatchError, unknown_key
from everwillow.likelihood.binned.spec import Derived


_NONE = np.zeros(0, int)


class PlaceTable:
    """The place of each parameter; derived numbers follow after the parameters.

    Args:
        starts: The first place of each parameter in the vector.
        shapes: The shape of each, ``()`` or ``(n,)``.
        derived: By name, in an order in which each is computable.

    Attributes:
        size: Length of the vector.
        derived: For each derived number the places of its inputs and its function.
    """

    def __init__(
        self,
        starts: Mapping[str, int],
        shapes: Mapping[str, tuple[int, ...]],
        derived: Mapping[str, Derived],
    ) -> None:
        self._elements = {
            name: np.arange(start, start + int(np.prod(shapes[name])))
            for name, start in starts.items()
        }
        self._scalars = {
            name: start for name, start in starts.items() if shapes[name] == ()
        }
        self.size = sum(places.size for places in self._elements.values())
        self.derived: list[tuple[tuple[int, ...], Callable[..., Any]]] = []
        self._aliases: dict[tuple[int, int], int] = {}
        self._tuples: dict[tuple[str, ...], np.ndarray] = {}
        self._labels = {
            f"{name}[{i}]": int(place)
            for name, places in self._elements.items()
            if shapes[name]
            for i, place in enumerate(places)
        }
        for name, entry in derived.items():
            inputs = tuple(self.scalar(given) for given in entry.inputs)
            self._scalars[name] = self._append(inputs, entry.fn)

    def scalar(self, name: str) -> int:
        """Return the place of a scalar, a derived number or an element ``"name[3]"``.

        The name of an array of one element refers to that element.
        """
        for table in (self._scalars, self._labels):
            if name in table:
                return table[name]
        if self._elements.get(name, _NONE).size == 1:
            return int(self._elements[name][0])
        if name in self._elements:
            raise ShapeMismatchError(
                f"parameter {name!r}: an array stands where one number is needed."
            )
        raise unknown_key(name, [*self._scalars, *self._elements], where="parameters")

    def elements(self, parameters: str | tuple[str, ...]) -> np.ndarray:
        """Return the places of the factors of the bins of a channel."""
        if isinstance(parameters, tuple):
            if parameters not in self._tuples:
                places = [self.scalar(name) for name in parameters]
                self._tuples[parameters] = np.array(places, int)
            return self._tuples[parameters]
        if parameters not in self._elements:
            raise unknown_key(parameters, self._elements, where="parameters")
        return self._elements[parameters]

    def alias(self, place: int, number: int) -> int:
        """Return the place of a derived number that equals a parameter."""
        key = (place, number)
        if key not in self._aliases:
            self._aliases[key] = self._append((place,), jnp.asarray)
        return self._aliases[key]

    def _append(self, inputs: tuple[int, ...], fn: Callable[..., Any]) -> int:
        self.derived.append((inputs, fn))
        return self.size + len(self.derived) - 1
