"""Thin curved valleys in closed form: maps of a circle, so their contours are known.

In the chart (u, v) each is ½ (u² + v²), u across the valley and v along it, so that the
contour is the circle u² + v² = 2 level. All share a program: the map is in the data.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import everwillow as ew


# Graphs y = g(x) + width u, then maps of another kind.
KINDS = ("square", "cube", "exp", "sine", "hyperbola", "ratio", "ring")
COUPLING = 1.5


class Valley(NamedTuple):
    """A map, the level of its contour, and whether a third parameter is profiled."""

    data: dict
    level: float
    third: bool

    @property
    def cl(self):
        return -np.expm1(-self.level)

    @property
    def start(self):
        a, b = forward(self.data, 0.3, 0.2)
        third = {"z": 0.1} if self.third else {}
        return ew.State.from_pytree({"a": float(a), "b": float(b)} | third)

    @property
    def nll(self):
        return profiled if self.third else plain

    def radius(self, points):
        """Return the distance from the best fit in the chart; 1 at the level."""
        u, v = chart(self.data, points[..., 0], points[..., 1], np)
        return np.hypot(u, v) / np.sqrt(2 * self.level)

    def exact(self, number=20001):
        """Return points of the contour, shape ``(number, 2)``."""
        angle = np.linspace(0, 2 * np.pi, number)
        size = np.sqrt(2 * self.level)
        return np.stack(
            forward(self.data, size * np.cos(angle), size * np.sin(angle)), axis=-1
        )


def graph(kind, t, bend, library):
    """Return the floor of the valleys that are graphs."""
    forms = (t**2, t**3, library.exp(t) - 1, library.sin(2 * t))
    floor = forms[0]
    for i, form in enumerate(forms):
        floor = library.where(kind == i, form, floor)
    return bend * floor


def chart(data, a, b, library):
    """Return across and along, u and v, of two parameters."""
    a, b = a / data["size"][0], b / data["size"][1]
    x = data["turn"][0] * a + data["turn"][1] * b
    y = -data["turn"][1] * a + data["turn"][0] * b
    kind, width, reach = data["kind"], data["width"], data["reach"]
    inside = (x > 0) & (y > 0)
    wall = library.where(inside, 0.0, library.nan)
    xs, ys = library.where(inside, x, 1.0), library.where(inside, y, 1.0)
    across = (
        y - graph(kind, x - 1, data["bend"], library),
        library.log(xs * ys) + wall,
        ys / xs - 1 + wall,
        library.sqrt(x**2 + y**2) - 1,
    )
    along = (
        x - 1,
        0.5 * library.log(xs / ys),
        (x - 1) / 0.35,
        library.arctan2(y, x),
    )
    u, v = across[0], along[0]
    for i in range(1, 4):
        u = library.where(kind == 3 + i, across[i], u)
        v = library.where(kind == 3 + i, along[i], v)
    return u / width, v / reach


def forward(data, u, v):
    """Return the two parameters of u and v, in NumPy."""
    kind, u, v = KINDS[int(data["kind"])], data["width"] * u, data["reach"] * v
    if kind == "hyperbola":
        x, y = np.exp(0.5 * u + v), np.exp(0.5 * u - v)
    elif kind == "ratio":
        x = 1 + 0.35 * v
        y = x * (1 + u)
    elif kind == "ring":
        x, y = (1 + u) * np.cos(v), (1 + u) * np.sin(v)
    else:
        x, y = 1 + v, u + graph(data["kind"], v, data["bend"], np)
    cosine, sine = data["turn"]
    return data["size"][0] * (cosine * x - sine * y), data["size"][1] * (
        sine * x + cosine * y
    )


def plain(params, data):
    """-ln L of the two parameters alone."""
    u, v = chart(data, params["a"], params["b"], jnp)
    return 0.5 * u**2 + 0.5 * v**2


def profiled(params, data):
    """The same after minimising over z, which follows the valley and widens it."""
    u, v = chart(data, params["a"], params["b"], jnp)
    z = params["z"] - 0.3 * v**2
    wide = u * np.hypot(1, COUPLING) - COUPLING * z
    return 0.5 * wide**2 + 0.5 * z**2 + 0.5 * v**2


def valley(rng, kind):
    """Return a random valley of a kind; widths go from 0.5 to 0.001 of the size."""
    level = float(rng.choice([0.5, -np.log1p(-0.6827), -np.log1p(-0.95)]))
    size = np.sqrt(2 * level)
    width, reach = 10 ** rng.uniform(-3, -0.3), 10 ** rng.uniform(-0.5, 0.2) / size
    if kind == "ring":
        width, reach = min(width, 0.5 / size), rng.uniform(0.3, 2.6) / size
    elif kind == "ratio":
        width, reach = min(width, 0.7 / size), min(reach, 2.2 / size)
    elif kind == "hyperbola":
        width = min(width, 1 / size)
    angle = rng.choice([0.0, 0.0, 0.5, -1.1, np.pi / 4])
    data = {
        "kind": np.asarray(KINDS.index(kind)),
        "width": np.asarray(width),
        "reach": np.asarray(reach),
        "bend": np.asarray(rng.choice([-1, 1]) * 10 ** rng.uniform(-0.5, 0.7)),
        "turn": np.array([np.cos(angle), np.sin(angle)]),
        "size": 10.0 ** rng.choice([-6, 0, 0, 6], size=2),
    }
    return Valley(data, level, bool(rng.random() < 0.3))
