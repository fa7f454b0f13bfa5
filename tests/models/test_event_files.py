"""Columns of ROOT, parquet and npz files are the same; damaged files are refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import uproot

from everwillow._errors import SpecificationError
from everwillow.models.event_files import EventFiles


GENERATOR = np.random.default_rng(3)
COLUMNS = {
    "mass": GENERATOR.normal(size=1000),
    "w": GENERATOR.random(1000).astype(np.float32),
    "n": GENERATOR.integers(-5, 5, 1000).astype(np.int32),
    "flag": GENERATOR.random(1000) < 0.5,
    "a.b-c": GENERATOR.normal(size=1000),
}


def write_tree(path):
    with uproot.recreate(path) as file:
        file.mktree("t", {name: a.dtype for name, a in COLUMNS.items()})
        file["t"].extend({name: a[:300] for name, a in COLUMNS.items()})
        file["t"].extend({name: a[300:] for name, a in COLUMNS.items()})


def write_ntuple(path):
    plain = {name: a for name, a in COLUMNS.items() if name != "a.b-c"}
    with uproot.recreate(path) as file:
        file.mkrntuple("t", {**plain, "a_b": COLUMNS["a.b-c"]})


def write_parquet(path):
    pyarrow.parquet.write_table(pa.table(COLUMNS), path, row_group_size=300)


def write_archive(path):
    with path.open("wb") as file:
        np.savez_compressed(file, **{f"t/{name}": a for name, a in COLUMNS.items()})


WRITERS = {
    "tree.root": write_tree,
    "ntuple.root": write_ntuple,
    "events.parquet": write_parquet,
    "events.npz": write_archive,
}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path):
    path = tmp_path / request.param
    WRITERS[request.param](path)
    return path


@pytest.mark.parametrize("size", [70, 1000, 5000])
def test_columns_are_those_that_were_written(written, size):
    with EventFiles() as files:
        table = files.table(written, "t")
        assert table.entries == 1000
        odd = "a_b" if "a_b" in table.columns else "a.b-c"
        names = ["n", "mass", "w", "flag", odd]
        parts = list(table.chunks(names, size))
    assert sum(events for events, _ in parts) == 1000
    assert all(events <= size for events, _ in parts)
    for name in names:
        whole = np.concatenate([columns[name] for _, columns in parts])
        wanted = COLUMNS["a.b-c" if name == odd else name]
        np.testing.assert_array_equal(whole, wanted)
        assert whole.dtype.kind == wanted.dtype.kind


def test_events_are_counted_without_a_column(written):
    with EventFiles() as files:
        parts = list(files.table(written, "t").chunks([], 300))
    assert parts == [(300, {}), (300, {}), (300, {}), (100, {})]


def test_missing_columns_are_named_with_the_nearest(written):
    with EventFiles() as files:
        table = files.table(written, "t")
        (problem,) = table.missing(["mass", "mas"])
        assert "no column 'mas'. Did you mean 'mass'?" in problem
        assert str(written) in problem
        with pytest.raises(SpecificationError, match="no column 'mas'"):
            next(table.chunks(["mas"]))


def test_a_table_is_opened_once(written):
    with EventFiles() as files:
        again = written.parent / "." / written.name
        assert files.table(written, "t") is files.table(again, "t")


@pytest.mark.parametrize("name", ["tree.root", "ntuple.root", "events.npz"])
def test_missing_trees_are_named_with_the_nearest(tmp_path, name):
    WRITERS[name](tmp_path / name)
    with (
        EventFiles() as files,
        pytest.raises(SpecificationError, match=r"no tree 'tt'\. Did you mean 't'\?"),
    ):
        files.table(tmp_path / name, "tt")


def test_only_tree_of_a_file_needs_no_name(tmp_path):
    write_tree(tmp_path / "one.root")
    with uproot.recreate(tmp_path / "two.root") as file:
        file.mktree("a", {"x": "f8"})
        file.mktree("folder/b", {"x": "f8"})
        file["folder/b"].extend({"x": np.arange(3.0)})
    with EventFiles() as files:
        assert files.table(tmp_path / "one.root").entries == 1000
        assert files.table(tmp_path / "two.root", "folder/b").entries == 3
        assert files.table(tmp_path / "two.root", "folder/b;1").entries == 3
        with pytest.raises(SpecificationError, match=r"several trees.*a, folder/b"):
            files.table(tmp_path / "two.root")


def test_arrays_of_an_archive_without_trees_are_columns(tmp_path):
    np.savez(tmp_path / "e.npz", x=np.arange(3.0))
    with EventFiles() as files:
        (part,) = files.table(tmp_path / "e.npz").chunks(["x"])
    np.testing.assert_array_equal(part[1]["x"], [0.0, 1.0, 2.0])


def test_columns_of_an_archive_have_one_length(tmp_path):
    np.savez(tmp_path / "e.npz", x=np.arange(3.0), y=np.arange(4.0))
    with (
        EventFiles() as files,
        pytest.raises(SpecificationError, match="'y' has 4 events, 'x' has 3"),
    ):
        list(files.table(tmp_path / "e.npz").chunks(["x", "y"]))


def test_columns_must_have_one_number_for_each_event(tmp_path):
    lists = pa.table({"x": [[1.0], [2.0, 3.0]], "t": ["a", "b"]})
    pyarrow.parquet.write_table(lists, tmp_path / "e.parquet")
    np.savez(tmp_path / "e.npz", x=np.ones((3, 2)))
    for name, column in (("e.parquet", "x"), ("e.parquet", "t"), ("e.npz", "x")):
        with EventFiles() as files:
            table = files.table(tmp_path / name)
            with pytest.raises(SpecificationError, match="one number for each event"):
                list(table.chunks([column]))


def test_missing_numbers_of_parquet_are_nan(tmp_path):
    table = pa.table({"x": [1, None, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "e.parquet")
    with EventFiles() as files:
        (part,) = files.table(tmp_path / "e.parquet").chunks(["x"])
    np.testing.assert_array_equal(part[1]["x"], [1.0, np.nan, 3.0])


def test_empty_trees_have_no_events(tmp_path):
    with uproot.recreate(tmp_path / "e.root") as file:
        file.mktree("t", {"x": "f8"})
    with EventFiles() as files:
        table = files.table(tmp_path / "e.root", "t")
        assert table.entries == sum(events for events, _ in table.chunks(["x"])) == 0


def test_damaged_files_are_named(written):
    content = written.read_bytes()
    written.write_bytes(content[: len(content) // 3])
    with (
        EventFiles() as files,
        pytest.raises(SpecificationError, match=r"cannot be read.*complete") as failure,
    ):
        list(files.table(written, "t").chunks(["mass"]))
    assert str(written) in str(failure.value)


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "e.root").write_text("not ROOT")
    with (
        EventFiles() as files,
        pytest.raises(SpecificationError, match=r"expected a ROOT file, a parquet"),
    ):
        files.table(tmp_path / "e.root", "t")


def test_elements_of_arrays_are_columns(tmp_path):
    fixed = GENERATOR.normal(size=(40, 3)).astype(np.float32)
    ragged = [list(range(i % 3)) for i in range(40)]
    with uproot.recreate(tmp_path / "e.root") as file:
        file.mktree("t", {"x": ("f4", (3,)), "y": "f8"})
        file["t"].extend({"x": fixed, "y": np.arange(40.0)})
    table = pa.table({"x": fixed.tolist(), "y": np.arange(40.0), "z": ragged})
    pyarrow.parquet.write_table(table, tmp_path / "e.parquet")
    np.savez(tmp_path / "e.npz", x=fixed, y=np.arange(40.0))
    for name in ("e.root", "e.parquet", "e.npz"):
        with EventFiles() as files:
            table = files.table(tmp_path / name)
            assert table.missing(["x[0]", "x", "y[0]"]) == []
            (problem,) = table.missing(["xx[0]"])
            assert "no column 'xx[0]'" in problem
            parts = [part for _, part in table.chunks(["x[2]", "y", "x[0]"], 15)]
            with pytest.raises(SpecificationError, match="'y' has no arrays"):
                list(table.chunks(["y[0]"]))
        for place in (0, 2):
            read = np.concatenate([part[f"x[{place}]"] for part in parts])
            np.testing.assert_allclose(read, fixed[:, place])
    with EventFiles() as files:
        ((_, part),) = files.table(tmp_path / "e.parquet").chunks(["z[1]", "z[5]"])
    wanted = [1.0 if len(one) > 1 else np.nan for one in ragged]
    np.testing.assert_array_equal(part["z[1]"], wanted)
    assert np.isnan(part["z[5]"]).all()
