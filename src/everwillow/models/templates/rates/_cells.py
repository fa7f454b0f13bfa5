"""The processes and bins that parameters scale, as arrays of indices."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from everwillow._errors import ArgumentValueError, ShapeMismatchError, unknown_key
from everwillow.likelihood.histograms import Axis, Channel, Layout


Names: TypeAlias = str | Sequence[str]
"""One name, or several."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The bins of some axes, each with all bins of the channels that project onto it.

    Attributes:
        axes: The axes; without any there is one cell.
        index: The cell of each bin of the layout, or -1 for bins in no cell.
    """

    axes: tuple[Axis, ...]
    index: Int[np.ndarray, " bins"]

    @property
    def size(self) -> int:
        """Number of cells."""
        return math.prod(axis.size for axis in self.axes)

    def names(self, prefix: str) -> list[str]:
        """Return ``<prefix>_<axis><bin>...`` for each cell."""
        shape = tuple(axis.size for axis in self.axes)
        return [
            "_".join(
                [prefix, *(f"{a.name}{i}" for a, i in zip(self.axes, at, strict=True))]
            )
            for at in np.ndindex(shape)
        ]


def names_of(names: Names) -> tuple[str, ...]:
    """Return one name or several as a tuple."""
    return (names,) if isinstance(names, str) else tuple(names)


def process_rows(layout: Layout, processes: Names) -> Int[np.ndarray, " n"]:
    """Return the rows of named processes.

    Raises:
        UnknownKeyError: If there is no such process.
        ArgumentValueError: If a name is repeated.
    """
    names = _once(processes, "processes", some=False)
    return np.array([layout.process(name) for name in names], np.int32)


def cells_of(
    layout: Layout,
    channels: Names,
    axes: Names | None,
    *,
    where: Mapping[str, int | str] | None = None,
    without: Sequence[str] = (),
) -> Cells:
    """Divide channels into the bins of some of their axes.

    Args:
        layout: Channels and processes.
        channels: Channels that share the cells.
        axes: Names of the axes; None for all but those in `where` and `without`.
        where: Selects one bin of some axes, by its index or its label.
        without: Axes that are never among all axes.

    Raises:
        UnknownKeyError: If there is no such channel, axis or label.
        ArgumentValueError: If a channel or an axis appears twice, or a bin is outside.
        ShapeMismatchError: If the axes of two channels do not agree.
    """
    where = where or {}
    index = np.full(layout.bins, -1, np.int32)
    shared: tuple[Axis, ...] | None = None
    for name in _once(channels, "channels"):
        channel = layout.channel(name)
        axis_names = (
            [a.name for a in channel.axes if a.name not in {*where, *without}]
            if axes is None
            else _once(axes, "axes", some=False)
        )
        chosen = [channel.axis(axis) for axis in axis_names]
        these = tuple(channel.axes[i] for i in chosen)
        if shared is not None and these != shared:
            raise _disagreement(names_of(channels)[0], shared, name, these)
        shared = these
        place = np.indices(channel.shape, np.int32).reshape(-1, channel.size)
        cell = np.zeros(channel.size, np.int32)
        for i, axis in zip(chosen, these, strict=True):
            cell = cell * np.int32(axis.size) + place[i]
        for axis, label in where.items():
            i = channel.axis(axis)
            cell[place[i] != _bin(channel, channel.axes[i], label)] = -1
        index[layout.bins_of(name)] = cell
    return Cells(shared or (), index)


def _once(names: Names, argument: str, *, some: bool = True) -> tuple[str, ...]:
    listed = names_of(names)
    if (some and not listed) or len(set(listed)) != len(listed):
        least = "at least one and each once" if some else "each once"
        raise ArgumentValueError(f"{argument}: give {least}, got {list(listed)}.")
    return listed


def _disagreement(
    one: str, axes: tuple[Axis, ...], other: str, others: tuple[Axis, ...]
) -> ShapeMismatchError:
    return ShapeMismatchError(
        f"channels {one!r} and {other!r} cannot share parameters: their axes "
        f"{[a.name for a in axes]} and {[a.name for a in others]} differ in names, "
        "edges or labels. Make a model for each channel, and a Composite of them."
    )


def _bin(channel: Channel, axis: Axis, label: int | str) -> int:
    where = f"channel {channel.name!r}, axis {axis.name!r}"
    if isinstance(label, str):
        labels = axis.labels or ()
        if label not in labels:
            raise unknown_key(label, labels, where=where)
        return labels.index(label)
    if not 0 <= label < axis.size:
        raise ArgumentValueError(
            f"{where}: there is no bin {label}, they are 0 to {axis.size - 1}."
        )
    return int(label)


def centres(axis: Axis) -> Float[np.ndarray, " n"]:
    """Return the centres of the bins of an axis.

    Raises:
        ArgumentValueError: If the axis has categories, or infinite bins.
    """
    if axis.edges is None:
        raise ArgumentValueError(
            f"axis {axis.name!r}: categories have no centres. A shape needs an axis "
            "with edges."
        )
    ends = np.array(axis.edges)
    if not np.all(np.isfinite(ends)):
        raise ArgumentValueError(
            f"axis {axis.name!r}: an underflow or overflow bin reaches to infinity and "
            "has no centre. A shape along it needs a channel without flow bins."
        )
    return (ends[:-1] + ends[1:]) / 2


def fractions(axis: Axis) -> Float[np.ndarray, " n"]:
    """Return the centres of the bins, scaled so that the axis goes from 0 to 1.

    Raises:
        ArgumentValueError: If the axis has categories, or infinite bins.
    """
    middle, edges = centres(axis), axis.edges or (0.0, 1.0)
    return (middle - edges[0]) / (edges[-1] - edges[0])


def check_degree(axis: Axis, degree: int) -> None:
    """Check that the bins of an axis determine a polynomial.

    Raises:
        ArgumentValueError: If the degree is negative, or there are fewer bins than
            coefficients.
    """
    if degree < 0:
        raise ArgumentValueError(
            f"degree: a polynomial has degree 0 or more, got {degree}."
        )
    if axis.size <= degree:
        raise ArgumentValueError(
            f"axis {axis.name!r}: {axis.size} bins cannot determine {degree + 1} "
            "coefficients. Choose a lower degree or finer bins."
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells, and the bins of one more axis in each of them.

    Attributes:
        along: The axis.
        across: The cells.
        index: The flat index of each bin of the layout in an array of shape ``(bins
            along the axis, cells)``, or -1 for bins in no cell.
    """

    along: Axis
    across: Cells
    index: Int[np.ndarray, " bins"]


