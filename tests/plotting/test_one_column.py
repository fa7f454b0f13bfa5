"""Plots in one column of a two-column paper: no text is cut, hidden or too small."""

import numpy as np
import pytest


pytest.importorskip("matplotlib")

from everwillow import plotting
from tests.plotting import pictures
from tests.plotting.one_column import PLOTS, narrow, outside, overlapping, too_small


PACKAGE = "everwillow.plotting"


@pytest.mark.slow
@pytest.mark.parametrize("make", PLOTS, ids=lambda make: make.__name__)
def test_texts_fit_in_one_column(make, monkeypatch):
    figure = narrow(make, monkeypatch)
    assert outside(figure) == []
    assert overlapping(figure) == []
    assert too_small(figure) == []


def test_every_plot_is_drawn_in_one_column():
    drawn = {
        make.__name__.removesuffix("_log").removesuffix("_of_eight") for make in PLOTS
    }
    public = {name: getattr(plotting, name) for name in dir(plotting)}
    assert drawn == {
        name
        for name, plot in public.items()
        if name.islower() and getattr(plot, "__module__", "").startswith(PACKAGE)
    }


def test_the_rule_notices_texts_that_overlap_or_are_cut():
    figure = pictures.convergence()
    axes = figure.axes[0]
    axes.text(0.5, 0.5, "one text", transform=axes.transAxes)
    axes.text(0.52, 0.5, "another", transform=axes.transAxes)
    cut = axes.text(0.95, 0.2, "beyond the page", transform=axes.transAxes, fontsize=5)
    cut.set_in_layout(False)
    assert ("one text", "another") in overlapping(figure)
    assert outside(figure) == ["beyond the page"]
    assert too_small(figure) == ["beyond the page"]


@pytest.mark.parametrize("width", [2.6, 3.39, 6.0])
def test_title_and_note_of_pulls_do_not_overlap(width):
    figure = plotting.pulls(
        names=["JES", "lumi"],
        values=[0.3, -1.2],
        errors=[0.6, 1.0],
        title="A rather long title of an experiment",
        note=r"13.6 TeV, 60 fb$^{-1}$, preliminary",
        size=(width, 2.4),
    )
    assert overlapping(figure) == []
    assert outside(figure) == []


@pytest.mark.parametrize("half", [0.04, 0.092, 0.13, 0.3, 0.9])
def test_ratios_have_a_tick_at_one(half):
    edges = np.linspace(0, 1, 5)
    figure = plotting.distribution(
        edges=edges,
        samples={"all": np.full(4, 100.0)},
        observed=np.full(4, 100.0),
        ratio_range=(1 - half, 1 + half),
    )
    figure.draw_without_rendering()
    below = figure.axes[1]
    low, high = below.get_ylim()
    ticks = np.asarray([tick for tick in below.get_yticks() if low <= tick <= high])
    assert np.isclose(ticks, 1.0).any()
    # Both sides are numbered alike, but for a number that would touch the panel above.
    assert 2 <= ticks.size <= 6
    np.testing.assert_allclose(np.diff(ticks), np.diff(ticks)[0])


def test_the_first_point_of_a_curve_is_whole():
    figure = pictures.brazil_band()
    axes = figure.axes[0]
    ends = [line for line in axes.lines if not line.get_clip_on()]
    assert [float(line.get_xdata()[0]) for line in ends] == list(axes.get_xlim())
    assert all(line.get_marker() == "o" for line in ends)


@pytest.mark.parametrize(("width", "written"), [(3.39, 0), (6.0, 64)])
def test_correlations_are_written_where_they_fit(width, written):
    names = [f"staterror_SR[{i}]" for i in range(8)]
    figure = plotting.correlation(
        names=names, matrix=-np.ones((8, 8)), size=(width, width)
    )
    assert len(figure.axes[0].texts) == written
    assert overlapping(figure) == []


def test_no_value_is_not_struck_through():
    figure = pictures.pulls()
    axes = figure.axes[0]
    (text,) = [text for text in axes.texts if text.get_text() == "no value"]
    assert text.get_bbox_patch().get_facecolor()[:3] == (1, 1, 1)
    assert text.get_zorder() > max(line.get_zorder() for line in axes.lines)


def test_a_ranking_without_impacts_says_so():
    nothing = np.full(6, np.nan)
    figure = plotting.ranking(
        names=pictures.NAMES, up=nothing, pulls=pictures.PULLS, errors=pictures.ERRORS
    )
    figure.draw_without_rendering()
    panel = figure.axes[1]
    assert [text.get_text() for text in panel.texts] == ["no impacts"]
    assert len(panel.get_xticks()) == 0


def test_narrow_measurements_leave_columns_out():
    def heads(**options):
        figure = plotting.measurements(
            names=["A", "B"],
            values=[172.3, 173.1],
            errors=[1.5, 1.6],
            statistical=[0.2, 0.6],
            average=(172.7, 1.1, 0.3),
            weights=[0.6, 0.4],
            pulls=[-0.4, 0.4],
            **options,
        )
        texts = [text.get_text() for text in figure.axes[0].texts]
        return [
            t for t in texts if t in ("± stat. ± syst.", "± total", "Weight", "Pull")
        ]

    assert heads() == ["± stat. ± syst.", "Weight", "Pull"]
    assert heads(size=(3.0, 2.0))[0] == "± stat. ± syst."
    assert heads(size=(2.0, 2.0)) == ["± total"]
