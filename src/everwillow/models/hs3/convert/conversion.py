"""From pyhf workspaces to HS3 documents and back."""

import copy
from importlib import metadata
from typing import Any

from everwillow._errors import EverwillowError
from everwillow.models._document import Node
from everwillow.models.hs3.convert.from_pyhf import convert
from everwillow.models.hs3.convert.to_pyhf import ToPyhf, measurement, normalised
from everwillow.models.hs3.document import Document, read_document, read_json
from everwillow.models.hs3.histfactory.channels import read_channel, with_data
from everwillow.models.hs3.likelihood import read_likelihood
from everwillow.models.hs3.reading import Source
from everwillow.models.hs3.selection import select


_TOOL = "everwillow"


def packages() -> list[dict[str, str]]:
    """Return the entry of a document on the tool that made it."""
    return [{"name": _TOOL, "version": metadata.version(_TOOL)}]


def pyhf_to_hs3(workspace: Source) -> dict[str, Any]:
    """Convert a pyhf workspace to HS3.

    A measurement becomes an analysis with a domain and a parameter point of its name.
    Systematics ``X`` get the parameter ``alpha_X``, bins ``gamma_X_0``, and so on; a
    lumi modifier becomes a normfactor with a Gaussian auxiliary distribution. The
    measurements are also kept as they are in ``misc``, so that the way back is exact.

    Args:
        workspace: The workspace, or the path of its JSON file.

    Returns:
        The document.

    Raises:
        EverwillowError: If it is no workspace of pyhf.

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
    return convert(root, packages())


def hs3_to_pyhf(source: Source, analysis: str | int | None = None) -> dict[str, Any]:
    """Convert an HS3 document of histfactory distributions to a pyhf workspace.

    Without `analysis`, every analysis of the likelihood of the first one becomes a
    measurement. Settings of parameters that are pyhf's defaults are left out, unless
    the document came from `pyhf_to_hs3` and still says the same: then the measurements
    are those of the original workspace.

    Args:
        source: The document, or the path of a JSON file.
        analysis: Name or position of the only analysis to convert.

    Returns:
        The workspace.

    Raises:
        EverwillowError: If the document has something that pyhf has not: other
            distributions, functions, other interpolations or constraints.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> signal = {"name": "signal", "data": [5.0], "modifiers": [mu]}
        >>> workspace = {
        ...     "channels": [{"name": "SR", "samples": [signal]}],
        ...     "observations": [{"name": "SR", "data": [7.0]}],
        ...     "measurements": [{"name": "m", "config": {"poi": "mu"}}],
        ...     "version": "1.0.0",
        ... }
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
        measurement(
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
        if node.child("type").text() != "histfactory_dist":
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
    wanted = _distributions(document, first)
    return [
        read_likelihood(document, name, shapesys=None)
        for name, node in document.analyses.items()
        if _distributions(document, node) == wanted
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
    """Return them in the order of the original workspace, those of no channel too."""
    order = original.get("observations")
    found = {one["name"]: one for one in observations}
    if not isinstance(order, list) or not found.keys() <= set(map(str, order)):
        return observations
    for name in map(str, order):
        data = document.data.get(f"obs_{name}")
        if name not in found and data is not None and "contents" in data:
            counts = copy.deepcopy(data.child("contents").value)
            found[name] = {"name": name, "data": counts}
    return [found[str(name)] for name in order if str(name) in found]


def _restored(
    measurements: list[dict[str, Any]], original: dict[str, Any], converter: ToPyhf
) -> list[dict[str, Any]]:
    """Take the measurements of the original workspace where they say the same."""
    try:
        known = converter.parameters
        kept = {m["name"]: m for m in original.get("measurements", [])}
        return [
            copy.deepcopy(kept[one["name"]])
            if one["name"] in kept
            and normalised(kept[one["name"]], known) == normalised(one, known)
            else one
            for one in measurements
        ]
    except (EverwillowError, AttributeError, LookupError, TypeError):
        return measurements  # somebody wrote something else there
