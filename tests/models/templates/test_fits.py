"""Fits and what is propagated from them, against another tool.

The numbers are those of `expected_fits.json`; `ORIGIN.md` beside it tells their origin.
Their accuracy is a hundred times better than the tolerances here.
"""

import functools as ft

import numpy as np
import pytest

import everwillow as ew
from everwillow.goodness import saturated_test
from everwillow.mappings import (
    Identity,
    mapping_chi2,
    observed,
    parse_mapping,
    places,
    postfit,
    prefit,
    residual_chi2,
    variations,
)
from everwillow.models.templates.booking.builder import TemplateBuilder
from tests.models.templates import cases, fits


pytestmark = pytest.mark.validation


@ft.cache
def observation(name):
    model = fits.model(name)
    return model.asimov(model.state) if name == "asimov" else model.observation


@ft.cache
def fitted(name):
    """Fit each model once: compiling is the cost."""
    model = fits.model(name)
    fixed = fits.FROZEN if name == "frozen_nonprof" else None
    return ew.fit(model, observation=observation(name), fixed=fixed)


@pytest.mark.slow
@pytest.mark.parametrize("name", fits.OPTIONS)
def test_parameters_and_covariance(name):
    names, values, errors, covariance = fits.expected(name)
    result = fitted(name)
    free = [n for n in names if n in result.labels]
    assert set(names) - set(free) == (set(fits.FROZEN) & set(names) - set(free))
    assert len(free) == len(result.labels)
    here = [names.index(n) for n in free]
    mine = [result.labels.index(n) for n in free]
    found = np.array([float(result.params[n]) for n in free])
    np.testing.assert_allclose(
        found, values[here], rtol=0, atol=1e-4 * errors[here].min()
    )
    spread = result.covariance[np.ix_(mine, mine)]
    np.testing.assert_allclose(np.sqrt(np.diag(spread)), errors[here], rtol=1e-6)
    scale = np.outer(errors[here], errors[here])
    np.testing.assert_allclose(
        spread / scale, covariance[np.ix_(here, here)] / scale, atol=1e-6
    )


@pytest.mark.parametrize("name", fits.OPTIONS)
def test_height_of_the_minimum(name):
    """It is 0 where everything agrees, the external likelihood included."""
    test = saturated_test(fits.model(name), fitted(name), observation(name))
    least = 0.0
    if name == "external":
        term = cases.descriptions()["ext"]["external"]
        gradient = np.array(term["grad"])
        # There our reference is the minimum of the external likelihood.
        least = -0.5 * gradient @ np.linalg.solve(np.array(term["hess"]), gradient)
    if name == "svd_reg":
        # There the penalty is part of the statistic.
        main = observation(name)["main"]
        params = fitted(name).params.to_pytree()
        least = fits.model(name).diagnostics.penalty(params, main)
        assert least > 1e-3
    wanted = fits.reference()["fits"][name]["nll"]
    assert test.statistic / 2 + least == pytest.approx(wanted, abs=1e-7)


MAPPINGS = parse_mapping("; ".join(fits.reference()["mappings"]))


@ft.cache
def mapped():
    model = fits.model("default")
    return {
        "prefit": prefit(MAPPINGS, model, factor=True),
        "postfit": postfit(MAPPINGS, model, fitted("default"), factor=True),
    }


@pytest.mark.parametrize("when", ["prefit", "postfit"])
def test_yields_of_fitted_and_masked_channels(when):
    model = fits.model("default")
    channels = {
        "prefit": lambda: prefit(Identity(), model),
        "postfit": lambda: postfit(Identity(), model, fitted("default")),
    }[when]()
    said = fits.reference()["yields"]
    assert set(said) == {"ch0", "ch0_masked"}
    for channel, numbers in said.items():
        values = np.ravel(channels.values[channel])
        errors = np.ravel(channels.errors[channel])
        np.testing.assert_allclose(values, numbers[when]["values"], rtol=1e-7)
        np.testing.assert_allclose(errors, numbers[when]["errors"], rtol=1e-6)


@pytest.mark.parametrize("when", ["prefit", "postfit"])
def test_mappings(when):
    found = mapped()[when]
    for text, numbers in fits.reference()["mappings"].items():
        wanted, spread = numbers[when]["values"], np.array(numbers[when]["errors"])
        values, errors = np.ravel(found.values[text]), np.ravel(found.errors[text])
        np.testing.assert_allclose(values, wanted, rtol=1e-7, atol=1e-7 * spread.min())
        np.testing.assert_allclose(errors, spread, rtol=1e-6)


