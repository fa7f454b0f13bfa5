"""Fluctuations of simulated samples that move masked bins, read from histograms."""

from typing import Any

import numpy as np

from everwillow._errors import NonFiniteError, ShapeMismatchError
from everwillow.likelihood.histograms import Channel
from everwillow.models.templates.booking._book import BetaBlock
from everwillow.models.templates.booking._histograms import coordinates, read


def beta_block(
    histogram: Any, process: str, source: Channel, target: Channel
) -> BetaBlock:
    """Return the effect of fluctuations in fitted bins on masked ones.

    Args:
        histogram: A histogram with the axes of the fitted channel, then those of the
            masked one, or in the other order if the axes have names.
        process: The name of the process.
        source: The fitted channel.
        target: The masked channel.
    """
    where = (
        f"beta variations of process {process!r} from {source.name!r} to "
        f"{target.name!r}"
    )
    if callable(getattr(histogram, "tocoo", None)):
        if tuple(histogram.shape) != (source.size, target.size):
            raise ShapeMismatchError(
                f"{where}: the sparse matrix has shape {histogram.shape}, it needs "
                f"{(source.size, target.size)}."
            )
        flat, change = coordinates(histogram)
    else:
        values = _both(histogram, source, target, where)
        flat = np.flatnonzero(values)
        change = values[flat]
    if not np.isfinite(change).all():
        raise NonFiniteError(f"{where}: a number is not finite.")
    bins = np.divmod(flat, target.size)
    return BetaBlock(process, source.name, target.name, *bins, change)


def _both(histogram: Any, source: Channel, target: Channel, where: str) -> np.ndarray:
    axis_names = [getattr(a, "name", None) for a in getattr(histogram, "axes", ())]
    forward = [axis.name for axis in (*source.axes, *target.axes)]
    backward = [axis.name for axis in (*target.axes, *source.axes)]
    swapped = axis_names == backward and forward != backward
    first, second = (target, source) if swapped else (source, target)
    # Both channels may have axes of the same name, but a single channel may not.
    joint = Channel(where, (*first.axes, *second.axes), masked=True)
    content = read(histogram, _distinct(joint), where=where)
    values = content.values.reshape(first.size, second.size)
    return (values.T if swapped else values).ravel()


def _distinct(channel: Channel) -> Channel:
    """Return a channel whose axes are matched by position alone."""
    axes = tuple(
        type(axis)(f"{i}:{axis.name}", axis.edges, axis.labels)
        for i, axis in enumerate(channel.axes)
    )
    return Channel(channel.name, axes, channel.masked)
