"""Shares of the total of a channel."""

from collections.abc import Sequence
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._channel_parts import checked_channel, checked_names, quotient
from everwillow.mappings._projection import Projection
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping


@final
class Normalize(AbstractHistogramMapping):
    """The yields of a channel divided by its total, then projected.

    The total is over all bins and all processes, for the values of single processes
    too. Values are fractions; they are not divided by the widths of bins.

    Spelled ``Normalize CHANNEL [AXIS ...]``. Without axes all of them are kept, as the
    single number that is left otherwise would be 1.

    Attributes:
        projection: The channel and the axes to keep, in that order.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> yields = Yields(np.array([[1.0, 2.0], [2.0, 5.0]]), layout)
        >>> print(Normalize("ch0", axes="x")(None, yields))
        [0.3 0.7]
    """

    projection: Projection = eqx.field(static=True)

    def __init__(self, channel: str, *, axes: str | Sequence[str] = ()) -> None:
        """Normalise a channel.

        Args:
            channel: The channel.
            axes: The names of the axes to keep, in the order that they shall have; all
                if none are named.
        """
        names = checked_names(axes, "axes")
        self.projection = Projection(checked_channel(channel), names)

    @property
    def key(self) -> str:
        """How it is written."""
        return f"Normalize {self.projection.words()}"

    @property
    def quantity(self) -> str:
        """Return what plots call the values."""
        return "Fraction of events"

    def __call__(self, params: Any, yields: Yields) -> Float[Array, "..."]:
        """Return the shares of all processes together."""
        del params
        total = yields[self.projection.channel]
        part = self._whole(yields.layout).values(total, yields.layout)
        return quotient(part, jnp.sum(total, keepdims=True).reshape([1] * part.ndim))

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes that are kept."""
        return self._whole(layout).axes(layout)

    def has_data(self, layout: Layout) -> bool:
        """Return whether the channel is fitted."""
        return not layout.channel(self.projection.channel).masked

    @property
    def ndof_reduction(self) -> int:
        """Return 1: the shares add up to 1."""
        return 1

    def of_processes(
        self, params: Any, yields: Yields
    ) -> Float[Array, "processes ..."]:
        """Return the shares of each process in the total of all."""
        del params
        rows = yields.of(self.projection.channel)
        part = self._whole(yields.layout).values(rows, yields.layout)
        return quotient(part, jnp.sum(rows).reshape([1] * part.ndim))

    def process_names(self, layout: Layout) -> tuple[str, ...]:
        """Return all processes."""
        return layout.processes

    def _whole(self, layout: Layout) -> Projection:
        """Return the projection, of all axes if none are named."""
        channel, names = self.projection.channel, self.projection.names
        every = tuple(axis.name for axis in layout.channel(channel).axes)
        return Projection(channel, names or every)


__all__ = ["Normalize"]
