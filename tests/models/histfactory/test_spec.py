"""Parameters, data and values of the likelihood are those of pyhf 0.7.6.

`reference.json` has its numbers, `make_reference.py` wrote it. The likelihood of a
description is evaluated here by plain loops (`evaluation.py`); that the compiled model
agrees is tested with the engine.
"""

import json
import math

import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.likelihood.binned.spec import Derived
from everwillow.models.histfactory import (
    from_pyhf,
    to_pyhf,
    validate,
    workspace_spec,
)
from tests.models.histfactory.evaluation import twice_nll
from tests.models.histfactory.workspaces import (
    DATA,
    INTERPOLATIONS,
    PUBLISHED,
    REFERENCE,
    SMALL,
    every_type,
    modifier,
    points,
    sample,
    tiny,
    workspace,
)


REFERENCES = json.loads(REFERENCE.read_text())["models"]
CODES = {
    "default": "default",
    "pyhf-python": "pyhf-python",
    "parabolic": {"normsys": "code1", "histosys": "code2"},
}
names = pytest.mark.parametrize("name", [*SMALL, *PUBLISHED])


def document(name):
    return SMALL[name]() if name in SMALL else DATA / f"{name}.json"


def joined(spec, attribute):
    """One number for each element of each parameter, as pyhf lists them."""
    return np.concatenate(
        [
            np.broadcast_to(getattr(p, attribute), np.shape(p.start) or (1,))
            for p in spec.parameters
        ]
    )


def by_name(spec, point):
    sizes = [np.size(p.start) for p in spec.parameters]
    parts = np.split(point, np.cumsum(sizes)[:-1])
    return {
        p.name: part if np.ndim(p.start) else part[0]
        for p, part in zip(spec.parameters, parts, strict=True)
    }


@names
def test_parameters_are_those_of_pyhf(name):
    spec, expected = workspace_spec(document(name)), REFERENCES[name]
    assert [p.name for p in spec.parameters] == expected["par_order"]
    labels = [
        label
        for p in spec.parameters
        for label in (
            [f"{p.name}[{i}]" for i in range(len(p.start))]
            if np.ndim(p.start)
            else [p.name]
        )
    ]
    assert labels == expected["par_names"]
    assert joined(spec, "start").tolist() == expected["suggested_init"]
    bounds = np.array(expected["suggested_bounds"])
    assert joined(spec, "lower").tolist() == bounds[:, 0].tolist()
    assert joined(spec, "upper").tolist() == bounds[:, 1].tolist()
    assert joined(spec, "fixed").tolist() == expected["suggested_fixed"]
    assert spec.poi == expected["poi"]


@names
def test_data_are_those_of_pyhf(name):
    spec, expected = workspace_spec(document(name)), REFERENCES[name]
    assert [channel.name for channel in spec.channels] == expected["channels"]
    constrained = [p for p in spec.parameters if p.constraint]
    assert [p.name for p in constrained] == expected["auxdata_order"]
    aux = [
        np.broadcast_to(p.constraint.aux, np.shape(p.start) or (1,))
        for p in constrained
    ]
    found = np.concatenate(aux) if aux else np.array([])
    np.testing.assert_allclose(found, expected["auxdata"], rtol=1e-14)


@names
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_values_of_the_likelihood_are_those_of_pyhf(name, interpolation):
    spec = workspace_spec(document(name), interpolation=CODES[interpolation])
    expected = REFERENCES[name]
    places = points(
        *(expected[f"suggested_{what}"] for what in ("init", "bounds", "fixed"))
    )
    found = [twice_nll(spec, by_name(spec, place)) for place in places]
    wanted = expected["twice_nll"][interpolation]
    if interpolation == "parabolic":
        # Beyond 1, code 2 of pyhf jumps: it leaves out the value at 1. The third point
        # is there.
        found, wanted = found[:2] + found[3:], wanted[:2] + wanted[3:]
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_widths_of_staterror_are_those_of_the_samples_that_have_it():
    bkg = sample("bkg", [30.0, 0.0], modifier("stat", "staterror", [3.0, 2.0]))
    more = sample("more", [10.0, 0.0], modifier("stat", "staterror", [4.0, 0.0]))
    without = sample("without", [60.0, 5.0], modifier("mu", "normfactor"))
    spec = workspace_spec(workspace({"SR": [bkg, more, without]}, {"SR": [100.0, 5.0]}))
    stat = spec.parameters[1]
    np.testing.assert_allclose(stat.constraint.width, [5.0 / 40.0, 1.0], rtol=1e-15)
    assert stat.fixed.tolist() == [False, True]


