"""No answer to the data of yesterday: what a likelihood reads may change.

The global, the attribute, the Model and the object as observation follow
PlasmaControl/DESC#310, jax-ml/jax#1348 and triton-lang/triton#3757. Right values: the
mean of the data, and sigma / sqrt(n).
"""

import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._captures import marked, settle
from everwillow.fitting.conditional import conditional_fit
from everwillow.parameters import Normal
from tests.captures.kinds import NAMES, Holder, kinds


START = ew.State.from_pytree({"m": 0.0})
ERROR = 1 / np.sqrt(3.0)


def _mark(objective):
    (mark,), _ = marked([objective])
    return mark


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_tells_what_has_changed(name):
    objective, get, bind = kinds()[name]
    get()[:] = 1.0
    first = _mark(objective)
    assert _mark(objective) is first
    get()[1] = 2.0
    second = _mark(objective)
    assert second is not first
    get()[1] = 1.0
    assert _mark(objective) is first
    if bind is not None:
        bind(np.full(3, 3.0))
        third = _mark(objective)
        assert third not in (first, second)
        # The same numbers are the same, wherever they are.
        bind(np.ones(3))
        assert _mark(objective) is first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["global", "jit", "loop", "method"])
def test_fits_see_what_is_there_now(name):
    objective, get, bind = kinds()[name]
    bind(np.ones(3))
    # Whatever JAX keeps of a call by hand must not come back either.
    objective({"m": 0.0}, None)
    get()[:] = 2.0
    np.testing.assert_allclose(ew.fit(objective, START).params["m"], 2.0)
    get()[:] = 4.0
    np.testing.assert_allclose(ew.fit(objective, START).params["m"], 4.0)
    bind(np.full(3, 7.0))
    np.testing.assert_allclose(ew.fit(objective, START).params["m"], 7.0)


scale = 1.0
data = np.array([1.0, 2.0, 3.0])


def _nll(p, _):
    return 0.5 * jnp.sum(((data - p["m"]) / scale) ** 2)


def _center(fn):
    return lambda: fn().params["m"]


ENTRIES = {
    "ifit": _center(lambda: ew.ifit(_nll, START)),
    "conditional": lambda: conditional_fit(_nll, START, held={"m": 0.0}).nll,
    "minos": lambda: ew.profile.minos(_nll, START).upper,
    "uncertainties": lambda: ew.fit(_nll, START).errors["m"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_point_sees_what_is_there_now(name):
    global scale, data  # noqa: PLW0603
    scale, data = 1.0, np.array([1.0, 2.0, 3.0])
    first = float(np.ravel(ENTRIES[name]())[0])
    scale = 5.0
    data[:] = [10.0, 20.0, 30.0]
    second = float(np.ravel(ENTRIES[name]())[0])
    right = {
        "ifit": (2.0, 20.0),
        "conditional": (7.0, 28.0),
        "minos": (ERROR, 5 * ERROR),
        "uncertainties": (ERROR, 5 * ERROR),
    }
    np.testing.assert_allclose((first, second), right[name], rtol=1e-4)


@pytest.mark.slow
def test_a_model_sees_what_its_function_reads():
    global scale  # noqa: PLW0603
    scale = 1.0
    observed = np.array([1.0, 2.0, 3.0])
    model = ew.Model(
        lambda p, d: 0.5 * jnp.sum(((d - p["m"]) / scale) ** 2),
        {"m": 0.0, "b": 0.0},
        observed,
        constraints={"b": Normal(0.0, 1.0)},
    )
    np.testing.assert_allclose(ew.fit(model).errors["m"], ERROR)
    scale = 5.0
    np.testing.assert_allclose(ew.fit(model).errors["m"], 5 * ERROR)


@pytest.mark.slow
def test_an_object_as_observation_is_looked_into():
    holder = Holder(np.array([1.0, 2.0, 3.0]))

    def nll(p, o):
        return 0.5 * jnp.sum((o.data - p["m"]) ** 2)

    np.testing.assert_allclose(ew.fit(nll, START, holder).params["m"], 2.0)
    holder.data = np.array([10.0, 20.0, 30.0])
    np.testing.assert_allclose(ew.fit(nll, START, holder).params["m"], 20.0)


def test_attributes_that_nobody_reads_do_not_matter():
    holder = Holder(np.ones(3))
    first = _mark(holder.nll)
    holder.result = "what a fit has returned"
    assert _mark(holder.nll) is first


def test_what_a_likelihood_changes_itself_is_no_new_input():
    log, count = [], {"calls": 0}

    def nll(p, _):
        log.append(0)
        count["calls"] += 1
        return p["m"] ** 2

    first = _mark(nll)
    nll({"m": 1.0}, None)
    assert _mark(nll) is not first
    count["calls"] = 0
    # The list is only ever filled.
    assert _mark(nll) is first
    count["calls"] = 1
    settle([nll], [first])
    assert _mark(nll) is first


def test_nan_and_signs_of_zero_and_kinds_of_numbers():
    number = [float("nan")]

    def nll(p, _):
        return number[0] * p["m"]

    marks = []
    for value in (float("nan"), 0.0, -0.0, 0, False):
        number[0] = value
        marks.append(_mark(nll))
        assert _mark(nll) is marks[-1]
    assert len(set(marks)) == 5
