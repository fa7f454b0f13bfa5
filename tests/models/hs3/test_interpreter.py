"""Looking into documents, and injecting signals."""

import copy
import json

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NonFiniteError,
    ShapeMismatchError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.models.hs3 import WorkspaceInterpreter, load, read_spec
from tests.models.hs3 import closed_form
from tests.models.hs3.documents import DATA, expected, stored


@pytest.fixture
def page():
    return WorkspaceInterpreter(stored("quickstart_seed_page"))


@pytest.fixture
def root():
    return WorkspaceInterpreter(stored("root_simplemodel_uncorrelated"))


def test_looking(root):
    assert root.distributions == ["model_singlechannel"]
    assert root.distribution_types == {"model_singlechannel": "histfactory_dist"}
    assert root.analyses == root.likelihoods == ["simPdf_asimovData", "simPdf_obsData"]
    assert root.poi_names == {"simPdf_asimovData": ["mu"], "simPdf_obsData": ["mu"]}
    assert root.bin_map == {"model_singlechannel": 2}
    assert root.samples == {"model_singlechannel": ["background", "signal"]}
    assert root.modifier_types == {
        "model_singlechannel": {
            "background": ["normfactor", "shapesys"],
            "signal": ["normfactor"],
        }
    }
    assert root.expected_background_yields == {"model_singlechannel": [62.0, 63.0]}
    assert root.observed_data == {"model_singlechannel": [62.0, 63.0]}
    assert root.get_observed_data("simPdf_obsData") == {
        "model_singlechannel": [51.0, 48.0]
    }
    assert root.parameters["mu"] == {
        "value": 1.0,
        "const": False,
        "min": 0.0,
        "max": 10.0,
    }
    assert root.parameters["Lumi"]["const"]
    assert root.get_analysis("simPdf_obsData")["likelihood"] == "simPdf_obsData"
    assert root.get_distributions() == ["model_singlechannel"]
    assert root["metadata"] == {"hs3_version": "0.2", "packages": []}


def test_unknown_names_have_near_ones(root, page):
    with pytest.raises(UnknownKeyError, match=r"'domians'.*'domains'"):
        root["domians"]
    with pytest.raises(UnknownKeyError, match=r"'simPdf_obs'.*'simPdf_obsData'"):
        root.get_analysis("simPdf_obs")
    with pytest.raises(UnknownKeyError, match=r"'chanel'.*'channel'"):
        page.inject_signal("chanel", "signal", [1.0, 2.0])
    with pytest.raises(UnknownKeyError, match=r"'chanel'.*'channel'"):
        page.remove_distribution("chanel")


def test_summary_fits_a_terminal(root):
    text = root.summary("simPdf_obsData")
    assert max(map(len, text.splitlines())) <= 80
    assert "analysis 'simPdf_obsData' of 2" in text
    assert "parameters of interest: mu" in text
    assert "parameters: 4, 3 of them not constant" in text
    header, row = text.splitlines()[-2:]
    assert header.split() == [
        *("channel", "bins", "samples", "modifiers", "expected", "observed")
    ]
    assert row.split() == ["model_singlechannel", "2", "2", "4", "125", "99"]
    many = WorkspaceInterpreter(stored("susy_1Lbb_simplified"))
    assert "... (8 channels in all)" in many.summary(max_rows=3)


@pytest.mark.slow
def test_injected_signal_gives_the_published_numbers(page):
    """-ln L at six points of (mu, alpha), on which pyhf and pyhs3 agree."""
    wanted = expected()["quickstart_seed_page"]
    page.inject_signals(wanted["signal"])
    assert page.signal_per_distribution == {"channel": {"signal": [5.0, 5.0]}}
    assert repr(page) == (
        "WorkspaceInterpreter(HS3 0.2, 1 distributions, 1 likelihoods, 1 analyses, "
        "1 signals)"
    )
    patched = page.patch()
    spec = read_spec(patched)
    assert spec.poi == "mu"
    model = load(patched)
    for mu, alpha, value in wanted["nll_points"]:
        values = {"mu": float(mu), "alpha_bkg": float(alpha), "mu_bkg": 1.0}
        assert closed_form.nll(spec, values) == pytest.approx(value, rel=1e-12)
        assert float(model.nll(values)) == pytest.approx(value, rel=1e-12)


