"""The command ``everwillow sas correct``."""

import json

import numpy as np
import pytest


pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

from tests.cli.sas.files import said


@pytest.fixture
def result(tmp_path):
    content = {"categories": {"r9": [0, 1]}, "resp": [0.8], "eresp": [0.01]}
    content |= {"reso": [0.02], "ereso": [0.01], "status": ["fitted"]}
    file = tmp_path / "result.json"
    file.write_text(json.dumps(content))
    return file


def test_both_leptons_are_corrected_by_default(run, result, tmp_path):
    columns = {"mass": [80.0], "r91": [0.5], "r92": [0.5], "pt1": [40.0], "pt2": [4.0]}
    np.savez(tmp_path / "events.npz", **columns)
    done = run(
        *("sas", "correct", tmp_path / "events.npz", "--kind", "data"),
        *("--corrections", result, "--cset", "R9", "-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, said(done)
    found = pq.read_table(tmp_path / "out" / "events.R9Corr.parquet").to_pydict()
    assert found["mass"] == [100.0]
    assert (found["pt1"], found["pt2"]) == ([50.0], [5.0])


def test_one_object_without_a_suffix(run, result, tmp_path):
    np.savez(tmp_path / "events.npz", mass=[80.0], r9=[0.5], pt=[40.0])
    done = run(
        *("sas", "correct", tmp_path / "events.npz", "--kind", "data"),
        *("--corrections", result, "-o", tmp_path / "out"),
        *("--suffix", "", "--mass-exponent", 1.0),
    )
    assert done.exit_code == 0, said(done)
    found = pq.read_table(tmp_path / "out" / "events.CSETCorr.parquet").to_pydict()
    assert (found["mass"], found["pt"]) == ([100.0], [50.0])
