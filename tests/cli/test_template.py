"""`everwillow template`: what it prints, writes and ends with."""

import dataclasses
import pathlib

import numpy as np
import pytest


pytest.importorskip("h5py")

from everwillow.cli.commands.template.fit import _hint, arguments_of
from everwillow.cli.report import template_results
from everwillow.cli.report.template_results import propagated, toy_table
from everwillow.models.templates import reading
from everwillow.workflows import templates
from everwillow.workflows.command_options import derive_options
from everwillow.workflows.templates.fit_options import (
    MinimisationOptions,
    ModelOptions,
    ResultOptions,
)
from everwillow.workflows.templates.results import TemplateResults, Toys
from tests.cli.test_fit import row
from tests.cli.test_input import said
from tests.workflows.templates import small_template as small


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """A folder with a file to be fitted, and one without data."""
    path = tmp_path_factory.mktemp("templates")
    small.builder().write(path / "fit.hdf5")
    small.builder(data=False).write(path / "nodata.hdf5")
    return path


SCRIPT = """
from tests.workflows.templates import small_template

def build():
    return small_template.builder()
"""


def test_a_script_becomes_a_file(run, folder, tmp_path):
    script = tmp_path / "build_fit.py"
    for content in (SCRIPT, SCRIPT + "\nbuilder = build()\ndel build\n"):
        script.write_text(content)
        done = run("template", "build", script, "--out", tmp_path / "built.hdf5")
        assert done.exit_code == 0, said(done)
        assert row(done.stdout, "ch0")[:2] == ["6", "no"]
        built = reading.load(tmp_path / "built.hdf5")
        same = reading.load(folder / "fit.hdf5")
        assert built.systematics == same.systematics
        np.testing.assert_array_equal(built.observed, same.observed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1\n", "neither a function build()"),
        ("import nowhere_at_all\n", "line 1: ModuleNotFoundError"),
        ("def build():\n    return 3\n", "expected a TemplateBuilder, got int"),
        ("def build(:\n", "line 1: SyntaxError"),
        (
            "from everwillow.models.templates import TemplateBuilder\n"
            "builder = TemplateBuilder()\n"
            "builder.add_process([1.0], 'signal', 'ch0')\n",
            "line 3: UnknownKeyError",
        ),
    ],
)
def test_scripts_that_build_nothing(run, tmp_path, content, message):
    script = tmp_path / "build_fit.py"
    script.write_text(content)
    done = run("template", "build", script, "--out", tmp_path / "built.hdf5")
    assert done.exit_code == 2
    assert message in said(done)
    assert not (tmp_path / "built.hdf5").exists()


def test_scripts_find_modules_beside_them(run, tmp_path):
    (tmp_path / "histograms_of_mine.py").write_text(SCRIPT)
    script = tmp_path / "build_fit.py"
    script.write_text("from histograms_of_mine import build\n")
    done = run("template", "build", script, "-o", tmp_path / "built.hdf5")
    assert done.exit_code == 0, said(done)


@pytest.fixture(scope="module")
def fitted(folder):
    """The same fit from Python."""
    results = templates.run(
        folder / "fit.hdf5",
        mappings=["Project ch0 x", "Select ch0 signal sign:plus"],
        impacts=True,
    )
    templates.write_results(results, folder / "direct.hdf5")
    return results


