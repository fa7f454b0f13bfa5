"""Likelihoods of the tests of profiles.

One landscape takes its features (a valley that bends, a second minimum, a plateau) from
its data, and all fits of it have the same bounds, so that they share their programs.
"""

import jax.numpy as jnp
import numpy as np

import everwillow as ew


START = ew.State.from_pytree({"a": 0.8, "b": np.array([0.1, 0.2]), "c": 0.1})

PLAIN = {
    "offset": 0.0,
    # ½ precision (a - mean)²
    "mean": 1.0,
    "precision": 4.0,
    # b follows slope a + bend a², within its spread.
    "slope": np.array([0.4, -1.0]),
    "bend": np.zeros(2),
    "spread": np.array([0.7, 0.9]),
    # ½ (1 - pitch a) c² - tilt a c + ¼ quartic c⁴
    "tilt": 0.6,
    "pitch": 0.0,
    "quartic": 0.0,
    # well (a² - 1)²
    "well": 0.0,
    # height (1 - exp(-a²/2))
    "height": 0.0,
    # No likelihood beyond.
    "wall": np.inf,
}


def landscape(params, data):
    a, b, c = params["a"], params["b"], params["c"]
    away = (b - data["slope"] * a - data["bend"] * a**2) / data["spread"]
    return (
        data["offset"]
        + 0.5 * data["precision"] * (a - data["mean"]) ** 2
        + 0.5 * jnp.sum(away**2)
        + 0.5 * (1 - data["pitch"] * a) * c**2
        - data["tilt"] * a * c
        + 0.25 * data["quartic"] * c**4
        + data["well"] * (a**2 - 1) ** 2
        + data["height"] * (1 - jnp.exp(-0.5 * a**2))
        + jnp.where(a > data["wall"], jnp.nan, 0)
    )


def data(**features):
    """Data of `landscape`; without features it is a Gaussian."""
    assert features.keys() <= PLAIN.keys()
    return {key: np.asarray(value) for key, value in (PLAIN | features).items()}


def bounds(a=(None, None), b=(None, None), c=(None, None)):
    """Bounds of `landscape`, all of them boxes, with or without ends."""
    return {"a": ew.Interval(*a), "b": ew.Interval(*b), "c": ew.Interval(*c)}


def fixed_fit(observation, held, box, start=START):
    """Fit anew with `fixed=`, another program than that of the profiles."""
    return ew.fit(landscape, start, observation, fixed=held, bounds=box, throw=False)


def counting(params, observed):
    """``-ln L`` of a Poisson count, up to a constant."""
    return params["rate"] - observed * jnp.log(params["rate"])


def counting_ends(observed, rise):
    """Bisect for where ``rate - n ln(rate)`` has risen, in NumPy, on both sides."""

    def height(rate):
        return rate - observed - observed * np.log(rate / observed) - rise

    def bisect(inside, outside):
        for _ in range(200):
            middle = 0.5 * (inside + outside)
            if height(middle) < 0:
                inside = middle
            else:
                outside = middle
        return middle

    ends = [bisect(observed, 1e-12), bisect(observed, 10 * observed + 50)]
    return np.array(ends) - observed
