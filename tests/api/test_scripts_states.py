"""Forms of calls that existing scripts rely on: States, bounds, transforms."""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
from everwillow import parameters
from everwillow.parameters import bounds
from everwillow.parameters.transforms import (
    MinuitTransform,
    OneSidedLogTransform,
    SigmoidTransform,
    SoftPlusTransform,
)
from everwillow.util import float_array


def nll(params, data):
    return 0.5 * jnp.sum((data - params["mu"]) ** 2) + 0.5 * params["x"] ** 2


START = sl.State.from_pytree({"mu": 1.0, "x": 0.5})


@pytest.mark.parametrize(
    "bound",
    [
        MinuitTransform(0, 5),
        SigmoidTransform(0.0, 5.0),
        OneSidedLogTransform(0.0),
        SoftPlusTransform(),
        ew.Interval(0.0, 5.0),
    ],
    ids=lambda bound: type(bound).__name__,
)
def test_a_state_of_bounds_has_the_keys_of_the_parameters(bound):
    state = sl.State.from_pytree({"mu": bound, "x": None})
    assert list(state) == ["mu"]
    assert state["mu"] is bound
    assert state.to_pytree() == {"mu": bound, "x": None}
    result = ew.fit(nll, START, 3.0, bounds=state)
    np.testing.assert_allclose(result.params["mu"], 3.0, atol=1e-6)


def test_a_state_of_bounds_holds_their_numbers_for_jax():
    state = sl.State.from_pytree({"mu": MinuitTransform(0, 5)})
    doubled = jax.jit(lambda s: jax.tree.map(lambda leaf: 2 * leaf, s))(state)
    assert list(doubled) == ["mu"]
    assert doubled["mu"].upper == 10.0


def test_nested_bounds_and_functions_of_the_user_for_leaves():
    tree = {"a": [ew.Interval(0.0, 1.0), SoftPlusTransform()], "b": {"c": None}}
    state = sl.State.from_pytree(tree, is_leaf=lambda leaf: leaf is None)
    assert list(state) == ["a.0", "a.1", "b.c"]
    assert sl.State.from_pytree(MinuitTransform(0, 5))[""].upper == 5


def test_a_bound_of_none_is_no_bound():
    found = ew.fit(nll, START, 3.0, bounds={"x": None, "mu": MinuitTransform(0, 2)})
    np.testing.assert_allclose(found.params["x"], 0.0, atol=1e-6)


@pytest.mark.parametrize("name", ["bounds", "fixed"])
@pytest.mark.parametrize("wrong", [3.0, "mu", ["mu"], {"mu": "text"}, {"mu": object()}])
def test_arguments_that_cannot_be_used_are_type_errors(name, wrong):
    with pytest.raises(TypeError):
        ew.fit(nll, START, 3.0, **{name: wrong})


def test_pairs_are_no_bounds():
    with pytest.raises(TypeError):
        ew.fit(nll, START, 3.0, bounds={"mu": (0.0, 5.0)})


def test_tuples_as_keys_give_one_segment_for_each_element():
    tree = {("a", "b"): {"c": 1.0}, ("a", "d"): [2.0]}
    state = sl.State.from_pytree(tree)
    assert state.to_dict() == {"a.b.c": 1.0, "a.d.0": 2.0}
    assert state.to_pytree() == tree
    assert list(sl.State.from_pytree(tree, sep="/")) == ["a/b/c", "a/d/0"]
    assert next(iter(sl.State.from_pytree(tree, sep=None))) == ("a", "b", "c")


def test_states_with_tuples_as_keys_are_saved(tmp_path):
    state = sl.State.from_pytree({("a", "b"): {"c": 1.0}})
    ew.io.save(state, tmp_path / "state.json")
    assert ew.io.load(tmp_path / "state.json").to_dict() == {"a.b.c": 1.0}


@pytest.mark.parametrize("entry", [object(), 3, "a", None])
def test_an_entry_of_a_key_path_of_an_unknown_type_is_a_type_error(entry):
    with pytest.raises(TypeError):
        sl.canonicalize_key((jtu.DictKey("a"), entry))


def test_without_changes_the_same_state_comes_back():
    assert sl.apply_transformations(START, {}) is START
    for module in (parameters, bounds):
        assert module.wrap(START, {}) is START
        assert module.unwrap(START, {}) is START
        assert module.wrap(START, {"mu": None, "x": ew.Interval(0.0)}) is START


def test_wrap_and_unwrap_are_inverse_for_dicts_and_states():
    mapping = {"mu": MinuitTransform(0, 5), "x": SigmoidTransform(-1.0, 1.0)}
    for given in (mapping, sl.State.from_pytree(mapping)):
        there = bounds.unwrap(START, given)
        back = bounds.wrap(there, given)
        np.testing.assert_allclose(back["mu"], 1.0, rtol=1e-12)
        np.testing.assert_allclose(back["x"], 0.5, rtol=1e-12)
    slope = jax.jit(jax.grad(lambda t: bounds.wrap(t, mapping)["x"]))(there)
    assert 0 < slope["x"] < 1


@pytest.mark.parametrize("function", [bounds.wrap, bounds.unwrap])
def test_bounds_of_unknown_parameters_are_key_errors(function):
    with pytest.raises(KeyError):
        function(START, {"nu": MinuitTransform(0, 5)})
    with pytest.raises(KeyError):
        sl.apply_transformations(START, {"nu": sl.Transform(new_key="a")})


def test_wrong_kinds_of_states():
    with pytest.raises(TypeError):
        sl.State.from_pytree(START)
    for wrong in ({"mu": 1.0}, None, 3.0):
        with pytest.raises(TypeError):
            sl.update(wrong, {"mu": 2.0})
    with pytest.raises(TypeError):
        sl.update(START, [2.0])
    left, _ = sl.partition(START, lambda key, value: key == "mu")
    other = sl.State.from_pytree({"mu": 1.0, "y": 0.5})
    _, right = sl.partition(other, lambda key, value: key == "mu")
    with pytest.raises(ValueError, match="not the two parts"):
        sl.combine_partitions(left, right)


def test_repr_shows_values_as_they_are():
    assert repr(START) == "State(mu=1.0, x=0.5)"
    assert repr(sl.State.from_pytree({"a": jnp.array(2.0), "n": 1})) == (
        "State(a=2.0, n=1)"
    )


@pytest.mark.parametrize("value", [1, 1.5, [1, 2], np.ones(3, "f4"), jnp.arange(2)])
def test_float_arrays_have_the_default_type(value):
    array = float_array(value)
    assert isinstance(array, jax.Array)
    assert array.dtype == jnp.result_type(float)
    np.testing.assert_array_equal(array, np.asarray(value))
    assert jax.jit(float_array)(jnp.arange(2)).dtype == array.dtype
    assert ew.util.float_array(x=value).dtype == array.dtype
