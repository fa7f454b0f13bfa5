"""Claims about what makes States out of States.

T1 renaming is transparent: ``to_pytree`` gives the original names, however often.
T2 split undoes merge; every piece gets the shared value.
T3 combine_partitions undoes partition.
T4 all of it works under jit and grad, and the arguments stay as they were.
T5 a wrong key, two entries on one key, or another shape is an error that names it.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

import everwillow.statelib as sl
from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.statelib.state import state_parts
from tests.helpers import tree_allclose
from tests.statelib.trees import Rate


def state_of(**values) -> sl.State:
    return sl.State.from_pytree(values)


@pytest.fixture
def a() -> sl.State:
    return state_of(m=125.0, scale=1.0)


def test_rename_is_transparent(a):
    """T1."""
    renamed = sl.rename(a, {"m": "mass"})
    assert renamed.to_dict() == {"mass": 125.0, "scale": 1.0}
    assert renamed.to_pytree() == {"m": 125.0, "scale": 1.0}
    again = sl.rename(renamed, {"mass": "x", "scale": "mass"})
    assert again.to_dict() == {"x": 125.0, "mass": 1.0}
    assert again.to_pytree() == {"m": 125.0, "scale": 1.0}
    assert again.origins("mass") == ((0, "scale"),)
    assert list(a) == ["m", "scale"]


def test_rename_of_all_at_once_swaps(a):
    swapped = sl.rename(a, {"m": "scale", "scale": "m"})
    assert swapped.to_dict() == {"scale": 125.0, "m": 1.0}
    assert swapped.to_pytree() == a.to_pytree()
    assert sl.rename(a, {"m": "m"}).to_dict() == a.to_dict()


def test_rename_errors(a):
    """T5."""
    with pytest.raises(UnknownKeyError, match=r"'sclae'.*'scale'"):
        sl.rename(a, {"sclae": "x"})
    with pytest.raises(KeyCollisionError, match=r"'m' and 'scale' would both.*'x'"):
        sl.rename(a, {"m": "x", "scale": "x"})
    with pytest.raises(KeyCollisionError, match=r"'m' and 'scale' would.*'scale'"):
        sl.rename(a, {"m": "scale"})
    with pytest.raises(ArgumentTypeError, match="string or a tuple of strings, got 1"):
        sl.rename(a, {"m": 1})
    with pytest.raises(ArgumentTypeError, match=r"names must be a mapping.*got list"):
        sl.rename(a, ["m"])
    with pytest.raises(ArgumentTypeError, match="rename: expected a State, got dict"):
        sl.rename({"m": 1.0}, {"m": "mass"})


def test_transformations_change_names_and_values(a):
    """T1: the value function sees the key as it was."""
    seen = []

    def double(key, value):
        seen.append(key)
        return 2 * value

    changed = sl.apply_transformations(
        a, {"m": sl.Transform(new_key="mass", value_fn=double)}
    )
    assert changed.to_dict() == {"mass": 250.0, "scale": 1.0}
    assert changed.to_pytree() == {"m": 250.0, "scale": 1.0}
    assert seen == ["m"]
    assert a["m"] == 125.0
    assert sl.apply_transformations(a, {}).to_dict() == a.to_dict()


def test_transformations_pass_over_what_is_elsewhere(a):
    left, _ = sl.partition(a, lambda key, value: key == "m")
    negate = sl.Transform(value_fn=lambda key, value: -value)
    changed = sl.apply_transformations(left, {"m": negate, "scale": negate})
    assert changed.to_dict() == {"m": -125.0, "scale": None}


def test_transformation_errors(a):
    """T5."""
    with pytest.raises(UnknownKeyError, match=r"apply_transformations.*'x'"):
        sl.apply_transformations(a, {"x": sl.Transform(new_key="y")})
    with pytest.raises(KeyCollisionError, match="'scale'"):
        sl.apply_transformations(a, {"m": sl.Transform(new_key="scale")})
    with pytest.raises(ArgumentTypeError, match=r"'m' must be a Transform.*sl\.rename"):
        sl.apply_transformations(a, {"m": "mass"})
    with pytest.raises(ArgumentTypeError, match="must be a mapping"):
        sl.apply_transformations(a, [("m", sl.Transform())])
    with pytest.raises(ArgumentTypeError, match="got 3"):
        sl.Transform(new_key=3)
    with pytest.raises(ArgumentTypeError, match="value_fn must be a function"):
        sl.Transform(value_fn=2.0)


def test_prefix(a):
    prefixed = sl.prefix(a, "atlas", keep=("m",))
    assert prefixed.to_dict() == {"m": 125.0, "atlas.scale": 1.0}
    assert prefixed.to_pytree() == a.to_pytree()
    twice = sl.prefix(prefixed, "lhc")
    assert list(twice) == ["lhc.m", "lhc.atlas.scale"]
    assert twice.to_pytree() == a.to_pytree()


def test_prefix_uses_the_separator_of_the_state():
    tree = {"x": {"y": 1.0}, "m": 2.0}
    slashed = sl.prefix(sl.State.from_pytree(tree, sep="/"), "cms", keep=["m"])
    assert list(slashed) == ["m", "cms/x/y"]
    tuples = sl.State.from_pytree(tree, sep=None)
    assert list(sl.prefix(tuples, "cms")) == [("cms", "m"), ("cms", "x", "y")]
    assert list(sl.prefix(sl.State.from_pytree(1.0), "cms")) == ["cms"]
    assert list(sl.prefix(sl.merge(slashed, tuples), "t", keep=["m"])) == [
        "m",
        "t/cms/x/y",
        ("t", "m"),
        ("t", "x", "y"),
    ]


def test_prefix_errors(a):
    """T5."""
    with pytest.raises(UnknownKeyError, match=r"keep.*'mass'"):
        sl.prefix(a, "atlas", keep=("mass",))
    with pytest.raises(ArgumentTypeError, match=r"keep=\('m',\)"):
        sl.prefix(a, "atlas", keep="m")
    with pytest.raises(ArgumentTypeError, match="non-empty"):
        sl.prefix(a, "")
    with pytest.raises(KeyCollisionError, match=r"'m' and 'x\.m'"):
        sl.prefix(sl.State.from_pytree({"m": 1.0, "x": {"m": 2.0}}), "x", keep=("x.m",))


def test_merge_and_split():
    """T2."""
    a = sl.rename(state_of(m=125.0, scale_a=1.0), {"m": "mass"})
    b = sl.State.from_pytree(Rate(mu=124.0, background=[2.0]))
    b = sl.rename(b, {"mu": "mass"})
    merged = sl.merge(a, b)
    assert merged.is_merged
    assert not a.is_merged
    assert merged.to_dict() == {"mass": 124.0, "scale_a": 1.0, "background.0": 2.0}
    assert merged.to_pytree() == (
        {"m": 124.0, "scale_a": 1.0},
        Rate(mu=124.0, background=[2.0]),
    )
    pieces = sl.split(sl.update(merged, {"mass": 126.0}))
    assert [piece.to_dict() for piece in pieces] == [
        {"mass": 126.0, "scale_a": 1.0},
        {"mass": 126.0, "background.0": 2.0},
    ]
    assert pieces[0].to_pytree() == {"m": 126.0, "scale_a": 1.0}
    assert pieces[1].to_pytree() == Rate(mu=126.0, background=[2.0])


def test_split_gives_back_what_was_merged(a):
    """T2 with the structures: the pieces fit programs compiled for the originals."""
    b = sl.prefix(a, "b")
    for whole, piece in zip((a, b), sl.split(sl.merge(a, b)), strict=True):
        assert tree_allclose(piece, whole)
        assert not piece.is_merged


def test_merge_of_one(a):
    merged = sl.merge(a)
    assert merged.is_merged
    assert merged.to_pytree() == (a.to_pytree(),)
    (piece,) = sl.split(merged)
    assert tree_allclose(piece, a)


def test_merges_nest_flat():
    a, b, c = state_of(x=1.0, y=1.0), state_of(x=2.0), state_of(y=3.0, z=3.0)
    nested = sl.merge(sl.merge(a, b), c)
    assert tree_allclose(nested, sl.merge(a, b, c))
    assert nested.to_pytree() == (
        {"x": 2.0, "y": 3.0},
        {"x": 2.0},
        {"y": 3.0, "z": 3.0},
    )
    assert nested.origins("y") == ((0, "y"), (2, "y"))
    assert len(sl.split(nested)) == 3


def test_renaming_a_merged_state_renames_in_every_piece():
    """T1 and T2 together."""
    merged = sl.merge(state_of(x=1.0, y=1.0), state_of(x=2.0))
    renamed = sl.rename(merged, {"x": "mu"})
    assert renamed.to_pytree() == merged.to_pytree()
    assert [list(piece) for piece in sl.split(renamed)] == [["mu", "y"], ["mu"]]
    assert renamed.origins("mu") == ((0, "x"), (1, "x"))


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (1, 2.0),
        (1.0, 2),
        (1, np.array(2)),
        (1.0, np.float32(2.0)),
        (jnp.ones(3), np.zeros(3)),
        (None, 2.0),
        (True, np.array(False)),
        (1.0, jax.ShapeDtypeStruct((), "f4")),
    ],
)
def test_merge_takes_the_last_value(first, last):
    """A start value may differ, and an int may stand for a float."""
    a, b = (state_of(x=1.0).with_values([v]) for v in (first, last))
    assert sl.merge(a, b)["x"] is last


def test_merge_prefers_a_value_to_none():
    """None says that the value is elsewhere, so it does not win over a value."""
    a, b = state_of(x=1.0), state_of(x=1.0).with_values([None])
    assert sl.merge(a, b)["x"] == 1.0
    assert sl.merge(b, b)["x"] is None


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (1.0, jnp.ones(3), [r"\(\) ", r"\(3,\)"]),
        (np.ones((2, 3)), np.ones((3, 2)), [r"\(2, 3\)", r"\(3, 2\)"]),
        (np.ones(2), np.ones(2, dtype=int), ["float", "int"]),
        (True, 1.0, ["bool", "float"]),
        (True, 1, ["bool", "number"]),
        (1.0, 1j, ["float", "complex"]),
        (1.0, np.array(1), ["float", "int"]),
        (1.0, jr.key(0), ["float", "key<"]),
    ],
)
def test_merge_of_different_shapes_or_kinds(first, last, words):
    """T5."""
    with pytest.raises(ShapeMismatchError, match="'x': .*" + ".*".join(words)):
        sl.merge(state_of(x=first), state_of(x=last))


def test_merge_finds_kinds_that_an_int_literal_stands_between():
    """Each neighbour agrees with the literal, but the outer two differ."""
    states = [state_of(x=v) for v in (np.array(1), 1, np.array(1.0))]
    with pytest.raises(ShapeMismatchError, match=r"int in State 0, .* in State 2"):
        sl.merge(*states)
    with pytest.raises(ShapeMismatchError, match=r"int in State 1, .* in State 2"):
        sl.merge(states[1], states[0], states[2])


def test_merge_and_split_argument_errors(a):
    """T5."""
    with pytest.raises(ArgumentValueError, match="at least one"):
        sl.merge()
    with pytest.raises(ArgumentTypeError, match="argument 1: expected a State"):
        sl.merge(a, {"m": 1.0})
    with pytest.raises(ArgumentTypeError, match="argument 0"):
        sl.merge([a, a])
    with pytest.raises(ArgumentValueError, match="not merged"):
        sl.split(a)
    with pytest.raises(ArgumentTypeError, match="split"):
        sl.split((a,))


def test_partition_and_back():
    """T3."""
    state = state_of(a=jnp.ones(3), b=2.0, c=3.0)
    left, right = sl.partition(state, predicate=lambda key, value: np.ndim(value) == 0)
    assert list(left) == list(right) == list(state)
    assert left.notnone == {"b": 2.0, "c": 3.0}
    assert list(right.notnone) == ["a"]
    assert tree_allclose(sl.combine_partitions(left, right), state)
    assert tree_allclose(sl.combine_partitions(right, left), state)
    assert left.to_pytree() == {"a": None, "b": 2.0, "c": 3.0}


def test_partition_leaves_none_alone(a):
    half = a.with_values([None, 1.0])
    left, right = sl.partition(half, lambda key, value: value > 0)
    assert left["m"] is right["m"] is None
    assert tree_allclose(sl.combine_partitions(left, right), half)


def test_partition_errors(a):
    """T5."""
    left, right = sl.partition(a, lambda key, value: key == "m")
    with pytest.raises(ArgumentValueError, match="both sides have a value for m;"):
        sl.combine_partitions(a, left)
    with pytest.raises(ArgumentValueError, match="keys m, mass are on one side"):
        sl.combine_partitions(left, sl.rename(right, {"m": "mass"}))
    with pytest.raises(ArgumentValueError, match="not the pytrees"):
        sl.combine_partitions(left, sl.State.from_pytree(a.to_dict(), sep="/"))
    with pytest.raises(ArgumentTypeError, match="right: expected a State"):
        sl.combine_partitions(left, {})
    with pytest.raises(ArgumentTypeError, match="predicate must be a function"):
        sl.partition(a, "m")


def test_update(a):
    changed = sl.update(a, updates={"m": 126, "scale": ...})
    assert changed.to_dict() == {"m": 126, "scale": 1.0}
    assert type(changed["m"]) is int
    assert a["m"] == 125.0
    assert sl.update(a, changed).to_dict() == changed.to_dict()
    assert sl.update(a, {}).to_dict() == a.to_dict()
    assert sl.update(a, {"m": None})["m"] is None
    assert sl.update(sl.update(a, {"m": None}), {"m": jnp.ones(3)})["m"].shape == (3,)


def test_update_of_a_merged_and_renamed_state(a):
    merged = sl.merge(sl.rename(a, {"m": "mass"}), state_of(mass=1.0))
    updated = sl.update(merged, {"mass": 3.0})
    assert updated.to_pytree() == ({"m": 3.0, "scale": 1.0}, {"mass": 3.0})


def test_update_errors(a):
    """T5."""
    with pytest.raises(UnknownKeyError, match=r"'sclae'.*'scale'"):
        sl.update(a, {"sclae": 1.0})
    with pytest.raises(UnknownKeyError, match="'mass'"):
        sl.update(a, {"mass": ...})
    with pytest.raises(ShapeMismatchError, match=r"'m' has shape \(\).*\(1,\)"):
        sl.update(a, {"m": np.ones(1)})
    with pytest.raises(ArgumentTypeError, match="updates must be a mapping"):
        sl.update(a, 1.0)
    with pytest.raises(ArgumentTypeError, match="update: expected a State"):
        sl.update({"m": 1.0}, {"m": 2.0})


def _all_of_it(state):
    state = sl.prefix(sl.rename(state, {"m": "mass"}), "a", keep=("mass",))
    merged = sl.merge(state, sl.rename(state, {"a.scale": "b.scale"}))
    merged = sl.update(merged, {"b.scale": 3.0 * merged["a.scale"]})
    left, right = sl.partition(merged, lambda key, value: key == "mass")
    _, piece = sl.split(sl.combine_partitions(right, left))
    square = sl.Transform(value_fn=lambda key, value: value**2)
    return sl.apply_transformations(piece, {"mass": square})


def test_all_of_it_under_jit_and_grad(a):
    """T4: ``mass**2 + 3 scale`` has the gradient ``2 mass`` and 3."""
    out = jax.jit(_all_of_it)(a)
    assert tree_allclose(out, _all_of_it(a))
    assert out.to_dict() == {"mass": 125.0**2, "b.scale": 3.0}
    gradient = jax.grad(lambda s: sum(_all_of_it(s).values()))(a)
    assert gradient.to_dict() == {"m": 250.0, "scale": 3.0}
    assert a.to_dict() == {"m": 125.0, "scale": 1.0}


def test_new_values_share_the_metadata(a):
    """What a fit does at each call must not compute the structure again."""
    meta = state_parts(a)[0]
    left, right = sl.partition(a, lambda key, value: key == "m")
    for state in (
        left,
        sl.combine_partitions(left, right),
        sl.update(a, {"m": 1.0}),
        a.with_values([1.0, 2.0]),
        jtu.tree_map(lambda x: x, a),
    ):
        assert state_parts(state)[0] is meta
