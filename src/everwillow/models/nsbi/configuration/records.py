"""What a configuration says, as frozen records."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from everwillow.models.event_filter import EventFilter
from everwillow.models.nsbi.spec import NetworkOutput, ReferenceDensity


@dataclasses.dataclass(frozen=True)
class EventSource:
    """Events of one tree, in one file or several.

    Attributes:
        paths: The files.
        tree: The name of the tree; may be empty.
        weight: The column of the weights; None for weights of 1.
        line: The line of the configuration.
    """

    paths: tuple[pathlib.Path, ...]
    tree: str
    weight: str | None
    line: int


@dataclasses.dataclass(frozen=True)
class Selection:
    """A selection of events, with its line of the configuration."""

    filter: EventFilter
    line: int


@dataclasses.dataclass(frozen=True)
class SampleEntry:
    """A sample.

    Attributes:
        name: Its name.
        source: Its events.
        selection: The selection of its own, besides those of the regions.
        regions: The regions in which it is.
        line: The line of the configuration.
    """

    name: str
    source: EventSource
    selection: Selection | None
    regions: tuple[str, ...]
    line: int


@dataclasses.dataclass(frozen=True)
class ParameterEntry:
    """The settings that all parameters have.

    Attributes:
        name: The name of the parameter.
        nominal: Its nominal value.
        bounds: Its bounds, or None.
        samples: The samples that it affects.
        regions: The regions in which it affects them.
        line: The line of the configuration.
    """

    name: str
    nominal: float
    bounds: tuple[float, float] | None
    samples: tuple[str, ...]
    regions: tuple[str, ...]
    line: int


@dataclasses.dataclass(frozen=True)
class NormFactorEntry:
    """A free factor."""

    parameter: ParameterEntry


@dataclasses.dataclass(frozen=True)
class CouplingEntry:
    """A coupling, in which the samples are nodes of a polynomial.

    Attributes:
        parameter: Name, values, samples and regions.
        nodes: The value of the coupling that each sample was made with.
    """

    parameter: ParameterEntry
    nodes: Mapping[str, float]


Variation: TypeAlias = EventSource | float
"""Varied events, or the factor of a yield."""


@dataclasses.dataclass(frozen=True)
class SystematicEntry:
    """A systematic uncertainty.

    Attributes:
        parameter: Name, values, samples and regions.
        shape: Whether it varies shapes; otherwise yields only.
        up: The variation of each sample at +1.
        down: The variation of each sample at -1.
    """

    parameter: ParameterEntry
    shape: bool
    up: Mapping[str, Variation]
    down: Mapping[str, Variation]


@dataclasses.dataclass(frozen=True)
class NetworkEntry:
    """An ensemble of networks that return density ratios.

    Attributes:
        paths: The files of the ensemble.
        features: The columns that are the inputs.
        standardised: Those that are standardised.
        scaler: The file with `mean` and `scale` of these.
        output: What the networks return.
        line: The line of the configuration.
    """

    paths: tuple[pathlib.Path, ...]
    features: tuple[str, ...]
    standardised: tuple[str, ...]
    scaler: pathlib.Path | None
    output: NetworkOutput
    line: int


@dataclasses.dataclass(frozen=True)
class RatioFiles:
    """Files with the density ratio of every event; several are an ensemble."""

    paths: tuple[pathlib.Path, ...]
    line: int


RatioEntry: TypeAlias = RatioFiles | NetworkEntry


@dataclasses.dataclass(frozen=True)
class TrainedModelEntry:
    """The density ratios of a sample.

    Attributes:
        nominal: Those at the nominal values.
        variations: Those at +1 and -1 of systematics, by name.
        line: The line of the configuration.
    """

    nominal: RatioEntry
    variations: Mapping[str, tuple[RatioEntry, RatioEntry]]
    line: int


@dataclasses.dataclass(frozen=True)
class UnbinnedEvents:
    """Events with weights and density ratios.

    Attributes:
        weights: The file of the weights, or None.
        source: The tree of the events, if they have one of their own.
        models: The density ratios, by the name of the sample.
        line: The line of the weights, or of the region without them.
    """

    weights: pathlib.Path | None
    source: EventSource | None
    models: Mapping[str, TrainedModelEntry]
    line: int

    def ratios(self) -> Iterator[RatioEntry]:
        """Return all density ratios."""
        for model in self.models.values():
            yield model.nominal
            for pair in model.variations.values():
                yield from pair

    def networks(self) -> list[NetworkEntry]:
        """Return the density ratios that are from networks."""
        return [one for one in self.ratios() if isinstance(one, NetworkEntry)]


@dataclasses.dataclass(frozen=True)
class RegionEntry:
    """A region.

    Attributes:
        name: Its name.
        selection: The selection of events, or None for all.
        variable: The column of the histogram of a binned region.
        variable_line: The line that names it, or that of the region.
        edges: The edges of its bins; empty for an unbinned region.
        events: The events of an unbinned region: simulated ones with the nominal
            mixture of the samples if there are data, otherwise the observed ones.
        data: The observed events, or None.
        reference: The reference sample of an unbinned region.
        reference_density: The density from which this sample is simulated.
        line: The line of the configuration.
    """

    name: str
    selection: Selection | None
    variable: str
    variable_line: int
    edges: tuple[float, ...]
    events: UnbinnedEvents | None
    data: UnbinnedEvents | None
    reference: UnbinnedEvents | None
    reference_density: ReferenceDensity
    line: int

    @property
    def unbinned(self) -> bool:
        """Whether it is unbinned."""
        return self.events is not None


@dataclasses.dataclass(frozen=True)
class MeasurementEntry:
    """A measurement.

    Attributes:
        name: Its name.
        poi: The parameter of interest; may be empty.
        fitted: The parameters that are not held at their nominal values.
        error_def: The convention of other tools for the scale of -ln L.
        template_statistics: Whether the statistical errors of the samples are in the
            fit; None if it is not said.
    """

    name: str
    poi: str
    fitted: tuple[str, ...]
    error_def: str
    template_statistics: bool | None


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A configuration that is valid as a whole.

    Attributes:
        path: The file.
        measurements: The measurements, at least one.
        observations: The observed events; empty for the Asimov set.
        samples: The samples.
        norm_factors: The free factors.
        couplings: The couplings.
        systematics: The systematic uncertainties.
        regions: The regions.
        notes: Sentences on what was assumed.
    """

    path: pathlib.Path
    measurements: tuple[MeasurementEntry, ...]
    observations: tuple[EventSource, ...]
    samples: tuple[SampleEntry, ...]
    norm_factors: tuple[NormFactorEntry, ...]
    couplings: tuple[CouplingEntry, ...]
    systematics: tuple[SystematicEntry, ...]
    regions: tuple[RegionEntry, ...]
    notes: tuple[str, ...]

    @property
    def parameters(self) -> tuple[ParameterEntry, ...]:
        """All parameters: couplings, free factors, systematic uncertainties."""
        groups = (self.couplings, self.norm_factors, self.systematics)
        return tuple(entry.parameter for group in groups for entry in group)
