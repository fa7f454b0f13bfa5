"""What a Python object is made of: a header that can be compared, and parts.

Each kind of object has one function here. It leaves out what cannot matter to a
likelihood: attributes that no code of it reads, functions of libraries, what is only
ever appended to.
"""

import dataclasses
import enum
import functools as ft
import hashlib
import re
import types
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeAlias

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np

from everwillow._captures.held import attributes, is_inert, slots_of, structure_parts
from everwillow._captures.reads import Scope, is_library, is_of_library


Parts: TypeAlias = tuple[tuple[Any, ...], Any]
Splitter: TypeAlias = Callable[[Any, Scope], Parts]

# Stands where a variable has no value, or one that does not matter.
ABSENT = "\0absent"
# Longer arrays are compared by a digest of their bytes.
_SHORT = 256


class Same:
    """Something that is compared by identity; kept, so that no other gets its place."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def identity(value: Any, scope: Scope) -> Parts:
    """Take something as it is: it never changes, or nothing tells that it does."""
    del scope
    return (Same(value),), ()


def _itself(value: Any, scope: Scope) -> Parts:
    del scope
    return (value,), ()


def _member(value: Any, scope: Scope) -> Parts:
    """Take a member of an enumeration, which need not have a hash."""
    del scope
    return (value.name if type(value).__hash__ is None else value,), ()


def content(cell: Any) -> Any:
    """Return what a cell of a closure holds."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT


def function(value: Any, scope: Scope) -> Parts:
    """Take a function apart: its code, and all that the code reads."""
    code = value.__code__
    cells = value.__closure__ or ()
    parts: list[Any] = []
    if is_of_library(value):
        if not cells or is_inert(value):
            return (value,), ()
        parts = [content(cell) for cell in cells]
    else:
        reads = scope.add(code)
        space = value.__globals__
        filled = reads.filled
        for name in reads.variables:
            found = space.get(name, ABSENT)
            parts.append(ABSENT if name in filled and _fillable(found) else found)
        for name, cell in zip(code.co_freevars, cells, strict=True):
            found = content(cell)
            parts.append(ABSENT if name in filled and _fillable(found) else found)
    parts += value.__defaults__ or ()
    if value.__kwdefaults__:
        parts.append(value.__kwdefaults__)
    if value.__dict__:
        parts.append(value.__dict__)
    return (code,), parts


def _fillable(value: Any) -> bool:
    return type(value) in (list, set, dict, deque)


def method(value: Any, scope: Scope) -> Parts:
    """Take a bound method apart: its function and its object."""
    del scope
    return (), (value.__func__, value.__self__)


def _builtin(value: Any, scope: Scope) -> Parts:
    del scope
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType | type):
        return (value,), ()
    return (value.__name__,), (owner,)


def partial(value: Any, scope: Scope) -> Parts:
    """Take a `functools.partial` apart."""
    del scope
    keywords = value.keywords
    return tuple(keywords), (value.func, *value.args, *keywords.values())


def sequence(value: Any, scope: Scope) -> Parts:
    """Take a list or tuple apart."""
    del scope
    return (), value


def mapping(value: Any, scope: Scope) -> Parts:
    """Take a mapping apart, each key before its value."""
    del scope
    return (), [part for item in value.items() for part in item]


def _set(value: Any, scope: Scope) -> Parts:
    try:
        return (frozenset(value),), ()
    except TypeError:
        return identity(value, scope)


def extended(value: Any, scope: Scope) -> Parts:
    """Take a subclass of a container apart."""
    inside = mapping if isinstance(value, dict) else sequence
    parts = list(inside(value, scope)[1])
    if getattr(value, "__dict__", None):
        parts.append(value.__dict__)
    return (), parts


def _slice(value: Any, scope: Scope) -> Parts:
    del scope
    return (), (value.start, value.stop, value.step)


def _array(value: Any, scope: Scope) -> Parts:
    """Compare arrays by their bytes, unless nobody can write to them."""
    flags = value.flags
    if not flags.writeable and value.base is None and value.nbytes > _SHORT:
        return identity(value, scope)
    if value.dtype.hasobject:
        return (value.shape,), value.tolist() if value.ndim else [value.item()]
    if value.nbytes <= _SHORT:
        return (value.dtype, value.shape, value.tobytes()), ()
    data: Any = value.tobytes()
    if value.ndim:  # a view, which copies nothing
        data = np.ascontiguousarray(value).view(np.uint8)
    return (value.dtype, value.shape, hashlib.blake2b(data).digest()), ()


def _array_subclass(value: Any, scope: Scope) -> Parts:
    header, parts = _array(np.asarray(value), scope)
    return header, [*parts, getattr(value, "__dict__", None)]


def _number(value: Any, scope: Scope) -> Parts:
    del scope
    return (value.dtype, value.tobytes()), ()


def _module(value: Any, scope: Scope) -> Parts:
    """Take those variables of a user's module that the code may read."""
    if is_library(value.__name__):
        return (value,), ()
    space = value.__dict__
    names = tuple(name for name in scope.ordered if name in space)
    return (value, names), [space[name] for name in names]


# What Python calls without that the code says so, except to make and to print.
_IDLE = {"__init__", "__new__", "__repr__", "__str__", "__format__", "__del__"}
_FUNCTIONS = (types.FunctionType, property, staticmethod, classmethod)


