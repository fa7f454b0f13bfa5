"""Events of all formats are read once, selected, and cleaned of what is no number."""

import numpy as np
import pytest
import uproot

from everwillow._errors import MissingFileError, SpecificationError, UnknownKeyError
from everwillow.models.event_files import write_events
from everwillow.models.scale_smearing.configuration.document import read_configuration
from everwillow.models.scale_smearing.event_input import read_events, read_sample


GENERATOR = np.random.default_rng(11)
EVENTS = {
    "mass": GENERATOR.normal(91.0, 3.0, 500).astype(np.float32),
    "w": GENERATOR.normal(1.0, 0.1, 500).astype(np.float32),
    "ScEta1": GENERATOR.uniform(-2.5, 2.5, 500).astype(np.float32),
    "n1": GENERATOR.integers(0, 5, 500).astype(np.int32),
    "pt1": GENERATOR.exponential(40.0, 500),
    "unused": GENERATOR.normal(size=500),
}


def changed(**columns):
    found = {name: values.copy() for name, values in EVENTS.items()}
    for name, (place, value) in columns.items():
        found[name][place] = value
    return found


@pytest.fixture
def file(tmp_path):
    write_events(EVENTS, tmp_path / "events.parquet")
    return tmp_path / "events.parquet"


@pytest.mark.parametrize("chunk", [70, 1000])
def test_selected_events_are_those_of_numpy(file, chunk):
    cut = "pt1 > 30 and n1 != 2"
    names = ("mass", "ScEta1", "n1")
    found = read_events(file, names, cut=cut, mass="mass", weight="w", chunk=chunk)
    chosen = (EVENTS["pt1"] > 30) & (EVENTS["n1"] != 2)
    assert list(found.columns) == ["mass", "ScEta1", "n1", "w"]
    for name, values in found.columns.items():
        np.testing.assert_array_equal(values, EVENTS[name][chosen])
    assert (found.entries, found.selected) == (500, np.count_nonzero(chosen))
    assert found.dropped == {}
    kinds = [values.dtype for values in found.columns.values()]
    assert kinds == [np.float64, np.float32, np.int32, np.float64]


def test_several_files_are_one_after_the_other(file, tmp_path):
    empty = {name: values[:0] for name, values in EVENTS.items()}
    np.savez(tmp_path / "empty.npz", **empty)
    np.savez(tmp_path / "more.npz", **EVENTS)
    files = [file, tmp_path / "empty.npz", tmp_path / "more.npz"]
    found = read_events(files, ["mass", "pt1"])
    np.testing.assert_array_equal(
        found.columns["pt1"], np.concatenate([EVENTS["pt1"]] * 2)
    )
    assert found.entries == 1000


def test_events_with_what_is_no_number_are_dropped_and_counted(tmp_path):
    events = changed(
        mass=([3, 4, 5], [np.nan, np.inf, np.nan]), ScEta1=([4, 6, 7], np.nan)
    )
    events["pt1"][5] = 1.0
    write_events(events, tmp_path / "e.parquet")
    found = read_events(
        tmp_path / "e.parquet", ["mass", "ScEta1"], cut="pt1 > 2", mass="mass"
    )
    cut = events["pt1"] > 2
    whole = np.isfinite(events["mass"]) & np.isfinite(events["ScEta1"])
    kept = cut & whole
    np.testing.assert_array_equal(found.columns["mass"], events["mass"][kept])
    expected = {
        "mass": np.count_nonzero(cut[[3, 4, 5]]),
        "ScEta1": np.count_nonzero(cut[[6, 7]]),
    }
    assert found.dropped == {name: n for name, n in expected.items() if n}
    assert found.selected == np.count_nonzero(cut)
    assert f"of {found.selected} selected events" in found.sentences()[0]


def test_weights_that_are_no_numbers_are_refused_if_selected(tmp_path):
    write_events(changed(w=([3, 9], [np.nan, np.inf])), tmp_path / "e.parquet")
    with pytest.raises(SpecificationError, match=r"e\.parquet: 2 weights 'w' of sel"):
        read_events(tmp_path / "e.parquet", ["mass"], weight="w")
    found = read_events(tmp_path / "e.parquet", ["mass"], weight="w", cut="w < 1.4")
    assert found.dropped == {}


def test_missing_columns_and_files_are_named(file, tmp_path):
    with pytest.raises(SpecificationError, match=r"no column 'mas'.*'mass'"):
        read_events(file, ["mas"])
    with pytest.raises(SpecificationError, match=r"no column 'pt'.*'pt1'"):
        read_events(file, ["mass"], cut="pt > 3")
    with pytest.raises(MissingFileError, match=r"event\.parquet.*'events\.parquet'"):
        read_events(tmp_path / "event.parquet", ["mass"])
    with pytest.raises(UnknownKeyError, match="Did you mean 'higgsdna'"):
        read_events(file, ["mass"], branches="higsdna")


