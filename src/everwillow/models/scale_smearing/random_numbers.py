"""Random numbers that belong to objects: the same in whatever order they are asked."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt64

from everwillow._errors import ArgumentTypeError


# The generator SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) with these constants.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_UNIT = 2.0**-53


def standard_normals(
    seed: int, *identifiers: Any, source: str = "smearing"
) -> Float[np.ndarray, " objects"]:
    """Return one standard normal number for each object.

    A number depends on its own identifiers only: not on other objects, nor on their
    order or how they are divided. So all variations of an object, and all programs that
    process it, use the same number.

    Args:
        seed: The seed.
        *identifiers: Integers that identify an object, such as arrays of run,
            luminosity block, event and the index of the object in the event.
        source: What the numbers are for. Numbers for different sources are independent.

    Raises:
        ArgumentTypeError: If an identifier is no integer.

    Example:
        >>> event = np.array([17, 18, 19])
        >>> numbers = standard_normals(1, event, 0)
        >>> bool((standard_normals(1, event[::-1], 0) == numbers[::-1]).all())
        True
    """
    first, second = _two_hashes(seed, identifiers, source)
    # Box and Muller: the first number is never 0.
    radius = np.sqrt(-2 * np.log(_UNIT * ((first >> np.uint64(11)) + np.uint64(1))))
    return radius * np.cos(2 * np.pi * _UNIT * (second >> np.uint64(11)))


def uniform_numbers(
    seed: int, *identifiers: Any, source: str = "component"
) -> Float[np.ndarray, " objects"]:
    """Return one number between 0 and 1 for each object, as `standard_normals` does.

    Args:
        seed: The seed.
        *identifiers: Integers that identify an object.
        source: What the numbers are for.

    Example:
        >>> numbers = uniform_numbers(1, np.arange(1000))
        >>> bool(numbers.min() >= 0), bool(numbers.max() < 1)
        (True, True)
    """
    return _UNIT * (_two_hashes(seed, identifiers, source)[0] >> np.uint64(11))


def _two_hashes(
    seed: int, identifiers: tuple[Any, ...], source: str
) -> tuple[UInt64[np.ndarray, " objects"], UInt64[np.ndarray, " objects"]]:
    """Return two hashes of each object."""
    state = np.zeros(1, np.uint64)
    for one in (seed, *source.encode(), len(source), *identifiers):
        array = np.asarray(one)
        if array.dtype.kind not in "biu":
            raise ArgumentTypeError(
                f"identifiers: expected integers, got {array.dtype}. Numbers of events "
                "that were rounded do not identify events."
            )
        state = _mixed((state ^ array.astype(np.uint64)) + _STEP)
    return _mixed(state + _STEP), _mixed(state + _STEP + _STEP)


def _mixed(state: np.ndarray) -> np.ndarray:
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        state = (state ^ (state >> shift)) * factor
    return state ^ (state >> _SHIFTS[2])
