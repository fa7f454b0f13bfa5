"""One array parameter instead of one scalar for each bin, as pyhf has them."""

import dataclasses
import re
from typing import Any

import numpy as np

from everwillow._errors import ArgumentValueError
from everwillow.likelihood.binned_spec import (
    BinnedSpec,
    BinScale,
    ConstraintSpec,
    Effect,
    ParameterSpec,
)
from everwillow.models.histfactory.faults import shortened


def with_arrays(spec: BinnedSpec) -> BinnedSpec:
    """Return the same likelihood with arrays in place of one scalar for each bin.

    Labels of elements such as ``staterror_SR[3]`` stay.

    Raises:
        ArgumentValueError: If the scalars of a channel have constraints of different
            kinds, or act elsewhere too.
    """
    named = {parameter.name: parameter for parameter in spec.parameters}
    groups: dict[tuple[str, ...], str] = {}
    for channel in spec.channels:
        for sample in channel.samples:
            for effect in sample.effects:
                if isinstance(effect, BinScale) and _scalars(effect.parameters, named):
                    groups.setdefault(tuple(effect.parameters), channel.name)
    if not groups:
        return spec
    arrays = {group: _array(group, groups[group], named) for group in groups}
    owner = {name: group for group in groups for name in group}
    if len(owner) < sum(map(len, groups)):
        raise ArgumentValueError(
            "Channels share some of the factors of their bins, which pyhf cannot say."
        )
    _check_alone(spec, owner)
    parameters = []
    for parameter in spec.parameters:
        group = owner.get(parameter.name)
        if group is None:
            parameters.append(parameter)
        elif parameter.name == group[0]:
            parameters.append(arrays[group])
    names = {group: array.name for group, array in arrays.items()}
    channels = tuple(_replaced(channel, names) for channel in spec.channels)
    return dataclasses.replace(spec, channels=channels, parameters=tuple(parameters))


def _scalars(parameters: Any, named: dict[str, ParameterSpec]) -> bool:
    return isinstance(parameters, tuple) and all(name in named for name in parameters)


def _replaced(channel: Any, names: dict[tuple[str, ...], str]) -> Any:
    def replaced(effect: Effect) -> Effect:
        if isinstance(effect, BinScale) and effect.parameters in names:
            return BinScale(names[effect.parameters])
        return effect

    samples = tuple(
        dataclasses.replace(sample, effects=tuple(map(replaced, sample.effects)))
        for sample in channel.samples
    )
    return dataclasses.replace(channel, samples=samples)


def _check_alone(spec: BinnedSpec, owner: dict[str, tuple[str, ...]]) -> None:
    for channel in spec.channels:
        for sample in channel.samples:
            for effect in sample.effects:
                name = None if isinstance(effect, BinScale) else effect.parameter
                if name in owner:
                    raise ArgumentValueError(
                        f"Channel {shortened(channel.name)}, sample "
                        f"{shortened(sample.name)}: {shortened(name)} is the factor of "
                        "a bin and acts here too, which pyhf cannot say."
                    )
    if spec.poi in owner:
        raise ArgumentValueError(
            f"The POI {spec.poi!r} is the factor of one bin, which pyhf cannot say."
        )


def _array(
    group: tuple[str, ...], channel: str, named: dict[str, ParameterSpec]
) -> ParameterSpec:
    parts = [named[name] for name in group]
    kinds = {part.constraint.kind if part.constraint else None for part in parts}
    if len(kinds) > 1:
        raise ArgumentValueError(
            f"Channel {shortened(channel)}: the factors of its bins "
            f"({shortened(group[0])}, ...) have constraints of different kinds, which "
            "pyhf cannot say."
        )
    constraints = [part.constraint for part in parts if part.constraint]
    constraint = None
    if constraints:
        aux = np.array([float(c.aux) for c in constraints])
        width = np.array([float(c.width) for c in constraints])
        constraint = ConstraintSpec(constraints[0].kind, aux, width)
    return ParameterSpec(
        _common_name(group, channel, named),
        np.array([float(part.start) for part in parts]),
        np.array([float(part.lower) for part in parts]),
        np.array([float(part.upper) for part in parts]),
        np.array([bool(part.fixed) for part in parts]),
        constraint,
    )


def _common_name(
    group: tuple[str, ...], channel: str, named: dict[str, ParameterSpec]
) -> str:
    stripped = {re.sub(r"(_bin_?\d+|\[\d+\]|_\d+)$", "", name) for name in group}
    name = stripped.pop() if len(stripped) == 1 else ""
    return name if name and name not in named else f"gammas_{channel}"
