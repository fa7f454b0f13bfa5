"""Histfactory distributions in all dialects: what they are, and their numbers."""

import math

import numpy as np
import pytest

from everwillow._errors import (
    ConflictError,
    EverwillowError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.likelihood.binned.spec import BinScale, NormVariation, Scale
from everwillow.models.binned import BinnedModel
from everwillow.models.hs3 import load, read_spec
from tests.models.hs3 import closed_form
from tests.models.hs3.documents import (
    MU,
    SIGNAL,
    channel,
    constraint,
    document,
    expected,
    modifier,
    parameter,
    sample,
    stored,
)


UNIT = ("normal", 0.0, 1.0)
NORM = {"lo": 0.9, "hi": 1.2}
SHAPE = {"lo": {"contents": [48.0, 37.0]}, "hi": {"contents": [53.0, 44.0]}}


def background(*modifiers, errors=None):
    return sample("background", [50.0, 40.0], *modifiers, errors=errors)


def spec_of(*modifiers, errors=None, shapesys=None, **entries):
    made = channel("SR", SIGNAL, background(*modifiers, errors=errors))
    return read_spec(document(made, **entries), shapesys=shapesys)


def effect(spec):
    return spec.channels[0].samples[1].effects[0]


@pytest.mark.parametrize("name", ["quickstart_2bin", "susy_1Lbb_simplified"])
def test_values_of_documents_made_from_pyhf(name):
    """-2 ln L with all constants is that of pyhf 0.7.6 at four points."""
    wanted = expected()["pyhf"][name]
    spec = read_spec(stored(name))
    known = {entry.name for entry in spec.parameters}
    names = [n if n in known else f"alpha_{n}" for n in wanted["par_names"]]
    assert set(names) == known
    assert 2 * closed_form.nll(spec, {}) == pytest.approx(
        wanted["twice_nll_init"], rel=1e-9
    )
    for point in wanted["nll_points"]:
        values = dict(zip(names, point["pars"], strict=True))
        assert 2 * closed_form.nll(spec, values) == pytest.approx(
            point["twice_nll"], rel=1e-9
        )


def test_example_of_root():
    """-ln L as of pyhs3 0.4.2; its `vals` are absolute, as the domain shows."""
    spec = read_spec(stored("root_simplemodel_uncorrelated"))
    for mu, wanted in expected()["root_simplemodel_uncorrelated"]["nll_vs_poi"]:
        assert closed_form.nll(spec, {"mu": mu}) == pytest.approx(wanted, rel=1e-11)
    assert constraint(spec, "uncorr_bkguncrt_0") == (
        "poisson",
        pytest.approx((50 / 3) ** 2),
        pytest.approx((50 / 3) ** 2),
    )
    assert parameter(spec, "Lumi").fixed
    assert parameter(spec, "uncorr_bkguncrt_0").upper == 1.3
    assert any("absolute" in s and "1 + 5 errors" in s for s in spec.report)
    assert any("the first is read" in s for s in spec.report)


def test_second_analysis_has_its_own_data():
    spec = read_spec(stored("root_simplemodel_uncorrelated"), "simPdf_obsData")
    np.testing.assert_array_equal(spec.channels[0].observed, [51.0, 48.0])
    assert not any("first is read" in s for s in spec.report)


def test_a_document_without_extras_needs_no_report():
    norm = modifier(
        "normsys", "a", constraint="Gauss", data=NORM | {"interpolation": "code4"}
    )
    points, ranges = {"mu": 1.0, "a": 0.0}, {"mu": (0, 10), "a": (-5, 5)}
    spec = spec_of(norm, points=points, ranges=ranges)
    assert spec.report == ()
    assert spec.poi == "mu"
    assert constraint(spec, "a") == UNIT
    assert (parameter(spec, "a").lower, parameter(spec, "a").upper) == (-5.0, 5.0)


@pytest.mark.parametrize(
    ("spelled", "code"),
    [
        ("lin", "code0"),
        ("log", "code1"),
        ("parabolic", "code2"),
        ("poly6", "code4p"),
        ("code0", "code0"),
        ("code1", "code1"),
        ("code2", "code2"),
        ("code4", "code4"),
        ("code4p", "code4p"),
        (0, "code0"),
        (1, "code1"),
        (2, "code2"),
        (3, "code2"),
        (4, "code4"),
        (5, "code4"),
        (5.0, "code4"),
        (6, "code4p"),
        ({"type": "mult", "in": "poly6", "out": "exp"}, "code4"),
    ],
)
def test_spellings_of_interpolation(spelled, code):
    """Beside the data and inside, in words, codes, integers and structures."""
    outside = modifier("normsys", "a", data=NORM, interpolation=spelled)
    inside = modifier("normsys", "a", data=NORM | {"interpolation": spelled})
    for one in (outside, inside):
        found = effect(spec_of(one))
        assert isinstance(found, NormVariation)
        assert found.interpolation == code
        assert (found.down, found.up) == (0.9, 1.2)


@pytest.mark.parametrize(
    ("number", "code"),
    list(enumerate(["code0", "code1", "code2", "code2", "code4p", "code4", "code6"])),
)
def test_integers_of_root_for_templates(number, code):
    """Codes of PiecewiseInterpolation; with another template what multiplies differs.

    -ln L is that of the formulas.
    """
    other = modifier("histosys", "b", data=SHAPE, interpolation="code4p")
    spec = spec_of(modifier("histosys", "a", data=SHAPE, interpolation=number), other)
    assert effect(spec).interpolation == code
    values = {"a": -0.4, "b": 0.7, "mu": 1.0}
    model = BinnedModel.from_spec(spec)
    assert float(model.nll(values)) == pytest.approx(
        closed_form.nll(spec, values), rel=1e-13
    )


@pytest.mark.parametrize("number", [-1, 7, 2.5, True, [5]])
def test_no_such_integer(number):
    with pytest.raises(UnknownKeyError, match=r"no such interpolation.*0 to 6"):
        spec_of(modifier("normsys", "a", data=NORM, interpolation=number))


def test_interpolation_defaults_are_reported():
    spec = spec_of(modifier("normsys", "a", data=NORM, name="scale"))
    assert effect(spec).interpolation == "code4"
    assert "'scale'; code4 is assumed" in "".join(spec.report)
    spec = spec_of(modifier("histosys", "a", data=SHAPE))
    assert effect(spec).interpolation == "code4p"
    np.testing.assert_array_equal(effect(spec).up, [53.0, 44.0])


@pytest.mark.parametrize(
    ("default", "code"),
    [
        ({"type": "add", "in": "poly1", "out": None}, "code0"),
        ({"type": "add", "in": "poly6", "out": "poly1"}, "code4p"),
        ({"type": "mult", "in": "exp"}, "code1"),
        ({"type": "mult", "in": "poly6", "out": "exp"}, "code4"),
    ],
)
def test_default_interpolation_of_a_distribution(default, code):
    """It is that of all modifiers without their own, be they factors or templates."""
    shape = modifier("histosys", "a", data=SHAPE)
    norm = modifier("normsys", "b", data=NORM)
    own = modifier("normsys", "c", data=NORM, interpolation="code2")
    made = channel("SR", background(shape, norm, own), default_interpolation=default)
    spec = read_spec(document(made))
    found = [one.interpolation for one in spec.channels[0].samples[0].effects]
    assert found == [code, code, "code2"]
    assert not any("No interpolation is given" in s for s in spec.report)


def test_a_default_that_adds_makes_factors_linear():
    """Values by hand: 50 (1 + 0.2 a) above 0 and 50 (1 + 0.3 a) below."""
    norm = modifier("normsys", "a", data={"lo": 0.7, "hi": 1.2}, constraint="Gauss")
    linear = {"type": "add", "in": "poly1", "out": None}
    made = channel(
        "SR", SIGNAL, sample("b", [50.0, 40.0], norm), default_interpolation=linear
    )
    model = load(document(made))
    for a, wanted in ((0.5, [55.0, 44.0]), (-1.5, [27.5, 22.0])):
        expected = model.expected({"mu": 0.0, "a": a})
        np.testing.assert_allclose(expected, wanted, rtol=1e-14)


@pytest.mark.parametrize("word", ["Gauss", "gauss", "Gaussian", None])
def test_gaussian_constraints_of_systematics(word):
    spec = spec_of(modifier("normsys", "a", data=NORM, constraint=word))
    assert constraint(spec, "a") == UNIT
    assert any("No constraint" in s for s in spec.report) == (word is None)


def test_other_constraints_of_systematics():
    const = spec_of(modifier("normsys", "a", data=NORM, constraint="Const"))
    assert constraint(const, "a") is None
    assert parameter(const, "a").fixed
    free = spec_of(modifier("normsys", "a", data=NORM, constraint="None"))
    assert constraint(free, "a") is None
    assert not parameter(free, "a").fixed
    log = spec_of(modifier("normsys", "a", data=NORM, constraint="LogNormal"))
    assert constraint(log, "a") == UNIT
    assert effect(log).interpolation == "code1"


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("Gauss", ("normal", 1.0, 1.0)),
        ("Poisson", ("poisson", 1.0, 1.0)),
        ("LogNormal", ("lognormal", 1.0, 2.0)),
        ("Const", None),
    ],
)
def test_constraints_of_factors(word, wanted):
    spec = spec_of(modifier("normfactor", "k", constraint=word))
    assert constraint(spec, "k") == wanted
    assert parameter(spec, "k").fixed == (word == "Const")


