"""What `everwillow fit` prints, writes and ends with."""

import gzip
import json
import re

import numpy as np
import pytest

import everwillow as ew
from everwillow.models.histfactory import from_pyhf
from everwillow.models.hs3 import pyhf_to_hs3
from tests.cli.documents import POI, QUICKSTART, TWICE_NLL, modifier, region


def row(output: str, name: str) -> list[str]:
    """The cells of the line that begins with a name."""
    lines = [line for line in output.splitlines() if line.split()[:1] == [name]]
    assert len(lines) == 1, output
    return re.split(r"\s{2,}", lines[0].strip())[1:]


@pytest.mark.slow
def test_numbers_are_those_of_pyhf(run):
    done = run("fit", QUICKSTART)
    assert done.exit_code == 0
    value = float(re.search(r"-2 ln L = (\S+)", done.stdout)[1])
    # The tolerance of the reference: its minimum may be worse by its own EDM.
    assert TWICE_NLL - 1e-6 <= value + 1e-6 <= TWICE_NLL + 1e-2
    shown, error = map(float, row(done.stdout, "mu"))
    # Printed with three digits of the error.
    assert shown == pytest.approx(POI, abs=5e-3 + 1e-3)
    assert error == pytest.approx(1.40, abs=1e-9)


@pytest.mark.slow
def test_errors_pulls_and_constraints_are_those_of_the_fit(run, write, tiny):
    result = ew.fit(from_pyhf(tiny))
    done = run("fit", write(tiny))
    errors = result.errors
    for name, value, error, center, width in (
        ("norm", result.params["norm"], errors["norm"], 0.0, 1.0),
        ("stat[0]", result.params["stat"][0], errors["stat"][0], 1.0, 3 / 50),
        ("stat[1]", result.params["stat"][1], errors["stat"][1], 1.0, 2 / 40),
    ):
        cells = [float(cell) for cell in row(done.stdout, name)]
        assert cells[1] == pytest.approx(error, rel=0.05)
        assert cells[0] == pytest.approx(value, abs=0.05 * error)
        assert cells[2] == pytest.approx((value - center) / width, abs=5.1e-3)
        assert cells[3] == pytest.approx(error / width, abs=5.1e-3)


@pytest.mark.slow
def test_result_file_is_the_fit(run, write, tiny, tmp_path):
    done = run("fit", write(tiny), "--out", tmp_path / "result.json")
    assert done.exit_code == 0
    loaded = ew.io.load(tmp_path / "result.json")
    direct = ew.fit(from_pyhf(tiny))
    assert bool(loaded.success)
    np.testing.assert_allclose(loaded.nll, direct.nll, rtol=1e-12)
    np.testing.assert_allclose(loaded.covariance, direct.covariance, rtol=1e-6)
    assert loaded.labels == direct.labels
    assert set(loaded.constraints) == {"norm", "stat"}
    # For programs in other languages.
    arrays = json.loads((tmp_path / "result.json").read_text())["arrays"]
    assert arrays["params/mu"]["data"] == [float(loaded.params["mu"])]


@pytest.mark.slow
def test_hs3_gzip_and_stdin_give_the_same(run, tiny, tmp_path):
    text = json.dumps(tiny).encode()
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text))
    (tmp_path / "b.json").write_text(json.dumps(pyhf_to_hs3(tiny)))
    outputs = [
        run("fit", tmp_path / "a.json.gz"),
        run("fit", tmp_path / "b.json"),
        run("fit", "-", stdin=text),
    ]
    assert [done.exit_code for done in outputs] == [0, 0, 0]
    assert len({tuple(row(done.stdout, "mu")) for done in outputs}) == 1
    heads = [done.stdout.splitlines()[0] for done in outputs]
    assert heads == [
        "a.json.gz: pyhf workspace",
        "b.json: HS3 document",
        "standard input: pyhf workspace",
    ]


@pytest.mark.parametrize(
    ("options", "fixed"),
    [
        (["--fix", "mu=0"], {"mu": 0.0}),
        (["--fix", "mu=0.5", "--fix", "n*"], {"mu": 0.5, "norm": 0.0}),
        (["--fix", "stat[1]=1.1"], {"stat": np.array([np.nan, 1.1])}),
    ],
)
def test_fixed_parameters(run, write, tiny, options, fixed):
    done = run("fit", write(tiny), *options)
    assert done.exit_code == 0, done.stderr
    direct = ew.fit(from_pyhf(tiny), fixed=fixed)
    value = float(re.search(r"-2 ln L = (\S+)", done.stdout)[1])
    assert value == pytest.approx(2 * float(direct.nll), abs=1e-6)
    names = re.search(r"^Fixed: (.*)$", done.stdout, re.MULTILINE)[1].split(", ")
    gone = set(direct.layout.labels) - set(direct.labels)
    assert set(names) == gone


