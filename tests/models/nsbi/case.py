"""The case in `data/case`: its files, with the ROOT files made from its events."""

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import uproot


DATA = pathlib.Path(__file__).with_name("data") / "case"
SAMPLES = ("ztautau", "ttbar", "htautau")
CONFIGURATIONS = {
    "histogram": "config_fit_histogram.yml",
    "nsbi": "config_fit_nsbi.yml",
}

# The shift of the observable and the factor of the weights, in the order of SAMPLES.
VARIATIONS = {
    "JES_up": ((0.06, 1.02), (0.09, 1.04), (0.05, 1.03)),
    "JES_dn": ((-0.05, 0.982), (-0.1, 0.955), (-0.05, 0.98)),
    "TES_up": ((0.03, 1.03), (0.02, 1.01), (0.04, 1.035)),
    "TES_dn": ((-0.04, 0.975), (-0.02, 0.988), (-0.03, 0.97)),
}


def expected() -> dict[str, Any]:
    """Numbers of another tool, by the names of CONFIGURATIONS."""
    return json.loads((DATA / "expected.json").read_text())["cases"]


def events() -> dict[str, dict[str, np.ndarray]]:
    """Nominal events: columns by the name of the sample."""
    with np.load(DATA / "events.npz") as arrays:
        return {
            sample: {
                column: arrays[f"{sample}/{column}"]
                for column in ("presel_score", "weights")
            }
            for sample in SAMPLES
        }


def write_root(path: pathlib.Path, trees: dict[str, dict[str, np.ndarray]]) -> None:
    """Write trees in the older format of ROOT."""
    with uproot.recreate(path) as file:
        for name, columns in trees.items():
            file.mktree(name, {key: a.dtype for key, a in columns.items()})
            file[name].extend(columns)


def write_case(folder: pathlib.Path) -> pathlib.Path:
    """Write the case with all files that its configurations name.

    Args:
        folder: Gets the files.
    """
    shutil.copytree(DATA, folder, dirs_exist_ok=True)
    made = folder / "saved_datasets"
    nominal = events()
    trees = {f"tree_{name}": columns for name, columns in nominal.items()}
    with uproot.recreate(made / "dataset_nominal.root") as file:
        for name, columns in trees.items():
            file.mkrntuple(name, columns)
    for variation, changes in VARIATIONS.items():
        varied = {
            f"tree_{name}": {
                "presel_score": nominal[name]["presel_score"] + shift,
                "weights": nominal[name]["weights"] * factor,
            }
            for name, (shift, factor) in zip(SAMPLES, changes, strict=True)
        }
        write_root(made / f"dataset_{variation}.root", varied)
    columns = {
        key: np.concatenate([nominal[name][key] for name in SAMPLES])
        for key in ("presel_score", "weights")
    }
    write_root(made / "dataset_data.root", {"tree_data": columns})
    return folder
