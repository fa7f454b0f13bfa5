"""Density ratios from networks, evaluated for the events of a configuration."""

import json

import numpy as np
import pytest


pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import TensorProto, helper, numpy_helper

from everwillow._errors import EverwillowError, SpecificationError
from everwillow.models.nsbi import (
    WorkspaceBuilder,
    dump_workspace,
    load,
    load_workspace,
)
from everwillow.models.nsbi.arrays import WorkspaceArrays
from tests.models.nsbi.small import EVENTS, changed, events, write


def write_network(path, weights):
    """Write a network that returns a linear function of the features."""
    matrix = numpy_helper.from_array(np.asarray(weights, float)[:, None], "W")
    shape = ["n", len(weights)]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "W"], ["y"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, shape)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n", 1])],
        [matrix],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


NETWORKS = (
    ("{Ratios: bkg.npy}", "{Models: nets/*.onnx, Output: log_ratio}"),
    (
        "  AsimovWeights: weights.npy\n",
        "  TrainingFeatures: [x, y]\n"
        "  TrainingFeaturesToStandardize: [y]\n"
        "  Scaler: scaler.json\n",
    ),
)
WITH_WEIGHTS = (
    NETWORKS[0],
    (
        "  AsimovWeights: weights.npy\n",
        f"{NETWORKS[1][1]}  AsimovWeights: weights.npy\n",
    ),
)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path)
    (tmp_path / "nets").mkdir()
    write_network(tmp_path / "nets" / "a.onnx", [0.2, -0.1])
    write_network(tmp_path / "nets" / "b.onnx", [0.1, 0.3])
    scaler = {"mean": [0.5], "scale": [2.0]}
    (tmp_path / "scaler.json").write_text(json.dumps(scaler))
    return tmp_path


def selected(*trees):
    """The columns of the events in SR."""
    made = events()
    chosen = [(made[tree], made[tree]["x"] >= 0) for tree in trees]
    return {
        key: np.concatenate([columns[key][mask] for columns, mask in chosen])
        for key in ("x", "y", "w")
    }


def save_ratios(folder, size):
    for name in ("sig", "up", "down", "bkg", "weights"):
        np.save(folder / f"{name}.npy", np.ones(size))


def build(folder, *changes, more="", **options):
    (folder / "config.yml").write_text(changed(*changes) + more)
    return WorkspaceBuilder(folder / "config.yml", **options).build()


def ratios(workspace, of):
    arrays = WorkspaceArrays(workspace)
    return [arrays.read(path, where="here") for path in of]


