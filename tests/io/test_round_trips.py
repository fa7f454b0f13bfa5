"""What is saved comes back: structure, names, dtypes and every bit."""

import collections
import dataclasses
import json

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

import everwillow as ew
import everwillow.statelib as sl
from everwillow.io import ConstraintSummary, NotStored, load, save
from tests.io.records import FORMATS, RECORDS, START, fit, nll, with_foreign_constraint
from tests.statelib.trees import TREES


def bits(leaf):
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    # The sign of a NaN says nothing, and JSON has none.
    if array.dtype.kind in "fc":
        array = np.where(np.isnan(array), np.nan, array)
    return array.dtype, array.shape, array.tobytes()


def same(a, b):
    return jtu.tree_structure(a) == jtu.tree_structure(b) and all(
        bits(x) == bits(y)
        for x, y in zip(jtu.tree_leaves(a), jtu.tree_leaves(b), strict=True)
    )


def without_solver(record):
    """Take out of every fit what no file holds."""

    def is_fit(node):
        return isinstance(node, ew.FitResult)

    return jax.tree.map(
        lambda node: (
            dataclasses.replace(node, solver_result=None) if is_fit(node) else node
        ),
        record,
        is_leaf=is_fit,
    )


@pytest.fixture(params=FORMATS)
def trip(request, tmp_path_factory):
    """Save and load in one of the formats."""

    def there_and_back(value):
        path = tmp_path_factory.mktemp("io") / f"a.{request.param}"
        save(value, path)
        return load(path)

    return there_and_back


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_comes_back(name, trip):
    record = RECORDS[name]()
    loaded = trip(record)
    assert type(loaded) is type(record)
    assert same(without_solver(loaded), without_solver(record))
    # The second time nothing is left out any more.
    assert same(trip(loaded), loaded)


@pytest.mark.parametrize(
    "name", [n for n in RECORDS if n.startswith("fit") and n != "fit, many"]
)
def test_a_loaded_fit_says_what_the_fit_says(name, trip):
    record = RECORDS[name]()
    loaded = trip(record)
    assert repr(loaded) == repr(record)
    assert loaded.message() == record.message()
    assert loaded.labels == record.labels
    assert loaded.layout == record.layout
    np.testing.assert_array_equal(loaded.bound_errors, record.bound_errors)
    np.testing.assert_array_equal(loaded.covariance, record.covariance)
    assert same(loaded.errors, record.errors)
    assert ew.RESULTS[loaded.status] == ew.RESULTS[record.status]


def test_a_loaded_fit_works_on(trip):
    loaded = trip(fit())
    assert isinstance(loaded.solver_result, NotStored)
    assert same(ew.uncertainties(nll, loaded), ew.uncertainties(nll, fit()))
    doubled = jax.jit(lambda r: jax.tree.map(lambda x: x, r))(loaded)
    assert isinstance(doubled, ew.FitResult)
    with pytest.raises(TypeError, match=r"optimistix.*holds no code"):
        loaded.solver_result(1.0)


def test_a_constraint_of_somebody_else_keeps_what_pulls_need(trip):
    result = with_foreign_constraint()
    loaded = trip(result)
    assert repr(loaded) == repr(result)
    constraint = loaded.constraints["mu"]
    assert isinstance(constraint, ConstraintSummary)
    assert constraint.what.endswith("Flat")


@pytest.mark.parametrize("name", TREES)
def test_a_state_of_any_tree_keeps_keys_and_values(name, trip):
    tree, is_leaf, keys = TREES[name]
    state = ew.State.from_pytree(tree, is_leaf=is_leaf)
    if name == "leaves of all kinds":
        state = state.with_values([*list(state.values())[:-1], None])
    loaded = trip(state)
    assert tuple(loaded) == keys
    assert list(loaded.values()) == list(state.values())
    # Nodes of unknown classes are now ordered dicts with the same keys.
    again = sl.State.from_pytree(
        loaded.with_values(range(len(keys))).to_pytree(), is_leaf=is_leaf
    )
    assert tuple(again) == keys


PLAIN = ("dict", "list", "tuple", "ordered dict", "none as structure", "integer keys")