def test_files_without_events_are_refused(file, tmp_path):
    np.savez(tmp_path / "empty.npz", mass=np.ones(0))
    with pytest.raises(SpecificationError, match=r"empty\.npz: there are no events"):
        read_events(tmp_path / "empty.npz", ["mass"])
    with pytest.raises(SpecificationError, match=r"none of 500.*the cut 'mass < 0'"):
        read_events(file, ["mass"], cut="mass < 0")
    write_events({"mass": np.full(3, np.nan)}, tmp_path / "nan.parquet")
    with pytest.raises(SpecificationError, match="In 3 events 'mass' is not a number"):
        read_events(tmp_path / "nan.parquet", ["mass"])


def test_electrons_of_arrays_by_the_table_of_a_layout(tmp_path):
    eta = GENERATOR.uniform(-2.5, 2.5, (200, 3)).astype(np.float32)
    energy = GENERATOR.uniform(20.0, 200.0, (200, 3)).astype(np.float32)
    with uproot.recreate(tmp_path / "ntuple.root") as opened:
        kinds = {
            "etaEle": ("f4", (3,)),
            "etaSCEle": ("f4", (3,)),
            "energy_ECAL_ele": ("f4", (3,)),
            "invMass_ECAL_ele": "f4",
            "mcGenWeight": "f4",
            "puWeight": "f4",
        }
        weights = GENERATOR.random((2, 200)).astype(np.float32)
        opened.mktree("selected", kinds).extend(
            {
                "etaEle": eta,
                "etaSCEle": eta + np.float32(0.01),
                "energy_ECAL_ele": energy,
                "invMass_ECAL_ele": EVENTS["mass"][:200],
                "mcGenWeight": weights[0],
                "puWeight": weights[1],
            }
        )
        opened.mktree("other", {"x": "f4"})
    file = tmp_path / "ntuple.root"
    names = ("mass", "ScEta1", "ScEta2", "AbsScEta1", "pt2")
    found = read_events(
        file,
        names,
        branches="ecalelf",
        cut="pt1 > 40 & etaSCEle[0] > -2",
        weight="weight",
    )
    momenta = energy.astype(float) / np.cosh(eta.astype(float))
    chosen = (momenta[:, 0] > 40) & (eta[:, 0] + np.float32(0.01) > -2)
    columns = found.columns
    np.testing.assert_array_equal(
        columns["ScEta2"], (eta[:, 1] + np.float32(0.01))[chosen]
    )
    np.testing.assert_array_equal(columns["AbsScEta1"], np.abs(columns["ScEta1"]))
    np.testing.assert_allclose(columns["pt2"], momenta[chosen, 1], rtol=1e-12)
    np.testing.assert_array_equal(columns["weight"], weights[0][chosen])
    product = {"weight": "mcGenWeight * puWeight", "mass": "invMass_ECAL_ele"}
    found = read_events(
        file, ["mass"], tree="selected", branches=product, weight="weight"
    )
    np.testing.assert_allclose(
        found.columns["weight"], weights.astype(float).prod(axis=0), rtol=1e-12
    )


def test_leading_and_second_objects_of_a_layout(tmp_path):
    events = {
        "mass": EVENTS["mass"],
        "lead_ScEta": EVENTS["ScEta1"],
        "sublead_ScEta": -EVENTS["ScEta1"],
        "lead_pt": EVENTS["pt1"],
    }
    write_events(events, tmp_path / "e.parquet")
    names = ("mass", "ScEta1", "ScEta2", "AbsScEta2")
    found = read_events(
        tmp_path / "e.parquet", names, branches="higgsdna", cut="pt1 > 30"
    )
    chosen = EVENTS["pt1"] > 30
    eta = EVENTS["ScEta1"][chosen]
    for name, wanted in zip(names[1:], (eta, -eta, np.abs(eta)), strict=True):
        np.testing.assert_array_equal(found.columns[name], wanted)
    with pytest.raises(SpecificationError, match=r"no column 'sublead_pt'.*'pt2' by"):
        read_events(tmp_path / "e.parquet", ["pt2"], branches="higgsdna")


def test_samples_of_a_configuration_have_what_its_fit_needs(tmp_path):
    events = {**EVENTS, "ScEta2": EVENTS["ScEta1"], "pt2": EVENTS["pt1"]}
    for name in ("data", "simulation"):
        write_events(events, tmp_path / f"{name}.parquet")
    settings = read_configuration(
        {
            "file_dt": tmp_path / "data.parquet",
            "file_mc": tmp_path / "simulation.parquet",
            "dir_results": tmp_path,
            "sas": {"categories": {"ScEta": [-2.5, 0, 2.5], "pt": [20, 40, 90]}},
            "fitter": {"name_weights": "w"},
        }
    ).nominal
    data, simulation = (
        read_sample(settings, sample).columns for sample in ("data", "simulation")
    )
    names = ["mass", "ScEta1", "ScEta2", "pt1", "pt2"]
    assert list(data) == names
    assert list(simulation) == [*names, "w"]
