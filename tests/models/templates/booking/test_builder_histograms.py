"""Histograms of other packages, by the protocol that they share."""

import types

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NonFiniteError,
    ShapeMismatchError,
)
from everwillow.models.templates.booking.builder import TemplateBuilder


EDGES = [0.0, 0.5, 2.0, 3.0]
NUMBERS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def dense(builder, what="nominal"):
    """Return yields, or variances, of the only process in all bins."""
    spec = builder.spec()
    out = np.zeros(spec.layout.bins)
    out[spec.templates.bin] = getattr(spec.templates, what)
    return out


def two_axes(**options):
    """Return a builder with the channel that NUMBERS fill."""
    out = TemplateBuilder(**options)
    out.add_channel([("x", EDGES), ("c", ["lo", "hi"])], "ch")
    return out


def weighted(hist, edges=EDGES, **options):
    """Return a weighted histogram with NUMBERS, their halves as variances, and flow."""
    out = hist.Hist(
        hist.axis.Variable(edges, name="x", **options),
        hist.axis.StrCategory(["lo", "hi"], name="c"),
        storage=hist.storage.Weight(),
    )
    view = out.view()
    view.value, view.variance = NUMBERS, NUMBERS / 2
    return out


def test_a_weighted_histogram_has_variances():
    hist = pytest.importorskip("hist")
    histogram = weighted(hist)
    builder = TemplateBuilder()
    builder.add_channel(histogram.axes, "ch")
    (channel,) = builder.layout.channels
    assert channel.axes[0].edges == tuple(EDGES)
    assert channel.axes[1].labels == ("lo", "hi")
    builder.add_process(histogram, "p", "ch")
    builder.add_data(histogram, "ch")
    np.testing.assert_array_equal(dense(builder), NUMBERS.ravel())
    np.testing.assert_array_equal(dense(builder, "variance"), NUMBERS.ravel() / 2)
    spec = builder.spec()
    np.testing.assert_array_equal(spec.observed, NUMBERS.ravel())
    # A histogram that has other variances than its counts gives those of the data too.
    np.testing.assert_array_equal(spec.observed_variance, NUMBERS.ravel() / 2)
    given = two_axes()
    given.add_process(histogram, "p", "ch", variances=histogram)
    given.add_data(histogram, "ch", variances=NUMBERS / 3)
    np.testing.assert_array_equal(dense(given, "variance"), NUMBERS.ravel())
    np.testing.assert_array_equal(given.spec().observed_variance, (NUMBERS / 3).ravel())


def test_counts_of_boost_histogram_are_their_variances():
    bh = pytest.importorskip("boost_histogram")
    histogram = bh.Histogram(bh.axis.Variable(EDGES), bh.axis.Integer(0, 2))
    histogram.view()[...] = NUMBERS
    builder = TemplateBuilder()
    builder.add_channel(histogram.axes, "ch")
    (channel,) = builder.layout.channels
    assert [axis.name for axis in channel.axes] == ["axis0", "axis1"]
    assert channel.axes[1].edges == (0.0, 1.0, 2.0)
    builder.add_process(histogram, "p", "ch")
    np.testing.assert_array_equal(dense(builder), NUMBERS.ravel())
    np.testing.assert_array_equal(dense(builder, "variance"), NUMBERS.ravel())
    # Axes without names fit those of any name.
    named = TemplateBuilder()
    named.add_channel([("pt", EDGES), ("n", [0.0, 1.0, 2.0])], "ch")
    named.add_process(histogram, "p", "ch")


