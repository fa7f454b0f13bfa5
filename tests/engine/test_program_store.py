"""Compiled programs that are kept from one process to the next."""

import copy
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.engine import program_store, programs
from everwillow.engine.program_store import ProgramStore
from everwillow.engine.program_store.store import FEW_RUNS
from everwillow.models.histfactory import from_pyhf
from tests.cli import documents


@pytest.fixture
def tiny():
    return copy.deepcopy(documents.TINY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def opened(monkeypatch):
    """A function that opens a store, as a new process does."""

    def open_store(folder):
        store = ProgramStore(folder, brief=True)
        program_store.use(store)
        return store

    before = program_store.active()
    yield open_store
    program_store.use(before)


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
def test_second_fit_takes_the_program_of_the_first(folder, tiny, opened):
    model = from_pyhf(tiny)
    expected = ew.fit(model)
    store = opened(folder)
    first = ew.fit(model)
    assert (store.loaded, store.compiled) == (0, 1)
    assert len(list(folder.iterdir())) == 1
    store = opened(folder)
    second = ew.fit(model)
    assert (store.loaded, store.compiled) == (1, 0)
    same(first, second)
    same(second, expected)

    # Other data, numbers and values held need no other program, other structures do.
    tiny["observations"][0]["data"] = [70.0, 80.0]
    tiny["channels"][0]["samples"][0]["data"] = [6.0, 7.0]
    third = ew.fit(from_pyhf(tiny), fixed={"mu": 0.5})
    assert (store.loaded, store.compiled) == (1, 0)
    program_store.use(ProgramStore(None))
    same(third, ew.fit(from_pyhf(tiny), fixed={"mu": 0.5}))
    program_store.use(store)
    tiny["channels"][0]["samples"][1]["modifiers"][0]["name"] = "renamed"
    renamed = ew.fit(from_pyhf(tiny))
    assert store.compiled == 1
    assert "renamed" in renamed.labels


@pytest.mark.slow
def test_a_failure_is_one_from_disk_too(tmp_path, tiny, opened):
    model = from_pyhf(tiny)
    direct = ew.fit(model, max_steps=2, throw=False)
    for loaded in (0, 1):
        store = opened(tmp_path)
        result = ew.fit(model, max_steps=2, throw=False)
        assert store.loaded == loaded
        assert not bool(result.success)
        assert bool(result.status == direct.status)
        assert result.message() == direct.message()


@pytest.mark.slow
def test_everything_fixed_is_only_evaluated(folder, tiny, opened):
    model = from_pyhf(tiny)
    opened(folder)
    result = ew.fit(model, fixed={"mu": 1.0, "norm": 0.0, "stat": np.ones(2)})
    assert result.free == ()
    np.testing.assert_allclose(result.nll, model.nll(model.state), rtol=1e-12)


@pytest.mark.slow
def test_a_damaged_program_is_made_again(tmp_path, tiny, opened):
    model = from_pyhf(tiny)
    opened(tmp_path)
    first = ew.fit(model)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:1000])
    store = opened(tmp_path)
    same(first, ew.fit(model))
    assert (store.loaded, store.compiled) == (0, 1)


@pytest.mark.slow
def test_functions_of_users_are_not_stored(tmp_path, opened):
    store = opened(tmp_path)
    result = ew.fit(
        lambda p, n: (p["a"] - n) ** 2, ew.State.from_pytree({"a": 0.0}), 2.0
    )
    assert float(result.params["a"]) == pytest.approx(2)
    assert (store.loaded, store.compiled) == (0, 0)


@pytest.mark.slow
def test_second_call_traces_nothing(folder, tiny, opened):
    model = from_pyhf(tiny)
    opened(folder)
    ew.fit(model)
    before = programs._tracings[0]
    ew.fit(model)
    assert programs._tracings[0] == before


def test_derivatives_do_not_use_the_store(tmp_path, tiny, opened):
    model = from_pyhf(tiny)
    store = opened(tmp_path)
    main = model.observation["main"]

    def mu(data):
        observation = {**model.observation, "main": data}
        return ew.fit(model, observation=observation).params["mu"]

    slope = jax.grad(lambda scale: mu(jax.tree.map(lambda n: scale * n, main)))(1.0)
    assert np.isfinite(slope)
    assert (store.loaded, store.compiled) == (0, 0)


SCRIPT = """
import sys
import jax
import numpy as np
import everwillow as ew
from everwillow.engine import program_store, programs
from everwillow.models.histfactory import from_pyhf

jax.config.update("jax_enable_x64", True)
print(ew.cache(sys.argv[1]))
model = from_pyhf(sys.argv[2])
result = ew.fit(model)
limits = ew.limits(model, "mu", params=result)
scan = ew.profile.scan(model, name="mu", values=np.linspace(0, 2, 4))
impacts = ew.impacts.rank(model, result, poi=("mu",))
print(float(result.nll), float(limits.observed), np.asarray(scan.nll).sum())
store = program_store.active()
print(store.loaded, store.compiled, programs._tracings[0])
"""


@pytest.mark.slow
def test_python_keeps_programs_where_asked(tmp_path):
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps(documents.TINY))
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "mine"), str(file)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"XLA_FLAGS": ""},
        ).stdout.split("\n")
        for _ in range(2)
    ]
    assert outputs[0][0].startswith(str(tmp_path / "mine"))
    assert outputs[0][1] == outputs[1][1]
    loaded, compiled, _ = map(int, outputs[0][2].split())
    assert loaded == 0
    assert compiled > 2
    assert list(map(int, outputs[1][2].split())) == [compiled, 0, 0]


def test_cache_refuses_what_is_no_folder_of_ours(tmp_path):
    with pytest.raises(TypeError, match="cache: expected True, False or a folder"):
        ew.cache(3)  # pyright: ignore[reportArgumentType]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ew.EverwillowError, match="cannot be used"):
        ew.cache(tmp_path / "file")
    assert ew.cache(False) is None


@pytest.mark.slow
def test_a_program_that_runs_often_is_optimised_without_tracing(tmp_path, opened):
    """Middle-sized models: the first runs are not optimised, all others are."""
    bins = 300
    tall = copy.deepcopy(documents.TINY)
    for sample in tall["channels"][0]["samples"]:
        sample["data"] = [float(sum(sample["data"]))] * bins
        sample["modifiers"] = [m for m in sample["modifiers"] if m["name"] != "stat"]
    tall["observations"][0]["data"] = [100.0] * bins
    model = from_pyhf(tall)
    store = opened(tmp_path)
    store.brief = False
    before = programs._tracings[0]
    results = [ew.fit(model) for _ in range(FEW_RUNS + 2)]
    assert programs._tracings[0] == before + 1
    assert (store.loaded, store.compiled) == (0, 2)
    for result in results[1:]:
        same(results[0], result)
    store = opened(tmp_path)
    store.brief = False
    same(results[0], ew.fit(model))
    assert (store.loaded, store.compiled) == (1, 0)
