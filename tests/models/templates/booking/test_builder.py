"""What a builder makes of yields and variations, by closed forms typed here."""

import json

import numpy as np
import pytest

from everwillow.likelihood.histograms import Axis
from everwillow.models.templates.booking.builder import TemplateBuilder
from everwillow.models.templates.model import TemplateModel
from tests.models.templates import cases


NOMINAL = np.array([10.0, 20.0, 40.0, 0.0])
UP = np.array([12.0, 18.0, 44.0, 3.0])
DOWN = np.array([9.0, 25.0, 42.0, 0.0])
EDGES = [0.0, 1.0, 2.0, 3.0, 4.0]


def one(systematic_type="log_normal", nominal=NOMINAL, **options):
    """Return a builder with one process in one channel."""
    out = TemplateBuilder(systematic_type, **options)
    out.add_channel([("x", EDGES)], "ch")
    out.add_process(nominal, "p", "ch", signal=True)
    return out


def responses(builder):
    """Return average and half of each systematic in (process, bin), dense."""
    spec = builder.spec()
    shape = len(spec.layout.processes), spec.layout.bins
    out = {}
    for i, systematic in enumerate(spec.systematics):
        part = slice(*spec.responses.start[i : i + 2])
        rows = spec.responses.row[part]
        assert np.all(np.diff(rows) > 0)
        place = spec.templates.process[rows], spec.templates.bin[rows]
        average, half = np.zeros(shape), np.zeros(shape)
        average[place] = spec.responses.average[part]
        if spec.responses.half is not None:
            half[place] = spec.responses.half[part]
        out[systematic.name] = average, half
    return out


