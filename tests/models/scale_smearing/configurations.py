"""A small configuration of scale and smearing with its files, for tests."""

import pathlib
from typing import Any

import numpy as np


TEXT = """\
file_dt: data.npz
file_mc: [simulation.npz]
dir_results: results
dset_name: Run
cset_name: Eta
cat_latex: {ScEta: "$\\\\eta$"}
scale_flat_syst: 0.5e-3
syst:
  window:
    fitter:
      win_z_dt: [75, 105]
  tight:
    sas: {cut: pt1 > 30}
    file_mc: other.npz
corrlib:
  cset_version: 2
sas:
  categories:
    ScEta: [-2.5, 0, 2.5]
    r9: [-.inf, 0.94, inf]
  cut: pt1 > 25 and pt2 > 25
  hess: numerical
  learning_rate: 1e-3
fitter:
  win_z_dt: [80, 100]
  win_z_mc: [70, 110]
  name_weights: w
  name_mll: mass
minimizer:
  minimizer: Adam
  max_epochs: 500
"""
COLUMNS = ("mass", "w", "ScEta1", "ScEta2", "r91", "r92", "pt1", "pt2")


def write(folder: pathlib.Path, *changes: tuple[str, str]) -> pathlib.Path:
    """Write the configuration with some texts replaced, and its files of events."""
    columns: dict[str, Any] = {one: np.ones(3) for one in COLUMNS}
    for name in ("data", "simulation", "other"):
        np.savez(folder / f"{name}.npz", **columns)
    text = TEXT
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file = folder / "config.yaml"
    file.write_text(text)
    return file
