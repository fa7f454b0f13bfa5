"""Exclusions and limits of the back-ends are those of spey with pyhf, to its accuracy.

`reference.json` comes from ``make_reference.py``. Its fits are SLSQP's with a tolerance
of 1e-6, so that numbers made of differences of -ln L are good to some 1e-5.
"""

import subprocess
import sys

import numpy as np
import pytest

from everwillow.models.hs3 import pyhf_to_hs3
from tests.interop.spey_models import (
    APOSTERIORI,
    APRIORI,
    DOCUMENT,
    HERE,
    KINDS,
    REFERENCE,
    SIGNAL,
    document,
    shared,
    spey,
    two_bins,
)
from tests.interop.workspaces import (
    POINTS,
    patched,
    two_bins as two_bin_workspace,
    with_control_region,
)


BAND = [0.857708, 0.732325, 0.530159, 0.275908, 0.079821]


def check(model, reference):
    for name in KINDS:
        kind = spey.ExpectationType[name]
        found = model.exclusion_confidence_level(expected=kind)
        np.testing.assert_allclose(found, reference["exclusion"][name], atol=2e-5)
        limit = model.poi_upper_limit(expected=kind)
        assert limit == pytest.approx(reference["limit"][name], rel=1e-4)
    found = [model.chi2(poi_test=mu) for mu in (0.0, 1.0, 2.0, 4.0)]
    np.testing.assert_allclose(found, reference["chi2"], atol=3e-5)
    asimov, observed, (p_value,), _ = model.significance()
    np.testing.assert_allclose(
        [asimov, observed, p_value], reference["significance"], rtol=1e-4
    )
    # Ours is a minimum, so it is not above theirs.
    assert model.maximize_likelihood()[1] <= reference["minimum"] + 1e-9
    assert model.maximize_likelihood()[1] == pytest.approx(
        reference["minimum"], abs=1e-4
    )


@pytest.mark.slow
@pytest.mark.validation
def test_two_bins_of_hs3():
    check(shared(), REFERENCE["two_bins"])


@pytest.mark.slow
@pytest.mark.validation
def test_two_bins_have_the_published_numbers():
    model = shared()
    assert model.exclusion_confidence_level()[0] == pytest.approx(0.346473, abs=2e-6)
    median = model.exclusion_confidence_level(expected=APRIORI)[2]
    assert median == pytest.approx(0.529947, abs=1e-6)
    band = model.exclusion_confidence_level(expected=APOSTERIORI)
    np.testing.assert_allclose(band, BAND, atol=3e-6)
    found = [model.poi_upper_limit(expected=spey.ExpectationType[k]) for k in KINDS]
    np.testing.assert_allclose(found, [3.96729, 2.73431, 2.78550], rtol=2e-5)


@pytest.mark.validation
def test_likelihood_values_of_the_two_bins():
    names = shared().backend.config().parameter_names
    log_density = shared().backend.get_logpdf_func()
    for (mu, alpha), expected in zip(POINTS, REFERENCE["table"], strict=True):
        point = {"mu": mu, "alpha_bkg": alpha}
        found = -log_density(np.array([point[name] for name in names]))
        assert found == pytest.approx(expected, rel=1e-12)
    found = [shared().likelihood(mu) for mu in (0.0, 1.0, 2.0, 4.0)]
    np.testing.assert_allclose(
        found, [8.51887495, 7.95253207, 7.92595189, 9.39523174], atol=1e-6
    )


@pytest.mark.validation
def test_the_tutorials_numbers_come_with_nominal_auxiliary_data():
    # Those of spey-hs3 0.0.3; the tutorial prints the medians and the observed ones.
    model = two_bins(auxiliary_asimov="nominal")
    expected = {
        "observed": [0.236125],
        "apriori": [0.857559, 0.732129, 0.529947, 0.275751, 0.079758],
        "aposteriori": [0.637355, 0.488775, 0.309115, 0.136468, 0.032529],
    }
    limits = {"observed": 4.03001, "apriori": 2.73431, "aposteriori": 3.22342}
    for name in KINDS:
        kind = spey.ExpectationType[name]
        found = model.exclusion_confidence_level(expected=kind)
        np.testing.assert_allclose(found, expected[name], atol=2e-6)
        assert model.poi_upper_limit(expected=kind) == pytest.approx(
            limits[name], rel=5e-6
        )
    assert f"{model.exclusion_confidence_level()[0]:.4f}" == "0.2361"
    assert f"{model.poi_upper_limit():.4f}" == "4.0300"
    # The fit of that set does not end at 0, although it was made there.
    assert model.maximize_asimov_likelihood()[0] == pytest.approx(0.4455, abs=1e-4)
    assert shared().maximize_asimov_likelihood()[0] == pytest.approx(0.0, abs=1e-6)
    least, pars = model.backend.minimize_asimov_negative_loglikelihood()
    assert least < model.maximize_asimov_likelihood()[1]
    assert pars[1] == pytest.approx(0.4455, abs=5e-4)


