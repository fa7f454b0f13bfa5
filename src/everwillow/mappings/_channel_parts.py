"""Some processes in some bins of a channel: what mappings are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ArgumentTypeError, ArgumentValueError
from everwillow.likelihood.histograms import Axis, Layout, Yields
from everwillow.mappings._bins import applied, resolve
from everwillow.mappings.selection import Selection
from everwillow.mappings.tokens import quoted


SINGLE = Axis("yield", labels=("yield",))
"""The axis of what has a single value."""


@dataclass(frozen=True, slots=True)
class Term:
    """Processes and bins of a channel.

    Attributes:
        channel: The name of the channel.
        processes: The processes that are added; None for all.
        selection: Of bins.
    """

    channel: str
    processes: tuple[str, ...] | None = None
    selection: Selection = field(default_factory=Selection)

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes of its values, at least one."""
        self.process_names(layout)
        found = resolve(self.selection, layout.channel(self.channel))
        return tuple(bins.axis for bins in found if bins.axis) or (SINGLE,)

    def values(self, yields: Yields) -> Float[Array, "..."]:
        """Return the sum over its processes."""
        if self.processes is None:
            return self._selected(yields[self.channel], yields.layout)
        return self._selected(yields[self.channel, self.processes], yields.layout)

    def rows(self, yields: Yields) -> Float[Array, "processes ..."]:
        """Return its values for each of its processes."""
        part = yields.of(self.channel)
        if self.processes is not None:
            index = [yields.layout.process(name) for name in self.processes]
            part = part[np.array(index)]
        return self._selected(part, yields.layout)

    def _selected(self, values: Array, layout: Layout) -> Array:
        channel = layout.channel(self.channel)
        lead = values.ndim - len(channel.axes)
        return with_an_axis(applied(values, resolve(self.selection, channel)), lead)

    def has_data(self, layout: Layout) -> bool:
        """Return whether there are data for it."""
        return self.processes is None and not layout.channel(self.channel).masked

    def process_names(self, layout: Layout) -> tuple[str, ...]:
        """Return its processes."""
        if self.processes is None:
            return layout.processes
        for name in self.processes:
            layout.process(name)
        return self.processes

    def words(self) -> str:
        """Return how it is written after the name of a mapping."""
        parts = [quoted(self.channel)]
        if self.processes is not None:
            parts.append(process_words(self.processes))
        if self.selection:
            parts.append(str(self.selection))
        return " ".join(parts)


def with_an_axis(values: Array, lead: int) -> Array:
    """Give an axis to what has none after the first `lead` ones."""
    return values[..., None] if values.ndim == lead else values


def quotient(numerator: Array, denominator: Array) -> Array:
    """Divide; NaN over zero, where the gradient is zero and not NaN.

    A NaN in the gradient of one bin would spread to those of all.
    """
    zero = denominator == 0
    return jnp.where(zero, jnp.nan, numerator / jnp.where(zero, 1, denominator))


def process_words(processes: tuple[str, ...] | None) -> str:
    """Return how processes are written."""
    return "None" if processes is None else ",".join(map(quoted, processes))


def checked_processes(processes: Any) -> tuple[str, ...] | None:
    """Check processes that a user selects: a name or several, or None for all.

    Raises:
        ArgumentTypeError: If they are no names.
        ArgumentValueError: If there are none, or one is there twice.
    """
    if processes is None:
        return None
    names = checked_names(processes, "processes")
    if not names:
        raise ArgumentValueError("processes: none are given; None means all of them.")
    return names


def checked_names(names: Any, what: str) -> tuple[str, ...]:
    """Check that names are text, and that none is there twice."""
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, Sequence) or not all(isinstance(n, str) for n in names):
        raise ArgumentTypeError(f"{what}: expected names, got {names!r}.")
    for name in names:
        if names.count(name) > 1:
            raise ArgumentValueError(
                f"{what}: {name!r} is there twice in {list(names)}."
            )
        quoted(name)
    return tuple(names)


def checked_channel(channel: Any) -> str:
    """Check the name of a channel."""
    if not isinstance(channel, str):
        raise ArgumentTypeError(f"channel: expected a name, got {channel!r}.")
    quoted(channel)
    return channel


__all__ = [
    "SINGLE",
    "Term",
    "checked_channel",
    "checked_names",
    "checked_processes",
    "process_words",
    "quotient",
    "with_an_axis",
]
