"""The data of a template fit against its own predictions, as a chi2."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy as jsp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from everwillow.fitting import FitResult
from everwillow.fitting._core import Task
from everwillow.fitting._problem import Numbers
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.mappings.comparison import MappingChi2
from everwillow.mappings.data import AT_ONCE, check_has_data, degrees_of_freedom
from everwillow.mappings.evaluation import after
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping
from everwillow.uncertainty._point import evaluate_at


# Residuals whose variance is this share of what the data alone would give do not
# fluctuate.
SINGULAR = 1e-9


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

    Args:
        mapping: A mapping that has data (`everwillow.mappings.with_data`).
        model: A `everwillow.models.templates.TemplateModel`.
        result: Its best fit.
        observation: What was fitted; None for the Model's own.
        covariance: As in `postfit`.
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
    covariance: Array,
    mapping: AbstractHistogramMapping,
    layout: Layout,
    count: Any,
) -> tuple[Array, Array, Array]:
    model, observation = task.objective, numbers.observation
    x = task.start(numbers)
    variance = model.measurement_variance(task.params(numbers, x), observation)
    spread, _ = ravel_pytree(variance)
    data, unravel = ravel_pytree(observation)

    def residuals(x, data):
        seen = unravel(data)
        counts = seen["main"]["counts"]
        masked = jnp.full(layout.bins - layout.fitted, jnp.nan, counts.dtype)
        every = jnp.concatenate([counts, masked])[None, :]
        params = task.params(numbers, x)
        measured = mapping(params, Yields(every, Layout(layout.channels, ("data",))))
        expected = mapping(params, model.predicted(params, seen))
        return ravel_pytree(measured)[0] - ravel_pytree(expected)[0]

    away = residuals(x, data)
    _, pull = jax.vjp(residuals, x, data)

    def slope(data, move):
        nll = lambda v: model.nll(task.params(numbers, v), unravel(data))
        return jax.jvp(nll, (x,), (move,))[1]

    def row(unit):
        by_x, by_data = pull(unit)
        # The estimates answer to the data by minus the covariance times the slopes.
        answered = by_data - jax.grad(slope)(data, covariance @ by_x)
        return answered, jnp.vdot(by_data, spread * by_data)

    rows, alone = jax.lax.map(row, jnp.eye(away.shape[0]), batch_size=AT_ONCE)
    return _chi2(away, (rows * spread[None, :]) @ rows.T, alone, count)


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
    width = jnp.where(alone > 0, jnp.sqrt(jnp.where(alone > 0, alone, 1)), 1)
    matrix = matrix / width[:, None] / width[None, :]
    values, vectors = jnp.linalg.eigh(matrix)
    free = values > SINGULAR
    parts = vectors.T @ (away / width)
    statistic = jnp.sum(jnp.where(free, parts**2 / jnp.where(free, values, 1), 0))
    count = jnp.minimum(jnp.sum(free).astype(away.dtype), count)
    # No eigenvalue that is NaN is free, and a fit that failed would look perfect.
    known = jnp.all(jnp.isfinite(matrix))
    statistic, count = (jnp.where(known, v, jnp.nan) for v in (statistic, count))
    good = count > 0
    tail = jsp.special.gammaincc(jnp.where(good, count, 1) / 2, statistic / 2)
    return statistic, count, jnp.where(good, tail, jnp.nan)


__all__ = ["residual_chi2"]
