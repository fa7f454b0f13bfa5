"""The helpers of the tests against closed forms: a blind helper proves nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import (
    TraceCounter,
    assert_no_retrace,
    count_jax_work,
    finite_difference_gradient,
    finite_difference_jacobian,
    tree_allclose,
)


def test_tree_allclose_accepts_equal_trees():
    tree = {"a": jnp.array([1.0, jnp.nan]), "b": (2, None)}
    assert tree_allclose(tree, {"a": np.array([1.0 + 1e-9, np.nan]), "b": (2, None)})


@pytest.mark.parametrize(
    "other",
    [
        {"a": jnp.array([1.0, 2.0 + 1e-5])},
        {"b": jnp.array([1.0, 2.0])},
        {"a": jnp.array([[1.0, 2.0]])},
        {"a": jnp.array([1, 2])},
        {"a": jnp.array([1.0, jnp.nan])},
    ],
    ids=["value", "key", "shape", "kind", "nan"],
)
def test_tree_allclose_refuses_what_differs(other):
    assert not tree_allclose({"a": jnp.array([1.0, 2.0])}, other)


def test_finite_difference_gradient_is_that_of_a_closed_form():
    x = {"a": jnp.array([0.3, -1.2]), "b": jnp.array(2.5)}
    gradient = finite_difference_gradient(
        lambda t: jnp.sum(jnp.sin(t["a"])) * t["b"] ** 3, x
    )
    sines, cosines = jnp.sin(x["a"]).sum(), jnp.cos(x["a"])
    expected = {"a": cosines * 2.5**3, "b": 3 * 2.5**2 * sines}
    # A fourth-order stencil at its best step leaves eps^(4/5), about 3e-13, times the
    # scale of the function.
    assert tree_allclose(gradient, expected, rtol=1e-10)


def test_finite_difference_jacobian_orders_outputs_by_inputs():
    matrix = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    jacobian = finite_difference_jacobian(lambda v: matrix @ v, jnp.ones(3))
    np.testing.assert_allclose(jacobian, matrix, rtol=1e-11)


def test_finite_difference_gradient_refuses_a_vector_function():
    with pytest.raises(ValueError, match="one number, not 3"):
        finite_difference_gradient(lambda v: 2.0 * v, jnp.ones(3))


def test_trace_counter_counts_traces_and_not_runs():
    counter = TraceCounter(lambda x: 2.0 * x)
    jitted = jax.jit(counter)
    jitted(jnp.ones(2))
    with assert_no_retrace(counter):
        jitted(jnp.zeros(2))
    assert counter.calls == 1
    with pytest.raises(AssertionError, match="traced again"):  # noqa: SIM117
        with assert_no_retrace(counter):
            jitted(jnp.ones(3))


def test_count_jax_work_sees_a_new_shape_and_nothing_else():
    jitted = jax.jit(lambda x: 3.0 * x)
    two, three = jnp.ones(2), jnp.ones(3)
    with count_jax_work() as first:
        jitted(two)
    with count_jax_work() as second:
        jitted(two)
    with count_jax_work() as third:
        jitted(three)
    assert (first.traces, first.compilations) == (1, 1)
    assert (second.traces, second.compilations) == (0, 0)
    assert (third.traces, third.compilations) == (1, 1)


def test_getkey_gives_a_new_key_each_time(getkey):
    assert jax.random.uniform(getkey()) != jax.random.uniform(getkey())