def test_normsys_and_histosys_of_one_name_are_one_parameter():
    spec = workspace_spec(every_type())
    assert [p.name for p in spec.parameters].count("jes") == 1


def test_starts_and_files_and_text_are_the_same(tmp_path):
    text = json.dumps(every_type())
    file = tmp_path / "workspace.json"
    file.write_text(text)
    expected = repr(workspace_spec(every_type()))
    for source in (file, str(file), text, text.encode()):
        assert repr(workspace_spec(source)) == expected


def test_input_is_unchanged():
    given = every_type()
    workspace_spec(given, parameters={"mu": {"fixed": True}})
    assert given == every_type()


def test_arrays_and_tuples_and_numpy_numbers_are_numbers():
    given = tiny()
    given["channels"][0]["samples"][1]["data"] = np.array([50.0])
    given["channels"][0]["samples"][0]["data"] = (np.float64(5.0),)
    given["observations"][0]["data"] = [np.int64(57)]
    assert repr(workspace_spec(given)) == repr(workspace_spec(tiny()))


def two_measurements():
    given = tiny()
    settings = {"poi": "xs", "parameters": [{"name": "mu", "fixed": True}]}
    given["measurements"].append({"name": "second", "config": settings})
    return given


@pytest.mark.parametrize("measurement", ["second", 1])
def test_measurements_are_chosen_by_name_or_index(measurement):
    spec = workspace_spec(two_measurements(), measurement=measurement)
    assert (spec.name, spec.poi) == ("second", "xs")
    assert [p.fixed for p in spec.parameters] == [True, False]
    assert spec.report == ()


def test_the_first_of_several_measurements_is_used_and_reported():
    spec = workspace_spec(two_measurements())
    assert spec.name == "meas"
    assert "2 measurements" in spec.report[0]


@pytest.mark.parametrize(
    ("measurement", "error", "words"),
    [
        ("secnd", UnknownKeyError, "Did you mean 'second'"),
        (2, ArgumentValueError, "from 0 to 1"),
        (-1, ArgumentValueError, "from 0 to 1"),
        (True, ArgumentTypeError, "bool"),
    ],
)
def test_unknown_measurements(measurement, error, words):
    with pytest.raises(error, match=words):
        workspace_spec(two_measurements(), measurement=measurement)


def test_poi_can_be_another_or_none():
    assert workspace_spec(tiny(), poi="xs").poi == "xs"
    assert workspace_spec(tiny(), poi="").poi is None
    for nothing in ("", None):
        given = tiny()
        given["measurements"][0]["config"]["poi"] = nothing
        assert workspace_spec(given).poi is None
    with pytest.raises(UnknownKeyError, match="Did you mean 'mu'"):
        workspace_spec(tiny(), poi="mue")


def test_arrays_are_no_poi():
    with pytest.raises(ArgumentValueError, match=r"^poi: .*an array of 3.*\[0\]'"):
        workspace_spec(every_type(), poi="stat_SR")
    given = every_type()
    given["measurements"][0]["config"]["poi"] = "stat_SR"
    with pytest.raises(SpecificationError, match="an array of 3"):
        workspace_spec(given)


def test_an_element_of_an_array_is_a_poi():
    spec = workspace_spec(every_type(), poi="stat_SR[2]")
    assert spec.poi == "stat_SR[2]"
    with pytest.raises(UnknownKeyError, match="has the elements 0 to 2"):
        workspace_spec(every_type(), poi="stat_SR[3]")
    with pytest.raises(UnknownKeyError, match=r"no parameter 'mu\[0\]'"):
        workspace_spec(every_type(), poi="mu[0]")
    with pytest.raises(ArgumentValueError, match="no form in pyhf"):
        to_pyhf(spec)