# The responses to UP and DOWN, and what is made of them.
LOG_UP = np.array([np.log(1.2), np.log(0.9), np.log(1.1), 0.0])
LOG_DOWN = -np.array([np.log(0.9), np.log(1.25), np.log(1.05), 0.0])
ADD_UP = np.array([2.0, -2.0, 4.0, 0.0])
ADD_DOWN = -np.array([-1.0, 5.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("kind", "up", "down"),
    [("log_normal", LOG_UP, LOG_DOWN), ("normal", ADD_UP, ADD_DOWN)],
)
@pytest.mark.parametrize("kfactor", [1.0, 2.5])
def test_a_pair_by_every_symmetrisation(kind, up, down, kfactor):
    builder = one(kind)
    choices = "average", "conservative", "linear", "quadratic", None
    for choice in choices:
        builder.add_systematic(
            (UP, DOWN), str(choice), "p", "ch", symmetrize=choice, kfactor=kfactor
        )
    average, half = kfactor * (up + down) / 2, kfactor * (up - down) / 2
    zero = np.zeros(4)
    stronger = kfactor * np.array([up[0], down[1], up[2], 0.0])
    expected = {
        "average": (average, zero),
        "conservative": (stronger, zero),
        "linearSymAvg": (average, zero),
        "linearSymDiff": (half, zero),
        "quadraticSymAvg": (average, zero),
        "quadraticSymDiff": (np.sqrt(3) * half, zero),
        "None": (average, half),
    }
    found = responses(builder)
    assert set(found) == set(expected)
    for name, pair in expected.items():
        for ours, theirs in zip(found[name], pair, strict=True):
            np.testing.assert_allclose(ours[0], theirs, rtol=1e-14, atol=1e-16)


def test_a_tie_goes_to_down():
    builder = one("normal")
    down = NOMINAL - [2.0, -3.0, 1.0, 0.0]
    builder.add_systematic(
        (NOMINAL - [2.0, -3.0, -1.0, 0.0], down),
        "s",
        "p",
        "ch",
        symmetrize="conservative",
    )
    # up: -2, 3, 1; down: 2, -3, 1.
    np.testing.assert_allclose(responses(builder)["s"][0][0], [2.0, -3.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("kind", "expected"), [("log_normal", LOG_UP), ("normal", ADD_UP)]
)
def test_one_histogram_is_mirrored(kind, expected):
    builder = one(kind)
    builder.add_systematic(UP, "s", "p", "ch", symmetrize=None)
    builder.add_systematic(UP - NOMINAL, "d", "p", "ch", as_difference=True)
    builder.add_systematic(UP, "k", "p", "ch", kfactor=-0.5, symmetrize="linear")
    found = responses(builder)
    assert builder.spec().responses.half is None
    np.testing.assert_allclose(found["s"][0][0], expected, rtol=1e-14)
    np.testing.assert_allclose(found["d"][0][0], expected, rtol=1e-13)
    np.testing.assert_allclose(found["k"][0][0], -0.5 * expected, rtol=1e-14)


def test_a_pair_of_differences():
    builder = one()
    pair = UP - NOMINAL, DOWN - NOMINAL
    builder.add_systematic(pair, "s", "p", "ch", as_difference=True, symmetrize=None)
    average, half = responses(builder)["s"]
    np.testing.assert_allclose(average[0], (LOG_UP + LOG_DOWN) / 2, rtol=1e-13)
    np.testing.assert_allclose(half[0], (LOG_UP - LOG_DOWN) / 2, rtol=1e-13)


def test_yields_of_the_other_sign_have_the_exponent_of_a_thousandth():
    builder = one()
    up, down = np.array([-1.0, 0.0, 44.0, 0.0]), np.array([9.0, 20.0, -5.0, 0.0])
    builder.add_systematic((up, down), "s", "p", "ch", symmetrize=None, kfactor=3.0)
    average, half = responses(builder)["s"]
    floor = np.log(1e-3)
    # The k-factor does not act on the floor.
    np.testing.assert_allclose(
        (average + half)[0], [floor, floor, 3 * np.log(1.1), 0], rtol=1e-14
    )
    np.testing.assert_allclose(
        (half - average)[0], [3 * np.log(0.9), 0, floor, 0], rtol=1e-14, atol=1e-15
    )
    (said,) = [r for r in builder.spec().report if "changes the sign" in r]
    for word in ("'s'", "'p'", "'ch'", "(0), (1), (2)"):
        assert word in said


def test_negative_yields_respond_by_their_ratio():
    builder = one(nominal=np.array([-10.0, 5.0, 5.0, 5.0]), allow_negative=True)
    builder.add_systematic(np.array([-12.0, 5.0, 5.0, 5.0]), "s", "p", "ch")
    np.testing.assert_allclose(
        responses(builder)["s"][0][0], [np.log(1.2), 0, 0, 0], rtol=1e-14
    )


@pytest.mark.parametrize("kind", ["log_normal", "normal"])
def test_factors_act_on_every_process(kind):
    builder = one(kind)
    for name, yields in (("q", 3 * NOMINAL), ("r", NOMINAL + 1)):
        builder.add_process(yields, name, "ch")
    everyone = ["p", "q", "r"]
    builder.add_norm_systematic("same", everyone, "ch", 1.01)
    builder.add_norm_systematic("each", everyone, "ch", [1.1, (1.2, 0.7), 0.9])
    builder.add_norm_systematic("pair", everyone, "ch", (1.3, 0.8), symmetrize="linear")
    spec, found = builder.spec(), responses(builder)
    yields = np.zeros((3, 4))
    yields[spec.templates.process, spec.templates.bin] = spec.templates.nominal

    def response(up, down=None):
        if kind == "normal":
            return up - 1, up - 1 if down is None else 1 - down
        return np.log(up), np.log(up) if down is None else -np.log(down)

    def spread(values):
        filled = yields if kind == "normal" else (yields != 0).astype(float)
        return np.array(values)[:, None] * filled

    np.testing.assert_allclose(
        found["same"][0], spread([response(1.01)[0]] * 3), rtol=1e-13
    )
    each = [response(1.1), response(1.2, 0.7), response(0.9)]
    np.testing.assert_allclose(
        found["each"][0], spread([(u + d) / 2 for u, d in each]), rtol=1e-13
    )
    up, down = response(1.3, 0.8)
    np.testing.assert_allclose(
        found["pairSymAvg"][0], spread([(up + down) / 2] * 3), rtol=1e-13
    )
    np.testing.assert_allclose(
        found["pairSymDiff"][0], spread([(up - down) / 2] * 3), rtol=1e-13
    )


@pytest.mark.parametrize("choice", ["average", "conservative", "quadratic", None])
def test_a_pair_of_factors_is_a_pair_of_scaled_templates(choice):
    by_factor, by_shape = one(), one()
    by_factor.add_norm_systematic("s", "p", "ch", [1.2, 0.7], symmetrize=choice)
    by_shape.add_systematic(
        (1.2 * NOMINAL, 0.7 * NOMINAL), "s", "p", "ch", symmetrize=choice
    )
    ours, theirs = responses(by_factor), responses(by_shape)
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-13)


def test_order_of_bins_processes_and_systematics():
    builder = TemplateBuilder()
    builder.add_channel([("g", [0.0, 1.0])], "gen", masked=True)
    builder.add_channel([("x", EDGES[:3]), ("y", ["a", "b", "c"])], "two")
    builder.add_channel([], "single")
    builder.add_process([4.0], "sig10", "gen", signal=True)
    for name in ("sig10", "Sig9", "bkg"):
        yields = np.arange(6.0).reshape(2, 3)
        builder.add_process(yields, name, "two", signal="ig" in name)
        builder.add_process(7.0, name, "single", signal="ig" in name)
    for name in ("s10", "S9", "s1"):
        builder.add_norm_systematic(name, "bkg", "two", 1.1)
    builder.add_norm_systematic("z", "bkg", "two", 1.1, constrained=False)
    spec = builder.spec()
    assert [c.name for c in spec.layout.channels] == ["two", "single", "gen"]
    assert spec.layout == builder.layout
    assert spec.layout.processes == ("Sig9", "sig10", "bkg")
    assert spec.signals == ("Sig9", "sig10")
    assert [s.name for s in spec.systematics] == ["z", "s1", "S9", "s10"]
    assert [s.constrained for s in spec.systematics] == [False, True, True, True]
    # Bin 0 of the first channel is empty.
    expected = [(b, p) for b in range(1, 7) for p in range(3)] + [(7, 1)]
    found = list(zip(spec.templates.bin, spec.templates.process, strict=True))
    assert found == expected
    np.testing.assert_array_equal(
        spec.templates.nominal, [*np.repeat([1, 2, 3, 4, 5, 7.0], 3), 4.0]
    )


def test_the_order_of_the_calls_does_not_matter():
    specs = []
    for turn in (1, -1):
        builder = TemplateBuilder()
        builder.add_channel([("x", EDGES)], "a")
        builder.add_channel([], "m", masked=True)
        builder.add_channel([("x", EDGES)], "b")
        for name, channel in [("p", "a"), ("q", "a"), ("q", "m"), ("p", "b")][::turn]:
            values = 5.0 if channel == "m" else NOMINAL
            builder.add_process(values, name, channel, signal=name == "q")
        for process, channel in [("p", "a"), ("q", "a"), ("p", "b")][::turn]:
            builder.add_systematic((UP, DOWN), "s", process, channel, symmetrize=None)
        for process in "qp"[::turn]:
            builder.add_norm_systematic("n", process, "a", 1.1)
        specs.append(builder.spec())
    first, second = specs
    assert first.layout == second.layout
    assert first.systematics == second.systematics
    for part in ("templates", "responses"):
        ours, theirs = getattr(first, part), getattr(second, part)
        for name in type(ours).__dataclass_fields__:
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_variances_by_default_are_the_yields():
    builder = one(allow_negative=True)
    builder.add_process([1.0, -2.0, 0.0, 4.0], "q", "ch")
    builder.add_process(NOMINAL, "r", "ch", variances=[0.0, 4.0, 9.0, 0.5])
    spec = builder.spec()
    table = np.zeros((3, 4))
    table[spec.templates.process, spec.templates.bin] = spec.templates.variance
    # A yield of 0 whose variance is none keeps its row.
    np.testing.assert_array_equal(
        table, [NOMINAL, [1.0, 2.0, 0.0, 4.0], [0.0, 4.0, 9.0, 0.5]]
    )
    (said,) = [r for r in spec.report if "variances were given" in r]
    assert "'p' in 'ch', 'q' in 'ch'" in said
    assert "'r'" not in said


def test_a_row_without_a_yield_does_not_respond():
    for kind in ("log_normal", "normal"):
        builder = TemplateBuilder(kind)
        builder.add_channel([("x", EDGES[:3])], "ch")
        builder.add_process([0.0, 5.0], "p", "ch", variances=[2.0, 5.0])
        builder.add_systematic([1.0, 6.0], "s", "p", "ch")
        builder.add_norm_systematic("n", "p", "ch", 1.1)
        for average, _ in responses(builder).values():
            assert average[0, 0] == 0.0
            assert average[0, 1] > 0.0


def test_further_axes_of_an_array_make_a_parameter_a_bin():
    builder = one()
    shifts = np.linspace(-1, 1, 24).reshape(4, 2, 3)
    varied = NOMINAL[:, None, None] + shifts
    builder.add_systematic(varied, "pdf", "p", "ch", syst_axes=["a", "b"])
    down = NOMINAL[:, None] - shifts[:, 0]
    pair = varied[:, 0], down
    builder.add_systematic(
        pair, "eff", "p", "ch", syst_axes="b", symmetrize="linear", groups="g"
    )
    found = responses(builder)
    names = [f"pdf_{a}_{b}" for a in range(2) for b in range(3)]
    assert set(found) == {
        *names,
        *(f"eff_{b}Sym{what}" for b in range(3) for what in ("Avg", "Diff")),
    }
    for name in names:
        a, b = map(int, name.split("_")[1:])
        expected = np.log(varied[:3, a, b] / NOMINAL[:3])
        np.testing.assert_allclose(found[name][0][0, :3], expected, rtol=1e-12)
    groups = {s.name: s.groups for s in builder.spec().systematics}
    assert groups["pdf_1_2"] == ("pdf",)
    assert groups["eff_0SymDiff"] == ("g",)


def test_several_processes_with_their_histograms():
    builder = one()
    builder.add_process(2 * NOMINAL, "q", "ch")
    builder.add_systematic([UP, (2 * UP, 2 * DOWN)], "s", ["p", "q"], "ch")
    average = responses(builder)["s"][0]
    np.testing.assert_allclose(average[0], LOG_UP, rtol=1e-14)
    np.testing.assert_allclose(average[1], (LOG_UP + LOG_DOWN) / 2, rtol=1e-14)


def test_groups_of_several_calls_are_joined():
    builder = one()
    builder.add_process(NOMINAL, "q", "ch")
    builder.add_systematic(UP, "s", "p", "ch", groups=["a", "b"])
    builder.add_systematic(UP, "s", "q", "ch", groups=["b", "c"])
    builder.add_norm_systematic("n", "p", "ch", 1.1)
    builder.add_norm_systematic("n", "q", "ch", 1.1, groups="mine")
    builder.add_systematic((UP, DOWN), "l", "q", "ch", symmetrize="linear", noi=True)
    by_name = {s.name: s for s in builder.spec().systematics}
    assert by_name["s"].groups == ("a", "b", "c")
    assert by_name["n"].groups == ("mine",)
    assert by_name["lSymAvg"].groups == by_name["lSymDiff"].groups == ("l",)
    assert [n for n, s in by_name.items() if s.interest] == ["lSymAvg", "lSymDiff"]


def test_nothing_given_is_changed_or_kept():
    given = {
        "values": NOMINAL.copy(),
        "variances": NOMINAL.copy() + 1,
        "data": NOMINAL.copy() + 5,
        "covariance": np.diag(NOMINAL + 2.0),
        "up": UP.copy(),
        "extra": UP.copy() + 1,
    }
    before = {name: values.copy() for name, values in given.items()}
    builder = TemplateBuilder(add_bin_by_bin_stat_to_data_cov=True)
    builder.add_channel([("x", EDGES)], "ch")
    builder.add_process(given["values"], "p", "ch", variances=given["variances"])
    builder.add_data(given["data"], "ch", variances=given["variances"])
    builder.add_data_covariance(given["covariance"])
    builder.add_pseudodata(given["data"], "toy", "ch")
    builder.add_systematic(given["up"], "s", "p", "ch")
    builder.add_systematic(given["up"], "c", "p", "ch", add_to_data_covariance=True)
    builder.add_auxiliary("a", {"k": given["extra"]})
    first = builder.spec()
    for name, values in given.items():
        np.testing.assert_array_equal(values, before[name])
        values[...] = -1.0
    second = builder.spec()
    for name in ("observed", "observed_variance", "observed_covariance"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(second.templates.nominal, [10.0, 20.0, 40.0, 0.0])
    np.testing.assert_array_equal(second.pseudodata["toy"], before["data"])
    np.testing.assert_array_equal(second.auxiliary["a"]["k"], before["extra"])


def test_flow_bins_of_arrays_reach_to_infinity():
    builder = TemplateBuilder()
    axes = [("x", [0.0, 1.0]), Axis("c", labels=("a", "b"))]
    builder.add_channel(axes, "ch", flow=True)
    (channel,) = builder.layout.channels
    assert channel.axes[0].edges == (-np.inf, 0.0, 1.0, np.inf)
    assert channel.shape == (3, 2)
    builder.add_process(np.arange(6.0).reshape(3, 2), "p", "ch")
    np.testing.assert_array_equal(builder.spec().templates.bin, [1, 2, 3, 4, 5])


def test_builder_and_specification_are_shown_in_a_line():
    builder = one()
    builder.add_systematic(UP, "sys", "p", "ch")
    there = "1 channels, 1 processes, 1 systematics)"
    assert repr(builder) == f"TemplateBuilder({there}"
    shown = "1 channels, 4 fitted bins, 1 processes, 1 systematics)"
    assert repr(builder.spec()) == f"TemplateSpec({shown}"


def test_models_are_built_of_the_specification():
    model = cases.builder("base").build(statistics=None)
    assert isinstance(model, TemplateModel)
    assert model.layout == cases.builder("base").layout
    assert "signal" in model.state


@pytest.mark.parametrize("name", cases.NAMES)
def test_reference_models_are_complete(name):
    spec = cases.builder(name).spec()
    assert spec.layout.fitted == 20
    assert spec.layout.bins == 22
    assert spec.sparse == (name == "sparse")
    assert (spec.responses.half is not None) == (name == "asym")
    np.testing.assert_array_equal(spec.observed, cases.arrays()["data"].ravel())


def test_variations_agree_with_those_of_another_tool():
    """At the nominal values the yields change by the sum of nominal times response."""
    said = json.loads((cases.FOLDER / "prefit_variations.json").read_text())
    spec, found = cases.builder("base").spec(), responses(cases.builder("base"))
    yields = np.zeros((3, 22))
    yields[spec.templates.process, spec.templates.bin] = spec.templates.nominal
    for channel, parts in said.items():
        down_up = np.array(parts["down_up"])
        assert ["signal", *found] == parts["parameters"]
        for i, name in enumerate(parts["parameters"][1:], 1):
            change = (yields * found[name][0]).sum(0)[spec.layout.bins_of(channel)]
            theirs = (down_up[..., i, 1] - down_up[..., i, 0]).ravel() / 2
            np.testing.assert_allclose(change, theirs, rtol=1e-9, atol=1e-9)
