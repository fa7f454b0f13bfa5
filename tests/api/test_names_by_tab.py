"""What Tab offers: public names only, all of them, and without an import of JAX."""

import importlib
import subprocess
import sys
import types

import pytest

import everwillow as ew


HEAVY = ("jax", "matplotlib", "numpy")


def test_names_of_everwillow_are_all_public_names():
    assert dir(ew) == sorted(ew.__all__)
    for name in dir(ew):
        assert getattr(ew, name) is not None


def test_names_are_listed_without_imports():
    script = (
        "import sys, everwillow as ew; dir(ew); dir(ew.models); dir(ew.workflows)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in dir(ew)
        if isinstance(value := getattr(ew, name), types.ModuleType)
        and hasattr(value, "__path__")
    ],
)
def test_packages_list_public_names_that_exist(name):
    package = getattr(ew, name)
    # Importing a module makes it an attribute of its package.
    listed = dir(package)
    assert listed
    assert "listed_names" not in listed
    assert not [one for one in listed if one.startswith("_")]
    for one in listed:
        value = getattr(package, one)
        if isinstance(value, types.ModuleType):
            assert value is importlib.import_module(f"everwillow.{name}.{one}")


def test_plots_are_listed_and_modules_are_not():
    listed = dir(ew.plotting)
    assert {"ranking", "pulls", "distribution"} <= set(listed)
    assert not {"style", "panels", "matrices", "annotations"} & set(listed)


def test_readers_of_workspaces_are_found_from_everwillow():
    assert "histfactory" in dir(ew.models)
    assert "from_pyhf" in dir(ew.models.histfactory)
    assert callable(ew.models.histfactory.from_pyhf)


@pytest.mark.parametrize("package", [ew, ew.models, ew.workflows])
def test_a_name_that_does_not_exist_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize(
    "name", ["callback", "curvature", "objective", "progress", "util"]
)
def test_modules_list_what_they_define(name):
    module = getattr(ew, name)
    listed = dir(module)
    assert listed
    assert all(getattr(module, one).__module__ == module.__name__ for one in listed)
