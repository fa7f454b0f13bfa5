"""Each configuration of a chain reads the corrected events of the one before."""

import numpy as np
import pytest
import uproot

from everwillow._errors import ArgumentValueError, SpecificationError
from everwillow.models.event_files import write_events
from everwillow.models.scale_smearing.configuration.document import read_configuration
from everwillow.models.scale_smearing.event_input import read_sample
from everwillow.models.scale_smearing.generation import generate_events
from everwillow.models.scale_smearing.parameters_file import parameters_from_json
from everwillow.workflows.scale_smearing.chains import write_chain
from everwillow.workflows.scale_smearing.corrected_files import (
    correct_files,
    corrected_name,
)


VARIABLES = {"run": [0.0, 1.0, 2.0], "r9": [-np.inf, 0.94, np.inf]}
COMMON = {
    "file_dt": ["data.parquet", "more.parquet"],
    "file_mc": "simulation.parquet",
    "dset_name": "Run",
    "sas": {"cut": "pt1 > 10", "correct_mc": False},
    "fitter": {"win_z_dt": (80, 100), "win_z_mc": (70, 110)},
}
STEPS = [
    {"cset_name": "Run", "sas": {"categories": {"run": VARIABLES["run"]}}},
    {
        "cset_name": "R9",
        "sas": {"categories": {"r9": np.array(VARIABLES["r9"])}},
        "fitter": {"bin_width_dt": 1.0},
    },
    {"cset_name": "Last", "dir_results": "end", "sas": {"categories": VARIABLES}},
]


@pytest.fixture
def folder(tmp_path):
    events = generate_events(200, categories=VARIABLES, seed=1)
    for name in ("data", "more", "simulation"):
        write_events(events, tmp_path / f"{name}.parquet")
    return tmp_path


@pytest.mark.parametrize("smear", [False, True])
def test_steps_read_what_the_one_before_writes(folder, smear):
    paths = write_chain(STEPS, folder, common=COMMON, smear_simulation=smear)
    names = ["step1_Run.yaml", "step2_R9.yaml", "step3_Last.yaml"]
    assert [path.name for path in paths] == names
    assert all(path.parent == folder for path in paths)
    first = read_configuration(paths[0])
    second, third = (read_configuration(one, check_files=False) for one in paths[1:])
    assert first.nominal.data == (folder / "data.parquet", folder / "more.parquet")
    for before, after in ((first, second), (second, third)):
        assert before.corrections.correct_data
        assert before.corrections.correct_simulation == smear
        if not smear:
            assert after.nominal.simulation == first.nominal.simulation
        for sample in ("data", "simulation")[: 1 + smear]:
            assert getattr(after.nominal, sample) == tuple(
                before.results / corrected_name(path, before.correction_set)
                for path in getattr(before.nominal, sample)
            )
    assert not third.corrections.correct_data
    assert [one.results for one in (first, second, third)] == [
        folder / "results" / "Run",
        folder / "results" / "R9",
        folder / "end",
    ]


def test_steps_have_the_common_content_and_their_own(folder):
    paths = write_chain(STEPS, folder, common=COMMON)
    found = [read_configuration(one, check_files=False) for one in paths]
    for one in found:
        assert one.dataset == "Run"
        assert one.nominal.data_window == (80.0, 100.0)
        assert one.nominal.cut is not None
        assert one.nominal.cut.text == "pt1 > 10"
    assert [one.nominal.data_bins for one in found] == ["Q", 1.0, "Q"]
    assert found[0].nominal.categories.names == ("run",)
    assert found[1].nominal.categories.edges == ((-np.inf, 0.94, np.inf),)
    assert found[2].nominal.categories.names == ("run", "r9")


def test_the_configurations_may_be_elsewhere(folder, monkeypatch):
    monkeypatch.chdir(folder)
    paths = write_chain(STEPS, "deep/chain", common=COMMON)
    monkeypatch.chdir("/")
    first = read_configuration(folder / paths[0])
    assert first.nominal.data[0] == folder / "data.parquet"
    assert first.report == ()


