"""Arrays come back bit for bit, and a damaged file is never read as other numbers."""

import json
import os
import signal
import subprocess
import sys
import time

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow import _store
from everwillow._errors import ArgumentTypeError, ArgumentValueError, MissingFileError


ARRAYS = {
    "scalar": np.float64(np.pi),
    "state/0": np.array([[0.1, np.nan], [-np.inf, -0.0]]),
    "empty": np.zeros((0, 3)),
    "count": np.array(7, np.int32),
    "flags": np.array([True, False]),
    "single": np.linspace(0, 1, 5, dtype=np.float32),
    "half": np.asarray(jnp.array([1.5, -2.0], jnp.bfloat16)),
    "big endian": np.arange(3, dtype=">f8"),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "complex": np.array([1 + 2j]),
    "file": np.array(1.0),
}


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def test_round_trip_keeps_every_bit_and_dtype(tmp_path):
    metadata = {"iteration": 3, "text": "µ", "list": [1.5, None], "flag": True}
    _store.save(tmp_path / "a.npz", ARRAYS, metadata)
    arrays, found = _store.load(tmp_path / "a.npz")
    assert found == metadata
    assert set(arrays) == set(ARRAYS)
    assert all(same_bits(arrays[name], ARRAYS[name]) for name in ARRAYS)


@hypothesis.given(
    hnp.arrays(
        dtype=st.one_of(
            hnp.floating_dtypes(), hnp.integer_dtypes(), hnp.boolean_dtypes()
        ),
        shape=hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
    )
)
def test_round_trip_of_any_array(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("store") / "a.npz"
    _store.save(path, {"a": array})
    arrays, metadata = _store.load(path)
    assert same_bits(arrays["a"], array)
    assert metadata == {}


def test_file_is_an_archive_that_numpy_opens(tmp_path):
    _store.save(tmp_path / "a.npz", {"x": np.arange(3.0)}, {"n": 1})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert np.array_equal(archive["x"], np.arange(3.0))
        assert json.loads(archive["metadata"].tobytes())["metadata"] == {"n": 1}


def test_every_damaged_byte_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "a.npz"
    good = {"x": np.array([1.0, 2.0]), "n": np.array(3)}
    _store.save(path, good, {"iteration": 4})
    content = path.read_bytes()
    refused = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(bytes(damaged))
        try:
            arrays, metadata = _store.load(path)
        except ArgumentValueError:
            refused += 1
        else:
            # Dates, or flags of the archive, that say nothing of its contents.
            assert metadata == {"iteration": 4}
            assert set(arrays) == set(good)
            assert all(same_bits(arrays[name], good[name]) for name in good)
    assert refused > len(content) / 2


def test_every_truncated_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    _store.save(path, {"x": np.array([1.0, 2.0])})
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ArgumentValueError, match=r"a\.npz: the file is damaged"):
            _store.load(path)


def test_an_archive_of_somebody_else_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3.0))
    with pytest.raises(ArgumentValueError, match="none of everwillow"):
        _store.load(tmp_path / "a.npz")


def test_a_file_with_pickled_objects_is_refused(tmp_path):
    _store.save(tmp_path / "a.npz", {"x": np.arange(3.0)})
    with np.load(tmp_path / "a.npz") as archive:
        metadata = archive["metadata"]
    evil = np.array([print], dtype=object)
    np.savez(tmp_path / "b.npz", metadata=metadata, x=evil)
    with pytest.raises(ArgumentValueError, match="damaged"):
        _store.load(tmp_path / "b.npz")


def test_a_missing_folder_is_named(tmp_path):
    folder = tmp_path / "none"
    with pytest.raises(MissingFileError, match=f"there is no folder '{folder}'"):
        _store.save(folder / "a.npz", {"x": np.ones(1)})


def test_a_missing_file_is_no_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        _store.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("arrays", "metadata", "message"),
    [
        ({"x": np.array([None])}, {}, r"arrays\['x'\]: .* Python objects"),
        ({"x": np.zeros(2)}, {"a": {1, 2}}, "metadata: expected what JSON can hold"),
    ],
)
def test_what_cannot_be_stored_leaves_the_old_file(tmp_path, arrays, metadata, message):
    path = tmp_path / "a.npz"
    _store.save(path, {"x": np.ones(1)})
    with pytest.raises(ArgumentTypeError, match=message):
        _store.save(path, arrays, metadata)
    assert _store.load(path)[0]["x"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_the_name_of_the_metadata_is_reserved(tmp_path):
    with pytest.raises(ArgumentValueError, match="taken by the metadata"):
        _store.save(tmp_path / "a.npz", {"metadata": np.ones(1)})


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.npz"
    _store.save(path, {"x": np.ones(1)})
    with pytest.raises(UnicodeEncodeError):
        _store.save(path, {"x": np.zeros(1), "\ud800": np.zeros(1)})
    assert _store.load(path)[0]["x"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


WRITER = """
import sys
import numpy as np
from everwillow import _store
print("ready", flush=True)
i = 0
while True:
    _store.save(sys.argv[1], {"x": np.full(100_000, float(i))}, {"i": i})
    i += 1
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.npz"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, os.fspath(path)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        while not path.exists():
            time.sleep(0.01)
        for _ in range(20):
            arrays, metadata = _store.load(path)
            assert np.all(arrays["x"] == metadata["i"])
        writer.send_signal(signal.SIGKILL)
    arrays, metadata = _store.load(path)
    assert np.all(arrays["x"] == metadata["i"])
    assert arrays["x"].shape == (100_000,)
    # A stray temporary file is no obstacle to the next writer.
    (tmp_path / ".a.npz.stray.tmp").write_bytes(b"PK")
    _store.save(path, {"x": np.ones(1)})
    assert _store.load(path)[0]["x"] == 1
