"""Strange files are refused with words, and nothing is lost on the way."""

import json
import pathlib

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow import _store, goodness
from everwillow.io import load, save
from tests.io.records import FORMATS


TREE = {"x": np.array([1.0, np.nan, -np.inf]), "n": 3, "names": ("a", "b")}


def saved(tmp_path, ending) -> pathlib.Path:
    path = tmp_path / f"a.{ending}"
    save(TREE, path)
    return path


def same_as_tree(loaded):
    return (
        list(loaded) == list(TREE)
        and loaded["x"].tobytes() == TREE["x"].tobytes()
        and (loaded["n"], loaded["names"]) == (3, ("a", "b"))
    )


@pytest.mark.parametrize("ending", FORMATS)
def test_a_damaged_file_is_refused_or_harmless(tmp_path, ending):
    path = saved(tmp_path, ending)
    content = path.read_bytes()
    refused = 0
    for position in range(0, len(content), 1 + len(content) // 400):
        damaged = bytearray(content)
        damaged[position] ^= 0x11
        path.write_bytes(damaged)
        try:
            loaded = load(path)
        except ew.EverwillowError as error:
            refused += str(path) in str(error)
        else:
            assert same_as_tree(loaded)
    assert refused > 50


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_cut_file_is_refused(tmp_path, ending, part):
    path = saved(tmp_path, ending)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match=r"empty|damaged") as caught:
        load(path)
    assert isinstance(caught.value, ew.EverwillowError)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"mu,1.0\n", "neither HDF5, nor npz, nor JSON"),
        (b"{}", "'format'"),
        (b'{"format": "everwillow record", "arrays": {}}', "no record"),
        (b"PK\x03\x04....", "damaged"),
        (b"[1, 2]", "neither"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path, content, words):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        load(path)


def test_archives_of_others_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    with pytest.raises(ValueError, match="none of everwillow"):
        load(tmp_path / "a.npz")
    _store.save(tmp_path / "b.npz", {"x": np.ones(2)}, {"kind": "ifit checkpoint"})
    with pytest.raises(ValueError, match="'ifit checkpoint'"):
        load(tmp_path / "b.npz")


def test_a_missing_file_and_a_path_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.h5")
    with pytest.raises(ew.EverwillowError, match="expected the name of a file"):
        load(3)
    with pytest.raises(FileNotFoundError):
        save(TREE, tmp_path / "no folder" / "a.npz")


