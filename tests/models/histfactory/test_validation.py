"""Whatever is wrong with a workspace is an error with its place, or a note.

Each case is a change to a small valid workspace, the JSON pointer that the message has
to have, and words in it: what was expected, what was found, how to mend it.
"""

import copy
import json
import math

import numpy as np
import pytest

from everwillow._errors import EverwillowError, SpecificationError
from everwillow.models.histfactory import validate, workspace_spec
from tests.models.histfactory.workspaces import every_type, modifier, sample, tiny


REMOVE = object()


def at(document, *path):
    for key in path:
        document = document[key]
    return document


def put(*path, value):
    """A change that puts a value to a place, or removes what is there."""

    def change(document):
        parent = at(document, *path[:-1])
        if value is REMOVE:
            del parent[path[-1]]
        elif isinstance(parent, list) and path[-1] == len(parent):
            parent.append(value)
        else:
            parent[path[-1]] = value

    return change


SR = ("channels", 0, "samples")
TOP, SIGNAL, FAKES = (*SR, 0), (*SR, 1), (*SR, 2)
SETTINGS = ("measurements", 0, "config", "parameters")

# Name to (change of `every_type`, pointer, words in the message).
STRUCTURE = {
    "no version": (put("version", value=REMOVE), "", ["key 'version'", "Add it"]),
    "other version": (put("version", value="2.0.0"), "/version", ["'1.0.0'", "2.0.0"]),
    "number as version": (put("version", value=1.0), "/version", ["'1.0.0'", "1.0"]),
    "unknown key": (put("extra", value=1), "", ["unknown key 'extra'", "Remove"]),
    "no channels": (put("channels", value=[]), "/channels", ["empty list"]),
    "channels as object": (put("channels", value={}), "/channels", ["empty object"]),
    "channel as string": (
        put("channels", 1, value="CR"),
        "/channels/1",
        ["an object with the keys 'name', 'samples'", "the string 'CR'"],
    ),
    "misspelled key": (
        put("channels", 0, value={"name": "SR", "sampels": []}),
        "/channels/0",
        ["key 'samples'", "Is it called 'sampels'"],
    ),
    "no samples": (put(*SR, value=[]), "/channels/0/samples", ["at least one sample"]),
    "empty name": (
        put("channels", 0, "name", value=""),
        "/channels/0/name",
        ["a name"],
    ),
    "number as name": (put(*TOP, "name", value=3), "/channels/0/samples/0/name", ["3"]),
    "data as number": (
        put(*TOP, "data", value=50.0),
        "/channels/0/samples/0/data",
        ["a list of numbers", "the number 50.0"],
    ),
    "empty data": (
        put(*TOP, "data", value=[]),
        "/channels/0/samples/0/data",
        ["empty"],
    ),
    "modifiers as object": (
        put(*TOP, "modifiers", value={}),
        "/channels/0/samples/0/modifiers",
        ["a list of modifiers"],
    ),
    "unknown type": (
        put(*TOP, "modifiers", 0, "type", value="normsis"),
        "/channels/0/samples/0/modifiers/0/type",
        ["'normsis'", "Did you mean 'normsys'", "shapefactor"],
    ),
    "type as list": (
        put(*TOP, "modifiers", 0, "type", value=["normsys"]),
        "/channels/0/samples/0/modifiers/0/type",
        ["a list of 1"],
    ),
    "modifier without data": (
        put(*TOP, "modifiers", 3, "data", value=REMOVE),
        "/channels/0/samples/0/modifiers/3",
        ["key 'data'"],
    ),
    "normfactor with data": (
        put(*SIGNAL, "modifiers", 0, "data", value=1.0),
        "/channels/0/samples/1/modifiers/0/data",
        ["null", "1.0"],
    ),
    "normsys without hi": (
        put(*TOP, "modifiers", 0, "data", "hi", value=REMOVE),
        "/channels/0/samples/0/modifiers/0/data",
        ["key 'hi'"],
    ),
    "string as factor": (
        put(*TOP, "modifiers", 0, "data", "hi", value="1.05"),
        "/channels/0/samples/0/modifiers/0/data/hi",
        ["a number", "'1.05'", "without quotes"],
    ),
    "infinite factor": (
        put(*TOP, "modifiers", 0, "data", "lo", value=math.inf),
        "/channels/0/samples/0/modifiers/0/data/lo",
        ["finite", "inf"],
    ),
    "staterror with object": (
        put(*TOP, "modifiers", 2, "data", value={"data": [1.0]}),
        "/channels/0/samples/0/modifiers/2/data",
        ["a list of numbers"],
    ),
}

