"""Covariances from Hessians, on the host in NumPy or traced in JAX.

Concrete Hessians are inverted on the host, which needs no compilation; the same
formulas run in JAX where the Hessian is traced or is part of a larger program.
"""

import weakref
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from everwillow._mesh_axes import on_one_device
from everwillow._numerics import factorise, is_traced, namespace


# Up to this many parameters a Hessian is inverted again rather than kept.
CHEAP = 32
# A parameter belongs to a direction if its component of the unit vector is above this.
SHARE = 0.05


def covariance_of(hessian: Any, held: Any) -> Any:
    """Invert a Hessian on the parameters that are not held.

    Args:
        hessian: Second derivatives of -ln L, shape ``(..., n, n)``.
        held: Which parameters stay where they are, shape ``(..., n)``.

    Returns:
        The covariance, shape ``(..., n, n)``: zero for held parameters, and all NaN
        where the rest is not positive definite.
    """
    if np.shape(hessian)[-1] == 0:  # nothing is free
        return hessian
    if is_traced(hessian, held):
        return _traced(hessian, held)
    return _remembered(np.asarray(hessian), np.asarray(held))


def _scaled(xp: Any, hessian: Any, held: Any) -> tuple[Any, Any, Any]:
    """Return the Hessian with a unit diagonal, and the identity where held."""
    nonfinite = ~_finite(xp, hessian)
    # A matrix that is not finite is replaced by one that is not definite.
    hessian = xp.where(nonfinite[..., None, None], -1, hessian)
    diagonal = xp.diagonal(hessian, axis1=-2, axis2=-1)
    usable = ~held & (diagonal > 0)
    scale = xp.where(usable, 1 / xp.sqrt(xp.where(usable, diagonal, 1)), 1)
    free_block = ~held[..., :, None] & ~held[..., None, :]
    scaled = scale[..., :, None] * hessian * scale[..., None, :]
    eye = xp.eye(hessian.shape[-1], dtype=hessian.dtype)
    return xp.where(free_block, scaled, eye), scale, free_block


def _finite(xp: Any, hessian: Any) -> Any:
    """Return whether all entries of each matrix are finite."""
    if xp is np:
        return np.isfinite(hessian).all(axis=(-2, -1))
    # A product with zeros is the fastest pass over a matrix in JAX.
    return jnp.isfinite(hessian @ jnp.zeros_like(hessian[..., 0, :])).all(axis=-1)


def _unscale(xp: Any, inverse: Any, scale: Any, both: Any) -> Any:
    inverse = 0.5 * (inverse + xp.swapaxes(inverse, -1, -2))
    spread = scale[..., :, None] * inverse * scale[..., None, :]
    return xp.where(both, spread, 0)


def singular_level(size: int, dtype: Any) -> float:
    """Return the smallest eigenvalue of a scaled Hessian that counts as positive."""
    return 10 * max(size, 1) * float(np.finfo(dtype).eps)


def flat_level(size: int, dtype: Any) -> float:
    """Return below which size an eigenvalue of a scaled Hessian is taken for zero."""
    return max(1e-10, 10 * singular_level(size, dtype))


def scaled_eigenvectors(hessian: Any, held: Any) -> tuple[Any, Any, Any]:
    """Return the eigenvalues and eigenvectors of a scaled Hessian, and the scales.

    On the host. Rows and columns of held parameters are those of the identity, and the
    scales are the numbers by which the others are multiplied.
    """
    matrix, scale, _ = _scaled(np, np.asarray(hessian), np.asarray(held))
    values, vectors = np.linalg.eigh(np.where(np.isfinite(matrix), matrix, 0))
    return values, vectors, scale


def involved(vectors: np.ndarray, labels: tuple[str, ...]) -> list[str]:
    """Name the parameters with a component in the span of orthonormal columns."""
    weight = np.sqrt((vectors**2).sum(axis=1))
    return [labels[i] for i in np.nonzero(weight > SHARE)[0]]


# Inverses by the identity of the Hessian, kept while the Hessian exists.
_known: dict[int, tuple[weakref.ref[np.ndarray], np.ndarray, np.ndarray]] = {}


