"""The progress bar shows what the fit did, ends its line and is then silent."""

import gc
import io
import re
import subprocess
import sys
import threading
import types

import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import everwillow as ew
from everwillow._errors import ArgumentTypeError
from everwillow.callback import Callback, HistoryCallback
from everwillow.fitting import ifit
from everwillow.progress import ProgressBar


START = ew.State.from_pytree({"x": 4.0, "y": np.array([1.0, 2.0])})
LINE = re.compile(
    r"iteration (?P<step>\d+) \[\d\d:\d\d"
    r"(, -ln L = (?P<nll>[^],]+))?(, EDM = (?P<edm>[^],]+))?\] *"
)


def nll(params, data):
    return jnp.cosh(params["x"] - data) + jnp.sum(params["y"] ** 2)


def state(value, **more):
    return types.SimpleNamespace(nll=jnp.asarray(value), **more)


def shown(text):
    """The distinct consecutive lines, each as a match."""
    matches = []
    for line in filter(str.strip, re.split(r"[\r\n]", text)):
        match = LINE.fullmatch(line)
        assert match, line
        if not matches or match["step"] != matches[-1]["step"]:
            matches.append(match)
        else:
            matches[-1] = match
    return matches


@pytest.mark.slow
def test_bar_shows_each_step_of_a_fit():
    out, edms = io.StringIO(), []
    history = HistoryCallback()
    with ProgressBar(file=out, interval=0) as bar:
        assert isinstance(bar, Callback)
        look = lambda i, y, state: edms.append(float(state.edm))
        result = ifit(nll, START, 1.0, callbacks=[bar, history, look])
    lines = shown(out.getvalue())
    assert [int(m["step"]) for m in lines] == list(range(int(result.num_steps)))
    assert np.allclose([float(m["nll"]) for m in lines], history.nlls, rtol=1e-9)
    # cosh 3 + 5 at the start and 1 at the minimum.
    assert np.isclose(float(lines[0]["nll"]), np.cosh(3.0) + 5, rtol=1e-9)
    assert np.isclose(float(lines[-1]["nll"]), 1, rtol=1e-9)
    assert np.allclose([float(m["edm"]) for m in lines], edms, rtol=0.06)


def test_last_step_is_shown_even_if_the_interval_is_long():
    out = io.StringIO()
    with ProgressBar(file=out, interval=1e6) as bar:
        for i in range(5):
            bar(i, START, state(10.0 - i, edm=jnp.asarray(0.25)))
    lines = shown(out.getvalue())
    assert [m["step"] for m in lines] == ["0", "4"]
    assert (lines[-1]["nll"], lines[-1]["edm"]) == ("6", "2.5e-01")


def test_edm_is_left_out_where_the_solver_has_none():
    out = io.StringIO()
    with ProgressBar(file=out) as bar:
        ifit(nll, START, 1.0, solver=optx.BFGS(1e-8, 1e-8), callbacks=[bar])
    last = shown(out.getvalue())[-1]
    assert np.isclose(float(last["nll"]), 1)
    assert last["edm"] is None


def test_a_state_without_a_value_does_not_end_the_fit():
    out = io.StringIO()
    with ProgressBar(file=out) as bar:
        bar(3, START, types.SimpleNamespace())
    (line,) = shown(out.getvalue())
    assert (line["step"], line["nll"], line["edm"]) == ("3", None, None)


def test_value_is_computed_from_the_parameters_if_asked():
    out = io.StringIO()
    with ProgressBar(lambda y: 2 * y["x"], file=out) as bar:
        bar(0, START, state(1.5))
    assert shown(out.getvalue())[-1]["nll"] == "8"


def test_errors_of_the_function_for_the_value_are_not_hidden():
    def wrong(y):
        msg = "no such thing"
        raise ArgumentTypeError(msg)

    bar = ProgressBar(wrong, file=io.StringIO())
    with pytest.raises(ArgumentTypeError, match="no such thing"):
        bar(0, START, state(1.5))


