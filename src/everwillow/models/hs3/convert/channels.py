"""Conversion of the channels of an HS3 document to those of a pyhf workspace."""

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from everwillow.likelihood.binned.spec import BinScale
from everwillow.models._document import Node, Report
from everwillow.models.hs3.histfactory.channels import Channel, Sample
from everwillow.models.hs3.histfactory.gammas import stat_errors
from everwillow.models.hs3.histfactory.modifiers import PER_BIN, Modifier, interpolation
from everwillow.models.hs3.histfactory.templates import stat_error_node, template_node
from everwillow.models.hs3.likelihood import Likelihood


_CODES = {"normsys": "code4", "histosys": "code4p"}
_UNIT = (0.0, 1.0)
_AGREE = 1e-9  # numbers that went through a square root


@dataclass
class Written:
    """A parameter of pyhf as it is written.

    Attributes:
        kind: The kind of its modifiers.
        names: The names of its elements in HS3.
        implied: Observation and width of the constraints that their modifiers imply.
    """

    kind: str
    names: list[str]
    implied: list[tuple[float, float]]


@dataclass
class ToPyhf:
    """Converts the channels of one likelihood.

    Attributes:
        likelihood: The likelihood of the document, with the constraints.
        parameters: The parameters of pyhf by name.
    """

    likelihood: Likelihood
    parameters: dict[str, Written] = field(default_factory=dict)
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
                    modifiers.append(self._modifier(modifier, channel))
            samples.append(
                {
                    "name": sample.name,
                    "data": _listed(sample.node.child("data").child("contents")),
                    "modifiers": modifiers,
                }
            )
        return {"name": channel.name, "samples": samples}

    def _modifier(self, modifier: Modifier, channel: Channel) -> dict[str, Any]:
        parameter = modifier.parameters[0]
        node = modifier.node
        if not isinstance(parameter, str):
            node.refuse("pyhf has no constant factors: multiply the yields with it.")
        if parameter not in self._specs:
            node.refuse(f"{parameter!r} is a function, which pyhf does not have.")
        constraint = self._specs[parameter].constraint
        if modifier.kind == "normfactor":
            kind = "normfactor" if constraint is None else "lumi"
            if constraint is not None and constraint.kind != "normal":
                node.refuse(f"pyhf has no {constraint.kind} constraint of a factor.")
            base = parameter if kind == "normfactor" else "lumi"
            role = "free" if kind == "normfactor" else "lumi"
            name = self._name(base, role, (parameter,), modifier)
            return {"name": name, "type": kind, "data": None}
        default = channel.node.get("default_interpolation")
        code = interpolation(modifier, report=Report(), default=default)
        if code != _CODES[modifier.kind]:
            node.refuse(
                f"a pyhf workspace has {_CODES[modifier.kind]} for {modifier.kind}, "
                f"not {code}."
            )
        if constraint is None or constraint.kind != "normal":
            node.refuse("a systematic of pyhf has a Gaussian constraint.")
        base = modifier.name
        if base == parameter:
            base = parameter.removeprefix("alpha_") or parameter
        name = self._name(base, "alpha", (parameter,), modifier)
        data = node.child("data")
        if modifier.kind == "normsys":
            made = {"hi": data.child("hi").value, "lo": data.child("lo").value}
        else:
            made = {
                f"{key}_data": _listed(template_node(data, key)) for key in ("hi", "lo")
            }
        return {"name": name, "type": modifier.kind, "data": made}

    def _bins(
        self, modifier: Modifier, sample: Sample, channel: Channel, effect: BinScale
    ) -> dict[str, Any]:
        node = modifier.node
        if isinstance(effect.parameters, str):
            node.refuse("name the parameter of each bin in 'parameters' for pyhf.")
        names = effect.parameters
        constraints = [self._specs[name].constraint for name in names]
        kinds = {None if c is None else c.kind for c in constraints}
        if len(kinds) != 1:
            node.refuse("in pyhf all bins have one kind of constraint.")
        kind = kinds.pop()
        if kind is None:
            name = self._name(modifier.name, "free", names, modifier)
            return {"name": name, "type": "shapefactor", "data": None}
        widths = np.array([float(np.max(c.width)) for c in constraints if c])
        carriers = self._carriers(channel, names)
        if kind == "normal":
            data = _stat_data(modifier, sample)
            if data is not None:
                total = self._stat_errors(channel, names)
                implied = [(1.0, w) for w in np.where(total > 0, total, 1.0).tolist()]
            elif carriers == 1:
                data = (widths * sample.nominal).tolist()
                implied = [(1.0, width) for width in widths.tolist()]
            else:
                node.refuse("in pyhf samples cannot share a Gaussian shapesys.")
            name = self._name(modifier.name, "staterror", names, modifier, implied)
            return {"name": name, "type": "staterror", "data": data}
        if kind != "poisson" or carriers != 1:
            node.refuse(
                f"in pyhf bins with a {kind} constraint belong to one sample, here "
                f"{carriers} samples share them."
            )
        data, tau = _shape_data(modifier, sample, widths)
        implied = [(count, count) for count in tau.tolist()]
        name = self._name(modifier.name, "shapesys", names, modifier, implied)
        return {"name": name, "type": "shapesys", "data": data}

    def _stat_errors(self, channel: Channel, names: tuple[str, ...]) -> np.ndarray:
        """Return the relative errors that pyhf computes from the samples."""
        spec = next(c for c in self.likelihood.spec.channels if c.name == channel.name)
        carriers = []
        for sample, compiled in zip(channel.samples, spec.samples, strict=True):
            scales = [e for e in compiled.effects if isinstance(e, BinScale)]
            kinds = [m for m in sample.modifiers if m.kind in PER_BIN]
            for modifier, effect in zip(kinds, scales, strict=True):
                data = _stat_data(modifier, sample)
                if effect.parameters == names and data is not None:
                    carriers.append((sample, np.asarray(data, float)))
        return stat_errors(carriers)

    def _carriers(self, channel: Channel, names: tuple[str, ...]) -> int:
        spec = next(c for c in self.likelihood.spec.channels if c.name == channel.name)
        return sum(
            isinstance(effect, BinScale) and effect.parameters == names
            for sample in spec.samples
            for effect in sample.effects
        )

    def _name(
        self,
        base: str,
        kind: str,
        elements: tuple[str, ...],
        modifier: Modifier,
        implied: list[tuple[float, float]] | None = None,
    ) -> str:
        """Return the name of a parameter in pyhf, which no other one has.

        Staterrors of several channels may have the same name: pyhf then numbers their
        elements from channel to channel.
        """
        if elements in self._owner:
            return self._owner[elements]
        if any(name in known for known in self._owner for name in elements):
            if kind != "free":
                modifier.node.refuse(
                    "pyhf cannot share some of the parameters of two modifiers only."
                )
            return self._part(elements, modifier)
        name, number = base, 1
        while name in self.parameters and not (
            kind == "staterror" and self.parameters[name].kind == kind
        ):
            number += 1
            name = f"{base}_{number}"
        self._owner[elements] = name
        written = self.parameters.setdefault(name, Written(kind, [], []))
        written.names += elements
        written.implied += implied or [_UNIT] * len(elements)
        return name

    def _part(self, elements: tuple[str, ...], modifier: Modifier) -> str:
        """Return the shapefactor whose first elements these are, or the reverse."""
        partner = next(
            (
                known
                for known, name in self._owner.items()
                if self.parameters[name].kind == "free"
                and all(a == b for a, b in zip(known, elements, strict=False))
            ),
            None,
        )
        if partner is None:
            modifier.node.refuse("pyhf cannot share some bins of a shapefactor only.")
        name = self._owner[elements] = self._owner[partner]
        written = self.parameters[name]
        written.names = list(max(partner, elements, key=len))
        written.implied = [_UNIT] * len(written.names)
        return name