def test_a_shared_parameter_is_constrained_once():
    """Two channels with one parameter: -ln L has one constraint, not two."""
    norm = modifier("normsys", "a", data=NORM, constraint="Gauss")
    regions = [channel(n, SIGNAL, background(norm)) for n in ("A", "B", "C")]
    one = closed_form.nll(read_spec(document(regions[0])), {"a": 0.7})
    three = closed_form.nll(read_spec(document(*regions)), {"a": 0.7})
    single = 0.5 * 0.7**2 + 0.5 * math.log(2 * math.pi)
    assert three == pytest.approx(3 * one - 2 * single, rel=1e-13)


def test_constraints_of_one_parameter_must_agree():
    stats = [
        modifier("shapesys", parameters=["g0", "g1"], data={"vals": vals})
        for vals in ([5.0, 4.0], [6.0, 4.0])
    ]
    made = channel("SR", background(stats[0]), sample("b", [50.0, 40.0], stats[1]))
    with pytest.raises(ConflictError, match=r"samples/1/modifiers/0.*'g0'.*samples/0"):
        read_spec(document(made), shapesys="absolute")


def stat(word=None, **entries):
    given = {} if word is None else {"constraint": word}
    return modifier("staterror", parameters=["g0", "g1"], **given, **entries)


def test_staterror_uses_the_errors_of_all_samples_that_carry_it():
    """Barlow-Beeston lite: root of the summed squares over the summed yields."""
    first = background(stat("Gauss"), errors=[3.0, 2.0])
    second = sample("b", [10.0, 20.0], stat("Gauss"), errors=[4.0, 1.0])
    made = channel("SR", first, second, sample("c", [7.0, 7.0], errors=[9.0, 9.0]))
    spec = read_spec(document(made))
    assert constraint(spec, "g0") == ("normal", 1.0, pytest.approx(5.0 / 60.0))
    assert constraint(spec, "g1") == ("normal", 1.0, pytest.approx(5**0.5 / 60.0))
    assert effect(spec) == BinScale(("g0", "g1"))


