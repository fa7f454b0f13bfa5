"""Limits, scans and intervals of template fits."""

import json
from statistics import NormalDist

import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
import tests.models.templates.cases as cases
from everwillow.profile import minos, scan


EXPECTED = json.loads((cases.FOLDER / "expected_impacts.json").read_text())
SAID = EXPECTED["limits"]
# One standard deviation, two-sided.
ONE_SIGMA = 2 * NormalDist().cdf(1.0) - 1


def significance(background):
    """Return the root of q for which CLs is 0.05, given CLb."""
    normal = NormalDist()
    return normal.inv_cdf(background) - normal.inv_cdf(0.05 * background)


@pytest.fixture(scope="module")
def asimov():
    model = cases.builder("noslope").build()
    nothing = sl.update(model.state, updates={"signal": 0.0})
    return model, nothing, model.asimov(nothing)


@pytest.fixture(scope="module")
def base():
    return cases.fitted("base")


@pytest.mark.slow
def test_the_limit_without_signal(asimov):
    model, _, observation = asimov
    found = ew.limits(model, observation=observation)
    wanted = SAID["likelihood_expected"][SAID["background"].index(0.5)]
    np.testing.assert_allclose(found.expected.median, wanted, rtol=1e-4)
    np.testing.assert_allclose(found.observed, wanted, rtol=1e-4)


@pytest.mark.slow
def test_where_cls_is_one_in_twenty(asimov):
    """Scanned at the stored limits, -ln L says the stored quantiles of background."""
    model, _, observation = asimov
    found = scan(
        model,
        observation=observation,
        name="signal",
        values=np.array(SAID["likelihood_expected"]),
    )
    wanted = [0.5 * significance(b) ** 2 for b in SAID["background"]]
    np.testing.assert_allclose(found.nll - found.minimum.nll, wanted, rtol=5e-4)


@pytest.mark.slow
def test_limits_of_a_parabola(asimov):
    model, nothing, observation = asimov
    covariance = ew.covariance_matrix(model, nothing, observation)
    error = np.sqrt(np.diag(covariance))[list(model.state).index("signal")]
    found = [error * significance(b) for b in SAID["background"]]
    np.testing.assert_allclose(found, SAID["gaussian_expected"], rtol=1e-6)


@pytest.mark.slow
def test_a_scan(base):
    model, result = base
    said = EXPECTED["scans"]
    found = scan(model, result, name="slope", values=np.array(said["slope"]))
    np.testing.assert_allclose(found.nll - result.nll, said["delta_nll"], atol=1e-5)


@pytest.mark.slow
def test_intervals_and_what_the_others_do_there(base):
    model, result = base
    said = EXPECTED["scans"]
    found = minos(model, result, names=("signal", "slope"), cl=ONE_SIGMA)
    root = np.sqrt(result.params["signal"])
    errors = dict(zip(said["parameters"], EXPECTED["default"]["errors"], strict=True))
    for i, name in enumerate(("signal", "slope")):
        for side, ends in enumerate((found.lower_params, found.upper_params)):
            for key, wanted in zip(
                said["parameters"], said["contours"][name][side], strict=True
            ):
                value = np.asarray(ends[key])[i]
                away = value - result.params[key]
                if key == "signal":
                    away = np.sqrt(value) - root
                # Along the contour the others are found less well than its end.
                limit = 1e-4 if key == name else 5e-3
                assert abs(away - wanted) < limit * errors[key]
