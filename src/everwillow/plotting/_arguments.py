"""Checks of the arguments of plots: arrays on the host with the right shapes."""

from collections.abc import Collection
from typing import Any

import numpy as np
from jax.core import Tracer

from everwillow._errors import ArgumentTypeError, ArgumentValueError, ShapeMismatchError


def vector(value: Any, name: str, length: int | None = None) -> np.ndarray:
    """Return a vector of floats, which may contain NaN.

    Args:
        value: Anything that NumPy converts to an array.
        name: The name of the argument in error messages.
        length: The required number of entries; a single number is repeated.
    """
    array = numbers(value, name)
    if array.ndim == 0 and length is not None:
        array = np.full(length, array)
    if array.ndim != 1 or (length is not None and array.size != length):
        need = "a vector" if length is None else f"a vector of {length} numbers"
        raise ShapeMismatchError(
            f"{name}: expected {need}, got the shape {array.shape}."
        )
    return array


def rising_edges(value: Any) -> np.ndarray:
    """Return the edges of bins, from the argument `edges`."""
    edges = vector(value, "edges")
    if edges.size < 2 or not np.all(np.diff(edges) > 0):
        raise ShapeMismatchError("edges: expected at least two rising numbers.")
    return edges


def numbers(value: Any, name: str) -> np.ndarray:
    """Return an array of floats of any shape."""
    if isinstance(value, Tracer):
        raise ArgumentTypeError(
            f"{name}: it is traced; plot outside of jit, vmap and grad."
        )
    try:
        return np.array(value, float)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"{name}: expected numbers, got {type(value).__name__}."
        ) from None


def sides(value: Any, name: str, length: int) -> np.ndarray:
    """Return errors as distances down and up, shape ``(2, length)``."""
    array = numbers(value, name)
    if array.shape not in ((), (length,), (2, length)):
        raise ShapeMismatchError(
            f"{name}: expected one number for each of {length} entries, or two rows of "
            f"them (down and up), got the shape {array.shape}."
        )
    return np.abs(np.broadcast_to(array, (2, length)))


def texts(value: Any, name: str) -> tuple[str, ...]:
    """Return names as strings; keys that are tuples are joined by dots."""
    if value is None or isinstance(value, str):
        raise ArgumentTypeError(f"{name}: expected a sequence of names, got {value!r}.")
    return tuple(".".join(n) if isinstance(n, tuple) else str(n) for n in value)


def check_source(
    plot: str, record: Any, optional: Collection[str] = (), **arrays: Any
) -> None:
    """Check that there is either a record, or the arrays in place of it.

    Args:
        plot: The name of the plot, for error messages.
        record: The record, or None.
        optional: Names of optional arrays.
        **arrays: The arrays by name, or None.
    """
    passed = [name for name, value in arrays.items() if value is not None]
    if record is not None and passed:
        raise ArgumentValueError(
            f"{plot}: give a record or arrays, not both ({', '.join(passed)})."
        )
    missing = [name for name in arrays if name not in {*passed, *optional}]
    if record is None and missing:
        raise ArgumentValueError(
            f"{plot}: give a record, or the arrays {', '.join(missing)}."
        )


def unknown_record(record: Any, plot: str, known: str) -> ArgumentTypeError:
    """Return the error for a record of a wrong type."""
    return ArgumentTypeError(
        f"{plot}: cannot draw a {type(record).__name__}; expected {known}, or arrays "
        "by keyword."
    )
