"""Programs that are kept between two runs of a command."""

import functools as ft

import pytest

from tests.cli.processes import SCRIPT, process


# Commands end by `os._exit`.
COUNTING = f"""
import os, sys

def exit(code, real=os._exit):
    from everwillow.engine.program_store import active
    print(active().loaded, active().compiled, file=sys.stderr, flush=True)
    real(code)

os._exit = exit
{SCRIPT}
"""


def test_commands_use_the_cache_and_can_leave_it(write, tiny, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    fit_file = ft.partial(process, mine, "fit", write(tiny))
    assert "compiling" in fit_file("--no-cache").stdout
    assert not mine.exists()
    assert "compiling" in fit_file().stdout
    assert "program from the cache" in fit_file().stdout
    assert list((mine / "everwillow").glob("*/programs/*.program"))
    monkeypatch.setenv("EVERWILLOW_CACHE", "0")
    assert "compiling" in fit_file().stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("limit",),
        ("scan", "--range", "0", "2"),
        ("impacts", "--refit"),
    ],
)
def test_second_runs_compile_nothing(words, write, tiny, tmp_path):
    """A command that compiled several programs stores all of them."""
    words = (words[0], write(tiny), *words[1:])
    runs = [process(tmp_path, *words, script=COUNTING) for _ in range(2)]
    (loaded, compiled), again = (
        tuple(map(int, run.stderr.splitlines()[-1].split())) for run in runs
    )
    assert loaded == 0
    assert compiled > 1
    assert again == (compiled, 0)
    # All but the last line, which has the times.
    first, second = (run.stdout.rstrip().splitlines()[:-1] for run in runs)
    assert first == second
