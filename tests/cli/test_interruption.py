"""Ctrl-C at any moment ends a command with one line and exit code 130."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest


pytest.importorskip("typer")

from tests.cli.documents import QUICKSTART
from tests.cli.processes import SCRIPT, process


pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture(autouse=True)
def not_ignored():
    """Let processes react to interrupts, which a shell ignores in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# Sends the signal when a module is about to be imported, or a function to be called.
AT_IMPORT = """
import os, signal, sys, time
class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
sys.meta_path.insert(0, Finder())
"""


def assert_interrupted(done, folder=None):
    assert done.stderr == "Interrupted.\n"
    assert done.returncode == 130
    if folder is not None:
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["typer", "everwillow.cli.groups"])
def test_at_the_first_imports(tmp_path, name):
    assert_interrupted(process(tmp_path, script=AT_IMPORT.format(name=name) + SCRIPT))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["numpy", "jax", "jaxlib.xla_client", "everwillow.cli.commands.limit"]
)
def test_at_later_imports(tmp_path, name):
    script = AT_IMPORT.format(name=name) + SCRIPT
    assert_interrupted(process(tmp_path, "limit", QUICKSTART, script=script))


def test_in_the_module(tmp_path):
    script = AT_IMPORT.format(name="typer") + (
        "import runpy; runpy.run_module('everwillow.cli', run_name='__main__')"
    )
    assert_interrupted(
        process(
            tmp_path,
            script="import sys; sys.argv[0] = '-m'; "
            "sys.orig_argv += ['everwillow.cli']\n" + script,
        )
    )


def test_who_imports_it_keeps_the_exception(tmp_path):
    script = (
        "import signal; import everwillow.cli; "
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    assert process(tmp_path, script=script).returncode == 0


def test_who_ignores_interrupts_is_not_interrupted(tmp_path):
    script = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    script += AT_IMPORT.format(name="typer").replace("time.sleep(5)", "pass")
    done = process(tmp_path, "--version", script=script + SCRIPT)
    assert (done.returncode, done.stderr) == (0, "")


WRITING = """
import os, signal, pathlib, time
from everwillow import _store
def interrupt(descriptor):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
_store.os.fsync = interrupt
"""


@pytest.mark.slow
@pytest.mark.parametrize(("command", "cached"), [("module", False), ("script", True)])
def test_after_any_time(tmp_path, command, cached):
    """While it imports, compiles, fits or draws; `limit` takes some seconds."""
    start = ["-m", "everwillow.cli"] if command == "module" else ["-c", SCRIPT]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    options = [] if cached else ["--no-cache"]
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    files = ["--out", outputs / "limit.json", "--plot", outputs / "band.pdf"]
    line = [sys.executable, *start, "limit", QUICKSTART, *files, *options]
    for delay in np.geomspace(0.2, 6.0, 7):
        running = subprocess.Popen(
            list(map(str, line)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        time.sleep(delay)
        running.send_signal(signal.SIGINT)
        sent = time.perf_counter()
        _, errors = running.communicate()
        if running.returncode == 0:
            break
        assert time.perf_counter() - sent < 1.0
        assert (running.returncode, errors) == (130, "Interrupted.\n"), delay
        left = {file.name for file in outputs.iterdir()}
        assert left <= {"limit.json", "band.pdf"}


@pytest.mark.slow
def test_files_are_complete_or_absent(tmp_path):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    out = outputs / "fit.json"
    out.write_text("old")
    done = process(tmp_path, "fit", QUICKSTART, "--out", out, script=WRITING + SCRIPT)
    assert_interrupted(done)
    assert [file.name for file in outputs.iterdir()] == ["fit.json"]
    assert out.read_text() == "old"
    done = process(
        tmp_path,
        "fit",
        QUICKSTART,
        "--plot",
        outputs / "p.pdf",
        script=WRITING + SCRIPT,
    )
    assert_interrupted(done)
    assert [file.name for file in outputs.iterdir()] == ["fit.json"]
