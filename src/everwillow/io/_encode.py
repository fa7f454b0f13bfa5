"""From a record to named arrays and a JSON description of their structure.

The description is a tree of nodes. None, and text that no array of strings can hold,
are written as they are; any other node is an object with a ``type``. The path of a node
is made of fields and keys; numbers and strings are in the array of that path.
"""

import collections
import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jax.core import Tracer

from everwillow._errors import RESULTS, ArgumentTypeError
from everwillow._tree import format_type
from everwillow.engine.layout import Layout
from everwillow.io._content import join, segment, segments
from everwillow.io._registry import name_of
from everwillow.io.records import ConstraintSummary, NotStored
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import AuxTable, ConstraintTable
from everwillow.parameters.constraints import AbstractConstraint
from everwillow.statelib import State
from everwillow.statelib.state import key_segments, state_parts


class Encoded(NamedTuple):
    """The parts of a record that go into a file.

    Attributes:
        arrays: The arrays by path.
        structure: The description, a JSON value.
        types: The name of a record or "State", by path.
    """

    arrays: dict[str, np.ndarray]
    structure: Any
    types: dict[str, str]


class Place(NamedTuple):
    """The place of an object in the saved record.

    Attributes:
        path: The segments of its path.
        in_record: Whether it is in a record: an object that cannot be stored is then
            replaced by a note, so that the rest of the record can be saved.
    """

    path: tuple[str, ...]
    in_record: bool

    def at(self, name: str) -> "Place":
        """Return the place of an entry."""
        return self._replace(path=(*self.path, name))


def encode(value: Any) -> Encoded:
    """Divide a record, a State or a pytree into arrays and a description.

    Raises:
        ArgumentTypeError: If something in it cannot be stored; names its path.
    """
    out = Encoded({}, None, {})
    structure = _node(value, Place((), in_record=False), out)
    return out._replace(structure=structure)


def _node(value: Any, place: Place, out: Encoded) -> Any:
    if isinstance(value, ConstraintTable | AuxTable | BoundTable):
        # A file has tables as dictionaries, for any reader.
        value = dict(value)
    for accepts, write in _WRITERS:
        if accepts(value):
            return write(value, place, out)
    if place.in_record and (callable(value) or isinstance(value, optx.Solution)):
        return {"type": "not stored", "what": _describe(value)}
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    kind = kind.removeprefix("builtins.")
    raise ArgumentTypeError(
        f"save: at {join(place.path)!r} is a {kind}, which cannot be stored. Records "
        "of everwillow, States, dicts, lists, tuples, arrays, numbers and strings can; "
        "State.from_pytree makes a State of any pytree."
    )


def _describe(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}".lstrip(".")


def _plain(value: Any, place: Place, out: Encoded) -> Any:
    """Write a Python number or string as an array without axes."""
    array = _packed([value])
    if array is None:
        # Arrays of strings cannot hold every string, nor those of integers all of them.
        return {"type": type(value).__name__, "value": value}
    # Not `array[0]`: the scalar of an empty string has a type that no array has.
    out.arrays[join(place.path)] = array.reshape(())
    return {"type": type(value).__name__}


_PLAIN = {bool: "?", int: "i8", float: "f8", complex: "c16", str: "U"}


def _packed(values: Sequence[Any]) -> np.ndarray | None:
    """Return plain values of one type as an array, or None if it cannot hold them."""
    kind = type(values[0])
    if kind not in _PLAIN or any(type(value) is not kind for value in values):
        return None
    if kind is str and any(
        "\0" in text or text.encode(errors="ignore").decode() != text for text in values
    ):
        return None
    try:
        return np.array(values, _PLAIN[kind])
    except OverflowError:
        return None


