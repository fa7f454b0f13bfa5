"""Every fault of a configuration is reported with its line and how to mend it."""

import re
from typing import Any

import numpy as np
import pytest

from everwillow._errors import SpecificationError
from everwillow.models.scale_smearing.configuration.document import read_configuration
from tests.models.scale_smearing import configurations


CUT = "  cut: pt1 > 25 and pt2 > 25"
WINDOW = "  win_z_dt: [80, 100]\n"


def refused(tmp_path, *changes):
    with pytest.raises(SpecificationError) as caught:
        read_configuration(configurations.write(tmp_path, *changes))
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dset_name:", "dsetname:", r"4: there is no key 'dsetname'. Did you mean 'ds"),
        ("  hess:", "  hes:", "22: sas: there is no key 'hes'. Did you mean 'hess'"),
        ("name_mll:", "name_mass:", "28: fitter: there is no key 'name_mass'. Did you"),
        ("max_epochs", "max_epoch", "31: minimizer: there is no key 'max_epoch'. Did"),
        ("cset_version", "version", "16: corrlib: there is no key 'version'. Did you"),
        ("win_z_dt: [75", "win_z_d: [75", "11: syst 'window': fitter: there is no key"),
        ("  tight:\n", "  tight:\n    sass: {}\n", "13: syst 'tight': there is no key"),
        ("dir_results: results\n", "", "1: the key 'dir_results' is missing"),
        ("win_z_dt: [80, 100]", "win_z_dt: [100, 80]", "25: fitter: win_z_dt is rever"),
        ("win_z_dt: [80, 100]", "win_z_dt: [60, 100]", r"must contain win_z_dt \[60, "),
        ("win_z_dt: [80, 100]", "win_z_dt: [60, 120]", "26: .*exchange the two"),
        ("win_z_dt: [75, 105]", "win_z_dt: [60, 105]", "11: syst 'window': .*contain"),
        (
            "win_z_mc: [70, 110]",
            "win_z_mc: [0, 110]",
            "begins at 0, but masses are pos",
        ),
        ("win_z_dt: [80, 100]", "win_z_dt: 80", "must be a list of numbers, not '80'"),
        ("[-2.5, 0, 2.5]", "[-2.5, 2.5, 0]", "19: sas, categories: ScEta: .*increase"),
        ("[-2.5, 0, 2.5]", "[-2.5, zero]", "ScEta: 'zero' is not a number"),
        ("[-2.5, 0, 2.5]", "[-2.5]", "two or more edges"),
        (CUT, "  cut: pt1 >", "21: sas: cut: the selection 'pt1 >'"),
        (CUT, "  cut: pt > 25", r"21: .*npz has no column 'pt'. Did you mean 'pt\d'"),
        ("name_mll: mass", "name_mll: mee", "28: .*no column 'mee'. Its columns are:"),
        ("name_weights: w", "name_weights: wt", "27: .*simulation.npz has no column"),
        ("r9: [", "r8: [", "20: .*data.npz has no column 'r81'. Did you mean 'r91'"),
        ("data.npz", "dat.npz", "1: file_dt: there is no file .*Did you mean 'data.n"),
        ("data.npz", "[data.npz, data.npz]", "1: file_dt: data.npz is listed twice"),
        ("r9: [", "r91: [", "20: .*no column 'r911'.* Write 'r91' without the suffix"),
        ("data.npz", "root://host//a.root", "1: file_dt: .*is an address"),
        ("data.npz", "config.yaml", "config.yaml is not a parquet file, a ROOT file"),
        ("file_mc: other", "file_mc: others", "14: .*there is no file"),
        ("dset_name: Run", "dset_name: Run/3", "4: dset_name 'Run/3' becomes a part"),
        ("  window:", "  Nominal:", "9: syst: the name 'Nominal' is the name of anot"),
        ("  window:", "  a b:", "9: syst: the name 'a b' becomes"),
        ("cset_version: 2", "cset_version: 1.5", "16: corrlib: cset_version must be a"),
        ("  name_mll", "  min_nevt_region_dt: -1\n  name_mll", "whole number >= 0"),
        ("  name_mll", "  bin_width_dt: -1\n  name_mll", "28: .*bin_width_dt must be"),
        ("  name_mll", "  bin_width_dt: 30\n  name_mll", "wider than win_z_dt"),
        ("  name_mll", "  bin_width_mc: 0\n  name_mll", "must be positive"),
        ("  name_mll", "  bin_width_mc: 30\n  name_mll", "makes 1.33 bins in .70, 110"),
        ("  name_mll", "  double_gaussian: 2\n  name_mll", "must be true or false"),
        ("  name_mll", "  single_parameters: [muu]\n  name_mll", "Did you mean 'mu'"),
        ("  minimizer:", "  init_resp: [1]\n  minimizer:", "1 numbers for 4 categor"),
        ("  minimizer:", "  init_resp: [1, 1, 0, 1]\n  minimizer:", "0 must be positi"),
        ("  minimizer:", "  init_reso: [0, 0, 0, -1]\n  minimizer:", "-1 must be >= 0"),
        ("  minimizer:", "  cats: [1]\n  minimizer:", "cannot choose regions"),
        ("  hess", "  suffixes: [1, 1]\n  hess", "two different texts"),
        ("  hess", "  mass_exponent: 0\n  hess", "must be positive"),
        ("  hess", "  branches: ecalef\n  hess", "Did you mean 'ecalelf'"),
        ("  hess", "  branches: {mass: a +}\n  hess", "branches: the expression 'a .'"),
        ("  hess", "  branches: {mass: m}\n  hess", "'m'.* 'mass' by the table of br"),
        ("scale_flat_syst: 0.5", "scale_flat_syst: -0.5", "must not be negative"),
        ("sas: {cut: pt1 > 30}", "sas: 3", "13: syst 'tight': sas: expected a mapp"),
        ("sas: {cut: pt1 > 30}", "sas: {categories: {r9: [0, 1]}}", "1 categories, th"),
        ("corrlib:\n  cset_version: 2", "corrlib: 2", "15: corrlib: expected a mappin"),
    ],
)
def test_faults_name_the_line_and_how_to_mend(tmp_path, old, new, message):
    text = refused(tmp_path, (old, new))
    assert re.search(message, text), text
    assert "config.yaml:" in text


