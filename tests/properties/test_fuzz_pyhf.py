"""Mutated workspaces are an error of ours, or a description that can be fitted.

Never another exception, never a hang, and never a likelihood that is not finite at the
start without a word in the report. Small valid workspaces are damaged in many ways:
keys removed, values of other types, absurd numbers, repeated entries, swapped names,
text that is cut or overwritten.
"""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from everwillow._errors import EverwillowError
from everwillow.models.histfactory import (
    PatchSet,
    apply_patches,
    combine,
    load_json,
    prune,
    rename,
    summary,
    to_pyhf,
    validate,
    workspace_spec,
)
from tests.models.histfactory.evaluation import element, sample_rate
from tests.models.histfactory.workspaces import SMALL, other


NAMES = ("mu", "lumi", "jes", "stat_SR", "free", "theory", "SR", "CR", "top", "x")
TYPES = (
    "normfactor",
    "normsys",
    "histosys",
    "shapesys",
    "shapefactor",
    "staterror",
    "lumi",
)
numbers = st.sampled_from(
    [
        *(0, -0.0, 1, 2.5, -1.0, -50.0, 1e-320, 1e-101, 1e15, 1e99, 1e101, 1e308),
        *(10**400, math.inf, -math.inf, math.nan),
    ]
)
junk = st.one_of(
    numbers,
    st.none(),
    st.booleans(),
    st.sampled_from([*NAMES, *TYPES, "", "1.0", "/", "é\ud800", "1.0.0"]),
    st.sampled_from(
        [[], {}, [[]], [1.0], [1.0, 2.0], [1.0, 2.0, 3.0], [None], "a" * 99]
    ),
    st.sampled_from(
        [{"lo": 0.9, "hi": 1.1}, {"name": "mu"}, {"hi_data": [1], "lo": 2}]
    ),
    st.recursive(
        st.integers(), lambda inner: st.lists(inner, max_size=2), max_leaves=4
    ),
)


def places(document, path=()):
    """All paths into a document."""
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from places(value, (*path, index))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def copy_of(document):
    """The same as a tree, in which no two places are one object."""
    return json.loads(json.dumps(document))


@st.composite
def damaged(draw):
    """A workspace after some damage."""
    document = copy_of(SMALL[draw(st.sampled_from(sorted(SMALL)))]())
    for _ in range(draw(st.integers(1, 3))):
        paths = list(places(document))[1:]
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        parent, key = at(document, path[:-1]), path[-1]
        action = draw(st.sampled_from(["put", "put", "remove", "repeat", "swap"]))
        if action == "put":
            # It may be damaged next, so each place gets its own.
            parent[key] = copy.deepcopy(draw(junk))
        elif action == "remove":
            del parent[key]
        elif action == "repeat" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif action == "swap":
            twin = draw(st.sampled_from(paths))
            # Not into itself: documents are trees.
            if twin[: len(path)] != path and path[: len(twin)] != twin:
                parent[key] = copy.deepcopy(at(document, twin))
    return document


def check_spec(spec):
    """A description whose numbers and names a model can use."""
    parameters = {p.name: p for p in spec.parameters}
    assert len(parameters) == len(spec.parameters)
    for p in parameters.values():
        start, lower, upper = map(np.asarray, (p.start, p.lower, p.upper))
        assert start.shape == lower.shape == upper.shape
        assert np.shape(p.fixed) in ((), start.shape)
        assert np.isfinite(start).all()
        assert (lower < upper).all()
        assert ((lower <= start) & (start <= upper)).all()
        if p.constraint:
            assert (np.asarray(p.constraint.width) > 0).all()
            assert np.isfinite([p.constraint.width, p.constraint.aux]).all()
    assert spec.poi is None or np.size(parameters[spec.poi].start) == 1
    values = {name: p.start for name, p in parameters.items()}
    plain = all(
        p.start == 0
        for p in parameters.values()
        if np.ndim(p.start) == 0 and p.lower < 0
    )
    for channel in spec.channels:
        assert len({s.name for s in channel.samples}) == len(channel.samples)
        assert (channel.observed >= 0).all()
        for s in channel.samples:
            assert s.nominal.shape == channel.observed.shape
            assert np.isfinite(s.nominal).all()
            for effect in s.effects:
                check_effect(effect, s, parameters, values)
        rate = sum(sample_rate(spec, s, values) for s in channel.samples)
        assert np.isfinite(rate).all()
        bad = (rate < 0) | ((rate == 0) & (channel.observed > 0))
        if plain and bad.any():
            assert "likelihood vanishes" in " ".join(spec.report)