def _array(value: Any, place: Place, out: Encoded) -> Any:
    if isinstance(value, Tracer):
        raise ArgumentTypeError(
            f"save: the value at {join(place.path)!r} is traced, so it has no numbers "
            "yet. Save outside of jit, vmap and grad, what they return."
        )
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        out.arrays[join(place.path)] = np.asarray(jr.key_data(value))
        return {"type": "prng key", "implementation": str(jr.key_impl(value))}
    array = np.asarray(value)
    if array.dtype.kind not in "biufcU" and not jnp.issubdtype(array.dtype, np.number):
        raise ArgumentTypeError(
            f"save: at {join(place.path)!r} is a {format_type(value)}; arrays of "
            "numbers, booleans and strings can be stored."
        )
    out.arrays[join(place.path)] = array
    return {"type": "scalar" if isinstance(value, np.generic) else "array"}


def _sequence(value: list[Any] | tuple[Any, ...], place: Place, out: Encoded) -> Any:
    kind = type(value).__name__
    array = _packed(value) if value else None
    if array is not None:
        out.arrays[join(place.path)] = array
        return {"type": kind, "of": type(value[0]).__name__}
    items = [_node(item, place.at(str(i)), out) for i, item in enumerate(value)]
    return {"type": kind, "items": items}


def _mapping(value: Mapping[Any, Any], place: Place, out: Encoded) -> Any:
    kind = "ordered dict" if type(value) is collections.OrderedDict else "dict"
    keys = [_key(key, place) for key in value]
    return {"type": kind, "keys": keys, "items": _values(value, place, out)}


def _values(value: Mapping[Any, Any], place: Place, out: Encoded) -> list[Any]:
    names = segments(list(value), at_root=not place.path)
    return [
        _node(item, place.at(name), out)
        for name, item in zip(names, value.values(), strict=True)
    ]


def _key(key: Any, place: Place) -> Any:
    """Return a key for JSON: a string, an integer, or a list for a tuple of them."""
    if type(key) in (str, int):
        return key
    if type(key) is tuple:
        return [_key(part, place) for part in key]
    raise ArgumentTypeError(
        f"save: the mapping at {join(place.path)!r} has the key {key!r}; strings, "
        "integers and tuples of them can be stored."
    )


def _status(value: Any, place: Place, out: Encoded) -> Any:
    """Write a status as numbers with names, as numbers differ between versions."""
    enumeration = _enumeration(value)
    (codes,) = jtu.tree_leaves(value)
    names = {code: name for name, code in status_codes(enumeration).items()}
    _array(codes, place, out)
    present = sorted({int(code) for code in np.ravel(out.arrays[join(place.path)])})
    return {
        "type": "status",
        "of": name_of(enumeration),
        "names": {str(code): names[code] for code in present},
        "scalar": isinstance(codes, np.generic),
    }


def status_codes(enumeration: type) -> dict[str, int]:
    """Return the number of each status by its name."""
    # Equinox has a public function for the messages, which may change, not for names.
    items: dict[str, Any] = vars(enumeration)["_name_to_item"]
    return {name: int(jtu.tree_leaves(item)[0]) for name, item in items.items()}


def _enumeration(value: Any) -> Any:
    """Return the enumeration of a status of everwillow; None for other objects."""
    if type(value) is not type(RESULTS.successful):
        return None
    enumeration = value._enumeration
    return enumeration if name_of(enumeration) is not None else None


def _state(value: State, place: Place, out: Encoded) -> Any:
    out.types[join(place.path)] = "State"
    items = _values(value, place, out)
    return {"type": "State", **_keys_of(value, place), "items": items}


def _keys_of(state: State, place: Place) -> dict[str, Any]:
    meta, _ = state_parts(state)
    pieces = [
        {
            "tree": _skeleton(piece.treedef.unflatten(range(len(piece.original)))),
            "original": [_key(key, place) for key in piece.original],
            "current": [_key(key, place) for key in piece.current],
            "sep": piece.sep,
        }
        for piece in meta.pieces
    ]
    return {"pieces": pieces, "merged": meta.merged}


