"""What a builder refuses, and that its refusals leave no trace."""

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    EverwillowError,
    KeyCollisionError,
    NonFiniteError,
    ShapeMismatchError,
    UnknownKeyError,
)
from everwillow.models.templates.booking.builder import TemplateBuilder


NOMINAL = np.array([10.0, 20.0, 30.0])
UP = 1.1 * NOMINAL


def builder():
    """Return a builder with two processes in one channel."""
    out = TemplateBuilder()
    out.add_channel([("x", [0.0, 1.0, 2.0, 3.0])], "ch")
    out.add_process(NOMINAL, "p", "ch", signal=True)
    out.add_process(NOMINAL, "q", "ch")
    return out


def refuses(error, message, call):
    """Check that a call fails, and that what was told before is as it was."""
    told = builder()
    told.add_norm_systematic("old", ["p", "q"], "ch", 1.1, groups="g")
    before = told.spec()
    with pytest.raises(error, match=message) as caught:
        call(told)
    assert isinstance(caught.value, EverwillowError)
    after = told.spec()
    assert after.systematics == before.systematics
    assert after.report == before.report
    assert after.layout == before.layout
    np.testing.assert_array_equal(after.responses.row, before.responses.row)


NORMS = (
    (("old", "p", "ch", 1.2), KeyCollisionError, "'old' was booked before .* 'p'"),
    (("new", ["p", "r"], "ch", 1.2), UnknownKeyError, "'ch' has no process 'r'"),
    (("new", "p", ["ch"], 1.2), ArgumentTypeError, "a string"),
    (("new", "p", "chh", 1.2), UnknownKeyError, r"'chh'\. Did you mean 'ch'"),
    (("new", ["p", "p"], "ch", 1.2), KeyCollisionError, "every name once"),
    (("new", [], "ch", 1.2), KeyCollisionError, "one at least"),
    (("", "p", "ch", 1.2), ArgumentTypeError, "not empty"),
    ((7, "p", "ch", 1.2), ArgumentTypeError, "got 7"),
    (("new", 7, "ch", 1.2), ArgumentTypeError, "a name or several"),
    (("new", "p", "ch", 0.0), ArgumentValueError, "above 0"),
    (("new", "p", "ch", (1.1, -0.9)), ArgumentValueError, "above 0"),
    (("new", "p", "ch", np.nan), NonFiniteError, "finite"),
    (("new", "p", "ch", "large"), ArgumentTypeError, "a number"),
    (("new", "p", "ch", (1.1, None)), ArgumentTypeError, "up and down"),
    (("new", "p", "ch", (1.1, 0.9, 0.8)), ShapeMismatchError, "a pair"),
    (("new", ["p", "q"], "ch", [1.1]), ShapeMismatchError, "1 entries for the 2"),
    (("new", ["p", "q"], "ch", [1.1] * 3), ShapeMismatchError, "3 entries for the 2"),
)


@pytest.mark.parametrize(("given", "error", "message"), NORMS)
def test_factors_that_are_refused(given, error, message):
    refuses(error, message, lambda told: told.add_norm_systematic(*given))


SHAPES = (
    ((UP, "old", "q", "ch"), {}, KeyCollisionError, "'old' was booked before"),
    ((UP, "new", "r", "ch"), {}, UnknownKeyError, "no process 'r'"),
    ((UP[:2], "new", "p", "ch"), {}, ShapeMismatchError, "'new' .* 'p', up"),
    (((UP, UP[:2]), "new", "p", "ch"), {}, ShapeMismatchError, "'p', down"),
    (((UP, UP, UP), "new", "p", "ch"), {}, ShapeMismatchError, "tuple of 3"),
    (([UP], "new", ["p", "q"], "ch"), {}, ShapeMismatchError, "2 processes need"),
    ((UP, "new", ["p", "q"], "ch"), {}, ShapeMismatchError, "2 processes need"),
    ((UP, "new", "p", "ch"), {"mirror": False}, ArgumentValueError, "up, down"),
    ((UP, "new", "p", "ch"), {"kfactor": 0.0}, ArgumentValueError, "kfactor"),
    ((UP, "new", "p", "ch"), {"kfactor": "2"}, ArgumentTypeError, "kfactor"),
    ((UP, "new", "p", "ch"), {"kfactor": np.inf}, ArgumentValueError, "kfactor"),
    (
        (UP, "new", "p", "ch"),
        {"symmetrize": "avarage"},
        ArgumentValueError,
        r"Did you mean 'average'",
    ),
    ((UP * np.inf, "new", "p", "ch"), {}, NonFiniteError, "value of bin 0"),
    ((0 * UP, "new", "p", "ch"), {}, ArgumentValueError, "up: .* empty"),
    (((UP, 0 * UP), "new", "p", "ch"), {}, ArgumentValueError, "down: .* empty"),
    ((UP, "new", "p", "ch"), {"syst_axes": ["k"]}, ShapeMismatchError, "'k'"),
    ((UP, "new", "p", "ch"), {"groups": 5}, ArgumentTypeError, "groups"),
    (
        ((UP[:, None], np.stack([UP, UP], 1)), "new", "p", "ch"),
        {"syst_axes": ["k"]},
        ShapeMismatchError,
        "different further axes",
    ),
)