NUMBERS = {
    "string as yield": (
        put(*TOP, "data", 1, value="60"),
        "/channels/0/samples/0/data/1",
        ["a number", "'60'", "without quotes"],
    ),
    "bool as yield": (
        put(*TOP, "data", 2, value=True),
        "/channels/0/samples/0/data/2",
        ["found true"],
    ),
    "null as yield": (
        put(*TOP, "data", 0, value=None),
        "/channels/0/samples/0/data/0",
        ["found null"],
    ),
    "NaN as template": (
        put(*TOP, "modifiers", 1, "data", "hi_data", 2, value=math.nan),
        "/channels/0/samples/0/modifiers/1/data/hi_data/2",
        ["a finite number of size 1e+100 at most", "nan"],
    ),
    "huge integer": (
        put(*FAKES, "data", 0, value=10**400),
        "/channels/0/samples/2/data/0",
        ["a finite number"],
    ),
    "huge integer of many digits": (
        put(*FAKES, "data", 0, value=10**1000),
        "/channels/0/samples/2/data/0",
        ["hundreds of digits"],
    ),
    "negative count": (
        put("observations", 0, "data", 1, value=-3.0),
        "/observations/0/data/1",
        ["not negative", "-3.0"],
    ),
    "infinite count": (
        put("observations", 1, "data", 0, value=math.inf),
        "/observations/1/data/0",
        ["a finite number"],
    ),
    "nothing expected": (
        put(*SR, value=[sample("top", [50.0, 60.0, 0.0])]),
        "/channels/0/samples",
        ["bin 2 of channel 'SR'", "15 events are observed"],
    ),
    "tiny error": (
        put(*FAKES, "modifiers", 0, "data", 0, value=1e-200),
        "/channels/0/samples/2/modifiers/0/data/0",
        ["1e-200 of 3.0", "Write 0"],
    ),
    "normsys of zero": (
        put(*TOP, "modifiers", 0, "data", "lo", value=0),
        "/channels/0/samples/0/modifiers/0/data/lo",
        ["a positive factor", "prune the modifier", "code4p"],
    ),
}

LENGTHS = {
    "sample": (
        put(*SIGNAL, "data", value=[5.0, 9.0]),
        "/channels/0/samples/1/data",
        ["3 numbers", "channel 'SR'", "found 2"],
    ),
    # Not its modifiers, nor all that follows, is at fault.
    "first sample": (
        put(*TOP, "data", 3, value=1.0),
        "/channels/0/samples/0/data",
        ["3 numbers, as most lists of channel 'SR' have", "found 4"],
    ),
    "template": (
        put(*TOP, "modifiers", 1, "data", "lo_data", value=[48.0]),
        "/channels/0/samples/0/modifiers/1/data/lo_data",
        ["3 numbers", "found 1"],
    ),
    "staterror": (
        put(*FAKES, "modifiers", 1, "data", value=[0.5] * 4),
        "/channels/0/samples/2/modifiers/1/data",
        ["3 numbers", "found 4"],
    ),
    "observation": (
        put("observations", 0, "data", value=[60.0, 71.0]),
        "/observations/0/data",
        ["3 numbers", "channel 'SR'", "found 2"],
    ),
    "no observation": (
        put("observations", 1, "name", value="CRR"),
        "/observations",
        ["channel 'CR'", "Did you mean 'CRR'"],
    ),
}

