"""One region: what it needs of the events, and its channel of the workspace."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from everwillow.models._document import Report
from everwillow.models.faults import Faults
from everwillow.models.nsbi.building._array_files import ArrayChecks
from everwillow.models.nsbi.building._coefficients import lagrange_coefficients
from everwillow.models.nsbi.building._reading import EventPlan
from everwillow.models.nsbi.building._stored_arrays import ArrayFolder
from everwillow.models.nsbi.building._unbinned import EventSet, Tree
from everwillow.models.nsbi.building._yields import RegionYields
from everwillow.models.nsbi.configuration.records import (
    Configuration,
    RegionEntry,
    SystematicEntry,
)


_TOLERANCE = 1e-6  # of the relative difference of sums of weights


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
        self._factors = factors[region.name]
        self._yields = RegionYields(configuration, region, plan)
        self._events = self._event_set(plan)
        self._data = self._data_set(plan)
        self._reference = self._reference_set(plan)
        sets = (self._events, self._data, self._reference)
        self._sets = [one for one in sets if one is not None]

    def _event_set(self, plan: EventPlan) -> EventSet | None:
        region, yields = self._region, self._yields
        if region.events is None:
            return None
        simulated = [
            (one.source, yields.selections(one), self._factors[one.name])
            for one in yields.samples
        ]
        document = self._configuration.path.name
        choices = (simulated, self._observed_trees())
        return EventSet(region.name, document, region.events, choices, plan)

    def _data_set(self, plan: EventPlan) -> EventSet | None:
        entry = self._region.data
        if entry is None:
            return None
        # Without networks nothing is needed of the trees.
        trees = self._observed_trees() if entry.networks() else []
        name, document = f"{self._region.name}_data", self._configuration.path.name
        return EventSet(name, document, entry, (trees,), plan)

    def _observed_trees(self) -> list[Tree]:
        selections = self._yields.selections(None)
        return [(one, selections, 1.0) for one in self._configuration.observations]

    def _reference_set(self, plan: EventPlan) -> EventSet | None:
        entry = self._region.reference
        if entry is None:
            return None
        selections = self._yields.selections(None)
        trees = [] if entry.source is None else [(entry.source, selections, 1.0)]
        name, document = f"{self._region.name}_reference", self._configuration.path.name
        return EventSet(name, document, entry, (trees,), plan)

    def check_arrays(self, checks: ArrayChecks, faults: Faults) -> None:
        """Report faults of files with weights and ratios, and of networks."""
        for one in self._sets:
            one.check_arrays(checks)
            one.check_networks(faults)

    def check_events(self, checks: ArrayChecks, faults: Faults) -> None:
        """Report factors of yields and lengths of arrays that are not valid."""
        for one in self._sets:
            one.check_events(checks, faults)
        self._yields.check_factors(faults)

    def evaluate(self, folder: ArrayFolder, faults: Faults) -> None:
        """Evaluate networks, and report those that fail.

        Args:
            folder: Gets the ratios.
            faults: Gets the faults.
        """
        for one in self._sets:
            one.evaluate(folder, faults)

    def observation(self, folder: ArrayFolder, report: Report) -> dict[str, Any]:
        """Return the observed counts, and the events with their ratios.

        Args:
            folder: Gets arrays that are made.
            report: Gets sentences on what was assumed.
        """
        counts = self._yields.observed()
        if self._data is not None:
            return self._observed_events(self._data, counts, folder, report)
        if counts is not None:
            self._compare_weights(float(counts[0]), report)
        else:
            names = [one.name for one in self._yields.samples]
            yields = [
                self._factors[name] * self._yields.nominal(name) for name in names
            ]
            counts = np.sum(yields, axis=0)
        return {"name": self._region.name, "data": _listed(counts)}

    def _compare_weights(self, observed: float, report: Report) -> None:
        """Report simulated events that are the observed ones, with another sum."""
        if self._events is None:
            return
        total = self._events.total()
        if not _close(total, observed):
            report.say(
                f"Region {self._region.name!r}: AsimovWeights (sum {total:.8g}) are "
                f"the observed events; Observations has {observed:.8g}. Give Data for "
                "the observed events."
            )

    def _observed_events(
        self,
        data: EventSet,
        counts: np.ndarray | None,
        folder: ArrayFolder,
        report: Report,
    ) -> dict[str, Any]:
        written = data.written(folder, report, self._shapes())
        total = data.total()
        if counts is not None and not _close(total, counts[0]):
            report.say(
                f"Region {self._region.name!r}: the weights of Data have the sum "
                f"{total:.6g}, the selected events of Observations {counts[0]:.6g}. "
                "Data are used."
            )
        observed = {"name": self._region.name, "data": [total]}
        if "weights" in written:
            observed["weights"] = written["weights"]
        return {**observed, "ratios": written["samples"]}

    def _shapes(self) -> dict[str, list[str]]:
        """Return the systematics that vary the shape of each sample."""
        yields = self._yields
        return {
            sample.name: [
                one.parameter.name
                for one in yields.systematics(sample.name)
                if one.shape
            ]
            for sample in yields.samples
        }

    def channel(self, folder: ArrayFolder, report: Report) -> dict[str, Any]:
        """Return the channel.

        Args:
            folder: Gets arrays that are made.
            report: Gets sentences on what was assumed.
        """
        region, yields = self._region, self._yields
        channel: dict[str, Any] = {
            "name": region.name,
            "type": "unbinned" if region.unbinned else "binned",
        }
        yields.remark_undefined(report)
        if self._events is not None:
            channel["weights"] = self._events.weights(folder, report)
        names = [one.name for one in yields.samples]
        channel["samples"] = [self._sample(name, report) for name in names]
        if self._reference is not None:
            written = self._reference.written(folder, report, self._shapes())
            channel["reference"] = {"density": region.reference_density, **written}
        return channel

    def _sample(self, name: str, report: Report) -> dict[str, Any]:
        written: dict[str, Any] = {
            "name": name,
            "data": _listed(self._yields.nominal(name)),
            "variance": _listed(self._yields.variance(name)),
        }
        if self._events is not None:
            written["ratios"] = self._events.nominal(name)
        written["modifiers"] = [
            *self._factor_modifiers(name),
            *(
                self._systematic_modifier(one, name, report)
                for one in self._yields.systematics(name)
            ),
        ]
        return written

    def _factor_modifiers(self, sample: str) -> list[dict[str, Any]]:
        norms = [
            {"name": one.parameter.name, "type": "normfactor", "data": None}
            for one in self._configuration.norm_factors
            if self._yields.affects(one.parameter, sample)
        ]
        couplings = [
            {
                "name": one.parameter.name,
                "type": "vandermonde",
                "data": None,
                "coeff": lagrange_coefficients(one.nodes)[sample],
            }
            for one in self._configuration.couplings
            if self._yields.affects(one.parameter, sample)
        ]
        return [*norms, *couplings]

    def _systematic_modifier(
        self, entry: SystematicEntry, sample: str, report: Report
    ) -> dict[str, Any]:
        name = entry.parameter.name
        if not entry.shape:
            high, low = self._yields.total_factors(name, sample, report)
            return {"name": name, "type": "normsys", "data": {"hi": high, "lo": low}}
        up, down = self._yields.factors(name, sample, report)
        data: dict[str, Any] = {"hi_data": _listed(up), "lo_data": _listed(down)}
        if self._events is not None:
            data |= self._events.varied(sample, name)
        return {"name": name, "type": "normplusshape", "data": data}


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_TOLERANCE)


def _listed(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]
