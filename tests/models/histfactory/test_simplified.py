"""Simplified likelihoods from given yields and covariances."""

import copy
import json

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyCollisionError,
    NonFiniteError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.mappings import prefit
from everwillow.models.histfactory import from_pyhf, sorted_workspace, validate
from everwillow.models.histfactory.simplified import simplified_workspace
from tests.models.histfactory.workspaces import DATA, modifier, sample, workspace


YIELDS = np.array([60.0, 25.0, 8.0])
# Three sources, the last of single bins, in the order of the data: CR, then SR.
SHIFTS = np.array([[5.0, 2.0, 1.5], [2.0, -1.5, -0.5]])
COVARIANCE = SHIFTS.T @ SHIFTS + np.diag([4.0, 2.0, 1.0])


def full():
    """A search with its channels in another order than the data."""
    theory = modifier("theory", "normsys", {"lo": 0.9, "hi": 1.1})
    signal = [
        modifier("mu", "normfactor"),
        modifier("lumi", "lumi"),
        modifier("mu_top", "normfactor"),
        theory,
    ]
    top = sample("top", [20.0, 7.0], modifier("mu_top", "normfactor"), theory)
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0]}
    return workspace(
        {
            "SR": [sample("signal", [4.0, 6.0], *signal), top],
            "CR": [sample("top", [55.0]), sample("fakes", [3.0])],
        },
        {"SR": [27.0, 9.0], "CR": [61.0]},
        parameters=[
            {**lumi, "bounds": [[0.5, 1.5]]},
            {"name": "mu_top", "bounds": [[0.0, 5.0]]},
        ],
    )


def simplified(**options):
    given = {"yields": YIELDS, "covariance": COVARIANCE, "signals": ["signal"]}
    return simplified_workspace(full(), **{**given, **options})


def backgrounds(document):
    return {
        channel["name"]: [s for s in channel["samples"] if s["name"] == "Bkg"]
        for channel in document["channels"]
    }


def covariance_of(document):
    """What a workspace says of its yields before any fit, without the signal."""
    for channel in document["channels"]:
        channel["samples"] = [s for s in channel["samples"] if s["name"] == "Bkg"]
    found = prefit(None, from_pyhf(document, poi=""), factor=True)
    return found.values, found.factor @ found.factor.T


def test_form_is_that_of_published_workspaces():
    """A published simplified likelihood is made again of its own numbers."""
    published = json.loads((DATA / "susy_1Lbb_simplified.json").read_text())
    channels = sorted(published["channels"], key=lambda channel: channel["name"])
    found = backgrounds(published)
    data = [found[channel["name"]][0] for channel in channels]
    yields = np.concatenate([one["data"] for one in data])
    up = np.concatenate([one["modifiers"][0]["data"]["hi_data"] for one in data])
    made = simplified_workspace(
        published,
        signals=["C1N2_Wh_hbb_500_0"],
        yields=yields,
        covariance=np.outer(up - yields, up - yields),
        background="all backgrounds",
    )
    assert (made.components, made.kept) == (1, 1.0)
    text = json.dumps(made.workspace).replace("all backgrounds", "Bkg")
    again, wanted = sorted_workspace(json.loads(text)), sorted_workspace(published)
    for one, other in zip(again["channels"], wanted["channels"], strict=True):
        for mine, theirs in zip(one["samples"], other["samples"], strict=True):
            assert mine["name"] == theirs["name"]
            np.testing.assert_allclose(mine["data"], theirs["data"], rtol=1e-14)
            for left, right in zip(mine["modifiers"], theirs["modifiers"], strict=True):
                assert (left["name"], left["type"]) == (right["name"], right["type"])
                for key, values in (left["data"] or {}).items():
                    # Differences of rounded numbers, in the file itself.
                    np.testing.assert_allclose(values, right["data"][key], rtol=1e-12)
    assert again["measurements"] == wanted["measurements"]
    assert again["observations"] == wanted["observations"]


def test_one_bin_in_closed_form():
    mu = modifier("mu", "normfactor")
    small = workspace(
        {"SR": [sample("signal", [5.0], mu), sample("bkg", [48.0])]}, {"SR": [57.0]}
    )
    for components in (None, 1, 1.0):
        made = simplified_workspace(
            small,
            signals=["signal"],
            yields=[51.0],
            covariance=[[9.0]],
            components=components,
        )
        (new, signal) = made.workspace["channels"][0]["samples"]
        (error,) = new["modifiers"]
        assert (new["data"], error["type"]) == ([51.0], "histosys")
        assert error["data"]["hi_data"] == pytest.approx([54.0])
        assert error["data"]["lo_data"] == pytest.approx([48.0])
        assert signal == small["channels"][0]["samples"][0]


@pytest.mark.parametrize("components", [None, 1, 2, 3, 0.5, 1.0])
def test_every_bin_has_its_yield_and_variance(components):
    made = simplified(components=components)
    assert validate(made.workspace) == ()
    counts, covariance = covariance_of(made.workspace)
    np.testing.assert_allclose(counts, YIELDS, rtol=1e-14)
    np.testing.assert_allclose(
        np.diagonal(covariance), np.diagonal(COVARIANCE), rtol=1e-12
    )
    if components == 3 or (isinstance(components, float) and components == 1):
        np.testing.assert_allclose(covariance, COVARIANCE, rtol=1e-12)
        assert (made.components, made.kept) == (3, pytest.approx(1.0, abs=1e-14))
    if components is None:
        error = np.sqrt(np.diagonal(COVARIANCE))
        np.testing.assert_allclose(covariance, np.outer(error, error), rtol=1e-12)


