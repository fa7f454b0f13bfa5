"""pyhf to HS3 and back, and models written as HS3: nothing is lost.

Workspaces, and the numbers of pyhf 0.7.6 for them, are those of the tests of pyhf
workspaces (`tests/models/histfactory/make_reference.py` wrote the numbers).
"""

import copy
import json
import re

import numpy as np
import pytest

from everwillow._errors import ArgumentTypeError, EverwillowError, SpecificationError
from everwillow.likelihood.binned.spec import (
    BinnedSpec,
    BinScale,
    ChannelSpec,
    ConstraintSpec,
    Derived,
    NormVariation,
    ParameterSpec,
    SampleSpec,
    Scale,
)
from everwillow.models.hs3 import dump, hs3_to_pyhf, pyhf_to_hs3, read_spec
from tests.models.histfactory.workspaces import DATA, REFERENCE, SMALL, points
from tests.models.hs3 import closed_form
from tests.models.hs3.documents import (
    MU,
    SIGNAL,
    channel,
    document,
    modifier,
    sample,
    stored,
)


REFERENCES = json.loads(REFERENCE.read_text())["models"]
PUBLISHED = ("quickstart_2bin", "susy_1Lbb_simplified", "susy_bottom_squarks")
every = pytest.mark.parametrize("name", [*SMALL, *PUBLISHED])


def workspace(name):
    if name in SMALL:
        return SMALL[name]()
    return json.loads((DATA / f"{name}.json").read_text())


def hs3_names(names, spec):
    """Return the names in HS3 of pyhf's `par_names`."""
    known = {entry.name for entry in spec.parameters}
    found = []
    for name in names:
        element = re.fullmatch(r"(.*)\[(\d+)\]", name)
        made = f"gamma_{element[1]}_{element[2]}" if element else name
        found.append(made if made in known else f"alpha_{name}")
    assert set(found) == known
    return found


@every
def test_round_trip(name):
    made = workspace(name)
    before = copy.deepcopy(made)
    assert hs3_to_pyhf(pyhf_to_hs3(made)) == made
    assert made == before


@every
def test_values_starts_and_bounds_of_a_converted_workspace(name):
    """-2 ln L at four points, `suggested_init` and the like are those of pyhf."""
    wanted = REFERENCES[name]
    spec = read_spec(json.loads(json.dumps(pyhf_to_hs3(workspace(name)))))
    names = hs3_names(wanted["par_names"], spec)
    entries = {entry.name: entry for entry in spec.parameters}
    starts, bounds, fixed = (
        wanted[f"suggested_{key}"] for key in ("init", "bounds", "fixed")
    )
    assert [entries[n].start for n in names] == starts
    assert [[entries[n].lower, entries[n].upper] for n in names] == bounds
    assert [entries[n].fixed for n in names] == fixed
    places = points(starts, bounds, fixed)
    for place, value in zip(places, wanted["twice_nll"]["default"], strict=True):
        ours = 2 * closed_form.nll(spec, dict(zip(names, place, strict=True)))
        assert ours == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", ["quickstart_2bin", "susy_1Lbb_simplified"])
def test_the_same_as_another_converter(name):
    """Distributions and data are those of the stored documents, word for word."""
    ours, theirs = pyhf_to_hs3(workspace(name)), stored(name)
    for key in ("distributions", "data"):
        assert ours[key] == theirs[key]
    back = hs3_to_pyhf(theirs)
    assert back["channels"] == workspace(name)["channels"]


def test_measurements_that_were_edited_are_written_anew():
    """The stored measurement counts only as long as the document says the same."""
    made = pyhf_to_hs3(workspace("every_type"))
    (point,) = made["parameter_points"]
    for entry in point["parameters"]:
        if entry["name"] == "mu":
            entry["value"] = 2.5
    config = hs3_to_pyhf(made)["measurements"][0]["config"]
    (mu,) = [one for one in config["parameters"] if one["name"] == "mu"]
    assert mu == {"name": "mu", "inits": [2.5], "bounds": [[-1.0, 20.0]]}
    (stat,) = [one for one in config["parameters"] if one["name"] == "stat_CR"]
    assert stat["sigmas"] == [0.03, 0.04]
    assert pyhf_to_hs3(hs3_to_pyhf(made))["parameter_points"] == [point]


