"""Networks with known outputs: a linear function of the features, and what follows."""

import sys

import numpy as np
import pytest


pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import TensorProto, helper, numpy_helper

import everwillow as ew
from everwillow._errors import MissingFileError, SpecificationError
from everwillow.models.nsbi.building.networks import ensemble_spread, evaluate_ensemble


NAMES = ["pt", "eta", "mass"]
WEIGHTS = np.array([0.5, -0.25, 1.0])
RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(57, 3))
HERE = {"names": NAMES, "where": "sample 'ttbar'"}


def write(path, nodes, *, dtype=TensorProto.FLOAT, shape=("n", 3), outputs=None):
    """Write a graph of x, with the matrix W of the weights as a constant."""
    real = np.float64 if dtype == TensorProto.DOUBLE else np.float32
    matrix = numpy_helper.from_array(WEIGHTS.astype(real)[:, None], "W")
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", dtype, shape)],
        outputs or [helper.make_tensor_value_info("y", dtype, None)],
        [matrix],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def linear(path, *after, **options):
    """Write x @ W, followed by functions of one argument."""
    steps = ["x", *[f"t{i}" for i in range(len(after))], "y"]
    nodes = [helper.make_node("MatMul", ["x", "W"], [steps[1]])]
    nodes += [
        helper.make_node(kind, [steps[i + 1]], [steps[i + 2]])
        for i, kind in enumerate(after)
    ]
    return write(path, nodes, **options)


@pytest.fixture
def score(tmp_path):
    return linear(tmp_path / "score.onnx", "Sigmoid")


def test_the_ratio_of_a_score(score):
    """With the score 1 / (1 + exp(-t)), the ratio is exp(t)."""
    found = evaluate_ensemble([score], FEATURES, **HERE)
    assert found.shape == (1, 57)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[0], np.exp(FEATURES @ WEIGHTS), rtol=2e-6)


@pytest.mark.parametrize(
    ("output", "after", "expected"),
    [("logit", (), np.exp), ("log_ratio", (), np.exp), ("ratio", ("Exp",), np.exp)],
)
def test_other_outputs_in_double_precision(tmp_path, output, after, expected):
    """A network that takes doubles gets them, without a loss by conversion."""
    path = linear(tmp_path / "a.onnx", *after, dtype=TensorProto.DOUBLE)
    found = evaluate_ensemble([path], FEATURES, output=output, **HERE)
    np.testing.assert_allclose(found[0], expected(FEATURES @ WEIGHTS), rtol=1e-14)


def test_features_are_standardised_as_in_the_training(tmp_path):
    mean, scale = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 4.0])
    path = linear(tmp_path / "a.onnx", dtype=TensorProto.DOUBLE)
    found = evaluate_ensemble(
        [path], FEATURES * scale + mean, mean=mean, scale=scale, output="logit", **HERE
    )
    np.testing.assert_allclose(found[0], np.exp(FEATURES @ WEIGHTS), rtol=1e-13)


def test_chunks_change_nothing(tmp_path, score):
    twice = linear(tmp_path / "b.onnx", "Neg", "Sigmoid")
    models = [score, str(twice)]
    whole = evaluate_ensemble(models, FEATURES, **HERE)
    np.testing.assert_allclose(whole[0] * whole[1], 1.0, rtol=1e-6)
    for chunk in (1, 10, 57):
        parts = evaluate_ensemble(models, FEATURES, chunk=chunk, **HERE)
        np.testing.assert_allclose(parts, whole, rtol=1e-6)
    assert evaluate_ensemble(models, FEATURES[:0], **HERE).shape == (2, 0)


@pytest.mark.parametrize("events", [2, 57])
def test_the_second_of_two_probabilities_is_the_score(tmp_path, events):
    """Softmax of (-t, t) has the ratio exp(2 t)."""
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["t"]),
        helper.make_node("Neg", ["t"], ["minus"]),
        helper.make_node("Concat", ["minus", "t"], ["both"], axis=1),
        helper.make_node("Softmax", ["both"], ["y"], axis=1),
    ]
    path = write(tmp_path / "two.onnx", nodes, dtype=TensorProto.DOUBLE)
    x = FEATURES[:events]
    found = evaluate_ensemble([path], x, **HERE)
    np.testing.assert_allclose(found[0], np.exp(2 * x @ WEIGHTS), rtol=1e-12)
    with pytest.raises(
        SpecificationError, match=r"two\.onnx returns an array of shape"
    ):
        evaluate_ensemble([path], x, output="ratio", **HERE)


def test_an_output_of_one_axis_beside_a_label(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["t"]),
        helper.make_node("Flatten", ["t"], ["row"], axis=0),
        helper.make_node("Squeeze", ["row"], ["y"]),
        helper.make_node("Cast", ["t"], ["label"], to=TensorProto.INT64),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, None),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    path = write(tmp_path / "a.onnx", nodes, outputs=outputs)
    found = evaluate_ensemble([path], FEATURES, output="logit", **HERE)
    np.testing.assert_allclose(found[0], np.exp(FEATURES @ WEIGHTS), rtol=2e-6)


def refused(path, match, *, error=SpecificationError, features=FEATURES, **options):
    with pytest.raises(error, match=match) as caught:
        evaluate_ensemble([path], features, **{**HERE, **options})
    assert str(caught.value).startswith("sample 'ttbar': ")