def test_histograms_of_root_files(tmp_path):
    uproot = pytest.importorskip("uproot")
    hist = pytest.importorskip("hist")
    histogram = hist.Hist(
        hist.axis.Variable(EDGES, name="x"), storage=hist.storage.Weight()
    )
    histogram.view(flow=True).value = [0.5, 1.0, 2.0, 3.0, 0.25]
    histogram.view(flow=True).variance = [0.1, 0.2, 0.3, 0.4, 0.5]
    with uproot.recreate(tmp_path / "file.root") as file:
        file["nominal"] = histogram
    with uproot.open(tmp_path / "file.root") as file:
        read = file["nominal"]
    for flow, part in ((False, slice(1, 4)), (True, slice(0, 5))):
        builder = TemplateBuilder()
        builder.add_channel(read.axes, "ch", flow=flow)
        builder.add_process(read, "p", "ch")
        values = np.array([0.5, 1.0, 2.0, 3.0, 0.25])[part]
        np.testing.assert_array_equal(dense(builder), values)
        variances = np.array([0.1, 0.2, 0.3, 0.4, 0.5])[part]
        np.testing.assert_array_equal(dense(builder, "variance"), variances)


@pytest.mark.parametrize("overflow", [True, False])
def test_flow_bins_are_those_that_an_axis_has(overflow):
    hist = pytest.importorskip("hist")
    histogram = weighted(hist, overflow=overflow)
    histogram.view(flow=True).value[0, :2] = [7.0, 8.0]
    builder = TemplateBuilder()
    builder.add_channel(histogram.axes, "ch", masked=False, flow=True)
    (channel,) = builder.layout.channels
    above = (np.inf,) if overflow else ()
    assert channel.axes[0].edges == (-np.inf, *EDGES, *above)
    builder.add_process(histogram, "p", "ch")
    zeros = [[0.0, 0.0]] if overflow else np.zeros((0, 2))
    expected = np.concatenate([[[7.0, 8.0]], NUMBERS, zeros])
    np.testing.assert_array_equal(dense(builder), expected.ravel())
    without = TemplateBuilder()
    without.add_channel(histogram.axes, "ch")
    without.add_process(histogram, "p", "ch")
    np.testing.assert_array_equal(dense(without), NUMBERS.ravel())


def test_a_histogram_without_the_flow_bins_of_its_channel_is_none_of_it():
    hist = pytest.importorskip("hist")
    builder = TemplateBuilder()
    builder.add_channel(weighted(hist).axes, "ch", flow=True)
    with pytest.raises(ShapeMismatchError, match=r"'x', and the histogram has none"):
        builder.add_process(weighted(hist, overflow=False), "p", "ch")


def test_axes_in_the_wrong_order_are_seen():
    hist = pytest.importorskip("hist")
    square = hist.Hist(
        hist.axis.Regular(2, 0, 1, name="a"), hist.axis.Regular(2, 0, 1, name="b")
    )
    builder = TemplateBuilder()
    builder.add_channel([("b", [0, 0.5, 1]), ("a", [0, 0.5, 1])], "ch")
    with pytest.raises(ShapeMismatchError, match=r"'b' .* the histogram has 'a'"):
        builder.add_process(square, "p", "ch")
    builder.add_process(square.project("b", "a"), "p", "ch")


@pytest.mark.parametrize("name", ["", "x", "xaxis", "p"])
def test_axes_of_other_names_are_seen(name):
    hist = pytest.importorskip("hist")
    builder = TemplateBuilder()
    builder.add_channel([("x", EDGES)], "ch")
    histogram = hist.Hist(hist.axis.Variable(EDGES, name=name))
    if name != "p":
        builder.add_process(histogram, "p", "ch")
        return
    with pytest.raises(ShapeMismatchError, match=r"'x' .* the histogram has 'p'"):
        builder.add_process(histogram, "p", "ch")


@pytest.mark.parametrize(
    ("edges", "fits"),
    [
        ([0.0, 0.5, 2.0, 3.0 * (1 + 1e-12)], True),
        ([0.0, 0.5, 2.0, 3.01], False),
        ([0.0, 0.5, 3.0], False),
    ],
)
def test_edges_are_compared(edges, fits):
    hist = pytest.importorskip("hist")
    histogram = hist.Hist(hist.axis.Variable(edges, name="x"))
    builder = TemplateBuilder()
    builder.add_channel([("x", EDGES)], "ch")
    if fits:
        builder.add_process(histogram, "p", "ch")
        return
    with pytest.raises(ShapeMismatchError, match=r"process 'p' in channel 'ch'"):
        builder.add_process(histogram, "p", "ch")