def test_later_steps_find_their_columns_in_corrected_files(tmp_path):
    with uproot.recreate(tmp_path / "data.root") as file:
        kinds = {"e": ("f4", (3,)), "r": ("f4", (3,)), "m": "f4"}
        values = np.full((4, 3), 0.5, np.float32)
        file.mktree("t", kinds).extend({"e": values, "r": values, "m": values[:, 0]})
        file.mktree("other", {"x": "f4"})
    content = (tmp_path / "data.root").read_bytes()
    (tmp_path / "simulation.root").write_bytes(content)
    branches = {
        f"{name}{i + 1}": f"{column}[{i}]"
        for i in (0, 1)
        for name, column in (("pt", "e"), ("r9", "r"))
    }
    branches["mass"] = "m"
    steps = [
        {"cset_name": name, "sas": {"categories": {"r9": [0, 1]}}} for name in "ab"
    ]
    common = {
        "file_dt": "data.root",
        "file_mc": "simulation.root",
        "sas": {"branches": branches, "tree": "t", "cut": "pt1 > 0"},
    }
    with pytest.raises(ArgumentValueError, match="give smear_simulation=True"):
        write_chain(steps, tmp_path, common=common)
    paths = write_chain(steps, tmp_path, common=common, smear_simulation=True)
    first = read_configuration(paths[0])
    parameters = parameters_from_json(
        '{"categories": {"r9": [0, 1]}, "resp": [0.8], "eresp": [0.01], "reso": [0.0],'
        ' "ereso": [0.01]}'
    )
    for kind, files in (
        ("data", first.nominal.data),
        ("simulation", first.nominal.simulation),
    ):
        correct_files(
            parameters,
            files,
            first.results,
            kind=kind,
            correction_set=first.correction_set,
            tree="t",
            branches=first.nominal.branches,
        )
    # Momenta of arrays became columns, the mass is still that of the input.
    second = read_configuration(paths[1]).nominal
    assert second.branches == {"r91": "r[0]", "r92": "r[1]", "mass": "m"}
    assert second.tree == ""
    read = read_sample(second, "data").columns
    np.testing.assert_allclose(read["mass"], 0.5 / 0.8, rtol=1e-6)
    assert read_sample(second, "data").selected == 4


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        (1, {"cset_name": None}, r"steps\[1\]: the key 'cset_name' is missing"),
        (1, {"cset_name": "Run"}, r"steps\[1\]: cset_name 'Run' is that of steps\[0\]"),
        (1, {"file_dt": "data.parquet"}, r"steps\[1\]: file_dt must be absent"),
        (2, {"dir_results": "results/R9"}, r"steps\[2\]: its results .*steps\[1\]"),
        (
            1,
            {"syst": {"other": {"file_mc": "more.parquet"}}},
            r"steps\[1\]: the systematic 'other' has other files",
        ),
        (0, {"file_mc": "sub/data.parquet"}, r"of 2 files .*data\.RunCorr\.parquet"),
    ],
)
def test_steps_that_are_no_chain_are_refused(folder, place, changes, message):
    (folder / "sub").mkdir()
    (folder / "sub" / "data.parquet").write_bytes(
        (folder / "data.parquet").read_bytes()
    )
    steps = [dict(step) for step in STEPS]
    steps[place] |= changes
    with pytest.raises(ArgumentValueError, match=message):
        write_chain(steps, folder, common=COMMON, smear_simulation=True)
    assert not list(folder.glob("*.yaml"))
    with pytest.raises(ArgumentValueError, match="there is no step"):
        write_chain([], folder)


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        (0, {"sas": {}}, r"steps\[0\]: sas: the key 'categories' is missing"),
        (1, {"sass": {}}, r"steps\[1\]: there is no key 'sass'.*'sas'"),
        (0, {"file_dt": "dat.parquet"}, r"steps\[0\].* no file .*'data\.parquet'"),
        (0, {"sas": {"categories": {"r8": [0, 1]}}}, r"no column 'r81'.*'r91'"),
    ],
)
def test_steps_are_checked_before_anything_is_written(folder, place, changes, message):
    steps = [dict(step) for step in STEPS]
    steps[place] |= changes
    with pytest.raises(SpecificationError, match=message):
        write_chain(steps, folder, common=COMMON)
    assert not list(folder.glob("*.yaml"))