def test_an_element_stays_the_poi_of_a_combination():
    model = from_pyhf(every_type(), poi="stat_SR[2]")
    assert ew.combine({"only": model}).poi == "stat_SR[2]"
    renamed = ew.combine({"only": model}, rename={"only": {"stat_SR": "gamma"}})
    assert renamed.poi == "gamma[2]"


@pytest.mark.parametrize(
    ("interpolation", "error", "words"),
    [
        ("code4", ArgumentValueError, "expected one of default, pyhf-python"),
        ({"normfactor": "code1"}, ArgumentValueError, "only normsys and histosys"),
        ({"normsys": "code44"}, ArgumentValueError, "Did you mean 'code4'"),
        ({"normsys": ["code4"]}, ArgumentValueError, "expected one of"),
        (4, ArgumentTypeError, "got int"),
    ],
)
def test_unknown_interpolations(interpolation, error, words):
    with pytest.raises(error, match=words):
        workspace_spec(tiny(), interpolation=interpolation)


@pytest.mark.parametrize("code", ["code1", "code4"])
def test_exponential_interpolation_needs_positive_numbers(code):
    given = tiny()
    given["channels"][0]["samples"][1]["modifiers"][0]["data"]["lo"] = 0.0
    with pytest.raises(SpecificationError, match="positive factor") as caught:
        workspace_spec(given, interpolation={"normsys": code})
    pointer = "/channels/0/samples/1/modifiers/0/data/lo"
    assert caught.value.pointer == pointer
    assert validate(given, interpolation={"normsys": "code4p"}) == ()
    spec = workspace_spec(given, interpolation={"normsys": "code4p"})
    assert spec.channels[0].samples[1].effects[0].down == 0.0
    shapes = SMALL["one_sided"]()
    with pytest.raises(SpecificationError, match="positive yields") as caught:
        workspace_spec(shapes, interpolation={"histosys": code})
    pointer = "/channels/0/samples/0/modifiers/1/data/lo_data/1"
    assert caught.value.pointer == pointer


def test_parameters_replace_what_the_measurement_says():
    said = {"mu": {"bounds": [[-9.0, 9.0]]}, "theory": {"fixed": True}}
    spec = workspace_spec(every_type(), parameters=said)
    named = {p.name: p for p in spec.parameters}
    assert (named["mu"].lower, named["mu"].upper) == (-9.0, 9.0)
    # All that the measurement says of it is replaced.
    assert named["mu"].start == 1.0
    assert named["theory"].fixed is True
    with pytest.raises(UnknownKeyError, match="Did you mean 'theory'"):
        workspace_spec(every_type(), parameters={"theorie": {}})


def product(a, b):
    return a * b


def test_expressions_replace_normfactors():
    expressions = {"mu": Derived(("kappa_t", "kappa_V"), product)}
    said = {"kappa_V": {"bounds": [[-2.0, 2.0]]}}
    spec = workspace_spec(
        tiny(), expressions=expressions, parameters=said, poi="kappa_t"
    )
    assert [p.name for p in spec.parameters] == ["kappa_t", "kappa_V", "xs"]
    first, second, _ = spec.parameters
    assert (first.start, first.lower, first.upper) == (1.0, 0.0, 10.0)
    assert (second.start, second.lower, second.upper) == (1.0, -2.0, 2.0)
    assert first.constraint is second.constraint is None
    values = {"kappa_t": 1.5, "kappa_V": 0.4, "xs": 0.3}
    plain = twice_nll(workspace_spec(tiny()), {"mu": 0.6, "xs": 0.3})
    assert math.isclose(twice_nll(spec, values), plain, rel_tol=1e-14)


def test_expressions_are_ordered_and_may_use_what_is_there():
    expressions = {
        "mu": Derived(("half", "xs"), product),
        "half": Derived(("kappa",), lambda kappa: 0.5 * kappa),
    }
    spec = workspace_spec(tiny(), expressions=expressions, poi="")
    assert list(spec.derived) == ["half", "mu"]
    assert [p.name for p in spec.parameters] == ["kappa", "xs"]


