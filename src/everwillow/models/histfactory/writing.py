"""Writing of a `BinnedSpec` as a pyhf workspace."""

import collections
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EverwillowError,
    SpecificationError,
)
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ChannelSpec,
    ConstraintSpec,
    Effect,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.models._document import shortened
from everwillow.models.histfactory._comparison import structure_difference
from everwillow.models.histfactory._effects import Codes
from everwillow.models.histfactory._inventory import take_inventory
from everwillow.models.histfactory._parameters import Draft, draft
from everwillow.models.histfactory.reading import VERSION, read_document
from everwillow.models.histfactory.spec import interpolation_codes, workspace_spec


def to_pyhf(
    model: Any, *, interpolation: str | Mapping[str, str] = "default"
) -> dict[str, Any]:
    """Write a binned likelihood as a pyhf workspace.

    Reading it gives the same likelihood. The measurement contains the settings that
    differ from the defaults of pyhf. Scalar factors of the bins of a channel become one
    array, whose name is the common part of their names.

    Some likelihoods cannot be written, and raise an error with the place: those with
    derived parameters; constraints of log-normal form; normal constraints of a width
    other than 1 for a `normsys` or `histosys`; factors with a constraint that are not
    called ``lumi``; interpolations that differ from `interpolation`, which a workspace
    does not contain.

    Args:
        model: A `BinnedSpec`, or a model that has one as `spec`.
        interpolation: The codes for reading the workspace, as for `workspace_spec`.

    Returns:
        A document for `json.dump`. Missing bounds of parameters are infinities.

    Raises:
        ArgumentTypeError: If there is no `BinnedSpec`.
        ArgumentValueError: If a part has no form in pyhf, with the place.

    Example:
        >>> from everwillow.likelihood.binned.spec import (
        ...     BinnedSpec,
        ...     ChannelSpec,
        ...     ParameterSpec,
        ...     SampleSpec,
        ...     Scale,
        ... )
        >>> import numpy as np
        >>> signal = SampleSpec("signal", np.array([5.0, 9.0]), (Scale("mu"),))
        >>> spec = BinnedSpec(
        ...     (ChannelSpec("SR", np.array([6.0, 8.0]), (signal,)),),
        ...     (ParameterSpec("mu", 1.0, 0.0, 10.0),),
        ...     poi="mu",
        ... )
        >>> to_pyhf(spec)["channels"][0]["samples"][0]["modifiers"]
        [{'name': 'mu', 'type': 'normfactor', 'data': None}]
    """
    original = model if isinstance(model, BinnedSpec) else getattr(model, "spec", None)
    if not isinstance(original, BinnedSpec):
        raise ArgumentTypeError(
            "model: expected a BinnedSpec or a model made of one, got "
            f"{type(model).__name__}."
        )
    if original.derived:
        raise ArgumentValueError(
            f"The parameter {shortened(next(iter(original.derived)))} is computed from "
            "others, which pyhf cannot say."
        )
    spec = _with_arrays(original)
    made = _workspace(spec, interpolation_codes(interpolation))
    try:
        document = read_document(made)
        inventory = take_inventory(document)
    except SpecificationError as error:
        raise ArgumentValueError(
            f"The model has no form in pyhf. In the workspace it would be: {error}"
        ) from error
    config = made["measurements"][0]["config"]["parameters"]
    order = inventory.order()
    for parameter in spec.parameters:
        if parameter.name not in order:
            raise ArgumentValueError(
                f"Parameter {shortened(parameter.name)} acts on nothing; remove it."
            )
        default = draft(parameter.name, order[parameter.name], inventory, document)
        settings = _changed_settings(parameter, default)
        if settings:
            config.append({"name": parameter.name, **settings})
    _check_read_back(spec, made, interpolation)
    return made


def _workspace(spec: BinnedSpec, codes: Codes) -> dict[str, Any]:
    named = {parameter.name: parameter for parameter in spec.parameters}
    config: dict[str, Any] = {"poi": spec.poi or "", "parameters": []}
    return {
        "channels": [
            {"name": channel.name, "samples": _samples(channel, named, codes)}
            for channel in spec.channels
        ],
        "observations": [
            {"name": channel.name, "data": np.asarray(channel.observed, float).tolist()}
            for channel in spec.channels
        ],
        "measurements": [{"name": spec.name or "measurement", "config": config}],
        "version": VERSION,
    }


