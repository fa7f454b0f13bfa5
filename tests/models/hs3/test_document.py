"""Documents, analyses, points, domains and data: structure and faults."""

import copy
import json
import math

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    EverwillowError,
    MissingFileError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.models._document import Node, Report
from everwillow.models.hs3 import read_document, read_spec
from everwillow.models.hs3.data import BinnedData, PointData, UnbinnedData, read_data
from tests.models.hs3.documents import (
    SIGNAL,
    channel,
    constraint,
    document,
    modifier,
    parameter,
    sample,
    stored,
)


NORM = modifier("normsys", "a", data={"lo": 0.9, "hi": 1.2})
SR = channel("SR", SIGNAL, sample("background", [50.0, 40.0], NORM))


def test_files(tmp_path):
    file = tmp_path / "document.json"
    made = document(SR)
    file.write_text(json.dumps(made))
    assert read_spec(file).poi == read_spec(str(file)).poi == "mu"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(made).encode())
    assert read_spec(file).poi == "mu"
    file.write_text(json.dumps(made)[:-30])
    with pytest.raises(SpecificationError, match=r"document.json' is not JSON"):
        read_spec(file)
    del made["distributions"][0]["samples"][0]["data"]
    file.write_text(json.dumps(made))
    with pytest.raises(SpecificationError, match=r"document.json#/distributions/0/sam"):
        read_spec(file)
    with pytest.raises(MissingFileError, match="no file"):
        read_spec(tmp_path / "other.json")
    with pytest.raises(ArgumentTypeError, match="got int"):
        read_spec(3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"imax 1\njmax 1\n", "datacard of CMS Combine"),
        (b"<Combination/>", "is XML"),
        (b"PK\x03\x04", "zip archive"),
        (b'{"data": [], "data": []}', "the key 'data' twice"),
    ],
)
def test_files_of_other_formats(tmp_path, content, message):
    file = tmp_path / "document.json"
    file.write_bytes(content)
    with pytest.raises(SpecificationError, match=rf"document\.json'.*{message}"):
        read_spec(file)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "an HS3 document, which is an object"),
        ({"channels": [], "observations": []}, "pyhf workspace.*from_pyhf"),
        ({"x": 1}, "not an HS3 document"),
        ({"metadata": {}}, "neither an analysis nor a likelihood"),
    ],
)
def test_other_documents(tmp_path, made, message):
    file = tmp_path / "other.json"
    file.write_text(json.dumps(made))
    with pytest.raises(SpecificationError, match=message):
        read_spec(file)


def test_metadata_is_tolerated():
    made = document(SR)
    del made["metadata"]
    assert any("HS3 0.2 is assumed" in s for s in read_spec(made).report)
    made["metadata"] = {"hs3_version": "0.1.90", "packages": ["tool"]}
    assert any("0.1.90" in s for s in read_spec(made).report)
    made["extra"] = 1
    assert any("'extra' are not part" in s for s in read_spec(made).report)
    assert read_document(made).tools == ("tool",)


def test_lists_may_be_objects():
    made = document(SR)
    made["data"] = {"obs_SR": {"type": "binned", "contents": [55.0, 46.0]}}
    assert read_spec(made).channels[0].observed.tolist() == [55.0, 46.0]


def test_names_are_unique():
    made = document(SR)
    made["distributions"].append(made["distributions"][0])
    with pytest.raises(SpecificationError, match=r"/distributions/1.*'SR'.*ons/0"):
        read_spec(made)


@pytest.mark.parametrize("key", ["parameters_of_interest", "parameter_of_interest"])
@pytest.mark.parametrize("pois", ["mu", ["mu"], ["mu", "a"]])
def test_parameters_of_interest(key, pois):
    made = document(SR)
    del made["analyses"][0]["parameters_of_interest"]
    made["analyses"][0][key] = pois
    spec = read_spec(made)
    assert spec.poi == "mu"
    assert any("'mu' is the one of the model" in s for s in spec.report) == (
        len(pois) == 2 and isinstance(pois, list)
    )


def test_poi_that_does_nothing():
    spec = read_spec(stored("quickstart_seed_page"))
    assert spec.poi is None
    assert "The parameter of interest 'mu' does not enter the likelihood." in (
        spec.report
    )