def test_several_measurements_are_several_analyses():
    made = workspace("tiny")
    other = copy.deepcopy(made["measurements"][0])
    other["name"] = "other"
    other["config"]["parameters"] = [{"name": "xs", "auxdata": [0.2], "inits": [0.1]}]
    made["measurements"].append(other)
    converted = pyhf_to_hs3(made)
    assert [one["name"] for one in converted["analyses"]] == ["meas", "other"]
    spec = read_spec(converted, "other")
    (xs,) = [entry for entry in spec.parameters if entry.name == "alpha_xs"]
    assert (xs.start, xs.constraint.aux) == (0.1, 0.2)
    assert hs3_to_pyhf(converted) == made
    only = hs3_to_pyhf(converted, "other")
    assert [one["name"] for one in only["measurements"]] == ["other"]


def test_bins_of_other_documents():
    """Constraints decide on the modifier: Poisson shapesys, Gaussian staterror."""
    vals = {"data": {"vals": [5.0, 4.0]}, "parameters": ["a", "b"]}
    gauss = {"data": {"vals": [1.0, 2.0]}, "parameters": ["c", "d"]}
    made = channel(
        "SR",
        sample("x", [50.0, 40.0], modifier("shapesys", name="p", **vals)),
        sample(
            "y",
            [10.0, 20.0],
            MU,
            modifier("shapesys", name="g", constraint="Gauss", **gauss),
            modifier("shapefactor", name="f", parameters=["e", "f"]),
        ),
    )
    spec = read_spec(document(made))
    back = hs3_to_pyhf(document(made))
    kinds = [
        (m["type"], m["data"])
        for s in back["channels"][0]["samples"]
        for m in s["modifiers"]
    ]
    assert kinds == [
        ("shapesys", [5.0, 4.0]),
        ("normfactor", None),
        ("staterror", pytest.approx([1.0, 2.0])),
        ("shapefactor", None),
    ]
    again = read_spec(pyhf_to_hs3(back))
    assert closed_form.nll(again, {}) == pytest.approx(
        closed_form.nll(spec, {}), rel=1e-12
    )


def refused(*modifiers, **entries):
    made = channel("SR", SIGNAL, sample("background", [50.0, 40.0], *modifiers))
    return lambda: hs3_to_pyhf(document(made, **entries))


NORM = {"lo": 0.9, "hi": 1.2}


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (refused(modifier("normfactor", 2.0)), "no constant factors"),
        (
            refused(
                modifier("normfactor", "f"),
                functions=[{"name": "f", "type": "sum", "summands": ["mu", 1]}],
            ),
            "'f' is a function",
        ),
        (
            refused(modifier("normsys", "a", data=NORM, interpolation="lin")),
            "code4 for normsys, not code0",
        ),
        (
            refused(modifier("normsys", "a", data=NORM, constraint="None")),
            "Gaussian constraint",
        ),
        (
            refused(modifier("normfactor", "k", constraint="Poisson")),
            "no poisson constraint of a factor",
        ),
        (
            refused(modifier("shapesys", "g", data={"vals": [5.0, 4.0]})),
            "name the parameter of each bin",
        ),
    ],
)
def test_what_pyhf_does_not_have(convert, message):
    with pytest.raises(SpecificationError, match=message):
        convert()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("observations"), "'observations' is missing"),
        (lambda w: w["observations"].clear(), "no observations of the channel 'SR'"),
        (lambda w: w["measurements"].clear(), "there is no measurement"),
        (lambda w: w["observations"][0].update(data=[1, 2]), "2 numbers, but 'SR'"),
        (
            lambda w: w["channels"][0]["samples"][0]["modifiers"][0].update(type="x"),
            "no modifier type 'x'",
        ),
    ],
)
def test_faults_of_workspaces(change, message):
    made = workspace("tiny")
    change(made)
    with pytest.raises(EverwillowError, match=message):
        pyhf_to_hs3(made)
    with pytest.raises(SpecificationError, match="not a pyhf workspace"):
        pyhf_to_hs3(stored("quickstart_2bin"))


