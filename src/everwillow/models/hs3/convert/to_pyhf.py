"""Conversion of an HS3 document of histfactory distributions to a pyhf workspace."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow._errors import EverwillowError
from everwillow.likelihood.binned.spec import ConstraintSpec, ParameterSpec
from everwillow.models._document import Node
from everwillow.models.hs3.convert.channels import ToPyhf, Written
from everwillow.models.hs3.convert.settings import DEFAULTS
from everwillow.models.hs3.document import Document, read_document
from everwillow.models.hs3.histfactory.channels import read_channel, with_data
from everwillow.models.hs3.likelihood import read_likelihood
from everwillow.models.hs3.reading import Source
from everwillow.models.hs3.selection import select


_AGREE = 1e-9  # numbers that went through a square root


def hs3_to_pyhf(source: Source, analysis: str | int | None = None) -> dict[str, Any]:
    """Convert an HS3 document of histfactory distributions to a pyhf workspace.

    Without `analysis`, every analysis with the likelihood of the first one becomes a
    measurement. Settings of parameters that equal pyhf's defaults are left out, unless
    the document comes from `pyhf_to_hs3` and has not changed: then the measurements are
    those of the original workspace.

    Args:
        source: The document, or the path of a JSON file.
        analysis: Name or position of the only analysis to convert.

    Returns:
        The workspace.

    Raises:
        EverwillowError: If the document has a part without a counterpart in pyhf: other
            distributions, functions, interpolations or constraints.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> signal = {"name": "signal", "data": [5.0], "modifiers": [mu]}
        >>> workspace = {
        ...     "channels": [{"name": "SR", "samples": [signal]}],
        ...     "observations": [{"name": "SR", "data": [7.0]}],
        ...     "measurements": [{"name": "m", "config": {"poi": "mu"}}],
        ...     "version": "1.0.0",
        ... }
        >>> from everwillow.models.hs3 import pyhf_to_hs3
        >>> hs3_to_pyhf(pyhf_to_hs3(workspace)) == workspace
        True
    """
    document = read_document(source)
    likelihood = read_likelihood(document, analysis, shapesys=None)
    if likelihood.terms:
        names = ", ".join(repr(term.name) for term in likelihood.terms)
        document.root.refuse(f"pyhf has histfactory channels only, not {names}.")
    converter = ToPyhf(likelihood)
    channels, observations = _channels(document, analysis, converter)
    measurements = [
        _measurement(
            converter,
            read.name,
            read.poi,
            {entry.name: entry for entry in read.parameters},
        )
        for read in _likelihoods(document, analysis)
    ]
    original = _original(document)
    return {
        "channels": channels,
        "observations": _observations(document, observations, original),
        "measurements": _restored(measurements, original, converter),
        "version": original.get("version", "1.0.0"),
    }


def _channels(
    document: Document, analysis: str | int | None, converter: ToPyhf
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the channels and their observations."""
    channels, observations = [], []
    for node, data in select(document, analysis).main:
        if node.type != "histfactory_dist":
            continue  # a Gaussian among the main data, which is a constraint
        channel = with_data(read_channel(node, document), data, document)
        assert channel.observed is not None
        channels.append(converter.channel(channel))
        given = document.data.get(str(data.value))
        contents = None if given is None else given.value.get("contents")
        counts = channel.observed.tolist() if contents is None else contents
        observations.append({"name": channel.name, "data": copy.deepcopy(counts)})
    return channels, observations


def _likelihoods(document: Document, analysis: str | int | None) -> list[Any]:
    """Read the analyses that become measurements."""
    if analysis is not None or not document.analyses:
        return [read_likelihood(document, analysis, shapesys=None)]
    first = next(iter(document.analyses.values()))
    names = _distributions(document, first)
    return [
        read_likelihood(document, name, shapesys=None)
        for name, node in document.analyses.items()
        if _distributions(document, node) == names
    ]


def _distributions(document: Document, analysis: Node) -> list[tuple[Any, Any]]:
    likelihood = document.likelihoods.get(str(analysis.child("likelihood").value))
    if likelihood is None:
        return []
    names = likelihood.child("distributions").items()
    data = likelihood.child("data").items()
    return [(n.value, str(d.value)) for n, d in zip(names, data, strict=False)]


def _original(document: Document) -> dict[str, Any]:
    misc = document.root.value.get("misc")
    kept = misc.get("pyhf") if isinstance(misc, dict) else None
    return kept if isinstance(kept, dict) else {}


