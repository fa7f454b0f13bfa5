"""Workspaces of a small configuration have the sums that NumPy gives."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import uproot

from everwillow.models.nsbi import (
    WorkspaceBuilder,
    dump_workspace,
    load,
    load_workspace,
)
from everwillow.models.nsbi.arrays import WorkspaceArrays
from tests.models.nsbi.small import (
    ARRAYS,
    EVENTS,
    TREES,
    changed,
    events,
    several,
    write,
)


EDGES = (-3.0, -1.0, 0.0)


def build(folder, *changes, more=""):
    return WorkspaceBuilder(write(folder, changed(*changes) + more)).build()


def counts(columns, power=1):
    """The sums of weights in the bins of CR, with those outside in the first one."""
    x, w = columns["x"], columns["w"] ** power
    return [w[x < -1].sum(), w[(x >= -1) & (x < 0)].sum()]


def total(columns, power=1):
    """The sum of weights in SR."""
    return (columns["w"] ** power)[columns["x"] >= 0].sum()


def sample(workspace, region, name):
    channel = {one["name"]: one for one in workspace["channels"]}[region]
    return {one["name"]: one for one in channel["samples"]}[name]


def modifiers(workspace, region, name):
    listed = sample(workspace, region, name)["modifiers"]
    return {one["name"]: one for one in listed}


def observed(workspace):
    return {one["name"]: one["data"] for one in workspace["observations"]}


def test_yields_and_their_variances(tmp_path):
    workspace, made = build(tmp_path), events()
    for name in ("sig", "bkg"):
        control = sample(workspace, "CR", name)
        np.testing.assert_allclose(control["data"], counts(made[name]), rtol=1e-13)
        squares = counts(made[name], 2)
        np.testing.assert_allclose(control["variance"], squares, rtol=1e-13)
        signal = sample(workspace, "SR", name)
        np.testing.assert_allclose(signal["data"], [total(made[name])], rtol=1e-13)
        squares = [total(made[name], 2)]
        np.testing.assert_allclose(signal["variance"], squares, rtol=1e-13)
    data = observed(workspace)
    np.testing.assert_allclose(data["CR"], counts(made["data"]), rtol=1e-13)
    np.testing.assert_allclose(data["SR"], [total(made["data"])], rtol=1e-13)


def test_variations_are_relative(tmp_path):
    workspace, made = build(tmp_path), events()
    found = modifiers(workspace, "CR", "sig")["JES"]
    assert found["type"] == "normplusshape"
    for key, tree in (("hi_data", "up"), ("lo_data", "down")):
        ratio = np.divide(counts(made[tree]), counts(made["sig"]))
        np.testing.assert_allclose(found["data"][key], ratio, rtol=1e-13)
    found = modifiers(workspace, "SR", "sig")["JES"]["data"]
    ratio = total(made["up"]) / total(made["sig"])
    np.testing.assert_allclose(found["hi_data"], [ratio], rtol=1e-13)
    assert found["hi_ratio"] == str(tmp_path / "up.npy")
    assert found["lo_ratio"] == str(tmp_path / "down.npy")


def test_modifiers_are_those_of_the_affected_samples(tmp_path):
    workspace = build(tmp_path)
    for region in ("CR", "SR"):
        both = [list(modifiers(workspace, region, name)) for name in ("sig", "bkg")]
        assert both == [["mu", "kappa", "JES", "lumi"], ["kappa", "lumi"]]
    lumi = {"name": "lumi", "type": "normsys", "data": {"hi": 1.02, "lo": 0.98}}
    assert modifiers(workspace, "SR", "bkg")["lumi"] == lumi
    # L(kappa) is 1 at the own node and 0 at the other one.
    slope, offset = modifiers(workspace, "CR", "sig")["kappa"]["coeff"]
    assert (offset, 1.5 * slope + offset) == pytest.approx((1.0, 0.0))
    slope, offset = modifiers(workspace, "CR", "bkg")["kappa"]["coeff"]
    assert (offset, 1.5 * slope + offset) == pytest.approx((0.0, 1.0))


def test_measurement(tmp_path):
    (found,) = build(tmp_path)["measurements"]
    assert found["name"] == "meas"
    assert found["config"]["template_statistics"] is True
    assert found["config"]["parameters"] == [
        {"name": "kappa", "inits": [0.5], "bounds": [[-5.0, 5.0]]},
        {"name": "mu", "inits": [1.0], "bounds": [[0.0, 10.0]]},
        {"name": "JES", "inits": [0.0], "bounds": None},
        {"name": "lumi", "inits": [0.0], "bounds": None, "fixed": True},
    ]


def test_several_measurements_can_be_chosen(tmp_path):
    workspace = WorkspaceBuilder(write(tmp_path, several())).build()
    first, second = workspace["measurements"]
    assert [first["name"], second["name"]] == ["first", "second"]
    assert [first["config"]["poi"], second["config"]["poi"]] == ["mu", "kappa"]
    names = [one["name"] for one in second["config"]["parameters"]]
    assert names == ["kappa", "mu", "JES", "lumi"]
    held = [o["name"] for o in first["config"]["parameters"] if "fixed" in o]
    assert held == ["kappa", "lumi"]
    assert load(workspace).poi == load(workspace, "first").poi == "mu"
    model = load(workspace, "second")
    assert model.poi == "kappa"
    assert not model.fixed


def test_restrictions_to_regions(tmp_path):
    workspace = build(
        tmp_path,
        ("  Samples: sig\n", "  Samples: sig\n  Region: SR\n"),
        ("  Type: Norm\n", "  Type: Norm\n  Regions: [CR]\n"),
        ("UseAsBasis: true", "Regions: [SR]"),
    )
    assert [one["name"] for one in workspace["channels"][0]["samples"]] == ["bkg"]
    assert list(modifiers(workspace, "CR", "bkg")) == ["kappa", "lumi"]
    assert list(modifiers(workspace, "SR", "sig")) == ["mu", "kappa", "JES"]


def test_selections_of_samples_are_applied_besides_those_of_regions(tmp_path):
    workspace, made = build(tmp_path, ("UseAsBasis: true", "Filter: y > 0")), events()
    for tree, found in (("sig", "data"), ("up", "hi_data")):
        chosen = {key: a[made[tree]["y"] > 0] for key, a in made[tree].items()}
        wanted = np.array(counts(chosen))
        if found == "data":
            nominal = wanted
            np.testing.assert_allclose(sample(workspace, "CR", "sig")[found], wanted)
        else:
            ratio = modifiers(workspace, "CR", "sig")["JES"]["data"][found]
            np.testing.assert_allclose(ratio, wanted / nominal)
    assert any("'sig' have a Filter of their own" in one for one in workspace["report"])


def test_yields_only_variations_from_trees(tmp_path):
    workspace = build(tmp_path, ("Type: NormPlusShape", "Type: Norm"))
    made = events()
    wanted = {
        "CR": sum(counts(made["up"])) / sum(counts(made["sig"])),
        "SR": total(made["up"]) / total(made["sig"]),
    }
    for region, ratio in wanted.items():
        found = modifiers(workspace, region, "sig")["JES"]
        assert found["type"] == "normsys"
        assert found["data"]["hi"] == pytest.approx(ratio, rel=1e-13)
    assert any("'sig' varied by 'JES'" in one for one in workspace["report"])


def test_events_outside_of_the_bins_are_in_the_edge_bins(tmp_path):
    workspace = build(
        tmp_path, ("  Filter: x < 0\n", ""), ("[-3, -1, 0]", "[-1, 0, 0.5]")
    )
    x, w = events()["bkg"]["x"], events()["bkg"]["w"]
    found = sample(workspace, "CR", "bkg")["data"]
    np.testing.assert_allclose(found, [w[x < 0].sum(), w[x >= 0].sum()], rtol=1e-13)


def test_edges_belong_to_the_bin_above_except_the_last(tmp_path):
    file = write(tmp_path, changed(("  Filter: x < 0\n", "")))
    arrays = dict(np.load(tmp_path / "events.npz"))
    arrays["bkg/x"] = np.array([-3.0, -1.0, 0.0, np.inf, -np.inf, np.nan])
    arrays["bkg/w"] = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    arrays["bkg/y"] = np.zeros(6)
    np.savez(tmp_path / "events.npz", **arrays)
    workspace = WorkspaceBuilder(file).build()
    assert sample(workspace, "CR", "bkg")["data"] == [17.0, 14.0]
    (note,) = [one for one in workspace["report"] if "not a number" in one]
    assert note.endswith("are left out: 'bkg in CR'.")


def test_variable_of_an_unbinned_region_does_not_matter(tmp_path):
    plain = build(tmp_path)
    for more in (
        "  Variable: null\n  Binning: null\n",
        "  Variable: x\n  Binning: [0, 1]\n",
    ):
        other = build(tmp_path, ("  Filter: x >= 0\n", f"  Filter: x >= 0\n{more}"))
        assert other == plain


def test_without_observations_the_data_are_the_asimov_set(tmp_path):
    line = "Observations: {Name: data, Tree: data, SamplePath: events.npz, Weight: w}\n"
    kappa = (
        "- Name: kappa\n  Basis: {0: sig, 1.5: bkg}\n  Nominal: 0.5\n"
        "  Bounds: [-5, 5]\n"
    )
    made = events()
    workspace = build(tmp_path, (line, ""), (kappa, ""), ("kappa, ", ""))
    wanted = np.add(counts(made["sig"]), counts(made["bkg"]))
    np.testing.assert_allclose(observed(workspace)["CR"], wanted, rtol=1e-13)
    assert workspace["report"][-1].endswith("the sum of the nominal samples.")
    workspace = build(tmp_path, (line, ""), ("Nominal: 1\n", "Nominal: 3\n"))
    # L_sig(0.5) = 2/3, L_bkg(0.5) = 1/3
    wanted = 2 * np.array(counts(made["sig"])) + np.divide(counts(made["bkg"]), 3)
    np.testing.assert_allclose(observed(workspace)["CR"], wanted, rtol=1e-13)
    wanted = [2 * total(made["sig"]) + total(made["bkg"]) / 3]
    np.testing.assert_allclose(observed(workspace)["SR"], wanted, rtol=1e-13)
    assert "nominal values of factors and couplings" in workspace["report"][-1]


def test_several_observed_trees_are_added(tmp_path):
    one = "{Name: data, Tree: data, SamplePath: events.npz, Weight: w}"
    other = "{Name: more, Tree: sig, SamplePath: events.npz}"
    workspace, made = build(tmp_path, (one, f"[{one}, {other}]")), events()
    weighted = {**made["sig"], "w": np.ones_like(made["sig"]["w"])}
    wanted = np.add(counts(made["data"]), counts(weighted))
    np.testing.assert_allclose(observed(workspace)["CR"], wanted, rtol=1e-13)


def test_several_files_of_a_sample_are_added(tmp_path):
    write(tmp_path)
    columns = {f"sig/{key}": a[:20] for key, a in events()["sig"].items()}
    np.savez(tmp_path / "more.npz", **columns)
    old = "Tree: sig, SamplePath: events.npz"
    new = "Tree: sig, SamplePath: [events.npz, more.npz]"
    workspace, made = build(tmp_path, (old, new)), events()["sig"]
    both = {key: np.concatenate([a, a[:20]]) for key, a in made.items()}
    found = sample(workspace, "CR", "sig")
    np.testing.assert_allclose(found["data"], counts(both), rtol=1e-13)
    np.testing.assert_allclose(found["variance"], counts(both, 2), rtol=1e-13)


@pytest.mark.parametrize("kind", ["parquet", "tree", "ntuple"])
def test_formats_of_files_do_not_matter(tmp_path, kind):
    plain, made = build(tmp_path), events()
    text = changed()
    if kind == "parquet":
        for tree in TREES:
            table = pa.table(made[tree])
            pyarrow.parquet.write_table(table, tmp_path / f"{tree}.parquet")
            for key in ("SamplePath", "Path"):
                text = text.replace(
                    f"Tree: {tree}, {key}: events.npz", f"{key}: {tree}.parquet"
                )
                text = text.replace(
                    f"{key}: events.npz, Tree: {tree}", f"{key}: {tree}.parquet"
                )
    else:
        with uproot.recreate(tmp_path / "events.root") as file:
            for tree in TREES:
                if kind == "ntuple":
                    file.mkrntuple(tree, made[tree])
                else:
                    file.mktree(tree, {key: a.dtype for key, a in made[tree].items()})
                    file[tree].extend(made[tree])
        text = text.replace("events.npz", "events.root")
    (tmp_path / "config.yml").write_text(text)
    (tmp_path / "events.npz").unlink()
    assert WorkspaceBuilder(tmp_path / "config.yml").build() == plain


def test_weights_of_single_precision_are_added_in_double_precision(tmp_path):
    file = write(tmp_path)
    arrays = dict(np.load(tmp_path / "events.npz"))
    weights = np.full(200_001, 0.1, np.float32)
    weights[0] = 1e9
    arrays |= {"bkg/w": weights, "bkg/x": np.full(weights.size, -2.0, np.float32)}
    arrays["bkg/y"] = np.zeros(weights.size)
    np.savez(tmp_path / "events.npz", **arrays)
    found = sample(WorkspaceBuilder(file).build(), "CR", "bkg")["data"][0]
    # In single precision, each of the small weights would be lost.
    assert found == pytest.approx(1e9 + 200_000 * float(np.float32(0.1)), rel=1e-11)


def test_bins_without_nominal_events_are_not_varied(tmp_path):
    file = write(tmp_path)
    arrays = dict(np.load(tmp_path / "events.npz"))
    for tree, x in (("sig", [-2.0] * 4), ("up", [-2.0] * 3), ("down", [-0.5] * 4)):
        arrays |= {f"{tree}/x": np.array(x), f"{tree}/w": np.ones(len(x))}
        arrays[f"{tree}/y"] = np.zeros(len(x))
    np.savez(tmp_path / "events.npz", **arrays)
    workspace = WorkspaceBuilder(file).build()
    assert sample(workspace, "CR", "sig")["data"] == [4.0, 0.0]
    found = modifiers(workspace, "CR", "sig")["JES"]["data"]
    # 3/4 and 0/0; 0/4 and 4/0
    assert found == {"hi_data": [0.75, 1.0], "lo_data": [0.0, 1.0]}
    found = modifiers(workspace, "SR", "sig")["JES"]["data"]
    assert (found["hi_data"], found["lo_data"]) == ([1.0], [1.0])
    (note,) = [one for one in workspace["report"] if "without nominal" in one]
    assert "'sig in CR', 'sig in SR'" in note


def test_ensembles_of_files_are_lists(tmp_path):
    workspace = build(
        tmp_path,
        ("{Ratios: bkg.npy}", "{Ratios: [bkg.npy, sig.npy]}"),
        ("RatiosUp: up.npy", "RatiosUp: [up.npy, down.npy]"),
    )
    paths = {name: str(tmp_path / f"{name}.npy") for name in ARRAYS}
    assert sample(workspace, "SR", "bkg")["ratios"] == [paths["bkg"], paths["sig"]]
    found = modifiers(workspace, "SR", "sig")["JES"]["data"]
    assert found["hi_ratio"] == [paths["up"], paths["down"]]
    assert found["lo_ratio"] == paths["down"]


def test_weights_of_the_trees_are_used_if_none_are_given(tmp_path):
    made, factors = events(), {"sig": 2 / 3, "bkg": 1 / 3}
    weights = [
        factors[name] * made[name]["w"][made[name]["x"] >= 0] for name in factors
    ]
    size = sum(map(len, weights))
    file = write(tmp_path, changed(("  AsimovWeights: weights.npy\n", "")))
    for name in ("sig", "bkg", "up", "down"):
        np.save(tmp_path / f"{name}.npy", np.ones(size))
    workspace = WorkspaceBuilder(file).build()
    path = workspace["channels"][1]["weights"]
    assert path == str(tmp_path / "config_ratios" / "SR_weights.npy")
    found = WorkspaceArrays(workspace).read(path, where="here")
    np.testing.assert_allclose(found, np.concatenate(weights), rtol=1e-13)
    assert any("Weights are not given" in one for one in workspace["report"])


REFERENCE = """\
  Reference:
    Weights: ref_weights.npy
    TrainedModels:
    - SampleName: sig
      Nominal: {Ratios: ref_sig.npy}
      Systematics:
      - {SystName: JES, RatiosUp: ref_up.npy, RatiosDn: ref_down.npy}
    - SampleName: bkg
      Nominal: {Ratios: [ref_bkg.npy, ref_sig.npy]}
