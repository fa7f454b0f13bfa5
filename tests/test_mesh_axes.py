"""Functions that run on one device of a `jax.shard_map`, as if there were no other."""

import contextlib

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from everwillow._errors import ArgumentValueError
from everwillow._mesh_axes import as_varying, mesh_axes, on_one_device


SPLIT, WHOLE = PartitionSpec("lane"), PartitionSpec()
ROWS = np.arange(12.0).reshape(4, 3)


def mesh(kind=AxisType.Auto):
    return jax.make_mesh((2,), ("lane",), axis_types=(kind,))


def sharded(function, *specs, out=SPLIT):
    return jax.shard_map(function, mesh=mesh(), in_specs=specs, out_specs=out)


def weighted_sum(numbers):
    """Return w Σ x², by a loop that starts from a constant."""
    x, w = numbers

    def add(i, total):
        return total + w * x[i] ** 2

    return jax.lax.fori_loop(0, x.shape[0], add, jnp.zeros((), x.dtype))


def on_rows(x, w):
    return jax.vmap(lambda row: on_one_device(weighted_sum, (row, w)))(x)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_loop_from_constants(transform):
    found = transform(sharded(on_rows, SPLIT, WHOLE))(ROWS, 2.0)
    np.testing.assert_allclose(found, 2 * np.sum(ROWS**2, axis=1), rtol=1e-15)


def test_derivatives_of_what_is_split_and_of_what_is_the_same_everywhere():
    def unrolled(numbers):
        x, w = numbers
        return w * jnp.sum(x**2)

    def rows(x, w):
        return jax.vmap(lambda row: on_one_device(unrolled, (row, w)))(x)

    def total(x, w):
        return jnp.sum(sharded(rows, SPLIT, WHOLE)(x, w))

    by_x, by_w = jax.jit(jax.grad(total, argnums=(0, 1)))(ROWS, 2.0)
    np.testing.assert_allclose(by_x, 4 * ROWS, rtol=1e-15)
    # All devices have it, so its derivative is the sum of theirs.
    np.testing.assert_allclose(by_w, np.sum(ROWS**2), rtol=1e-15)
    _, forward = jax.jvp(total, (ROWS, 2.0), (np.ones_like(ROWS), 1.0))
    np.testing.assert_allclose(forward, np.sum(4 * ROWS + ROWS**2), rtol=1e-15)


def test_random_keys_and_integers_go_in_and_out():
    def drawn(numbers):
        key, count = numbers
        return jr.split(key)[0], count + 1

    def one(key, count):
        key, count = on_one_device(drawn, (key[0], count[0]))
        return key[None], count[None]

    keys = jr.split(jr.key(1), 2)
    found, counts = jax.jit(sharded(one, SPLIT, SPLIT))(keys, np.array([1, 5]))
    expected = jax.vmap(lambda key: jr.split(key)[0])(keys)
    assert jnp.all(jr.key_data(found) == jr.key_data(expected))
    np.testing.assert_array_equal(counts, [2, 6])


def test_nothing_is_added_without_a_mesh():
    plain = jax.make_jaxpr(weighted_sum)((ROWS[0], 2.0))
    wrapped = jax.make_jaxpr(lambda a: on_one_device(weighted_sum, a))((ROWS[0], 2.0))
    assert str(wrapped) == str(plain)


def test_axes_of_arrays():
    seen = []

    def look(x, w):
        even = as_varying((w, 1.0), x)
        seen.append([mesh_axes(tree) for tree in (x, w, (x, w), even)])
        return x

    jax.make_jaxpr(sharded(look, SPLIT, WHOLE))(ROWS, 2.0)
    assert seen == [[("lane",), (), ("lane",), ("lane",)]]
    assert mesh_axes((ROWS, 2.0, None)) == ()
    assert as_varying((ROWS, None), ROWS) == (ROWS, None)


@pytest.mark.parametrize(
    "exchange",
    [
        lambda x: jax.lax.psum(x, "lane"),
        lambda x: jax.lax.fori_loop(0, 2, lambda _, s: jax.lax.pmax(s, "lane"), x),
    ],
    ids=["psum", "pmax in a loop"],
)
def test_talk_with_other_devices_is_refused(exchange):
    refusal = pytest.raises(ArgumentValueError, match=r"mesh axes 'lane'.*outside")
    with refusal:
        jax.make_jaxpr(sharded(lambda x: on_one_device(exchange, x), SPLIT))(ROWS)


@pytest.mark.parametrize("context", [True, False], ids=["default mesh", "no mesh"])
def test_types_that_tell_how_arrays_are_cut(context):
    explicit = mesh(AxisType.Explicit)
    rows = jax.device_put(ROWS, NamedSharding(explicit, SPLIT))

    def placed(numbers):
        x, w = numbers
        return jnp.zeros(4).at[jnp.arange(3)].set(x) * w

    function = jax.jit(jax.vmap(lambda x: on_one_device(placed, (x, 2.0))))
    with jax.set_mesh(explicit) if context else contextlib.nullcontext():
        found = function(rows)
    np.testing.assert_array_equal(found, np.pad(2 * ROWS, ((0, 0), (0, 1))))
    assert found.sharding.spec[0] == "lane"
