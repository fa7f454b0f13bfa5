"""Limits, scans and rankings on the command line."""

import json
import re
import time

import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest.results import BAND_TEXTS
from everwillow.models.histfactory import from_pyhf
from everwillow.models.hs3 import load
from tests.cli.documents import (
    MEDIAN_LIMIT,
    MEDIAN_LIMIT_A_PRIORI,
    OBSERVED_LIMIT,
    QUICKSTART,
    SEARCH,
)
from tests.cli.test_input import said
from tests.models.hs3.documents import peak_over_flat


def limits_in(output: str) -> dict[str, float]:
    ((_, *cells),) = table_in(output, " % CL\n")
    names = ("observed", *(f"expected {text}" for text in BAND_TEXTS))
    return {name: float(value) for name, value in zip(names, cells, strict=True)}


def table_in(output: str, head: str) -> list[list[str]]:
    """The cells of the table below a head, without the names of its columns."""
    body = re.search(r"^-+$\n(.*?)\n\n", output.split(head)[1], re.M | re.S)[1]
    return [re.split(r"\s{2,}", line.strip()) for line in body.splitlines()]


def shown_seconds(output: str, what: str) -> float:
    """How long a part took, as the last line says."""
    line = re.search(r"^Reading .*?\.$", output, re.M | re.S)[0]
    return float(re.search(rf"{what} ([\d.]+) s", line)[1])


@pytest.mark.slow
def test_limits_are_those_of_pyhf(run):
    began = time.perf_counter()
    done = run("limit", QUICKSTART)
    took = time.perf_counter() - began
    assert done.exit_code == 0
    # All that takes long is in one of the parts.
    parts = [shown_seconds(done.stdout, what) for what in ("Reading", "fit", "limits")]
    assert sum(parts) == pytest.approx(took, rel=0.2, abs=0.5)
    found = limits_in(done.stdout)
    # pyhf finds its limits by root finding with a tolerance of 1e-6 or so in mu.
    assert found["observed"] == pytest.approx(OBSERVED_LIMIT, rel=3e-5)
    assert found["expected median"] == pytest.approx(MEDIAN_LIMIT, rel=3e-5)
    assert list(found.values())[1:] == sorted(list(found.values())[1:])
    assert len(found) == 6
    assert "CLs" in done.stdout
    assert "95 % CL" in done.stdout


@pytest.mark.slow
def test_a_priori_limits_are_those_of_pyhf(run):
    found = limits_in(run("limit", QUICKSTART, "--a-priori").stdout)
    assert found["expected median"] == pytest.approx(MEDIAN_LIMIT_A_PRIORI, rel=3e-5)


@pytest.mark.slow
def test_limits_of_events(run, write):
    """Of a document whose Asimov data are another number of weighted events."""
    entries = [[4.6], [5.2], [5.3], *([0.25 + 0.5 * i] for i in range(20))]
    made = peak_over_flat({"type": "unbinned", "entries": entries})
    found = limits_in(run("limit", write(made)).stdout)
    direct = ew.limits(load(made))
    assert found["observed"] == pytest.approx(float(direct.observed), rel=1e-5)
    median = float(direct.expected.median)
    assert found["expected median"] == pytest.approx(median, rel=1e-5)


@pytest.mark.slow
def test_confidence_level(run, tmp_path):
    done = run("limit", QUICKSTART, "--cl", 0.9, "--out", tmp_path / "limit.npz")
    assert "90 % CL" in done.stdout
    loaded = ew.io.load(tmp_path / "limit.npz")
    direct = ew.limits(from_pyhf(QUICKSTART), "mu", cl=0.9)
    assert float(loaded.observed) == pytest.approx(float(direct.observed), rel=1e-6)
    assert limits_in(done.stdout)["observed"] < OBSERVED_LIMIT


@pytest.mark.slow
def test_scan_is_the_profile(run, tmp_path):
    options = ("--range", 0, 4, "--points", 5, "--out", tmp_path / "scan.h5")
    pytest.importorskip("h5py")
    done = run("scan", QUICKSTART, *options)
    assert done.exit_code == 0
    model = from_pyhf(QUICKSTART)
    direct = ew.profile.scan(model, name="mu", values=np.linspace(0, 4, 5))
    rows = table_in(done.stdout, "above the minimum\n")
    assert [float(value) for value, _ in rows] == [0, 1, 2, 3, 4]
    assert shown_seconds(done.stdout, "scan") > 0
    np.testing.assert_allclose(
        [float(height) for _, height in rows], direct.twice_delta_nll, atol=5.1e-5
    )
    loaded = ew.io.load(tmp_path / "scan.h5")
    np.testing.assert_allclose(loaded.nll, direct.nll, rtol=1e-9)


