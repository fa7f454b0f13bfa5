"""A workspace that is read and written gives the same likelihood when read again."""

import dataclasses
import json

import numpy as np
import pytest

from everwillow._errors import ArgumentTypeError, ArgumentValueError
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
from everwillow.models.histfactory import to_pyhf, workspace_spec
from tests.models.histfactory.evaluation import twice_nll
from tests.models.histfactory.test_spec import by_name, joined
from tests.models.histfactory.workspaces import (
    DATA,
    PUBLISHED,
    SMALL,
    every_type,
    points,
    tiny,
)


CODES = ["default", "pyhf-python", {"normsys": "code1", "histosys": "code2"}]


@pytest.mark.parametrize("interpolation", CODES, ids=["default", "pyhf", "parabolic"])
@pytest.mark.parametrize("name", [*SMALL, *PUBLISHED])
def test_reading_what_was_written_is_the_same_likelihood(name, interpolation):
    source = SMALL[name]() if name in SMALL else DATA / f"{name}.json"
    spec = workspace_spec(source, interpolation=interpolation)
    made = json.loads(json.dumps(to_pyhf(spec, interpolation=interpolation)))
    read = workspace_spec(made, interpolation=interpolation)
    assert [p.name for p in read.parameters] == [p.name for p in spec.parameters]
    assert (read.poi, read.name) == (spec.poi, spec.name)
    for attribute in ("start", "lower", "upper", "fixed"):
        assert joined(read, attribute).tolist() == joined(spec, attribute).tolist()
    bounds = np.stack([joined(spec, "lower"), joined(spec, "upper")], 1)
    for place in points(joined(spec, "start"), bounds, joined(spec, "fixed")):
        values = by_name(spec, place)
        np.testing.assert_allclose(
            twice_nll(read, values), twice_nll(spec, values), rtol=1e-13
        )


def test_only_what_differs_from_the_defaults_is_set():
    assert to_pyhf(workspace_spec(tiny())) == tiny()


def test_errors_are_shared_so_that_samples_can_be_removed():
    spec = workspace_spec(every_type())
    made = to_pyhf(spec)
    top, _, fakes = made["channels"][1]["samples"]
    errors = [
        np.array(m["data"])
        for s in (top, fakes)
        for m in s["modifiers"]
        if m["name"] == "stat_SR"
    ]
    expected = np.hypot([2.0, 3.0, 0.0], [0.5, 0.1, 0.0])
    np.testing.assert_allclose(np.hypot(*errors), expected, rtol=1e-14)
    np.testing.assert_allclose(errors[0][0] ** 2 / errors[1][0] ** 2, 50.0 / 3.0)


def one(effects, parameters, **rest):
    sample = SampleSpec("bkg", np.array([9.0, 8.0]), tuple(effects))
    channel = ChannelSpec("SR", np.array([10.0, 7.0]), (sample,))
    return BinnedSpec((channel,), tuple(parameters), **rest)


def gamma(name, **rest):
    constraint = rest.pop("constraint", ConstraintSpec("normal", 1.0, 0.1))
    return ParameterSpec(name, 1.0, 1e-10, 10.0, constraint=constraint, **rest)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("gamma_stat_SR_bin_0", "gamma_stat_SR_bin_1"), "gamma_stat_SR"),
        (("stat[0]", "stat[1]"), "stat"),
        (("left", "right"), "gammas_SR"),
    ],
)
def test_scalars_for_each_bin_become_an_array(names, expected):
    spec = one([BinScale(names)], [gamma(names[0]), gamma(names[1], fixed=True)])
    with pytest.raises(ArgumentValueError, match="can fix all of its elements or none"):
        to_pyhf(spec)
    spec = one([BinScale(names)], [gamma(name) for name in names])
    read = workspace_spec(to_pyhf(spec))
    assert [p.name for p in read.parameters] == [expected]
    values = {names[0]: 1.1, names[1]: 0.8}
    array = {expected: np.array([1.1, 0.8])}
    np.testing.assert_allclose(
        twice_nll(read, array), twice_nll(spec, values), rtol=1e-14
    )


def free(name):
    return ParameterSpec(name, 1.0, 0.0, 10.0)


def alpha(width=1.0, kind="normal"):
    return ParameterSpec(
        "a", 0.0, -5.0, 5.0, constraint=ConstraintSpec(kind, 0.0, width)
    )


def double(value):
    return 2 * value


IMPOSSIBLE = {
    "derived": (
        one([Scale("d")], [free("k")], derived={"d": Derived(("k",), double)}),
        "'d' is computed from others",
    ),
    "width": (one([NormVariation("a", 0.9, 1.1)], [alpha(2.0)]), "width 2"),
    "lognormal": (
        one([NormVariation("a", 0.9, 1.1)], [alpha(kind="lognormal")]),
        "constraint lognormal, and pyhf gives a normsys the constraint normal",
    ),
    "free systematic": (
        one([NormVariation("a", 0.9, 1.1)], [ParameterSpec("a", 0.0)]),
        "constraint none",
    ),
    "constrained factor": (
        one([Scale("lumi_2018")], [gamma("lumi_2018")]),
        "only one that pyhf has is called 'lumi'",
    ),
    "interpolation": (
        one([NormVariation("a", 0.9, 1.1, "code1")], [alpha()]),
        "interpolated with code1",
    ),
    "idle": (one([], [free("k")]), "'k' acts on nothing"),
    "unknown": (one([Scale("k")], []), "no parameter 'k'"),
    "twice": (one([Scale("k"), Scale("k")], [free("k")]), "a second normfactor 'k'"),
    "mixed": (
        one([BinScale(("g_0", "g_1"))], [gamma("g_0"), free("g_1")]),
        "constraints of different kinds",
    ),
    "bin and more": (
        one([BinScale(("g_0", "g_1")), Scale("g_0")], [free("g_0"), free("g_1")]),
        "acts here too",
    ),
    "types": (
        one([Scale("a"), NormVariation("a", 0.9, 1.1)], [alpha()]),
        "called 'lumi'",
    ),
}


@pytest.mark.parametrize(("spec", "words"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_pyhf_cannot_say_is_refused(spec, words):
    with pytest.raises(ArgumentValueError, match=words):
        to_pyhf(spec)


def test_models_are_written_by_their_description():
    @dataclasses.dataclass
    class Model:
        spec: BinnedSpec

    assert to_pyhf(Model(workspace_spec(tiny()))) == tiny()
    with pytest.raises(ArgumentTypeError, match="got dict"):
        to_pyhf({})
