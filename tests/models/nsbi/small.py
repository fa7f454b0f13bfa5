"""A small configuration with every section, and its files, for changes of it."""

import pathlib

import numpy as np


CONFIGURATION = """\
General:
  Measurement:
    Name: meas
    POI: mu
    ParametersToFit: [mu, kappa, JES]
    ErrorDef: LIKELIHOOD
    TemplateStatistics: true
Observations: {Name: data, Tree: data, SamplePath: events.npz, Weight: w}
Samples:
- {Name: sig, Tree: sig, SamplePath: events.npz, Weight: w, UseAsBasis: true}
- {Name: bkg, Tree: bkg, SamplePath: events.npz, Weight: w}
NormFactors:
- Name: mu
  Samples: sig
  Nominal: 1
  Bounds: [0, 10]
VandermondeFactors:
- Name: kappa
  Basis: {0: sig, 1.5: bkg}
  Nominal: 0.5
  Bounds: [-5, 5]
Systematics:
- Name: JES
  Type: NormPlusShape
  Samples: [sig]
  Nominal: 0
  Up:
  - {SampleName: sig, Path: events.npz, Tree: up, Weight: w}
  Dn:
  - {SampleName: sig, Path: events.npz, Tree: down, Weight: w}
- Name: lumi
  Type: Norm
  Up: 1.02
  Dn: 0.98
Regions:
- Name: CR
  Type: binned
  Filter: x < 0
  Variable: x
  Binning: [-3, -1, 0]
- Name: SR
  Type: unbinned
  Filter: x >= 0
  AsimovWeights: weights.npy
  TrainedModels:
  - SampleName: sig
    Nominal: {Ratios: sig.npy}
    Systematics:
    - {SystName: JES, RatiosUp: up.npy, RatiosDn: down.npy}
  - SampleName: bkg
    Nominal: {Ratios: bkg.npy}
"""

TREES = ("sig", "bkg", "data", "up", "down")
ARRAYS = ("weights", "sig", "bkg", "up", "down")
EVENTS = 30  # of every array of SR


def events() -> dict[str, dict[str, np.ndarray]]:
    """The columns of all trees."""
    generator = np.random.default_rng(11)
    made = {}
    for number, tree in enumerate(TREES):
        size = 80 + number
        made[tree] = {
            "x": generator.normal(0.2 * number, 2.0, size),
            "y": generator.normal(size=size),
            "w": generator.uniform(0.5, 1.5, size),
        }
    return made


def write(folder: pathlib.Path, text: str = CONFIGURATION) -> pathlib.Path:
    """Write a configuration and the files that the one above names."""
    generator = np.random.default_rng(12)
    flat = {
        f"{tree}/{c}": a for tree, some in events().items() for c, a in some.items()
    }
    np.savez(folder / "events.npz", **flat)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", generator.uniform(0.5, 2.0, EVENTS))
    file = folder / "config.yml"
    file.write_text(text)
    return file


def changed(*changes: tuple[str, str]) -> str:
    """The configuration with other texts, each of which it has once."""
    text = CONFIGURATION
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


SEVERAL = """\
    - {Name: first, POI: mu, ParametersToFit: [mu, JES]}
    - {Name: second, POI: kappa, ErrorDef: other}
"""


def several(*changes: tuple[str, str]) -> str:
    """The configuration with two measurements, and changes of these."""
    text = changed()
    start, end = text.index("    Name: meas"), text.index("Observations:")
    entries = SEVERAL
    for old, new in changes:
        assert entries.count(old) == 1
        entries = entries.replace(old, new)
    return text[:start] + entries + text[end:]


def line_of(text: str, part: str) -> int:
    """The line of a text in which a part of it is first."""
    return text[: text.index(part)].count("\n") + 1
