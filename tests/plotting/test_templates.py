"""Plots of template fits: what is drawn where, read back from the figures."""

import numpy as np
import pytest


pytest.importorskip("matplotlib")

import itertools

from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch

import everwillow as ew
from everwillow import plotting
from everwillow.likelihood.histograms import Axis
from everwillow.plotting._unrolled import unrolled
from everwillow.plotting.style import PALETTE


X = Axis("x", edges=(0.0, 1.0, 3.0, 4.0))
SIGN = Axis("sign", labels=("minus", "plus"))
VALUES = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def steps(axes, *, filled=None):
    """Heights of the steps in a panel, in the order in which they were drawn."""
    found = [p for p in axes.patches if isinstance(p, StepPatch)]
    if filled is not None:
        found = [p for p in found if p.get_fill() == filled]
    return [np.asarray(p.get_data().values) for p in found]


def points(axes):
    (line,) = [one for one in axes.lines if one.get_marker() == "o"]
    return np.stack(line.get_data())


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ticks(axes):
    return [text.get_text() for text in axes.get_xticklabels()]


def test_bins_of_several_axes_are_blocks_of_the_longest():
    plan = unrolled((X, SIGN))
    np.testing.assert_array_equal(plan.flat(VALUES, "values"), [1, 3, 5, 2, 4, 6])
    np.testing.assert_array_equal(plan.flat(VALUES.ravel(), "v"), [1, 3, 5, 2, 4, 6])
    assert plan.blocks == ("minus", "plus")
    assert plan.name == "x"
    assert plan.outer == "sign"
    with pytest.raises(ew.EverwillowError, match="values: expected the shape"):
        plan.flat(VALUES.T, "values")


def test_one_axis_keeps_its_edges_and_flow_gets_the_width_of_its_neighbour():
    np.testing.assert_array_equal(unrolled((X,)).edges, X.edges)
    flow = Axis("x", edges=(-np.inf, 0.0, 2.0, np.inf))
    np.testing.assert_array_equal(unrolled((flow,)).edges, [-2, 0, 2, 4])
    assert unrolled((SIGN,)).categories == ("minus", "plus")
    assert unrolled(()).bins == 1


def test_a_stack_has_data_ratio_and_pulls():
    figure = plotting.template_distribution(
        axes=(X, SIGN),
        samples={"flat": 10 * VALUES, "signal": VALUES},
        observed=np.round(11 * VALUES + 4),
        observed_errors=np.full((3, 2), 2.0),
        errors=VALUES,
        prefit=10.5 * VALUES,
    )
    above, ratio, pull = figure.axes
    order = np.array([1, 3, 5, 2, 4, 6])
    np.testing.assert_allclose(points(above)[1], 11 * order + 4)
    np.testing.assert_allclose(points(ratio)[1], (11 * order + 4) / (11 * order))
    # Four events too many, each two errors.
    np.testing.assert_allclose(steps(pull)[0], 2.0)
    np.testing.assert_allclose(steps(above, filled=True)[1], 11 * order)
    assert ticks(pull) == ["minus", "plus"]
    assert pull.get_xlabel() == "Bins of x, in sign"
    assert legend(above)[0] == "Data"


def test_pulls_look_at_the_error_on_the_side_of_the_expectation():
    figure = plotting.distribution(
        edges=[0, 1, 2],
        samples={"b": [10.0, 10.0]},
        observed=[8, 12],
        observed_errors=[[1.0, 4.0], [2.0, 1.0]],
        pulls=True,
    )
    np.testing.assert_allclose(steps(figure.axes[2])[0], [-1.0, 0.5])
    assert len(plotting.distribution(edges=[0, 1], samples={"b": [1.0]}).axes) == 1


def test_variations_are_drawn_with_their_ratios():
    up, down = VALUES * 1.1, VALUES * 0.8
    figure = plotting.template_variations(
        axes=(X, SIGN),
        nominal=VALUES,
        variations={"scale": (up, down), "other": (VALUES, VALUES)},
    )
    above, below = figure.axes
    np.testing.assert_allclose(steps(above)[0], [1, 3, 5, 2, 4, 6])
    ratios = steps(below)
    np.testing.assert_allclose(ratios[0], 1.1)
    np.testing.assert_allclose(ratios[1], 0.8)
    assert legend(above) == ["Nominal", "scale", "other", "+1σ", "−1σ"]
    low, high = below.get_ylim()
    assert low < 0.8 < 1.1 < high
    many = {str(i): (up, down) for i in range(11)}
    with pytest.raises(ew.EverwillowError, match="too many"):
        plotting.template_variations(axes=(X, SIGN), nominal=VALUES, variations=many)


