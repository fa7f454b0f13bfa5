"""Write the data of the tutorial on density ratios.

All densities are known exactly, so the ratios need no network. An event has a mass and
a momentum balance. The signal is a Gaussian in both; the background falls exponentially
in the mass from 60, and its balance is a Gaussian around 0. One nuisance parameter
(`scale`) moves the masses, another (`tuning`) the balance of the background.

Run it in its folder: ``python generate.py``.
"""

import math
import pathlib

import numpy as np


SAMPLES = ("signal", "background")
SYSTEMATICS = {"scale": SAMPLES, "tuning": ("background",)}
"""The samples whose density each nuisance parameter changes."""

YIELDS = {"signal": 60.0, "background": 1500.0}
SIMULATED = {"signal": 1500, "background": 6000}
EVENTS = 4000
"""Simulated events with density ratios."""

TRUTH = {"scale": 0.5, "tuning": -0.5}
"""The values with which the observed events are drawn."""

START, EDGE, CUT = 60.0, 90.0, -1.5
"""The lowest mass, the lowest mass and balance of the signal region."""


def peak(scale):
    """Return the mean and the width of the mass of the signal."""
    return 125.0 + 2.5 * scale, 10.0


def decay(scale):
    """Return the slope of the logarithm of the background."""
    return (1 - 0.03 * scale) / 40.0


def center(sample, tuning):
    """Return the mean balance of a sample; its width is 1."""
    return 1.2 if sample == "signal" else 0.25 * tuning


def above(pull):
    """Return the probability of a Gaussian above a number of standard deviations."""
    return 0.5 * math.erfc(pull / math.sqrt(2))


def gaussian(x, mean, width):
    """Return the density of a Gaussian."""
    return np.exp(-0.5 * ((x - mean) / width) ** 2) / (width * math.sqrt(2 * math.pi))


def density(sample, mass, balance, *, scale=0.0, tuning=0.0):
    """Return the density of a sample in the signal region, with the integral 1."""
    middle = center(sample, tuning)
    second = gaussian(balance, middle, 1.0) / above(CUT - middle)
    if sample == "signal":
        mean, width = peak(scale)
        return second * gaussian(mass, mean, width) / above((EDGE - mean) / width)
    slope = decay(scale)
    return second * slope * np.exp(-slope * (mass - EDGE))


def reference_density(mass, balance):
    """Return the density by which all others are divided."""
    return 0.5 * sum(density(sample, mass, balance) for sample in SAMPLES)


def ratios(mass, balance):
    """Return all ratios of some events, by the name of their file."""
    below = reference_density(mass, balance)
    found = {}
    for sample in SAMPLES:
        nominal = density(sample, mass, balance)
        found[sample] = nominal / below
        for name, samples in SYSTEMATICS.items():
            if sample in samples:
                for end, value in (("up", 1.0), ("down", -1.0)):
                    varied = density(sample, mass, balance, **{name: value})
                    found[f"{sample}_{name}_{end}"] = varied / nominal
    return found


def draw(rng, sample, count, *, scale=0.0, tuning=0.0):
    """Draw mass and balance of events in all regions."""
    if sample == "signal":
        mass = rng.normal(*peak(scale), count)
    else:
        mass = START + rng.exponential(1 / decay(scale), count)
    return mass, rng.normal(center(sample, tuning), 1.0, count)


def moved(sample, mass, balance, *, scale=0.0, tuning=0.0):
    """Return what nominal events become at other nuisance parameters."""
    if sample == "signal":
        mass = mass + peak(scale)[0] - peak(0.0)[0]
    else:
        mass = START + (mass - START) * decay(0.0) / decay(scale)
    return mass, balance + center(sample, tuning) - center(sample, 0.0)


def selected(mass, balance):
    """Return which events are in the signal region."""
    return (mass >= EDGE) & (balance > CUT)


def rounded(mass, balance):
    """Return columns in steps of 1/32 and 1/256, which need little space."""
    columns = {
        "mass": np.round(mass * 32) / 32,
        "balance": np.round(balance * 256) / 256,
    }
    return {name: column.astype(np.float32) for name, column in columns.items()}


def asimov_weights(found):
    """Return weights that make events of the reference density those expected."""
    inside = {
        "signal": above((EDGE - 125.0) / 10.0) * above(CUT - 1.2),
        "background": math.exp(-(EDGE - START) / 40.0) * above(CUT),
    }
    density = sum(YIELDS[one] * inside[one] * found[one] for one in SAMPLES)
    return density / len(density)


def write_ratios(folder, columns):
    """Write all ratios of events in the signal region, and return them."""
    folder.mkdir(exist_ok=True)
    x = {name: np.asarray(column, float) for name, column in columns.items()}
    found = ratios(**x)
    for name, values in found.items():
        np.save(folder / f"{name}.npy", values.astype(np.float32))
    return found


def simulated(rng):
    """Return the trees of all samples and variations."""
    trees = {}
    for sample, count in SIMULATED.items():
        events = draw(rng, sample, count)
        weights = np.full(count, YIELDS[sample] / count, np.float32)
        shifts = {"": {}}
        for name, samples in SYSTEMATICS.items():
            if sample in samples:
                shifts |= {f"_{name}_up": {name: 1.0}, f"_{name}_down": {name: -1.0}}
        for suffix, shift in shifts.items():
            columns = rounded(*moved(sample, *events, **shift))
            trees[sample + suffix] = {**columns, "weight": weights}
    return trees


def observed(rng):
    """Return the columns of the observed events."""
    drawn = [
        draw(rng, sample, rng.poisson(YIELDS[sample]), **TRUTH) for sample in SAMPLES
    ]
    return rounded(*(np.concatenate(column) for column in zip(*drawn, strict=True)))


def of_reference(rng):
    """Return the columns of events of the reference density."""
    parts = []
    for sample in SAMPLES:
        columns = rounded(*draw(rng, sample, 4 * EVENTS))
        inside = np.flatnonzero(selected(**columns))[: EVENTS // 2]
        parts.append({name: column[inside] for name, column in columns.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write(folder):
    """Write everything to a folder."""
    rng = np.random.default_rng(2024)
    data = observed(rng)
    trees = {**simulated(rng), "data": data}
    flat = {
        f"{tree}/{name}": column
        for tree, columns in trees.items()
        for name, column in columns.items()
    }
    np.savez_compressed(folder / "events.npz", **flat)
    inside = selected(**data)
    write_ratios(folder / "observed", {name: x[inside] for name, x in data.items()})
    ones = np.ones(np.count_nonzero(inside), np.float32)
    np.save(folder / "observed" / "weights.npy", ones)
    columns = of_reference(rng)
    found = write_ratios(folder / "simulated", columns)
    np.save(folder / "simulated" / "weights.npy", asimov_weights(found))
    np.savez_compressed(folder / "simulated" / "events.npz", **columns)


if __name__ == "__main__":
    write(pathlib.Path(__file__).parent)