def test_parts_of_the_variance():
    scale = np.sqrt(YIELDS)
    size = np.linalg.eigvalsh(COVARIANCE / scale / scale[:, None])[::-1]
    parts = np.cumsum(size) / size.sum()
    for count in (1, 2):
        # Just below what so many components have, and just above it.
        for fraction, wanted in (
            (float(parts[count - 1]) - 1e-6, count),
            (float(parts[count - 1]) + 1e-6, count + 1),
        ):
            made = simplified(components=fraction)
            assert made.components == wanted
            assert made.kept == pytest.approx(parts[wanted - 1], rel=1e-12)
    assert simplified(components=7).components == 3
    names = [
        entry["name"]
        for found in backgrounds(simplified(components=2).workspace).values()
        for entry in found[0]["modifiers"]
    ]
    common = ["principal_1", "principal_2"]
    assert names == [*common, "residual_SR", *common, "residual_CR"]


def test_full_correlation_is_one_component():
    shift = np.array([5.0, 2.0, 1.5])
    given = {"covariance": np.outer(shift, shift)}
    total, parts = simplified(**given), simplified(**given, components=1.0)
    assert parts.components == 1
    text = json.dumps(total.workspace).replace("totalError", "principal_1")
    for one, other in zip(
        json.loads(text)["channels"], parts.workspace["channels"], strict=True
    ):
        left, right = one["samples"][0]["modifiers"], other["samples"][0]["modifiers"]
        assert [entry["name"] for entry in left] == [entry["name"] for entry in right]
        for end in ("hi_data", "lo_data"):
            np.testing.assert_allclose(
                left[0]["data"][end], right[0]["data"][end], rtol=1e-12
            )


def test_known_backgrounds_have_no_error():
    made = simplified(covariance=np.zeros((3, 3)), components=1.0)
    assert (made.components, made.kept) == (0, 1.0)
    assert all(
        not found[0]["modifiers"] for found in backgrounds(made.workspace).values()
    )


def test_signals_keep_what_they_are_asked_to():
    made = simplified(values={"mu_top": 0.93})
    signal = made.workspace["channels"][0]["samples"][1]
    assert signal == full()["channels"][0]["samples"][0]
    (measurement,) = made.workspace["measurements"]
    held = {"name": "mu_top", "bounds": [[0.0, 5.0]], "fixed": True, "inits": [0.93]}
    assert measurement["config"]["parameters"][1] == held
    assert [note.partition(":")[2] for note in made.report] == [" mu_top.", " theory."]
    model = from_pyhf(made.workspace)
    assert model.fixed == {"mu_top": 0.93}
    assert sorted(model.state) == ["lumi", "mu", "mu_top", "theory", "totalError"]

    made = simplified(keep=["normfactor", "lumi"])
    signal = made.workspace["channels"][0]["samples"][1]
    assert [e["name"] for e in signal["modifiers"]] == ["mu", "lumi", "mu_top"]
    assert "left out: theory" in made.report[0]
    made = simplified(keep=["lumi", "normfactor"], poi="mu", measurement="meas")
    assert made.workspace["measurements"][0]["config"]["poi"] == "mu"


def test_what_is_odd_is_said():
    # An error larger than the yield, and a bin where no factor can act.
    made = simplified(yields=[60.0, 25.0, 0.9])
    assert any("SR[1]" in note and "as uncertain" in note for note in made.report)
    made = simplified(yields=[60.0, 25.0, 0.0], components=1)
    assert any("SR[1]" in note and "left out" in note for note in made.report)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"signals": ["sig"]}, UnknownKeyError, "'signal'"),
        ({"signals": "signal"}, ArgumentTypeError, "list of names"),
        ({"signals": []}, ArgumentValueError, "POI 'mu'"),
        ({"signals": ["top"]}, ArgumentValueError, "besides 'top'"),
        ({"keep": ["lumi"]}, ArgumentValueError, "its type of modifier"),
        ({"poi": ""}, ArgumentValueError, "the measurement has none"),
        ({"measurement": "mess"}, UnknownKeyError, "'meas'"),
        ({"yields": YIELDS[:2]}, ShapeMismatchError, "3 bins"),
        ({"covariance": COVARIANCE[:2]}, ShapeMismatchError, r"\(2, 3\)"),
        ({"yields": [1.0, np.nan, 2.0]}, NonFiniteError, "finite"),
        ({"yields": [1.0, -1.0, 2.0]}, ArgumentValueError, r"yields\[1\]"),
        ({"covariance": np.triu(COVARIANCE)}, ArgumentValueError, "symmetric"),
        ({"covariance": -COVARIANCE}, NotPositiveDefiniteError, "eigenvalue"),
        ({"components": 0}, ArgumentValueError, "1 or more"),
        ({"components": 1.5}, ArgumentValueError, "up to 1"),
        ({"components": True}, ArgumentTypeError, "bool"),
        ({"background": "signal"}, KeyCollisionError, "'signal'"),
    ],
)
def test_bad_input_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        simplified(**options)


def test_names_that_are_taken_are_refused():
    taken = full()
    taken["channels"][0]["samples"][0]["modifiers"].append(
        modifier("totalError", "normsys", {"lo": 0.9, "hi": 1.1})
    )
    with pytest.raises(KeyCollisionError, match="'totalError'"):
        simplified_workspace(
            taken, signals=["signal"], yields=YIELDS, covariance=COVARIANCE
        )


def test_input_stays_as_it_is():
    given, before = full(), copy.deepcopy(full())
    covariance = COVARIANCE.copy()
    made = simplified_workspace(
        given, signals=["signal"], yields=YIELDS, covariance=covariance, components=1
    )
    made.workspace["observations"][0]["data"][0] = -1.0
    assert given == before
    np.testing.assert_array_equal(covariance, COVARIANCE)