def test_every_process_has_a_panel_before_and_after():
    x = VALUES[:, 0]
    names = [f"p{i}" for i in range(4)]
    figure = plotting.template_processes(
        axes=(X,),
        prefit=dict.fromkeys(names, x),
        postfit=dict.fromkeys(names, 2 * x),
        per_width=False,
    )
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.texts[0].get_text() for axes in shown] == names
    for axes in shown:
        heights = steps(axes)
        np.testing.assert_allclose(heights[0], 2 * x)
        np.testing.assert_allclose(heights[-1], x)
    with pytest.raises(ew.EverwillowError, match="no processes"):
        plotting.template_processes(axes=(X,), prefit={}, postfit={})


def test_errors_are_in_percent_of_the_values():
    values, total = np.array([10.0, 20.0, 0.0]), np.array([1.0, 1.0, 0.5])
    figure = plotting.uncertainty_breakdown(
        axes=(X,), parts={"lumi": total / 2}, total=total, values=values
    )
    (axes,) = figure.axes
    lines = steps(axes, filled=False)
    np.testing.assert_allclose(lines[0], [10, 5, np.nan])
    np.testing.assert_allclose(lines[1], [5, 2.5, np.nan])
    assert legend(axes) == ["Total", "lumi"]
    plain = plotting.uncertainty_breakdown(axes=(X,), parts={}, total=total)
    np.testing.assert_allclose(steps(plain.axes[0], filled=False)[0], total)
    assert plain.axes[0].get_ylabel() == "Uncertainty"


def test_a_cross_section_has_theory_and_its_ratio():
    values, errors = np.array([10.0, 40.0, 5.0]), np.array([1.0, 2.0, 0.5])
    figure = plotting.cross_section(
        axes=(X,),
        values=values,
        errors=errors,
        statistical=errors / 2,
        theory={"NLO": 1.1 * values, "NNLO": (0.9 * values, 0.05 * values)},
        per_width=True,
    )
    above, below = figure.axes
    marked = [one for one in above.lines if one.get_marker() == "o"]
    for line in marked:
        np.testing.assert_allclose(line.get_ydata(), values / np.diff(X.edges))
    assert legend(above) == ["Data", "Stat.", "NLO", "NNLO"]
    lines = steps(below, filled=False)
    np.testing.assert_allclose(lines[0], 1.1)
    np.testing.assert_allclose(lines[1], 0.9)
    colours = [to_hex(p.get_edgecolor()) for p in below.patches if not p.get_fill()]
    assert colours == list(PALETTE[:2])
    low, high = below.get_ylim()
    assert low < 0.85
    assert high > 1.1
    with pytest.raises(ew.EverwillowError, match="single axis"):
        plotting.cross_section(
            axes=(X, SIGN), values=VALUES, errors=VALUES, per_width=True
        )


def test_names_that_are_too_long_stand_upright_and_do_not_touch():
    names = tuple(f"a rather long category {i}" for i in range(8))
    axis = Axis("category", labels=names)
    figure = plotting.cross_section(axes=(axis,), values=np.ones(8), errors=np.ones(8))
    (axes,) = figure.axes
    assert ticks(axes) == list(names)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axes.get_xticklabels()]
    assert all(a.x1 <= b.x0 for a, b in itertools.pairwise(boxes))
    bottom = figure.bbox.y0
    assert all(box.y0 >= bottom for box in boxes)


def test_a_single_number_and_its_prediction_with_an_error():
    figure = plotting.cross_section(
        axes=(), values=2.0, errors=0.5, theory={"Pre-fit": (1.5, 0.4)}
    )
    np.testing.assert_allclose(steps(figure.axes[1], filled=False)[0], 0.75)


def test_logarithmic_axes_begin_below_the_smallest_bin():
    figure = plotting.template_variations(
        axes=(X,), nominal=[1000.0, 10.0, 0.0], variations={}, log=True
    )
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert 1.0 < low < 10.0
    assert high > 1000.0


FLOW = Axis("pt", edges=(0.0, 1.0, 3.0, np.inf), title="pT [GeV]")


def shaded(axes):
    """The ends of what is shaded, from left to right."""
    spans = [p for p in axes.patches if p.get_alpha() == 0.13]
    return [(p.get_x(), p.get_x() + p.get_width()) for p in spans]


