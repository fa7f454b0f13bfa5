"""The section of regions."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from everwillow._errors import nearest
from everwillow.models.nsbi.configuration._context import Context
from everwillow.models.nsbi.configuration._ratios import (
    NetworkSettings,
    read_trained_models,
)
from everwillow.models.nsbi.configuration.records import (
    EventSource,
    RegionEntry,
    SampleEntry,
    SystematicEntry,
    TrainedModelEntry,
    UnbinnedEvents,
)
from everwillow.models.nsbi.spec import ReferenceDensity
from everwillow.models.yaml_section import Section


_TYPES = {"binned": False, "unbinned": True}
_UNBINNED = ("AsimovWeights", "TrainedModels", "Reference")
_DENSITIES: dict[str, ReferenceDensity] = {
    name: name for name in get_args(ReferenceDensity)
}


class RegionReader:
    """Reads elements of `Regions`.

    Args:
        context: The state of the reading.
        settings: What networks need, from the top of the document.
        samples: The samples.
        systematics: The systematics.
        observed: Whether there are trees of observed events.
    """

    def __init__(
        self,
        context: Context,
        settings: NetworkSettings,
        samples: Sequence[SampleEntry],
        systematics: Sequence[SystematicEntry],
        *,
        observed: bool,
    ) -> None:
        self._context = context
        self._settings = settings
        self._samples = samples
        self._systematics = systematics
        self._observed = observed
        self._shapes = {one.parameter.name: one.shape for one in systematics}

    def read(self, section: Section) -> RegionEntry:
        """Read one region, whose name is declared already."""
        name = section.text("Name") or ""
        unbinned = section.choice("Type", _TYPES, required=True)
        selection = self._context.selection(section)
        variable = section.text("Variable", required=unbinned is False) or ""
        edges = self._edges(section, required=unbinned is False)
        events = data = reference = None
        density: ReferenceDensity = "reference"
        if not any(name in sample.regions for sample in self._samples):
            section.fault(section.line, "it has no sample.")
        if unbinned:
            settings = self._settings.inside(self._context, section)
            events = self._events(section, name, settings, "AsimovWeights")
            data = self._data(section, name, settings)
            reference, density = self._reference(section, name, settings)
            if data is not None and reference is not None:
                self._context.report.collect(
                    "Regions with Data and a Reference do not use AsimovWeights and "
                    "their TrainedModels: {names}.",
                    name,
                )
            edges = ()
        elif "Data" in section:
            section.fault(
                section.line_of("Data"),
                "Data is for unbinned regions; binned ones have the observed events of "
                "the section Observations.",
            )
        section.finish(
            () if unbinned else (*_UNBINNED, "TrainingFeatures"), more=_UNBINNED
        )
        return RegionEntry(
            name,
            selection,
            variable,
            section.line_of("Variable"),
            edges,
            events,
            data,
            reference,
            density,
            section.line,
        )

    def _edges(self, section: Section, *, required: bool) -> tuple[float, ...]:
        edges = section.numbers("Binning", required=required)
        if edges is None:
            return ()
        line = section.line_of("Binning")
        if len(edges) < 2:
            section.fault(line, "Binning needs two edges at least.")
        for low, high in itertools.pairwise(edges):
            if low >= high:
                section.fault(
                    line,
                    f"Binning must increase, but {high:g} follows {low:g}.",
                )
        return edges

    def _array(self, section: Section, key: str) -> pathlib.Path | None:
        found = self._context.array_files(section, key)
        if len(found) > 1:
            section.fault(section.line_of(key), f"{key} must be one file.")
        return found[0] if found else None

    def _data(
        self, section: Section, region: str, settings: NetworkSettings
    ) -> UnbinnedEvents | None:
        inner = section.section("Data")
        if inner is None:
            return None
        own = settings.inside(self._context, inner)
        events = self._events(inner, region, own, "Weights")
        if events.networks() and not self._observed:
            inner.fault(
                inner.line,
                "the networks need the events: give the section Observations.",
            )
        inner.finish()
        return events

    def _reference(
        self, section: Section, region: str, settings: NetworkSettings
    ) -> tuple[UnbinnedEvents | None, ReferenceDensity]:
        inner = section.section("Reference")
        if inner is None:
            return None, "reference"
        own = settings.inside(self._context, inner)
        source = None
        if "SamplePath" in inner:
            source = self._context.source(inner)
        elif "Weights" not in inner:
            inner.fault(
                inner.line,
                "neither Weights nor SamplePath is given: the weights of simulated "
                "events, or their tree.",
            )
        events = self._events(inner, region, own, "Weights", source)
        density = inner.choice("Density", _DENSITIES)
        if events.networks() and source is None:
            inner.fault(
                inner.line,
                "the networks need the events: give SamplePath and Tree.",
            )
        inner.finish(more=("SamplePath", "Tree", "Weight"))
        return events, density or "reference"

    def _events(
        self,
        section: Section,
        region: str,
        settings: NetworkSettings,
        weights: str,
        source: EventSource | None = None,
    ) -> UnbinnedEvents:
        file = self._array(section, weights)
        models = read_trained_models(self._context, section, settings, self._shapes)
        self._check_complete(section, region, models)
        used = {}
        for name, model in models.items():
            if not any(
                one.name == name and region in one.regions for one in self._samples
            ):
                self._remark_unused(section, f"the sample {name!r}")
                continue
            shapes = list(self._shapes_of(name, region))
            for systematic in model.variations.keys() - shapes:
                self._remark_unused(section, f"{name!r} varied by {systematic!r}")
            variations = {
                systematic: pair
                for systematic, pair in model.variations.items()
                if systematic in shapes
            }
            used[name] = dataclasses.replace(model, variations=variations)
        return UnbinnedEvents(file, source, used, section.line_of(weights))

    def _remark_unused(self, section: Section, what: str) -> None:
        self._context.report.say(
            f"{section.name} has density ratios of {what}, which no sample or "
            "systematic of the region needs: they are not used."
        )

    def _check_complete(
        self, section: Section, region: str, models: Mapping[str, TrainedModelEntry]
    ) -> None:
        """Report samples and shape systematics without density ratios."""
        if "TrainedModels" not in section:
            return
        samples = [one.name for one in self._samples if region in one.regions]
        lacking = [name for name in samples if name not in models]
        if lacking:
            section.fault(
                section.line_of("TrainedModels"),
                f"TrainedModels has no entry for {', '.join(map(repr, lacking))}.",
            )
        for name in samples:
            if name not in models:
                continue
            entry = models[name]
            for systematic in self._shapes_of(name, region):
                if systematic not in entry.variations:
                    hint = nearest(systematic, entry.variations)
                    section.fault(
                        entry.line,
                        f"TrainedModels of {name!r} have no ratios for {systematic!r}, "
                        f"which varies its shape.{hint} Give them, restrict the "
                        "systematic by Samples or Regions, or give it Type: Norm.",
                    )

    def _shapes_of(self, sample: str, region: str) -> Iterator[str]:
        for one in self._systematics:
            parameter = one.parameter
            if (
                one.shape
                and sample in parameter.samples
                and region in parameter.regions
            ):
                yield parameter.name
