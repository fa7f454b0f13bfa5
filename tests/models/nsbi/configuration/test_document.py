"""A configuration is read as it is written, with defaults for what is absent."""

import pytest

from everwillow._errors import MissingFileError
from everwillow.models.nsbi.configuration.document import read_configuration
from everwillow.models.nsbi.configuration.records import EventSource, RatioFiles
from tests.models.nsbi.case import CONFIGURATIONS
from tests.models.nsbi.small import changed, several, write


def test_every_section_is_read(tmp_path):
    found = read_configuration(write(tmp_path))
    (measurement,) = found.measurements
    assert (measurement.name, measurement.poi) == ("meas", "mu")
    assert measurement.fitted == ("mu", "kappa", "JES")
    assert measurement.template_statistics is True
    events = tmp_path / "events.npz"
    assert found.observations == (EventSource((events,), "data", "w", 8),)
    assert [one.name for one in found.samples] == ["sig", "bkg"]
    assert found.samples[1].source == EventSource((events,), "bkg", "w", 11)
    assert [one.name for one in found.parameters] == ["kappa", "mu", "JES", "lumi"]
    kappa, mu, jes, lumi = found.parameters
    assert (mu.nominal, mu.bounds, mu.samples) == (1.0, (0.0, 10.0), ("sig",))
    assert (jes.bounds, jes.samples, jes.regions) == (None, ("sig",), ("CR", "SR"))
    assert (lumi.nominal, lumi.samples) == (0.0, ("sig", "bkg"))
    assert kappa.samples == ("sig", "bkg")
    assert found.couplings[0].nodes == {"sig": 0.0, "bkg": 1.5}
    shape, norm = found.systematics
    assert (shape.shape, norm.shape) == (True, False)
    assert shape.up == {"sig": EventSource((events,), "up", "w", 28)}
    assert norm.up == {"sig": 1.02, "bkg": 1.02}
    assert norm.down == {"sig": 0.98, "bkg": 0.98}
    control, signal = found.regions
    assert (control.variable, control.edges) == ("x", (-3.0, -1.0, 0.0))
    assert control.selection.filter.text == "x < 0"
    assert signal.events.weights == tmp_path / "weights.npy"
    model = signal.events.models["sig"]
    assert model.nominal == RatioFiles((tmp_path / "sig.npy",), 47)
    assert model.variations["JES"][1] == RatioFiles((tmp_path / "down.npy",), 49)


@pytest.mark.parametrize("name", CONFIGURATIONS.values())
def test_configurations_of_the_other_tool_are_valid(case_folder, name):
    found = read_configuration(case_folder / name)
    assert len(found.regions) == 3
    assert found.notes == ()


def test_no_file_of_data_is_read(tmp_path):
    file = write(tmp_path)
    for path in tmp_path.glob("*.np[yz]"):
        path.write_bytes(path.read_bytes()[:8])
    assert read_configuration(file).measurements[0].name == "meas"


def test_missing_configuration_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.yml"):
        read_configuration(tmp_path / "none.yml")


def test_paths_relative_to_the_working_directory_are_reported(tmp_path, monkeypatch):
    write(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "config.yml").rename(tmp_path / "sub" / "config.yml")
    (tmp_path / "bkg.npy").rename(tmp_path / "sub" / "bkg.npy")
    monkeypatch.chdir(tmp_path)
    found = read_configuration("sub/config.yml")
    (note,) = [one for one in found.notes if "working directory" in one]
    assert "events.npz" in note
    assert "bkg.npy" not in note
    assert found.samples[0].source.paths == (tmp_path / "events.npz",)


def test_poi_is_fitted_in_any_case(tmp_path):
    text = changed(("ParametersToFit: [mu, kappa, JES]", "ParametersToFit: [JES]"))
    found = read_configuration(write(tmp_path, text))
    assert set(found.measurements[0].fitted) == {"mu", "JES"}
    assert "POI 'mu' is not in ParametersToFit; it is fitted." in found.notes
    assert any("Held" in one and "'kappa', 'lumi'" in one for one in found.notes)


def test_several_measurements(tmp_path):
    found = read_configuration(write(tmp_path, several()))
    first, second = found.measurements
    assert (first.name, first.poi, first.fitted) == ("first", "mu", ("mu", "JES"))
    assert (second.name, second.poi, second.error_def) == ("second", "kappa", "other")
    assert set(second.fitted) == {"mu", "kappa", "JES", "lumi"}
    (held,) = [one for one in found.notes if "Held" in one]
    assert "not in ParametersToFit of 'first': 'kappa', 'lumi'." in held
    (only,) = read_configuration(write(tmp_path)).measurements
    assert only.name == "meas"


def test_paths_have_variables_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_OF_TEST", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    text = changed(
        ("{Ratios: bkg.npy}", "{Ratios: $DATA_OF_TEST/bkg.npy}"),
        ("RatiosUp: up.npy", "RatiosUp: ~/data/up.npy"),
    )
    file = write(tmp_path, text)
    (tmp_path / "data").mkdir()
    for name in ("bkg", "up"):
        (tmp_path / f"{name}.npy").rename(tmp_path / "data" / f"{name}.npy")
    models = read_configuration(file).regions[1].events.models
    assert models["bkg"].nominal.paths == (tmp_path / "data" / "bkg.npy",)
    assert models["sig"].variations["JES"][0].paths == (tmp_path / "data" / "up.npy",)


