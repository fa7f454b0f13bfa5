"""What a command makes of its input: patches, other formats, and what is broken."""

import copy
import json

import pytest

from everwillow.models.histfactory import digest, summary
from everwillow.models.hs3 import pyhf_to_hs3
from tests.cli.documents import QUICKSTART


def said(done) -> str:
    """The message without its frame, on one line."""
    text = done.stderr.translate({ord(c): " " for c in "│╭╮╰╯─"})
    return " ".join(text.split())


OPERATIONS = [{"op": "replace", "path": "/observations/0/data", "value": [50.0, 40.0]}]


def patch_set(workspace):
    patches = [
        {"metadata": {"name": f"m{m}", "values": [m, 1]}, "patch": OPERATIONS}
        for m in (100, 200)
    ]
    return {
        "metadata": {
            "references": {"hepdata": "ins0"},
            "description": "two points",
            "digests": {"sha256": digest(workspace)},
            "labels": ["mass", "lifetime"],
        },
        "patches": patches,
        "version": "1.0.0",
    }


@pytest.mark.slow
def test_patches_change_the_data(run, write, tiny):
    patched = copy.deepcopy(tiny)
    patched["observations"][0]["data"] = [50.0, 40.0]
    wanted = run("fit", write(patched, "patched.json")).stdout.splitlines()[1:-1]
    file = write(tiny)
    write(OPERATIONS, "patch.json")
    write(patch_set(tiny), "set.json")
    for patch in ("patch.json", "set.json:m200", "set.json:200,1"):
        done = run("fit", file, "--patch", file.parent / patch)
        assert done.exit_code == 0, said(done)
        assert done.stdout.splitlines()[1:-1] == wanted
        assert done.stdout.startswith(f"workspace.json + {patch}: ")


def test_patch_sets_are_for_one_workspace(run, write, tiny):
    write(patch_set(tiny), "set.json")
    tiny["observations"][0]["data"] = [61.0, 52.0]
    file = write(tiny)
    patch = f"{file.parent / 'set.json'}:m100"
    done = run("inspect", file, "-p", patch)
    assert done.exit_code == 2
    assert "made for another workspace" in said(done)
    assert run("inspect", file, "-p", patch, "--no-verify").exit_code == 0


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("set.json", "with one of the names m100, m200"),
        ("set.json:m300", "m300"),
        ("none.json", "There is no file"),
        ("none.json:m100", "There is no file"),
        ("workspace.json", "workspace.json"),
    ],
)
def test_patches_that_are_none(run, write, tiny, patch, message):
    write(patch_set(tiny), "set.json")
    file = write(tiny)
    done = run("fit", file, "-p", file.parent / patch)
    assert done.exit_code == 2
    assert message in said(done)


DATACARD = b"imax 1 number of channels\njmax 1\nkmax 2\nbin b1\nobservation 5\n"
XML = b"<?xml version='1.0'?>\n<!DOCTYPE Combination SYSTEM 'HistFactorySchema.dtd'>\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b'{"channels": [', "is not JSON"),
        (b"[1, 2]", "it is a list"),
        (b'{"a": 1}', "neither a pyhf workspace"),
        (b'{"channels": []}', "it is a pyhf model"),
        (DATACARD, "combine-to-pyhf"),
        (XML, "pyhf xml2json"),
        (b"root\x00\x00\xf7", "ROOT file"),
        (b"\x1f\x8b\x08damaged", "gzip"),
        (b"\xff\xfe\x00", "UTF-8"),
        (json.dumps(OPERATIONS).encode(), "JSON patch"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "inspect"])
def test_what_is_no_document(run, tmp_path, content, message, command):
    (tmp_path / "input").write_bytes(content)
    done = run(command, tmp_path / "input")
    assert done.exit_code == 2
    assert message in said(done)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_faults_have_their_place(run, write, tiny):
    tiny["channels"][0]["samples"][1]["data"] = [50.0]
    done = run("fit", write(tiny))
    assert done.exit_code == 2
    assert "/channels/0/samples/1" in said(done).replace(" ", "")


