"""Contents of histograms, as vectors over the bins of a channel.

This module reads UHI histograms (hist, boost_histogram, uproot), arrays, and sparse
matrices with a method for coordinates, such as those of scipy.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NonFiniteError,
    ShapeMismatchError,
)
from everwillow.likelihood.histograms import Axis, Channel
from everwillow.models.templates.booking._axes import (
    describe,
    flow_of,
    flow_wanted,
    from_uhi,
)


# Default names of axes; those of ROOT are xaxis, ... Joint axes of two channels, 0:x
# and 1:x, match any name, since the axes of a histogram have different names.
_DEFAULT_NAME = re.compile(r"(axis[ _]?\d*|[xyz]axis|\d+:.*)?")


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a histogram in the bins of a channel.

    Attributes:
        values: The values of each bin, or of those in `index`; one column for each bin
            of further axes.
        variances: The variances of the values; None if the histogram has none.
        index: The filled bins, ascending; None for all bins. The others are 0.
        labels: The names of the bins of the further axes, one for each column.
    """

    values: Float[np.ndarray, "entries columns"]
    variances: Float[np.ndarray, "entries columns"] | None = None
    index: Int[np.ndarray, " entries"] | None = None
    labels: tuple[str, ...] = ("",)


def read(
    histogram: Any, channel: Channel, *, where: str, extra: Sequence[str] | None = ()
) -> Content:
    """Read a histogram as bins of a channel.

    Args:
        histogram: A UHI histogram, an array or a sparse matrix.
        channel: The channel that has these bins.
        where: The purpose of the histogram, for errors.
        extra: Names of the axes that the channel does not have; None to find them.

    Raises:
        ShapeMismatchError: If its bins are not those of the channel.
        NonFiniteError: If a value is not finite.
        ArgumentTypeError: If it is not a histogram.
    """
    if hasattr(histogram, "axes") and callable(getattr(histogram, "values", None)):
        content = _read_uhi(histogram, channel, where, extra)
    elif callable(getattr(histogram, "tocoo", None)):
        if extra:
            raise ArgumentTypeError(
                f"{where}: a sparse matrix has no further axes such as {extra[0]!r}."
            )
        content = _read_sparse(histogram, channel, where)
    else:
        content = _read_array(histogram, channel, where, extra or ())
    _check_finite(content, where)
    return content


def read_plain(histogram: Any, channel: Channel, *, where: str) -> Content:
    """Read a histogram without further axes as the values of all bins."""
    content = read(histogram, channel, where=where)
    if content.index is None:
        return content
    values = np.zeros((channel.size, 1))
    values[content.index] = content.values
    return Content(values)


def numbers(values: Any, *, where: str) -> Float[np.ndarray, "..."]:
    """Return real numbers as an array of float64."""
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(
            f"{where}: expected a histogram, an array of numbers or a sparse matrix, "
            f"got {type(values).__name__}."
        )
    return array.astype(np.float64, copy=False)


def _read_array(
    histogram: Any, channel: Channel, where: str, extra: Sequence[str]
) -> Content:
    array = numbers(histogram, where=where)
    ndim = array.ndim - len(extra)
    inner = array.shape[: max(ndim, 0)]
    scalar = not channel.axes and inner == (1,)
    if ndim < 0 or (inner != channel.shape and not scalar):
        more = f" and then the axes {list(extra)}" if extra else ""
        raise ShapeMismatchError(
            f"{where}: the array has shape {array.shape}, and channel "
            f"{channel.name!r} needs {channel.shape}{more}."
        )
    shape = array.shape[ndim:]
    labels = _labels([tuple(map(str, range(n))) for n in shape])
    return Content(array.reshape(channel.size, len(labels)), labels=labels)


def _labels(parts: list[tuple[str, ...]]) -> tuple[str, ...]:
    labels = [""]
    for part in parts:
        labels = [f"{label}_{name}" for label in labels for name in part]
    return tuple(labels)


def _read_sparse(matrix: Any, channel: Channel, where: str) -> Content:
    if np.prod(matrix.shape, dtype=int) != channel.size:
        raise ShapeMismatchError(
            f"{where}: the sparse matrix has shape {matrix.shape}, and channel "
            f"{channel.name!r} has {channel.size} bins."
        )
    index, values = coordinates(matrix)
    return Content(values[:, None], index=index)


