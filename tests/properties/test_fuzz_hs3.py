"""Damaged HS3 documents: a clear error or a likelihood with a value, nothing else."""

import contextlib
import copy
import json
import math

import pytest
from hypothesis import given, settings, strategies as st

from everwillow._errors import EverwillowError
from everwillow.models.hs3 import WorkspaceInterpreter, hs3_to_pyhf, load, read_spec
from tests.models.hs3 import closed_form
from tests.models.hs3.documents import (
    MU,
    channel,
    document,
    modifier,
    sample,
    stored,
)


def everything():
    """A document with every modifier, a function and auxiliary distributions."""
    norm = modifier("normsys", "a", data={"lo": 0.9, "hi": 1.2, "interpolation": "log"})
    shape = modifier(
        "histosys",
        "a",
        data={"lo": {"contents": [48.0, 37.0]}, "hi": {"contents": [53.0, 44.0]}},
    )
    stat = modifier("staterror", parameters=["g", "h"], constraints=["Gauss", "Const"])
    vals = modifier("shapesys", parameters=["p", "q"], data={"vals": [5.0, 4.0]})
    free = modifier("shapefactor", "s")
    lumi = modifier("normfactor", "l", constraint="c", name="lumi")
    more = [
        {"name": "c", "type": "gaussian_dist", "x": "n", "mean": "l", "sigma": 0.02},
        {"name": "d", "type": "poisson_dist", "x": "m", "mean": "tau"},
    ]
    functions = [
        {"name": "f", "type": "generic_function", "expression": "mu * l"},
        {"name": "tau", "type": "product", "factors": ["s_0", 10]},
    ]
    return document(
        channel(
            "SR",
            sample("signal", [5.0, 6.0], modifier("normfactor", "f"), stat)
            | {"data": {"contents": [5.0, 6.0], "errors": [1.0, 0.5]}},
            sample("b", [50.0, 40.0], norm, shape, vals, lumi),
            sample("c", [9.0, 8.0], free, MU),
            axes=[{"name": "x", "min": 0, "max": 2, "nbins": 2}],
        ),
        more=more,
        functions=functions,
        points={"mu": 1.0, "n": (1.0,), "m": (10.0,), "a": 0.0, "s_0": 1.0, "s_1": 1.0},
        ranges={"mu": (-1, 5), "a": (-5, 5), "g": (0, None)},
        likelihood={"aux_distributions": ["d"]},
    )


DOCUMENTS = [
    everything(),
    stored("root_simplemodel_uncorrelated"),
    stored("quickstart_2bin"),
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.0, -1.0, 1e-300, 1e300, math.nan, math.inf, 10**400, 5e-324]),
    st.sampled_from(["", "mu", "a", "f", "SR", "D", "c", "Gauss", "1", "mu +", "\x00"]),
    st.sampled_from([[], {}, [1], [[]], ["mu"], {"name": "mu"}, [None], [{"x": 1}]]),
)


def places(value, path=()):
    """Every place in a document, its root left out."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


PLACES = [list(places(one)) for one in DOCUMENTS]


@st.composite
def damaged(draw):
    which = draw(st.integers(0, len(DOCUMENTS) - 1))
    made = copy.deepcopy(DOCUMENTS[which])
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PLACES[which]))
        try:
            holder = made
            for key in path[:-1]:
                holder = holder[key]
            old = holder[path[-1]]
        except (LookupError, TypeError):
            continue  # an earlier change removed the place
        if isinstance(holder, str):
            continue
        match draw(st.integers(0, 5)):
            case 0:
                del holder[path[-1]]
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(old))
            case 2 if isinstance(old, list):
                holder[path[-1]] = old[: len(old) // 2]
            case 3:
                other = draw(st.sampled_from(PLACES[which]))
                donor = DOCUMENTS[which]
                for key in other:
                    donor = donor[key]
                holder[path[-1]] = copy.deepcopy(donor)
            case 4 if isinstance(old, int | float) and not isinstance(old, bool):
                holder[path[-1]] = draw(st.floats(-1e3, 1e3))
            case _:
                holder[path[-1]] = draw(VALUES)
    return made


def has_a_value(spec):
    """Whether -ln L is a number at the start values."""
    try:
        return math.isfinite(closed_form.nll(spec, {}))
    except (ValueError, OverflowError, ZeroDivisionError):
        return False


@settings(max_examples=400)
@given(damaged())
def test_damaged_documents(made):
    try:
        spec = read_spec(made)
    except EverwillowError:
        return
    said = any("likelihood is zero" in sentence for sentence in spec.report)
    assert has_a_value(spec) or said, spec.report


@settings(max_examples=100)
@given(damaged())
def test_damaged_documents_elsewhere(made):
    for use in (
        hs3_to_pyhf,
        lambda one: WorkspaceInterpreter(one).summary(),
        lambda one: WorkspaceInterpreter(one).inject_signals({"SR": [1, 2]}),
        lambda one: WorkspaceInterpreter(one).poi_names,
        lambda one: WorkspaceInterpreter(one).bin_map,
    ):
        with contextlib.suppress(EverwillowError):
            use(made)


@settings(max_examples=60)
@given(st.integers(0, 4000), st.sampled_from(["", '"', "\x00"]))
def test_truncated_files(tmp_path_factory, end, tail):
    text = json.dumps(DOCUMENTS[0])
    file = tmp_path_factory.mktemp("fuzz") / "document.json"
    file.write_text(text[: min(end, len(text) - 1)] + tail)
    with pytest.raises(EverwillowError, match=r"document\.json"):
        read_spec(file)


def test_nesting_without_end(tmp_path):
    file = tmp_path / "deep.json"
    file.write_text("[" * 200_000)
    with pytest.raises(EverwillowError, match="is not JSON"):
        load(file)


def test_the_undamaged_documents():
    for made in DOCUMENTS:
        assert has_a_value(read_spec(made))
