"""Fits whose minimum, covariance and value are known in closed form."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
from tests.fitting.objectives import (
    GAUSSIAN_START,
    SAMPLE,
    gaussian,
    quadratic,
    quadratic_data,
    state,
)
from tests.helpers import tree_allclose


# ------------------------------------------------------------------ linear models


def straight_line(params, data):
    pull = (data["y"] - params["offset"] - params["slope"] * data["x"]) / data["error"]
    return 0.5 * jnp.sum(pull**2)


LINE_START = state(offset=0.0, slope=0.0)


def line_data(seed=3):
    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 3, 9)
    error = rng.uniform(0.5, 2.0, size=9)
    return {"x": x, "error": error, "y": 1.5 - 0.7 * x + error * rng.normal(size=9)}


@pytest.mark.parametrize("start", [(0.0, 0.0), (1e3, -1e4), (-1e-9, 1e6)])
def test_a_straight_line(start):
    data = line_data()
    result = ew.fit(straight_line, state(offset=start[0], slope=start[1]), data)
    design = np.stack([np.ones(9), data["x"]], axis=1) / data["error"][:, None]
    scaled = data["y"] / data["error"]
    solution, chi2, *_ = np.linalg.lstsq(design, scaled, rcond=None)
    # Normal equations cost half of the digits that the far start leaves.
    np.testing.assert_allclose(list(result.params.values()), solution, rtol=1e-8)
    np.testing.assert_allclose(
        result.covariance, np.linalg.inv(design.T @ design), rtol=1e-12
    )
    np.testing.assert_allclose(result.hessian, design.T @ design, rtol=1e-12)
    np.testing.assert_allclose(result.nll, 0.5 * chi2[0], rtol=1e-9)
    assert result.labels == ("offset", "slope")
    assert result.edm <= 1e-8


def test_the_same_line_as_least_squares_takes_one_step():
    def residuals(params, data):
        line = params["offset"] + params["slope"] * data["x"]
        return (data["y"] - line) / data["error"]

    plain = ew.fit(straight_line, LINE_START, line_data())
    squares = ew.fit(ew.LeastSquares(residuals), LINE_START, line_data())
    for result in (plain, squares):
        # One evaluation at the start, one at the minimum.
        assert result.num_steps <= 3
    np.testing.assert_allclose(squares.covariance, plain.covariance, rtol=1e-12)
    np.testing.assert_allclose(squares.nll, plain.nll, rtol=1e-12)


def weighted_mean(params, data):
    return 0.5 * jnp.sum(((data["x"] - params["mean"]) / data["error"]) ** 2)


def test_a_weighted_mean():
    data = {"x": np.array([9.8, 10.4, 10.1]), "error": np.array([0.1, 0.4, 0.2])}
    result = ew.fit(weighted_mean, state(mean=0.0), data)
    weights = data["error"] ** -2
    mean = weights @ data["x"] / weights.sum()
    np.testing.assert_allclose(result.params["mean"], mean, rtol=1e-14)
    np.testing.assert_allclose(result.covariance, [[1 / weights.sum()]], rtol=1e-14)
    chi2 = np.sum(((data["x"] - mean) / data["error"]) ** 2)
    np.testing.assert_allclose(2 * result.nll, chi2, rtol=1e-10)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_correlated_gaussians(size):
    data = quadratic_data(size, seed=size)
    result = ew.fit(quadratic, state(x=np.full(size, 7.0)), data)
    np.testing.assert_allclose(result.params["x"], data["centre"], rtol=1e-12)
    np.testing.assert_allclose(
        result.covariance, np.linalg.inv(data["hessian"]), rtol=1e-12
    )
    np.testing.assert_allclose(result.nll, 0, atol=1e-20)
    np.testing.assert_allclose(result.gradient, 0, atol=1e-12)


# ------------------------------------------------------------------ other likelihoods


def counting(params, data):
    expected = params["mu"] * data["signal"] + data["background"]
    return expected - data["observed"] * jnp.log(expected)


@pytest.mark.parametrize("observed", [3.0, 57.0, 1e6])
def test_a_counting_experiment(observed):
    data = {"signal": 4.0, "background": 2.0, "observed": observed}
    result = ew.fit(counting, state(mu=1.0), data)
    np.testing.assert_allclose(result.params["mu"], (observed - 2) / 4, rtol=1e-9)
    # -ln L = ν - n ln ν has the second derivative n s²/ν² = s²/n at ν = n.
    np.testing.assert_allclose(result.covariance, [[observed / 16]], rtol=1e-8)
    np.testing.assert_allclose(
        result.nll, observed - observed * np.log(observed), rtol=1e-14
    )


@pytest.mark.parametrize("start", [(0.0, 1.0), (50.0, 20.0), (3.0, 0.01)])
def test_mean_and_width_of_a_sample(start):
    result = ew.fit(gaussian, state(mu=start[0], sigma=start[1]), SAMPLE)
    mean, width, n = SAMPLE.mean(), SAMPLE.std(), SAMPLE.size
    np.testing.assert_allclose(result.params["mu"], mean, rtol=1e-9)
    np.testing.assert_allclose(np.abs(result.params["sigma"]), width, rtol=1e-9)
    expected = np.diag([width**2 / n, width**2 / (2 * n)])
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(result.nll, n * (0.5 + np.log(width)), rtol=1e-12)


@pytest.mark.parametrize("start", [(2.0, 0.0), (0.0, 0.0), (-7.0, 1e3)])
@pytest.mark.parametrize("error", [1.0, 0.1])
def test_a_perfect_fit_with_a_parameter_at_zero(start, error):
    """Neither the value nor the parameter has a size to hold a step against."""
    x = np.array([-1.0, 0.0, 3.0])
    data = {"x": x, "y": np.full(3, 5.0), "error": np.full(3, error)}
    result = ew.fit(straight_line, state(offset=start[0], slope=start[1]), data)
    np.testing.assert_allclose(result.params["offset"], 5.0, rtol=1e-12)
    np.testing.assert_allclose(result.params["slope"], 0.0, atol=1e-12)
    assert result.num_steps < 20


def shifted(params, data):
    total = params["mass"] + params["shift"] - data["x"]
    alone = params["mass"] - data["x"]
    both = (total / data["error"]) ** 2 + (alone / data["error"]) ** 2
    return 0.5 * both + 0.5 * params["shift"] ** 2


@pytest.mark.parametrize("start", [2.0, 0.0, 4.9])
@pytest.mark.parametrize("error", [1.0, 0.1, 1e-3])
def test_a_perfect_fit_where_a_pull_is_zero(start, error):
    data = {"x": 5.0, "error": error}
    result = ew.fit(shifted, state(mass=start, shift=0.0), data)
    np.testing.assert_allclose(result.params["mass"], 5.0, rtol=1e-12)
    np.testing.assert_allclose(result.params["shift"], 0.0, atol=1e-12)
    assert result.num_steps < 20


# ------------------------------------------------------------------ sizes and offsets


@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize("scale", [1.0, (1e-6, 1.0, 1e6), (1e6, 1e-6, 1e-6)])
def test_parameters_of_different_size_and_a_large_offset(scale, offset):
    data = quadratic_data(3, seed=11, scale=scale, offset=offset)
    result = ew.fit(quadratic, state(x=np.zeros(3)), data)
    np.testing.assert_allclose(result.params["x"], data["centre"], rtol=1e-9)
    unit = np.broadcast_to(scale, 3)
    expected = np.linalg.inv(data["hessian"] * np.outer(unit, unit))
    np.testing.assert_allclose(
        result.covariance / np.outer(unit, unit), expected, rtol=1e-10
    )
    np.testing.assert_allclose(result.nll, offset, atol=1e-12)


def shifted_gaussian(params, data):
    return gaussian(params, data["sample"]) + data["offset"]


@pytest.mark.parametrize("offset", [1e8, -1e8])
def test_a_large_offset_leaves_a_curved_likelihood_alone(offset):
    # The value has nothing to say below 1e-8, so the gradient must lead to the end.
    data = {"sample": SAMPLE, "offset": offset}
    result = ew.fit(shifted_gaussian, state(mu=20.0, sigma=30.0), data)
    np.testing.assert_allclose(result.params["mu"], SAMPLE.mean(), rtol=1e-8)
    np.testing.assert_allclose(result.params["sigma"], SAMPLE.std(), rtol=1e-7)


# ------------------------------------------------------------------ structures


class Point(NamedTuple):
    x: object
    y: object


class Shape(eqx.Module):
    width: object
    weights: object
    name: str = eqx.field(static=True)


def distance(params, data):
    """``½ Σ i (x_i - c_i)²`` over all numbers of a pytree, in the order of JAX."""
    away = [
        jnp.ravel(p - c)
        for p, c in zip(jax.tree.leaves(params), jax.tree.leaves(data), strict=True)
    ]
    away = jnp.concatenate(away)
    return 0.5 * jnp.sum(jnp.arange(1.0, away.size + 1) * away**2)


TREES = {
    "a leaf": 2.0,
    "nested dicts": {"b": {"z": 1.0, "a": 2.0}, "a": 3.0},
    "list and tuple": [1.0, (2.0, np.array([3.0, 4.0]))],
    "a namedtuple": Point(1.0, {"k": 2.0}),
    "a module": Shape(1.0, np.arange(6.0).reshape(2, 3), "gauss"),
    "empty parts": {"a": 1.0, "none": None, "empty": {}},
    "matrix": {"m": np.arange(4.0).reshape(2, 2), "s": np.ones((1, 1))},
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_the_structure_of_the_parameters_is_kept(tree):
    start = sl.State.from_pytree(tree)
    target = jax.tree.map(lambda leaf: np.asarray(leaf) * 0.5 - 3.0, tree)
    result = ew.fit(distance, start, target)
    assert tree_allclose(result.params.to_pytree(), target, rtol=1e-12, atol=1e-12)
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(tree))
    expected = np.diag(1 / np.arange(1.0, size + 1))
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-12, atol=1e-15)
    assert len(result.labels) == size


def test_labels_of_array_elements():
    tree = {"gamma": np.zeros((2, 2)), "mu": 0.0, "nu": np.zeros(2)}
    start = sl.State.from_pytree(tree)
    target = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, tree)
    result = ew.fit(distance, start, target, fixed={"mu": ...})
    names = [f"gamma[{i},{j}]" for i in range(2) for j in range(2)]
    assert result.labels == (*names, "nu[0]", "nu[1]")
    np.testing.assert_allclose(
        np.diag(result.covariance), 1 / np.array([1.0, 2, 3, 4, 6, 7]), rtol=1e-12
    )


def test_keys_that_are_tuples():
    start = sl.State.from_pytree({"b": {"c": 0.0}, "a": 1.0}, sep=None)
    target = {"b": {"c": 5.0}, "a": 2.0}
    result = ew.fit(distance, start, target, fixed={("b", "c"): 4.0})
    assert tree_allclose(result.params.to_pytree(), {"b": {"c": 4.0}, "a": 2.0})
    # ½ · 2 · (4 - 5)²
    np.testing.assert_allclose(result.nll, 1.0, rtol=1e-14)


def pair(params, data):
    first, second = params
    return (
        0.5 * (first["m"] - data[0]) ** 2
        + 0.5 * (second["mass"] - data[1]) ** 2
        + 0.5 * (second["shift"] - data[2] * first["m"]) ** 2
    )


@pytest.mark.slow
def test_merged_and_renamed_states_keep_their_pieces():
    first = sl.rename(state(m=0.0), {"m": "mass"})
    merged = sl.merge(first, state(mass=1.0, shift=0.0))
    result = ew.fit(pair, merged, np.array([2.0, 4.0, 3.0]))
    assert result.params.is_merged
    assert list(result.params) == ["mass", "shift"]
    expected = ({"m": 3.0}, {"mass": 3.0, "shift": 9.0})
    assert tree_allclose(result.params.to_pytree(), expected, rtol=1e-12)
    pieces = sl.split(result.params)
    assert list(pieces[0]) == ["mass"]
    assert tree_allclose(pieces[1].to_pytree(), expected[1], rtol=1e-12)
    hessian = [[2.0 + 9.0, -3.0], [-3.0, 1.0]]
    np.testing.assert_allclose(result.hessian, hessian, rtol=1e-12)
    fixed = ew.fit(pair, merged, np.array([2.0, 4.0, 3.0]), fixed={"mass": 2.0})
    expected = ({"m": 2.0}, {"mass": 2.0, "shift": 6.0})
    assert tree_allclose(fixed.params.to_pytree(), expected, rtol=1e-12)


def test_the_order_of_parameters_does_not_matter():
    data = quadratic_data(3, seed=5)
    turn = np.array([2, 0, 1])
    turned = {
        "centre": data["centre"][turn],
        "hessian": data["hessian"][np.ix_(turn, turn)],
        "offset": data["offset"],
    }
    one = ew.fit(quadratic, state(x=np.zeros(3)), data)
    other = ew.fit(quadratic, state(x=np.zeros(3)), turned)
    np.testing.assert_allclose(other.params["x"], one.params["x"][turn], rtol=1e-12)
    np.testing.assert_allclose(
        other.covariance, one.covariance[np.ix_(turn, turn)], rtol=1e-12
    )


def test_the_end_of_a_fit_is_where_the_next_one_starts():
    first = ew.fit(gaussian, GAUSSIAN_START, SAMPLE)
    again = ew.fit(gaussian, first.params, SAMPLE)
    assert again.num_steps <= 2
    assert tree_allclose(again.params.to_dict(), first.params.to_dict(), rtol=1e-12)
