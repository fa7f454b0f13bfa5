"""Workspaces of density ratios in `everwillow fit` and `everwillow nsbi fit`."""

import dataclasses
import json
import re

import numpy as np
import pytest

import everwillow as ew
from everwillow.models.nsbi import load, load_workspace
from everwillow.statelib import update
from everwillow.workflows.nsbi.fits import held_at_minimum
from everwillow.workflows.nsbi.ratio_statistics import ratio_errors
from tests.cli.test_fit import row
from tests.cli.test_inference import table_in
from tests.cli.test_input import said
from tests.models.nsbi.case import CONFIGURATIONS, expected


def twice_nll(done) -> float:
    assert done.exit_code == 0, said(done)
    return float(re.search(r"-2 ln L = (\S+)", done.stdout)[1])


@pytest.mark.slow
def test_both_commands_fit_workspaces_as_the_library_does(run, workspace, config, best):
    found = [
        run("fit", workspace),
        run("nsbi", "fit", workspace),
        run("nsbi", "fit", config),
    ]
    for done in found:
        assert twice_nll(done) == pytest.approx(2 * float(best.nll), abs=1e-6)
        for name in best.labels:
            value, error = map(float, row(done.stdout, name)[:2])
            assert error == pytest.approx(best.errors[name], rel=0.05)
            assert value == pytest.approx(best.params[name], abs=0.05 * error)
        assert "5 bins, 1 unbinned region, 7375 events" in done.stdout
    assert found[0].stdout.startswith("nsbi.json: density-ratio workspace\n")
    # The second fit has the structure of the first, also the third.
    assert all("program from the cache" in done.stdout for done in found[1:])
    # Assumptions of the reader are told where a file is not inspected before.
    assert "The entry errordef has no effect" in found[2].stdout


@pytest.mark.slow
@pytest.mark.validation
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_plain_formula_has_the_numbers_of_the_other_tool(run, configs, name):
    fit = expected()[name]["fit"]
    done = run("nsbi", "fit", configs[name], "--no-normalize")
    for parameter, error in fit["errors_inverse_hessian"].items():
        cells = list(map(float, row(done.stdout, parameter)[:2]))
        # Printed with two or three digits of the error.
        assert cells[1] == pytest.approx(error, rel=0.05)
        assert cells[0] == pytest.approx(fit["best_fit"][parameter], abs=0.05 * error)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["--no-normalize"], {"normalize": False}),
        (["--template-statistics"], {"template_statistics": True}),
        (["--interpolation", "linear"], {"interpolation": "linear"}),
        (["--storage", "float32"], {"storage": "float32"}),
    ],
    ids=["normalize", "template_statistics", "interpolation", "storage"],
)
def test_options_of_models(run, workspace, options, arguments):
    changed = load(workspace, **arguments)
    wanted = 2 * float(changed.nll(update(changed.state, {"JES": 1.7})))
    for command in (["fit"], ["nsbi", "fit"]):
        done = run(*command, workspace, *options, "-f", "*", "-f", "JES=1.7")
        assert twice_nll(done) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.slow
def test_without_systematics_and_with_intervals(run, workspace, model, best, tmp_path):
    file = tmp_path / "fit.json"
    options = ("--stat-only", "--minos", "mu_h*", "--out", file)
    done = run("nsbi", "fit", workspace, *options)
    held = {name: best.params[name] for name in ("JES", "TES")}
    direct = ew.fit(model, fixed=held)
    assert twice_nll(done) == pytest.approx(2 * float(direct.nll), abs=1e-6)
    error = float(row(done.stdout.split("Intervals")[0], "mu_htautau")[1])
    assert error == pytest.approx(direct.errors["mu_htautau"], rel=5e-3)
    assert error < 0.97 * best.errors["mu_htautau"]
    assert "Fixed: JES, TES" in done.stdout
    intervals = ew.profile.minos(model, direct, names=["mu_htautau"], fixed=held)
    ((name, _, *ends),) = table_in(done.stdout, "profile likelihood, 68.27 %\n")
    assert name == "mu_htautau"
    np.testing.assert_allclose(
        [float(end) for end in ends],
        [intervals.lower[0], intervals.upper[0]],
        atol=6e-4,
    )
    saved = ew.io.load(file)
    assert set(saved["statistical"].labels) == {"mu_htautau", "mu_ttbar", "mu_ztautau"}
    assert "JES" in saved["fit"].labels
    np.testing.assert_allclose(saved["intervals"].upper, intervals.upper, rtol=1e-5)


