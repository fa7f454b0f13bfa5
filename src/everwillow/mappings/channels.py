"""Mappings of one channel: all yields, selected ones, projections and fractions."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from everwillow._errors import UnknownKeyError, nearest
from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._channel_parts import (
    SINGLE_VALUE_AXIS,
    Term,
    checked_channel,
    checked_names,
    quotient,
    with_axis,
)
from everwillow.mappings.histogram_mapping import EVENTS, AbstractHistogramMapping
from everwillow.mappings.selection import Selection
from everwillow.mappings.tokens import quoted


@final
class Identity(AbstractHistogramMapping):
    """The expected yields of whole channels, a dictionary by channel.

    Its text is ``Identity`` or ``Identity ch0 ch1``.

    Attributes:
        channels: The names of the channels; None for all, masked ones included.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> yields = Yields(np.array([[1.0, 2.0], [3.0, 4.0]]), layout)
        >>> print(Identity()(None, yields)["ch0"])
        [4. 6.]
    """

    quantity: ClassVar[str] = EVENTS
    channels: tuple[str, ...] | None = eqx.field(static=True)

    def __init__(self, *channels: str) -> None:
        self.channels = checked_names(channels, "channels") or None

    @property
    def key(self) -> str:
        """The text of the mapping, which `parse_mapping` reads."""
        return " ".join(["Identity", *map(quoted, self.channels or ())])

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
        """Return the yields of each process in each channel."""
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


@final
class Select(AbstractHistogramMapping):
    """The yields of some processes in some bins of a channel.

    Its text is ``Select CHANNEL [PROCESS,...] [SELECTION]``, for example
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

    quantity: ClassVar[str] = EVENTS
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
        self.term = Term.of(channel, processes, selection)

    @property
    def key(self) -> str:
        """The text of the mapping, which `parse_mapping` reads."""
        return f"Select {self.term.arguments_text()}"

    def __call__(self, params: Any, yields: Yields) -> Float[Array, "..."]:
        """Return the sum over the processes."""
        del params
        return self.term.values(yields)

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes that the selection keeps."""
        return self.term.axes(layout)

    def has_data(self, layout: Layout) -> bool:
        """Return whether the channel is fitted and no processes are selected."""
        return self.term.has_data(layout)

    def of_processes(
        self, params: Any, yields: Yields
    ) -> Float[Array, "processes ..."]:
        """Return the yields of each process."""
        del params
        return self.term.rows(yields)

    def process_names(self, layout: Layout) -> tuple[str, ...]:
        """Return the processes that are selected."""
        return self.term.process_names(layout)


@dataclass(frozen=True, slots=True)
class Projection:
    """A channel and those of its axes that a projection keeps.

    Attributes:
        channel: The name of the channel.
        names: The names of the kept axes, in the order of the result.
    """

    channel: str
    names: tuple[str, ...]

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes that are kept, at least one."""
        axes = layout.channel(self.channel).axes
        return tuple(axes[i] for i in self._kept(layout)) or (SINGLE_VALUE_AXIS,)

    def values(self, values: Array, layout: Layout) -> Float[Array, "..."]:
        """Project an array whose last axes are those of the channel."""
        kept, count = self._kept(layout), len(layout.channel(self.channel).axes)
        lead = values.ndim - count
        dropped = tuple(lead + i for i in range(count) if i not in kept)
        order = [sorted(kept).index(i) for i in kept]
        values = jnp.sum(values, axis=dropped) if dropped else values
        values = jnp.transpose(values, [*range(lead), *(lead + i for i in order)])
        return with_axis(values, lead)

    def arguments_text(self) -> str:
        """Return the arguments in the text of a mapping."""
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


