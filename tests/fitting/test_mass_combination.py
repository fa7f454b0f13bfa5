"""Two measurements of one mass, alone and together: the numbers have a closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
from tests.fitting.objectives import state
from tests.helpers import tree_allclose


# Each experiment measures mass times scale, and its constraint fits the scale: with
# one datum for each parameter an experiment alone is solved exactly.
MEASURED = {"a": (125.5, 1.5, 0.02), "b": (124.8, 2.0, 0.03)}


def measured(mass, scale, data):
    return 0.5 * ((data["x"] - mass * scale) / data["error"]) ** 2


def nll_a(params, data):
    a = data["a"]
    constraint = 0.5 * ((params["scale_a"] - 1) / a["width"]) ** 2
    return measured(params["mass"], params["scale_a"], a) + constraint


def nll_b(params, data):
    b = data["b"]
    constraint = 0.5 * ((params["scale_b"] - 1) / b["width"]) ** 2
    return measured(params["m"], params["scale_b"], b) + constraint


DATA = {
    name: dict(zip(("x", "error", "width"), numbers, strict=True))
    for name, numbers in MEASURED.items()
}
STATE_A = state(mass=125.0, scale_a=1.0)
STATE_B = sl.apply_transformations(
    state(m=125.0, scale_b=1.0), {"m": sl.Transform(new_key="mass")}
)


def error_of(result, name):
    where = result.labels.index(name)
    return np.sqrt(result.covariance[where, where])


@pytest.mark.parametrize(
    ("nll", "start", "name", "published"),
    [(nll_a, STATE_A, "a", 2.9241), (nll_b, STATE_B, "b", 4.2447)],
)
def test_each_experiment_alone(nll, start, name, published):
    result = ew.fit(nll, start, DATA)
    x, error, width = MEASURED[name]
    np.testing.assert_allclose(result.params["mass"], x, rtol=1e-10)
    np.testing.assert_allclose(result.params[f"scale_{name}"], 1.0, rtol=1e-10)
    # mass = measured / scale, with independent errors on both.
    np.testing.assert_allclose(
        error_of(result, "mass"), np.hypot(error, x * width), rtol=1e-9
    )
    np.testing.assert_allclose(error_of(result, "mass"), published, atol=5e-5)


def joint_by_prepare():
    nll, merged = ew.prepare([nll_a, nll_b], [STATE_A, STATE_B])
    return ew.fit(nll, merged, DATA)


def main_a(params, data):
    return measured(params["mass"], params["scale_a"], data)


def main_b(params, data):
    return measured(params["m"], params["scale_b"], data)


def models():
    parts = {}
    for name, fn, mass in (("a", main_a, "mass"), ("b", main_b, "m")):
        x, error, width = MEASURED[name]
        parts[name] = ew.Model(
            fn,
            {mass: 125.0, f"scale_{name}": 1.0},
            {"x": x, "error": error},
            constraints={f"scale_{name}": ew.Normal(1.0, width)},
        )
    return parts


def joint_by_combine():
    return ew.fit(ew.combine(models(), rename={"b": {"m": "mass"}}))


@pytest.mark.parametrize("joint", [joint_by_prepare, joint_by_combine])
def test_both_together(joint):
    result = joint()
    assert list(result.params) == ["mass", "scale_a", "scale_b"]
    np.testing.assert_allclose(result.params["mass"], 125.2767, atol=5e-5)
    np.testing.assert_allclose(result.params["scale_a"], 1.00131, atol=5e-6)
    np.testing.assert_allclose(result.params["scale_b"], 0.99703, atol=5e-6)
    np.testing.assert_allclose(error_of(result, "mass"), 2.4084, atol=5e-5)
    np.testing.assert_allclose(result.covariance, expected_covariance(result))


def expected_covariance(result):
    """Invert the second derivatives, written out by hand."""
    mass = float(result.params["mass"])
    hessian = np.zeros((3, 3))
    for i, name in enumerate(MEASURED, start=1):
        x, error, width = MEASURED[name]
        scale = float(result.params[f"scale_{name}"])
        hessian[0, 0] += (scale / error) ** 2
        hessian[i, i] = (mass / error) ** 2 + width**-2
        hessian[0, i] = hessian[i, 0] = (2 * mass * scale - x) / error**2
    return np.linalg.inv(hessian)


def test_split_gives_each_experiment_its_own_names():
    result = joint_by_prepare()
    part_a, part_b = sl.split(result.params)
    assert list(part_a) == ["mass", "scale_a"]
    assert set(part_b.to_pytree()) == {"m", "scale_b"}
    assert part_b.to_pytree()["m"] == part_a["mass"]
    np.testing.assert_allclose(
        result.nll,
        nll_a(part_a.to_pytree(), DATA) + nll_b(part_b.to_pytree(), DATA),
        rtol=1e-10,
    )


@pytest.mark.slow
def test_models_alone_and_together():
    a, b = models().values()
    alone = ew.fit(a), ew.fit(b)
    np.testing.assert_allclose(error_of(alone[0], "mass"), 2.9241, atol=5e-5)
    np.testing.assert_allclose(error_of(alone[1], "m"), 4.2447, atol=5e-5)
    # Nothing shared: the joint fit is both fits side by side.
    apart = ew.fit(ew.combine({"a": a, "b": b}, shared=[]))
    assert list(apart.params) == ["a.mass", "a.scale_a", "b.m", "b.scale_b"]
    np.testing.assert_allclose(apart.nll, alone[0].nll + alone[1].nll, rtol=1e-12)
    blocks = np.zeros((4, 4))
    blocks[:2, :2], blocks[2:, 2:] = alone[0].covariance, alone[1].covariance
    np.testing.assert_allclose(apart.covariance, blocks, rtol=1e-9, atol=1e-12)


def test_a_constraint_that_both_share_counts_once():
    x, error, _ = MEASURED["a"]
    shared = {
        "constraints": {"scale": ew.Normal(1.0, 0.02)},
        "observation": {"x": x, "error": error},
        "params": {"mass": 125.0, "scale": 1.0},
    }
    one = ew.Model(shared_scale, **shared)
    result = ew.fit(ew.combine([one, one]))
    # Two equal measurements halve the variance of the datum, not that of the scale.
    expected = np.hypot(error / np.sqrt(2), x * 0.02)
    np.testing.assert_allclose(error_of(result, "mass"), expected, rtol=1e-9)


def shared_scale(params, data):
    return measured(params["mass"], params["scale"], data)


def test_the_start_does_not_matter():
    nll, merged = ew.prepare([nll_a, nll_b], [STATE_A, STATE_B])
    far = sl.update(merged, updates={"mass": 300.0, "scale_a": 2.0, "scale_b": 0.4})
    near, result = joint_by_prepare(), ew.fit(nll, far, DATA)
    assert tree_allclose(result.params.to_dict(), near.params.to_dict(), rtol=1e-8)
    assert jnp.abs(result.nll - near.nll) < 1e-9