@pytest.mark.slow
def test_the_command_is_the_function(run, folder, tmp_path, fitted):
    file = tmp_path / "results.hdf5"
    options = ["-m", "Project ch0 x", "-m", "Select ch0 signal sign:plus", "--impacts"]
    done = run("template", "fit", folder / "fit.hdf5", "--out", file, *options)
    assert done.exit_code == 0, said(done)
    # Names of files stay in one piece, however long.
    lines = done.stdout.replace(str(file), "results.hdf5").splitlines()
    assert all(len(line) <= 80 for line in lines)
    written = templates.load_results(file)
    np.testing.assert_allclose(
        written.parameters.values, fitted.parameters.values, atol=1e-6
    )
    i = fitted.parameters.names.index("signal")
    value, error = map(float, row(done.stdout.split("Parts")[0], "signal"))
    # Shown with three digits of the error.
    assert value == pytest.approx(fitted.parameters.values[i], abs=6e-4)
    assert error == pytest.approx(fitted.parameters.errors[i], rel=0.01)
    lumi = row(done.stdout.split("Parts")[0], "lumi")
    j = fitted.parameters.names.index("lumi")
    assert float(lumi[2]) == pytest.approx(fitted.parameters.pulls[j], abs=0.006)
    chi2 = fitted.mappings["Project ch0 x"].postfit_chi2
    assert f"{chi2.statistic:.4g}/3" in done.stdout
    shown = run("template", "print", file)
    assert shown.exit_code == 0
    # Nothing of the fit is missing, and bins come in addition.
    _, _, before = done.stdout.partition("\n")
    for part in before.partition("\n\nReading")[0].split("\n\n"):
        assert part in shown.stdout
    assert done.stdout.count("EDM") == 1
    # What was not fitted is shown at once: the masked channel, and what has few bins.
    assert "\nChannel xsec\n" in done.stdout
    assert "\nProject ch0 x\n" in done.stdout
    assert "\nChannel ch0\n" not in done.stdout
    assert "Not shown" not in done.stdout
    assert "[0, 1) minus" in shown.stdout
    data = row(shown.stdout.split("\nProject ch0 x\n")[1].split("\n\n")[0], "[2,")
    assert data[-1] == "118"


@pytest.mark.slow
def test_variations_are_an_option_and_have_tables(run, folder, tmp_path):
    file = tmp_path / "results.hdf5"
    options = ["-m", "Project ch0 x", "--variation", "lumi", "--variation", "*lope"]
    done = run("template", "fit", folder / "fit.hdf5", "--out", file, *options)
    assert done.exit_code == 0, said(done)
    assert "changes for moves" not in done.stdout
    found = templates.load_results(file).mappings["Project ch0 x"]
    found = found.histograms["values"]
    assert found.prefit_variations.names == ("lumi",)
    assert found.postfit_variations.names == ("lumi", "slope")
    shown = run("template", "print", file, "--only", "variations/*x").stdout
    before, after = shown.split("\n\n")
    assert row(before, "[1,")[-1] == "+4.3/-4.2"
    changes = [
        side[:, 1] - found.postfit.values[1]
        for side in (found.postfit_variations.up, found.postfit_variations.down)
    ]
    numbers = [list(map(float, c.split("/"))) for c in row(after, "[1,")[-2:]]
    # The one that changes most is the first.
    np.testing.assert_allclose(np.transpose(numbers)[:, ::-1], changes, atol=0.06)
    assert row(after, "x")[-2:] == ["slope", "lumi"]
    done = run("template", "fit", folder / "fit.hdf5", "--variation", "lumy")
    assert done.exit_code == 2
    assert "--variation: " in said(done)


def test_print_of_a_file_to_be_fitted_is_what_is_in_it(run, folder):
    done = run("template", "print", folder / "fit.hdf5")
    assert done.exit_code == 0
    assert row(done.stdout, "xsec")[:2] == ["2", "yes"]


def test_what_is_fitted_is_never_chosen_in_silence(run, folder):
    done = run("template", "fit", folder / "nodata.hdf5")
    assert done.exit_code == 2
    assert "strong, asimov, toys" in said(done)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-m", "Projekt ch0 x"], "Did you mean 'Project'"),
        (["-m", "Project ch1 x"], "ch1"),
        (["--parameters", "Mixture signal"], "expected pairs"),
        (["--fix", "nothing"], "--fix: there is no parameter 'nothing'"),
        (["--start", "signal"], "expected NAME=VALUE"),
        (["--start", "signal=-1"], "--start: 'signal' cannot start at -1.0"),
        (["--scan", "sloppe"], "--scan: there is no parameter 'sloppe'. Did you mean"),
        (["--toys", "5", "--data", "asimov"], "--data toys, not asimov"),
        (["--out", "results.json"], "End it with one of"),
        (["--out", "/nowhere/at/all.hdf5"], "there is no folder"),
    ],
)
def test_bad_input(run, folder, options, message):
    done = run("template", "fit", folder / "fit.hdf5", *options)
    assert done.exit_code == 2
    assert message in said(done)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["print", "plot", "fit"])
