"""Mappings applied to data: values, covariances and degrees of freedom."""

import functools as ft
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow.engine import programs
from everwillow.engine.layout import as_arrays, on_host
from everwillow.likelihood.histograms import Layout, Yields
from everwillow.mappings.channels import Identity
from everwillow.mappings.composite import Composite, places
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping


# Number of values whose derivatives are in memory at a time.
AT_ONCE = 64

# Eigenvalues of correlation matrices below this are zero up to rounding.
SINGULAR = 1e-10


class ObservedMapping(eqx.Module):
    """The values of a mapping for data.

    Attributes:
        values: The values, in the structure that the mapping returns.
        variances: The variance of each value, in the same structure.
        covariance: The covariance of all values, ravelled; None without
            ``covariance=True``.
    """

    values: PyTree
    variances: PyTree
    covariance: Float[Array, "outputs outputs"] | None


def observed(
    mapping: AbstractHistogramMapping,
    layout: Layout,
    counts: ArrayLike,
    *,
    variance: ArrayLike | None = None,
    covariance: bool = False,
) -> ObservedMapping:
    r"""Apply a mapping to data.

    With J the derivatives of the values with respect to the data, at the data, the
    covariance is :math:`J V J^\mathsf T`. It is exact for sums of bins and of first
    order for ratios, and it contains the correlations of values that share bins.

    Args:
        mapping: A mapping that has data, see `with_data`.
        layout: The channels and processes.
        counts: Data in all fitted bins, shape ``(fitted,)``.
        variance: V: variances, or a covariance of all fitted bins, shape
            ``(fitted, fitted)``; by default the counts themselves (Poisson).
        covariance: Whether to return the covariance of all values.

    Raises:
        ArgumentValueError: If the mapping has no data.
        ShapeMismatchError: If `counts` or `variance` do not fit.

    Example:
        >>> from everwillow.likelihood.histograms import Axis, Channel
        >>> from everwillow.mappings import Project
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> out = observed(Project("ch0"), layout, np.array([4.0, 5.0]))
        >>> print(out.values, out.variances)
        [9.] [9.]
    """
    check_has_data(mapping, layout)
    mapping.axes(layout)
    size = layout.fitted
    counts, variance = as_arrays(counts, "counts"), as_arrays(variance, "variance")
    if np.shape(counts) != (size,):
        raise ShapeMismatchError(
            f"counts: shape {np.shape(counts)}, and {size} bins are fitted."
        )
    if variance is not None and np.shape(variance) not in ((size,), (size, size)):
        raise ShapeMismatchError(
            f"variance: shape {np.shape(variance)}; expected ({size},) for variances "
            f"or ({size}, {size}) for a covariance of all fitted bins."
        )
    spread = counts if variance is None else variance
    args = (mapping, layout, counts, spread, bool(covariance))
    return ObservedMapping(*on_host(programs.call(_observe, *args)))


def check_has_data(mapping: AbstractHistogramMapping, layout: Layout) -> None:
    """Check that a mapping can be applied to data.

    Raises:
        ArgumentValueError: If it cannot.
    """
    if not mapping.has_data(layout):
        raise ArgumentValueError(
            f"{mapping.key}: there are no data for masked channels and for single "
            "processes. The part that has data: with_data(mapping, layout)."
        )


def _observe(
    mapping: Any, layout: Layout, counts: Array, variance: Array, keep: Any
) -> tuple[Any, Any, Any]:
    counts = jnp.asarray(counts, float)
    values = mapped_data(mapping, layout, counts)
    here, unravel = ravel_pytree(values)
    variance = jnp.asarray(variance, float)
    _, pullback = jax.vjp(
        lambda c: ravel_pytree(mapped_data(mapping, layout, c))[0], counts
    )
    joint, size = variance.ndim == 2, here.shape[0]

    def spread(i: Array) -> tuple[Array, Array | None]:
        row = pullback(jax.nn.one_hot(i, size, dtype=counts.dtype))[0]
        weighted = variance @ row if joint else variance * row
        return jnp.vdot(row, weighted), row if keep else None

    variances, rows = jax.lax.map(spread, jnp.arange(size), batch_size=AT_ONCE)
    lost = jnp.isnan(here)
    variances = jnp.where(lost, jnp.nan, variances)
    if not keep:
        return values, unravel(variances), None
    rows = jnp.where(lost[:, None], jnp.nan, rows)
    weighted = rows @ variance if joint else rows * variance[None, :]
    return values, unravel(variances), weighted @ rows.T