def grid_of(
    layout: Layout,
    channels: Names,
    axis: str,
    by: Names | None,
    *,
    where: Mapping[str, int | str] | None = None,
) -> Grid:
    """Divide channels into cells across an axis, and find the bins along it.

    Args:
        layout: Channels and processes.
        channels: Channels that share the cells.
        axis: The axis.
        by: The axes of the cells; None for all others.
        where: Selects one bin of some axes, by its index or its label.

    Raises:
        UnknownKeyError: If there is no such channel, axis or label.
        ArgumentValueError: If the axis is among `by`.
        ShapeMismatchError: If the axes of two channels do not agree.
    """
    if by is not None and axis in names_of(by):
        raise ArgumentValueError(
            f"axis {axis!r} is the one of the shape; its bins cannot be cells too."
        )
    along = cells_of(layout, channels, axis, where=where)
    across = cells_of(layout, channels, by, where=where, without=(axis,))
    place = along.index * np.int32(across.size) + across.index
    index = np.where(along.index < 0, np.int32(-1), place)
    return Grid(along.axes[0], across, index)


def places(
    layout: Layout, processes: Names, index: Int[np.ndarray, " bins"]
) -> Int[np.ndarray, "processes bins"]:
    """Return the position of the rate of each process and bin in ``(1, *values)``.

    Args:
        layout: Channels and processes.
        processes: The processes whose rates are not 1.
        index: The value of each bin; -1 for none.
    """
    out = np.zeros((len(layout.processes), layout.bins), np.int32)
    rows = process_rows(layout, processes)
    if not rows.size:
        raise ArgumentValueError(
            "processes: give at least one that the parameters act on."
        )
    out[rows] = index + 1
    return out


def spread(
    values: Float[Array, "..."], place: Int[Array | np.ndarray, "processes bins"]
) -> Float[Array, "processes bins"]:
    """Return ``(1, *values)`` at the positions from `places`."""
    pool = jnp.concatenate([jnp.ones(1, values.dtype), values.ravel()])
    return pool.at[place].get(mode="promise_in_bounds")