def test_files_that_are_none(run, tmp_path, command):
    (tmp_path / "file.hdf5").write_bytes(b"no")
    more = ["--out", tmp_path / "plots"] if command == "plot" else []
    for name in ("file.hdf5", "missing.hdf5"):
        done = run("template", command, tmp_path / name, *more)
        assert done.exit_code == 2
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_no_convergence_has_its_own_code_and_no_numbers(run, folder, tmp_path):
    file = tmp_path / "failed.hdf5"
    done = run("template", "fit", folder / "fit.hdf5", "--max-steps", 1, "--out", file)
    assert done.exit_code == 3
    assert "FAILED: No minimum within max_steps=1" in done.stdout
    assert "error" not in done.stdout
    assert not templates.load_results(file).fit.success
    shown = run("template", "print", file)
    assert shown.exit_code == 0
    assert "Where the fit stopped" in shown.stdout


def test_toys_are_counted():
    values = np.array([[1.0, np.nan], [1.2, np.nan], [np.nan, np.nan], [1.1, np.nan]])
    errors = np.where(np.isfinite(values), 0.1, np.nan)
    toys = Toys(
        names=("mu", "at_bound"),
        true_values=np.array([1.0, 0.0]),
        values=values,
        errors=errors,
        nll=np.zeros(4),
        success=np.isfinite(values[:, 0]),
        seed=1,
    )
    text = toy_table(toys, everything=False)
    assert "3 of 4 toys found a minimum (seed 1)" in text
    # Mean and width of 1.0, 1.2 and 1.1, and of their pulls 0, 2 and 1.
    assert row(text, "mu") == ["1.100", "0.082", "+1.00", "0.82"]


def test_options_reach_the_function():
    options = [
        option
        for cls in (ModelOptions, MinimisationOptions, ResultOptions)
        for option in derive_options(cls)
    ]
    nothing = {option.field: option.default for option in options} | {"ntoys": None}
    found = arguments_of(nothing)
    # What is not given is left to the function.
    for cls in (ModelOptions, MinimisationOptions, ResultOptions):
        names = {field.name for field in dataclasses.fields(cls)}
        assert cls(**{k: v for k, v in found.items() if k in names}) == cls()
    assert set(found) <= set(nothing) - {"data", "ntoys", "blind", "contour_cl"}
    given = {
        "ntoys": 7,
        "starts": ["mu=1.5"],
        "fixed": ["a*", "b=0.5"],
        "blind": ["*"],
        "unblind": ["slope"],
        "statistics": "none",
        "strength": ["1", "2.5"],
        "l_curve": "-1:1:5",
        "groups": ["shape=slope,norm[0,1]", "shape=x"],
        "contour_cl": [0.9],
        "scans": ["a", "b,c"],
        "limits": ["mu"],
    }
    found = arguments_of({**nothing, **given})
    assert (found["data"], found["ntoys"]) == ("toys", 7)
    assert found["starts"] == {"mu": 1.5}
    assert found["fixed"] == {"a*": None, "b": 0.5}
    assert (found["blind"], found["unblind"]) == (("*",), ("slope",))
    assert found["statistics"] is None
    assert found["strength"] == (1.0, 2.5)
    assert found["l_curve"] == (-1.0, -0.5, 0.0, 0.5, 1.0)
    assert found["groups"] == {"shape": ["slope", "norm[0,1]", "x"]}
    assert found["contour_cl"] == (0.9,)
    assert (found["scans"], found["limits"]) == (("a", "b,c"), ("mu",))


