"""Names of structures that are the same in every process."""

import functools as ft
import pathlib

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.engine.program_store.fingerprint import (
    NoFingerprintError,
    fingerprint_of,
)


def module_level(x):
    return x


def test_fingerprints_tell_apart():
    things = [
        1,
        1.0,
        True,
        "1",
        b"1",
        None,
        (1,),
        [1],
        (1, 2),
        ((1,), 2),
        (1, (2,)),
        {"a": 1},
        {"a": 2},
        {1},
        np.float64(1),
        np.array([1.0]),
        np.array([[1.0]]),
        np.dtype(float),
        float,
        ew.fit,
        ft.partial(ew.fit, axis=0),
        ft.partial(ew.fit, axis=1),
        jax.tree.structure((0, 0)),
        jax.tree.structure([0, 0]),
        jax.tree.structure({"a": 0, "b": 0}),
        ew.Interval(0.0, 1.0),
        ew.Interval(0.0, 2.0),
        ew.TrustRegionNewton(),
        ew.TrustRegionNewton(bending=False),
    ]
    found = [fingerprint_of(thing) for thing in things]
    assert len(set(found)) == len(things)
    assert found == [fingerprint_of(thing) for thing in things]


@pytest.mark.parametrize(
    "thing",
    [lambda x: x, module_level, object(), {"a": [lambda: 0]}, pathlib.Path("a")],
)
def test_what_has_no_name_has_no_fingerprint(thing):
    # The code of a user may change, and nothing would tell.
    with pytest.raises(NoFingerprintError):
        fingerprint_of(thing)
