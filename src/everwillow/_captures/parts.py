"""What a Python object is made of: a header that can be compared, and parts.

Each kind of object has one function here. It leaves out what cannot matter to a
likelihood: attributes that no code of it reads, functions of libraries, what is only
ever appended to.
"""

import hashlib
import os
import sys
import types
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from everwillow._captures.held import INERT, is_inert
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


def identity(value: Any, _: Scope) -> Parts:
    """Take something as it is: it never changes, or nothing tells that it does."""
    return (Same(value),), ()


def itself(value: Any, _: Scope) -> Parts:
    """Take something whose equality tells whether it is the same."""
    return (value,), ()


def member(value: Any, _: Scope) -> Parts:
    """Take a member of an enumeration, which need not have a hash."""
    header = (value.name if type(value).__hash__ is None else value,)
    inside = value.__dict__.items()
    return header, [one for name, one in inside if name != "__objclass__"]


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
        if reads.modules:
            parts += _imported(reads.modules, space)
        if reads.any_variable:
            parts += [one for name, one in space.items() if name[:2] != "__"]
    parts += value.__defaults__ or ()
    if value.__kwdefaults__:
        parts.append(value.__kwdefaults__)
    if value.__dict__:
        parts.append(value.__dict__)
    return (code,), parts


def _imported(modules: Any, space: Any) -> list[Any]:
    """Return the modules that code imports itself, as far as they are there."""
    found: list[Any] = []
    package = str(space.get("__package__") or "").split(".")
    for given, level in modules:
        above = package[: len(package) - level + 1] if level else []
        name = ".".join([*above, *filter(None, [given])])
        root = name.partition(".")[0]
        found += [sys.modules.get(one, ABSENT) for one in dict.fromkeys((root, name))]
    return found


def _fillable(value: Any) -> bool:
    return type(value) in (list, set, dict, deque)


def method(value: Any, _: Scope) -> Parts:
    """Take a bound method apart: its function and its object."""
    return (), (value.__func__, value.__self__)


# What reads attributes by names that it is given.
_BY_NAME = frozenset({getattr, vars, hasattr, eval, exec})


def builtin(value: Any, scope: Scope) -> Parts:
    """Take a function written in C apart: the object that it is a method of."""
    owner = value.__self__
    scope.dynamic |= value in _BY_NAME
    if owner is None or isinstance(owner, types.ModuleType | type):
        return (value,), ()
    return (value.__name__,), (owner,)


def partial(value: Any, _: Scope) -> Parts:
    """Take a `functools.partial` apart."""
    keywords = value.keywords
    parts = [value.func, *value.args, *keywords.values()]
    if value.__dict__:
        parts.append(value.__dict__)
    return tuple(keywords), parts


def sequence(value: Any, _: Scope) -> Parts:
    """Take a list or tuple apart."""
    return (), value


def mapping(value: Any, _: Scope) -> Parts:
    """Take a mapping apart, each key before its value."""
    return (), [part for item in value.items() for part in item]


def set_(value: Any, _: Scope) -> Parts:
    """Take a set apart; the order of its elements is that of the set."""
    if all(type(one) in INERT for one in value):
        return (frozenset(value),), ()
    return (), list(value)


def extended(value: Any, scope: Scope) -> Parts:
    """Take a subclass of a container apart."""
    inside = mapping if isinstance(value, dict) else sequence
    parts = list(inside(value, scope)[1])
    if getattr(value, "__dict__", None):
        parts.append(value.__dict__)
    return (), parts


def slice_(value: Any, _: Scope) -> Parts:
    """Take a slice apart."""
    return (), (value.start, value.stop, value.step)


def array(value: Any, _: Scope) -> Parts:
    """Compare arrays by their bytes: even what is read-only need not stay so."""
    if value.dtype.hasobject:
        return (value.shape,), value.tolist() if value.ndim else [value.item()]
    if value.nbytes <= _SHORT:
        return (value.dtype, value.shape, value.tobytes()), ()
    data: Any = value.tobytes()
    if value.ndim:  # a view, which copies nothing
        data = np.ascontiguousarray(value).view(np.uint8)
    return (value.dtype, value.shape, hashlib.blake2b(data).digest()), ()


def array_subclass(value: Any, scope: Scope) -> Parts:
    """Take an array of a subclass apart: a masked one has a mask."""
    header, parts = array(np.asarray(value), scope)
    return header, [*parts, getattr(value, "__dict__", None)]


def number(value: Any, _: Scope) -> Parts:
    """Take a NumPy scalar."""
    return (value.dtype, value.tobytes()), ()


def module_variables(value: Any, scope: Scope) -> Parts:
    """Take those variables of a user's module that the code may read."""
    if is_library(value.__name__):
        reads = value is os and not scope.names.isdisjoint({"environ", "getenv"})
        return (value,), (dict(os.environ),) if reads else ()
    space = value.__dict__
    names = tuple(name for name in scope.ordered if name in space)
    parts = [space[name] for name in names]
    if "__getattr__" in space:
        parts.append(space["__getattr__"])
    return (value, names), parts


def reduced(value: Any, scope: Scope) -> Parts:
    """Take apart what only its own class understands, as it would be pickled."""
    try:
        found = value.__reduce_ex__(4)
    except Exception:  # whatever a class does that cannot be pickled
        return memory(value, scope)
    if isinstance(found, str):
        return identity(value, scope)
    made, given, *rest = found
    return (), [made, given, *(_listed(part) for part in rest)]


def shows_memory(value: Any) -> bool:
    """Return whether an object lets others see its memory, as arrays of ctypes do."""
    try:
        memoryview(value).release()
    except (TypeError, ValueError, BufferError):
        return False
    return True


def memory(value: Any, scope: Scope) -> Parts:
    """Compare the memory that an object shows, or who it is."""
    try:
        return (hashlib.blake2b(memoryview(value).tobytes()).digest(),), ()
    except (TypeError, ValueError, BufferError):
        return identity(value, scope)


def by_name(value: Any, scope: Scope) -> Parts:
    """Take something apart that reads attributes by names it was given."""
    scope.dynamic = True
    return reduced(value, scope)


def _listed(part: Any) -> Any:
    return list(part) if hasattr(part, "__next__") else part


def context_variable(value: Any, _: Scope) -> Parts:
    """Take the value that a context variable has now."""
    return (Same(value),), (value.get(None),)


def reference(value: Any, _: Scope) -> Parts:
    """Take what a weak reference refers to."""
    return (), (value(),)
