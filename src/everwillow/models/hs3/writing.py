"""From models to HS3 documents."""

import copy
import json
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from os import PathLike
from typing import Any

import numpy as np

from everwillow._errors import ArgumentTypeError
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
from everwillow.model import AbstractModel
from everwillow.models.hs3.histfactory.derived import FunctionCall
from everwillow.models.hs3.model import Hs3Model


_TOOL = "everwillow"
_UNIT = ("normal", 0.0, 1.0)


def dump(
    model: AbstractModel | BinnedSpec, path: str | PathLike[str] | None = None
) -> dict[str, Any]:
    """Write a model as an HS3 document.

    Channels become histfactory distributions. The elements of an array parameter
    ``stat`` are called ``gamma_stat_0``, and so on; factors of single bins become
    `shapefactor`, their constraints auxiliary distributions, so that nothing depends on
    how a reader understands `staterror` and `shapesys`. A `Hs3Model` is written as the
    document that it was loaded from.

    Args:
        model: The model, or a specification of binned channels.
        path: Where to write the JSON too.

    Returns:
        The document.

    Raises:
        ArgumentTypeError: If the model does not have the specification that it was
            made from, or has a function that is not a text.

    Example:
        >>> import numpy as np
        >>> from everwillow.likelihood.binned.spec import (
        ...     BinnedSpec,
        ...     ChannelSpec,
        ...     ParameterSpec,
        ...     SampleSpec,
        ...     Scale,
        ... )
        >>> signal = SampleSpec("signal", np.array([5.0]), (Scale("mu"),))
        >>> channel = ChannelSpec("SR", np.array([7.0]), (signal,))
        >>> spec = BinnedSpec((channel,), (ParameterSpec("mu", 1.0),), poi="mu")
        >>> dump(spec)["analyses"][0]["parameters_of_interest"]
        ['mu']
    """
    if isinstance(model, Hs3Model):
        document = copy.deepcopy(model.document.content)
    else:
        spec = model if isinstance(model, BinnedSpec) else getattr(model, "spec", None)
        if not isinstance(spec, BinnedSpec):
            raise ArgumentTypeError(
                f"dump: a {type(model).__name__} does not know the specification that "
                "it was made from. Give that, for example from read_spec."
            )
        document = _Writer(spec).document()
    if path is not None:
        text = json.dumps(document, indent=1, allow_nan=False)
        pathlib.Path(path).write_text(text, encoding="utf-8")
    return document


