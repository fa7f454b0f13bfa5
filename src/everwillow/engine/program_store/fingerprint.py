"""A name for the structure of a computation, the same in every process.

Hashes of Python differ between processes, so the structure is written as text, which is
hashed. A structure with an object that has no unique name has no fingerprint, and its
program is not kept.
"""

import dataclasses
import functools as ft
import hashlib
import importlib.metadata
import os
import pathlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.tree_util as jtu
import numpy as np


class NoFingerprintError(Exception):
    """An object has no name that is the same in every process."""


# The version identifies the code of these; the files identify that of everwillow.
_PACKAGES = ("equinox", "jax", "jaxlib", "lineax", "numpy", "optimistix")
_KNOWN = (*_PACKAGES, "builtins", "collections", "everwillow", "functools", "types")
_PATHS = {
    jtu.DictKey: "key",
    jtu.FlattenedIndexKey: "key",
    jtu.GetAttrKey: "name",
    jtu.SequenceKey: "idx",
}
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))


def fingerprint_of(*things: Any) -> str:
    """Return a name for all of `things`.

    Arrays count with their shapes and types, not with their values, unless they are
    part of the static structure of a pytree.

    Raises:
        NoFingerprintError: If there is none, such as for functions of a user.

    Example:
        >>> fingerprint_of({"a": 1}) == fingerprint_of({"a": 1})
        True
    """
    digest = hashlib.sha256()
    for part in _parts(things):
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\x00")
    return digest.hexdigest()


def _parts(thing: Any) -> Iterator[str]:
    """Yield the parts of the text of a value; different values have different texts."""
    if isinstance(thing, _PLAIN):
        yield f"{type(thing).__name__} {thing!r}"
    elif isinstance(thing, np.ndarray | np.generic):
        yield f"array {thing.dtype} {thing.shape} {np.asarray(thing).tobytes().hex()}"
    elif isinstance(thing, np.dtype):
        yield f"dtype {thing}"
    elif isinstance(thing, list | tuple):
        yield from _sequence(_named(type(thing)), thing)
    elif isinstance(thing, set | frozenset):
        yield from _sequence("set", sorted("\x01".join(_parts(one)) for one in thing))
    elif isinstance(thing, Mapping) and not dataclasses.is_dataclass(thing):
        yield from _sequence("mapping", thing.items())
    elif type(thing) in _PATHS:
        yield from _sequence(
            type(thing).__name__, (getattr(thing, _PATHS[type(thing)]),)
        )
    elif isinstance(thing, type):
        yield f"type {_named(thing)}"
    elif isinstance(thing, ft.partial):
        yield from _sequence("partial", (thing.func, thing.args, thing.keywords))
    elif isinstance(thing, types.FunctionType | types.BuiltinFunctionType):
        yield f"function {_named(thing)}"
    elif isinstance(thing, jtu.PyTreeDef):
        tree: Any = thing
        yield from _sequence("tree", (tree.node_data(), *tree.children()))
    else:
        yield from _object(thing)


def _sequence(head: str, things: Any) -> Iterator[str]:
    things = list(things)
    yield f"{head} {len(things)}"
    for one in things:
        yield from _parts(one)


def _named(thing: type | Callable[..., Any]) -> str:
    """Return the module and the name of a class or a function."""
    module, name = thing.__module__, thing.__qualname__
    if thing is type(None):
        return name
    imported: Any = sys.modules.get(module or "builtins")
    for part in name.split("."):
        imported = getattr(imported, part, None)
    if (module or "builtins").split(".")[0] not in _KNOWN or imported is not thing:
        raise NoFingerprintError(f"{module}.{name}")
    return f"{module}.{name}"


def _object(thing: Any) -> Iterator[str]:
    """Yield the parts of the text of an object of everwillow, by its fields."""
    kind = type(thing)
    if getattr(thing, "__dict__", None) == {} and not hasattr(kind, "__slots__"):
        yield f"marker {_named(kind)}"
        return
    if kind.__module__.split(".")[0] != "everwillow":
        raise NoFingerprintError(repr(kind))
    if dataclasses.is_dataclass(thing):
        fields = [field.name for field in dataclasses.fields(thing)]
    elif hasattr(kind, "__slots__"):
        # Hashes of strings differ from process to process.
        fields = [name for name in kind.__slots__ if name != "_hash"]
    else:
        raise NoFingerprintError(repr(kind))
    values = [(name, getattr(thing, name)) for name in fields]
    yield from _sequence(f"object {_named(kind)}", values)


@ft.cache
def code_version() -> str:
    """Return a name for the code that makes programs: everwillow and its packages."""
    versions = [_version(name) for name in _PACKAGES]
    root = pathlib.Path(__file__).parents[2]
    files = sorted(_files(str(root)))
    return fingerprint_of(sys.version, versions, files, os.environ.get("XLA_FLAGS"))


def _version(package: str) -> str:
    # Reading the version from the metadata of a package takes ten times longer.
    version = getattr(sys.modules.get(package), "__version__", None)
    return f"{package} {version or importlib.metadata.version(package)}"


def _files(folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield path, size and time of the last change of each source file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith(("__", ".")):
                yield from _files(entry.path)
            elif entry.name.endswith(".py"):
                state = entry.stat()
                yield entry.path, state.st_size, state.st_mtime_ns