@pytest.mark.parametrize(
    ("expressions", "poi", "error", "words"),
    [
        ({"mu": Derived(("k",), product)}, None, SpecificationError, "an expression"),
        ({"mue": Derived(("k",), product)}, "", UnknownKeyError, "Did you mean 'mu'"),
        ({"mu": Derived(("mu",), product)}, "", ArgumentValueError, "circle"),
        ({"mu": product}, "", ArgumentTypeError, "got function"),
        (
            {"mu": Derived(("xs",), product), "xs": Derived(("k",), product)},
            "",
            ArgumentValueError,
            "only normfactors",
        ),
    ],
)
def test_impossible_expressions(expressions, poi, error, words):
    with pytest.raises(error, match=words):
        workspace_spec(tiny(), expressions=expressions, poi=poi)


def test_expressions_take_no_arrays():
    expressions = {"mu": Derived(("stat_SR",), product)}
    with pytest.raises(ArgumentValueError, match="is an array"):
        workspace_spec(every_type(), expressions=expressions, poi="")


def noted(change):
    given = tiny()
    change(given)
    return workspace_spec(given).report


def test_report_says_what_is_odd():
    def settings(said):
        return lambda w: w["measurements"][0]["config"]["parameters"].append(said)

    (note,) = noted(settings({"name": "nobody", "fixed": True}))
    assert "'nobody', which no modifier has" in note
    (note,) = noted(settings({"name": "mu", "inits": [11.0]}))
    assert "outside its bounds" in note
    said = {"name": "mu", "inits": [2.0], "bounds": [[2.0, 2.0]]}
    (note,) = noted(settings(said))
    assert "no room" in note
    (note,) = noted(lambda w: w["observations"].append({"name": "x", "data": [1]}))
    assert "'x' belongs to no channel" in note
    (note,) = workspace_spec(SMALL["one_sided"]()).report
    assert "negative yields, the lowest -0.5 of sample 'minus' in bin 0" in note


def test_start_values_are_within_the_bounds():
    given = tiny()
    said = [{"name": "mu", "inits": [11.0]}, {"name": "xs", "bounds": [[2.0, 2.0]]}]
    given["measurements"][0]["config"]["parameters"] = said
    mu, xs = workspace_spec(given).parameters
    assert mu.start == mu.upper == 10.0
    assert (xs.start, xs.fixed) == (2.0, True)
    assert xs.lower < xs.upper
    said[0]["fixed"] = True
    mu = workspace_spec(given).parameters[0]
    assert mu.start == mu.upper == 11.0


def test_systematics_without_effect_and_vanishing_yields_are_reported():
    given = tiny()
    given["channels"][0]["samples"][1]["modifiers"][0]["data"] = {"lo": 1.0, "hi": 1}
    assert workspace_spec(given).report == ("1 systematics change no yield: 'xs'.",)
    given = tiny()
    given["channels"][0]["samples"][0]["data"] = [-60.0]
    assert "the likelihood vanishes there" in workspace_spec(given).report[1]


def test_a_lumi_without_bounds_gets_some():
    given = every_type()
    settings = given["measurements"][0]["config"]["parameters"]
    settings[0] = {"name": "lumi", "auxdata": [2.0], "sigmas": [0.1]}
    spec = workspace_spec(given)
    lumi = next(p for p in spec.parameters if p.name == "lumi")
    assert (lumi.start, lumi.lower, lumi.upper) == (2.0, 0.0, 20.0)
    assert sum("lumi" in sentence for sentence in spec.report) == 2


def test_infinite_bounds_are_none():
    given = tiny()
    said = {"name": "mu", "bounds": [[-math.inf, math.inf]]}
    given["measurements"][0]["config"]["parameters"] = [said]
    mu = workspace_spec(json.dumps(given)).parameters[0]
    assert (mu.lower, mu.upper) == (-math.inf, math.inf)
