"""All lists of numbers of a document, turned into arrays at once.

A workspace has up to a million numbers in lists of a few, which would take long to
convert and to check one by one.
"""

from itertools import chain
from typing import Any

import numpy as np

from everwillow.models.histfactory.faults import Words, described, fault


Where = tuple[str | int, ...]

# Larger ones have no meaning and let derivatives overflow; padding with the largest
# double occurs.
LARGEST = 1e100

_PLAIN = {float, int}
_REAL = (float, int, np.floating, np.integer)


class Numbers:
    """Collects lists of numbers, then makes arrays of all of them.

    Attributes:
        arrays: One array for each list in the order of `add`, read-only, made by
            `convert`.
    """

    def __init__(self) -> None:
        self._lists: list[list[Any]] = []
        self._where: list[Where] = []
        self.arrays: list[np.ndarray] = []

    def add(self, values: Any, where: Where) -> int:
        """Take a list; its elements are looked at in `convert`.

        Returns:
            Its index in `arrays`.

        Raises:
            SpecificationError: If it is no list, or is empty.
        """
        if type(values) is not list:
            values = _as_list(values, where)
        if not values:
            raise fault(where, "at least one number", values)
        self._lists.append(values)
        self._where.append(where)
        return len(self._lists) - 1

    def size(self, slot: int) -> int:
        """Return the length of a list."""
        return len(self._lists[slot])

    def convert(self) -> None:
        """Make the arrays.

        Raises:
            SpecificationError: If an element is no finite number; names the first.
        """
        elements = chain.from_iterable(self._lists)
        if not set(map(type, elements)) <= _PLAIN:
            self._check_types()
        sizes = np.fromiter(map(len, self._lists), int, len(self._lists))
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        try:
            flat = np.fromiter(chain.from_iterable(self._lists), float, total)
            finite = bool((np.abs(flat) <= LARGEST).all())
        except OverflowError:
            flat, finite = np.empty(0), False
        if not finite:
            self._raise_nonfinite()
        flat.flags.writeable = False
        bounds = ends.tolist()
        self.arrays = [
            flat[start:stop] for start, stop in zip([0, *bounds], bounds, strict=False)
        ]

    def _check_types(self) -> None:
        for values, where in zip(self._lists, self._where, strict=True):
            for index, value in enumerate(values):
                if not is_real(value):
                    raise fault((*where, index), "a number", value, unquote(value))

    def _raise_nonfinite(self) -> None:
        for values, where in zip(self._lists, self._where, strict=True):
            for index, value in enumerate(values):
                check_finite(value, (*where, index))
        raise AssertionError("no element of the document is at fault")


def _as_list(values: Any, where: Where) -> list[Any]:
    if isinstance(values, list | tuple):
        return list(values)
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return values.tolist()
    raise fault(where, "a list of numbers", values)


def is_real(value: Any) -> bool:
    """Return whether a value is a number, which true and false are not."""
    return isinstance(value, _REAL) and not isinstance(value, bool)


def unquote(value: Any) -> str:
    """Return the advice for numbers written as strings, or nothing."""
    return "Write numbers without quotes." if isinstance(value, str) else ""


def check_finite(value: Any, where: Where) -> None:
    """Raise if a real number is NaN or infinite, or too large for anything."""
    try:
        finite = abs(float(value)) <= LARGEST
    except OverflowError:
        finite = False
    if not finite:
        found = Words(described(value))
        mend = "Replace it, or prune what it belongs to."
        expected = f"a finite number of size {LARGEST:g} at most"
        raise fault(where, expected, found, mend)


def number(value: Any, where: Where) -> float:
    """Return one finite number of a document as a float.

    Raises:
        SpecificationError: If it is something else.
    """
    if not is_real(value):
        raise fault(where, "a number", value, unquote(value))
    check_finite(value, where)
    return float(value)
