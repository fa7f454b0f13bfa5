"""Points that stand for a density: grids with weights, and random ones."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import SpecificationError
from everwillow.models.hs3.distributions.base import (
    AbstractDistribution,
    require_finite,
)
from everwillow.models.hs3.distributions.panels import ORDER, pieces_of, rule_of
from everwillow.models.hs3.functions.graph import Scope


_NODES = {1: 1024, 2: 128, 3: 48}
_CELLS = {1: 4096, 2: 256, 3: 48}


def event_grid(
    distribution: AbstractDistribution, scope: Scope
) -> tuple[Float[Array, "points axes"], Float[Array, " points"]]:
    """Return the nodes of a quadrature and the probability of each, sum 1."""
    axes = _axes(distribution, scope, _NODES)
    panels = _NODES[len(axes)] // ORDER
    rules = []
    for axis in axes:
        pieces = pieces_of(distribution, scope, axis)
        start, stop = _ends(scope, axis)
        edges = pieces.edges(start, stop, (stop - start) / panels)
        rules.append(rule_of(edges, pieces.order))
    points = jnp.asarray(_product([nodes for nodes, _ in rules]))
    shares = np.prod(_product([weights for _, weights in rules]), axis=1)
    density = _density(distribution, scope, axes, points) * shares
    return points, density / jnp.sum(density)


def draw_events(
    distribution: AbstractDistribution, scope: Scope, key: Array, count: int
) -> Float[Array, "events axes"]:
    """Draw from a grid of cells, evenly inside each of them."""
    axes = _axes(distribution, scope, _CELLS)
    cells = _CELLS[len(axes)]
    edges = []
    for axis in axes:
        start, stop = _ends(scope, axis)
        pieces = pieces_of(distribution, scope, axis)
        edges.append(pieces.edges(start, stop, (stop - start) / cells))
    points = jnp.asarray(_product([(e[1:] + e[:-1]) / 2 for e in edges]))
    widths = _product([np.diff(e) for e in edges])
    volumes = np.prod(widths, axis=1)
    cumulative = jnp.cumsum(_density(distribution, scope, axes, points) * volumes)
    cell_key, place_key = jr.split(key)
    height = jr.uniform(cell_key, (count,), points.dtype) * cumulative[-1]
    chosen = jnp.searchsorted(cumulative, height, side="right")
    chosen = jnp.minimum(chosen, points.shape[0] - 1)
    place = jr.uniform(place_key, (count, len(axes)), points.dtype, -0.5, 0.5)
    # A category is the middle of its cell.
    spread = np.array([0.0 if axis in scope.graph.discrete else 1.0 for axis in axes])
    return points[chosen] + place * jnp.asarray(widths)[chosen] * spread[None]


def mean_of(distribution: AbstractDistribution, scope: Scope) -> Float[Array, " axes"]:
    """Return the mean of each observable over its range."""
    points, shares = event_grid(distribution, scope)
    return shares @ points


def _axes(
    distribution: AbstractDistribution, scope: Scope, sizes: dict[int, int]
) -> tuple[str, ...]:
    axes = tuple(scope.domain)
    if len(axes) not in sizes:
        raise SpecificationError(
            f"distributions/{distribution.name}: points for Asimov data and toys are "
            f"made for one to three observables, not for {len(axes)}."
        )
    require_finite(distribution, scope, axes)
    return axes


def _ends(scope: Scope, axis: str) -> tuple[float, float]:
    start, stop = scope.domain[axis]
    return float(start), float(stop)


def _product(columns: list[np.ndarray]) -> np.ndarray:
    """Return all combinations, shape ``(points, axes)``."""
    grids = np.meshgrid(*columns, indexing="ij")
    return np.stack([grid.ravel() for grid in grids], axis=1)


def _density(
    distribution: AbstractDistribution,
    scope: Scope,
    axes: tuple[str, ...],
    points: Array,
) -> Array:
    values = {axis: points[:, i] for i, axis in enumerate(axes)}
    logs = distribution.log_density(scope.at(values))
    logs = jnp.broadcast_to(logs, points.shape[:1])
    return jnp.exp(logs - jnp.max(logs))