def test_patch_is_a_copy(page):
    original = stored("quickstart_seed_page")
    given = copy.deepcopy(original)
    interpreter = WorkspaceInterpreter(given)
    interpreter.inject_signal("channel", "s", np.array([1.0, 2.0]), [0.1, 0.2], "k")
    patched = interpreter.patch()
    assert given == original
    assert patched["distributions"][0]["samples"][1] == {
        "name": "s",
        "data": {"contents": [1.0, 2.0], "errors": [0.1, 0.2]},
        "modifiers": [{"name": "k", "type": "normfactor", "parameter": "k"}],
    }
    patched["distributions"].clear()
    assert interpreter.patch()["distributions"]
    interpreter.reset_signal()
    assert interpreter.signal_per_distribution == {}
    with pytest.raises(ArgumentValueError, match="nothing to do"):
        interpreter.patch()


@pytest.mark.parametrize(
    "signals",
    [
        {"channel": [5, 6]},
        {"channel": {"contents": [5, 6], "errors": [1, 1]}},
        {"channel": {"signal": [5, 6]}},
        {"channel": {"signal": {"contents": (5, 6)}}},
        {"channel.signal": np.array([5, 6])},
    ],
)
def test_ways_to_give_signals(page, signals):
    page.inject_signals(signals)
    assert page.signal_per_distribution == {"channel": {"signal": [5.0, 6.0]}}


@pytest.mark.parametrize(
    ("signals", "kind", "message"),
    [
        ({"channel": [1]}, ShapeMismatchError, "1 yields.*'channel' has 2 bins"),
        (
            {"channel": {"contents": [1, 2], "errors": [1]}},
            ShapeMismatchError,
            "1 errors.*'channel' has 2 bins",
        ),
        ({"channel": [1, np.nan]}, NonFiniteError, "'channel' are not all finite"),
        ({"channel": ["a", 2]}, ArgumentTypeError, "must be numbers"),
        ({"channel": [[1, 2]]}, ShapeMismatchError, r"shape \(1, 2\)"),
        (
            {"channel": {"contents": [1, 2], "error": [1, 1]}},
            ArgumentValueError,
            "error",
        ),
        (
            {"channel": {"contents": [1, 2], "errors": [-1, 1]}},
            ArgumentValueError,
            "negative",
        ),
        ({"channel": {"bkg": [1, 2]}}, KeyCollisionError, "sample 'bkg' already"),
        ([1, 2], ArgumentTypeError, "a mapping"),
    ],
)
def test_faults_of_signals(page, signals, kind, message):
    with pytest.raises(kind, match=message):
        page.inject_signals(signals)
    assert page.signal_per_distribution == {}


def test_all_signals_or_none(page):
    with pytest.raises(ShapeMismatchError):
        page.inject_signals({"channel.a": [1, 2], "channel.b": [1]})
    assert page.signal_per_distribution == {}


def test_signals_need_a_parameter_of_interest():
    made = stored("quickstart_seed_page")
    del made["analyses"][0]["parameters_of_interest"]
    interpreter = WorkspaceInterpreter(made)
    with pytest.raises(ArgumentValueError, match="poi_name"):
        interpreter.inject_signal("channel", "signal", [1, 2])
    interpreter.inject_signal("channel", "signal", [1, 2], poi_name="mu")


def test_removed_distributions(tmp_path):
    interpreter = WorkspaceInterpreter(DATA / "susy_1Lbb_simplified.hs3.json")
    interpreter.remove_distribution("WREM_cuts")
    assert interpreter.remove_list == ["WREM_cuts"]
    file = tmp_path / "patched.json"
    interpreter.save_patch(file)
    patched = json.loads(file.read_text())
    spec = read_spec(patched)
    assert [c.name for c in spec.channels] == interpreter.get_distributions()[1:]
    likelihood = patched["likelihoods"][0]
    assert len(likelihood["data"]) == len(likelihood["distributions"]) == 7
    for name in interpreter.get_distributions():
        interpreter.remove_distribution(name)
    with pytest.raises(SpecificationError, match="no distribution is left"):
        interpreter.patch()
