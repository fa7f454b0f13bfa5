"""Generated density-ratio fits of any size, with Gaussians as densities."""

import numpy as np

from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    ChannelSpec,
    ConstraintSpec,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
    ShapeVariation,
)
from everwillow.models.nsbi.spec import (
    Events,
    NsbiSpec,
    UnbinnedRegion,
    UnbinnedSample,
    Variation,
)


# The whole yield of the region, whatever the number of simulated events.
YIELD = 5000.0
# The signal is this share of it.
SIGNAL = 0.1
BINS = 20
# Where the data are: the strength of the signal, and the largest pull.
TRUE_MU, LARGEST_PULL = 1.2, 0.3


class Gaussians:
    """Samples that are Gaussians in x, whose means the systematics shift.

    Attributes:
        names: The samples, the signal first.
        systematics: The names of the systematics.
        mean: Of each sample.
        width: Of each sample.
        shift: Of the mean, in widths, by sample and systematic.
        growth: Factor of the yield at +1, by sample and systematic.
        yields: Of the samples.
    """

    def __init__(self, samples: int, systematics: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.names = ["signal", *(f"background{i}" for i in range(1, samples))]
        self.systematics = [f"alpha{i}" for i in range(systematics)]
        self.mean = np.append(1.0, rng.uniform(-1, 0.5, samples - 1))
        self.width = np.append(0.5, rng.uniform(0.9, 1.6, samples - 1))
        small = 1 / np.sqrt(max(systematics, 1))
        self.shift = small * rng.uniform(-0.06, 0.06, (samples, systematics))
        self.growth = np.exp(small * rng.uniform(-0.08, 0.08, self.shift.shape))
        background = rng.uniform(0.5, 1.5, samples - 1)
        background *= (1 - SIGNAL) / background.sum()
        self.yields = YIELD * np.append(SIGNAL, background)

    def density(self, sample: int, x: np.ndarray, shift: float = 0.0) -> np.ndarray:
        """Return the density of a sample with its mean shifted by so many widths."""
        width = self.width[sample]
        pull = (x - self.mean[sample]) / width - shift
        return np.exp(-0.5 * pull**2) / (width * np.sqrt(2 * np.pi))

    def change(self, sample: int, systematic: int, x: np.ndarray) -> Variation:
        """Return the ratios of the shifted densities to the nominal one."""
        pull = (x - self.mean[sample]) / self.width[sample]
        shift = self.shift[sample, systematic]
        return Variation(
            *(np.exp(step * (pull - step / 2)) for step in (-shift, shift))
        )

    def rate(self, sample: int, x: np.ndarray, mu: float, pulls: np.ndarray):
        """Return the expected number of events per unit of x."""
        strength = mu if sample == 0 else 1.0
        size = strength * self.yields[sample] * np.prod(self.growth[sample] ** pulls)
        return size * self.density(sample, x, float(self.shift[sample] @ pulls))


def density_spec(
    events: int, samples: int, systematics: int, *, seed: int = 1
) -> NsbiSpec:
    """Generate a region of events and a binned control region.

    The events are drawn from the reference density, the mean of those of all samples,
    and have the weights of Asimov data at another point than the start values.

    Args:
        events: Number of events.
        samples: Number of samples, the first of them the signal.
        systematics: Number of systematics; each acts on every sample in both regions.
        seed: Of the events.
    """
    model = Gaussians(samples, systematics)
    rng = np.random.default_rng(seed)
    pulls = rng.uniform(-LARGEST_PULL, LARGEST_PULL, systematics)
    number = range(samples)
    chosen = rng.integers(0, samples, events)
    x = rng.normal(model.mean[chosen], model.width[chosen])
    reference = sum(model.density(c, x) for c in number) / samples
    data = sum(model.rate(c, x, TRUE_MU, pulls) for c in number)
    found = Events(
        data / reference / events,
        {name: model.density(c, x) / reference for c, name in enumerate(model.names)},
        {
            (sample, name): model.change(c, s, x)
            for c, sample in enumerate(model.names)
            for s, name in enumerate(model.systematics)
        },
    )
    region = UnbinnedRegion(
        "SR",
        tuple(
            UnbinnedSample(name, float(model.yields[c]), _effects(model, c))
            for c, name in enumerate(model.names)
        ),
        found,
    )
    parameters = (
        ParameterSpec("mu", 1.0, 0.0, 10.0),
        ParameterSpec("norm", 1.0, 0.0, 10.0),
        *(
            ParameterSpec(name, 0.0, constraint=ConstraintSpec("normal", 0.0, 1.0))
            for name in model.systematics
        ),
    )
    binned = BinnedSpec((_control_region(model, pulls),), parameters, poi="mu")
    return NsbiSpec(binned, (region,), order=tuple(p.name for p in parameters))


def _scales(sample: int) -> tuple[Scale, ...]:
    return (Scale(("mu", "norm")[sample]),) if sample < 2 else ()


def _effects(model: Gaussians, sample: int) -> tuple[Scale | NormVariation, ...]:
    variations = (
        NormVariation(name, float(1 / up), float(up))
        for name, up in zip(model.systematics, model.growth[sample], strict=True)
    )
    return (*_scales(sample), *variations)


def _control_region(model: Gaussians, pulls: np.ndarray) -> ChannelSpec:
    """Return a region of bins with little signal, with Asimov data."""
    middle, width = np.linspace(-4, 0, BINS, retstep=True)
    observed, samples = np.zeros(BINS), []
    for c, name in enumerate(model.names):
        nominal = model.yields[c] * model.density(c, middle) * width
        observed += model.rate(c, middle, TRUE_MU, pulls) * width
        shapes = []
        for s, systematic in enumerate(model.systematics):
            change = model.change(c, s, middle)
            up = model.growth[c, s]
            down = nominal * change.down / up
            up = nominal * change.up * up
            shapes.append(ShapeVariation(systematic, down, up, "code4"))
        samples.append(SampleSpec(name, nominal, (*_scales(c), *shapes)))
    return ChannelSpec("CR", observed, tuple(samples))
