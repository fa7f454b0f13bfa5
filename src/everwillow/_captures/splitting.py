"""The choice of the function that divides an object of some kind into parts."""

import enum
import functools as ft
import operator
import re
import threading
import types
import weakref
from collections import deque
from contextvars import ContextVar
from typing import Any

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np

from everwillow._captures import classes, parts
from everwillow._captures.classes import InstanceClass
from everwillow._captures.held import slots_of
from everwillow._captures.parts import Splitter
from everwillow._captures.reads import is_library


_SPLITTERS: dict[type, Splitter] = {
    dict: parts.mapping,
    list: parts.sequence,
    tuple: parts.sequence,
    deque: parts.sequence,
    set: parts.set_,
    frozenset: parts.set_,
    slice: parts.slice_,
    types.MappingProxyType: parts.mapping,
    types.FunctionType: parts.function,
    types.MethodType: parts.method,
    types.BuiltinFunctionType: parts.builtin,
    types.ModuleType: parts.module_variables,
    types.SimpleNamespace: classes.object_,
    threading.local: classes.object_,
    property: classes.property_,
    staticmethod: classes.wrapping,
    classmethod: classes.wrapping,
    ft.cached_property: classes.cached_property,
    np.ndarray: parts.array,
    np.ufunc: parts.itself,
    weakref.ref: parts.reference,
    memoryview: parts.memory,
    operator.attrgetter: parts.by_name,
    operator.methodcaller: parts.by_name,
    InstanceClass: classes.of_instance,
    ContextVar: parts.context_variable,
}

_BY_CLASS: tuple[tuple[Any, Splitter], ...] = (
    (jax.Array, parts.identity),
    (np.ndarray, parts.array_subclass),
    (np.generic, parts.number),
    (type, classes.class_),
    (enum.Enum, parts.member),
    ((np.dtype, jtu.PyTreeDef, types.CodeType, re.Pattern), parts.itself),
    (types.ModuleType, parts.module_variables),
    (ft.partial, parts.partial),
    (eqx.Module, classes.module_),
    ((dict, list, tuple), parts.extended),
)

CODE = frozenset(
    {
        parts.function,
        parts.method,
        parts.builtin,
        parts.module_variables,
        classes.class_,
        classes.of_instance,
        classes.wrapping,
        classes.property_,
    }
)


def splitter(value: Any) -> Splitter:
    """Return the function that divides such an object."""
    kind = type(value)
    known = _SPLITTERS.get(kind)
    if known is None:
        known = _SPLITTERS[kind] = _choose(kind, value)
    return known


def _choose(kind: type, value: Any) -> Splitter:
    for base, split in _BY_CLASS:
        if issubclass(kind, base):
            return split
    if not jtu.all_leaves([value]):
        return classes.node
    if parts.shows_memory(value):
        return parts.memory
    if is_library(kind.__module__):
        return classes.wrapping if hasattr(value, "__wrapped__") else parts.reduced
    return (
        classes.object_
        if hasattr(value, "__dict__") or slots_of(kind)
        else parts.reduced
    )
