"""Histories hold what the fit did, for any solver."""

import types

import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
from everwillow._errors import ArgumentTypeError
from everwillow.callback import Callback, HistoryCallback, nll_of
from everwillow.fitting import ifit


START = ew.State.from_pytree({"x": 4.0, "y": np.array([1.0, 2.0])})


def nll(params, data):
    return jnp.cosh(params["x"] - data) + jnp.sum(params["y"] ** 2)


@pytest.mark.parametrize(
    "solver",
    [
        ew.TrustRegionNewton(),
        ew.NewtonCG(),
        optx.BFGS(1e-8, 1e-8),
        optx.GradientDescent(0.05, 1e-5, 1e-5),
        optx.NelderMead(1e-8, 1e-8),
        optx.BestSoFarMinimiser(optx.BFGS(1e-8, 1e-8)),
    ],
    ids=lambda solver: type(solver).__name__,
)
def test_history_goes_from_the_start_to_the_minimum(solver):
    history = HistoryCallback()
    result = ifit(
        nll, START, 1.0, solver=solver, max_steps=1000, throw=False, callbacks=[history]
    )
    assert history.steps == list(range(int(result.num_steps)))
    assert len(history.nlls) == len(history.steps)
    assert all(type(value) is float for value in history.nlls)
    # cosh 3 + 5 at the start, from which NewtonCG moves in its first step, and 1 at
    # the minimum. Nelder-Mead begins with the best corner of its simplex.
    first = history.nlls[0]
    if isinstance(solver, ew.NewtonCG):
        assert first < np.cosh(3.0) + 5
    else:
        assert np.isclose(first, np.cosh(3.0) + 5, rtol=0.01)
    # Nelder-Mead and descent by fixed steps end where their steps are small.
    assert np.isclose(history.nlls[-1], 1, rtol=1e-5)


def test_history_of_our_solver_begins_with_the_start_point():
    history = HistoryCallback()
    ifit(nll, START, 1.0, callbacks=[history])
    assert np.isclose(history.nlls[0], np.cosh(3.0) + 5, rtol=1e-14)
    assert np.all(np.diff(history.nlls) <= 0)


def test_history_may_compute_its_values_itself():
    own = HistoryCallback(value=lambda y: 2 * nll(y.to_pytree(), 1.0))
    kept = HistoryCallback()
    ifit(nll, START, 1.0, callbacks=[own, kept])
    assert np.allclose(own.nlls, 2 * np.array(kept.nlls), rtol=1e-14)


def test_history_says_how_far_it_is():
    history = HistoryCallback()
    assert repr(history) == "HistoryCallback(0 steps)"
    history(5, START, types.SimpleNamespace(nll=jnp.asarray(1.5)))
    assert (history.steps, history.nlls) == ([5], [1.5])
    assert repr(history) == "HistoryCallback(1 steps, nll=1.5)"


def test_a_state_without_a_value_is_refused_with_a_way_out():
    with pytest.raises(ArgumentTypeError, match=r"SimpleNamespace .*value=lambda y"):
        nll_of(types.SimpleNamespace(y=1.0))


def test_histories_do_not_share_their_lists():
    one, other = HistoryCallback(), HistoryCallback()
    one(0, START, types.SimpleNamespace(nll=1.0))
    assert other.steps == []


def test_functions_and_histories_are_callbacks():
    assert isinstance(HistoryCallback(), Callback)
    assert isinstance(lambda i, y, s: None, Callback)
