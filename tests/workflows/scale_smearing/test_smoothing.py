"""Functions of pt: their fits, and files of them evaluated by correctionlib."""

import correctionlib
import numpy as np
import pytest
from iminuit import Minuit

from everwillow._errors import ArgumentValueError
from everwillow.models.scale_smearing import Categories
from everwillow.workflows.scale_smearing import (
    Curves,
    SmoothedParameters,
    smooth,
    write_smoothed,
)
from tests.models.scale_smearing.results import made_parameters


MEANS = np.array([28.0, 37.0, 45.0, 55.0, 75.0, 130.0, 220.0])
EDGES = [25.0, 32, 41, 50, 62, 90, 180, 400]
SCALE = np.array([[-0.03, -1.4, 1.004], [0.02, -0.8, 0.99]])
SMEAR = np.array([[0.012, 0.004], [0.02, -0.003]])
R9 = [-np.inf, 0.94, np.inf]


def scale_at(p, pt):
    return p[0] * (np.clip(pt, 25, 160) / 45) ** p[1] + p[2]


def smear_at(p, pt):
    return np.sqrt(abs(p[0] ** 2 + p[1] / np.clip(pt, 25, 160)))


def exact_parameters(noise=0.0, **options):
    """Return bins whose values lie on the functions, but for noise in errors."""
    parameters = made_parameters({"pt": EDGES, "r9": R9}, seed=4)
    rng = np.random.default_rng(2)

    def values(function, tables, errors):
        exact = np.stack([function(p, MEANS) for p in tables], axis=1).ravel()
        return exact + noise * errors * rng.normal(size=len(errors))

    resp = 1 / values(scale_at, SCALE, parameters.eresp)
    reso = values(smear_at, SMEAR, parameters.ereso)
    return made_parameters(
        {"pt": EDGES, "r9": R9},
        seed=4,
        **{"resp": resp, "reso": reso, "pt_mean": MEANS} | options,
    )


def derivatives(function, p, pt):
    columns = []
    for place in range(len(p)):
        step = np.zeros(len(p))
        step[place] = 1e-6
        columns.append((function(p + step, pt) - function(p - step, pt)) / 2e-6)
    return np.stack(columns, -1)


@pytest.mark.slow
def test_exact_points_give_the_function_and_its_covariance():
    parameters = exact_parameters()
    smoothed = smooth(parameters)
    assert smoothed.categories.names == ("r9",)
    assert smoothed.sentences() == ()
    for curves, tables, function in (
        (smoothed.scale, SCALE, scale_at),
        (smoothed.smear, SMEAR, smear_at),
    ):
        assert curves.status == ("fitted", "fitted")
        assert curves.ndf == (7 - tables.shape[1],) * 2
        np.testing.assert_allclose(curves.chi2, 0, atol=1e-10)
        np.testing.assert_allclose(curves.parameters, tables, rtol=1e-4)
        for place in (0, 1):
            here = slice(place, None, 2)
            errors = parameters.ereso[here]
            if function is scale_at:
                errors = parameters.eresp[here] / parameters.resp[here] ** 2
            slopes = derivatives(function, tables[place], MEANS) / errors[:, None]
            expected = np.linalg.inv(slopes.T @ slopes)
            np.testing.assert_allclose(
                curves.covariances[place], expected, rtol=1e-3, atol=1e-12
            )


@pytest.mark.slow
def test_noisy_points_agree_with_another_minimiser():
    parameters = exact_parameters(noise=1.0)
    curves = smooth(parameters).scale
    here = slice(0, None, 2)
    errors = parameters.eresp[here] / parameters.resp[here] ** 2

    def chi2(p0, p1, p2):
        deviations = 1 / parameters.resp[here] - scale_at([p0, p1, p2], MEANS)
        return np.sum((deviations / errors) ** 2)

    minuit = Minuit(chi2, *SCALE[0])
    minuit.errordef = 1
    minuit.strategy = 2
    minuit.migrad()
    minuit.hesse()
    assert curves.chi2[0] == pytest.approx(minuit.fval, rel=1e-4)
    found, expected = np.sqrt(np.diag(curves.covariances[0])), np.array(minuit.errors)
    assert np.all(abs(curves.parameters[0] - np.array(minuit.values)) < 0.02 * expected)
    np.testing.assert_allclose(found, expected, rtol=0.02)