def mapped_data(
    mapping: Any, layout: Layout, counts: Array, params: Any = None
) -> PyTree:
    """Apply a mapping to data, with NaN in masked bins, which no such mapping uses."""
    masked = jnp.full(layout.bins - layout.fitted, jnp.nan, counts.dtype)
    all_bins = jnp.concatenate([counts, masked])[None, :]
    return mapping(params, Yields(all_bins, Layout(layout.channels, ("data",))))


def with_data(
    mapping: AbstractHistogramMapping, layout: Layout
) -> AbstractHistogramMapping | None:
    """Return the part of a mapping that can be applied to data, or None.

    For a composite these are some of its mappings, for `Identity` the fitted channels.

    Example:
        >>> from everwillow.likelihood.histograms import Channel
        >>> channels = Channel("ch0", ()), Channel("total", (), masked=True)
        >>> with_data(Identity(), Layout(channels, ("signal",)))
        <Identity ch0>
    """
    if mapping.has_data(layout):
        return mapping
    if isinstance(mapping, Composite):
        parts = [with_data(part, layout) for part in mapping.mappings]
        parts = [part for part in parts if part is not None]
        return Composite(*parts) if parts else None
    if isinstance(mapping, Identity):
        names = [c.name for c in layout.channels if not c.masked]
        if mapping.channels is not None:
            names = [name for name in mapping.channels if name in names]
        return Identity(*names) if names else None
    return None


def degrees_of_freedom(mapping: AbstractHistogramMapping, layout: Layout) -> int:
    """Return the number of independent values of a mapping.

    It is the number of values less the number of those that follow from the others by
    definition. For a composite it is limited by the rank of the derivatives with
    respect to the data, since two projections of one channel have the same total. The
    time to compute the rank grows with the cube of the number of values.

    Raises:
        ArgumentValueError: If the mapping has no data.

    Example:
        >>> from everwillow.likelihood.histograms import Axis, Channel
        >>> from everwillow.mappings import parse_mapping
        >>> axes = Axis("x", edges=(0.0, 1.0, 2.0)), Axis("y", labels=("a", "b", "c"))
        >>> layout = Layout((Channel("ch0", axes),), ("signal",))
        >>> mapping = parse_mapping("Project ch0 x; Project ch0 y")
        >>> degrees_of_freedom(mapping, layout)
        4
    """
    # Counts that all differ, so that no rank is low by accident.
    counts = 2 + np.modf(np.arange(1, layout.fitted + 1) * 0.6180339887498949)[0]
    if not isinstance(mapping, Composite):
        check_has_data(mapping, layout)
        values = jax.eval_shape(ft.partial(mapped_data, mapping, layout), counts)
        size = sum(leaf.size for leaf in jax.tree.leaves(values))
        return size - mapping.ndof_reduction
    ones = np.ones_like(counts)
    out = observed(mapping, layout, counts, variance=ones, covariance=True)
    joint = np.asarray(out.covariance)
    rows = places(out.values)
    # The declared dependences of a part may hold at some points only, so that the rank
    # at these counts does not show them.
    unseen = 0
    for part in mapping.mappings:
        if not part.ndof_reduction:
            continue
        here = rows[part.key]
        independent = here.stop - here.start - part.ndof_reduction
        unseen += _rank(joint[here, here]) - independent
    return _rank(joint) - unseen


def _rank(covariance: np.ndarray) -> int:
    """Return the rank of the correlation matrix of a covariance."""
    width = np.sqrt(np.diagonal(covariance))
    width = np.where(width > 0, width, 1)
    scaled = covariance / width[:, None] / width
    return int(np.linalg.matrix_rank(scaled, tol=SINGULAR, hermitian=True))


__all__ = [
    "ObservedMapping",
    "check_has_data",
    "degrees_of_freedom",
    "observed",
    "with_data",
]
