"""Operations on workspaces give what pyhf 0.7.6 gives, and leave their inputs alone."""

import json

import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.models.histfactory import (
    combine,
    digest,
    prune,
    rename,
    sorted_workspace,
    summary,
    workspace_spec,
)
from tests.models.histfactory.workspaces import (
    DATA,
    PUBLISHED,
    REFERENCE,
    SMALL,
    every_type,
    other,
    overlapping,
    tiny,
)


REFERENCES = json.loads(REFERENCE.read_text())
OPERATIONS = {
    "prune": lambda: prune(
        every_type(), channels=["CR"], samples=["fakes"], modifiers=["mu_top", "jes"]
    ),
    "prune types": lambda: prune(
        every_type(), modifier_types=["staterror", "shapesys"]
    ),
    "rename": lambda: rename(
        every_type(),
        channels={"SR": "signal region"},
        samples={"top": "ttbar"},
        modifiers={"mu": "strength", "theory": "scale"},
        measurements={"meas": "m"},
    ),
    "correlate": lambda: rename(every_type(), modifiers={"theory": "jes"}),
    "sorted": lambda: sorted_workspace(every_type()),
    "combine none": lambda: combine(
        rename(tiny(), measurements={"meas": "first"}), other()
    ),
    "combine outer": lambda: combine(tiny(), other(), join="outer"),
    "combine left outer": lambda: combine(tiny(), overlapping(), join="left outer"),
    "combine right outer": lambda: combine(tiny(), overlapping(), join="right outer"),
    "combine merged": lambda: combine(
        tiny(), overlapping(), join="outer", merge_channels=True
    ),
    "combine merged right": lambda: combine(
        tiny(), overlapping(), join="right outer", merge_channels=True
    ),
}


@pytest.mark.parametrize("name", REFERENCES["operations"])
def test_operations_are_those_of_pyhf(name):
    assert OPERATIONS[name]() == REFERENCES["operations"][name]


@pytest.mark.parametrize("name", [*SMALL, *PUBLISHED])
def test_digests_are_those_of_pyhf(name):
    expected = REFERENCES["models"][name]["digest"]
    document = SMALL[name]() if name in SMALL else DATA / f"{name}.json"
    assert digest(document) == expected["sha256"]
    assert digest(document, algorithm="md5") == expected["md5"]


def test_digest_of_other_things():
    with pytest.raises(ArgumentValueError, match="Did you mean 'sha256'"):
        digest(tiny(), algorithm="sha-256")
    with pytest.raises(ArgumentValueError, match="shake"):
        digest(tiny(), algorithm="shake_128")
    with pytest.raises(ArgumentValueError, match="JSON does not know"):
        digest({"a": {1, 2}})


@pytest.mark.parametrize(
    "change",
    [
        lambda w: prune(w, samples=["fakes"]),
        lambda w: rename(w, channels={"SR": "x"}),
        sorted_workspace,
        lambda w: combine(w, other(), join="outer"),
    ],
)
def test_inputs_are_unchanged_and_share_nothing_with_results(change):
    given = every_type()
    made = change(given)
    assert given == every_type()
    for channel in made["channels"]:
        for sample in channel["samples"]:
            sample["data"][:] = [0.0]
            sample["modifiers"].clear()
    made["observations"][0]["data"][:] = [0.0]
    made["measurements"][0]["config"]["parameters"].clear()
    assert given == every_type()


def test_renaming_back_and_pruning_what_was_added_are_identities():
    there = rename(every_type(), modifiers={"mu": "x"}, samples={"top": "y"})
    assert rename(there, modifiers={"x": "mu"}, samples={"y": "top"}) == every_type()
    both = combine(every_type(), other(), join="left outer")
    assert prune(both, channels=["VR"])["channels"] == every_type()["channels"]


