r"""Migration of simulated masses into bins of data, with derivatives.

A simulated mass x becomes :math:`m = r x (1 + s z)` with a unit Gaussian z. The part
below an edge b is :math:`\Phi(e)` with :math:`e = (b / (r x) - 1) / s`. In the
variables :math:`\rho = \ln r` and :math:`\lambda = \ln s` its derivatives are
polynomials in e, times the density of a unit Gaussian, so the sums of
:math:`\varphi(e) e^p` for p = 0 to 3 give first and second derivatives.
"""

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erfc
from jaxtyping import Array, Float


Numbers: TypeAlias = Array | np.ndarray

_FAR = 38.0
"""Beyond this number of widths a Gaussian is zero in double precision."""


class Migrated(NamedTuple):
    r"""Sums over a template for each row, and derivatives by :math:`\rho, \lambda`.

    Attributes:
        value: The sum of the weights that migrate into the bin, shape ``(rows,)``.
        gradient: Derivatives, shape ``(rows, 2)``.
        hessian: Second derivatives, shape ``(rows, 2, 2)``.
    """

    value: Float[Array, " rows"]
    gradient: Float[Array, "rows 2"]
    hessian: Float[Array, "rows 2 2"]


def between(low: Array, high: Array) -> Array:
    r"""Return :math:`\Phi(h) - \Phi(l)` with full relative precision in both tails."""
    flip = low + high > 0
    lower = jnp.where(flip, -high, low)
    upper = jnp.where(flip, -low, high)
    root = jnp.sqrt(jnp.asarray(0.5, low.dtype))
    return 0.5 * (erfc(-upper * root) - erfc(-lower * root))


def deviations(edge: Numbers, r: Array, s: Array, masses: Numbers) -> Array:
    """Return the distance of edges from masses in widths: rows of edges."""
    return ((jnp.asarray(edge) / r)[:, None] / jnp.asarray(masses)[None] - 1) / s[
        :, None
    ]


def probabilities(
    low: Numbers, high: Numbers, r: Array, s: Array, masses: Numbers
) -> Array:
    """Return the part of each simulated mass that migrates into each bin.

    Args:
        low: Lower edges of the bins, shape ``(rows,)``.
        high: Upper edges.
        r: The response of each row.
        s: The relative width of each row.
        masses: The centres of the bins of the template, shape ``(masses,)``.

    Returns:
        Shape ``(rows, masses)``.
    """
    return between(deviations(low, r, s, masses), deviations(high, r, s, masses))


def migrate(
    low: Numbers, high: Numbers, r: Array, s: Array, masses: Numbers, weights: Array
) -> Migrated:
    """Return the sums over the template of each row, with their derivatives.

    Args:
        low: Lower edges of the bins, shape ``(rows,)``.
        high: Upper edges.
        r: The response of each row.
        s: The relative width of each row.
        masses: The centres of the bins of the template, shape ``(masses,)``.
        weights: The template of each row, shape ``(rows, masses)``.
    """
    below, above = (
        deviations(edge, r, s, masses).clip(-_FAR, _FAR) for edge in (low, high)
    )
    value = jnp.sum(weights * between(below, above), -1)
    lower, upper = weights * gaussian(below), weights * gaussian(above)
    moments = []
    for _ in range(4):
        moments.append(jnp.sum(upper - lower, -1))
        lower, upper = lower * below, upper * above
    gradient, hessian = derivatives(moments, 1 / s)
    return Migrated(value, gradient, hessian)


def gaussian(e: Array) -> Array:
    """Return the density of a unit Gaussian."""
    return jnp.exp(-0.5 * e**2) / jnp.sqrt(jnp.asarray(2 * jnp.pi, e.dtype))


def derivatives(moments: list[Array], t: Array) -> tuple[Array, Array]:
    r"""Return derivatives by :math:`\rho` and :math:`\lambda` from moments.

    Args:
        moments: The sums of :math:`\varphi(e) e^p`, upper edge minus lower edge.
        t: 1 / s.
    """
    d0, d1, d2, d3 = moments
    mixed = d0 * t + d1 - d2 * t - d3
    bend = d0 * t + d1 - d1 * t**2 - 2 * d2 * t - d3
    gradient = jnp.stack([-(d0 * t + d1), -d1], -1)
    rows = [jnp.stack([bend, mixed], -1), jnp.stack([mixed, d1 - d3], -1)]
    return gradient, jnp.stack(rows, -2)


def probability_derivatives(
    low: Numbers, high: Numbers, r: Array, s: Array, masses: Numbers
) -> tuple[Array, Array]:
    r"""Return derivatives of `probabilities` by :math:`\rho` and :math:`\lambda`."""
    below, above = (
        deviations(edge, r, s, masses).clip(-_FAR, _FAR) for edge in (low, high)
    )
    lower, upper = gaussian(below), gaussian(above)
    first = upper * above - lower * below
    return -((upper - lower) / s[:, None] + first), -first
