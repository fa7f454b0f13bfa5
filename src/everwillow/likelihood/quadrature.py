r"""Integrals of densities by composite Gauss-Legendre quadrature, in log space.

The rule of order :math:`n` is exact for polynomials up to degree :math:`2n - 1` on each
panel. With the default of 64 panels of 16 nodes, the relative error of the integral of
a smooth density is below 1e-11 if no feature is narrower (standard deviation) than a
four-hundredth of the range, and below 1e-4 down to an eight-hundredth; a step inside a
panel costs up to a tenth of that panel's share.
"""

import functools as ft
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float


def gauss_legendre(panels: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights on the interval from 0 to 1, with equal panels.

    Args:
        panels: Number of panels.
        order: Nodes in each of them.

    Returns:
        Two arrays of shape ``(panels * order,)``; the weights sum to 1.

    Example:
        >>> nodes, weights = gauss_legendre(2, 3)
        >>> print((weights * nodes**5).sum().round(12))
        0.166666666667
    """
    nodes, weights = _rule(panels, order)
    return nodes.copy(), weights.copy()


@ft.cache
def _rule(panels: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(order)
    starts = np.arange(panels)[:, None]
    positions = (starts + 0.5 * (nodes + 1.0)) / panels
    return positions.ravel(), np.tile(0.5 * weights / panels, panels)


def log_integrate(
    log_density: Callable[[Float[Array, "nodes *shape"]], Array],
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    panels: int = 64,
    order: int = 16,
) -> Float[Array, "*shape"]:
    r"""Return :math:`\ln \int e^{f(x)} dx` over intervals with equal panels.

    Args:
        log_density: The function :math:`f`; takes nodes of shape ``(nodes, *shape)``,
            where ``shape`` is that of the ends, and returns an array that broadcasts to
            this shape.
        lower: Lower ends, finite.
        upper: Upper ends, finite.
        panels: Panels in each interval.
        order: Nodes in each panel.

    Returns:
        One logarithm for each interval; ``-inf`` with the gradient zero where the
        density vanishes at all nodes or the interval is empty.

    Example:
        >>> print(log_integrate(lambda x: -x, 0.0, 50.0).round(9))
        0.0
    """
    lower, upper = jnp.broadcast_arrays(jnp.asarray(lower), jnp.asarray(upper))
    nodes, weights = _rule(panels, order)
    column = (-1, *(1 for _ in lower.shape))
    width = upper - lower
    points = lower[None] + width[None] * nodes.reshape(column)
    return log_sum(log_density(points), weights.reshape(column) * width[None])


def log_integrate_panels(
    log_density: Callable[[Float[Array, "nodes *shape"]], Array],
    edges: Float[ArrayLike, "edges *shape"],
    *,
    order: int = 16,
) -> Float[Array, "*shape"]:
    r"""Return :math:`\ln \int e^{f(x)} dx` over panels between given edges.

    Args:
        log_density: The function :math:`f`, as for `log_integrate`.
        edges: Rising along the first axis; panels may be empty.
        order: Nodes in each panel.

    Example:
        >>> print(log_integrate_panels(jnp.log, jnp.array([0.0, 0.1, 2.0])).round(6))
        0.693147
    """
    edges = jnp.asarray(edges)
    nodes, weights = _rule(1, order)
    column = (1, -1, *(1 for _ in edges.shape[1:]))
    start, width = edges[:-1, None], jnp.diff(edges, axis=0)[:, None]
    points = start + width * nodes.reshape(column)
    share = width * weights.reshape(column)
    flat = (-1, *edges.shape[1:])
    return log_sum(log_density(points.reshape(flat)), share.reshape(flat))


def log_sum(
    logs: Float[Array, "terms *shape"], weights: Float[ArrayLike, "terms *shape"]
) -> Float[Array, "*shape"]:
    r"""Return :math:`\ln \sum_k w_k e^{l_k}` over the first axis.

    Weights may be zero or negative. Nothing underflows or overflows as long as a term
    with a positive weight is among the largest.

    Returns:
        The logarithm, ``-inf`` with the gradient zero where the sum is not positive.

    Example:
        >>> print(log_sum(jnp.array([-1000.0, -1000.0]), jnp.array([1.0, 3.0])))
        -998.6137056388801
    """
    weights = jnp.asarray(weights)
    logs, weights = jnp.broadcast_arrays(logs, weights)
    # Terms without weight must not set the scale, or the others would underflow.
    counted = jnp.where(weights == 0.0, -jnp.inf, jax.lax.stop_gradient(logs))
    largest = jnp.max(counted, axis=0, initial=-jnp.inf)
    largest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0))
    scaled = jnp.exp(jnp.minimum(logs - largest[None], 700.0))
    total = jnp.sum(weights * scaled, axis=0)
    positive = total > 0.0
    log = jnp.log(jnp.where(positive, total, 1.0)) + largest
    return jnp.where(positive, log, -jnp.inf)
