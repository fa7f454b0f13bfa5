"""What is drawn where: read back from the figures."""

import numpy as np
import pytest


pytest.importorskip("matplotlib")

import jax
import jax.numpy as jnp
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

import everwillow as ew
from everwillow import plotting, profile
from everwillow.fitting import ifit
from everwillow.plotting._text import column, split_errors, text_of, with_errors
from everwillow.plotting.curves import make_curve
from everwillow.plotting.style import BLUE, ORANGE
from everwillow.plotting.yields import poisson_errors
from tests.plotting import pictures


def row_names(figure, panel=0):
    return [text.get_text() for text in figure.axes[panel].get_yticklabels()]


def written(figure, panel=0):
    return [text.get_text() for text in figure.axes[panel].texts]


def legend(figure, panel=0):
    return [text.get_text() for text in figure.axes[panel].get_legend().get_texts()]


def points_of(axes):
    """All points drawn with markers, as rows."""
    marked = [line for line in axes.lines if line.get_marker() not in ("", "None")]
    return np.concatenate([np.stack(line.get_data(), -1) for line in marked])


def nll(params, data):
    pulls = params["theta"] ** 2 + (params["gamma"] - 1.0) @ (params["gamma"] - 1.0)
    away = params["mu"] + 0.5 * params["theta"] - data
    return 0.5 * (away / 0.3) ** 2 + 0.5 * pulls


def model():
    return ew.Model(
        lambda p, main: (
            0.5 * ((p["mu"] + 0.5 * p["theta"] - main) / 0.3) ** 2
            + 0.5 * (p["gamma"][0] - 1.3) ** 2
        ),
        {"mu": 1.0, "theta": 0.0, "gamma": np.ones(2)},
        1.5,
        constraints={"theta": ew.Normal(0.0, 2.0), "gamma": ew.Normal(1.0, 1.0)},
    )


@pytest.fixture(scope="module")
def result():
    return ew.fit(model())


def test_pulls_are_where_they_say():
    figure = pictures.pulls()
    axes = figure.axes[0]
    assert row_names(figure) == pictures.NAMES
    found = points_of(axes)
    for i, value in enumerate(pictures.PULLS):
        drawn = np.isclose(found, [value, 5 - i]).all(axis=1).any()
        assert drawn == np.isfinite(value)
    assert written(figure) == ["+6.2", "no value"]
    (bars,) = [c for c in axes.collections if isinstance(c, LineCollection)]
    first = bars.get_segments()[0]
    np.testing.assert_allclose(first[:, 0], [0.2 - 0.9, 0.2 + 0.8])


def test_a_parameter_that_ran_away_does_not_squeeze_the_others():
    low, high = pictures.pulls().axes[0].get_xlim()
    assert high == -low < 3


def test_pulls_of_a_fit_are_those_of_its_table(result):
    figure = plotting.pulls(result, labels={"gamma": r"$\gamma$", "theta": "T"})
    assert row_names(figure) == [r"$\gamma$ [0]", r"$\gamma$ [1]", "T"]
    found = points_of(figure.axes[0])
    gamma, theta = result.params["gamma"], result.params["theta"]
    expected = [[gamma[0] - 1, 2], [gamma[1] - 1, 1], [theta / 2, 0]]
    for point in expected:
        assert np.isclose(found, point).all(axis=1).any()


def test_many_entries_get_columns_and_one_gets_a_small_figure():
    many = plotting.pulls(
        names=map(str, range(120)), values=np.zeros(120), errors=np.ones(120)
    )
    assert len(many.axes) == 3
    assert sum(len(row_names(many, i)) for i in range(3)) == 120
    one = plotting.pulls(names=["a"], values=[0.1], errors=[1.0])
    assert one.get_size_inches()[1] < 1.5


def test_a_ranking_is_sorted_by_the_larger_side():
    figure = pictures.ranking()
    reach = np.nanmax(np.abs([pictures.UP, pictures.DOWN]), axis=0)
    expected = [pictures.NAMES[i] for i in np.argsort(-reach)]
    assert row_names(figure) == expected
    bars = [p for p in figure.axes[1].patches if p.get_facecolor()[3] == 1]
    widths = {
        colour: [p.get_width() for p in bars if p.get_facecolor() == to_rgba(colour)]
        for colour in (BLUE, ORANGE)
    }
    order = [pictures.NAMES.index(name) for name in expected]
    up, down = pictures.UP[order], pictures.DOWN[order]
    np.testing.assert_allclose(widths[BLUE], up[np.isfinite(up)])
    np.testing.assert_allclose(widths[ORANGE], down[np.isfinite(down)])
    assert {"up: failed", "down: failed"} <= set(written(figure, 1))