@pytest.mark.parametrize("spelled", [{"domain": "D"}, {"domains": ["D"]}])
def test_domain_and_domains(spelled):
    made = document(SR, ranges={"mu": (-3, None), "a": (None, None)})
    del made["analyses"][0]["domains"]
    made["analyses"][0] |= spelled
    spec = read_spec(made)
    mu, a = parameter(spec, "mu"), parameter(spec, "a")
    assert (mu.lower, mu.upper) == (-3.0, math.inf)
    assert (a.lower, a.upper) == (-math.inf, math.inf)


def test_domains_are_completed_and_mended():
    made = document(SR, ranges={"mu": (10, 0)})
    other = {"name": "default_domain", "type": "product_domain"}
    made["domains"].append(other | {"axes": [{"name": "a", "min": -4, "max": 4}]})
    spec = read_spec(made)
    assert (parameter(spec, "mu").lower, parameter(spec, "mu").upper) == (0, 10)
    assert any("exchanged" in s for s in spec.report)
    assert parameter(spec, "a").upper == 4.0
    del made["analyses"][0]["domains"]
    spec = read_spec(made)
    assert parameter(spec, "mu").upper == math.inf
    assert any("'default_domain' is used" in s for s in spec.report)
    assert any("No domain has a range for 'mu'" in s for s in spec.report)


def test_a_range_without_room_fixes():
    spec = read_spec(document(SR, ranges={"mu": (2, 2)}, points={"mu": 1.0}))
    assert parameter(spec, "mu").fixed
    assert parameter(spec, "mu").start == 2.0
    spec = read_spec(document(SR, ranges={"mu": (2, 3)}, points={"mu": 1.0}))
    assert parameter(spec, "mu").start == 2.0
    assert any("outside of their ranges" in s for s in spec.report)


def test_start_values():
    """Initial point, then ROOT's default values, then by what a parameter does."""
    made = document(SR, points={"mu": 1.5})
    spec = read_spec(made)
    assert parameter(spec, "mu").start == 1.5
    assert parameter(spec, "a").start == 0.0
    assert any(
        "No point has a value for 'a': the start is 0." in s for s in spec.report
    )
    default = {"name": "a", "value": 0.25, "const": True}
    made["parameter_points"].append({"name": "default_values", "parameters": [default]})
    spec = read_spec(made)
    assert (parameter(spec, "a").start, parameter(spec, "a").fixed) == (0.25, True)
    del made["analyses"][0]["init"]
    assert parameter(read_spec(made), "mu").start == 1.5


def test_likelihoods_without_analyses():
    made = document(SR)
    del made["analyses"]
    spec = read_spec(made)
    assert (spec.poi, spec.name) == (None, "L")
    assert any("There are no analyses" in s for s in spec.report)
    assert read_spec(made, "L").name == "L"


def test_choosing_an_analysis():
    made = document(SR)
    made["analyses"].append(made["analyses"][0] | {"name": "B"})
    assert [read_spec(made, one).name for one in (None, 0, 1, -1, "B")] == list("AABBB")
    with pytest.raises(UnknownKeyError, match="no analysis 'C'"):
        read_spec(made, "C")
    with pytest.raises(ArgumentValueError, match="there are 2"):
        read_spec(made, 2)
    with pytest.raises(ArgumentTypeError, match="float"):
        read_spec(made, 1.0)


def test_inline_and_point_data():
    single = channel("SR", sample("s", [5.0], SIGNAL["modifiers"][0]))
    made = document(single)
    made["likelihoods"][0]["data"] = [7]
    assert read_spec(made).channels[0].observed.tolist() == [7.0]
    made["data"][0] = {"name": "obs_SR", "type": "point", "value": 8}
    made["likelihoods"][0]["data"] = ["obs_SR"]
    assert read_spec(made).channels[0].observed.tolist() == [8.0]


def test_one_distribution_with_two_data_sets():
    made = document(SR)
    made["data"].append({"name": "more", "type": "binned", "contents": [60.0, 40.0]})
    made["likelihoods"][0] |= {
        "distributions": ["SR", "SR"],
        "data": ["obs_SR", "more"],
    }
    spec = read_spec(made)
    assert [c.name for c in spec.channels] == ["SR", "SR_2"]
    assert len(spec.parameters) == 2


