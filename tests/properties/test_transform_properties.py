"""Properties that every transform has; a new one gets them all by a line in the table.

The tolerances are those of double precision times the condition of the maps: the round
trip loses what the derivative of the map magnifies, nothing else.
"""

import itertools

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest
from hypothesis import given, strategies as st

from everwillow.parameters.transforms import (
    MinuitTransform,
    OneSidedLogTransform,
    SigmoidTransform,
    SoftPlusTransform,
)
from tests.helpers import tree_allclose


# name -> (transform, the same kind with other numbers, points of the real line where
# it is one to one)
TRANSFORMS = {
    "minuit": (
        MinuitTransform(-1.0, 3.0),
        MinuitTransform(0.0, 1e6),
        (-0.49 * np.pi, 0.49 * np.pi),
    ),
    "sigmoid": (
        SigmoidTransform(-1.0, 3.0),
        SigmoidTransform(0.0, 1e-6),
        (-30.0, 30.0),
    ),
    "log, lower": (
        OneSidedLogTransform(2.0),
        OneSidedLogTransform(-1e3, direction="lower"),
        (-30.0, 30.0),
    ),
    "log, upper": (
        OneSidedLogTransform(2.0, direction="upper"),
        OneSidedLogTransform(-1e3, direction="upper"),
        (-30.0, 30.0),
    ),
    "softplus": (SoftPlusTransform(), SoftPlusTransform(), (-30.0, 30.0)),
}

transforms = pytest.mark.parametrize(
    ("transform", "other", "line"), TRANSFORMS.values(), ids=TRANSFORMS.keys()
)
shares = st.floats(0.0, 1.0)


def point(line, share):
    return line[0] + share * (line[1] - line[0])


@transforms
@given(share=shares)
def test_wrap_then_unwrap_is_the_identity(transform, other, line, share):
    for one in (transform, other):
        number = point(line, share)
        value = float(one.wrap(number))
        slope = float(jax.grad(one.wrap)(number))
        # The rounding of the value, seen through the map, and that of the number.
        ends = [abs(end) for end in map(float, one._range()) if np.isfinite(end)]
        lost = 4e-16 * max([abs(value), *ends]) / slope + 1e-14 * max(1.0, abs(number))
        if one.in_range(value):
            assert abs(float(one.unwrap(value)) - number) <= lost


@transforms
@given(share=st.floats(1e-6, 1 - 1e-6))
def test_unwrap_then_wrap_is_the_identity(transform, other, line, share):
    for one in (transform, other):
        lower, upper = map(float, one._range())
        low = lower if np.isfinite(lower) else upper - 1e4
        high = upper if np.isfinite(upper) else lower + 1e4
        value = low + share * (high - low)
        number = one.unwrap(value)
        # The rounding of the number, of order one even where it is small, seen
        # through the map.
        slope = float(jax.grad(one.wrap)(number))
        lost = 1e-15 * slope * max(1.0, abs(float(number)))
        np.testing.assert_allclose(one.wrap(number), value, rtol=1e-15, atol=lost)


@transforms
@given(first=shares, second=shares)
def test_wrap_increases_and_stays_in_the_range(transform, other, line, first, second):
    a, b = sorted((point(line, first), point(line, second)))
    for one in (transform, other):
        lower, upper = map(float, one._range())
        low, high = float(one.wrap(a)), float(one.wrap(b))
        # libm and XLA round the last bit as they like.
        assert low <= high + 1e-15 * abs(high)
        assert lower <= low
        assert high <= upper


