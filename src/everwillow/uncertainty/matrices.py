"""Hessian, covariance, correlations and errors of the parameters of a likelihood."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Array, Float

from everwillow._numerics import namespace
from everwillow._typing import Key, Nll
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel
from everwillow.statelib import State
from everwillow.statelib.state import Parameters
from everwillow.uncertainty.evaluation_point import locate
from everwillow.uncertainty.fisher_information import (
    Kind,
    covariance_at,
    likelihood_at,
    observed,
)


def hessian_matrix(
    nll_fn: Nll | AbstractModel,
    params: Parameters | FitResult,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
) -> Float[Array, "free free"]:
    r"""Return the second derivatives of -ln L in the free parameters.

    This is :math:`H_{ij} = \partial_i \partial_j (-\ln L)`, the observed information:
    there is no factor 2. Rows follow the State, array leaves ravelled; `labels` names
    them. Parameters at a bound have their rows like all others.

    Args:
        nll_fn: ``nll_fn(params, observation)`` returning -ln L, or a Model.
        params: The point: a State, or a FitResult. The Hessian of a FitResult is
            returned as it is if `fixed` is that of the fit; `nll_fn` and `observation`
            are not used then. Pass ``result.params`` to evaluate it with other data.
        observation: Second argument of `nll_fn`; None for the data of a Model.
        fixed: Parameters that are not free, as in `fit`. None with a FitResult means
            "as in that fit".

    Returns:
        The matrix, shape ``(free, free)``; in NumPy outside of JAX transformations.

    Raises:
        ArgumentTypeError: If `params` is neither a State nor a FitResult.
        UnknownKeyError: If `fixed` names a parameter that does not exist.

    Example:
        >>> import everwillow as ew
        >>> state = ew.State.from_pytree({"mu": 3.0})
        >>> nll = lambda params, data: 0.5 * ((params["mu"] - data) / 0.5) ** 2
        >>> hessian_matrix(nll, state, 2.0)
        array([[4.]])
    """
    return observed(likelihood_at(nll_fn, params, observation, fixed))


def covariance_matrix(
    nll_fn: Nll | AbstractModel,
    params: Parameters | FitResult,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    kind: Kind = "hessian",
    throw: bool = True,
) -> Float[Array, "free free"]:
    r"""Return the covariance of the free parameters.

    With ``kind="hessian"`` it is the inverse of `hessian_matrix`. With
    ``kind="fisher"`` it is the inverse of the information that is expected for data
    with the distribution of the model at `params`,
    :math:`I_{ij} = \mathrm E[\partial_i \partial_j (-\ln L)]`:

    - For a Model, its Hessian on its Asimov data at `params`. Where the data enter
      -ln L linearly (up to terms without parameters), the second derivatives are
      linear in them too, and their mean is their value at the mean of the data. So
      this is exact for Poisson counts and for Gaussian measurements whose widths do
      not depend on parameters, constraints included; not for parameter-dependent
      Gaussian widths. The result is :math:`J^\mathsf T W J` with the derivatives J of
      the expected data and W the inverse of their variances.
    - For `LeastSquares`, and any objective whose ``curvature`` has a `gauss_newton`,
      that matrix.

    Args:
        nll_fn: As in `hessian_matrix`.
        params: As in `hessian_matrix`. With a FitResult, parameters that ended at a
            bound are held there: their rows and columns are zero, and the others have
            the covariance of a fit with those held.
        observation: As in `hessian_matrix`; not used for the expected information of a
            Model.
        fixed: As in `hessian_matrix`.
        kind: ``"hessian"`` or ``"fisher"``.
        throw: Whether to raise an error if there is no covariance. If False, and always
            inside JAX transformations, the matrix is all NaN then.

    Returns:
        The covariance, shape ``(free, free)``.

    Raises:
        NotPositiveDefiniteError: If the second derivatives are not positive definite,
            with the names of the parameters concerned.
        NonFiniteError: If they are not finite.
        FitError: If `params` is a FitResult without success.
        ArgumentTypeError: If there is no expected information for this `nll_fn`.

    Example:
        >>> import everwillow as ew
        >>> state = ew.State.from_pytree({"mu": 3.0})
        >>> nll = lambda params, data: 0.5 * ((params["mu"] - data) / 0.5) ** 2
        >>> covariance_matrix(nll, state, 2.0)
        array([[0.25]])
    """
    likelihood = likelihood_at(nll_fn, params, observation, fixed)
    return covariance_at(likelihood, kind=kind, throw=throw)


def correlation_matrix(
    nll_fn: Nll | AbstractModel,
    params: Parameters | FitResult,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    kind: Kind = "hessian",
    throw: bool = True,
) -> Float[Array, "free free"]:
    """Return the correlation coefficients of the free parameters.

    Arguments and errors are those of `covariance_matrix`.

    Returns:
        The matrix, shape ``(free, free)``, with ones on its diagonal; NaN in the rows
        and columns of parameters that are held at a bound.

    Example:
        >>> import everwillow as ew
        >>> state = ew.State.from_pytree({"a": 0.0, "b": 0.0})
        >>> def nll(p, data):
        ...     return 0.5 * ((p["a"] + p["b"]) ** 2 + 3 * p["b"] ** 2)
        >>> correlation_matrix(nll, state).round(3)
        array([[ 1. , -0.5],
               [-0.5,  1. ]])
    """
    likelihood = likelihood_at(nll_fn, params, observation, fixed)
    covariance = covariance_at(likelihood, kind=kind, throw=throw)
    xp = namespace(covariance)
    errors = errors_of(covariance)
    correlation = covariance / errors[..., :, None] / errors[..., None, :]
    diagonal = xp.eye(covariance.shape[-1], dtype=bool)
    # Set the diagonal, which rounding moves away from 1; NaN stays NaN.
    ones = xp.where(xp.isnan(correlation), correlation, 1)
    return xp.where(diagonal, ones, correlation)


def uncertainties(
    nll_fn: Nll | AbstractModel,
    params: Parameters | FitResult,
    observation: Any = None,
    *,
    fixed: Mapping[Key, Any] | None = None,
    kind: Kind = "hessian",
    throw: bool = True,
) -> State:
    """Return the standard error of each parameter, in the structure of the State.

    Arguments and errors are those of `covariance_matrix`. An error is the square root
    of a diagonal element of the covariance. Where -ln L is parabolic, its minimum over
    all other parameters rises by ½ over that distance.

    Returns:
        A State with an array like the value for each free parameter and None for each
        fixed one. The value is NaN for a parameter that a FitResult holds at a bound,
        whose error is one-sided (``result.bound_errors``). All are NaN if there is no
        covariance.

    Example:
        >>> import everwillow as ew
        >>> state = ew.State.from_pytree({"mu": 3.0, "nu": 1.0})
        >>> nll = lambda p, data: 0.5 * ((p["mu"] * p["nu"] - data) / 0.5) ** 2
        >>> uncertainties(nll, state, 2.0, fixed={"nu": 1.0})
        State(mu=0.5, nu=None)
    """
    likelihood = likelihood_at(nll_fn, params, observation, fixed)
    covariance = covariance_at(likelihood, kind=kind, throw=throw)
    point = likelihood.point
    return point.layout.named(errors_of(covariance), tuple(point.free.tolist()))


def labels(
    params: Parameters | FitResult, fixed: Mapping[Key, Any] | None = None
) -> tuple[str, ...]:
    """Return the names of the rows: ``"mu"``, or ``"gamma[3]"`` for array elements.

    Args:
        params: As in `hessian_matrix`.
        fixed: As in `hessian_matrix`.

    Example:
        >>> import everwillow as ew
        >>> import numpy as np
        >>> labels(ew.State.from_pytree({"gamma": np.ones(2), "mu": 1.0}))
        ('gamma[0]', 'gamma[1]', 'mu')
    """
    return locate(params, fixed).labels


def errors_of(covariance: Any) -> Any:
    """Return standard errors: NaN where a variance is NaN or not positive."""
    xp = namespace(covariance)
    variance = xp.diagonal(covariance, axis1=-2, axis2=-1)
    positive = variance > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, variance, 1)), xp.nan)


__all__ = [
    "correlation_matrix",
    "covariance_matrix",
    "hessian_matrix",
    "labels",
    "uncertainties",
]
