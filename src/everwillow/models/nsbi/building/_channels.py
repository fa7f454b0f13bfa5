"""One region: what it needs of the events, and its channel of the workspace."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow.models._document import Report
from everwillow.models.event_filter import EventFilter
from everwillow.models.faults import Faults
from everwillow.models.nsbi.building._array_files import ArrayChecks
from everwillow.models.nsbi.building._coefficients import lagrange_coefficients
from everwillow.models.nsbi.building._reading import EventPlan, Histogram, Selected
from everwillow.models.nsbi.building._stored_arrays import ArrayFolder
from everwillow.models.nsbi.building._unbinned import EventSet
from everwillow.models.nsbi.configuration.records import (
    Configuration,
    EventSource,
    ParameterEntry,
    RegionEntry,
    SampleEntry,
    SystematicEntry,
    Variation,
)


class RegionPart:
    """A region of the workspace.

    Args:
        configuration: The configuration.
        region: The region.
        plan: Gets what the region needs of the events.
        factors: By what nominal values multiply samples, by region and sample.
    """

    def __init__(
        self,
        configuration: Configuration,
        region: RegionEntry,
        plan: EventPlan,
        factors: Mapping[str, Mapping[str, float]],
    ) -> None:
        self._configuration = configuration
        self._region = region
        self._plan = plan
        self._factors = factors[region.name]
        self._samples = [
            one for one in configuration.samples if region.name in one.regions
        ]
        self._nominal = {
            one.name: self._histogram(one.source, one) for one in self._samples
        }
        self._varied = {
            (systematic.parameter.name, sample.name): tuple(
                self._variation(side[sample.name], sample)
                for side in (systematic.up, systematic.down)
            )
            for sample in self._samples
            for systematic in self._systematics_of(sample.name)
        }
        self._observed = [
            one
            for source in configuration.observations
            for one in self._histogram(source, None)
        ]
        self._events = self._reference = None
        if region.events is not None:
            simulated = [
                (one.source, self._selections(one), self._factors[one.name])
                for one in self._samples
            ]
            selections = self._selections(None)
            data = [(one, selections, 1.0) for one in configuration.observations]
            self._events = EventSet(
                region.name,
                configuration.path.name,
                region.events,
                (simulated, data),
                plan,
            )
        if region.reference is not None:
            source = region.reference.source
            trees = [] if source is None else [(source, self._selections(None), 1.0)]
            self._reference = EventSet(
                f"{region.name}_reference",
                configuration.path.name,
                region.reference,
                (trees,),
                plan,
            )

    def check_arrays(self, checks: ArrayChecks) -> None:
        """Report faults of files with weights and ratios."""
        for one in (self._events, self._reference):
            if one is not None:
                one.check_arrays(checks)

    def check_events(self, checks: ArrayChecks, faults: Faults) -> None:
        """Report weights and ratios whose length is not that of the events."""
        for one in (self._events, self._reference):
            if one is not None:
                one.check_events(checks, faults)

    def observation(self) -> dict[str, Any]:
        """Return the observed counts: a sum of weights in each bin."""
        if self._configuration.observations:
            counts = _sums(self._observed)
        else:
            counts = sum(
                self._factors[name] * _sums(filled)
                for name, filled in self._nominal.items()
            )
        return {"name": self._region.name, "data": _listed(np.asarray(counts))}

    def channel(self, folder: ArrayFolder, report: Report) -> dict[str, Any]:
        """Return the channel.

        Args:
            folder: Gets arrays that are made.
            report: Gets sentences on what was assumed.
        """
        region = self._region
        channel: dict[str, Any] = {
            "name": region.name,
            "type": "unbinned" if region.unbinned else "binned",
        }
        self._remark_undefined(report)
        if self._events is not None:
            channel["weights"] = self._events.weights(folder, report)
        channel["samples"] = [
            self._sample(sample, folder, report) for sample in self._samples
        ]
        if self._reference is not None:
            channel["reference"] = self._reference.written(
                folder,
                report,
                {one.name: self._shapes_of(one.name) for one in self._samples},
            )
        return channel

    def _sample(
        self, sample: SampleEntry, folder: ArrayFolder, report: Report
    ) -> dict[str, Any]:
        filled = self._nominal[sample.name]
        squares = sum((one.squares for one in filled), start=np.zeros(1))
        written: dict[str, Any] = {
            "name": sample.name,
            "data": _listed(_sums(filled)),
            "variance": _listed(squares),
        }
        if self._events is not None:
            written["ratios"] = self._events.nominal(sample.name, folder)
        written["modifiers"] = [
            *self._factor_modifiers(sample.name),
            *(
                self._systematic_modifier(one, sample.name, folder, report)
                for one in self._systematics_of(sample.name)
            ),
        ]
        return written

    def _factor_modifiers(self, sample: str) -> list[dict[str, Any]]:
        configuration = self._configuration
        norms = [
            {"name": one.parameter.name, "type": "normfactor", "data": None}
            for one in configuration.norm_factors
            if self._affects(one.parameter, sample)
        ]
        couplings = [
            {
                "name": one.parameter.name,
                "type": "vandermonde",
                "data": None,
                "coeff": lagrange_coefficients(one.nodes)[sample],
            }
            for one in configuration.couplings
            if self._affects(one.parameter, sample)
        ]
        return [*norms, *couplings]

    def _systematic_modifier(
        self, entry: SystematicEntry, sample: str, folder: ArrayFolder, report: Report
    ) -> dict[str, Any]:
        name = entry.parameter.name
        up, down = self._varied[name, sample]
        if not entry.shape:
            yields = {
                key: self._yield_factor(one, sample, report)
                for key, one in (("hi", up), ("lo", down))
            }
            return {"name": name, "type": "normsys", "data": yields}
        data: dict[str, Any] = {
            key: _listed(self._factors_of_bins(one, sample, report))
            for key, one in (("hi_data", up), ("lo_data", down))
        }
        if self._events is not None:
            data |= self._events.varied(sample, name, folder)
        return {"name": name, "type": "normplusshape", "data": data}

    def _yield_factor(
        self, varied: list[Histogram] | float, sample: str, report: Report
    ) -> float:
        """Return the varied yield of the region divided by the nominal one."""
        if not isinstance(varied, list):
            return varied
        nominal = _sums(self._nominal[sample]).sum(keepdims=True)
        ratio = self._ratio(_sums(varied).sum(keepdims=True), nominal, sample, report)
        return float(ratio[0])

    def _factors_of_bins(
        self, varied: list[Histogram] | float, sample: str, report: Report
    ) -> np.ndarray:
        """Return the varied yields of the bins divided by the nominal ones."""
        assert isinstance(varied, list)  # only yields are varied by factors
        return self._ratio(_sums(varied), _sums(self._nominal[sample]), sample, report)

    def _ratio(
        self, varied: np.ndarray, nominal: np.ndarray, sample: str, report: Report
    ) -> np.ndarray:
        empty = nominal == 0
        if empty.any():
            report.collect(
                "Bins without nominal events are not varied: {names}.",
                f"{sample} in {self._region.name}",
            )
        return np.divide(varied, nominal, out=np.ones_like(nominal), where=~empty)

    def _remark_undefined(self, report: Report) -> None:
        filled = {**self._nominal, "the observed events": self._observed}
        for name, histograms in filled.items():
            if any(one.undefined for one in histograms):
                report.collect(
                    "Events whose variable is not a number are left out: {names}.",
                    f"{name} in {self._region.name}",
                )

    def _variation(
        self, given: Variation, sample: SampleEntry
    ) -> list[Histogram] | float:
        return (
            self._histogram(given, sample) if isinstance(given, EventSource) else given
        )

    def _histogram(
        self, source: EventSource, sample: SampleEntry | None
    ) -> list[Histogram]:
        region = self._region
        variable = "" if region.unbinned else region.variable

        def make() -> Histogram:
            selected = Selected(self._selections(sample), source.weight)
            return Histogram(selected, variable, region.edges)

        return self._plan.add(source, make)

    def _selections(self, sample: SampleEntry | None) -> tuple[EventFilter, ...]:
        own = None if sample is None else sample.selection
        return tuple(one for one in (self._region.selection, own) if one is not None)

    def _affects(self, entry: ParameterEntry, sample: str) -> bool:
        return sample in entry.samples and self._region.name in entry.regions

    def _systematics_of(self, sample: str) -> list[SystematicEntry]:
        return [
            one
            for one in self._configuration.systematics
            if self._affects(one.parameter, sample)
        ]

    def _shapes_of(self, sample: str) -> list[str]:
        found = self._systematics_of(sample)
        return [one.parameter.name for one in found if one.shape]


def _sums(filled: list[Histogram]) -> np.ndarray:
    return np.sum([one.sums for one in filled], axis=0)


def _listed(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]
