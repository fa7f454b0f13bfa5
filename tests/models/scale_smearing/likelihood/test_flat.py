"""Tests of the likelihood as a function of a vector, against plain NumPy."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow._errors import ShapeMismatchError
from everwillow.models.scale_smearing import SasModel
from everwillow.models.scale_smearing.likelihood.flat import FlatSas
from everwillow.models.scale_smearing.likelihood.packing import PackedSize
from tests.models.scale_smearing.plain import (
    SINGLES,
    VALUES,
    plain_fractions,
    plain_nll,
    small_spec,
    vector_of,
)


LARGER = PackedSize(regions=6, rows=40, masses=150, bins=9)
CASES = {
    "pairs": {},
    "objects": {"regions": SINGLES, "mass_exponent": 1.0},
    "two Gaussians": {"double_gaussian": True},
    "shared": {"double_gaussian": True, "shared": ("mu", "reso2", "frac")},
    "objects with two Gaussians": {"regions": SINGLES, "double_gaussian": True},
}
QUICK = ("pairs",)
# A shared parameter has one value.
ONE = {name: np.full(3, VALUES[name][0]) for name in ("reso2", "mu", "frac")}


nll = eqx.filter_jit(FlatSas.nll)
fractions = eqx.filter_jit(FlatSas.fractions)
evaluation = eqx.filter_jit(FlatSas.evaluation)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in CASES
    ],
)
def case(request):
    """A specification, its model, values, the vector of values, and the counts."""
    spec = small_spec(**CASES[request.param])
    model = SasModel.from_spec(spec)
    values = VALUES | (ONE if spec.shared else {})
    vector = jnp.asarray(vector_of(model, values))
    return spec, model, values, vector, jnp.asarray(model.observation["main"])


def close(actual, expected, tolerance=1e-9):
    expected = np.asarray(expected)
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * scale)


def test_value_equals_the_plain_formula(case):
    spec, model, values, vector, counts = case
    expected = plain_nll(spec, values)
    np.testing.assert_allclose(nll(model.terms, vector, counts), expected, rtol=1e-10)


def test_probabilities_equal_the_plain_formula(case):
    spec, model, values, vector, _ = case
    expected = [plain_fractions(spec, values, one) for one in spec.regions]
    close(fractions(model.terms, vector), np.concatenate(expected))


@pytest.mark.slow
def test_derivatives_equal_those_of_jax(case):
    _, model, _, vector, counts = case
    found = evaluation(model.terms, vector, counts)
    np.testing.assert_allclose(
        found.value, nll(model.terms, vector, counts), rtol=1e-13
    )
    close(found.gradient, jax.jit(jax.grad(model.terms.nll))(vector, counts))
    close(found.curvature.matrix, jax.jit(jax.hessian(model.terms.nll))(vector, counts))


def test_the_stand_in_is_the_hessian_of_expected_counts(case):
    _, model, _, vector, counts = case
    terms = model.terms
    totals = terms._by_region(counts)
    expected = fractions(terms, vector) * totals[terms.region]
    information = evaluation(terms, vector, counts).gauss_newton.matrix
    close(information, evaluation(terms, vector, expected).curvature.matrix)
    eigenvalues = np.linalg.eigvalsh(information)
    assert eigenvalues[0] > -1e-9 * eigenvalues[-1]


@pytest.mark.slow
def test_padding_changes_nothing(case):
    spec, model, _, vector, counts = case
    larger = SasModel.from_spec(spec, size=LARGER)
    padded = jnp.asarray(larger.observation["main"])
    assert larger.terms.templates.shape == (6, 150)
    one = evaluation(model.terms, vector, counts)
    other = evaluation(larger.terms, vector, padded)
    np.testing.assert_allclose(other.value, one.value, rtol=1e-13)
    close(other.gradient, one.gradient, 1e-11)
    close(other.curvature.matrix, one.curvature.matrix, 1e-11)
    close(other.gauss_newton.matrix, one.gauss_newton.matrix, 1e-11)
    np.testing.assert_allclose(
        larger.saturated_nll(padded), model.saturated_nll(counts), rtol=1e-13
    )
    parts = fractions(larger.terms, vector)
    close(parts[: counts.size], fractions(model.terms, vector), 1e-12)
    assert not np.any(parts[counts.size :])


def test_the_second_gaussian_has_no_effect_without_events():
    single = SasModel.from_spec(small_spec())
    double = SasModel.from_spec(small_spec(double_gaussian=True))
    values = VALUES | {"frac": np.ones(3)}
    counts = jnp.asarray(single.observation["main"])
    one = nll(single.terms, jnp.asarray(vector_of(single, values)), counts)
    other = nll(double.terms, jnp.asarray(vector_of(double, values)), counts)
    np.testing.assert_allclose(other, one, rtol=1e-13)


def test_two_leptons_of_one_category_are_one_object_with_the_root_of_the_width():
    pair = SasModel.from_spec(small_spec(((1, 1),)))
    one = SasModel.from_spec(small_spec(((1,),), mass_exponent=1.0))
    counts = jnp.asarray(pair.observation["main"])
    wide = VALUES | {"reso": VALUES["reso"] / np.sqrt(2)}
    np.testing.assert_allclose(
        nll(pair.terms, jnp.asarray(vector_of(pair, VALUES)), counts),
        nll(one.terms, jnp.asarray(vector_of(one, wide)), counts),
        rtol=1e-13,
    )


def test_only_shapes_of_spectra_count(case):
    _, model, _, vector, counts = case
    terms = dataclasses.replace(model.terms, templates=7 * model.terms.templates)
    np.testing.assert_allclose(
        nll(terms, vector, counts), nll(model.terms, vector, counts), rtol=1e-12
    )


def test_a_saturated_model_is_the_best(case):
    spec, model, _, vector, counts = case
    found = model.saturated_nll(counts)
    expected = -sum(
        n * np.log(n / one.counts.sum())
        for one in spec.regions
        for n in one.counts
        if n
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found < nll(model.terms, vector, counts)


def test_a_bin_without_events_counts_in_the_normalisation(case):
    spec, model, values, vector, counts = case
    parts = plain_fractions(spec, values, spec.regions[0])
    empty = counts.at[0].set(0.0)
    change = nll(model.terms, vector, counts) - nll(model.terms, vector, empty)
    np.testing.assert_allclose(change, -counts[0] * np.log(parts[0]), rtol=1e-9)


def test_counts_of_another_shape_are_refused(case):
    _, model, _, vector, counts = case
    for function in (FlatSas.nll, FlatSas.evaluation):
        with pytest.raises(ShapeMismatchError, match="all bins of all regions"):
            function(model.terms, vector, counts[:-1])
