"""Forms of calls that existing scripts rely on: fits and their results."""

import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
import everwillow.statelib as sl
from everwillow.callback import nll_of
from everwillow.hypotest import constrained_fit


START = sl.State.from_pytree({"mu": 1.0, "x": 0.5})


def nll(params, data):
    return 0.5 * jnp.sum((data - params["mu"]) ** 2) + 0.5 * params["x"] ** 2


def poisson(params, n):
    rate = 10.0 * params["mu"] + 50.0
    return rate - n * jnp.log(rate)


def test_ifit_calls_back_with_the_value():
    seen = []

    def callback(iteration, y, state):
        seen.append((iteration, float(y["mu"]), float(state.nll)))

    result = ew.ifit(nll, START, 3.0, progress=False, callbacks=[callback])
    assert [iteration for iteration, _, _ in seen] == list(range(len(seen)))
    assert result.solver_result.stats["num_steps"] == len(seen)
    np.testing.assert_allclose(seen[-1][1:], (3.0, 0.0), atol=1e-9)


def test_ifit_calls_back_with_the_state_of_other_solvers():
    values, nlls = [], []

    def callback(iteration, y, state):
        del iteration, y
        nlls.append(state.nll)
        values.append(float(state.f_info.f))

    solver = optx.BFGS(rtol=1e-8, atol=1e-8)
    result = ew.ifit(
        nll, START, 3.0, solver=solver, progress=False, callbacks=[callback]
    )
    assert values[-1] <= values[0]
    assert values == nlls
    assert result.solver_result.stats["num_steps"] == len(values)


@pytest.mark.parametrize("max_steps", [1, 50])
def test_ifit_at_the_minimum(max_steps):
    there = ew.fit(nll, START, 3.0).params
    result = ew.ifit(nll, there, 3.0, max_steps=max_steps, progress=False)
    assert result.success
    assert result.solver_result.stats["num_steps"] == 1


@pytest.mark.parametrize("throw", [None, False])
def test_ifit_with_one_step(throw, caplog):
    count = []
    result = ew.ifit(
        poisson,
        sl.State.from_pytree({"mu": 1.0}),
        70.0,
        max_steps=1,
        throw=throw,
        callbacks=[lambda i, y, state: count.append(i)],
    )
    assert count == [0]
    assert result.solver_result.stats["num_steps"] == 1
    assert not result.success
    assert result.status == ew.RESULTS.nonlinear_max_steps_reached
    assert np.isfinite(result.nll)
    assert ("max_steps=1" in caplog.text) == (throw is None)


def test_ifit_raises_what_more_steps_do_not_mend():
    with pytest.raises(ew.FitError, match="does not depend"):
        ew.ifit(lambda p, n: (p["mu"] + p["x"] - n) ** 2, START, 3.0)


def test_states_of_solvers_without_a_value_have_nll():
    states = []
    solver = optx.NelderMead(rtol=1e-6, atol=1e-6)
    ew.ifit(
        nll,
        START,
        3.0,
        solver=solver,
        throw=False,
        progress=False,
        callbacks=[lambda i, y, state: states.append(state)],
    )
    assert type(states[-1]).__name__ == "_NelderMeadState"
    assert states[-1].nll == nll_of(states[-1]) == float(states[-1].best[0])
    np.testing.assert_allclose(states[-1].nll, 0.0, atol=1e-5)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("progress", "stream", "shown"),
    [
        (None, Terminal, True),
        (None, io.StringIO, False),
        (True, io.StringIO, True),
        (False, Terminal, False),
    ],
)
def test_ifit_shows_a_bar_where_it_can_be_read(monkeypatch, progress, stream, shown):
    monkeypatch.setattr(sys, "stderr", stream())
    ew.ifit(nll, START, 3.0, progress=progress)
    assert ("iteration" in sys.stderr.getvalue()) is shown


def test_without_tqdm_there_is_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "everwillow.progress", None)
    assert ew.ifit(nll, START, 3.0).success
    with pytest.raises(ImportError):
        ew.ifit(nll, START, 3.0, progress=True)


@pytest.mark.parametrize("success", [True, False, np.bool_(True), jnp.array(True)])
def test_a_result_of_four_fields(success):
    result = ew.FitResult(
        params=START, nll=jnp.array(1.5), success=success, solver_result=None
    )
    assert (result.params, result.nll, result.solver_result) == (START, 1.5, None)
    assert bool(result.success) is bool(success)
    unknown = (result.status, result.edm, result.hessian, result.gradient)
    assert unknown == (None, None, None, None)
    assert (result.covariance, result.errors, result.bound_errors) == (None, None, None)
    assert result.labels == ("mu", "x")
    assert "not computed" in repr(result) or not success
    copied = jax.jit(lambda one: one)(result)
    assert copied.params["x"] == 0.5
    if success:
        assert result.check() is result
    else:
        with pytest.raises(ew.FitError):
            result.check()


def test_a_result_of_four_fields_is_a_start_and_a_point(tmp_path):
    result = ew.FitResult(params=START, nll=1.5, success=True, solver_result=None)
    np.testing.assert_allclose(ew.fit(nll, result, 3.0).params["mu"], 3.0)
    covariance = ew.covariance_matrix(nll, result, 3.0)
    np.testing.assert_allclose(covariance, np.eye(2), atol=1e-12)
    ew.io.save(result, tmp_path / "result.json")
    assert ew.io.load(tmp_path / "result.json").params["x"] == 0.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: ew.fit(nll, START, 3.0, fixed={"mu": 2.0, "x": 1.0}),
        lambda: ew.fit(nll, START, 3.0, fixed=sl.update(START, {"mu": 2.0, "x": 1.0})),
        lambda: ew.ifit(nll, START, 3.0, fixed={"mu": 2.0, "x": 1.0}, progress=False),
        lambda: constrained_fit(nll, START, 3.0, {"mu": 2.0}, fixed={"x": 1.0}),
        lambda: constrained_fit(nll, START, 3.0, {"mu": 2.0, "x": 1.0}),
    ],
)
def test_with_all_parameters_fixed_there_is_a_value(call):
    result = call()
    assert result.success
    assert result.solver_result is None
    assert result.params.to_dict() == {"mu": 2.0, "x": 1.0}
    np.testing.assert_allclose(result.nll, 1.0)


def test_one_event_is_fitted_from_anywhere():
    for start in np.linspace(-4.0, 20.0, 25):
        result = ew.fit(poisson, sl.State.from_pytree({"mu": start}), 1.0)
        np.testing.assert_allclose(result.params["mu"], -4.9, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "wrong", "right"),
    [
        (ew.profile.scan, "poi", "name"),
        (ew.profile.minos, "poi", "names"),
        (ew.profile.minos, "level", "cl"),
        (ew.limits, "name", "poi"),
        (constrained_fit, "max_iterations", "max_steps"),
    ],
)
def test_words_of_other_functions_have_a_hint(call, wrong, right):
    with pytest.raises(TypeError, match=rf"no argument '{wrong}'. Write {right}=..."):
        call(nll, START, 3.0, **{wrong: "mu"})
