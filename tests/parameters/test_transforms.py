"""What is special to one transform, the checks, and the maps of whole States."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow.statelib as sl
from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.parameters import Interval, unwrap, wrap
from everwillow.parameters.transforms import (
    MinuitTransform,
    OneSidedLogTransform,
    SigmoidTransform,
    SoftPlusTransform,
    TransformBase,
)
from tests.helpers import count_jax_work, tree_allclose


TWO_SIDED = pytest.mark.parametrize("kind", [MinuitTransform, SigmoidTransform])


def test_minuit_is_the_sine_map_of_the_manual():
    lower, upper = -2.0, 5.0
    transform = MinuitTransform(lower, upper)
    numbers = np.linspace(-10.0, 10.0, 41)
    expected = lower + (upper - lower) / 2 * (np.sin(numbers) + 1)
    np.testing.assert_allclose(transform.wrap(numbers), expected, rtol=0, atol=1e-14)
    values = np.linspace(-1.9, 4.9, 30)
    expected = np.arcsin(2 * (values - lower) / (upper - lower) - 1)
    np.testing.assert_allclose(transform.unwrap(values), expected, rtol=0, atol=1e-14)


def test_minuit_is_periodic_and_flat_at_its_bounds():
    transform = MinuitTransform(0.0, 1.0)
    np.testing.assert_allclose(
        transform.wrap(0.4 + 2 * np.pi), transform.wrap(0.4), rtol=1e-14
    )
    for end in (-np.pi / 2, np.pi / 2):
        assert abs(jax.grad(transform.wrap)(end)) < 1e-15


def test_sigmoid_is_the_logistic_map():
    transform = SigmoidTransform(-2.0, 5.0)
    numbers = np.linspace(-20.0, 20.0, 41)
    expected = -2.0 + 7.0 / (1.0 + np.exp(-numbers))
    np.testing.assert_allclose(transform.wrap(numbers), expected, rtol=0, atol=1e-14)
    values = np.linspace(-1.9, 4.9, 30)
    expected = np.log((values + 2.0) / (5.0 - values))
    np.testing.assert_allclose(transform.unwrap(values), expected, rtol=0, atol=1e-14)


def test_one_sided_log_is_a_logarithm_of_the_distance():
    values = np.geomspace(1e-6, 1e6, 13)
    np.testing.assert_allclose(
        OneSidedLogTransform(0.0).unwrap(values), np.log(values), rtol=1e-15
    )
    np.testing.assert_allclose(
        OneSidedLogTransform(0.0, direction="upper").unwrap(-values),
        -np.log(values),
        rtol=1e-15,
    )


def test_soft_plus_is_the_logarithm_of_one_plus_exp():
    numbers = np.linspace(-30.0, 30.0, 41)
    expected = np.log1p(np.exp(numbers))
    np.testing.assert_allclose(SoftPlusTransform().wrap(numbers), expected, rtol=1e-14)


@pytest.mark.parametrize(
    "transform",
    [
        SigmoidTransform(0.0, 1.0),
        MinuitTransform(0.0, 1.0),
        OneSidedLogTransform(0.0),
        SoftPlusTransform(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_tiny_distances_from_zero_keep_their_digits(transform):
    # `MinuitTransform` turns a distance d into a number sqrt(d) away from -pi/2, so
    # that only distances above the square of an ulp are there at all.
    tiny = 1e-20 if isinstance(transform, MinuitTransform) else 1e-300
    rtol = 1e-5 if isinstance(transform, MinuitTransform) else 1e-12
    np.testing.assert_allclose(transform.wrap(transform.unwrap(tiny)), tiny, rtol=rtol)


@TWO_SIDED
def test_tiny_distances_from_an_upper_bound_of_zero_keep_their_digits(kind):
    tiny, rtol = (-1e-20, 1e-5) if kind is MinuitTransform else (-1e-300, 1e-12)
    transform = kind(-1.0, 0.0)
    np.testing.assert_allclose(transform.wrap(transform.unwrap(tiny)), tiny, rtol=rtol)


@pytest.mark.parametrize("value", [1e16, 1e150, 1e156, 1e300, 1e308])
def test_huge_values_come_back(value):
    for transform in (OneSidedLogTransform(0.0), SoftPlusTransform()):
        number = transform.unwrap(value)
        assert np.isfinite(number)
        # log(1e308) = 709, and exp magnifies its rounding by as much.
        np.testing.assert_allclose(transform.wrap(number), value, rtol=2e-13)
    upper = OneSidedLogTransform(0.0, direction="upper")
    np.testing.assert_allclose(upper.wrap(upper.unwrap(-value)), -value, rtol=2e-13)


def test_the_continued_exponential_is_smooth_where_it_starts():
    # At half the logarithm of the largest double: both sides agree.
    knee = 0.5 * np.log(np.finfo(float).max)
    fn = OneSidedLogTransform(0.0).wrap
    left, right = jnp.asarray(knee - 1e-9), jnp.asarray(knee + 1e-9)
    for order in (fn, jax.grad(fn), jax.grad(jax.grad(fn))):
        np.testing.assert_allclose(order(left), order(right), rtol=1e-8)


@TWO_SIDED
@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        (1.0, 1.0),
        (2.0, 1.0),
        (0.0, np.inf),
        (-np.inf, 0.0),
        (np.nan, 1.0),
        (-1e308, 1e308),
        ([0.0, 1.0], [1.0, 1.0]),
    ],
)
def test_bounds_must_be_finite_and_ordered(kind, lower, upper):
    with pytest.raises(ArgumentValueError, match="finite bounds with lower < upper"):
        kind(lower, upper)


def test_other_constructor_errors():
    with pytest.raises(ArgumentValueError, match="bound must be finite, got inf"):
        OneSidedLogTransform(np.inf)
    with pytest.raises(ArgumentValueError, match=r"'lower' or 'upper'.*'left'"):
        OneSidedLogTransform(0.0, direction="left")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentTypeError, match="lower must be a real number"):
        MinuitTransform("0", 1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentTypeError, match="bound must be a real number"):
        OneSidedLogTransform(1j)
    with pytest.raises(ShapeMismatchError, match=r"\(2,\).*\(3,\)"):
        SigmoidTransform([0.0, 1.0], [2.0, 3.0, 4.0])


OUTSIDE = pytest.mark.parametrize(
    ("transform", "value"),
    [
        (MinuitTransform(0.0, 2.0), 2.0),
        (SigmoidTransform(0.0, 2.0), -1.0),
        (OneSidedLogTransform(1.0), 1.0),
        (OneSidedLogTransform(1.0, direction="upper"), 1.5),
        (SoftPlusTransform(), 0.0),
        (SoftPlusTransform(), np.nan),
        (SoftPlusTransform(), np.inf),
        (MinuitTransform(0.0, 2.0), [1.0, 3.0]),
    ],
)


@OUTSIDE
def test_unwrap_refuses_what_is_not_inside(transform, value):
    kind = type(transform).__name__
    with pytest.raises(ArgumentValueError, match=f"{kind}: the value .* not strictly"):
        transform.unwrap(value)


@OUTSIDE
def test_unwrap_refuses_it_in_traced_code_too(transform, value):
    unwrap_traced = eqx.filter_jit(lambda one, x: one.unwrap(x))
    with pytest.raises(RuntimeError, match="strictly inside the range"):
        unwrap_traced(transform, jnp.asarray(value))
    with pytest.raises(RuntimeError, match="strictly inside the range"):
        jax.jit(transform.unwrap)(jnp.asarray(value))


def test_the_message_says_value_and_range():
    with pytest.raises(ArgumentValueError, match=r"value 3\.0 .* \(0\.0, 2\.0\)"):
        MinuitTransform(0, 2).unwrap(3)


def test_the_unchecked_inverse_has_no_check_in_its_program():
    one = MinuitTransform(0.0, 2.0)
    assert "callback" in str(jax.make_jaxpr(one.unwrap)(1.0))
    assert "callback" not in str(jax.make_jaxpr(one._unwrap)(1.0))
    assert "callback" not in str(jax.make_jaxpr(one.wrap)(1.0))


def test_numbers_are_copied_and_integers_become_floats():
    lower = np.array([0, 1])
    transform = MinuitTransform(lower, 5)
    lower[0] = 4
    np.testing.assert_array_equal(transform.lower, [0.0, 1.0])
    with pytest.raises(ValueError, match="read-only"):
        transform.lower[0] = 3.0  # pyright: ignore[reportIndexIssue]
    assert transform.wrap(np.array([0, 1])).dtype == jnp.float64


def test_one_range_for_each_element():
    transform = SigmoidTransform([0.0, 10.0], [1.0, 20.0])
    np.testing.assert_allclose(transform.wrap(jnp.zeros(2)), [0.5, 15.0])
    np.testing.assert_allclose(transform.wrap(jnp.zeros((3, 2)))[2], [0.5, 15.0])
    with pytest.raises(ShapeMismatchError, match=r"\(2,\).*\(3,\)"):
        transform.wrap(jnp.zeros(3))


def test_gradients_reach_the_bounds():
    # d wrap / d lower = 1 - share for both maps.
    def at_zero(lower):
        return MinuitTransform(lower, 4.0).wrap(0.0)

    np.testing.assert_allclose(jax.jit(jax.grad(at_zero))(1.0), 0.5, rtol=1e-14)


def test_traced_bounds_are_not_checked():
    out = jax.jit(lambda lower: SigmoidTransform(lower, 1.0).wrap(0.0))(0.0)
    np.testing.assert_allclose(out, 0.5)


def test_a_transform_of_ones_own_needs_three_methods():
    class Cube(TransformBase):
        def _range(self):
            return np.asarray(-np.inf), np.asarray(np.inf)

        def _unwrap(self, value):
            return jnp.cbrt(value)

        def _wrap(self, value):
            return value**3

    np.testing.assert_allclose(Cube().wrap(Cube().unwrap(-8.0)), -8.0, rtol=1e-15)
    with pytest.raises(TypeError, match="abstract"):
        TransformBase()  # pyright: ignore[reportAbstractUsage]


STATE = {"mu": 0.5, "other": [125.0, jnp.array([1.0, 2.0])], "held": None}
MAPS = {"mu": MinuitTransform(0.0, 1.0), "other.1": OneSidedLogTransform(0.0)}


def test_states_go_to_the_line_and_back():
    state = sl.State.from_pytree(STATE, is_leaf=lambda x: x is None)
    there = unwrap(state, {**MAPS, "held": SoftPlusTransform(), "other.0": None})
    assert list(there) == list(state)
    assert there["held"] is None
    assert there["other.0"] == 125.0
    np.testing.assert_allclose(there["mu"], 0.0, atol=1e-15)
    np.testing.assert_allclose(there["other.1"], np.log([1.0, 2.0]), rtol=1e-15)
    back = wrap(there, MAPS).to_pytree()
    assert tree_allclose(back, state.to_pytree(), rtol=1e-15)
    assert state["mu"] == 0.5


def test_a_state_of_transforms_and_intervals_is_a_mapping_too():
    state = sl.State.from_pytree({"a": 1.0, "b": 2.0, "c": 3.0})
    maps = sl.State.from_pytree(
        {"a": Interval(0.0, 5.0), "b": SoftPlusTransform(), "c": None},
        is_leaf=lambda x: x is None or isinstance(x, eqx.Module),
    )
    there = unwrap(state, maps)
    assert (there["a"], there["c"]) == (1.0, 3.0)
    np.testing.assert_allclose(there["b"], np.log(np.expm1(2.0)), rtol=1e-15)


def test_wrapping_states_is_jittable():
    state = sl.State.from_pytree({"a": 0.3, "b": jnp.array([0.2, 0.4])})
    maps = {"a": SigmoidTransform(-1.0, 1.0), "b": SigmoidTransform(-1.0, 1.0)}
    mapped = jax.jit(lambda s: wrap(s, maps))
    assert tree_allclose(mapped(state), wrap(state, maps), rtol=1e-15)
    with count_jax_work() as work:
        mapped(state)
    assert work.traces == 0


def test_errors_of_whole_states_name_the_key():
    state = sl.State.from_pytree({"mass": 3.0, "width": 1.0})
    with pytest.raises(ArgumentValueError, match=r"unwrap, parameter 'mass'.*3\.0"):
        unwrap(state, {"mass": MinuitTransform(0.0, 2.0)})
    traced = eqx.filter_jit(lambda s: unwrap(s, {"mass": MinuitTransform(0.0, 2.0)}))
    with pytest.raises(RuntimeError, match="parameter 'mass'"):
        traced(state)
    with pytest.raises(UnknownKeyError, match=r"wrap, mapping: .*'mas'.*'mass'"):
        wrap(state, {"mas": SoftPlusTransform()})
    with pytest.raises(ArgumentTypeError, match="tuple for 'mass'"):
        wrap(state, {"mass": (0.0, 1.0)})
    with pytest.raises(ArgumentTypeError, match="state must be a State, got dict"):
        wrap({"mass": 1.0}, {})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentTypeError, match="mapping must be a Mapping, got list"):
        unwrap(state, [])  # pyright: ignore[reportArgumentType]
