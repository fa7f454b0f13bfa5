"""Impacts of parameters that a fit has fixed."""

import numpy as np
import pytest

import everwillow as ew
import tests.impacts.models as cases
from everwillow.impacts import nonprofiled_impacts


FIXED = {"c": 0.4, "d": -0.2}


@pytest.fixture(scope="module")
def linear():
    return ew.fit(cases.LINEAR, fixed=FIXED)


@pytest.mark.slow
def test_the_shifts_by_hand(linear):
    """In a linear model the others follow as the Hessian says."""
    widths = {"d": 0.5}
    out = nonprofiled_impacts(cases.LINEAR, linear, poi=["mu", "nu"], widths=widths)
    assert out.names == ("c", "d")
    np.testing.assert_array_equal(out.widths, [0.8, 0.5])
    free, moved = [0, 1, 4, 5], [2, 3]
    block = cases.HESSIAN[np.ix_(free, free)]
    slope = -np.linalg.solve(block, cases.HESSIAN[np.ix_(free, moved)])[2:]
    np.testing.assert_allclose(out.up, slope * [0.8, 0.5], rtol=1e-8)
    np.testing.assert_allclose(out.down, -slope * [0.8, 0.5], rtol=1e-8)
    np.testing.assert_allclose(out.refits.values[0], [0.4 - 0.8, -0.2 - 0.5])
    assert out.refits.success.all()
    assert "mu: down" in repr(out)


@pytest.mark.slow
def test_it_is_a_fit_with_another_value(linear):
    out = nonprofiled_impacts(cases.LINEAR, linear, poi="mu", names="c")
    again = ew.fit(cases.LINEAR, fixed={**FIXED, "c": 0.4 + 0.8})
    shift = again.params["mu"] - linear.params["mu"]
    np.testing.assert_allclose(out.up, [[shift]], rtol=1e-8)
    rise = again.nll - linear.nll
    np.testing.assert_allclose(out.refits.delta_nll[1], [rise], rtol=1e-8)


@pytest.mark.slow
def test_a_best_fit_that_failed_has_no_shifts():
    failed = ew.fit(cases.LINEAR, fixed=FIXED, max_steps=1, throw=False)
    out = nonprofiled_impacts(cases.LINEAR, failed, poi="mu", names="c")
    assert not failed.success
    assert np.isnan(out.refits.shifts).all()
    assert np.isnan(out.refits.delta_nll).all()


@pytest.mark.slow
def test_envelopes_take_the_worse_side(linear):
    widths = {"d": 0.5}
    out = nonprofiled_impacts(cases.LINEAR, linear, poi=["mu", "nu"], widths=widths)
    found = out.envelope({"both": ["c", "d"], "one": "c", "none": ["mu"]})
    assert list(found) == ["both", "one"]
    sides = np.stack([out.down, out.up])
    low = -np.sqrt((sides.min(0).clip(max=0) ** 2).sum(-1))
    high = np.sqrt((sides.max(0).clip(min=0) ** 2).sum(-1))
    np.testing.assert_allclose(found["both"], [low, high])
    np.testing.assert_allclose(found["one"][1], np.abs(out.up[:, 0]))
    assert (found["both"][0] <= 0).all()


@pytest.mark.slow
def test_a_plain_function():
    """Its fixed parameters are no part of its program."""
    constraints = cases.LINEAR.constraints
    result = ew.fit(
        cases.linear_nll,
        cases.LINEAR.state,
        cases.DATA,
        fixed={"a": 0.1, "b": 0.0, "c": 0.0},
    )
    out = nonprofiled_impacts(
        cases.linear_nll,
        result,
        cases.DATA,
        poi="mu",
        constraints=constraints,
        names="c",
    )
    free = [3, 4, 5]
    design = cases.DESIGN / cases.SIGMA[:, None]
    hessian = design.T @ design
    slope = -np.linalg.solve(hessian[np.ix_(free, free)], hessian[free, 2])[1]
    np.testing.assert_allclose(out.up, [[0.8 * slope]], rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"names": "mu"}, ValueError, "was fitted"),
        ({"names": "d"}, ValueError, "widths="),
        ({"names": "q*"}, KeyError, "names"),
        ({"names": "[ab]"}, ValueError, "fixed"),
        ({"widths": {"q": 1.0}}, KeyError, "widths"),
    ],
)
def test_bad_requests_are_refused(linear, options, error, words):
    with pytest.raises(error, match=words) as caught:
        nonprofiled_impacts(cases.LINEAR, linear, poi="mu", **options)
    assert isinstance(caught.value, ew.EverwillowError)