@pytest.mark.parametrize("name", PLAIN)
def test_the_plain_tree_behind_a_state_comes_back(name, trip):
    tree, is_leaf, _ = TREES[name]
    loaded = trip(ew.State.from_pytree(tree, is_leaf=is_leaf))
    assert loaded.to_pytree() == tree
    assert type(loaded.to_pytree()) is type(tree)
    assert same(trip(tree), tree)


def test_renamed_merged_and_tuple_keys(trip):
    other = ew.State.from_pytree({"sigma": 2.0, "m": 1.0})
    state = sl.merge(START, sl.rename(other, {"m": "mu"}))
    loaded = trip(state)
    assert loaded.is_merged
    assert [loaded.origins(k) for k in loaded] == [state.origins(k) for k in state]
    assert [part.to_dict() for part in sl.split(loaded)][1] == {"mu": 1.0, "sigma": 2.0}
    nested = ew.State.from_pytree({"a.b": {"c/d": 1.0}}, sep=None)
    assert trip(nested).to_dict() == {("a.b", "c/d"): 1.0}


names = st.text(max_size=6) | st.sampled_from(
    ["metadata", "value", ".", "..", "/", "a/b", "%", "%2F", "0", "\ud800", "a\0"]
)
arrays = hnp.arrays(
    dtype=st.one_of(
        hnp.floating_dtypes(sizes=(16, 32, 64)),
        hnp.integer_dtypes(),
        hnp.unsigned_integer_dtypes(),
        hnp.boolean_dtypes(),
        hnp.complex_number_dtypes(sizes=(64, 128)),
    ),
    shape=hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
)
leaves = st.one_of(
    arrays,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    names,
    st.just(np.float32(0.1)),
    st.just(np.array(["µ", "long text"])),
    st.just(np.asarray(jnp.array([0.1, np.inf], jnp.bfloat16))),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(
            names | st.integers() | st.tuples(names, names), inner, max_size=3
        ),
        st.dictionaries(names, inner, max_size=3).map(collections.OrderedDict),
    ),
    max_leaves=8,
)


def equal(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray | np.generic):
        return bits(a) == bits(b)
    return repr(a) == repr(b)


@pytest.mark.parametrize("ending", FORMATS)
@hypothesis.given(tree=trees)
def test_any_tree_comes_back(tmp_path_factory, ending, tree):
    path = tmp_path_factory.mktemp("io") / f"a.{ending}"
    save(tree, path)
    assert equal(load(path), tree)


def test_a_jax_array_comes_back_in_numpy(trip):
    loaded = trip(jnp.arange(3.0))
    assert type(loaded) is np.ndarray
    np.testing.assert_array_equal(loaded, [0.0, 1.0, 2.0])


def test_others_find_the_numbers_by_path(tmp_path):
    h5py = pytest.importorskip("h5py")
    result = fit()
    for ending in FORMATS:
        save(result, tmp_path / f"a.{ending}")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["type"] == "everwillow.fitting.FitResult"
        assert file["params"].attrs["type"] == "State"
        assert file["params/mu"][()] == result.params["mu"]
        assert file["labels"].asstr()[()].tolist() == list(result.labels)
        np.testing.assert_array_equal(file["covariance"], result.covariance)
        assert file["errors/mu"][()] == result.errors["mu"]
        np.testing.assert_array_equal(file["bound_errors"], result.bound_errors)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive["params/mu"] == result.params["mu"]
    document = json.loads((tmp_path / "a.json").read_text())
    error = document["arrays"]["errors/mu"]["data"]
    assert error == [float(result.errors["mu"])]
    assert document["arrays"]["params/mu"]["data"] == [float(result.params["mu"])]
    assert document["structure"]["type"] == "everwillow.fitting.FitResult"


def test_files_without_errors_are_read(tmp_path):
    """Versions that did not write them made files that are the same otherwise."""
    file, result = tmp_path / "a.json", fit()
    save(result, file)
    document = json.loads(file.read_text())
    every = document["arrays"]
    document["arrays"] = {k: v for k, v in every.items() if "errors" not in k}
    assert len(document["arrays"]) < len(every)
    del document["digest"]
    file.write_text(json.dumps(document))
    assert load(file).errors["mu"] == result.errors["mu"]
