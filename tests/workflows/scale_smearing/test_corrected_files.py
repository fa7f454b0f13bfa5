"""Corrected copies: factors as computed by hand, everything else untouched."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from everwillow._errors import ArgumentValueError, MissingFileError, SpecificationError
from everwillow.models.scale_smearing import (
    standard_normals,
    write_compound,
    write_corrections,
)
from everwillow.workflows.scale_smearing.corrected_files import correct_files
from tests.models.scale_smearing.results import made_parameters


EVENTS = 500
RNG = np.random.default_rng(8)


def made_columns():
    return {
        "mass": RNG.normal(91, 3, EVENTS).astype(np.float32),
        "pt1": RNG.uniform(25, 90, EVENTS).astype(np.float32),
        "pt2": RNG.uniform(25, 90, EVENTS),
        "ScEta1": RNG.uniform(-2.4, 2.4, EVENTS).astype(np.float32),
        "ScEta2": RNG.uniform(-2.4, 2.4, EVENTS).astype(np.float32),
        "catalogue": np.arange(EVENTS, dtype=np.int16),
        "event": np.arange(10**9, 10**9 + EVENTS),
    }


@pytest.fixture
def parameters():
    return made_parameters({"ScEta": [-2.5, 0, 1.5, 2.5]})


@pytest.fixture
def columns():
    return made_columns()


@pytest.fixture
def file(columns, tmp_path):
    path = tmp_path / "in" / "events.v2.parquet"
    path.parent.mkdir()
    table = pa.table(
        {
            **columns,
            "names": [f"event {i}" for i in range(EVENTS)],
            "hits": [[1.0] * (i % 3) for i in range(EVENTS)],
        },
    )
    table = table.replace_schema_metadata({"made by": "a test"})
    pq.write_table(table, path, row_group_size=130)
    return path


def correct(parameters, file, folder, kind="data", **options):
    return correct_files(
        parameters, file, folder, kind=kind, correction_set="Eta", **options
    )


def read(made):
    return pq.read_table(made[0].path)


def scale_of(parameters, values):
    return 1 / parameters.resp[parameters.categories.index({"ScEta": values})]


def test_data(parameters, columns, file, tmp_path):
    made = correct(parameters, file, tmp_path / "out", chunk=77)
    path = tmp_path / "out" / "events.v2.EtaCorr.parquet"
    assert (made[0].path, made[0].events) == (path, EVENTS)
    assert made[0].sentences() == ()
    before, after = pq.read_table(file), read(made)
    assert after.schema.names == [*before.schema.names, "mass_orig"]
    assert after.schema.metadata == before.schema.metadata
    for name in before.schema.names:
        assert after.schema.field(name).type == before.schema.field(name).type
        if name not in ("mass", "pt1", "pt2"):
            assert after[name].equals(before[name])
    assert after["mass_orig"].to_pylist() == before["mass"].to_pylist()
    first, second = (scale_of(parameters, columns[f"ScEta{i}"]) for i in (1, 2))
    for name, factor in {
        "mass": np.sqrt(first * second),
        "pt1": first,
        "pt2": second,
    }.items():
        expected = (columns[name] * factor).astype(columns[name].dtype)
        np.testing.assert_array_equal(after[name].to_numpy(), expected)


@pytest.mark.parametrize("identifiers", [(), ("event",)])
def test_simulation_does_not_depend_on_the_division(
    parameters, columns, file, tmp_path, identifiers
):
    options = {"seed": 4, "identifiers": identifiers}
    tables = [
        read(
            correct(
                parameters,
                file,
                tmp_path / str(chunk),
                "simulation",
                chunk=chunk,
                **options,
            )
        )
        for chunk in (64, 10_000)
    ]
    assert tables[0].equals(tables[1])
    if identifiers:
        numbers = [
            standard_normals(4, columns["event"], i, source="smearing Eta")
            for i in (0, 1)
        ]
    else:
        source = "smearing Eta of events.v2.parquet"
        numbers = [
            standard_normals(4, np.arange(EVENTS), i, source=source) for i in (0, 1)
        ]
    factors = []
    for number, normals in zip((1, 2), numbers, strict=True):
        place = parameters.categories.index({"ScEta": columns[f"ScEta{number}"]})
        factors.append(1 + parameters.reso[place] * normals)
    expected = columns["pt2"] * factors[1]
    np.testing.assert_allclose(tables[0]["pt2"].to_numpy(), expected, rtol=1e-14)
    expected = columns["mass"] * np.sqrt(factors[0] * factors[1])
    np.testing.assert_allclose(tables[0]["mass"].to_numpy(), expected, rtol=1e-6)
    other = correct(parameters, file, tmp_path / "other", "simulation", seed=5)
    assert not read(other)["mass"].equals(tables[0]["mass"])


def test_a_second_correction_keeps_the_first_mass(parameters, columns, file, tmp_path):
    first = correct(parameters, file, tmp_path / "a")
    second = correct(parameters, first[0].path, tmp_path / "b")
    assert second[0].path.name == "events.v2.EtaCorr.EtaCorr.parquet"
    np.testing.assert_array_equal(read(second)["mass_orig"], columns["mass"])
    assert read(second).schema == read(first).schema


def test_one_lepton_with_another_exponent(parameters, columns, file, tmp_path):
    made = correct(parameters, file, tmp_path, suffixes=["2"], mass_exponent=0.25)
    scale = scale_of(parameters, columns["ScEta2"])
    expected = (columns["mass"] * scale**0.25).astype(np.float32)
    np.testing.assert_array_equal(read(made)["mass"], expected)
    np.testing.assert_array_equal(read(made)["pt1"], columns["pt1"])


def test_leptons_without_correction(columns, tmp_path):
    parameters = made_parameters({"ScEta": [-2.5, 0, 1.5]}, lost=[0])
    columns["ScEta1"][:4] = [-1, 2.0, np.nan, 1.0]
    columns["ScEta2"][:] = 1.0
    np.savez(tmp_path / "a.npz", **{name: one[:4] for name, one in columns.items()})
    for kind in ("data", "simulation"):
        made = correct(parameters, tmp_path / "a.npz", tmp_path / kind, kind)
        assert (made[0].outside, made[0].without_number) == (2, 2)
        assert [one.split(": ")[1][:9] for one in made[0].sentences()] == [
            "2 leptons",
            "2 leptons",
        ]
        found = read(made)
        assert np.isnan(found["pt1"].to_numpy()).tolist() == [True, False, True, False]
        assert np.isnan(found["mass"].to_numpy()).tolist() == [True, False, True, False]
        nearest = scale_of(parameters, np.array([1.0]))
        if kind == "data":
            expected = columns["pt1"][1] * nearest
            np.testing.assert_allclose(found["pt1"].to_numpy()[1], expected, rtol=1e-6)


def test_null_values_stay_null(parameters, tmp_path):
    table = {"mass": [90.0, None], "pt1": [40.0, None], "pt2": [1.0, 2.0]}
    table |= {"ScEta1": [0.1, 0.1], "ScEta2": [0.1, 0.1]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    found = read(correct(parameters, tmp_path / "a.parquet", tmp_path / "out"))
    assert found["mass"].null_count == found["pt1"].null_count == 1
    assert found["mass_orig"].to_pylist() == [90.0, None]


def test_files_of_corrections_give_the_same(parameters, file, tmp_path):
    corrections = write_corrections(
        parameters, tmp_path, dataset="d", correction_set="c"
    )
    one = read(correct(parameters, file, tmp_path / "a"))
    other = read(correct(corrections, file, tmp_path / "b"))
    for name in ("mass", "pt1", "pt2"):
        np.testing.assert_allclose(one[name].to_numpy(), other[name], rtol=1e-6)


def test_a_compound_takes_shared_variables_and_branches(columns, tmp_path):
    steps = {
        "Time": made_parameters({"run": [0, 10, 20]}, seed=2),
        "Eta": made_parameters({"AbsScEta": [0, 1.5, 2.5]}, seed=3),
    }
    compound = write_compound(steps, tmp_path, dataset="d")
    columns["run"] = np.arange(EVENTS) % 20
    columns["lead_pt"] = columns.pop("pt1")
    np.savez(tmp_path / "a.npz", **columns)
    branches = {
        "pt1": "lead_pt",
        "AbsScEta1": "abs(ScEta1)",
        "AbsScEta2": "abs(ScEta2)",
    }
    made = correct(compound, tmp_path / "a.npz", tmp_path / "out", branches=branches)
    time = 1 / steps["Time"].resp[columns["run"] // 10]
    eta = 1 / steps["Eta"].resp[(abs(columns["ScEta1"]) > 1.5).astype(int)]
    expected = columns["lead_pt"] * time * eta
    np.testing.assert_allclose(read(made)["lead_pt"], expected, rtol=1e-6)


def test_root_files_with_arrays_and_computed_momenta(parameters, columns, tmp_path):
    energy = np.stack([columns["pt1"], columns["pt2"]], axis=1)
    tree = {
        "mll": columns["mass"].astype(float),
        "eta": np.stack([columns["ScEta1"], columns["ScEta2"]], axis=1),
        "energy": energy,
        "event": columns["event"],
    }
    with uproot.recreate(tmp_path / "a.root") as opened:
        opened["selected"] = tree
    branches = {"mass": "mll"}
    for i in (1, 2):
        branches[f"ScEta{i}"] = f"eta[{i - 1}]"
        branches[f"pt{i}"] = f"energy[{i - 1}] / cosh(eta[{i - 1}])"
    made = correct(
        parameters, tmp_path / "a.root", tmp_path / "o", branches=branches, chunk=123
    )
    found = read(made)
    assert sorted(found.schema.names[:4]) == sorted(tree)
    assert found.schema.names[4:] == ["pt1", "pt2", "mll_orig"]
    first, second = (scale_of(parameters, columns[f"ScEta{i}"]) for i in (1, 2))
    expected = tree["mll"] * np.sqrt(first * second)
    np.testing.assert_allclose(found["mll"], expected, rtol=1e-14)
    expected = columns["pt1"] / np.cosh(columns["ScEta1"].astype(float)) * first
    np.testing.assert_allclose(found["pt1"], expected, rtol=1e-7)
    assert found["energy"].to_pylist()[7] == energy[7].tolist()


def test_a_damaged_file_leaves_no_copy(parameters, columns, tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), file, row_group_size=100)
    damaged = bytearray(file.read_bytes())
    last = pq.ParquetFile(file).metadata.row_group(4).column(0)
    start = last.dictionary_page_offset or last.data_page_offset
    damaged[start : start + 40] = b"\xff" * 40
    file.write_bytes(damaged)
    with pytest.raises(SpecificationError, match=r"a\.parquet cannot be read"):
        correct(parameters, file, tmp_path / "out", chunk=100)
    assert list((tmp_path / "out").iterdir()) == []


def test_variables_must_be_numbers(parameters, columns, tmp_path):
    del columns["ScEta2"]
    table = pa.table(columns).append_column("ScEta2", pa.array([[0.1]] * EVENTS))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SpecificationError, match="'ScEta2' does not have one number"):
        correct(parameters, tmp_path / "a.parquet", tmp_path / "out")


def test_files_without_events(parameters, columns, file, tmp_path):
    empty = tmp_path / "a.parquet"
    pq.write_table(pq.read_table(file).slice(0, 0), empty)
    made = correct(parameters, empty, tmp_path / "out")
    assert made[0].events == 0
    assert read(made).schema.names[-1] == "mass_orig"
    with uproot.recreate(tmp_path / "a.root") as opened:
        opened["t"] = {name: one[:0] for name, one in columns.items()}
    with pytest.raises(SpecificationError, match="no events"):
        correct(parameters, tmp_path / "a.root", tmp_path / "out")


def test_a_double_gaussian_smears_with_two_components(columns, file, tmp_path):
    double = {"reso2": [0.0], "mu": [0.5], "frac": [0.7]}
    parameters = made_parameters(
        {"ScEta": [-3, 3]},
        reso=np.zeros(1),
        double={name: np.array(one) for name, one in double.items()},
    )
    made = correct(parameters, file, tmp_path, "simulation")
    ratios = read(made)["pt2"].to_numpy() / columns["pt2"]
    assert set(ratios.round(12)) == {0.5, 1.0}
    assert np.mean(ratios == 1) == pytest.approx(0.7, abs=4 * (0.21 / EVENTS) ** 0.5)


def test_without_pyarrow_an_error_says_how_to_install_it(
    parameters, columns, tmp_path, monkeypatch
):
    np.savez(tmp_path / "a.npz", **columns)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[sas\]"'):
        correct(parameters, tmp_path / "a.npz", tmp_path / "out")


def test_wrong_arguments(parameters, file, tmp_path):
    with pytest.raises(ArgumentValueError, match=r"kind: it is 'dat'.*'data'"):
        correct(parameters, file, tmp_path, "dat")
    copy = tmp_path / "more" / file.name
    copy.parent.mkdir()
    copy.write_bytes(file.read_bytes())
    with pytest.raises(ArgumentValueError, match=r"files: .*events\.v2.*Rename"):
        correct(parameters, [file, copy], tmp_path)
    with pytest.raises(MissingFileError):
        correct(parameters, tmp_path / "none.parquet", tmp_path)
    with pytest.raises(SpecificationError, match=r"no column 'mas'.*'mass'"):
        correct(parameters, file, tmp_path, mass="mas")
    with pytest.raises(SpecificationError, match=r"'catalogue' has the type int16"):
        correct(parameters, file, tmp_path, mass="catalogue")
    with pytest.raises(SpecificationError, match=r"has a column 'pt1'.*remove"):
        correct(parameters, file, tmp_path, branches={"pt1": "pt2 * 2"})
    assert not list(tmp_path.glob("*.parquet"))
