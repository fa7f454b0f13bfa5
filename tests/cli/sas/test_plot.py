"""The command ``everwillow sas plot``."""

import json

import numpy as np
import pytest


pytest.importorskip("matplotlib")

from matplotlib import image

from tests.cli.sas.files import said
from tests.workflows.scale_smearing import results


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a nominal result, of one with systematics and of one systematic."""
    folder = tmp_path_factory.mktemp("results")
    contents = {
        "Nominal": results.nominal(),
        "NominalWithSyst": results.with_systematics(),
        "window": results.window(),
    }
    found = {}
    for name, content in contents.items():
        found[name] = folder / f"SASrun_syst-{name}.json"
        found[name].write_text(json.dumps(content))
    return found


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A file with covariances, of a result of three variables."""
    rng = np.random.default_rng(8)
    size = 2 * 2 * 8
    parts = {"stat": np.eye(2 * size) * 1e-6, "mc": np.eye(2 * size) * 1e-6}
    errors = np.full(size, np.sqrt(2e-6)).tolist()
    content = {
        "categories": {"x": [0, 1, 2], "y": [0, 1, 2], "z": list(range(9))},
        "resp": rng.normal(1, 0.01, size).tolist(),
        "reso": rng.uniform(0.01, 0.02, size).tolist(),
        "eresp": errors,
        "ereso": errors,
        "status": ["fitted"] * size,
        "covariance": sum(parts.values()).tolist(),
        "covariances": {name: part.tolist() for name, part in parts.items()},
    }
    file = tmp_path_factory.mktemp("complete") / "result.json"
    file.write_text(json.dumps(content))
    return file


def test_one_file_is_drawn_into_a_file(run, files, tmp_path):
    out = tmp_path / "plot.png"
    done = run("sas", "plot", files["Nominal"], "-o", out, "--size", 4, 6)
    assert done.exit_code == 0, said(done)
    assert said(done).startswith("The plot is in")
    assert image.imread(out).shape[:2] == (1800, 1200)
    assert [one.name for one in tmp_path.iterdir()] == ["plot.png"]


def test_options_of_the_look_reach_the_figure(run, files, tmp_path):
    """Texts of figures are in files of the format svg, with a font as text."""
    out, labels = tmp_path / "plot.svg", tmp_path / "labels.yml"
    labels.write_text("ScEta: ETA\nr9: RNINE\n")
    options = ["--title", "Own", "--columns", 1, "-x", -2, 2, "--resp", 0.98, 1.02]
    done = run(
        *("sas", "plot", files["Nominal"], "-o", out, "--latex", labels, *options)
    )
    assert done.exit_code == 0, said(done)
    # Comments name the texts, whose letters are drawn as curves.
    text = out.read_text()
    for word in ("ETA", "RNINE", "Own"):
        assert f"<!-- {word} -->" in text


@pytest.mark.slow
def test_several_files_are_compared_and_named_after_their_systematics(
    run, files, tmp_path
):
    out = tmp_path / "plot.svg"
    names = [files["Nominal"], files["window"]]
    assert run("sas", "plot", *names, "-o", out).exit_code == 0
    assert "<!-- window -->" in out.read_text()
    assert "<!-- Response (data / sim.) -->" in out.read_text()
    options = ["--mode", "ratio", "--label", "A", "--label", "B"]
    assert run("sas", "plot", *names, "-o", out, *options).exit_code == 0
    assert "<!-- Response / A -->" in out.read_text()


@pytest.mark.slow
def test_a_folder_has_all_plots(run, complete, tmp_path):
    folder = tmp_path / "plots"
    done = run("sas", "plot", complete, "-o", folder, "--format", "png", "-x", 0, 2)
    assert done.exit_code == 0, said(done)
    names = {one.name for one in folder.iterdir()}
    assert names == {
        "result_parameters.png",
        "result_parameters_2.png",
        "result_parameters_3.png",
        "result_errors.png",
        "result_correlations.png",
    }
    assert all(name in said(done) for name in names)


def test_other_variables_are_averaged(run, files, tmp_path):
    out = tmp_path / "plot.svg"
    assert run("sas", "plot", files["Nominal"], "-o", out, "-d", "r9").exit_code == 0
    assert "<!-- Average over ScEta, with weights 1 / error² -->" in out.read_text()


@pytest.mark.slow
def test_pages_after_the_first_have_numbers(run, complete, tmp_path):
    done = run(
        "sas", "plot", complete, "-o", tmp_path / "plot.png", "--parameter", "resp"
    )
    assert done.exit_code == 0, said(done)
    assert {one.name for one in tmp_path.iterdir()} == {"plot.png", "plot_2.png"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "plot.txt"], "--out: the ending of 'plot.txt'"),
        (["-o", "nowhere/plot.pdf"], "--out: there is no folder 'nowhere'"),
        (["-o", "plot.pdf", "--format", "png"], "--format: png does not fit"),
        (["-o", "plot.pdf", "--mode", "ratio"], "two results or more"),
        (["-o", "plot.pdf", "--resp", 2, 1], "--resp: give a lower"),
        (["-o", "plot.pdf", "--xrange", 2, 1], "--xrange: give a lower"),
        (["-o", "plot.pdf", "--dims", "ScEtta"], "Did you mean 'ScEta'"),
        (["-o", "plot.pdf", "--parameter", "rsep"], "Did you mean 'resp'"),
        (["-o", "plot.pdf", "--log-x"], "edges below 0"),
        (["-o", "plot.pdf", "--label", "A", "--label", "B"], "2 labels for 1 files"),
        (["-o", "plot.pdf", "--latex", "nowhere.yml"], "there is no file"),
        (["-o", "plot.pdf", "--latex", "LIST"], "mapping of variables to labels"),
    ],
)
def test_faults_end_with_a_message(run, files, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "LIST").write_text("- a\n")
    done = run("sas", "plot", files["Nominal"], *options)
    assert done.exit_code == 2
    assert message in said(done)
    assert not (tmp_path / "plot.pdf").exists()


def test_another_file_is_refused(run, tmp_path):
    file = tmp_path / "other.json"
    file.write_text("{}")
    done = run("sas", "plot", file, "-o", tmp_path / "plot.pdf")
    assert done.exit_code == 2
    assert "categories" in said(done)
