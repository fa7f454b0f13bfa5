"""Errors of samples that give the widths of a staterror."""

from collections.abc import Mapping

import numpy as np

from everwillow.likelihood.binned_spec import BinnedSpec, BinScale, ParameterSpec


def uncertainties(
    spec: BinnedSpec, named: Mapping[str, ParameterSpec]
) -> dict[tuple[str, str, str], np.ndarray]:
    """Share the widths of normal factors of bins among the samples that have them.

    The variance of the sum is shared in proportion to the yields.

    Returns:
        Channel, sample and parameter to the error of each bin.
    """
    made = {}
    for channel in spec.channels:
        yields: dict[str, dict[str, np.ndarray]] = {}
        elements: dict[str, tuple[str, np.ndarray]] = {}
        for sample in channel.samples:
            for effect in sample.effects:
                if isinstance(effect, BinScale):
                    found = _widths(effect.parameters, named, len(channel.observed))
                    if found is not None:
                        nominal = np.asarray(sample.nominal, float)
                        yields.setdefault(found[0], {})[sample.name] = nominal
                        elements[found[0]] = found
        for name, samples in yields.items():
            total = np.sum(list(samples.values()), axis=0)
            positive = np.sum([np.maximum(y, 0) for y in samples.values()], axis=0)
            error = np.where(total > 0, elements[name][1] * total, 0.0)
            for sample, nominal in samples.items():
                share = np.maximum(nominal, 0) / np.where(positive > 0, positive, 1)
                made[channel.name, sample, name] = error * np.sqrt(share)
    return made


def _widths(
    parameters: str | tuple[str, ...], named: Mapping[str, ParameterSpec], bins: int
) -> tuple[str, np.ndarray] | None:
    """Return the array and the widths of its elements here, 0 where there is none."""
    name, indices = _elements(parameters, bins)
    parameter = named.get(name)
    if parameter is None or parameter.constraint is None:
        return None
    if parameter.constraint.kind != "normal":
        return None
    size = np.size(parameter.start)
    width = np.broadcast_to(parameter.constraint.width, size)
    fixed = np.broadcast_to(parameter.fixed, size)
    if max(indices) >= size:
        return None
    return name, np.where(fixed & (width == 1), 0.0, width)[indices]


def _elements(parameters: str | tuple[str, ...], bins: int) -> tuple[str, list[int]]:
    if isinstance(parameters, str):
        return parameters, list(range(bins))
    parts = [label.rpartition("[") for label in parameters]
    indices = [int(end[:-1]) if end[:-1].isdecimal() else 0 for _, _, end in parts]
    return parts[0][0], indices