def test_events_in_bins_of_unequal_widths_are_divided_by_them():
    samples, widths = {"b": np.array([10.0, 30.0, 20.0])}, np.diff(X.edges)
    draw = plotting.template_distribution
    figure = draw(axes=(X,), samples=samples, observed=[8, 33, 21])
    above, ratio, pull = figure.axes
    np.testing.assert_allclose(steps(above)[0], samples["b"] / widths)
    np.testing.assert_allclose(points(above)[1], np.array([8, 33, 21]) / widths)
    np.testing.assert_allclose(points(ratio)[1], [0.8, 1.1, 1.05])
    assert above.get_ylabel() == "Events / unit"
    assert pull.get_xlabel() == "x"
    plain = draw(axes=(X,), samples=samples, per_width=False).axes[0]
    np.testing.assert_allclose(steps(plain)[0], samples["b"])
    assert plain.get_ylabel() == "Events"
    other = draw(axes=(X,), samples=samples, quantity="Fraction of events").axes[0]
    np.testing.assert_allclose(steps(other)[0], samples["b"])
    even = Axis("x", edges=(0.0, 2.0, 4.0, 6.0))
    assert draw(axes=(even,), samples=samples).axes[0].get_ylabel() == "Events"
    asked = draw(axes=(even,), samples=samples, per_width=True).axes[0]
    np.testing.assert_allclose(steps(asked)[0], samples["b"] / 2)
    with pytest.raises(ew.EverwillowError, match="single axis"):
        draw(axes=(X, SIGN), samples={"b": VALUES}, per_width=True)
    both = plotting.template_variations(
        axes=(FLOW,), nominal=samples["b"], variations={"a": (VALUES[:, 0],) * 2}
    ).axes
    # A bin without an end is drawn as wide as its neighbour.
    np.testing.assert_allclose(steps(both[0])[0], samples["b"] / [1, 2, 2])
    np.testing.assert_allclose(steps(both[1])[0], VALUES[:, 0] / samples["b"])
    assert both[0].get_ylabel() == "Events / GeV"
    each = plotting.template_processes(axes=(X,), prefit={}, postfit=samples).axes[0]
    np.testing.assert_allclose(steps(each)[0], samples["b"] / widths)


def test_bins_without_an_end_are_marked():
    options = {"values": np.ones(3), "errors": np.ones(3), "theory": {"t": np.ones(3)}}
    figure = plotting.cross_section(axes=(FLOW,), **options)
    for axes in figure.axes:
        assert shaded(axes) == [(3.0, 5.0)]
    below = figure.axes[-1]
    assert below.get_xlabel() == "pT [GeV] (last bin: overflow)"
    # No number stands where the axis has none.
    assert ticks(below)[-1] == "∞"
    assert max(float(t.replace("−", "-")) for t in ticks(below)[:-1]) <= 3
    first = Axis("x", edges=(-np.inf, 0.0, 1.0))
    two = {"values": np.ones((2, 2)), "errors": np.ones((2, 2))}
    (axes,) = plotting.cross_section(axes=(first, SIGN), **two).axes
    # The longest axis is that of the signs here, so that flow is in their names.
    assert shaded(axes) == []
    wide = Axis("x", edges=(-np.inf, 0.0, 1.0, np.inf))
    two = {"values": np.ones((3, 2)), "errors": np.ones((3, 2))}
    (axes,) = plotting.cross_section(axes=(wide, SIGN), **two).axes
    assert shaded(axes) == [(0, 1), (2, 3), (3, 4), (5, 6)]
    text = "Bins of x (first and last bin: underflow, overflow), in sign"
    assert axes.get_xlabel() == text


def test_what_may_be_negative_is_compared_by_differences():
    values, errors = np.array([-0.1, 0.0, 0.2]), np.array([0.1, 0.2, 0.1])
    theory = np.array([0.1, -0.1, 0.1])
    figure = plotting.cross_section(
        axes=(X,),
        values=values,
        errors=errors,
        theory={"t": (theory, errors / 2)},
        below="difference",
        name="Asymmetry",
    )
    above, below = figure.axes
    assert above.get_ylabel() == "Asymmetry"
    assert below.get_ylabel() == "Pred. − Data"
    np.testing.assert_allclose(steps(below)[0], errors)
    np.testing.assert_allclose(steps(below)[1], theory - values)
    np.testing.assert_allclose(steps(below)[2], theory - values + errors / 2)
    figure = plotting.template_distribution(
        axes=(X,),
        samples={"b": theory},
        observed=values,
        observed_errors=errors,
        prefit=values,
        quantity="Fraction",
        below="difference",
    )
    _, below, pull = figure.axes
    np.testing.assert_allclose(points(below)[1], values - theory)
    np.testing.assert_allclose(steps(below)[0], values - theory)
    np.testing.assert_allclose(steps(pull)[0], (values - theory) / errors)
    assert below.get_ylabel() == "Data − Pred."
    below = plotting.template_variations(
        axes=(X,),
        nominal=values,
        variations={"a": (theory, values)},
        errors=errors,
        quantity="Asymmetry",
        below="difference",
    ).axes[1]
    np.testing.assert_allclose(steps(below, filled=False)[0], theory - values)
    np.testing.assert_allclose(steps(below, filled=True)[0], errors)
    assert below.get_ylabel() == "Difference"
