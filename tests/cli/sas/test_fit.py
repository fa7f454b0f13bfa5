"""The commands ``everwillow sas fit`` and ``smooth``."""

import json

import numpy as np
import pytest


pytest.importorskip("correctionlib")
pytest.importorskip("pyarrow")

import correctionlib
from pyarrow import parquet

from everwillow.models.scale_smearing import parameters_from_json
from tests.cli.sas.conftest import RESO, RESP
from tests.cli.sas.files import said


RESULTS = ("Nominal", "cut", "NominalWithSyst")


@pytest.mark.slow
def test_all_files_of_a_configuration_are_written(run, config):
    done = run("sas", "fit", config, "--no-plots")
    assert done.exit_code == 0, said(done)
    folder = config.parent / "results"
    assert {file.name for file in folder.iterdir()} == {
        *(f"SASToys_syst-{name}.json" for name in RESULTS),
        "EGMScalesSmearing_Toys.v3.json.gz",
        "data.EtaCorr.parquet",
        "simulation.EtaCorr.parquet",
    }
    text = said(done)
    assert "Minimum found" in text
    assert "minimizer.minimizer" in text
    assert "6 files are in" in text
    found = parameters_from_json(folder / "SASToys_syst-NominalWithSyst.json")
    assert np.all(np.abs(found.resp - RESP) < 5 * found.eresp)
    assert np.all(np.abs(found.reso - RESO) < 5 * found.ereso)
    assert found.origin["configuration"]["dset_name"] == "Toys"
    assert found.origin["seed"] == 0
    corrections = correctionlib.CorrectionSet.from_file(
        str(folder / "EGMScalesSmearing_Toys.v3.json.gz")
    )
    scale = corrections["EGMScale_Eta_Toys"].evaluate("scale", np.array([1.0, 2.0]))
    np.testing.assert_allclose(scale, 1 / found.resp, rtol=1e-12)
    before, after = (
        parquet.read_table(file)["mass"].to_numpy()
        for file in (config.parent / "data.parquet", folder / "data.EtaCorr.parquet")
    )
    kept = parquet.read_table(folder / "data.EtaCorr.parquet")["mass_orig"].to_numpy()
    np.testing.assert_array_equal(kept, before)
    assert not np.array_equal(after, before)


@pytest.mark.slow
def test_figures_are_drawn_into_the_folder(run, config, tmp_path):
    pytest.importorskip("matplotlib")
    config.write_text(config.read_text().replace("correct_", "# correct_"))
    done = run("sas", "fit", config, "-o", tmp_path / "other", "--format", "svg")
    assert done.exit_code == 0, said(done)
    names = {file.stem for file in (tmp_path / "other").glob("*.svg")}
    assert names == {f"SASToys_syst-{one}" for one in (*RESULTS, "errors", "regions")}
    assert not (config.parent / "results").exists()


def test_a_dry_run_reads_no_events_and_writes_nothing(run, config):
    # The columns are those of the file, but its content is not read.
    done = run("sas", "fit", config, "--dry-run")
    assert done.exit_code == 0, said(done)
    text = said(done)
    assert "Nominal" in text
    assert "Cut (cut): pt1 > 25 and pt2 > 25" in text
    assert "No events were read" in text
    assert not (config.parent / "results").exists()


def test_all_faults_are_reported_at_once(run, config):
    text = config.read_text().replace("win_z_dt: [80, 100]", "win_z_dt: [60, 120]")
    config.write_text(text.replace("correct_data", "correct_dat"))
    done = run("sas", "fit", config)
    assert done.exit_code == 2
    text = said(done)
    assert "2 faults" in text
    assert "Did you mean 'correct_data'" in text
    assert "must contain" in text


@pytest.mark.slow
def test_only_masses_are_corrected_without_momenta(run, config):
    for name in ("data", "simulation"):
        file = config.parent / f"{name}.parquet"
        parquet.write_table(parquet.read_table(file).drop(["pt1", "pt2"]), file)
    text = config.read_text().replace("  cut: {sas: {cut: pt1 > 25 and pt2 > 25}}", "")
    config.write_text(text.replace("syst:\n", ""))
    done = run("sas", "fit", config, "--no-plots")
    assert done.exit_code == 0, said(done)
    assert "no columns pt1 and pt2, so only masses are corrected" in said(done)
    found = parquet.read_table(config.parent / "results" / "data.EtaCorr.parquet")
    assert {"mass", "mass_orig"} <= set(found.column_names)


def test_functions_of_pt_need_bins_of_pt(run, config):
    text = config.read_text().replace("cset_version: 3", "smoothing: true")
    config.write_text(text)
    done = run("sas", "fit", config)
    assert done.exit_code == 2
    assert "functions of 'pt' need bins of it" in said(done)


@pytest.mark.slow
def test_a_variation_without_regions_costs_no_other_result(run, config):
    text = config.read_text()
    few = "  few: {fitter: {min_nevt_region_dt: 1000000}}\ncorrlib"
    config.write_text(text.replace("corrlib", few, 1).replace("correct_", "# correct_"))
    done = run("sas", "fit", config, "--no-plots")
    assert done.exit_code == 3
    assert "FAILED: few" in said(done)
    folder = config.parent / "results"
    content = json.loads((folder / "SASToys_syst-few.json").read_text())
    assert content["resp"] == [None, None]
    assert content["status"] == ["no region", "no region"]
    assert content["success"] is False
    total = parameters_from_json(folder / "SASToys_syst-NominalWithSyst.json")
    assert np.isnan(total.eresp).all()
    assert np.isfinite(total.resp).all()


@pytest.mark.slow
def test_functions_of_pt_are_fitted_and_written(run, tmp_path):
    bins = {"categories": {"pt": [25, 35, 45, 60, 100, 200]}}
    content = {
        **bins,
        "pt_mean": [30, 40, 50, 75, 120],
        "resp": [1.03, 1.02, 1.015, 1.01, 1.005],
        "reso": [0.02, 0.018, 0.017, 0.016, 0.015],
        "eresp": [0.001] * 5,
        "ereso": [0.001] * 5,
    }
    file = tmp_path / "result.json"
    file.write_text(json.dumps(content))
    done = run("sas", "smooth", file, "--dset", "A", "--cset", "B", "-v", 2)
    assert done.exit_code == 0, said(done)
    assert "Functions of pt: scale" in said(done)
    written = tmp_path / "EGMScalesSmearing_A_SMOOTH.v2.json.gz"
    found = correctionlib.CorrectionSet.from_file(str(written))
    scale = found["EGMScale_B_A"].evaluate("scale", 50.0)
    assert scale == pytest.approx(1 / 1.015, abs=0.002)


def test_results_without_bins_in_pt_are_refused(run, tmp_path):
    file = tmp_path / "result.json"
    content = {"categories": {"r9": [0, 1]}, "resp": [1.0], "reso": [0.01]}
    file.write_text(json.dumps({**content, "eresp": [0.1], "ereso": [0.1]}))
    done = run("sas", "smooth", file)
    assert done.exit_code == 2
    assert "they have no bins of 'pt'" in said(done)
