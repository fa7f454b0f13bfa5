"""The yields of some processes in some bins of a channel, which mappings consist of."""

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownKeyError,
    nearest,
)
from everwillow.likelihood.histograms import Axis, Channel, Layout, Yields
from everwillow.mappings.selection import (
    Cut,
    Label,
    Merge,
    Operation,
    Pick,
    Position,
    Selection,
    Sum,
    Value,
    parse_selection,
)
from everwillow.mappings.tokens import quoted


SINGLE_VALUE_AXIS = Axis("yield", labels=("yield",))
"""The axis of a mapping with a single value."""


@dataclass(frozen=True, slots=True)
class Term:
    """The sum of some processes in some bins of a channel.

    Attributes:
        channel: The name of the channel.
        processes: The names of the processes; None for all.
        selection: The selection of bins.
    """

    channel: str
    processes: tuple[str, ...] | None = None
    selection: Selection = field(default_factory=Selection)

    @classmethod
    def of(cls, channel: Any, processes: Any, selection: Any) -> "Term":
        """Check the arguments of a mapping and return their term."""
        names = checked_channel(channel), checked_processes(processes)
        return cls(*names, parse_selection(selection))

    def axes(self, layout: Layout) -> tuple[Axis, ...]:
        """Return the axes of the selected bins, at least one."""
        self.process_names(layout)
        selected = resolve(self.selection, layout.channel(self.channel))
        return tuple(bins.axis for bins in selected if bins.axis) or (
            SINGLE_VALUE_AXIS,
        )

    def values(self, yields: Yields) -> Float[Array, "..."]:
        """Return the sum over the processes."""
        if self.processes is None:
            return self._selected(yields[self.channel], yields.layout)
        return self._selected(yields[self.channel, self.processes], yields.layout)

    def rows(self, yields: Yields) -> Float[Array, "processes ..."]:
        """Return the yields of each process."""
        part = yields.of(self.channel)
        if self.processes is not None:
            index = [yields.layout.process(name) for name in self.processes]
            part = part[np.array(index)]
        return self._selected(part, yields.layout)

    def _selected(self, values: Array, layout: Layout) -> Array:
        channel = layout.channel(self.channel)
        lead = values.ndim - len(channel.axes)
        return with_axis(applied(values, resolve(self.selection, channel)), lead)

    def has_data(self, layout: Layout) -> bool:
        """Return whether the channel is fitted and no processes are selected."""
        return self.processes is None and not layout.channel(self.channel).masked

    def process_names(self, layout: Layout) -> tuple[str, ...]:
        """Return the names of the processes."""
        if self.processes is None:
            return layout.processes
        for name in self.processes:
            layout.process(name)
        return self.processes

    def arguments_text(self) -> str:
        """Return the arguments in the text of a mapping."""
        parts = [quoted(self.channel)]
        if self.processes is not None:
            parts.append(processes_text(self.processes))
        if self.selection:
            parts.append(str(self.selection))
        return " ".join(parts)


def with_axis(values: Array, lead: int) -> Array:
    """Append an axis of length 1 to an array of `lead` dimensions."""
    return values[..., None] if values.ndim == lead else values


def quotient(numerator: Array, denominator: Array) -> Array:
    """Divide; where the denominator is zero, return NaN with a gradient of zero.

    A gradient of NaN for one bin would make the gradients of all bins NaN.
    """
    zero = denominator == 0
    return jnp.where(zero, jnp.nan, numerator / jnp.where(zero, 1, denominator))


def processes_text(processes: tuple[str, ...] | None) -> str:
    """Return the names of processes in the text of a mapping."""
    return "None" if processes is None else ",".join(map(quoted, processes))


def checked_processes(processes: Any) -> tuple[str, ...] | None:
    """Check the names of processes: one or several, or None for all.

    Raises:
        ArgumentTypeError: If they are not names.
        ArgumentValueError: If there is no name, or a repeated one.
    """
    if processes is None:
        return None
    names = checked_names(processes, "processes")
    if not names:
        raise ArgumentValueError("processes: none are given; None means all of them.")
    return names


def checked_names(names: Any, argument: str) -> tuple[str, ...]:
    """Check that names are texts and differ."""
    names = (names,) if isinstance(names, str) else names
    if not isinstance(names, Sequence) or not all(isinstance(n, str) for n in names):
        raise ArgumentTypeError(f"{argument}: expected names, got {names!r}.")
    for name in names:
        if names.count(name) > 1:
            raise ArgumentValueError(
                f"{argument}: {name!r} is there twice in {list(names)}."
            )
        quoted(name)
    return tuple(names)


def checked_channel(channel: Any) -> str:
    """Check the name of a channel."""
    if not isinstance(channel, str):
        raise ArgumentTypeError(f"channel: expected a name, got {channel!r}.")
    quoted(channel)
    return channel


