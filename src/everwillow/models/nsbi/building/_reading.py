"""One pass over every tree, which fills all that needs its events."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from everwillow._errors import EverwillowError, nearest
from everwillow.models.event_files import EventFiles, EventTable
from everwillow.models.faults import Faults
from everwillow.models.nsbi.configuration.records import EventSource, Selection


class Consumer(Protocol):
    """Takes the events of a tree, part by part."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it needs."""
        ...

    @property
    def lines(self) -> Mapping[str, int]:
        """The lines of columns that are not named where the tree is."""
        ...

    @property
    def problem(self) -> str:
        """What is wrong with the events so far; empty if nothing is."""
        ...

    def take(self, events: int, columns: Mapping[str, np.ndarray]) -> None:
        """Take a number of events and the values of their columns."""
        ...


T = TypeVar("T", bound=Consumer)


@dataclasses.dataclass
class Selected:
    """The selection and the weights of events, which all consumers need."""

    selections: tuple[Selection, ...]
    weight: str | None
    bad_weights: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it needs."""
        weight = () if self.weight is None else (self.weight,)
        return tuple(dict.fromkeys([*self.lines, *weight]))

    @property
    def lines(self) -> dict[str, int]:
        """The columns of the selections, with the lines of the first of these."""
        found: dict[str, int] = {}
        for one in self.selections:
            for name in one.filter.names:
                found.setdefault(name, one.line)
        return found

    @property
    def problem(self) -> str:
        """What is wrong with the weights so far."""
        if not self.bad_weights:
            return ""
        return f"{self.bad_weights} weights of selected events are not finite."

    def choose(
        self, events: int, columns: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which events are selected, and the weights of these in float64."""
        chosen = np.ones(events, bool)
        for selection in self.selections:
            chosen &= selection.filter(columns)
        if self.weight is None:
            return chosen, np.ones(np.count_nonzero(chosen))
        weights = columns[self.weight][chosen].astype(np.float64)
        self.bad_weights += int(np.count_nonzero(~np.isfinite(weights)))
        return chosen, weights


class Histogram:
    """Sums of weights and of squared weights in bins; one bin without a variable.

    Values outside of the bins are counted in the first and the last one.

    Args:
        selected: The selection and the weights.
        variable: The column.
        line: The line of the configuration that names it.
        edges: The edges of the bins.

    Attributes:
        sums: The sums of weights.
        squares: The sums of squared weights.
        undefined: The number of selected events whose variable is not a number.
    """

    def __init__(
        self, selected: Selected, variable: str, line: int, edges: Sequence[float]
    ) -> None:
        self._selected = selected
        self._variable = variable
        self._own = {variable: line} if variable else {}
        self._inner = np.asarray(edges[1:-1], float)
        size = max(len(edges) - 1, 1)
        self.sums, self.squares = np.zeros(size), np.zeros(size)
        self.undefined = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it needs."""
        return (*self._selected.names, *self._own)

    @property
    def lines(self) -> Mapping[str, int]:
        """The lines of columns that are not named where the tree is."""
        return {**self._own, **self._selected.lines}

    @property
    def problem(self) -> str:
        """What is wrong with the events so far."""
        return self._selected.problem

    def take(self, events: int, columns: Mapping[str, np.ndarray]) -> None:
        """Add events."""
        chosen, weights = self._selected.choose(events, columns)
        if not self._variable:
            self.sums += weights.sum()
            self.squares += (weights**2).sum()
            return
        values = columns[self._variable][chosen]
        defined = ~np.isnan(values)
        self.undefined += int(np.count_nonzero(~defined))
        bins = np.searchsorted(self._inner, values[defined], side="right")
        weights, size = weights[defined], len(self.sums)
        self.sums += np.bincount(bins, weights, size)
        self.squares += np.bincount(bins, weights**2, size)


class Rows:
    """Weights and columns of selected events, one after the other.

    Args:
        selected: The selection and the weights.
        features: The columns, with the lines of the configuration that need them.
    """

    def __init__(self, selected: Selected, features: Mapping[str, int]) -> None:
        self._selected = selected
        self._features = features
        self._weights: list[np.ndarray] = []
        self._columns: dict[str, list[np.ndarray]] = {
            name: [] for name in self._features
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it needs."""
        return (*self._selected.names, *self._features)

    @property
    def lines(self) -> Mapping[str, int]:
        """The lines of columns that are not named where the tree is."""
        return {**self._features, **self._selected.lines}

    @property
    def problem(self) -> str:
        """What is wrong with the events so far."""
        return self._selected.problem

    def take(self, events: int, columns: Mapping[str, np.ndarray]) -> None:
        """Add events."""
        chosen, weights = self._selected.choose(events, columns)
        self._weights.append(weights)
        for name, parts in self._columns.items():
            parts.append(columns[name][chosen])

    @property
    def weights(self) -> np.ndarray:
        """The weights of the selected events."""
        return np.concatenate([np.zeros(0), *self._weights])

    def release(self, name: str) -> list[np.ndarray]:
        """Return the values of a column in parts, and forget them."""
        return self._columns.pop(name)


