"""A pyhf workspace as an HS3 document.

Spec: pyhf 0.7 (JSON schema 1.0.0), HS3 0.2.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everwillow.models.hs3._pointer import Node, refuse


PER_BIN = ("shapefactor", "shapesys", "staterror")
_SYSTEMATICS = ("normsys", "histosys")
# Start and range of each kind of parameter in pyhf (`suggested_init` and so on).
DEFAULTS: dict[str, tuple[float, tuple[float, float] | None]] = {
    "alpha": (0.0, (-5.0, 5.0)),
    "gamma": (1.0, (1e-10, 10.0)),
    "free": (1.0, (0.0, 10.0)),
    "lumi": (1.0, None),
}
LIKELIHOOD = "likelihood"


@dataclass
class _Parameter:
    """A parameter of pyhf: its kind, and its names in HS3."""

    kind: str
    names: list[str] = field(default_factory=list)


@dataclass
class _Converter:
    root: Node
    parameters: dict[str, _Parameter] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def distribution(self, channel: Node) -> dict[str, Any]:
        name = channel.child("name").text()
        samples = [self._sample(node) for node in channel.child("samples").items()]
        if not samples:
            refuse(channel, f"the channel {name!r} has no samples.")
        bins = len(samples[0]["data"]["contents"])
        return {
            "name": name,
            "type": "histfactory_dist",
            "axes": axes(name, bins),
            "samples": samples,
        }

    def _sample(self, node: Node) -> dict[str, Any]:
        contents = node.child("data")
        contents.numbers()
        bins = len(contents.value)
        modifiers = list(node.child("modifiers").items())
        kinds = [modifier.child("type").text() for modifier in modifiers]
        errors: list[float] = [0.0] * bins
        made = []
        for modifier, kind in zip(modifiers, kinds, strict=True):
            entry = self._modifier(modifier, kind, bins)
            if kind == "staterror":
                values = modifier.child("data")
                values.numbers(size=bins, what="the sample")
                if kinds.count("staterror") == 1:
                    errors = list(values.value)
                else:
                    entry["data"] = {"uncertainties": list(values.value)}
            made.append(entry)
        return {
            "name": node.child("name").text(),
            "data": {"contents": list(contents.value), "errors": errors},
            "modifiers": made,
        }

    def _modifier(self, node: Node, kind: str, bins: int) -> dict[str, Any]:
        name = node.child("name").text()
        entry: dict[str, Any] = {"name": name, "type": kind}
        if kind in ("normfactor", "lumi"):
            self._want(node, name, "lumi" if kind == "lumi" else "free", [name])
            return {"name": name, "type": "normfactor", "parameter": name}
        if kind in _SYSTEMATICS:
            parameter = f"alpha_{name}"
            self._want(node, name, "alpha", [parameter])
            data = node.child("data")
            return entry | {
                "parameter": parameter,
                "constraint": "Gauss",
                "data": _variation(data, kind, bins),
            }
        if kind not in PER_BIN:
            refuse(node.child("type"), f"there is no modifier type {kind!r} in pyhf.")
        names = self._bins(node, name, kind, bins)
        entry["parameters"] = names
        if kind == "staterror":
            entry["constraint"] = "Gauss"
        if kind == "shapesys":
            values = node.child("data")
            values.numbers(size=bins, what="the sample")
            entry |= {"constraint": "Poisson", "data": {"vals": list(values.value)}}
        return entry

    def _bins(self, node: Node, name: str, kind: str, bins: int) -> list[str]:
        """Name the bins; a staterror of several channels goes on counting."""
        role = "free" if kind == "shapefactor" else "gamma"
        channel = node.pointer.split("/samples/")[0].rpartition("#")[2]
        key = f"{kind}:{name}:{channel}" if kind == "staterror" else f"{kind}:{name}"
        have = self.parameters.get(name)
        if key not in self.kinds:
            first = 0 if have is None else len(have.names)
            self.kinds[key] = str(first)
            made = [f"gamma_{name}_{first + i}" for i in range(bins)]
            self._want(node, name, role, made, more=True)
        first = int(self.kinds[key])
        return self.parameters[name].names[first : first + bins]

    def _want(
        self, node: Node, name: str, kind: str, names: list[str], *, more: bool = False
    ) -> None:
        known = self.parameters.setdefault(name, _Parameter(kind))
        if known.kind != kind:
            refuse(
                node,
                f"the parameter {name!r} is used for modifiers that pyhf does not "
                "allow to share one.",
            )
        if more or not known.names:
            known.names += names


def convert(root: Node, packages: list[dict[str, str]]) -> dict[str, Any]:
    """Return the document."""
    converter = _Converter(root)
    distributions = [
        converter.distribution(node) for node in root.child("channels").items()
    ]
    names = [entry["name"] for entry in distributions]
    data = _data(root, distributions)
    measurements = list(root.child("measurements").items())
    if not measurements:
        refuse(root.child("measurements"), "there is no measurement.")
    analyses, domains, points = [], [], []
    constraints: dict[str, dict[str, Any]] = {}
    likelihoods: list[dict[str, Any]] = []
    for node in measurements:
        settings = _Settings.read(node, converter.parameters)
        aux = settings.constraints(constraints)
        likelihood = _likelihood(likelihoods, names, aux)
        points.append(settings.point())
        domains.append(settings.domain())
        analyses.append(
            {
                "name": settings.name,
                "likelihood": likelihood,
                "domains": [settings.name],
                "parameters_of_interest": [settings.poi] if settings.poi else [],
                "init": settings.name,
            }
        )
    return {
        "metadata": {"hs3_version": "0.2", "packages": packages},
        "distributions": [*distributions, *constraints.values()],
        "data": data,
        "likelihoods": likelihoods,
        "domains": domains,
        "parameter_points": points,
        "analyses": analyses,
        "misc": {
            "pyhf": {
                "version": root.value.get("version", "1.0.0"),
                "measurements": copy.deepcopy(root.value["measurements"]),
            }
        },
    }


def axes(name: str, bins: int) -> list[dict[str, Any]]:
    """Return the axis of a channel whose bins have no edges."""
    return [{"name": f"x_{name}", "min": 0.0, "max": float(bins), "nbins": bins}]


def _variation(data: Node, kind: str, bins: int) -> dict[str, Any]:
    if kind == "normsys":
        data.child("hi").number()
        data.child("lo").number()
        return {
            "hi": data.value["hi"],
            "lo": data.value["lo"],
            "interpolation": "code4",
        }
    for key in ("hi_data", "lo_data"):
        data.child(key).numbers(size=bins, what="the sample")
    return {
        "hi": {"contents": list(data.value["hi_data"])},
        "lo": {"contents": list(data.value["lo_data"])},
        "interpolation": "code4p",
    }


def _data(root: Node, distributions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    observed = {
        node.child("name").text(): node for node in root.child("observations").items()
    }
    data = []
    for entry in distributions:
        node = observed.get(entry["name"])
        if node is None:
            refuse(
                root.child("observations"),
                f"there are no observations of the channel {entry['name']!r}.",
            )
        values = node.child("data")
        bins = len(entry["samples"][0]["data"]["contents"])
        values.numbers(size=bins, what=f"{entry['name']!r}")
        data.append(
            {
                "name": f"obs_{entry['name']}",
                "type": "binned",
                "contents": list(values.value),
                "axes": entry["axes"],
            }
        )
    return data


def _likelihood(
    likelihoods: list[dict[str, Any]], names: list[str], aux: list[str]
) -> str:
    """Return the name of the likelihood with these constraints, made if need be."""
    for one in likelihoods:
        if one.get("aux_distributions", []) == aux:
            return one["name"]
    number = len(likelihoods)
    made: dict[str, Any] = {
        "name": LIKELIHOOD if number == 0 else f"{LIKELIHOOD}_{number + 1}",
        "distributions": list(names),
        "data": [f"obs_{name}" for name in names],
    }
    if aux:
        made["aux_distributions"] = aux
    likelihoods.append(made)
    return made["name"]


@dataclass
class _Settings:
    """What a measurement says of the parameters."""

    node: Node
    name: str
    poi: str
    parameters: Mapping[str, _Parameter]
    configured: dict[str, Node]

    @classmethod
    def read(cls, node: Node, parameters: Mapping[str, _Parameter]) -> "_Settings":
        config = node.child("config")
        poi = config.value.get("poi") or ""
        entries = config.get("parameters")
        configured = {
            entry.child("name").text(): entry
            for entry in ([] if entries is None else entries.items())
        }
        if poi in parameters:
            poi = parameters[poi].names[0]
        return cls(node, node.child("name").text(), poi, parameters, configured)

    def point(self) -> dict[str, Any]:
        entries = []
        for name, parameter in self.parameters.items():
            starts = self._numbers(name, "inits", DEFAULTS[parameter.kind][0])
            fixed = self._flags(name)
            for one, start, const in zip(parameter.names, starts, fixed, strict=True):
                entries.append({"name": one, "value": start, "const": const})
        return {"name": self.name, "parameters": entries}

    def domain(self) -> dict[str, Any]:
        entries = []
        for name, parameter in self.parameters.items():
            span = DEFAULTS[parameter.kind][1]
            count = len(parameter.names)
            node = self._setting(name, "bounds")
            if node is not None:
                pairs = list(node.items())
                if len(pairs) not in (1, count):
                    refuse(node, f"{len(pairs)} ranges for {count} elements.")
                for pair in pairs:
                    pair.numbers(size=2)
                spans = [pair.value for pair in pairs] * (count // len(pairs))
            elif span is None:
                continue
            else:
                spans = [span] * count
            for one, (low, high) in zip(parameter.names, spans, strict=True):
                entries.append({"name": one, "min": low, "max": high})
        return {"name": self.name, "type": "product_domain", "axes": entries}

    def constraints(self, made: dict[str, dict[str, Any]]) -> list[str]:
        """Return the names of auxiliary distributions, having added new ones."""
        names = []
        for name, parameter in self.parameters.items():
            centers = self._setting(name, "auxdata")
            widths = self._setting(name, "sigmas")
            if parameter.kind == "lumi":
                if widths is None:
                    refuse(
                        self.node,
                        f"the parameter {name!r} of a lumi modifier needs 'sigmas' "
                        "(and 'auxdata', 'inits', 'bounds') in this measurement.",
                    )
            elif centers is None and widths is None:
                continue
            elif parameter.kind != "alpha":
                refuse(
                    centers or widths or self.node,
                    "'auxdata' and 'sigmas' are converted for systematics and for "
                    "lumi only.",
                )
            center = self._one(centers, 1.0 if parameter.kind == "lumi" else 0.0)
            width = self._one(widths, 1.0)
            names.append(_constraint_name(made, parameter.names[0], center, width))
        return names

    def _one(self, node: Node | None, default: float) -> float:
        if node is None:
            return default
        node.numbers(size=1)
        return node.value[0]

    def _setting(self, name: str, key: str) -> Node | None:
        entry = self.configured.get(name)
        return None if entry is None else entry.get(key)

    def _numbers(self, name: str, key: str, default: float) -> list[float]:
        count = len(self.parameters[name].names)
        node = self._setting(name, key)
        if node is None:
            return [default] * count
        node.numbers()
        if len(node.value) not in (1, count):
            refuse(node, f"{len(node.value)} values for {count} elements.")
        return list(node.value) * (count // len(node.value))

    def _flags(self, name: str) -> list[bool]:
        count = len(self.parameters[name].names)
        node = self._setting(name, "fixed")
        flags = [False] if node is None else node.value
        flags = flags if isinstance(flags, list) else [flags]
        if len(flags) not in (1, count) or not all(isinstance(f, bool) for f in flags):
            assert node is not None
            node.fail(f"true or false, or a list of {count} of them")
        return flags * (count // len(flags))


def _constraint_name(
    made: dict[str, dict[str, Any]], parameter: str, center: float, width: float
) -> str:
    number = 1
    while True:
        name = f"{parameter}_constraint" + (f"_{number}" if number > 1 else "")
        entry = {
            "name": name,
            "type": "gaussian_dist",
            "x": parameter,
            "mean": center,
            "sigma": width,
        }
        if made.setdefault(name, entry) == entry:
            return name
        number += 1
