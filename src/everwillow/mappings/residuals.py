"""The data of a template fit against its own predictions, as a chi2."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy as jsp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from everwillow.engine.core import Task
from everwillow.engine.covariance import covariance_of
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.mappings.chi2 import MappingChi2
from everwillow.mappings.data import AT_ONCE, check_has_data, degrees_of_freedom
from everwillow.mappings.evaluation import after
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping
from everwillow.uncertainty.evaluation_point import evaluate_at


# Residuals whose variance is this share of what the data alone would give do not
# fluctuate: the fit settles them, up to rounding and to what its EDM leaves.
SINGULAR = 1e-9
# What is left of differences of numbers that are squared.
ROUNDING = 1e-18


def residual_chi2(
    mapping: AbstractHistogramMapping,
    model: Any,
    result: FitResult,
    *,
    observation: Any = None,
    covariance: Float[Array, "free free"] | None = None,
    throw: bool = True,
) -> MappingChi2:
    r"""Compare a mapping of the fitted data with the same mapping of the fit.

    The fit has followed the data and the auxiliary ones. With R the derivatives
    of the residuals by every measurement, in which the estimates answer by
    :math:`-C\,\partial^2(-\ln L)/\partial\theta\,\partial d`, and with V the variances
    of the measurements, the covariance of the residuals is :math:`R V R^\mathsf T`. It
    is never negative; what the fit always gets right has no variance and counts neither
    in the sum nor as a degree of freedom.

    All of this is taken at the measurements that the fit predicts, not at those that
    were made. Only there are residuals of the fit, as they solve
    :math:`J^\mathsf T V^{-1} r = 0` with its own J and V, without variance along every
    parameter that data alone determine; at the data that variance is one of the order
    of the squared relative residuals, which divides by next to nothing. So the sum for
    all bins is Pearson's chi2 with the expected variances and the squared pulls of all
    auxiliary measurements, its degrees of freedom are those of
    `everwillow.goodness.saturated_test`, and with exact templates it is
    `mapping_chi2` with ``relation="fitted"``.

    Args:
        mapping: A mapping that has data (`everwillow.mappings.with_data`).
        model: A `everwillow.models.templates.TemplateModel`.
        result: Its best fit.
        observation: What was fitted; None for the Model's own.
        covariance: For fits without a Hessian, as in `postfit`: tells by zeros which
            parameters are held. Otherwise that is known from the fit.
        throw: As in `postfit`.

    Returns:
        `MappingChi2`, NaN if the fit has no covariance or a value is NaN; the p-value
        also if no residual fluctuates, as in a fit with a parameter for each bin.

    Raises:
        ArgumentValueError: If the mapping has no data.
    """
    check_has_data(mapping, model.layout)
    where = after(model, result, covariance, throw=throw)
    observation = model.observation if observation is None else observation
    count = degrees_of_freedom(mapping, model.layout)
    args = (where.covariance, mapping, model.layout, float(count))
    found = evaluate_at(_compare, model, where.point, observation, *args)[0]
    return MappingChi2(*found)


def _compare(
    task: Task,
    numbers: Numbers,
    known: Array,
    mapping: AbstractHistogramMapping,
    layout: Layout,
    count: Any,
) -> tuple[Array, Array, Array]:
    model, x = task.objective, task.start(numbers)
    params = task.params(numbers, x)
    predicted = model.diagnostics.followed(params, numbers.observation)
    variance = model.measurement_variance(params, predicted)
    there = dataclasses.replace(numbers, observation=predicted)
    hessian = task.evaluate(there, x).curvature.as_matrix()
    # The model has a curvature of its own, which is that of all its parameters.
    hessian = jnp.take(jnp.take(hessian, numbers.index, 0), numbers.index, 1)
    covariance = covariance_of(hessian, jnp.diagonal(known) == 0)
    # A fit that failed has no covariance, wherever it ended.
    covariance = jnp.where(jnp.all(jnp.isfinite(known)), covariance, jnp.nan)
    data, unravel = ravel_pytree(predicted)

    def measured(counts):
        masked = jnp.full(layout.bins - layout.fitted, jnp.nan, counts.dtype)
        every = jnp.concatenate([counts, masked])[None, :]
        yields = Yields(every, Layout(layout.channels, ("data",)))
        return ravel_pytree(mapping(params, yields))[0]

    def residuals(x, data):
        seen, there = unravel(data), task.params(numbers, x)
        expected = mapping(there, model.predicted(there, seen))
        return measured(seen["main"]["counts"]) - ravel_pytree(expected)[0]

    def slope(data, move):
        nll = lambda v: model.nll(task.params(numbers, v), unravel(data))
        return jax.jvp(nll, (x,), (move,))[1]

    def spread(row):
        return ravel_pytree(jax.tree.map(_times, variance, unravel(row)))[0]

    elsewhere = lambda v: model.diagnostics.external(task.params(numbers, v))
    _, pull = jax.vjp(residuals, x, data)
    _, seen = jax.vjp(measured, predicted["main"]["counts"])
    largest = jnp.max(jnp.abs(variance["main"]["counts"]), initial=0)

    def row(unit):
        by_x, by_data = pull(unit)
        # The estimates answer to the data by minus the covariance times the slopes.
        move = covariance @ by_x
        answered = by_data - jax.grad(slope)(data, move)
        # Likelihoods from elsewhere are measurements of the parameters themselves.
        bent = jax.jvp(jax.grad(elsewhere), (x,), (move,))[1]
        alone = jnp.vdot(by_data, spread(by_data))
        # Where samples hold an empty bin at 0 only rounding is left of that.
        rounding = ROUNDING * largest * jnp.sum(seen(unit)[0] ** 2)
        alone = jnp.where(alone <= rounding, 0, alone)
        return answered, spread(answered), move, bent, alone

    away = residuals(x, ravel_pytree(numbers.observation)[0])
    basis = jnp.eye(away.shape[0])
    rows, spreads, moves, bends, alone = jax.lax.map(row, basis, batch_size=AT_ONCE)
    return _chi2(away, spreads @ rows.T + bends @ moves.T, alone, count)


def _times(variance: Array, row: Array) -> Array:
    """Multiply by variances, or by the covariance of a vector."""
    return variance @ row if variance.ndim > row.ndim else variance * row


def _chi2(
    away: Array, matrix: Array, alone: Array, count: Any
) -> tuple[Array, Array, Array]:
    """Return chi2, degrees of freedom and p-value.

    Args:
        away: The residuals.
        matrix: Their covariance.
        alone: The variances that they would have if estimates did not answer. Relative
            to their own, what is rounding would look like any other residual.
        count: The most degrees of freedom that there can be.
    """
    # No eigenvalue that is NaN is free, and a fit that failed would look perfect.
    known = jnp.isfinite(jnp.sum(matrix) + jnp.sum(alone))
    some = alone > 0
    width = jnp.where(some, jnp.sqrt(jnp.where(some, alone, 1)), 1)
    matrix = jnp.where(some[:, None] & some[None, :] & known, matrix, 0)
    matrix = matrix / width[:, None] / width[None, :]
    values, vectors = jnp.linalg.eigh(matrix)
    free = values > SINGULAR
    parts = vectors.T @ (away / width)
    statistic = jnp.sum(jnp.where(free, parts**2 / jnp.where(free, values, 1), 0))
    count = jnp.minimum(jnp.sum(free).astype(away.dtype), count)
    statistic, count = (jnp.where(known, v, jnp.nan) for v in (statistic, count))
    good = count > 0
    tail = jsp.special.gammaincc(jnp.where(good, count, 1) / 2, statistic / 2)
    return statistic, count, jnp.where(good, tail, jnp.nan)


__all__ = ["residual_chi2"]
