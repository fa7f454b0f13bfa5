"""The covariance of yields, as shifts that bins share and a rest for each bin."""

from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NonFiniteError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
)


# Eigenvalues below this part of the largest are the rounding of a covariance.
ROUNDING = 1e-12


def checked_numbers(
    yields: Any, covariance: Any, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return yields and their covariance as arrays.

    Raises:
        ShapeMismatchError: If there are not as many as bins.
        NonFiniteError: If some are not finite.
        ArgumentValueError: If a yield is negative, or the matrix is not symmetric.
    """
    counts, matrix = np.asarray(yields, float), np.asarray(covariance, float)
    if counts.shape != (size,) or matrix.shape != (size, size):
        raise ShapeMismatchError(
            f"the workspace has {size} bins, and yields of shape {counts.shape} and a "
            f"covariance of shape {matrix.shape} were given."
        )
    if not (np.isfinite(counts).all() and np.isfinite(matrix).all()):
        raise NonFiniteError(
            "yields, covariance: expected finite numbers; was the fit successful?"
        )
    if (counts < 0).any():
        bin_ = int(np.argmax(counts < 0))
        raise ArgumentValueError(
            f"yields[{bin_}]: expected no negative yield, got {counts[bin_]}."
        )
    if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max()):
        raise ArgumentValueError("covariance: expected a symmetric matrix.")
    return counts, (matrix + matrix.T) / 2


def principal_shifts(
    counts: np.ndarray, matrix: np.ndarray, components: Any
) -> tuple[np.ndarray, np.ndarray, float]:
    r"""Split a covariance, :math:`C = \sum_k c_k c_k^\mathsf T + \text{diag}(r)`.

    Args:
        counts: The yields b, shape ``(bins,)``.
        matrix: Their covariance C.
        components: How many principal components of :math:`C_{ij} / \sqrt{b_i b_j}`
            (b at least 1): a number, or a part of the variance as a float. None for
            the standard deviations of all bins as the only shift.

    Returns:
        The shifts :math:`c_k`, shape ``(components, bins)``; the rest r of the
        variance of each bin; and the part of the variance that the shifts have. Off
        the diagonal the sum is C only with all components.

    Raises:
        NotPositiveDefiniteError: If C has negative eigenvalues.
    """
    scale = np.sqrt(np.maximum(counts, 1.0))
    size, vectors = np.linalg.eigh(matrix / scale / scale[:, None])
    size, vectors = size[::-1], vectors[:, ::-1]
    smallest, largest = size[-1], size[0]
    # A covariance from a fit is a product of matrices, with the rounding of both.
    if smallest < -1e-6 * max(largest, 0.0):
        raise NotPositiveDefiniteError(
            f"covariance: its smallest eigenvalue is {smallest:.3g} (in units of the "
            f"statistical variances), its largest {largest:.3g}; a covariance has no "
            "negative ones."
        )
    variance = np.diagonal(matrix)
    if components is None:
        return np.sqrt(np.maximum(variance, 0))[None], np.zeros_like(counts), 1.0
    present = int((size > ROUNDING * max(largest, 0.0)).sum())
    size = np.maximum(size, 0)
    total = size.sum()
    count = min(_count(components, size), present)
    shifts = (vectors[:, :count] * np.sqrt(size[:count])).T * scale
    # The sign of an eigenvector is free: upwards is where most events are gained.
    signs = np.sign(shifts.sum(1))
    shifts *= np.where(signs == 0, 1, signs)[:, None]
    rest = variance - np.sum(shifts**2, axis=0)
    rest = np.where(rest > 1e-9 * variance, rest, 0)
    return shifts, rest, float(size[:count].sum() / total) if total else 1.0


def _count(components: Any, size: np.ndarray) -> int:
    if isinstance(components, bool) or not isinstance(components, int | float):
        raise ArgumentTypeError(
            "components: expected None, a number of components or a part of the "
            f"variance, got {type(components).__name__}."
        )
    if isinstance(components, int) and components >= 1:
        return components
    if isinstance(components, float) and 0 < components <= 1:
        reached = np.cumsum(size) >= components * size.sum()
        return size.size if components == 1 else 1 + int(np.argmax(reached))
    raise ArgumentValueError(
        "components: expected an integer of 1 or more, or the part of the variance to "
        f"keep as a float above 0 and up to 1, got {components}."
    )
