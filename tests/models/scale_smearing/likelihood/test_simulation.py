"""Tests of what the noise of templates does to the gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow.models.scale_smearing import SasModel
from everwillow.models.scale_smearing.likelihood.packing import PackedSize
from everwillow.models.scale_smearing.likelihood.simulation import (
    gradient_bias,
    gradient_variance,
)
from tests.models.scale_smearing.plain import SINGLES, VALUES, small_spec, vector_of


CASES = {
    "pairs": {},
    "objects": {"regions": SINGLES, "mass_exponent": 1.0},
    "two Gaussians": {"double_gaussian": True},
}


SLOW = ("objects", "two Gaussians")


def variance(model, vector, variances):
    return gradient_variance(
        model.terms,
        jnp.asarray(model.slots),
        vector,
        jnp.asarray(model.observation["main"]),
        jnp.asarray(variances),
    )


@pytest.fixture(
    scope="module",
    params=["pairs", *(pytest.param(one, marks=pytest.mark.slow) for one in SLOW)],
)
def case(request):
    spec = small_spec(**CASES[request.param])
    model = SasModel.from_spec(spec)
    return spec, model, jnp.asarray(vector_of(model, VALUES))


@pytest.mark.slow
def test_it_is_the_propagation_of_the_variances_of_bins(case):
    spec, model, vector = case
    counts = jnp.asarray(model.observation["main"])

    def gradient(templates):
        terms = dataclasses.replace(model.terms, templates=templates)
        return jax.grad(terms.nll)(vector, counts)

    jacobian = jax.jit(jax.jacrev(gradient))(jnp.asarray(model.terms.templates))
    variances = np.stack([one.variances for one in spec.regions])
    expected = np.einsum("prk,rk,qrk->pq", jacobian, variances, jacobian)
    found = variance(model, vector, variances)
    scale = np.sqrt(np.diagonal(expected))
    np.testing.assert_allclose(
        found / np.outer(scale, scale), expected / np.outer(scale, scale), atol=1e-9
    )


def test_a_bin_without_variance_adds_nothing(case):
    spec, model, vector = case
    assert not np.any(variance(model, vector, np.zeros(model.terms.templates.shape)))
    variances = np.stack([one.variances for one in spec.regions])
    even = np.where(np.arange(variances.shape[1]) % 2, 0, variances)
    parts = variance(model, vector, even), variance(model, vector, variances - even)
    np.testing.assert_allclose(
        sum(parts), variance(model, vector, variances), rtol=1e-9, atol=1e-6
    )


@pytest.mark.slow
def test_padding_changes_nothing(case):
    spec, model, vector = case
    size = PackedSize(regions=6, rows=40, masses=150, bins=9)
    larger = SasModel.from_spec(spec, size=size)
    variances = np.stack([one.variances for one in spec.regions])
    padded = np.zeros(larger.terms.templates.shape)
    padded[: variances.shape[0], : variances.shape[1]] = variances
    expected = np.asarray(variance(model, vector, variances))
    np.testing.assert_allclose(
        variance(larger, vector, padded), expected, atol=1e-10 * expected.max()
    )


@pytest.mark.slow
def test_the_mean_is_the_gradient_of_the_mean_of_the_noise(case):
    spec, model, vector = case
    counts = jnp.asarray(model.observation["main"])
    variances = np.stack([one.variances for one in spec.regions])

    def added(vector):
        def slope(templates):
            terms = dataclasses.replace(model.terms, templates=templates)
            return terms.nll(vector, counts)

        templates = jnp.asarray(model.terms.templates)
        # Bins of one region do not mix here: only squares have a variance.
        units = jnp.eye(templates.size).reshape(-1, *templates.shape)
        gradient = jax.grad(slope)

        def square(unit):
            return jnp.sum(jax.jvp(gradient, (templates,), (unit,))[1] * unit)

        return 0.5 * jnp.sum(
            jax.lax.map(square, units).reshape(variances.shape) * variances
        )

    expected = jax.jit(jax.grad(added))(vector)
    found = gradient_bias(
        model.terms,
        jnp.asarray(model.slots),
        vector,
        counts,
        jnp.asarray(variances),
    )
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-9)