"""


def test_reference_sample(tmp_path):
    for name in ARRAYS:
        np.save(tmp_path / f"ref_{name}.npy", np.ones(EVENTS + 5))
    found = build(tmp_path, more=REFERENCE)["channels"][1]["reference"]
    paths = {name: str(tmp_path / f"ref_{name}.npy") for name in ARRAYS}
    assert found["weights"] == paths["weights"]
    sig, bkg = found["samples"]
    data = {"hi_ratio": paths["up"], "lo_ratio": paths["down"]}
    modifier = {"name": "JES", "type": "normplusshape", "data": data}
    assert sig == {"name": "sig", "ratios": paths["sig"], "modifiers": [modifier]}
    ratios = [paths["bkg"], paths["sig"]]
    assert bkg == {"name": "bkg", "ratios": ratios, "modifiers": []}


def test_several_unbinned_regions(tmp_path):
    second = changed()[changed().index("- Name: SR") :].replace("SR", "SR2")
    workspace = build(tmp_path, more=second.replace("x >= 0", "x >= 0 & y > 0"))
    kinds = [one["type"] for one in workspace["channels"]]
    assert kinds == ["binned", "unbinned", "unbinned"]
    columns = events()["sig"]
    chosen = {key: a[columns["y"] > 0] for key, a in columns.items()}
    found = sample(workspace, "SR2", "sig")["data"]
    np.testing.assert_allclose(found, [total(chosen)], rtol=1e-13)


def test_built_workspaces_can_be_written_and_read(tmp_path):
    workspace = build(tmp_path)
    dump_workspace(workspace, tmp_path / "w.json")
    assert load_workspace(tmp_path / "w.json") == workspace
