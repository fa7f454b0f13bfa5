"""Selections agree with the same expressions in NumPy; other texts are refused."""

import numpy as np
import pytest

from everwillow._errors import ArgumentValueError
from everwillow.models.event_filter import EventExpression, EventFilter


GENERATOR = np.random.default_rng(7)
COLUMNS = {
    "x": GENERATOR.normal(0.0, 2.0, 400),
    "y": GENERATOR.normal(0.0, 2.0, 400).astype(np.float32),
    "n": GENERATOR.integers(0, 6, 400).astype(np.uint8),
    "flag": GENERATOR.random(400) < 0.5,
    "jet.pt [GeV]": GENERATOR.exponential(30.0, 400),
}
x, y, n, flag, pt = COLUMNS.values()
k = n.astype(int)

CASES = {
    "x > 0.5": x > 0.5,
    "x>=-1.0 & y<=3.0": (x >= -1) & (y <= 3),
    "x > 1 & y < 2 | n == 3": ((x > 1) & (y < 2)) | (k == 3),
    "x > 1 | y < 0 & n == 3": (x > 1) | ((y < 0) & (k == 3)),
    "(x > 1 | y < 0) & n == 3": ((x > 1) | (y < 0)) & (k == 3),
    "x > 1 and y < 2 or not n == 3": ((x > 1) & (y < 2)) | (k != 3),
    "x > 1 && y < 2 || n == 3": ((x > 1) & (y < 2)) | (k == 3),
    "~(x > 1) & !flag": ~(x > 1) & ~flag,
    "~x > 1 & y < 0": ~(x > 1) & (y < 0),
    "not flag": ~flag,
    "flag": flag,
    "n": k != 0,
    "n != 2": k != 2,
    "-1 < x <= y < 2": (x > -1) & (x <= y) & (y < 2),
    "n in [1, 3]": np.isin(k, [1, 3]),
    "n not in (1, 3)": ~np.isin(k, [1, 3]),
    "n == [1, 3]": np.isin(k, [1, 3]),
    "n != [1, -3.0]": ~np.isin(k, [1]),
    "x + y * 2 > 1": x + y * 2 > 1,
    "-x ** 2 < -1": -(x**2) < -1,
    "n - 3 < 0": k - 3 < 0,
    "n % 2 == 1": k % 2 == 1,
    "n // 2 == 1": k // 2 == 1,
    "x / (y - 1) > 1": x / (y - 1) > 1,
    "(x > 0) + (y > 0) + (n > 2) >= 2": 0 + (x > 0) + (y > 0) + (k > 2) >= 2,
    "(x > 0) != flag": (x > 0) != flag,
    "abs(x) < 1": np.abs(x) < 1,
    "sqrt(x) < 1": (x >= 0) & (np.sqrt(np.abs(x)) < 1),
    "hypot(x, y) < 2 & exp(x) > 1": (np.hypot(x, y) < 2) & (x > 0),
    "arctan2(y, x) > 1": np.arctan2(y, x) > 1,
    "log10(abs(x)) + log(2) + sinh(x) + cos(y) > 0": np.log10(np.abs(x))
    + np.log(2)
    + np.sinh(x)
    + np.cos(y)
    > 0,
    "`jet.pt [GeV]` > 20 & x > 0": (pt > 20) & (x > 0),
    "x > 1e-1\n  and\ty < 2": (x > 0.1) & (y < 2),
    "x < 2 ** -1": x < 0.5,
}


@pytest.mark.parametrize("text", CASES)
def test_selection_is_that_of_numpy(text):
    selection = EventFilter(text)
    columns = {name: COLUMNS[name] for name in selection.names}
    chosen = selection(columns)
    assert chosen.dtype == bool
    np.testing.assert_array_equal(chosen, CASES[text])
    assert 0 < chosen.sum() < 400


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("x > y", ("x", "y")),
        ("abs(x) > 1 & `a b` < x", ("x", "a b")),
        ("1 < 2", ()),
        ("sin > 1 & sin(x) > 0", ("sin", "x")),
    ],
)
def test_names_are_the_columns_that_are_needed(text, names):
    assert EventFilter(text).names == names


def test_selection_without_columns_is_one_value():
    assert EventFilter("1 < 2")({}).tolist() is True
    assert EventFilter("False")({}).tolist() is False


def test_comparisons_with_nan_are_false_and_warn_of_nothing():
    column = np.array([np.nan, 1.0, -1.0])
    assert EventFilter("log(x) < 1")({"x": column}).tolist() == [False, True, False]
    assert EventFilter("not x > 0")({"x": column}).tolist() == [True, False, True]


