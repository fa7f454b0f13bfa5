"""Faults of the files of a configuration are reported at once, with their lines."""

import re

import numpy as np
import pytest

from everwillow._errors import SpecificationError
from everwillow.models.nsbi import WorkspaceBuilder
from tests.models.nsbi.building.test_builder import REFERENCE
from tests.models.nsbi.small import (
    ARRAYS,
    CONFIGURATION,
    TREES,
    changed,
    line_of,
    write,
)


def faults(file):
    """The lines and the texts of all faults."""
    builder = WorkspaceBuilder(file)
    with pytest.raises(SpecificationError) as failure:
        builder.build()
    found = re.findall(r"config\.yml:(\d+): (.*)", str(failure.value))
    assert found, failure.value
    return [(int(line), text) for line, text in found]


CHANGES = {
    "tree": ("Tree: up,", "Tree: upp,", 28, "no tree 'upp'. Did you mean 'up'?"),
    "observed tree": ("Tree: data,", "Tree: dat,", 8, "no tree 'dat'. Did you mean"),
    "weight": ("bkg, SamplePath: events.npz, Weight: w",
               "bkg, SamplePath: events.npz, Weight: ww", 11, "no column 'ww'."),
    "variable": ("Variable: x", "Variable: xx", 39, "no column 'xx'. Did you mean"),
    "filter": ("x >= 0", "x >= 0 & z > 0", 43, "no column 'z'."),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_missing_trees_and_columns(tmp_path, name):
    old, new, line, problem = CHANGES[name]
    found = faults(write(tmp_path, changed((old, new))))
    assert line in [one for one, text in found if problem in text], found


ONCE = {
    "filter": ("Filter: x < 0", "Filter: z < 0", "z"),
    "variable": ("Variable: x", "Variable: xx", "xx"),
}


@pytest.mark.parametrize("name", ONCE)
def test_a_column_that_no_tree_has_is_one_fault_of_the_region(tmp_path, name):
    old, new, column = ONCE[name]
    text = changed((old, new))
    ((line, problem),) = faults(write(tmp_path, text))
    assert line == line_of(text, new)
    assert f"and {len(TREES) - 1} others have no column {column!r}." in problem


def test_a_column_of_a_filter_that_one_tree_lacks(tmp_path):
    file = write(tmp_path)
    arrays = dict(np.load(tmp_path / "events.npz"))
    del arrays["up/x"]
    np.savez(tmp_path / "events.npz", **arrays)
    found = faults(file)
    lines = [line_of(CONFIGURATION, f"Filter: x {sign} 0") for sign in ("<", ">=")]
    assert [line for line, _ in found] == lines
    assert all("has no column 'x'." in text and "up" in text for _, text in found)


@pytest.mark.parametrize("factor", [0.0, -0.5])
def test_a_norm_systematic_that_leaves_no_yield(tmp_path, factor):
    file = write(tmp_path, changed(("Type: NormPlusShape", "Type: Norm")))
    arrays = dict(np.load(tmp_path / "events.npz"))
    inside = arrays["down/x"] >= 0
    arrays["down/w"][inside] *= factor
    np.savez(tmp_path / "events.npz", **arrays)
    ((line, text),) = faults(file)
    assert line == line_of(CONFIGURATION, "- Name: JES")
    chosen = arrays["sig/x"] >= 0
    nominal, varied = arrays["sig/w"][chosen].sum(), arrays["down/w"][inside].sum()
    assert text.startswith(
        "'JES' changes the yield of 'sig' in region 'SR' from "
        f"{nominal:.6g} to {varied:.6g} (Dn), but"
    )


ARRAY_FAULTS = {
    "negative ratio": (("bkg", 7, -0.5), "bkg.npy is negative at event 7: -0.5."),
    "infinite ratio": (("up", 3, np.inf), "up.npy is not finite at event 3: inf."),
    "undefined ratio": (("down", 0, np.nan), "down.npy is not finite at event 0: nan."),
    "undefined weight": (
        ("weights", 9, np.nan),
        "weights.npy is not finite at event 9",
    ),
}


@pytest.mark.parametrize("name", ARRAY_FAULTS)
def test_values_that_are_not_valid(tmp_path, name):
    (array, event, value), problem = ARRAY_FAULTS[name]
    file = write(tmp_path)
    values = np.load(tmp_path / f"{array}.npy")
    values[event] = value
    np.save(tmp_path / f"{array}.npy", values)
    ((line, text),) = faults(file)
    part = "AsimovWeights" if array == "weights" else f"{array}.npy"
    assert line == line_of(CONFIGURATION, part)
    assert problem in text


def test_negative_weights_are_allowed(tmp_path):
    file = write(tmp_path)
    weights = np.load(tmp_path / "weights.npy")
    np.save(tmp_path / "weights.npy", -weights)
    assert WorkspaceBuilder(file).build()["channels"][1]["weights"]


def test_lengths_that_differ_from_that_of_the_weights(tmp_path):
    file = write(tmp_path)
    np.save(tmp_path / "bkg.npy", np.ones(31))
    np.save(tmp_path / "up.npy", np.ones(29))
    found = faults(file)
    assert [line for line, _ in found] == [
        line_of(CONFIGURATION, "up.npy"),
        line_of(CONFIGURATION, "bkg.npy"),
    ]
    assert "up.npy has 29 ratios, the weights in" in found[0][1]
    assert found[0][1].endswith("weights.npy are 30.")


def test_lengths_that_differ_from_the_number_of_events(tmp_path):
    text = changed(("  AsimovWeights: weights.npy\n", ""))
    found = faults(write(tmp_path, text))
    assert len(found) == 4
    assert all("has 30 ratios, the events that are selected" in one for _, one in found)


def test_arrays_that_are_damaged_or_of_another_shape(tmp_path):
    file = write(tmp_path)
    np.save(tmp_path / "up.npy", np.ones((30, 2)))
    content = (tmp_path / "bkg.npy").read_bytes()
    (tmp_path / "bkg.npy").write_bytes(content[:-8])
    (_, shape), (_, damaged) = faults(file)
    assert "up.npy does not have one number for each event" in shape
    assert "bkg.npy cannot be read" in damaged
    assert damaged.endswith("Is it a complete .npy file?")


def test_faults_of_reference_samples(tmp_path):
    for name in ARRAYS:
        np.save(tmp_path / f"ref_{name}.npy", np.ones(20))
    np.save(tmp_path / "ref_sig.npy", np.ones(30))
    found = faults(write(tmp_path, CONFIGURATION + REFERENCE))
    assert {text.split(",")[0] for _, text in found} == {
        f"{tmp_path / 'ref_sig.npy'} has 30 ratios"
    }


def test_all_faults_are_in_one_report(tmp_path):
    file = write(tmp_path, changed(("Tree: up,", "Tree: upp,"), ("x < 0", "z < 0")))
    np.save(tmp_path / "bkg.npy", np.full(30, -1.0))
    np.save(tmp_path / "sig.npy", np.ones(3))
    lines = {line for line, _ in faults(file)}
    wanted = ("Tree: up,", "Filter: x < 0", "bkg.npy", "sig.npy")
    assert lines >= {line_of(CONFIGURATION, part) for part in wanted}


def test_weights_of_events_that_are_not_finite(tmp_path):
    file = write(tmp_path)
    arrays = dict(np.load(tmp_path / "events.npz"))
    arrays["bkg/w"][np.argsort(arrays["bkg/x"])[:2]] = np.inf
    np.savez(tmp_path / "events.npz", **arrays)
    ((line, text),) = faults(file)
    assert line == line_of(CONFIGURATION, "Tree: bkg")
    assert "2 weights of selected events are not finite." in text


def test_weights_of_other_events_do_not_matter(tmp_path):
    file = write(tmp_path, changed(("Filter: x < 0", "Filter: x < 0 & x > -2")))
    arrays = dict(np.load(tmp_path / "events.npz"))
    arrays["bkg/w"][arrays["bkg/x"] <= -2] = np.nan
    np.savez(tmp_path / "events.npz", **arrays)
    assert WorkspaceBuilder(file).build()["channels"]


def test_damaged_files_of_events(tmp_path):
    file = write(tmp_path)
    content = (tmp_path / "events.npz").read_bytes()
    (tmp_path / "events.npz").write_bytes(content[: len(content) // 2])
    assert all("events.npz cannot be read" in text for _, text in faults(file))