NAMES = {
    "channel": (
        put("channels", 1, "name", value="SR"),
        "/channels/1/name",
        ["a second channel 'SR'", "entry 0"],
    ),
    "sample": (
        put(*SIGNAL, "name", value="top"),
        "/channels/0/samples/1/name",
        ["a second sample 'top'"],
    ),
    "observation": (
        put("observations", 1, "name", value="SR"),
        "/observations/1/name",
        ["a second observation 'SR'"],
    ),
    "measurement": (
        put("measurements", 1, value={"name": "meas", "config": None}),
        "/measurements/1/config",
        ["found null"],
    ),
    "modifier": (
        put(*TOP, "modifiers", 4, value=modifier("stat_SR", "staterror", [1, 2, 3])),
        "/channels/0/samples/0/modifiers/4",
        ["a second staterror 'stat_SR'", "entry 2"],
    ),
    "parameter": (
        put(*SETTINGS, 1, "name", value="lumi"),
        "/measurements/0/config/parameters/1/name",
        ["a second entry for parameter 'lumi'"],
    ),
    "poi": (
        put("measurements", 0, "config", "poi", value="mue"),
        "/measurements/0/config/poi",
        ["'mue'", "Did you mean 'mu'", "empty string"],
    ),
    "poi as list": (
        put("measurements", 0, "config", "poi", value=["mu"]),
        "/measurements/0/config/poi",
        ["the name of a parameter"],
    ),
    "array as poi": (
        put("measurements", 0, "config", "poi", value="stat_SR"),
        "/measurements/0/config/poi",
        ["an array of 3"],
    ),
    "types that share nothing": (
        put(*SIGNAL, "modifiers", 0, "name", value="theory"),
        "/channels/0/samples/0/modifiers/0/type",
        ["normfactor", "sample 'signal' of channel 'SR'", "Rename"],
    ),
    "lumi of another name": (
        put(*SIGNAL, "modifiers", 1, "name", value="Lumi"),
        "/channels/0/samples/1/modifiers/1/name",
        ["'lumi'", "'Lumi'"],
    ),
    "shapesys twice": (
        put(*SIGNAL, "modifiers", 1, value=modifier("fake_rate", "shapesys", [1] * 3)),
        "/channels/0/samples/1/modifiers/1/name",
        ["one sample only", "a name of its own"],
    ),
    "staterror of different samples": (
        put("channels", 1, "samples", 0, "modifiers", 2, "name", value="stat_SR"),
        "/channels/0/samples/2/modifiers/1",
        ["in the same channels", "name of its own"],
    ),
    "shapefactor of more bins": (
        put(*FAKES, "modifiers", 2, value=modifier("free", "shapefactor")),
        "/channels/0/samples/2/modifiers/2",
        ["2 bins", "3 in channel 'SR'"],
    ),
}

