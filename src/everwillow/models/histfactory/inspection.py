"""Summaries of workspaces."""

from dataclasses import dataclass

from everwillow._html import Part, Table, apart, html_of, text_of
from everwillow._rounding import counted
from everwillow.models.histfactory._inventory import Inventory, take_inventory
from everwillow.models.histfactory.reading import read_document
from everwillow.models.json_source import Source


_CONSTRAINTS = {
    "histosys": "normal",
    "lumi": "normal",
    "normfactor": "none",
    "normsys": "normal",
    "shapefactor": "none",
    "shapesys": "poisson",
    "staterror": "normal",
}


@dataclass(frozen=True, slots=True)
class ParameterSummary:
    """One parameter of a workspace.

    Attributes:
        name: Its name.
        size: Number of its elements.
        constraint: The density of its auxiliary data: normal, poisson or none.
        types: The types of its modifiers.
    """

    name: str
    size: int
    constraint: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeasurementSummary:
    """One measurement of a workspace.

    Attributes:
        name: Its name.
        poi: Its parameter of interest, empty if it has none.
        parameters: Names of the parameters that it sets.
    """

    name: str
    poi: str
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkspaceSummary:
    """A summary of a workspace, which prints as a table.

    Attributes:
        channels: Name and number of bins of each channel, in the order of the data.
        samples: Names of all samples, sorted.
        parameters: All parameters, sorted by name.
        measurements: All measurements; the first is the default.
    """

    channels: tuple[tuple[str, int], ...]
    samples: tuple[str, ...]
    parameters: tuple[ParameterSummary, ...]
    measurements: tuple[MeasurementSummary, ...]

    def __str__(self) -> str:
        """Return the tables."""
        return text_of(self._parts())

    def _repr_html_(self) -> str:
        """Return the tables for notebooks."""
        return html_of(self._parts())

    def _parts(self) -> list[Part]:
        bins = sum(size for _, size in self.channels)
        elements = sum(parameter.size for parameter in self.parameters)
        head = (
            f"{counted(len(self.channels), 'channel')} with {counted(bins, 'bin')}, "
            f"{counted(len(self.samples), 'sample')}, "
            f"{counted(len(self.parameters), 'parameter')} with "
            f"{counted(elements, 'element')}"
        )
        return apart(
            [
                head,
                Table([("channel", "bins"), *((n, str(b)) for n, b in self.channels)]),
                Table([("sample",), *((name,) for name in self.samples)]),
                Table(
                    [
                        ("parameter", "size", "constraint", "modifiers"),
                        *(
                            (p.name, str(p.size), p.constraint, ", ".join(p.types))
                            for p in self.parameters
                        ),
                    ]
                ),
                Table(
                    [
                        ("measurement", "poi", "sets"),
                        *(
                            (m.name, m.poi or "-", ", ".join(m.parameters) or "-")
                            for m in self.measurements
                        ),
                    ]
                ),
            ]
        )


def summary(workspace: Source) -> WorkspaceSummary:
    """List channels, samples, parameters and measurements, as ``pyhf inspect`` does.

    Args:
        workspace: A file, JSON text or a dict.

    Raises:
        SpecificationError: If it is not valid.
        MissingFileError: If there is no such file.

    Example:
        >>> modifiers = [{"name": "mu", "type": "normfactor", "data": None}]
        >>> sample = {"name": "signal", "data": [5.0], "modifiers": modifiers}
        >>> print(
        ...     summary(
        ...         {
        ...             "channels": [{"name": "SR", "samples": [sample]}],
        ...             "observations": [{"name": "SR", "data": [6]}],
        ...             "measurements": [
        ...                 {"name": "m", "config": {"poi": "mu", "parameters": []}}
        ...             ],
        ...             "version": "1.0.0",
        ...         }
        ...     )
        ... )
        1 channel with 1 bin, 1 sample, 1 parameter with 1 element
        <BLANKLINE>
        channel  bins
        SR       1
        <BLANKLINE>
        sample
        signal
        <BLANKLINE>
        parameter  size  constraint  modifiers
        mu         1     none        normfactor
        <BLANKLINE>
        measurement  poi  sets
        m            mu   -
    """
    document = read_document(workspace)
    inventory = take_inventory(document)
    return WorkspaceSummary(
        tuple((channel.name, channel.bins) for channel in inventory.channels),
        tuple(sorted({s.name for c in document.channels for s in c.samples})),
        tuple(_parameter(name, inventory) for name in sorted(inventory.order())),
        tuple(
            MeasurementSummary(m.name, m.poi, tuple(m.parameters))
            for m in document.measurements
        ),
    )


def _parameter(name: str, inventory: Inventory) -> ParameterSummary:
    types = tuple(kind for kind, named in inventory.uses.items() if name in named)
    size = inventory.elements.get(name, 1)
    return ParameterSummary(name, size, _CONSTRAINTS[types[0]], types)