def test_staterror_in_other_words():
    relative = [(50 / 3) ** 2, (40 / 2) ** 2]
    spec = spec_of(stat(), errors=[3.0, 2.0])
    assert constraint(spec, "g0") == ("poisson", *[pytest.approx(relative[0])] * 2)
    assert any("Poisson is assumed" in s for s in spec.report)
    inside = spec_of(stat("Gauss", data={"uncertainties": [3.0, 2.0]}))
    assert constraint(inside, "g1") == ("normal", 1.0, 0.05)
    log = spec_of(stat("LogNormal"), errors=[3.0, 2.0])
    assert constraint(log, "g1") == ("lognormal", 1.0, 1.05)
    each = stat() | {"constraints": ["Gauss", "Const"]}
    mixed = spec_of(each, errors=[3.0, 2.0])
    assert constraint(mixed, "g0") == ("normal", 1.0, pytest.approx(0.06))
    assert constraint(mixed, "g1") is None
    assert parameter(mixed, "g1").fixed


def test_staterror_without_errors_is_an_error():
    with pytest.raises(SpecificationError, match=r"'background' has no 'errors'"):
        spec_of(stat("Gauss"))


def test_bins_without_error_are_held():
    """As in pyhf: held at 1, the constant of a unit constraint in -ln L."""
    spec = spec_of(stat("Gauss"), errors=[3.0, 0.0])
    assert parameter(spec, "g1").fixed
    assert constraint(spec, "g1") == ("normal", 1.0, 1.0)
    assert any("'g1' have no error" in s for s in spec.report)


