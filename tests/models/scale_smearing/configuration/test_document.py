"""A configuration is read as it is written, with defaults for what is absent."""

import math
import pathlib

import numpy as np
import pytest
import yaml

from everwillow._errors import MissingFileError
from everwillow.models.scale_smearing.configuration.document import read_configuration
from everwillow.models.scale_smearing.configuration.records import FitSettings
from tests.models.scale_smearing import configurations


MINIMAL = {
    "file_dt": "data.parquet",
    "file_mc": "simulation.parquet",
    "dir_results": "results",
    "sas": {"categories": {"ScEta": [0.0, 1.5, 2.5]}},
}


def changed(section, **values):
    return {**MINIMAL, section: {**MINIMAL.get(section, {}), **values}}


def read(source):
    return read_configuration(source, check_files=False)


def test_every_section_is_read(tmp_path):
    found = read_configuration(configurations.write(tmp_path))
    assert found.path == tmp_path / "config.yaml"
    assert found.results == tmp_path / "results"
    assert (found.dataset, found.correction_set) == ("Run", "Eta")
    assert found.labels == {"ScEta": "$\\eta$"}
    assert (found.scale_flat, found.smear_flat) == (0.5e-3, 0.0)
    nominal = found.nominal
    assert nominal.data == (tmp_path / "data.npz",)
    assert nominal.categories.names == ("ScEta", "r9")
    assert nominal.categories.edges[1] == (-math.inf, 0.94, math.inf)
    assert nominal.cut is not None
    assert nominal.cut.text == "pt1 > 25 and pt2 > 25"
    assert (nominal.data_window, nominal.simulation_window) == ((80, 100), (70, 110))
    assert (nominal.weight, nominal.relative_pt) == ("w", False)
    assert found.corrections.write
    assert found.corrections.version == 2
    assert found.source["syst"]["tight"] == {
        "sas": {"cut": "pt1 > 30"},
        "file_mc": "other.npz",
    }


def test_systematics_differ_from_the_nominal_fit_in_their_keys_only(tmp_path):
    found = read_configuration(configurations.write(tmp_path))
    window, tight = found.systematics.values()
    assert list(found.systematics) == ["window", "tight"]
    changed = {
        name: getattr(window, name)
        for name in FitSettings.__dataclass_fields__
        if getattr(window, name) != getattr(found.nominal, name)
    }
    assert changed == {"data_window": (75.0, 105.0)}
    assert tight.cut is not None
    assert tight.cut.text == "pt1 > 30"
    assert tight.simulation == (tmp_path / "other.npz",)
    assert tight.data == found.nominal.data


def test_absent_keys_have_the_defaults_of_the_records():
    found = read(MINIMAL)
    defaults = {
        name: field.default
        for name, field in FitSettings.__dataclass_fields__.items()
        if name not in ("data", "simulation", "categories", "branches", "relative_pt")
    }
    assert {name: getattr(found.nominal, name) for name in defaults} == defaults
    assert (found.dataset, found.correction_set) == ("DSET", "CSET")
    assert not found.corrections.write
    assert found.report == ()
    assert found.path is None
    assert found.results == pathlib.Path.cwd() / "results"


def test_a_mapping_is_the_same_as_its_file(tmp_path):
    file = configurations.write(tmp_path)
    content = yaml.safe_load(configurations.TEXT)
    for key in ("file_dt", "dir_results"):
        content[key] = tmp_path / content[key]
    content["file_mc"] = [tmp_path / "simulation.npz"]
    content["syst"]["tight"]["file_mc"] = tmp_path / "other.npz"
    content["sas"]["categories"]["ScEta"] = np.array([-2.5, 0.0, 2.5])
    one, other = read_configuration(file), read_configuration(content)
    assert one.nominal == other.nominal
    assert one.systematics == other.systematics
    assert one.results == other.results


@pytest.mark.parametrize(
    ("hess", "err_mc", "errors", "simulation"),
    [
        ("numerical", True, True, True),
        ("analytical", None, True, True),
        (None, None, True, True),
        (None, True, True, True),
        (None, False, True, False),
        (False, None, False, False),
        (0, False, False, False),
        (False, True, True, True),
        ("numerical", False, True, False),
    ],
)
def test_errors_of_simulation_need_the_statistical_ones(
    hess, err_mc, errors, simulation
):
    found = read(changed("sas", hess=hess, err_mc=err_mc))
    assert (found.nominal.errors, found.nominal.simulation_errors) == (
        errors,
        simulation,
    )
    assert len(found.report) == (hess is False and err_mc is True)


