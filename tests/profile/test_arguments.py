"""Bad input: what is wrong, where, and how to mend it, before anything is fitted."""

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.profile import contour, minos, scan, scan_2d
from tests.profile.models import START, bounds, counting, data


def never(params, observation):
    del params, observation
    msg = "fitted before the names were checked"
    raise AssertionError(msg)


BOX = bounds(a=(-2.0, 4.0))


def call(function, **options):
    options = {"fixed": {"c": ...}, "bounds": BOX} | options
    return function(never, START, data(), **options)


LINE = {"name": "a", "values": [0.0, 1.0]}
GRID = {"names": ("a", "b[0]"), "values": ([0.0], [1.0])}


@pytest.mark.parametrize(
    ("function", "options", "error", "words"),
    [
        (scan, LINE | {"name": "aa"}, KeyError, "'aa'.*'a'"),
        (scan, LINE | {"name": "b[2]"}, KeyError, "b"),
        (scan, LINE | {"name": "b"}, ValueError, r"2 elements.*'b\[0\]'"),
        (scan, LINE | {"name": "c"}, ValueError, "'c' is fixed"),
        (scan, LINE | {"held": ["a"]}, ValueError, "'a' is among"),
        (scan, LINE | {"held": "b*"}, TypeError, r"\['b\*'\]"),
        (scan, LINE | {"held": ["bb"]}, KeyError, "held"),
        (scan, LINE | {"values": []}, ValueError, r"values.*\(0,\)"),
        (scan, LINE | {"values": 1.0}, ValueError, r"values.*\(\)"),
        (scan, LINE | {"values": [[0.0]]}, ValueError, r"values.*\(1, 1\)"),
        (scan, LINE | {"values": [0.0, np.nan]}, ValueError, "values.*nan"),
        (scan, LINE | {"values": [0.0, np.inf]}, ValueError, "values.*inf"),
        (scan, LINE | {"values": [0.0, -3.0]}, ValueError, r"-3.*\[-2, 4\]"),
        (scan_2d, GRID | {"names": "ab"}, ValueError, "two parameters"),
        (scan_2d, GRID | {"names": ("a",)}, ValueError, "two parameters"),
        (scan_2d, GRID | {"names": ("a", "a")}, ValueError, "two different"),
        (scan_2d, GRID | {"values": ([0.0],)}, ValueError, "two axes"),
        (scan_2d, GRID | {"values": ([0.0], [])}, ValueError, r"values\[1\]"),
        (scan_2d, GRID | {"names": ("a", "d")}, KeyError, "names"),
        (minos, {"names": ["a", "bx"]}, KeyError, "names.*'b'"),
        (minos, {"names": []}, ValueError, "names"),
        (minos, {"names": ["c"]}, ValueError, "'c' is fixed"),
        (minos, {"names": ["a"], "held": ["a"]}, ValueError, "nor held"),
        (minos, {"held": ["*"]}, ValueError, "nor held"),
        (minos, {"cl": 0.0}, ValueError, "cl.*0.0"),
        (minos, {"cl": 1.0}, ValueError, "cl"),
        (minos, {"cl": 68.27}, ValueError, "cl.*68.27"),
        (minos, {"cl": np.nan}, ValueError, "cl"),
        (minos, {"cl": "68%"}, TypeError, "cl.*str"),
        (minos, {"cl": [0.68, 0.95]}, TypeError, "cl.*list"),
        (contour, {"names": ("a", "b[0]"), "cl": 1.5}, ValueError, "cl.*1.5"),
        (contour, {"names": ("a", "b[0]"), "points": 4}, ValueError, "points.*4"),
        (contour, {"names": ("a", "b[0]"), "points": 20.0}, ValueError, "points"),
        (contour, {"names": ("a", "b")}, ValueError, "2 elements"),
    ],
)
def test_bad_input_is_refused(function, options, error, words):
    with pytest.raises(error, match=words) as caught:
        call(function, **options)
    assert isinstance(caught.value, ew.EverwillowError)


def test_the_label_of_an_element_is_no_pattern():
    start = ew.State.from_pytree({"b": np.ones(2), "b0": 1.0})
    with pytest.raises(ValueError, match="nor held"):
        minos(never, start, data(), names=["b[0]"], held=["b[0]"])


def test_a_fit_that_fails_is_no_minimum():
    start = ew.State.from_pytree({"rate": -1.0})
    with pytest.raises(ew.FitError):
        minos(counting, start, 3.0)
    failed = ew.fit(counting, start, 3.0, throw=False)
    for function, options in ((minos, {}), (scan, LINE | {"name": "rate"})):
        with pytest.raises(ew.FitError):
            function(counting, failed, 3.0, **options)


def test_a_batch_of_fits_has_no_one_minimum():
    start = ew.State.from_pytree({"rate": 3.0})
    one = ew.fit(counting, start, 3.0)
    batch = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), one)
    with pytest.raises(ValueError, match=r"jax\.vmap"):
        minos(counting, batch, 3.0)


@pytest.mark.slow
def test_large_matrix_free_fits_have_no_hessian():
    size = 1001

    def many(params, observation):
        return 0.5 * ((params["x"] - observation) ** 2).sum()

    start = ew.State.from_pytree({"x": np.zeros(size)})
    with pytest.raises(ValueError, match="TrustRegionNewton"):
        scan(
            many,
            start,
            np.ones(size),
            name="x[0]",
            values=[0.0],
            solver=ew.NewtonCG(),
        )
