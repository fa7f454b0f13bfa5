"""Every entry point answers to the numbers that are there now, in whatever they are.

The right value is that of functions made anew around the other numbers.
"""

import zlib

import jax
import numpy as np
import pytest

from tests.captures.entries import ENTRIES
from tests.captures.holders import HOLDERS


pytestmark = pytest.mark.filterwarnings("ignore:fit has compiled")

BEFORE, AFTER = [1.0, 1.0, 1.0], [0.9, 1.0, 0.8]
# What JAX keeps of a function by identity, and what only a comparison by value sees.
ALWAYS = ("jitted", "global_array_in_place", "bound_method")
# By hand JAX's own caches are what its documentation says they are.
CALLED_BY_HAND = {"upper_limit": {"jitted", "jitted_helper", "loop"}}
SLOW_TO_COMPARE = {"cell_long_list", "globals_by_name", "evaluated"}


def _cases(entries, count):
    """Pair each entry with kinds that every function may have, and some by turns.

    The gate runs every sixth entry, with one kind.
    """
    chosen = [name for name in HOLDERS if name not in SLOW_TO_COMPARE]
    for i, entry in enumerate(entries):
        start = zlib.crc32(entry.encode())
        others = [chosen[(start + 7 * j) % len(chosen)] for j in range(count)]
        for kind in dict.fromkeys([*ALWAYS, *others]):
            if kind not in CALLED_BY_HAND.get(entry, ()):
                some = kind == others[0] and i % 6 == 0
                marks = [] if some else [pytest.mark.exhaustive]
                yield pytest.param(entry, kind, id=f"{entry}-{kind}", marks=marks)


def _flat(tree):
    leaves = jax.tree.leaves(tree)
    return np.concatenate([np.ravel(np.asarray(leaf, float)) for leaf in leaves])


_RIGHT = {}


def _right(entry):
    """Return what functions with constants say before and after, computed once."""
    if entry not in _RIGHT:

        def found(values):
            numbers = np.array(values)
            return _flat(ENTRIES[entry](lambda body: lambda *a: body(numbers, *a))())

        _RIGHT[entry] = found(BEFORE), found(AFTER)
    return _RIGHT[entry]


def check(entry, kind):
    """Compute with one set of numbers and with another one."""
    puts = []

    def wrap(body):
        function, put = HOLDERS[kind](body)
        puts.append(put)
        return function

    compute = ENTRIES[entry](wrap)
    rights = _right(entry)
    assert not np.allclose(*rights, rtol=1e-4, equal_nan=True)
    for values, right in zip((BEFORE, AFTER), rights, strict=True):
        for put in puts:
            put(values)
        np.testing.assert_allclose(_flat(compute()), right, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ("asimov", "jitted"),
        ("asimov", "imported_inside"),
        ("fit_nothing", "enum_value"),
        ("fit_nothing", "cell_behind_a_lock"),
    ],
)
def test_some_entry_points_see_what_is_there_now(entry, kind):
    check(entry, kind)


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "kind"), list(_cases(ENTRIES, 2)))
def test_every_entry_point_sees_what_is_there_now(entry, kind):
    check(entry, kind)