def test_two_bins_of_pyhf_are_those_of_hs3():
    workspace, patch = two_bin_workspace()
    model = spey.get_backend("everwillow.pyhf")(
        background_only_model=workspace, signal_patch=patch
    )
    mine = shared()
    for name in KINDS:
        kind = spey.ExpectationType[name]
        np.testing.assert_allclose(
            model.exclusion_confidence_level(expected=kind),
            mine.exclusion_confidence_level(expected=kind),
            rtol=1e-10,
        )


@pytest.fixture(scope="module")
def with_control():
    """The search with a control region of 5000 events."""
    workspace, patch = with_control_region(5000.0)
    return spey.get_backend("everwillow.pyhf")(
        background_only_model=workspace, signal_patch=patch, analysis="search"
    )


@pytest.mark.slow
@pytest.mark.validation
def test_thousands_of_expected_events(with_control):
    check(with_control, REFERENCE["control_5000"])
    lowest = with_control.backend.config().minimum_poi
    assert lowest == pytest.approx(REFERENCE["control_5000"]["minimum_poi"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.validation
def test_a_million_expected_events():
    workspace, patch = with_control_region(1e6)
    model = spey.get_backend("everwillow.pyhf")(patch, workspace)
    check(model, REFERENCE["control_1e6"])


def test_all_ways_to_give_a_pyhf_signal_agree(with_control):
    workspace, patch = with_control_region(5000.0)
    get = spey.get_backend("everwillow.pyhf")
    signal = {"SR": [2.0, 4.0, 6.0]}
    with_errors = {"SR": {"contents": [2.0, 4.0, 6.0], "errors": [0.1, 0.1, 0.1]}}
    expected = with_control.exclusion_confidence_level()
    for options in (
        {"workspace": patched(workspace, patch)},
        {"background_only_model": workspace, "signal_yields": signal},
        {"background_only_model": workspace, "signal_yields": with_errors},
        {"workspace": workspace, "signal_patch": [patch]},
    ):
        found = get(**options).exclusion_confidence_level()
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.slow
def test_a_converted_workspace_gives_the_same_through_hs3(with_control):
    # The normsys that two channels share must be constrained once.
    workspace, patch = with_control_region(5000.0)
    converted = pyhf_to_hs3(patched(workspace, patch))
    model = spey.get_backend("everwillow.hs3")(hs3_dict=converted)
    found = model.exclusion_confidence_level(expected=APOSTERIORI)
    expected = with_control.exclusion_confidence_level(expected=APOSTERIORI)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.slow
def test_signals_as_lists_or_with_errors_or_by_sample():
    forms = (
        {"channel": {"contents": [5.0, 5.0], "errors": [0.5, 0.5]}},
        {"channel": {"signal": [2.0, 2.0], "more": {"contents": [3.0, 3.0]}}},
    )
    before = document()
    for form in forms:
        found = two_bins(signal_yields=form).exclusion_confidence_level()
        expected = shared().exclusion_confidence_level()
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert before == DOCUMENT


def test_a_nuisance_parameter_without_a_value_starts_at_zero():
    shorter = document()
    shorter["parameter_points"][0]["parameters"].pop()
    model = two_bins(hs3_dict=shorter)
    config = model.backend.config()
    start = dict(zip(config.parameter_names, config.suggested_init, strict=True))
    assert start == {"alpha_bkg": 0.0, "mu": 1.0}
    found = model.exclusion_confidence_level(expected=APRIORI)
    expected = shared().exclusion_confidence_level(expected=APRIORI)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_fresh_program_computes_in_double_precision():
    path = HERE / "data" / "quickstart_seed_page.hs3.json"
    script = (
        "import spey\n"
        "model = spey.get_backend('everwillow.hs3')(\n"
        f"    hs3_dict={str(path)!r}, signal_yields={{'channel.signal': [5.0, 5.0]}})\n"
        "print(repr(float(model.likelihood(1.0))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    found = float(done.stdout.split()[0])
    assert found == pytest.approx(shared().likelihood(1.0), rel=1e-12)


def test_options_of_the_older_plug_in_are_accepted():
    get = spey.get_backend("everwillow.hs3")
    model = get(DOCUMENT, SIGNAL, "demo", "mu", False, "FAST_RUN", xsection=0.5)
    assert model.xsection == 0.5
    assert model.backend.model.poi == "mu"
    assert model.exclusion_confidence_level() == shared().exclusion_confidence_level()