@dataclass
class _Writer:
    """Writes one specification."""

    spec: BinnedSpec
    aux: list[dict[str, Any]] = field(default_factory=list)
    functions: list[dict[str, Any]] = field(default_factory=list)
    point: list[dict[str, Any]] = field(default_factory=list)
    domain: list[dict[str, Any]] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        systematics = {
            effect.parameter
            for channel in self.spec.channels
            for sample in channel.samples
            for effect in sample.effects
            if isinstance(effect, NormVariation | ShapeVariation)
        }
        self.parameters = {entry.name: entry for entry in self.spec.parameters}
        for entry in self.spec.parameters:
            self._parameter(entry, implied=entry.name in systematics)
        for name, derived in self.spec.derived.items():
            self._function(name, derived.fn)
        channels = [self._channel(channel) for channel in self.spec.channels]
        name = self.spec.name or "analysis"
        likelihood: dict[str, Any] = {
            "name": "likelihood",
            "distributions": [channel["name"] for channel in channels],
            "data": [f"obs_{channel['name']}" for channel in channels],
        }
        if self.aux:
            likelihood["aux_distributions"] = [entry["name"] for entry in self.aux]
        document = {
            "metadata": {"hs3_version": "0.2", "packages": packages()},
            "distributions": [*channels, *self.aux],
            "functions": self.functions,
            "data": [
                binned_data(c.name, np.asarray(c.observed, float).tolist())
                for c in self.spec.channels
            ],
            "likelihoods": [likelihood],
            "domains": [{"name": name, "type": "product_domain", "axes": self.domain}],
            "parameter_points": [{"name": name, "parameters": self.point}],
            "analyses": [
                {
                    "name": name,
                    "likelihood": "likelihood",
                    "domains": [name],
                    "parameters_of_interest": [self.spec.poi] if self.spec.poi else [],
                    "init": name,
                }
            ],
        }
        return {key: value for key, value in document.items() if value}

    def _parameter(self, entry: ParameterSpec, *, implied: bool) -> None:
        names = self._elements(entry.name)
        size = len(names)
        starts = np.broadcast_to(entry.start, size).tolist()
        fixed = np.broadcast_to(entry.fixed, size).tolist()
        lower = np.broadcast_to(entry.lower, size).tolist()
        upper = np.broadcast_to(entry.upper, size).tolist()
        for i, name in enumerate(names):
            self.point.append(
                {"name": name, "value": float(starts[i]), "const": bool(fixed[i])}
            )
            span = {"min": _end(lower[i]), "max": _end(upper[i])}
            self.domain.append({"name": name} | span)
        constraint = entry.constraint
        if constraint is None:
            return
        if implied and (constraint.kind, constraint.aux, constraint.width) == _UNIT:
            self.named[entry.name] = "Gauss"
            return
        for name, aux, width in zip(
            names,
            np.broadcast_to(constraint.aux, size).tolist(),
            np.broadcast_to(constraint.width, size).tolist(),
            strict=True,
        ):
            self._constraint(name, constraint, aux, width)

    def _constraint(
        self, name: str, constraint: ConstraintSpec, aux: float, width: float
    ) -> None:
        made = {"name": f"{name}_constraint"}
        self.named[name] = made["name"]
        if constraint.kind == "normal":
            made |= {"type": "gaussian_dist", "x": name, "mean": aux, "sigma": width}
            self.aux.append(made)
            return
        observed = f"nom_{name}"
        self.point.append({"name": observed, "value": aux, "const": True})
        if constraint.kind == "poisson":
            mean = f"{name}_mean"
            self.functions.append(
                {"name": mean, "type": "product", "factors": [name, width]}
            )
            made |= {"type": "poisson_dist", "x": observed, "mean": mean}
        else:
            log = f"{name}_log"
            self.functions.append(
                {"name": log, "type": "generic_function", "expression": f"log({name})"}
            )
            sigma = float(np.log(width))
            made |= {"type": "lognormal_dist", "x": observed, "mu": log, "sigma": sigma}
        self.aux.append(made)

    def _function(self, name: str, fn: Any) -> None:
        if not isinstance(fn, FunctionCall):
            raise ArgumentTypeError(
                f"dump: {name!r} is computed by a Python function, which cannot be "
                "written. Functions that were read from HS3 can."
            )
        self.functions.append(copy.deepcopy(fn.definition))

    def _channel(self, channel: ChannelSpec) -> dict[str, Any]:
        return {
            "name": channel.name,
            "type": "histfactory_dist",
            "axes": axes(channel.name, len(channel.observed)),
            "samples": [self._sample(sample) for sample in channel.samples],
        }

    def _sample(self, sample: SampleSpec) -> dict[str, Any]:
        contents = np.asarray(sample.nominal, float).tolist()
        return {
            "name": sample.name,
            "data": {"contents": contents, "errors": [0.0] * len(contents)},
            "modifiers": [self._modifier(effect) for effect in sample.effects],
        }

    def _modifier(self, effect: Effect) -> dict[str, Any]:
        if isinstance(effect, BinScale):
            names = effect.parameters
            stem = names if isinstance(names, str) else names[0]
            listed = self._elements(names) if isinstance(names, str) else list(names)
            return {"name": stem, "type": "shapefactor", "parameters": listed}
        made: dict[str, Any] = {"name": effect.parameter}
        if isinstance(effect, Scale):
            return made | {"type": "normfactor", "parameter": effect.parameter}
        made |= {
            "parameter": effect.parameter,
            "constraint": self.named.get(effect.parameter, "None"),
        }
        code = {"interpolation": effect.interpolation}
        if isinstance(effect, NormVariation):
            data = {"hi": float(effect.up), "lo": float(effect.down)}
            return made | {"type": "normsys", "data": data | code}
        data = {
            "hi": {"contents": np.asarray(effect.up, float).tolist()},
            "lo": {"contents": np.asarray(effect.down, float).tolist()},
        }
        return made | {"type": "histosys", "data": data | code}

    def _elements(self, name: str) -> list[str]:
        """Return the names of the elements of a parameter."""
        shape = np.shape(self.parameters[name].start)
        if not shape:
            return [name]
        return [f"gamma_{name}_{i}" for i in range(shape[0])]


def _end(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def packages() -> list[dict[str, str]]:
    """Return the entry of a document on the tool that made it."""
    return [{"name": _TOOL, "version": metadata.version(_TOOL)}]


def axes(name: str, bins: int) -> list[dict[str, Any]]:
    """Return the axis of a channel whose bins have no edges."""
    return [{"name": f"x_{name}", "min": 0.0, "max": float(bins), "nbins": bins}]


def binned_data(channel: str, counts: Sequence[float]) -> dict[str, Any]:
    """Return the data set of the counts of a channel."""
    return {
        "name": f"obs_{channel}",
        "type": "binned",
        "contents": list(counts),
        "axes": axes(channel, len(counts)),
    }
