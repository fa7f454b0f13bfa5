"""Checks of .npy files before they are used."""

import pathlib

import numpy as np

from everwillow._errors import SpecificationError
from everwillow.models.faults import Faults
from everwillow.models.nsbi.arrays import load_array
from everwillow.models.nsbi.configuration.records import (
    RatioFiles,
    UnbinnedEvents,
)


_PART = 1_000_000  # events that are checked at once


class ArrayChecks:
    """Checks weights and ratios; a file that is used several times is read once.

    Args:
        faults: Gets the faults.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._known: dict[tuple[pathlib.Path, bool], tuple[int, str]] = {}

    def length(self, path: pathlib.Path, line: int, *, ratios: bool) -> int | None:
        """Return the number of events of a file, or None after a fault.

        Args:
            path: The file.
            line: The line of the configuration that names it.
            ratios: Whether it has ratios, which must not be negative.
        """
        key = (path, ratios)
        if key not in self._known:
            self._known[key] = _inspect(path, ratios=ratios)
        length, problem = self._known[key]
        if problem:
            self._faults.add(line, problem)
            return None
        return length

    def check_equal(self, events: UnbinnedEvents) -> int | None:
        """Check the files of ratios without weights, which must have equal lengths.

        Returns:
            The number of events, or None after a fault.
        """
        files = [one for one in events.ratios() if isinstance(one, RatioFiles)]
        named = [(path, one.line) for one in files for path in one.paths]
        if not named:
            return None
        (first, line), *_ = named
        expected = self.length(first, line, ratios=True)
        self._compare(events, expected, f"those in {first}")
        return expected

    def check_events(self, events: UnbinnedEvents, expected: int | None) -> int | None:
        """Check the files of all ratios, and their lengths.

        Args:
            events: The weights and ratios.
            expected: The number of events, or None if the weights are not given and
                it is not known.

        Returns:
            The number of events, if it is known.
        """
        what = "the events that are selected from the trees"
        if events.weights is not None:
            expected = self.length(events.weights, events.line, ratios=False)
            what = f"the weights in {events.weights}"
        self._compare(events, expected, what)
        return expected

    def _compare(self, events: UnbinnedEvents, expected: int | None, what: str) -> None:
        for entry in events.ratios():
            if not isinstance(entry, RatioFiles):
                continue
            for path in entry.paths:
                length = self.length(path, entry.line, ratios=True)
                if None not in (length, expected) and length != expected:
                    self._faults.add(
                        entry.line,
                        f"{path} has {length} ratios, {what} are {expected}.",
                    )


def _inspect(path: pathlib.Path, *, ratios: bool) -> tuple[int, str]:
    """Return the length of an array, and what is wrong with it."""
    try:
        flat = load_array(path, name=str(path))
    except SpecificationError as error:
        return 0, str(error)
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART]
        if (bad := np.flatnonzero(~np.isfinite(part))).size:
            return 0, f"{path} is not finite at event {start + bad[0]}: {part[bad[0]]}."
        if ratios and (bad := np.flatnonzero(part < 0)).size:
            return 0, (
                f"{path} is negative at event {start + bad[0]}: {part[bad[0]]}. "
                "Densities and their ratios are not negative."
            )
    return flat.size, ""