def test_files_that_are_no_networks_are_named(tmp_path):
    refused(tmp_path / "a.onnx", r"no file .*a\.onnx", error=MissingFileError)
    pointer = tmp_path / "b.onnx"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    refused(pointer, r"b\.onnx is a Git LFS pointer")
    text = tmp_path / "c.onnx"
    text.write_text("not a network")
    refused(text, r"the network .*c\.onnx is not an ONNX file")


def test_another_number_of_features_is_an_error(tmp_path):
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])]
    path = write(tmp_path / "a.onnx", nodes, shape=("n", 4))
    refused(path, r"a\.onnx takes 4 features, and 3 are given: pt, eta, mass\.")


@pytest.mark.parametrize("shape", [("n", "features"), None])
def test_a_number_of_features_that_is_not_declared(tmp_path, shape):
    path = linear(tmp_path / "a.onnx", "Sigmoid", shape=shape)
    assert evaluate_ensemble([path], FEATURES, **HERE).shape == (1, 57)
    options = {"names": ["pt", "eta"], "features": FEATURES[:, :2]}
    refused(path, r"a\.onnx cannot be evaluated with the 2 features pt, eta", **options)


def test_inputs_and_outputs_that_do_not_fit(tmp_path):
    path = tmp_path / "a.onnx"
    two = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 3))
        for name in "ab"
    ]
    node = helper.make_node("Add", ["a", "b"], ["y"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", two, [y])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    refused(path, r"has 2 inputs \(a: tensor\(float\), b: tensor\(float\)\)")
    linear(path, "Sigmoid", shape=(1, 3))
    refused(path, "exactly 1 events at a time. Export it with a dynamic first axis")
    write(path, [helper.make_node("MatMul", ["x", "W"], ["y"])], shape=("n", 2, 3))
    refused(path, r"an array of shape \('n', 2, 3\)")
    write(path, [helper.make_node("Identity", ["x"], ["y"])])
    refused(path, r"returns an array of shape \(57, 3\) for 57 events")
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)
    label = [helper.make_tensor_value_info("y", TensorProto.INT64, None)]
    write(path, [cast], outputs=label)
    refused(path, r"has 0 outputs of real numbers, of all its outputs y: tensor\(int64")
    casts = [
        helper.make_node("Cast", ["x"], ["t"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["t"], ["y"]),
    ]
    write(path, casts, dtype=TensorProto.INT64, outputs=[y])
    refused(path, r"takes tensor\(int64\)")


def test_outputs_that_are_no_ratios_are_counted(tmp_path):
    x = np.zeros((6, 3))
    path = linear(tmp_path / "log.onnx", "Log")
    x[:, 2] = [1, 2, -1, 3, -2, 0]
    refused(
        path,
        r"log\.onnx returns numbers that are not finite for 3 of 6 events, first in "
        r"row 2 \(from 0\): nan",
        features=x,
        chunk=2,
        output="logit",
    )
    sigmoid = linear(tmp_path / "sigmoid.onnx", "Sigmoid")
    x[:, 2] = [0, 1, 2, 3, 60, 90]
    refused(
        sigmoid, r"exactly 1, hence infinite ratios for 2 of 6 .* row 4", features=x
    )
    plain = linear(tmp_path / "plain.onnx")
    x[:, 2] = [0.5, -0.1, 0.2, 0.3, 0.4, 0.5]
    refused(
        plain,
        r"scores outside of 0 to 1 for 1 of 6 .* the output is 'logit'",
        features=x,
    )
    refused(
        plain,
        r"negative ratios for 1 of 6 .*row 1 .*: -0\.1\. .*'log_ratio'",
        features=x,
        output="ratio",
    )
    x[:, 2] = 1000
    refused(plain, "too large for 6 of 6", features=x, output="log_ratio")


def test_arguments_that_do_not_fit_together(score):
    two = FEATURES[:, :2]
    refused(
        score, r"shape \(events, 3\) .*got \(57, 2\)", error=ValueError, features=two
    )
    refused(score, r"mean .* shape \(2,\)", error=ValueError, mean=[1.0, 2.0])
    refused(score, "scale of eta is not", error=ValueError, scale=[1.0, 0.0, 2.0])
    refused(score, "Did you mean 'score'", error=ValueError, output="scores")
    with pytest.raises(ew.EverwillowError, match="there is no network"):
        evaluate_ensemble([], FEATURES, **HERE)


def test_without_onnxruntime_the_extra_is_named(score, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(score, r'pip install "\.\[onnx\]"', error=ImportError)


def test_the_spread_is_that_of_the_mean():
    """The variance of a mean of m members is their variance over m."""
    members = RNG.normal(2.0, 0.3, size=(5, 20_000))
    mean, error = ensemble_spread(members)
    np.testing.assert_allclose(mean, members.mean(0), rtol=1e-14)
    np.testing.assert_allclose(
        np.mean(error**2), 0.3**2 / 5, rtol=4 * np.sqrt(2 / 4 / 20_000)
    )
    alone = ensemble_spread(members[:1])
    np.testing.assert_array_equal(alone.mean, members[0])
    assert np.isnan(alone.error).all()
    with pytest.raises(ValueError, match=r"\(members, events\)"):
        ensemble_spread(members[0])
