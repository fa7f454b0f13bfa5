"""Extended fits of single events, a peak over an exponential, against MIGRAD."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
from iminuit import Minuit
from jax.scipy.stats import norm

import everwillow as ew
from benchmarks.timing import Row, emit, interleave, milliseconds, ratio, seconds
from everwillow.likelihood.unbinned import extended_nll


TOPIC = "unbinned"
EVENTS = 100_000
LOW, HIGH = 5.0, 5.6
NAMES = ("signal", "background", "mean", "width", "slope")
TRUTH = (0.3 * EVENTS, 0.7 * EVENTS, 5.28, 0.03, 2.0)
START = (0.5 * EVENTS, 0.5 * EVENTS, 5.3, 0.05, 1.0)


def masses() -> np.ndarray:
    """Draw the events."""
    rng = np.random.default_rng(1)
    signal, _, mean, width, slope = TRUTH
    uniform = rng.random(EVENTS - int(signal))
    falling = -np.log1p(uniform * np.expm1(-slope * (HIGH - LOW))) / slope
    return np.concatenate([rng.normal(mean, width, int(signal)), LOW + falling])


def nll(p, mass):
    """Return -ln L, without bins."""
    mean, width, slope = p["mean"], p["width"], p["slope"]
    inside = norm.cdf((HIGH - mean) / width) - norm.cdf((LOW - mean) / width)
    signal = p["signal"] * norm.pdf(mass, mean, width) / inside
    falling = slope * jnp.exp(-slope * (mass - LOW)) / -jnp.expm1(-slope * (HIGH - LOW))
    intensity = signal + p["background"] * falling
    total = p["signal"] + p["background"]
    return extended_nll(jnp.log(intensity), jnp.ones_like(mass), total)


def migrad(value, gradient=None) -> Minuit:
    """Run MIGRAD and HESSE, as a fit of everwillow has the errors, too."""
    minuit = Minuit(value, np.asarray(START), grad=gradient, name=NAMES)
    minuit.errordef, minuit.strategy = Minuit.LIKELIHOOD, 1
    for name in ("signal", "background", "width"):
        minuit.limits[name] = (1e-3, None)
    minuit.migrad()
    minuit.hesse()
    return minuit


def measure() -> list[Row]:
    """Time fits with errors, first calls apart."""
    mass = masses()
    state = ew.State.from_pytree(dict(zip(NAMES, START, strict=True)))
    bounds = {
        name: ew.Interval(lower=1e-3) for name in ("signal", "background", "width")
    }

    def ours():
        return ew.fit(nll, state, mass, bounds=bounds)

    on_device = jnp.asarray(mass)
    of_vector = lambda x, mass: nll(dict(zip(NAMES, x, strict=True)), mass)
    compiled = jax.jit(of_vector)
    slope = jax.jit(jax.grad(of_vector))
    value = lambda x: float(compiled(x, on_device))
    gradient = lambda x: np.asarray(slope(x, on_device))
    first = seconds(lambda: ours().covariance)
    calls = {
        "everwillow": lambda: ours().covariance,
        "iminuit": ft.partial(migrad, value),
        "iminuit, gradients of JAX": ft.partial(migrad, value, gradient),
    }
    value(np.asarray(START)), gradient(np.asarray(START))
    times = interleave(calls, repeats=7)
    best, theirs = ours(), migrad(value)
    values = np.array([float(best.params[name]) for name in NAMES])
    errors = np.array([float(best.errors[name]) for name in NAMES])
    away = np.max(np.abs(values - np.asarray(theirs.values)) / errors)
    notes = {
        "everwillow": f"{int(best.num_steps)} evaluations; first call {first:.2f} s",
        "iminuit": f"{theirs.nfcn} values; parameters differ by {away:.0e} errors",
    }
    rows = [
        milliseconds(TOPIC, f"{EVENTS} events, {name}", t, note=notes.get(name, ""))
        for name, t in times.items()
    ]
    for name in ("iminuit", "iminuit, gradients of JAX"):
        what = f"{EVENTS} events, {name} over everwillow"
        least = min(times[name]) / min(times["everwillow"])
        rows.append(
            Row(TOPIC, what, ratio(times[name], times["everwillow"]), "x", least)
        )
    return rows


if __name__ == "__main__":
    emit(measure())