def test_order_does_not_matter_after_sorting():
    given = every_type()
    given["channels"].reverse()
    given["channels"][0]["samples"].reverse()
    assert digest(given) != digest(every_type())
    assert digest(sorted_workspace(given)) == digest(sorted_workspace(every_type()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: prune(w, channels=["SRR"]), "prune: .*channel 'SRR'.*'SR'"),
        (lambda w: prune(w, samples=["Top"]), "sample 'Top'.*'top'"),
        (lambda w: prune(w, modifiers=["thory"]), "modifier 'thory'.*'theory'"),
        (lambda w: prune(w, modifier_types=["staterr"]), "type 'staterr'.*'staterror'"),
        (lambda w: prune(w, measurements=["mea"]), "measurement 'mea'.*'meas'"),
        (lambda w: rename(w, modifiers={"m": "n"}), "rename: .*modifier 'm'"),
    ],
)
def test_unknown_names(change, words):
    with pytest.raises(UnknownKeyError, match=words):
        change(every_type())


def test_results_have_to_be_workspaces():
    with pytest.raises(SpecificationError, match="at least one channel"):
        prune(tiny(), channels=["SR"])
    with pytest.raises(SpecificationError, match="at least one sample"):
        prune(tiny(), samples=["signal", "bkg"])
    with pytest.raises(SpecificationError, match="a second observation 'CR'"):
        rename(every_type(), channels={"SR": "CR"})
    with pytest.raises(SpecificationError, match="a second sample 'top'"):
        rename(every_type(), samples={"signal": "top"})


def test_names_are_lists():
    with pytest.raises(ArgumentTypeError, match="channels: expected a list of names"):
        prune(tiny(), channels="SR")


@pytest.mark.parametrize(
    ("right", "options", "error", "words"),
    [
        (tiny, {}, ConflictError, "channels of the names 'SR'"),
        (other, {}, ConflictError, "measurements of the names 'meas'"),
        (overlapping, {"join": "outer"}, ConflictError, "that differ of the names"),
        (other, {"join": "outr"}, ArgumentValueError, "Did you mean 'outer'"),
        (other, {"merge_channels": True}, ArgumentValueError, "needs a join"),
    ],
)
def test_what_cannot_be_combined(right, options, error, words):
    with pytest.raises(error, match=words):
        combine(tiny(), right(), **options)


def test_measurements_that_disagree_cannot_be_combined():
    left, right = tiny(), other()
    right["measurements"][0]["config"]["poi"] = "xs"
    with pytest.raises(ConflictError, match="POI 'mu' in one workspace and 'xs'"):
        combine(left, right, join="outer")
    right = other()
    left["measurements"][0]["config"]["parameters"] = [{"name": "xs", "fixed": True}]
    with pytest.raises(ConflictError, match="different things of parameter 'xs'"):
        combine(left, right, join="outer")


def test_faults_name_the_side():
    with pytest.raises(SpecificationError, match=r"^right#/version"):
        combine(tiny(), {**other(), "version": "2"})


def test_combining_adds_channels_and_shares_parameters():
    spec = workspace_spec(combine(tiny(), other(), join="outer"))
    assert [c.name for c in spec.channels] == ["SR", "VR"]
    assert [p.name for p in spec.parameters] == ["mu", "xs"]
    assert spec.parameters[1].upper == 4.0


def test_summary_lists_what_is_there():
    found = summary(every_type())
    assert found.channels == (("CR", 2), ("SR", 3))
    assert found.samples == ("data_driven", "fakes", "signal", "top")
    parameters = {p.name: p for p in found.parameters}
    assert sorted(parameters) == [p.name for p in found.parameters]
    assert parameters["jes"].types == ("histosys", "normsys")
    assert (parameters["fake_rate"].constraint, parameters["fake_rate"].size) == (
        "poisson",
        3,
    )
    (measurement,) = found.measurements
    assert (measurement.name, measurement.poi) == ("meas", "mu")
    lines = str(found).splitlines()
    assert lines[0].startswith("2 channels with 5 bins, 4 samples, 9 parameters")
    assert "jes        1     normal      histosys, normsys" in lines


def test_summary_constraints_are_those_of_the_parameters():
    kinds = {p.name: p.constraint for p in summary(every_type()).parameters}
    for parameter in workspace_spec(every_type()).parameters:
        constraint = parameter.constraint
        assert kinds[parameter.name] == (constraint.kind if constraint else "none")
