"""A table of intervals says what the dictionary of them says, to `fit` too."""

import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentValueError, UnknownKeyError
from everwillow.parameters import Interval
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import TableLayout


START = {"a": 0.5, "b": np.array([0.2, 0.8, 0.4]), "c": 1.0}


def table(low_of_b=0.0):
    layout = TableLayout([("a", 0, ()), ("b", 0, (3,)), ("c", 0, ())])
    lower = np.array([-1.0, low_of_b, low_of_b, 0.3, -np.inf])
    return BoundTable(layout, lower, np.array([1.0, 2.0, 3.0, 4.0, np.inf]))


def nll(params, data):
    """Pull every element towards the data."""
    return (
        0.5 * (params["a"] - data) ** 2
        + 0.5 * ((params["b"] - data) ** 2).sum()
        + 0.5 * (params["c"] - data) ** 2
    )


def test_it_is_a_mapping():
    made = table()
    assert list(made) == ["a", "b", "c"]
    assert len(made) == 3
    assert "b" in made
    assert isinstance(made["a"], Interval)
    assert (made["a"].lower, made["a"].upper) == (-1.0, 1.0)
    np.testing.assert_array_equal(made["b"].lower, [0.0, 0.0, 0.3])
    np.testing.assert_array_equal(made["b"].upper, [2.0, 3.0, 4.0])
    assert made["c"].lower == -np.inf
    assert made.get("d") is None
    with pytest.raises(UnknownKeyError, match="'d'"):
        made["d"]


def test_it_is_made_of_intervals():
    shapes = {"a": (), "b": (3,), "c": ()}
    made = BoundTable.of({key: table()[key] for key in ("b", "a")}, shapes)
    np.testing.assert_array_equal(made.lower, [-1.0, 0.0, 0.0, 0.3, -np.inf])
    np.testing.assert_array_equal(made.upper, [1.0, 2.0, 3.0, 4.0, np.inf])
    assert made.layout == table().layout
    assert len(BoundTable.of({}, {})) == 0


def test_only_the_first_entries_are_shown():
    made = BoundTable.of({}, {f"p{i}": () for i in range(10)})
    assert repr(made).startswith("BoundTable({'p0': Interval(")
    assert repr(made).endswith("... 2 more})")
    assert len(made) == 10


@pytest.mark.parametrize("data", [-2.0, 0.6, 5.0])
def test_a_fit_stays_inside_as_with_a_dictionary(data):
    """The minimum of a parabola in a box is its centre, or the nearest end."""
    state = ew.State.from_pytree(START)
    made = table()
    found = ew.fit(nll, state, data, bounds=made)
    by_key = ew.fit(nll, state, data, bounds=dict(made))
    for key, bound in made.items():
        wanted = np.clip(data, bound.lower, bound.upper)
        np.testing.assert_allclose(found.params[key], wanted, atol=1e-7)
        np.testing.assert_allclose(by_key.params[key], wanted, atol=1e-7)
    np.testing.assert_array_equal(found.at_bound, by_key.at_bound)


def test_a_start_outside_is_named():
    state = ew.State.from_pytree(START)
    with pytest.raises(ArgumentValueError, match="'b'"):
        ew.fit(nll, state, 0.6, bounds=table(low_of_b=0.5))


def test_a_table_of_other_parameters_is_refused():
    state = ew.State.from_pytree({"a": 0.5, "b": np.ones(3), "d": 1.0})
    with pytest.raises(UnknownKeyError, match="'c'"):
        ew.fit(nll, state, 0.6, bounds=table())
