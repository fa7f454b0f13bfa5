"""`import everwillow` loads what it is made of and no optional package."""

import json
import subprocess
import sys

import pytest


PARTS = ("equinox", "jax", "jaxtyping", "numpy", "optimistix")
OPTIONAL = (
    "IPython",
    "dask",
    "h5py",
    "hist",
    "iminuit",
    "lark",
    "matplotlib",
    "pandas",
    "rich",
    "scipy",
    "spey",
    "tqdm",
    "typer",
    "uproot",
    "yaml",
)
SCRIPT = f"""
import importlib, json, sys
for name in {PARTS!r}:
    importlib.import_module(name)
before = set(sys.modules)
import everwillow
print(json.dumps([sorted(before), sorted(set(sys.modules) - before)]))
"""


@pytest.fixture(scope="module")
def loaded() -> tuple[set[str], set[str]]:
    """Top-level packages: those of the parts, and those that everwillow adds."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    before, added = json.loads(done.stdout)
    return {m.split(".")[0] for m in before}, {m.split(".")[0] for m in added}


def test_import_adds_only_itself_and_the_standard_library(loaded):
    _, added = loaded
    assert "everwillow" in added
    assert added - {"everwillow"} - set(sys.stdlib_module_names) == set()


def test_import_loads_no_optional_package(loaded):
    before, added = loaded
    assert (added - before) & set(OPTIONAL) == set()


def test_import_starts_no_device():
    # Who imports a library may still want to choose the devices.
    script = (
        "import everwillow, jax\n"
        "jax.config.update('jax_num_cpu_devices', 3)\n"
        "print(len(jax.devices('cpu')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "3"
