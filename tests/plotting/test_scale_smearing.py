"""What plots of responses and resolutions draw: read back from the figures."""

import numpy as np
import pytest


pytest.importorskip("matplotlib")

import everwillow as ew
from everwillow import plotting
from everwillow._errors import ArgumentValueError
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.parameters import AT_BOUND, FITTED, SasParameters
from everwillow.plotting.scale_smearing import page_count
from tests.plotting import pictures


GIVEN = pictures.CATEGORIES
ONE = {
    "categories": {"x": [0.0, 1.0, 3.0]},
    "resp": [0.99, 1.01],
    "eresp": [0.002, 0.003],
    "reso": [0.01, 0.02],
    "ereso": [0.001, 0.002],
}
TWO = {
    "categories": {"x": [0.0, 1.0, 3.0], "y": [0.0, 1.0, 2.0]},
    "resp": [1.0, 2.0, 3.0, 5.0],
    "eresp": [0.1, 0.2, 0.2, 0.2],
}


def bars(axes):
    """Return for each series with bars the positions, heights and total errors."""
    found = []
    for container in axes.containers:
        line, caps, (segments,) = container
        if line is None or caps:
            continue
        ends = np.array([p[:, 1] for p in segments.get_segments() if np.ndim(p) == 2])
        if ends.size:
            found.append((*line.get_data(), np.ptp(ends, axis=1) / 2))
    return found


def limits(axes):
    """Return the upper limits; caps of errors are markers in containers."""
    caps = {cap for container in axes.containers for cap in container[1]}
    lines = [line for line in axes.lines if line.get_marker() == "_"]
    return np.concatenate([line.get_ydata() for line in lines if line not in caps])


