"""Run commands in this process, with one cache of compiled programs for all tests."""

import copy
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache


pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

from everwillow.cli.app import app
from tests.cli import documents


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(cache, monkeypatch) -> Callable[..., Any]:
    """A function that runs a command and returns exit code and output."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("HOME", str(cache))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("EVERWILLOW_CACHE", raising=False)
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: jax.config.values[name] for name in names}

    def invoke(*arguments: Any, stdin: bytes | None = None) -> Any:
        return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)

    yield invoke
    for name, value in before.items():
        jax.config.update(name, value)
    # JAX keeps the folder of the cache that it has used once.
    reset_cache()


@pytest.fixture
def write(tmp_path) -> Callable[..., pathlib.Path]:
    """A function that writes a document to a file."""

    def to_file(document: Any, name: str = "workspace.json") -> pathlib.Path:
        file = tmp_path / name
        file.write_text(json.dumps(document))
        return file

    return to_file


@pytest.fixture
def tiny() -> dict[str, Any]:
    return copy.deepcopy(documents.TINY)