def test_labels_are_compared():
    hist = pytest.importorskip("hist")
    other = hist.Hist(
        hist.axis.Variable(EDGES, name="x"),
        hist.axis.StrCategory(["hi", "lo"], name="c"),
    )
    with pytest.raises(ShapeMismatchError, match=r"labels lo, hi.*labels hi, lo"):
        two_axes().add_process(other, "p", "ch")


def test_whole_numbers_are_text_in_other_files():
    hist = pytest.importorskip("hist")
    told = TemplateBuilder()
    told.add_channel([hist.axis.IntCategory([3, 7], name="run")], "ch")
    histogram = hist.Hist(hist.axis.StrCategory(["3", "7"], name="run"))
    histogram.view()[...] = [1.0, 2.0]
    told.add_process(histogram, "p", "ch")
    assert told.layout.channels[0].axes[0].labels == (3, 7)
    turned = hist.Hist(hist.axis.StrCategory(["7", "3"], name="run"))
    with pytest.raises(ShapeMismatchError, match="labels 7, 3"):
        told.add_process(turned, "q", "ch")


def test_further_axes_make_a_parameter_a_bin():
    hist = pytest.importorskip("hist")
    # The further axes stand before, between and behind those of the channel.
    histogram = hist.Hist(
        hist.axis.IntCategory([3, 7], name="member"),
        hist.axis.Variable(EDGES, name="x"),
        hist.axis.Regular(2, 0, 10, name="eta"),
        hist.axis.StrCategory(["lo", "hi"], name="c"),
    )
    factor = np.array([[1.1, 1.2], [1.3, 1.4]])
    values = NUMBERS[None, :, None] * factor[:, None, :, None]
    histogram.view()[...] = values
    for axes in (None, ["member", "eta"], ["eta", "member"]):
        builder = two_axes()
        builder.add_process(NUMBERS, "p", "ch")
        builder.add_systematic(histogram, "eff", "p", "ch", syst_axes=axes)
        spec = builder.spec()
        swapped = axes == ["eta", "member"]
        for i, member in enumerate((3, 7)):
            for j in range(2):
                name = f"eff_{j}_{member}" if swapped else f"eff_{member}_{j}"
                k = [s.name for s in spec.systematics].index(name)
                part = slice(*spec.responses.start[k : k + 2])
                np.testing.assert_allclose(
                    spec.responses.average[part], np.log(factor[i, j]), rtol=1e-14
                )


def test_further_axes_have_no_flow_bins():
    hist = pytest.importorskip("hist")
    histogram = hist.Hist(
        hist.axis.Variable(EDGES, name="x"), hist.axis.Regular(2, 0, 10, name="eta")
    )
    histogram.view(flow=True)[...] = np.arange(1.0, 21.0).reshape(5, 4)
    builder = TemplateBuilder()
    builder.add_channel([histogram.axes[0]], "ch", flow=True)
    builder.add_process(np.ones(5), "p", "ch")
    builder.add_systematic(histogram, "s", "p", "ch")
    spec = builder.spec()
    assert [s.name for s in spec.systematics] == ["s_0", "s_1"]
    expected = np.log(np.arange(1.0, 21.0).reshape(5, 4)[:, 1:3].T)
    np.testing.assert_allclose(spec.responses.average, expected.ravel(), rtol=1e-14)


