"""chi2 tests with covariance matrices that may be singular."""

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow._numerics import is_traced, namespace
from everwillow.engine import programs
from everwillow.engine.core import Task
from everwillow.engine.problem import Numbers
from everwillow.fitting import FitResult
from everwillow.goodness._yields import check, variance_arrays, yields
from everwillow.goodness.pvalues import GoodnessResult, with_pvalue
from everwillow.model import AbstractModel
from everwillow.uncertainty import covariance_matrix
from everwillow.uncertainty.evaluation_point import evaluate_at, on_host
from everwillow.uncertainty.fisher_information import likelihood_at


Relation: TypeAlias = Literal["fitted", "independent"]

# Eigenvalues of a scaled covariance below this are zero up to rounding: the residuals
# do not fluctuate in their directions.
SINGULAR = 1e-9
# Tolerated fraction of the squared residuals in directions without fluctuations, if the
# model profiles parameters, so that its residuals are not exactly linear.
NONLINEAR = 1e-2


def chi2_test(
    residuals: Float[Array, " n"],
    covariance: Float[Array, "n n"] | Float[Array, " n"],
    *,
    ndof: float | None = None,
) -> GoodnessResult:
    r"""Test whether residuals agree with their covariance.

    The statistic is :math:`r^\mathsf T V^{-1} r`. If V is singular, as for shapes of
    unit area or for residuals of a fit, directions without fluctuations are left out
    and do not count as degrees of freedom. A residual with a component in such a
    direction is impossible; the statistic is infinite then.

    Args:
        residuals: Differences of data and prediction, shape ``(n,)``.
        covariance: The covariance of the residuals, shape ``(n, n)``, or their
            variances, shape ``(n,)``.
        ndof: Degrees of freedom; by default the rank of the covariance.

    Raises:
        ShapeMismatchError: If the shapes do not fit.

    Example:
        >>> chi2_test(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        GoodnessResult(statistic=2, ndof=2, pvalue=0.3679)
    """
    shape = np.shape(residuals)
    if len(shape) != 1 or np.shape(covariance) not in (shape, shape * 2):
        raise ShapeMismatchError(
            f"covariance: residuals of shape {shape} need a covariance of shape (n, n) "
            f"or variances of shape (n,), got {np.shape(covariance)}."
        )
    statistic, rank = on_host(programs.call(_chi2, residuals, covariance))
    return with_pvalue(statistic, rank if ndof is None else ndof)


def _chi2(residuals: Any, covariance: Any) -> tuple[Array, Array]:
    residuals = jnp.asarray(residuals, float)
    covariance = jnp.asarray(covariance, float)
    if covariance.ndim == 1:
        covariance = jnp.diag(covariance)
    return _chi2_and_rank(residuals, covariance)


class QuadraticForm(NamedTuple):
    """A quadratic form with the pseudo-inverse of a matrix.

    Attributes:
        value: The quadratic form.
        eigenvalues: All eigenvalues of the matrix, ascending.
        components: The components of the vector along the eigenvectors.
        regular: Which eigenvalues are above the threshold, and used.
    """

    value: Any
    eigenvalues: Any
    components: Any
    regular: Any


def inverse_quadratic_form(
    vector: Any, matrix: Any, *, threshold: float = SINGULAR, relative: bool = False
) -> QuadraticForm:
    r"""Return :math:`v^\mathsf T M^+ v`, with the pseudo-inverse of a symmetric matrix.

    Every chi2 with a covariance that may be singular is computed here, with JAX if an
    argument is traced, and with NumPy otherwise.

    Args:
        vector: v, shape ``(n,)``.
        matrix: M, shape ``(n, n)``.
        threshold: Eigenvalues that are not above it are left out.
        relative: Whether the threshold is in units of the largest eigenvalue.
    """
    xp = namespace(vector, matrix)
    eigenvalues, eigenvectors = xp.linalg.eigh(matrix)
    components = eigenvectors.T @ vector
    regular = eigenvalues > (threshold * eigenvalues[-1] if relative else threshold)
    safe = xp.where(regular, eigenvalues, 1)
    value = xp.sum(xp.where(regular, components**2 / safe, 0))
    return QuadraticForm(value, eigenvalues, components, regular)


