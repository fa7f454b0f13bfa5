"""What plots of fitted regions draw: read back from the figures."""

import numpy as np
import pytest


pytest.importorskip("matplotlib")

import everwillow as ew
from everwillow import plotting
from tests.plotting import pictures


FIRST, SECOND = pictures.REGIONS


def points(axes):
    line, _, (bars,) = axes.containers[0]
    ends = np.array([path[:, 1] for path in bars.get_segments()])
    return (*line.get_data(), np.ptp(ends, axis=1) / 2)


def test_events_are_drawn_per_gev():
    axes = pictures.sas_regions().axes[0]
    width = np.diff(FIRST["edges"])
    x, y, error = points(axes)
    np.testing.assert_allclose(x, [84, 89, 91, 93, 97])
    np.testing.assert_allclose(y, FIRST["data"] / width)
    np.testing.assert_allclose(error, np.sqrt(FIRST["data"]) / width)
    steps = axes.patches[0].get_data()
    np.testing.assert_allclose(steps.values, FIRST["expected"] / width)
    np.testing.assert_array_equal(steps.edges, FIRST["edges"])


def test_pulls_have_the_width_of_a_multinomial():
    """In toys of a region with a fixed number of events they have the variance 1."""
    rng = np.random.default_rng(4)
    chances = np.array([0.1, 0.6, 0.3])
    given = {"categories": (0,), "edges": [80, 90, 91, 100], "expected": 1e4 * chances}
    pulls = [
        points(plotting.sas_regions([{**given, "data": toy}]).axes[1])[1]
        for toy in rng.multinomial(10_000, chances, size=40)
    ]
    # The third is fixed by the others; 40 toys know a variance within 0.22.
    assert np.var(pulls, axis=0) == pytest.approx(1, abs=0.66)
    below = pictures.sas_regions().axes[1]
    share = FIRST["expected"] / FIRST["expected"].sum()
    expected = (FIRST["data"] - FIRST["expected"]) / np.sqrt(
        FIRST["expected"] * (1 - share)
    )
    np.testing.assert_allclose(points(below)[1], expected)


def test_regions_say_how_well_they_agree():
    figure = pictures.sas_regions()
    chi2 = np.sum((FIRST["data"] - FIRST["expected"]) ** 2 / FIRST["expected"])
    assert figure.axes[0].texts[0].get_text() == rf"$\chi^2$ = {chi2:.1f}, 5 bins"
    # A bin without events adds nothing.
    rest = slice(1, None)
    data, expected = SECOND["data"][rest], SECOND["expected"][rest]
    chi2 = np.sum((data - expected) ** 2 / expected)
    assert figure.axes[2].texts[0].get_text() == rf"$\chi^2$ = {chi2:.1f}, 4 bins"


def test_titles_are_numbers_or_intervals():
    figure = pictures.sas_regions()
    assert figure.axes[2].get_title(loc="left") == "Categories 0, 1"
    edges = {"eta": [0, 1.5], "r9": [-np.inf, 0.94, np.inf]}
    figure = plotting.sas_regions(
        [FIRST, SECOND], categories=edges, labels={"r9": "$R_9$", "mass": "m"}
    )
    assert figure.axes[0].get_title(loc="left") == "both 0 ≤ eta < 1.5, $R_9$ < 0.94"
    assert figure.axes[2].get_title(loc="left").split("\n") == [
        "0 ≤ eta < 1.5, $R_9$ < 0.94",
        "0 ≤ eta < 1.5, $R_9$ ≥ 0.94",
    ]
    assert "m" in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize(("width", "log"), [(3.39, False), (7.0, True)])
def test_nothing_is_cut_off_or_overlaps(width, log):
    figure = plotting.sas_regions(
        [FIRST, SECOND, FIRST, SECOND], size=(width, 9.0), log=log
    )
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        # Panels of different regions; those of one touch.
        assert not any(box.overlaps(b) for j, b in enumerate(boxes) if j // 2 != i // 2)
        for text in [*figure.legends, *figure.texts]:
            assert not text.get_window_extent().overlaps(box)


def test_faults_are_named():
    with pytest.raises(ew.EverwillowError, match="no region to draw"):
        plotting.sas_regions([])
    with pytest.raises(ew.EverwillowError, match="a region has no data, expected"):
        plotting.sas_regions([{"categories": (0, 1), "edges": [0, 1]}])
    with pytest.raises(ew.EverwillowError, match="expected fits of regions"):
        plotting.sas_regions([3])
    with pytest.raises(ew.EverwillowError, match="finite edges"):
        plotting.sas_regions([{**FIRST, "edges": [80, 88, 90, 92, 94, np.inf]}])
    with pytest.raises(ew.EverwillowError, match="data: expected a vector of 5"):
        plotting.sas_regions([{**FIRST, "data": [1.0]}])
