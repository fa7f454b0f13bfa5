"""Shapes, dtypes and texts of the leaves of pytrees, and of their keys.

A leaf may be an array, a tracer, a `jax.ShapeDtypeStruct`, a Python scalar or anything
else; nothing here converts or copies one, except to print a few of its numbers.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from everwillow._html import Table
from everwillow._rounding import with_error


_SHOWN_ENTRIES = 4  # longer arrays are printed as dtype and shape only


def is_whole(value: Any) -> bool:
    """Return whether a value is one entry of a State, though JAX would open it.

    Its class says so by the attribute ``whole_in_states``.
    """
    return getattr(type(value), "whole_in_states", False) is True


class LeafSpec(NamedTuple):
    """Shape and dtype kind of a leaf.

    Attributes:
        shape: The shape, ``()`` for Python scalars.
        kind: ``"bool"``, ``"int"``, ``"float"``, ``"complex"``, the name of another
            dtype, or ``"number"`` for a Python int, which may be meant as a float.
    """

    shape: tuple[int, ...]
    kind: str

    def __str__(self) -> str:
        return f"shape {self.shape} and dtype kind {self.kind}"

    def agrees_with(self, other: "LeafSpec") -> bool:
        """Return whether both specs can be those of one parameter."""
        kinds = {self.kind, other.kind}
        literal = "number" in kinds and kinds <= {"number", "int", "float", "complex"}
        return self.shape == other.shape and (len(kinds) == 1 or literal)


_FLOAT, _INT, _BOOL, _COMPLEX = (
    LeafSpec((), kind) for kind in ("float", "number", "bool", "complex")
)


def leaf_shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of a leaf, or None if it is neither array nor number."""
    if isinstance(value, (float, int, complex)):
        return ()
    shape = getattr(value, "shape", None)
    return None if shape is None else tuple(shape)


def leaf_spec(value: Any) -> LeafSpec | None:
    """Return the `LeafSpec` of a leaf, or None if it has neither shape nor dtype."""
    if isinstance(value, float):
        return _FLOAT
    if isinstance(value, int):
        return _BOOL if isinstance(value, bool) else _INT
    if isinstance(value, complex):
        return _COMPLEX
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return None
    return LeafSpec(tuple(shape), _kind(dtype))


def _kind(dtype: Any) -> str:
    # By jax.numpy, as NumPy does not know that bfloat16 is a float.
    for kind, scalar_type in (
        ("bool", np.bool_),
        ("int", np.integer),
        ("float", np.floating),
        ("complex", np.complexfloating),
    ):
        if jnp.issubdtype(dtype, scalar_type):
            return kind
    return str(dtype)


def format_type(value: Any) -> str:
    """Return a short name of a leaf's type, such as ``"float64[3]"``."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return type(value).__name__
    return f"{dtype}[{','.join(map(str, shape))}]"


def six_digits(number: Any) -> str:
    """Return a number in six significant digits, without the dot of integers."""
    return f"{number:.6g}"


def format_leaf(value: Any, number: Callable[[Any], str] = six_digits) -> str:
    """Return a short text for a leaf: its numbers if they are few and known.

    Tracers, abstract and long arrays are shown by dtype and shape, as are arrays
    whose numbers cannot be read (donated, or on other hosts).

    Args:
        value: The leaf.
        number: From a floating-point number to its text; ``str`` for all its digits.

    Example:
        >>> format_leaf(2.0), format_leaf(2.0, str)
        ('2', '2.0')
    """
    if isinstance(value, Tracer):
        return f"{format_type(value)} (traced)"
    if isinstance(value, float):
        return number(float(value))
    if not _is_readable(value):
        spec = leaf_spec(value)
        if spec is None or not hasattr(value, "shape"):
            return _abbreviate(repr(value))
        return format_type(value)
    text = np.array2string(
        np.asarray(value), separator=", ", formatter={"float_kind": number}
    )
    return " ".join(text.split())


def values_table(values: Any, errors: Any) -> Table:
    """Return the numbers of a pytree with their errors, rounded to these."""
    rows = [("value of", "value", "error")]
    leaves, _ = jax.tree_util.tree_flatten_with_path(values)
    for (path, leaf), error in zip(leaves, jax.tree.leaves(errors), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        spreads = np.broadcast_to(error, np.shape(leaf))
        for index in np.ndindex(np.shape(leaf)):
            place = f"[{','.join(map(str, index))}]" if index else ""
            pair = float(np.asarray(leaf)[index]), float(spreads[index])
            rows.append(((name + place) or "function", *with_error(*pair)))
    return Table(rows)


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as left-aligned columns."""
    return str(Table(rows))


def _is_readable(value: Any) -> bool:
    if isinstance(value, jax.Array):
        if value.is_deleted() or not value.is_fully_addressable:
            return False
        if jnp.issubdtype(value.dtype, jax.dtypes.extended):  # PRNG keys
            return False
    elif not isinstance(value, (np.ndarray, np.generic)):
        return False
    return math.prod(value.shape) <= _SHOWN_ENTRIES


def _abbreviate(text: str, *, limit: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def alike_but_rows(data: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether two shapes differ at most in their number of rows, as events do.

    A single row in place of several is refused, as it would be broadcast.
    """
    same = len(data) == len(other) and data[1:] == other[1:]
    return data == other or (same and 1 not in other[:1])


def can_replace(data: Any, other: Any) -> bool:
    """Return whether a likelihood may get other data in place of its data.

    Arrays may differ in their number of rows, and mappings may have more entries, such
    as the weights of events.
    """
    leaves, structure = jax.tree.flatten(data)
    others, other_structure = jax.tree.flatten(other)
    if structure == other_structure:
        return all(
            alike_but_rows(np.shape(a), np.shape(b))
            for a, b in zip(leaves, others, strict=True)
        )
    if not (isinstance(data, Mapping) and isinstance(other, Mapping)):
        return False
    return all(
        key in other and can_replace(value, other[key]) for key, value in data.items()
    )


def format_shapes(data: Any) -> str:
    """Return the structure and the shapes of data as a text."""
    return str(jax.tree.map(lambda leaf: tuple(np.shape(leaf)), data))


def broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Return whether an array of one shape can be broadcast to another."""
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False
