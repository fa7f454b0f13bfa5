"""A layout of histograms and its yields, which tests of mappings share."""

from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from everwillow.likelihood.histograms import Axis, Channel, Layout, Yields
from everwillow.mappings import (
    AngularCoefficients,
    Asymmetry,
    Composite,
    Custom,
    Difference,
    Identity,
    LamTung,
    Normalize,
    Normratio,
    Project,
    Ratio,
    Select,
)


X = Axis("x", edges=(0.0, 0.5, 1.0, 2.0, 4.0))
Y = Axis("y", edges=(0.0, 1.0, 2.0, 3.0, 4.0))
CAT = Axis("cat", labels=("tight", "loose"))
HELICITY = Axis("helicitySig", labels=(-1, 0, 1, 2, 3))
PT = Axis("pt", edges=(0.0, 10.0, 30.0, 100.0))
PROCESSES = ("signal", "exp bkg", "flat")
LAYOUT = Layout(
    (
        Channel("ch0", (X, CAT)),
        Channel("ch1", (Y, CAT)),
        Channel("z", (PT, HELICITY)),
        Channel("one", ()),
        Channel("xsec", (CAT,), masked=True),
    ),
    PROCESSES,
)
SIZE = LAYOUT.bins

NOMINAL = np.asarray(jr.uniform(jr.key(1), (3, SIZE), minval=1.0, maxval=9.0))
RESPONSE = np.asarray(0.3 * jr.normal(jr.key(2), (3, SIZE, 4)))
POINT = np.array([0.3, -0.8, 1.1, 0.2])


def yields_at(theta: Any) -> Yields:
    """Log-linear yields."""
    return Yields(NOMINAL * jnp.exp(RESPONSE @ theta), LAYOUT)


def mean_of_x(params, yields):
    return jnp.average(jnp.arange(4.0), weights=jnp.sum(yields["ch0"], 1))[None]


def one_bin(params, yields, channel, index):
    return {"bin": jnp.ravel(yields[channel])[int(index)] * params["scale"]}


MEAN = Custom(mean_of_x, axes=(Axis("mean", labels=("x",)),), of_data=True)


def channel(values, name):
    """Cut a channel out of an array (..., bins), in NumPy."""
    shape = LAYOUT.channel(name).shape
    return values[..., LAYOUT.bins_of(name)].reshape(*values.shape[:-1], *shape)


def ch0(v):
    return channel(v, "ch0").sum(0)


def ch1(v):
    return channel(v, "ch1").sum(0)


def z(v):
    return channel(v, "z")


# Each mapping as it is written, as it is constructed, and by NumPy from (process, bin).
CASES = {
    "Identity": (
        Identity(),
        lambda v: (
            {c.name: channel(v, c.name).sum(0) for c in LAYOUT.channels}
            | {"one": channel(v, "one").sum(0)[None]}
        ),
    ),
    "Identity xsec ch0": (
        Identity("xsec", "ch0"),
        lambda v: {"ch0": ch0(v), "xsec": channel(v, "xsec").sum(0)},
    ),
    "Select ch0": (Select("ch0"), ch0),
    "Select ch0 cat:0": (Select("ch0", selection="cat:0"), lambda v: ch0(v)[:, 0]),
    'Select ch0 flat,"exp bkg" x:1:3,cat:sum': (
        Select(
            "ch0",
            processes=("flat", "exp bkg"),
            selection={"x": slice(1, 3), "cat": sum},
        ),
        lambda v: channel(v, "ch0")[1:, 1:3].sum((0, 2)),
    ),
    "Select ch1 y:rebin(0,2,3),cat:loose": (
        Select("ch1", selection={"y": "rebin(0,2,3)", "cat": "loose"}),
        lambda v: np.stack([ch1(v)[:2].sum(0), ch1(v)[2]])[:, 1],
    ),
    "Select ch0 x:-1,cat:-2": (
        Select("ch0", selection={"x": -1, "cat": -2}),
        lambda v: ch0(v)[-1:, -2],
    ),
    "Project ch0": (Project("ch0"), lambda v: ch0(v).sum(keepdims=True).ravel()),
    "Project ch0 cat x": (Project("ch0", axes=["cat", "x"]), lambda v: ch0(v).T),
    "Project xsec": (Project("xsec"), lambda v: channel(v, "xsec").sum((0, 1))[None]),
    "Project one": (Project("one"), lambda v: channel(v, "one").sum(0)[None]),
    "Normalize ch0": (Normalize("ch0"), lambda v: ch0(v) / ch0(v).sum()),
    "Normalize ch0 x": (
        Normalize("ch0", axes="x"),
        lambda v: ch0(v).sum(1) / ch0(v).sum(),
    ),
    "Ratio ch0 ch0 signal None cat:sum cat:sum": (
        Ratio(
            "ch0",
            "ch0",
            processes=("signal", None),
            selection=("cat:sum", {"cat": sum}),
        ),
        lambda v: channel(v, "ch0")[0].sum(1) / ch0(v).sum(1),
    ),
    "Ratio ch0 ch1": (Ratio("ch0", "ch1"), lambda v: ch0(v) / ch1(v)),
    "Ratio xsec xsec cat:0 cat:1": (
        Ratio("xsec", "xsec", selection=("cat:0", "cat:1")),
        lambda v: channel(v, "xsec").sum(0)[:1] / channel(v, "xsec").sum(0)[1:],
    ),
    "Normratio ch0 ch0 cat:0 cat:1": (
        Normratio("ch0", "ch0", selection=("cat:0", "cat:1")),
        lambda v: (
            ch0(v)[:, 0] / ch0(v)[:, 0].sum() / (ch0(v)[:, 1] / ch0(v)[:, 1].sum())
        ),
    ),
    "Asymmetry ch0 ch0 cat:0 cat:1": (
        Asymmetry("ch0", "ch0", selection=("cat:0", "cat:1")),
        lambda v: -np.diff(ch0(v))[:, 0] / ch0(v).sum(1),
    ),
    "Difference ch0 ch1": (Difference("ch0", "ch1"), lambda v: ch0(v) - ch1(v)),
    "AngularCoefficients z signal pt:rebin(0,30,100)": (
        AngularCoefficients("z", processes="signal", selection="pt:rebin(0,30,100)"),
        lambda v: (
            np.add.reduceat(z(v)[0], [0, 2])[:, 1:]
            / np.add.reduceat(z(v)[0], [0, 2])[:, :1]
        ),
    ),
    "LamTung z pt:sum axis=helicitySig": (
        LamTung("z", selection="pt:sum", axis="helicitySig"),
        lambda v: (z(v).sum((0, 1))[1:2] - z(v).sum((0, 1))[3:4]) / z(v).sum((0, 1))[0],
    ),
    "tests.mappings.histograms:mean_of_x": (
        Custom(mean_of_x),
        lambda v: np.average(np.arange(4), weights=ch0(v).sum(1))[None],
    ),
    "tests.mappings.histograms:one_bin ch0 3": (
        Custom(one_bin, "ch0", "3"),
        lambda v: {"bin": 2 * ch0(v).ravel()[3]},
    ),
    "Project ch0 x; Project ch1 y": (
        Composite(Project("ch0", axes="x"), Project("ch1", axes="y")),
        lambda v: {"Project ch0 x": ch0(v).sum(1), "Project ch1 y": ch1(v).sum(1)},
    ),
}
