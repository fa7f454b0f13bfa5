"""The Asimov data of hypotheses."""

import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest import (
    constrained_fit,
    make_asimov,
)
from tests.hypotest.models import (
    GAUSSIAN_DATA,
    GAUSSIAN_START,
    gaussian,
    gaussian_prediction,
    uncorrelated_background,
)


@pytest.mark.slow
def test_asimov_data_of_a_profiled_hypothesis_have_their_minimum_there():
    model = uncorrelated_background()
    data = make_asimov(model, poi_key="mu", mu_asimov=0.3)
    held = constrained_fit(model, poi_key="mu", poi_value=0.3)
    best = ew.fit(model, observation=data)
    np.testing.assert_allclose(best.params["mu"], 0.3, atol=1e-9)
    np.testing.assert_allclose(best.params["gamma"], held.params["gamma"], rtol=1e-9)


def test_asimov_data_a_priori_are_the_nominal_expectation():
    model = uncorrelated_background()
    data = make_asimov(model, poi_key="mu", mu_asimov=0.0, nuisances="a priori")
    np.testing.assert_allclose(data["main"], [50.0, 52.0])
    np.testing.assert_allclose(data["aux"]["gamma"], (np.array([50, 52]) / [3, 7]) ** 2)


def test_asimov_data_of_a_prediction():
    data = make_asimov(
        gaussian,
        GAUSSIAN_START,
        GAUSSIAN_DATA,
        poi_key="mu",
        mu_asimov=1.0,
        predict_fn=gaussian_prediction,
    )
    np.testing.assert_allclose(data["x"], 1.0 + data["a"], rtol=1e-12)
    with pytest.raises(ew.EverwillowError, match="predict_fn"):
        make_asimov(gaussian, GAUSSIAN_START, GAUSSIAN_DATA, poi_key="mu")
