"""Variances of data, in the forms in which users write data."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from everwillow._errors import ArgumentValueError, ShapeMismatchError, nearest
from everwillow._numerics import is_traced


class Counts(eqx.Module):
    """Stands for the variances of counts: their expectations."""


def _is_variance(value: Any) -> bool:
    return value is None or isinstance(value, Counts)


def map_variances(function: Callable[[Any, Any], Any], variance: Any, data: Any) -> Any:
    """Map over variances, given as a prefix of the tree of data, and subtrees of data.

    Args:
        function: Takes a variance, or None where there is none, and a tree of data.
        variance: The prefix.
        data: The tree.

    Raises:
        ArgumentValueError: If it is no prefix.
    """
    try:
        return jax.tree.map(function, variance, data, is_leaf=_is_variance)
    except (ValueError, TypeError) as error:
        if isinstance(error, ShapeMismatchError):
            raise
        raise ArgumentValueError(
            "data_variance: expected the structure of the main data, or a prefix of "
            f"it, but {error}"
        ) from error


def contains_counts(variance: Any) -> bool:
    """Return whether some variances are those of counts."""
    leaves = jax.tree.leaves(variance, is_leaf=_is_variance)
    return any(isinstance(leaf, Counts) for leaf in leaves)


def with_expectations(variance: Any, expected: Any) -> Any:
    """Return variances in which those of counts are their expectations."""
    counted = lambda one, below: below if isinstance(one, Counts) else one
    return map_variances(counted, variance, expected)


def like_data(variance: Any, data: Any, where: str = "data_variance") -> Any:
    """Return variances in the structure of the data, from what looks like the data.

    A list or tuple of numbers may stand for an array and the reverse, a list for a
    tuple, and a State or another mapping for a dictionary. The text ``"poisson"`` for a
    part of the data becomes `Counts`; a text for all data is kept.

    Args:
        variance: The variances.
        data: The main data.
        where: The place, for messages.

    Raises:
        ArgumentValueError: If a mapping has other names than the data, or a text for a
            part is another one.

    Example:
        >>> like_data({"a": [1.0, 4.0], "b": None}, {"a": np.zeros(2), "b": 3.0})
        {'a': array([1., 4.]), 'b': None}
        >>> like_data({"a": "poisson"}, {"a": np.zeros(2)})
        {'a': Counts()}
    """
    if isinstance(variance, str):
        return variance
    return _like(variance, data, where)


def _like(variance: Any, data: Any, where: str) -> Any:
    if isinstance(variance, str):
        if variance == "poisson":
            return Counts()
        raise ArgumentValueError(
            f"{where}: expected variances, 'poisson' for counts, or None for data that "
            f"do not fluctuate, got {variance!r}."
        )
    if isinstance(data, dict):
        return _like_mapping(variance, data, where)
    if isinstance(data, list | tuple):
        return _like_sequence(variance, data, where)
    if isinstance(variance, list | tuple):
        xp: Any = jnp if is_traced(variance) else np
        return xp.asarray(variance, dtype=float)
    return variance


def _like_mapping(variance: Any, data: dict[Any, Any], where: str) -> Any:
    names = ", ".join(map(repr, data))
    if getattr(getattr(variance, "dtype", None), "names", None):
        return variance
    if isinstance(variance, list | tuple) or np.ndim(variance):
        raise ArgumentValueError(
            f"{where}: the data have the names {names}, and a list has none. Give a "
            "mapping with these names."
        )
    if not isinstance(variance, Mapping):
        return variance
    for name in variance:
        if name not in data:
            raise ArgumentValueError(
                f"{where}: there is no {name!r} in the data.{nearest(name, data)} They "
                f"have the names {names}."
            )
    missing = [name for name in data if name not in variance]
    if missing:
        raise ArgumentValueError(
            f"{where}: there is no entry for {', '.join(map(repr, missing))}; give "
            "None for data that do not fluctuate."
        )
    return {
        name: _like(variance[name], below, f"{where}[{name!r}]")
        for name, below in data.items()
    }


def _like_sequence(variance: Any, data: Any, where: str) -> Any:
    given = isinstance(variance, list | tuple) or np.ndim(variance) == 1
    if not given or len(variance) != len(data):
        return variance
    parts = [
        _like(one, below, f"{where}[{i}]")
        for i, (one, below) in enumerate(zip(variance, data, strict=True))
    ]
    named = hasattr(data, "_fields")
    return type(data)(*parts) if named else type(data)(parts)
