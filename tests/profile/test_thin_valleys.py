"""Contours of thin curved valleys against the closed form of their extremes."""

import jax.numpy as jnp
import numpy as np

import everwillow as ew
from everwillow.profile import contour


CASES = 210
START = ew.State.from_pytree({"x": 1.0, "y": 0.05})


def valley(params, data):
    """Along a parabola or a ring: ½ (across / width)² + ½ (along / reach)²."""
    x, y = params["x"], params["y"]
    ring = jnp.stack([jnp.hypot(x, y) - 1, jnp.arctan2(y, x)])
    bent = jnp.stack([y - data["bend"] * (x - 1) ** 2, x - 1])
    across, along = jnp.where(data["ring"], ring, bent)
    return 0.5 * (across / data["width"]) ** 2 + 0.5 * (along / data["reach"]) ** 2


def extremes(data, level):
    angle = np.linspace(0, 2 * np.pi, 20001)
    radius = np.sqrt(2 * level)
    across = radius * data["width"] * np.cos(angle)
    along = radius * data["reach"] * np.sin(angle)
    if data["ring"]:
        x, y = (1 + across) * np.cos(along), (1 + across) * np.sin(along)
    else:
        x, y = 1 + along, across + data["bend"] * along**2
    return np.array([[x.min(), y.min()], [x.max(), y.max()]])


def test_what_is_called_closed_has_the_right_extremes():
    rng = np.random.default_rng(7)
    closed = 0
    for _ in range(CASES):
        level = 0.5 * rng.choice([1.0, 2.3])
        data = {
            "ring": rng.random() < 0.7,
            "width": 10 ** rng.uniform(-2.3, -0.5),
            "reach": rng.uniform(0.3, 2.8 / np.sqrt(2 * level) * 0.9),
            "bend": 10 ** rng.uniform(-1, 0.7),
        }
        fit = ew.fit(valley, START, data, throw=False)
        if not fit.success:
            continue
        cl = -np.expm1(-level)
        found = contour(valley, fit, data, names=("x", "y"), cl=cl)
        if not found.closed:
            continue
        closed += 1
        exact = extremes(data, level)
        ends = np.array([found.points.min(axis=0), found.points.max(axis=0)])
        off = np.abs(ends - exact) / (exact[1] - exact[0])
        assert off.max() < 0.02, (data, level)
    assert closed > CASES // 4


def test_a_ring_whose_arms_are_near_each_other():
    """It was called closed without a third of it."""
    data = {"ring": True, "width": 0.0287098, "reach": 1.0950537, "bend": 1.0}
    found = contour(valley, START, data, names=("x", "y"), cl=-np.expm1(-1.15))
    exact = extremes(data, 1.15)
    low = np.nanmin(found.points, axis=0)
    assert not found.closed or np.all(low - exact[0] < 0.02)
