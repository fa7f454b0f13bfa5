"""Work that takes long is announced: in logs, and on a line while it lasts."""

import io
import logging
import time

import jax.numpy as jnp
import pytest

import everwillow as ew
from everwillow import _progress
from everwillow._progress import counted, stage
from everwillow.profile import scan
from everwillow.toys import fit_toys


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(_progress, "PATIENCE", 0.02)
    monkeypatch.setattr(_progress, "INTERVAL", 0.02)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    ew.progress.show(False)
    assert not _progress._works
    assert not _progress._displays


@pytest.fixture(autouse=True)
def own_records(caplog):
    """Take records at their logger: at the root other packages rewrite them."""
    logger = logging.getLogger("everwillow")
    logger.addHandler(caplog.handler)
    logger.propagate = False
    yield
    logger.propagate = True
    logger.removeHandler(caplog.handler)


def messages(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "everwillow"]


def wait_for(out, text):
    end = time.monotonic() + 20
    while text not in out.getvalue():
        assert time.monotonic() < end, out.getvalue()
        time.sleep(0.01)


def nll(params, count):
    return params["rate"] - count * jnp.log(params["rate"])


@pytest.fixture(scope="module")
def start():
    return ew.State.from_pytree({"rate": 9.0})


def test_stage_is_logged_with_its_time(caplog):
    caplog.set_level("INFO", "everwillow")
    with stage("scan of mu"):
        pass
    begun, ended = messages(caplog)
    assert begun == "scan of mu"
    assert ended.startswith("scan of mu: 0.0")
    assert ended.endswith(" s")


def test_stage_ends_with_an_error():
    with pytest.raises(ValueError, match="bad"), stage("work"):
        raise ValueError("bad")
    assert not _progress.current()


def test_line_has_the_innermost_work_and_disappears(impatient):
    out = Terminal()
    ew.progress.show(True, file=out)
    with stage("outer"):
        wait_for(out, "outer (0 s)")
        with stage("inner"):
            wait_for(out, "inner (0 s)")
    assert out.getvalue().endswith("\r")
    shown = out.getvalue()
    with stage("short"):
        pass
    ew.progress.show(False)
    with stage("another"):
        time.sleep(0.1)
    assert "another" not in out.getvalue()[len(shown) :]


def test_parts_are_counted(impatient):
    out = Terminal()
    ew.progress.show(True, file=out)
    with counted("toys", 40) as advance:
        wait_for(out, "toys: 0 of 40 (0 s)")
        advance(10)
        wait_for(out, "toys: 10 of 40 (0 s)")
        advance(10)
        wait_for(out, "toys: 20 of 40 (0 s, about")


def test_a_file_gets_one_line_for_each_work(impatient):
    out = io.StringIO()
    ew.progress.show(True, file=out)
    with stage("fit"):
        wait_for(out, "fit ...\n")
        time.sleep(0.1)
    assert out.getvalue() == "fit ...\n"


def test_short_work_shows_nothing():
    out = Terminal()
    ew.progress.show(True, file=out)
    with stage("fit"):
        time.sleep(0.05)
    assert out.getvalue() == ""


def test_letters_that_a_terminal_lacks_are_replaced(impatient):
    out = Terminal()
    lacking = io.TextIOWrapper(io.BytesIO(), "ascii")
    lacking.isatty = lambda: True
    ew.progress.show(True, file=lacking)
    with stage("scan of μ"):
        end = time.monotonic() + 20
        while b"scan of ?" not in lacking.buffer.getvalue():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert out.getvalue() == ""


@pytest.mark.slow
def test_work_of_inference_is_logged(start, caplog):
    caplog.set_level(logging.INFO, "everwillow")
    result = ew.fit(nll, start, 9.0)
    first = messages(caplog)
    assert first[:2] == [
        "fit of 1 parameter",
        "fit of 1 parameter: compiling, the first time for this structure",
    ]
    caplog.clear()
    ew.fit(nll, start, 10.0)
    assert not [text for text in messages(caplog) if "compiling" in text]
    caplog.clear()
    scan(nll, result, 9.0, name="rate", values=[8.0, 9.0])
    assert messages(caplog)[0] == "scan of rate"
    caplog.clear()
    fit_toys(nll, start, ntoys=16, key=1, batch_size=8, predict_fn=lambda s: s["rate"])
    assert messages(caplog)[0] == "toys"
