"""What fails in code of the user is the user's, with file and line."""

import pytest


pytest.importorskip("h5py")

from tests.cli.test_input import said
from tests.workflows.templates import small_template as small


CODE = """
import jax.numpy as jnp

def wrong_key(params, yields):
    return params["no such parameter"] * 1.0

def wrong_shape(params, yields):
    return jnp.zeros(2) + jnp.zeros(3)

def model(layout):
    raise ValueError("wrong channel")
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A fit, and beside it in the working directory a module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users_own.py").write_text(CODE)
    (tmp_path / "users_typo.py").write_text("def f(:\n")
    (tmp_path / "users_import.py").write_text("\nimport not_installed_at_all\n")
    small.builder().write(tmp_path / "fit.hdf5")
    return tmp_path / "fit.hdf5"


@pytest.mark.parametrize(
    ("words", "place", "message"),
    [
        (("-m", "users_own:wrong_key"), "users_own.py, line 5", "no such parameter"),
        (("-m", "users_own:wrong_shape"), "users_own.py, line 8", "(2,)"),
        (("--parameters", "users_own:model"), "users_own.py, line 11", "wrong channel"),
        (("-m", "users_typo:f"), "users_typo.py, line 1", "SyntaxError"),
        (("-m", "users_import:f"), "users_import.py, line 2", "ModuleNotFoundError"),
        (("-m", "not_a_module:f"), "no module 'not_a_module'", "PYTHONPATH"),
    ],
)
def test_code_of_the_user(run, file, words, place, message):
    done = run("template", "fit", file, *words)
    assert done.exit_code == 2, said(done)
    text = " ".join(said(done).split())
    assert "error of everwillow" not in text
    flat = text.replace(" ", "").replace("\u2502", "")
    assert place.replace(" ", "") in flat
    assert message.replace(" ", "") in flat
