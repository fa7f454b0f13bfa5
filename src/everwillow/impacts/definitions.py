r"""The definitions of impacts: functions of arrays that work under `jit` and `vmap`.

With C the covariance of the fitted parameters, i a parameter of interest (POI) and k a
nuisance parameter with the pre-fit width :math:`w_k`, impacts are, to first order,

- traditional: :math:`C_{ik} / \sqrt{C_{kk}}`, the shift of the POI when k is held one
  post-fit error above its best value and all others are fitted again (`responses` times
  `errors_from`);
- pre-fit: :math:`C_{ik} w_k / C_{kk}`, the same for one pre-fit width;
- of a group: the reduction of the variance in a fit with the group held
  (`group_variances`);
- global: the shift for one standard deviation of a measurement (`times_deviation` for
  main data, `everwillow.impacts._auxiliary_fluctuations` for auxiliary data).

Rows of an impact are POIs, columns are moved parameters or data. All moves are upwards.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._data_variance import map_variances
from everwillow._errors import ShapeMismatchError
from everwillow._numerics import namespace
from everwillow._tree import broadcasts_to
from everwillow.engine.covariance import covariance_of


# Eigenvalues of correlation matrices below this are zero up to rounding.
ROUNDING = 1e-10

# Tables of impacts are rounded to this number of digits of the error.
DIGITS = 3


def covariance_from(
    hessian: Any, held: Any, success: Any, covariance: Any
) -> Float[Array, "free free"]:
    """Return the covariance of the fitted parameters, NaN where there is none.

    Args:
        hessian: The Hessian of -ln L at the minimum; ignored if `covariance` is given.
        held: Which parameters are held at a bound; their rows become zero.
        success: Whether the fit ended at a minimum.
        covariance: The covariance to use in place of the inverse Hessian, or None.
    """
    if covariance is not None:
        return jnp.asarray(covariance)
    inverse = covariance_of(jnp.asarray(hessian), jnp.asarray(held))
    return jnp.where(jnp.asarray(success), jnp.asarray(inverse), jnp.nan)


def errors_from(covariance: Float[Array, "free free"]) -> Float[Array, " free"]:
    """Return the standard errors, NaN for parameters held at a bound."""
    variance = jnp.diagonal(covariance)
    positive = variance > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, variance, 1)), jnp.nan)


def responses(
    covariance: Float[Array, "free free"], pois: Any, others: Any
) -> Float[Array, "pois others"]:
    """Return the shift of a POI for each unit of the shift of a parameter.

    If parameter k is held at a distance d from its best value, and all others are
    fitted again, the minimum moves by ``C[:, k] / C[k, k] d``. NaN if one of the two
    is held at a bound.
    """
    variance = jnp.diagonal(covariance)
    poi_variance, variance = variance[pois], variance[others]
    positive = (variance > 0)[None, :] & (poi_variance > 0)[:, None]
    rows = covariance[pois][:, others]
    return jnp.where(positive, rows / jnp.where(positive, variance, 1), jnp.nan)


def unless_held(impacts: Any, errors: Float[Array, " pois"]) -> Any:
    """Return impacts on POIs, along the first axis, NaN for those without an error.

    To first order nothing moves a parameter that is held at a bound, so its impacts
    would be zeros, whatever the actual shifts.
    """
    known = jnp.isfinite(errors)
    return jnp.where(known[:, None], impacts, jnp.nan)


def group_variances(
    covariance: Float[Array, "free free"], pois: Any, members: Any
) -> Float[Array, "pois groups"]:
    r"""Return the contribution of groups of parameters to the variance of each POI.

    This is :math:`v_G C_{GG}^{-1} v_G^\mathsf T` with :math:`v_G` the covariances of
    the POI with the members. It equals the reduction of the variance of the POI in a
    fit with the group held.

    Args:
        covariance: The covariance of the fitted parameters.
        pois: Positions of the POIs, shape ``(pois,)``.
        members: Which parameters are in each group, shape ``(groups, free)``.
    """
    variance = jnp.diagonal(covariance)
    moving = variance > 0
    scale = jnp.where(moving, 1 / jnp.sqrt(jnp.where(moving, variance, 1)), 0)
    # The `where` above turns NaN into zero, but the result has to be NaN.
    bad = ~jnp.all(jnp.isfinite(covariance))
    scaled = scale[:, None] * covariance * scale[None, :]
    eye = jnp.eye(variance.shape[0], dtype=variance.dtype)
    rows = (covariance[pois] * scale[None, :]).T

    def one(inside):
        inside = inside & moving
        both = inside[:, None] & inside[None, :]
        lower = jnp.linalg.cholesky(jnp.where(both, scaled, eye))
        chosen = jnp.where(inside[:, None], rows, 0)
        half = jax.scipy.linalg.solve_triangular(lower, chosen, lower=True)
        return jnp.sum(half**2, axis=0)

    variances = jax.lax.map(one, jnp.asarray(members)).T
    return jnp.where(bad, jnp.nan, variances)


def inverse_root(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""Return :math:`V^{-1} A` with A the root of :func:`root`."""
    width, values, vectors = _decomposed(matrix)
    inverse = (vectors / jnp.sqrt(values)[None, :]) @ vectors.T
    return inverse / width[:, None]