def test_names_that_root_leaves_out():
    """ROOT's own names of gammas, and the old place of the settings of staterror."""
    made = channel(
        "model_SR",
        background(modifier("staterror", name="mcstat"), errors=[3.0, 0.5]),
        staterror={"constraint": "Gauss", "relThreshold": 0.02},
    )
    spec = read_spec(document(made))
    assert effect_names(spec) == ("gamma_stat_SR_bin_0", "gamma_stat_SR_bin_1")
    assert constraint(spec, "gamma_stat_SR_bin_0") == ("normal", 1.0, 0.06)
    assert parameter(spec, "gamma_stat_SR_bin_1").fixed
    old = [
        modifier("normsys", name="scale", data=NORM),
        modifier("normfactor", name="k"),
    ]
    spec = spec_of(*old)
    assert {"alpha_scale", "k"} <= {entry.name for entry in spec.parameters}


def effect_names(spec):
    return spec.channels[0].samples[0].effects[0].parameters


def test_one_name_for_all_bins():
    """It stands for scalars that the document knows, otherwise for an array."""
    shape = modifier("shapesys", "g", data={"vals": [5.0, 4.0]}, constraint="Gauss")
    scalars = spec_of(shape, points={"g_0": 1.0, "g_1": 1.0})
    assert effect(scalars) == BinScale(("g_0", "g_1"))
    array = spec_of(shape)
    assert effect(array) == BinScale("g")
    np.testing.assert_array_equal(parameter(array, "g").start, [1.0, 1.0])
    np.testing.assert_allclose(parameter(array, "g").constraint.width, [0.1, 0.1])
    values = {"g": np.array([1.05, 0.9])}
    assert closed_form.nll(array, values) == pytest.approx(
        closed_form.nll(scalars, {"g_0": 1.05, "g_1": 0.9}), rel=1e-14
    )


SHAPESYS = modifier("shapesys", parameters=["g0", "g1"], data={"vals": [0.2, 0.1]})