# A value that is closer to an edge than this, in units of the narrowest bin, is on the
# edge: in floating point the third of ten steps from 0 to 1 is not exactly 0.3.
ON_EDGE = 1e-9


class Bins(NamedTuple):
    """The bins that a selection keeps on one axis, and how it merges them.

    Attributes:
        kept: Indices of the kept bins, ascending.
        group: Index of the merged bin that each kept bin belongs to, ascending.
        axis: The axis of the merged bins; None if the selection drops the axis, which
            leaves one merged bin.
    """

    kept: Int[np.ndarray, " kept"]
    group: Int[np.ndarray, " kept"]
    axis: Axis | None


def resolve(selection: Selection, channel: Channel) -> tuple[Bins, ...]:
    """Return the bins that a selection keeps on each axis of a channel.

    Raises:
        UnknownKeyError: If an axis or a category does not exist.
        ArgumentValueError: If a bin does not exist, or if an edge is not one of a bin.
    """
    names = [axis.name for axis in channel.axes]
    selected = [Bins(np.arange(a.size), np.arange(a.size), a) for a in channel.axes]
    for name, operation in selection.items:
        where = f"channel {channel.name!r}, selection {name}:{operation}: "
        if name not in names:
            known = ", ".join(map(repr, names)) or "no axes"
            msg = f"{where}there is no axis {name!r}.{nearest(name, names)}"
            raise UnknownKeyError(f"{msg} The channel has {known}.")
        i = names.index(name)
        if selected[i].axis is None:
            raise ArgumentValueError(
                f"{where}an earlier selection has dropped this axis."
            )
        selected[i] = _select(selected[i], operation, where)
    return tuple(selected)


def applied(values: Array, bins: Sequence[Bins]) -> Array:
    """Select and merge bins along the last axes of an array, one for each of `bins`."""
    first = values.ndim - len(bins)
    for i in reversed(range(len(bins))):
        values = _applied_along(values, bins[i], first + i)
    return values


