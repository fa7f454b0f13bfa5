"""Plots of every kind in one column of a two-column paper, and their texts."""

import itertools

import numpy as np
from matplotlib.text import Text

from everwillow import plotting
from everwillow.likelihood.histograms import Axis
from everwillow.plotting.style import Frame
from tests.plotting import pictures


WIDTH = 86 / 25.4
SMALLEST = 6.0
WORDS = {"title": "My experiment", "note": r"13.6 TeV, 60 fb$^{-1}$"}
X = Axis("mass", edges=(80.0, 86.0, 90.0, 94.0, 100.0), title="Mass [GeV]")
SIGN = Axis("sign", labels=("minus", "plus"))
# Of plots with panels below each other in a narrow figure.
HEIGHTS = {"sas_regions": 4.8}
RATES = np.array([31.0, 120.0, 180.0, 40.0])


def measurements():
    return plotting.measurements(
        names=["ATLAS l+jets", "ATLAS dilepton", "CMS l+jets", "CMS dilepton"],
        values=[172.31, 173.09, 173.49, np.nan],
        errors=[1.55, 1.62, 1.06, 1.52],
        statistical=[0.23, 0.64, 0.27, np.nan],
        average=(173.29, 0.95, 0.23),
        weights=[0.35, -0.05, 0.70, np.nan],
        pulls=[-0.80, -0.15, 0.41, np.nan],
        quantity="$m_t$ [GeV]",
        **pictures.OPTIONS,
    )


def template_distribution():
    return plotting.template_distribution(
        axes=[X, SIGN],
        samples={"Z+jets": np.stack([RATES, RATES], -1), "VV": np.full((4, 2), 9.0)},
        observed=np.stack([RATES + 12, RATES], -1),
        errors=np.full((4, 2), 5.0),
        **pictures.OPTIONS,
    )


def template_variations():
    return plotting.template_variations(
        axes=[X],
        nominal=RATES,
        variations={
            "energy scale": (1.04 * RATES, 0.97 * RATES),
            "resolution": (1.01 * RATES, 0.98 * RATES),
        },
        errors=np.sqrt(RATES),
        **pictures.OPTIONS,
    )


def template_processes():
    rates = {"Z+jets": RATES, "VV": RATES / 9, "top": RATES / 5}
    return plotting.template_processes(
        axes=[X],
        prefit=rates,
        postfit={name: 1.1 * rate for name, rate in rates.items()},
        **pictures.OPTIONS,
    )


def cross_section():
    return plotting.cross_section(
        axes=[X],
        values=RATES,
        errors=0.1 * RATES,
        theory={"POWHEG": 1.05 * RATES, "NNLO": (RATES, 0.02 * RATES)},
        name=r"$d\sigma / dm$ [pb/GeV]",
        **pictures.OPTIONS,
    )


def uncertainty_breakdown():
    return plotting.uncertainty_breakdown(
        axes=[X],
        values=RATES,
        total=0.1 * RATES,
        parts={"luminosity": 0.02 * RATES, "jet energy scale": 0.05 * RATES},
        **pictures.OPTIONS,
    )


def l_curve():
    return plotting.l_curve(
        misfit=[1.0, 1.1, 1.5, 4.0, 9.0],
        penalty=[90.0, 20.0, 8.0, 5.0, 4.5],
        strengths=[-2.0, -1.0, 0.0, 1.0, 2.0],
        corner=0.0,
        **pictures.OPTIONS,
    )


def sas_ratios():
    other = {**pictures.CATEGORIES, "resp": pictures.CATEGORIES["resp"] + 0.001}
    return plotting.sas_ratios(
        {"2022": pictures.CATEGORIES, "2023 reprocessed": other}, **pictures.OPTIONS
    )


def sas_comparison():
    return plotting.sas_comparison(
        {"2022": pictures.CATEGORIES, "2023 reprocessed": pictures.CATEGORIES},
        **pictures.OPTIONS,
    )


def correlation_of_eight():
    close = 0.97 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    signs = np.where(np.arange(8) % 3, 1, -1)
    return plotting.correlation(
        names=[f"staterror_SR[{i}]" for i in range(8)],
        matrix=close * np.outer(signs, signs),
        **pictures.OPTIONS,
    )


def sas_errors():
    return plotting.sas_errors(pictures.CATEGORIES, **pictures.OPTIONS)


PLOTS = (
    *pictures.PICTURES,
    measurements,
    template_distribution,
    template_variations,
    template_processes,
    cross_section,
    uncertainty_breakdown,
    l_curve,
    sas_ratios,
    sas_comparison,
    sas_errors,
    correlation_of_eight,
)


def narrow(make, monkeypatch):
    """Return a plot at the width of one column, with a title and a note.

    Its height is that of `HEIGHTS`, or the default one.
    """
    for name, value in WORDS.items():
        monkeypatch.setitem(pictures.OPTIONS, name, value)
    new = Frame.__new__

    def drawn(size):
        with monkeypatch.context() as patched:
            of_size = lambda *a, **k: new(*a, **{**k, "size": size})
            patched.setattr(Frame, "__new__", of_size)
            return make()

    height = HEIGHTS.get(make.__name__) or drawn(None).get_figheight()
    return drawn((WIDTH, height))


def words(figure):
    """Return the texts of a figure that are drawn, with their boxes in inches."""
    figure.draw_without_rendering()
    renderer = figure._get_renderer()
    found = []
    for text in figure.findobj(Text):
        if not (text.get_visible() and text.get_text().strip()):
            continue
        axes = text.axes
        if axes is not None and not axes.get_visible():
            continue
        box = Text.get_window_extent(text, renderer)
        if not np.isfinite(box.get_points()).all() or box.width == 0:
            continue
        if _is_hidden_tick(text, figure):
            continue
        found.append((text, box.get_points() / figure.dpi))
    return found


def _is_hidden_tick(text, figure):
    """Return whether a text belongs to a tick outside of the range of its axis."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    low, high = sorted(axis.get_view_interval())
                    edge = 1e-9 * (high - low)
                    return not low - edge <= tick.get_loc() <= high + edge
    return False


def outside(figure):
    """Return the texts that leave the figure by more than a quarter of a point."""
    size = figure.get_size_inches()
    return [
        text.get_text()
        for text, box in words(figure)
        if (box[0] < -0.0035).any() or (box[1] > size + 0.0035).any()
    ]


def overlapping(figure):
    """Return pairs of texts that overlap; boxes of numbers include room for tails."""
    found = []
    for (first, a), (second, b) in itertools.combinations(words(figure), 2):
        common = np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])
        if (72 * common > (1.0, 2.8)).all():
            found.append((first.get_text(), second.get_text()))
    return found


def too_small(figure):
    return [t.get_text() for t, _ in words(figure) if t.get_fontsize() < SMALLEST]


__all__ = ["PLOTS", "narrow", "outside", "overlapping", "too_small"]
