"""Constraints of histfactory modifiers: where they are said, and what outranks what."""

import pytest

from everwillow.models.hs3 import read_spec
from tests.models.hs3.documents import (
    SIGNAL,
    channel,
    constraint,
    document,
    modifier,
    parameter,
    sample,
)


UNIT = ("normal", 0.0, 1.0)
NORM = {"lo": 0.9, "hi": 1.2}


def background(*modifiers, errors=None):
    return sample("background", [50.0, 40.0], *modifiers, errors=errors)


def stat(word=None, **entries):
    given = {} if word is None else {"constraint": word}
    return modifier("staterror", parameters=["g0", "g1"], **given, **entries)


def spec_of(*modifiers, errors=None, **entries):
    made = channel("SR", SIGNAL, background(*modifiers, errors=errors))
    return read_spec(document(made, **entries))


@pytest.mark.parametrize("word", ["Gauss", "gauss", "GAUSS", "gaussian"])
@pytest.mark.parametrize("key", ["constraint", "constraint_type"])
def test_types_of_constraints_under_either_key(key, word):
    """ROOT 6.36 and 6.40 write `constraint_type`."""
    shape = modifier(
        "shapesys", parameters=["g0", "g1"], data={"vals": [0.3, 0.25]}, **{key: word}
    )
    spec = read_spec(document(channel("SR", background(shape))), shapesys="relative")
    assert constraint(spec, "g0") == ("normal", 1.0, 0.3)
    assert constraint(spec, "g1") == ("normal", 1.0, 0.25)
    assert not any("No constraint" in s for s in spec.report)
    spec = spec_of(stat(**{key: word}), errors=[3.0, 2.0])
    assert constraint(spec, "g0") == ("normal", 1.0, pytest.approx(0.06))


def test_constant_gammas():
    shape = modifier(
        "shapesys",
        parameters=["g0", "g1"],
        data={"vals": [0.3, 0.25]},
        constraint_type="Const",
    )
    spec = spec_of(shape)
    assert parameter(spec, "g0").fixed
    assert constraint(spec, "g0") is None


@pytest.mark.parametrize("key", ["constraint", "constraint_type"])
@pytest.mark.parametrize("place", ["channel", "sample"])
def test_settings_of_staterrors_beside_them(key, place):
    """The modifier's own word outranks them; a sample's outranks the channel's."""
    settings = {"staterror": {key: "gauss", "relThreshold": 0.055}}
    other = {"staterror": {"constraint_type": "Poisson"}}
    for own, kind in ((None, "normal"), ("Poisson", "poisson")):
        one = background(stat(own), errors=[3.0, 2.0])
        one |= settings if place == "sample" else {}
        made = channel("SR", one, **(settings if place == "channel" else other))
        spec = read_spec(document(made))
        assert constraint(spec, "g0")[0] == kind
        assert parameter(spec, "g1").fixed
        assert not any("No constraint" in s for s in spec.report)


def test_several_entries_on_one_constraint():
    """A distribution that is there outranks a type, which outranks one that is not."""
    gauss = {"name": "g", "type": "gaussian_dist", "x": 0.5, "mean": "a", "sigma": 2.0}
    both = modifier("normsys", "a", data=NORM, constraint_type="Gauss")
    for name, wanted in (("g", ("normal", 0.5, 2.0)), ("aConstraint", UNIT)):
        made = channel("SR", background(both | {"constraint_name": name}))
        spec = read_spec(document(made, more=[gauss]))
        assert constraint(spec, "a") == wanted
    differing = modifier("normfactor", "k", constraint="Gauss", constraint_type="Const")
    assert any(
        "entries on the constraint differ" in s for s in spec_of(differing).report
    )


def test_samples_that_give_different_constraints_for_their_errors():
    made = channel(
        "SR",
        background(stat(), errors=[3.0, 2.0]),
        sample("b", [1.0, 1.0], stat("Gauss"), errors=[0.1, 0.1]),
        sample("c", [1.0, 1.0], stat("Poisson"), errors=[0.1, 0.1]),
    )
    spec = read_spec(document(made))
    assert constraint(spec, "g0")[0] == "normal"
    assert any("different constraints for 'g0', 'g1'" in s for s in spec.report)


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ((), "default_interpolatoin"),
        ((), "{odd}"),
        (("staterror",), "relTreshold"),
        (("samples", 0), "modifers"),
        (("samples", 0, "data"), "uncertainty"),
        (("samples", 0, "modifiers", 0), "constaint"),
        (("samples", 0, "modifiers", 0, "data"), "high"),
        (("samples", 0, "modifiers", 1, "data", "hi"), "error"),
        (("samples", 0, "modifiers", 2), "interpolation"),
        (("samples", 0, "modifiers", 2), "data"),
        (("samples", 0, "modifiers", 3, "data"), "values"),
    ],
)
def test_keys_that_nobody_reads_are_reported(place, key):
    """With the place where they stand; what is usual and means nothing is not."""
    shape = {"lo": {"contents": [48.0, 37.0]}, "hi": {"contents": [53.0, 44.0]}}
    modifiers = [
        modifier("normsys", "a", data=NORM, constraint="Gauss", tags=["x"]),
        modifier("histosys", "b", data=shape, interpolation="code0"),
        modifier("normfactor", "k", data=None),
        stat("Gauss", data={"errors": [3.0, 2.0]}),
    ]
    made = document(channel("SR", background(*modifiers), staterror={}))
    assert not any("no meaning" in s for s in read_spec(made).report)
    node = made["distributions"][0]
    for step in place:
        node = node[step]
    node[key] = 1.0
    (said,) = [s for s in read_spec(made).report if "no meaning" in s]
    assert repr(key) in said
    assert "/".join(map(str, ("/distributions/0", *place))) + "'" in said
    if key == "constaint":
        assert "Was it meant to be 'constraint" in said


@pytest.mark.parametrize("nominal", [0.0, -0.1])
def test_errors_that_are_dropped_are_named(nominal):
    """A staterror is about the sum of its samples, a shapesys about its sample."""
    shape = modifier("shapesys", parameters=["s0", "s1"], data={"vals": [0.5, 4.0]})
    one = sample("b", [nominal, 40.0], stat("Gauss"), shape, errors=[0.4, 2.0])
    spec = read_spec(document(channel("SR", SIGNAL, one)), shapesys="absolute")
    (said,) = [s for s in spec.report if "Errors are dropped" in s]
    assert "'bin 0 of SR', 'bin 0 of SR/b'" in said
    assert parameter(spec, "g0").fixed
    assert parameter(spec, "s0").fixed
    more = sample("c", [5.0, 5.0], stat("Gauss"), errors=[0.1, 0.1])
    spec = read_spec(document(channel("SR", SIGNAL, one, more)), shapesys="absolute")
    (said,) = [s for s in spec.report if "Errors are dropped" in s]
    assert "'bin 0 of SR/b'" in said
    assert "'bin 0 of SR'" not in said
