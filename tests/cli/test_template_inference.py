"""`everwillow template`: intervals, limits, contours and other results, as shown."""

import dataclasses
import pathlib

import numpy as np
import pytest


pytest.importorskip("h5py")

from everwillow.cli.commands.template.fit import groups_of, strength_of, strengths_of
from everwillow.workflows import templates
from everwillow.workflows.report import (
    AsymmetricErrors,
    Contour,
    ContourCurve,
    GridScan,
    Limit,
    NonprofiledShifts,
    Scan,
)
from everwillow.workflows.templates.results import Regularisation, StrengthScan
from tests.cli.test_fit import row
from tests.cli.test_input import said
from tests.workflows.templates import small_template as small


ANGLE = np.linspace(0, 2 * np.pi, 41)
NAMES = ("signal", "slope")


def circle(cl):
    radius = np.sqrt(-2 * np.log1p(-cl))
    points = radius * np.stack([0.1 * np.cos(ANGLE), np.sin(ANGLE)], -1)
    return ContourCurve(cl, points + np.array([1.0, 0.0]), closed=True)


def known(results):
    """Return results with numbers of our own in all that further fits find."""
    x, y = np.linspace(0.7, 1.3, 5), np.linspace(-3.0, 3.0, 5)
    heights = ((x[:, None] - 1) / 0.1) ** 2 + y**2
    heights[0, 0] = np.nan
    best = np.array([1.0, 0.0])
    tau = np.array([-1.0, 0.0, 1.0])
    return dataclasses.replace(
        results,
        asymmetric_errors=AsymmetricErrors(
            names=NAMES,
            values=best,
            lower=np.array([-0.1, np.nan]),
            upper=np.array([0.123, 1.04]),
            lower_status=("found", "no crossing"),
            upper_status=("found", "found"),
            cl=0.6827,
        ),
        limits={"signal": Limit(0.1, 1.25, np.arange(0.25, 0.75, 0.1), "a priori")},
        scans={"slope": Scan(y, y**2, 0.0)},
        grid_scans={"signal,slope": GridScan(NAMES, x, y, heights, best)},
        contours={
            "signal,slope": Contour(
                NAMES, best, {f"{cl}": circle(cl) for cl in (0.6827, 0.95)}
            )
        },
        nonprofiled_impacts=NonprofiledShifts(
            interest=("signal",),
            names=("lumi", "tilt"),
            widths=np.ones(2),
            down=np.array([[0.02, -0.003]]),
            up=np.array([[-0.0198, np.nan]]),
            groups=("theory", "total"),
            grouped_down=np.array([[-0.003, -0.02]]),
            grouped_up=np.array([[0.0, 0.02]]),
        ),
        regularisation=Regularisation(
            ("Select ch0",),
            np.array([0.5]),
            StrengthScan(
                strengths=tau,
                nll=tau + 20,
                misfit=np.array([1.0, 1.1, 3.0]),
                curvature=np.array([0.1, 2.0, 0.1]),
                corner=0.0,
                penalty=np.array([9.0, 1.0, 0.9]),
            ),
        ),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """A folder with a file to be fitted, its results, and those with known numbers."""
    path = tmp_path_factory.mktemp("templates")
    small.builder().write(path / "fit.hdf5")
    results = templates.run(path / "fit.hdf5", impacts=True)
    templates.write_results(results, path / "results.hdf5")
    templates.write_results(known(results), path / "known.hdf5")
    return path


def printed(run, folder, *only):
    options = [word for one in only for word in ("--only", one)]
    done = run("template", "print", folder / "known.hdf5", *options)
    assert done.exit_code == 0, said(done)
    return done.stdout


@pytest.mark.slow
def test_intervals_and_limits_are_shown(run, folder):
    text = printed(run, folder, "minos")
    assert row(text, "signal") == ["1.000", "-0.100", "+0.123"]
    assert row(text, "slope")[:2] == ["0.00", "+1.04"]
    assert "lower: no crossing" in text
    text = printed(run, folder, "limits")
    assert "CLs upper limits at 90 %" in text
    assert row(text, "signal") == ["1.25", "0.25", "0.35", "0.45", "0.55", "0.65"]


def heads_below(text, title):
    """The heads of the table with a title."""
    return text.split(title)[1].splitlines()[1].split()


@pytest.mark.slow
def test_tables_are_those_of_workspaces(run, folder, write, tiny):
    file = write(tiny)
    template = printed(run, folder, "limits", "impacts")
    for title, command in (("% CL", "limit"), ("Impacts on", "impacts")):
        heads = heads_below(run(command, file).stdout, title)
        common = heads[: 5 if command == "impacts" else None]
        assert heads_below(template, title)[: len(common)] == common


def test_only_some_parts_are_shown(run, folder):
    text = printed(run, folder, "contours", "scans/signal,slope")
    # 1.515 and 2.448 standard errors, for 68.27 % and 95 % of two parameters.
    assert row(text, "68.27")[:4] == ["0.8485", "1.152", "-1.515", "1.515"]
    assert row(text, "95")[:4] == ["0.7552", "1.245", "-2.448", "2.448"]
    assert row(text, "-3")[:2] == ["failed", "11.25"]
    assert "Channel" not in text
    assert "Profile of slope" not in text
    text = printed(run, folder, "ch0")
    assert text.startswith("Channel ch0")
    text = printed(run, folder, "nonprofiled", "regularisation")
    assert row(text, "lumi") == ["1", "+0.0200", "-0.0198"]
    assert row(text, "tilt")[-1] == "failed"
    assert "corner at strength 0" in text
    assert row(text, "1") == ["3", "0.9", "0.1"]
    done = run("template", "print", folder / "known.hdf5", "--only", "limmits")
    assert done.exit_code == 2
    assert "Did you mean 'limits'" in said(done)
    done = run("template", "print", folder / "fit.hdf5", "--only", "inputs")
    assert row(done.stdout, "xsec")[:2] == ["2", "yes"]


@pytest.mark.slow
def test_all_of_it_is_drawn(run, folder, tmp_path):
    pytest.importorskip("matplotlib")
    more = ["contour*", "scan*", "limits", "l_curve", "nonprofiled*"]
    options = [word for one in more for word in ("--only", one)]
    options += ["--out", tmp_path, "--format", "png"]
    done = run("template", "plot", folder / "known.hdf5", *options)
    assert done.exit_code == 0, said(done)
    assert {file.stem for file in tmp_path.iterdir()} == {
        "contour_signal_slope",
        "l_curve",
        "limits",
        "nonprofiled_signal",
        "scan_signal_slope",
        "scan_slope",
    }


@pytest.mark.slow
def test_other_results_are_propagated(run, folder, tmp_path):
    options = ["--from-result", folder / "results.hdf5", "--no-refit"]
    options += ["-m", "Normalize xsec", "--out", tmp_path / "more.hdf5"]
    done = run("template", "fit", folder / "fit.hdf5", *options)
    assert done.exit_code == 0, said(done)
    assert "not fitted again" in done.stdout
    first, more = (
        templates.load_results(file)
        for file in (folder / "results.hdf5", tmp_path / "more.hdf5")
    )
    np.testing.assert_allclose(more.parameters.values, first.parameters.values)
    np.testing.assert_allclose(
        more.channels["xsec"].postfit.errors,
        first.channels["xsec"].postfit.errors,
        rtol=1e-6,
    )
    assert "Normalize xsec" in more.mappings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "sloppe"], "--limit: there is no parameter 'sloppe'. Did you"),
        (["--contour", "signal"], "written A,B"),
        (["--contour-cl", "68"], "numbers between 0 and 1"),
        (["--no-refit"], "--no-refit needs --from-result FILE"),
        (
            ["--no-refit", "--from-result", "x.hdf5", "--minos", "slope"],
            "--no-refit fits nothing, and --minos needs a fit.",
        ),
        (["--strength", "1"], "--strength: nothing is regularised. Say what: --regul"),
    ],
)
def test_bad_options(run, folder, options, message):
    done = run("template", "fit", folder / "fit.hdf5", *options)
    assert done.exit_code == 2
    assert message in said(done)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (strength_of, ["1", "corner"], "numbers, or corner alone"),
        (strengths_of, "1:2", "LOW:HIGH:N"),
        (strengths_of, "2:1:5", "LOW:HIGH:N"),
        (strengths_of, "1:2:3:4", "LOW:HIGH:N"),
        (groups_of, ["shape"], "GROUP=PATTERN"),
        (groups_of, ["=slope"], "GROUP=PATTERN"),
    ],
)
def test_spellings_that_are_none(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


@pytest.mark.slow
def test_a_curve_without_a_corner_is_shown(run, folder):
    options = ["--regularise", "Select ch0", "--l-curve=1:3:2", "--strength", "corner"]
    done = run("template", "fit", folder / "fit.hdf5", *options)
    assert done.exit_code == 2
    assert "--strength: the L-curve from 1 to 3 has no corner" in said(done)
    title, heads, _, *rows = done.stdout.splitlines()
    assert title == "L-curve: no corner"
    assert heads.split() == ["strength", "misfit", "penalty", "curvature"]
    assert [line.split()[0] for line in rows] == ["1", "3"]