def test_measurement_and_poi_choose_what_is_of_interest(run, write, tiny):
    for options in (["-m", "other"], ["-m", "1"], ["--poi", "norm"]):
        done = run("fit", write(tiny), *options)
        assert "parameter of interest norm" in done.stdout
        table = done.stdout.split("Parameter of interest\n")[1]
        assert table.splitlines()[2].startswith("norm")


def test_interpolation_reaches_the_model(run, write, tiny):
    modifiers = tiny["channels"][0]["samples"][1]["modifiers"]
    modifiers[0]["data"] = {"lo": 0.5, "hi": 1.9}
    values = set()
    for option, codes in (
        ("default", "default"),
        ("pyhf-python", "pyhf-python"),
        ("normsys=code0", {"normsys": "code0"}),
    ):
        done = run("fit", write(tiny), "--interpolation", option)
        value = float(re.search(r"-2 ln L = (\S+)", done.stdout)[1])
        expected = 2 * float(ew.fit(from_pyhf(tiny, interpolation=codes)).nll)
        assert value == pytest.approx(expected, abs=1e-6)
        values.add(value)
    assert len(values) == 3


@pytest.mark.slow
def test_a_parameter_at_its_bound_has_an_error_on_one_side(run, write, tiny):
    tiny["observations"][0]["data"] = [40.0, 30.0]
    done = run("fit", write(tiny))
    cells = row(done.stdout, "mu")
    direct = ew.fit(from_pyhf(tiny))
    place = direct.labels.index("mu")
    assert cells[2] == "at bound, one side"
    assert float(cells[1]) == pytest.approx(direct.bound_errors[place], rel=5e-3)


@pytest.mark.slow
def test_too_few_steps_fail(run, write, tiny, tmp_path):
    file = tmp_path / "result.npz"
    done = run("fit", write(tiny), "--max-steps", 2, "--out", file)
    assert done.exit_code == 3
    assert "FAILED: No minimum within max_steps=2 steps" in done.stdout
    assert "Parameter of interest" not in done.stdout
    assert "error" not in done.stdout
    assert not bool(ew.io.load(file).success)


@pytest.mark.slow
def test_what_the_data_do_not_determine_fails_with_the_names(run, write):
    twin = modifier("mu_twin", "normfactor")
    document = region([60.0, 52.0], [50.0, 40.0], [5.0, 8.0])
    document["channels"][0]["samples"][0]["modifiers"].append(twin)
    document["channels"][0]["samples"][1]["modifiers"] = []
    done = run("fit", write(document))
    assert done.exit_code == 3
    assert "Parameters concerned: mu, mu_twin." in " ".join(done.stdout.split())
    # The advice helps.
    done = run("fit", write(document), "--fix", "mu_twin")
    assert done.exit_code == 0


@pytest.mark.slow
def test_many_parameters_stay_readable(run, write, tiny):
    modifiers = tiny["channels"][0]["samples"][1]["modifiers"]
    for i in range(30):
        data = {"lo": 0.999, "hi": 1.001 + 0.001 * i}
        name = f"systematic_{i}_with_a_name_as_long_as_they_are_in_real_life_of_{i}"
        modifiers.append(modifier(name, "normsys", data))
    short = run("fit", write(tiny)).stdout
    full = run("fit", write(tiny), "--all").stdout
    assert all(len(line) <= 80 for line in (short + full).splitlines())
    assert "the 20 of 33 with the largest pulls" in short
    assert full.count("systematic_") == 30
    rows = [line.split() for line in short.split("constraint\n")[1].splitlines()]
    # A long name has a line for itself, above its numbers.
    pulls = [float(cells[-2]) for cells in rows if len(cells) in (4, 5)]
    assert len(pulls) == 20
    assert pulls == sorted(pulls, key=abs, reverse=True)
    names = [cells[0] for cells in rows if len(cells) in (1, 5)]
    assert "systematic_29_with_a_name_as_long_as_they_are_in_real_life_of_29" in names


def test_plot_of_pulls(run, write, tiny, tmp_path):
    pytest.importorskip("matplotlib")
    done = run("fit", write(tiny), "--plot", tmp_path / "pulls.pdf")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "pulls.pdf").read_bytes().startswith(b"%PDF")