@transforms
def test_derivatives_agree_with_finite_differences(transform, other, line):
    numbers, step = jnp.linspace(*line, 41), 1e-3
    for one in (transform, other):
        slope = jax.vmap(jax.grad(one.wrap))
        bend = jax.vmap(jax.grad(jax.grad(one.wrap)))
        for fn, derivative in ((one.wrap, slope), (slope, bend)):
            near = fn(numbers + step) - fn(numbers - step)
            far = fn(numbers + 2 * step) - fn(numbers - 2 * step)
            # Rounding over the step, where exp magnifies that of its argument; the
            # formula itself is good to step^4.
            size = np.max(np.abs(numbers)) * np.max(np.abs(fn(numbers)))
            lost = 2e-16 * size / step
            np.testing.assert_allclose(
                derivative(numbers),
                (8 * near - far) / (12 * step),
                rtol=1e-11,
                atol=2 * lost,
            )


@transforms
def test_everything_stays_finite_far_out(transform, other, line):
    far = [0.0, 1e-300, 1e-8, 1.0, 36.0, 37.0, 80.0, 700.0, 710.0, 1e3, 1e9]
    for one, sign, number in itertools.product((transform, other), (-1.0, 1.0), far):
        fn = one.wrap
        lower, upper = map(float, one._range())
        at = jnp.asarray(sign * number)
        value, slope, bend = fn(at), jax.grad(fn)(at), jax.grad(jax.grad(fn))(at)
        assert np.isfinite([value, slope, bend]).all(), (one, at)
        assert lower <= value <= upper


@transforms
def test_jit_and_vmap_are_the_eager_loop(transform, other, line):
    numbers = jnp.linspace(*line, 7)
    expected = jnp.stack([transform.wrap(number) for number in numbers])
    assert tree_allclose(transform.wrap(numbers), expected, rtol=1e-14)
    assert tree_allclose(jax.vmap(transform.wrap)(numbers), expected, rtol=1e-14)
    # `jax.jit` of a bound method asks for a hash, which plain arrays do not have.
    assert tree_allclose(jax.jit(transform.wrap)(numbers), expected, rtol=1e-14)
    values = expected
    expected = jnp.stack([transform.unwrap(value) for value in values])
    assert tree_allclose(jax.jit(transform.unwrap)(values), expected, rtol=1e-14)
    assert tree_allclose(
        jax.vmap(transform._unwrap)(values), expected, rtol=1e-14, atol=1e-15
    )


@transforms
def test_a_kind_can_be_stacked_and_vmapped(transform, other, line):
    assert jtu.tree_structure(transform) == jtu.tree_structure(other)
    stacked = jtu.tree_map(lambda *leaves: np.stack(leaves), transform, other)
    numbers = jnp.array([point(line, 0.3), point(line, 0.6)])
    if jtu.tree_leaves(stacked):
        mapped = jax.vmap(lambda one, number: one.wrap(number))(stacked, numbers)
        expected = [transform.wrap(numbers[0]), other.wrap(numbers[1])]
        assert tree_allclose(mapped, jnp.stack(expected), rtol=1e-14)


@transforms
def test_other_numbers_are_the_same_program(transform, other, line):
    traces = []

    @jax.jit
    def wrap(one, number):
        traces.append(1)
        return one.wrap(number)

    for one in (transform, other):
        expected = one.wrap(line[1])
        assert tree_allclose(wrap(one, line[1]), expected, rtol=1e-14)
    assert len(traces) == 1


@transforms
def test_precision_of_the_value_is_kept(transform, other, line):
    number = jnp.asarray(point(line, 0.4), dtype=jnp.float32)
    value = transform.wrap(number)
    assert value.dtype == jnp.float32
    assert transform.unwrap(value).dtype == jnp.float32
    np.testing.assert_allclose(value, transform.wrap(float(number)), rtol=2e-6)


@transforms
def test_the_ends_and_what_is_no_number_are_out_of_range(transform, other, line):
    lower, upper = map(float, transform._range())
    inside = float(transform.wrap(point(line, 0.5)))
    values = jnp.array([lower, inside, upper, np.nan, -np.inf, np.inf])
    expected = [False, True, False, False, False, False]
    assert transform.in_range(values).tolist() == expected