GAUSS = {"name": "g", "type": "gaussian_dist", "x": "nom_a", "mean": "a", "sigma": 2.0}


@pytest.mark.parametrize(
    "gauss",
    [
        GAUSS,
        GAUSS | {"x": "a", "mean": "nom_a"},
        GAUSS | {"x": "a", "mean": 0.5},
        GAUSS | {"x": 0.5},
        GAUSS | {"type": "normal_dist", "sigma": "width"},
    ],
)
def test_gaussian_auxiliary_distributions(gauss):
    """One constraint, the distribution's, although the modifier implies another."""
    points = {"nom_a": (0.5,), "width": (2.0,)}
    entries = {"more": [gauss], "likelihood": {"aux_distributions": ["g"]}}
    spec = read_spec(document(SR, points=points, **entries))
    assert constraint(spec, "a") == ("normal", 0.5, 2.0)
    assert any("'a'; the constraint is counted once" in s for s in spec.report)
    assert any("different constraints" in s for s in spec.report)
    assert "nom_a" not in {entry.name for entry in spec.parameters}


def test_a_constraint_given_twice_in_the_same_words_is_one():
    gauss = GAUSS | {"x": 0.0, "sigma": 1.0}
    entries = {"more": [gauss], "likelihood": {"aux_distributions": ["g", "g"]}}
    spec = read_spec(document(SR, **entries))
    assert constraint(spec, "a") == ("normal", 0.0, 1.0)
    assert not any("different constraints" in s for s in spec.report)
    assert any("listed twice" in s for s in spec.report)


def test_constraints_by_name():
    named = modifier("normsys", "a", data=NORM["data"], constraint="g")
    made = channel("SR", SIGNAL, sample("background", [50.0, 40.0], named))
    spec = read_spec(document(made, points={"nom_a": (0.5,)}, more=[GAUSS]))
    assert constraint(spec, "a") == ("normal", 0.5, 2.0)
    assert not any("counted once" in s for s in spec.report)
    other = GAUSS | {"mean": "mu"}
    with pytest.raises(SpecificationError, match="'g' constrains 'mu', not 'a'"):
        read_spec(document(made, points={"nom_a": (0.5,)}, more=[other]))


def test_poisson_auxiliary_distributions():
    """A count whose mean is a parameter times constants, as ROOT writes gammas."""
    free = modifier("shapefactor", parameters=["g0", "g1"])
    made = channel("SR", sample("background", [50.0, 40.0], free))
    more = [
        {"name": "p0", "type": "poisson_dist", "x": "nom_g0", "mean": "m0"},
        {"name": "p1", "type": "poisson_dist", "x": 120, "mean": "g1"},
    ]
    functions = [{"name": "m0", "type": "product", "factors": ["g0", "tau", 2]}]
    spec = read_spec(
        document(
            made,
            more=more,
            functions=functions,
            points={"nom_g0": (90.0,), "tau": (50.0,), "g1": 110.0},
            likelihood={"aux_distributions": ["p0", "p1"]},
        )
    )
    assert constraint(spec, "g0") == ("poisson", 90.0, 100.0)
    assert constraint(spec, "g1") == ("poisson", 120.0, 1.0)


def test_auxiliary_measurements_among_the_main_data():
    """A Gaussian with a number as its data is an auxiliary measurement too."""
    entries = {"more": [GAUSS], "points": {"nom_a": 0.1}}
    made = document(SR, **entries)
    made["likelihoods"][0]["distributions"].append("g")
    made["likelihoods"][0]["data"].append(0.75)
    assert constraint(read_spec(made), "a") == ("normal", 0.75, 2.0)


