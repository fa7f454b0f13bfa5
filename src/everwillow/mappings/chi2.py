"""chi2 tests of mappings: of their values with data, and of the residuals of a fit."""

import dataclasses
from typing import Any, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.covariance import covariance_of
from everwillow.engine.layout import as_arrays, namespace, on_host
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.goodness.chi2 import SINGULAR, Relation, inverse_quadratic_form
from everwillow.goodness.pvalues import GoodnessResult, chi2_result
from everwillow.likelihood.histograms import Layout
from everwillow.mappings.data import (
    AT_ONCE,
    check_has_data,
    degrees_of_freedom,
    mapped_data,
)
from everwillow.mappings.evaluation import MappingResult, checked_factor, postfit_point
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping
from everwillow.uncertainty.evaluation_point import evaluate_at


# The name of the record in files and code that were written when it was another one.
MappingChi2 = GoodnessResult


def mapping_chi2(
    mapping: MappingResult,
    data: PyTree,
    variance: PyTree,
    *,
    relation: Relation = "independent",
    ndof: float | None = None,
) -> GoodnessResult:
    r"""Compare the values of a mapping with data, their covariances included.

    With V the covariance of the data and F the factor of that of the values, the
    residuals have the covariance :math:`V + F F^\mathsf T` if the data are
    *independent* of the fit (or there was none). If they are the ones that were
    *fitted*, or sums of them, it is :math:`V - F F^\mathsf T`: the values follow the
    data. Both are inverted in the space of the parameters (Woodbury's formula), so
    thousands of values cost little.

    For fitted data, F has to belong to the expected covariance of the parameters:
    ``postfit(..., covariance=covariance_matrix(model, result, kind="fisher"))``. That
    of the fit differs from it by fluctuations, and the matrix need not be positive.

    Args:
        mapping: The values, from `prefit` or `postfit` with ``factor=True``.
        data: The data, in the structure of the values.
        variance: Variances of the data in the same structure, or the covariance of all
            of them, ravelled, shape ``(n, n)``.
        relation: ``"independent"`` or ``"fitted"``.
        ndof: Degrees of freedom; by default the number of values, less for fitted data
            the number of directions that the data alone have determined.

    Returns:
        `everwillow.goodness.GoodnessResult`, NaN where the matrix is not positive.

    Raises:
        ArgumentValueError: If the mapping has no factor.
        ShapeMismatchError: If `data` or `variance` do not fit.

    Example:
        >>> import everwillow as ew
        >>> from everwillow.mappings.evaluation import prefit
        >>> from everwillow.parameters import Normal
        >>> model = ew.Model(
        ...     lambda p, n: 0.5 * jnp.sum((n - p["theta"]) ** 2),
        ...     {"theta": 0.0},
        ...     np.zeros(2),
        ...     constraints={"theta": Normal(0.0, 1.0)},
        ...     expected=lambda p: p["theta"] * jnp.ones(2),
        ... )
        >>> mapping = prefit(None, model, factor=True)
        >>> mapping_chi2(mapping, np.array([2.0, 1.0]), np.ones(2))
        GoodnessResult(statistic=2, ndof=2, pvalue=0.3679)
    """
    factor = checked_factor(mapping)
    if relation not in get_args(Relation):
        raise ArgumentValueError(
            f"relation: expected 'independent' or 'fitted', got {relation!r}."
        )
    data = as_arrays(data, "data")
    if jax.tree.structure(data) != jax.tree.structure(mapping.values):
        raise ShapeMismatchError(
            f"data: expected the structure of the values, "
            f"{jax.tree.structure(mapping.values)}, got {jax.tree.structure(data)}."
        )
    residuals = jax.tree.map(_difference, data, mapping.values)
    variance = as_arrays(variance, "variance")
    given = None if ndof is None else np.asarray(float(ndof))
    args = (residuals, variance, factor, relation, given)
    return on_host(programs.call(_compare_values, *args))


def _difference(data: Any, value: Any) -> Any:
    if np.shape(data) != np.shape(value):
        raise ShapeMismatchError(
            f"data: shape {np.shape(data)} for values of shape {np.shape(value)}."
        )
    library = namespace(data, value)
    return library.asarray(data, float) - value


def _compare_values(
    residuals: Any, variance: Any, factor: Array, relation: str, ndof: Any
) -> GoodnessResult:
    away, _ = ravel_pytree(residuals)
    whitened, factor = _whitened(away, variance, jnp.asarray(factor))
    inner = factor.T @ factor
    along = factor.T @ whitened
    eye = jnp.eye(inner.shape[0], dtype=inner.dtype)
    if relation == "independent":
        half = jnp.linalg.cholesky(eye + inner)
        gain = jsp.linalg.solve_triangular(half, along, lower=True)
        statistic = jnp.vdot(whitened, whitened) - jnp.vdot(gain, gain)
        count = jnp.asarray(away.size, away.dtype)
    else:
        form = inverse_quadratic_form(along, eye - inner)
        statistic = jnp.vdot(whitened, whitened) + form.value
        # Not "any is negative", which is false where they are NaN.
        positive = jnp.all(form.eigenvalues >= -SINGULAR)
        statistic = jnp.where(positive, statistic, jnp.nan)
        count = away.size - jnp.sum(~form.regular).astype(away.dtype)
    return chi2_result(statistic, count if ndof is None else ndof)


