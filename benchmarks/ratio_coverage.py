"""Coverage of intervals when density ratios come from few training events.

Signal, background and reference density are Gaussians. The ratios are learned by
logistic regression with the features 1, x and x², which contain the exact ratios,
from a limited number of training events. Each pseudo-experiment trains an ensemble on
resampled training events, draws data, fits the signal strength, and asks whether the
68.3 % interval contains the truth: with the error of the fit alone, and with the error
of the ratios added.

Run ``python -m benchmarks.ratio_coverage [experiments]``.
"""

import sys

import jax
import numpy as np

import everwillow as ew
from everwillow.likelihood.binned.spec import BinnedSpec, ParameterSpec, Scale
from everwillow.models.nsbi.model import NsbiModel
from everwillow.models.nsbi.spec import (
    Events,
    NsbiSpec,
    UnbinnedRegion,
    UnbinnedSample,
)
from everwillow.workflows.nsbi.ratio_statistics import ratio_errors


SAMPLES = {"signal": (1.0, 0.7), "background": (0.0, 1.2)}
REFERENCE = (0.2, 1.4)
YIELDS = {"signal": 300.0, "background": 1200.0}
MEMBERS = 10
SIMULATED = 20_000
STEPS = 12


def drawn(generator, name, count):
    """Return events of a sample."""
    return generator.normal(*SAMPLES[name], count)


def features(x):
    """Return 1, x and x²."""
    return np.stack([np.ones_like(x), x, x**2], 1)


def trained(numerator, reference):
    """Return the coefficients of the logarithm of a density ratio."""
    x = features(np.concatenate([numerator, reference]))
    label = np.repeat([1.0, 0.0], [numerator.size, reference.size])
    balance = np.log(numerator.size / reference.size)
    coefficients = np.zeros(3)
    for _ in range(STEPS):
        score = 1 / (1 + np.exp(-(x @ coefficients + balance)))
        hessian = (x * (score * (1 - score))[:, None]).T @ x
        coefficients += np.linalg.solve(hessian, x.T @ (label - score))
    return coefficients


def ensemble(generator, training):
    """Return the coefficients of all members, by sample."""
    reference = generator.normal(*REFERENCE, training)
    found = {}
    for name in SAMPLES:
        own = drawn(generator, name, training)
        found[name] = [
            trained(
                generator.choice(own, training), generator.choice(reference, training)
            )
            for _ in range(MEMBERS)
        ]
    return found


def events(x, weights, members):
    """Return events with the mean of the ratios of an ensemble."""
    ratios = {
        name: tuple(np.exp(features(x) @ one) for one in each)
        for name, each in members.items()
    }
    return Events(
        weights,
        {name: np.mean(each, 0) for name, each in ratios.items()},
        members={(name, "", ""): each for name, each in ratios.items()},
    )


def model_of(generator, members, size):
    """Return the model of one pseudo-experiment; `size` pads its data."""
    counts = {name: generator.poisson(YIELDS[name]) for name in SAMPLES}
    data = np.concatenate([drawn(generator, name, counts[name]) for name in SAMPLES])
    padding = size - data.size
    weights = np.repeat([1.0, 0.0], [data.size, padding])
    observed = events(np.append(data, np.zeros(padding)), weights, members)
    simulated = events(
        generator.normal(*REFERENCE, SIMULATED), np.ones(SIMULATED), members
    )
    samples = (
        UnbinnedSample("signal", YIELDS["signal"], (Scale("mu"),)),
        UnbinnedSample("background", YIELDS["background"]),
    )
    region = UnbinnedRegion("SR", samples, observed, simulated, "reference")
    binned = BinnedSpec((), (ParameterSpec("mu", 1.0, -5.0, 10.0),), poi="mu")
    return NsbiModel.from_spec(NsbiSpec(binned, (region,), ("mu",)))


def coverage(training, experiments, seed=1):
    """Return coverage without and with the error of the ratios, and mean errors."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(experiments):
        model = model_of(generator, ensemble(generator, training), 2000)
        result = ew.fit(model)
        errors = ratio_errors(model, result, samples=20, seed=number)
        deviation = abs(float(result.params["mu"]) - 1)
        fit, total = float(result.errors["mu"]), errors.errors["mu"]
        networks = float(np.sqrt(errors.ensemble[0, 0]))
        rows.append([deviation < fit, deviation < total, fit, networks, total])
    return np.mean(rows, 0)


def main():
    """Print a table."""
    jax.config.update("jax_enable_x64", True)
    experiments = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print("| training events | fit error | ratio error | coverage without | with |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for training in (1000, 4000, 20_000):
        without, covered, fit, networks, _ = coverage(training, experiments)
        percent = f"{without:.1%} | {covered:.1%}"
        print(f"| {training} | {fit:.3f} | {networks:.3f} | {percent} |")
    print(f"{experiments} pseudo-experiments; 68.3 % expected.")


if __name__ == "__main__":
    main()
