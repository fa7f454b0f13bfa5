"""chi2 tests of mappings: of values against data, and of the residuals of a fit."""

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
from everwillow._numerics import namespace
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.covariance import covariance_of
from everwillow.engine.layout import as_arrays, on_host
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


# The former name of the record, which older files and code contain.
MappingChi2 = GoodnessResult


def mapping_chi2(
    mapping: MappingResult,
    data: PyTree,
    variance: PyTree,
    *,
    relation: Relation = "independent",
    ndof: float | None = None,
) -> GoodnessResult:
    r"""Test the values of a mapping against data, with the covariances of both.

    With the covariances V of the data and :math:`F F^\mathsf T` of the values, the
    residuals have the covariance :math:`V + F F^\mathsf T` if the data are
    *independent* of the fit, or if there is no fit. If they are the *fitted* data, or
    sums of them, it is :math:`V - F F^\mathsf T`, since the values follow the data. The
    matrix is inverted in the space of the parameters (Woodbury's formula), so
    thousands of values cost little.

    For fitted data, F has to come from the expected covariance of the parameters:
    ``postfit(..., covariance=covariance_matrix(model, result, kind="fisher"))``. The
    covariance of the fit differs from it by fluctuations of the data, so that
    :math:`V - F F^\mathsf T` may have negative eigenvalues.

    Args:
        mapping: The values, from `prefit` or `postfit` with ``factor=True``.
        data: The data, in the structure of the values.
        variance: Variances of the data in the same structure, or the covariance of all
            of them, ravelled, shape ``(n, n)``.
        relation: ``"independent"`` or ``"fitted"``.
        ndof: Degrees of freedom; by default the number of values, for fitted data less
            the number of directions that the data alone determine.

    Returns:
        `everwillow.goodness.GoodnessResult`; NaN if the covariance of the residuals has
        a negative eigenvalue.

    Raises:
        ArgumentValueError: If the mapping has no factor.
        ShapeMismatchError: If the shape of `data` or `variance` does not fit.

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
    ndof_array = None if ndof is None else np.asarray(float(ndof))
    args = (residuals, variance, factor, relation, ndof_array)
    return on_host(programs.call(_compare_values, *args))


def _difference(data: Any, value: Any) -> Any:
    if np.shape(data) != np.shape(value):
        raise ShapeMismatchError(
            f"data: shape {np.shape(data)} for values of shape {np.shape(value)}."
        )
    xp = namespace(data, value)
    return xp.asarray(data, float) - value


def _compare_values(
    residuals: Any, variance: Any, factor: Array, relation: str, ndof: Any
) -> GoodnessResult:
    flat, _ = ravel_pytree(residuals)
    whitened, factor = _whitened(flat, variance, jnp.asarray(factor))
    inner = factor.T @ factor
    along = factor.T @ whitened
    eye = jnp.eye(inner.shape[0], dtype=inner.dtype)
    if relation == "independent":
        half = jnp.linalg.cholesky(eye + inner)
        gain = jsp.linalg.solve_triangular(half, along, lower=True)
        statistic = jnp.vdot(whitened, whitened) - jnp.vdot(gain, gain)
        count = jnp.asarray(flat.size, flat.dtype)
    else:
        form = inverse_quadratic_form(along, eye - inner)
        statistic = jnp.vdot(whitened, whitened) + form.value
        # Not "none is negative", which is true if they are NaN.
        positive = jnp.all(form.eigenvalues >= -SINGULAR)
        statistic = jnp.where(positive, statistic, jnp.nan)
        count = flat.size - jnp.sum(~form.regular).astype(flat.dtype)
    return chi2_result(statistic, count if ndof is None else ndof)


def _whitened(residuals: Array, variance: Any, factor: Array) -> tuple[Array, Array]:
    """Divide residuals and factor by the square root of the covariance of the data."""
    size = residuals.shape[0]
    if eqx.is_array(variance) and variance.shape == (size, size) and size > 1:
        half = jnp.linalg.cholesky(jnp.asarray(variance, float))
        both = jnp.concatenate([residuals[:, None], factor], axis=1)
        both = jsp.linalg.solve_triangular(half, both, lower=True)
        return both[:, 0], both[:, 1:]
    flat, _ = ravel_pytree(jax.tree.map(lambda v: jnp.asarray(v, float), variance))
    if flat.shape != residuals.shape:
        raise ShapeMismatchError(
            f"variance: {flat.size} variances for {size} values. Give one for each, or "
            f"a matrix of shape ({size}, {size})."
        )
    width = jnp.sqrt(flat)
    return residuals / width, factor / width[:, None]


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
    r"""Test a mapping of the fitted data against the same mapping of the fit.

    The estimates depend on the main and the auxiliary data by the derivatives
    :math:`-C\,\partial^2(-\ln L)/\partial\theta\,\partial d`. With R the derivatives of
    the residuals with respect to all measurements, estimates included, and V the
    variances of the measurements, the covariance of the residuals is
    :math:`R V R^\mathsf T`. It has no negative eigenvalues. A combination of values
    that the fit always reproduces has no variance: it contributes neither to the sum
    nor to the degrees of freedom.

    R and V are evaluated at the measurements that the fit predicts. The residuals
    satisfy :math:`J^\mathsf T V^{-1} r = 0` with the J and V of the prediction, so only
    there is their variance exactly zero along every parameter that data alone
    determine. At the measured values it would be of the order of the squared relative
    residuals, and the sum would be divided by such small numbers. For all bins the sum
    is Pearson's chi2 with the expected variances plus the squared pulls of all
    auxiliary measurements, with the degrees of freedom of
    `everwillow.goodness.saturated_test`; with exact templates it equals `mapping_chi2`
    with ``relation="fitted"``.

    Args:
        mapping: A mapping that has data (`everwillow.mappings.with_data`).
        model: A `everwillow.models.templates.TemplateModel`.
        result: Its best fit.
        observation: The fitted data; None for the data of the Model.
        covariance: The covariance of the free parameters, for fits without a Hessian,
            as in `postfit`; a zero variance marks a parameter held at a bound.
        throw: As in `postfit`.

    Returns:
        `everwillow.goodness.GoodnessResult`; NaN if the fit has no covariance or a
        value is NaN. The p-value is NaN, too, if no residual fluctuates, as in a fit
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
    # The Hessian of the model belongs to all its parameters.
    hessian = jnp.take(jnp.take(hessian, numbers.index, 0), numbers.index, 1)
    covariance = covariance_of(hessian, jnp.diagonal(known) == 0)
    # A failed fit has no covariance.
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
        # The derivatives of the estimates: minus covariance times mixed derivatives.
        move = covariance @ by_x
        answered = by_data - jax.grad(slope)(data, move)
        # External likelihoods measure the parameters directly.
        bent = jax.jvp(jax.grad(external), (x,), (move,))[1]
        alone = jnp.vdot(by_data, spread(by_data))
        # An empty bin that the simulated samples fix at 0 has a variance from rounding.
        rounding = ROUNDING * largest * jnp.sum(seen(unit)[0] ** 2)
        alone = jnp.where(alone <= rounding, 0, alone)
        return answered, spread(answered), move, bent, alone

    residuals_vector = residuals(x, ravel_pytree(numbers.observation)[0])
    basis = jnp.eye(residuals_vector.shape[0])
    rows, spreads, moves, bends, alone = jax.lax.map(row, basis, batch_size=AT_ONCE)
    return _chi2(residuals_vector, spreads @ rows.T + bends @ moves.T, alone, count)


