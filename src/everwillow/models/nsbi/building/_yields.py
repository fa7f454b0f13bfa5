"""The yields of one region: sums of weights, nominal, varied and observed."""

from collections.abc import Iterable

import numpy as np

from everwillow.models._document import Report
from everwillow.models.faults import Faults
from everwillow.models.nsbi.building._reading import EventPlan, Histogram, Selected
from everwillow.models.nsbi.configuration.records import (
    Configuration,
    EventSource,
    ParameterEntry,
    RegionEntry,
    SampleEntry,
    Selection,
    SystematicEntry,
    Variation,
)


class RegionYields:
    """The yields of a region, which are there after the events have been read.

    Args:
        configuration: The configuration.
        region: The region.
        plan: Gets what is needed of the events.

    Attributes:
        samples: The samples in the region.
    """

    def __init__(
        self, configuration: Configuration, region: RegionEntry, plan: EventPlan
    ) -> None:
        self._configuration = configuration
        self._region = region
        self._plan = plan
        self.samples = [
            one for one in configuration.samples if region.name in one.regions
        ]
        self._nominal = {
            one.name: self._histograms(one.source, one) for one in self.samples
        }
        self._varied = {
            (systematic.parameter.name, sample.name): tuple(
                self._variation(side[sample.name], sample)
                for side in (systematic.up, systematic.down)
            )
            for sample in self.samples
            for systematic in self.systematics(sample.name)
        }
        self._systematics = {
            one.parameter.name: one for one in configuration.systematics
        }
        self._observed = [
            one
            for source in configuration.observations
            for one in self._histograms(source, None)
        ]

    def selections(self, sample: SampleEntry | None) -> tuple[Selection, ...]:
        """Return the selections of a sample, or of other events."""
        own = None if sample is None else sample.selection
        return tuple(one for one in (self._region.selection, own) if one is not None)

    def affects(self, entry: ParameterEntry, sample: str) -> bool:
        """Return whether a parameter affects a sample in the region."""
        return sample in entry.samples and self._region.name in entry.regions

    def systematics(self, sample: str) -> list[SystematicEntry]:
        """Return the systematics that affect a sample in the region."""
        return [
            one
            for one in self._configuration.systematics
            if self.affects(one.parameter, sample)
        ]

    def nominal(self, sample: str) -> np.ndarray:
        """Return the nominal yield of each bin."""
        return _sums(self._nominal[sample])

    def variance(self, sample: str) -> np.ndarray:
        """Return the sum of squared weights in each bin."""
        return np.sum([one.squares for one in self._nominal[sample]], axis=0)

    def observed(self) -> np.ndarray | None:
        """Return the observed sum of weights in each bin, if there are such events."""
        return _sums(self._observed) if self._observed else None

    def factors(
        self, systematic: str, sample: str, report: Report
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the factors of the yields of the bins at +1 and -1."""
        up, down = self._varied[systematic, sample]
        nominal = self.nominal(sample)
        # Yields only are varied by numbers.
        assert isinstance(up, list) and isinstance(down, list)  # noqa: PT018
        return (
            self._relative(_sums(up), nominal, sample, report),
            self._relative(_sums(down), nominal, sample, report),
        )

    def total_factors(
        self, systematic: str, sample: str, report: Report
    ) -> tuple[float, float]:
        """Return the factors of the yield of the region at +1 and -1."""
        total = self.nominal(sample).sum(keepdims=True)
        up, down = (
            float(
                self._relative(_sums(one).sum(keepdims=True), total, sample, report)[0]
            )
            if isinstance(one, list)
            else one
            for one in self._varied[systematic, sample]
        )
        return up, down

    def check_factors(self, faults: Faults) -> None:
        """Report systematics after which no yield of the region is left."""
        for (name, sample), pair in self._varied.items():
            nominal = float(np.sum(self.nominal(sample)))
            entry = self._systematics[name]
            if entry.shape or nominal == 0:
                continue
            for end, one in zip(("Up", "Dn"), pair, strict=True):
                if not isinstance(one, list):
                    continue
                varied = float(np.sum(_sums(one)))
                if varied * nominal <= 0:
                    faults.add(
                        entry.parameter.line,
                        f"{name!r} changes the yield of {sample!r} in region "
                        f"{self._region.name!r} from {nominal:.6g} to {varied:.6g} "
                        f"({end}), but the factor of a yield must be > 0. Check the "
                        "tree, give a Factor, or restrict the systematic by Samples "
                        "or Regions.",
                    )

    def remark_undefined(self, report: Report) -> None:
        """Report events that are in no bin."""
        filled = {**self._nominal, "the observed events": self._observed}
        for name, histograms in filled.items():
            if any(one.undefined for one in histograms):
                report.collect(
                    "Events whose variable is not a number are left out: {names}.",
                    f"{name} in {self._region.name}",
                )

    def _relative(
        self, varied: np.ndarray, nominal: np.ndarray, sample: str, report: Report
    ) -> np.ndarray:
        empty = nominal == 0
        if empty.any():
            report.collect(
                "Bins without nominal events are not varied: {names}.",
                f"{sample} in {self._region.name}",
            )
        return np.divide(varied, nominal, out=np.ones_like(nominal), where=~empty)

    def _variation(
        self, given: Variation, sample: SampleEntry
    ) -> list[Histogram] | float:
        if isinstance(given, EventSource):
            return self._histograms(given, sample)
        return given

    def _histograms(
        self, source: EventSource, sample: SampleEntry | None
    ) -> list[Histogram]:
        region = self._region
        variable = "" if region.unbinned else region.variable

        def make() -> Histogram:
            selected = Selected(self.selections(sample), source.weight)
            return Histogram(selected, variable, region.variable_line, region.edges)

        return self._plan.add(source, make)


def _sums(filled: Iterable[Histogram]) -> np.ndarray:
    return np.sum([one.sums for one in filled], axis=0)