def test_bars_to_one_side_take_half_of_the_row_each():
    figure = plotting.ranking(names=["a", "b"], up=[0.2, 0.1], down=[0.1, -0.1])
    bars = [p for p in figure.axes[0].patches if p.get_facecolor()[3] == 1]
    heights = sorted(p.get_height() for p in bars)
    np.testing.assert_allclose(heights[:2], heights[2] / 2)
    first, second = (p for p in bars if p.get_height() < heights[2])
    assert first.get_y() >= second.get_y() + second.get_height() - 1e-9


def test_a_ranking_without_pulls_has_one_panel_and_count_entries():
    figure = plotting.ranking(names=["a", "b", "c"], up=[1.0, 3.0, 2.0], count=2)
    assert len(figure.axes) == 1
    assert row_names(figure) == ["b", "c"]


def test_a_parabola_stays_one_between_its_points():
    x = np.array([-2.0, -0.5, 0.7, 3.0])
    curve = make_curve(x, (x - 0.3) ** 2 / 0.25, 0.3, None, "scan")
    fine = np.linspace(-2, 3, 200)
    np.testing.assert_allclose(curve.at(fine), (fine - 0.3) ** 2 / 0.25, atol=1e-12)
    np.testing.assert_allclose(curve.crossings(1.0), (-0.2, 0.8), atol=1e-9)
    np.testing.assert_allclose(curve.crossings(4.0), (-0.7, 1.3), atol=1e-9)


def test_a_missing_point_is_a_gap_and_no_crossing():
    x = np.linspace(-2, 2, 9)
    heights = x**2
    heights[2] = np.nan
    curve = make_curve(x, heights, 0.0, None, "scan")
    assert np.isnan(curve.at(np.array([-0.9, -1.1, -1.4]))[1:]).all()
    left, right = curve.crossings(1.2)
    assert np.isnan(left)
    np.testing.assert_allclose(right, np.sqrt(1.2), atol=1e-6)
    failed = make_curve(x, x**2, 0.0, x != 1.0, "scan")
    assert np.isnan(failed.heights[6])


def test_a_scan_writes_the_interval_and_its_parts():
    figure = pictures.scan()
    title = figure.axes[0].get_legend().get_title().get_text()
    assert title == ("mu = $1.00 \\pm 0.30$\n$\\pm 0.20$ (stat.)  $\\pm 0.22$ (syst.)")
    assert legend(figure) == ["Total", "Stat. only", "Expected", "Failed fit"]
    assert written(figure) == [r"$1\sigma$", r"$2\sigma$"]
    cross = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    np.testing.assert_allclose(cross[0].get_xdata(), pictures.MU[[2]])


def test_an_interval_that_is_given_is_the_one_written():
    x = np.linspace(0, 2, 9)
    figure = plotting.scan(
        values=x, twice_delta_nll=(x - 1) ** 2, best=1.0, interval=(0.4, 1.5)
    )
    title = figure.axes[0].get_legend().get_title().get_text()
    assert title == r"parameter = $1.00\;^{+0.50}_{-0.60}$"


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        (("at bound", 1.5), r"^{+0.50}_{\mathrm{at\ bound}}"),
        ((0.4, "no crossing"), r"^{+\infty}_{-0.60}"),
        (("fit failed", 1.5), r"^{+0.50}_{\mathrm{fit\ failed}}"),
        ((np.nan, 1.5), r"^{+0.50}_{}"),
    ],
)
def test_a_side_without_an_end_says_why(ends, text):
    x = np.linspace(0, 2, 9)
    figure = plotting.scan(
        values=x, twice_delta_nll=(x - 1) ** 2, best=1.0, interval=ends
    )
    title = figure.axes[0].get_legend().get_title().get_text()
    assert title == rf"parameter = $1.00\;{text}$"
    figure.canvas.draw()