@pytest.mark.slow
def test_toys_have_unbiased_values_and_errors():
    """Also where the exponent is positive, or the slope has the other sign."""
    rng = np.random.default_rng(3)
    pulls, chi2 = [], []
    toys = 100
    for _ in range(toys):
        p = np.array([rng.uniform(-0.05, 0.05), rng.uniform(-2.5, 1), 1.0])
        resp = 1 / (scale_at(p, MEANS) + 1e-3 * rng.normal(size=7))
        parameters = made_parameters(
            {"pt": EDGES}, resp=resp, eresp=1e-3 * resp**2, pt_mean=MEANS
        )
        curves = smooth(parameters).scale
        deviation = curves.values(0, 50.0) - scale_at(p, 50.0)
        pulls.append(float((deviation / curves.errors(0, 50.0))[0]))
        chi2.append(curves.chi2[0] / curves.ndf[0])
    assert abs(np.mean(pulls)) < 4 / toys**0.5
    assert np.std(pulls) == pytest.approx(1, abs=4 / (2 * toys) ** 0.5)
    assert np.mean(chi2) == pytest.approx(1, abs=4 * (2 / 4 / toys) ** 0.5)


@pytest.mark.slow
def test_correlations_between_bins_count():
    """A common error of all bins cannot be reduced by averaging."""
    size = 2 * len(MEANS)
    parameters = exact_parameters()
    whole = np.full((2 * size, 2 * size), np.nan)
    common = 0.003**2 + np.zeros((size, size))
    whole[:size, :size] = np.diag(parameters.eresp**2) + common
    whole[size:, size:] = np.diag(parameters.ereso**2)
    alone = smooth(parameters)
    together = smooth(exact_parameters(covariance=whole))
    np.testing.assert_allclose(
        together.scale.parameters, alone.scale.parameters, rtol=1e-4
    )
    for place in (0, 1):
        pt = np.array([40.0])
        variance = together.scale.errors(place, pt) ** 2
        variance -= alone.scale.errors(place, pt) ** 2
        # The shift of 1 / resp is that of resp, about.
        assert variance[0] == pytest.approx(0.003**2, rel=0.15)
    np.testing.assert_allclose(
        together.smear.covariances, alone.smear.covariances, rtol=1e-4, atol=1e-14
    )


def keys_of(smoothed, place, pt):
    """Return all values of the file, by the two corrections and keys."""
    scale, escale = (
        f(place, pt) for f in (smoothed.scale.values, smoothed.scale.errors)
    )
    smear, esmear = (
        f(place, pt) for f in (smoothed.smear.values, smoothed.smear.errors)
    )
    relative = escale / scale
    return {
        "EGMScale_c_d": {
            "scale": scale,
            "escale": escale,
            "scale_up": scale + escale,
            "scale_down": scale - escale,
        },
        "EGMSmearAndSyst_c_d": {
            "smear": smear,
            "esmear": esmear,
            "smear_up": smear + esmear,
            "smear_down": np.maximum(smear - esmear, 0),
            "escale": relative,
            "scale_up": 1 + relative,
            "scale_down": 1 - relative,
        },
    }


def made_functions(others, width=1e-3):
    """Return functions without a fit, with covariances of random numbers."""
    categories = Categories.of(others) if others else None
    size = categories.size if categories else 1
    rng = np.random.default_rng(6)
    made = []
    for kind, tables in (("scale", SCALE), ("smear", SMEAR)):
        roots = width * rng.normal(size=(size, tables.shape[1], tables.shape[1]))
        covariances = roots @ roots.transpose(0, 2, 1)
        rest = (np.ones(size), (3,) * size, ("fitted",) * size, 25.0)
        made.append(Curves(kind, tables[:size], covariances, *rest))
    return SmoothedParameters("pt", categories, *made)


@pytest.mark.parametrize("others", [{"r9": R9}, {}])
def test_the_file_evaluates_to_the_functions_and_their_errors(tmp_path, others):
    smoothed = made_functions(others)
    file = write_smoothed(
        smoothed, tmp_path, dataset="d", correction_set="c", version=2
    )
    assert file.name == "EGMScalesSmearing_d_SMOOTH.v2.json.gz"
    found = correctionlib.CorrectionSet.from_file(str(file))
    pt = np.array([3.0, 25.0, 26.0, 45.0, 88.0, 159.0, 160.0, 1e4])
    for place, r9 in enumerate((0.9, 0.95)[: len(smoothed.scale.status)]):
        others_at = (r9,) if others else ()
        for name, values in keys_of(smoothed, place, pt).items():
            inputs = [one.name for one in found[name].inputs]
            assert inputs == ["syst", "pt", *others]
            for key, expected in values.items():
                evaluated = found[name].evaluate(key, pt, *others_at)
                np.testing.assert_allclose(evaluated, expected, rtol=1e-9)
        # Errors are those of linear error propagation with other derivatives.
        for curves, function in (
            (smoothed.scale, scale_at),
            (smoothed.smear, smear_at),
        ):
            slopes = derivatives(function, curves.parameters[place], pt)
            variance = ((slopes @ curves.covariances[place]) * slopes).sum(-1)
            np.testing.assert_allclose(
                curves.errors(place, pt), np.sqrt(variance), rtol=1e-4
            )
            np.testing.assert_allclose(
                curves.values(place, pt),
                function(curves.parameters[place], pt),
                rtol=1e-12,
            )


