"""The likelihood ratio of nested fits."""

import numpy as np
import pytest

import everwillow as ew
import tests.impacts.models as cases
from everwillow.goodness import nested_test


@pytest.fixture(scope="module")
def fits():
    return ew.fit(cases.LINEAR, fixed={"d": 0.1, "nu": 0.3}), ew.fit(cases.LINEAR)


@pytest.mark.slow
def test_the_ratio_of_linear_models(fits):
    """It is the distance of what was fixed from its best values, in their errors."""
    narrow, wide = fits
    out = nested_test(narrow, wide)
    away = np.array([wide.params["d"] - 0.1, wide.params["nu"] - 0.3])
    block = cases.COVARIANCE[np.ix_([3, 5], [3, 5])]
    by_hand = away @ np.linalg.solve(block, away)
    np.testing.assert_allclose(out.statistic, by_hand, rtol=1e-8)
    assert out.ndof == 2
    np.testing.assert_allclose(out.pvalue, np.exp(-by_hand / 2), rtol=1e-8)
    assert nested_test(narrow, wide, ndof=1.5).ndof == 1.5


@pytest.mark.slow
def test_a_fit_that_failed_gives_no_number():
    narrow = ew.fit(cases.COUNTING, fixed={"norm": 1.0})
    bad = ew.fit(cases.COUNTING, max_steps=1, throw=False)
    assert not bad.success
    out = nested_test(narrow, bad)
    assert np.isnan(out.statistic)
    assert np.isnan(out.pvalue)


def same_twice(params, y):
    """A mean, and two parameters that move it alike."""
    move = params["a"] + params["b"] + params["tilt"] * np.array([-1.0, 0.0, 1.0])
    return 0.5 * ((y - move) ** 2).sum()


@pytest.mark.slow
def test_flat_directions_are_no_degrees_of_freedom():
    y = np.array([1.0, 2.0, 6.0])
    state = ew.State.from_pytree({"a": 0.0, "b": 0.0, "tilt": 0.0})

    def best(**fixed):
        return ew.fit(same_twice, state, y, fixed=fixed, throw=False)

    wide = best()
    assert not wide.success
    # The mean is 3, the slope 2.5.
    out = nested_test(best(b=0.0, tilt=0.0), wide)
    np.testing.assert_allclose(out.statistic, 2 * 2.5**2, rtol=1e-9)
    assert out.ndof == 1
    # Nothing is freer than before.
    out = nested_test(best(b=0.0), wide)
    np.testing.assert_allclose([out.statistic, out.ndof], 0, atol=1e-9)
    assert np.isnan(out.pvalue)
    assert nested_test(best(b=0.0, tilt=0.0), wide, ndof=2).ndof == 2


@pytest.mark.slow
def test_bad_pairs_are_refused(fits):
    narrow, wide = fits
    with pytest.raises(ValueError, match="second"):
        nested_test(wide, narrow)
    with pytest.raises(TypeError, match="FitResult"):
        nested_test(wide, 3.0)
    other = ew.fit(
        cases.LINEAR, observation={**cases.LINEAR.observation, "main": 9 * cases.DATA}
    )
    with pytest.raises(ValueError, match="not fits of the same data"):
        nested_test(narrow, other)