@pytest.mark.parametrize(
    ("entries", "wanted", "reason"),
    [
        ({}, "absolute", "nothing in the document"),
        ({"shapesys": "relative"}, "relative", "as asked for"),
        ({"ranges": {"g0": (0, 2), "g1": (0, 1.5)}}, "relative", "1 + 5 errors"),
        ({"ranges": {"g0": (0, 1.02), "g1": (0, 1.0125)}}, "absolute", "1 + 5 errors"),
        (
            {"metadata": {"hs3_version": "0.2", "packages": [{"name": "ROOT"}]}},
            "relative",
            "as ROOT writes them",
        ),
        ({"misc": {"ROOT_internal": {}}}, "relative", "as ROOT writes them"),
    ],
)
def test_meaning_of_shapesys(entries, wanted, reason):
    spec = spec_of(SHAPESYS, **entries)
    width = {"absolute": (0.2 / 50, 0.1 / 40), "relative": (0.2, 0.1)}[wanted]
    for name, one in zip(("g0", "g1"), width, strict=True):
        assert constraint(spec, name) == ("poisson", *[pytest.approx(one**-2)] * 2)
    (said,) = [s for s in spec.report if "shapesys are read" in s]
    assert f"{wanted} errors" in said
    assert reason in said


def test_shared_gammas_show_what_shapesys_means():
    made = channel("SR", background(SHAPESYS), sample("b", [5.0, 4.0], SHAPESYS))
    spec = read_spec(document(made))
    assert constraint(spec, "g0") == ("poisson", *[pytest.approx(25.0)] * 2)
    assert any("share parameters" in s for s in spec.report)


def test_shapefactor_and_constant_factors():
    free = modifier("shapefactor", parameters=["s0", "s1"])
    spec = spec_of(free, modifier("normfactor", 1.5))
    assert effect(spec) == BinScale(("s0", "s1"))
    assert constraint(spec, "s0") is None
    np.testing.assert_array_equal(spec.channels[0].samples[1].nominal, [75.0, 60.0])


def test_functions_as_factors():
    functions = [
        {"name": "k", "type": "product", "factors": ["half", "b"]},
        {"name": "half", "type": "generic_function", "expression": "mu / 2 + c^2"},
    ]
    points = {"mu": 1.0, "b": 3.0, "c": (0.5,)}
    spec = spec_of(modifier("normfactor", "k"), functions=functions, points=points)
    assert effect(spec) == Scale("k")
    assert list(spec.derived) == ["half", "k"]
    assert parameter(spec, "c").fixed
    rates = closed_form.rates(
        spec.channels[0], {"mu": 1.0, "b": 3.0, "c": 0.5, "k": 2.25}
    )
    np.testing.assert_allclose(rates, [5 + 50 * 2.25, 6 + 40 * 2.25])
    values = {"mu": 2.0, "b": 0.5, "c": 1.0}
    k = (2.0 / 2 + 1.0) * 0.5
    wanted = sum(
        lam - n * math.log(lam) + math.lgamma(n + 1)
        for n, lam in ((55, 10 + 50 * k), (46, 12 + 40 * k))
    )
    assert closed_form.nll(spec, values) == pytest.approx(wanted, rel=1e-13)


def test_functions_that_need_each_other():
    functions = [
        {"name": "k", "type": "sum", "summands": ["l", 1]},
        {"name": "l", "type": "sum", "summands": ["k", 1]},
    ]
    with pytest.raises(SpecificationError, match="k -> l -> k"):
        spec_of(modifier("normfactor", "k"), functions=functions)


COUNTS = {"SR": [55.0, 46.0]}


def broken(*modifiers, contents=(50.0, 40.0), **entries):
    made = channel("SR", SIGNAL, sample("background", contents, *modifiers))
    return lambda: read_spec(document(made, **entries))


where = r"/distributions/0/samples/1"


