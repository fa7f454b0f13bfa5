"""The public names, each module's own, are those of public_api.txt.

A name that comes or goes is a decision, so it shows as a line of the diff. Run
``python tests/api/test_public_api.py`` to write the list anew.
"""

import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import re
import types

import everwillow


LIST = pathlib.Path(__file__).with_name("public_api.txt")
DOCS = pathlib.Path(__file__).parents[2] / "docs"
# Their functions are those of other packages, or no part of a user's program.
NOT_LISTED = {
    "everwillow",
    "everwillow.cli",
    "everwillow.engine.program_store",
    "everwillow.models.hs3.convert",
    "everwillow.models.hs3.distributions",
    "everwillow.models.hs3.functions",
    "everwillow.models.hs3.terms",
}


def public_modules() -> list[types.ModuleType]:
    """Import everwillow and all its modules whose path has no private part.

    Modules of the command are left out: its interface is what a user types.
    """
    found = pkgutil.walk_packages(everwillow.__path__, prefix="everwillow.")
    names = [
        m.name
        for m in found
        if not any(p[0] == "_" for p in m.name.split("."))
        and not m.name.startswith("everwillow.cli.")
    ]
    return [everwillow, *(importlib.import_module(name) for name in names)]


def public_names(module: types.ModuleType) -> list[str]:
    """Names of `__all__`, or else those of what the module itself defines."""
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
        and (inspect.isclass(value) or callable(value))
    )


def current() -> list[str]:
    """All public names, sorted, as ``module.name``."""
    return sorted(
        f"{module.__name__}.{name}"
        for module in public_modules()
        for name in public_names(module)
    )


def test_public_names_are_those_of_the_list():
    listed = LIST.read_text().split()
    assert current() == listed, "run `python tests/api/test_public_api.py`"


def test_names_of_all_exist_once():
    wrong = []
    for module in public_modules():
        names = list(getattr(module, "__all__", []))
        wrong += [name for name in names if not hasattr(module, name)]
        wrong += [name for name in set(names) if names.count(name) > 1]
    assert wrong == []


def test_every_package_with_functions_is_on_the_page_of_functions():
    file = DOCS / "_extensions" / "public_functions.py"
    spec = importlib.util.spec_from_file_location("public_functions", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    packages = {
        one.__name__
        for one in public_modules()
        if hasattr(one, "__path__") and module.public_functions(one.__name__)
    }
    page = (DOCS / "reference" / "functions.md").read_text()
    listed = re.findall(r"^ +(everwillow\.[\w.]+)$", page, re.M)
    assert sorted(listed) == sorted(packages - NOT_LISTED)


if __name__ == "__main__":
    LIST.write_text("\n".join(current()) + "\n")