def check_effect(effect, sample, parameters, values):
    kind = type(effect).__name__
    if kind == "BinScale":
        if isinstance(effect.parameters, str):
            assert len(values[effect.parameters]) == len(sample.nominal)
        else:
            assert len(effect.parameters) == len(sample.nominal)
            for label in effect.parameters:
                assert np.ndim(element(label, values)) == 0
        return
    assert np.ndim(parameters[effect.parameter].start) == 0
    if kind == "NormVariation":
        assert 0 < effect.down < math.inf
        assert 0 < effect.up < math.inf
    elif kind == "ShapeVariation":
        assert effect.down.shape == effect.up.shape == sample.nominal.shape
        assert np.isfinite([effect.down, effect.up]).all()


def check_workspace(document):
    before = repr(document)
    try:
        spec = workspace_spec(document)
    except EverwillowError:
        # A measurement that is not used may be at fault, too.
        with pytest.raises(EverwillowError):
            validate(document)
    else:
        check_spec(spec)
        check_written(spec)
        str(summary(document))
    assert repr(document) == before


def check_written(spec):
    """What can be written says the same when it is read again."""
    try:
        made = to_pyhf(spec)
    except EverwillowError:
        return
    read = workspace_spec(json.loads(json.dumps(made)))
    assert [p.name for p in read.parameters] == [p.name for p in spec.parameters]
    for one, another in zip(read.parameters, spec.parameters, strict=True):
        np.testing.assert_array_equal(one.start, another.start)
        np.testing.assert_array_equal(one.fixed, another.fixed)


def check_text(text):
    try:
        document = load_json(text)
    except EverwillowError:
        return
    check_workspace(document)


@given(document=damaged())
def test_damaged_workspaces(document):
    check_workspace(document)


@pytest.mark.slow
@settings(max_examples=5000)
@given(document=damaged())
def test_many_damaged_workspaces(document):
    check_workspace(document)


@st.composite
def overwritten(draw):
    """The text of a workspace, cut or with some characters replaced."""
    text = json.dumps(SMALL[draw(st.sampled_from(sorted(SMALL)))]())
    for _ in range(draw(st.integers(0, 3))):
        index = draw(st.integers(0, len(text) - 1))
        character = draw(st.sampled_from('{}[]",:0-.eE9ntf \\\n\0é<'))
        text = text[:index] + character + text[index + 1 :]
    return text[: draw(st.integers(1, len(text)))] if draw(st.booleans()) else text


@given(text=overwritten())
def test_overwritten_text(text):
    if text.strip():
        check_text(text)


@pytest.mark.slow
@settings(max_examples=5000)
@given(text=overwritten())
def test_much_overwritten_text(text):
    if text.strip():
        check_text(text)


@given(content=st.binary(max_size=50))
def test_bytes(content):
    with pytest.raises(EverwillowError):
        workspace_spec(content)


@st.composite
def operations(draw):
    """A JSON patch with places that may or may not be there."""
    paths = ["/" + "/".join(map(str, path)) for path in places(SMALL["every_type"]())]
    near = st.sampled_from(
        [*paths, "", "/channels/-", "/channels/9", "/x/y", "x", None]
    )
    return draw(
        st.lists(
            st.fixed_dictionaries(
                {"op": st.sampled_from(["add", "remove", "replace", "move", "copy"])},
                optional={"path": near, "from": near, "value": junk},
            ),
            max_size=3,
        )
    )


@given(patch=operations())
def test_patches(patch):
    document, before = SMALL["every_type"](), repr(patch)
    try:
        made = apply_patches(document, patch)
    except EverwillowError:
        made = None
    assert document == SMALL["every_type"]()
    assert repr(patch) == before
    if made is not None:
        check_workspace(made)


@given(document=damaged(), name=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
def test_operations_on_damaged_workspaces(document, name, new):
    for operation in (
        lambda: prune(document, channels=[name]),
        lambda: prune(document, modifiers=[name]),
        lambda: rename(document, modifiers={name: new}),
        lambda: rename(document, samples={name: new}, channels={name: new}),
        lambda: combine(document, other(), join="outer"),
        lambda: combine(other(), document, join="right outer", merge_channels=True),
    ):
        try:
            made = operation()
        except EverwillowError:
            continue
        check_workspace(made)


@given(document=damaged(), value=junk)
def test_damaged_patch_sets(document, value):
    patch = {
        "metadata": {"name": "a", "values": [value]},
        "patch": [{"op": "add", "path": "/a", "value": document}],
    }
    metadata = {
        "references": {"hepdata": "ins1"},
        "digests": {"md5": "0"},
        "labels": ["mass"],
        "description": "x",
    }
    made = {"metadata": metadata, "patches": [patch], "version": "1.0.0"}
    for source in (made, document, {**made, "patches": document}):
        try:
            found = PatchSet(source)
        except EverwillowError:
            continue
        assert found["a"] is found.patches[0]
