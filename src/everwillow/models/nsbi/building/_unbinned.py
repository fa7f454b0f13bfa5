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
        choices: The trees that may have the events, in their order. If there are
            weights, the events are the first choice with as many; otherwise the first.
        plan: Gets what is needed of the trees.
    """

    def __init__(
        self,
        name: str,
        document: str,
        entry: UnbinnedEvents,
        choices: Sequence[Sequence[Tree]],
        plan: EventPlan,
    ) -> None:
        self._name = name
        self._document = document
        self._entry = entry
        networks = [one for one in entry.ratios() if isinstance(one, NetworkEntry)]
        features = tuple(dict.fromkeys(n for one in networks for n in one.features))
        if entry.weights is not None and not networks:
            choices = ()
        elif entry.weights is None:
            choices = choices[:1]
        self._choices = [
            [(self._rows(tree, features, plan), tree[2]) for tree in trees]
            for trees in choices
            if trees
        ]
        self._chosen: list[tuple[list[Rows], float]] = []
        self._features: dict[tuple[str, ...], np.ndarray] = {}

    @staticmethod
    def _rows(tree: Tree, features: tuple[str, ...], plan: EventPlan) -> list[Rows]:
        source, selections, _ = tree
        return plan.add(
            source, lambda: Rows(Selected(selections, source.weight), features)
        )

    def check_arrays(self, checks: ArrayChecks) -> None:
        """Report faults of files, with lengths that differ from that of the weights."""
        checks.check_events(self._entry, None)

    def check_events(self, checks: ArrayChecks, faults: Faults) -> None:
        """Choose the events, and report lengths that differ from their number."""
        if not self._choices:
            return
        counts = [len(_weights(one)) for one in self._choices]
        entry = self._entry
        if entry.weights is None:
            self._chosen = self._choices[0]
            checks.check_events(entry, counts[0])
            return
        length = checks.length(entry.weights, entry.line, ratios=False)
        if length in counts:
            self._chosen = self._choices[counts.index(length)]
        elif length is not None:
            faults.add(
                entry.line,
                f"the events for the networks cannot be found: {entry.weights} has "
                f"{length} weights, but {' or '.join(map(str, counts))} events are "
                "selected from the trees.",
            )

    def weights(self, folder: ArrayFolder, report: Report) -> str:
        """Return the path of the weights."""
        if self._entry.weights is not None:
            return str(self._entry.weights)
        report.collect(
            "Weights are not given, and are those of the events in the trees: {names}.",
            self._name,
        )
        return folder.write(_weights(self._chosen), self._name, "weights")

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

    def _paths(
        self, entry: RatioEntry, folder: ArrayFolder, *parts: str
    ) -> str | list[str]:
        if isinstance(entry, RatioFiles):
            paths = [str(path) for path in entry.paths]
            return paths[0] if len(paths) == 1 else paths
        where = f"{self._document}:{entry.line}"
        names = entry.features
        mean = scale = None
        if entry.scaler is not None:
            scaler = read_scaler(entry.scaler, where=where)
            mean, scale = scaler.for_features(names, entry.standardised, where=where)
        members = evaluate_ensemble(
            entry.paths,
            self._features_of(names),
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

    def _features_of(self, names: tuple[str, ...]) -> np.ndarray:
        """Return columns of the events, shape ``(events, columns)``."""
        if names not in self._features:
            rows = [one for some, _ in self._chosen for one in some]
            columns = [
                np.concatenate([one.column(name) for one in rows]) for name in names
            ]
            # Networks of one region mostly have the same features: one is kept.
            self._features = {names: np.stack(columns, axis=1)}
        return self._features[names]


def _weights(chosen: Sequence[tuple[list[Rows], float]]) -> np.ndarray:
    parts = [factor * one.weights for some, factor in chosen for one in some]
    return np.concatenate([np.zeros(0), *parts])