def test_a_section_that_is_no_mapping(tmp_path):
    file = configurations.write(tmp_path)
    for content in ("", "just text\n", "- a\n"):
        file.write_text(content)
        with pytest.raises(SpecificationError, match="expected the keys file_dt"):
            read_configuration(file)


def test_all_faults_are_reported_at_once_and_each_once(tmp_path):
    text = refused(
        tmp_path,
        ("name_mll: mass", "name_mll: mee"),
        ("  hess:", "  hes:"),
        ("scale_flat_syst: 0.5", "scale_flat_syst: -0.5"),
    )
    # Systematics have the same faults, which are not repeated.
    assert text.startswith("config.yaml has 5 faults:")
    assert text.count("'hes'") == 1
    # Each of the three files lacks the column.
    assert text.count("no column 'mee'") == 3


def test_faults_of_mappings_have_no_line():
    document = {
        "file_dt": "d",
        "file_mc": "m",
        "dir_results": "r",
        "sas": {"categories": {"r9": [0, 1]}, "hes": True},
    }
    with pytest.raises(SpecificationError, match=r"^the configuration: sas: there is"):
        read_configuration(document, check_files=False)


def test_files_without_events_or_of_another_format(tmp_path):
    file = configurations.write(tmp_path)
    columns: dict[str, Any] = {name: np.ones(0) for name in configurations.COLUMNS}
    np.savez(tmp_path / "data.npz", **columns)
    (tmp_path / "other.npz").write_bytes(b"")
    with pytest.raises(SpecificationError) as caught:
        read_configuration(file)
    assert "config.yaml:1: " in str(caught.value)
    assert "data.npz has no events" in str(caught.value)
    assert "other.npz is not a parquet file" in str(caught.value)
    assert "It is empty" in str(caught.value)
