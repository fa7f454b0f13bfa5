"""What a run of a template fit answers by further fits, and from those of others."""

import dataclasses
import os

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.models.templates import TemplateBuilder
from everwillow.models.templates.likelihood.regularisation import Curvature
from everwillow.profile import minos
from everwillow.workflows.report import SIMULATION
from everwillow.workflows.templates import load_results, run, write_results
from everwillow.workflows.templates.regularisation import l_curve
from tests.workflows.templates import small_template as small


pytest.importorskip("h5py")

PAIR = ("signal", "slope")


@pytest.fixture(scope="module")
def spec():
    return small.builder().spec()


@pytest.fixture(scope="module")
def results(spec):
    return run(spec, minos=True, limits=["signal"], mappings=["Project ch0 x"])


@pytest.fixture(scope="module")
def wide(spec):
    """What takes more programs."""
    return run(
        spec,
        asymmetric_impacts=True,
        groups={"shape": ["tilt", "sl*"]},
        minos=True,
        scans=["signal,slope"],
        scan_points=3,
        contours=[PAIR],
        contour_cl=[0.9],
        limits=["signal"],
    )


@pytest.fixture(scope="module")
def model():
    return small.builder().build()


@pytest.fixture(scope="module")
def fitted(model):
    return ew.fit(model)


def conditional(model, fitted, **held):
    """Return a fit with parameters held, and twice its rise of -ln L."""
    found = ew.fit(model, fitted.params, fixed=held)
    return found, 2 * (float(found.nll) - float(fitted.nll))


def value_of(table, name):
    return table.values[table.names.index(name)]


@pytest.mark.slow
def test_asymmetric_errors_are_those_of_the_library(results, model, fitted):
    found = results.asymmetric_errors
    direct = minos(model, fitted, names=list(PAIR))
    assert found.names == PAIR
    np.testing.assert_allclose(found.lower, direct.lower, rtol=1e-5)
    np.testing.assert_allclose(found.upper, direct.upper, rtol=1e-5)
    assert {*found.lower_status, *found.upper_status} == {"found"}
    # At the end of the interval -ln L has risen by 1/2.
    end = found.values[1] + found.upper[1]
    assert conditional(model, fitted, slope=end)[1] == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_limits_are_those_of_the_library(results, model, fitted):
    direct = ew.limits(model, "signal", fitted)
    found = results.limits["signal"]
    assert found.observed == pytest.approx(float(direct.observed), rel=1e-5)
    expected = [float(value) for _, value in direct.expected]
    np.testing.assert_allclose(found.expected, expected, rtol=1e-5)
    assert np.all(np.diff(found.expected) > 0)
    assert found.level == 0.05


@pytest.mark.slow
def test_grids_and_contours_are_conditional_fits(wide, model, fitted):
    grid = wide.grid_scans["signal,slope"]
    assert grid.names == PAIR
    held = {"signal": grid.first[0], "slope": grid.second[2]}
    height = conditional(model, fitted, **held)[1]
    assert grid.twice_delta_nll[0, 2] == pytest.approx(height, rel=1e-4)
    assert grid.twice_delta_nll[1, 1] == pytest.approx(0, abs=1e-6)
    curve = wide.contours["signal,slope"].curves["0.9"]
    assert curve.closed
    signal, slope = curve.points[7]
    height = conditional(model, fitted, signal=signal, slope=slope)[1]
    assert height == pytest.approx(-2 * np.log(0.1), rel=1e-3)


@pytest.mark.slow
def test_asymmetric_impacts_are_fits(wide, model, fitted):
    found, table = wide.impacts, wide.parameters
    i = found.names.index("flat_norm")
    error = table.errors[table.names.index("flat_norm")]
    for shifts, sign in ((found.up, 1), (found.down, -1)):
        held = value_of(table, "flat_norm") + sign * error
        moved = conditional(model, fitted, flat_norm=held)[0]
        for row, poi in enumerate(PAIR):
            shift = float(moved.params[poi]) - value_of(table, poi)
            assert shifts[row, i] == pytest.approx(shift, abs=1e-5)
    assert "shape" in found.groups