def expected(columns):
    """The ratios of both networks, of which the second feature is standardised."""
    x, y = columns["x"], (columns["y"] - 0.5) / 2.0
    return np.exp(0.2 * x - 0.1 * y), np.exp(0.1 * x + 0.3 * y)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_ensembles_are_evaluated_for_the_events_of_the_samples(folder, chunk):
    columns = selected("sig", "bkg")
    save_ratios(folder, len(columns["x"]))
    workspace = build(folder, *NETWORKS, chunk=chunk)
    paths = workspace["channels"][1]["samples"][1]["ratios"]
    made = folder / "config_ratios"
    assert paths == [str(made / f"SR_bkg_{i}.npy") for i in range(2)]
    for found, wanted in zip(ratios(workspace, paths), expected(columns), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    dump_workspace(workspace, folder / "w.json", arrays="inside")
    assert load_workspace(folder / "w.json")["channels"][1]["weights"]


def test_folder_of_ratios_can_be_chosen(folder):
    save_ratios(folder, len(selected("sig", "bkg")["x"]))
    workspace = build(folder, *NETWORKS, ratios_folder=folder / "made")
    (path, _) = workspace["channels"][1]["samples"][1]["ratios"]
    assert path == str(folder / "made" / "SR_bkg_0.npy")


def test_observed_events_are_used_if_there_are_as_many_as_weights(folder):
    columns = selected("data")
    save_ratios(folder, len(columns["x"]))
    workspace = build(folder, *WITH_WEIGHTS)
    paths = workspace["channels"][1]["samples"][1]["ratios"]
    found = ratios(workspace, paths)[1]
    np.testing.assert_allclose(found, expected(columns)[1], rtol=1e-12)
    assert workspace["channels"][1]["weights"] == str(folder / "weights.npy")


def test_other_numbers_of_weights_are_faults(folder):
    counts = [len(selected(*trees)["x"]) for trees in (("sig", "bkg"), ("data",))]
    with pytest.raises(SpecificationError) as failure:
        build(folder, *WITH_WEIGHTS)
    assert f"has {EVENTS} weights, but {counts[0]} or {counts[1]}" in str(failure.value)


def test_systematics_and_reference_samples_have_networks_too(folder):
    columns, reference = selected("sig", "bkg"), selected("up")
    save_ratios(folder, len(columns["x"]))
    more = """\
  Reference:
    SamplePath: events.npz
    Tree: up
    Weight: w
    Output: log_ratio
    TrainedModels:
    - SampleName: sig
      Nominal: {Models: nets/a.onnx}
      Systematics:
      - {SystName: JES, ModelsUp: nets/b.onnx, ModelsDn: [nets/b.onnx, nets/a.onnx]}
    - SampleName: bkg
      Nominal: {Models: nets}
"""
    workspace = build(folder, *NETWORKS, more=more)
    found = workspace["channels"][1]["reference"]
    (weights,) = ratios(workspace, [found["weights"]])
    np.testing.assert_allclose(weights, reference["w"], rtol=1e-13)
    first, second = expected(reference)
    sig, bkg = found["samples"]
    (nominal,) = ratios(workspace, sig["ratios"])
    np.testing.assert_allclose(nominal, first, rtol=1e-12)
    data = sig["modifiers"][0]["data"]
    (up,) = ratios(workspace, data["hi_ratio"])
    np.testing.assert_allclose(up, second, rtol=1e-12)
    down = ratios(workspace, data["lo_ratio"])
    np.testing.assert_allclose(down, [second, first], rtol=1e-12)
    assert len(bkg["ratios"]) == 2


FAULTS = {
    "features": (("[x, y]\n", "[z, y]\n"), "no column 'z'"),
    "standardised": (("[y]\n", "[z]\n"), "has 'z', which is not one of the Training"),
    "scaler": (("  Scaler: scaler.json\n", ""), "needs the key 'Scaler'"),
    "missing scaler": (("scaler.json", "none.json"), "there is no file"),
    "number of features": (("[x, y]\n", "[y]\n"), "a.onnx takes 2 features, and 1 are"),
    "number of means": (
        ("[y]\n", "[x, y]\n"),
        "the scaler has 1 means, and 2 features",
    ),
    "output": (("log_ratio", "score"), "scores outside of 0 to 1"),
    "missing network": (("nets/*.onnx", "nets/c.onnx"), "there is no file"),
    "no network": (("nets/*.onnx", "net/*.onnx"), "no network is called 'net/*.onnx'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_networks_have_their_line(folder, name):
    (old, new), problem = FAULTS[name]
    save_ratios(folder, len(selected("sig", "bkg")["x"]))
    changes = [(before, after.replace(old, new)) for before, after in NETWORKS]
    assert changes != list(NETWORKS)
    with pytest.raises(EverwillowError) as failure:
        build(folder, *changes)
    assert problem in str(failure.value)
    assert "config.yml:" in str(failure.value)


def test_all_faults_of_networks_are_in_one_report(folder):
    """Before events are read: scalers, networks and files; after that: outputs."""
    save_ratios(folder, len(selected("sig", "bkg")["x"]))
    write_network(folder / "nets" / "a.onnx", [0.2, -0.1, 0.3])
    (folder / "nets" / "b.onnx").write_bytes(b"no network")
    (folder / "scaler.json").write_text('{"mean": [0.5], "scale": [0.0]}')
    np.save(folder / "sig.npy", np.full(3, -1.0))
    up = ("RatiosUp: up.npy", "ModelsUp: nets/a.onnx")
    with pytest.raises(SpecificationError) as failure:
        build(folder, *NETWORKS, up)
    text = str(failure.value)
    wanted = (
        "sig.npy is negative at event 0",
        "a.onnx takes 3 features, and 2 are given",
        "b.onnx is not an ONNX file",
        "entry 0 has the mean 0.5 and the scale 0",
    )
    assert all(one in text for one in wanted), text
    lines = changed(*NETWORKS, up).splitlines()
    for name in ("a.onnx", "*.onnx"):
        (line,) = [i for i, one in enumerate(lines, 1) if f"nets/{name}" in one]
        assert f"config.yml:{line}: the network" in text


def test_all_outputs_that_are_not_valid_are_in_one_report(folder):
    save_ratios(folder, len(selected("sig", "bkg")["x"]))
    write_network(folder / "nets" / "a.onnx", [np.inf, 0.0])
    write_network(folder / "nets" / "b.onnx", [1e4, 0.0])
    up = ("RatiosUp: up.npy", "ModelsUp: nets/b.onnx")
    with pytest.raises(SpecificationError) as failure:
        build(folder, *NETWORKS, up)
    text = str(failure.value)
    assert text.startswith("config.yml has 3 faults")
    assert "a.onnx returns numbers that are not finite" in text
    assert "b.onnx returns logarithms of ratios that are too large" in text
    assert "b.onnx returns scores outside of 0 to 1" in text
    assert not list((folder / "config_ratios").glob("*"))


def test_networks_of_data_are_evaluated_for_the_observations(folder):
    columns = selected("data")
    save_ratios(folder, len(selected("sig", "bkg")["x"]))
    more = """\
  Data:
    Output: log_ratio
    TrainedModels:
    - SampleName: sig
      Nominal: {Models: nets/a.onnx}
      Systematics:
      - {SystName: JES, ModelsUp: nets/b.onnx, ModelsDn: nets}
    - SampleName: bkg
      Nominal: {Models: nets}
"""
    workspace = build(folder, *NETWORKS, more=more)
    found = workspace["observations"][1]
    (weights,) = ratios(workspace, [found["weights"]])
    np.testing.assert_allclose(weights, columns["w"], rtol=1e-13)
    np.testing.assert_allclose(found["data"], [columns["w"].sum()], rtol=1e-13)
    first, second = expected(columns)
    sig, bkg = found["ratios"]
    (nominal,) = ratios(workspace, sig["ratios"])
    np.testing.assert_allclose(nominal, first, rtol=1e-12)
    data = sig["modifiers"][0]["data"]
    down = ratios(workspace, data["lo_ratio"])
    np.testing.assert_allclose(down, [first, second], rtol=1e-12)
    np.testing.assert_allclose(ratios(workspace, bkg["ratios"]), down, rtol=1e-12)
    model = load(workspace)
    assert model.regions[0][1] == len(columns["x"])
    other = more.replace("  Data:\n", "  Data:\n    Weights: weights.npy\n")
    with pytest.raises(SpecificationError, match="the events for the networks cannot"):
        build(folder, *NETWORKS, more=other)


def test_networks_of_a_reference_sample_need_its_events(folder):
    more = """\
  Reference:
    Weights: weights.npy
    TrainedModels:
    - SampleName: sig
      Nominal: {Models: nets/a.onnx}
      Systematics: [{SystName: JES, RatiosUp: up.npy, RatiosDn: down.npy}]
    - SampleName: bkg
      Nominal: {Ratios: bkg.npy}
"""
    with pytest.raises(SpecificationError, match="give SamplePath and Tree"):
        build(folder, *NETWORKS, more=more)
