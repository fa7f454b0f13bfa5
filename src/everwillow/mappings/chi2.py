"""Values of a mapping against data, without a matrix of all pairs of values."""

from typing import Any, Literal, TypeAlias, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow.engine import programs
from everwillow.engine.layout import as_arrays, is_traced, namespace, on_host
from everwillow.mappings.evaluation import MappingResult, checked_factor


Relation: TypeAlias = Literal["independent", "fitted"]

# Shares of the variance of the data below this do not fluctuate in the residuals.
SINGULAR = 1e-9


class MappingChi2(eqx.Module):
    """The comparison of the values of a mapping with data.

    Attributes:
        statistic: The chi2 with all covariances.
        ndof: The number of degrees of freedom.
        pvalue: The probability of a chi2 at least as large.
    """

    statistic: Float[Array, ""]
    ndof: Float[Array, ""]
    pvalue: Float[Array, ""]

    def __repr__(self) -> str:
        """Return chi2, degrees of freedom and p-value."""
        if is_traced(self) or np.ndim(self.statistic):
            return "MappingChi2(...)"
        return (
            f"MappingChi2(statistic={float(self.statistic):.6g}, "
            f"ndof={float(self.ndof):g}, pvalue={float(self.pvalue):.4g})"
        )


def mapping_chi2(
    mapping: MappingResult,
    data: PyTree,
    variance: PyTree,
    *,
    relation: Relation = "independent",
    ndof: float | None = None,
) -> MappingChi2:
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
        mapping: Made with ``factor=True``.
        data: In the structure of its values.
        variance: Variances of the data in the same structure, or the covariance of all
            of them, ravelled, shape ``(n, n)``.
        relation: ``"independent"`` or ``"fitted"``.
        ndof: Degrees of freedom; by default the number of values, less for fitted data
            the number of directions that the data alone have determined.

    Returns:
        `MappingChi2`, NaN where the matrix is not positive.

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
        MappingChi2(statistic=2, ndof=2, pvalue=0.3679)
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
    statistic, count, pvalue = on_host(programs.call(_compare, *args))
    return MappingChi2(statistic, count, pvalue)


def _difference(data: Any, value: Any) -> Any:
    if np.shape(data) != np.shape(value):
        raise ShapeMismatchError(
            f"data: shape {np.shape(data)} for values of shape {np.shape(value)}."
        )
    library = namespace(data, value)
    return library.asarray(data, float) - value


def _compare(
    residuals: Any, variance: Any, factor: Array, relation: str, ndof: Any
) -> tuple[Array, Array, Array]:
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
        values, vectors = jnp.linalg.eigh(eye - inner)
        free = values > SINGULAR
        parts = vectors.T @ along
        gain = jnp.sum(jnp.where(free, parts**2 / jnp.where(free, values, 1), 0))
        statistic = jnp.vdot(whitened, whitened) + gain
        # Not "any is negative", which is false where they are NaN.
        positive = jnp.all(values >= -SINGULAR)
        statistic = jnp.where(positive, statistic, jnp.nan)
        count = away.size - jnp.sum(~free).astype(away.dtype)
    count = count if ndof is None else ndof
    good = (count > 0) & (statistic >= 0)
    tail = jsp.special.gammaincc(
        jnp.where(good, count, 1) / 2, jnp.where(good, statistic, 0) / 2
    )
    return statistic, count, jnp.where(good, tail, jnp.nan)


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


__all__ = ["MappingChi2", "Relation", "mapping_chi2"]
