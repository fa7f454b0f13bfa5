"""All faults of a configuration are reported at once, with their lines."""

import re

import pytest

from everwillow._errors import SpecificationError
from everwillow.models.nsbi.configuration.document import read_configuration
from tests.models.nsbi.small import (
    CONFIGURATION,
    changed,
    line_of,
    several,
    write,
)
from tests.models.test_data_files import POINTER


def faults(file):
    """The lines and the texts of all faults."""
    with pytest.raises(SpecificationError) as failure:
        read_configuration(file)
    found = re.findall(r"config\.yml:(\d+): (.*)", str(failure.value))
    assert found, failure.value
    return [(int(line), text) for line, text in found]


CHANGES = {
    # the whole
    "unknown section": (
        "NormFactors:",
        "NormFactor:",
        12,
        "no key 'NormFactor'. Did you mean",
    ),
    "unknown key": (
        "Variable: x",
        "Variabel: x",
        39,
        "no key 'Variabel'. Did you mean 'Var",
    ),
    "unknown key of General": (
        "    POI: mu",
        "    Poi: mu",
        4,
        "no key 'Poi'. Did you mean",
    ),
    "key twice": ("    POI: mu", "    Name: a", 4, "the key 'Name' is in line 3 too"),
    # the measurement
    "POI": ("POI: mu", "POI: mus", 4, "POI is no parameter: 'mus'. Did you mean 'mu'?"),
    "ParametersToFit": (
        "kappa, JES]",
        "kapa, JES]",
        5,
        "no parameter 'kapa'. Did you mean",
    ),
    "flag": ("TemplateStatistics: true", "TemplateStatistics: 1", 7, "true or false"),
    # samples
    "sample twice": (
        "{Name: bkg, Tree",
        "{Name: sig, Tree",
        11,
        "the name is in line 10 too",
    ),
    "missing file": (
        "Tree: sig, SamplePath: events",
        "Tree: sig, SamplePath: event",
        10,
        "there is no file",
    ),
    "format": (
        "Tree: sig, SamplePath: events.npz",
        "Tree: sig, SamplePath: config.yml",
        10,
        "is not a ROOT file or a parquet file or an npz archive",
    ),
    "no path": (
        "Tree: sig, SamplePath: events.npz",
        "Tree: sig",
        10,
        "'SamplePath' is missing",
    ),
    # factors
    "type": (
        "Nominal: 1\n",
        "Nominal: one\n",
        15,
        "Nominal must be a number, not 'one'",
    ),
    "undeclared sample": (
        "  Samples: sig\n",
        "  Samples: si\n",
        14,
        "no sample 'si'. Did you mean 'sig'?",
    ),
    "no substring": ("  Samples: sig\n", "  Samples: [sig, s]\n", 14, "no sample 's'"),
    "region": (
        "  Samples: sig\n",
        "  Samples: sig\n  Regions: [CR, SRR]\n",
        15,
        "no region 'SRR'. Did you mean 'SR'?",
    ),
    "region by the other key": (
        "  Samples: sig\n",
        "  Samples: sig\n  Region: XR\n",
        15,
        "no region 'XR'.",
    ),
    "reversed bounds": ("[0, 10]", "[10, 0]", 16, "of which the first is smaller"),
    "one bound": ("[0, 10]", "[10]", 16, "Bounds must be two numbers"),
    "nominal outside": (
        "[0, 10]",
        "[2, 10]",
        16,
        "Nominal is 1, which is outside of Bounds",
    ),
    "parameter twice": ("- Name: lumi", "- Name: mu", 31, "the name is in line 13 too"),
    "no samples": ("  Samples: sig\n", "  Samples: []\n", 14, "Samples is empty."),
    "no files": (
        "Tree: sig, SamplePath: events.npz",
        "Tree: sig, SamplePath: []",
        10,
        "SamplePath is empty.",
    ),
    # couplings
    "equal nodes": ("1.5: bkg}", "0.0: bkg}", 19, "Basis has two samples at 0."),
    "sample at two nodes": (
        "1.5: bkg}",
        "1.5: sig}",
        19,
        "Basis has the sample 'sig' twice",
    ),
    "node": ("1.5: bkg}", "a: bkg}", 19, "Basis: 'a' is not a number."),
    "sample of a node": (
        "1.5: bkg}",
        "1.5: bk}",
        19,
        "no sample 'bk'. Did you mean 'bkg'?",
    ),
    "no node": (
        "  Basis: {0: sig, 1.5: bkg}",
        "  Samples: [sig, bkg]\n  Basis: {0: sig}",
        19,
        "Basis has no value for the sample 'bkg'.",
    ),
    "no basis": (
        "  Basis: {0: sig, 1.5: bkg}\n",
        "",
        18,
        "the key 'Basis' is missing.",
    ),
    "no nominal": ("  Nominal: 0.5\n", "", 18, "the key 'Nominal' is missing."),
    # systematics
    "kind": ("NormPlusShape", "NormPlusShap", 24, "Did you mean 'NormPlusShape'?"),
    "no tree": (
        "  Samples: [sig]\n",
        "  Samples: [sig, bkg]\n",
        27,
        "Up has no entry for 'bkg'. Add one",
    ),
    "no up": (
        "  Up:\n  - {SampleName: sig, Path: events.npz, Tree: up, Weight: w}\n",
        "",
        23,
        "Up has no entry for 'sig'.",
    ),
    "no variation": ("  Up: 1.02\n  Dn: 0.98\n", "", 31, "Up and Dn are missing."),
    "sample of a tree": (
        "SampleName: sig, Path: events.npz, Tree: up",
        "SampleName: si, Path: events.npz, Tree: up",
        28,
        "no sample 'si'",
    ),
    "file of a tree": (
        "Path: events.npz, Tree: up",
        "Path: none.npz, Tree: up",
        28,
        "there is no file",
    ),
    "factor of a shape": (
        "{SampleName: sig, Path: events.npz, Tree: up, Weight: w}",
        "{SampleName: sig, Factor: 1.1}",
        28,
        "Factor needs Type: Norm",
    ),
    "number of a shape": (
        "  Type: NormPlusShape\n  Samples: [sig]\n  Nominal: 0\n  Up:\n"
        "  - {SampleName: sig, Path: events.npz, Tree: up, Weight: w}\n",
        "  Type: NormPlusShape\n  Up: 1.1\n",
        25,
        "must be a list of trees",
    ),
    "factor and tree": (
        "  Up: 1.02\n  Dn: 0.98\n",
        "  Up: [{SampleName: sig, Factor: 1.1, Path: events.npz}]\n"
        "  Dn: [{SampleName: sig, Factor: 0.9}]\n",
        33,
        "it has Factor and Path and Tree. Use a factor or a tree.",
    ),
    "number and list": (
        "  Dn: 0.98\n",
        "  Dn: [{SampleName: sig, Factor: 0.9}]\n",
        31,
        "Up and Dn must both be numbers or both be lists.",
    ),
    "negative factor": (
        "Up: 1.02",
        "Up: -1.02",
        33,
        "the factor of a yield must be > 0",
    ),
    "small normalization": ("Up: 1.02", "Up: {Normalization: -1.5}", 33, "must be > 0"),
    "entry twice": (
        "Tree: up, Weight: w}\n",
        "Tree: up, Weight: w}\n  - {SampleName: sig, Path: events.npz, Tree: up}\n",
        29,
        "the sample 'sig' has another entry",
    ),
    # regions
    "no arrays": ("{Ratios: bkg.npy}", "{Ratios: []}", 51, "Ratios is empty."),
    "region twice": ("- Name: SR", "- Name: CR", 41, "the name is in line 36 too"),
    "kind of region": (
        "Type: unbinned",
        "Type: unbined",
        42,
        "Did you mean 'unbinned'",
    ),
    "no kind of region": ("  Type: unbinned\n", "", 41, "the key 'Type' is missing"),
    "filter": ("Filter: x < 0", "Filter: x <", 38, "invalid syntax"),
    "function in filter": (
        "Filter: x < 0",
        "Filter: sqr(x) < 0",
        38,
        "no function 'sqr'",
    ),
    "no variable": ("  Variable: x\n", "", 36, "the key 'Variable' is missing"),
    "no binning": ("  Binning: [-3, -1, 0]\n", "", 36, "the key 'Binning' is missing"),
    "decreasing bins": (
        "[-3, -1, 0]",
        "[-3, 0, -1]",
        40,
        "must increase, but -1 follows 0",
    ),
    "equal bins": (
        "[-3, -1, 0]",
        "[-3, -1, -1]",
        40,
        "must increase, but -1 follows -1",
    ),
    "one edge": ("[-3, -1, 0]", "[-3]", 40, "Binning needs two edges at least"),
    "infinite edge": ("[-3, -1, 0]", "[-.inf, 0]", 40, "is not a number"),
    "weights": ("weights.npy", "weight.npy", 44, "there is no file"),
    "format of weights": ("weights.npy", "events.npz", 44, "is not an .npy file"),
    "no trained model": (
        "  - SampleName: bkg\n    Nominal: {Ratios: bkg.npy}\n",
        "",
        45,
        "TrainedModels has no entry for 'bkg'.",
    ),
    "no ratios": (
        "{Ratios: bkg.npy}",
        "{Ratio: bkg.npy}",
        51,
        "neither Ratios nor Models",
    ),
    "sample of a model": (
        "- SampleName: bkg",
        "- SampleName: bk",
        50,
        "no sample 'bk'",
    ),
    "model twice": ("- SampleName: bkg", "- SampleName: sig", 50, "has another entry"),
    "no varied ratios": (
        "    Systematics:\n"
        "    - {SystName: JES, RatiosUp: up.npy, RatiosDn: down.npy}\n",
        "",
        46,
        "have no ratios for 'JES'",
    ),
    "one varied ratio": (
        ", RatiosDn: down.npy",
        "",
        49,
        "neither RatiosDn nor ModelsDn",
    ),
    "systematic of a model": (
        "SystName: JES",
        "SystName: JE",
        49,
        "no systematic 'JE'. Did you mean 'JES'?",
    ),
    "reference": (
        "  AsimovWeights",
        "  Reference: {TrainedModels: []}\n  AsimovWeights",
        44,
        "neither Weights nor SamplePath is given",
    ),
    "features": (
        "{Ratios: bkg.npy}",
        "{Models: sig.npy}",
        51,
        "need the key 'TrainingFeat",
    ),
    "output": (
        "{Ratios: bkg.npy}",
        "{Ratios: bkg.npy, Output: scor}",
        51,
        "Did you mean 'score'",
    ),
    "data of a binned region": (
        "  Variable: x\n",
        "  Variable: x\n  Data: {Weights: weights.npy}\n",
        40,
        "Data is for unbinned regions; binned ones have the observed events of",
    ),
    "data without ratios": (
        "  AsimovWeights",
        "  Data: {Weights: weights.npy}\n  AsimovWeights",
        44,
        "Data: the key 'TrainedModels' is missing",
    ),
    "key of data": (
        "  AsimovWeights",
        "  Data: {Weight: weights.npy, TrainedModels: []}\n  AsimovWeights",
        44,
        "no key 'Weight'. Did you mean 'Weights'?",
    ),
    "density": (
        "  AsimovWeights",
        "  Reference: {Weights: weights.npy, Density: nominl}\n  AsimovWeights",
        44,
        "Density is 'nominl', not reference or nominal. Did you mean 'nominal'?",
    ),
    "address": (
        "{Ratios: bkg.npy}",
        "{Ratios: 'root://host//bkg.npy'}",
        51,
        "is an address, not a path, and files are not fetched. Copy the file (xrdcp",
    ),
    "address of networks": (
        "{Ratios: bkg.npy}",
        "{Models: 'https://host/*.onnx', TrainingFeatures: x}",
        51,
        "https://host/*.onnx is an address",
    ),
    "variable of the environment": (
        "{Ratios: bkg.npy}",
        "{Ratios: $EVERWILLOW_NOT_SET/bkg.npy}",
        51,
        "The environment variable EVERWILLOW_NOT_SET is not set.",
    ),
    "pattern": (
        "{Ratios: bkg.npy}",
        "{Models: 'net*.onnx'}",
        51,
        "no network is called 'net*",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_faults_have_their_line_and_say_what_is_wrong(tmp_path, name):
    old, new, line, problem = CHANGES[name]
    found = faults(write(tmp_path, changed((old, new))))
    assert [one for one, text in found if problem in text] == [line], found


def test_every_fault_is_in_one_report(tmp_path):
    text = changed(
        ("POI: mu", "POI: m"),
        ("Variable: x", "Variabel: x"),
        ("[0, 10]", "[10, 0]"),
        ("[-3, -1, 0]", "[0, -1]"),
        ("up.npy", "upp.npy"),
        ("Filter: x >= 0", "Filter: (x >= 0"),
    )
    found = faults(write(tmp_path, text))
    lines = [line for line, _ in found]
    assert lines == sorted(lines)
    wanted = [
        line_of(text, part)
        for part in ("POI: m\n", "[10, 0]", "Variabel", "[0, -1]", "(x >=", "upp.npy")
    ]
    assert set(wanted) <= set(lines)


def test_networks_of_data_need_observations(tmp_path):
    line = "Observations: {Name: data, Tree: data, SamplePath: events.npz, Weight: w}\n"
    data = """\
  Data:
    TrainingFeatures: [x]
    TrainedModels:
    - SampleName: [sig, bkg]
      Nominal: {Models: sig.npy}
      Systematics: [{SystName: JES, RatiosUp: up.npy, RatiosDn: down.npy}]
"""
    text = changed((line, "")) + data
    ((found, problem),) = faults(write(tmp_path, text))
    assert found == line_of(text, "  Data:")
    assert problem.endswith(
        "the networks need the events: give the section Observations."
    )
    assert read_configuration(write(tmp_path, changed() + data)).regions[1].data


def test_faults_of_several_measurements(tmp_path):
    text = several(
        ("Name: second", "Name: first"), ("POI: kappa", "POI: kapa"), (", JES]", ", J]")
    )
    found = faults(write(tmp_path, text))
    assert [line for line, _ in found] == [3, 4, 4]
    assert "measurement 'first': there is no parameter 'J'" in found[0][1]
    assert "the name is in line 3 too" in found[1][1]
    assert "POI is no parameter: 'kapa'. Did you mean 'kappa'?" in found[2][1]
    text = changed()
    text = text[: text.index("    Name: meas")] + text[text.index("Observations:") :]
    text = text.replace("  Measurement:\n", "  Measurement: []\n")
    assert "Measurement is empty" in faults(write(tmp_path, text))[0][1]


def test_poi_without_effect(tmp_path):
    text = changed(
        ("  Samples: sig\n", "  Samples: sig\n  Regions: CR\n"),
        ("UseAsBasis: true", "Regions: [SR]"),
    )
    ((line, problem),) = faults(write(tmp_path, text))
    assert line == line_of(text, "- Name: mu")
    assert problem == "POI 'mu' affects no sample in any region."


def test_links_to_nothing_and_pointers_are_named(tmp_path):
    file = write(tmp_path)
    (tmp_path / "bkg.npy").unlink()
    (tmp_path / "bkg.npy").symlink_to("elsewhere.npy")
    (tmp_path / "weights.npy").write_text(POINTER)
    (weights, pointer), (ratios, link) = faults(file)
    assert weights == line_of(CONFIGURATION, "weights.npy")
    assert "weights.npy is a Git LFS pointer, not the data" in pointer
    assert "git lfs pull" in pointer
    assert ratios == line_of(CONFIGURATION, "bkg.npy")
    assert "bkg.npy is a link to elsewhere.npy, which does not exist" in link


def test_missing_sections_are_faults(tmp_path):
    file = tmp_path / "config.yml"
    file.write_text("NormFactors: []")
    assert [text for _, text in faults(file)] == [
        "the key 'General' is missing.",
        "the key 'Samples' is missing.",
        "the key 'Regions' is missing.",
    ]
