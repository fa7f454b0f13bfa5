"""Claims about the State itself.

T1 round trip: ``from_pytree(tree).to_pytree() == tree`` for every kind of node.
T2 a State is a pytree: jit, vmap and grad of it give what they give for a dict.
T3 States made alike have one structure, so nothing is traced twice.
T4 nothing changes a State.
"""

import collections
import copy
import pickle
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

import everwillow.statelib as sl
from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EverwillowError,
    KeyCollisionError,
    UnknownKeyError,
)
from tests.helpers import TraceCounter, assert_no_retrace, tree_allclose
from tests.statelib.trees import TREES, Opaque, Rate


@pytest.fixture
def state() -> sl.State:
    return sl.State.from_pytree({"mu": 1.5, "bkg": [2.0, jnp.arange(3.0)]})


@pytest.mark.parametrize("name", TREES)
def test_round_trip(name):
    """T1: type, structure and leaves come back, and the keys are as written."""
    tree, is_leaf, keys = TREES[name]
    state = sl.State.from_pytree(tree, is_leaf=is_leaf)
    back = state.to_pytree()
    assert tuple(state) == keys
    assert type(back) is type(tree)
    assert back == tree
    assert jtu.tree_structure(back) == jtu.tree_structure(tree)


@pytest.mark.parametrize("name", ["dict", "namedtuple", "module", "dataclass"])
def test_round_trip_under_transformations(name):
    """T1 with tracers for leaves: the user's classes appear inside jit and grad."""
    tree, is_leaf, _ = TREES[name]
    state = sl.State.from_pytree(tree, is_leaf=is_leaf)
    seen = []

    def fn(s):
        seen.append(jtu.tree_structure(s.to_pytree()))
        return sum(x**2 for x in jtu.tree_leaves(s.to_pytree()))

    value = jax.jit(fn)(state)
    gradient = jax.grad(fn)(state)
    assert seen == [jtu.tree_structure(tree)] * 2
    assert float(value) == 5.0
    assert tree_allclose(gradient.to_pytree(), jax.tree.map(lambda x: 2 * x, tree))


def test_keys_with_another_separator():
    tree = {"b": {"c.d": 1.0}, "a": [2.0]}
    assert tuple(sl.State.from_pytree(tree, sep="/")) == ("a/0", "b/c.d")
    assert tuple(sl.State.from_pytree(tree, sep="::")) == ("a::0", "b::c.d")
    tuples = sl.State.from_pytree(tree, sep=None)
    assert tuple(tuples) == (("a", "0"), ("b", "c.d"))
    assert tuples["b", "c.d"] == 1.0
    assert tuples.to_pytree() == tree


def test_single_leaf_has_the_empty_key():
    assert tuple(sl.State.from_pytree(3.0, sep=None)) == ((),)
    named = sl.rename(sl.State.from_pytree(3.0), {"": "mu"})
    assert named["mu"] == named.to_pytree() == 3.0


def test_canonicalize_key_knows_all_kinds_of_entries():
    path = (
        jtu.DictKey("a"),
        jtu.SequenceKey(0),
        jtu.GetAttrKey("x"),
        jtu.FlattenedIndexKey(1),
    )
    assert sl.canonicalize_key(path) == "a.0.x.1"
    assert sl.canonicalize_key(path, sep="/") == "a/0/x/1"
    assert sl.canonicalize_key(path, sep=None) == ("a", "0", "x", "1")
    assert sl.canonicalize_key(()) == ""


def test_separator_in_a_segment_is_an_error():
    with pytest.raises(ArgumentValueError, match=r"'c\.d'.*separator '\.'.*sep='/'"):
        sl.State.from_pytree({"b": {"c.d": 1.0}})
    with pytest.raises(ArgumentValueError, match=r"sep='\|'"):
        sl.canonicalize_key((jtu.DictKey("a./:"),))
    with pytest.raises(ArgumentValueError, match=r"Choose sep=None"):
        sl.canonicalize_key((jtu.DictKey("./:|"),))


@pytest.mark.parametrize(("sep", "error"), [("", ValueError), (1, TypeError)])
def test_bad_separator(sep, error):
    with pytest.raises(error, match="sep:"):
        sl.State.from_pytree({}, sep=sep)
    with pytest.raises(error, match="sep:"):
        sl.canonicalize_key((), sep=sep)


