"""An HS3 document of histfactory distributions as a pyhf workspace."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from everwillow.likelihood.binned_spec import BinScale, ConstraintSpec, ParameterSpec
from everwillow.models.hs3._channels import Channel, Sample
from everwillow.models.hs3._from_pyhf import DEFAULTS, PER_BIN
from everwillow.models.hs3._likelihood import Likelihood
from everwillow.models.hs3._modifiers import Modifier, interpolation
from everwillow.models.hs3._pointer import Node, refuse
from everwillow.models.hs3._report import Report


_CODES = {"normsys": "code4", "histosys": "code4p"}
_UNIT = (0.0, 1.0)


@dataclass
class PyhfParameter:
    """A parameter of pyhf: its kind, and its elements in HS3."""

    kind: str
    names: list[str]


@dataclass
class ToPyhf:
    """Converts the channels of one likelihood.

    Attributes:
        likelihood: As it was read; constraints are taken from it.
        parameters: The parameters of pyhf by name.
    """

    likelihood: Likelihood
    parameters: dict[str, PyhfParameter] = field(default_factory=dict)
    _owner: dict[tuple[str, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._specs = {entry.name: entry for entry in self.likelihood.parameters}

    def channel(self, channel: Channel) -> dict[str, Any]:
        """Return a channel."""
        spec = next(c for c in self.likelihood.spec.channels if c.name == channel.name)
        samples = []
        for sample, compiled in zip(channel.samples, spec.samples, strict=True):
            scales = [e for e in compiled.effects if isinstance(e, BinScale)]
            modifiers = []
            for modifier in sample.modifiers:
                if modifier.kind in PER_BIN:
                    effect = scales.pop(0)
                    modifiers.append(self._bins(modifier, sample, channel, effect))
                else:
                    modifiers.append(self._modifier(modifier))
            samples.append(
                {
                    "name": sample.name,
                    "data": _listed(sample.node.child("data").child("contents")),
                    "modifiers": modifiers,
                }
            )
        return {"name": channel.name, "samples": samples}

    def _modifier(self, modifier: Modifier) -> dict[str, Any]:
        parameter = modifier.parameters[0]
        node = modifier.node
        if not isinstance(parameter, str):
            refuse(node, "pyhf has no constant factors: multiply the yields with it.")
        if parameter not in self._specs:
            refuse(node, f"{parameter!r} is a function, which pyhf does not have.")
        constraint = self._specs[parameter].constraint
        if modifier.kind == "normfactor":
            kind = "normfactor" if constraint is None else "lumi"
            if constraint is not None and constraint.kind != "normal":
                refuse(node, f"pyhf has no {constraint.kind} constraint of a factor.")
            wanted = parameter if kind == "normfactor" else "lumi"
            role = "free" if kind == "normfactor" else "lumi"
            name = self._name(wanted, role, (parameter,), modifier)
            return {"name": name, "type": kind, "data": None}
        code = interpolation(modifier, report=Report())
        if code != _CODES[modifier.kind]:
            refuse(
                node,
                f"a pyhf workspace has {_CODES[modifier.kind]} for {modifier.kind}, "
                f"not {code}.",
            )
        if constraint is None or constraint.kind != "normal":
            refuse(node, "a systematic of pyhf has a Gaussian constraint.")
        wanted = modifier.name
        if wanted == parameter:
            wanted = parameter.removeprefix("alpha_") or parameter
        name = self._name(wanted, "alpha", (parameter,), modifier)
        data = node.child("data")
        if modifier.kind == "normsys":
            made = {"hi": data.child("hi").value, "lo": data.child("lo").value}
        else:
            made = {f"{key}_data": _variation(data, key) for key in ("hi", "lo")}
        return {"name": name, "type": modifier.kind, "data": made}

    def _bins(
        self, modifier: Modifier, sample: Sample, channel: Channel, effect: BinScale
    ) -> dict[str, Any]:
        node = modifier.node
        if isinstance(effect.parameters, str):
            refuse(node, "name the parameter of each bin in 'parameters' for pyhf.")
        names = effect.parameters
        constraints = [self._specs[name].constraint for name in names]
        kinds = {None if c is None else c.kind for c in constraints}
        if len(kinds) != 1:
            refuse(node, f"pyhf has one kind of constraint for all bins, not {kinds}.")
        kind = kinds.pop()
        if kind is None:
            name = self._name(modifier.name, "free", names, modifier)
            return {"name": name, "type": "shapefactor", "data": None}
        widths = [float(np.max(c.width)) for c in constraints if c is not None]
        fixed = [bool(np.all(self._specs[name].fixed)) for name in names]
        carriers = self._carriers(channel, names)
        if kind == "normal":
            data = _stat_data(modifier, sample)
            if data is None:
                errors = [
                    0.0 if held and width == 1.0 else width * nominal
                    for width, nominal, held in zip(
                        widths, sample.nominal.tolist(), fixed, strict=True
                    )
                ]
                data = errors
                if carriers != 1:
                    refuse(node, "in pyhf samples cannot share a Gaussian shapesys.")
            name = self._name(modifier.name, "gamma", names, modifier, several=True)
            return {"name": name, "type": "staterror", "data": data}
        if kind != "poisson" or carriers != 1:
            refuse(
                node,
                f"in pyhf bins with a {kind} constraint belong to one sample, here "
                f"{carriers} samples share them.",
            )
        errors = [
            0.0 if held and tau == 1.0 else nominal / tau**0.5
            for tau, nominal, held in zip(
                widths, sample.nominal.tolist(), fixed, strict=True
            )
        ]
        given = modifier.node.get("data")
        if given is not None and "vals" in given:
            values = given.child("vals").numbers()
            if np.allclose(values, errors, rtol=1e-12):
                errors = _listed(given.child("vals"))
        name = self._name(modifier.name, "gamma", names, modifier)
        return {"name": name, "type": "shapesys", "data": errors}

    def _carriers(self, channel: Channel, names: tuple[str, ...]) -> int:
        spec = next(c for c in self.likelihood.spec.channels if c.name == channel.name)
        return sum(
            isinstance(effect, BinScale) and effect.parameters == names
            for sample in spec.samples
            for effect in sample.effects
        )

    def _name(
        self,
        wanted: str,
        kind: str,
        elements: tuple[str, ...],
        modifier: Modifier,
        *,
        several: bool = False,
    ) -> str:
        """Return the name of a parameter in pyhf, which no other one has.

        A staterror of several channels may have one name: pyhf then counts on.
        """
        if elements in self._owner:
            return self._owner[elements]
        if any(name in known for known in self._owner for name in elements):
            refuse(
                modifier.node,
                "pyhf cannot share some of the parameters of two modifiers only.",
            )
        name, number = wanted, 1
        while name in self.parameters and not (
            several and self.parameters[name].kind == kind
        ):
            number += 1
            name = f"{wanted}_{number}"
        self._owner[elements] = name
        known = self.parameters.setdefault(name, PyhfParameter(kind, []))
        known.names += elements
        return name


def measurement(
    converter: ToPyhf, name: str, poi: str | None, entries: Mapping[str, ParameterSpec]
) -> dict[str, Any]:
    """Return a measurement, with the settings that differ from pyhf's defaults.

    Args:
        converter: Knows the parameters.
        name: Of the measurement.
        poi: Name of the parameter of interest in HS3.
        entries: The parameters as this analysis has them.
    """
    names = {one: n for n, p in converter.parameters.items() for one in p.names}
    settings = []
    for key, parameter in converter.parameters.items():
        found = _settings(parameter, [entries[one] for one in parameter.names])
        if found:
            settings.append({"name": key} | found)
    return {
        "name": name,
        "config": {
            "poi": names.get(poi, "") if poi is not None else "",
            "parameters": settings,
        },
    }


def _settings(parameter: PyhfParameter, entries: list[ParameterSpec]) -> dict[str, Any]:
    start, span = DEFAULTS[parameter.kind]
    found: dict[str, Any] = {}
    starts = [float(entry.start) for entry in entries]
    if parameter.kind == "lumi" or any(value != start for value in starts):
        found["inits"] = starts
    spans = [(float(entry.lower), float(entry.upper)) for entry in entries]
    if any(one != span for one in spans) and np.isfinite(spans).all():
        found["bounds"] = [list(one) for one in spans]
    flags = [_is_held(entry) for entry in entries]
    if any(flags):
        found["fixed"] = flags[0] if len(set(flags)) == 1 else flags
    constraint = entries[0].constraint
    if parameter.kind == "lumi" or (
        parameter.kind == "alpha"
        and constraint is not None
        and (constraint.aux, constraint.width) != _UNIT
    ):
        assert constraint is not None
        found["auxdata"] = [float(constraint.aux)]
        found["sigmas"] = [float(constraint.width)]
    return found


def _is_held(entry: ParameterSpec) -> bool:
    """Return whether it is fixed, other than for want of an error."""
    return bool(np.all(entry.fixed)) and not _without_error(entry.constraint)


def _without_error(constraint: ConstraintSpec | None) -> bool:
    return constraint is not None and constraint.aux == 1.0 and constraint.width == 1.0


def normalised(measurement_: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """Return what a measurement says, free of how it says it."""
    config = measurement_["config"]
    table = {}
    for entry in config.get("parameters", []):
        parameter = known.get(entry["name"])
        if parameter is None:
            continue
        count = len(parameter.names)
        start, span = DEFAULTS[parameter.kind]
        flags = entry.get("fixed", False)
        flags = flags if isinstance(flags, list) else [flags]
        rows = (
            _repeated(entry.get("inits", [start]), count),
            _repeated([tuple(b) for b in entry.get("bounds", [span or ()])], count),
            _repeated(flags, count),
            tuple(entry.get("auxdata", ())),
            tuple(entry.get("sigmas", ())),
        )
        plain = ((start,) * count, (span or (),) * count, (False,) * count, (), ())
        if rows != plain:
            table[entry["name"]] = rows
    return measurement_["name"], config.get("poi", "") or "", table


def _repeated(values: list[Any], count: int) -> tuple[Any, ...]:
    return tuple(values) * (count if len(values) == 1 else 1)


def _stat_data(modifier: Modifier, sample: Sample) -> list[Any] | None:
    """Return the absolute errors of a staterror as they stand in the document."""
    if modifier.kind != "staterror":
        return None
    data = modifier.node.get("data")
    if data is not None and isinstance(data.value, list):
        return _listed(data)
    if data is not None:
        for key in ("uncertainties", "errors", "vals"):
            if key in data:
                return _listed(data.child(key))
    return _listed(sample.node.child("data").child("errors"))


def _variation(data: Node, key: str) -> list[Any]:
    node = data.get(f"{key}_data") or data.child(key)
    return _listed(node if isinstance(node.value, list) else node.child("contents"))


def _listed(node: Node) -> list[Any]:
    return copy.deepcopy(node.value)
