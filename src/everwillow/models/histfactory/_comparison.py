"""Comparison of the structures of two binned likelihoods."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    Effect,
    ParameterSpec,
    Scale,
)
from everwillow.models._document import shortened


def structure_difference(first: BinnedSpec, second: BinnedSpec) -> str:
    """Return the first difference of two descriptions in anything but numbers.

    Args:
        first: A description.
        second: Another one.

    Returns:
        The first difference in words, empty if there is none. Names of samples and of
        measurements are ignored.
    """
    return (
        _compared("channels", _names(first.channels), _names(second.channels))
        or _compared_parameters(first.parameters, second.parameters)
        or _compared("POI", first.poi, second.poi)
        or _compared("derived parameters", list(first.derived), list(second.derived))
        or _compared_channels(first, second)
    )


def _names(parts: Sequence[Any]) -> list[str]:
    return [part.name for part in parts]


def _compared(label: str, first: Any, second: Any) -> str:
    if first == second:
        return ""
    if isinstance(first, list) and isinstance(second, list):
        only = [shortened(name) for name in first if name not in second]
        more = [shortened(name) for name in second if name not in first]
        if only or more:
            parts = []
            if only:
                parts.append(f"only the first has {', '.join(only[:5])}")
            if more:
                parts.append(f"only the second has {', '.join(more[:5])}")
            return f"of the {label}, {' and '.join(parts)}"
        return f"the {label} are in another order"
    return f"{label}: {first} and {second}"


def _compared_parameters(
    first: tuple[ParameterSpec, ...], second: tuple[ParameterSpec, ...]
) -> str:
    difference = _compared("parameters", _names(first), _names(second))
    if difference:
        return difference
    for one, other in zip(first, second, strict=True):
        shown = f"parameter {shortened(one.name)}"
        size, other_size = np.shape(one.start), np.shape(other.start)
        if size != other_size:
            return f"{shown} has the shapes {size} and {other_size}"
        kinds = [p.constraint.kind if p.constraint else "none" for p in (one, other)]
        if kinds[0] != kinds[1]:
            return f"{shown} has the constraints {kinds[0]} and {kinds[1]}"
        flags = [np.broadcast_to(p.fixed, size) for p in (one, other)]
        if (flags[0] != flags[1]).any():
            element = f"[{int(np.argmax(flags[0] != flags[1]))}]" if size else ""
            return f"{shown}{element} is fixed in one only"
    return ""


def _compared_channels(first: BinnedSpec, second: BinnedSpec) -> str:
    for one, other in zip(first.channels, second.channels, strict=True):
        shown = f"channel {shortened(one.name)}"
        bins, other_bins = len(one.observed), len(other.observed)
        if bins != other_bins:
            return f"{shown} has {bins} and {other_bins} bins"
        count, other_count = len(one.samples), len(other.samples)
        if count != other_count:
            return f"{shown} has {count} and {other_count} samples"
        for sample, other_sample in zip(one.samples, other.samples, strict=True):
            effects = [_described(effect) for effect in sample.effects]
            others = [_described(effect) for effect in other_sample.effects]
            if effects != others:
                place = f"effects on sample {shortened(sample.name)} of {shown}"
                return _compared(place, effects, others)
    return ""


def _described(effect: Effect) -> str:
    """Return the description of an effect without its numbers."""
    kind = type(effect).__name__
    if isinstance(effect, Scale):
        return f"{kind} {effect.parameter}"
    if isinstance(effect, BinScale):
        return f"{kind} {effect.parameters}"
    return f"{kind} {effect.parameter} {effect.interpolation}"