def _samples(
    channel: ChannelSpec, named: Mapping[str, ParameterSpec], codes: Codes
) -> list[dict[str, Any]]:
    made = []
    staterrors: dict[str, list[tuple[SampleSpec, BinScale, Any]]]
    staterrors = collections.defaultdict(list)
    for sample in channel.samples:
        place = f"channel {shortened(channel.name)}, sample {shortened(sample.name)}"
        modifiers = [
            _modifier(effect, sample, named, codes, place) for effect in sample.effects
        ]
        for effect, modifier in zip(sample.effects, modifiers, strict=True):
            if isinstance(effect, BinScale) and modifier["type"] == "staterror":
                staterrors[modifier["name"]].append((sample, effect, modifier))
        nominal = np.asarray(sample.nominal, float).tolist()
        made.append({"name": sample.name, "data": nominal, "modifiers": modifiers})
    for name, uses in staterrors.items():
        _share_errors(named[name], uses)
    return made


def _share_errors(
    parameter: ParameterSpec, uses: list[tuple[SampleSpec, BinScale, Any]]
) -> None:
    """Distribute the errors of a staterror over the samples of a channel that have it.

    The variance of the sum is distributed in proportion to the yields.
    """
    assert parameter.constraint is not None
    yields = [np.asarray(sample.nominal, float) for sample, _, _ in uses]
    total = np.sum(yields, axis=0)
    positive = np.sum([np.maximum(one, 0) for one in yields], axis=0)
    size = np.size(parameter.start)
    width = np.broadcast_to(parameter.constraint.width, size)
    without = np.broadcast_to(parameter.fixed, size) & (width == 1)
    indices = _indices(uses[-1][1].parameters, total.size)
    error = np.where(total > 0, np.where(without, 0.0, width)[indices] * total, 0.0)
    for one, (_, _, modifier) in zip(yields, uses, strict=True):
        share = np.maximum(one, 0) / np.where(positive > 0, positive, 1)
        modifier["data"] = (error * np.sqrt(share)).tolist()


def _modifier(
    effect: Effect,
    sample: SampleSpec,
    named: Mapping[str, ParameterSpec],
    codes: Codes,
    place: str,
) -> dict[str, Any]:
    if isinstance(effect, BinScale):
        name = _array_name(effect.parameters, sample.nominal.size, named, place)
        kind, data = _bin_scale(named[name], sample)
    else:
        name = effect.parameter
        if name not in named:
            raise ArgumentValueError(
                f"{place}: there is no parameter {shortened(name)}."
            )
        kind, data = _scalar_modifier(effect, named[name], place)
    if isinstance(effect, NormVariation | ShapeVariation):
        code = codes[isinstance(effect, ShapeVariation)]
        if effect.interpolation != code:
            raise ArgumentValueError(
                f"{place}: {kind} {shortened(name)} is interpolated with "
                f"{effect.interpolation}, and a workspace that is read with {code} "
                "cannot say that. Name the interpolation with `interpolation`, there "
                "and here."
            )
    return {"name": name, "type": kind, "data": data}


def _scalar_modifier(
    effect: Scale | NormVariation | ShapeVariation, parameter: ParameterSpec, place: str
) -> tuple[str, Any]:
    if isinstance(effect, NormVariation):
        return "normsys", {"lo": float(effect.down), "hi": float(effect.up)}
    if isinstance(effect, ShapeVariation):
        low, high = (np.asarray(v, float).tolist() for v in (effect.down, effect.up))
        return "histosys", {"lo_data": low, "hi_data": high}
    if parameter.constraint is None:
        return "normfactor", None
    if parameter.name != "lumi":
        raise ArgumentValueError(
            f"{place}: {shortened(parameter.name)} is a factor with a constraint. The "
            "only one that pyhf has is called 'lumi'; rename it if it is that."
        )
    return "lumi", None


def _array_name(
    parameters: str | tuple[str, ...],
    bins: int,
    named: Mapping[str, ParameterSpec],
    place: str,
) -> str:
    """Return the name of the array whose elements are the factors of the bins.

    Raises:
        ArgumentValueError: If there is no such array.
    """
    labels = (parameters,) if isinstance(parameters, str) else parameters
    name, *others = {re.sub(r"\[\d+\]$", "", label) for label in labels}
    size = np.size(named[name].start) if name in named else 0
    if others or max(_indices(parameters, bins)) >= size:
        raise ArgumentValueError(
            f"{place}: the factors of the bins are not elements of one parameter."
        )
    return name