@pytest.mark.slow
def test_a_scan_that_ends_at_a_bound_says_so():
    """-ln L = 2 (mu - 0.3)^2 for mu >= 0: at 0 it has risen by 0.18."""
    result = profile.scan(
        lambda params, data: 2 * (params["mu"] - data) ** 2,
        ew.State.from_pytree({"mu": 1.0}),
        0.3,
        name="mu",
        values=np.linspace(0, 2, 9),
        bounds={"mu": ew.Interval(0.0, None)},
    )
    figure = plotting.scan(result)
    title = figure.axes[0].get_legend().get_title().get_text()
    assert title == r"mu = $0.30\;^{+0.50}_{\mathrm{at\ bound}}$"


@pytest.mark.slow
def test_a_scan_from_a_bound_says_so():
    """-ln L = 12 mu - 45 ln(1 + 12 mu / 50) for mu >= 0: the best value is 0."""

    def nll(params, data):
        rate = 50 + 12 * params["mu"]
        return rate - data * jnp.log(rate)

    box = {"mu": ew.Interval(0.0, 10.0)}
    start = ew.State.from_pytree({"mu": 1.0})
    best = ew.fit(nll, start, 45.0, bounds=box)
    values = np.linspace(0, 1, 21)
    found = profile.scan(nll, best, 45.0, name="mu", values=values, bounds=box)
    intervals = profile.minos(nll, best, 45.0, bounds=box)
    # By bisection.
    mu = 0.314765
    np.testing.assert_allclose(12 * mu - 45 * np.log1p(0.24 * mu), 0.5, rtol=1e-5)
    for interval in (None, intervals):
        figure = plotting.scan(found, interval=interval)
        title = figure.axes[0].get_legend().get_title().get_text()
        assert title == r"mu = $0.00\;^{+0.31}_{\mathrm{at\ bound}}$"
        assert "infty" not in title


def test_contours_are_closed_where_they_are_whole():
    axes = pictures.contour().axes[0]
    first, second = axes.lines[:2]
    assert len(first.get_xdata()) == 41
    assert first.get_xdata()[0] == first.get_xdata()[-1]
    assert np.isnan(second.get_xdata()).sum() == 3
    assert legend(axes.figure)[:2] == ["68.3% CL", "95% CL"]


def test_correlations_are_written_in_percent():
    figure = pictures.correlation()
    assert written(figure) == ["100", "−30", "−30", "100"]
    (image,) = figure.axes[0].images
    assert image.get_array()[0, 1] == -0.3


def test_the_correlation_of_a_fit(result):
    figure = plotting.correlation(result, only=["mu", "theta"])
    assert row_names(figure) == ["mu", "theta"]
    matrix = ew.correlation_matrix(model(), result)
    i, j = result.labels.index("mu"), result.labels.index("theta")
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[0, 1], matrix[i, j])
    strong = plotting.correlation(result, above=0.5)
    assert row_names(strong) == ["mu", "theta"]


def test_bands_are_sorted_and_gaps_stay():
    figure = pictures.brazil_band()
    axes = figure.axes[0]
    assert legend(figure)[0] == "Observed"
    assert written(figure) == ["0.05"]
    outer = axes.collections[0].get_paths()[0].vertices
    at = np.isclose(outer[:, 0], pictures.MU[3])
    low, high = np.exp(-4 * (pictures.MU[3] + 0.2)), np.exp(-(pictures.MU[3] + 0.2))
    np.testing.assert_allclose([outer[at, 1].min(), outer[at, 1].max()], [low, high])


class Bands:
    def __init__(self, *values):
        names = ("minus_2sigma", "minus_1sigma", "median", "plus_1sigma", "plus_2sigma")
        for name, value in zip(names, values, strict=True):
            setattr(self, name, value)


class Limits:
    poi = "mu"
    observed = 1.1
    expected = Bands(0.5, 0.7, 1.0, 1.4, 2.0)


class Cls(Limits):
    def __init__(self, value):
        self.value = value


