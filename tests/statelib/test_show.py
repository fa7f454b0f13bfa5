"""What a person reads: `repr`, `show`, and the leaves in them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

import everwillow.statelib as sl
from everwillow._tree import LeafSpec, format_leaf, format_type, leaf_spec


@pytest.mark.parametrize(
    ("leaf", "text", "kind"),
    [
        (1.0, "1", "float"),
        (1 / 3, "0.333333", "float"),
        (np.float64(1e-9), "1e-09", "float64[]"),
        (7, "7", "int"),
        (True, "True", "bool"),
        (None, "None", "NoneType"),
        ("text", "'text'", "str"),
        (np.arange(3), "[0, 1, 2]", "int64[3]"),
        (jnp.array([[0.5, 2.0]]), "[[0.5, 2]]", "float64[1,2]"),
        (jnp.array(1.25), "1.25", "float64[]"),
        (np.zeros(1000), "float64[1000]", "float64[1000]"),
        (jax.ShapeDtypeStruct((2,), "f4"), "float32[2]", "float32[2]"),
        (list(range(99)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11...", "list"),
    ],
)
def test_leaves(leaf, text, kind):
    assert format_leaf(leaf) == text
    assert format_type(leaf) == kind


def test_leaves_that_cannot_be_read():
    donated = jnp.arange(3.0)
    donated.delete()
    assert format_leaf(donated) == "float64[3]"
    assert format_leaf(jr.key(0)) == "key<fry>[]"


@pytest.mark.parametrize(
    ("leaf", "spec"),
    [
        (1, LeafSpec((), "number")),
        (True, LeafSpec((), "bool")),
        (1j, LeafSpec((), "complex")),
        (jnp.ones((2, 3), dtype=jnp.bfloat16), LeafSpec((2, 3), "float")),
        (np.uint8(1), LeafSpec((), "int")),
        (np.array([True]), LeafSpec((1,), "bool")),
        ("text", None),
        (None, None),
    ],
)
def test_leaf_specs(leaf, spec):
    assert leaf_spec(leaf) == spec


def test_repr_is_one_line_while_it_fits():
    state = sl.State.from_pytree({"mu": 1.0, "gamma": jnp.ones(100), "t": None})
    assert repr(state) == "State(gamma=float64[100], mu=1.0)"
    assert repr(state.with_values([None, 2])) == "State(gamma=None, mu=2)"
    assert repr(sl.State.from_pytree({})) == "State()"
    assert repr(sl.State.from_pytree(2.0)) == "State(''=2.0)"
    tuples = sl.State.from_pytree({"a": [1.0]}, sep=None)
    assert repr(tuples) == "State(('a', '0')=1.0)"


def test_repr_has_all_digits_of_the_values():
    state = sl.State.from_pytree({"a": 1 / 3, "b": np.array([1.0, 2.5]), "n": 2})
    assert repr(state) == f"State(a={1 / 3!r}, b=[1.0, 2.5], n=2)"


def test_repr_of_many_entries_is_cut():
    lines = repr(sl.State.from_pytree([1.0] * 200)).splitlines()
    assert lines[0] == "State("
    assert lines[1] == "  0=1.0,"
    assert lines[-2:] == ["  ... 200 entries in all,", ")"]
    assert len(lines) == 15


def test_repr_and_show_under_jit_do_not_read_the_values():
    texts = []

    @jax.jit
    def fn(state):
        texts.extend([repr(state), state.show()])
        return state

    fn(sl.State.from_pytree({"mu": jnp.ones(2)}))
    assert texts[0] == "State(mu=float64[2] (traced))"
    assert "float64[2] (traced)" in texts[1]


def test_show_names_the_origins():
    state = sl.rename(sl.State.from_pytree({"m": 1.0, "s": 2.0}), {"m": "mass"})
    assert state.show().splitlines() == [
        "key   value  type   from",
        "mass  1      float  m",
        "s     2      float",
    ]
    merged = sl.merge(state, sl.State.from_pytree({"mass": 3.0}))
    assert merged.show().splitlines()[1] == "mass  3      float  0: m, 1: mass"
    assert sl.State.from_pytree({}).show() == "key  value  type"


def test_structure_names_its_keys():
    """JAX shows the structure where two of them do not match."""
    text = str(jtu.tree_structure(sl.State.from_pytree([1.0] * 20)))
    assert "State[0, 1, 2, 3, 4, 5, ... 20 in all]" in text