def _chi2_and_rank(
    residuals: Array, covariance: Array, share: float = SINGULAR
) -> tuple[Array, Array]:
    """Return the statistic and the rank of the covariance.

    Args:
        residuals: Differences of data and prediction.
        covariance: The covariance of the residuals.
        share: Tolerated fraction of the squared residuals in directions without
            fluctuations.
    """
    variance = jnp.diagonal(covariance)
    moving = variance > 0
    scale = jnp.where(moving, 1 / jnp.sqrt(jnp.where(moving, variance, 1)), 0)
    bad = ~(jnp.all(jnp.isfinite(covariance)) & jnp.all(variance >= 0))
    scaled = jnp.where(bad, 0.0, covariance * scale[:, None] * scale[None, :])
    # Residuals of data without variance keep their scale.
    pulls = residuals * jnp.where(moving, scale, 1)
    form = inverse_quadratic_form(pulls, 0.5 * (scaled + scaled.T))
    outside = jnp.sum(jnp.where(form.regular, 0, form.components**2))
    impossible = outside > share * jnp.sum(pulls**2)
    total = jnp.where(impossible, jnp.inf, form.value)
    negative = jnp.any(form.eigenvalues < -SINGULAR)
    return jnp.where(bad | negative, jnp.nan, total), jnp.sum(form.regular)


def yield_chi2(
    model: AbstractModel,
    result: FitResult,
    observation: Any = None,
    *,
    data_variance: Any = "model",
    relation: Relation = "fitted",
    ndof: float | None = None,
) -> GoodnessResult:
    r"""Test data against expected yields, with the covariances of both.

    With the covariances V of the data and :math:`J C J^\mathsf T` of the expected
    yields, the residuals have the covariance

    - :math:`V + J C J^\mathsf T` if the data are *independent* of the fit, with C the
      covariance of the fit;
    - :math:`V - J C J^\mathsf T` if they are the *fitted* data, since the prediction
      follows them; C is then the expected covariance, with the same V. The rank of this
      matrix is the number of bins less the number of unconstrained parameters, and the
      statistic contains the pulls of the constraints. In a linear Gaussian model it
      equals the statistic of `saturated_test`.

    Args:
        model: The Model.
        result: Its best fit.
        observation: The data; None for the data of the Model.
        data_variance: As in `saturated_test`; ``"poisson"`` means the expected yields.
            ``"model"`` adds the variance of simulated samples if the Model has any.
        relation: ``"fitted"`` or ``"independent"``.
        ndof: Degrees of freedom; by default the rank of the covariance.

    Raises:
        ArgumentTypeError: If `model` is not a Model.

    Example:
        >>> import everwillow as ew
        >>> expected = lambda p: p["rate"] * jnp.ones(3)
        >>> nll = lambda p, n: jnp.sum(expected(p) - n * jnp.log(expected(p)))
        >>> counts = np.array([9.0, 12.0, 15.0])
        >>> model = ew.Model(nll, {"rate": 10.0}, counts, expected=expected)
        >>> yield_chi2(model, ew.fit(model))
        GoodnessResult(statistic=1.5, ndof=2, pvalue=0.4724)
    """
    check(model, result, data_variance)
    if relation not in get_args(Relation):
        raise ArgumentValueError(
            f"relation: expected 'fitted' or 'independent', got {relation!r}."
        )
    covariance = covariance_for(model, result, observation, fitted=relation == "fitted")
    _, observation, point = likelihood_at(model, result, observation, None)
    sign = -1.0 if relation == "fitted" else 1.0
    data_variance = variance_arrays(data_variance, observation)
    args = (model, point, observation, data_variance, covariance, np.asarray(sign))
    statistic, rank = evaluate_at(_yield_chi2, *args)[0]
    return with_pvalue(statistic, rank if ndof is None else ndof)


def covariance_for(
    model: AbstractModel, result: FitResult, observation: Any, *, fitted: bool
) -> Any:
    """Return the expected covariance for fitted data, else that of the fit."""
    kind = "fisher" if fitted else "hessian"
    throw = not is_traced(result.success)
    return covariance_matrix(model, result, observation, kind=kind, throw=throw)


def _yield_chi2(
    task: Task, numbers: Numbers, data_variance: Any, covariance: Array, sign: Array
) -> tuple[Array, Array]:
    both, jacobian = yields(task, numbers, task.start(numbers), data_variance)
    variance = both.variance
    matrix = variance if variance.ndim == 2 else jnp.diag(variance)
    spread = matrix + sign * (jacobian @ covariance @ jacobian.T)
    # The statistical errors of samples make the fit slightly nonlinear.
    of_model = isinstance(data_variance, str) and data_variance == "model"
    profiled = of_model and getattr(task.objective, "diagnostics", None) is not None
    share = NONLINEAR if profiled else SINGULAR
    return _chi2_and_rank(both.data - both.expected, spread, share)


__all__ = ["Relation", "chi2_test", "yield_chi2"]