def coordinates(matrix: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return flat positions, ascending, and values of a sparse matrix."""
    coo = matrix.tocoo()
    coords = getattr(coo, "coords", None)
    coords = (coo.row, coo.col) if coords is None else coords
    flat = np.ravel_multi_index(
        tuple(np.asarray(c, np.int64) for c in coords), matrix.shape
    )
    # Entries with the same coordinates are added.
    index, place = np.unique(flat, return_inverse=True)
    data = numbers(coo.data, where="sparse matrix")
    return index, np.bincount(place, data, len(index))


def _read_uhi(
    histogram: Any, channel: Channel, where: str, extra: Sequence[str] | None
) -> Content:
    if str(getattr(histogram, "kind", "COUNT")).upper().endswith("MEAN"):
        raise ArgumentTypeError(
            f"{where}: the histogram holds means (a profile), not numbers of events."
        )
    hist_axes = [from_uhi(axis, i) for i, axis in enumerate(histogram.axes)]
    inner, outer = _split(hist_axes, channel, where, extra)
    _check_names([hist_axes[i] for i in inner], channel, where)
    cuts: list[slice] = [slice(None)] * len(hist_axes)
    flows = [(False, False)] * len(hist_axes)
    for target, i in zip(channel.axes, inner, strict=True):
        flows[i] = _flow(target, hist_axes[i], histogram.axes[i], channel, where)
    if any(map(any, flows)):
        sizes = np.shape(histogram.values(flow=True))
        cuts = [
            _cut(axis, size, foreign, flow)
            for axis, size, foreign, flow in zip(
                hist_axes, sizes, histogram.axes, flows, strict=True
            )
        ]

        def take(method: Any) -> Any:
            return method(flow=True)
    else:

        def take(method: Any) -> Any:
            return method()

    def flat(values: Any) -> np.ndarray:
        part = np.asarray(values, np.float64)[tuple(cuts)]
        return part.transpose([*inner, *outer]).reshape(channel.size, -1)

    variances = getattr(histogram, "variances", None)
    variances = take(variances) if callable(variances) else None
    return Content(
        flat(take(histogram.values)),
        None if variances is None else flat(variances),
        labels=_labels([_bin_names(hist_axes[i]) for i in outer]),
    )


def _bin_names(axis: Axis) -> tuple[str, ...]:
    return tuple(map(str, axis.labels or range(axis.size)))


def _split(
    hist_axes: list[Axis], channel: Channel, where: str, extra: Sequence[str] | None
) -> tuple[list[int], list[int]]:
    """Return the axes of the channel, and the further ones."""
    names = [axis.name for axis in hist_axes]
    if extra is None:
        own = {axis.name for axis in channel.axes}
        more = len(hist_axes) - len(channel.axes)
        outer = [i for i, n in enumerate(names) if n not in own] if more > 0 else []
        if more > 0 and len(outer) != more:
            # Default names: the axes of the channel are the first ones.
            outer = list(range(len(channel.axes), len(hist_axes)))
    else:
        missing = [name for name in extra if name not in names]
        if missing:
            raise ShapeMismatchError(
                f"{where}: the histogram has no axis {missing[0]!r}; its axes are "
                f"{names}."
            )
        outer = [names.index(name) for name in extra]
    inner = [i for i in range(len(hist_axes)) if i not in outer]
    if len(inner) != len(channel.axes):
        raise ShapeMismatchError(
            f"{where}: the histogram has the axes {names}, and channel "
            f"{channel.name!r} has {[axis.name for axis in channel.axes]}."
        )
    return inner, outer


def _check_names(hist_axes: list[Axis], channel: Channel, where: str) -> None:
    """Check that named axes have the names of those of the channel."""
    for target, got in zip(channel.axes, hist_axes, strict=True):
        named = not any(_DEFAULT_NAME.fullmatch(axis.name) for axis in (target, got))
        if named and target.name != got.name:
            raise ShapeMismatchError(
                f"{where}: channel {channel.name!r} has the axis {describe(target)} "
                f"where the histogram has {describe(got)}. Give both the same name, "
                "project, or transpose the histogram; or pass its values()."
            )


def _flow(
    target: Axis, got: Axis, foreign: Any, channel: Channel, where: str
) -> tuple[bool, bool]:
    others = {axis.name for axis in channel.axes} - {target.name}
    flow = flow_wanted(target, got)
    if got.name in others or flow is None:
        raise ShapeMismatchError(
            f"{where}: channel {channel.name!r} has the axis {describe(target)} where "
            f"the histogram has {describe(got)}. Project, rebin or transpose the "
            "histogram so that all its axes are those of the channel."
        )
    has = flow_of(foreign)
    if any(want and not there for want, there in zip(flow, has, strict=True)):
        raise ShapeMismatchError(
            f"{where}: channel {channel.name!r} has flow bins along {target.name!r}, "
            "and the histogram has none there. Fill it with flow bins, or take them "
            "out of the channel."
        )
    return flow


def _cut(axis: Axis, size: int, foreign: Any, flow: tuple[bool, bool]) -> slice:
    """Return the slice of all bins with flow that the channel has along one axis."""
    more = size - axis.size
    below = more == 2 or (more == 1 and flow_of(foreign)[0])
    start = below - (below and flow[0])
    return slice(start, below + axis.size + flow[1])


def _check_finite(content: Content, where: str) -> None:
    for what, values in (("value", content.values), ("variance", content.variances)):
        if values is None or np.isfinite(values).all():
            continue
        entry = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        bin_ = entry if content.index is None else int(content.index[entry])
        raise NonFiniteError(
            f"{where}: the {what} of bin {bin_} (flattened in C order) is not a "
            "finite number."
        )
    if content.variances is not None and (content.variances < 0).any():
        entry = int(np.flatnonzero((content.variances < 0).any(1))[0])
        raise ArgumentValueError(
            f"{where}: the variance of bin {entry} (C order) is negative."
        )