def root(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""Return a matrix A with :math:`A A^\mathsf T = V`, closest to diagonal.

    With the widths D and the correlations R, :math:`A = D R^{1/2}`. Its columns are
    uncorrelated fluctuations; of all roots they are most similar to the fluctuations of
    the single measurements, so that they define the contribution of each measurement to
    a variance (arXiv:1512.00809, ZCA-cor). NaN if V has a negative eigenvalue beyond
    rounding.
    """
    width, values, vectors = _decomposed(matrix)
    values = jnp.where(jnp.abs(values) <= ROUNDING, 0, values)
    half = (vectors * jnp.sqrt(values)[None, :]) @ vectors.T
    return width[:, None] * half


def _decomposed(matrix: Array) -> tuple[Array, Array, Array]:
    """Return the widths of a covariance and the eigenpairs of its correlations."""
    width = jnp.sqrt(jnp.diagonal(matrix))
    values, vectors = jnp.linalg.eigh(matrix / width[:, None] / width[None, :])
    return width, values, vectors


def times_deviation(moved: Any, variance: Any) -> Any:
    """Multiply responses by standard deviations, for variances in a prefix of the tree.

    Raises:
        ArgumentValueError: If the variances are not a prefix of the tree.
        ShapeMismatchError: If variances do not broadcast to the data.
    """

    def whole(spread, below):
        return jax.tree.map(lambda leaf: _scaled(leaf, spread), below)

    return map_variances(whole, variance, moved)


def _scaled(moved: Array, variance: Any) -> Array | None:
    if variance is None:
        return None
    spread = jnp.asarray(variance, moved.dtype)
    shape = moved.shape[1:]
    if len(shape) == 1 and spread.shape == (*shape, *shape):
        return moved @ root(spread)
    if not broadcasts_to(spread.shape, shape):
        raise ShapeMismatchError(
            f"data_variance: shape {spread.shape} does not fit data of shape {shape}. "
            "Give variances in the structure of the data, or None."
        )
    return moved * jnp.sqrt(jnp.broadcast_to(spread, shape))[None]


def scattered(covariance: Any, free: np.ndarray, size: int) -> Array:
    """Return rows over the free parameters as rows over all, zero for the others."""
    rows = jnp.zeros((covariance.shape[0], size), covariance.dtype)
    return rows.at[:, free].set(covariance)


def rest_in_quadrature(total: Any, part: Any) -> Any:
    """Return the difference in quadrature, NaN if the part exceeds the total."""
    xp = namespace(total, part)
    square = total**2 - part**2
    rounding = 1e-12 * total**2
    safe = xp.where(square > rounding, square, 1)
    rest = xp.where(square > rounding, xp.sqrt(safe), 0)
    return xp.where(square >= -rounding, rest, xp.nan)


def sum_in_quadrature(*parts: Any) -> Any:
    """Return the root of the sum of squares over all axes but the first."""
    total: Any = 0.0
    for part in parts:
        array = part if isinstance(part, np.ndarray) else jnp.asarray(part)
        total = total + (array.reshape(array.shape[0], -1) ** 2).sum(axis=1)
    xp: Any = np if isinstance(total, np.ndarray) else jnp
    return xp.sqrt(total)
