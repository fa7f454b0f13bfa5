"""Axes and channels of template fits, and yields of their bins."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentValueError, unknown_key


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a histogram: intervals of a quantity, or categories.

    Attributes:
        name: The name of the axis.
        edges: The ends of its intervals, ascending, one more than there are bins; an
            underflow bin begins at minus infinity, an overflow bin ends at infinity.
            None for categories.
        labels: The names of its categories, one a bin; None for intervals.
        title: The label of the axis in plots, with a unit for example; the name if
            empty. It does not count in comparisons of axes.
    """

    name: str
    edges: tuple[float, ...] | None = None
    labels: tuple[str | int, ...] | None = None
    title: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Check that there are either edges or labels, and that edges ascend."""
        if (self.edges is None) == (self.labels is None):
            raise ArgumentValueError(
                f"Axis {self.name!r}: give either edges or labels."
            )
        if self.edges is not None and (
            len(self.edges) < 2 or not np.all(np.diff(self.edges) > 0)
        ):
            raise ArgumentValueError(
                f"Axis {self.name!r}: edges must ascend and be two at least, got "
                f"{self.edges}."
            )
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ArgumentValueError(
                f"Axis {self.name!r}: a label appears twice in {self.labels}."
            )

    @property
    def size(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1 if self.edges is not None else len(self.labels or ())


@dataclass(frozen=True, slots=True)
class Channel:
    """A histogram that is fitted, or one to which the fit is only propagated.

    Attributes:
        name: Its name.
        axes: Its axes; no axis means a single bin.
        masked: Whether it has no data and stays out of the fit.
    """

    name: str
    axes: tuple[Axis, ...]
    masked: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of bins along each axis."""
        return tuple(axis.size for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of bins."""
        return math.prod(self.shape)

    def axis(self, name: str) -> int:
        """Return the position of the axis with a name.

        Raises:
            UnknownKeyError: If there is none.
        """
        names = [axis.name for axis in self.axes]
        if name not in names:
            raise unknown_key(name, names, where=f"channel {self.name!r}", kind="axis")
        return names.index(name)


@dataclass(frozen=True, slots=True)
class Layout:
    """All channels and processes of a template fit.

    Bins are numbered channel after channel, each in C order; the fitted channels come
    first, so that the fitted bins are the first ones.

    Attributes:
        channels: The channels, in the order of the bins.
        processes: The names of the processes, in order.
    """

    channels: tuple[Channel, ...]
    processes: tuple[str, ...]

    @property
    def bins(self) -> int:
        """Number of all bins."""
        return sum(channel.size for channel in self.channels)

    @property
    def fitted(self) -> int:
        """Number of bins that have data."""
        return sum(c.size for c in self.channels if not c.masked)

    def channel(self, name: str) -> Channel:
        """Return the channel of a name.

        Raises:
            UnknownKeyError: If there is none.
        """
        for channel in self.channels:
            if channel.name == name:
                return channel
        names = [c.name for c in self.channels]
        raise unknown_key(name, names, where="layout", kind="channel")

    def bins_of(self, name: str) -> slice:
        """Return the places of the bins of a channel."""
        this, start = self.channel(name), 0
        for channel in self.channels:
            if channel is this:
                break
            start += channel.size
        return slice(start, start + this.size)

    def process(self, name: str) -> int:
        """Return the position of the process with a name.

        Raises:
            UnknownKeyError: If there is none.
        """
        if name not in self.processes:
            raise unknown_key(name, self.processes, where="layout", kind="process")
        return self.processes.index(name)


@final
class Yields(eqx.Module):
    """Expected numbers of events, by process and bin.

    ``yields["ch0"]`` is the total yield of channel ``ch0``, an array of the shape of
    its axes; ``yields["ch0", "signal"]`` is that of one process, and ``yields["ch0",
    ["w", "z"]]`` that of several.

    Attributes:
        values: Yields of all processes in all bins, masked channels included.
        layout: The processes and channels of the rows and columns.
    """

    values: Float[Array, "processes bins"]
    layout: Layout = eqx.field(static=True)

    def __getitem__(self, key: str | tuple[str, str | Sequence[str]]) -> Any:
        """Return the yields of a channel, of all processes or of those named."""
        name, processes = (key, None) if isinstance(key, str) else key
        part = self.of(name)
        if processes is None:
            return jnp.sum(part, 0)
        if isinstance(processes, str):
            return part[self.layout.process(processes)]
        return jnp.sum(part[np.array([self.layout.process(p) for p in processes])], 0)

    def of(self, channel: str) -> Float[Array, "processes *shape"]:
        """Return the yields of a channel, process by process."""
        part = self.values[:, self.layout.bins_of(channel)]
        return part.reshape(-1, *self.layout.channel(channel).shape)