def test_faults_of_hs3_have_their_place(run, write, tiny):
    document = pyhf_to_hs3(tiny)
    document["distributions"][0]["samples"][0]["data"]["contents"] = "many"
    done = run("fit", write(document))
    assert done.exit_code == 2
    assert "/distributions/0/samples/0/data" in said(done).replace(" ", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fix", "norn"], "--fix: there is no parameter 'norn'. Did you mean 'norm'"),
        (["--fix", "s*x"], "no parameter matches"),
        (["--fix", "stat[7]"], "the elements 0 to 1"),
        (["--fix", "mu=often"], "--fix mu=often"),
        (["--fix", "mu=nan"], "finite"),
        (["--poi", "mue"], "mu"),
        (["--measurement", "none"], "search"),
        (["--measurement", "7"], "7"),
        (["--analysis", "search"], "measurement"),
        (["--interpolation", "pyhf"], "pyhf-python"),
        (["--interpolation", "normsys=code9"], "code9"),
        (["--out", "result.txt"], ".json"),
        (["--out", "nowhere/result.json"], "no folder"),
        (["--plot", "plot.doc"], ".pdf"),
    ],
)
def test_options_that_cannot_be(run, write, tiny, options, message):
    done = run("fit", write(tiny), *options)
    assert done.exit_code == 2
    assert message in said(done)
    assert done.stdout == ""


@pytest.mark.parametrize("options", [["-m", "search"], ["--interpolation=pyhf-python"]])
def test_options_of_workspaces_are_none_of_hs3(run, write, tiny, options):
    done = run("fit", write(pyhf_to_hs3(tiny)), *options)
    assert done.exit_code == 2
    assert "HS3" in said(done)


def test_inspect_has_the_summary_of_the_workspace(run, write, tiny):
    tiny["observations"].append({"name": "VR", "data": [3.0]})
    done = run("inspect", write(tiny))
    assert done.exit_code == 0
    assert str(summary(tiny)) in done.stdout
    assert "The observation 'VR' belongs to no channel." in done.stdout


def test_inspect_of_hs3_has_the_report(run, write, tiny):
    document = pyhf_to_hs3(tiny)
    del document["metadata"]["hs3_version"]
    done = run("inspect", write(document))
    assert done.exit_code == 0
    assert "analysis 'search' of 2" in done.stdout
    assert "'metadata' has no 'hs3_version': 0.2 is assumed." in done.stdout
    done = run("inspect", write(document), "--analysis", "other")
    assert "analysis 'other' of 2" in done.stdout


def test_convert_there_and_back_is_the_same(run, tmp_path):
    there, back = tmp_path / "hs3.json.gz", tmp_path / "pyhf.json"
    assert run("convert", QUICKSTART, "--out", there).exit_code == 0
    assert run("convert", there, "--to", "pyhf", "-o", back).exit_code == 0
    assert json.loads(back.read_text()) == json.loads(QUICKSTART.read_text())
    done = run("convert", there)
    assert json.loads(done.stdout) == json.loads(QUICKSTART.read_text())


def test_convert_into_the_same_format_is_refused(run):
    done = run("convert", QUICKSTART, "--to", "pyhf")
    assert done.exit_code == 2
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("fit", "--out={workspace}"),
        ("limit", "--out={other}"),
        ("scan", "--out={link}"),
        ("impacts", "--out={patch}"),
        ("convert", "--out={workspace}"),
        ("convert", "--out={other}"),
    ],
)
def test_inputs_are_never_written_over(run, write, tiny, command, output):
    workspace, patch = write(tiny), write(patch_set(tiny), "set.json")
    link = workspace.parent / "link.json"
    link.symlink_to(workspace)
    other = workspace.parent / ".." / workspace.parent.name / workspace.name
    names = {"workspace": workspace, "patch": patch, "link": link, "other": other}
    before = workspace.read_bytes(), patch.read_bytes()
    output = output.format(**names)
    done = run(command, workspace, "--patch", f"{patch}:m100", output)
    assert done.exit_code == 2
    assert "--out is the input" in said(done)
    assert "choose another name" in said(done)
    assert (workspace.read_bytes(), patch.read_bytes()) == before


def test_plots_are_not_written_over_inputs_either(run, write, tiny):
    file = write(tiny, "workspace.pdf")
    done = run("fit", file, "--plot", file)
    assert done.exit_code == 2
    assert "--plot is the input" in said(done)


@pytest.mark.parametrize("command", ["fit", "inspect", "convert"])
def test_hdf5_goes_to_other_commands(run, tmp_path, command):
    h5py = pytest.importorskip("h5py")
    for kind, message in (
        ("everwillow templates", "go to `everwillow template fit`"),
        ("everwillow template results", "go to `everwillow template print`"),
        ("something else", "is an HDF5 file; expected JSON."),
    ):
        with h5py.File(tmp_path / "file.h5", "w") as file:
            file.attrs["format"] = kind
        done = run(command, tmp_path / "file.h5")
        assert done.exit_code == 2
        assert message in said(done)
