"""Summaries of density-ratio workspaces."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from everwillow._html import Part, Table, apart, html_of, text_of
from everwillow._rounding import counted, plain
from everwillow.likelihood.binned.spec import ParameterSpec
from everwillow.models._document import Node
from everwillow.models.nsbi.reading import workspace_spec


@dataclass(frozen=True, slots=True)
class ChannelSummary:
    """One channel of a workspace.

    Attributes:
        name: Its name.
        kind: ``"binned"`` or ``"unbinned"``.
        size: The number of bins, or of observed events.
        reference: The number of events of its own reference sample; 0 if the observed
            ones serve as these, and for binned channels.
        observed: The sum of the observed counts or weights.
        expected: The sum of the nominal yields of its samples.
        samples: The names of its samples.
    """

    name: str
    kind: str
    size: int
    reference: int
    observed: float
    expected: float
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParameterSummary:
    """One parameter of the first measurement of a workspace.

    Attributes:
        name: Its name.
        start: Its start value.
        lower: Its lower bound.
        upper: Its upper bound.
        constrained: Whether it has a constraint.
        fixed: Whether it is constant.
        types: The types of its modifiers.
    """

    name: str
    start: float
    lower: float
    upper: float
    constrained: bool
    fixed: bool
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkspaceSummary:
    """A summary of a workspace, which prints as tables.

    Attributes:
        channels: The channels.
        parameters: The parameters of the first measurement, in their order.
        measurements: Name and parameter of interest of each measurement; the latter is
            empty if it has none.
        report: The assumptions of the reader, one sentence each.
    """

    channels: tuple[ChannelSummary, ...]
    parameters: tuple[ParameterSummary, ...]
    measurements: tuple[tuple[str, str], ...]
    report: tuple[str, ...]

    def __str__(self) -> str:
        """Return the tables."""
        return text_of(self._parts())

    def _repr_html_(self) -> str:
        """Return the tables for notebooks."""
        return html_of(self._parts())

    def _parts(self) -> list[Part]:
        channels = [("channel", "type", "size", "observed", "expected", "samples")]
        for one in self.channels:
            size = counted(one.size, "bin" if one.kind == "binned" else "event")
            size += f" + {one.reference} of reference" if one.reference else ""
            sums = plain(one.observed, 6), plain(one.expected, 6)
            channels.append((one.name, one.kind, size, *sums, ", ".join(one.samples)))
        parameters = [("parameter", "start", "range", "constraint", "modifiers")]
        for one in self.parameters:
            ends = f"[{one.lower:g}, {one.upper:g}]"
            span = ends if np.isfinite([one.lower, one.upper]).any() else "-"
            parameters.append(
                (
                    one.name,
                    f"{one.start:g}",
                    "constant" if one.fixed else span,
                    "normal" if one.constrained else "none",
                    ", ".join(one.types),
                )
            )
        measurements = [("measurement", "poi")]
        measurements += [(name, poi or "-") for name, poi in self.measurements]
        return apart([*map(Table, (channels, parameters, measurements))])


def summary(workspace: Mapping[str, Any]) -> WorkspaceSummary:
    """List the channels, parameters and measurements of a workspace.

    Args:
        workspace: The document, as `everwillow.models.nsbi.load_workspace` returns it.

    Raises:
        SpecificationError: If it is not valid.
        MissingFileError: If a file of an array does not exist.

    Example:
        >>> mu = {"name": "mu", "type": "normfactor", "data": None}
        >>> sample = {"name": "signal", "data": [5.0], "modifiers": [mu]}
        >>> channel = {"name": "CR", "type": "binned", "samples": [sample]}
        >>> print(
        ...     summary(
        ...         {
        ...             "channels": [channel],
        ...             "observations": [{"name": "CR", "data": [7]}],
        ...             "measurements": [
        ...                 {
        ...                     "name": "m",
        ...                     "config": {
        ...                         "poi": "mu",
        ...                         "parameters": [{"name": "mu", "inits": [1.0]}],
        ...                     },
        ...                 }
        ...             ],
        ...         }
        ...     )
        ... )
        channel  type    size   observed  expected  samples
        CR       binned  1 bin  7         5         signal
        <BLANKLINE>
        parameter  start  range  constraint  modifiers
        mu         1      -      none        normfactor
        <BLANKLINE>
        measurement  poi
        m            mu
    """
    spec, root = workspace_spec(workspace), Node(workspace)
    binned = [
        ChannelSummary(
            channel.name,
            "binned",
            channel.observed.size,
            0,
            float(np.sum(channel.observed)),
            float(sum(np.sum(sample.nominal) for sample in channel.samples)),
            tuple(sample.name for sample in channel.samples),
        )
        for channel in spec.binned.channels
    ]
    unbinned = [
        ChannelSummary(
            region.name,
            "unbinned",
            region.events.weights.size,
            0 if region.reference is None else region.reference.weights.size,
            float(np.sum(region.events.weights)),
            float(sum(sample.expected for sample in region.samples)),
            tuple(sample.name for sample in region.samples),
        )
        for region in spec.unbinned
    ]
    types = _types(root)
    return WorkspaceSummary(
        (*binned, *unbinned),
        tuple(_parameter(one, types) for one in spec.binned.parameters),
        tuple(
            (one.name, str(one.child("config").value.get("poi") or ""))
            for one in root.child("measurements").items()
        ),
        spec.binned.report,
    )


def _types(root: Node) -> dict[str, tuple[str, ...]]:
    """Return the types of the modifiers of each parameter."""
    types: dict[str, dict[str, None]] = {}
    for channel in root.child("channels").items():
        for sample in channel.child("samples").items():
            for modifier in sample.listed("modifiers"):
                types.setdefault(modifier.name, {})[modifier.type] = None
    return {name: tuple(found) for name, found in types.items()}


def _parameter(one: ParameterSpec, types: dict[str, tuple[str, ...]]) -> Any:
    return ParameterSummary(
        one.name,
        float(np.ravel(one.start)[0]),
        float(np.min(one.lower)),
        float(np.max(one.upper)),
        one.constraint is not None,
        bool(np.all(one.fixed)),
        types.get(one.name, ("statistics of templates",)),
    )
