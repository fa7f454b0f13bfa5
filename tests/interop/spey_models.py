"""spey, its back-ends of everwillow, and the models that all tests of them use."""

import copy
import functools as ft
import json
import os
import pathlib
from typing import Any

import pytest


# Its import asks the network for a newer version otherwise.
os.environ["SPEY_CHECKUPDATE"] = "OFF"

spey = pytest.importorskip("spey")

HERE = pathlib.Path(__file__).parent
DOCUMENT = json.loads((HERE / "data" / "quickstart_seed_page.hs3.json").read_text())
REFERENCE = json.loads((HERE / "reference.json").read_text())
SIGNAL = {"channel": [5.0, 5.0]}
APRIORI = spey.ExpectationType.apriori
APOSTERIORI = spey.ExpectationType.aposteriori
KINDS = ("observed", "apriori", "aposteriori")


def document() -> dict[str, Any]:
    """Return a copy of the two-bin document."""
    return copy.deepcopy(DOCUMENT)


def two_bins(**options: Any) -> Any:
    """Return a new model of the two-bin document with its signal."""
    chosen = {"hs3_dict": DOCUMENT, "signal_yields": SIGNAL} | options
    return spey.get_backend("everwillow.hs3")(analysis="two bins", **chosen)


@ft.cache
def shared() -> Any:
    """Return the same, the one that remembers what other tests fitted."""
    return two_bins(seed=5)