def same(one, two):
    """Compare specifications, whatever the order of parameters."""
    entries = {entry.name: entry for entry in two.parameters}
    assert {entry.name for entry in one.parameters} == set(entries)
    for entry in one.parameters:
        other = entries[entry.name]
        for field in ("start", "lower", "upper", "fixed", "constraint"):
            assert getattr(entry, field) == getattr(other, field), entry.name
    assert (one.poi, one.name) == (two.poi, two.name)
    for a, b in zip(one.channels, two.channels, strict=True):
        np.testing.assert_array_equal(a.observed, b.observed)
        assert [s.name for s in a.samples] == [s.name for s in b.samples]
    for shift in (0.0, 0.3):
        moved = {
            p.name: p.start + shift * (-1) ** i / (1 + i)
            for i, p in enumerate(one.parameters)
        }
        assert closed_form.nll(one, moved) == closed_form.nll(two, moved)


@pytest.mark.parametrize("name", [*SMALL, "quickstart_2bin", "susy_1Lbb_simplified"])
def test_written_specifications_are_read_back(name, tmp_path):
    spec = read_spec(pyhf_to_hs3(workspace(name)))
    file = tmp_path / "written.json"
    written = dump(spec, file)
    assert json.loads(file.read_text()) == written
    again = read_spec(file)
    same(spec, again)
    assert not any("assumed" in sentence for sentence in again.report)


def test_written_functions_and_odd_constraints_are_read_back():
    functions = [{"name": "f", "type": "generic_function", "expression": "mu^2 + k"}]
    gammas = modifier(
        "shapesys", parameters=["g", "h"], data={"vals": [5, 4]}, constraint="LogNormal"
    )
    made = channel(
        "SR",
        SIGNAL,
        sample(
            "b",
            [50.0, 40.0],
            modifier("normfactor", "f"),
            modifier("normfactor", "k", constraint="LogNormal"),
            modifier("normsys", "free", data=NORM, constraint="None"),
            gammas,
        ),
    )
    spec = read_spec(document(made, ranges={"mu": (None, 5)}, functions=functions))
    assert list(spec.derived) == ["f"]
    same(spec, read_spec(dump(spec)))


def test_arrays_are_written_as_scalars():
    stat = ConstraintSpec("normal", np.ones(2), np.array([0.1, 0.2]))
    effects = (BinScale("stat"), NormVariation("xs", 0.9, 1.1), Scale("mu"))
    spec = BinnedSpec(
        (
            ChannelSpec(
                "SR",
                np.array([5.0, 6.0]),
                (SampleSpec("b", np.array([4.0, 7.0]), effects),),
            ),
        ),
        (
            ParameterSpec("mu", 1.0),
            ParameterSpec("xs", 0.0, constraint=ConstraintSpec("normal", 0.0, 1.0)),
            ParameterSpec("stat", np.ones(2), 0.0, 9.0, constraint=stat),
        ),
        poi="mu",
    )
    again = read_spec(dump(spec))
    values = {"mu": 1.2, "xs": 0.4}
    scalars = {"gamma_stat_0": 0.95, "gamma_stat_1": 1.1}
    assert closed_form.nll(again, values | scalars) == pytest.approx(
        closed_form.nll(spec, values | {"stat": np.array([0.95, 1.1])}), rel=1e-14
    )


def test_what_cannot_be_written():
    spec = read_spec(document(channel("SR", SIGNAL)))
    python = {"f": Derived(("mu",), lambda mu: mu)}
    with pytest.raises(ArgumentTypeError, match="'f' is computed by a Python function"):
        dump(BinnedSpec(spec.channels, spec.parameters, python))
    with pytest.raises(ArgumentTypeError, match="does not know the specification"):
        dump(object())