def _times(variance: Array, row: Array) -> Array:
    """Multiply by variances, or by the covariance of a vector."""
    return variance @ row if variance.ndim > row.ndim else variance * row


def _chi2(residuals: Array, matrix: Array, alone: Array, count: Any) -> GoodnessResult:
    """Return the chi2 of residuals.

    Args:
        residuals: The residuals.
        matrix: Their covariance.
        alone: Their variances at fixed estimates. Residuals are measured in units of
            their roots: relative to their own tiny variance, rounding would look like
            a real residual.
        count: The upper limit of the degrees of freedom.
    """
    # A NaN eigenvalue does not count as regular: a failed fit would seem perfect.
    known = jnp.isfinite(jnp.sum(matrix) + jnp.sum(alone))
    some = alone > 0
    width = jnp.where(some, jnp.sqrt(jnp.where(some, alone, 1)), 1)
    matrix = jnp.where(some[:, None] & some[None, :] & known, matrix, 0)
    matrix = matrix / width[:, None] / width[None, :]
    form = inverse_quadratic_form(residuals / width, matrix)
    count = jnp.minimum(jnp.sum(form.regular).astype(residuals.dtype), count)
    return chi2_result(*(jnp.where(known, v, jnp.nan) for v in (form.value, count)))


__all__ = ["MappingChi2", "Relation", "mapping_chi2", "residual_chi2"]
