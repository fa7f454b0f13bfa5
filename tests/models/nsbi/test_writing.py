"""Workspaces that are written and read are the same; changed arrays are refused."""

import json
import pathlib

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentValueError,
    MissingFileError,
    SpecificationError,
)
from everwillow.models.nsbi import dump_workspace, load_workspace
from everwillow.models.nsbi.arrays import WorkspaceArrays


PLACES = ("paths", "inside", "beside")


@pytest.fixture
def workspace(tmp_path):
    """A workspace with arrays of different types, some of them used twice."""
    data = tmp_path / "data"
    data.mkdir()
    arrays = {
        "weights": np.linspace(0.5, 1.5, 9_000),
        "nominal": np.linspace(0.0, 2.0, 9_000, dtype=np.float32),
        "up": np.arange(9_000),
        "column": np.linspace(1.0, 2.0, 9_000, dtype=">f8")[:, None],
    }
    for name, array in arrays.items():
        np.save(data / f"{name}.npy", array)
    paths = {name: str(data / f"{name}.npy") for name in arrays}
    ratios = {"hi_ratio": [paths["up"], paths["column"]], "lo_ratio": paths["nominal"]}
    modifier = {
        "name": "JES",
        "type": "normplusshape",
        "data": {"hi_data": [1.1], "lo_data": [0.9], **ratios},
    }
    sample = {
        "name": "weights",
        "data": [3.0],
        "ratios": paths["nominal"],
        "modifiers": [modifier],
    }
    channel = {
        "name": "SR",
        "type": "unbinned",
        "weights": paths["weights"],
        "samples": [sample],
    }
    parameter = {"name": "JES", "inits": [0.0], "bounds": None}
    config = {"poi": "JES", "parameters": [parameter]}
    return {
        "version": "1.0.0",
        "channels": [channel],
        "measurements": [{"name": "m", "errordef": "LIKELIHOOD", "config": config}],
        "observations": [{"name": "SR", "data": [3.0]}],
        "report": ["a sentence"],
    }


def contents(workspace):
    """The values of all arrays of a workspace, by their place."""
    arrays = WorkspaceArrays(workspace)
    channel = workspace["channels"][0]
    sample = channel["samples"][0]
    data = sample["modifiers"][0]["data"]
    names = [channel["weights"], sample["ratios"], data["lo_ratio"], *data["hi_ratio"]]
    return [arrays.read(name, where="here") for name in names]


def save_archive(path):
    with path.open("wb") as file:
        np.savez(file, a=np.ones(4))


def without_references(workspace):
    document = json.loads(json.dumps(workspace))
    document.pop("arrays", None)
    for channel in document["channels"]:
        del channel["weights"]
        for sample in channel["samples"]:
            del sample["ratios"]
            for modifier in sample["modifiers"]:
                del modifier["data"]["hi_ratio"], modifier["data"]["lo_ratio"]
    return document


@pytest.mark.parametrize("place", PLACES)
def test_reading_gives_what_was_written(tmp_path, workspace, place):
    before = json.dumps(workspace)
    dump_workspace(workspace, tmp_path / "w.json", arrays=place)
    assert json.dumps(workspace) == before
    loaded = load_workspace(tmp_path / "w.json")
    assert without_references(loaded) == without_references(workspace)
    for found, wanted in zip(contents(loaded), contents(workspace), strict=True):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("first", PLACES)
