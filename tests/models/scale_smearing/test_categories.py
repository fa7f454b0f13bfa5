"""Tests of the categories of leptons."""

import numpy as np
import pytest

from everwillow._errors import ArgumentValueError, UnknownKeyError
from everwillow.models.scale_smearing import Categories


EDGES = {"eta": [-2.5, 0.0, 1.5, 2.5], "r9": [0.0, 0.9, np.inf]}


@pytest.fixture
def categories():
    return Categories.of(EDGES)


def test_indices_equal_a_search_in_each_interval(categories):
    rng = np.random.default_rng(1)
    columns = {"eta": rng.uniform(-3, 3, 500), "r9": rng.normal(0.8, 0.6, 500)}
    found = categories.index(columns)
    for eta, r9, index in zip(columns["eta"], columns["r9"], found, strict=True):
        inside = [
            i
            for i in range(categories.size)
            if all(
                low <= value < high
                for value, (low, high) in zip(
                    (eta, r9), categories.bins(i).values(), strict=True
                )
            )
        ]
        assert inside == ([] if index == -1 else [index])
    assert set(found) == set(range(-1, 6))


def test_indices_are_in_c_order(categories):
    centres = {"eta": np.repeat([-1, 1, 2], 2), "r9": np.tile([0.5, 1.0], 3)}
    np.testing.assert_array_equal(categories.index(centres), range(6))
    np.testing.assert_array_equal(
        categories.index(centres),
        np.ravel_multi_index(([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1]), (3, 2)),
    )


def test_lower_edges_belong_to_their_bins_and_upper_ones_do_not():
    found = Categories.of({"x": [0, 1, 2]}).index({"x": np.array([0.0, 1.0, 2.0])})
    np.testing.assert_array_equal(found, [0, 1, -1])


def test_nan_is_in_no_category_and_infinite_edges_take_all():
    open_ended = Categories.of({"x": [-np.inf, 0.5, np.inf]})
    values = np.array([np.nan, -1e300, -np.inf, 1e300])
    np.testing.assert_array_equal(open_ended.index({"x": values}), [-1, 0, 0, 1])


def test_one_variable_outside_is_enough(categories):
    found = categories.index({"eta": np.array([5.0]), "r9": np.array([0.5])})
    assert found[0] == -1


def test_suffixes_choose_the_lepton():
    categories = Categories.of({"x": [0, 1, 2]})
    columns = {"x1": np.array([0.5]), "x2": np.array([1.5])}
    assert [int(categories.index(columns, one)[0]) for one in "12"] == [0, 1]


def test_single_precision_is_compared_with_exact_edges():
    # 0.94 in single precision is below 0.94.
    values = np.array([0.94], np.float32)
    expected = int(float(values[0]) >= 0.94)
    assert Categories.of({"r9": [0, 0.94, 2]}).index({"r9": values})[0] == expected


def test_input_is_not_changed(categories):
    columns = {"eta": np.array([1.0, np.nan]), "r9": np.array([2.0, 0.1])}
    before = {name: values.copy() for name, values in columns.items()}
    categories.index(columns)
    assert list(columns) == list(before)
    for name, values in before.items():
        np.testing.assert_array_equal(columns[name], values)


def test_labels_are_in_order_and_different(categories):
    labels = list(categories.labels())
    assert labels[0] == "eta [-2.5, 0), r9 [0, 0.9)"
    assert labels[5] == "eta [1.5, 2.5), r9 [0.9, inf)"
    assert len(set(labels)) == categories.size == 6


def test_edges_by_name(categories):
    np.testing.assert_array_equal(categories.axis("r9"), EDGES["r9"])
    with pytest.raises(UnknownKeyError, match="Did you mean 'eta'"):
        categories.axis("etta")


def test_other_edges_and_names_keep_the_order(categories):
    found = categories.replaced("eta", [0, 1], "abs_eta")
    assert found.names == ("abs_eta", "r9")
    assert found.edges == ((0.0, 1.0), (0.0, 0.9, np.inf))
    assert categories.names == ("eta", "r9")


@pytest.mark.parametrize(
    "edges", [[1.0], [0, 0, 1], [1, 0], [0, np.nan, 1], [np.nan, 1]]
)
def test_edges_must_increase(edges):
    with pytest.raises(ArgumentValueError, match="'x' must be two or more increasing"):
        Categories.of({"x": edges})


def test_a_variable_is_needed():
    with pytest.raises(ArgumentValueError, match="there is no variable"):
        Categories.of({})
