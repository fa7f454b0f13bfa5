"""One record of each kind that a file has to hold, for the round-trip tests."""

import dataclasses
import functools as ft
import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import everwillow as ew
import everwillow.statelib as sl
from everwillow import goodness, impacts, profile
from everwillow.curvature import Dense
from everwillow.hypotest import results
from everwillow.parameters.constraints import AbstractConstraint


FORMATS = ("h5", "npz", "json")
if importlib.util.find_spec("h5py") is None:
    FORMATS = FORMATS[1:]


class Flat(AbstractConstraint):
    """A constraint whose class is somebody else's."""

    aux: Any
    center: Any
    width: Any

    def _nll(self, value, aux):
        return jnp.zeros_like(value) * aux

    def _sample(self, value, key):
        return value


START = ew.State.from_pytree({"mu": 1.0, "norm": {"a": np.array([1.0, 2.0])}})


def nll(params, data):
    pulls = params["norm"]["a"] - data["aux"]
    expected = params["mu"] * 10.0 + jnp.sum(params["norm"]["a"])
    return expected - data["n"] * jnp.log(expected) + 0.5 * jnp.sum(pulls**2)


def data(count):
    return {"n": jnp.asarray(count, float), "aux": jnp.array([1.0, 2.0])}


BOUNDS = {"mu": ew.Interval(lower=0.0)}


@ft.cache
def fit(count=20.0, **options):
    return ew.fit(nll, START, data(count), bounds=BOUNDS, throw=False, **options)


@ft.cache
def batch():
    counts = jnp.array([20.0, 1.0, np.nan])
    return jax.vmap(lambda n: ew.fit(nll, START, data(n), bounds=BOUNDS, throw=False))(
        counts
    )


def constrained():
    model = ew.Model(
        lambda params, observation: (params["mu"] - observation) ** 2,
        {"mu": 1.0, "theta": 0.5, "x": 0.1, "y": 0.2},
        1.2,
        constraints={
            "theta": ew.Normal(0.0, 1.0),
            "xy": ew.MultivariateNormal(("x", "y"), [0.0, 0.0], [[1, 0.5], [0.5, 2]]),
        },
    )
    return ew.fit(model)


def with_foreign_constraint():
    flat = Flat(aux=0.0, center=np.float64(0.25), width=np.float64(0.5))
    return dataclasses.replace(fit(), constraints={"mu": flat})


# name -> function that makes the record
RECORDS: dict[str, Callable[[], Any]] = {
    "fit": fit,
    "fit at a bound": lambda: fit(1.0),
    "fit of nan": lambda: fit(float("nan")),
    "fit, many": batch,
    "fit, constraints": constrained,
    "fit, nothing free": lambda: ew.fit(
        nll, START, data(20.0), fixed={"mu": ..., "norm.a": ...}
    ),
    "fit, no hessian": lambda: dataclasses.replace(fit(), hessian=None),
    "normal": lambda: ew.Normal(0.0, np.array([1.0, 2.0])),
    "poisson": lambda: ew.Poisson(400.0),
    "lognormal": lambda: ew.LogNormal(1.0, 1.1),
    "multivariate": lambda: ew.MultivariateNormal(
        ("a", ("b", "c")), [0, 1], [[1, 0.1], [0.1, 1]]
    ),
    "interval": lambda: ew.Interval(lower=0.0),
    "transform": lambda: ew.MinuitTransform(0.0, 2.0),
    "propagated": lambda: ew.propagate(lambda p: p["mu"] ** 2, fit()),
    "curvature": lambda: Dense(np.eye(2)),
    "scan": lambda: profile.scan(
        nll, fit(), data(20.0), name="mu", values=[1.0, 1.5, 2.0]
    ),
    "minos": lambda: profile.minos(nll, fit(), data(20.0), names=["mu"]),
    "ranking": lambda: impacts.rank(
        nll,
        fit(),
        data(20.0),
        poi="mu",
        constraints={"norm.a": ew.Normal(1.0, 1.0)},
    ),
    "groups": lambda: impacts.GroupImpacts(
        np.ones((1, 2)), np.zeros((1, 2)), np.ones(1), ("mu",), ("x", "y"), (("a",), ())
    ),
    "goodness": lambda: goodness.GoodnessResult(
        np.asarray(3.0), np.asarray(2.0), np.asarray(0.22)
    ),
    "test": lambda: results.HypoTestResult(
        1.2, 0.04, None, results.TestStatResult(1.2, 1.0, None, {"fit_free": fit()})
    ),
    "bands": lambda: results.BandValues(0.01, 0.02, 0.1, 0.2, np.float64(0.4)),
    "toys": lambda: results.ToyResult(np.arange(3.0), None, batch().status, None),
    "status": lambda: ew.RESULTS.flat_direction,
    "another status": lambda: profile.CROSSING.at_bound,
    "state": lambda: START,
    "list of states": lambda: [START, (START, None)],
    "prng key": lambda: {"key": jr.key(3), "raw": jr.PRNGKey(3)},
    "merged": lambda: sl.merge(START, ew.State.from_pytree([1.0, (2.0,)])),
}
# Each is compared with what several files bring back: make it once.
RECORDS = {name: ft.cache(make) for name, make in RECORDS.items()}