@pytest.mark.slow
def test_all_of_it_is_in_the_file(wide, tmp_path):
    write_results(wide, tmp_path / "results.hdf5")
    loaded = load_results(tmp_path / "results.hdf5")
    before, after = (
        jax.tree_util.tree_leaves_with_path(dataclasses.asdict(one))
        for one in (wide, loaded)
    )
    assert [path for path, _ in before] == [path for path, _ in after]
    for (_, one), (_, other) in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_hidden_parameters_stay_hidden(spec, wide):
    found = run(
        spec,
        blind="signal",
        limits=True,
        minos="signal",
        contours=["signal,slope"],
        contour_cl=[0.9],
    )
    assert list(found.limits) == ["slope"]
    assert any("Limits on signal were left out" in text for text in found.remarks)
    # All is in units of the hidden number, which are those of the table.
    factor = value_of(found.parameters, "signal") / value_of(wide.parameters, "signal")
    assert abs(np.log(factor)) > 1e-3
    assert found.asymmetric_errors.upper[0] == pytest.approx(
        factor * wide.asymmetric_errors.upper[0], rel=1e-4
    )
    curves = [one.contours["signal,slope"].curves["0.9"] for one in (found, wide)]
    ends = np.array([np.ptp(curve.points, axis=0) for curve in curves])
    np.testing.assert_allclose(ends[0] / ends[1], [factor, 1.0], rtol=0.01)


@pytest.mark.slow
def test_bounds_do_not_tell_hidden_numbers():
    out = TemplateBuilder()
    out.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
    out.add_process([90.0, 20.0], "light", "ch0", variances=[0.0, 0.0])
    out.add_process([20.0, 90.0], "heavy", "ch0", variances=[0.0, 0.0])
    out.add_data([120.0, 100.0], "ch0")
    found = run(
        out.spec(),
        parameters="Mixture light heavy",
        blind=True,
        scans=["light_heavy_mixing"],
        minos=True,
    )
    # A fraction ends at 1, which moves along.
    assert found.asymmetric_errors is None
    assert not found.scans
    assert any("bounds would tell" in text for text in found.remarks)


def one_bin(n=110.0, **masked):
    out = TemplateBuilder()
    out.add_channel([], "all")
    for channel in masked:
        out.add_channel([], channel, masked=True)
    out.add_process(100.0, "signal", "all", signal=True)
    out.add_norm_systematic("lumi", "signal", "all", 1.02)
    for channel, events in masked.items():
        out.add_process(events, "signal", channel, signal=True, variances=0.0)
    out.add_data(n, "all")
    return out.spec()


@pytest.mark.slow
def test_limits_do_not_tell_hidden_numbers():
    found = run(one_bin(), statistics=None, fixed=["lumi"], blind=True, limits=True)
    assert not found.limits
    assert any("Limits on signal were left out" in text for text in found.remarks)


@pytest.mark.slow
def test_frozen_parameters_move_the_fit_in_closed_form():
    found = run(
        one_bin(), statistics=None, fixed=["lumi"], nonprofiled_impacts=True
    ).nonprofiled_impacts
    # n = 100 mu 1.02^theta.
    assert (found.interest, found.names) == (("signal",), ("lumi",))
    np.testing.assert_allclose(found.up, [[1.1 / 1.02 - 1.1]], rtol=1e-6)
    np.testing.assert_allclose(found.down, [[1.1 * 1.02 - 1.1]], rtol=1e-6)
    assert found.groups == ("lumi", "total")
    np.testing.assert_allclose(found.grouped_up, [[0.022, 0.022]], rtol=1e-6)


@pytest.mark.slow
def test_results_of_others_are_propagated_in_closed_form(tmp_path):
    options = {"statistics": None, "fixed": ["lumi"]}
    write_results(run(one_bin(), **options), tmp_path / "first.hdf5")
    found = run(
        one_bin(total=50.0),
        from_result=os.fspath(tmp_path / "first.hdf5"),
        refit=False,
        statistics=None,
    )
    total = found.channels["total"]
    assert total.postfit.values.item() == pytest.approx(55)
    assert total.postfit.errors.item() == pytest.approx(50 * np.sqrt(110) / 100)
    # What was frozen there is frozen here.
    table = found.parameters
    assert table.frozen.tolist() == [name == "lumi" for name in table.names]
    assert "not fitted again" in found.fit.status
    assert found.fit.evaluations == 0