def test_columns_of_single_precision_are_compared_in_single_precision():
    column = {"y": np.array([0.1, 0.2], np.float32)}
    assert EventFilter("y > 0.1")(column).tolist() == [False, True]
    assert EventFilter("y == 0.2")(column).tolist() == [False, True]


def test_differences_of_small_integers_do_not_overflow():
    column = {"n": np.array([1, 200], np.uint8)}
    assert EventFilter("n - 2 < 0 | n + n > 300")(column).tolist() == [True, True]


def test_large_powers_end():
    column = {"x": np.ones(2)}
    assert not EventFilter("x > 9 ** 9 ** 9 ** 9")(column).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x >", "invalid syntax"),
        ("", "invalid syntax"),
        ("x = 1", "Equality is written `==`"),
        ("x + 1", "'x \\+ 1' is a number, where a condition is needed"),
        ("x > 1 & 4", "'4' is a number.*no operations on bits"),
        ("x > 1 & y + 1", "'y \\+ 1' is a number"),
        ("sqr(x) > 1", "no function 'sqr'. Did you mean 'sqrt'"),
        ("f(x) > 1", "The functions are: abs"),
        ("sqrt(x, y) > 1", "sqrt takes 1 numbers, not 2"),
        ("sqrt(x=1) > 1", "not allowed"),
        ("jet.pt > 1", "names with dots in backticks: `jet.pt`"),
        ("x.__class__ > 1", "is not a column"),
        ("__import__('os').system('true')", "not allowed|number"),
        ("x > 'a'", "'a' is not a number"),
        ("x in 'abc'", "`in` needs a list of numbers"),
        ("x in y", "`in` needs a list of numbers"),
        ("x in [y]", "y in a list is not a number"),
        ("x < [1, 2]", "`in` and `not in` only"),
        ("x is 1", "Use `==`"),
        ("x ^ 2 > 1", "a power is written"),
        ("x[-1] > 1", "not allowed"),
        ("(lambda: 1)() > 0", "no function|not allowed"),
        ("[i for i in x] > 1", "not allowed"),
        ("x if y else n", "is a number|not allowed"),
        ("(x := 1) > 0", "not allowed"),
        ("x > 1; y", "invalid syntax"),
        ("@cut < x", "invalid syntax"),
        ("x > 1j", "1j is not a number"),
        ("`a b > 1", "invalid syntax"),
        ("`a b`.c > 1", "`a b`.c"),
        ("x + " * 400 + "1 > 0", "nested more than 150 levels"),
        ("(" * 300 + "x" + ")" * 300, "nested|parentheses"),
        ("-" * 5000 + "x > 1", "nested|cannot be read"),
        ("x > 1 & " * 2000 + "y > 1", "more than 10000 characters"),
    ],
)
def test_other_texts_are_refused_with_what_is_wrong(text, message):
    with pytest.raises(ArgumentValueError, match=message) as failure:
        EventFilter(text)
    assert "the selection" in str(failure.value)


def test_long_selections_are_allowed():
    text = " & ".join(f"x != {i}" for i in range(500))
    assert EventFilter(text)(COLUMNS).all()


def test_selections_of_one_text_are_equal():
    assert EventFilter("x > 1") == EventFilter("x > 1") != EventFilter("x > 2")
    assert len({EventFilter("x > 1"), EventFilter("x > 1")}) == 1


def test_elements_of_arrays_are_columns():
    found = EventFilter("`a.b`[1] > 2 and eta[0] in [1, 2] or n in[3]")
    assert found.names == ("a.b[1]", "eta[0]", "n")
    columns = {"a.b[1]": np.array([3.0, 3.0]), "eta[0]": np.array([1.0, 3.0])}
    assert found({**columns, "n": np.zeros(2)}).tolist() == [True, False]


def test_expressions_are_numbers_of_columns():
    momentum = EventExpression("energy[0] / cosh(eta[0]) * -1")
    columns = {"energy[0]": np.array([2.0, 5.0]), "eta[0]": np.array([0.0, 1.3])}
    np.testing.assert_allclose(momentum(columns), [-2.0, -5.0 / np.cosh(1.3)])
    single = EventExpression("w")
    assert single({"w": np.ones(2, np.float32)}).dtype == np.float32
    with pytest.raises(ArgumentValueError, match=r"expression 'a \+': "):
        EventExpression("a +")
