"""The likelihood of masses written plainly in NumPy, and a small one to compare."""

import dataclasses
import math

import numpy as np

from everwillow.models.scale_smearing import Categories, Region, SasSpec


FLOOR = 5e-3
EVENTS = 4000
_erf = np.vectorize(math.erf)

RESP = np.array([1.01, 0.985, 1.002])
RESO = np.array([0.025, 0.021, 0.03])
RESO2 = np.array([0.045, 0.06, 0.05])
MU = np.array([0.93, 0.9, 0.97])
FRAC = np.array([0.9, 0.85, 0.95])
VALUES = {"resp": RESP, "reso": RESO, "reso2": RESO2, "mu": MU, "frac": FRAC}

PAIRS = ((0, 0), (0, 1), (1, 2), (2, 2))
SINGLES = ((0,), (1,), (2,))


def small_spec(regions=PAIRS, *, seed=3, **options):
    """Return regions with different numbers of bins, and templates with noise."""
    rng = np.random.default_rng(seed)
    masses = np.arange(60.25, 122, 0.5)
    shape = 1 / (1 + ((masses - 91.2) / 3) ** 2)
    made = []
    for place, categories in enumerate(regions):
        bins = 4 + place % 3
        edges = np.sort(np.append(rng.uniform(84, 98, bins - 1), [80.0, 102.0]))
        template = shape * rng.uniform(0.5, 1.5, masses.size) * 100
        variances = template * rng.uniform(0.5, 2, masses.size)
        made.append(Region(categories, edges, np.zeros(bins), template, variances))
    options = {"smearing_floor": FLOOR} | options
    bins = Categories.of({"x": [0, 1, 2, 3]})
    empty = SasSpec(bins, masses, tuple(made), **options)
    data = [
        dataclasses.replace(
            one, counts=rng.multinomial(EVENTS, plain_fractions(empty, VALUES, one))
        )
        for one in made
    ]
    return dataclasses.replace(empty, regions=tuple(data))


def plain_components(spec, values, categories):
    """Return response, width and weight of the Gaussians of a mass."""
    a = spec.mass_exponent
    if not spec.double_gaussian:
        choices = [[(values["resp"][i], values["reso"][i], 1.0)] for i in categories]
    else:
        choices = [
            [
                (values["resp"][i], values["reso"][i], values["frac"][i]),
                (
                    values["resp"][i] * values["mu"][i],
                    values["reso2"][i],
                    1 - values["frac"][i],
                ),
            ]
            for i in categories
        ]
    found = [(1.0, 0.0, 1.0)]
    for options in choices:
        found = [
            (r * q**a, square + (a * s) ** 2, weight * part)
            for r, square, weight in found
            for q, s, part in options
        ]
    return [
        (r, max(math.sqrt(square), spec.smearing_floor), weight)
        for r, square, weight in found
    ]


def plain_fractions(spec, values, region):
    """Return the probabilities of the bins of a region."""
    sums = np.zeros(region.counts.size)
    for r, s, weight in plain_components(spec, values, region.categories):
        x = spec.masses
        below = _erf((region.edges[:, None] / r - x) / (math.sqrt(2) * x * s))
        sums += weight * 0.5 * np.diff(below, axis=0) @ region.template
    return sums / sums.sum()


def plain_nll(spec, values):
    """Return -ln L of the counts."""
    return -sum(
        one.counts @ np.log(plain_fractions(spec, values, one)) for one in spec.regions
    )


def vector_of(model, values):
    """Return the vector of parameters of a model."""
    vector = np.zeros(model.terms.size)
    names = {"resp": "resp", "reso": "var"}
    if model.spec.double_gaussian:
        names |= {"reso2": "var2", "mu": "mu", "frac": "frac"}
    for name, kind in names.items():
        for i, place in model.places(kind).items():
            value = values[name][i]
            vector[place] = value**2 if name.startswith("reso") else value
    return vector