class AbstractProjection(AbstractHistogramMapping):
    """The projection of a channel onto some of its axes.

    Attributes:
        projection: The channel and the axes to keep, in that order.
    """

    projection: Projection = eqx.field(static=True)

    def __init__(self, channel: str, *, axes: str | Sequence[str] = ()) -> None:
        """Keep some axes of a channel.

        Args:
            channel: The channel.
            axes: The names of the axes to keep, in the order of the result. Without
                names, `Project` keeps no axis and `Normalize` keeps all.
        """
        names = checked_names(axes, "axes")
        self.projection = Projection(checked_channel(channel), names)

    @property
    def key(self) -> str:
        """The text of the mapping, which `parse_mapping` reads."""
        return f"{type(self).__name__} {self.projection.arguments_text()}"

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes that are kept."""
        return self._kept(layout).axes(layout)

    def has_data(self, layout: Layout) -> bool:
        """Return whether the channel is fitted."""
        return not layout.channel(self.projection.channel).masked

    def process_names(self, layout: Layout) -> tuple[str, ...]:
        """Return all processes."""
        return layout.processes

    @abc.abstractmethod
    def _kept(self, layout: Layout) -> Projection:
        """Return the projection with the names of all axes that it keeps."""


@final
class Project(AbstractProjection):
    """The yields of a channel along some axes, summed over the others.

    Its text is ``Project CHANNEL [AXIS ...]``. Without axes it is the total yield.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> axes = Axis("x", edges=(0.0, 1.0, 2.0)), Axis("sign", labels=("-", "+"))
        >>> layout = Layout((Channel("ch0", axes),), ("signal",))
        >>> yields = Yields(np.array([[1.0, 2.0, 3.0, 4.0]]), layout)
        >>> print(Project("ch0", axes=("x",))(None, yields))
        [3. 7.]
    """

    quantity: ClassVar[str] = EVENTS

    def __call__(self, params: Any, yields: Yields) -> Float[Array, "..."]:
        """Return the sum over the other axes and all processes."""
        del params
        projection = self.projection
        return projection.values(yields[projection.channel], yields.layout)

    def of_processes(
        self, params: Any, yields: Yields
    ) -> Float[Array, "processes ..."]:
        """Return the sum over the other axes for each process."""
        del params
        projection = self.projection
        return projection.values(yields.of(projection.channel), yields.layout)

    def _kept(self, layout: Layout) -> Projection:
        del layout
        return self.projection


@final
class Normalize(AbstractProjection):
    """The yields of a channel divided by its total, then projected.

    The total is the sum over all bins and all processes, also for the fractions of
    single processes. The fractions are not divided by the widths of bins.

    Its text is ``Normalize CHANNEL [AXIS ...]``. Without axes it keeps all of them,
    since the projection onto no axis is always 1.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.histograms import Channel
        >>> x = Axis("x", edges=(0.0, 1.0, 2.0))
        >>> layout = Layout((Channel("ch0", (x,)),), ("signal", "background"))
        >>> yields = Yields(np.array([[1.0, 2.0], [2.0, 5.0]]), layout)
        >>> print(Normalize("ch0", axes="x")(None, yields))
        [0.3 0.7]
    """

    quantity: ClassVar[str] = "Fraction of events"
    # The fractions add up to 1.
    ndof_reduction: ClassVar[int] = 1

    def __call__(self, params: Any, yields: Yields) -> Float[Array, "..."]:
        """Return the fractions of all processes together."""
        del params
        total = yields[self.projection.channel]
        part = self._kept(yields.layout).values(total, yields.layout)
        return quotient(part, jnp.sum(total, keepdims=True).reshape([1] * part.ndim))

    def of_processes(
        self, params: Any, yields: Yields
    ) -> Float[Array, "processes ..."]:
        """Return the yields of each process as fractions of the total of all."""
        del params
        rows = yields.of(self.projection.channel)
        part = self._kept(yields.layout).values(rows, yields.layout)
        return quotient(part, jnp.sum(rows).reshape([1] * part.ndim))

    def _kept(self, layout: Layout) -> Projection:
        channel, names = self.projection.channel, self.projection.names
        all_names = tuple(axis.name for axis in layout.channel(channel).axes)
        return Projection(channel, names or all_names)


__all__ = ["Identity", "Normalize", "Project", "Select"]