@pytest.mark.parametrize(("given", "options", "error", "message"), SHAPES)
def test_variations_that_are_refused(given, options, error, message):
    refuses(error, message, lambda told: told.add_systematic(*given, **options))


@pytest.mark.parametrize("what", ["constrained", "noi"])
def test_a_name_is_one_kind_of_parameter(what):
    flipped = {what: what == "noi"}
    told = builder()
    told.add_systematic(UP, "s", "p", "ch")
    with pytest.raises(ConflictError, match=f"'s' was booked with {what}="):
        told.add_systematic(UP, "s", "q", "ch", **flipped)
    with pytest.raises(ConflictError, match=f"'s' was booked with {what}="):
        told.add_norm_systematic("s", "q", "ch", 1.1, **flipped)
    assert len(told.spec().responses.row) == 3
    # The parts that symmetrisation makes are parameters, too.
    told.add_systematic((UP, UP), "l", "p", "ch", symmetrize="linear")
    with pytest.raises(ConflictError, match=f"'lSymAvg' was booked with {what}="):
        told.add_systematic(UP, "lSymAvg", "q", "ch", **flipped)


def test_a_systematic_is_booked_once_however_it_is_symmetrised():
    told = builder()
    told.add_systematic((UP, NOMINAL), "s", "p", "ch", symmetrize="linear")
    for name in ("s", "sSymAvg", "sSymDiff"):
        with pytest.raises(KeyCollisionError, match=f"'{name}' was booked before"):
            told.add_systematic(UP, name, "p", "ch")


def test_bins_of_further_axes_have_different_names():
    hist = pytest.importorskip("hist")
    told = builder()
    axes = [
        hist.axis.Variable(told.layout.channels[0].axes[0].edges, name="x"),
        hist.axis.StrCategory(["a_b", "a"], name="u"),
        hist.axis.StrCategory(["c", "b_c"], name="v"),
    ]
    varied = hist.Hist(*axes)
    varied.view()[...] = UP[:, None, None]
    with pytest.raises(KeyCollisionError, match="'s_a_b_c': two bins"):
        told.add_systematic(varied, "s", "p", "ch")
    assert not any(s.name.startswith("s_") for s in told.spec().systematics)


def test_one_name_split_and_not_split_is_said():
    told = builder()
    told.add_systematic((UP, NOMINAL), "s", "p", "ch", symmetrize="linear")
    told.add_systematic(UP, "s", "q", "ch")
    (said,) = [r for r in told.spec().report if "split" in r]
    assert "'sSymAvg' and 'sSymDiff'" in said


def test_processes_that_are_refused():
    negative = np.array([1.0, -2.0, -3.0])
    for call, error, message in (
        (lambda t: t.add_process(UP, "p", "ch"), KeyCollisionError, "added before"),
        (lambda t: t.add_process(UP, "r", "no"), UnknownKeyError, "no channel 'no'"),
        (lambda t: t.add_process(UP, "", "ch"), ArgumentTypeError, "not empty"),
        (
            lambda t: t.add_process(negative, "r", "ch"),
            ArgumentValueError,
            r"process 'r' in channel 'ch': .* bins \(1\), \(2\).*allow_negative=True",
        ),
        (
            lambda t: t.add_process(UP, "r", "ch", variances=negative),
            ArgumentValueError,
            r"variance is negative in bins \(1\), \(2\)",
        ),
        (
            lambda t: t.add_process(UP, "r", "ch", variances=UP[:2]),
            ShapeMismatchError,
            "'r' in channel 'ch', variances",
        ),
    ):
        refuses(error, message, call)


