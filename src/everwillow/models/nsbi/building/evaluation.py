"""Density ratios of new events from the networks of a configuration."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ShapeMismatchError,
    SpecificationError,
    unknown_key,
)
from everwillow.models.nsbi.building._network_ratios import Features, NetworkRatios
from everwillow.models.nsbi.building.builder import WorkspaceBuilder
from everwillow.models.nsbi.building.networks import CHUNK
from everwillow.models.nsbi.configuration.document import read_configuration
from everwillow.models.nsbi.configuration.records import (
    Configuration,
    NetworkEntry,
    RatioEntry,
    RegionEntry,
    TrainedModelEntry,
    UnbinnedEvents,
)
from everwillow.models.nsbi.spec import Events, Variation


Columns: TypeAlias = Mapping[str, Any] | np.ndarray
"""Columns of events by name, or an array with fields."""


def events_at(
    configuration: WorkspaceBuilder | str | os.PathLike[str],
    region: str,
    columns: Columns,
    *,
    weights: Any = None,
    chunk: int = CHUNK,
) -> Events:
    """Evaluate the networks of a region for new events.

    The result is what `everwillow.models.nsbi.density_ratio` takes. The ratios are
    averages over ensembles, as those of a workspace, with the members of these. Columns
    are used as they are: the `Filter` of the region is not applied.

    Args:
        configuration: The YAML file, or the builder that has read it.
        region: The unbinned region.
        columns: The features of the networks, one number for each event: a mapping such
            as a dictionary or a data frame, or an array with fields.
        weights: The weights of the events; 1 if None.
        chunk: The number of events that are evaluated at a time.

    Returns:
        The ratios of all samples, and the changes by all systematics.

    Raises:
        MissingPackageError: If onnxruntime is not installed.
        UnknownKeyError: If there is no such unbinned region, or no column of a feature.
        ShapeMismatchError: If the columns have different lengths.
        SpecificationError: If the ratios of a sample are in files, which say nothing
            about other events, or if a network fails.
    """
    read = (
        configuration.configuration
        if isinstance(configuration, WorkspaceBuilder)
        else read_configuration(configuration)
    )
    evaluation = _Evaluation(read, _table(columns), chunk)
    known = {one.name: one for one in read.regions if one.unbinned}
    if region not in known:
        raise unknown_key(region, known, where="events_at", kind="unbinned region")
    ratios: dict[str, np.ndarray] = {}
    variations: dict[tuple[str, str], Variation] = {}
    for sample, models in _models(known[region]):
        what = f"region {region!r}: the ratios of {sample!r}"
        nominal = [one.nominal for one in models]
        ratios[sample] = evaluation.mean(nominal, (sample, "", ""), what)
        for name in models[0].variations:
            pairs = [one.variations[name] for one in models]
            up, down = (
                evaluation.mean(
                    [pair[i] for pair in pairs],
                    (sample, name, end),
                    f"{what} at {name} = {at}",
                )
                for i, (end, at) in enumerate((("up", "+1"), ("down", "-1")))
            )
            variations[sample, name] = Variation(down, up)
    size = len(next(iter(ratios.values())))
    given = np.ones(size) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (size,):
        raise ShapeMismatchError(
            f"weights: expected the shape ({size},), got {given.shape}."
        )
    return Events(given, ratios, variations, evaluation.members)


def _models(region: RegionEntry) -> Iterator[tuple[str, list[TrainedModelEntry]]]:
    """Return each sample with its density ratios, at simulated events first."""
    sets: list[UnbinnedEvents] = [
        one for one in (region.events, region.data, region.reference) if one is not None
    ]
    for sample in sets[0].models:
        yield sample, [one.models[sample] for one in sets]


class _Evaluation:
    """Evaluates networks for the events of a table.

    Args:
        configuration: The configuration.
        table: The columns.
        chunk: The number of events that are evaluated at a time.

    Attributes:
        members: The ratios of each network of ensembles, as those of `Events`.
    """

    def __init__(
        self, configuration: Configuration, table: dict[str, Any], chunk: int
    ) -> None:
        self._document = configuration.path.name
        self._table = table
        self._chunk = chunk
        self._used: dict[str, np.ndarray] = {}
        self.members: dict[tuple[str, str, str], tuple[np.ndarray, ...]] = {}

    def mean(
        self, entries: list[RatioEntry], key: tuple[str, str, str], what: str
    ) -> np.ndarray:
        """Return the average over the first ensemble of networks among some entries.

        Args:
            entries: Entries of the same density ratio.
            key: The name of the density ratio among the members.
            what: The density ratio, for messages.
        """
        networks = [one for one in entries if isinstance(one, NetworkEntry)]
        if not networks:
            raise SpecificationError(
                f"{self._document}:{entries[0].line}: {what} are in files, and only "
                "networks can be evaluated for other events. Give Models in place of "
                "Ratios."
            )
        entry = networks[0]
        ratios = NetworkRatios(entry, self._document)
        features = Features([self._column(name) for name in entry.features])
        each = tuple(
            ratios.evaluate(path, features, self._chunk) for path in entry.paths
        )
        if len(each) == 1:
            return each[0]
        self.members[key] = each
        return np.asarray(sum(each)) / len(each)

    def _column(self, name: str) -> np.ndarray:
        if name not in self._used:
            if name not in self._table:
                raise unknown_key(name, self._table, where="columns", kind="column")
            values = np.asarray(self._table[name])
            if values.ndim != 1 or values.dtype.kind not in "biuf":
                raise ShapeMismatchError(
                    f"columns: {name!r} does not have one number for each event, but "
                    f"the shape {values.shape} and the type {values.dtype}."
                )
            for other, column in self._used.items():
                if len(column) != len(values):
                    raise ShapeMismatchError(
                        f"columns: {name!r} has {len(values)} events, {other!r} has "
                        f"{len(column)}."
                    )
            self._used[name] = values
        return self._used[name]


def _table(columns: Columns) -> dict[str, Any]:
    """Return columns by name."""
    if isinstance(columns, np.ndarray):
        names = columns.dtype.names
    else:
        # Not all tables are a `Mapping`: those of pandas have only its methods.
        names = list(columns.keys()) if hasattr(columns, "keys") else None
    if names is None:
        raise ArgumentTypeError(
            "columns: expected a mapping of names to columns, or an array with fields, "
            f"got {type(columns).__name__}."
        )
    return {str(name): columns[name] for name in names}