def test_the_smearing_is_never_negative(tmp_path):
    smoothed = made_functions({"r9": R9}, width=0.1)
    file = write_smoothed(smoothed, tmp_path, dataset="d", correction_set="c")
    found = correctionlib.CorrectionSet.from_file(str(file))["EGMSmearAndSyst_c_d"]
    assert (found.evaluate("smear_down", MEANS, 0.5) == 0).all()


@pytest.mark.slow
def test_bins_without_a_number_are_left_out(tmp_path):
    parameters = exact_parameters()
    resp, reso = parameters.resp.copy(), parameters.reso.copy()
    # The second category has no number at all, the first lacks two bins.
    for array in (resp, reso):
        array[[0, 6]] = np.nan
        array[1::2] = np.nan
    smoothed = smooth(exact_parameters(resp=resp, reso=reso))
    assert smoothed.scale.status == ("fitted", "no number")
    assert smoothed.scale.ndf[0] == 2
    np.testing.assert_allclose(smoothed.scale.parameters[0], SCALE[0], rtol=1e-3)
    np.testing.assert_allclose(smoothed.smear.parameters[0], SMEAR[0], rtol=1e-3)
    assert "scale in r9 [0.94, inf): no number." in smoothed.sentences()
    file = write_smoothed(smoothed, tmp_path, dataset="d", correction_set="c")
    found = correctionlib.CorrectionSet.from_file(str(file))["EGMScale_c_d"]
    assert np.isnan(found.evaluate("scale", 45.0, 0.99))
    assert found.evaluate("scale", 45.0, 0.5) == pytest.approx(0.974, rel=1e-6)


@pytest.mark.slow
def test_a_constant_scale_has_a_fixed_exponent():
    """The exponent of a function without slope is arbitrary."""
    size = 2 * len(MEANS)
    smoothed = smooth(
        exact_parameters(resp=np.full(size, 0.8), eresp=np.full(size, 0.01))
    )
    assert smoothed.scale.status == ("simpler function",) * 2
    np.testing.assert_allclose(smoothed.scale.values(0, MEANS), 1.25, rtol=1e-10)
    # The error of a straight line in 1 / pt.
    design = np.stack([45 / np.clip(MEANS, 25, 160), np.ones(7)], -1)
    covariance = np.linalg.inv(design.T @ design) * (0.01 / 0.8**2) ** 2
    expected = np.sqrt(((design @ covariance) * design).sum(-1))
    np.testing.assert_allclose(smoothed.scale.errors(0, MEANS), expected, rtol=1e-9)


@pytest.mark.parametrize("bins", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_few_bins(bins):
    edges = EDGES[: bins + 1]
    resp = 1 / scale_at([-0.02, -1.0, 1.0], MEANS[:bins])
    parameters = made_parameters({"pt": edges}, resp=resp, pt_mean=MEANS[:bins])
    smoothed = smooth(parameters)
    assert smoothed.scale.status == ("simpler function",)
    np.testing.assert_allclose(
        smoothed.scale.values(0, MEANS[:bins]), 1 / resp, rtol=1e-12
    )
    assert smoothed.scale.ndf == (0,)
    expected = parameters.reso[:bins] if bins == 1 else smoothed.smear.values(0, MEANS)
    np.testing.assert_allclose(smoothed.smear.values(0, MEANS[:1]), expected[:1])


@pytest.mark.slow
def test_a_stochastic_width_at_the_bound_has_errors():
    width = np.sqrt(0.05**2 / MEANS)
    reso = np.repeat(np.clip(width, 0, None), 2)
    smoothed = smooth(exact_parameters(reso=reso, ereso=np.full(14, 1e-4)))
    assert set(smoothed.smear.status) <= {"fitted", "parameter at bound"}
    np.testing.assert_allclose(
        smoothed.smear.values(0, MEANS[:5]), width[:5], atol=5e-4
    )
    assert (smoothed.smear.errors(0, MEANS) > 0).all()


def test_smoothing_needs_bins_of_pt():
    with pytest.raises(ArgumentValueError, match=r"no bins of 'pt', but of r9"):
        smooth(made_parameters({"r9": R9}))
    with pytest.raises(ArgumentValueError, match=r"Did you mean 'pt_'"):
        smooth(made_parameters({"pt_": EDGES}))
    with pytest.raises(ArgumentValueError, match=r"mean pt.*pt_mean=\.\.\."):
        smooth(made_parameters({"pt": EDGES}))
    with pytest.raises(ArgumentValueError, match=r"shape \(2,\), and there are 7 bins"):
        smooth(made_parameters({"pt": EDGES}), pt_mean=[30.0, 40.0])