def test_bands_of_records_and_of_arrays_are_the_same():
    tests = plotting.brazil_band([Cls(1.0), Cls(2.0)])
    arrays = {
        "values": [1.0, 2.0],
        "observed": [1.1, 1.1],
        "expected": [[0.5, 0.7, 1.0, 1.4, 2.0]] * 2,
    }
    np.testing.assert_array_equal(
        pictures.drawn(tests),
        pictures.drawn(plotting.brazil_band(**arrays, name="mu")),
    )
    masses = plotting.brazil_band({1: Limits(), 2: Limits()}, level=None, name="m")
    np.testing.assert_array_equal(
        pictures.drawn(masses),
        pictures.drawn(plotting.brazil_band(**arrays, level=None, name="m")),
    )
    with pytest.raises(ew.EverwillowError, match="expected a ClsResult"):
        plotting.brazil_band(Limits())


def test_limits_of_records_and_of_arrays_are_the_same():
    record = plotting.limit_summary({"a": Limits(), "b": Limits()})
    arrays = plotting.limit_summary(
        names=["a", "b"], observed=[1.1, 1.1], expected=[[0.5, 0.7, 1.0, 1.4, 2.0]] * 2
    )
    np.testing.assert_array_equal(pictures.drawn(record), pictures.drawn(arrays))
    bands = plotting.brazil_band(
        values=[1.0, 2.0], expected=Bands(*np.arange(10.0).reshape(5, 2))
    )
    outer = bands.axes[0].collections[0].get_paths()[0].vertices
    assert outer[:, 1].max() == 9.0


def test_limits_say_their_numbers():
    figure = pictures.limit_summary()
    assert [t for t in written(figure) if t][:4] == ["Obs.", "35.00", "14.00", "–"]
    assert "no value" in written(figure)


# Garwood intervals by hand: half of the quantiles of chi2 at 0.15866 and 0.84134 with
# 2 n and 2 n + 2 degrees of freedom (scipy 1.17, `chi2.ppf`).
@pytest.mark.parametrize(
    ("count", "down", "up"),
    [(0, 0.0, 1.841), (1, 0.827, 2.300), (4, 1.914, 3.163), (100, 9.983, 11.033)],
)
def test_errors_of_counts_are_poisson_intervals(count, down, up):
    errors = poisson_errors(np.array([float(count)]))[:, 0]
    np.testing.assert_allclose(errors, [down, up], rtol=0.012)


def test_data_lie_on_their_bins_and_the_ratio_below():
    figure = pictures.distribution()
    main, ratio = figure.axes
    assert ratio.get_ylabel() == "Data / Pred."
    data = points_of(ratio)[:, 1]
    edges = np.linspace(0, 100, 11)
    total = 80 * np.exp(-edges[1:] / 30) + 12
    np.testing.assert_allclose(data[:9], (np.round(total * 1.1) / total)[:9])
    assert np.isnan(data[9])
    assert "Pre-fit total" in legend(figure)
    top = main.patches[1].get_data().values
    np.testing.assert_allclose(top, total)


def test_the_yields_per_width():
    figure = plotting.distribution(
        edges=[0, 1, 3], samples={"a": [4.0, 4.0]}, per_width=True
    )
    np.testing.assert_allclose(figure.axes[0].patches[0].get_data().values, [4.0, 2.0])
    assert len(figure.axes) == 1


def test_convergence_of_a_fit():
    history = ew.HistoryCallback()
    start = ew.State.from_pytree({"mu": 4.0, "theta": 1.0, "gamma": np.ones(2)})
    ifit(nll, start, 1.5, callbacks=[history])
    figure = plotting.convergence({"Newton": history})
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), history.steps)
    np.testing.assert_allclose(
        line.get_ydata()[0], history.nlls[0] - min(history.nlls), rtol=1e-12
    )
    assert legend(figure) == ["Newton"]


def test_a_style_goes_over_ours():
    figure = plotting.convergence(nlls=[2.0, 1.0], style={"axes.linewidth": 3.0})
    assert figure.axes[0].spines["left"].get_linewidth() == 3.0
    with pytest.raises(ValueError, match=r"no rc parameter axes\.nothing"):
        plotting.convergence(nlls=[2.0, 1.0], style={"axes.nothing": 3.0})


def test_the_style_of_an_experiment():
    pytest.importorskip("mplhep")
    plotting.convergence(nlls=[2.0, 1.0], style="CMS")
    with pytest.raises(ew.EverwillowError, match="no style 'XYZ'"):
        plotting.convergence(nlls=[2.0, 1.0], style="XYZ")


