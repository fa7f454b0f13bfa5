"""Panels of quadratures whose ends include the edges of bins.

Functions that depend on an observable only by its bin are integrated exactly, with one
node in each piece; the integrals of others are accurate, as no step is inside of a
panel.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from everwillow.likelihood.quadrature import gauss_legendre
from everwillow.models.hs3.functions.base import Binning
from everwillow.models.hs3.functions.graph import Edge, Scope


ORDER = 16
"""Nodes of a panel in which a density is not constant."""


class Dependent(Protocol):
    """An object that depends on names, on some of them only by their bins."""

    @property
    def references(self) -> tuple[str, ...]:
        """All names."""
        ...

    @property
    def smooth_references(self) -> tuple[str, ...]:
        """The names on which it depends by their values, not only by their bins."""
        ...

    @property
    def binnings(self) -> tuple[Binning, ...]:
        """The bins, without those of functions."""
        ...


@dataclass(frozen=True)
class Pieces:
    """The pieces of an observable's range, between which an integrand may jump.

    Attributes:
        cuts: The positions of possible jumps, in rising order.
        flat: Whether the integrand is constant in each piece.
    """

    cuts: np.ndarray
    flat: bool

    @property
    def order(self) -> int:
        """The number of nodes in a panel."""
        return 1 if self.flat else ORDER

    def edges(self, lower: Edge, upper: Edge, width: float) -> np.ndarray:
        """Return the ends of panels in intervals.

        Args:
            lower: Lower ends of the intervals.
            upper: Upper ends, of the same shape.
            width: The largest width of a panel, unless the integrand is flat.

        Returns:
            Rising along the first axis, shape ``(edges, *shape)``; as many for each
            interval, so that some panels may be empty.
        """
        low, high = np.broadcast_arrays(np.asarray(lower, float), upper)
        cuts = self.cuts.reshape(-1, *(1 for _ in low.shape))
        inside = (cuts > low) & (cuts < high)
        most = int(np.max(np.sum(inside, axis=0), initial=0))
        kept = np.sort(np.where(inside, cuts, np.inf), axis=0)[:most]
        ends = np.concatenate([low[None], np.minimum(kept, high), high[None]])
        if self.flat:
            return ends
        number = max(1, int(np.ceil(np.max(np.diff(ends, axis=0)) / width - 1e-9)))
        steps = (np.arange(number) / number).reshape(1, -1, *(1 for _ in low.shape))
        parts = ends[:-1, None] + np.diff(ends, axis=0)[:, None] * steps
        return np.concatenate([parts.reshape(-1, *low.shape), ends[-1:]])


def pieces_of(dependent: Dependent, scope: Scope, observable: str) -> Pieces:
    """Return the pieces of an observable's range for an integrand."""
    graph = scope.graph
    if observable in graph.discrete:
        start, stop = scope.domain[observable]
        return Pieces(np.arange(float(start) + 1.0, float(stop)), flat=True)
    bins = [*dependent.binnings, *graph.binnings(dependent.references)]
    ends = [np.array(e) for one in bins for name, e in one.axes if name == observable]
    cuts = np.unique(np.concatenate(ends)) if ends else np.zeros(0)
    # The bins of a function of the observable are not bins of the observable.
    moved = [n for one in bins for n in one.names if graph.function_name(n)]
    flat = observable not in graph.free(
        [*dependent.smooth_references, *moved], smooth=True
    )
    return Pieces(cuts, flat=flat)


def rule_of(edges: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of panels, shape ``(panels * order, *shape)``."""
    nodes, weights = gauss_legendre(1, order)
    column = (1, -1, *(1 for _ in edges.shape[1:]))
    widths = np.diff(edges, axis=0)[:, None]
    points = edges[:-1, None] + widths * nodes.reshape(column)
    flat = (-1, *edges.shape[1:])
    return points.reshape(flat), (widths * weights.reshape(column)).reshape(flat)