@pytest.mark.slow
def test_a_parameter_of_interest_with_a_constraint_is_not_held(best, model):
    other = dataclasses.replace(model, poi="JES")
    held = held_at_minimum(other, best, {"mu_ttbar": 1.0})
    assert set(held) == {"mu_ttbar", "TES"}
    assert held["TES"] == pytest.approx(best.params["TES"])


@pytest.mark.slow
def test_a_failed_fit_has_its_exit_code(run, workspace, tmp_path):
    file = tmp_path / "result.npz"
    done = run("nsbi", "fit", workspace, "--max-steps", 2, "--stat-only", "-o", file)
    assert done.exit_code == 3
    assert "FAILED: No minimum within max_steps=2 steps" in done.stdout
    assert "Parameter of interest" not in done.stdout
    assert not bool(ew.io.load(file)["fit"].success)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["limit", "scan", "impacts"])
def test_commands_for_workspaces(run, workspace, model, best, command):
    done = run(command, workspace, *(["--points", 5] if command == "scan" else []))
    assert done.exit_code == 0, said(done)
    if command == "limit":
        direct = ew.limits(model, "mu_htautau", best)
        shown = float(table_in(done.stdout, " % CL\n")[0][1])
        assert shown == pytest.approx(float(direct.observed), rel=1e-4)
    elif command == "scan":
        rows = table_in(done.stdout, "above the minimum\n")
        values = [float(value) for value, _ in rows]
        direct = ew.profile.scan(model, best, name="mu_htautau", values=values)
        np.testing.assert_allclose(
            [float(height) for _, height in rows],
            direct.twice_delta_nll,
            atol=2e-3,
        )
    else:
        direct = ew.impacts.rank(model, best, poi="mu_htautau")
        assert "Impacts on mu_htautau" in done.stdout
        assert len(table_in(done.stdout, "Impacts on")) == len(direct.names)


@pytest.mark.parametrize("place", ["paths", "inside", "beside"])
def test_build_makes_a_workspace(run, config, workspace, tmp_path, place):
    file = tmp_path / "made.json"
    done = run("nsbi", "build", config, "--out", file, "--arrays", place)
    assert done.exit_code == 0, said(done)
    made, direct = load_workspace(file), load_workspace(workspace)
    assert [one["name"] for one in made["channels"]] == ["CR", "SR_binned", "SR"]
    assert made["measurements"] == direct["measurements"]
    np.testing.assert_allclose(
        load(made).nll(load(made).state), load(direct).nll(load(direct).state)
    )
    assert re.search(r"^SR +unbinned +7375 events", done.stdout, re.MULTILINE)
    assert "made.json is ready" in done.stdout.replace("\n", " ")


def test_inspect_has_content_and_assumptions(run, workspace):
    done = run("inspect", workspace)
    assert done.exit_code == 0
    assert re.search(r"^CR +binned +3 bins", done.stdout, re.MULTILINE)
    assert re.search(r"^mu_ttbar +1 +\[0, 10\] +none +normfactor", done.stdout, re.M)
    assert re.search(r"^JES .* normal +normplusshape", done.stdout, re.MULTILINE)
    assert "errordef has no effect" in done.stdout


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["fit"], "`everwillow nsbi fit`"),
        (["scan"], "`everwillow nsbi fit`"),
        (["inspect"], "`everwillow nsbi build`"),
        (["template", "print"], "`everwillow nsbi build`"),
    ],
)
def test_configurations_go_to_other_commands(run, config, command, message):
    pytest.importorskip("h5py")
    done = run(*command, config)
    assert done.exit_code == 2
    assert message in said(done)
    assert done.stdout == ""


