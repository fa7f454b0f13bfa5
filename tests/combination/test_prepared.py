"""`prepare`: the joint likelihood is the sum, each part under its own names."""

import jax
import jax.numpy as jnp
import jax.scipy.stats as jss
import jax.tree_util as jtu
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ShapeMismatchError,
)
from everwillow._numerics import value_gradient_hessian
from everwillow.combination import Prepared, describe, prepare
from everwillow.curvature import Arrow, Dense
from everwillow.objective import Evaluation, LeastSquares, evaluate
from everwillow.statelib import State, merge, rename, split, update
from tests.helpers import tree_allclose


def nll_a(params, data):
    return (params["mass"] * params["scale"] - data) ** 2


def nll_b(params, data):
    return jnp.cos(params["m"]) + data * params["shape"][0] * params["shape"][1]


def nll_c(params, data):
    return jnp.exp(0.1 * params[0]) * data + params[1]


def states():
    a = State.from_pytree({"mass": 2.0, "scale": 1.5})
    b = State.from_pytree({"m": 2.0, "shape": [0.5, 3.0]})
    return a, rename(b, {"m": "mass"}), State.from_pytree((0.3, 0.7))


def test_the_sum_of_the_separate_likelihoods():
    nlls, parts = (nll_a, nll_b, nll_c), states()
    nll, state = prepare(nlls, parts)
    assert isinstance(nll, Prepared)
    assert list(state) == ["mass", "scale", "shape.0", "shape.1", "0", "1"]
    trees = state.to_pytree()
    expected = sum(f(s.to_pytree(), 1.1) for f, s in zip(nlls, parts, strict=True))
    np.testing.assert_allclose(nll(trees, 1.1), expected, rtol=1e-15)
    np.testing.assert_allclose(jax.jit(nll)(trees, 1.1), expected, rtol=1e-15)


def test_disjoint_parts_do_not_see_each_other():
    nll, state = prepare([nll_a, nll_c], [states()[0], states()[2]])
    gradient = jax.grad(nll)(state.to_pytree(), 1.1)
    alone = (
        jax.grad(nll_a)(states()[0].to_pytree(), 1.1),
        jax.grad(nll_c)(states()[2].to_pytree(), 1.1),
    )
    assert tree_allclose(gradient, alone, rtol=1e-15)


def test_the_order_changes_nothing():
    a, b, c = states()
    one, first = prepare([nll_a, nll_b, nll_c], [a, b, c])
    other, second = prepare([nll_c, nll_b, nll_a], [c, b, a])
    np.testing.assert_allclose(
        one(first.to_pytree(), 0.3), other(second.to_pytree(), 0.3), rtol=1e-15
    )


def test_one_part_is_that_part():
    nll, state = prepare([nll_a], [states()[0]])
    assert nll(state.to_pytree(), 1.0) == nll_a({"mass": 2.0, "scale": 1.5}, 1.0)


def test_split_gives_each_part_its_own_names():
    _, state = prepare([nll_a, nll_b], states()[:2])
    a, b = split(update(state, {"mass": 7.0, "scale": 2.0}))
    assert a.to_pytree() == {"mass": 7.0, "scale": 2.0}
    assert b.to_pytree() == {"m": 7.0, "shape": [0.5, 3.0]}


@pytest.mark.parametrize("separate", [False, True])
def test_combinations_of_combinations(separate):
    """A part that is a combination gets its slice of the flat tuple."""
    a, b, c = states()
    inner, inner_state = prepare([nll_a, nll_b], [a, b], separate_observations=True)
    outer, state = prepare(
        [nll_c, inner, nll_a],
        [c, inner_state, rename(a, {"mass": "mass2", "scale": "scale2"})],
        separate_observations=separate,
    )
    assert len(state.to_pytree()) == 4
    data = (1.0, (2.0, 3.0), 4.0) if separate else (5.0, 6.0)
    expected = (
        nll_c(c.to_pytree(), 1.0)
        + nll_a(a.to_pytree(), 2.0)
        + nll_b(b.to_pytree(), 3.0)
        + nll_a(a.to_pytree(), 4.0)
    )
    if not separate:
        # All see the pair; only the inner combination can take it apart.
        outer, state = prepare([inner], [inner_state])
        expected = nll_a(a.to_pytree(), 5.0) + nll_b(b.to_pytree(), 6.0)
    np.testing.assert_allclose(outer(state.to_pytree(), data), expected, rtol=1e-15)


