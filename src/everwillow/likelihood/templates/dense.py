"""Responses of all rows to all systematics, written out as one matrix."""

from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.likelihood.templates.arrays import Rows, asymmetric, entries
from everwillow.likelihood.templates.responses import (
    AbstractResponses,
    LocalHessian,
    smooth_absolute,
)
from everwillow.likelihood.templates.spec import Responses


@final
class DenseResponses(AbstractResponses):
    """All responses written out.

    Systematics are the first axis, as products of two such matrices are fastest along
    their last axis.

    Attributes:
        average: Mean of the responses up and down.
        half: Half their difference, of the asymmetric systematics.
    """

    average: Float[Array, "k bins slots"]
    half: Float[Array, "curved bins slots"]
    curved_bytes: bytes = eqx.field(static=True)

    def apply(self, linear: Array, curved: Array) -> Float[Array, "bins slots"]:
        """Return ``average @ linear + half @ curved``."""
        straight = jnp.tensordot(linear, self.average, 1)
        if not self.curved.size:
            return straight
        return straight + jnp.tensordot(curved, self.half, 1)

    def apply_transposed(self, rows: Float[Array, "bins slots"]) -> tuple[Array, Array]:
        """Return the rows summed with ``average`` and with ``half`` as weights."""
        return jnp.tensordot(self.average, rows, 2), jnp.tensordot(self.half, rows, 2)

    def squared(self, theta: Array, rows: Array) -> Float[Array, " k"]:
        """Return the squared derivatives of the responses, summed over rows."""
        return jnp.tensordot(self.columns(theta) ** 2, rows, 2)

    def over_blocks(self, theta: Array, local: LocalHessian, extra: int) -> Any:
        """Return matrices that are sums over bins, all made at once."""
        del extra
        return local(self.columns(theta), None)

    def columns(self, theta: Float[Array, " k"]) -> Float[Array, "k bins slots"]:
        """Return the derivative of every response by every systematic."""
        if not self.curved.size:
            return jnp.asarray(self.average)
        slope = smooth_absolute(theta[self.curved])[1][:, None, None]
        return jnp.asarray(self.average).at[self.curved].add(self.half * slope)


def pack_dense(responses: Responses, rows: Rows) -> DenseResponses:
    """Store the responses of some bins as one matrix."""
    place, systematic, average, half = entries(responses, rows)
    size = rows.bins.stop - rows.bins.start
    count = responses.count
    matrix = np.zeros((count, size * rows.slots))
    matrix[systematic, place] = average
    curved = asymmetric(responses)
    column = np.full(count, -1)
    column[curved] = np.arange(curved.size)
    bent = np.zeros((curved.size, size * rows.slots))
    is_curved = column[systematic] >= 0
    bent[column[systematic[is_curved]], place[is_curved]] = half[is_curved]
    shape = (size, rows.slots)
    return DenseResponses(
        # On the device once, not at every call.
        average=jnp.asarray(matrix.reshape(count, *shape)),
        half=jnp.asarray(bent.reshape(curved.size, *shape)),
        curved_bytes=curved.tobytes(),
    )