def test_files_of_other_kinds(run, workspace, write, tiny, tmp_path):
    done = run("nsbi", "fit", write(tiny))
    assert done.exit_code == 2
    assert "this is a pyhf workspace" in said(done)
    done = run("nsbi", "build", workspace, "--out", tmp_path / "made.json")
    assert done.exit_code == 2
    assert "this is a density-ratio workspace" in said(done)
    done = run("convert", workspace)
    assert done.exit_code == 2
    assert "expected a pyhf workspace or a HS3 document" in said(done)
    done = run("nsbi", "fit", tmp_path / "none.yml")
    assert done.exit_code == 2
    assert "There is no file" in said(done)


def test_faults_of_a_configuration_have_their_lines(run, tmp_path):
    file = tmp_path / "config.yml"
    file.write_text("General:\n  Measurment: {}\nRegions: []\n")
    for command in ("fit", "build"):
        more = ["--out", tmp_path / "made.json"] if command == "build" else []
        done = run("nsbi", command, file, *more)
        assert done.exit_code == 2
        assert "config.yml:2: General" in said(done)
        assert "Did you mean 'Measurement'" in said(done)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--interpolation", "pyhf-python"], "--interpolation: expected one of"),
        (["--measurement", "none"], "meas_a"),
        (["--poi", "mue"], "--poi"),
        (["--out", "fit.txt"], ".json"),
        (["--fix", "JET"], "Did you mean 'JES'"),
    ],
)
def test_options_that_cannot_be(run, workspace, options, message):
    done = run("nsbi", "fit", workspace, *options)
    assert done.exit_code == 2
    assert message in said(done)
    assert done.stdout == ""


def test_inputs_are_never_written_over(run, config, workspace):
    before = config.read_bytes(), workspace.read_bytes()
    for command, file in (("build", config), ("fit", workspace)):
        done = run("nsbi", command, file, "--out", file)
        assert done.exit_code == 2
    assert (config.read_bytes(), workspace.read_bytes()) == before


def test_options_of_density_ratios_are_none_of_pyhf(run, write, tiny):
    done = run("fit", write(tiny), "--no-normalize")
    assert done.exit_code == 2
    assert "--no-normalize" in said(done) or "--normalize" in said(done)
    assert "pyhf workspace" in said(done)


def test_paths_are_relative_to_the_workspace(run, workspace, tmp_path, monkeypatch):
    content = json.loads(workspace.read_text())
    names = json.dumps(content)
    assert '"weights": "saved_datasets/asimov_weights.npy"' in names
    monkeypatch.chdir(tmp_path)
    assert run("inspect", workspace).exit_code == 0
    done = run("inspect", "-", stdin=names.encode())
    assert done.exit_code == 2
    assert "there is no file" in said(done)


@pytest.mark.slow
def test_errors_of_ratios_are_beside_those_of_the_fit(
    run, workspace, model, best, tmp_path
):
    out = tmp_path / "fit.h5"
    done = run("nsbi", "fit", workspace, "--ratio-errors", "--out", out)
    assert done.exit_code == 0, said(done)
    expected_errors = ratio_errors(model, best)
    found = ew.io.load(out)["ratios"]
    assert tuple(found["labels"]) == best.labels
    np.testing.assert_allclose(found["reference"], expected_errors.reference, rtol=1e-6)
    rows = table_in(done.stdout, "Errors of the fit and of the density ratios")
    for name, total in expected_errors.errors.items():
        (cells,) = [one for one in rows if one[0] == name]
        assert float(cells[-1]) == pytest.approx(total, rel=0.06)
