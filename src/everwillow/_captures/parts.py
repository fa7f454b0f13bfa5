"""Division of a Python object into a header that can be compared, and parts.

Each kind of object has one function here. It leaves out parts that cannot affect a
likelihood: attributes that its code does not read, functions of libraries, containers
that are only appended to.
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

# Placeholder of a variable without a value, or with one that has no effect.
ABSENT = "\0absent"
# Longer arrays are compared by a digest of their bytes.
_SHORT = 256


class Same:
    """An object compared by identity, kept alive so that its id is not used again."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def identity(value: Any, _: Scope) -> Parts:
    """Compare by identity: an object that never changes, or hides its changes."""
    return (Same(value),), ()


def itself(value: Any, _: Scope) -> Parts:
    """Compare by equality."""
    return (value,), ()


def member(value: Any, _: Scope) -> Parts:
    """Divide a member of an enumeration, which need not have a hash."""
    header = (value.name if type(value).__hash__ is None else value,)
    inside = value.__dict__.items()
    return header, [one for name, one in inside if name != "__objclass__"]


def content(cell: Any) -> Any:
    """Return the content of a cell of a closure."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT


def function(value: Any, scope: Scope) -> Parts:
    """Divide a function into its code, and all values that the code reads."""
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
    """Return the modules that code imports itself, if they are loaded."""
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
    """Divide a bound method into its function and its object."""
    return (), (value.__func__, value.__self__)


# Functions that read attributes by names from their arguments.
_BY_NAME = frozenset({getattr, vars, hasattr, eval, exec})


def builtin(value: Any, scope: Scope) -> Parts:
    """Divide a function written in C: its part is the object of a bound method."""
    owner = value.__self__
    scope.dynamic |= value in _BY_NAME
    if owner is None or isinstance(owner, types.ModuleType | type):
        return (value,), ()
    return (value.__name__,), (owner,)


def partial(value: Any, _: Scope) -> Parts:
    """Divide a `functools.partial`."""
    keywords = value.keywords
    parts = [value.func, *value.args, *keywords.values()]
    if value.__dict__:
        parts.append(value.__dict__)
    return tuple(keywords), parts


def sequence(value: Any, _: Scope) -> Parts:
    """Divide a list or tuple."""
    return (), value


def mapping(value: Any, _: Scope) -> Parts:
    """Divide a mapping, each key before its value."""
    return (), [part for item in value.items() for part in item]


def set_(value: Any, _: Scope) -> Parts:
    """Divide a set; the order of its elements is that of the set."""
    if all(type(one) in INERT for one in value):
        return (frozenset(value),), ()
    return (), list(value)


def extended(value: Any, scope: Scope) -> Parts:
    """Divide an instance of a subclass of a container."""
    inside = mapping if isinstance(value, dict) else sequence
    parts = list(inside(value, scope)[1])
    if getattr(value, "__dict__", None):
        parts.append(value.__dict__)
    return (), parts


def slice_(value: Any, _: Scope) -> Parts:
    """Divide a slice."""
    return (), (value.start, value.stop, value.step)


def array(value: Any, _: Scope) -> Parts:
    """Compare arrays by their bytes, also read-only ones, which may still change."""
    if value.dtype.hasobject:
        return (value.shape,), value.tolist() if value.ndim else [value.item()]
    if value.nbytes <= _SHORT:
        return (value.dtype, value.shape, value.tobytes()), ()
    data: Any = value.tobytes()
    if value.ndim:  # a view, which copies nothing
        data = np.ascontiguousarray(value).view(np.uint8)
    return (value.dtype, value.shape, hashlib.blake2b(data).digest()), ()


def array_subclass(value: Any, scope: Scope) -> Parts:
    """Divide an array of a subclass, such as a masked one with its mask."""
    header, parts = array(np.asarray(value), scope)
    return header, [*parts, getattr(value, "__dict__", None)]


def number(value: Any, _: Scope) -> Parts:
    """Compare a NumPy scalar by its bytes."""
    return (value.dtype, value.tobytes()), ()


def module_variables(value: Any, scope: Scope) -> Parts:
    """Return the variables of a user's module that the code may read."""
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
    """Divide an object of a foreign class as pickle does."""
    try:
        found = value.__reduce_ex__(4)
    except Exception:  # a class that cannot be pickled may raise anything
        return memory(value, scope)
    if isinstance(found, str):
        return identity(value, scope)
    made, given, *rest = found
    return (), [made, given, *(_listed(part) for part in rest)]


def shows_memory(value: Any) -> bool:
    """Return whether an object exposes its memory, as arrays of ctypes do."""
    try:
        memoryview(value).release()
    except (TypeError, ValueError, BufferError):
        return False
    return True


def memory(value: Any, scope: Scope) -> Parts:
    """Compare the memory that an object exposes, or else its identity."""
    try:
        return (hashlib.blake2b(memoryview(value).tobytes()).digest(),), ()
    except (TypeError, ValueError, BufferError):
        return identity(value, scope)


def by_name(value: Any, scope: Scope) -> Parts:
    """Divide an object that reads attributes by names from its arguments."""
    scope.dynamic = True
    return reduced(value, scope)


def _listed(part: Any) -> Any:
    return list(part) if hasattr(part, "__next__") else part


def context_variable(value: Any, _: Scope) -> Parts:
    """Return the present value of a context variable."""
    return (Same(value),), (value.get(None),)


def reference(value: Any, _: Scope) -> Parts:
    """Return the referent of a weak reference."""
    return (), (value(),)