def _skeleton(tree: Any) -> Any:
    """Return the structure of a pytree whose leaves are their positions.

    A node that is not a dict, list or tuple becomes an ordered dict of its children, so
    that the keys of its leaves do not change.
    """
    if tree is None or type(tree) is int:
        return tree
    children = jtu.tree_flatten_with_path(tree, is_leaf=lambda node: node is not tree)
    parts = [_skeleton(child) for _, child in children[0]]
    if type(tree) in (list, tuple):
        return {type(tree).__name__: parts}
    keys = [getattr(path[0], "key", None) for path, _ in children[0]]
    kind = {dict: "dict", collections.OrderedDict: "ordered dict"}.get(type(tree))
    if kind is None or any(type(key) not in (str, int) for key in keys):
        keys = [".".join(key_segments(path[0])) for path, _ in children[0]]
        if len(set(keys)) != len(keys):
            keys = [str(position) for position in range(len(keys))]
        kind = "ordered dict"
    return {kind: parts, "keys": keys}


def _layout(value: Layout, place: Place) -> Any:
    return {
        "type": "layout",
        **_keys_of(value.template, place),
        "shapes": value.shapes,
        "numeric": value.numeric,
    }


def _record(value: eqx.Module, place: Place, out: Encoded) -> Any:
    name = name_of(type(value))
    if name is None and isinstance(value, AbstractConstraint):
        return _record(_summary(value), place, out)
    if name is None:
        return {"type": "not stored", "what": _describe(value)}
    out.types[join(place.path)] = name
    inside = place._replace(in_record=True)
    fields = {
        field.name: _node(
            getattr(value, field.name),
            inside.at(segment(field.name, at_root=not place.path)),
            out,
        )
        for field in dataclasses.fields(value)
        if hasattr(value, field.name)
    }
    for derived in _DERIVED.get(name, ()):
        there = inside.at(segment(derived, at_root=not place.path))
        _derived(getattr(value, derived), there, out)
    return {"type": name, "fields": fields}


# For readers in other languages, which cannot compute these from the fields.
_DERIVED = {
    "everwillow.fitting.FitResult": ("labels", "covariance", "errors", "bound_errors")
}


def _derived(value: Any, place: Place, out: Encoded) -> None:
    """Write what the description does not mention: an array, or those of a State."""
    if isinstance(value, State):
        names = segments(list(value), at_root=False)
        for name, entry in zip(names, value.values(), strict=True):
            _derived(entry, place.at(name), out)
    elif value is not None:
        out.arrays[join(place.path)] = np.asarray(value)


def _summary(constraint: AbstractConstraint) -> ConstraintSummary:
    keys = getattr(constraint, "keys", None)
    return ConstraintSummary(
        what=_describe(constraint),
        keys=None if keys is None else tuple(keys),
        aux=constraint.aux,
        center=constraint.center,
        width=constraint.width,
    )


def _is_record(value: Any) -> bool:
    return isinstance(value, eqx.Module) and (
        name_of(type(value)) is not None or isinstance(value, AbstractConstraint)
    )


_ARRAYS = (np.ndarray, np.generic, jax.Array, Tracer)
_MAPPINGS = (dict, collections.OrderedDict, types.MappingProxyType)

# The first that accepts an object writes it.
_WRITERS: tuple[tuple[Any, Any], ...] = (
    (lambda value: value is None, lambda *_: None),
    (lambda value: type(value) in _PLAIN, _plain),
    (lambda value: isinstance(value, _ARRAYS), _array),
    (lambda value: _enumeration(value) is not None, _status),
    (lambda value: type(value) is State, _state),
    (
        lambda value: type(value) is NotStored,
        lambda value, *_: {"type": "not stored", "what": value.what},
    ),
    (_is_record, _record),
    (lambda value: type(value) in _MAPPINGS, _mapping),
    (lambda value: type(value) in (list, tuple), _sequence),
    (
        lambda value: isinstance(value, Layout),
        lambda value, place, _: _layout(value, place),
    ),
)
