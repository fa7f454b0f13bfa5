"""A mark tells whether anything that a function reads has changed."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from everwillow._captures import marked, walk
from everwillow._captures.held import structure_parts
from everwillow._captures.opening import opened
from everwillow._captures.walk import Walk, scope_of
from tests.captures.holders import HOLDERS, Holder


def _mark(objective):
    (mark,), _ = marked([objective])
    return mark


def _sum(numbers, p, _):
    return jnp.sum((jnp.asarray(numbers) - p["m"]) ** 2)


@pytest.mark.filterwarnings("ignore:A function given to everwillow reads")
@pytest.mark.parametrize("name", HOLDERS)
def test_a_mark_is_that_of_the_numbers_held(name):
    function, put = HOLDERS[name](_sum)
    put([1.0, 2.0, 3.0])
    first = _mark(function)
    assert _mark(function) is first
    put([1.0, 2.0, 4.0])
    assert _mark(function) is not first
    put([1.0, 2.0, 3.0])
    assert _mark(function) is first


def test_many_objects_are_compared_with_a_warning():
    function, _ = HOLDERS["cell_long_list"](_sum)
    with pytest.warns(UserWarning, match="Hold numbers in an array"):
        _mark(function)


def test_too_many_objects_are_never_the_same(monkeypatch):
    monkeypatch.setattr(walk, "LONGEST", 100)
    function, _ = HOLDERS["cell_long_list"](_sum)
    assert _mark(function) is not _mark(function)


def test_what_only_the_making_of_an_object_reads_does_not_matter():
    setting = types.SimpleNamespace(start=1.0)

    class Made:
        def __init__(self):
            self.numbers = np.ones(3) * setting.start

        def __call__(self, p, _):
            return _sum(self.numbers, p, _)

    made = Made()
    first = _mark(made)
    setting.start = 2.0
    assert _mark(made) is first


def test_what_a_function_only_assigns_to_does_not_matter():
    holder = Holder(_sum)

    def nll(p, o):
        holder.inside = p
        return holder(p, o)

    first = _mark(nll)
    holder.inside = "whatever"
    assert _mark(nll) is first


def test_the_session_of_pytest_is_not_walked_through():
    """An `assert` that pytest has rewritten reads its whole session."""

    def nll(params, data):
        assert data.shape == (3,), f"{params} and {data}"
        return (params["mu"] - data).sum()

    assert any(name.startswith("@py") for name in nll.__code__.co_names)
    assert len(Walk(nll, scope_of(nll)).tokens) < 50


def test_an_opened_function_does_not_hold_what_libraries_hold():
    # Jupyter puts a method of its kernel among the built-in functions, which modules
    # such as jax.numpy refer to.
    held = []

    def pipeline(scale):
        def nll(p, _):
            return jnp.sum((p["m"] - scale) ** 2)

        held.extend(structure_parts(jax.tree.structure(opened(nll))))
        return scale

    jax.make_jaxpr(pipeline)(1.0)
    (function,) = held
    assert function.__name__ == "nll"
