"""What is said while a likelihood takes long to compile."""

import logging
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.engine import _compile_notice, programs
from everwillow.models.histfactory import from_pyhf
from tests.helpers import count_jax_work


SOON, NEVER = 0.2, 600.0
DATA = np.array([1.0, 2.0])


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    """Begin with nothing said, and leave no timer behind."""
    monkeypatch.setattr(_compile_notice, "PATIENCE", NEVER)
    monkeypatch.setattr(_compile_notice, "_logged", [])
    yield
    assert _compile_notice.waiting() is None
    assert not timers()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(_compile_notice, "PATIENCE", SOON)


def timers():
    """Return the timers that are still to ring."""
    return [
        thread
        for thread in threading.enumerate()
        if isinstance(thread, threading.Timer) and not thread.finished.is_set()
    ]


def notices(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "everwillow"]


def work(seconds):
    """Keep a processor busy."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def slow(params, data):
    work(SOON)
    return 0.5 * jnp.sum((params["mu"] - data) ** 2)


def called(function, data):
    """Call a function of data as likelihoods are called."""
    return float(programs.call(_sum, function, data))


def _sum(function, data):
    return jnp.sum(function(data))


@pytest.mark.slow
def test_it_is_said_once_and_how_to_mend_it(caplog, impatient):
    result = ew.fit(slow, ew.State.from_pytree({"mu": 0.0}), DATA)
    assert float(result.params["mu"]) == pytest.approx(1.5)
    called(lambda data: [data, work(2 * SOON)][0], DATA)
    (notice,) = notices(caplog)
    assert "has been compiling for 0.2 s" in notice
    assert "Python loop" in notice
    assert "in one array" in notice
    assert "Make fits fast" in notice


def test_who_waits_for_others_hears_nothing(caplog, impatient):
    called(lambda data: [data, time.sleep(2 * SOON)][0], DATA)
    assert not notices(caplog)


def test_without_a_logger_it_is_on_stderr(monkeypatch, capsys):
    """So it is in a script or a notebook that has set up no logging."""
    logger = logging.getLogger("everwillow")
    monkeypatch.setattr(logger, "propagate", False)
    _compile_notice._log_notice()
    _compile_notice._log_notice()
    assert capsys.readouterr().err.count("has been compiling") == 1


def test_who_is_quick_hears_nothing(caplog):
    seen = []
    assert called(lambda data: [data, seen.append(timers())][0], DATA) == 3.0
    # One timer ran while this was traced.
    assert [len(running) for running in seen] == [1]
    assert not timers()
    assert not notices(caplog)


def test_a_second_call_starts_no_timer(monkeypatch):
    def double(data):
        return 2 * data

    called(double, DATA)
    with monkeypatch.context() as context:
        context.setattr(_compile_notice, "Timer", None)
        assert called(double, DATA + 1) == 10.0


def test_an_exception_stops_the_timer():
    seen = []

    def broken(data):
        seen.append(len(timers()))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        called(broken, DATA)
    assert seen == [1]
    assert not timers()


def test_an_inner_program_leaves_the_timer_of_the_outer_one():
    seen = []

    def outer(data):
        seen.append(_compile_notice.waiting())
        inner = programs.call(_sum, lambda data: data, data)
        with jax.ensure_compile_time_eval():
            other = programs.call(_sum, lambda data: 2 * data, DATA)
        seen.append(_compile_notice.waiting())
        seen.extend(timers())
        return inner + other

    assert called(outer, DATA) == 3.0 + 6.0
    first, *others = seen
    assert first is not None
    assert others == [first, first]


def test_a_traced_call_leaves_no_timer():
    traced = jax.jit(lambda data: programs.call(_sum, lambda data: data, data))
    assert float(traced(DATA)) == 3.0


def test_a_long_run_is_no_long_compilation(caplog, impatient):
    """XLA is done before the program runs, and the call may not be back before."""

    def wait(data):
        work(2 * SOON)
        return data

    def function(data):
        return jax.pure_callback(wait, jax.ShapeDtypeStruct((2,), data.dtype), data)

    assert called(function, DATA) == 3.0
    assert not notices(caplog)


def test_small_programs_compiled_while_tracing_end_nothing():
    seen = []

    def function(data):
        with jax.ensure_compile_time_eval(), count_jax_work() as work:
            jax.jit(lambda x: 3 * x)(np.ones(5))
        seen.extend([work.compilations, len(timers())])
        return data

    called(function, DATA)
    assert seen == [1, 1]


def test_models_of_the_library_are_not_meant(monkeypatch):
    """Nobody can rewrite what they have not written."""
    normfactor = {"name": "mu", "type": "normfactor", "data": None}
    sample = {"name": "s", "data": [5.0], "modifiers": [normfactor]}
    model = from_pyhf(
        {
            "channels": [{"name": "c", "samples": [sample]}],
            "observations": [{"name": "c", "data": [6.0]}],
            "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
            "version": "1.0.0",
        }
    )
    with monkeypatch.context() as context, count_jax_work() as work:
        context.setattr(_compile_notice, "Timer", None)
        programs.call(_expected, model, model.state)
        assert work.compilations
        with pytest.raises(TypeError):
            called(lambda data: data - 1, DATA)


def _expected(model, state):
    return model.expected(state)
