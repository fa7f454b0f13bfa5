"""Scalers of features, written as other programs write them."""

import json

import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import MissingFileError, SpecificationError
from everwillow.models.nsbi.building.scalers import Scaler, read_scaler


MEAN, SCALE = [1.0, -2.5], [0.5, 3.0]


@pytest.mark.parametrize("kind", ["npz", "json"])
def test_both_formats_have_the_same_content(tmp_path, kind):
    file = tmp_path / f"scaler.{kind}"
    if kind == "npz":
        np.savez(file, mean=np.array(MEAN), scale=np.array(SCALE), more=[1])
    else:
        file.write_text(json.dumps({"mean": MEAN, "scale": SCALE}))
    mean, scale = read_scaler(file, where="here")
    np.testing.assert_array_equal(mean, MEAN)
    np.testing.assert_array_equal(scale, SCALE)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"mean": MEAN}, "no entry 'scale'; it has mean"),
        ({"mean": MEAN, "scale": [1.0]}, r"shapes are \(2,\) and \(1,\)"),
        ({"mean": MEAN, "scale": [1.0, 0.0]}, "entry 1 has .* scale 0"),
        ({"mean": ["a", "b"], "scale": SCALE}, "mean is not a list of numbers"),
        ([1, 2], "not a JSON object"),
    ],
)
def test_faults_of_the_content_are_named(tmp_path, content, problem):
    file = tmp_path / "s.json"
    file.write_text(json.dumps(content))
    with pytest.raises(
        SpecificationError, match=rf"here: the scaler .*s\.json.*{problem}"
    ):
        read_scaler(file, where="here")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="there is no file"):
        read_scaler(tmp_path / "s.npz", where="here")
    (tmp_path / "s.pkl").write_bytes(b"\x80\x04")
    with pytest.raises(SpecificationError, match=r"neither a \.npz nor a JSON"):
        read_scaler(tmp_path / "s.pkl", where="here")
    np.savez(tmp_path / "o.npz", mean=np.array([None]), scale=np.array([1.0]))
    with pytest.raises(SpecificationError, match="cannot be read"):
        read_scaler(tmp_path / "o.npz", where="here")


def test_features_that_are_not_standardised_stay_as_they_are():
    scaler = Scaler(np.array(MEAN), np.array(SCALE))
    names = ["eta", "mass", "pt"]
    found = scaler.for_features(names, ["pt", "mass"], where="here")
    np.testing.assert_array_equal(found.mean, [0.0, -2.5, 1.0])
    np.testing.assert_array_equal(found.scale, [1.0, 3.0, 0.5])
    with pytest.raises(ew.EverwillowError, match="Did you mean 'mass'"):
        scaler.for_features(names, ["pt", "mas"], where="here")
    with pytest.raises(ValueError, match="has 2 means, and 1 features"):
        scaler.for_features(names, ["pt"], where="here")
