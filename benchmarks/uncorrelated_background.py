"""A counting experiment with an uncertain background in each bin, ours and pyhf's."""

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
from jax.scipy.special import gammaln

import everwillow as ew


BACK_ENDS = (("numpy", "scipy"), ("numpy", "minuit"), ("jax", "scipy"))


def numbers(bins: int) -> tuple[np.ndarray, ...]:
    """Return signal, background, its errors, and data."""
    if bins == 2:
        signal, background = np.array([12.0, 11.0]), np.array([50.0, 52.0])
        return signal, background, np.array([3.0, 7.0]), np.array([51.0, 48.0])
    signal, background = np.linspace(5, 15, bins), np.linspace(80, 40, bins)
    return signal, background, np.linspace(3, 7, bins), np.round(background)


def ours(bins: int) -> ew.Model:
    """Make the model, with one gamma a bin and a Poisson constraint on each."""
    signal, background, errors, data = numbers(bins)

    def expected(params):
        return params["mu"] * signal + params["gamma"] * background

    def main_nll(params, counts):
        rate = expected(params)
        return jnp.sum(rate - counts * jnp.log(rate) + gammaln(counts + 1))

    def sample(params, key):
        return jax.random.poisson(key, expected(params)).astype(float)

    return ew.Model(
        main_nll,
        {"mu": 1.0, "gamma": np.ones(bins)},
        data,
        constraints={"gamma": ew.Poisson((background / errors) ** 2)},
        bounds={"mu": ew.Interval(0.0, 10.0), "gamma": ew.Interval(1e-10, 10.0)},
        expected=expected,
        sample=sample,
    )


def theirs(bins: int):
    """Make the same in pyhf, with its data."""
    signal, background, errors, data = numbers(bins)
    model = pyhf.simplemodels.uncorrelated_background(
        signal=signal.tolist(), bkg=background.tolist(), bkg_uncertainty=errors.tolist()
    )
    return model, [*data.tolist(), *model.config.auxdata]