def test_texts():
    assert text_of("mu", {"mu": r"$\mu$"}) == r"$\mu$"
    assert text_of(("a", "b"), None) == "a.b"
    assert text_of("cost_in_$", None) == r"cost_in_\$"
    assert len(text_of("x" * 200, None)) < 60
    assert with_errors(1.2345, 0.0123, 0.0123) == r"$1.234 \pm 0.012$"
    assert with_errors(100.0, 23.0, 25.0) == r"$100\;^{+25}_{-23}$"
    assert with_errors(1.0, np.nan, 0.2) == r"$1.00\;^{+0.20}_{-\infty}$"
    assert split_errors((0.1, 0.1), (0.2, 0.3)).startswith(r"$\pm 0.10$ (stat.)")
    assert column([1.0, np.nan], [0.25, -2.0]) == [["1.00", "–"], ["0.25", "−2.00"]]


@pytest.mark.parametrize(
    ("draw", "error", "words"),
    [
        (plotting.pulls, ValueError, "names, values, errors"),
        (lambda: plotting.pulls(3), TypeError, "cannot draw a int"),
        (
            lambda: plotting.pulls(3, names=["a"]),
            ValueError,
            "a record or arrays, not both",
        ),
        (
            lambda: plotting.pulls(names=["a"], values=[1.0, 2.0], errors=[1.0]),
            ValueError,
            "values: expected a vector of 1",
        ),
        (
            lambda: plotting.pulls(names="ab", values=[1.0], errors=[1.0]),
            TypeError,
            "sequence of names",
        ),
        (
            lambda: plotting.ranking(names=["a"], up=["x"]),
            TypeError,
            "up: expected numbers",
        ),
        (lambda: plotting.ranking(names=["a"], up=[1.0], count=0), ValueError, "count"),
        (
            lambda: plotting.contour(curves=[pictures.circle(1.0)]),
            ValueError,
            "1 curves were given for 2 levels",
        ),
        (
            lambda: plotting.correlation(names=["a"], matrix=np.eye(2)),
            ValueError,
            r"shape \(1, 1\)",
        ),
        (
            lambda: plotting.correlation(names=["mu"], matrix=[[1.0]], only=["mu1"]),
            KeyError,
            "Did you mean 'mu'",
        ),
        (
            lambda: plotting.brazil_band(values=[1.0], expected=[1.0]),
            ValueError,
            r"shape \(1, 5\)",
        ),
        (
            lambda: plotting.distribution(edges=[0, 1], samples={"a": [1.0, 2.0]}),
            ValueError,
            r"samples\['a'\]",
        ),
        (
            lambda: plotting.distribution(edges=[1, 0], samples={}),
            ValueError,
            "rising",
        ),
        (
            lambda: plotting.convergence(nlls=[1.0], size=(0, 1)),
            TypeError,
            "width and height",
        ),
        (
            lambda: jax.jit(lambda x: plotting.convergence(nlls=x))(np.ones(2)),
            TypeError,
            "traced",
        ),
    ],
)
def test_bad_input_is_named(draw, error, words):
    with pytest.raises(error, match=words) as caught:
        draw()
    assert isinstance(caught.value, ew.EverwillowError)


def test_a_fit_without_constraints_has_no_pulls():
    start = ew.State.from_pytree({"mu": 4.0, "theta": 1.0, "gamma": np.ones(2)})
    plain = ew.fit(nll, start, 1.5)
    with pytest.raises(ValueError, match="no constraints"):
        plotting.pulls(plain)


def test_what_has_no_constraint_shows_its_value():
    figure = plotting.ranking(
        names=["lumi", "shape"],
        up=[0.02, -0.1],
        pulls=[0.3, np.nan],
        errors=[0.9, np.nan],
        values=[0.3, 1.234],
        value_errors=[0.9, 0.056],
    )
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [r"$1.234 \pm 0.056$"]


def test_long_titles_wrap_between_words():
    title = "Ratio channel_one channel_two process_one process_two x:sum y:0,1"
    options = {"edges": [0, 1, 2], "samples": {"a": [4.0, 4.0]}, "note": "Post-fit"}
    axes = plotting.distribution(title=title, **options).axes[0]
    lines = axes.get_title(loc="left").split("\n")
    assert len(lines) > 1
    assert " ".join(lines).split() == title.split()
    short = plotting.distribution(title="ch0", **options).axes[0]
    assert short.get_title(loc="left") == "ch0"
