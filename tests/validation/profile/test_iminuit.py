"""Numbers of iminuit 2.33.0; make_iminuit_reference.py made them.

Its profiles are as good as its fits, its MINOS errors and contours stop at about a part
in a thousand of the level.
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.profile import contour, minos, scan, scan_2d
from tests.fitting.objectives import DECAY_DATA, decay


pytestmark = pytest.mark.validation

REFERENCE = json.loads((Path(__file__).parent / "iminuit_reference.json").read_text())


def search(params, observed):
    rate = 5 * params["mu"] + params["bkg"]
    counts, side = observed["counts"], observed["side"]
    return (
        rate
        - counts * jnp.log(rate)
        + 2 * params["bkg"]
        - side * jnp.log(2 * params["bkg"])
    )


def spectrum(params, observed):
    return decay({**params, "share": 1.0}, observed)


CASES = {
    "search": (search, {"counts": np.asarray(8.0), "side": np.asarray(9.0)}),
    "decay": (spectrum, DECAY_DATA),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A model, its data, its best fit and what iminuit says."""
    function, observation = CASES[request.param]
    reference = REFERENCE["cases"][request.param]
    start = ew.State.from_pytree(reference["start"])
    best = ew.fit(function, start, observation)
    return function, observation, best, reference


def test_the_minimum(case):
    _, _, best, reference = case
    np.testing.assert_allclose(best.nll, reference["fval"], rtol=1e-10)


@pytest.mark.slow
def test_profiles(case):
    function, observation, best, reference = case
    for name, (values, expected) in reference["profiles"].items():
        result = scan(function, best, observation, name=name, values=values)
        np.testing.assert_allclose(result.nll, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("cl", [0.6827, 0.95])
def test_intervals(case, cl):
    function, observation, best, reference = case
    result = minos(function, best, observation, cl=cl)
    for i, name in enumerate(result.names):
        expected = reference["intervals"][str(cl)][name]
        found = [result.lower[i], result.upper[i]]
        np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("cl", [0.6827, 0.95])
def test_contours(case, cl):
    function, observation, best, reference = case
    names = tuple(reference["pair"])
    theirs = np.array(reference["contours"][str(cl)])
    # Their points are on the level here ...
    level = -2 * np.log1p(-cl)
    heights = [
        scan_2d(
            function, best, observation, names=names, values=([x], [y])
        ).twice_delta_nll[0, 0]
        for x, y in theirs
    ]
    np.testing.assert_allclose(heights, level, rtol=1e-2)
    # ... and near the curve, in units of its extension.
    ours = contour(function, best, observation, names=names, cl=cl)
    assert bool(ours.closed)
    size = np.ptp(ours.points, axis=0)
    distance = np.linalg.norm((theirs[:, None] - ours.points[None]) / size, axis=-1)
    assert np.all(distance.min(axis=1) < 0.05)