def test_nesting_is_flattening():
    a, b, c = states()
    inner, inner_state = prepare([nll_a, nll_b], [a, b])
    nested, nested_state = prepare([inner, nll_c], [inner_state, c])
    flat, flat_state = prepare([nll_a, nll_b, nll_c], [a, b, c])
    assert nested_state.to_pytree() == flat_state.to_pytree()
    np.testing.assert_allclose(
        nested(nested_state.to_pytree(), 0.4),
        flat(flat_state.to_pytree(), 0.4),
        rtol=1e-15,
    )


def test_a_merged_state_of_one_piece_is_still_a_tuple():
    nll, state = prepare([lambda trees, data: trees[0]["x"] * data], [merge(_x(3.0))])
    assert nll(state.to_pytree(), 2.0) == 6.0


def _x(value):
    return State.from_pytree({"x": value})


def test_observations_by_position_and_by_name():
    parts = states()[:2]
    expected = nll_a(parts[0].to_pytree(), 1.0) + nll_b(parts[1].to_pytree(), 2.0)
    nll, state = prepare([nll_a, nll_b], parts, separate_observations=True)
    assert nll(state.to_pytree(), (1.0, 2.0)) == expected
    assert nll(state.to_pytree(), [1.0, 2.0]) == expected
    named, named_state = prepare(
        {"z": nll_a, "a": nll_b},
        {"a": parts[1], "z": parts[0]},
        separate_observations=True,
    )
    trees = named_state.to_pytree()
    assert named(trees, {"a": 2.0, "z": 1.0}) == expected
    # Under jit a dictionary comes with its names sorted.
    np.testing.assert_allclose(
        jax.jit(named)(trees, {"z": 1.0, "a": 2.0}), expected, rtol=1e-15
    )


def test_preparing_again_gives_the_same_structure():
    def structure(scale):
        a = State.from_pytree({"mass": scale, "scale": 1.5})
        nll, state = prepare([nll_a, nll_b], [a, states()[1]])
        return jtu.tree_structure((nll, state))

    assert structure(1.0) == structure(2.0)
    assert hash(structure(1.0)) == hash(structure(2.0))
    swapped = prepare([nll_b, nll_a], [states()[1], states()[0]])
    assert jtu.tree_structure(swapped) != structure(1.0)


def test_preparing_again_traces_nothing():
    traced = []

    def counting(params, data):
        traced.append(1)
        return nll_a(params, data)

    @jax.jit
    def value(nll, trees, data):
        return nll(trees, data)

    for start in (1.0, 2.0):
        a = State.from_pytree({"mass": start, "scale": 1.5})
        nll, state = prepare([counting, nll_b], [a, states()[1]])
        value(nll, state.to_pytree(), np.float64(start))
    assert len(traced) == 1


def test_a_constraint_inside_two_functions_counts_twice():
    """`prepare` cannot look inside functions; the documented reason for `combine`."""

    def nll(params, data):
        measured = -jss.norm.logpdf(data, params["x"] * params["lumi"], 1.0)
        return measured - jss.norm.logpdf(params["lumi"], 1.0, 0.1)

    state = State.from_pytree({"x": 1.0, "lumi": 1.0})
    joint, merged = prepare([nll, nll], [state, state])

    def of_lumi(lumi):
        trees = update(merged, {"lumi": lumi, "x": 0.0}).to_pytree()
        return joint(trees, 0.0)

    curvature = jax.grad(jax.grad(of_lumi))(1.0)
    np.testing.assert_allclose(curvature, 2 / 0.1**2, rtol=1e-12)


# Curvature


class ArrowNll:
    """``½ a² + Σ (a + t)²`` in the order (a, t), with its arrow."""

    def __call__(self, params, data):
        return 0.5 * params["a"] ** 2 + jnp.sum((params["a"] + params["t"]) ** 2)

    def curvature(self, params, data):
        a, t = params["a"], params["t"]
        arrow = Arrow(
            jnp.full((1, 1), 1.0 + 2.0 * t.size),
            jnp.full((1, t.size), 2.0),
            jnp.full(t.size, 2.0),
            np.array([0]),
            np.arange(1, 1 + t.size),
        )
        gradient = jnp.concatenate([(a + 2 * jnp.sum(a + t))[None], 2 * (a + t)])
        return Evaluation(self(params, data), gradient, arrow)


