"""What a comparison of scans draws and says: read back from the figure."""

import numpy as np
import pytest


pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

import everwillow as ew
from everwillow import plotting, profile
from tests.plotting import pictures


MU = np.linspace(-1, 3, 33)


def parabola(best, error, x=MU):
    return x, ((x - best) / error) ** 2


def entries(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def curves(figure):
    """Return the drawn curves, without the horizontal lines."""
    return [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]


def test_intervals_are_those_of_the_curves():
    figure = plotting.sensitivity(
        {"A": parabola(1.0, 0.4), "B": parabola(0.93, 0.2)},
        stat_only={"B": parabola(0.95, 0.125)},
    )
    assert entries(figure) == [
        r"A: $1.00 \pm 0.40$",
        r"B: $0.93 \pm 0.20$",
        r"B, stat. only: $0.95 \pm 0.12$",
    ]


def test_a_curve_of_other_units_has_the_interval_of_its_level():
    figure = plotting.sensitivity({"A": parabola(1.0, 0.4)}, levels=[9, 4])
    assert entries(figure) == [r"A: $1.00 \pm 0.80$"]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [r"$2\sigma$", r"$3\sigma$"]


def test_the_best_value_is_between_the_points():
    """That of a parabola is exact, also between points at unequal distances."""
    x = np.array([-1.0, 0.2, 0.9, 1.0, 1.7, 2.9])
    figure = plotting.sensitivity({"A": parabola(0.97, 0.5, x)})
    assert entries(figure) == [r"A: $0.97 \pm 0.50$"]
    (line,) = curves(figure)
    drawn = line.get_xdata()
    np.testing.assert_allclose(line.get_ydata(), ((drawn - 0.97) / 0.5) ** 2, atol=1e-9)


def test_statistical_curves_are_dashed_in_the_same_colour():
    found = curves(pictures.sensitivity())
    colours = [to_hex(line.get_color()) for line in found]
    assert colours[1] == colours[2] != colours[0]
    assert [line.get_linestyle() for line in found] == ["-", "-", "--"]


def test_a_failed_point_is_a_gap():
    figure = pictures.sensitivity()
    _, line, _ = curves(figure)
    x, y = line.get_data()
    missing = x[np.isnan(y)]
    assert pictures.MU[3] < missing.min()
    assert missing.max() < pictures.MU[5]
    assert np.isclose(missing, pictures.MU[4]).any()


def test_the_axes_show_where_curves_are_low():
    figure = plotting.sensitivity({"A": parabola(1.0, 0.1)})
    low, high = figure.axes[0].get_xlim()
    assert 0.6 < low < 0.75
    assert 1.25 < high < 1.4


def test_a_best_value_at_the_end_has_one_error():
    figure = plotting.sensitivity({"A": parabola(0.0, 0.25, np.linspace(0, 1, 21))})
    assert entries(figure) == [r"A: $0.00\;^{+0.25}_{}$"]


def test_no_curve_reaches_a_legend_or_a_text_over_it():
    figure = pictures.sensitivity()
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    axes = figure.axes[0]
    assert not legend.overlaps(axes.get_window_extent())
    assert not legend.overlaps(axes.xaxis.label.get_window_extent())
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1


@pytest.mark.slow
def test_records_are_drawn_as_their_arrays():
    def nll(params, data):
        a, b = params["mu"], params["theta"]
        return 0.5 * ((a + 0.3 * b - data) / 0.2) ** 2 + 0.5 * b**2

    start = ew.State.from_pytree({"mu": 1.0, "theta": 0.0})
    best = ew.fit(nll, start, 1.2)
    values = np.linspace(0, 2.4, 13)
    full = profile.scan(nll, best, 1.2, name="mu", values=values)
    error = np.hypot(0.2, 0.3)
    record = plotting.sensitivity({"NSBI": full})
    assert entries(record) == [rf"NSBI: $1.20 \pm {error:.2f}$"]
    assert record.axes[0].get_xlabel() == "mu"
    arrays = plotting.sensitivity(
        {"NSBI": (values, full.twice_delta_nll, 1.2)}, name="mu"
    )
    np.testing.assert_allclose(
        pictures.drawn(record), pictures.drawn(arrays), atol=0.01
    )


def test_faults_are_named():
    good = {"A": parabola(1.0, 0.4)}
    with pytest.raises(KeyError, match=r"stat_only: there is no curve 'a'.*'A'"):
        plotting.sensitivity(good, stat_only={"a": good["A"]})
    with pytest.raises(ValueError, match="levels: expected positive"):
        plotting.sensitivity(good, levels=[0])
    with pytest.raises(ValueError, match="1 to 5 curves, got 0"):
        plotting.sensitivity({})
    with pytest.raises(TypeError, match="expected a ScanResult"):
        plotting.sensitivity({"A": 3.0})
    with pytest.raises(ValueError, match=r"curves\['A'\]: twice_delta_nll"):
        plotting.sensitivity({"A": (MU, MU[1:])})
