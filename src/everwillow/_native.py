"""Conversion of tables, series, dataclasses and arrays to arrays that JAX supports.

Tables and series of data-frame libraries are recognised by their methods, so that none
of these libraries is imported. Masked or missing values and text are refused, with
their place.
"""

import contextlib
import dataclasses
import decimal
import fractions
import functools as ft
import numbers
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer

from everwillow._errors import ArgumentTypeError, ArgumentValueError


_NATIVE = frozenset(
    np.dtype(kind)
    for kind in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
) | {np.dtype(np.complex64), np.dtype(np.complex128)}
_SCALARS = frozenset({float, int, bool, complex})
_EXACT = (decimal.Decimal, fractions.Fraction)
_REMEDY = (
    "Pass a dict of arrays, or make the class a pytree: "
    "jax.tree_util.register_dataclass."
)


def is_native(leaf: Any) -> bool:
    """Return whether a leaf is a number or an array that JAX supports."""
    kind = type(leaf)
    if kind is np.ndarray:
        return leaf.dtype in _NATIVE
    return kind in _SCALARS or isinstance(leaf, jax.Array)


def native_tree(
    tree: Any, name: str, *, is_leaf: Callable[[Any], bool] | None = None
) -> Any:
    """Turn tables, series and foreign arrays in a pytree into arrays that JAX supports.

    A table, such as a ``DataFrame`` or a structured array, becomes a dict of columns; a
    series an array; a dataclass that is no pytree an instance of a subclass that is
    one. Arrays of foreign byte order, of objects that are numbers, and masked arrays
    without masked values become plain ones. Other leaves are returned unchanged.

    Args:
        tree: The pytree.
        name: Its name in messages.
        is_leaf: As in `jax.tree.flatten`.

    Raises:
        ArgumentTypeError: If an array holds text, dates or anything else that is no
            number.
        ArgumentValueError: If something is masked.
    """
    while True:
        leaves, treedef = jtu.tree_flatten(tree, is_leaf=is_leaf)
        if all(map(is_native, leaves)):
            return tree
        paths, _ = jtu.tree_flatten_with_path(tree, is_leaf=is_leaf)
        new = [native(leaf, name + jtu.keystr(path)) for path, leaf in paths]
        if all(a is b for a, b in zip(new, leaves, strict=True)):
            return tree
        # Columns and fields may need conversion, too.
        tree = treedef.unflatten(new)


def native(leaf: Any, place: str) -> Any:
    """Convert one leaf of a pytree; see `native_tree`.

    Args:
        leaf: The leaf.
        place: Its place, for messages: ``"observation['y']"``.
    """
    if is_native(leaf) or isinstance(leaf, type | eqx.Module):
        return leaf
    if isinstance(leaf, np.str_):
        return str(leaf)
    if isinstance(leaf, np.ndarray | np.generic):
        return _native_array(leaf, place)
    if dataclasses.is_dataclass(leaf):
        return _as_pytree(leaf, place)
    if isinstance(leaf, _EXACT):
        return float(leaf)
    if callable(getattr(leaf, "to_numpy", None)):
        columns = getattr(leaf, "columns", None)
        if columns is not None:
            return _table(leaf, list(columns), place)
        found = leaf.to_numpy()
        if isinstance(found, np.ndarray):
            return found
        raise ArgumentTypeError(
            f"{place}: a {type(leaf).__name__} is no array, and its to_numpy() gives "
            f"{type(found).__name__}. Pass its numbers as arrays."
        )
    if hasattr(type(leaf), "__array__") and not hasattr(leaf, "__jax_array__"):
        return np.asarray(leaf)
    return leaf


def check_static(tree: Any, name: str) -> None:
    """Refuse leaves that are no arrays and cannot be part of the key of a program.

    Raises:
        ArgumentTypeError: If there is one.
    """
    for path, leaf in jtu.tree_flatten_with_path(tree)[0]:
        if eqx.is_array(leaf):
            continue
        try:
            hash(leaf)
        except TypeError:
            place, kind = name + jtu.keystr(path), type(leaf).__name__
            raise ArgumentTypeError(
                f"{place}: {kind} is neither a number nor an array. {_REMEDY}"
            ) from None


def _table(table: Any, columns: list[Any], place: str) -> dict[Any, Any]:
    """Return the columns of a table by name."""
    if len(set(columns)) != len(columns):
        twice = sorted({str(c) for c in columns if columns.count(c) > 1})
        raise ArgumentValueError(
            f"{place}: several columns are called {', '.join(twice)}. Rename them."
        )
    if len({type(column) for column in columns}) > 1:
        raise ArgumentTypeError(
            f"{place}: the names of its columns are of several types. Use strings."
        )
    return {column: table[column] for column in columns}


