"""Documents with more than histograms, and vectors whose length tells what they are."""

import numpy as np
import pytest

from everwillow._errors import ArgumentValueError, ShapeMismatchError
from everwillow.interop.spey._data import DataForms
from everwillow.models.hs3 import load
from tests.interop.spey_models import KINDS, document, shared, spey, two_bins


EVENTS = [0.3, 0.9, 1.4, 2.2, 2.9, 4.1, 5.6, 7.7]


def with_events():
    """The two bins, and events of an exponential that shares nothing with them."""
    made = document()
    made["distributions"].append(
        {"name": "decay", "type": "exponential_dist", "x": "t", "c": "c"}
    )
    axis = {"name": "t", "min": 0.0, "max": 10.0}
    events = {"name": "events", "type": "unbinned", "axes": [axis]}
    made["data"].append(events | {"entries": [[x] for x in EVENTS]})
    made["likelihoods"][0]["distributions"].append("decay")
    made["likelihoods"][0]["data"].append("events")
    made["parameter_points"][0]["parameters"].append({"name": "c", "value": 0.4})
    made["domains"][0]["axes"].append({"name": "c", "min": 0.01, "max": 5.0})
    return made


@pytest.fixture(scope="module")
def model():
    return two_bins(hs3_dict=with_events(), seed=4)


@pytest.mark.slow
def test_an_independent_factor_changes_no_exclusion(model):
    assert model.backend.config().parameter_names == ["alpha_bkg", "c", "mu"]
    for name in KINDS:
        kind = spey.ExpectationType[name]
        np.testing.assert_allclose(
            model.exclusion_confidence_level(expected=kind),
            shared().exclusion_confidence_level(expected=kind),
            rtol=1e-8,
        )


@pytest.mark.slow
def test_asimov_data_and_toys_of_events_come_back_as_data(model):
    backend = model.backend
    _, pars = backend.negative_loglikelihood(0.0)
    asimov = backend.expected_data(pars)
    found, best = backend.minimize_negative_loglikelihood(data=asimov)
    np.testing.assert_allclose(best, pars, atol=1e-6)
    expected, _ = backend.minimize_asimov_negative_loglikelihood()
    assert found == pytest.approx(expected, rel=1e-9)
    for toy in backend.get_sampler(pars)(2):
        nll, at = backend.minimize_negative_loglikelihood(data=toy)
        value, slope = backend.get_objective_function(data=toy)(at)
        assert nll == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(slope, 0.0, atol=1e-5)


def test_a_length_that_can_mean_two_things_is_refused():
    made = with_events()
    forms = DataForms(load(made))
    with pytest.raises(ShapeMismatchError, match="18 main data and 1 auxiliary"):
        forms.observation(np.zeros(7))
    # Asimov data are 1024 points with weights: 2 + 2048 main data. So are 1023 events
    # with weights and two auxiliary data.
    more = {"name": "more", "type": "normsys", "parameter": "alpha_more"}
    modifiers = made["distributions"][0]["samples"][0]["modifiers"]
    modifiers.append(more | {"data": {"lo": 0.95, "hi": 1.05}})
    made["data"][1]["entries"] = [[0.001 * i] for i in range(1, 1024)]
    forms = DataForms(load(made))
    with pytest.raises(ArgumentValueError, match="2050 numbers can be read in 2 ways"):
        forms.observation(np.zeros(2050))
    assert forms.observation(np.ones(2052))["main"]["decay"]["weights"].shape == (1024,)
