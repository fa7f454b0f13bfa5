"""Models of the tests: Gaussian, with closed forms, and counts as in pyhf."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import everwillow as ew


WIDTH, NUISANCE = 1.0, 0.75
SIGMA = float(np.hypot(WIDTH, NUISANCE))


def gaussian(params, data):
    """X ~ N(mu + theta, 1) and an auxiliary measurement a ~ N(theta, 0.75).

    The best fit is mu = x - a with the standard deviation SIGMA, and -2 ln(lambda) is
    ((mu - x + a) / SIGMA)² exactly.
    """
    pull = (data["x"] - params["mu"] - params["theta"]) / WIDTH
    return 0.5 * pull**2 + 0.5 * ((data["a"] - params["theta"]) / NUISANCE) ** 2


def gaussian_prediction(state):
    return {"x": state["mu"] + state["theta"], "a": state["theta"]}


def gaussian_toy(state, key):
    first, second = jr.split(key)
    return {
        "x": state["mu"] + state["theta"] + WIDTH * jr.normal(first),
        "a": state["theta"] + NUISANCE * jr.normal(second),
    }


GAUSSIAN_START = ew.State.from_pytree({"mu": 0.5, "theta": 0.0})
GAUSSIAN_DATA = {"x": np.float64(0.9), "a": np.float64(0.2)}


def quadratic(mu_hat, mu):
    return ((mu - mu_hat) / SIGMA) ** 2


class Counts(eqx.Module):
    """-ln L of counts around mu s + gamma b."""

    signal: jax.Array
    background: jax.Array

    def rate(self, params):
        return params["mu"] * self.signal + params["gamma"] * self.background

    def __call__(self, params, counts):
        rate = self.rate(params)
        return jnp.sum(rate - counts * jnp.log(rate))


class Rate(eqx.Module):
    counts: Counts

    def __call__(self, params):
        return self.counts.rate(params)


class Draw(eqx.Module):
    counts: Counts

    def __call__(self, params, key):
        rate = self.counts.rate(params)
        return jr.poisson(key, rate).astype(rate.dtype)


def uncorrelated_background(
    signal=(12.0, 11.0),
    background=(50.0, 52.0),
    uncertainty=(3.0, 7.0),
    data=(51.0, 48.0),
    bounds=(0.0, 10.0),
):
    """The model of that name of pyhf: one Poisson-constrained factor for each bin."""
    signal, background = np.array(signal), np.array(background)
    counts = Counts(signal, background)
    return ew.Model(
        counts,
        {"mu": 1.0, "gamma": np.ones(len(signal))},
        np.array(data),
        constraints={
            "gamma": ew.Poisson(tau=(background / np.array(uncertainty)) ** 2)
        },
        bounds={"mu": ew.Interval(*bounds), "gamma": ew.Interval(1e-10, 10.0)},
        expected=Rate(counts),
        sample=Draw(counts),
    )
