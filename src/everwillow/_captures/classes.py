"""Parts of classes, objects and Modules that code may read."""

import dataclasses
import functools as ft
import types
from typing import Any, Generic, Protocol

import jax

from everwillow._captures.held import attributes, structure_parts
from everwillow._captures.parts import ABSENT, Parts, Same
from everwillow._captures.reads import Scope, is_library


class InstanceClass:
    """The class of an existing object, without its constructor."""

    __slots__ = ("owner",)

    def __init__(self, owner: type) -> None:
        self.owner = owner


@ft.lru_cache(maxsize=4096)
def instance_class(owner: type) -> InstanceClass:
    """Return the one `InstanceClass` of a class."""
    return InstanceClass(owner)


# Special methods that are not used to compute: for printing and deletion.
_IDLE = {"__repr__", "__str__", "__format__", "__del__"}
_MAKING = {"__init__", "__new__", "__post_init__"}
# Code that reads one of these names may make another object of an existing class.
_MAKERS = {"__class__", "copy", "replace", "type"}
_FUNCTIONS = (types.FunctionType, property, staticmethod, classmethod)


def class_(value: Any, scope: Scope) -> Parts:
    """Return the members of a user's class that the code may use."""
    return _members(value, scope, _IDLE)


def of_instance(value: Any, scope: Scope) -> Parts:
    """Return the members of the class of an object that the code may use."""
    makes = scope.everything or not scope.names.isdisjoint(_MAKERS)
    return _members(value.owner, scope, _IDLE if makes else _IDLE | _MAKING)


def _members(value: Any, scope: Scope, idle: set[str]) -> Parts:
    names: list[str] = []
    parts: list[Any] = []
    if not is_library(type(value).__module__):
        parts.append(type(value))
    for base in value.__mro__:
        if is_library(base.__module__):
            continue
        for name, member in base.__dict__.items():
            if name[:2] == "__" and name[-2:] == "__":
                used = isinstance(member, _FUNCTIONS) and name not in idle
            else:
                used = name in scope.names
            if used:
                names.append(name)
                parts.append(member)
    return (Same(value), tuple(names)), parts


def property_(value: Any, _: Scope) -> Parts:
    """Return the function of a property."""
    return (), (value.fget,)


def wrapping(value: Any, _: Scope) -> Parts:
    """Return the function in a wrapper: a class method, `jax.jit`, a cache."""
    return (), (value.__wrapped__, getattr(value, "__dict__", None))


def cached_property(value: Any, _: Scope) -> Parts:
    """Return the function of a cached property."""
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
    """Return the class of an object, and the attributes that the code may read."""
    kind = type(value)
    inside = attributes(value)
    names: Any = tuple(inside)
    if not (scope.everything or _built_on_library(kind)):
        known = scope.names
        names = tuple([name for name in names if name in known])
    return names, [instance_class(kind), *(inside[name] for name in names)]


@ft.lru_cache(maxsize=4096)
def field_names(kind: type) -> tuple[str, ...]:
    """Return the fields of a class of Modules; other attributes are caches."""
    return tuple(field.name for field in dataclasses.fields(kind))


def module_(value: Any, _: Scope) -> Parts:
    """Return the class and the fields of an `equinox.Module`."""
    inside = value.__dict__
    kind = type(value)
    return (), [
        instance_class(kind),
        *(inside.get(n, ABSENT) for n in field_names(kind)),
    ]


def node(value: Any, scope: Scope) -> Parts:
    """Return the structure and the leaves of a registered pytree."""
    leaves, structure = jax.tree.flatten(value)
    try:
        hash(structure)
    except TypeError:
        return object_(value, scope)
    return (structure,), [
        instance_class(type(value)),
        *structure_parts(structure),
        *leaves,
    ]
