"""Conversion of the parameter settings of a pyhf measurement to HS3."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from everwillow.models._document import Node


# Start and range of each kind of parameter in pyhf (`suggested_init` and so on).
DEFAULTS: dict[str, tuple[float, tuple[float, float] | None]] = {
    "alpha": (0.0, (-5.0, 5.0)),
    "staterror": (1.0, (1e-10, 10.0)),
    "shapesys": (1.0, (1e-10, 10.0)),
    "free": (1.0, (0.0, 10.0)),
    "lumi": (1.0, None),
}


@dataclass
class PyhfParameter:
    """A parameter of pyhf: its kind, and the names of its elements in HS3."""

    kind: str
    names: list[str]


@dataclass
class Settings:
    """The settings of a measurement for its parameters."""

    node: Node
    name: str
    poi: str
    parameters: Mapping[str, PyhfParameter]
    configured: dict[str, Node]
    shapesys: Mapping[str, list[float]]
    functions: dict[str, dict[str, Any]]
    observed: dict[str, float] = field(default_factory=dict)

    def point(self) -> dict[str, Any]:
        """Return the parameter point: start values and constant parameters."""
        entries = []
        for name, parameter in self.parameters.items():
            starts = self._numbers(name, "inits", DEFAULTS[parameter.kind][0])
            fixed = self._flags(name)
            for one, start, const in zip(parameter.names, starts, fixed, strict=True):
                entries.append({"name": one, "value": start, "const": const})
        entries += [
            {"name": name, "value": value, "const": True}
            for name, value in self.observed.items()
        ]
        return {"name": self.name, "parameters": entries}

    def domain(self) -> dict[str, Any]:
        """Return the domain: the ranges of the parameters."""
        entries = []
        for name, parameter in self.parameters.items():
            span = DEFAULTS[parameter.kind][1]
            count = len(parameter.names)
            node = self._setting(name, "bounds")
            if node is not None:
                pairs = list(node.items())
                if len(pairs) not in (1, count):
                    node.refuse(f"{len(pairs)} ranges for {count} elements.")
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
        """Add missing auxiliary distributions and return the names of all."""
        names: list[str] = []
        for name, parameter in self.parameters.items():
            kind = parameter.kind
            settings = {
                key: self._setting(name, key)
                for key in ("auxdata", "sigmas", "factors")
            }
            if kind == "lumi" and settings["sigmas"] is None:
                self.node.refuse(
                    f"the parameter {name!r} of a lumi modifier needs 'sigmas' (and "
                    "'auxdata', 'inits', 'bounds') in this measurement."
                )
            if all(node is None for node in settings.values()):
                continue
            if kind not in ("lumi", "alpha", "staterror", "shapesys"):
                self.configured[name].refuse(
                    f"the factor {name!r} of pyhf has no auxiliary data."
                )
            if kind == "shapesys":
                names += self._counts(name, parameter, made)
            else:
                names += self._gaussians(name, parameter, made)
        return names

    def _gaussians(
        self, name: str, parameter: PyhfParameter, made: dict[str, dict[str, Any]]
    ) -> list[str]:
        if parameter.kind == "staterror" and self._setting(name, "sigmas") is None:
            self.configured[name].refuse(
                f"{name!r}: 'auxdata' of a staterror are converted with 'sigmas' only."
            )
        centers = self._numbers(
            name, "auxdata", 0.0 if parameter.kind == "alpha" else 1
        )
        widths = self._numbers(name, "sigmas", 1.0)
        return [
            _added(
                made,
                f"{one}_constraint",
                {"type": "gaussian_dist", "x": one, "mean": center, "sigma": width},
            )
            for one, center, width in zip(parameter.names, centers, widths, strict=True)
        ]

    def _counts(
        self, name: str, parameter: PyhfParameter, made: dict[str, dict[str, Any]]
    ) -> list[str]:
        nominal = self.shapesys[name]
        settings = [self._setting(name, key) for key in ("auxdata", "factors")]
        counts, factors = (
            nominal if node is None else self._numbers(name, key, 1.0)
            for node, key in zip(settings, ("auxdata", "factors"), strict=True)
        )
        names = []
        for one, count, factor in zip(parameter.names, counts, factors, strict=True):
            observed = f"nom_{one}"
            self.observed[observed] = count
            product = {"type": "product", "factors": [one, factor]}
            mean = _added(self.functions, f"{one}_mean", product)
            entry = {"type": "poisson_dist", "x": observed, "mean": mean}
            names.append(_added(made, f"{one}_constraint", entry))
        return names

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
            node.refuse(f"{len(node.value)} values for {count} elements.")
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


def _added(made: dict[str, dict[str, Any]], base: str, entry: dict[str, Any]) -> str:
    """Add a definition if there is no equal one; return its name."""
    number = 1
    while True:
        name = base if number == 1 else f"{base}_{number}"
        full = {"name": name} | entry
        if made.setdefault(name, full) == full:
            return name
        number += 1
