"""Programs that are kept between two runs of a command."""

import functools as ft
import os
import pathlib

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.cli.session.fingerprint import NoFingerprintError, fingerprint_of
from everwillow.cli.session.programs import fit
from everwillow.cli.session.setup import cache_folder, is_enabled, open_folder
from everwillow.models.histfactory import from_pyhf
from tests.cli.processes import process


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


def module_level(x):
    return x


def test_fingerprints_tell_apart():
    things = [
        1,
        1.0,
        True,
        "1",
        b"1",
        None,
        (1,),
        [1],
        (1, 2),
        ((1,), 2),
        (1, (2,)),
        {"a": 1},
        {"a": 2},
        {1},
        np.float64(1),
        np.array([1.0]),
        np.array([[1.0]]),
        np.dtype(float),
        float,
        ew.fit,
        ft.partial(ew.fit, axis=0),
        ft.partial(ew.fit, axis=1),
        jax.tree.structure((0, 0)),
        jax.tree.structure([0, 0]),
        jax.tree.structure({"a": 0, "b": 0}),
        ew.Interval(0.0, 1.0),
        ew.Interval(0.0, 2.0),
        ew.TrustRegionNewton(),
        ew.TrustRegionNewton(bending=False),
    ]
    found = [fingerprint_of(thing) for thing in things]
    assert len(set(found)) == len(things)
    assert found == [fingerprint_of(thing) for thing in things]


@pytest.mark.parametrize(
    "thing",
    [lambda x: x, module_level, object(), {"a": [lambda: 0]}, pathlib.Path("a")],
)
def test_what_has_no_name_has_no_fingerprint(thing):
    # The code of a user may change, and nothing would tell.
    with pytest.raises(NoFingerprintError):
        fingerprint_of(thing)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


def programs(folder):
    return sorted((folder / "fits").iterdir())


def same(one, other):
    np.testing.assert_allclose(one.nll, other.nll, rtol=1e-12)
    for key in one.params:
        np.testing.assert_allclose(
            one.params[key], other.params[key], rtol=1e-6, atol=1e-9
        )
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-6)
    assert one.labels == other.labels
    assert bool(one.status == other.status)


@pytest.mark.slow
def test_second_fit_takes_the_program_of_the_first(folder, tiny):
    model = from_pyhf(tiny)
    first, stored = fit(model, {}, folder)
    assert not stored.loaded
    stored.keep()
    assert len(programs(folder)) == 1
    second, stored = fit(model, {}, folder)
    assert stored.loaded
    same(first, second)
    same(second, ew.fit(model))

    # Other data and other numbers need no other program, other structures do.
    tiny["observations"][0]["data"] = [70.0, 80.0]
    tiny["channels"][0]["samples"][0]["data"] = [6.0, 7.0]
    other = from_pyhf(tiny)
    third, stored = fit(other, {}, folder)
    assert stored.loaded
    same(third, ew.fit(other))
    assert float(third.nll) != float(second.nll)
    tiny["channels"][0]["samples"][1]["modifiers"][0]["name"] = "renamed"
    renamed, stored = fit(from_pyhf(tiny), {}, folder)
    assert not stored.loaded
    assert "renamed" in renamed.labels


@pytest.mark.slow
def test_fixed_parameters_take_the_program_too(folder, tiny):
    model = from_pyhf(tiny)
    _, stored = fit(model, {}, folder)
    stored.keep()
    result, stored = fit(model, {"mu": 0.5}, folder)
    assert stored.loaded
    same(result, ew.fit(model, fixed={"mu": 0.5}))


@pytest.mark.slow
def test_a_failure_is_one_from_disk_too(folder, tiny):
    model = from_pyhf(tiny)
    runs = [fit(model, {}, folder, max_steps=2) for _ in range(1)]
    runs[0][1].keep()
    runs.append(fit(model, {}, folder, max_steps=2))
    assert [stored.loaded for _, stored in runs] == [False, True]
    direct = ew.fit(model, max_steps=2, throw=False)
    for result, _ in runs:
        assert not bool(result.success)
        assert bool(result.status == direct.status)
        assert result.message() == direct.message()


@pytest.mark.slow
def test_everything_fixed_is_only_evaluated(folder, tiny):
    model = from_pyhf(tiny)
    fixed = {"mu": 1.0, "norm": 0.0, "stat": np.ones(2)}
    result, _ = fit(model, fixed, folder)
    assert result.free == ()
    np.testing.assert_allclose(result.nll, model.nll(model.state), rtol=1e-12)


def test_a_damaged_program_is_made_again(folder, tiny):
    model = from_pyhf(tiny)
    first, stored = fit(model, {}, folder)
    stored.keep()
    for file in programs(folder):
        file.write_bytes(file.read_bytes()[:1000])
    again, stored = fit(model, {}, folder)
    assert not stored.loaded
    same(first, again)


def test_commands_use_the_cache_and_can_leave_it(write, tiny, tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    fit_file = ft.partial(process, mine, "fit", write(tiny))
    assert "compiling" in fit_file("--no-cache").stdout
    assert not mine.exists()
    assert "compiling" in fit_file().stdout
    assert "program from the cache" in fit_file().stdout
    assert list((mine / "everwillow").glob("*/fits/*.program"))
    monkeypatch.setenv("EVERWILLOW_CACHE", "0")
    assert "compiling" in fit_file().stdout
