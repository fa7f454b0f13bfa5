"""Scans with and without systematics: of the case, and of Gaussian measurements."""

import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentValueError, UnknownKeyError
from everwillow.parameters import Normal
from everwillow.workflows.nsbi.scans import compare, scan_model, sensitivity_of
from tests.models.nsbi.case import CONFIGURATIONS, expected


@pytest.mark.slow
@pytest.mark.validation
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_profiles_of_the_case_are_those_of_another_tool(plain_models, name):
    wanted, model = expected()[name], plain_models[name]
    profile, tolerance = wanted["scan"], wanted["tolerances"]
    found = scan_model(model, ew.fit(model), profile["parameter"], profile["points"])
    assert found.statistical.held == ("JES", "TES")
    for kind, scan in (("syst", found.total), ("stat_only", found.statistical)):
        known = np.array(profile[kind].get("unambiguous", True))
        known = np.broadcast_to(known, scan.nll.shape)
        assert known.sum() > 40
        assert scan.success[known].all()
        np.testing.assert_allclose(
            scan.twice_delta_nll[known],
            np.array(profile[kind]["minus_global_min"])[known],
            rtol=0,
            atol=tolerance["scan_vs_minus_global_min_abs"],
        )
        np.testing.assert_allclose(
            scan.twice_delta_nll[known],
            np.array(profile[kind]["reference_minus_grid_min"])[known],
            rtol=0,
            atol=tolerance["scan_vs_reference_minus_grid_min_abs"],
        )


def nll(params, y):
    return 0.5 * ((y - params["mu"] - params["theta"]) / 0.6) ** 2


def prediction(params):
    return params["mu"] + params["theta"]


def measurement(observed):
    """A value with a statistical error of 0.6, and a systematic error of 0.8."""
    return ew.Model(
        nll,
        {"mu": 1.0, "theta": 0.0},
        observed,
        constraints={"theta": Normal(0.0, 0.8)},
        expected=prediction,
    )


@pytest.fixture(scope="module")
def comparison():
    models = {"first": measurement(2.0), "second": measurement(3.0)}
    return compare(models, "mu", points=7)


@pytest.mark.slow
def test_numbers_of_a_gaussian_are_exact(comparison):
    assert comparison.name == "mu"
    for label, value in (("first", 2.0), ("second", 3.0)):
        for found, width in (
            (comparison.total[label], 1.0),
            (comparison.statistical[label], 0.6),
        ):
            assert found.best == pytest.approx(value, abs=1e-8)
            assert found.error == pytest.approx(width, rel=1e-8)
            reach = width * np.array([1.0, 1.959964])
            np.testing.assert_allclose(
                found.intervals,
                value + reach[:, None] * [-1, 1],
                rtol=1e-4,
            )
            assert found.observed == pytest.approx(value / width, rel=1e-6)
            assert found.expected == pytest.approx(1 / width, rel=1e-6)


@pytest.mark.slow
def test_default_range_has_three_errors_of_all_models(comparison):
    scan = comparison.scans["second"].total
    np.testing.assert_allclose(scan.values, np.linspace(-1.0, 6.0, 7), atol=1e-8)
    np.testing.assert_allclose(scan.twice_delta_nll, (scan.values - 3) ** 2, atol=1e-8)


@pytest.mark.slow
def test_comparison_is_saved_and_drawn(comparison, tmp_path):
    ew.io.save(comparison.record(), tmp_path / "comparison.json")
    loaded = ew.io.load(tmp_path / "comparison.json")
    saved = loaded["models"]["first"]["statistical"]
    np.testing.assert_array_equal(
        saved["scan"].nll, comparison.scans["first"].statistical.nll
    )
    assert saved["expected"] == comparison.statistical["first"].expected
    pytest.importorskip("matplotlib")
    from everwillow import plotting

    figure = comparison.figure(plotting)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.partition(":")[0] for text in texts] == [
        "first",
        "first, stat. only",
        "second",
        "second, stat. only",
    ]


@pytest.mark.slow
def test_without_systematics_there_is_one_curve():
    model = measurement(2.0)
    alone = compare({"a": model}, "mu", values=[1.0, 3.0], fixed={"a": {"theta": 0.0}})
    assert alone.scans["a"].statistical is None
    assert alone.statistical == {}
    assert alone.total["a"].error == pytest.approx(0.6)
    np.testing.assert_allclose(
        alone.scans["a"].total.twice_delta_nll, 1 / 0.36, rtol=1e-8
    )
    best = ew.fit(model)
    total = scan_model(model, best, "mu", [1.0], statistical=False)
    assert total.scans == (total.total,)
    # A parameter with a constraint is scanned, and has no significance.
    assert scan_model(model, best, "theta", [1.0]).statistical is None
    assert np.isnan(sensitivity_of(model, best, "theta").observed)


def test_arguments_that_cannot_be():
    with pytest.raises(ArgumentValueError, match=r"^models: "):
        compare({})
    with pytest.raises(ArgumentValueError, match=r"^name: the model 'a' has no"):
        compare({"a": measurement(1.0)})
    with pytest.raises(UnknownKeyError, match=r"^name: .*'mu'.*the model 'a'"):
        compare({"a": measurement(1.0)}, "mue")
    with pytest.raises(ArgumentValueError, match=r"^fixed: 'mu' is scanned"):
        compare({"a": measurement(1.0)}, "mu", fixed={"a": {"mu": 1.0}})


@pytest.mark.slow
def test_warnings_name_the_model():
    shallow = ew.Model(
        lambda p, d: 2 * (p["b"] ** 2 - 1) ** 2 + 0.5 * p["b"] + 0.5 * p["mu"] ** 2,
        {"mu": 0.0, "b": 1.0},
        0.0,
    )
    with (
        pytest.warns(UserWarning, match="^wells, scan of mu: at 2 of 2 points"),
        pytest.warns(UserWarning, match="^wells, scan of mu: -ln L fell below"),
    ):
        compare({"wells": shallow}, "mu", [-1.0, 1.0], starts=8)