def _remembered(hessian: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Invert a read-only Hessian, and keep the inverse for the next call.

    Errors, impacts and mappings of one fit all need it, and it takes a third of a
    second for 1500 parameters.
    """
    if _writeable(hessian) or hessian.shape[-1] <= CHEAP:
        return _host(hessian, held)
    key = id(hessian)
    source, known_held, covariance = _known.get(key, (lambda: None, held, hessian))
    if source() is not hessian or not np.array_equal(known_held, held):
        covariance = _host(hessian, held)
        reference = weakref.ref(hessian, lambda _: _known.pop(key, None))
        _known[key] = (reference, held.copy(), covariance)
    return covariance.copy()


def _writeable(array: np.ndarray) -> bool:
    """Return whether an array, or the one that it is a view of, is writeable."""
    base = array.base
    return array.flags.writeable or (
        isinstance(base, np.ndarray) and base.flags.writeable
    )


def _host(hessian: np.ndarray, held: np.ndarray) -> np.ndarray:
    matrix, scale, both = _scaled(np, hessian, held)
    size = hessian.shape[-1]
    finite = np.isfinite(matrix).all(axis=(-1, -2))
    finite_matrix = np.where(finite[..., None, None], matrix, np.eye(size))
    if hessian.ndim > 2:
        smallest = np.linalg.eigvalsh(finite_matrix)[..., 0]
        definite = finite & (smallest > singular_level(size, finite_matrix.dtype))
        finite_matrix = np.where(definite[..., None, None], finite_matrix, np.eye(size))
        inverse = np.linalg.inv(finite_matrix)
    else:
        inverse, smallest = _inverse_of_one(finite_matrix)
        definite = finite & (smallest > singular_level(size, finite_matrix.dtype))
    out = _unscale(np, inverse, scale, both)
    return np.where(definite[..., None, None], out, np.nan)


def _inverse_of_one(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the inverse and the smallest eigenvalue, minus infinity if indefinite.

    This costs a fraction of all eigenvalues: if an eigenvalue is small enough to
    matter, the column of the inverse with the largest diagonal entry lies along its
    eigenvector, and another product gives the eigenvalue. Pivots are no substitute:
    each can be large while an eigenvalue is almost zero (Kahan, Can. Math. Bull. 9
    (1966) 757).
    """
    try:
        np.linalg.cholesky(matrix)
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:
        return np.eye(len(matrix)), -np.inf
    column = inverse[:, np.argmax(np.diagonal(inverse))]
    return inverse, float(np.linalg.norm(column) / np.linalg.norm(inverse @ column))


def _traced(hessian: Any, held: Any) -> Any:
    if hessian.ndim > 2:
        return jax.vmap(_traced)(hessian, held)
    return on_one_device(_invert, (hessian, held))


def _invert(numbers: Any) -> Any:
    hessian, held = numbers
    matrix, scale, both = _scaled(jnp, hessian, held)
    inverse, pivot = _inverse(matrix)
    definite = pivot > singular_level(hessian.shape[0], hessian.dtype)
    return jnp.where(definite, _unscale(jnp, inverse, scale, both), jnp.nan)


@jax.custom_jvp
def _inverse(matrix: Any) -> tuple[Any, Any]:
    """Return the inverse and the smallest pivot, which has no derivative."""
    factor = factorise(matrix)
    return factor.inverse(), factor.smallest_pivot


@_inverse.defjvp
def _inverse_moves(primals: Any, tangents: Any) -> Any:
    (matrix,), (change,) = primals, tangents
    inverse, pivot = _inverse(matrix)
    return (inverse, pivot), (-inverse @ change @ inverse, jnp.zeros_like(pivot))


def one_sided(gradient: Any, hessian: Any, held: Any) -> Any:
    """Return the distance from a bound at which -ln L has risen by one half.

    In the quadratic model, minimised over the parameters that are not held: solves
    ``|g| δ + ½ S δ² = ½``, with S the Schur complement, for the parameters that are
    held, NaN for the rest.
    """
    xp = namespace(hessian, gradient)
    hessian, held = xp.asarray(hessian), xp.asarray(held)
    slope = xp.abs(xp.asarray(gradient))
    curve = xp.diagonal(hessian, axis1=-2, axis2=-1)
    if xp is jnp or held.any():
        lean = covariance_of(hessian, held) @ hessian
        curve = curve - xp.sum(hessian * lean, axis=-2)
    # 1 / (g + sqrt(g² + S)) is the smaller root, in the form without cancellation.
    inside = slope**2 + curve
    usable = held & (inside >= 0)
    total = slope + xp.sqrt(xp.where(usable, inside, 1))
    usable = usable & (total > 0)
    distance = 1 / xp.where(usable, total, 1)
    return xp.where(usable, distance, np.nan)


def flat_labels(
    hessian: Any, newton: Any, held: Any, labels: tuple[str, ...]
) -> list[str]:
    """Name the parameters that take part in a flat direction, on the host.

    These are the parameters with components in eigenvectors of the scaled Hessian whose
    eigenvalues are zero within rounding; if there are none, those with the largest
    Newton steps.
    """
    if hessian is None:
        size = np.abs(np.asarray(newton))
        return [labels[i] for i in np.argsort(-size)[:3]]
    values, vectors, _ = scaled_eigenvectors(hessian, held)
    flat = vectors[:, values < flat_level(len(labels), vectors.dtype)]
    if flat.shape[1]:
        return involved(flat, labels)
    size = np.abs(np.asarray(newton)) * np.sqrt(
        np.abs(np.diagonal(np.asarray(hessian)))
    )
    return [labels[i] for i in np.nonzero(size >= 0.3 * size.max())[0]]
