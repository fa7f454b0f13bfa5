"""L-curves of linear problems, whose misfit and penalty are known functions."""

import functools as ft

import numpy as np
import pytest

import everwillow as ew
from everwillow.models.templates.likelihood.regularisation import Curvature
from everwillow.workflows.templates.regularisation import bent, l_curve
from tests.helpers import count_jax_work
from tests.models.templates.likelihood import test_regularisation as cases


STRENGTHS = np.linspace(-1.0, 6.0, 15)


@ft.cache
def model():
    return cases.model(Curvature(cases.TRUTH))


@ft.cache
def curve():
    return l_curve(model(), STRENGTHS)


def misfit_and_penalty(strength):
    values, _ = cases.normal_equations(strength)
    pulls = (cases.DATA - cases.DESIGN @ values) / np.sqrt(cases.VARIANCE)
    return 0.5 * np.sum(pulls**2), np.sum(cases.by_loop(values) ** 2)


@pytest.mark.slow
def test_misfit_and_penalty():
    found = curve()
    wanted = np.array([misfit_and_penalty(s) for s in STRENGTHS])
    np.testing.assert_allclose(found.misfit, wanted[:, 0], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.penalty, wanted[:, 1], rtol=1e-7)
    constant = 0.5 * np.sum(np.log(2 * np.pi * cases.VARIANCE))
    np.testing.assert_allclose(found.nll, found.misfit + constant, rtol=1e-9)
    assert all(bool(one.success) for one in found.fits)


@pytest.mark.slow
def test_curvature_is_that_of_the_curve():
    """Against differences of the known functions."""
    found = curve()
    h = 1e-3
    for strength, kappa in zip(STRENGTHS, found.curvature, strict=True):
        steps = strength + h * np.array([-1.0, 0.0, 1.0])
        x, y = np.log([misfit_and_penalty(s) for s in steps]).T
        first = [(v[2] - v[0]) / (2 * h) for v in (x, y)]
        second = [(v[2] - 2 * v[1] + v[0]) / h**2 for v in (x, y)]
        wanted = first[0] * second[1] - second[0] * first[1]
        wanted /= (first[0] ** 2 + first[1] ** 2) ** 1.5
        assert kappa == pytest.approx(wanted, rel=2e-3, abs=2e-3)


def test_the_corner_is_where_it_bends_more_than_nearby():
    found = curve()
    place = STRENGTHS.tolist().index(found.corner)
    before, here, after = found.curvature[place - 1 : place + 2]
    assert here > max(before, after, 0)
    # The weak end of the curve is no corner, although it is bent more.
    assert found.curvature[0] > here
    beyond = l_curve(model(), found.corner + np.array([0.5, 1.0, 1.5]))
    assert np.isnan(beyond.corner)
    assert f"corner at {found.corner:g}; 15 of 15 fits" in repr(found)


def test_strengths_are_sorted_and_compiled_once():
    ew.fit(model())
    first = l_curve(model(), [2.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(first.strengths, [0.0, 1.0, 2.0])
    with count_jax_work() as work:
        again = l_curve(model(), [0.0, 1.0, 2.0])
    assert work.compilations == 0
    np.testing.assert_array_equal(first.penalty, again.penalty)


def test_other_data_and_fixed_parameters():
    counts = {"counts": 1.3 * cases.VARIANCE}
    data = {**model().observation, "main": counts}
    found = l_curve(model(), [0.0, 1.0, 2.0], observation=data)
    # Data that all strengths describe: there is no curve.
    np.testing.assert_allclose(found.misfit, 0, atol=1e-9)
    assert np.all(np.isnan(found.curvature) | (found.penalty < 1e-9))
    held = l_curve(model(), [0.0, 3.0], fixed={"bin0": 1.2})
    assert [float(one.params["bin0"]) for one in held.fits] == [1.2, 1.2]
    free = l_curve(model(), [0.0, 3.0])
    for one, other in zip(held.fits, free.fits, strict=True):
        assert float(one.nll) > float(other.nll)


@pytest.mark.slow
def test_failed_fits_are_not_numbers():
    found = l_curve(model(), [0.0, 1.0], max_steps=1)
    for values in (found.nll, found.misfit, found.penalty, found.curvature):
        assert np.all(np.isnan(values))
    assert not any(bool(one.success) for one in found.fits)
    assert np.isnan(found.corner)


def test_curvature_needs_logarithms():
    assert np.isnan(bent(0.0, 1.0, -1.0, 1.0))
    assert np.isnan(bent(1.0, 0.0, -1.0, 1.0))
    assert np.isnan(bent(1.0, 1.0, np.nan, 1.0))


def test_faults_are_named():
    with pytest.raises(ValueError, match="no regularisation"):
        l_curve(cases.model(), [0.0])
    with pytest.raises(ValueError, match="finite"):
        l_curve(model(), [0.0, np.inf])
    with pytest.raises(ValueError, match="finite"):
        l_curve(model(), [])
