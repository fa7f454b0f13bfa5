"""Asimov data."""

import numpy as np
import pytest

import everwillow as ew
from everwillow.toys import (
    asimov_data,
)
from tests.hypotest.models import uncorrelated_background


MODEL = uncorrelated_background()
TRUTH = ew.State.from_pytree({"mu": 0.7, "gamma": np.array([1.05, 0.9])})


@pytest.mark.slow
def test_asimov_data_have_their_minimum_at_the_parameters():
    data = asimov_data(MODEL, TRUTH)
    best = ew.fit(MODEL, observation=data)
    for key, value in TRUTH.items():
        np.testing.assert_allclose(best.params[key], value, rtol=1e-9)


def test_asimov_data_of_a_prediction():
    assert asimov_data(None, TRUTH, predict_fn=lambda s: 2.0 * s["mu"]) == 1.4
    with pytest.raises(ew.EverwillowError, match="predict_fn"):
        asimov_data(lambda p, o: 0.0, TRUTH)