def _stat_data(modifier: Modifier, sample: Sample) -> list[Any] | None:
    """Return the absolute errors of a staterror in the document."""
    if modifier.kind != "staterror":
        return None
    node = stat_error_node(modifier)
    return _listed(node or sample.node.child("data").child("errors"))


def _shape_data(
    modifier: Modifier, sample: Sample, tau: np.ndarray
) -> tuple[list[Any], np.ndarray]:
    """Return the absolute errors of a shapesys, and the tau that they imply.

    The numbers of the document are returned if they are absolute errors, or if there
    are other definitions of tau.
    """
    nominal = sample.nominal
    given = modifier.node.get("data")
    if given is not None and "vals" in given:
        node = given.child("vals")
        values = node.numbers()
        absolute, relative = _tau(values, nominal), _tau(values * nominal, nominal)
        if not np.allclose(relative, tau, rtol=_AGREE):
            return _listed(node), absolute
        return (values * nominal).tolist(), relative
    errors = np.where(tau == 1.0, 0.0, nominal / np.sqrt(tau))
    return errors.tolist(), _tau(errors, nominal)


def _tau(errors: np.ndarray, nominal: np.ndarray) -> np.ndarray:
    valid = (errors > 0.0) & (nominal > 0.0)
    with np.errstate(over="ignore"):
        return np.where(valid, nominal / np.where(valid, errors, 1.0), 1.0) ** 2


def _listed(node: Node) -> list[Any]:
    return copy.deepcopy(node.value)
