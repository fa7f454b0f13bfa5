"""Joint constraints on the host: checks that name parameters, and the factor."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# (the signatures of jax are not fully known to it)

from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NotPositiveDefiniteError,
)
from everwillow._typing import Key
from everwillow.parameters.base import array_module


def checked_keys(keys: Any) -> tuple[Key, ...]:
    """Return the keys as a tuple, or say which of them cannot be."""
    if isinstance(keys, str):
        raise ArgumentTypeError(
            f"MultivariateNormal: keys must be a sequence of keys, got {keys!r}; for "
            "one parameter use Normal."
        )
    keys = tuple(keys)
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice or not keys:
        problem = f"{', '.join(map(repr, twice))} twice" if twice else "none"
        message = f"MultivariateNormal: each key must appear once, got {problem}."
        error = KeyCollisionError if twice else ArgumentValueError
        raise error(message)
    return keys


def checked_covariance(covariance: Any, keys: tuple[Key, ...]) -> Any:
    """Return the matrix, exactly symmetric, or say in which direction it fails."""
    variances = np.diagonal(covariance)
    if not np.all(variances > 0):
        bad = [repr(key) for key, v in zip(keys, variances, strict=True) if not v > 0]
        raise NotPositiveDefiniteError(
            "MultivariateNormal: the covariance is not positive definite: the variance "
            f"of {', '.join(bad)} is not positive."
        )
    # Judged as a correlation matrix: parameters may have very different sizes.
    widths = np.sqrt(variances)
    correlation = covariance / widths[:, None] / widths
    asymmetry = np.abs(correlation - correlation.T)
    if np.max(asymmetry) > np.sqrt(np.finfo(float).eps):
        row, column = np.unravel_index(np.argmax(asymmetry), asymmetry.shape)
        raise ArgumentValueError(
            "MultivariateNormal: the covariance must be symmetric, and its elements "
            f"({keys[row]!r}, {keys[column]!r}) are {covariance[row, column]} and "
            f"{covariance[column, row]}."
        )
    correlation = 0.5 * (correlation + correlation.T)
    eigenvalues, eigenvectors = np.linalg.eigh(correlation)
    rounding = len(keys) * np.finfo(float).eps * eigenvalues[-1]
    if eigenvalues[0] <= rounding:
        direction = _named_direction(eigenvectors[:, 0], keys)
        raise NotPositiveDefiniteError(
            "MultivariateNormal: the covariance is not positive definite: its "
            f"correlation matrix has the eigenvalue {eigenvalues[0]:.3g} in the "
            f"direction {direction}. Correlations of 100 % mean one parameter: share "
            "it instead."
        )
    matrix = 0.5 * (covariance + covariance.T)
    matrix.setflags(write=False)
    return matrix


def _named_direction(vector: Any, keys: tuple[Key, ...]) -> str:
    """Return the large components of a direction as text, the largest first."""
    order = np.argsort(-np.abs(vector), kind="stable")[:8]
    vector = vector * np.sign(vector[order[0]])
    large = [i for i in order if abs(vector[i]) > 0.1 * vector[order[0]]]
    return " ".join(f"{vector[i]:+.2f} {keys[i]!r}" for i in large)


def factor(covariance: Any) -> tuple[Any, Any]:
    """Return ``W`` with ``W.T @ W`` the inverse of a covariance, and its log-det."""
    xp = array_module(covariance)
    widths = xp.sqrt(xp.diagonal(covariance))
    # Through the correlations, so that unequal sizes of parameters cost no digits.
    lower = xp.linalg.cholesky(covariance / widths[:, None] / widths[None, :])
    whitener = xp.tril(xp.linalg.solve(lower, xp.diag(1.0 / widths)))
    log_det = 2.0 * xp.sum(xp.log(xp.diagonal(lower)) + xp.log(widths))
    return whitener, log_det
