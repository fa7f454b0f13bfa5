"""The public functions of packages of everwillow."""

import importlib
import inspect


def public_functions(package: str) -> dict[str, str]:
    """Return the public functions of a package, and the modules that define them."""
    module = importlib.import_module(package)
    names = getattr(module, "__all__", None) or [
        name for name in dir(module) if not name.startswith("_")
    ]
    found = {name: getattr(module, name) for name in sorted(names)}
    # Without a list of its names, a package has what its own modules define.
    home = "everwillow." if hasattr(module, "__all__") else f"{package}."
    return {
        name: value.__module__
        for name, value in found.items()
        if _is_function(value) and value.__module__.startswith(home)
    }


def _is_function(value: object) -> bool:
    own = isinstance(getattr(value, "__module__", None), str)
    return own and callable(value) and not inspect.isclass(value)
