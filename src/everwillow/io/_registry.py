"""The classes that a file may name: the records of everwillow only."""

import importlib
import importlib.util
import re
from typing import Any

import equinox as eqx


_ROOT = "everwillow"
# The class of the enumerations of equinox, which it does not export.
Enumeration: type = type(eqx.Enumeration)
_NAME = re.compile(r"everwillow(\._?[a-z]\w*)+\._?[A-Z]\w*")
# These define no records, and importing them has side effects or needs extras.
_CLOSED = ("cli", "distributed", "interop", "plotting", "progress", "workflows")


def name_of(cls: type) -> str | None:
    """Return the name under which a file keeps a class, or None if it may not.

    The name of the package that exports it, such as ``everwillow.fitting.FitResult``:
    files stay readable when code moves between modules of one package.
    """
    module = cls.__module__
    full = f"{module}.{cls.__qualname__}"
    known = issubclass(cls, eqx.Module) or isinstance(cls, Enumeration)
    if not (known and module.startswith(f"{_ROOT}.")):
        return None
    package = ".".join(module.split(".")[:2])
    short = f"{package}.{cls.__qualname__}"
    if getattr(importlib.import_module(package), cls.__qualname__, None) is cls:
        full = short
    return full if _is_allowed(full) else None


def class_named(name: Any) -> type:
    """Return the class with a name of `name_of`.

    Imports only modules of everwillow, and returns only classes defined in them.

    Raises:
        ValueError: If this version has no record of that name.
    """
    if not isinstance(name, str) or not _is_allowed(name):
        raise ValueError(
            f"it names the type {name!r}, which is no record of everwillow"
        )
    module, _, attribute = name.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        # Another version wrote the file, or an extra is not installed.
        raise ValueError(
            f"the type {name!r} cannot be imported here: {error}"
        ) from error
    # A package may export the class since the file was written.
    if not isinstance(cls, type) or name_of(cls) is None:
        raise ValueError(f"this version of everwillow has no record {name!r}")
    return cls


def _is_allowed(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name.split(".")[1] not in _CLOSED