@pytest.mark.slow
def test_scan_of_default_range_stays_inside_of_the_bounds(run, write, tiny):
    rows = table_in(run("scan", write(tiny), "--points", 5).stdout, "the minimum\n")
    values = [float(value) for value, _ in rows]
    best = ew.fit(from_pyhf(tiny))
    center, error = float(best.params["mu"]), float(best.errors["mu"])
    assert values[0] == pytest.approx(max(0.0, center - 3 * error), rel=1e-3)
    assert values[-1] == pytest.approx(min(10.0, center + 3 * error), rel=1e-3)
    done = run("scan", write(tiny), "--range", -5, 5)
    assert done.exit_code == 2
    assert "--range (mu): -5" in said(done)
    # A parabola would have risen by 9.
    assert 5 < float(rows[-1][1]) < 14


@pytest.mark.slow
def test_impacts_from_covariance_and_by_refits(run, write, tiny, tmp_path):
    model = from_pyhf(tiny)
    best = ew.fit(model)
    direct = ew.impacts.rank(model, best, poi="mu", refit="postfit")
    order = [direct.names[i] for i in direct.order[0]]
    file = tmp_path / "impacts.json"
    for options, up, down in (
        ([], direct.postfit[0], -direct.postfit[0]),
        (["--refit", "-o", file], *direct.postfit_refits.shifts[::-1, 0]),
    ):
        done = run("impacts", write(tiny), *options)
        assert done.exit_code == 0
        assert shown_seconds(done.stdout, "impacts") >= 0
        rows = table_in(done.stdout, "Impacts on")
        assert [cells[0] for cells in rows] == order
        for cells in rows:
            place = direct.names.index(cells[0])
            assert float(cells[3]) == pytest.approx(up[place], abs=5.1e-3)
            assert float(cells[4]) == pytest.approx(down[place], abs=5.1e-3)
    assert ew.io.load(file).names == direct.names
    answer = json.loads(run("impacts", write(tiny), "--format", "json").stdout)
    assert {"traditional", "pre_fit"} <= answer["impacts"][0].keys()


@pytest.mark.slow
def test_count_cuts_a_ranking(run, write, tiny):
    done = run("impacts", write(tiny), "--count", 1)
    assert len(table_in(done.stdout, "Impacts on")) == 1
    assert "2 smaller ones are not shown" in done.stdout


@pytest.mark.slow
def test_impacts_on_a_parameter_at_its_bound_say_so(run, write, tiny):
    tiny["observations"][0]["data"] = [49.0, 39.0]
    done = run("impacts", write(tiny))
    assert done.exit_code == 0
    assert "mu is held at its bound" in " ".join(done.stdout.split())
    # Fits are made by themselves, so that no cell is empty.
    rows = table_in(done.stdout, "Impacts on")
    assert all(len(cells) == 5 for cells in rows)
    assert any(float(cells[4]) > 0 for cells in rows)
    assert "impacts are from fits" in " ".join(done.stdout.split())


@pytest.mark.parametrize("command", ["limit", "scan", "impacts"])
def test_without_parameter_of_interest(run, write, tiny, command):
    tiny["measurements"][0]["config"]["poi"] = ""
    done = run(command, write(tiny))
    assert done.exit_code == 2
    assert "--poi" in done.stderr
    done = run("impacts", write(tiny), "--poi", "mu")
    assert done.exit_code == 0


def test_an_array_as_parameter_of_interest_blames_the_option(run):
    done = run("limit", SEARCH, "--poi", "staterror_SR")
    assert done.exit_code == 2
    assert "--poi: " in done.stderr
    assert "staterror_SR[0]" in done.stderr
    assert "/measurements" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["limit", "--points", 6],
        ["scan", "--points", 5],
        ["impacts"],
    ],
    ids=lambda options: options[0],
)
def test_plots(run, tmp_path, options):
    pytest.importorskip("matplotlib")
    file = tmp_path / "plot.png"
    done = run(options[0], QUICKSTART, *options[1:], "--plot", file)
    assert done.exit_code == 0, done.stderr
    assert file.read_bytes().startswith(b"\x89PNG")
    assert f"The plot is in {file}" in done.stdout.replace("\n", " ")


@pytest.mark.slow
def test_a_fit_that_fails_gives_no_limit(run, write, tiny):
    # Two signal strengths that only their product fixes.
    twin = {"name": "twin", "type": "normfactor", "data": None}
    tiny["channels"][0]["samples"][0]["modifiers"].append(twin)
    tiny["channels"][0]["samples"][1]["modifiers"] = []
    for command in ("limit", "scan", "impacts"):
        done = run(command, write(tiny))
        assert done.exit_code == 3
        assert "twin" in done.stderr
        assert done.stdout == ""


@pytest.mark.slow
def test_a_limit_beyond_the_range_of_the_poi_is_printed_and_drawn(run, write, tmp_path):
    mu = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "sig", "data": [1.0], "modifiers": [mu]},
        {"name": "b", "data": [30.0], "modifiers": []},
    ]
    bounds = {"name": "mu", "bounds": [[0, 10]]}
    document = {
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": [32.0]}],
        "measurements": [
            {"name": "m", "config": {"poi": "mu", "parameters": [bounds]}}
        ],
        "version": "1.0.0",
    }
    picture = tmp_path / "limits.png"
    done = run("limit", write(document), "--plot", picture, "--points", 5)
    assert done.exit_code == 0
    assert limits_in(done.stdout)["observed"] > 10
    assert picture.stat().st_size > 1000