def entries(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_bars_are_the_total_errors_at_the_numbers():
    figure = plotting.sas_parameters(ONE)
    for axes, name in zip(figure.axes, ("resp", "reso"), strict=True):
        ((x, y, error),) = bars(axes)
        np.testing.assert_allclose(x, [0.5, 2.0])
        np.testing.assert_allclose(y, ONE[name])
        np.testing.assert_allclose(error, ONE[f"e{name}"])
        assert axes.get_xlim() == (0, 3)
        assert axes.get_xlabel() == "x"


def test_caps_are_statistical_and_boxes_simulated():
    axes = pictures.sas_parameters().axes[0]
    low = np.array([0, 2])  # of the first bin in R9; the third has no number
    caps = [c for c in axes.containers if len(c[1])]
    heights = np.array([line.get_ydata() for line in caps[0][1]])
    expected = GIVEN["resp"][low] + np.outer([-1, 1], GIVEN["eresp_stat"][low])
    np.testing.assert_allclose(np.sort(heights, axis=0), expected)
    boxes = [
        c for c in axes.collections if type(c).__name__ == "FillBetweenPolyCollection"
    ]
    ends = [box.get_paths()[0].get_extents() for box in boxes]
    sizes = [end.height / 2 for end in ends]
    known = GIVEN["eresp_mc"][[0, 2, 1, 5]]
    np.testing.assert_allclose(sizes, known)


def test_series_are_bins_of_the_second_variable():
    figure = pictures.sas_parameters()
    series, errors = figure.legends
    assert entries(series) == ["< 0.94", "≥ 0.94"]
    assert series.get_title().get_text() == "$R_9$"
    assert entries(errors) == [
        "Total error",
        "Statistical",
        "Simulation",
        "68.3 % limit",
        "Truth",
    ]
    (_, low, _), (_, high, _) = bars(figure.axes[0])
    np.testing.assert_array_equal(low, GIVEN["resp"][[0, 2]])
    # The middle one has a number without an error.
    np.testing.assert_array_equal(high, GIVEN["resp"][[1, 5]])
    hollow = [line for line in figure.axes[0].lines if line.get_mfc() == "white"]
    drawn = [y for line in hollow for y in line.get_ydata()]
    np.testing.assert_array_equal(drawn, GIVEN["resp"][[3]])


def test_a_smearing_at_zero_is_an_arrow_from_its_limit():
    axes = pictures.sas_parameters().axes[1]
    np.testing.assert_array_equal(limits(axes), [0.004])
    (arrow,) = [line.get_ydata() for line in axes.lines if line.get_marker() == 7][:1]
    np.testing.assert_array_equal(arrow, [0.0])
    assert axes.get_ylim()[0] == 0


def test_infinite_bins_are_as_wide_as_their_neighbours_and_end_with_arrows():
    edges = [-np.inf, 10.0, 30.0, 50.0, np.inf]
    given = {"categories": {"pt": edges}, "resp": [1, 2, 3, np.nan]}
    (axes,) = plotting.sas_parameters(given, parameters=["resp"]).axes
    assert axes.get_xlim() == (-10, 70)
    arrows = [
        x for line in axes.lines if line.get_marker() == 4 for x in line.get_xdata()
    ]
    # Not for the last bin, which has no number.
    assert arrows == [-10]
    assert not [line for line in axes.lines if line.get_marker() == 5]
    given["categories"] = {"pt": [5.0, 10.0, 30.0, 50.0, np.inf]}
    (axes,) = plotting.sas_parameters(given, parameters=["resp"], log_x=True).axes
    assert axes.get_xscale() == "log"
    np.testing.assert_allclose(axes.get_xlim(), (5, 50 * 50 / 30))


def test_other_variables_are_averaged_with_weights():
    figure = plotting.sas_parameters(TWO, dims=["x"], parameters=["resp"])
    ((_, y, error),) = bars(figure.axes[0])
    # 1 with the weight 100 and 2 with the weight 25; 3 and 5 with equal ones.
    np.testing.assert_allclose(y, [(100 + 50) / 125, 4])
    np.testing.assert_allclose(error, [1 / np.sqrt(125), 0.2 / np.sqrt(2)])
    texts = [text.get_text() for text in figure.texts] + [figure.get_supxlabel()]
    assert any("Average over y" in text for text in texts)


def test_errors_of_averages_have_the_correlations():
    errors = np.array([0.1, 0.2, 0.2, 0.2])
    # All categories move together.
    full = np.zeros((8, 8))
    full[:4, :4] = np.outer(errors, errors)
    given = {**TWO, "covariances": {"total": full}}
    axes = plotting.sas_parameters(given, dims=["x"], parameters=["resp"]).axes[0]
    ((_, _, error),) = bars(axes)
    np.testing.assert_allclose(error, [0.8 * 0.1 + 0.2 * 0.2, 0.2])


def test_an_average_has_the_numbers_that_are_there():
    given = {**TWO, "resp": [1.0, np.nan, np.nan, np.nan]}
    axes = plotting.sas_parameters(given, dims=["x"], parameters=["resp"]).axes[0]
    ((x, y, error),) = bars(axes)
    np.testing.assert_allclose([*x, *y, *error], [0.5, 1.0, 0.1])


def test_averages_of_limits_are_limits_only_if_all_are_at_zero():
    given = {
        "categories": TWO["categories"],
        "reso": [0.0, 0.0, 0.0, 0.02],
        "ereso": [np.nan, np.nan, np.nan, 0.003],
        "reso_upper": [0.003, 0.004, 0.004, np.nan],
    }
    axes = plotting.sas_parameters(given, dims=["x"], parameters=["reso"]).axes[0]
    weights = 1 / np.array([0.003, 0.004]) ** 2
    np.testing.assert_allclose(limits(axes), [1 / np.sqrt(weights.sum())])
    ((x, y, error),) = bars(axes)
    weights = 1 / np.array([0.004, 0.003]) ** 2
    np.testing.assert_allclose(x, 2.0)
    np.testing.assert_allclose(y, 0.02 * weights[1] / weights.sum())
    np.testing.assert_allclose(error, 1 / np.sqrt(weights.sum()))


def test_a_third_variable_has_panels():
    shape = (2, 2, 3)
    edges = {name: np.arange(n + 1.0) for name, n in zip("xyz", shape, strict=True)}
    resp = 1 + 0.01 * np.arange(12)
    given = {"categories": edges, "resp": resp, "eresp": np.full(12, 0.001)}
    figure = plotting.sas_parameters(given, parameters=["resp"])
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [a.texts[0].get_text() for a in panels] == [
        "0 ≤ z < 1",
        "1 ≤ z < 2",
        "2 ≤ z < 3",
    ]
    for i, axes in enumerate(panels):
        for j, (_, y, _) in enumerate(bars(axes)):
            np.testing.assert_array_equal(y, resp.reshape(shape)[:, j, i])
    assert page_count(given, series=2) == 3
    assert page_count(given, series=1) == 6
    assert page_count(given, ["z", "x"], series=2) == 1
    (axes,) = plotting.sas_parameters(given, parameters=["resp"], pages=[1]).axes
    assert axes.texts[0].get_text() == "1 ≤ z < 2"


def test_ratios_have_errors_over_the_first():
    other = {**ONE, "resp": [1.00, 1.03], "eresp": [0.004, 0.001]}
    figure = plotting.sas_ratios({"A": ONE, "B": other})
    axes = figure.axes[0]
    ((_, y, error),) = bars(axes)
    np.testing.assert_allclose(y, [1 / 0.99, 1.03 / 1.01])
    np.testing.assert_allclose(error, [0.004 / 0.99, 0.001 / 1.01])
    band = axes.patches[0].get_data()
    size = np.array([0.002 / 0.99, 0.003 / 1.01])
    np.testing.assert_allclose([band.baseline, band.values], [1 - size, 1 + size])
    assert axes.get_ylabel() == "Response / A"
    assert entries(figure.legends[0]) == ["B", "Total error", "Error of A"]


def test_ratios_of_averages_have_the_weights_of_the_first():
    other = {**TWO, "eresp": [0.2, 0.1, np.nan, 0.4], "resp": [1.0, 2.0, np.nan, 6.0]}
    figure = plotting.sas_ratios(
        {"A": TWO, "B": other}, dims=["x"], parameters=["resp"]
    )
    ((_, y, _),) = bars(figure.axes[0])
    # Equal numbers have the ratio 1 whatever the errors; a category that one of them
    # lacks is in none of the averages.
    np.testing.assert_allclose(y, [1.0, 6 / 5])


def test_results_over_each_other():
    third = {**ONE, "resp": [0.98, 1.02]}
    figure = plotting.sas_comparison({"A": ONE, "B": ONE, "C": third}, columns=3)
    assert entries(figure.legends[0]) == ["A", "B", "C"]
    heights = [y for _, y, _ in bars(figure.axes[0])]
    np.testing.assert_array_equal(heights, [ONE["resp"], ONE["resp"], third["resp"]])
    places = np.array([x for x, _, _ in bars(figure.axes[0])])
    assert (np.diff(places, axis=0) > 0).all()
    assert ((places > [0, 1]) & (places < [1, 3])).all()


def test_errors_by_source():
    shifts = {"window": {"resp": [0.0012, -0.0004]}}
    given = {**ONE, "eresp_mc": [0.001, 0.0015]}
    figure = plotting.sas_errors(given, shifts=shifts, parameters=["resp"])
    steps = [patch.get_data().values for patch in figure.axes[0].patches]
    np.testing.assert_allclose(steps[1], ONE["eresp"])
    np.testing.assert_allclose(steps[2], given["eresp_mc"])
    np.testing.assert_allclose(steps[3], [0.0012, 0.0004])
    assert entries(figure.legends[0]) == ["Total", "Simulation", "window"]


def test_many_sources_are_the_largest_and_the_sum_of_the_others():
    sizes = {f"source {i}": 0.0001 * (1 + (7 * i) % 11) for i in range(11)}
    shifts = {name: {"resp": [size, -size]} for name, size in sizes.items()}
    figure = plotting.sas_errors(ONE, shifts=shifts, parameters=["resp"])
    texts = entries(figure.legends[0])
    steps = [patch.get_data().values for patch in figure.axes[0].patches]
    kept = [name for name in sizes if sizes[name] > 4.5e-4]
    assert len(kept) == 7
    assert texts == ["Total", *kept, "Others (4)"]
    others = np.sqrt(sum((0.0001 * i) ** 2 for i in (1, 2, 3, 4)))
    np.testing.assert_allclose(steps[-1], [others, others])


def test_results_without_numbers_say_so():
    figure = plotting.sas_parameters(
        {"categories": {"x": [-np.inf, np.inf]}, "resp": [np.nan], "reso": [0.01]}
    )
    resp, reso = figure.axes
    assert [text.get_text() for text in resp.texts] == ["no value"]
    assert not reso.texts
    assert not len(reso.get_xticks())


def test_shifts_of_categories_average_with_their_signs():
    shifts = {"window": {"resp": [0.1, -0.4, 0.2, 0.2]}}
    figure = plotting.sas_errors(TWO, shifts=shifts, dims=["x"], parameters=["resp"])
    steps = [patch.get_data().values for patch in figure.axes[0].patches]
    # Weights 4 : 1, then 1 : 1.
    np.testing.assert_allclose(steps[-1], [0.0, 0.2], atol=1e-15)


def test_a_record_is_drawn_as_its_arrays():
    categories = Categories.of(GIVEN["categories"])
    stat, mc = (
        np.diag(np.concatenate([GIVEN[f"eresp_{k}"], GIVEN[f"ereso_{k}"]]) ** 2)
        for k in ("stat", "mc")
    )
    names = ("resp", "reso", "eresp", "ereso", "eresp_mc", "ereso_mc", "reso_upper")
    record = SasParameters(
        categories,
        **{name: GIVEN[name] for name in names},
        status=(FITTED, FITTED, AT_BOUND, FITTED, "no region", FITTED),
        covariances={"stat": stat, "mc": mc},
    )
    given, own = plotting.sas_parameters(record), plotting.sas_parameters(GIVEN)
    np.testing.assert_array_equal(pictures.drawn(given), pictures.drawn(own))
    assert len(plotting.sas_errors(record).axes) == 2


@pytest.mark.parametrize("width", [3.39, 7.0])
def test_nothing_is_cut_off_or_overlaps(width):
    figure = plotting.sas_parameters(
        GIVEN, truth=pictures.TRUTH, size=(width, 5.0), title="Internal"
    )
    figure.draw_without_rendering()
    page = figure.bbox
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
        for legend in figure.legends:
            assert not legend.get_window_extent().overlaps(box)
    labels = [axes.yaxis.label.get_window_extent() for axes in figure.axes]
    assert not labels[0].overlaps(labels[1])


def test_options_of_axes_and_legends():
    figure = plotting.sas_parameters(
        GIVEN,
        x_range=(-1, 2),
        ranges={"resp": (0.9, 1.1)},
        columns=1,
        legend_size=6,
        legend_title_size=13,
        labels={"resp": "$R$"},
    )
    resp, reso = figure.axes
    assert resp.get_xlim() == reso.get_xlim() == (-1, 2)
    assert resp.get_ylim() == (0.9, 1.1) != reso.get_ylim()
    assert resp.get_ylabel() == "$R$"
    legend = figure.legends[0]
    assert [text.get_fontsize() for text in legend.get_texts()] == [6, 6]
    assert legend.get_title().get_fontsize() == 13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": ["z"]}, "no 'z'|'z'"),
        ({"dims": ["eta", "eta"]}, "dims: choose one, two or three different"),
        ({"dims": []}, "got none"),
        ({"parameters": ["rseo"]}, "Did you mean 'reso'"),
        ({"x_range": (2, 1)}, "x_range: give a lower and a higher"),
        ({"ranges": {"reso": (1, 1)}}, "a lower and a higher number"),
        ({"ranges": {"mu": (1, 2)}}, "'mu' is not drawn"),
        ({"log_x": True}, "edges below 0"),
        ({"pages": [3]}, "there is no panel 3; they are 0 to 0"),
        ({"truth": {"mu": [1]}}, "truth: it has none of resp, reso"),
        ({"legendsize": 3}, "Did you mean 'legend_size'"),
    ],
)
def test_faults_of_options_are_named(options, message):
    with pytest.raises(ew.EverwillowError, match=message):
        plotting.sas_parameters(GIVEN, **options)


