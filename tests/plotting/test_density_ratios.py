"""What plots of closure and calibration draw: read back from the figures."""

import numpy as np
import pytest


pytest.importorskip("matplotlib")

import everwillow as ew
from everwillow import plotting
from everwillow.goodness import chi2_test
from everwillow.models.nsbi.diagnostics import calibration, closure_test
from tests.plotting import pictures


RNG = np.random.default_rng(6)
X = np.concatenate([np.sqrt(RNG.random(900)), RNG.random(1100)])
FIRST = np.arange(2000) < 900


def points(axes, number=0):
    """Return positions and ends of bars of points with errors."""
    container = axes.containers[number]
    line, _, (bars,) = container
    # The bars of points that are NaN have no ends.
    ends = np.array([p[:, 1] for p in bars.get_segments() if np.ndim(p) == 2])
    return np.stack(line.get_data()), ends


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_the_closure_shows_both_samples_and_their_ratio():
    figure = pictures.reweighting_closure()
    axes, below = figure.axes
    target, reweighted = (pictures.CLOSURE[k] for k in ("target", "reweighted"))
    errors = pictures.CLOSURE["target_errors"]
    (x, y), ends = points(axes)
    np.testing.assert_allclose(x, np.arange(0.25, 4, 0.5))
    np.testing.assert_allclose(y, target)
    np.testing.assert_allclose(ends.T, [target - errors, target + errors])
    steps = [patch.get_data() for patch in axes.patches]
    np.testing.assert_array_equal(steps[0].values, reweighted)
    band = pictures.CLOSURE["reweighted_errors"]
    np.testing.assert_allclose(steps[1].values, reweighted + band)
    np.testing.assert_allclose(steps[1].baseline, reweighted - band)
    np.testing.assert_array_equal(steps[2].values, pictures.CLOSURE["source"])
    (_, ratio), ends = points(below)
    np.testing.assert_allclose(ratio, target / reweighted)
    np.testing.assert_allclose(ends[:, 1] - ratio, errors / reweighted)
    width = below.patches[0].get_data()
    np.testing.assert_allclose(width.values - width.baseline, 2 * band / reweighted)
    names = ["Signal", "Reweighted reference", "Reference"]
    assert texts(axes.get_legend()) == names


def test_a_ratio_out_of_the_panel_is_marked():
    below = pictures.reweighting_closure().axes[1]
    assert below.get_ylim()[1] <= 2
    marks = {line.get_marker(): line.get_xdata() for line in below.lines}
    np.testing.assert_allclose(marks["^"], [3.75])
    assert marks["v"].size == 0


def test_the_closure_says_how_well_it_agrees():
    axes = pictures.reweighting_closure().axes[0]
    (text,) = axes.texts
    assert text.get_text().split("\n") == [
        r"$\chi^2$ / ndof = 7.3 / 8",
        "p = 0.5",
        r"mean ratio $0.988 \pm 0.012$",
    ]
    silent = plotting.reweighting_closure(**pictures.CLOSURE).axes[0]
    assert [t.get_text() for t in silent.texts] == [""]


def test_texts_and_legend_do_not_touch():
    figure = pictures.reweighting_closure()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    text, legend = axes.texts[0].get_window_extent(), axes.get_legend()
    assert not text.overlaps(legend.get_window_extent())
    # Nothing is drawn behind them.
    _, ends = points(axes)
    top = axes.transData.transform((0, ends.max()))[1]
    assert top < min(text.y0, legend.get_window_extent().y0)


def test_a_record_of_a_closure_is_drawn_as_its_arrays():
    target, source = np.where(FIRST, 1.0, 0.0), np.where(FIRST, 0.0, 2.0)
    found = closure_test(X, target, source, 2 * X, bins=10)
    record = plotting.reweighting_closure(found, name="x", log=True)
    arrays = plotting.reweighting_closure(
        edges=found.edges,
        target=found.target,
        target_errors=found.target_errors,
        reweighted=found.reweighted,
        reweighted_errors=found.reweighted_errors,
        source=found.source,
        goodness=chi2_test(found.residuals, found.covariance),
        normalisation=(found.normalisation, found.normalisation_error),
        name="x",
        log=True,
    )
    assert record.axes[0].get_yscale() == "log"
    np.testing.assert_array_equal(pictures.drawn(record), pictures.drawn(arrays))


def test_the_calibration_has_points_at_predicted_and_true_fractions():
    figure = pictures.calibration_curve()
    axes, below = figure.axes
    (x, y), ends = points(axes)
    fraction, errors = (pictures.CALIBRATION[k] for k in ("fraction", "errors"))
    np.testing.assert_array_equal(x, pictures.CALIBRATION["predicted"])
    np.testing.assert_array_equal(y, fraction)
    np.testing.assert_allclose(
        ends[:4].T, [(fraction - errors)[:4], (fraction + errors)[:4]]
    )
    (ideal,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    np.testing.assert_array_equal(ideal.get_xdata(), ideal.get_ydata())
    counts = [patch.get_data().values for patch in below.patches]
    np.testing.assert_array_equal(counts, pictures.CALIBRATION["counts"])
    assert axes.get_xlim() == below.get_xlim() == (0, 1)
    title = axes.get_legend().get_title().get_text()
    assert title == r"$\chi^2$ / ndof = 7.3 / 8, p = 0.5"


def test_a_record_of_a_calibration_is_drawn_as_its_arrays():
    found = calibration(2 * X, FIRST, bins=8)
    record = plotting.calibration_curve(found)
    names = ("edges", "predicted", "fraction", "errors", "counts")
    arrays = plotting.calibration_curve(
        **{name: getattr(found, name) for name in names},
        goodness=chi2_test(found.residuals, found.covariance),
    )
    np.testing.assert_array_equal(pictures.drawn(record), pictures.drawn(arrays))
    wrong = plotting.calibration_curve(calibration(50 * X**3, FIRST))
    assert "p < 1e-16" in wrong.axes[0].get_legend().get_title().get_text()


def test_faults_are_named():
    closure, curve = pictures.CLOSURE, pictures.CALIBRATION
    with pytest.raises(ew.EverwillowError, match="expected a ClosureResult"):
        plotting.reweighting_closure(object())
    with pytest.raises(ew.EverwillowError, match="expected a CalibrationResult"):
        plotting.calibration_curve(object())
    with pytest.raises(ew.EverwillowError, match="or the arrays edges"):
        plotting.reweighting_closure(target=[1.0])
    with pytest.raises(ew.EverwillowError, match="target: expected a vector of 8"):
        plotting.reweighting_closure(**{**closure, "target": [1.0, 2.0]})
    with pytest.raises(ew.EverwillowError, match="edges: expected at least two rising"):
        plotting.reweighting_closure(**{**closure, "edges": [1.0, 0.0]})
    with pytest.raises(
        ew.EverwillowError, match=r"counts: expected the shape \(2, 5\)"
    ):
        plotting.calibration_curve(**{**curve, "counts": np.ones(5)})
