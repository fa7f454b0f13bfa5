"""Two mass measurements with one scale each, and counting experiments."""

import jax.numpy as jnp
import jax.random as jr
import jax.scipy.stats as jss

from everwillow.model import Model
from everwillow.parameters import Interval, Normal


def mass_nll_a(params, main):
    return -jss.norm.logpdf(main["x"], params["mass"] * params["scale"], main["err"])


def mass_nll_b(params, main):
    return -jss.norm.logpdf(main["x"], params["m"] * params["scale"], main["err"])


def expected_a(params):
    return {"x": params["mass"] * params["scale"], "err": jnp.asarray(1.5)}


def sample_a(params, key):
    expected = expected_a(params)
    return {**expected, "x": expected["x"] + 1.5 * jr.normal(key)}


def measured_a(*, scale=None, mass=125.0, **options):
    constraint = Normal(1.0, 0.02) if scale is None else scale
    return Model(
        mass_nll_a,
        {"mass": mass, "scale": 1.0},
        {"x": 125.5, "err": 1.5},
        constraints={"scale": constraint},
        expected=expected_a,
        sample=sample_a,
        **options,
    )


def measured_b(*, scale=None, **options):
    constraint = Normal(1.0, 0.03) if scale is None else scale
    return Model(
        mass_nll_b,
        {"m": 124.0, "scale": 1.0},
        {"x": 124.8, "err": 2.0},
        constraints={"scale": constraint},
        bounds={"m": Interval(0.0)},
        **options,
    )


def quadratic(names, *, constraints=None, centre=0.0, **options):
    """A model of any scalar parameters, pulled to `centre` with width 1."""
    return Model(
        lambda p, main: 0.5 * sum((p[name] - main) ** 2 for name in names),
        dict.fromkeys(names, 0.5),
        centre,
        constraints=constraints,
        expected=lambda p: p[names[0]],
        sample=lambda p, key: p[names[0]] + jr.normal(key),
        **options,
    )
