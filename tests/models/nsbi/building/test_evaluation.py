"""Density ratios of new events, by the networks of a configuration."""

import json
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest


pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from everwillow._errors import (
    ArgumentTypeError,
    EverwillowError,
    ShapeMismatchError,
    SpecificationError,
    UnknownKeyError,
)
from everwillow.models import nsbi
from tests.models.nsbi.building.test_network_ratios import selected, write_network
from tests.models.nsbi.small import changed, write


NETWORKS = """\
  TrainingFeatures: [x, y]
  TrainingFeaturesToStandardize: [y]
  Scaler: scaler.json
  Output: log_ratio
  TrainedModels:
  - SampleName: sig
    Nominal: {Models: [nets/a.onnx, nets/b.onnx, nets/c.onnx]}
    Systematics:
    - {SystName: JES, ModelsUp: nets/b.onnx, ModelsDn: [nets/c.onnx, nets/a.onnx]}
  - SampleName: bkg
    Nominal: {Models: nets/c.onnx}
"""
LINEAR = {"a": [0.2, -0.1], "b": [0.1, 0.3], "c": [-0.3, 0.05]}


def configuration(folder, networks=NETWORKS):
    text = changed(("kappa, JES]", "JES]"))
    text = text[: text.index("  AsimovWeights")] + networks
    file = write(folder, text)
    (folder / "nets").mkdir()
    for name, weights in LINEAR.items():
        write_network(folder / "nets" / f"{name}.onnx", weights)
    scaler = {"mean": [0.5], "scale": [2.0]}
    (folder / "scaler.json").write_text(json.dumps(scaler))
    return file


@pytest.fixture
def file(tmp_path):
    return configuration(tmp_path)


def test_events_of_the_workspace_have_its_ratios(file):
    """The columns of the built events give what has been built, bit by bit."""
    builder = nsbi.WorkspaceBuilder(file)
    model = nsbi.load(builder.build())
    built = model.spec.unbinned[0].events
    columns = selected("sig", "bkg")
    for given in (builder, file, str(file)):
        found = nsbi.events_at(given, "SR", columns, weights=built.weights)
        np.testing.assert_array_equal(found.weights, built.weights)
        assert found.ratios.keys() == built.ratios.keys() == {"sig", "bkg"}
        for name, ratios in built.ratios.items():
            np.testing.assert_array_equal(found.ratios[name], ratios)
        assert found.variations.keys() == built.variations.keys()
        for key, change in built.variations.items():
            np.testing.assert_array_equal(found.variations[key], change)
        ensembles = {("sig", "", ""): 3, ("sig", "JES", "down"): 2}
        assert {key: len(each) for key, each in found.members.items()} == ensembles
        assert built.members.keys() == ensembles.keys()
        for key, each in built.members.items():
            np.testing.assert_array_equal(found.members[key], each)


@pytest.mark.slow
def test_density_ratios_of_new_events(file):
    builder = nsbi.WorkspaceBuilder(file)
    model = nsbi.load(builder.build())
    found = nsbi.events_at(builder, "SR", selected("sig", "bkg"))
    params = {**model.state.to_pytree(), "mu": jnp.asarray(1.7)}
    params["JES"] = jnp.asarray(-0.6)
    np.testing.assert_array_equal(
        nsbi.density_ratio(model, params, found, region="SR"),
        nsbi.density_ratio(model, params, region="SR"),
    )


def test_ratios_are_those_of_the_networks(file):
    """Exponentials of linear functions, of which the second feature is scaled."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 23))
    found = nsbi.events_at(file, "SR", {"x": x, "y": y, "unused": ["a", "b"]})
    each = {
        name: np.exp(a * x + b * (y - 0.5) / 2.0) for name, (a, b) in LINEAR.items()
    }
    mean = (each["a"] + each["b"] + each["c"]) / 3
    np.testing.assert_allclose(found.ratios["sig"], mean, rtol=1e-12)
    np.testing.assert_allclose(found.ratios["bkg"], each["c"], rtol=1e-12)
    change = found.variations["sig", "JES"]
    np.testing.assert_allclose(change.up, each["b"], rtol=1e-12)
    np.testing.assert_allclose(change.down, (each["c"] + each["a"]) / 2, rtol=1e-12)
    np.testing.assert_array_equal(found.weights, np.ones(23))


def test_chunks_and_forms_of_tables_change_nothing(file):
    x, y = np.random.default_rng(6).normal(size=(2, 50)).astype(np.float32)
    wanted = nsbi.events_at(file, "SR", {"x": x, "y": y})
    table = np.zeros(50, [("y", "f4"), ("x", "f4")])
    table["x"], table["y"] = x, y
    for columns, chunk in ((table, 7), ({"x": x, "y": y}, 1), (table, 1000)):
        found = nsbi.events_at(file, "SR", columns, chunk=chunk)
        for name, ratios in wanted.ratios.items():
            np.testing.assert_allclose(found.ratios[name], ratios, rtol=1e-13)


def test_memory_is_that_of_the_results(file):
    """Features are stacked for a chunk only: the columns are not copied."""
    size = 400_000
    x, y = np.random.default_rng(7).normal(size=(2, size)).astype(np.float32)
    builder = nsbi.WorkspaceBuilder(file)
    tracemalloc.start()
    nsbi.events_at(builder, "SR", {"x": x, "y": y}, chunk=10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Weights, four results, the five members of ensembles, and what one network
    # returns, checked for each event.
    assert peak < 12 * 8 * size


def test_networks_of_a_reference_sample_serve_where_ratios_are_files(tmp_path):
    networks = NETWORKS.replace("{Models: nets/c.onnx}", "{Ratios: bkg.npy}")
    file = configuration(tmp_path, networks)
    columns = {"x": np.zeros(3), "y": np.zeros(3)}
    with pytest.raises(SpecificationError, match=r"config\.yml:\d+: .*'bkg' are in fi"):
        nsbi.events_at(file, "SR", columns)
    inner = "".join(
        f"  {line}\n" for line in NETWORKS[NETWORKS.index("  Trained") :].splitlines()
    )
    reference = f"  Reference:\n    SamplePath: events.npz\n    Tree: up\n{inner}"
    file.write_text(file.read_text() + reference)
    found = nsbi.events_at(file, "SR", columns)
    np.testing.assert_allclose(found.ratios["bkg"], np.exp(-0.0125), rtol=1e-12)


def test_faults_of_arguments(file):
    columns = {"x": np.zeros(4), "y": np.zeros(4)}
    cases = [
        ("SS", columns, {}, UnknownKeyError, "no unbinned region 'SS'.*: 'SR'"),
        ("CR", columns, {}, UnknownKeyError, "no unbinned region 'CR'"),
        ("SR", {"x": columns["x"]}, {}, UnknownKeyError, "no column 'y'"),
        ("SR", {**columns, "y": [1.0]}, {}, ShapeMismatchError, "'y' has 1 events"),
        ("SR", {**columns, "y": [["a"]]}, {}, ShapeMismatchError, "one number for"),
        ("SR", columns, {"weights": [1.0]}, ShapeMismatchError, r"the shape \(4,\)"),
        ("SR", np.zeros((4, 2)), {}, ArgumentTypeError, "an array with fields"),
        (
            "SR",
            {"x": [8e3], "y": [0.0]},
            {},
            SpecificationError,
            r"a\.onnx returns log",
        ),
    ]
    for region, given, options, error, message in cases:
        with pytest.raises(error, match=message):
            nsbi.events_at(file, region, given, **options)
    assert issubclass(ArgumentTypeError, EverwillowError)