def test_ten_digits_of_a_large_value_are_shown():
    out = io.StringIO()
    with ProgressBar(file=out) as bar:
        bar(0, START, state(-1234567.891))
    assert shown(out.getvalue())[-1]["nll"] == "-1234567.891"


def test_closed_bar_is_silent():
    out = io.StringIO()
    bar = ProgressBar(file=out, interval=0)
    bar(0, START, state(2.0))
    bar.close()
    text = out.getvalue()
    assert text.endswith("\n")
    bar(1, START, state(1.0))
    bar.close()
    with bar:
        bar(2, START, state(0.5))
    del bar
    gc.collect()
    assert out.getvalue() == text


def test_bar_without_a_step_prints_nothing():
    out = io.StringIO()
    with ProgressBar(file=out):
        pass
    assert out.getvalue() == ""


@pytest.mark.slow
def test_with_block_ends_the_line_when_the_fit_raises():
    def stop(iteration, y, state):
        raise KeyboardInterrupt

    out = io.StringIO()
    with pytest.raises(KeyboardInterrupt), ProgressBar(file=out) as bar:
        ifit(nll, START, 1.0, callbacks=[bar, stop])
    assert out.getvalue().endswith("\n")


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="needs reference counts"
)
def test_bar_nobody_keeps_ends_its_line_with_the_fit():
    out = io.StringIO()
    result = ifit(nll, START, 1.0, callbacks=[ProgressBar(file=out)])
    text = out.getvalue()
    assert text.endswith("\n")
    assert int(shown(text)[-1]["step"]) == int(result.num_steps) - 1


def test_bar_starts_no_thread():
    before = set(threading.enumerate())
    with ProgressBar(file=io.StringIO()) as bar:
        bar(0, START, state(2.0))
        assert set(threading.enumerate()) == before


def test_second_fit_gets_a_line_of_its_own():
    out = io.StringIO()
    with ProgressBar(file=out, interval=0) as bar:
        for value in (3.0, 2.0):
            bar(0, START, state(value))
            bar(1, START, state(value / 2))
    *lines, rest = out.getvalue().split("\n")
    assert rest == ""
    assert [shown(line)[-1]["nll"] for line in lines] == ["1.5", "1"]


def test_bar_of_a_continued_fit_goes_on_where_it_was(tmp_path):
    ifit(nll, START, 1.0, max_steps=2, throw=False, checkpoint=tmp_path)
    out = io.StringIO()
    with ProgressBar(file=out, interval=0) as bar:
        ifit(nll, START, 1.0, checkpoint=tmp_path, callbacks=[bar])
    assert shown(out.getvalue())[0]["step"] == "2"


def test_description_begins_the_line():
    out = io.StringIO()
    with ProgressBar(description="background {only}", file=out) as bar:
        bar(7, START, state(2.0))
    assert out.getvalue().startswith("\rbackground {only}: iteration 7 [")


def test_bar_writes_to_the_error_stream_unless_told_otherwise(capsys):
    with ProgressBar() as bar:
        bar(0, START, state(2.0))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "iteration 0" in printed.err


def test_repr_says_how_far_it_is():
    bar = ProgressBar(file=io.StringIO())
    assert repr(bar) == "ProgressBar(no step yet)"
    bar(4, START, state(2.0))
    assert repr(bar) == "ProgressBar(iteration 4)"
    bar.close()
    assert repr(bar) == "ProgressBar(iteration 4, closed)"


def test_missing_tqdm_says_how_to_install_it():
    script = """
import sys
sys.modules["tqdm"] = None  # what makes an import of it fail
import everwillow
assert "everwillow.progress" not in sys.modules
everwillow.progress.show(True)
try:
    everwillow.progress.ProgressBar()
except ImportError as error:
    assert isinstance(error, everwillow.EverwillowError)
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert 'pip install ".[progress]"' in done.stdout
