"""Some processes in some bins of a channel."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import equinox as eqx
from jaxtyping import Array, Float

from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._channel_parts import Term, checked_channel, checked_processes
from everwillow.mappings.histogram_mapping import (
    EVENTS,
    AbstractHistogramMapping,
)
from everwillow.mappings.selection import Selection, parse_selection


@final
class Select(AbstractHistogramMapping):
    """The yields of some processes in some bins of a channel.

    Spelled ``Select CHANNEL [PROCESS,...] [SELECTION]``, for example
    ``Select ch0 signal x:2:5,cat:sum``.

    Attributes:
        term: The channel, its processes and bins.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0, 3.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> yields = Yields(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), layout)
        >>> mapping = Select("ch0", processes="signal", selection="x:1:")
        >>> print(mapping.key, mapping(None, yields))
        Select ch0 signal x:1: [2. 3.]
    """

    term: Term = eqx.field(static=True)

    def __init__(
        self,
        channel: str,
        *,
        processes: str | Sequence[str] | None = None,
        selection: str | Selection | Mapping[str, Any] | None = None,
    ) -> None:
        """Select processes and bins.

        Args:
            channel: The channel.
            processes: The processes to add; None for all.
            selection: As `everwillow.mappings.parse_selection` reads it.
        """
        term = checked_channel(channel), checked_processes(processes)
        self.term = Term(*term, parse_selection(selection))

    @property
    def key(self) -> str:
        """How it is written."""
        return f"Select {self.term.words()}"

    @property
    def quantity(self) -> str:
        """Return what plots call the values."""
        return EVENTS

    def __call__(self, params: Any, yields: Yields) -> Float[Array, "..."]:
        """Return the sum over the processes."""
        del params
        return self.term.values(yields)

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes that are left."""
        return self.term.axes(layout)

    def has_data(self, layout: Layout) -> bool:
        """Return whether the channel is fitted and no processes are selected."""
        return self.term.has_data(layout)

    def of_processes(
        self, params: Any, yields: Yields
    ) -> Float[Array, "processes ..."]:
        """Return the values process by process."""
        del params
        return self.term.rows(yields)

    def process_names(self, layout: Layout) -> tuple[str, ...]:
        """Return the processes that are selected."""
        return self.term.process_names(layout)


__all__ = ["Select"]
