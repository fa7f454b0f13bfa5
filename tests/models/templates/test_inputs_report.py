"""The report on inputs finds what was put in, and nothing else."""

import dataclasses

import numpy as np
import pytest

from everwillow.models.templates.booking.builder import TemplateBuilder
from everwillow.models.templates.inputs_report import inspect_inputs
from tests.models.templates import cases


YIELDS = np.array([[10.0, 20.0], [30.0, 0.0]])
OTHERS = np.array([[5.0, 0.0], [0.0, 0.0]])


def odd(kind="log_normal"):
    """Return a builder with one fault of each kind."""
    out = TemplateBuilder(kind)
    out.add_channel([("g", [0.0, 1.0])], "gen", masked=True)
    out.add_channel([("x", [0.0, 1.0, 2.0]), ("c", ["lo", "hi"])], "ch")
    out.add_process([100.0], "p", "gen", signal=True, variances=[1.0])
    out.add_process(YIELDS, "p", "ch", signal=True, variances=YIELDS)
    out.add_process(OTHERS, "q", "ch", variances=OTHERS)
    for name, change in {
        "huge": [[15.0, 0.0], [31.0, 0.0]],
        "sign": [[0.0, -25.0], [0.0, 0.0]],
        "none": [[0.0, 0.0], [0.0, 0.0]],
        "fine": [[1.0, -2.0], [3.0, 0.0]],
    }.items():
        out.add_systematic(np.array(change), name, "p", "ch", as_difference=True)
    up, down = [[1.0, -1.0], [2.0, 0.0]], [[0.5, -2.0], [-2.0, 0.0]]
    sides = YIELDS + np.array(up), YIELDS + np.array(down)
    out.add_systematic(sides, "side", "p", "ch", symmetrize=None)
    out.add_norm_systematic("norm", ["p", "q"], "ch", [1.1, 2.5])
    out.add_data([[1.0, 2.0], [3.0, 4.0]], "ch")
    return out


@pytest.mark.parametrize("kind", ["log_normal", "normal"])
def test_faults_are_found_where_they_are(kind):
    report = inspect_inputs(odd(kind).spec())
    found = {
        (v.fault, v.systematic, v.process, v.channel, v.bins, v.count): v.size
        for v in report.odd_variations
    }
    expected = {
        ("huge", "huge", "p", "ch", ((0, 0), (1, 0)), 2): 1.5,
        ("huge", "norm", "q", "ch", ((0, 0),), 1): 1.5,
        ("one-sided", "side", "p", "ch", ((0, 0), (0, 1)), 2): 0.1,
        ("sign-changing", "sign", "p", "ch", ((0, 1),), 1): 999.0,
    }
    if kind == "normal":
        # Mirrored, 250 % is -50 %.
        expected |= {
            ("huge", "sign", "p", "ch", ((0, 1),), 1): 1.25,
            ("sign-changing", "huge", "p", "ch", ((0, 0), (1, 0)), 2): 1.5,
            ("sign-changing", "norm", "q", "ch", ((0, 0),), 1): 1.5,
            ("sign-changing", "sign", "p", "ch", ((0, 1),), 1): 1.25,
        }
    assert set(found) == set(expected)
    for key, size in expected.items():
        assert found[key] == pytest.approx(size, rel=1e-12)
    assert report.without_effect == ("none",)


def test_channels_bins_and_templates():
    report = inspect_inputs(odd().spec())
    fitted, masked = report.channels
    assert dataclasses.astuple(fitted) == ("ch", 4, False, 65.0, 10.0)
    assert dataclasses.astuple(masked) == ("gen", 1, True, 100.0, None)
    (empty,) = report.empty_bins
    assert (empty.channel, empty.bins, empty.with_data) == ("ch", ((1, 1),), 1)
    (template,) = report.empty_templates
    assert (template.process, template.channel) == ("q", "gen")


def test_the_reference_model_is_in_order():
    for name in cases.NAMES:
        report = inspect_inputs(cases.builder(name).spec())
        assert report.empty_bins == report.odd_variations == report.without_effect == ()


def test_it_prints_as_tables():
    text = str(inspect_inputs(odd().spec()))
    lines = text.splitlines()
    assert lines[0] == "channel  bins  masked  expected  observed"
    assert lines[1] == "ch       4     no      65        10"
    assert lines[2] == "gen      1     yes     100       -"
    for title in (
        "nothing expected in",
        "without a yield",
        "huge variation",
        "one-sided variation",
        "sign-changing variation",
        "without any effect",
        "remarks",
    ):
        assert sum(line.startswith(title) for line in lines) == 1
    assert all(line == line.rstrip() for line in lines)


def test_a_fit_without_faults_prints_its_channels_only():
    builder = TemplateBuilder()
    builder.add_channel([], "ch")
    builder.add_process(4.0, "p", "ch", variances=1.0)
    builder.add_data(3.0, "ch")
    text = str(inspect_inputs(builder.spec()))
    assert text.splitlines() == [
        "channel  bins  masked  expected  observed",
        "ch       1     no      4         3",
    ]