def _indices(parameters: str | tuple[str, ...], bins: int) -> list[int]:
    """Return the indices of the factors of the bins in an array."""
    if isinstance(parameters, str):
        return list(range(bins))
    matches = [re.search(r"\[(\d+)\]$", label) for label in parameters]
    return [int(match[1]) if match else 0 for match in matches]


def _bin_scale(parameter: ParameterSpec, sample: SampleSpec) -> tuple[str, Any]:
    constraint = parameter.constraint
    if constraint is None:
        return "shapefactor", None
    if constraint.kind != "poisson":
        return "staterror", []
    nominal = np.asarray(sample.nominal, float)
    tau = np.broadcast_to(constraint.width, nominal.shape)
    without = np.broadcast_to(parameter.fixed, nominal.shape) & (tau == 1)
    error = np.where(without, 0.0, nominal / np.sqrt(tau))
    return "shapesys", error.tolist()


def _changed_settings(parameter: ParameterSpec, default: Draft) -> dict[str, Any]:
    """Return the settings of a parameter in the measurement."""
    shown = f"parameter {shortened(parameter.name)}"
    constraint = parameter.constraint
    kind = constraint.kind if constraint else None
    if kind != default.constraint:
        raise ArgumentValueError(
            f"{shown} has the constraint {kind or 'none'}, and pyhf gives a "
            f"{default.kind} the constraint {default.constraint or 'none'}."
        )
    size = default.size
    flags = np.broadcast_to(parameter.fixed, size)
    bounds = np.stack(
        [np.broadcast_to(end, size) for end in (parameter.lower, parameter.upper)], 1
    )
    inits = np.broadcast_to(parameter.start, size)
    settings: dict[str, Any] = {}
    if default.inits is None or not _close(inits, default.inits):
        settings["inits"] = inits.astype(float).tolist()
    if default.bounds is None or not _close(bounds, default.bounds):
        settings["bounds"] = bounds.astype(float).tolist()
    if constraint is not None:
        aux = np.broadcast_to(constraint.aux, size)
        width = np.broadcast_to(constraint.width, size)
        if default.auxdata is None or not _close(aux, default.auxdata):
            settings["auxdata"] = aux.astype(float).tolist()
        if default.width is None or not _close(width, default.width):
            key = "factors" if kind == "poisson" else "sigmas"
            if key not in default.attributes():
                raise ArgumentValueError(
                    f"{shown} has a constraint of width {width[0]:g}, and pyhf has "
                    f"{default.kind} with width 1 only."
                )
            settings[key] = width.astype(float).tolist()
    if (flags != default.fixed).any():
        if flags.any() and not flags.all():
            raise ArgumentValueError(
                f"{shown}: pyhf can fix all of its elements or none."
            )
        settings["fixed"] = bool(flags[0])
    return settings


def _close(values: np.ndarray, others: np.ndarray) -> bool:
    return bool(np.allclose(values, others, rtol=1e-14, atol=0.0))


def _check_read_back(
    spec: BinnedSpec, made: dict[str, Any], interpolation: Any
) -> None:
    """Check that reading the workspace gives the model.

    Raises:
        ArgumentValueError: If it gives another likelihood.
    """
    try:
        read = workspace_spec(made, interpolation=interpolation)
    except EverwillowError as error:
        raise ArgumentValueError(
            f"The model has no form in pyhf. In the workspace it would be: {error}"
        ) from error
    difference = structure_difference(_ordered(spec), _ordered(read))
    if difference:
        raise ArgumentValueError(
            f"The model has no form in pyhf: in the workspace, {difference}."
        )


def _ordered(spec: BinnedSpec) -> BinnedSpec:
    """Return a description with channels and parameters in the order of names."""
    return dataclasses.replace(
        spec,
        channels=tuple(sorted(spec.channels, key=lambda channel: channel.name)),
        parameters=tuple(sorted(spec.parameters, key=lambda p: p.name)),
    )


def _with_arrays(spec: BinnedSpec) -> BinnedSpec:
    """Return an equal likelihood with arrays in place of one scalar for each bin.

    Labels of elements such as ``staterror_SR[3]`` do not change.

    Raises:
        ArgumentValueError: If the scalars of a channel have constraints of different
            kinds, or are used elsewhere, too.
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


def _replaced(channel: ChannelSpec, names: dict[Any, str]) -> ChannelSpec:
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
