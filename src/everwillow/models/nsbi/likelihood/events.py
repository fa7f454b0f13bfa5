"""The events of all unbinned regions in arrays.

The events of a region are cut into *chunks* of equally many events, padded at the end,
so that a pass over all of them needs memory for one chunk. A region has a *slot* for
each of its samples; a *component* is one sample in one region, and an *effect* is the
change of the density of one component by one parameter. There are no names here.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow.models.nsbi.spec import RatioInterpolation


class EventTable(eqx.Module):
    """The events of R regions in arrays.

    With N events in M chunks of n, K components, of which a region has at most C, at
    most E effects in a region, and S parameters with effects, of which a region has at
    most s. Padded events have weight 0; padded slots are the component K, padded
    effects leave a density unchanged, and padded parameters are number S.

    Attributes:
        event_place: The place of each event in the flattened chunks, ``(N,)``.
        ratios: Densities over the reference density, ``(M, C, n)``.
        changes: The numbers of each effect for +1, then those for -1, as
            `everwillow.models.nsbi.likelihood.responses.stored` makes them,
            ``(M, 2E, n)``.
        reference: Weights of the events of the reference sample, ``(m, n)``, for the
            last m chunks; their sum is 1 in each region.
        region: The region of each chunk, ``(M,)``.
        component: The component of each slot, ``(R, C)``.
        effect_parameter: The number of the parameter of each effect, ``(R, E)``.
        effect_of: The effect of each parameter of the region on each slot, E where
            there is none, ``(R, C, s)``.
        region_parameter: The numbers of the parameters of each region, ``(R, s)``.
        place_bytes: The places of the S parameters in the vector of all parameters.
        components: K.
        interpolation: The interpolation of the effects.
    """

    event_place: Int[Array, " N"]
    ratios: Float[Array, "M C n"]
    changes: Float[Array, "M E2 n"]
    reference: Float[Array, "m n"]
    region: Int[Array, " M"]
    component: Int[Array, "R C"]
    effect_parameter: Int[Array, "R E"]
    effect_of: Int[Array, "R C s"]
    region_parameter: Int[Array, "R s"]
    place_bytes: bytes = eqx.field(static=True)
    components: int = eqx.field(static=True)
    interpolation: RatioInterpolation = eqx.field(static=True)

    @property
    def places(self) -> np.ndarray:
        """The places of the parameters with effects in the vector of all."""
        return np.frombuffer(self.place_bytes, np.int32)

    @property
    def first_reference(self) -> int:
        """The first chunk of the reference samples."""
        return self.ratios.shape[0] - self.reference.shape[0]

    def chunked(self, values: Float[Array, " N"]) -> Float[Array, "M n"]:
        """Return one number for each event in chunks, 0 for padded events."""
        chunks, _, size = self.ratios.shape
        padded = jnp.zeros(chunks * size, values.dtype)
        return padded.at[self.event_place].set(values).reshape(chunks, size)

    def flattened(self, chunks: Float[Array, "M n"]) -> Float[Array, " N"]:
        """Return one number for each event from chunks."""
        return chunks.reshape(-1)[self.event_place]
