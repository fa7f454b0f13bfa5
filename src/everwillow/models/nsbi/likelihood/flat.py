r"""The likelihood of binned and unbinned regions as a function of vectors.

The expected number of events of an unbinned region enters like that of a bin without
events. What remains is :math:`-T(\phi, \alpha)` of
`everwillow.models.nsbi.likelihood.sums`, with :math:`\phi_c = F_c / Z_c(\alpha)`: the
yields :math:`F_c` of the samples over the normalisations of their densities.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ShapeMismatchError
from everwillow._tree import leaf_shape
from everwillow._typing import Scalar
from everwillow.curvature import (
    AbstractCurvature,
    Dense,
    block_diagonal,
    gather_transpose,
)
from everwillow.likelihood.binned.counts import expected_counts
from everwillow.likelihood.binned.hessian import count_derivatives
from everwillow.likelihood.binned.packed import Packed
from everwillow.models.binned import FlatBinned
from everwillow.models.nsbi.likelihood.events import EventTable
from everwillow.models.nsbi.likelihood.sums import (
    Sums,
    densities,
    log_sum,
    log_sums,
    normalisation,
    normalisations,
)
from everwillow.objective import Evaluation


@final
class FlatNsbi(eqx.Module):
    """The main likelihood of an `NsbiModel` as a function of vectors.

    Attributes:
        binned: The counts of all bins, then the numbers of events of unbinned regions.
        yields: The yield of each component of the unbinned regions.
        events: The events; None without unbinned regions.
        normalize: Whether densities are divided by their normalisation.
        bins: The number of bins.
    """

    binned: FlatBinned
    yields: Packed | None
    events: EventTable | None
    normalize: bool = eqx.field(static=True)
    bins: int = eqx.field(static=True)
    matrix_free: ClassVar[bool] = False
    # The factors of densities, which both need, cost more than the products.
    cheap_hessian: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """The length of the vector."""
        return self.binned.size

    @property
    def constrained(self) -> np.ndarray:
        """The position of each element of the constraint table in the vector."""
        return self.binned.constrained

    def nll(self, vector: Array, main: Any) -> Scalar:
        """Return -ln L of counts and events."""
        counts, weights = self._data(main)
        value = self.binned.nll(vector, counts)
        if self.events is None:
            return value
        return value - log_sum(self.events, *self.at(vector), weights)

    def evaluation(self, vector: Array, main: Any) -> Evaluation:
        """Return -ln L with its exact derivatives."""
        counts, weights = self._data(main)
        binned = self.binned.evaluation(vector, counts)
        if self.events is None:
            return binned
        value, gradient, hessian, outer = self._events(vector, weights)
        dense = self.binned.packed.places.dense
        index = np.concatenate([np.arange(self.size), dense])
        whole = np.array_equal(dense, np.arange(self.size))

        def added(curvature: Any, matrix: Array) -> AbstractCurvature:
            if whole and isinstance(curvature, Dense):
                return Dense(curvature.matrix + matrix)
            blocks = block_diagonal([curvature, Dense(matrix)])
            return gather_transpose(blocks, index, self.size)

        return Evaluation(
            binned.value + value,
            binned.gradient.at[dense].add(gradient),
            added(binned.curvature, hessian),
            added(binned.gauss_newton, outer),
        )

    def expected_counts(self, vector: Array) -> Float[Array, " bins"]:
        """Return the expected counts of the bins."""
        return expected_counts(self.binned.packed, vector)[: self.bins]

    def expected_events(self, vector: Array) -> Float[Array, " regions"]:
        """Return the expected numbers of events of the unbinned regions."""
        return expected_counts(self.binned.packed, vector)[self.bins :]

    def component_yields(self, vector: Array) -> Float[Array, " components"]:
        """Return the expected number of events of each sample in each region."""
        if self.yields is None:
            return jnp.zeros(0, vector.dtype)
        return expected_counts(self.yields, vector)

    def expected_weights(self, vector: Array) -> Float[Array, " events"]:
        """Return the weights of the Asimov data: those of the reference samples."""
        table = self.events
        if table is None:
            return jnp.zeros(0, vector.dtype)
        first = table.first_reference
        density = densities(table, *self.at(vector))[first:]
        weights = density * table.reference
        region = table.region[first:]
        rates = self.expected_events(vector)
        totals = jnp.zeros_like(rates).at[region].add(jnp.sum(weights, 1))
        weights = weights * (rates / totals)[region][:, None]
        return table.flattened(jnp.pad(weights, ((first, 0), (0, 0))))

    def density(self, vector: Array) -> Float[Array, " events"]:
        """Return the density of each event, times the expected number of events."""
        assert self.events is not None
        return self.events.flattened(densities(self.events, *self.at(vector)))

    def at(self, vector: Array) -> tuple[Array, Array]:
        """Return the yields over the normalisations, and the nuisance parameters."""
        assert self.events is not None
        assert self.yields is not None
        phi = expected_counts(self.yields, vector)
        alpha = vector[self.events.places]
        if self.normalize:
            phi = phi / normalisation(self.events, alpha)
        return phi, alpha

    def _events(self, vector: Array, weights: Array) -> tuple[Array, ...]:
        """Return -T with gradient, Hessian and its positive part.

        The derivatives are those by the parameters that may act on more than one bin:
        by the chain rule from the vector to yields and nuisance parameters
        and from these to the arguments of T.
        """
        table = self.events
        assert table is not None
        assert self.yields is not None
        yields = count_derivatives(self.yields, vector)
        alpha = vector[table.places]
        norms = normalisations(table, alpha) if self.normalize else None
        phi = yields.counts if norms is None else yields.counts / norms.value
        sums = log_sums(table, phi, alpha, weights)
        gradient, hessian, outer = sums.gradient, sums.hessian, sums.outer
        if norms is not None:
            inner, bend = _normalised(norms, phi, gradient[: phi.size])
            gradient = inner.T @ gradient
            hessian = inner.T @ hessian @ inner + bend
            outer = inner.T @ outer @ inner
        dense = self.binned.packed.places.dense
        columns = np.searchsorted(self.yields.places.dense, dense)
        selected = np.asarray(table.places[:, None] == dense[None], float)
        jacobian = jnp.concatenate([yields.jacobian[:, columns], selected])
        bent = yields.bend(gradient[: phi.size])[columns[:, None], columns[None]]
        return (
            -sums.value,
            -(jacobian.T @ gradient),
            -(jacobian.T @ hessian @ jacobian + bent),
            jacobian.T @ outer @ jacobian,
        )

    def _data(self, main: Any) -> tuple[Array, Array]:
        """Return the counts, 0 for unbinned regions, and the weights of the events."""
        events = 0 if self.events is None else self.events.event_place.shape[0]
        shapes = {"counts": (self.bins,), "weights": (events,)}
        got: Any = type(main).__name__
        if isinstance(main, Mapping):
            got = {name: leaf_shape(value) for name, value in main.items()}
        if got != shapes:
            raise ShapeMismatchError(
                f'observation["main"]: expected arrays of the shapes {shapes}, got '
                f"{got}. The counts are those of model.channels, the weights those of "
                "model.regions."
            )
        dtype = jnp.result_type(float)
        counts, weights = (jnp.asarray(main[name], dtype) for name in shapes)
        regions = self.binned.packed.bin_place.shape[0] - self.bins
        return jnp.append(counts, jnp.zeros(regions, dtype)), weights


def _normalised(norms: Sums, phi: Array, slope: Array) -> tuple[Array, Array]:
    r"""Return the derivatives of :math:`\phi = F / Z(\alpha)` and :math:`\alpha`.

    Args:
        norms: Z with its derivatives.
        phi: The quotients.
        slope: Weights of the second derivatives of the quotients.

    Returns:
        The first derivatives of ``(phi, alpha)`` by ``(F, alpha)``; and the sum of the
        second derivatives of phi with these weights.
    """
    value = norms.value[:, None]
    rate = norms.gradient / value
    bend = 2 * rate[:, :, None] * rate[:, None] - norms.hessian / value[..., None]
    mixed = -slope[:, None] * rate / value
    square = jnp.einsum("c,cst->st", slope * phi, bend)
    zero = jnp.zeros((phi.size, phi.size), phi.dtype)
    eye = jnp.eye(rate.shape[1], dtype=phi.dtype)
    first = jnp.block(
        [
            [jnp.diag(1 / norms.value), -phi[:, None] * rate],
            [jnp.zeros_like(rate.T), eye],
        ]
    )
    return first, jnp.block([[zero, mixed], [mixed.T, square]])