def _whitened(away: Array, variance: Any, factor: Array) -> tuple[Array, Array]:
    """Divide residuals and factor by the root of the covariance of the data."""
    size = away.shape[0]
    if eqx.is_array(variance) and variance.shape == (size, size) and size > 1:
        half = jnp.linalg.cholesky(jnp.asarray(variance, float))
        both = jnp.concatenate([away[:, None], factor], axis=1)
        both = jsp.linalg.solve_triangular(half, both, lower=True)
        return both[:, 0], both[:, 1:]
    flat, _ = ravel_pytree(jax.tree.map(lambda v: jnp.asarray(v, float), variance))
    if flat.shape != away.shape:
        raise ShapeMismatchError(
            f"variance: {flat.size} variances for {size} values. Give one for each, or "
            f"a matrix of shape ({size}, {size})."
        )
    width = jnp.sqrt(flat)
    return away / width, factor / width[:, None]


# Relative rounding of squared differences.
ROUNDING = 1e-18


def residual_chi2(
    mapping: AbstractHistogramMapping,
    model: Any,
    result: FitResult,
    *,
    observation: Any = None,
    covariance: Float[Array, "free free"] | None = None,
    throw: bool = True,
) -> GoodnessResult:
    r"""Compare a mapping of the fitted data with the same mapping of the fit.

    The fit has adapted the parameters to the main and the auxiliary data. With R the
    derivatives of the residuals with respect to every measurement, in which the
    estimates follow the measurements by
    :math:`-C\,\partial^2(-\ln L)/\partial\theta\,\partial d`, and with V the variances
    of the measurements, the covariance of the residuals is :math:`R V R^\mathsf T`. It
    is never negative. A combination of values that the fit always reproduces has no
    variance, and counts neither in the sum nor as a degree of freedom.

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
        observation: The fitted data; None for the Model's own.
        covariance: For fits without a Hessian, as in `postfit`: its zeros show which
            parameters are held. Other fits know that.
        throw: As in `postfit`.

    Returns:
        `everwillow.goodness.GoodnessResult`, NaN if the fit has no covariance or a
        value is NaN; the p-value is NaN also if no residual fluctuates, as in a fit
        with a parameter for each bin.

    Raises:
        ArgumentValueError: If the mapping has no data.
    """
    check_has_data(mapping, model.layout)
    where = postfit_point(model, result, covariance, throw=throw)
    observation = model.observation if observation is None else observation
    count = degrees_of_freedom(mapping, model.layout)
    args = (where.covariance, mapping, model.layout, float(count))
    return evaluate_at(_compare_fit, model, where.point, observation, *args)[0]


def _compare_fit(
    task: Task,
    numbers: Numbers,
    known: Array,
    mapping: AbstractHistogramMapping,
    layout: Layout,
    count: Any,
) -> GoodnessResult:
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
        return ravel_pytree(mapped_data(mapping, layout, counts, params))[0]

    def residuals(x, data):
        seen, there = unravel(data), task.params(numbers, x)
        expected = mapping(there, model.predicted(there, seen))
        return measured(seen["main"]["counts"]) - ravel_pytree(expected)[0]

    def slope(data, move):
        nll = lambda v: model.nll(task.params(numbers, v), unravel(data))
        return jax.jvp(nll, (x,), (move,))[1]

    def spread(row):
        return ravel_pytree(jax.tree.map(_times, variance, unravel(row)))[0]

    external = lambda v: model.diagnostics.external(task.params(numbers, v))
    _, pullback = jax.vjp(residuals, x, data)
    _, seen = jax.vjp(measured, predicted["main"]["counts"])
    largest = jnp.max(jnp.abs(variance["main"]["counts"]), initial=0)

    def row(unit):
        by_x, by_data = pullback(unit)
        # The estimates follow the data by minus the covariance times the slopes.
        move = covariance @ by_x
        answered = by_data - jax.grad(slope)(data, move)
        # External likelihoods are measurements of the parameters themselves.
        bent = jax.jvp(jax.grad(external), (x,), (move,))[1]
        alone = jnp.vdot(by_data, spread(by_data))
        # In an empty bin that the simulated samples hold at 0 only rounding is left.
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


def _chi2(away: Array, matrix: Array, alone: Array, count: Any) -> GoodnessResult:
    """Return the chi2 of residuals.

    Args:
        away: The residuals.
        matrix: Their covariance.
        alone: The variances that they would have if the estimates did not follow the
            data. Residuals are compared with these, as rounding relative to their own
            variance would look like any other residual.
        count: The most degrees of freedom that there can be.
    """
    # An eigenvalue that is NaN is not regular, so a fit that failed would look perfect.
    known = jnp.isfinite(jnp.sum(matrix) + jnp.sum(alone))
    some = alone > 0
    width = jnp.where(some, jnp.sqrt(jnp.where(some, alone, 1)), 1)
    matrix = jnp.where(some[:, None] & some[None, :] & known, matrix, 0)
    matrix = matrix / width[:, None] / width[None, :]
    form = inverse_quadratic_form(away / width, matrix)
    count = jnp.minimum(jnp.sum(form.regular).astype(away.dtype), count)
    return chi2_result(*(jnp.where(known, v, jnp.nan) for v in (form.value, count)))


__all__ = ["MappingChi2", "Relation", "mapping_chi2", "residual_chi2"]
