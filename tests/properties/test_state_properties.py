"""Properties of States for any pytree: round trips, and each undoing its inverse."""

import pickle

import hypothesis.strategies as st
import jax
import jax.tree_util as jtu
import numpy as np
import pytest
from hypothesis import given

import everwillow.statelib as sl
from everwillow._errors import ArgumentValueError
from tests.helpers import tree_allclose
from tests.statelib.trees import Pair, Rate, Shape


NAMES = st.text("abcxyz_0", min_size=1, max_size=4)
LEAVES = st.one_of(
    st.floats(-10, 10),
    st.integers(-10, 10),
    st.integers(0, 3).map(lambda n: np.linspace(0.0, 1.0, n)),
)
TREES = st.recursive(
    LEAVES | st.none(),
    lambda child: st.one_of(
        st.dictionaries(NAMES, child, max_size=3),
        st.lists(child, max_size=3),
        st.lists(child, max_size=2).map(tuple),
        st.builds(Pair, child, child),
        st.builds(Rate, child, child, st.just("rate")),
        st.builds(Shape, child, child, st.just("shape")),
    ),
    max_leaves=8,
)
FLAT = st.dictionaries(NAMES, st.floats(-10, 10), min_size=1, max_size=6)


def same(a, b) -> bool:
    return tree_allclose(a, b, rtol=0.0)


@given(TREES, st.sampled_from([".", "/", "::", None]))
def test_round_trip(tree, sep):
    state = sl.State.from_pytree(tree, sep=sep)
    assert same(state.to_pytree(), tree)
    assert len(state) == len(jtu.tree_leaves(tree))
    assert same(jtu.tree_leaves(state), jtu.tree_leaves(tree))
    assert same(pickle.loads(pickle.dumps(state)), state)


@given(TREES)
def test_none_as_leaf_round_trip(tree):
    state = sl.State.from_pytree(tree, is_leaf=lambda x: x is None)
    assert same(state.to_pytree(), tree)
    assert same(list(state.notnone.values()), jtu.tree_leaves(tree))


@given(TREES)
def test_flattening_and_back_keeps_the_state(tree):
    state = sl.State.from_pytree(tree)
    leaves, structure = jtu.tree_flatten(state)
    back = structure.unflatten(leaves)
    assert same(back.to_pytree(), tree)
    assert jtu.tree_structure(sl.State.from_pytree(tree)) == structure


@given(TREES, st.randoms(use_true_random=False))
def test_any_renaming_is_transparent_and_can_be_undone(tree, random):
    """A permutation of the keys is the hardest case: all of them are taken."""
    state = sl.State.from_pytree(tree)
    keys = list(state)
    permuted = random.sample(keys, len(keys))
    renamed = sl.rename(state, dict(zip(keys, permuted, strict=True)))
    assert list(renamed) == permuted
    assert same(renamed.to_pytree(), tree)
    assert [renamed.origins(key) for key in permuted] == [((0, key),) for key in keys]
    back = sl.rename(renamed, dict(zip(permuted, keys, strict=True)))
    assert same(back, state)


@given(st.lists(FLAT, min_size=1, max_size=4))
def test_split_undoes_merge(trees):
    """Each piece keeps its structure, and each shared value is the last one given."""
    states = [sl.State.from_pytree(tree) for tree in trees]
    merged = sl.merge(*states)
    last = {key: value for tree in trees for key, value in tree.items()}
    assert merged.to_dict() == last
    assert merged.to_pytree() == tuple(
        {key: last[key] for key in tree} for tree in trees
    )
    pieces = sl.split(merged)
    for piece, state in zip(pieces, states, strict=True):
        assert jtu.tree_structure(piece) == jtu.tree_structure(state)
    assert same(sl.merge(*pieces), merged)


@given(st.lists(TREES, min_size=1, max_size=3))
def test_split_is_exact_when_nothing_is_shared(trees):
    states = [
        sl.prefix(sl.State.from_pytree(tree), f"piece{i}")
        for i, tree in enumerate(trees)
    ]
    assert same(sl.split(sl.merge(*states)), tuple(states))
    assert same(sl.merge(*states).to_pytree(), tuple(trees))


@given(st.lists(FLAT, min_size=3, max_size=3))
def test_merging_is_associative(trees):
    a, b, c = (sl.State.from_pytree(tree) for tree in trees)
    flat = sl.merge(a, b, c)
    assert same(sl.merge(sl.merge(a, b), c), flat)
    assert same(sl.merge(a, sl.merge(b, c)), flat)


@given(TREES, st.sets(st.sampled_from("abcxyz_0123fsmn")))
def test_combining_undoes_partition(tree, chosen):
    state = sl.State.from_pytree(tree)
    left, right = sl.partition(state, lambda key, value: key[:1] in chosen)
    assert set(left.notnone) | set(right.notnone) == set(state)
    assert not set(left.notnone) & set(right.notnone)
    assert same(sl.combine_partitions(left, right), state)
    assert same(sl.combine_partitions(right, left), state)


@given(FLAT, st.data())
def test_update_is_that_of_a_dictionary(tree, data):
    state = sl.State.from_pytree(tree)
    values = st.floats(-10, 10) | st.just(...)
    updates = data.draw(st.dictionaries(st.sampled_from(sorted(tree)), values))
    given_values = {key: value for key, value in updates.items() if value is not ...}
    assert sl.update(state, updates).to_dict() == {**tree, **given_values}
    assert state.to_dict() == tree


@given(NAMES, NAMES, st.sampled_from([".", "/", "::"]))
def test_a_segment_never_contains_the_separator(head, tail, sep):
    tree = {head: {f"{head}{sep}{tail}": 1.0}}
    with pytest.raises(ArgumentValueError, match="contains the"):
        sl.State.from_pytree(tree, sep=sep)
    assert list(sl.State.from_pytree(tree, sep="|")) == [f"{head}|{head}{sep}{tail}"]


@given(st.lists(FLAT, min_size=1, max_size=3))
def test_jit_sees_through_a_merged_state(trees):
    """A State made of tracers splits and unflattens like one made of numbers."""
    merged = sl.merge(*(sl.State.from_pytree(tree) for tree in trees))
    out = jax.eval_shape(lambda s: (sl.split(s), s.to_pytree()), merged)
    eager = (sl.split(merged), merged.to_pytree())
    assert jtu.tree_structure(out) == jtu.tree_structure(eager)
