"""Contours of thin curved valleys against the closed form of the whole curve."""

import numpy as np
import pytest

import everwillow as ew
from everwillow.profile import contour, minos
from tests.profile.valleys import KINDS, chart, valley


CASES = 240
# Conditional fits; there is room for 960 points.
EVALUATIONS = 4000


def assert_whole(case, found):
    """Compare a contour with the circle that it is in the chart of the valley."""
    assert bool(found.closed)
    np.testing.assert_array_equal(found.points[0], found.points[-1])
    # Where z is profiled its fit stops at an EDM of 1e-8 at worst.
    np.testing.assert_allclose(case.radius(found.points), 1, atol=2e-8)
    # In units of the local width: the polygon is near the curve everywhere ...
    share = np.linspace(0, 1, 9)[1:-1, None, None]
    between = found.points[:-1] * (1 - share) + found.points[1:] * share
    np.testing.assert_allclose(case.radius(between), 1, atol=0.05)
    # ... and all of the curve is near the polygon, since that goes around once.
    exact = case.exact()
    ends = np.array([found.points.min(axis=0), found.points.max(axis=0)])
    expected = np.array([exact.min(axis=0), exact.max(axis=0)])
    size = expected[1] - expected[0]
    np.testing.assert_allclose(ends / size, expected / size, atol=2e-4)
    assert abs(winding(case, found.points)) == pytest.approx(1)
    assert len(found.points) < 1000
    assert found.num_fits < EVALUATIONS


def winding(case, points):
    """Return how often a polygon goes around the best fit, in the chart."""
    u, v = chart(case.data, points[:, 0], points[:, 1], np)
    angle = np.unwrap(np.arctan2(v, u))
    assert np.max(np.abs(np.diff(angle))) < 0.8
    return (angle[-1] - angle[0]) / (2 * np.pi)


def traced(case):
    fit = ew.fit(case.nll, case.start, case.data, throw=False)
    if not fit.success:
        return fit, None
    return fit, contour(case.nll, fit, case.data, names=("a", "b"), cl=case.cl)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_contour_is_found(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(2):
        case = valley(rng, kind)
        _, found = traced(case)
        assert_whole(case, found)


@pytest.mark.slow
def test_the_whole_contour_is_found_in_any_valley():
    rng = np.random.default_rng(7)
    fits = 0
    for i in range(CASES):
        case = valley(rng, KINDS[i % len(KINDS)])
        _, found = traced(case)
        if found is None:
            continue
        fits += 1
        assert_whole(case, found)
    assert fits > 0.95 * CASES


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["square", "ring"])
def test_extremes_are_those_of_minos(kind):
    case = valley(np.random.default_rng(11), kind)
    case = case._replace(level=0.5, third=True)
    fit, found = traced(case)
    assert found is not None
    errors = minos(case.nll, fit, case.data, names=("a", "b"))
    ends = np.stack([errors.values + errors.lower, errors.values + errors.upper])
    size = ends[1] - ends[0]
    ours = np.array([found.points.min(axis=0), found.points.max(axis=0)])
    np.testing.assert_allclose(ours / size, ends / size, atol=2e-4)


@pytest.mark.slow
def test_a_ring_whose_arms_are_near_each_other():
    """It was called closed without a third of it."""
    case = valley(np.random.default_rng(3), "ring")
    case.data["width"], case.data["reach"] = (
        np.asarray(0.0287098),
        np.asarray(1.0950537),
    )
    case = case._replace(level=1.15, third=False)
    _, found = traced(case)
    assert_whole(case, found)