@pytest.mark.parametrize(
    ("build", "kind", "message"),
    [
        (
            broken(modifier("normsis", "a", data=NORM)),
            UnknownKeyError,
            rf"{where}/modifiers/0/type.*'normsis'.*'normsys'",
        ),
        (
            broken(modifier("normsys", "a", data={"lo": 0.9})),
            SpecificationError,
            rf"{where}/modifiers/0/data: the entry 'hi' is missing",
        ),
        (
            broken(modifier("normsys", "a", data={"lo": 0.0, "hi": 1.1})),
            SpecificationError,
            rf"{where}/modifiers/0/data/lo.*positive.*'poly6'",
        ),
        (
            broken(modifier("normsys", "a", data=NORM, interpolation="poly5")),
            UnknownKeyError,
            r"interpolation.*'poly6'",
        ),
        (
            broken(modifier("normsys", "a", data=NORM, constraint="Gaus")),
            UnknownKeyError,
            r"constraint: 'Gaus'.*'Gauss'",
        ),
        (
            broken(modifier("normsys", "a", data=NORM, constraint="Poisson")),
            SpecificationError,
            r"Poisson constraint.*nominally 0",
        ),
        (
            broken(modifier("shapefactor", parameters=["a", "b", "c"])),
            SpecificationError,
            r"3 parameters, but 'SR' has 2 bins",
        ),
        (
            broken(modifier("histosys", "a", data={"lo": SHAPE["lo"], "hi": [1.0]})),
            SpecificationError,
            r"data/hi: 1 numbers, but 'SR' has 2 bins",
        ),
        (
            broken(contents=[50.0], observed=COUNTS),
            SpecificationError,
            rf"{where}/data/contents: 1 numbers, but 'SR' has 2 bins",
        ),
        (
            broken(contents=[50.0, "x"], observed=COUNTS),
            SpecificationError,
            r"contents/1.*a number",
        ),
        (
            broken(contents=[50.0, float("nan")], observed=COUNTS),
            EverwillowError,
            r"contents/1.*finite.*nan",
        ),
        (
            broken(contents=[50.0, 10**400], observed=COUNTS),
            EverwillowError,
            r"contents/1.*finite.*very large",
        ),
        (
            broken(contents=[-50.0, 1.0], observed={"SR": [1.0, 1.0]}),
            SpecificationError,
            r"bin 0 of the channel 'SR' expects -45",
        ),
        (
            broken(observed={"SR": [-1.0, 1.0]}),
            SpecificationError,
            r"/data/0: bin 0 of 'SR' has -1 events",
        ),
        (
            broken(observed={"SR": [1.0]}),
            SpecificationError,
            r"/data/0: 1 bins of data, but the distribution 'SR' has 2",
        ),
    ],
)
def test_faults_have_a_place(build, kind, message):
    with pytest.raises(kind, match=message):
        build()


def test_negative_yields_and_doubled_modifiers_are_reported():
    norm = modifier("normsys", "a", data=NORM)
    spec = spec_of(norm, norm)
    assert any("there twice" in s for s in spec.report)
    made = channel("SR", SIGNAL, sample("nlo", [-1.0, 1.0], MU))
    spec = read_spec(document(made))
    assert any("negative yields in 'SR/nlo'" in s for s in spec.report)


def test_samples_must_differ_in_name():
    with pytest.raises(SpecificationError, match=r"two samples 'signal'"):
        read_spec(document(channel("SR", SIGNAL, SIGNAL)))
    bare = {k: v for k, v in SIGNAL.items() if k != "name"}
    spec = read_spec(document(channel("SR", bare, SIGNAL)))
    assert [s.name for s in spec.channels[0].samples] == ["sample_0", "signal"]


@pytest.mark.parametrize("samples", [[], [sample("s", [])]])
def test_empty_channels(samples):
    with pytest.raises(SpecificationError, match=r"'SR' has no (samples|bins)"):
        read_spec(document(channel("SR", *samples), observed={"SR": []}))


def test_events_are_filled_into_bins():
    axes = [{"name": "m", "edges": [0.0, 1.0, 4.0]}]
    made = document(channel("SR", SIGNAL, axes=axes))
    made["data"][0] = {
        "name": "obs_SR",
        "type": "unbinned",
        "entries": [[0.5], [0.7], [3.0]],
        "weights": [1.0, 2.0, 0.5],
        "axes": [{"name": "m", "min": 0, "max": 4}],
    }
    spec = read_spec(made)
    np.testing.assert_array_equal(spec.channels[0].observed, [3.0, 0.5])
    assert any("events of 'obs_SR' are filled" in s for s in spec.report)