def test_faults_of_results_are_named():
    with pytest.raises(ew.EverwillowError, match="expected a SasParameters"):
        plotting.sas_parameters(object())
    with pytest.raises(ew.EverwillowError, match='no "categories"'):
        plotting.sas_parameters({"resp": [1.0]})
    with pytest.raises(ew.EverwillowError, match="resp: expected a vector of 2"):
        plotting.sas_parameters({**ONE, "resp": [1.0]})
    with pytest.raises(ew.EverwillowError, match=r"need the shape \(4, 4\)"):
        plotting.sas_parameters({**ONE, "covariances": {"stat": np.eye(3)}})
    with pytest.raises(ew.EverwillowError, match="two results or more"):
        plotting.sas_ratios({"A": ONE})
    with pytest.raises(ew.EverwillowError, match="there is none"):
        plotting.sas_comparison({})
    with pytest.raises(ew.EverwillowError, match="categories of B are not those of A"):
        plotting.sas_comparison({"A": ONE, "B": TWO})


def test_bins_that_differ_a_little_are_drawn_together():
    one = {"categories": {"pt": [25, 38.0, 51.2, 80]}, "resp": [0.99, 1.0, 1.01]}
    other = {**one, "categories": {"pt": [25, 38.2, 51.3, 80]}}
    figure = plotting.sas_ratios({"A": one, "B": other}, parameters=["resp"])
    assert len(figure.axes) == 1
    far = {**one, "categories": {"pt": [25, 45.0, 51.3, 80]}}
    with pytest.raises(ArgumentValueError, match="same bins"):
        plotting.sas_ratios({"A": one, "B": far}, parameters=["resp"])
