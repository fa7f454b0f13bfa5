"""Workspaces of the case agree with those of another tool."""

import json
from collections import Counter

import numpy as np
import pytest

from everwillow.models.event_files import EventFiles, EventTable
from everwillow.models.nsbi.building.builder import WorkspaceBuilder
from tests.models.nsbi.case import CONFIGURATIONS, SAMPLES, events, expected


EXPECTED = expected()


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def built(request, case_folder):
    workspace = WorkspaceBuilder(case_folder / CONFIGURATIONS[request.param]).build()
    return workspace, EXPECTED[request.param]["workspace"]


def test_yields_and_modifiers_are_those_of_the_other_tool(built):
    workspace, reference = built
    for channel, wanted in zip(
        workspace["channels"], reference["channels"], strict=True
    ):
        assert (channel["name"], channel["type"]) == (wanted["name"], wanted["type"])
        assert [one["name"] for one in channel["samples"]] == list(wanted["samples"])
        for sample in channel["samples"]:
            other = wanted["samples"][sample["name"]]
            np.testing.assert_allclose(sample["data"], other["data"], rtol=1e-9)
            found = {one["name"]: one for one in sample["modifiers"]}
            assert found.keys() == other["modifiers"].keys()
            for name, modifier in other["modifiers"].items():
                assert found[name]["type"] == modifier["type"]
                for key in modifier.keys() & {"hi_data", "lo_data"}:
                    np.testing.assert_allclose(
                        found[name]["data"][key], modifier[key], rtol=1e-9
                    )


def test_weights_with_the_sum_of_the_observations_are_not_remarked(built):
    workspace, _ = built
    assert not [one for one in workspace["report"] if "Observations" in one]


def test_observed_counts_are_those_of_the_other_tool(built):
    workspace, reference = built
    observed = {one["name"]: one["data"] for one in workspace["observations"]}
    assert observed.keys() == reference["observations"].keys()
    for name, counts in reference["observations"].items():
        np.testing.assert_allclose(observed[name], counts, rtol=1e-9)


def test_parameters_have_their_starts_and_bounds(built):
    workspace, _ = built
    (measurement,) = workspace["measurements"]
    config = measurement["config"]
    assert (measurement["name"], config["poi"]) == ("meas_a", "mu_htautau")
    assert measurement["errordef"] == config["errordef"] == "LEAST_SQUARES"
    bounds = [[0.0, 10.0]]
    assert config["parameters"] == [
        {"name": "mu_htautau", "inits": [1.0], "bounds": bounds},
        {"name": "mu_ztautau", "inits": [1.0], "bounds": bounds},
        {"name": "mu_ttbar", "inits": [1.0], "bounds": bounds},
        {"name": "JES", "inits": [0.0], "bounds": None},
        {"name": "TES", "inits": [0.0], "bounds": None},
    ]


def test_variances_are_sums_of_squared_weights(built):
    workspace, _ = built
    nominal = events()
    channel = workspace["channels"][1]
    for sample in channel["samples"]:
        columns = nominal[sample["name"]]
        score, weights = columns["presel_score"], columns["weights"]
        low = np.sum(weights[(score > 3) & (score < 4)] ** 2)
        high = np.sum(weights[score >= 4] ** 2)
        np.testing.assert_allclose(sample["variance"], [low, high], rtol=1e-12)


def test_arrays_are_named_by_absolute_paths(case_folder):
    builder = WorkspaceBuilder(case_folder / CONFIGURATIONS["nsbi"])
    channel = builder.build()["channels"][2]
    data = case_folder / "saved_datasets"
    assert channel["weights"] == str(data / "asimov_weights.npy")
    sample = channel["samples"][1]
    assert sample["name"] == "ttbar"
    nominal = data / "output_training_nominal" / "output_ratios_ttbar"
    assert sample["ratios"] == str(nominal / "ratio_ttbar.npy")
    modifier = sample["modifiers"][1]
    assert modifier["name"] == "JES"
    down = data / "output_training_systematics" / "output_ratios_ttbar_JES_Dn"
    assert modifier["data"]["lo_ratio"] == str(down / "ratio_ttbar.npy")


def test_workspace_is_json_and_building_writes_no_file(built, case_folder):
    workspace, _ = built
    assert json.loads(json.dumps(workspace)) == workspace
    assert not list(case_folder.glob("*_ratios"))


class CountingFiles(EventFiles):
    """Counts what is opened, and the parts of columns that are read."""

    def __init__(self):
        super().__init__()
        self.files, self.parts = Counter(), Counter()

    def _open(self, path):
        self.files[path.name] += 1
        find = super()._open(path)

        def counted(tree):
            table = find(tree)

            def read(names, size):
                for part in table._read(names, size):
                    self.parts.update((path.name, tree, name) for name in names)
                    yield part

            return EventTable(table.name, table.entries, table.columns, read)

        return counted


@pytest.mark.parametrize(("chunk", "parts"), [(4000, 1), (1500, 3)])
def test_every_file_is_opened_and_every_column_read_once(case_folder, chunk, parts):
    files = CountingFiles()
    path = case_folder / CONFIGURATIONS["nsbi"]
    WorkspaceBuilder(path, chunk=chunk).build(files)
    names = ["nominal", "JES_up", "JES_dn", "TES_up", "TES_dn"]
    wanted = {f"dataset_{name}.root" for name in names}
    assert files.files == Counter([*wanted, "dataset_data.root"])
    read = {
        (file, f"tree_{sample}", column): parts
        for file in wanted
        for sample in SAMPLES
        for column in ("presel_score", "weights")
    }
    assert read.items() <= files.parts.items()
    assert len(files.parts) == len(read) + 2


def test_chunks_change_nothing(case_folder):
    path = case_folder / CONFIGURATIONS["nsbi"]
    whole, parts = (WorkspaceBuilder(path, chunk=n).build() for n in (10_000, 700))
    for one, other in zip(whole["channels"], parts["channels"], strict=True):
        for sample, same in zip(one["samples"], other["samples"], strict=True):
            np.testing.assert_allclose(sample["data"], same["data"], rtol=1e-13)