def test_results_of_others_are_propagated_or_start_values(spec, results):
    again = run(spec, from_result=results, mappings=["Project ch0 x"])
    assert again.fit.evaluations < results.fit.evaluations
    np.testing.assert_allclose(
        again.parameters.values, results.parameters.values, atol=1e-6
    )
    np.testing.assert_array_equal(
        again.channels["ch0"].prefit.values, results.channels["ch0"].prefit.values
    )
    taken = run(spec, from_result=results, refit=False, mappings=["Project ch0 x"])
    for one in ("ch0", "xsec"):
        ours, theirs = (r.channels[one].postfit for r in (taken, results))
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-9)
        np.testing.assert_allclose(ours.errors, theirs.errors, rtol=1e-6)
    tests = [r.mappings["Project ch0 x"].postfit_chi2 for r in (taken, results)]
    assert tests[0].statistic == pytest.approx(tests[1].statistic, rel=1e-6)
    other = run(
        spec,
        data="strong",
        from_result=results,
        refit=False,
        mappings=["Project ch0 x"],
    )
    assert other.fit.saturated is None
    assert other.mappings["Project ch0 x"].postfit_chi2 is None
    assert any("no minimum for these data" in text for text in other.remarks)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refit": False}, "from_result needs a fit"),
        ({"refit": False, "scans": ["slope"]}, "from_result, scans needs a fit"),
        ({"contours": ["signal"]}, "expected two parameters, written A,B"),
        ({"scans": ["signal,signal"]}, "two different ones"),
        ({"scans": ["signal,sloppe"]}, "Did you mean 'slope'"),
        ({"scans": ["signal,s*"]}, "means 2 parameters"),
        ({"scans": [3]}, "expected names, or pairs"),
        ({"minos": "sign"}, "Did you mean 'signal'"),
        ({"limits": ["signal"], "fixed": ["signal"]}, "'signal' is frozen"),
        ({"limits": True, "cl": 0.05}, "a confidence level such as 0.95"),
        ({"contour_cl": [68]}, "numbers between 0 and 1"),
        ({"nonprofiled_impacts": True}, "no parameter with a constraint is frozen"),
        ({"strength": 1.0}, "nothing is regularised"),
        ({"l_curve": [0.0]}, "nothing is regularised"),
        ({"regularise": "Project ch0 x", "strength": "corner"}, "Ask for one"),
        ({"regularise": "Project ch0 x", "strength": (1, 2)}, "2 values for 1"),
        ({"regularise": "Parameters"}, "expected Parameters PATTERN"),
        ({"regularise": "Parameters sloppe"}, "Did you mean 'slope'"),
        ({"regularise": "Parameters signal tilt"}, "means 'tilt', too, which starts"),
        (
            {"mappings": ["Project ch0 x", "Project ch1 x"]},
            r"mapping 'Project ch1 x': layout: there is no channel 'ch1'",
        ),
        ({"groups": {"shape": "tild"}}, "Did you mean 'tilt'"),
    ],
)
def test_bad_questions_are_refused_before_the_fit(spec, options, message):
    def never(*args, **options):
        raise AssertionError

    with pytest.raises(ew.EverwillowError, match=message):
        run(spec, minimise=never, **options)


def test_results_of_others_have_to_fit(spec, results):
    with pytest.raises(ew.EverwillowError, match="other parameters are hidden there"):
        run(spec, from_result=results, refit=False, blind=True)
    with pytest.raises(ew.EverwillowError, match="lumi was fitted in the result"):
        run(spec, from_result=results, refit=False, fixed=["lumi"])


def two_bins():
    out = TemplateBuilder()
    out.add_channel([("x", [0.0, 1.0, 2.0])], "ch0")
    out.add_process([100.0, 0.0], "first", "ch0", signal=True)
    out.add_process([0.0, 100.0], "second", "ch0", signal=True)
    out.add_data([130.0, 90.0], "ch0", variances=[100.0, 100.0])
    return out