@pytest.mark.parametrize("when", ["prefit", "postfit"])
def test_joint_covariance_of_mappings(when):
    said = list(fits.reference()["mappings"])[:7]
    where = places(mapped()[when].values)
    order = np.concatenate([np.arange(52 + 10)[where[text]] for text in said])
    found = mapped()[when].covariance[np.ix_(order, order)]
    lower = np.zeros((52, 52))
    lower[np.tril_indices(52)] = fits.reference()["mappings_covariance"][when]
    wanted = lower + np.tril(lower, -1).T
    width = np.sqrt(np.diag(wanted))
    np.testing.assert_allclose(
        found / width[:, None] / width, wanted / width[:, None] / width, atol=2e-6
    )


@pytest.mark.slow
def test_variations_of_parameters():
    model = fits.model("default")
    found = variations(Identity(), model, fitted("default"))
    for channel, said in fits.reference()["variations"].items():
        wanted = np.reshape(said["down_up"], (-1, 9, 2))
        for i, name in enumerate(said["parameters"]):
            j = found.names.index(name)
            for k, side in enumerate((found.down, found.up)):
                moved = np.ravel(side[channel][j])
                np.testing.assert_allclose(moved, wanted[:, i, k], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["Project ch0 x", "Project ch0 cat", "ch0"])
def test_chi2_before_and_after_the_fit(text):
    model = fits.model("default")
    before, ndof, after, ndof_after = fits.reference()["chi2"][text]
    mapping = parse_mapping("Select ch0" if text == "ch0" else text)
    data = observed(mapping, model.layout, model.observation["main"]["counts"])
    result = prefit(mapping, model, factor=True)
    found = mapping_chi2(result, data.values, data.variances)
    assert found.statistic == pytest.approx(before, rel=1e-6)
    assert found.ndof == ndof
    found = residual_chi2(mapping, model, fitted("default"))
    # The other tool takes derivatives at the data, not at the prediction, and counts
    # two strengths that the fit always gets right among the 20 bins.
    assert found.statistic == pytest.approx(after, rel=1e-2)
    assert found.ndof == ndof_after - (2 if text == "ch0" else 0)


@pytest.mark.slow
def test_what_the_fit_always_gets_right_is_no_degree_of_freedom():
    builder = TemplateBuilder()
    builder.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
    builder.add_process(np.array([30.0, 10.0]), "signal", "ch0", signal=True)
    builder.add_process(np.array([15.0, 45.0]), "flat", "ch0")
    builder.add_norm_systematic("norm", "flat", "ch0", 1.3, constrained=False)
    builder.add_data([83.0, 58.0], "ch0")
    model = builder.build()
    mapping = parse_mapping("Normalize ch0 x")
    found = residual_chi2(mapping, model, ew.fit(model))
    assert (found.statistic, found.ndof) == (0, 0)
    assert np.isnan(found.pvalue)
    failed = ew.fit(model, max_steps=1, throw=False)
    found = residual_chi2(mapping, model, failed, throw=False)
    assert not failed.success
    assert np.isnan([found.statistic, found.ndof, found.pvalue]).all()


@pytest.mark.slow
def test_variations_with_what_is_correlated():
    """The statistics of simulated samples follow as well, as they do in errors."""
    model, result = fits.model("default"), fitted("default")
    found = variations(Identity(), model, result, names="lumi", correlated=True)
    exact = variations(
        Identity(), model, result, names="lumi", correlated=True, exact=True
    )
    errors = np.sqrt(np.diag(result.covariance))
    place = result.labels.index("lumi")
    for size in (1.0, 0.01):
        moves = size * result.covariance[place] / errors[place]
        moved = result.params.with_values(list(result.params.values()) + moves)
        there = model.yields(moved, model.observation)["ch0"]
        change = (there - found.values["ch0"]) / size
        wanted = exact if size == 1.0 else found
        rtol, atol = (1e-12, 1e-9) if size == 1.0 else (0.02, 1e-3)
        shift = wanted.up["ch0"][0] - wanted.values["ch0"]
        np.testing.assert_allclose(change, shift, rtol=rtol, atol=atol)
