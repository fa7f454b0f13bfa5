"""Events of data and simulation: the columns that a fit needs, read once, selected."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from everwillow._errors import SpecificationError
from everwillow.models.data_files import check_file
from everwillow.models.event_files import CHUNK, EventFiles, EventTable
from everwillow.models.event_filter import EventExpression, EventFilter
from everwillow.models.scale_smearing.branches import (
    expressions,
    missing_columns,
    preset,
)
from everwillow.models.scale_smearing.configuration.records import FitSettings


Sample = Literal["data", "simulation"]
"""One of the two samples."""
Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class SelectedEvents:
    """Columns of the selected events of one or several files.

    Attributes:
        columns: The values by name, shape ``(events,)``. Masses and weights have
            double precision, the others that of the files.
        entries: The number of events in the files.
        selected: The number of events that the cut selects.
        dropped: How many selected events were dropped as a column is not a number, by
            the name of the column.
    """

    columns: Mapping[str, np.ndarray]
    entries: int
    selected: int
    dropped: Mapping[str, int]

    def sentences(self) -> tuple[str, ...]:
        """Return one sentence for each column for which events were dropped."""
        return tuple(
            f"{number} of {self.selected} selected events were left out, as their "
            f"{name!r} is not a number."
            for name, number in self.dropped.items()
        )


def read_events(
    files: Path | Sequence[Path],
    names: Sequence[str],
    *,
    tree: str = "",
    branches: Mapping[str, str] | str = "",
    cut: EventFilter | str | None = None,
    mass: str | None = None,
    weight: str | None = None,
    chunk: int = CHUNK,
) -> SelectedEvents:
    """Read columns of the selected events of files of ROOT, parquet or NumPy.

    Only the columns that are needed are read, in parts, and only selected events are
    kept.

    Args:
        files: A file, or several with the same columns.
        names: The columns. Events in which one is NaN are dropped and counted.
        tree: The tree in ROOT files and npz archives.
        branches: A table from names used here to columns of the files, elements of
            arrays (``"R9Ele[0]"``) or expressions of them; or the name of a known
            layout, ``"higgsdna"`` or ``"ecalelf"``.
        cut: The selection of events, over names used here and columns of the files.
        mass: The one of `names` that must be finite too.
        weight: A column of weights, which is read too and must be finite.
        chunk: The number of events of a part.

    Raises:
        MissingFileError: If there is no such file.
        SpecificationError: If a file is damaged or lacks a column, if there is no
            event, or if a weight is not finite.
        ArgumentValueError: If the cut or a branch is no expression.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "events.npz")
        ...     momenta = [[30, 20], [40, 9], [10, 9]]
        ...     np.savez(file, mll=[90.0, np.nan, 91.0], pt=momenta)
        ...     table = {"mass": "mll", "pt1": "pt[0]"}
        ...     found = read_events(file, ["mass"], branches=table, cut="pt1 > 20")
        >>> found.columns["mass"], found.entries, found.selected, found.dropped
        (array([90.]), 3, 2, {'mass': 1})
    """
    if isinstance(branches, str):
        known = preset(branches) if branches else None
        tree = tree or (known.tree if known else "")
        branches = known.branches if known else {}
    paths = [files] if isinstance(files, str | os.PathLike) else list(files)
    selection = EventFilter(cut) if isinstance(cut, str) else cut
    collected = _Collected(tuple(names), selection, mass, weight)
    with EventFiles() as opened:
        for name in paths:
            path = check_file(name, where="the events")
            collected.add(opened.table(path, tree), branches, chunk)
    shown = ", ".join(str(path) for path in paths[:4])
    return collected.finish(shown + (", ..." if len(paths) > 4 else ""))


def read_sample(
    settings: FitSettings, sample: Sample, *, chunk: int = CHUNK
) -> SelectedEvents:
    """Read what a fit needs of data or simulation.

    Args:
        settings: The settings of the fit.
        sample: Which of the two.
        chunk: The number of events of a part.

    Raises:
        MissingFileError: As for `read_events`.
        SpecificationError: As for `read_events`.
    """
    simulated = sample == "simulation"
    return read_events(
        settings.simulation if simulated else settings.data,
        lepton_columns(settings),
        tree=settings.tree,
        branches=settings.branches,
        cut=settings.cut,
        mass=settings.mass,
        weight=settings.weight if simulated else None,
        chunk=chunk,
    )


def lepton_columns(settings: FitSettings) -> tuple[str, ...]:
    """Return the names of the mass and of the variables of all leptons."""
    variables = list(settings.categories.names)
    if settings.relative_pt and settings.pt not in variables:
        variables.append(settings.pt)
    leptons = [f"{name}{suffix}" for name in variables for suffix in settings.suffixes]
    return tuple(dict.fromkeys([settings.mass, *leptons]))


class _Collected:
    """Gathers the selected events of one file after the other."""

    def __init__(
        self,
        names: tuple[str, ...],
        cut: EventFilter | None,
        mass: str | None,
        weight: str | None,
    ) -> None:
        self._names = names
        self._cut = cut
        self._mass = mass
        self._weight = weight
        self._double = frozenset(filter(None, (mass, weight)))
        kept = names if weight is None else (*names, weight)
        self._parts: dict[str, list[np.ndarray]] = {name: [] for name in kept}
        self._entries = 0
        self._selected = 0
        self._dropped: dict[str, int] = {}

    def add(self, table: EventTable, branches: Mapping[str, str], chunk: int) -> None:
        """Read the events of a file."""
        cut_names = () if self._cut is None else self._cut.names
        wanted = tuple(dict.fromkeys([*self._parts, *cut_names]))
        for problem in missing_columns(table, wanted, branches).values():
            raise SpecificationError(problem)
        sources = expressions(table, wanted, branches)
        columns = [one for source in sources.values() for one in source.names]
        for events, given in table.chunks(tuple(dict.fromkeys(columns)), chunk):
            values = {
                name: np.broadcast_to(_value(source, given), events)
                for name, source in sources.items()
            }
            self._entries += events
            self._take(table.name, values, events)

    def _take(self, file: str, values: Mapping[str, np.ndarray], events: int) -> None:
        chosen = np.ones(events, bool)
        if self._cut is not None:
            chosen &= self._cut(values)
        self._selected += int(np.count_nonzero(chosen))
        for name in self._names:
            column = values[name]
            if column.dtype.kind != "f":
                continue
            bad = ~np.isfinite(column) if name == self._mass else np.isnan(column)
            bad &= chosen
            if number := int(np.count_nonzero(bad)):
                self._dropped[name] = self._dropped.get(name, 0) + number
                chosen &= ~bad
        for name, parts in self._parts.items():
            kept = values[name][chosen]
            if name == self._weight and not np.all(np.isfinite(kept)):
                number = int(np.count_nonzero(~np.isfinite(kept)))
                raise SpecificationError(
                    f"{file}: {number} weights {name!r} of selected events are not "
                    "finite. Exclude these events by the cut."
                )
            parts.append(kept.astype(np.float64) if name in self._double else kept)

    def finish(self, files: str) -> SelectedEvents:
        """Return all events."""
        if not self._entries:
            raise SpecificationError(f"{files}: there are no events.")
        columns = {}
        for name in list(self._parts):  # the parts are freed one after the other
            columns[name] = np.concatenate(self._parts.pop(name))
        if not len(next(iter(columns.values()), ())):
            cut = f"the cut {self._cut.text!r}" if self._cut else "the selection"
            dropped = "".join(
                f" In {number} events {name!r} is not a number."
                for name, number in self._dropped.items()
            )
            raise SpecificationError(
                f"{files}: none of {self._entries} events is left by {cut}, which "
                f"selects {self._selected}.{dropped}"
            )
        return SelectedEvents(columns, self._entries, self._selected, self._dropped)


def _value(
    expression: EventExpression, columns: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return the value of an expression; computed ones have double precision."""
    given = {name: columns[name] for name in expression.names}
    if expression.plain:
        return expression(given)
    return expression(
        {
            name: column.astype(np.float64) if column.dtype.kind == "f" else column
            for name, column in given.items()
        }
    )
