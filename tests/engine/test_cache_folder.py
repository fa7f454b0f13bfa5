"""The folder of compiled programs."""

import os
import pathlib

import pytest

from everwillow.engine.program_store.folder import (
    cache_folder,
    is_enabled,
    open_folder,
)


@pytest.mark.parametrize(
    ("variables", "system", "folder"),
    [
        ({"HOME": "/home/a"}, "linux", "/home/a/.cache/everwillow"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/c"}, "linux", "/c/everwillow"),
        (
            {"HOME": "/home/a", "XDG_CACHE_HOME": "c"},
            "linux",
            "/home/a/.cache/everwillow",
        ),
        ({"HOME": "/Users/a"}, "darwin", "/Users/a/Library/Caches/everwillow"),
        ({"HOME": "/u", "LOCALAPPDATA": "/local"}, "win32", "/local/everwillow"),
        ({"HOME": "/u"}, "win32", "/u/AppData/Local/everwillow"),
    ],
)
def test_folder_is_where_the_system_wants_it(variables, system, folder):
    assert cache_folder(variables, system) == pathlib.Path(folder)


@pytest.mark.parametrize("value", ["0", "false", "No", " off "])
def test_a_variable_switches_the_cache_off(value):
    assert not is_enabled({"EVERWILLOW_CACHE": value})
    assert is_enabled({"EVERWILLOW_CACHE": "1"})
    assert is_enabled({})


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_what_others_may_write_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = open_folder()
    assert folder is not None
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o770)
    assert open_folder() is None


def test_a_folder_that_cannot_be_made_is_none(tmp_path, monkeypatch):
    (tmp_path / "everwillow").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert open_folder() is None
