"""Public names of packages: imported at their first use, and listed by `dir`."""

import importlib
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, str], submodules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: The name of the package.
        modules: By public name the module of the package that defines it.
        submodules: Its public modules and packages.
    """
    parts = frozenset(submodules)

    def get(name: str) -> Any:
        if name in parts:
            return importlib.import_module(f"{package}.{name}")
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    def names() -> list[str]:
        return sorted({*modules, *parts})

    return get, names


def listed_names(present: Mapping[str, Any]) -> Callable[[], list[str]]:
    """Return the function ``__dir__`` of a package that imports its public names.

    Modules of the package, which Python makes attributes of it, are not listed, except
    those that can be called.

    Args:
        present: The ``globals()`` of the package.
    """

    def names() -> list[str]:
        return sorted(
            name
            for name, value in present.items()
            if name[0] != "_"
            and (callable(value) or not isinstance(value, types.ModuleType))
            and value is not listed_names
        )

    return names


def own_names(present: Mapping[str, Any]) -> Callable[[], list[str]]:
    """Return the function ``__dir__`` of a module, with what it defines itself.

    Args:
        present: The ``globals()`` of the module.
    """

    def names() -> list[str]:
        return sorted(
            name
            for name, value in present.items()
            if name[0] != "_"
            and isinstance(value, type | types.FunctionType)
            and value.__module__ == present["__name__"]
        )

    return names
