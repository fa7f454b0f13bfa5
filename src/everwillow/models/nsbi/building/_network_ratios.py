"""Ratios of the networks of a configuration, for events of which columns are given."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from everwillow._errors import EverwillowError, MissingPackageError
from everwillow.models.faults import Faults
from everwillow.models.nsbi.building.networks import (
    CHUNK,
    evaluate_ensemble,
    open_network,
)
from everwillow.models.nsbi.building.scalers import read_scaler
from everwillow.models.nsbi.configuration.records import NetworkEntry


class Features:
    """Columns of events, stacked only for the events of which they are needed.

    Args:
        columns: The values of each feature, all of one length.

    Example:
        >>> Features([np.arange(3), np.ones(3)])[1:]
        array([[1., 1.],
               [2., 1.]])
    """

    def __init__(self, columns: Sequence[np.ndarray]) -> None:
        self._columns = columns

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of events and of features."""
        return len(self), len(self._columns)

    def __len__(self) -> int:
        return len(self._columns[0])

    def __getitem__(self, part: slice, /) -> np.ndarray:
        """Return features, shape ``(events of the part, features)``."""
        return np.stack([one[part] for one in self._columns], axis=1)


class NetworkRatios:
    """Evaluates the networks of an entry of a configuration, one after the other.

    Args:
        entry: The networks.
        document: The name of the configuration, for messages.

    Raises:
        EverwillowError: If there is no valid scaler.
    """

    def __init__(self, entry: NetworkEntry, document: str) -> None:
        self._entry = entry
        self._where = f"{document}:{entry.line}"
        self._scaler = None
        if entry.scaler is not None:
            scaler = read_scaler(entry.scaler, where=self._where)
            self._scaler = scaler.for_features(
                entry.features, entry.standardised, where=self._where
            )

    def check(self, path: pathlib.Path) -> None:
        """Open a network, and check that it takes the features.

        Raises:
            EverwillowError: If it does not.
        """
        open_network(path, names=self._entry.features, where=self._where)

    def evaluate(
        self, path: pathlib.Path, features: Features, chunk: int = CHUNK
    ) -> np.ndarray:
        """Return the ratios that a network gives, shape ``(events,)``.

        Raises:
            EverwillowError: If it fails, or if a ratio is not valid.
        """
        mean, scale = self._scaler or (None, None)
        (found,) = evaluate_ensemble(
            [path],
            features,
            names=self._entry.features,
            mean=mean,
            scale=scale,
            output=self._entry.output,
            chunk=chunk,
            where=self._where,
        )
        return found


def check_networks(entry: NetworkEntry, document: str, faults: Faults) -> None:
    """Report faults of the scaler and of every network, before events are read.

    Args:
        entry: The networks.
        document: The name of the configuration, for messages.
        faults: Gets the faults.

    Raises:
        MissingPackageError: If onnxruntime is not installed.
    """
    try:
        ratios = NetworkRatios(entry, document)
    except EverwillowError as error:
        faults.caught(entry.line, error)
        ratios = NetworkRatios(dataclasses.replace(entry, scaler=None), document)
    for path in entry.paths:
        try:
            ratios.check(path)
        except MissingPackageError:
            raise
        except EverwillowError as error:
            faults.caught(entry.line, error)
