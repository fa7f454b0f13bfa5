"""Fits on the devices of a mesh, in `jax.shard_map` and with data that are split."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import everwillow as ew
from everwillow._errors import RESULTS, ArgumentValueError
from everwillow.fitting.conditional import conditional_fit
from everwillow.profile.minos_intervals import minos
from tests.helpers import TraceCounter, assert_no_retrace


KINDS = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(AxisType.Auto, id="auto", marks=pytest.mark.slow),
        pytest.param(AxisType.Explicit, id="explicit"),
    ],
)
SPLIT, WHOLE = PartitionSpec("lane"), PartitionSpec()
WIDTH = 2.0
Y = np.array([[1.0, 2.0, 4.5], [0.3, 0.5, 0.1], [-2.0, 1.0, -3.0], [5.0, 4.0, 3.5]])
# Of three values of width 1 and a prior around 0: positive, or at its bound.
MEANS = np.maximum(np.sum(Y, axis=1) / (3 + WIDTH**-2), 0)
INSIDE = MEANS > 0
VARIANCE = 1 / (3 + WIDTH**-2)
START = ew.State.from_pytree({"mu": 1.0})
BOUNDS: dict[Any, Any] = {"mu": ew.Interval(0.0, None)}


def nll(params, data):
    y, width = data
    return 0.5 * jnp.sum((y - params["mu"]) ** 2) + 0.5 * (params["mu"] / width) ** 2


def fitted(y, width):
    """Return the fitted value, its variance and whether that is a minimum."""
    result = ew.fit(nll, START, (y, width), bounds=BOUNDS)
    variance = ew.covariance_matrix(nll, result, (y, width))[0, 0]
    return result.params["mu"], variance, result.success


def mesh(kind=AxisType.Auto):
    return jax.make_mesh((2,), ("lane",), axis_types=(kind,))


def put(array, kind, spec=SPLIT):
    return jax.device_put(array, NamedSharding(mesh(kind), spec))


@pytest.mark.slow
def test_batches_and_their_derivatives():
    def total(y, width):
        fits = jax.shard_map(
            jax.vmap(fitted, (0, None)),
            mesh=mesh(),
            in_specs=(SPLIT, WHOLE),
            out_specs=SPLIT,
        )
        mu, variance, success = fits(y, width)
        return jnp.sum(mu**2), (mu, variance, success)

    slopes = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    (_, found), (by_y, by_width) = jax.jit(slopes)(Y, WIDTH)
    mu, variance, success = found
    assert np.all(success)
    np.testing.assert_allclose(mu, MEANS, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(variance, np.where(INSIDE, VARIANCE, 0), rtol=1e-9)
    # d(mu²)/dy = 2 mu V, and d(mu)/d(width) = 2 mu V / width³.
    expected = np.broadcast_to(2 * MEANS[:, None] * VARIANCE, Y.shape)
    np.testing.assert_allclose(by_y, expected, rtol=1e-8, atol=1e-12)
    expected = np.sum(4 * MEANS**2 * VARIANCE / WIDTH**3)
    np.testing.assert_allclose(by_width, expected, rtol=1e-8)


@pytest.mark.slow
def test_each_fit_has_its_status():
    counted = TraceCounter(nll)

    def one(y):
        result = ew.fit(counted, START, (y[0], WIDTH))
        return result.params["mu"][None], result.status._value[None]

    fits = jax.shard_map(one, mesh=mesh(), in_specs=SPLIT, out_specs=SPLIT)
    good = Y[[0, 3]]
    mu, status = fits(good)
    np.testing.assert_allclose(mu, MEANS[[0, 3]], rtol=1e-9)
    bad = good.copy()
    bad[1, 1] = np.nan
    with assert_no_retrace(counted):
        mu, status = fits(bad)
    np.testing.assert_allclose(mu[0], MEANS[0], rtol=1e-9)
    codes = [RESULTS.successful._value, RESULTS.nonfinite_start._value]
    np.testing.assert_array_equal(status, codes)


def test_likelihoods_that_sum_over_devices_around_the_fit_are_refused():
    def shared(params, data):
        return jax.lax.psum(nll(params, data), "lane")

    def one(y):
        return ew.fit(shared, START, (y, WIDTH)).params["mu"]

    fits = jax.shard_map(one, mesh=mesh(), in_specs=SPLIT, out_specs=WHOLE)
    with pytest.raises(ArgumentValueError, match=r"nll_fn: it sums .* mesh axes"):
        jax.make_jaxpr(fits)(Y)


@pytest.mark.slow
def test_likelihoods_that_sum_over_devices_inside():
    def shared(params, data):
        def part(mu, y):
            return jax.lax.psum(0.5 * jnp.sum((y - mu) ** 2), "lane")

        y, width = data
        summed = jax.shard_map(
            part, mesh=mesh(), in_specs=(WHOLE, SPLIT), out_specs=WHOLE
        )
        return summed(params["mu"], y) + 0.5 * (params["mu"] / width) ** 2

    data = (put(Y, AxisType.Auto), WIDTH)
    result = ew.fit(shared, START, data)
    expected = np.sum(Y) / (Y.size + WIDTH**-2)
    np.testing.assert_allclose(result.params["mu"], expected, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("default", [True, False], ids=["default mesh", "no default"])
@KINDS
def test_batches_that_are_split(kind, default):
    fits = jax.jit(jax.vmap(fitted, (0, None)))
    with jax.set_mesh(mesh(kind)) if default else contextlib.nullcontext():
        mu, variance, success = fits(put(Y, kind), WIDTH)
    assert np.all(success)
    np.testing.assert_allclose(mu, MEANS, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(variance, np.where(INSIDE, VARIANCE, 0), rtol=1e-9)
    assert mu.sharding.spec == SPLIT


@pytest.mark.slow
@KINDS
def test_data_of_one_fit_that_are_split(kind):
    with jax.set_mesh(mesh(kind)):
        split = ew.fit(nll, START, (put(Y, kind), WIDTH))
        whole = ew.fit(nll, START, (Y, WIDTH))
    expected = np.sum(Y) / (Y.size + WIDTH**-2)
    for found in (split, whole):
        np.testing.assert_allclose(found.params["mu"], expected, rtol=1e-9)
        assert found.hessian is not None
        np.testing.assert_allclose(found.hessian, [[Y.size + WIDTH**-2]], rtol=1e-9)


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
def test_conditional_fits_and_intervals(kind, check):
    def both(params, data):
        return nll(params, data) + 0.5 * (params["b"] - data[0][0] * params["mu"]) ** 2

    start = ew.State.from_pytree({"mu": 1.0, "b": 0.0})

    def one(y):
        data = (y[0], WIDTH)
        held = conditional_fit(both, start, data, held={"mu": 0.5})
        ends = minos(both, start, data, names=["mu"], cl=0.6826894921370859)
        return held.params["b"][None], ends.upper

    fits = jax.shard_map(
        one, mesh=mesh(kind), in_specs=SPLIT, out_specs=SPLIT, check_vma=check
    )
    data = put(Y[[0, 3]], kind)
    b, upper = jax.jit(fits)(data)
    np.testing.assert_allclose(b, 0.5 * Y[[0, 3], 0], rtol=1e-9)
    np.testing.assert_allclose(upper, np.sqrt(VARIANCE), rtol=1e-6)