def _native_array(array: Any, place: str) -> Any:
    """Return a NumPy array or scalar as one of a dtype that JAX has."""
    if isinstance(array, np.ma.MaskedArray):
        return _unmasked(array, place)
    dtype = array.dtype
    if dtype.names:
        return {name: array[name] for name in dtype.names}
    if dtype.kind == "O":
        return _from_objects(np.asarray(array), place)
    if dtype.kind in "SUTMm" or (dtype.kind == "V" and dtype.isbuiltin != 2):
        content = {"M": "dates", "m": "times", "V": "raw bytes"}.get(dtype.kind, "text")
        raise ArgumentTypeError(
            f"{place}: an array of dtype {dtype} holds {content}, no numbers. Leave it "
            "out, or turn it into numbers."
        )
    if isinstance(array, np.generic):
        return array if array.dtype in _NATIVE else _narrow(array)
    return _narrow(np.asarray(array))


def _narrow(array: Any) -> Any:
    """Return an array in native byte order, and of no more than double precision."""
    dtype = array.dtype
    if dtype.kind == "f" and dtype.itemsize > np.dtype(float).itemsize:
        return array.astype(np.float64)
    if dtype.kind == "c" and dtype.itemsize > np.dtype(complex).itemsize:
        return array.astype(np.complex128)
    return array if dtype.isnative else array.astype(dtype.newbyteorder("="))


def _unmasked(array: np.ma.MaskedArray, place: str) -> np.ndarray:
    mask: Any = np.ma.getmaskarray(array)
    # Structured arrays have a mask for each field.
    fields = [mask[name] for name in mask.dtype.names or ()] or [mask]
    masked = sum(int(np.sum(field)) for field in fields)
    if masked:
        raise ArgumentValueError(
            f"{place}: {masked} of {mask.size * len(fields)} values are masked, and a "
            "fit would treat them as data. Leave them out here and in every array "
            "beside it (array.compressed(), other[~array.mask]), or pass "
            "array.filled(value) and the mask, and multiply by it in the likelihood."
        )
    return np.asarray(array.data)


def _from_objects(array: np.ndarray, place: str) -> np.ndarray:
    """Return the numbers that an array of objects holds, as floats."""
    flat = array.ravel()
    for i, item in enumerate(flat):
        known = isinstance(item, numbers.Real | np.bool_ | decimal.Decimal)
        scalar = isinstance(item, jax.Array | np.ndarray) and item.ndim == 0
        if known or (scalar and not isinstance(item, Tracer)):
            continue
        index = ", ".join(map(str, np.unravel_index(i, array.shape)))
        at = f" at [{index}]" if index else ""
        raise ArgumentTypeError(
            f"{place}: an array of objects holds {item!r:.40}{at}, which is not a "
            "number. Leave it out, or turn it into one (nan where a number is missing "
            "and the likelihood handles NaN); arrays of different lengths go into a "
            "list."
        )
    if flat.size and all(isinstance(item, bool | np.bool_) for item in flat):
        return array.astype(bool)
    return array.astype(np.float64)


def _as_pytree(record: Any, place: str) -> Any:
    """Return a dataclass that is no pytree as an equal object that is one.

    A dataclass that is compared by value and holds no numbers but integers is returned
    unchanged: it is structure, like a string.
    """
    kind = type(record)
    if not jtu.all_leaves([record]):  # a pytree that the caller calls a leaf
        return record
    values = _field_values(record)
    if kind.__hash__ is not object.__hash__ and not any(
        isinstance(leaf, float) or getattr(leaf, "ndim", 0)
        for leaf in jtu.tree_leaves(values)
    ):
        with contextlib.suppress(TypeError):
            hash(record)
            return record
    try:
        opened = _pytree_of(kind)
    except TypeError as error:
        raise ArgumentTypeError(
            f"{place}: {kind.__name__} cannot be made a pytree ({error}). {_REMEDY}"
        ) from error
    return _instance_of(opened, values)


def _field_values(record: Any) -> dict[str, Any]:
    """Return the attributes of a dataclass, without cached properties."""
    cls = type(record)
    fields = [field.name for field in dataclasses.fields(record)]
    values = {name: getattr(record, name) for name in fields if hasattr(record, name)}
    for name, value in getattr(record, "__dict__", {}).items():
        if not isinstance(getattr(cls, name, None), ft.cached_property):
            values.setdefault(name, value)
    return values


def _instance_of(cls: type, values: dict[str, Any]) -> Any:
    # Past `__init__`, which may check or convert, and fail for tracers.
    record = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(record, name, value)
    return record


@ft.cache
def _pytree_of(cls: type) -> type:
    """Return a subclass of a dataclass that is a pytree; the class itself is unchanged.

    Registering the class would affect other code, which may register it later.
    """
    opened = type(cls.__name__, (cls,), {"__module__": cls.__module__})

    def flatten(record):
        values = _field_values(record)
        return tuple(values.values()), tuple(values)

    def flatten_with_keys(record):
        values = _field_values(record)
        pairs = [(jtu.GetAttrKey(name), value) for name, value in values.items()]
        return tuple(pairs), tuple(values)

    def unflatten(names, values):
        return _instance_of(opened, dict(zip(names, values, strict=True)))

    jtu.register_pytree_with_keys(opened, flatten_with_keys, unflatten, flatten)
    return opened
