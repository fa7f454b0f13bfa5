"""Inverses of Hessians, and errors that explain why there is none."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from everwillow._errors import (
    RESULTS,
    FitError,
    NonFiniteError,
    NotPositiveDefiniteError,
)
from everwillow._numerics import is_traced
from everwillow.engine.covariance import covariance_of, flat_level, involved
from everwillow.uncertainty.evaluation_point import Point


def checked_inverse(matrix: Any, point: Point, *, throw: bool) -> Any:
    """Invert the second derivatives of -ln L at a point.

    Args:
        matrix: The second derivatives, shape ``(..., free, free)``.
        point: The point; parameters held at a bound get rows and columns of zeros.
        throw: Whether to raise an error, outside of a trace, without a covariance.

    Returns:
        The covariance: all NaN where the matrix is not positive definite, or where
        the fit that ended at the point did not end at a minimum.
    """
    if matrix.shape[-1] == 0:
        return matrix
    covariance = covariance_of(matrix, point.held)
    success = True if point.result is None else point.result.success
    if is_traced(covariance, success):
        good = jnp.asarray(success)[..., None, None]
        return jnp.where(good, covariance, jnp.nan)
    definite = ~np.isnan(covariance).any(axis=(-1, -2))
    good = definite & np.asarray(success)
    if throw and not np.all(good):
        _raise(np.asarray(matrix), point, definite, good)
    return np.where(good[..., None, None], covariance, np.nan)


def _raise(matrix: np.ndarray, point: Point, definite: Any, good: Any) -> None:
    """Raise the error that names the parameters which prevent an inverse."""
    which = "The Hessian of -ln L"
    if np.ndim(good):
        lanes = np.argwhere(~good)
        lane = tuple(lanes[0])
        number = ", ".join(map(str, lane))
        which = f"{len(lanes)} of {good.size} fits have no covariance. In fit {number}"
        if definite[lane]:
            raise FitError(
                f"{which} no minimum was found. {_HINT_NAN}", result=point.result
            )
        which += " the Hessian of -ln L"
        matrix, held = matrix[lane], np.asarray(point.held)[lane]
    else:
        held = np.asarray(point.held)
        if definite:
            _raise_failed(point)
    if not np.isfinite(matrix).all():
        names = ", ".join(_nonfinite_labels(matrix, point.labels))
        raise NonFiniteError(f"{which} is not finite in {names}. {_HINT_NAN}")
    negative, flat = directions(matrix, held, point.labels)
    parts, advice = [], []
    if negative:
        parts.append(f"-ln L curves downwards in a direction of {', '.join(negative)}")
        advice.append("this is no minimum, so fit again from another start")
    if flat:
        parts.append(f"-ln L is flat in a direction of {', '.join(flat)}")
        advice.append("fix one of the parameters of a flat direction or constrain it")
    raise NotPositiveDefiniteError(
        f"{which} is not positive definite, so it gives no errors: "
        f"{'; '.join(parts)}. To mend it, {'; '.join(advice)}. {_HINT_NAN}"
    )


_HINT_NAN = "With throw=False the errors are NaN instead."


def _raise_failed(point: Point) -> None:
    """Raise the error for a fit that did not end at a minimum."""
    result = point.result
    assert result is not None
    text = result.message()
    if bool(np.all(np.asarray(result.status == RESULTS.flat_direction))):
        raise NotPositiveDefiniteError(f"There is no covariance. {text} {_HINT_NAN}")
    raise FitError(
        f"The fit found no minimum, so there are no errors. {text} {_HINT_NAN} To look "
        "at the Hessian at its end point all the same, pass result.params.",
        result=result,
    )


def directions(
    matrix: np.ndarray, held: np.ndarray, labels: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Name the parameters in directions of negative and of vanishing curvature.

    Args:
        matrix: Second derivatives, finite, shape ``(n, n)``.
        held: Which parameters are left out, shape ``(n,)``.
        labels: The names of the rows.
    """
    size = np.abs(np.diagonal(matrix))
    # Unlike for a covariance, negative diagonal elements are scaled to -1.
    scale = 1 / np.sqrt(np.where(held | (size == 0), 1, size))
    both = ~held[:, None] & ~held[None, :]
    scaled = np.where(both, scale[:, None] * matrix * scale, np.eye(len(labels)))
    values, vectors = np.linalg.eigh(0.5 * (scaled + scaled.T))
    level = flat_level(len(labels), matrix.dtype)
    return (
        involved(vectors[:, values < -level], labels),
        involved(vectors[:, np.abs(values) <= level], labels),
    )


def _nonfinite_labels(matrix: np.ndarray, labels: tuple[str, ...]) -> list[str]:
    bad = ~np.isfinite(np.diagonal(matrix))
    if not bad.any():
        bad = ~np.isfinite(matrix).all(axis=1)
    return [labels[i] for i in np.nonzero(bad)[0]]
