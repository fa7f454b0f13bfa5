"""A peak over a flat background, as likelihood of events and as counts in bins.

Events lie at the centres of the bins, and both likelihoods contain the same sum for the
expected number of events. They are then one function, up to a constant, but the data of
the first are events, and its Asimov data are as many weighted events as there are bins.
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import everwillow as ew


LOW, HIGH, BINS = 0.0, 10.0, 400
STEP = (HIGH - LOW) / BINS
GRID = LOW + STEP * (np.arange(BINS) + 0.5)
PEAK, WIDTH, SIGNAL, BACKGROUND = 5.0, 0.7, 6.0, 30.0
AUX = {"theta": np.float64(1.0), "shift": np.float64(0.0)}
# Room for the events of a toy.
CAPACITY = 120


def density(params, x):
    """The expected events per unit of x."""
    pull = (x - PEAK - params["shift"]) / WIDTH
    shape = jnp.exp(-0.5 * pull**2) / (WIDTH * np.sqrt(2 * np.pi))
    flat = params["theta"] * BACKGROUND / (HIGH - LOW)
    return params["mu"] * SIGNAL * shape + flat


class PeakModel(ew.AbstractModel):
    """What both models have in common."""

    state: ew.State
    bounds: dict
    fixed: dict
    constraints: dict
    observation: dict

    @classmethod
    def of(cls, main):
        """Return the model with its data."""
        return cls(
            state=ew.State.from_pytree({"mu": 1.0, "theta": 1.0, "shift": 0.0}),
            bounds={"mu": ew.Interval(0.0, 50.0)},
            fixed={},
            constraints={"theta": ew.Normal(1.0, 0.1), "shift": ew.Normal(0.0, 0.2)},
            observation={"main": main, "aux": AUX},
        )

    def counts(self, params):
        return density(params, GRID) * STEP


class Events(PeakModel):
    """The data are events with weights."""

    def main_nll(self, params, main):
        rates = density(params, main["x"])
        weights = main.get("weights", jnp.ones_like(rates))
        return jnp.sum(self.counts(params)) - jnp.sum(weights * jnp.log(rates))

    def expected(self, params):
        return {"x": jnp.asarray(GRID), "weights": self.counts(params)}

    def sample(self, params, key):
        places, number = drawn(self.counts(params), key)
        weights = (jnp.arange(CAPACITY) < number).astype(float)
        return {"x": jnp.asarray(GRID)[places], "weights": weights}


class Counts(PeakModel):
    """The data are counts."""

    def main_nll(self, params, main):
        return jnp.sum(self.counts(params) - main * jnp.log(self.counts(params) / STEP))

    def expected(self, params):
        return self.counts(params)

    def sample(self, params, key):
        places, number = drawn(self.counts(params), key)
        weights = (jnp.arange(CAPACITY) < number).astype(float)
        return jnp.zeros(BINS).at[places].add(weights)


def drawn(counts, key):
    """Draw the bins of `CAPACITY` events and how many of these there are."""
    first, second = jr.split(key)
    number = jr.poisson(first, jnp.sum(counts))
    return jr.choice(second, BINS, (CAPACITY,), p=counts / jnp.sum(counts)), number


def bins_of_events(number=37, seed=3):
    """The bins of some events, a fifth of which are signal."""
    rng = np.random.default_rng(seed)
    signal = number // 5
    flat = rng.uniform(LOW, HIGH, number - signal)
    x = np.concatenate([flat, rng.normal(PEAK, WIDTH, signal)])
    return np.floor((x - LOW) / STEP).astype(int)


def of_events(bins):
    return Events.of({"x": GRID[bins], "weights": np.ones(len(bins))})


def of_counts(bins):
    return Counts.of(np.bincount(bins, minlength=BINS).astype(float))
