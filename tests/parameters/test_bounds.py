"""Native boxes."""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ShapeMismatchError,
)
from everwillow.parameters import (
    Interval,
    MinuitTransform,
    OneSidedLogTransform,
)
from tests.helpers import tree_allclose


VALUES = jnp.array([-np.inf, -1.0, 0.0, 1.0, 2.0, 3.0, np.inf, np.nan])


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        (Interval(), [1, 1, 1, 1, 1, 1, 1, 0]),
        (Interval(0.0), [0, 0, 1, 1, 1, 1, 1, 0]),
        (Interval(upper=2), [1, 1, 1, 1, 1, 0, 0, 0]),
        (Interval(0.0, 2.0), [0, 0, 1, 1, 1, 0, 0, 0]),
    ],
)
def test_the_ends_belong_to_it(box, inside):
    assert box.contains(VALUES).tolist() == [bool(x) for x in inside]
    expected = np.clip(VALUES, box.lower, box.upper)
    np.testing.assert_array_equal(box.clip(VALUES), expected)
    assert tree_allclose(jax.jit(box.clip)(VALUES), jnp.asarray(expected))


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        (1.0, 1.0),
        (2.0, 1.0),
        (np.nan, 1.0),
        (0.0, np.nan),
        (np.inf, np.inf),
        (-np.inf, -np.inf),
        ([0.0, 2.0], [1.0, 2.0]),
    ],
)
def test_the_ends_are_ordered(lower, upper):
    with pytest.raises(ArgumentValueError, match="Interval: needs lower < upper"):
        Interval(lower, upper)


def test_equal_ends_get_the_advice_to_fix():
    with pytest.raises(ArgumentValueError, match="fix it"):
        Interval(1.0, 1.0)


def test_wrong_types_and_shapes():
    with pytest.raises(ArgumentTypeError, match="Interval: lower"):
        Interval("0", 1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ShapeMismatchError, match=r"\(2,\).*\(3,\)"):
        Interval([0.0, 1.0], [2.0, 3.0, 4.0])
    with pytest.raises(ShapeMismatchError, match="Interval: lower has shape"):
        Interval([0.0, 1.0]).clip(jnp.zeros(3))


def test_none_is_no_end():
    assert Interval(None, 1.0).contains(-1e300)
    assert not Interval(None, 1.0).contains(2.0)
    assert Interval(0.0, None).contains(1e300)


def test_one_box_for_each_element():
    box = Interval([0.0, 10.0], 20)
    np.testing.assert_array_equal(box.clip(jnp.array([-1.0, 25.0])), [0.0, 20.0])
    assert box.contains(jnp.array([0.0, 9.0])).tolist() == [True, False]
    assert box.contains(5.0 * jnp.ones((3, 2))).tolist() == 3 * [[True, False]]


def test_the_smooth_map_keeps_the_same_open_interval():
    two = Interval(-1.0, 3.0).smooth()
    assert isinstance(two, MinuitTransform)
    assert (two.lower, two.upper) == (-1.0, 3.0)
    lower, upper = Interval(-1.0).smooth(), Interval(upper=3.0).smooth()
    assert isinstance(lower, OneSidedLogTransform)
    assert isinstance(upper, OneSidedLogTransform)
    assert (lower.bound, lower.direction) == (-1.0, "lower")
    assert (upper.bound, upper.direction) == (3.0, "upper")
    assert Interval().smooth() is None
    array = Interval([0.0, 1.0]).smooth()
    assert isinstance(array, OneSidedLogTransform)
    np.testing.assert_array_equal(array.bound, [0.0, 1.0])


def test_a_mixture_of_finite_and_infinite_ends_has_no_smooth_map():
    with pytest.raises(ArgumentValueError, match="differ in which ends are finite"):
        Interval([0.0, -np.inf], 1.0).smooth()
    with pytest.raises(ArgumentTypeError, match="the ends are traced"):
        jax.jit(lambda upper: Interval(0.0, upper).smooth().wrap(0.0))(1.0)  # pyright: ignore[reportOptionalMemberAccess]


def test_numbers_are_leaves_and_boxes_can_be_stacked():
    boxes = [Interval(0.0, 1.0), Interval(-np.inf, 5.0)]
    assert jtu.tree_structure(boxes[0]) == jtu.tree_structure(boxes[1])
    stacked = jtu.tree_map(lambda *ends: np.stack(ends), *boxes)
    clipped = jax.vmap(lambda box, x: box.clip(x))(stacked, jnp.array([2.0, -7.0]))
    np.testing.assert_array_equal(clipped, [1.0, -7.0])


def test_clip_has_the_derivative_of_a_projection():
    box = Interval(0.0, 1.0)
    slopes = jax.vmap(jax.grad(box.clip))(jnp.array([-1.0, 0.5, 2.0]))
    np.testing.assert_array_equal(slopes, [0.0, 1.0, 0.0])
    slope = jax.grad(lambda upper: Interval(0.0, upper).clip(2.0))(1.0)
    assert slope == 1.0


def test_it_is_shown_with_plain_numbers():
    assert repr(Interval(0.0, 9)) == "Interval(lower=0.0, upper=9.0)"
    assert repr(Interval(upper=[1.0, 2.0])) == "Interval(lower=-inf, upper=[1., 2.])"
    seen = []
    jax.make_jaxpr(lambda end: seen.append(repr(Interval(0.0, end))))(1.0)
    assert seen == ["Interval(lower=0.0, upper=(traced))"]
