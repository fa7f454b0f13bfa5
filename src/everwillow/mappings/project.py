"""A channel in some of its axes."""

from collections.abc import Sequence
from typing import Any, final

import equinox as eqx
from jaxtyping import Array, Float

from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._channel_parts import checked_channel, checked_names
from everwillow.mappings._projection import Projection
from everwillow.mappings.histogram_mapping import (
    EVENTS,
    AbstractHistogramMapping,
)


@final
class Project(AbstractHistogramMapping):
    """The yields of a channel along some axes, summed over the others.

    Spelled ``Project CHANNEL [AXIS ...]``. Without axes it is the total yield.

    Attributes:
        projection: The channel and the axes to keep, in that order.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> axes = Axis("x", edges=(0.0, 1.0, 2.0)), Axis("sign", labels=("-", "+"))
        >>> layout = Layout((Channel("ch0", axes),), ("signal",))
        >>> yields = Yields(np.array([[1.0, 2.0, 3.0, 4.0]]), layout)
        >>> print(Project("ch0", axes=("x",))(None, yields))
        [3. 7.]
    """

    projection: Projection = eqx.field(static=True)

    def __init__(self, channel: str, *, axes: str | Sequence[str] = ()) -> None:
        """Project a channel.

        Args:
            channel: The channel.
            axes: The names of the axes to keep, in the order that they shall have.
        """
        names = checked_names(axes, "axes")
        self.projection = Projection(checked_channel(channel), names)

    @property
    def key(self) -> str:
        """How it is written."""
        return f"Project {self.projection.words()}"

    @property
    def quantity(self) -> str:
        """Return what plots call the values."""
        return EVENTS

    def __call__(self, params: Any, yields: Yields) -> Float[Array, "..."]:
        """Return the sum over the other axes and all processes."""
        del params
        projection = self.projection
        return projection.values(yields[projection.channel], yields.layout)

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes that are kept."""
        return self.projection.axes(layout)

    def has_data(self, layout: Layout) -> bool:
        """Return whether the channel is fitted."""
        return not layout.channel(self.projection.channel).masked

    def of_processes(
        self, params: Any, yields: Yields
    ) -> Float[Array, "processes ..."]:
        """Return the sum over the other axes, process by process."""
        del params
        projection = self.projection
        return projection.values(yields.of(projection.channel), yields.layout)

    def process_names(self, layout: Layout) -> tuple[str, ...]:
        """Return all processes."""
        return layout.processes


__all__ = ["Project"]
