"""Inference with density-ratio models: the general functions, nothing of their own."""

import dataclasses

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.models.nsbi import NsbiModel
from tests.helpers import count_jax_work
from tests.models.nsbi import analytic
from tests.models.nsbi.test_model import binned_limit


EDGES = np.linspace(-7, 8, 601)


@pytest.fixture(scope="module")
def unbinned():
    """Data of the truth mu = 0.3, and a reference sample of another length."""
    middle, width = (EDGES[1:] + EDGES[:-1]) / 2, np.diff(EDGES)
    data = analytic.events(middle, analytic.mixture(middle, mu=0.3) * width)
    x, step = analytic.grid(901)
    simulated = analytic.events(x, analytic.reference_density(x) * step)
    return NsbiModel.from_spec(analytic.spec(data, simulated))


@pytest.fixture(scope="module")
def best(unbinned):
    return ew.fit(unbinned)


@pytest.fixture(scope="module")
def binned():
    return binned_limit(EDGES, {"mu": 0.3})


@pytest.mark.slow
def test_limits_agree_with_those_of_many_bins(unbinned, binned):
    fixed = {"scale": 0.0}
    one, other = (ew.limits(model, fixed=fixed) for model in (unbinned, binned))
    np.testing.assert_allclose(one.observed, other.observed, rtol=2e-3)
    for (_, value), (_, expected) in zip(one.expected, other.expected, strict=True):
        np.testing.assert_allclose(value, expected, rtol=2e-3)


@pytest.mark.slow
def test_discovery_agrees_with_that_of_many_bins(unbinned, binned):
    fixed = {"scale": 0.0}
    one, other = (ew.discovery(m, "mu", fixed=fixed) for m in (unbinned, binned))
    np.testing.assert_allclose(one.significance, other.significance, rtol=2e-3)


@pytest.mark.slow
def test_minos_and_scan_agree(unbinned, best):
    found = ew.profile.minos(unbinned, best, names=["mu"])
    lower, upper = (float(np.ravel(v)[0]) for v in (found.lower, found.upper))
    center = float(best.params["mu"])
    ends = center + np.array([-abs(lower), abs(upper)])
    scan = ew.profile.scan(unbinned, best, name="mu", values=ends)
    np.testing.assert_allclose(scan.twice_delta_nll, 1.0, rtol=1e-4)
    with count_jax_work() as work:
        ew.profile.scan(unbinned, best, name="mu", values=ends + 0.01)
    assert work.traces == 0


@pytest.mark.slow
def test_points_of_a_grid_are_fits_with_both_parameters_held(unbinned, best):
    axes = ([0.2, 0.5], [-0.4, 0.3])
    scan = ew.profile.scan_2d(unbinned, best, names=("mu", "scale"), values=axes)
    for place in ((0, 1), (1, 0)):
        held = {
            name: axis[i]
            for name, axis, i in zip(("mu", "scale"), axes, place, strict=True)
        }
        fixed = ew.fit(unbinned, fixed=held)
        wanted = 2 * (float(fixed.nll) - float(best.nll))
        np.testing.assert_allclose(scan.twice_delta_nll[place], wanted, rtol=1e-6)


@pytest.mark.slow
def test_impacts_and_statistical_part(unbinned, best):
    ranking = ew.impacts.rank(unbinned, best, poi="mu")
    (name,) = ranking.names
    assert name == "scale"
    covariance = np.asarray(best.covariance)
    labels = list(best.labels)
    mixed = covariance[labels.index("mu"), labels.index("scale")]
    error = float(best.errors["scale"])
    np.testing.assert_allclose(
        abs(float(ranking.postfit[0, 0])), abs(mixed) / error, rtol=1e-6
    )


@pytest.mark.slow
def test_a_nuisance_parameter_as_poi(unbinned):
    model = dataclasses.replace(unbinned, poi="scale")
    result = ew.limits(model)
    assert np.isfinite(float(result.observed))


@pytest.mark.slow
def test_the_fit_has_derivatives_by_the_data(unbinned):
    """Twice the weights make the errors smaller by the root of two, near enough."""
    main = unbinned.observation["main"]

    def strength(factor):
        data = {**main, "weights": main["weights"] * factor}
        observation = {**unbinned.observation, "main": data}
        return ew.fit(unbinned, observation=observation).params["mu"]

    slope = jax.grad(strength)(1.0)
    step = 1e-3
    expected = (float(strength(1 + step)) - float(strength(1 - step))) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-5)