def test_folders_of_networks_have_variables_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_OF_TEST", str(tmp_path / "nets"))
    (tmp_path / "nets").mkdir()
    network = tmp_path / "nets" / "a.onnx"
    network.write_bytes(b"a network")
    for pattern in ("$DATA_OF_TEST", "${DATA_OF_TEST}/*.onnx"):
        models = f"{{Models: {pattern}, TrainingFeatures: x}}"
        text = changed(("{Ratios: bkg.npy}", models))
        text = text.replace(pattern, f"'{pattern}'")
        (region,) = read_configuration(write(tmp_path, text)).regions[1:]
        assert region.events.models["bkg"].nominal.paths == (network,)


def test_parameters_without_effect_are_left_out(tmp_path):
    text = changed(
        ("  Samples: [sig]\n", "  Samples: [sig]\n  Regions: CR\n"),
        ("UseAsBasis: true", "Regions: [SR]"),
    )
    found = read_configuration(write(tmp_path, text))
    assert [one.name for one in found.parameters] == ["kappa", "mu", "lumi"]
    assert any("left out: 'JES'" in one for one in found.notes)


def test_absent_entries_have_their_defaults(tmp_path):
    text = changed(
        ("    POI: mu\n    ParametersToFit: [mu, kappa, JES]\n", ""),
        ("    ErrorDef: LIKELIHOOD\n    TemplateStatistics: true\n", ""),
        ("  Samples: sig\n  Nominal: 1\n", ""),
        ("  Samples: [sig]\n  Nominal: 0\n", ""),
        ("  Filter: x < 0\n", ""),
        (", Weight: w, UseAsBasis: true}", "}"),
    )
    found = read_configuration(write(tmp_path, text))
    (measurement,) = found.measurements
    assert (measurement.poi, measurement.error_def) == ("", "LIKELIHOOD")
    assert measurement.template_statistics is None
    assert set(measurement.fitted) == {"mu", "kappa", "JES", "lumi"}
    (factor,) = found.norm_factors
    assert (factor.parameter.samples, factor.parameter.nominal) == (("sig", "bkg"), 1.0)
    assert found.systematics[0].parameter.samples == ("sig",)
    assert found.regions[0].selection is None
    assert found.samples[0].source.weight is None
    assert "Factors of all samples: 'mu'." in found.notes


@pytest.mark.parametrize(
    ("new", "up", "down"),
    [
        ("  Up: {Normalization: 0.02}\n  Dn: {Normalization: -0.03}\n", 1.02, 0.97),
        ("  Up: 1.25\n", 1.25, 0.8),
        ("  Dn: 0.8\n", 1.25, 0.8),
    ],
)
def test_factors_of_yields(tmp_path, new, up, down):
    text = changed(("  Up: 1.02\n  Dn: 0.98\n", new))
    found = read_configuration(write(tmp_path, text))
    norm = found.systematics[1]
    assert norm.up == pytest.approx({"sig": up, "bkg": up})
    assert norm.down == pytest.approx({"sig": down, "bkg": down})
    inverse = [one for one in found.notes if "its inverse" in one]
    assert len(inverse) == (new.count("\n") == 1)


def test_factors_of_single_samples(tmp_path):
    text = changed(
        (
            "  Type: Norm\n  Up: 1.02\n  Dn: 0.98\n",
            "  Type: Normalization\n"
            "  Up: [{SampleName: bkg, Factor: 1.1}, {SampleName: sig, "
            "Path: events.npz, Tree: up}]\n"
            "  Dn: [{SampleName: bkg, Normalization: -0.1}, {SampleName: sig, "
            "Path: events.npz, Tree: down}]\n",
        )
    )
    norm = read_configuration(write(tmp_path, text)).systematics[1]
    assert norm.parameter.samples == ("bkg", "sig")
    assert (norm.up["bkg"], norm.down["bkg"]) == (1.1, 0.9)
    assert norm.down["sig"].tree == "down"


def test_trees_of_other_samples_are_reported(tmp_path):
    text = changed(
        (
            "Tree: up, Weight: w}\n",
            "Tree: up, Weight: w}\n  - {SampleName: bkg, Path: events.npz, Tree: up}\n",
        )
    )
    found = read_configuration(write(tmp_path, text))
    assert set(found.systematics[0].up) == {"sig"}
    assert any("'bkg', which is not in its Samples" in one for one in found.notes)


def test_ratios_are_used_where_networks_are_given_too(tmp_path):
    text = changed(("{Ratios: bkg.npy}", "{Ratios: bkg.npy, Models: gone/}"))
    found = read_configuration(write(tmp_path, text))
    assert isinstance(found.regions[1].events.models["bkg"].nominal, RatioFiles)
    assert any("the files are used" in one for one in found.notes)


def test_keys_of_trainings_are_accepted(tmp_path):
    text = (
        changed(
            (
                "UseAsBasis: true",
                "UseAsBasis: true, UseAsReference: false, Data: false",
            ),
            ("  Type: NormPlusShape\n", "  Type: NormPlusShape\n  ModifierName: a\n"),
        )
        + "TrainingFeatures: [x, y]\nTrainingFeaturesToStandardize: [x]\n"
    )
    assert read_configuration(write(tmp_path, text)).samples[0].name == "sig"
