"""Events divided over two devices: the same results as on one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import everwillow as ew
from everwillow.models.nsbi import NsbiModel, density_ratio
from tests.models.nsbi import analytic


POINT = {"mu": 1.3, "scale": 0.4}
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def small_spec():
    x, width = analytic.grid(203)
    data = analytic.events(x, analytic.mixture(x, mu=1.4, scale=0.5) * width)
    x, width = analytic.grid(407)
    simulated = analytic.events(x, analytic.reference_density(x) * width)
    return analytic.spec(data, simulated)


@pytest.fixture(scope="module")
def models():
    """The model with events on two devices, and all of it on one."""
    assert len(jax.local_devices()) == 2
    divided = NsbiModel.from_spec(small_spec())
    arrays, rest = eqx.partition(divided, eqx.is_array)
    first = jax.local_devices()[0]
    return divided, eqx.combine(jax.device_put(arrays, first), rest)


@pytest.fixture(scope="module")
def fits(models):
    return [ew.fit(model) for model in models]


def params():
    return {name: jnp.asarray(value) for name, value in POINT.items()}


def compare(one, other, **tolerance):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, **(tolerance or EXACT))


def test_each_device_has_half_of_the_events(models):
    divided, whole = models
    for name in ("ratios", "changes", "reference"):
        array = getattr(divided.terms.events, name)
        shards = array.addressable_shards
        assert len({shard.device for shard in shards}) == 2
        *others, events = array.shape
        assert {shard.data.shape for shard in shards} == {(*others, events // 2)}
        alone = getattr(whole.terms.events, name)
        assert len(alone.addressable_shards) == 1
        np.testing.assert_array_equal(array, alone)


@pytest.mark.slow
def test_value_and_derivatives(models):
    found = []
    for model in models:
        evaluation = jax.jit(lambda p, m=model: m.curvature(p))(params())
        value, gradient = jax.jit(jax.value_and_grad(lambda p, m=model: m.nll(p)))(
            params()
        )
        curvatures = evaluation.curvature, evaluation.gauss_newton
        found.append([value, gradient, evaluation.value, evaluation.gradient])
        found[-1] += [curvature.as_matrix() for curvature in curvatures]
    scale = float(np.abs(found[1][-1]).max())
    compare(*found, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.slow
def test_asimov_data_and_densities(models):
    compare(*(model.expected(params()) for model in models))
    compare(*(density_ratio(model, params()) for model in models))


@pytest.mark.slow
def test_fits(fits):
    one, other = fits
    assert one.success
    for name in ("params", "nll", "covariance"):
        compare(getattr(one, name), getattr(other, name))


@pytest.mark.slow
def test_scans(models, fits):
    values = np.linspace(1.0, 1.8, 5)
    one, other = (
        ew.profile.scan(model, result, name="mu", values=values)
        for model, result in zip(models, fits, strict=True)
    )
    assert one.success.all()
    compare((one.nll, one.params), (other.nll, other.params))


@pytest.mark.slow
def test_toys(models):
    one, other = (ew.toys.fit_toys(m, key=jr.key(2), ntoys=6) for m in models)
    assert one.success.all()
    compare((one.params, one.errors), (other.params, other.errors), rtol=1e-9)