def class_(value: Any, scope: Scope) -> Parts:
    """Take those members of a user's class that the code may use."""
    names: list[str] = []
    parts: list[Any] = []
    for base in value.__mro__:
        if is_library(base.__module__):
            continue
        for name, member in base.__dict__.items():
            if name[:2] == "__" and name[-2:] == "__":
                used = isinstance(member, _FUNCTIONS) and name not in _IDLE
            else:
                used = name in scope.names
            if used:
                names.append(name)
                parts.append(member)
    return (Same(value), tuple(names)), parts


def _property(value: Any, scope: Scope) -> Parts:
    del scope
    return (), (value.fget,)


def wrapping(value: Any, scope: Scope) -> Parts:
    """Look into what wraps a function: a class method, `jax.jit`, a cache."""
    del scope
    return (), (value.__wrapped__, getattr(value, "__dict__", None))


def _cached_property(value: Any, scope: Scope) -> Parts:
    del scope
    return (), (value.func,)


_PLAIN_BASES = (object, Generic, Protocol)


@ft.lru_cache(maxsize=4096)
def _built_on_library(kind: type) -> bool:
    """Return whether code of a library may read attributes of such an object."""
    return any(
        is_library(base.__module__)
        and base not in _PLAIN_BASES
        and base.__module__ != "abc"
        and base is not types.SimpleNamespace
        for base in kind.__mro__
    )


def object_(value: Any, scope: Scope) -> Parts:
    """Take an object apart: its class, and the attributes that the code may read."""
    kind = type(value)
    inside = attributes(value)
    names: Any = tuple(inside)
    if not (scope.everything or _built_on_library(kind)):
        known = scope.names
        names = tuple([name for name in names if name in known])
    return names, [kind, *(inside[name] for name in names)]


@ft.lru_cache(maxsize=4096)
def field_names(kind: type) -> tuple[str, ...]:
    """Return the fields of a class of Modules: the rest are caches."""
    return tuple(field.name for field in dataclasses.fields(kind))


def module_(value: Any, scope: Scope) -> Parts:
    """Take an `equinox.Module` apart: its class and its fields."""
    del scope
    inside = value.__dict__
    return (), [type(value), *(inside.get(n, ABSENT) for n in field_names(type(value)))]


def node(value: Any, scope: Scope) -> Parts:
    """Take a registered pytree apart: its structure and its leaves."""
    leaves, structure = jax.tree.flatten(value)
    try:
        hash(structure)
    except TypeError:
        return object_(value, scope)
    return (structure,), [type(value), *structure_parts(structure), *leaves]


def _reduced(value: Any, scope: Scope) -> Parts:
    """Take apart what only its own class understands, as it would be pickled."""
    try:
        found = value.__reduce_ex__(4)
    except Exception:  # whatever a class does that cannot be pickled
        return identity(value, scope)
    if isinstance(found, str):
        return identity(value, scope)
    made, given, *rest = found
    return (), [made, given, *(_listed(part) for part in rest)]


def _listed(part: Any) -> Any:
    return list(part) if hasattr(part, "__next__") else part


def _context_variable(value: Any, scope: Scope) -> Parts:
    del scope
    return (Same(value),), (value.get(None),)


def _reference(value: Any, scope: Scope) -> Parts:
    del scope
    return (), (value(),)


_SPLITTERS: dict[type, Splitter] = {
    dict: mapping,
    list: sequence,
    tuple: sequence,
    deque: sequence,
    set: _set,
    frozenset: _set,
    slice: _slice,
    types.MappingProxyType: mapping,
    types.FunctionType: function,
    types.MethodType: method,
    types.BuiltinFunctionType: _builtin,
    types.ModuleType: _module,
    types.SimpleNamespace: object_,
    property: _property,
    staticmethod: wrapping,
    classmethod: wrapping,
    ft.cached_property: _cached_property,
    np.ndarray: _array,
    np.ufunc: _itself,
    weakref.ref: _reference,
    ContextVar: _context_variable,
}

_BY_CLASS: tuple[tuple[Any, Splitter], ...] = (
    (jax.Array, identity),
    (np.ndarray, _array_subclass),
    (np.generic, _number),
    (type, class_),
    (enum.Enum, _member),
    ((np.dtype, jtu.PyTreeDef, types.CodeType, re.Pattern), _itself),
    (types.ModuleType, _module),
    (ft.partial, partial),
    (eqx.Module, module_),
    ((dict, list, tuple), extended),
)

CODE = frozenset({function, method, _builtin, _module, class_, wrapping, _property})


def splitter(value: Any) -> Splitter:
    """Return the function that takes such an object apart."""
    kind = type(value)
    known = _SPLITTERS.get(kind)
    if known is None:
        known = _SPLITTERS[kind] = _choose(kind, value)
    return known


def _choose(kind: type, value: Any) -> Splitter:
    for classes, found in _BY_CLASS:
        if issubclass(kind, classes):
            return found
    if not jtu.all_leaves([value]):
        return node
    if is_library(kind.__module__):
        return wrapping if hasattr(value, "__wrapped__") else _reduced
    return object_ if hasattr(value, "__dict__") or slots_of(kind) else _reduced
