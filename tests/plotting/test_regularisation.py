"""What is drawn of an L-curve: read back from the figure."""

import itertools
import types

import numpy as np
import pytest


pytest.importorskip("matplotlib")

from everwillow.plotting.regularisation import l_curve


MISFIT = np.array([10.0, 10.2, 11.0, np.nan, 40.0])
PENALTY = np.array([5.0, 2.0, 0.5, np.nan, 0.3])
STRENGTHS = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])
ARRAYS = {"misfit": MISFIT, "penalty": PENALTY, "strengths": STRENGTHS}


def test_points_are_where_they_say():
    axes = l_curve(**ARRAYS).axes[0]
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), MISFIT)
    np.testing.assert_array_equal(line.get_ydata(), PENALTY)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert {text.get_text() for text in axes.texts} == {"-1", "0", "1", "3"}
    assert axes.get_legend() is None


def test_points_follow_the_strengths():
    order = [3, 0, 4, 1, 2]
    mixed = {name: values[order] for name, values in ARRAYS.items()}
    np.testing.assert_array_equal(l_curve(**mixed).axes[0].lines[0].get_xdata(), MISFIT)


def test_the_corner_is_marked():
    record = types.SimpleNamespace(**ARRAYS, corner=1.0)
    axes = l_curve(record, title="Internal").axes[0]
    marker = axes.lines[1]
    assert (marker.get_xdata()[0], marker.get_ydata()[0]) == (11.0, 0.5)
    assert axes.get_legend().get_texts()[0].get_text() == r"corner, $\tau = 1$"
    none = l_curve(types.SimpleNamespace(**ARRAYS, corner=np.nan)).axes[0]
    assert len(none.lines) == 1


def test_strengths_are_not_written_on_top_of_each_other():
    # Most points of a curve are at its ends, where little changes any more.
    tau = np.linspace(-4, 4, 41)
    figure = l_curve(
        misfit=3 + 40 / (1 + np.exp(-4 * tau)),
        penalty=1e-3 + 0.2 / (1 + np.exp(4 * tau)),
        strengths=tau,
        corner=0.2,
    )
    figure.draw_without_rendering()
    texts = figure.axes[0].texts
    assert {"0.2", "-4", "4"} <= {text.get_text() for text in texts}
    boxes = [text.get_window_extent() for text in texts]
    pairs = itertools.combinations(boxes, 2)
    assert not any(one.overlaps(other) for one, other in pairs)


def test_faults_are_named():
    with pytest.raises(TypeError, match="LCurve"):
        l_curve(object())
    with pytest.raises(ValueError, match="strengths"):
        l_curve(misfit=MISFIT, penalty=PENALTY)
    record = types.SimpleNamespace(**ARRAYS, corner=1.0)
    with pytest.raises(ValueError, match="not both"):
        l_curve(record, penalty=PENALTY)
    with pytest.raises(ValueError, match="vector of 5"):
        l_curve(misfit=MISFIT, penalty=PENALTY[:3], strengths=STRENGTHS)
