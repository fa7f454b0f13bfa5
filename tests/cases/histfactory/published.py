"""Load the stored workspaces, and what pyhf makes of them."""

import functools as ft
import gzip
import json
import pathlib

import numpy as np

from everwillow.models.histfactory import from_pyhf


HERE = pathlib.Path(__file__).parent
SMALL = HERE.parents[1] / "models" / "histfactory" / "data"
CASES = (
    "quickstart_2bin",
    "susy_1Lbb_simplified",
    "susy_2L0J_simplified",
    "susy_bottom_squarks",
    "susy_staus_injected",
    "ttZ_4l",
    "ttbar_ljets_xsec",
    "synth_10x20x8x100",
)


def workspace(name):
    """Return the workspace of a case, a dict."""
    packed = HERE / f"{name}.json.gz"
    if packed.exists():
        return json.loads(gzip.decompress(packed.read_bytes()))
    return json.loads((SMALL / f"{name}.json").read_text())


@ft.cache
def references():
    """Return the reference numbers by case."""
    packed = (HERE / "expected.json.gz").read_bytes()
    return json.loads(gzip.decompress(packed))["cases"]


@ft.cache
def model(name):
    """Return the model of a case, made once."""
    return from_pyhf(workspace(name))


def params(name, numbers):
    """Name the parameters that pyhf orders in one list."""
    found = {}
    for label, number in zip(references()[name]["par_names"], numbers, strict=True):
        key, bracket, _ = label.partition("[")
        if bracket:
            found.setdefault(key, []).append(number)
        else:
            found[key] = number
    return {k: np.array(v) if isinstance(v, list) else v for k, v in found.items()}