def test_a_state_is_not_made_from_a_state(state):
    with pytest.raises(ArgumentTypeError, match="got a State"):
        sl.State.from_pytree(state)
    with pytest.raises(ArgumentTypeError, match="from_pytree"):
        sl.State({"a": 1.0})


def test_keys_that_read_alike_collide():
    with pytest.raises(KeyCollisionError, match="the key 1"):
        # An ordered dictionary, since JAX cannot sort keys of two types.
        sl.State.from_pytree(collections.OrderedDict([(1, 0.0), ("1", 1.0)]))
    with pytest.raises(ArgumentValueError, match="all be of one type"):
        sl.State.from_pytree({1: 0.0, "1": 1.0})


def test_mapping_protocol(state):
    assert isinstance(state, Mapping)
    assert list(state) == list(state.keys()) == ["bkg.0", "bkg.1", "mu"]
    assert len(state) == 3
    assert state["mu"] == state.get("mu") == 1.5
    assert "mu" in state
    assert "nu" not in state
    assert state.get("nu") is None
    assert state.get("nu", 7) == 7
    assert [key for key, _ in state.items()] == list(state)
    assert [np.shape(value) for value in state.values()] == [(), (3,), ()]
    assert dict(**state) == state.to_dict()


def test_unknown_key_suggests_a_known_one(state):
    with pytest.raises(UnknownKeyError, match=r"'bkg\.2'.*'bkg\.[01]'") as info:
        state["bkg.2"]
    assert isinstance(info.value, KeyError)
    assert isinstance(info.value, EverwillowError)
    with pytest.raises(UnknownKeyError, match=r"State\.origins"):
        state.origins("nu")


def test_nothing_changes_a_state(state):
    """T4."""
    with pytest.raises(AttributeError, match="immutable"):
        state.mu = 1.0
    with pytest.raises(AttributeError, match="immutable"):
        del state._values
    with pytest.raises(TypeError, match="assignment"):
        state["mu"] = 2.0
    with pytest.raises(TypeError, match="assignment"):
        state.mapping["mu"] = 2.0
    state.to_dict()["mu"] = 2.0
    state.notnone.clear()
    state.to_pytree()["bkg"].clear()
    assert list(state) == ["bkg.0", "bkg.1", "mu"]
    assert state["mu"] == 1.5


def test_values_are_kept_as_given():
    """No value is converted or copied, so nothing is decided here about dtypes."""
    leaves = [1, True, 2.5, np.arange(2), jnp.ones(3), object(), "text"]
    state = sl.State.from_pytree(leaves)
    assert all(a is b for a, b in zip(state.values(), leaves, strict=True))
    assert all(a is b for a, b in zip(state.to_pytree(), leaves, strict=True))
    replaced = state.with_values(reversed(leaves))
    assert all(a is b for a, b in zip(replaced.values(), leaves[::-1], strict=True))


def test_with_values_wants_all_of_them(state):
    with pytest.raises(ArgumentValueError, match="got 1 values for 3 entries"):
        state.with_values([1.0])


def test_notnone_leaves_out_what_is_elsewhere(state):
    half = state.with_values([None, 1.0, None])
    assert half.notnone == {"bkg.1": 1.0}
    assert list(half.mapping) == list(state)
    assert jax.tree.leaves(half) == [1.0]


def test_equal_means_the_same_object(state):
    """Arrays have no single answer to ``==``, so a State does not ask them."""
    other = state.with_values(state.values())
    assert state == state
    assert state != other
    assert len({state, other, state}) == 2


def test_structures_of_states_made_alike_are_equal():
    """T3: also for classes that are made twice, and after renaming both alike."""
    a, b = (sl.State.from_pytree(Rate(x, {"norm": 1.0})) for x in (1.0, 2.0))
    assert jtu.tree_structure(a) == jtu.tree_structure(b)
    assert hash(jtu.tree_structure(a)) == hash(jtu.tree_structure(b))
    c, d = (sl.rename(s, {"mu": "poi"}) for s in (a, b))
    assert jtu.tree_structure(c) == jtu.tree_structure(d)
    assert jtu.tree_structure(a) != jtu.tree_structure(c)
    other = sl.State.from_pytree(Rate(1.0, {"norm": 1.0}, "other"))
    assert jtu.tree_structure(a) != jtu.tree_structure(other)
    assert jtu.tree_structure(a) != jtu.tree_structure(sl.merge(a))