def _applied_along(values: Array, bins: Bins, i: int) -> Array:
    kept, group = bins.kept, bins.group
    start, stop = int(kept[0]), int(kept[-1]) + 1
    if kept.size == stop - start:
        values = jax.lax.slice_in_dim(values, start, stop, axis=i)
    else:
        values = jnp.take(values, kept, axis=i, mode="clip")
    if bins.axis is None:
        return jnp.sum(values, axis=i)
    size = int(group[-1]) + 1
    if size == kept.size:
        return values
    if kept.size % size == 0 and np.all(np.bincount(group) == kept.size // size):
        shape = (*values.shape[:i], size, -1, *values.shape[i + 1 :])
        return jnp.sum(values.reshape(shape), axis=i + 1)
    moved = jnp.moveaxis(values, i, 0)
    total = jax.ops.segment_sum(moved, group, size, indices_are_sorted=True)
    return jnp.moveaxis(total, 0, i)


def _select(bins: Bins, operation: Operation, where: str) -> Bins:
    """Apply one more operation to the bins of an axis."""
    axis = bins.axis
    assert axis is not None
    if isinstance(operation, Sum):
        return Bins(bins.kept, np.zeros_like(bins.group), None)
    if isinstance(operation, Pick):
        i = _index(axis, operation.position, where)
        picked = bins.group == i
        return Bins(bins.kept[picked], np.zeros(int(picked.sum()), int), None)
    if isinstance(operation, Cut):
        return _cut(bins, axis, operation, where)
    if isinstance(operation, Merge):
        if axis.size % operation.factor:
            raise ArgumentValueError(
                f"{where}{axis.size} bins cannot be merged by {operation.factor}. "
                "Take a part of them first, or give edges: rebin(0,1,2)."
            )
        ends = list(range(0, axis.size + 1, operation.factor))
    else:
        ends = [_edge(axis, edge, where) for edge in operation.edges]
    inside = (bins.group >= ends[0]) & (bins.group < ends[-1])
    group = np.searchsorted(ends, bins.group[inside], side="right") - 1
    return Bins(bins.kept[inside], group, _merged(axis, ends))


def _cut(bins: Bins, axis: Axis, cut: Cut, where: str) -> Bins:
    start = 0 if cut.start is None else _slice_end(axis, cut.start, where)
    stop = axis.size if cut.stop is None else _slice_end(axis, cut.stop, where)
    if start >= stop:
        raise ArgumentValueError(f"{where}no bin is left of {axis.size}.")
    of_stride = (bins.group - start) % cut.stride == 0
    inside = (bins.group >= start) & (bins.group < stop) & of_stride
    group = (bins.group[inside] - start) // cut.stride
    return Bins(bins.kept[inside], group, _sliced(axis, start, stop, cut.stride))


def _sliced(axis: Axis, start: int, stop: int, stride: int) -> Axis:
    """Return the axis of every `stride`-th bin; bins with gaps become categories."""
    if axis.edges is not None and stride == 1:
        return dataclasses.replace(axis, edges=axis.edges[start : stop + 1])
    labels = axis.labels
    if axis.edges is not None:
        pairs = zip(axis.edges[:-1], axis.edges[1:], strict=True)
        labels = tuple(f"[{low:.12g}, {high:.12g})" for low, high in pairs)
    part = (labels or ())[start:stop:stride]
    return dataclasses.replace(axis, edges=None, labels=part)


def _merged(axis: Axis, ends: Sequence[int]) -> Axis:
    if axis.edges is not None:
        return dataclasses.replace(axis, edges=tuple(axis.edges[i] for i in ends))
    labels = axis.labels or ()
    parts = [labels[a:b] for a, b in itertools.pairwise(ends)]
    names = ["+".join(map(str, part)) for part in parts]
    merged = tuple(names) if len(labels) > len(parts) else labels
    return dataclasses.replace(axis, labels=merged)


def _index(axis: Axis, position: Position, where: str) -> int:
    """Return the index of the bin at a position."""
    size = axis.size
    if isinstance(position, int):
        if not -size <= position < size:
            raise ArgumentValueError(
                f"{where}there is no bin {position} among {size} (0 to {size - 1})."
            )
        return position % size
    if axis.labels is not None:
        return _category(axis, position, where)
    if isinstance(position, Label):
        raise ArgumentValueError(
            f"{where}this axis has intervals, not categories.{_similar(position, [])} "
            "Give a bin index (3), a value (0.5j), a slice (2:5), sum or rebin(...)."
        )
    i = _bin_of_value(axis, position.number)
    if not 0 <= i < size:
        edges = axis.edges or (0.0,)
        raise ArgumentValueError(
            f"{where}{position.number:g} is outside of the axis, which goes from "
            f"{edges[0]:g} to {edges[-1]:g}."
        )
    return i


def _category(axis: Axis, position: Value | Label, where: str) -> int:
    labels = axis.labels or ()
    if isinstance(position, Label):
        names = [str(label) for label in labels]
        if position.text in names:
            return names.index(position.text)
        hint = _similar(position, names)
        msg = f"{where}there is no category {position.text!r}.{hint}"
        raise UnknownKeyError(f"{msg} The categories are: {', '.join(names[:10])}.")
    for i, label in enumerate(labels):
        if not isinstance(label, str) and label == position.number:
            return i
    shown = ", ".join(map(repr, labels[:10]))
    raise UnknownKeyError(
        f"{where}no category has the value {position}. The categories are: {shown}."
    )


def _similar(position: Label, names: Sequence[str]) -> str:
    """Return a hint at similar categories and keywords."""
    return nearest(position.text, [*names, "sum", "rebin(2)", "slice(0,2)", "None"])


def _slice_end(axis: Axis, position: Position, where: str) -> int:
    """Return the index of the bin at which a slice begins, or before which it ends."""
    size = axis.size
    if isinstance(position, Value) and axis.edges is not None:
        return min(max(_bin_of_value(axis, position.number), 0), size)
    if not isinstance(position, int):
        return _index(axis, position, where)
    if not -size <= position <= size:
        raise ArgumentValueError(
            f"{where}a slice at {position} of an axis with {size} bins."
        )
    return position + size if position < 0 else position


def _bin_of_value(axis: Axis, value: float) -> int:
    """Return the bin that a value is in: -1 before the first, `size` after the last."""
    near = _edge_near(axis, value)
    if near is not None:
        return near
    return int(np.searchsorted(axis.edges or (), value, side="right")) - 1


def _edge_near(axis: Axis, value: float) -> int | None:
    """Return the index of the edge that equals a value up to rounding, if any."""
    edges = np.array(axis.edges)
    same = edges == value
    if same.any():
        return int(np.argmax(same))
    if not np.isfinite(value):
        return None
    widths = np.diff(edges[np.isfinite(edges)])
    width = np.min(widths) if widths.size else 1.0
    away = np.abs(edges - value)
    i = int(np.argmin(away))
    return i if away[i] <= ON_EDGE * width else None


def _edge(axis: Axis, value: float, where: str) -> int:
    """Return the index of the edge at a value."""
    if axis.edges is None:
        raise ArgumentValueError(
            f"{where}this axis has categories: merge them by rebin(2)."
        )
    i = _edge_near(axis, value)
    if i is None:
        close = min(axis.edges, key=lambda edge: abs(edge - value))
        raise ArgumentValueError(
            f"{where}{value:g} is no edge of this axis. The nearest is {close:g}; bins "
            "can only be merged."
        )
    return i
