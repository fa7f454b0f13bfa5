"""A density-ratio model whose densities are known: Gaussians that are shifted.

The signal is a Gaussian around 1, the background a wider one around 0. The nuisance
parameter "scale" shifts both by a quarter for each standard deviation. The polynomial
exponential of the ratios at ±1 then is exactly the shifted Gaussian beyond ±1, up to
its normalisation.
"""

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    ConstraintSpec,
    NormVariation,
    ParameterSpec,
    Scale,
)
from everwillow.models.nsbi.spec import (
    Events,
    NsbiSpec,
    UnbinnedRegion,
    UnbinnedSample,
    Variation,
)


SAMPLES = {"signal": (1.0, 0.6), "background": (0.0, 1.2)}
YIELDS = {"signal": 400.0, "background": 1600.0}
GROWTH = {"signal": 1.05, "background": 1.03}
SHIFT = 0.25


def density(sample, x, scale=0.0):
    mean, width = SAMPLES[sample]
    pull = (x - mean - SHIFT * scale) / width
    return np.exp(-0.5 * pull**2) / (width * np.sqrt(2 * np.pi))


def reference_density(x):
    return 0.5 * density("signal", x) + 0.5 * density("background", x)


def mixture(x, mu=1.0, scale=0.0):
    """Return the expected number of events per unit of x."""
    strength = {"signal": mu, "background": 1.0}
    return sum(
        strength[name] * YIELDS[name] * GROWTH[name] ** scale * density(name, x, scale)
        for name in SAMPLES
    )


def events(x, weights):
    return Events(
        weights,
        {name: density(name, x) / reference_density(x) for name in SAMPLES},
        {
            (name, "scale"): Variation(
                *(density(name, x, end) / density(name, x) for end in (-1, 1))
            )
            for name in SAMPLES
        },
    )


def grid(points=4001, low=-7.0, high=8.0):
    """Return points, and the width that each of them stands for."""
    x, width = np.linspace(low, high, points, retstep=True)
    return x, float(width)


def spec(observed, reference=None, kind="reference", channels=()):
    parameters = (
        ParameterSpec("mu", 1.0, 0.0, 10.0),
        ParameterSpec("scale", 0.0, constraint=ConstraintSpec("normal", 0.0, 1.0)),
    )
    samples = tuple(
        UnbinnedSample(
            name,
            YIELDS[name],
            (
                *((Scale("mu"),) if name == "signal" else ()),
                NormVariation("scale", 1 / GROWTH[name], GROWTH[name]),
            ),
        )
        for name in SAMPLES
    )
    region = UnbinnedRegion("SR", samples, observed, reference, kind)
    binned = BinnedSpec(channels, parameters, poi="mu")
    return NsbiSpec(binned, (region,), order=("mu", "scale"))
