"""The events of an unbinned region: weights and density ratios."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everwillow.models._document import Report
from everwillow.models.event_filter import EventFilter
from everwillow.models.faults import Faults
from everwillow.models.nsbi.building._array_files import ArrayChecks
from everwillow.models.nsbi.building._reading import EventPlan, Rows, Selected
from everwillow.models.nsbi.building._stored_arrays import ArrayFolder
from everwillow.models.nsbi.building.networks import evaluate_ensemble
from everwillow.models.nsbi.building.scalers import read_scaler
from everwillow.models.nsbi.configuration.records import (
    EventSource,
    NetworkEntry,
    RatioEntry,
    RatioFiles,
    UnbinnedEvents,
)


Tree = tuple[EventSource, tuple[EventFilter, ...], float]
"""Events, their selection, and a factor of their weights."""


class EventSet:
    """Events with weights and ratios, read from files or made from trees.

    Args:
        name: What it is, for names of files.
        document: The name of the configuration, for messages.
        entry: The weights and ratios.
        trees: The trees that have the events, in this order.
        plan: Gets what is needed of the trees.
    """

    def __init__(
        self,
        name: str,
        document: str,
        entry: UnbinnedEvents,
        trees: Sequence[Tree],
        plan: EventPlan,
    ) -> None:
        self._name = name
        self._document = document
        self._entry = entry
        self._rows: list[tuple[list[Rows], float]] = []
        features = self._features()
        if entry.weights is None or features:
            for source, selections, factor in trees:
                filled = plan.add(
                    source,
                    lambda source=source, selections=selections: Rows(
                        Selected(selections, source.weight), features
                    ),
                )
                self._rows.append((filled, factor))

    def check_arrays(self, checks: ArrayChecks) -> None:
        """Report faults of files, with lengths that differ from that of the weights."""
        checks.check_events(self._entry, None)

    def check_events(self, checks: ArrayChecks, faults: Faults) -> None:
        """Report lengths that differ from the number of events in the trees."""
        if not self._rows:
            return
        count = len(self._tree_weights())
        entry = self._entry
        if entry.weights is None:
            checks.check_events(entry, count)
            return
        length = checks.length(entry.weights, entry.line, ratios=False)
        if length is not None and length != count:
            faults.add(
                entry.line,
                f"networks cannot be evaluated: {entry.weights} has {length} weights, "
                f"but {count} events are selected from the trees.",
            )

    def weights(self, folder: ArrayFolder, report: Report) -> str:
        """Return the path of the weights."""
        if self._entry.weights is not None:
            return str(self._entry.weights)
        report.collect(
            "Weights are not given, and are those of the events in the trees: {names}.",
            self._name,
        )
        return folder.write(self._tree_weights(), self._name, "weights")

    def nominal(self, sample: str, folder: ArrayFolder) -> str | list[str]:
        """Return the paths of the ratios of a sample."""
        return self._paths(self._entry.models[sample].nominal, folder, sample)

    def varied(
        self, sample: str, systematic: str, folder: ArrayFolder
    ) -> dict[str, str | list[str]]:
        """Return the paths of the ratios at +1 and -1 of a systematic."""
        up, down = self._entry.models[sample].variations[systematic]
        return {
            "hi_ratio": self._paths(up, folder, sample, systematic, "up"),
            "lo_ratio": self._paths(down, folder, sample, systematic, "down"),
        }

    def written(
        self, folder: ArrayFolder, report: Report, shapes: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Return the entry of a reference sample.

        Args:
            folder: Gets arrays that are made.
            report: Gets sentences on what was assumed.
            shapes: The systematics that vary the shape of each sample.
        """
        return {
            "weights": self.weights(folder, report),
            "samples": [
                {
                    "name": sample,
                    "ratios": self.nominal(sample, folder),
                    "modifiers": [
                        {
                            "name": systematic,
                            "type": "normplusshape",
                            "data": self.varied(sample, systematic, folder),
                        }
                        for systematic in systematics
                    ],
                }
                for sample, systematics in shapes.items()
            ],
        }

    def _features(self) -> tuple[str, ...]:
        """Return the columns that the networks need."""
        entries = [
            entry
            for model in self._entry.models.values()
            for entry in (
                model.nominal,
                *(one for pair in model.variations.values() for one in pair),
            )
        ]
        found = [
            name
            for entry in entries
            if isinstance(entry, NetworkEntry)
            for name in entry.features
        ]
        return tuple(dict.fromkeys(found))

    def _tree_weights(self) -> np.ndarray:
        parts = [factor * one.weights for some, factor in self._rows for one in some]
        return np.concatenate([np.zeros(0), *parts])

    def _paths(
        self, entry: RatioEntry, folder: ArrayFolder, *parts: str
    ) -> str | list[str]:
        if isinstance(entry, RatioFiles):
            paths = [str(path) for path in entry.paths]
            return paths[0] if len(paths) == 1 else paths
        where = f"{self._document}:{entry.line}"
        names = entry.features
        columns = [
            [row.column(one) for some, _ in self._rows for row in some] for one in names
        ]
        features = np.stack([np.concatenate(some) for some in columns], axis=1)
        mean = scale = None
        if entry.scaler is not None:
            scaler = read_scaler(entry.scaler, where=where)
            mean, scale = scaler.for_features(names, entry.standardised, where=where)
        members = evaluate_ensemble(
            entry.paths,
            features,
            names=names,
            mean=mean,
            scale=scale,
            output=entry.output,
            where=where,
        )
        return [
            folder.write(member, self._name, *parts, str(i))
            for i, member in enumerate(members)
        ]
