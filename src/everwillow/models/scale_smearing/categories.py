"""Categories of leptons: bins of variables, numbered in C order."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int

from everwillow._errors import ArgumentValueError, UnknownKeyError, nearest


@final
@dataclasses.dataclass(frozen=True)
class Categories:
    """Bins of one or several variables of a lepton.

    The index of a category is the C order of the bins: the last variable changes first.
    A lower edge belongs to its bin, an upper one to the next.

    Attributes:
        names: The variables, without the suffix of the lepton.
        edges: The edges of the bins of each variable, which may be infinite.

    Raises:
        ArgumentValueError: If there is no variable, or edges are not in order.

    Example:
        >>> categories = Categories.of({"ScEta": [0, 1.5, 2.5], "r9": [0, 0.9, np.inf]})
        >>> categories.shape, categories.size
        ((2, 2), 4)
        >>> categories.index({"ScEta": [0.1, 2.0, 3.0], "r9": [0.95, 0.5, 0.5]})
        array([ 1,  2, -1])
        >>> categories.label(1)
        'ScEta [0, 1.5), r9 [0.9, inf)'
    """

    names: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, edges: "Mapping[str, Sequence[float]] | Categories") -> "Categories":
        """Return the categories of the edges of each variable, in this order."""
        if isinstance(edges, Categories):
            return edges
        return cls(
            tuple(map(str, edges)),
            tuple(tuple(float(x) for x in one) for one in edges.values()),
        )

    def __post_init__(self) -> None:
        if not self.names:
            raise ArgumentValueError(
                "categories: there is no variable. Give at least one with its edges, "
                'e.g. {"ScEta": [-2.5, 0, 2.5]}.'
            )
        for name, edges in zip(self.names, self.edges, strict=True):
            if len(edges) < 2 or not all(np.diff(edges) > 0):
                shown = ", ".join(f"{edge:g}" for edge in edges)
                raise ArgumentValueError(
                    f"categories: the edges of {name!r} must be two or more increasing "
                    f"numbers, not [{shown}]."
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of bins of each variable."""
        return tuple(len(edges) - 1 for edges in self.edges)

    @property
    def size(self) -> int:
        """The number of categories."""
        return int(np.prod(self.shape))

    def index(
        self, columns: Mapping[str, Any], suffix: str = ""
    ) -> Int[np.ndarray, " events"]:
        """Return the category of each lepton, -1 if it is in none.

        Args:
            columns: The values of the variables, by name with the suffix; one number
                for each event.
            suffix: Which of the leptons of an event.
        """
        flat: Any = 0
        inside: Any = True
        for name, edges in zip(self.names, self.edges, strict=True):
            values = np.asarray(columns[name + suffix])
            # NaN is sorted above all edges, also above infinity.
            place = np.searchsorted(np.asarray(edges), values, side="right") - 1
            inside = inside & (place >= 0) & (place < len(edges) - 1)
            flat = flat * (len(edges) - 1) + place
        return np.where(inside, flat, -1)

    def nearest(
        self, columns: Mapping[str, Any], suffix: str = ""
    ) -> Int[np.ndarray, " events"]:
        """Return the category of each lepton, or the nearest one outside of the edges.

        It is -1 only where a variable is NaN. Files for correctionlib do the same.

        Args:
            columns: As for `index`.
            suffix: As for `index`.
        """
        flat: Any = 0
        known: Any = True
        for name, edges in zip(self.names, self.edges, strict=True):
            values = np.asarray(columns[name + suffix])
            place = np.searchsorted(np.asarray(edges), values, side="right") - 1
            flat = flat * (len(edges) - 1) + np.clip(place, 0, len(edges) - 2)
            known = known & ~np.isnan(values)
        return np.where(known, flat, -1)

    def bins(self, index: int) -> dict[str, tuple[float, float]]:
        """Return the interval of each variable of a category."""
        places = np.unravel_index(index, self.shape)
        return {
            name: (edges[place], edges[place + 1])
            for name, edges, place in zip(self.names, self.edges, places, strict=True)
        }

    def label(self, index: int) -> str:
        """Return the intervals of a category as text."""
        return ", ".join(
            f"{name} [{low:g}, {high:g})"
            for name, (low, high) in self.bins(index).items()
        )

    def labels(self) -> Iterator[str]:
        """Yield the texts of all categories in order."""
        return map(self.label, range(self.size))

    def axis(self, name: str) -> Float[np.ndarray, " edges"]:
        """Return the edges of a variable.

        Raises:
            UnknownKeyError: If it is none of the variables.
        """
        if name not in self.names:
            raise UnknownKeyError(
                f"there is no variable {name!r} in the categories."
                f"{nearest(name, self.names) or ' They are: ' + ', '.join(self.names)}"
            )
        return np.array(self.edges[self.names.index(name)])

    def replaced(self, name: str, edges: Sequence[float], to: str = "") -> "Categories":
        """Return the categories with other edges of a variable, or another name."""
        place = self.names.index(name)
        names, all_edges = list(self.names), list(self.edges)
        names[place] = to or name
        all_edges[place] = tuple(float(x) for x in edges)
        return Categories(tuple(names), tuple(all_edges))
