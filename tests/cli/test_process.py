"""The command as a process of its own: start, help, exit codes."""

import json
import tomllib
from importlib import metadata
from pathlib import Path

import pytest


pytest.importorskip("typer")

from everwillow.cli import main
from tests.cli.documents import QUICKSTART
from tests.cli.processes import SCRIPT, process


COMMANDS = ("fit", "limit", "scan", "impacts", "inspect", "convert")


def test_the_script_is_the_main_function():
    project = tomllib.loads(
        Path(__file__).parents[2].joinpath("pyproject.toml").read_text()
    )
    assert project["project"]["scripts"] == {"everwillow": "everwillow.cli:main"}
    (script,) = metadata.entry_points(group="console_scripts", name="everwillow")
    assert script.load() is main


def test_help_tells_commands_and_exit_codes(tmp_path):
    done = process(tmp_path, "--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout
    text = " ".join(done.stdout.split())
    for words in ("2 bad input", "3 a fit did not converge", "1 internal error"):
        assert words in text


LISTING = """
import sys
sys.argv = ["everwillow", *sys.argv[1:]]
from everwillow.cli.app import app
try:
    app()
finally:
    sys.stderr.write(" ".join(m for m in sys.modules if "." not in m))
"""


@pytest.mark.parametrize("options", [["--help"], ["fit", "--help"], ["--version"]])
def test_help_imports_no_jax(tmp_path, options):
    done = process(tmp_path, *options, script=LISTING)
    assert done.returncode == 0
    assert {"jax", "numpy", "scipy", "pydantic"} & set(done.stderr.split()) == set()


WITHOUT = """
import sys
sys.modules["typer"] = None
sys.argv[0] = {name!r}
import everwillow.cli
"""


def test_without_the_extra_it_says_what_to_install(tmp_path):
    done = process(tmp_path, script=WITHOUT.format(name="/usr/bin/everwillow"))
    assert done.returncode == 1
    assert done.stderr.startswith("The command everwillow needs typer and rich")
    assert 'pip install ".[cli]"' in done.stderr
    done = process(tmp_path, script=WITHOUT.format(name="other"))
    assert "MissingPackageError: The command everwillow needs" in done.stderr


def test_version(tmp_path):
    done = process(tmp_path, "--version")
    assert done.stdout.strip() == f"everwillow {metadata.version('everwillow')}"


def test_a_process_ends_with_the_code_of_its_command(tmp_path):
    assert process(tmp_path).returncode == 2
    assert process(tmp_path, "fit").returncode == 2
    done = process(tmp_path, "inspect", tmp_path / "none.json")
    assert done.returncode == 2
    assert "There is no file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path):
    script = f"""
import subprocess, sys
one = subprocess.Popen(
    [sys.executable, "-c", {SCRIPT!r}, "convert", {str(QUICKSTART)!r}],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
)
one.stdout.close()
sys.stdout.write(one.stderr.read().decode())
sys.exit(one.wait())
"""
    done = process(tmp_path, script=script)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_fits_in_processes_of_their_own(tmp_path):
    first = process(tmp_path, "fit", QUICKSTART, "-o", tmp_path / "first.json")
    second = process(tmp_path, "fit", QUICKSTART, "-o", tmp_path / "second.json")
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stderr == second.stderr == ""
    assert "compiling" in first.stdout
    assert "program from the cache" in second.stdout
    results = [done.stdout.split("Reading")[0] for done in (first, second)]
    assert results[0] == results[1]
    values = [
        json.loads((tmp_path / name).read_text())["arrays"]
        for name in ("first.json", "second.json")
    ]
    assert values[0] == values[1]
    failed = process(tmp_path, "fit", QUICKSTART, "--max-steps", 2)
    assert failed.returncode == 3
    assert "FAILED" in failed.stdout
