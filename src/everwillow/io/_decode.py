"""From named arrays and their description back to a record.

A file is not trusted: `everwillow.io.files` catches every error that unexpected
contents can cause, and only classes of `everwillow.io._registry` are made.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from everwillow.engine.layout import Layout
from everwillow.io._content import join, segment, segments
from everwillow.io._encode import status_codes
from everwillow.io._registry import class_named
from everwillow.io.records import NotStored
from everwillow.statelib import State
from everwillow.statelib.meta import Meta, Piece
from everwillow.statelib.state import make_state


_Path = tuple[str, ...]
_Arrays = Mapping[str, np.ndarray]


def decode(arrays: _Arrays, structure: Any) -> Any:
    """Rebuild a record from the output of `everwillow.io._encode.encode`.

    Raises:
        Exception: Of nearly any kind, if arrays and description do not agree.
    """
    return _value(structure, (), arrays)


def _value(node: Any, path: _Path, arrays: _Arrays) -> Any:
    if node is None:
        return None
    kind = node["type"]
    read = _READERS.get(kind)
    if read is not None:
        return read(node, path, arrays)
    if kind in _PLAIN:
        return node["value"] if "value" in node else arrays[join(path)].item()
    return _record(node, path, arrays)


_PLAIN = ("bool", "int", "float", "complex", "str")


def _prng_key(node: Any, path: _Path, arrays: _Arrays) -> Any:
    data = jnp.asarray(arrays[join(path)])
    return jr.wrap_key_data(data, impl=node["implementation"])


def _status(node: Any, path: _Path, arrays: _Arrays) -> Any:
    enumeration = class_named(node["of"])
    known = status_codes(enumeration)
    stored = arrays[join(path)]
    codes = np.zeros_like(stored)
    for code, name in node["names"].items():
        codes[stored == int(code)] = known[name]
    if not set(np.ravel(stored).tolist()) <= set(map(int, node["names"])):
        raise ValueError(f"the status at {join(path)!r} has no name")
    structure = jtu.tree_structure(getattr(enumeration, next(iter(known))))
    return structure.unflatten([codes[()] if node["scalar"] else codes])


def _list(node: Any, path: _Path, arrays: _Arrays) -> list[Any]:
    if "of" in node:
        if node["of"] not in _PLAIN or arrays[join(path)].ndim != 1:
            raise ValueError(f"the value at {join(path)!r} is not a sequence")
        return arrays[join(path)].tolist()
    return [
        _value(item, (*path, str(position)), arrays)
        for position, item in enumerate(node["items"])
    ]


def _items(
    keys: Sequence[Any], node: Any, path: _Path, arrays: _Arrays
) -> dict[Any, Any]:
    names = segments(keys, at_root=not path)
    return {
        key: _value(item, (*path, name), arrays)
        for key, name, item in zip(keys, names, node["items"], strict=True)
    }


def _dict(node: Any, path: _Path, arrays: _Arrays) -> dict[Any, Any]:
    return _items(_keys(node["keys"]), node, path, arrays)


def _keys(keys: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_keys(key) if isinstance(key, list) else key for key in keys)


def _state(node: Any, path: _Path, arrays: _Arrays) -> State:
    meta = _meta(node)
    return make_state(meta, tuple(_items(meta.keys, node, path, arrays).values()))


def _meta(node: Any) -> Meta:
    pieces = []
    for piece in node["pieces"]:
        treedef = jtu.tree_structure(_tree(piece["tree"]))
        original, current = _keys(piece["original"]), _keys(piece["current"])
        if not treedef.num_leaves == len(original) == len(current):
            raise ValueError("the keys of a State do not fit its tree")
        pieces.append(Piece(treedef, original, current, piece["sep"]))
    return Meta(pieces, merged=bool(node["merged"]))


def _tree(skeleton: Any) -> Any:
    if skeleton is None or type(skeleton) is int:
        return skeleton
    (kind,) = set(skeleton) - {"keys"}
    parts = [_tree(part) for part in skeleton[kind]]
    if kind in ("list", "tuple"):
        return parts if kind == "list" else tuple(parts)
    make = {"dict": dict, "ordered dict": collections.OrderedDict}[kind]
    return make(zip(skeleton["keys"], parts, strict=True))


def _layout(node: Any) -> Layout:
    meta = _meta(node)
    treedef = jtu.tree_structure(make_state(meta, (0,) * len(meta.keys)))
    shapes = tuple(tuple(map(int, shape)) for shape in node["shapes"])
    numeric = tuple(map(bool, node["numeric"]))
    if not len(shapes) == len(numeric) == len(meta.keys):
        raise ValueError("the shapes of the parameters do not fit their keys")
    if any(math.prod(shape) < 0 for shape in shapes):
        raise ValueError("a parameter has a negative size")
    return Layout(treedef, shapes, numeric)


def _record(node: Any, path: _Path, arrays: _Arrays) -> Any:
    name = node["type"]
    cls = class_named(name)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    old = getattr(cls, "_old_fields", {})
    stored = {old.get(field, field): field for field in node["fields"]}
    unknown = sorted(stored[field] for field in set(stored) - set(fields))
    if unknown:
        raise ValueError(f"this version of {name} has no field {', '.join(unknown)}")
    # Not through `__init__`, which may take other arguments and compute the fields;
    # JAX makes copies of Modules in the same way.
    record = object.__new__(cls)
    for field in fields.values():
        if field.name in stored:
            written = stored[field.name]
            where = (*path, segment(written, at_root=not path))
            value = _value(node["fields"][written], where, arrays)
        elif field.default is not dataclasses.MISSING:
            value = field.default
        else:
            raise ValueError(f"the field {field.name!r} of {name} is missing")
        object.__setattr__(record, field.name, value)
    return record


_READERS: dict[str, Callable[[Any, _Path, _Arrays], Any]] = {
    "array": lambda _, path, arrays: arrays[join(path)],
    "scalar": lambda _, path, arrays: arrays[join(path)][()],
    "prng key": _prng_key,
    "status": _status,
    "list": _list,
    "tuple": lambda *parts: tuple(_list(*parts)),
    "dict": _dict,
    "ordered dict": lambda *parts: collections.OrderedDict(_dict(*parts)),
    "State": _state,
    "layout": lambda node, *_: _layout(node),
    "not stored": lambda node, *_: NotStored(str(node["what"])),
}
