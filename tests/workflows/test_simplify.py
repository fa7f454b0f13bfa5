"""Simplified likelihoods made by a fit of the backgrounds."""

import copy

import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.models.histfactory import from_pyhf, prune, validate
from everwillow.workflows.histfactory.simplify import simplify_workspace


def modifier(name, kind, data=None):
    return {"name": name, "type": kind, "data": data}


def sample(name, data, *modifiers):
    return {"name": name, "data": list(data), "modifiers": list(modifiers)}


def search():
    """A normalisation from a control region, a shape, and statistical errors."""
    norm = modifier("mu_top", "normfactor")
    shape = {"lo_data": [37.0, 9.0], "hi_data": [43.0, 11.0]}
    signal = sample("signal", [3.0, 6.0], modifier("mu", "normfactor"))
    top = sample(
        "top",
        [40.0, 10.0],
        norm,
        modifier("jes", "histosys", shape),
        modifier("stat_SR", "staterror", [2.0, 1.0]),
    )
    yields = {"lo": 0.95, "hi": 1.05}
    control = sample("top", [400.0], norm, modifier("jes", "normsys", yields))
    return {
        "channels": [
            {"name": "SR", "samples": [signal, top]},
            {"name": "CR", "samples": [control]},
        ],
        "observations": [
            {"name": "SR", "data": [46, 12]},
            {"name": "CR", "data": [440]},
        ],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


def yields_of(document):
    return {
        channel["name"]: s
        for channel in document["channels"]
        for s in channel["samples"]
        if s["name"] == "Bkg"
    }


def numbers(found):
    return np.array([found.observed, *(value for _, value in found.expected)])


@pytest.mark.slow
def test_control_region_in_closed_form():
    """With n events where a are expected, b becomes b n/a with error b sqrt(n)/a."""
    document = prune(search(), modifiers=["jes", "stat_SR"])
    made = simplify_workspace(document, signals=["signal"], control=["CR"])
    assert [channel["name"] for channel in made.workspace["channels"]] == ["SR"]
    new = yields_of(made.workspace)["SR"]
    wanted = np.array([40.0, 10.0])
    np.testing.assert_allclose(new["data"], wanted * 440 / 400, rtol=1e-7)
    error = wanted * np.sqrt(440) / 400
    (total,) = new["modifiers"]
    for end, sign in (("hi_data", 1), ("lo_data", -1)):
        np.testing.assert_allclose(
            total["data"][end], new["data"] + sign * error, rtol=1e-7
        )
    assert made.report == ()


def test_what_the_control_region_does_not_know_keeps_its_constraint():
    """The covariance is that of the normalisation, and of the two other sources."""
    document = prune(search(), channels=[])
    control = document["channels"][1]["samples"][0]
    control["modifiers"] = control["modifiers"][:1]
    made = simplify_workspace(
        document, signals=["signal"], control=["CR"], components=1.0
    )
    new = yields_of(made.workspace)["SR"]
    shifts = [
        (np.array(entry["data"]["hi_data"]) - new["data"])
        for entry in new["modifiers"]
        if entry["type"] == "histosys"
    ]
    ratio = 440 / 400
    norm = np.array([40.0, 10.0]) * np.sqrt(440) / 400
    jes = np.array([3.0, 1.0]) * ratio
    wanted = np.outer(norm, norm) + np.outer(jes, jes)
    wanted += np.diag(np.array([2.0, 1.0]) ** 2) * ratio**2
    np.testing.assert_allclose(np.transpose(shifts) @ shifts, wanted, rtol=1e-6)


@pytest.mark.slow
def test_limits_are_close_to_those_of_the_full_workspace():
    """The normal approximation costs 0.2 % here.

    There is no signal in the control region, so all that is lost are products of two
    shifts, and the shape of a Poisson of 440.
    """
    document = search()
    full = numbers(ew.limits(from_pyhf(document)))
    made = simplify_workspace(
        document, signals=["signal"], control=["CR"], components=1.0
    )
    assert validate(made.workspace) == ()
    found = numbers(ew.limits(from_pyhf(made.workspace)))
    np.testing.assert_allclose(found, full, rtol=3e-3)


@pytest.mark.slow
def test_all_channels_are_the_published_form():
    document, before = search(), search()
    made = simplify_workspace(document, signals=["signal"])
    assert document == before
    model = from_pyhf(made.workspace)
    assert set(model.state) == {"mu", "totalError"}
    assert model.channels == (("CR", 1), ("SR", 2))
    assert "The data of all channels" in made.report[0]
    # The fit has one parameter without a constraint, the normalisation: the yields of
    # the control region are those observed, up to what the others pull.
    behind = from_pyhf(prune(document, samples=["signal"]), poi="")
    result = ew.fit(behind)
    post = ew.mappings.postfit(None, behind, result)
    new = yields_of(made.workspace)
    np.testing.assert_allclose(
        np.concatenate([new["CR"]["data"], new["SR"]["data"]]), post.values, rtol=1e-12
    )
    up = np.concatenate(
        [new[name]["modifiers"][0]["data"]["hi_data"] for name in ("CR", "SR")]
    )
    np.testing.assert_allclose(up - post.values, post.errors, rtol=1e-9)


def test_signal_from_a_patch():
    signal = sample("new", [3.0, 6.0], modifier("mu", "normfactor"))
    document = prune(search(), samples=["signal"], modifiers=["jes", "stat_SR"])
    patch = [{"op": "add", "path": "/channels/0/samples/-", "value": signal}]
    made = simplify_workspace(
        document, patches=patch, signals=["new"], control=["CR"], keep=["normfactor"]
    )
    assert made.workspace["channels"][0]["samples"][1] == signal


def test_factors_of_signal_and_background_are_held_where_the_fit_had_them():
    document = prune(search(), modifiers=["jes", "stat_SR"])
    signal = document["channels"][0]["samples"][0]
    signal["modifiers"].append(modifier("mu_top", "normfactor"))
    made = simplify_workspace(document, signals=["signal"], control=["CR"])
    model = from_pyhf(made.workspace)
    assert model.fixed["mu_top"] == pytest.approx(440 / 400, rel=1e-7)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"signals": ["sig"]}, UnknownKeyError, "'signal'"),
        ({"control": "CR"}, ArgumentTypeError, "list of names"),
        ({"control": ["QR"]}, UnknownKeyError, "'CR'"),
        ({"control": []}, ArgumentValueError, "none of the channels"),
        ({"control": ["CR", "SR"]}, ArgumentValueError, "all of the channels"),
        ({"signals": ["signal", "top"]}, SpecificationError, "at least one sample"),
    ],
)
def test_bad_input_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        simplify_workspace(search(), **{"signals": ["signal"], **options})


def test_undetermined_backgrounds_are_refused():
    document = copy.deepcopy(prune(search(), modifiers=["jes", "stat_SR"]))
    document["channels"][0]["samples"][1]["modifiers"].append(
        modifier("free", "normfactor")
    )
    with pytest.raises(ArgumentValueError, match="determines free"):
        simplify_workspace(document, signals=["signal"], control=["CR"])
