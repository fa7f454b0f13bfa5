"""Generated pyhf workspaces of any size, and where those of the tests are."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import ROOT


CASES = ROOT / "tests" / "cases" / "histfactory"
SMALL = ROOT / "tests" / "models" / "histfactory" / "data"

# Of published workspaces, the smaller ones first.
PUBLISHED = (
    "quickstart_2bin",
    "susy_1Lbb_simplified",
    "susy_2L0J_simplified",
    "susy_bottom_squarks",
    "susy_staus_injected",
    "ttZ_4l",
    "ttbar_ljets_xsec",
    "synth_10x20x8x100",
)

Document = dict[str, Any]


def published(name: str) -> Document:
    """Return a workspace that the tests have, with reference numbers there."""
    packed = CASES / f"{name}.json.gz"
    if packed.exists():
        return json.loads(gzip.decompress(packed.read_bytes()))
    return json.loads((SMALL / f"{name}.json").read_text())


def workspace(
    channels: int,
    bins: int,
    samples: int,
    nuisances: int,
    fraction: float,
    *,
    shapes: float = 0.4,
    staterror: bool = False,
    seed: int = 1,
) -> Document:
    """Make channels of a bump over falling backgrounds, all alike.

    Args:
        channels: Number of channels.
        bins: Bins in each.
        samples: One signal, the rest backgrounds, in each channel.
        nuisances: Number of systematics.
        fraction: Of these, how many act on each sample, drawn anew for each.
        shapes: How many of them are `histosys`; the others are `normsys`.
        staterror: Whether each bin has a gamma.
        seed: Of all numbers.
    """
    rng = np.random.default_rng(seed)
    norms = round((1 - shapes) * nuisances)
    names = [f"{'norm' if i < norms else 'shape'}_{i:03d}" for i in range(nuisances)]
    regions = []
    for c in range(channels):
        made = []
        for s in range(samples):
            nominal = _signal(rng, bins) if s == 0 else _background(rng, bins, s)
            acting = np.flatnonzero(rng.random(nuisances) < fraction)
            modifiers = [
                _shape(rng, names[i], nominal)
                if i >= norms
                else _norm(rng, names[i], fraction * nuisances)
                for i in acting
            ]
            modifiers += _free(s)
            if staterror:
                modifiers.append(_staterror(rng, f"stat_ch{c:02d}", nominal))
            made.append(_sample(s, nominal, modifiers))
        regions.append({"name": f"ch{c:02d}", "samples": made})
    return _document(rng, regions)


def higgs_combination(scale: float = 1.0, *, seed: int = 2) -> Document:
    """Make a combination of the size of that of all Higgs channels of an experiment.

    60 channels, about 1000 bins in all, 30 samples each, 1100 systematics and 400
    gammas. As in reality a channel knows a quarter of the systematics, each acts on a
    fifth of the samples there, and nine of ten change the normalisation only.

    Args:
        scale: Factor on the number of systematics, of channels and so of gammas.
        seed: Of all numbers.
    """
    rng = np.random.default_rng(seed)
    channels, systematics = round(60 * scale), round(1090 * scale)
    samples = 30
    names = [f"np_{i:04d}" for i in range(systematics)]
    regions = []
    for c in range(channels):
        # Counting experiments, categories of a few bins, and long spectra.
        bins = int(rng.choice([1, 4, 8, 15, 30, 50], p=[0.1, 0.2, 0.2, 0.2, 0.2, 0.1]))
        gammas = c % 5 in (1, 3)
        acting = np.flatnonzero(rng.random(systematics) < 0.25)
        made = []
        for s in range(samples):
            nominal = _signal(rng, bins) if s < 6 else _background(rng, bins, s)
            here = acting[rng.random(acting.size) < 0.2]
            modifiers = []
            for i in here:
                modifiers.append(_norm(rng, names[i], 60))
                if rng.random() < 0.1:
                    modifiers.append(_shape(rng, names[i], nominal))
            modifiers += _free(s, signals=6)
            if gammas:
                modifiers.append(_staterror(rng, f"stat_ch{c:02d}", nominal))
            made.append(_sample(s, nominal, modifiers, signals=6))
        regions.append({"name": f"ch{c:02d}", "samples": made})
    return _document(rng, regions)


def _signal(rng, bins: int) -> np.ndarray:
    x = (np.arange(bins) + 0.5) / bins
    centre = rng.uniform(0.3, 0.7)
    height = rng.uniform(3, 20)
    return np.maximum(height * np.exp(-0.5 * ((x - centre) / 0.1) ** 2), 0.05).round(4)


def _background(rng, bins: int, number: int) -> np.ndarray:
    x = (np.arange(bins) + 0.5) / bins
    height = rng.uniform(20, 200) / number**0.5
    return (height * np.exp(-rng.uniform(1, 3) * x)).round(4)


def _norm(rng, name: str, number: float) -> dict[str, Any]:
    """Return a change of the yield; together they are about as large as one of 20 %."""
    size = rng.uniform(0.2, 1.0) * min(0.1, 0.3 / max(number, 1) ** 0.5)
    sign = rng.choice([-1, 1])
    down, up = 1 - sign * size, 1 + sign * size * rng.uniform(0.7, 1.3)
    return {
        "name": name,
        "type": "normsys",
        "data": {"lo": round(float(down), 5), "hi": round(float(up), 5)},
    }


def _shape(rng, name: str, nominal: np.ndarray) -> dict[str, Any]:
    """Return a smooth change of the yields."""
    x = np.linspace(-1, 1, nominal.size)
    slope, curve = rng.normal(0, 0.02, 2)
    change = slope * x + curve * (x**2 - 0.4)
    up, down = nominal * (1 + change), nominal * (1 - rng.uniform(0.7, 1.3) * change)
    return {
        "name": name,
        "type": "histosys",
        "data": {"lo_data": down.round(4).tolist(), "hi_data": up.round(4).tolist()},
    }


def _staterror(rng, name: str, nominal: np.ndarray) -> dict[str, Any]:
    errors = nominal * rng.uniform(0.02, 0.1, nominal.size)
    return {"name": name, "type": "staterror", "data": errors.round(5).tolist()}


def _free(number: int, *, signals: int = 1) -> list[dict[str, Any]]:
    """Return the free factor of the signals, and that of the first backgrounds."""
    if number < signals:
        return [{"name": "mu", "type": "normfactor", "data": None}]
    if number < signals + 2:
        return [{"name": f"k_{number:02d}", "type": "normfactor", "data": None}]
    return []


def _sample(number: int, nominal, modifiers, *, signals: int = 1) -> dict[str, Any]:
    kind = "signal" if number < signals else "bkg"
    return {
        "name": f"{kind}{number:02d}",
        "data": nominal.tolist(),
        "modifiers": modifiers,
    }


def _document(rng, regions: list[dict[str, Any]]) -> Document:
    observations = []
    for region in regions:
        total = sum(np.array(sample["data"]) for sample in region["samples"])
        observations.append(
            {"name": region["name"], "data": rng.poisson(total).astype(float).tolist()}
        )
    parameters = [{"name": "mu", "bounds": [[0, 10]], "inits": [1.0]}]
    config = {"poi": "mu", "parameters": parameters}
    return {
        "channels": regions,
        "observations": observations,
        "measurements": [{"name": "meas", "config": config}],
        "version": "1.0.0",
    }


GENERATED = {
    "50x20x10x500": lambda: workspace(50, 20, 10, 500, 0.1),
    "higgs size": higgs_combination,
    "a tenth of it": lambda: higgs_combination(0.1),
}


def written(name: str, folder: Path) -> Path:
    """Write a generated workspace to a file, as its reader would find it."""
    path = folder / f"{name.replace(' ', '_')}.json"
    path.write_text(json.dumps(GENERATED[name]()))
    return path