def _observations(
    document: Document, observations: list[dict[str, Any]], original: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the observations in the order of the original workspace."""
    order = original.get("observations")
    by_name = {one["name"]: one for one in observations}
    if not isinstance(order, list) or not by_name.keys() <= set(map(str, order)):
        return observations
    for name in map(str, order):
        data = document.data.get(f"obs_{name}")
        if name not in by_name and data is not None and "contents" in data:
            counts = copy.deepcopy(data.child("contents").value)
            by_name[name] = {"name": name, "data": counts}
    return [by_name[str(name)] for name in order if str(name) in by_name]


def _restored(
    measurements: list[dict[str, Any]], original: dict[str, Any], converter: ToPyhf
) -> list[dict[str, Any]]:
    """Return the measurements, from the original workspace if they are equal."""
    try:
        known = converter.parameters
        kept = {m["name"]: m for m in original.get("measurements", [])}
        return [
            copy.deepcopy(kept[one["name"]])
            if one["name"] in kept
            and _normalised(kept[one["name"]], known) == _normalised(one, known)
            else one
            for one in measurements
        ]
    except (EverwillowError, AttributeError, LookupError, TypeError):
        return measurements  # the entry is not from `pyhf_to_hs3`


def _measurement(
    converter: ToPyhf, name: str, poi: str | None, entries: Mapping[str, ParameterSpec]
) -> dict[str, Any]:
    """Return a measurement, with the settings that differ from pyhf's defaults.

    Args:
        converter: The converter, with the parameters.
        name: The name of the measurement.
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


def _settings(written: Written, entries: list[ParameterSpec]) -> dict[str, Any]:
    start, span = DEFAULTS[written.kind]
    settings: dict[str, Any] = {}
    starts = [float(entry.start) for entry in entries]
    if written.kind == "lumi" or any(value != start for value in starts):
        settings["inits"] = starts
    spans = [(float(entry.lower), float(entry.upper)) for entry in entries]
    if any(one != span for one in spans) and np.isfinite(spans).all():
        settings["bounds"] = [list(one) for one in spans]
    idle = _idle(written)
    held = [bool(np.all(entry.fixed)) for entry in entries]
    flags = [flag for flag, no_error in zip(held, idle, strict=True) if not no_error]
    if any(flags):
        settings["fixed"] = True if all(flags) else held
    return settings | _measured(written, [entry.constraint for entry in entries])


def _measured(
    written: Written, constraints: list[ConstraintSpec | None]
) -> dict[str, Any]:
    """Return the auxiliary data that modifiers do not imply."""
    known = [c for c in constraints if c is not None]
    aux = [float(c.aux) for c in known]
    width = [float(c.width) for c in known]
    if not known:
        return {}
    if written.kind == "lumi":
        return {"auxdata": aux, "sigmas": width}
    settings: dict[str, Any] = {}
    if not np.allclose(aux, [a for a, _ in written.implied], rtol=_AGREE):
        settings["auxdata"] = aux
    if not np.allclose(width, [w for _, w in written.implied], rtol=_AGREE):
        settings["factors" if written.kind == "shapesys" else "sigmas"] = width
    return settings


def _idle(written: Written) -> list[bool]:
    """Return which elements have no error, so that pyhf fixes them."""
    bins = written.kind in ("staterror", "shapesys")
    return [bins and pair == (1.0, 1.0) for pair in written.implied]


def _normalised(measurement: Mapping[str, Any], known: Mapping[str, Any]) -> Any:
    """Return a measurement in a form that can be compared."""
    config = measurement["config"]
    table = {}
    for entry in config.get("parameters", []):
        parameter = known.get(entry["name"])
        if parameter is None:
            continue
        count = len(parameter.names)
        start, span = DEFAULTS[parameter.kind]
        flags = entry.get("fixed", False)
        flags = flags if isinstance(flags, list) else [flags] * count
        idle = _idle(parameter)
        rows = (
            _repeated(entry.get("inits", [start]), count),
            _repeated([tuple(b) for b in entry.get("bounds", [span or ()])], count),
            tuple(f or i for f, i in zip(flags, idle, strict=True)),
            _rounded(entry.get("auxdata", ())),
            _rounded(entry.get("sigmas", ())),
            _rounded(entry.get("factors", ())),
        )
        plain = ((start,) * count, (span or (),) * count, tuple(idle), (), (), ())
        if rows != plain:
            table[entry["name"]] = rows
    return measurement["name"], config.get("poi", "") or "", table


def _rounded(values: Any) -> tuple[str, ...]:
    return tuple(f"{value:.9g}" for value in values)


def _repeated(values: list[Any], count: int) -> tuple[Any, ...]:
    return tuple(values) * (count if len(values) == 1 else 1)
