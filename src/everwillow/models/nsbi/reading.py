"""Reading of density-ratio workspaces: from a document to an `NsbiSpec`.

Two generations of workspaces exist in public. In the first, the samples of an unbinned
channel carry the ratios, and the channel the weights. In the second, the entries of
``observations`` carry ``ratios`` and ``weights`` of the observed events; ratios of the
channel then belong to its reference sample.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from everwillow._errors import ArgumentValueError, nearest, unknown_key
from everwillow.likelihood.binned.spec import BinnedSpec, ChannelSpec, Interpolation
from everwillow.models._document import Node, Report, shortened
from everwillow.models.nsbi._closure import check_normalisation
from everwillow.models.nsbi._events import EventReader
from everwillow.models.nsbi._parameters import Parameters, statistics_parameter
from everwillow.models.nsbi._samples import Samples
from everwillow.models.nsbi.arrays import WorkspaceArrays
from everwillow.models.nsbi.likelihood.reference import reference_weights
from everwillow.models.nsbi.model import NsbiModel, Storage
from everwillow.models.nsbi.spec import NsbiSpec, RatioInterpolation, UnbinnedRegion
from everwillow.models.nsbi.workspace import load_workspace, refuse_others


_CODES: dict[RatioInterpolation, Interpolation] = {
    "polynomial": "code4",
    "linear": "code0",
}


@dataclass(frozen=True, slots=True)
class WorkspaceChoices:
    """Choices that a workspace leaves open.

    Attributes:
        measurement: Name or index of the measurement; the first if None.
        interpolation: The interpolation of all changes by nuisance parameters.
        template_statistics: Whether the bins of the templates fluctuate within their
            statistical errors; as the measurement says if None, which is not, unless it
            asks for it.
        normalize: Whether densities will be normalised, so that this is checked.
    """

    measurement: str | int | None = None
    interpolation: RatioInterpolation = "polynomial"
    template_statistics: bool | None = None
    normalize: bool = True


def workspace_spec(
    workspace: Mapping[str, Any], choices: WorkspaceChoices | None = None
) -> NsbiSpec:
    """Read a workspace.

    Args:
        workspace: The document, as
            `everwillow.models.nsbi.building.WorkspaceBuilder` makes it or
            `everwillow.models.nsbi.load_workspace` reads it.
        choices: What it leaves open.

    Raises:
        SpecificationError: If it is not valid, with the place.
        MissingFileError: If a file with ratios or weights does not exist.
        UnknownKeyError: If there is no such measurement.
    """
    choices = WorkspaceChoices() if choices is None else choices
    _check_choice("interpolation", choices.interpolation, _CODES)
    refuse_others(workspace)
    root, report = Node(workspace), Report()
    if "report" in root:
        for sentence in root.child("report").items():
            report.say(sentence.text())
    measurement = _measurement(root, choices.measurement, report)
    parameters = Parameters.of(root, measurement.child("config"), report)
    samples = Samples(parameters, _CODES[choices.interpolation], report)
    observed = {node.name: node for node in root.child("observations").items()}
    binned, unbinned = [], []
    arrays = WorkspaceArrays(workspace)
    events = EventReader(arrays, parameters, report)
    for channel in root.child("channels").items():
        kind = channel.type
        if kind == "binned":
            binned.append(_binned(channel, observed, samples))
        elif kind == "unbinned":
            region = _unbinned(channel, observed, samples, events)
            if choices.normalize:
                check_normalisation(region, report)
            unbinned.append(region)
        else:
            channel.child("type").fail("'binned' or 'unbinned'")
    _say_generation(events, choices.interpolation, report)
    extra = []
    if _with_statistics(measurement, choices):
        nodes = {node.name: node for node in root.child("channels").items()}
        for place, channel in enumerate(binned):
            binned[place], errors = samples.with_statistics(
                channel, nodes[channel.name]
            )
            extra.append(statistics_parameter(channel.name, errors))
        for place, region in enumerate(unbinned):
            unbinned[place], errors = samples.with_rate_statistics(
                region, nodes[region.name]
            )
            extra.append(statistics_parameter(region.name, errors[0]))
    return NsbiSpec(
        binned=BinnedSpec(
            channels=tuple(binned),
            parameters=(*parameters.specs(), *extra),
            derived=samples.derived,
            poi=parameters.poi,
            name=measurement.name,
            report=report.sentences(),
        ),
        unbinned=tuple(unbinned),
        order=parameters.order,
        interpolation=choices.interpolation,
    )


def _check_choice(name: str, value: Any, known: Iterable[str]) -> None:
    if value not in known:
        texts = ", ".join(map(repr, known))
        raise ArgumentValueError(
            f"{name}: expected one of {texts}, got {value!r}.{nearest(value, known)}"
        )


def _measurement(root: Node, chosen: str | int | None, report: Report) -> Node:
    nodes = list(root.child("measurements").items())
    if not nodes:
        root.child("measurements").fail("at least one measurement")
    names = [node.name for node in nodes]
    if chosen is None:
        if len(nodes) > 1:
            report.say(
                f"Of the measurements {', '.join(map(shortened, names))} the first one "
                "is used."
            )
        return nodes[0]
    if isinstance(chosen, int) and 0 <= chosen < len(nodes):
        return nodes[chosen]
    if chosen not in names:
        raise unknown_key(chosen, names, where="measurement", kind="measurement")
    return nodes[names.index(str(chosen))]


def _with_statistics(measurement: Node, choices: WorkspaceChoices) -> bool:
    if choices.template_statistics is not None:
        return choices.template_statistics
    node = measurement.child("config").get("template_statistics")
    if node is None:
        return False
    if not isinstance(node.value, bool):
        node.fail("true or false")
    return node.value


def _binned(
    channel: Node, observed: Mapping[str, Node], samples: Samples
) -> ChannelSpec:
    name = channel.name
    if name not in observed:
        channel.unknown(name, observed, "observation")
    data = observed[name].child("data").numbers()
    read = [samples.binned(node, name, data.size) for node in _samples(channel)]
    return ChannelSpec(name, data, tuple(read))


def _unbinned(
    channel: Node,
    observed: Mapping[str, Node],
    samples: Samples,
    events: EventReader,
) -> UnbinnedRegion:
    nodes = _samples(channel)
    parts = events.region(channel, nodes, observed.get(channel.name))
    region = UnbinnedRegion(
        channel.name, tuple(samples.unbinned(node) for node in nodes), **parts
    )
    return dataclasses.replace(region, reference_weights=reference_weights(region))


def _samples(channel: Node) -> list[Node]:
    nodes = list(channel.child("samples").items())
    if not nodes:
        channel.child("samples").fail("at least one sample")
    names = [node.name for node in nodes]
    for node, name in zip(nodes, names, strict=True):
        if names.count(name) > 1:
            node.refuse(f"two samples of the channel have the name {shortened(name)}.")
    return nodes


def _say_generation(
    events: EventReader, interpolation: RatioInterpolation, report: Report
) -> None:
    if events.generation is None:
        return
    place = {
        1: "the samples of its unbinned channels carry the density ratios",
        2: "its observations carry the density ratios and weights",
    }[events.generation]
    meaning = {
        "polynomial": "polynomials of sixth order within ±1 and exponentials beyond "
        "(the older models of this format, written in PyTorch, are piecewise linear: "
        'interpolation="linear")',
        "linear": "piecewise linear, as in the older models of this format, written in "
        "PyTorch",
    }[interpolation]
    report.say(f"In this workspace {place}. Changes by nuisance parameters: {meaning}.")


def load(
    workspace: Mapping[str, Any] | str | os.PathLike[str],
    measurement: str | int | None = None,
    *,
    normalize: bool = True,
    interpolation: RatioInterpolation = "polynomial",
    template_statistics: bool | None = None,
    storage: Storage = "float64",
) -> NsbiModel:
    r"""Make a model of a density-ratio workspace.

    ``model.nll`` is -ln L, constraints included, whatever the workspace says under
    ``errordef``: an error is where it rises by 1/2.

    Args:
        workspace: A workspace as a dict, or its file.
        measurement: Name or index of the measurement; the first if None.
        normalize: Whether the densities of samples, changed by nuisance parameters, are
            divided by their integrals. These are estimated from the reference sample of
            the region, or from its Asimov events. Without it a change of a density may
            also change its integral, which biases fits and makes false minima.
        interpolation: The factors between the ratios at -1, 0 and 1: ``"polynomial"``
            of sixth order with exponentials beyond ±1, or ``"linear"``.
        template_statistics: Whether the expected counts of bins, and the numbers of
            events of unbinned regions, fluctuate within the statistical errors of the
            templates (Barlow-Beeston, one factor for each bin). None is the choice of
            the measurement, by default not.
        storage: The dtype of the densities in memory, ``"float32"`` for half of it.
            Sums are in double precision.

    Raises:
        SpecificationError: If the workspace is not valid, with the place.
        MissingFileError: If a file does not exist.
        UnknownKeyError: If there is no such measurement.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> sample = {"name": "signal", "data": [5.0], "modifiers": [mu]}
        >>> model = load(
        ...     {
        ...         "channels": [{"name": "CR", "type": "binned", "samples": [sample]}],
        ...         "observations": [{"name": "CR", "data": [7]}],
        ...         "measurements": [
        ...             {
        ...                 "name": "m",
        ...                 "config": {
        ...                     "poi": "mu",
        ...                     "parameters": [{"name": "mu", "inits": [1.0]}],
        ...                 },
        ...             }
        ...         ],
        ...     }
        ... )
        >>> model
        NsbiModel(1 channels, 1 bins, 0 unbinned regions, 0 events, 1 parameters, ...)
    """
    loaded = workspace if isinstance(workspace, Mapping) else load_workspace(workspace)
    choices = WorkspaceChoices(
        measurement, interpolation, template_statistics, normalize
    )
    _check_choice("storage", storage, get_args(Storage))
    spec = workspace_spec(loaded, choices)
    return NsbiModel.from_spec(spec, normalize=normalize, storage=storage)