@pytest.mark.slow
@pytest.mark.parametrize("other", ["least squares", "plain", "nested"])
def test_the_hooks_of_the_parts_are_joined(other):
    squares = LeastSquares(lambda p, o: jnp.stack([p["b"] * p["c"] - o, p["c"] + 1.0]))
    parts = [ArrowNll(), squares if other != "plain" else nll_a]
    second = {"b": 0.5, "c": 1.5} if other != "plain" else {"mass": 2.0, "scale": 1.5}
    arrow_state = State.from_pytree({"a": 0.4, "t": jnp.array([1.0, 2.0, 3.0])})
    nll, state = prepare(parts, [arrow_state, State.from_pytree(second)])
    if other == "nested":
        nll, state = prepare([nll_c, nll], [states()[2], state])
    trees = jtu.tree_map(jnp.asarray, state.to_pytree())
    x, unravel = ravel_pytree(trees)
    value, gradient, hessian = value_gradient_hessian(lambda v: nll(unravel(v), 0.7), x)
    found = evaluate(nll, trees, 0.7)
    assert isinstance(found.curvature, Arrow)
    np.testing.assert_allclose(found.value, value, rtol=1e-14)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-13)
    np.testing.assert_allclose(
        found.curvature.as_matrix(), hessian, rtol=1e-12, atol=1e-12
    )
    # Where a part has none, the exact curvature stands in.
    assert (found.gauss_newton is None) == (other == "plain")


def test_dense_hooks_give_a_dense_curvature():
    line = LeastSquares(lambda p, o: p["x"] * jnp.arange(3.0) - o)
    nll, state = prepare([line, line], [_x(1.0), rename(_x(2.0), {"x": "y"})])
    found = evaluate(nll, jtu.tree_map(jnp.asarray, state.to_pytree()), 1.0)
    assert isinstance(found.curvature, Dense)
    np.testing.assert_allclose(found.curvature.as_matrix(), 5.0 * np.eye(2))
    np.testing.assert_allclose(found.gauss_newton.as_matrix(), 5.0 * np.eye(2))


def test_without_hooks_there_is_none():
    assert prepare([nll_a], [states()[0]])[0].curvature is None


def test_prepared_states_can_be_described():
    _, state = prepare([nll_a, nll_b], states()[:2])
    description = describe(state)
    assert description["mass"].used_by == {"model0": "mass", "model1": "m"}
    assert description["mass"].bounds is description["mass"].constraint is None


# Errors


@pytest.mark.parametrize(
    ("nlls", "parts", "error", "message"),
    [
        ([], [], ArgumentValueError, "at least one likelihood"),
        ([nll_a], states()[:2], ArgumentValueError, "1 likelihoods and 2 States"),
        ([nll_a], [1.0], ArgumentTypeError, r"states\[0\]: expected a State"),
        ([3.0], states()[:1], ArgumentTypeError, r"nlls\[0\]: expected a function"),
        (nll_a, states()[:1], ArgumentTypeError, "nlls must be a list"),
        ([nll_a], states()[0], ArgumentTypeError, "states must be a list"),
        ({"a": nll_a}, [states()[0]], ArgumentTypeError, "must be a mapping too"),
        ({"a": nll_a}, {}, ArgumentValueError, "no entry for 'a'"),
        ({"a": nll_a}, {"a": states()[0], "ab": states()[0]}, ValueError, "no 'ab'"),
    ],
)
def test_bad_input_is_explained(nlls, parts, error, message):
    with pytest.raises(error, match=message):
        prepare(nlls, parts)


def test_bad_calls_are_explained():
    nll, state = prepare([nll_a, nll_b], states()[:2], separate_observations=True)
    trees = state.to_pytree()
    with pytest.raises(ArgumentValueError, match="got 3 entries for 2"):
        nll(trees, (1.0, 2.0, 3.0))
    with pytest.raises(ArgumentTypeError, match="list or tuple with one entry"):
        nll(trees, {"a": 1.0, "b": 2.0})
    with pytest.raises(ArgumentValueError, match=r"got 1 pytrees, .* takes 2"):
        nll(trees[:1], (1.0, 2.0))
    with pytest.raises(ArgumentTypeError, match=r"state.to_pytree\(\)"):
        nll(trees[0], (1.0, 2.0))
    named, _ = prepare({"a": nll_a}, {"a": states()[0]}, separate_observations=True)
    with pytest.raises(ArgumentValueError, match="no entry for 'a'"):
        named(trees[:1], {})
    with pytest.raises(ArgumentTypeError, match="each of 'a', got tuple"):
        named(trees[:1], (1.0,))


def test_the_part_that_returns_no_scalar_is_named():
    nll, _ = prepare([nll_a, lambda p, o: jnp.ones(3)], [_x(1.0), _x(1.0)])
    with pytest.raises(ShapeMismatchError, match=r"likelihood 1: .*\(3,\)"):
        nll(({"mass": 1.0, "scale": 1.0}, {"x": 1.0}), 0.0)
