"""Pseudo-experiments, and several analyses as one, through spey."""

import jax.random as jr
import numpy as np
import pytest

from everwillow._errors import ArgumentTypeError, ConflictError
from everwillow.interop.spey import JointBackend
from tests.interop.spey_models import (
    APOSTERIORI,
    APRIORI,
    document,
    shared,
    spey,
    two_bins,
)


TOYS = 4000


def test_toys_have_the_moments_of_the_model():
    pars = np.array([1.0, 2.0])
    draw = shared().backend.get_sampler(pars)
    toys = draw(TOYS, key=jr.key(3))
    assert toys.shape == (TOYS, 3)
    # Main data are Poisson counts of 54 and 76, the auxiliary one N(alpha, 1).
    mean, variance = np.array([54.0, 76.0, 1.0]), np.array([54.0, 76.0, 1.0])
    np.testing.assert_array_equal(toys[:, :2], np.round(toys[:, :2]))
    pulls = (toys.mean(0) - mean) / np.sqrt(variance / TOYS)
    assert np.abs(pulls).max() < 4
    np.testing.assert_allclose(toys.var(0) / variance, 1.0, atol=0.12)
    correlation = np.corrcoef(toys.T)
    assert np.abs(correlation - np.eye(3)).max() < 5 / np.sqrt(TOYS)


def test_toys_repeat_with_a_key_or_a_seed():
    pars = np.array([0.0, 1.0])
    one, other = (two_bins(seed=11).backend.get_sampler(pars) for _ in range(2))
    first, second = one(5), one(5)
    np.testing.assert_array_equal(other(5), first)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(one(5, key=jr.key(1)), other(5, key=jr.key(1)))
    assert one(5, include_auxiliary=False).shape == (5, 2)


@pytest.mark.slow
def test_exclusion_with_toys_is_near_the_asymptotic_one():
    model = two_bins(seed=2)
    model.ntoys = 150
    options = {"calculator": "toy", "verbose": False, "poi_test": 3.0}
    for kind in (spey.ExpectationType.observed, APRIORI):
        found = model.exclusion_confidence_level(expected=kind, **options)
        expected = model.exclusion_confidence_level(poi_test=3.0, expected=kind)
        # 150 toys tell p-values to some 0.04, and CLs divides two of them.
        middle = slice(None) if len(found) == 1 else slice(1, 4)
        np.testing.assert_allclose(found[middle], expected[middle], atol=0.2)


@pytest.mark.slow
def test_the_chi_square_calculator_works():
    found = shared().exclusion_confidence_level(poi_test=3.0, calculator="chi_square")
    assert 0.0 < found[0] < 1.0


@pytest.fixture(scope="module")
def other():
    """Another analysis that shares alpha_bkg; its POI has another name."""
    made = document()
    made["distributions"][0]["name"] = "region"
    made["likelihoods"][0]["distributions"] = ["region"]
    made["data"][0]["contents"] = [48, 70]
    made["domains"][0]["axes"][0] = {"name": "strength", "min": 0.0, "max": 20.0}
    made["parameter_points"][0]["parameters"][0]["name"] = "strength"
    made["analyses"][0]["parameters_of_interest"] = ["strength"]
    signal = {"region": [3.0, 8.0]}
    return spey.get_backend("everwillow.hs3")(hs3_dict=made, signal_yields=signal)


@pytest.fixture(scope="module")
def joint(other):
    """Both as one."""
    return shared() @ other


@pytest.mark.slow
def test_a_combination_adds_likelihoods_and_counts_what_is_shared_once(joint, other):
    config = joint.backend.config()
    assert isinstance(joint.backend, JointBackend)
    assert config.parameter_names == ["alpha_bkg", "mu"]
    log_density = joint.backend.get_logpdf_func()
    for point in ([0.0, 0.0], [0.7, 1.2], [-1.1, 3.0]):
        pars = np.array(point)
        parts = [m.backend.get_logpdf_func()(pars) for m in (shared(), other)]
        constraint = -0.5 * (pars[0] ** 2 + np.log(2 * np.pi))
        assert log_density(pars) == pytest.approx(sum(parts) - constraint, rel=1e-12)


@pytest.mark.slow
def test_a_combination_of_two_excludes_more_than_each(joint, other):
    for kind in (APRIORI, APOSTERIORI):
        both = joint.exclusion_confidence_level(expected=kind)[2]
        single = [
            m.exclusion_confidence_level(expected=kind)[2] for m in (shared(), other)
        ]
        assert both > max(single)
    best, least = joint.maximize_likelihood()
    _, pars = joint.backend.minimize_negative_loglikelihood()
    slope = joint.backend.get_objective_function()(pars)[1]
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)
    assert joint.likelihood(best) == pytest.approx(least, rel=1e-12)


@pytest.mark.slow
def test_nuisance_parameters_can_stay_apart(other):
    apart = shared().combine(other, shared=["mu"])
    names = apart.backend.config().parameter_names
    assert names == ["model0.alpha_bkg", "mu", "model1.alpha_bkg"]
    # Then it is what spey makes of independent analyses.
    independent = spey.UnCorrStatisticsCombiner(two_bins(), other)
    for mu in (0.5, 2.0):
        assert apart.likelihood(mu) == pytest.approx(
            independent.likelihood(mu), rel=1e-10
        )


def test_what_cannot_be_combined(other):
    with pytest.raises(ConflictError, match="auxiliary_asimov"):
        shared().combine(two_bins(auxiliary_asimov="nominal"))
    with pytest.raises(ArgumentTypeError, match="no option 'join'"):
        shared().combine(other, join="outer")
    poisson = spey.get_backend("default.poisson")(
        signal_yields=[1.0], background_yields=[2.0], data=[3]
    )
    with pytest.raises(ArgumentTypeError, match="UnCorrStatisticsCombiner"):
        shared().combine(poisson)
