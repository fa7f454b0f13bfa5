"""Channels and processes that tests of parameter models use."""

import numpy as np

from everwillow.likelihood.histograms import Axis, Channel, Layout


X = Axis("x", edges=(0.0, 1.0, 2.0, 4.0, 8.0))
CAT = Axis("cat", labels=("low", "high"))
ISO = Axis("iso", edges=(0.0, 0.1, 0.3, 1.0))
MT = Axis("mt", edges=(0.0, 40.0, 120.0))
FLOW = Axis("x", edges=(-np.inf, 0.0, 1.0, 2.0, 4.0, 8.0))
PROCESSES = ("signal", "other", "qcd", "fakes")

ABCD_REGIONS = {
    "A": ("side", {"iso": 1, "mt": 1}),
    "B": ("side", {"iso": 1, "mt": 0}),
    "C": ("side", {"iso": 0, "mt": 0}),
    "D": ("side", {"iso": 0, "mt": 1}),
}
EXTENDED_REGIONS = {
    "A": ("side", {"iso": 1, "mt": 0}),
    "Ax": ("side", {"iso": 2, "mt": 0}),
    "B": ("side", {"iso": 1, "mt": 1}),
    "Bx": ("side", {"iso": 2, "mt": 1}),
    "C": ("side", {"iso": 0, "mt": 0}),
    "D": ("side", {"iso": 0, "mt": 1}),
}


def layout_of(x: Axis) -> Layout:
    return Layout(
        (
            Channel("main", (x, CAT)),
            Channel("side", (ISO, MT, x)),
            Channel("flow", (FLOW,)),
            Channel("gen", (x,), masked=True),
        ),
        PROCESSES,
    )


def nominal_of(layout: Layout) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.uniform(5.0, 50.0, (len(layout.processes), layout.bins))


LAYOUT = layout_of(X)
