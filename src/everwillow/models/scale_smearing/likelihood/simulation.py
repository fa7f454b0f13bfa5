r"""Variance and mean of the gradient from the limited number of simulated events.

The content :math:`M_k` of a bin of a template has the variance :math:`S_k`, the sum of
squared weights. The gradient of -ln L at the minimum has the variance
:math:`\sum_k S_k\, (\partial_k g)(\partial_k g)^\mathsf T`, and by the implicit
function theorem the parameters have that variance times the covariance of the fit on
both sides. Each mixed derivative has a closed form, and concerns one region only.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.models.scale_smearing.likelihood.flat import FlatSas, positive_or_one
from everwillow.models.scale_smearing.likelihood.migration import (
    Numbers,
    probabilities,
    probability_derivatives,
)


@eqx.filter_jit
def gradient_variance(
    terms: FlatSas,
    slots: Array,
    vector: Array,
    counts: Array,
    variances: Array,
) -> Float[Array, "n n"]:
    """Return the covariance of the gradient from the variances of templates.

    Args:
        terms: The likelihood.
        slots: The rows of each region, shape ``(regions, bins)``; the number of rows
            where there is none.
        vector: The parameters.
        counts: The observed counts of all rows.
        variances: The variance of each bin of the templates.
    """

    def region(one: tuple[Array, ...]) -> Array:
        rows, mixture, weights, variances = one
        low, high, observed = _bins(terms, rows, counts)
        part, slopes = _migrations(low, high, mixture, terms.masses)
        mixed = _mixed_derivatives(part, slopes, observed, weights)
        return jnp.einsum("uk,k,wk->uw", mixed, variances, mixed)

    by_region = jax.lax.map(region, _inputs(terms, slots, vector, variances))
    inner, _ = terms.local_derivatives(vector, jnp.zeros(by_region.shape[:2]))
    return terms.scattered(terms.congruent(inner, by_region))


@eqx.filter_jit
def gradient_bias(
    terms: FlatSas,
    slots: Array,
    vector: Array,
    counts: Array,
    variances: Array,
) -> Float[Array, " n"]:
    r"""Return the mean of the gradient that the noise of templates adds.

    Noise with the variances :math:`S_k` adds :math:`\frac12 \sum_k S_k \partial^2
    (-\ln L) / \partial M_k^2` to -ln L in the mean. A wider smearing lessens the noise,
    so this pulls resolutions up.

    Args:
        terms: As for `gradient_variance`, like the others.
        slots: The rows of each region.
        vector: The parameters.
        counts: The observed counts of all rows.
        variances: The variance of each bin of the templates.
    """

    def region(one: tuple[Array, ...]) -> Array:
        rows, mixture, weights, variances = one
        low, high, observed = _bins(terms, rows, counts)

        def added(variables: Array) -> Array:
            whole = mixture.at[:, : variables.shape[1]].set(variables)
            part, _ = _migrations(low, high, whole, terms.masses)
            sums = part @ weights
            total = positive_or_one(jnp.sum(sums))
            own = jnp.dot(observed / positive_or_one(sums) ** 2, part**2 @ variances)
            shared = jnp.dot(jnp.sum(part, 0) ** 2, variances) / total**2
            return 0.5 * (own - jnp.sum(observed) * shared)

        used = 2 if mixture.shape[0] == 1 else 3
        return jax.grad(added)(mixture[:, :used]).ravel()

    by_region = jax.lax.map(region, _inputs(terms, slots, vector, variances))
    inner, _ = terms.local_derivatives(vector, jnp.zeros_like(by_region))
    local = jnp.einsum("ru,rul->rl", by_region, inner)
    places = jnp.asarray(terms.places).reshape(local.shape)
    return jnp.zeros_like(vector).at[places].add(local)


def _inputs(
    terms: FlatSas, slots: Array, vector: Array, variances: Array
) -> tuple[Array, ...]:
    """Return what differs between regions."""
    templates = jnp.asarray(terms.templates)
    return jnp.asarray(slots), terms.components(vector), templates, variances


def _bins(terms: FlatSas, rows: Array, counts: Array) -> tuple[Array, Array, Array]:
    """Return edges and counts of a region; rows beyond its own are empty bins."""
    low, high = (
        jnp.asarray(edge).at[rows].get(mode="fill", fill_value=1.0)
        for edge in (terms.low, terms.high)
    )
    return low, high, counts.at[rows].get(mode="fill", fill_value=0.0)


def _migrations(
    low: Array, high: Array, mixture: Array, masses: Numbers
) -> tuple[Array, Array]:
    """Return probabilities of a region, and derivatives by its components.

    Returns:
        Shape ``(rows, masses)``, and ``(variables, rows, masses)``.
    """
    ones = jnp.ones_like(low)

    def component(part: Array) -> tuple[Array, Array]:
        r, s = jnp.exp(part[0]) * ones, jnp.exp(part[1]) * ones
        moved = probabilities(low, high, r, s, masses)
        slopes = probability_derivatives(low, high, r, s, masses)
        return moved, jnp.stack([*(part[2] * one for one in slopes), moved])

    moved, slopes = jax.vmap(component)(mixture)
    if mixture.shape[0] == 1:
        return moved[0], slopes[0, :2]
    total = jnp.einsum("c,crk->rk", mixture[:, 2], moved)
    return total, slopes.reshape(-1, *total.shape)


def _mixed_derivatives(
    part: Array, slopes: Array, observed: Array, weights: Array
) -> Float[Array, "variables masses"]:
    """Return derivatives of the gradient of a region by the bins of its template."""
    sums, bends = part @ weights, slopes @ weights
    safe, total = positive_or_one(sums), positive_or_one(jnp.sum(sums))
    ratio = observed / safe
    events = jnp.sum(observed)
    by_row = -jnp.einsum("r,urk->uk", ratio, slopes)
    by_row += jnp.einsum("r,ur,rk->uk", ratio / safe, bends, part)
    whole = jnp.sum(slopes, 1) / total
    shared = jnp.sum(bends, 1)[:, None] * jnp.sum(part, 0)[None] / total**2
    return by_row + events * (whole - shared)