def test_negative_yields_may_be_allowed():
    told = TemplateBuilder(allow_negative=True)
    told.add_channel([("x", [0.0, 1.0, 2.0])], "ch")
    told.add_process([1.0, -2.0], "p", "ch")
    np.testing.assert_array_equal(told.spec().templates.nominal, [1.0, -2.0])


def test_a_process_is_a_signal_everywhere_or_nowhere():
    told = builder()
    told.add_channel([], "other")
    with pytest.raises(ConflictError, match="'p' is a signal in one channel"):
        told.add_process(1.0, "p", "other")


def test_channels_have_names_of_their_own():
    refuses(KeyCollisionError, "'ch' already", lambda t: t.add_channel([], "ch"))
    refuses(ArgumentTypeError, "not empty", lambda t: t.add_channel([], ""))


def test_kinds_of_systematics():
    with pytest.raises(ArgumentValueError, match="'lognormal'"):
        TemplateBuilder("lognormal")


def test_too_little_for_a_fit():
    told = TemplateBuilder()
    with pytest.raises(ArgumentValueError, match="no channel to fit"):
        told.spec()
    told.add_channel([], "gen", masked=True)
    told.add_process(1.0, "p", "gen")
    with pytest.raises(ArgumentValueError, match="no channel to fit"):
        told.spec()
    told.add_channel([], "ch")
    with pytest.raises(ArgumentValueError, match="'ch' has no process"):
        told.spec()
    told.add_process(1.0, "p", "ch")
    assert told.spec().layout.bins == 2


@pytest.mark.parametrize("kind", ["log_normal", "normal"])
def test_what_is_odd_is_said(kind):
    told = TemplateBuilder(kind)
    told.add_channel([("x", [0.0, 1.0, 2.0, 3.0])], "ch")
    told.add_process([10.0, 20.0, 0.0], "p", "ch", variances=[1.0, 1.0, 0.0])
    told.add_process([0.0, 0.0, 0.0], "nothing", "ch")
    told.add_systematic([25.0, 20.0, 0.0], "huge", "p", "ch")
    told.add_systematic(([11.0, 22.0, 0.0], [10.5, 18.0, 0.0]), "side", "p", "ch")
    told.add_systematic([-1.0, 21.0, 0.0], "sign", "p", "ch")
    told.add_systematic([11.0, 21.0, 5.0], "out", "p", "ch")
    told.add_systematic([10.0, 20.0, 0.0], "idle", "p", "ch", constrained=False)
    told.add_norm_systematic("unity", "p", "ch", 1.0)
    told.add_norm_systematic("triple", "p", "ch", 3.0)
    told.add_norm_systematic("added", "p", "ch", 0.05)
    told.add_norm_systematic("same", "p", "ch", (1.1, 1.2))
    report = told.spec().report

    def said(name):
        return " ".join(r for r in report if f"'{name}'" in r)

    assert "empty" in said("nothing")
    assert "up to 150 %, in bin (0)" in said("huge")
    assert "opposite sides, up and down, in bin (0)" in said("side")
    assert "changes the sign of the yield, or makes it 0, in bin (0)" in said("sign")
    assert ("ln(1e-3)" in said("sign")) == (kind == "log_normal")
    assert "leaves empty, bin (2)" in said("out")
    assert "has no effect anywhere, and nothing constrains it" in said("idle")
    assert "has no effect anywhere." in said("unity")
    assert "up to 200 %, in bins (0), (1)" in said("triple")
    assert "factor 0.05, that is -95 %; is 1.05 what is meant?" in said("added")
    assert "opposite sides, up and down, in bins (0), (1)" in said("same")
    assert "Channel 'ch': nothing is expected in bin (2)." in report


def test_what_is_fine_is_not_said():
    told = builder()
    told.add_systematic((UP, 0.9 * NOMINAL), "s", "p", "ch")
    told.add_norm_systematic("n", ["p", "q"], "ch", 2.0)
    told.add_data(NOMINAL, "ch")
    (only,) = told.spec().report
    assert only.startswith("No variances were given")


def test_long_reports_are_shortened():
    told = TemplateBuilder()
    told.add_channel([("x", np.arange(31.0))], "ch")
    told.add_process(np.ones(30), "p", "ch", variances=np.ones(30))
    told.add_data(np.ones(30), "ch")
    for i in range(60):
        told.add_norm_systematic(f"s{i}", "p", "ch", 3.0)
    report = told.spec().report
    assert len(report) == 51
    assert report[0].endswith("(9) and 20 more.")
    assert report[-1] == "... and 10 more like the last."