@pytest.mark.slow
def test_every_plot_is_drawn(run, folder, fitted, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "plots"
    options = ["--out", out, "--format", "png"]
    done = run("template", "plot", folder / "direct.hdf5", *options)
    assert done.exit_code == 0, said(done)
    written = {file.stem for file in out.iterdir()}
    assert {
        "channel_ch0_prefit",
        "channel_ch0_postfit",
        "channel_ch0_processes",
        "channel_xsec_postfit",
        "mapping_Project_ch0_x_postfit",
        "mapping_Select_ch0_signal_sign_plus_postfit",
        "pulls",
        "correlation",
        "impacts_signal",
        "impacts_slope",
    } <= written
    assert f"{len(written)} plots" in done.stdout
    assert isinstance(fitted, TemplateResults)
    more = ["--out", tmp_path / "inputs", "--only", "*signal_variations"]
    done = run("template", "plot", folder / "fit.hdf5", *more)
    names = {file.name for file in (tmp_path / "inputs").iterdir()}
    assert names == {
        "input_ch0_signal_variations.pdf",
        "input_xsec_signal_variations.pdf",
    }
    done = run("template", "plot", folder / "fit.hdf5", "--out", out, "--only", "no")
    assert done.exit_code == 2


@pytest.mark.parametrize("command", ["print", "plot", "fit"])
def test_json_goes_to_other_commands(run, write, command):
    more = ["--out", "plots"] if command == "plot" else []
    done = run("template", command, write({"channels": []}), *more)
    assert done.exit_code == 2
    assert "is JSON, not HDF5" in said(done)
    assert "go to `everwillow fit`" in said(done)


@pytest.mark.slow
def test_inputs_are_never_written_over(run, folder, fitted, tmp_path):
    script = tmp_path / "script.hdf5"
    script.write_text(SCRIPT)
    fit, results = folder / "fit.hdf5", folder / "direct.hdf5"
    assert fitted.fit.success
    for file, command in (
        (fit, ("fit", fit)),
        (results, ("fit", fit, "--from-result", results)),
        (script, ("build", script)),
        (fit, ("plot", fit)),
    ):
        before = file.read_bytes()
        done = run("template", *command, "--out", file)
        assert done.exit_code == 2
        assert "--out" in said(done)
        assert file.read_bytes() == before


def test_what_is_too_long_is_named_with_the_command_that_shows_it(fitted, monkeypatch):
    monkeypatch.setattr(template_results, "SMALL", 2)
    texts, left = propagated(fitted, everything=False)
    assert [text.splitlines()[0] for text in texts] == ["Channel xsec"]
    assert left == ["mappings/Project ch0 x", "mappings/Select ch0 signal sign:plus"]
    *_, command = _hint(left[:1], "my results.hdf5")
    wanted = "template print 'my results.hdf5' --only 'mappings/Project ch0 x'"
    assert command == f"   everwillow {wanted}"
    assert "--out FILE" in _hint(left, None)[0]
    assert _hint(["mappings/a"] * 4, "r.hdf5")[-1].endswith(" --only mappings")
    assert len(propagated(fitted, everything=True)[0]) == 3


@pytest.mark.slow
def test_parts_have_the_names_of_their_plots_too(run, folder, fitted, tmp_path):
    assert fitted.fit.success
    done = run("template", "print", folder / "direct.hdf5", "--only", "channel_ch0*")
    assert done.stdout.startswith("Channel ch0")
    assert "xsec" not in done.stdout
    pytest.importorskip("matplotlib")
    options = ["--only", "channels/xsec", "--only", "mappings/Select*", "--only"]
    options += ["parameters", "--format", "png", "--out", tmp_path]
    done = run("template", "plot", folder / "direct.hdf5", *options)
    assert done.exit_code == 0, said(done)
    assert {file.stem for file in tmp_path.iterdir()} == {
        "channel_xsec_postfit",
        "channel_xsec_processes",
        "mapping_Select_ch0_signal_sign_plus_postfit",
        "pulls",
    }
    for command in (["plot", "--out", tmp_path], ["print"]):
        more = ["--only", "channel/xsec"]
        name, *options = command
        done = run("template", name, folder / "direct.hdf5", *options, *more)
        assert done.exit_code == 2
        assert "Did you mean 'channels/xsec'" in said(done)
