"""Conversion of a pyhf workspace to an HS3 document.

Spec: pyhf 0.7 (JSON schema 1.0.0), HS3 0.2.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

from everwillow.models._document import Node
from everwillow.models.hs3.convert.settings import PyhfParameter, Settings
from everwillow.models.hs3.document import read_json
from everwillow.models.hs3.histfactory.modifiers import PER_BIN
from everwillow.models.hs3.reading import Source
from everwillow.models.hs3.writing import axes, binned_data, packages


_SYSTEMATICS = ("normsys", "histosys")
LIKELIHOOD = "likelihood"


@dataclass
class _Converter:
    layout: "_Layout"
    parameters: dict[str, PyhfParameter] = field(default_factory=dict)
    shapesys: dict[str, list[float]] = field(default_factory=dict)

    def distribution(self, channel: Node) -> dict[str, Any]:
        name = channel.name
        samples = [self._sample(node) for node in channel.child("samples").items()]
        if not samples:
            channel.refuse(f"the channel {name!r} has no samples.")
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
        kinds = [modifier.type for modifier in modifiers]
        errors: list[float] = [0.0] * bins
        made = []
        for modifier, kind in zip(modifiers, kinds, strict=True):
            entry = self._modifier(modifier, kind, contents.value)
            if kind == "staterror":
                values = modifier.child("data")
                values.numbers(size=bins, owner="the sample")
                if kinds.count("staterror") == 1:
                    errors = list(values.value)
                else:
                    entry["data"] = {"uncertainties": list(values.value)}
            made.append(entry)
        return {
            "name": node.name,
            "data": {"contents": list(contents.value), "errors": errors},
            "modifiers": made,
        }

    def _modifier(self, node: Node, kind: str, contents: list[float]) -> dict[str, Any]:
        bins = len(contents)
        name = node.name
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
            node.child("type").refuse(f"there is no modifier type {kind!r} in pyhf.")
        names = self._bins(node, name, kind, bins)
        entry["parameters"] = names
        if kind == "staterror":
            entry["constraint"] = "Gauss"
        if kind == "shapesys":
            values = node.child("data")
            values.numbers(size=bins, owner="the sample")
            entry |= {"constraint": "Poisson", "data": {"vals": list(values.value)}}
            self.shapesys[name] = [
                (n / e) ** 2 if n > 0 and e > 0 else 1.0
                for n, e in zip(contents, values.value, strict=True)
            ]
        return entry

    def _bins(self, node: Node, name: str, kind: str, bins: int) -> list[str]:
        channel = node.pointer.split("/samples/")[0]
        size = self.layout.sizes[name]
        role = "free" if kind == "shapefactor" else kind
        self._want(node, name, role, [f"gamma_{name}_{i}" for i in range(size)])
        first = self.layout.first[channel, name]
        if first + bins > size:
            node.refuse(f"the array {name!r} has {size} elements, not {bins}.")
        return self.parameters[name].names[first : first + bins]

    def _want(self, node: Node, name: str, kind: str, names: list[str]) -> None:
        known = self.parameters.setdefault(name, PyhfParameter(kind, names))
        if known.kind != kind:
            node.refuse(
                f"the parameter {name!r} is used for modifiers that pyhf does not "
                "allow to share one."
            )


@dataclass
class _Layout:
    """The elements of an array parameter in each channel.

    The elements of a staterror are numbered from channel to channel, sorted by name; a
    shapefactor has the elements of the first channel.
    """

    first: dict[tuple[str, str], int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Node) -> "_Layout":
        layout = cls()
        channels = list(root.child("channels").items())
        for channel in sorted(channels, key=lambda node: node.name):
            for sample in channel.child("samples").items():
                bins = len(list(sample.child("data").items()))
                for modifier in sample.child("modifiers").items():
                    if modifier.type in PER_BIN:
                        layout.add(channel.pointer, modifier, bins)
        return layout

    def add(self, channel: str, modifier: Node, bins: int) -> None:
        name = modifier.name
        if (channel, name) in self.first:
            return
        counts = modifier.value["type"] == "staterror"
        self.first[channel, name] = self.sizes.get(name, 0) if counts else 0
        if counts:
            self.sizes[name] = self.sizes.get(name, 0) + bins
        else:
            self.sizes.setdefault(name, bins)


def pyhf_to_hs3(workspace: Source) -> dict[str, Any]:
    """Convert a pyhf workspace to HS3.

    A measurement becomes an analysis with a domain and a parameter point of that name.
    Systematics ``X`` get the parameter ``alpha_X``, bins ``gamma_X_0``, and so on; a
    lumi modifier becomes a normfactor with a Gaussian auxiliary distribution. The
    measurements are also stored in ``misc``, so that the inverse conversion is exact.

    Args:
        workspace: The workspace, or the path of its JSON file.

    Returns:
        The document.

    Raises:
        EverwillowError: If it is not a workspace of pyhf.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> signal = {"name": "signal", "data": [5.0], "modifiers": [mu]}
        >>> workspace = {
        ...     "channels": [{"name": "SR", "samples": [signal]}],
        ...     "observations": [{"name": "SR", "data": [7.0]}],
        ...     "measurements": [{"name": "m", "config": {"poi": "mu"}}],
        ...     "version": "1.0.0",
        ... }
        >>> document = pyhf_to_hs3(workspace)
        >>> document["analyses"][0]["parameters_of_interest"]
        ['mu']
    """
    root = read_json(workspace)
    if not isinstance(root.value, dict) or "channels" not in root:
        root.refuse("this is not a pyhf workspace: it has no 'channels'.")
    converter = _Converter(_Layout.of(root))
    distributions = [
        converter.distribution(node) for node in root.child("channels").items()
    ]
    names = [entry["name"] for entry in distributions]
    data = _data(root, distributions)
    measurements = list(root.child("measurements").items())
    if not measurements:
        root.child("measurements").refuse("there is no measurement.")
    analyses, domains, points = [], [], []
    constraints: dict[str, dict[str, Any]] = {}
    likelihoods: list[dict[str, Any]] = []
    functions: dict[str, dict[str, Any]] = {}
    for node in measurements:
        settings = _settings(node, converter, functions)
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
    more = {"functions": list(functions.values())} if functions else {}
    return {
        "metadata": {"hs3_version": "0.2", "packages": packages()},
        "distributions": [*distributions, *constraints.values()],
        **more,
        "data": data,
        "likelihoods": likelihoods,
        "domains": domains,
        "parameter_points": points,
        "analyses": analyses,
        "misc": {
            "pyhf": {
                "version": root.value.get("version", "1.0.0"),
                "measurements": copy.deepcopy(root.value["measurements"]),
                "observations": [node["name"] for node in root.value["observations"]],
            }
        },
    }


def _settings(
    node: Node, converter: _Converter, functions: dict[str, dict[str, Any]]
) -> Settings:
    parameters = converter.parameters
    config = node.child("config")
    entries, given = config.get("parameters"), config.get("poi")
    poi = "" if given is None else str(given.value)
    if poi in parameters:
        poi = parameters[poi].names[0]
    configured = {
        entry.name: entry for entry in ([] if entries is None else entries.items())
    }
    name = node.name
    return Settings(
        node, name, poi, parameters, configured, converter.shapesys, functions
    )


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
        data.child(key).numbers(size=bins, owner="the sample")
    return {
        "hi": {"contents": list(data.value["hi_data"])},
        "lo": {"contents": list(data.value["lo_data"])},
        "interpolation": "code4p",
    }


def _data(root: Node, distributions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the data of all channels, then data without a channel."""
    observed = {node.name: node for node in root.child("observations").items()}
    data = []
    for entry in distributions:
        name = entry["name"]
        node = observed.pop(name, None)
        if node is None:
            root.child("observations").refuse(
                f"there are no observations of the channel {name!r}."
            )
        values = node.child("data")
        bins = len(entry["samples"][0]["data"]["contents"])
        values.numbers(size=bins, owner=f"{name!r}")
        data.append(binned_data(name, values.value))
    for name, node in observed.items():
        values = node.child("data")
        values.numbers()
        data.append(binned_data(name, values.value))
    return data


def _likelihood(
    likelihoods: list[dict[str, Any]], names: list[str], aux: list[str]
) -> str:
    """Return the name of the likelihood with these constraints, adding it if needed."""
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
