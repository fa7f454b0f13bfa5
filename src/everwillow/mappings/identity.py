"""Whole channels."""

from typing import Any, final

import equinox as eqx
from jaxtyping import Array, Float

from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._channel_parts import Term, checked_names
from everwillow.mappings.histogram_mapping import (
    EVENTS,
    AbstractHistogramMapping,
)
from everwillow.mappings.tokens import quoted


@final
class Identity(AbstractHistogramMapping):
    """The expected yields of whole channels, a dictionary by channel.

    Spelled ``Identity`` or ``Identity ch0 ch1``.

    Attributes:
        channels: Those that are meant; None for all, masked ones included.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> yields = Yields(np.array([[1.0, 2.0], [3.0, 4.0]]), layout)
        >>> print(Identity()(None, yields)["ch0"])
        [4. 6.]
    """

    channels: tuple[str, ...] | None = eqx.field(static=True)

    def __init__(self, *channels: str) -> None:
        self.channels = checked_names(channels, "channels") or None

    @property
    def key(self) -> str:
        """How it is written."""
        return " ".join(["Identity", *map(quoted, self.channels or ())])

    @property
    def quantity(self) -> str:
        """Return what plots call the values."""
        return EVENTS

    def __call__(self, params: Any, yields: Yields) -> dict[str, Float[Array, "..."]]:
        """Return the yields of each channel."""
        del params
        return {t.channel: t.values(yields) for t in self._terms(yields.layout)}

    def axes(self, layout: Layout) -> dict[str, tuple[Axis, ...]]:
        """Return the axes of each channel."""
        return {term.channel: term.axes(layout) for term in self._terms(layout)}

    def has_data(self, layout: Layout) -> bool:
        """Return whether none of the channels is masked."""
        return all(term.has_data(layout) for term in self._terms(layout))

    def of_processes(
        self, params: Any, yields: Yields
    ) -> dict[str, Float[Array, "processes ..."]]:
        """Return the yields of each channel, process by process."""
        del params
        return {t.channel: t.rows(yields) for t in self._terms(yields.layout)}

    def process_names(self, layout: Layout) -> dict[str, tuple[str, ...]]:
        """Return all processes, for each channel."""
        return {term.channel: layout.processes for term in self._terms(layout)}

    def _terms(self, layout: Layout) -> list[Term]:
        names = self.channels
        if names is None:
            names = tuple(channel.name for channel in layout.channels)
        return [Term(name) for name in names]


__all__ = ["Identity"]