def test_global_observables_of_root():
    """`aux_data` names one data set with all of them; else the points have them."""
    entries = {"more": [GAUSS], "points": {"nom_a": 0.1}}
    aux = {"aux_distributions": ["g"], "aux_data": ["globs"]}
    made = document(SR, likelihood=aux, **entries)
    spec = read_spec(made)
    assert constraint(spec, "a") == ("normal", 0.1, 2.0)
    assert any("not in the document" in s for s in spec.report)
    assert any("although they are not constant" in s for s in spec.report)
    axes = [{"name": "nom_a", "min": -5, "max": 5}]
    globs = {"name": "globs", "type": "unbinned", "entries": [[0.3]], "axes": axes}
    made["data"].append(globs)
    assert constraint(read_spec(made), "a") == ("normal", 0.3, 2.0)
    made["likelihoods"][0]["aux_data"] = [0.4]
    assert constraint(read_spec(made), "a") == ("normal", 0.4, 2.0)


def data(**entries):
    return read_data(Node({"name": "d"} | entries), report=Report())


AXIS = {"name": "x", "min": 0, "max": 4}


def test_data_sets():
    point = data(type="point", value=3, uncertainty=0.5)
    assert isinstance(point, PointData)
    assert (point.value, point.uncertainty) == (3.0, 0.5)
    events = data(type="unbinned", entries=[[1], [2]], weights=[1, 3], axes=[AXIS])
    assert isinstance(events, UnbinnedData)
    assert events.entries.shape == (2, 1)
    assert events.axes[0].edges is None
    edges = [0, 1, 4]
    axes = [AXIS | {"nbins": 2}, {"name": "y", "edges": edges}]
    binned = data(type="binned", contents=[1, 2, 3, 4], axes=axes)
    assert isinstance(binned, BinnedData)
    np.testing.assert_array_equal(binned.axes[0].edges, [0.0, 2.0, 4.0])
    assert (binned.axes[1].lower, binned.axes[1].upper) == (0.0, 4.0)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"type": "tree"}, "type: data of type 'tree'"),
        ({"type": "binned", "contents": [1], "axes": [AXIS | {"nbins": 2}]}, "2 bins"),
        ({"type": "binned", "contents": [], "axes": [AXIS | {"nbins": 0}]}, "whole"),
        (
            {"type": "binned", "contents": [], "axes": [AXIS | {"max": 0}]},
            "below 'max'",
        ),
        (
            {"type": "binned", "contents": [1], "axes": [AXIS | {"edges": [0, 0]}]},
            "edges: the edges of bins must rise",
        ),
        ({"type": "unbinned", "entries": [[5]], "axes": [AXIS]}, "outside its axis"),
        ({"type": "unbinned", "entries": [[1, 2]], "axes": [AXIS]}, "entries/0"),
        ({"type": "unbinned", "entries": [[1]], "weights": []}, "weights: 0 numbers"),
        ({"type": "unbinned", "entries": [], "axes": [AXIS, AXIS]}, "one name"),
    ],
)
def test_faults_of_data(entries, message):
    with pytest.raises(SpecificationError, match=message):
        data(**entries)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["likelihoods"][0].update(data=[]), "1 distributions, but 0 data"),
        (lambda d: d["likelihoods"][0].update(data=["obs"]), "data/0.*'obs_SR'"),
        (lambda d: d["likelihoods"][0].update(distributions=["S"]), "no distribution"),
        (lambda d: d["analyses"][0].update(likelihood="M"), "no likelihood 'M'"),
        (lambda d: d["analyses"][0].update(init="Q"), "init.*no parameter point 'Q'"),
        (lambda d: d["analyses"][0].update(domains=["E"]), "no domain 'E'"),
        (lambda d: d["domains"][0].update(type="simplex"), "'simplex' is not read"),
        (
            lambda d: d["parameter_points"][0].update(parameters=[{"name": "mu"}]),
            "parameters/0: the entry 'value' is missing",
        ),
        (
            lambda d: d["parameter_points"][0].update(
                parameters=[{"name": "mu", "value": 1, "const": 1}]
            ),
            "const: expected true or false",
        ),
        (
            lambda d: d.update(likelihoods=3),
            "/likelihoods: expected a list, found the number 3",
        ),
    ],
)
def test_faults_of_references(change, message):
    made = copy.deepcopy(document(SR))
    change(made)
    with pytest.raises(EverwillowError, match=message):
        read_spec(made)


def test_the_document_is_not_changed():
    made = document(SR, ranges={"mu": (10, 0)})
    before = copy.deepcopy(made)
    read_spec(made)
    assert made == before