@pytest.mark.slow
@pytest.mark.parametrize("text", ["Parameters first second", "Select ch0"])
def test_regularised_bins_are_solved_in_closed_form(text):
    found = run(
        two_bins().spec(),
        likelihood="chi2",
        statistics=None,
        regularise=text,
        strength=1.5,
    )
    # 50 (mu - n)^2 for each, and 2 e^(2 tau) times the square of the difference.
    weight = 4 * np.exp(2 * 1.5)
    matrix = np.diag([100.0, 100.0]) + weight * np.array([[1.0, -1.0], [-1.0, 1.0]])
    np.testing.assert_allclose(
        found.parameters.values, np.linalg.solve(matrix, [130.0, 90.0]), rtol=1e-7
    )
    np.testing.assert_allclose(found.covariance.matrix, np.linalg.inv(matrix))
    assert found.regularisation.histograms == (text,)
    assert found.regularisation.strengths.tolist() == [1.5]
    # The penalty is a part of -ln L, and none of the test of the data.
    values = found.parameters.values
    away = np.sum((100 * values - [130.0, 90.0]) ** 2 / 100)
    constant = np.log(2 * np.pi * 100)
    penalty = found.fit.penalty
    assert penalty == pytest.approx(weight / 2 * (values[0] - values[1]) ** 2)
    assert found.fit.nll == pytest.approx(away / 2 + constant + penalty)
    assert found.fit.saturated.statistic == pytest.approx(away)
    assert found.fit.saturated.ndof == 0
    assert any("the penalty of the regularisation" in r for r in found.remarks)


@pytest.mark.slow
def test_the_l_curve_is_that_of_the_library():
    options = {"likelihood": "chi2", "statistics": None}
    smooth = Curvature(ew.mappings.Select("ch0"))
    spec, strengths = two_bins().spec(), [0.0, 1.0, 2.0]
    found = run(spec, regularise=smooth, l_curve=strengths, **options).regularisation
    direct = l_curve(two_bins().build(regularisation=smooth, **options), strengths)
    for name in ("strengths", "nll", "misfit", "penalty", "curvature"):
        ours, theirs = getattr(found.l_curve, name), getattr(direct, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)
    hidden = run(
        spec, regularise=smooth, l_curve=strengths, blind=True, **options
    ).regularisation
    assert hidden.l_curve.penalty is None
    np.testing.assert_allclose(hidden.l_curve.misfit, direct.misfit, rtol=1e-5)
    with pytest.raises(ew.EverwillowError, match="has no corner") as caught:
        run(spec, regularise=smooth, l_curve=strengths, strength="corner", **options)
    np.testing.assert_array_equal(caught.value.l_curve.misfit, found.l_curve.misfit)


@pytest.mark.slow
def test_the_factors_of_bins_can_be_parameters():
    inside, outside = run(one_bin()), run(one_bin(), profile=False, impacts=True)
    table = outside.parameters
    assert table.names == ("bin_by_bin[0]", "lumi", "signal")
    i, j = (one.parameters.names.index("signal") for one in (inside, outside))
    assert table.values[j] == pytest.approx(inside.parameters.values[i], rel=1e-6)
    assert table.errors[j] == pytest.approx(inside.parameters.errors[i], rel=1e-6)
    assert SIMULATION in outside.impacts.groups
    listed = run(one_bin(), sparse=True)
    assert listed.parameters.errors[i] == pytest.approx(
        inside.parameters.errors[i], rel=1e-6
    )


@pytest.mark.slow
def test_toys_of_arrays_and_where_they_start():
    found = run(
        one_bin(),
        data="toys",
        ntoys=3,
        starts={"signal": 1.5},
        profile=False,
        minos="bin*",
    )
    toys = found.toys
    assert toys.names == ("bin_by_bin[0]", "lumi", "signal")
    np.testing.assert_allclose(toys.true_values, [1.0, 0.0, 1.5])
    assert toys.values.shape == toys.errors.shape == (3, 3)
    assert found.asymmetric_errors.names == ("bin_by_bin[0]",)
    mean, width = toys.summary()["signal"]
    pulls = (toys.values[:, 2] - 1.5) / toys.errors[:, 2]
    assert (mean, width) == pytest.approx((pulls.mean(), pulls.std()))


@pytest.mark.slow
def test_pulls_are_away_from_the_constraint_wherever_a_fit_starts(spec, results):
    moved = run(spec, starts={"lumi": 0.7})
    np.testing.assert_allclose(
        moved.parameters.pulls, results.parameters.pulls, atol=1e-5
    )