@pytest.mark.parametrize("name", ["a", "a.pkl", "a.txt"])
def test_the_ending_says_the_format(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.h5, \.hdf5, \.npz, \.json"):
        save(TREE, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_format_is_seen_from_the_contents(tmp_path):
    for ending in FORMATS:
        path = saved(tmp_path, ending).rename(tmp_path / f"{ending}.dat")
        assert same_as_tree(load(path))


def changed(tmp_path, change) -> pathlib.Path:
    path = tmp_path / "a.json"
    save({"one": ew.Normal(0.0, 1.0)}, path)
    document = json.loads(path.read_text())
    del document["digest"]
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_numbers_changed_by_hand_are_noticed(tmp_path):
    path = tmp_path / "a.json"
    save({"mu": 1.5}, path)
    path.write_text(path.read_text().replace("1.5", "2.5"))
    with pytest.raises(ValueError, match="delete the entry 'digest'"):
        load(path)


def test_another_version_of_the_format(tmp_path):
    path = changed(tmp_path, lambda d: d.update(version=2, everwillow="9.1"))
    with pytest.raises(ValueError, match=r"version 2 .* 9\.1; .* reads version 1"):
        load(path)


@pytest.mark.parametrize(
    "name",
    [
        "os.PathLike",
        "pathlib.Path",
        "everwillow.Normal",
        "everwillow.parameters.Nothing",
        "everwillow.parameters.Sequence",
        "everwillow.statelib.State",
        "everwillow._errors.FitError",
        "everwillow.nowhere.Normal",
        "everwillow.cli.Main",
        "everwillow..Normal",
        "everwillow.parameters.Normal.__init__",
        3,
        ["everwillow"],
    ],
)
def test_only_records_are_made(tmp_path, name):
    def rename(document):
        document["structure"]["items"][0]["type"] = name

    with pytest.raises(ValueError, match="damaged") as caught:
        load(changed(tmp_path, rename))
    assert isinstance(caught.value, ew.EverwillowError)


def test_no_other_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    def rename(document):
        document["structure"]["items"][0]["type"] = "harmful.Class"

    with pytest.raises(ValueError, match="no record of everwillow"):
        load(changed(tmp_path, rename))


def test_a_record_is_read_under_its_former_name(tmp_path):
    """Files from when mappings had a record of their own for the chi2."""
    path = tmp_path / "a.json"
    numbers = (np.asarray(value) for value in (3.0, 2.0, 0.22))
    save(goodness.GoodnessResult(*numbers), path)
    document = json.loads(path.read_text())
    del document["digest"]
    assert document["structure"]["type"] == "everwillow.goodness.GoodnessResult"
    document["structure"]["type"] = "everwillow.mappings.MappingChi2"
    path.write_text(json.dumps(document))
    loaded = load(path)
    assert isinstance(loaded, goodness.GoodnessResult)
    assert (loaded.statistic, loaded.ndof, loaded.pvalue) == (3.0, 2.0, 0.22)


def test_fields_of_another_version(tmp_path):
    def more(document):
        document["structure"]["items"][0]["fields"]["skew"] = None

    def fewer(document):
        del document["structure"]["items"][0]["fields"]["width"]

    with pytest.raises(ValueError, match=r"Normal has no field skew"):
        load(changed(tmp_path, more))
    with pytest.raises(ValueError, match=r"field 'width' of .*Normal is missing"):
        load(changed(tmp_path, fewer))


class Mine:
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [Mine()]}, r"'a/0' is a .*Mine"),
        ({"f": len}, r"'f' is a builtin_function"),
        ({1.5: 0}, r"key 1\.5"),
        ({"d": np.array(["2024"], "M8[Y]")}, "datetime64"),
        ({"o": np.array([{}])}, "object"),
        (ew.TrustRegionNewton, "cannot be stored"),
    ],
)
@pytest.mark.parametrize("ending", FORMATS)
def test_what_cannot_be_stored_is_named_and_nothing_written(
    tmp_path, ending, value, words
):
    path = saved(tmp_path, ending)
    with pytest.raises(TypeError, match=words) as caught:
        save(value, path)
    assert isinstance(caught.value, ew.EverwillowError)
    assert same_as_tree(load(path))
    assert list(tmp_path.iterdir()) == [path]


def test_traced_values_are_named(tmp_path):
    def inside(x):
        save({"x": x}, tmp_path / "a.npz")
        return x

    with pytest.raises(ew.EverwillowError, match=r"'x' is traced.*outside of jit"):
        jax.jit(inside)(1.0)


def test_json_refuses_what_it_would_round(tmp_path):
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("no wider floats here")
    with pytest.raises(TypeError, match="digits JSON would lose"):
        save(np.ones(2, np.longdouble), tmp_path / "a.json")
    for ending in sorted({*FORMATS} - {"json"}):
        save(np.ones(2, np.longdouble), tmp_path / f"a.{ending}")
        assert load(tmp_path / f"a.{ending}").dtype == np.longdouble


def test_hdf5_without_h5py_names_the_extra(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    path = saved(tmp_path, "h5")
    # The documented way to make an import fail.
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    for act in (lambda: save(TREE, path), lambda: load(path)):
        with pytest.raises(ImportError, match=r"\.\[io\].* need nothing") as caught:
            act()
        assert isinstance(caught.value, ew.EverwillowError)
    assert same_as_tree(load(saved(tmp_path, "npz")))


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    for ending in FORMATS:
        path = saved(tmp_path, ending)
        before = path.read_bytes()
        with monkeypatch.context() as patch:

            def full(*args):
                raise OSError("No space left on device")

            patch.setattr("os.fsync", full)
            with pytest.raises(OSError, match="No space"):
                save({"other": np.ones(5)}, path)
        assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == len(FORMATS)
