"""The events of an unbinned region: weights and density ratios."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._errors import EverwillowError
from everwillow.models._document import Report
from everwillow.models.faults import Faults
from everwillow.models.nsbi.arrays import load_array
from everwillow.models.nsbi.building._array_files import ArrayChecks
from everwillow.models.nsbi.building._network_ratios import (
    Features,
    NetworkRatios,
    check_networks,
)
from everwillow.models.nsbi.building._reading import EventPlan, Rows, Selected
from everwillow.models.nsbi.building._stored_arrays import ArrayFolder
from everwillow.models.nsbi.configuration.records import (
    EventSource,
    NetworkEntry,
    RatioEntry,
    RatioFiles,
    Selection,
    UnbinnedEvents,
)


Tree = tuple[EventSource, tuple[Selection, ...], float]
"""Events, their selection, and a factor of their weights."""


class EventSet:
    """Events with weights and ratios, read from files or made from trees.

    Args:
        name: What it is, for names of files.
        document: The name of the configuration, for messages.
        entry: The weights and ratios.
        choices: The trees that may have the events, in their order. If there are
            weights, the events are the first choice with as many; otherwise the first.
            Without a tree and weights all weights are 1.
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
        networks = entry.networks()
        features = {
            name: one.line for one in reversed(networks) for name in one.features
        }
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
        self._weights: np.ndarray | None = None
        self._columns: dict[str, np.ndarray] = {}
        self._made: dict[NetworkEntry, list[str]] = {}

    @staticmethod
    def _rows(tree: Tree, features: Mapping[str, int], plan: EventPlan) -> list[Rows]:
        source, selections, _ = tree
        return plan.add(
            source, lambda: Rows(Selected(selections, source.weight), features)
        )

    def check_arrays(self, checks: ArrayChecks) -> None:
        """Report faults of files, with lengths that differ from that of the weights."""
        if self._entry.weights is not None or self._choices:
            checks.check_events(self._entry, None)
        elif (length := checks.check_equal(self._entry)) is not None:
            self._weights = np.ones(length)

    def check_networks(self, faults: Faults) -> None:
        """Report networks and scalers that cannot be used."""
        for entry in dict.fromkeys(self._entry.networks()):
            check_networks(entry, self._document, faults)

    def check_events(self, checks: ArrayChecks, faults: Faults) -> None:
        """Choose the events, and report lengths that differ from their number."""
        if not self._choices:
            return
        counts = [len(_weights(one)) for one in self._choices]
        entry, choices = self._entry, self._choices
        self._choices = []
        if entry.weights is None:
            self._chosen = choices[0]
            self._weights = _weights(self._chosen)
            checks.check_events(entry, counts[0])
            return
        length = checks.length(entry.weights, entry.line, ratios=False)
        if length in counts:
            self._chosen = choices[counts.index(length)]
        elif length is not None:
            faults.add(
                entry.line,
                f"the events for the networks cannot be found: {entry.weights} has "
                f"{length} weights, but {' or '.join(map(str, counts))} events are "
                "selected from the trees.",
            )

    def evaluate(self, folder: ArrayFolder, faults: Faults) -> None:
        """Evaluate all networks, and report those that fail.

        Args:
            folder: Gets the ratios.
            faults: Gets the faults.
        """
        for entry, *parts in self._networks():
            if entry not in self._made:
                self._made[entry] = self._evaluated(entry, parts, folder, faults)
        self._columns.clear()

    def _networks(self) -> Iterator[tuple[NetworkEntry, *tuple[str, ...]]]:
        """Return all networks, each with the names of what it returns."""
        for sample, model in self._entry.models.items():
            if isinstance(model.nominal, NetworkEntry):
                yield model.nominal, sample
            for systematic, pair in model.variations.items():
                for entry, end in zip(pair, ("up", "down"), strict=True):
                    if isinstance(entry, NetworkEntry):
                        yield entry, sample, systematic, end

    def _evaluated(
        self,
        entry: NetworkEntry,
        parts: Sequence[str],
        folder: ArrayFolder,
        faults: Faults,
    ) -> list[str]:
        """Return the paths of the ratios of every network of an ensemble."""
        ratios = NetworkRatios(entry, self._document)
        features = Features([self._column(name) for name in entry.features])
        paths = []
        for i, network in enumerate(entry.paths):
            try:
                values = ratios.evaluate(network, features)
            except EverwillowError as error:
                faults.caught(entry.line, error)
            else:
                paths.append(folder.write(values, self._name, *parts, str(i)))
        return paths

    def _column(self, name: str) -> np.ndarray:
        """Return a column of the events."""
        if name not in self._columns:
            rows = [one for some, _ in self._chosen for one in some]
            parts = [part for one in rows for part in one.release(name)]
            self._columns[name] = np.concatenate(parts) if parts else np.zeros(0)
        return self._columns[name]

    def weights(self, folder: ArrayFolder, report: Report) -> str | None:
        """Return the path of the weights, or None if all are 1 without a file."""
        if self._entry.weights is not None:
            return str(self._entry.weights)
        if not self._chosen:
            report.collect("Weights are not given, and are 1: {names}.", self._name)
            return None
        assert self._weights is not None
        report.collect(
            "Weights are not given, and are those of the events in the trees: {names}.",
            self._name,
        )
        return folder.write(self._weights, self._name, "weights")

    def total(self) -> float:
        """Return the sum of the weights."""
        if self._entry.weights is None:
            assert self._weights is not None
            return float(np.sum(self._weights))
        weights = load_array(self._entry.weights, name=self._name)
        return float(np.sum(weights, dtype=np.float64))

    def nominal(self, sample: str) -> str | list[str]:
        """Return the paths of the ratios of a sample."""
        return self._paths(self._entry.models[sample].nominal)

    def varied(self, sample: str, systematic: str) -> dict[str, str | list[str]]:
        """Return the paths of the ratios at +1 and -1 of a systematic."""
        up, down = self._entry.models[sample].variations[systematic]
        return {
            "hi_ratio": self._paths(up),
            "lo_ratio": self._paths(down),
        }

    def written(
        self, folder: ArrayFolder, report: Report, shapes: Mapping[str, Sequence[str]]
    ) -> dict[str, Any]:
        """Return the entry of a reference sample, without weights that are all 1.

        Args:
            folder: Gets arrays that are made.
            report: Gets sentences on what was assumed.
            shapes: The systematics that vary the shape of each sample.
        """
        weights = self.weights(folder, report)
        return ({} if weights is None else {"weights": weights}) | {
            "samples": [
                {
                    "name": sample,
                    "ratios": self.nominal(sample),
                    "modifiers": [
                        {
                            "name": systematic,
                            "type": "normplusshape",
                            "data": self.varied(sample, systematic),
                        }
                        for systematic in systematics
                    ],
                }
                for sample, systematics in shapes.items()
            ],
        }

    def _paths(self, entry: RatioEntry) -> str | list[str]:
        if isinstance(entry, RatioFiles):
            paths = [str(path) for path in entry.paths]
            return paths[0] if len(paths) == 1 else paths
        return self._made[entry]


def _weights(chosen: Sequence[tuple[list[Rows], float]]) -> np.ndarray:
    parts = [factor * one.weights for some, factor in chosen for one in some]
    return np.concatenate([np.zeros(0), *parts])
