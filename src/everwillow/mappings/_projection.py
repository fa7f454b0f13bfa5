"""Sums over the axes of a channel that are not wanted."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import UnknownKeyError, nearest
from everwillow.likelihood.histograms import Axis, Layout
from everwillow.mappings._channel_parts import SINGLE, with_an_axis
from everwillow.mappings.tokens import quoted


@dataclass(frozen=True, slots=True)
class Projection:
    """A channel and the axes of it that are kept.

    Attributes:
        channel: Its name.
        names: The names of the axes, in the order that they shall have.
    """

    channel: str
    names: tuple[str, ...]

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes that are kept, at least one."""
        axes = layout.channel(self.channel).axes
        return tuple(axes[i] for i in self._kept(layout)) or (SINGLE,)

    def values(self, values: Array, layout: Layout) -> Float[Array, "..."]:
        """Sum over the last axes of an array, which are those of the channel."""
        kept, count = self._kept(layout), len(layout.channel(self.channel).axes)
        lead = values.ndim - count
        others = tuple(lead + i for i in range(count) if i not in kept)
        order = [sorted(kept).index(i) for i in kept]
        values = jnp.sum(values, axis=others) if others else values
        values = jnp.transpose(values, [*range(lead), *(lead + i for i in order)])
        return with_an_axis(values, lead)

    def words(self) -> str:
        """Return how it is written after the name of a mapping."""
        return " ".join(map(quoted, (self.channel, *self.names)))

    def _kept(self, layout: Layout) -> list[int]:
        known = [axis.name for axis in layout.channel(self.channel).axes]
        for name in self.names:
            if name not in known:
                shown = ", ".join(map(repr, known)) or "no axes"
                raise UnknownKeyError(
                    f"channel {self.channel!r}: there is no axis {name!r}."
                    f"{nearest(name, known)} The channel has {shown}."
                )
        return [known.index(name) for name in self.names]


__all__ = ["Projection"]
