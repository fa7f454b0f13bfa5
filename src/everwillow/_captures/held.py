"""Parts of leaves and structures of pytrees that may change."""

import enum
import functools as ft
import sys
import types
import weakref
from typing import Any

import jax.tree_util as jtu
import numpy as np

from everwillow._captures.reads import is_library, is_of_library


INERT = frozenset({bool, int, float, complex, str, bytes, range})
INERT |= {type(None), type(...), type(NotImplemented)}


def is_inert(value: Any) -> bool:
    """Return whether a leaf of a pytree is known not to change, without a walk."""
    if type(value) is types.FunctionType:
        known = _constant.get(value)
        if known is None:
            known = _constant[value] = _is_named_by_library(value)
        return known
    return type(value) in INERT


class Template:
    """A function with holes; equal if code and everything else in it are equal."""

    __slots__ = ("_hash", "tokens", "value")

    def __init__(self, value: Any, tokens: tuple[Any, ...]) -> None:
        self.value = value
        self.tokens = tokens
        self._hash = hash(tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return self._hash


_constant: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def _is_named_by_library(function: types.FunctionType) -> bool:
    """Return whether a function is the one that its library defines under its name."""
    if not (is_of_library(function) and is_library(function.__module__)):
        return False
    found = sys.modules.get(function.__module__)
    return getattr(found, function.__qualname__, None) is function


@ft.lru_cache(maxsize=4096)
def slots_of(kind: type) -> tuple[str, ...]:
    """Return the names of the attributes that a class keeps in slots."""
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        slots = (slots,) if isinstance(slots, str) else slots
        names += [_mangled(name, base) for name in slots]
    return tuple(n for n in names if n not in ("__dict__", "__weakref__"))


def _mangled(name: str, owner: type) -> str:
    """Return the mangled name of an attribute ``__name`` of a class."""
    if name.startswith("__") and not name.endswith("__"):
        return f"_{owner.__name__.lstrip('_')}{name}"
    return name


def attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots among them."""
    slots = slots_of(type(value))
    inside = getattr(value, "__dict__", {})
    if not slots:
        return inside
    return {n: getattr(value, n) for n in slots if hasattr(value, n)} | inside


_parts_of: dict[Any, tuple[Any, ...]] = {}
_MANY = 512


def structure_parts(structure: Any) -> tuple[Any, ...]:
    """Return the parts of the structure of a pytree that may change, from a cache.

    Equal structures hold the same functions, as these are compared by identity.
    """
    found = _parts_of.get(structure)
    if found is None:
        if len(_parts_of) > _MANY:
            _parts_of.clear()
        held: list[Any] = []
        _collect(structure, held, {})
        found = _parts_of[structure] = tuple(held)
    return found


def _collect(value: Any, held: list[Any], seen: dict[int, Any]) -> None:
    """Collect the parts that may change, without those of libraries."""
    kind = type(value)
    if kind in INERT or id(value) in seen:
        return
    # Kept alive, as the memory of temporary objects would be used again.
    seen[id(value)] = value
    if isinstance(value, jtu.PyTreeDef):
        _collect_structure(value, held, seen)
    elif isinstance(value, type | np.dtype | np.ufunc):
        return
    elif isinstance(value, types.ModuleType):
        if not is_library(value.__name__):
            held.append(value)
    elif isinstance(value, Template):
        # Its tokens only repeat the contents of the function.
        _collect(value.value, held, seen)
    elif isinstance(value, enum.Enum):
        if type(value.value) not in INERT and not is_library(kind.__module__):
            held.append(value)
    elif isinstance(value, tuple | list | set | frozenset):
        for one in value:
            _collect(one, held, seen)
    elif isinstance(value, dict | types.MappingProxyType):
        for item in value.items():
            _collect(item, held, seen)
    elif kind is types.FunctionType or not is_library(kind.__module__):
        if not is_inert(value):
            held.append(value)
    else:
        inside = attributes(value)
        for one in inside.values():
            _collect(one, held, seen)
        if not inside and callable(value):
            held.append(value)


def _collect_structure(structure: Any, held: list[Any], seen: dict[int, Any]) -> None:
    found = structure.node_data()
    if found is not None:
        _collect(found[1], held, seen)
    for child in structure.children():
        _collect_structure(child, held, seen)