def test_sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    nominal = np.array([0.0, 2.0, 0.0, 4.0, 5.0, 6.0])
    # Two entries at one place are to be added; matrices of any shape of that size.
    double = sparse.coo_array(
        ([2.0, 3.0, 1.0, 5.0, 6.0], ([0, 1, 1, 2, 2], [1, 1, 1, 0, 1])), shape=(3, 2)
    )
    builder = two_axes()
    builder.add_process(double, "p", "ch")
    np.testing.assert_array_equal(dense(builder), nominal)
    np.testing.assert_array_equal(dense(builder, "variance"), nominal)
    change = np.array([0.0, 0.0, 7.0, 1.0, 0.0, -0.5])
    varied = np.where(nominal, nominal + change, 0)
    row = sparse.csr_matrix(change[None])
    builder.add_systematic(row, "diff", "p", "ch", as_difference=True)
    builder.add_systematic(sparse.csc_array(varied[:, None]), "whole", "p", "ch")
    builder.add_systematic(
        (row, -row), "pair", "p", "ch", as_difference=True, symmetrize=None
    )
    builder.add_systematic(varied.reshape(3, 2), "array", "p", "ch")
    spec = builder.spec()
    expected = np.log([5 / 4, 5.5 / 6])
    for k, systematic in enumerate(spec.systematics):
        part = slice(*spec.responses.start[k : k + 2])
        rows = spec.responses.row[part]
        # Only bins that move are kept, and bin 2 has nothing that could.
        np.testing.assert_array_equal(spec.templates.bin[rows], [3, 5])
        response = spec.responses.average[part] + spec.responses.half[part]
        np.testing.assert_allclose(response, expected, rtol=1e-13)
        assert systematic.name in {"array", "diff", "pair", "whole"}
    (said,) = [r for r in spec.report if "'diff'" in r and "leaves empty" in r]
    assert "(1, 0)" in said


def test_axes_are_whatever_speaks_the_protocol():
    traits = types.SimpleNamespace(discrete=False, circular=False)

    class Interval(list):
        """An axis with nothing but what the protocol asks for."""

        traits = None

    axis = Interval([(0.0, 0.5), (0.5, 2.0), (2.0, 3.0)])
    axis.traits = traits
    histogram = types.SimpleNamespace(
        axes=[axis],
        kind="COUNT",
        values=lambda: NUMBERS[:, 0],
        variances=lambda: None,
    )
    builder = TemplateBuilder()
    builder.add_channel(axis, "one")
    assert builder.layout.channels[0].axes[0].edges == tuple(EDGES)
    builder.add_process(histogram, "p", "one")
    np.testing.assert_array_equal(dense(builder), NUMBERS[:, 0])


def test_a_profile_is_no_histogram_of_events():
    bh = pytest.importorskip("boost_histogram")
    profile = bh.Histogram(bh.axis.Variable(EDGES), storage=bh.storage.Mean())
    builder = TemplateBuilder()
    builder.add_channel([("x", EDGES)], "ch")
    with pytest.raises(ArgumentTypeError, match="holds means"):
        builder.add_process(profile, "p", "ch")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (NUMBERS.T, ShapeMismatchError, r"shape \(2, 3\).*'ch' needs \(3, 2\)"),
        (NUMBERS.ravel(), ShapeMismatchError, r"shape \(6,\)"),
        (NUMBERS * [1, np.nan], NonFiniteError, "value of bin 1 "),
        (NUMBERS + 0j, ArgumentTypeError, "got ndarray"),
        ("text", ArgumentTypeError, "got str"),
        ([[1.0], [2.0, 3.0]], ArgumentTypeError, "got list"),
        (None, ArgumentTypeError, "got NoneType"),
    ],
)
def test_what_is_no_histogram_of_a_channel(given, error, message):
    with pytest.raises(error, match=message) as caught:
        two_axes().add_process(given, "p", "ch")
    assert "process 'p' in channel 'ch'" in str(caught.value)


def test_sparse_matrices_of_another_size():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ShapeMismatchError, match=r"\(1, 5\).*has 6 bins"):
        two_axes().add_process(sparse.csr_array(np.ones((1, 5))), "p", "ch")


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ([("x", [0.0, 1.0]), ("x", [0.0, 1.0])], ArgumentValueError, "one name"),
        ([("x", [0.0, 0.0])], ArgumentValueError, "must ascend"),
        ([("x", ["a", "a"])], ArgumentValueError, "twice"),
        ([("x", [[0.0, 1.0]])], ArgumentTypeError, "axis 'x' needs edges"),
        ([[0.0, 1.0]], ArgumentTypeError, "axis 0 is"),
        (["x"], ArgumentTypeError, "axis 0 is"),
        (5, ArgumentTypeError, "sequence of axes"),
    ],
)
def test_axes_that_are_none(axes, error, message):
    with pytest.raises(error, match=message):
        TemplateBuilder().add_channel(axes, "ch")