@dataclasses.dataclass
class _Pass:
    """What needs the events of one tree."""

    path: pathlib.Path
    tree: str
    consumers: list[tuple[Consumer, int]]


class EventPlan:
    """Collects what needs events, then reads every column of every tree once."""

    def __init__(self) -> None:
        self._passes: dict[tuple[pathlib.Path, str], _Pass] = {}

    def add(self, source: EventSource, make: Callable[[], T]) -> list[T]:
        """Ask for the events of a source.

        Args:
            source: The events.
            make: Makes what takes them; called for each file of the source.

        Returns:
            What was made, in the order of the files.
        """
        made = []
        for path in source.paths:
            key = (path.resolve(), source.tree)
            known = self._passes.setdefault(key, _Pass(path, source.tree, []))
            consumer = make()
            known.consumers.append((consumer, source.line))
            made.append(consumer)
        return made

    def check(self, files: EventFiles, faults: Faults) -> None:
        """Report trees and columns that are missing, without reading values."""
        lacking: dict[tuple[int, str], dict[str, EventTable]] = {}
        for one in self._passes.values():
            try:
                table = files.table(one.path, one.tree)
            except EverwillowError as error:
                for _, line in one.consumers:
                    faults.caught(line, error)
                continue
            for consumer, line in one.consumers:
                for name in consumer.names:
                    if name not in table.columns:
                        place = (consumer.lines.get(name, line), name)
                        lacking.setdefault(place, {})[table.name] = table
        for (line, name), tables in lacking.items():
            faults.add(line, _missing(name, list(tables.values())))

    def run(self, files: EventFiles, faults: Faults, chunk: int) -> None:
        """Read all trees, and report what is wrong with their events."""
        for one in self._passes.values():
            try:
                _fill(files.table(one.path, one.tree), one, chunk)
            except EverwillowError as error:
                faults.caught(one.consumers[0][1], error)
            for consumer, line in one.consumers:
                if consumer.problem:
                    faults.add(line, f"{one.path}: {consumer.problem}")


def _missing(name: str, tables: Sequence[EventTable]) -> str:
    """Return one sentence on a column that some tables do not have."""
    first, *others = tables
    who = f"{first.name} has"
    if others:
        number = f"{len(others)} others" if len(others) > 1 else "another one"
        who = f"{first.name} and {number} have"
    return f"{who} no column {name!r}.{nearest(name, first.columns)}"


def _fill(table: EventTable, one: _Pass, chunk: int) -> None:
    names = [name for consumer, _ in one.consumers for name in consumer.names]
    for events, columns in table.chunks(tuple(dict.fromkeys(names)), chunk):
        for consumer, _ in one.consumers:
            consumer.take(events, columns)