def test_arrays_can_be_put_elsewhere_later(tmp_path, workspace, first, place):
    dump_workspace(workspace, tmp_path / "first.json", arrays=first)
    loaded = load_workspace(tmp_path / "first.json")
    (tmp_path / "second").mkdir()
    dump_workspace(loaded, tmp_path / "second" / "w.json", arrays=place)
    again = load_workspace(tmp_path / "second" / "w.json")
    for found, wanted in zip(contents(again), contents(workspace), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_self_contained_workspaces_can_be_moved(tmp_path, workspace, place):
    old = tmp_path / "old"
    old.mkdir()
    dump_workspace(workspace, old / "w.json", arrays=place)
    wanted = [np.array(one) for one in contents(workspace)]
    (tmp_path / "data").rename(tmp_path / "gone")
    old.rename(tmp_path / "new")
    loaded = load_workspace(tmp_path / "new" / "w.json")
    for found, one in zip(contents(loaded), wanted, strict=True):
        np.testing.assert_array_equal(found, one)


def test_an_array_that_is_used_twice_is_written_once(tmp_path, workspace):
    dump_workspace(workspace, tmp_path / "w.json", arrays="beside")
    assert len(list((tmp_path / "w.arrays").iterdir())) == 4
    dump_workspace(workspace, tmp_path / "i.json", arrays="inside")
    assert len(json.loads((tmp_path / "i.json").read_text())["arrays"]) == 4


def test_paths_are_relative_to_the_workspace(tmp_path, workspace):
    dump_workspace(workspace, tmp_path / "w.json")
    written = json.loads((tmp_path / "w.json").read_text())
    assert written["channels"][0]["weights"] == "data/weights.npy"
    # A sample may have the name of a key.
    assert written["channels"][0]["samples"][0]["name"] == "weights"


@pytest.mark.parametrize("place", PLACES)
def test_writing_again_to_the_same_file_changes_nothing(tmp_path, workspace, place):
    file = tmp_path / "w.json"
    dump_workspace(workspace, file, arrays=place)
    text = file.read_text()
    dump_workspace(load_workspace(file), file, arrays=place)
    assert file.read_text() == text


def test_changed_file_is_named(tmp_path, workspace):
    dump_workspace(workspace, tmp_path / "w.json", arrays="beside")
    copy = next(p for p in (tmp_path / "w.arrays").iterdir() if p.name[0] == "n")
    array = np.load(copy)
    array[5] += 1
    np.save(copy, array)
    with pytest.raises(SpecificationError, match=r"w\.json: .*nominal-.*has changed"):
        load_workspace(tmp_path / "w.json")


def test_changed_content_is_named(tmp_path, workspace):
    dump_workspace(workspace, tmp_path / "w.json", arrays="inside")
    document = json.loads((tmp_path / "w.json").read_text())
    name, entry = next(iter(document["arrays"].items()))
    entry["content"] = entry["content"][:-8] + "AAAAAAA="
    (tmp_path / "w.json").write_text(json.dumps(document))
    with pytest.raises(SpecificationError, match=f"{name}.*has changed"):
        load_workspace(tmp_path / "w.json")


def test_content_that_is_not_base64_is_named(tmp_path, workspace):
    dump_workspace(workspace, tmp_path / "w.json", arrays="inside")
    document = json.loads((tmp_path / "w.json").read_text())
    name, entry = next(iter(document["arrays"].items()))
    entry["content"] = "no!"
    (tmp_path / "w.json").write_text(json.dumps(document))
    with pytest.raises(SpecificationError, match=f"{name}.*base64"):
        load_workspace(tmp_path / "w.json")


def test_missing_file_is_named(tmp_path, workspace):
    dump_workspace(workspace, tmp_path / "w.json")
    (tmp_path / "data" / "up.npy").unlink()
    with pytest.raises(MissingFileError, match=r"w\.json: .*data/up\.npy"):
        load_workspace(tmp_path / "w.json")


def test_file_of_another_length_is_named(tmp_path, workspace):
    path = tmp_path / "data" / "up.npy"
    workspace["arrays"] = {str(path): {"size": 8}}
    dump_workspace(workspace, tmp_path / "w.json")
    with pytest.raises(SpecificationError, match=r"up\.npy has 9000 values, not 8"):
        load_workspace(tmp_path / "w.json")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda path: np.save(path, np.ones((4, 2))), r"one number for each event"),
        (lambda path: np.save(path, np.array(["a"])), r"one number for each event"),
        (lambda path: np.save(path, np.float64(1)), r"one number for each event"),
        (save_archive, r"is an archive"),
        (lambda path: path.write_bytes(b"nothing"), r"cannot be read"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:20_000]),
            r"cannot be read: .*complete",
        ),
    ],
)
def test_file_that_is_no_array_is_named(tmp_path, workspace, write, problem):
    dump_workspace(workspace, tmp_path / "w.json")
    write(tmp_path / "data" / "weights.npy")
    with pytest.raises(SpecificationError, match=rf"weights\.npy.*{problem}"):
        load_workspace(tmp_path / "w.json")


def test_array_without_events_can_be_read(tmp_path):
    np.save(tmp_path / "none.npy", np.zeros(0))
    arrays = WorkspaceArrays({})
    assert arrays.read(str(tmp_path / "none.npy"), where="here").shape == (0,)


def test_large_files_are_mapped(tmp_path, workspace):
    weights, *_ = contents(workspace)
    assert isinstance(weights, np.memmap)
    assert not weights.flags.writeable


def test_paths_relative_to_the_working_directory_are_reported(
    tmp_path, workspace, monkeypatch
):
    (tmp_path / "sub").mkdir()
    workspace["channels"][0]["weights"] = "data/weights.npy"
    (tmp_path / "sub" / "w.json").write_text(json.dumps(workspace))
    monkeypatch.chdir(tmp_path)
    loaded = load_workspace("sub/w.json")
    assert loaded["channels"][0]["weights"] == str(tmp_path / "data" / "weights.npy")
    assert "working directory" in loaded["report"][-1]
    assert "data/weights.npy" in loaded["report"][-1]


def test_paths_of_workspaces_whose_observations_have_events(tmp_path):
    np.save(tmp_path / "r.npy", np.ones(3))
    observation = {"name": "SR", "weights": "r.npy", "ratios": {"s": ["r.npy"]}}
    document = {"channels": [], "measurements": [], "observations": [observation]}
    (tmp_path / "w.json").write_text(json.dumps(document))
    (loaded,) = load_workspace(tmp_path / "w.json")["observations"]
    path = str(tmp_path / "r.npy")
    assert loaded == {"name": "SR", "weights": path, "ratios": {"s": [path]}}


def test_place_of_arrays_is_one_of_three(tmp_path, workspace):
    with pytest.raises(ArgumentValueError, match="Did you mean 'inside'"):
        dump_workspace(workspace, tmp_path / "w.json", arrays="insid")


def test_file_that_is_no_workspace_is_refused(tmp_path):
    pathlib.Path(tmp_path / "w.json").write_text("[]")
    with pytest.raises(SpecificationError, match=r"w\.json is not a workspace"):
        load_workspace(tmp_path / "w.json")