def test_keys_without_effect_are_told_in_one_sentence(tmp_path):
    (sentence,) = read_configuration(configurations.write(tmp_path)).report
    for key in ("sas.learning_rate", "minimizer.minimizer", "minimizer.max_epochs"):
        assert key in sentence


def test_corrections_do_not_need_the_key_of_correctionlib():
    found = read(changed("sas", correct_data=True, correct_mc=True)).corrections
    assert (found.write, found.correct_data, found.correct_simulation) == (
        False,
        True,
        True,
    )
    assert read({**MINIMAL, "corrlib": None}).corrections.write
    assert read({**MINIMAL, "corrlib": {}}).corrections.write


@pytest.mark.parametrize(
    ("given", "bins"), [("Q", "Q"), ("q", "Q"), (None, None), (0, None), (0.5, 0.5)]
)
def test_bins_of_data(given, bins):
    assert read(changed("fitter", bin_width_dt=given)).nominal.data_bins == bins


def test_start_values_and_shared_parameters():
    document = changed("minimizer", init_resp=[1.0, 1.01], init_reso=[0.0, 0.02])
    document["fitter"] = {"double_gaussian": True, "single_parameters": ["mu"]}
    found = read(document).nominal
    assert found.start_resp == (1.0, 1.01)
    assert found.start_reso == (0.0, 0.02)
    assert (found.double_gaussian, found.shared) == (True, ("mu",))


def test_one_object_of_three_has_a_response():
    found = read(changed("sas", suffixes="", mass_exponent=0.3)).nominal
    assert (found.suffixes, found.mass_exponent) == (("",), 0.3)
    assert read(changed("sas", suffixes=[1, 2])).nominal.suffixes == ("1", "2")
    (sentence,) = read(changed("sas", suffixes=[""])).report
    assert "mass_exponent" in sentence


def test_pt_is_fitted_in_two_passes_only_if_it_has_categories():
    categories = {"pt": [20, 40, 80]}
    assert read(changed("sas", categories=categories)).nominal.relative_pt
    off = changed("sas", categories=categories, use_rpt=False)
    assert not read(off).nominal.relative_pt
    other = changed("sas", categories={"et": [20, 40]}, name_pt_var="et")
    assert (read(other).nominal.relative_pt, read(other).nominal.pt) == (True, "et")


def test_branches_are_a_table_or_a_known_layout():
    found = read(changed("sas", branches={"mass": "invMass", "pt1": "e[0] / cosh(f)"}))
    assert found.nominal.branches == {"mass": "invMass", "pt1": "e[0] / cosh(f)"}
    known = read(changed("sas", branches="ecalelf")).nominal
    assert known.tree == "selected"
    assert known.branches["ScEta2"] == "etaSCEle[1]"
    both = {"preset": "ecalelf", "weight": "mcGenWeight * puWeight"}
    extended = read(changed("sas", branches=both, tree="pruned")).nominal
    assert extended.tree == "pruned"
    assert extended.branches == {**known.branches, "weight": both["weight"]}


def test_results_are_beside_the_configuration_wherever_one_works(tmp_path, monkeypatch):
    file = configurations.write(tmp_path)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert read_configuration("../config.yaml").results == tmp_path / "results"
    elsewhere = read_configuration(file, results="out")
    assert elsewhere.results == tmp_path / "sub" / "out"


def test_files_relative_to_the_working_directory_are_reported(tmp_path, monkeypatch):
    configurations.write(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "config.yaml").rename(tmp_path / "sub" / "config.yaml")
    monkeypatch.chdir(tmp_path)
    found = read_configuration("sub/config.yaml")
    assert found.nominal.data == (tmp_path / "data.npz",)
    assert any("working directory" in one for one in found.report)
    assert found.results == tmp_path / "sub" / "results"


def test_missing_configuration_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.yaml"):
        read_configuration(tmp_path / "none.yaml")