def test_states_made_alike_are_traced_once():
    """T3 as the user meets it."""
    counter = TraceCounter(lambda s: s["mu"] * s["nu"])
    fn = jax.jit(counter)
    fn(sl.State.from_pytree({"mu": 1.0, "nu": 2.0}))
    with assert_no_retrace(counter):
        assert float(fn(sl.State.from_pytree({"mu": 3.0, "nu": 4.0}))) == 12.0
    assert counter.calls == 1


def test_unhashable_static_parts_do_no_harm_before_jit():
    state = sl.State.from_pytree(Opaque(1.0, note=["a", "list"]))
    assert sl.rename(state, {"0": "mu"}).to_pytree() == Opaque(1.0, ["a", "list"])


def test_a_state_is_a_pytree_with_keys(state):
    """T2: leaves in State order under their keys, also inside other nodes."""
    paths = [jtu.keystr(path) for path, _ in jtu.tree_leaves_with_path({"s": state})]
    assert paths == ["['s']['bkg.0']", "['s']['bkg.1']", "['s']['mu']"]
    doubled = jax.tree.map(lambda x: 2 * x, {"s": state})["s"]
    assert isinstance(doubled, sl.State)
    assert tree_allclose(
        doubled.to_dict(), {"bkg.0": 4.0, "bkg.1": 2 * jnp.arange(3.0), "mu": 3.0}
    )
    assert tree_allclose(eqx.filter_jit(lambda s: s)(doubled), doubled)


def test_jit_is_eager(state):
    """T2."""

    def fn(s):
        return s.with_values([2.0 * x for x in s.values()])

    assert tree_allclose(jax.jit(fn)(state), fn(state))


def test_vmap_is_a_loop():
    """T2, with a State as in_axes: one entry mapped, the other not."""
    state = sl.State.from_pytree({"a": jnp.arange(4.0), "b": jnp.arange(2.0)})

    def fn(s):
        return s.with_values([s["a"] ** 2, s["a"] * s["b"]])

    mapped = jax.vmap(fn, in_axes=(state.with_values([0, None]),))(state)
    for i in range(4):
        one = fn(state.with_values([state["a"][i], state["b"]]))
        assert tree_allclose(jax.tree.map(lambda x, i=i: x[i], mapped), one)


def test_grad_is_that_of_the_dictionary(state):
    """T2."""

    def fn(values):
        return values["mu"] ** 3 * jnp.sum(values["bkg.1"]) + values["bkg.0"]

    gradient = jax.grad(fn)(state)
    assert isinstance(gradient, sl.State)
    assert tree_allclose(gradient.to_dict(), jax.grad(fn)(state.to_dict()))


def test_abstract_evaluation(state):
    shapes = jax.eval_shape(lambda s: s, state)
    assert [value.shape for value in shapes.values()] == [(), (3,), ()]
    assert jtu.tree_structure(shapes) == jtu.tree_structure(state)


@pytest.mark.parametrize("merged", [False, True])
def test_pickle(merged):
    """Pickling keeps values, keys, origins and structure, for custom nodes too."""
    state = sl.rename(sl.State.from_pytree(Rate(1.0, jnp.arange(2.0))), {"mu": "x"})
    if merged:
        state = sl.merge(state, sl.State.from_pytree({"x": 2.0, "n": None}))
    back = pickle.loads(pickle.dumps(state))
    assert tree_allclose(back, state)
    assert back.is_merged == state.is_merged
    assert back.origins("x") == state.origins("x")


def test_pickle_when_none_is_a_leaf():
    state = sl.State.from_pytree({"a": None}, is_leaf=lambda x: x is None)
    back = pickle.loads(pickle.dumps(state))
    assert back.to_pytree() == {"a": None}
    assert back.with_values([1.0]).to_pytree() == {"a": 1.0}


def test_copies():
    values = np.arange(3.0)
    state = sl.State.from_pytree({"a": values})
    shallow, deep = copy.copy(state), copy.deepcopy(state)
    assert shallow["a"] is values
    assert deep["a"] is not values
    assert tree_allclose(deep, state)


def test_origins():
    a = sl.rename(sl.State.from_pytree({"m": 1.0, "s": 1.0}), {"m": "mass"})
    assert a.origins("mass") == ((0, "m"),)
    merged = sl.merge(a, sl.State.from_pytree({"mass": 1.0}))
    assert merged.origins("mass") == ((0, "m"), (1, "mass"))
    assert merged.origins("s") == ((0, "s"),)