MEASUREMENTS = {
    "none": (put("measurements", value=[]), "/measurements", ["empty list"]),
    "no lumi": (
        put(*SETTINGS, 0, value=REMOVE),
        "/measurements",
        ["auxdata and sigmas of the luminosity", '"sigmas": [0.02]'],
    ),
    "lumi without sigmas": (
        put(*SETTINGS, 0, "sigmas", value=REMOVE),
        "/measurements/0/config/parameters/0",
        ["sigmas of the luminosity"],
    ),
    "zero width": (
        put(*SETTINGS, 0, "sigmas", value=[0.0]),
        "/measurements/0/config/parameters/0/sigmas/0",
        ["a positive number", '"fixed": true'],
    ),
    "number as inits": (
        put(*SETTINGS, 1, "inits", value=0.7),
        "/measurements/0/config/parameters/1/inits",
        ["a list of at least one number"],
    ),
    "two inits": (
        put(*SETTINGS, 1, "inits", value=[0.7, 0.8]),
        "/measurements/0/config/parameters/1/inits",
        ["1 entry, one for each element of 'mu'", "found 2"],
    ),
    "NaN as bound": (
        put(*SETTINGS, 1, "bounds", 0, 0, value=math.nan),
        "/measurements/0/config/parameters/1/bounds/0/0",
        ["a number"],
    ),
    "one bound": (
        put(*SETTINGS, 1, "bounds", 0, value=[1.0]),
        "/measurements/0/config/parameters/1/bounds/0",
        ["a lower and an upper bound", "1 number"],
    ),
    "bounds in wrong order": (
        put(*SETTINGS, 1, "bounds", 0, value=[3.0, 1.0]),
        "/measurements/0/config/parameters/1/bounds/0",
        ["below the upper bound", "3.0 and 1.0"],
    ),
    "fixed as number": (
        put(*SETTINGS, 4, "fixed", value=1),
        "/measurements/0/config/parameters/4/fixed",
        ["true or false", "found the number 1"],
    ),
    "sigmas of a normsys": (
        put(*SETTINGS, 2, "sigmas", value=[2.0]),
        "/measurements/0/config/parameters/2/sigmas",
        ["only inits, bounds, fixed, auxdata", "the key 'sigmas'"],
    ),
    "negative auxiliary count": (
        put(*SETTINGS, 4, "auxdata", value=[1.0, -1.0, 1.0]),
        "/measurements/0/config/parameters/4/auxdata/1",
        ["not negative"],
    ),
    "unknown key": (
        put(*SETTINGS, 1, "init", value=[1.0]),
        "/measurements/0/config/parameters/1",
        ["unknown key 'init'", "Did you mean 'inits'"],
    ),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in {
        "structure": STRUCTURE,
        "numbers": NUMBERS,
        "lengths": LENGTHS,
        "names": NAMES,
        "measurements": MEASUREMENTS,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize(("change", "pointer", "words"), CASES.values(), ids=CASES)
def test_faults_are_errors_with_their_place(change, pointer, words):
    document = every_type()
    change(document)
    given = copy.deepcopy(document)
    for read in (validate, workspace_spec):
        with pytest.raises(SpecificationError) as caught:
            read(document)
        message = str(caught.value)
        assert caught.value.pointer == pointer
        assert message.startswith(f"{pointer or 'the document'}: expected ")
        for word in words:
            assert word in message
        assert len(message) < 700
    assert isinstance(caught.value, ValueError)
    # NaN is not equal to itself; its text is.
    assert repr(document) == repr(given)


def test_pointers_are_escaped():
    document = tiny()
    document["measurements"][0]["config"]["parameters"] = [{"name": "mu"}]
    with pytest.raises(SpecificationError) as caught:
        workspace_spec(document, parameters={"a/b~c": {"fixed": 1}})
    assert caught.value.pointer == "/parameters/a~1b~0c/fixed"


def test_file_is_named(tmp_path):
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({**tiny(), "version": "3"}))
    with pytest.raises(SpecificationError, match=r"bad\.json#/version: ") as caught:
        workspace_spec(file)
    assert caught.value.pointer == "/version"


def test_objects_that_json_does_not_know_are_faults():
    class Strange:
        def __repr__(self):
            raise RuntimeError

    for value in (Strange(), {1, 2}, np.zeros((2, 2)), np.array(["a"]), 1j, object):
        for path in (("channels",), (*TOP, "data"), (*TOP, "modifiers", 0, "data")):
            document = every_type()
            put(*path, value=value)(document)
            with pytest.raises(EverwillowError):
                validate(document)


def test_numbers_of_measurements_are_checked_in_all_of_them():
    document = tiny()
    config = {"poi": "nobody", "parameters": []}
    document["measurements"].append({"name": "second", "config": config})
    workspace_spec(document)
    with pytest.raises(SpecificationError) as caught:
        validate(document)
    assert caught.value.pointer == "/measurements/1/config/poi"


def test_notes_of_a_valid_workspace():
    assert validate(tiny()) == ()
    document = tiny()
    document["measurements"][0]["config"]["parameters"] = [{"name": "nobody"}]
    (note,) = validate(document)
    assert note.startswith("In measurement 'meas': ")


def test_errors_that_are_dropped_are_named():
    """As pyhf drops them: of a shapesys by sample, of a staterror by channel."""

    def made(nominal, error):
        modifiers = [
            {"name": "stat", "type": "staterror", "data": error},
            {"name": "shape", "type": "shapesys", "data": error},
        ]
        document = tiny()
        (channel,) = document["channels"]
        bins = len(channel["samples"][0]["data"])
        full = [1.0] * (bins - 1)
        channel["samples"].append(
            {"name": "b", "data": [nominal, *full], "modifiers": modifiers}
        )
        modifiers[0]["data"] = modifiers[1]["data"] = [error, *[0.5] * (bins - 1)]
        return document

    assert validate(made(1.0, 0.5)) == ()
    assert validate(made(0.0, 0.0)) == ()
    for nominal in (0.0, -0.5):
        notes = validate(made(nominal, 0.5))
        shape = [note for note in notes if "shapesys 'shape'" in note]
        stat = [note for note in notes if "staterror 'stat'" in note]
        assert len(shape) == len(stat) == 1
        assert "dropped" in shape[0]
        assert "bin 0 of sample 'b'" in shape[0]
        assert "bin 0 of channel" in stat[0]
        report = workspace_spec(made(nominal, 0.5)).report
        assert {*shape, *stat} <= set(report)
