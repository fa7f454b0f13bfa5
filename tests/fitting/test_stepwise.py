"""`ifit` is `fit` in steps, and goes on where it was stopped, bit for bit."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
from everwillow import _store
from everwillow._errors import ArgumentTypeError, ArgumentValueError, CheckpointError
from everwillow.callback import HistoryCallback, nll_of
from everwillow.fitting import ifit
from everwillow.fitting._checkpoint import FILE
from tests.fitting import killed_fit
from tests.helpers import TraceCounter, count_jax_work, tree_allclose


nll, DATA = killed_fit.nll, killed_fit.DATA
START = ew.State.from_pytree({"a": -1.2, "b": np.array([1.0, 1.5])})
SOLVERS = {
    "TrustRegionNewton": ew.TrustRegionNewton(),
    "NewtonCG": ew.NewtonCG(),
    "BFGS": optx.BFGS(rtol=1e-10, atol=1e-10),
    "LBFGS": optx.LBFGS(rtol=1e-10, atol=1e-10),
    "NelderMead": optx.NelderMead(rtol=1e-10, atol=1e-10),
    "BestSoFar": optx.BestSoFarMinimiser(optx.BFGS(rtol=1e-10, atol=1e-10)),
}
# From START the simplex of NelderMead collapses in every other case: rounding decides.
NEARER = ew.State.from_pytree({"a": 0.0, "b": np.array([0.5, 0.5])})
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


class StopError(Exception):
    pass


def start_of(solver) -> ew.State:
    return NEARER if isinstance(solver, optx.NelderMead) else START


def stop_at(step: int, exception: BaseException):
    def callback(iteration, y, state):
        if iteration == step:
            raise exception

    return callback


def identical(a, b) -> bool:
    """Say whether two results are one, to the last bit, solver states included."""
    pairs = zip(jtu.tree_leaves(a), jtu.tree_leaves(b), strict=True)
    return jtu.tree_structure(a) == jtu.tree_structure(b) and all(
        np.asarray(x).dtype == np.asarray(y).dtype
        and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in pairs
    )


# The same fit as `fit`


@pytest.mark.slow
@each_solver
def test_result_is_that_of_fit(solver):
    start = start_of(solver)
    one = ew.fit(nll, start, DATA, solver=solver, max_steps=1000)
    steps = ifit(nll, start, DATA, solver=solver, max_steps=1000)
    assert jtu.tree_structure(one) == jtu.tree_structure(steps)
    assert int(one.num_steps) == int(steps.num_steps) > 5
    assert bool(steps.success)
    assert one.message() == steps.message()
    # One program may round otherwise than another.
    assert tree_allclose(one.params, steps.params, rtol=1e-10)
    assert tree_allclose(one.nll, steps.nll, rtol=1e-12)
    assert tree_allclose(one.hessian, steps.hessian, rtol=1e-8)
    assert tree_allclose(one.solver_result.value, steps.solver_result.value, rtol=1e-10)


def test_result_is_the_closed_form_of_a_mean():
    def mean(params, data):
        return 0.5 * jnp.sum(((params["mu"] - data["x"]) / data["sigma"]) ** 2)

    x, sigma = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.5, 2.0])
    result = ifit(mean, ew.State.from_pytree({"mu": 9.0}), {"x": x, "sigma": sigma})
    weight = 1 / sigma**2
    assert np.isclose(
        result.params["mu"], np.sum(weight * x) / np.sum(weight), rtol=1e-14
    )
    assert np.isclose(result.covariance[0, 0], 1 / np.sum(weight), rtol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("TrustRegionNewton", {"fixed": {"a": 0.5, "b": None}}),
        ("TrustRegionNewton", {"bounds": {"a": ew.Interval(-2.0, 0.25)}}),
        ("TrustRegionNewton", {"bounds": {"b": ew.SigmoidTransform(-1.0, 5.0)}}),
        ("BFGS", {"bounds": {"a": ew.Interval(-2.0, 3.0)}, "fixed": {"b": 0.5}}),
    ],
)
def test_fixed_values_and_bounds_are_those_of_fit(name, options):
    options = {"solver": SOLVERS[name], "throw": False, **options}
    one = ew.fit(nll, START, DATA, **options)
    steps = ifit(nll, START, DATA, **options)
    assert int(one.num_steps) == int(steps.num_steps)
    assert bool(one.success) == bool(steps.success)
    assert tree_allclose(one.params, steps.params, rtol=1e-9)
    assert tree_allclose(one.at_bound, steps.at_bound)
    assert tree_allclose(one.covariance, steps.covariance, rtol=1e-7, atol=1e-12)


@pytest.mark.slow
def test_model_brings_its_own_arguments_and_constraints():
    model = ew.Model(
        lambda p, data: 0.5 * (p["mu"] * p["scale"] - data) ** 2,
        ew.State.from_pytree({"mu": 1.0, "scale": 1.0}),
        3.0,
        constraints={"scale": ew.Normal(1.0, 0.1)},
    )
    steps = ifit(model)
    assert tree_allclose(steps.params, ew.fit(model).params, rtol=1e-12)
    assert set(steps.constraints) == {"scale"}
    assert "pull" in repr(steps)


def test_nothing_to_fit_is_evaluated_without_a_step(tmp_path):
    history = HistoryCallback()
    result = ifit(
        nll,
        START,
        DATA,
        fixed={"a": ..., "b": 0.5},
        callbacks=[history],
        checkpoint=tmp_path,
    )
    assert history.steps == []
    assert int(result.num_steps) == 0
    assert np.isclose(result.nll, nll({"a": -1.2, "b": np.full(2, 0.5)}, DATA))


def test_too_few_steps_raise_or_are_reported(caplog):
    with pytest.raises(ew.FitError) as caught:
        ifit(nll, START, DATA, max_steps=3, throw=True)
    assert int(caught.value.result.num_steps) == 3
    one = ew.fit(nll, START, DATA, max_steps=3, throw=False)
    steps = ifit(nll, START, DATA, max_steps=3, throw=False)
    assert not caplog.records
    by_default = ifit(nll, START, DATA, max_steps=3)
    [record] = caplog.records
    assert (record.name, record.levelname) == ("everwillow", "WARNING")
    assert identical(by_default.params, steps.params)
    assert not bool(steps.success)
    assert one.message() == steps.message()
    assert steps.solver_result.stats["max_steps"] == 3
    assert tree_allclose(one.params, steps.params, rtol=1e-12)


@pytest.mark.slow
def test_a_start_that_is_not_finite_is_reported_like_by_fit():
    def log(params, data):
        return jnp.log(params["x"])

    start = ew.State.from_pytree({"x": -1.0})
    for solver in (None, SOLVERS["BFGS"]):
        one = ew.fit(log, start, None, solver=solver, throw=False)
        steps = ifit(log, start, None, solver=solver, throw=False)
        assert not bool(steps.success)
        assert int(one.num_steps) == int(steps.num_steps)
        assert one.message() == steps.message()


# Compiled once


@each_solver
def test_other_numbers_trace_nothing(solver):
    counted = TraceCounter(nll)
    history = HistoryCallback()

    def run(start, width):
        return ifit(
            counted,
            ew.State.from_pytree({"a": start, "b": np.array([1.0, 1.5])}),
            {"counts": DATA["counts"], "width": width},
            solver=solver,
            max_steps=1000,
            throw=False,
            bounds={"a": ew.Interval(-3.0, 4.0 + start)},
            callbacks=[history],
        )

    first = run(-1.2, 0.3)
    before = counted.calls
    assert before > 0
    with count_jax_work() as work:
        second = run(-1.0, 0.2)
    assert counted.calls == before
    assert (work.traces, work.compilations) == (0, 0)
    assert float(first.nll) != float(second.nll)


# Callbacks


def with_fixed(params, data):
    return nll(params, data) + (params["c"] - 7) ** 2


@pytest.mark.slow
@each_solver
def test_callbacks_see_each_step_in_physical_units(solver):
    seen = []

    def look(iteration, y, state):
        seen.append((iteration, y, nll_of(state)))

    result = ifit(
        with_fixed,
        ew.State.from_pytree({"a": -1.2, "b": np.array([1.0, 1.5]), "c": 7.0}),
        DATA,
        fixed={"c": 6.5},
        bounds={"a": ew.SigmoidTransform(-5.0, 5.0)},
        solver=solver,
        max_steps=1000,
        throw=False,
        callbacks=[look],
    )
    assert [s[0] for s in seen] == list(range(int(result.num_steps)))
    points = [y for _, y, _ in seen]
    assert all(isinstance(y, ew.State) and tuple(y) == ("a", "b", "c") for y in points)
    assert all(float(y["c"]) == 6.5 for y in points)
    kept = np.array([value for *_, value in seen])
    if not isinstance(solver, optx.NelderMead):
        # Nelder-Mead moves to a vertex one step after it reports its value, and loses
        # the best one when its simplex shrinks.
        assert np.all(np.diff(kept) <= 0)
        values = [float(with_fixed(y.to_pytree(), DATA)) for y in points]
        assert np.allclose(kept, values, rtol=1e-10)
    assert tree_allclose(points[-1], result.params, rtol=1e-5)


def test_states_of_our_solvers_have_nll_and_edm():
    seen = []
    for solver in (ew.TrustRegionNewton(), ew.NewtonCG()):
        look = [lambda iteration, y, state: seen.append((state.nll, state.edm))]
        result = ifit(nll, START, DATA, solver=solver, callbacks=look)
        assert np.isclose(float(seen[-1][1]), result.edm)
        assert float(seen[-1][1]) < 1e-8 < float(seen[0][1])


def test_callbacks_are_called_in_order_and_their_result_is_ignored():
    order = []
    result = ifit(
        nll,
        START,
        DATA,
        callbacks=(lambda i, y, s, n=n: order.append((i, n)) or False for n in (0, 1)),
    )
    assert len(order) == 2 * int(result.num_steps)
    assert [i for i, _ in order[:4]] == [0, 0, 1, 1]


def test_a_callback_that_writes_into_its_parameters_changes_nothing():
    def vandal(iteration, y, state):
        y["b"][:] = np.nan

    assert identical(ifit(nll, START, DATA, callbacks=[vandal]), ifit(nll, START, DATA))
    assert np.array_equal(START["b"], [1.0, 1.5])


@pytest.mark.parametrize(
    "exception", [StopError("enough"), KeyboardInterrupt(), StopIteration()]
)
def test_what_a_callback_raises_reaches_the_caller(exception, tmp_path):
    with pytest.raises(type(exception)) as caught:
        ifit(
            nll,
            START,
            DATA,
            callbacks=[stop_at(2, exception)],
            checkpoint=tmp_path,
        )
    assert caught.value is exception
    # The step that the callback saw is already saved.
    assert _store.load(tmp_path / FILE)[1]["count"] == 3


# Checkpoints


@each_solver
def test_a_stopped_fit_ends_with_the_identical_result(solver, tmp_path):
    options = {"solver": solver, "max_steps": 1000}
    start = start_of(solver)
    whole = HistoryCallback()
    expected = ifit(nll, start, DATA, callbacks=[whole], **options)
    last = int(expected.num_steps) - 1
    seen = []
    for step in (0, last // 2, last):
        history = HistoryCallback()
        with pytest.raises(StopError):
            ifit(
                nll,
                start,
                DATA,
                callbacks=[history, stop_at(step, StopError())],
                checkpoint=tmp_path,
                **options,
            )
        seen += list(zip(history.steps, history.nlls, strict=True))
    result = ifit(nll, start, DATA, checkpoint=tmp_path, **options)
    assert identical(result, expected)
    assert seen == list(zip(whole.steps, whole.nlls, strict=True))


def test_a_checkpoint_changes_nothing_and_stands_after_each_step(tmp_path):
    directory = tmp_path / "new" / "directory"
    counts = []

    def look(iteration, y, state):
        counts.append(_store.load(directory / FILE)[1]["count"])

    result = ifit(nll, START, DATA, callbacks=[look], checkpoint=str(directory))
    assert identical(result, ifit(nll, START, DATA))
    assert counts == list(range(1, int(result.num_steps) + 1))
    assert [path.name for path in directory.iterdir()] == [FILE]


@pytest.mark.slow
def test_a_finished_fit_is_returned_at_once(tmp_path):
    counted, history = TraceCounter(nll), HistoryCallback()
    first = ifit(counted, START, DATA, checkpoint=tmp_path)
    content = (tmp_path / FILE).read_bytes()
    again = ifit(counted, START, DATA, callbacks=[history], checkpoint=tmp_path)
    assert identical(first, again)
    assert history.steps == []
    assert (tmp_path / FILE).read_bytes() == content


def test_more_steps_continue_a_fit_that_had_too_few(tmp_path):
    few = ifit(nll, START, DATA, max_steps=4, throw=False, checkpoint=tmp_path)
    assert int(few.num_steps) == 4
    history = HistoryCallback()
    result = ifit(nll, START, DATA, callbacks=[history], checkpoint=tmp_path)
    assert history.steps[0] == 4
    assert identical(result, ifit(nll, START, DATA))


def test_fewer_steps_than_saved_only_judge_the_point_reached(tmp_path):
    expected = ifit(nll, START, DATA, max_steps=4, throw=False, checkpoint=tmp_path)
    result = ifit(nll, START, DATA, max_steps=1, throw=False, checkpoint=tmp_path)
    assert int(result.num_steps) == 4
    assert not bool(result.success)
    assert identical(result.params, expected.params)


def test_a_state_with_a_random_key_is_saved(tmp_path):
    class Noisy(optx.AbstractMinimiser):
        """Gradient descent with noise that dies out."""

        rtol: float = 0.0
        atol: float = 0.0
        norm = staticmethod(optx.max_norm)

        def init(self, fn, y, args, options, f_struct, aux_struct, tags):
            return jr.key(3), jnp.asarray(1.0)

        def step(self, fn, y, args, options, state, tags):
            key, size = state
            key, now = jr.split(key)
            slope = jax.grad(lambda v: fn(v, args)[0])(y)
            return y - slope / 2 + size * jr.normal(now, y.shape), (key, size / 4), None

        def terminate(self, fn, y, args, options, state, tags):
            return state[1] < 1e-12, optx.RESULTS.successful

        def postprocess(self, fn, y, aux, args, options, state, tags, result):
            return y, aux, {}

    def run(*callbacks, **options):
        state = ew.State.from_pytree({"x": 5.0})
        return ifit(
            lambda p, d: (p["x"] - d) ** 2 / 2,
            state,
            2.0,
            solver=Noisy(),
            callbacks=callbacks,
            throw=False,
            **options,
        )

    expected = run()
    with pytest.raises(StopError):
        run(stop_at(7, StopError()), checkpoint=tmp_path)
    assert identical(run(checkpoint=tmp_path).params, expected.params)


def test_a_killed_process_continues_to_the_identical_result(tmp_path):
    expected = killed_fit.run(None)
    root = pathlib.Path(__file__).parents[2]
    path = tmp_path / FILE
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fitting.killed_fit", os.fspath(tmp_path)],
        cwd=root,
    ) as process:
        while process.poll() is None:
            if path.exists() and _store.load(path)[1]["count"] >= 2:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
    assert process.returncode == -signal.SIGKILL
    assert 2 <= _store.load(path)[1]["count"] < int(expected.num_steps)
    (tmp_path / f".{FILE}.stray.tmp").write_bytes(path.read_bytes()[:100])
    assert identical(killed_fit.run(os.fspath(tmp_path)), expected)


class Scaled(eqx.Module):
    factor: jax.Array

    def __call__(self, params, data):
        return self.factor * nll(params, data)


def other_nll(params, data):
    return 2 * nll(params, data)


BASE = {
    "nll_fn": nll,
    "params": START,
    "observation": DATA,
    "solver": optx.BFGS(rtol=1e-10, atol=1e-10),
    "bounds": {"a": ew.Interval(-3.0, 3.0)},
    "fixed": {"b": 0.5},
}
RENAMED = ew.State.from_pytree({"a": -1.2, "b": np.array([1.0, 1.5]), "c": 0.0})


@pytest.mark.parametrize(
    ("base", "change", "parts"),
    [
        (
            {},
            {"params": ew.State.from_pytree({"a": -1.1, "b": np.ones(2)})},
            "start values",
        ),
        ({}, {"params": RENAMED}, "parameters, fixed, start values"),
        ({}, {"observation": {**DATA, "width": 0.31}}, "observation"),
        ({}, {"observation": {**DATA, "more": 0.0}}, "observation"),
        ({}, {"fixed": {"b": 0.6}}, "fixed"),
        ({}, {"fixed": {"b": np.array([0.5, 0.6])}}, "fixed"),
        ({}, {"bounds": {"a": ew.Interval(-3.0, 4.0)}}, "bounds"),
        ({}, {"solver": optx.BFGS(rtol=1e-10, atol=1e-9)}, "solver"),
        ({}, {"solver": optx.DFP(rtol=1e-10, atol=1e-10)}, "solver"),
        ({}, {"nll_fn": other_nll}, "objective"),
        (
            {"nll_fn": Scaled(jnp.asarray(1.0))},
            {"nll_fn": Scaled(jnp.asarray(2.0))},
            "objective",
        ),
    ],
)
def test_the_checkpoint_of_another_fit_is_refused(base, change, parts, tmp_path):
    base = {**BASE, **base}
    ifit(**base, max_steps=2, throw=False, checkpoint=tmp_path)
    content = (tmp_path / FILE).read_bytes()
    message = f"belongs to another fit; these differ: {parts}\\. .*delete"
    with pytest.raises(CheckpointError, match=message):
        ifit(**{**base, **change}, throw=False, checkpoint=tmp_path)
    assert (tmp_path / FILE).read_bytes() == content


def test_a_damaged_checkpoint_is_refused(tmp_path):
    ifit(nll, START, DATA, max_steps=3, throw=False, checkpoint=tmp_path)
    path = tmp_path / FILE
    content = path.read_bytes()
    # In the numbers: a file has places that mean nothing, such as times of entries.
    numbers = max((a.tobytes() for a in _store.load(path)[0].values()), key=len)
    middle = bytearray(content)
    middle[content.index(numbers) + len(numbers) // 2] ^= 0xFF
    for damaged in (b"", content[:-7], content[:100], bytes(middle), b"x" * 1000):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged.*To start the fit anew"):
            ifit(nll, START, DATA, checkpoint=tmp_path)


def test_a_file_that_is_no_checkpoint_of_this_solver_is_refused(tmp_path):
    path = tmp_path / FILE
    _store.save(path, {"x": np.ones(1)})
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        ifit(nll, START, DATA, checkpoint=tmp_path)
    path.unlink()
    ifit(nll, START, DATA, max_steps=3, throw=False, checkpoint=tmp_path)
    arrays, metadata = _store.load(path)
    arrays.pop(next(iter(arrays)))
    _store.save(path, arrays, metadata)
    with pytest.raises(CheckpointError, match="state of another solver"):
        ifit(nll, START, DATA, checkpoint=tmp_path)


# Wrong calls


def test_under_transformations_fit_is_named():
    def run(width):
        return ifit(nll, START, {**DATA, "width": width}).nll

    message = "Use fit there"
    for transformed, width in (
        (jax.jit(run), 0.3),
        (jax.vmap(run), jnp.full(2, 0.3)),
        (jax.grad(run), 0.3),
    ):
        with pytest.raises(ArgumentTypeError, match=message):
            transformed(width)
    with pytest.raises(ArgumentTypeError, match=message):
        jax.jit(lambda: ifit(nll, START, DATA).nll)()
    with pytest.raises(ArgumentTypeError, match=message):
        jax.jit(lambda s: ifit(lambda p, d: s * nll(p, d), START, DATA).nll)(2.0)
    with pytest.raises(ArgumentTypeError, match=message):
        jax.jit(lambda v: ifit(nll, START, DATA, fixed={"a": v}).nll)(2.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"callbacks": HistoryCallback()}, ArgumentTypeError, r"callbacks=\[\.\.\.\]"),
        ({"callbacks": [3]}, ArgumentTypeError, "expected functions, got int"),
        ({"checkpoint": 3}, ArgumentTypeError, "path of a directory, got int"),
        ({"checkpoint": __file__}, ArgumentValueError, "is a file"),
        ({"solver": "BFGS"}, ArgumentTypeError, "AbstractMinimiser"),
        ({"max_steps": 0}, ArgumentValueError, "max_steps"),
        ({"fixed": {"aa": 1.0}}, KeyError, "aa"),
    ],
)
def test_wrong_arguments_are_named(options, error, message):
    with pytest.raises(error, match=message):
        ifit(nll, START, DATA, **options)


def test_an_objective_that_is_no_number_is_refused():
    with pytest.raises(ew.EverwillowError, match=r"one floating-point number.*\(2,\)"):
        ifit(lambda p, d: p["b"], START, None, solver=SOLVERS["BFGS"])
