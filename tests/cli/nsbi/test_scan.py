"""`everwillow nsbi scan` and `everwillow nsbi compare`."""

import re

import numpy as np
import pytest

import everwillow as ew
from everwillow.models.nsbi import load
from everwillow.profile import scan_split
from everwillow.workflows.nsbi.scans import compare
from tests.cli.test_inference import table_in
from tests.cli.test_input import said


@pytest.fixture(scope="module")
def histogram(workspaces):
    return load(workspaces["histogram"])


@pytest.mark.slow
def test_scan_has_both_profiles(run, workspaces, histogram, tmp_path):
    pytest.importorskip("matplotlib")
    file, picture = tmp_path / "scan.json", tmp_path / "scan.png"
    options = ("--range", 0, 2, "--points", 5, "--out", file, "--plot", picture)
    done = run("nsbi", "scan", workspaces["histogram"], *options)
    assert done.exit_code == 0, said(done)
    values = np.linspace(0, 2, 5)
    direct = scan_split(histogram, name="mu_htautau", values=values)
    rows = np.array(table_in(done.stdout, "above the minimum\n"), float)
    np.testing.assert_allclose(rows[:, 0], values)
    np.testing.assert_allclose(rows[:, 1], direct.total.twice_delta_nll, atol=6e-5)
    np.testing.assert_allclose(
        rows[:, 2], direct.statistical.twice_delta_nll, atol=6e-5
    )
    saved = ew.io.load(file)
    np.testing.assert_allclose(saved["total"].nll, direct.total.nll, rtol=1e-9)
    assert saved["statistical"].held == ("JES", "TES")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "- The entry errordef has no effect" in done.stdout
    # Without the second profile, and with other parameters.
    done = run("nsbi", "scan", workspaces["histogram"], "--no-statistical", *options)
    assert len(table_in(done.stdout, "above the minimum\n")[0]) == 2
    assert ew.io.load(file)["statistical"] is None
    done = run("nsbi", "scan", workspaces["histogram"], "-f", "?ES", *options)
    assert "no parameter with a constraint is fitted" in done.stdout


@pytest.mark.slow
def test_scans_tell_of_lower_minima(run, workspace):
    # Without normalisation there is a false minimum beyond ten standard deviations.
    options = ("--no-normalize", "--range", 0.5, 1.5, "--points", 3, "--starts", 8)
    for command in (["scan"], ["nsbi", "scan"]):
        done = run(*command, workspace, *options)
        assert done.exit_code == 0, said(done)
        text = " ".join(done.stdout.split())
        assert "points a fit from another start ended lower" in text
        assert "-ln L fell below its minimum" in text
        rows = np.array(table_in(done.stdout, "above the minimum\n"), float)
        assert np.all(rows[:, 1:] >= 0)


@pytest.mark.slow
def test_comparison_has_the_numbers_of_the_library(run, workspaces, configs, tmp_path):
    pytest.importorskip("matplotlib")
    file, picture = tmp_path / "comparison.json", tmp_path / "comparison.png"
    first = workspaces["histogram"]
    inputs = (first, configs["histogram"], "--label", "a", "--labels", "b")
    options = ("--range", 0, 2, "--points", 5, "--out", file, "--plot", picture)
    done = run("nsbi", "compare", *inputs, *options)
    assert done.exit_code == 0, said(done)
    direct = compare({"a": load(first)}, values=np.linspace(0, 2, 5))
    rows = table_in(done.stdout, "Sensitivity to mu_htautau\n")
    assert [row[0] for row in rows] == ["a", "stat. only", "b", "stat. only"]
    for row, found in zip(
        rows[:2], (direct.total["a"], direct.statistical["a"]), strict=True
    ):
        numbers = [float(one) for one in re.findall(r"[\d.]+", " ".join(row[1:]))]
        known = [found.best, found.error, *found.intervals.ravel()]
        np.testing.assert_allclose(numbers[:6], known, atol=6e-4)
        np.testing.assert_allclose(
            numbers[6:], [found.observed, found.expected], atol=6e-3
        )
    assert "- The entry errordef has no effect" in done.stdout
    assert [row[1:] for row in rows[2:]] == [row[1:] for row in rows[:2]]
    saved = ew.io.load(file)["models"]
    assert list(saved) == ["a", "b"]
    assert saved["b"]["total"]["expected"] == pytest.approx(
        direct.total["a"].expected, rel=1e-6
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--range", 2, 1], "--range LOW HIGH needs LOW below HIGH"),
        (["--label", "a"], "--label: there are 1 labels for 2 files"),
        ([], "Name each with --label"),
        (["--label", "a", "--label", "b", "--out", "{file}"], "--out is the input"),
        (["--label", "a", "--label", "b", "--poi", "mue"], "--poi"),
    ],
)
def test_options_that_cannot_be(run, workspace, options, message):
    texts = [str(one).format(file=workspace) for one in options]
    done = run("nsbi", "compare", workspace, workspace, *texts)
    assert done.exit_code == 2
    assert message in said(done)
    assert done.stdout == ""


@pytest.mark.slow
def test_what_is_scanned_cannot_be_fixed(run, workspaces):
    done = run("nsbi", "scan", workspaces["histogram"], "--fix", "mu_htautau")
    assert done.exit_code == 2
    assert "--fix: 'mu_htautau' is scanned, and cannot be fixed" in said(done)
