"""The files of the tutorial on density ratios, and the densities they are from."""

import importlib.util
import pathlib

import numpy as np
import pytest

from everwillow.models import nsbi


FOLDER = pathlib.Path(__file__).parents[3] / "docs" / "examples" / "density_ratios"


@pytest.fixture(scope="module")
def generate():
    """The script that has written the files."""
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def workspace():
    return nsbi.WorkspaceBuilder(FOLDER / "nsbi.yml").build()


@pytest.fixture(scope="module")
def columns(generate):
    """Mass and balance of the events of the signal region."""
    with np.load(FOLDER / "events.npz") as arrays:
        data = {name: arrays[f"data/{name}"] for name in ("mass", "balance")}
    inside = generate.selected(**data)
    with np.load(FOLDER / "simulated" / "events.npz") as arrays:
        simulated = dict(arrays)
    observed = {name: column[inside] for name, column in data.items()}
    return {"observed": observed, "simulated": simulated}


@pytest.mark.parametrize("kind", ["observed", "simulated"])
def test_the_ratios_are_those_of_the_densities(generate, columns, kind):
    x = {name: column.astype(float) for name, column in columns[kind].items()}
    for name, expected in generate.ratios(**x).items():
        found = np.load(FOLDER / kind / f"{name}.npy")
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-30)


def test_the_densities_have_the_integral_one(generate):
    mass = generate.EDGE + np.linspace(0.0, 800.0, 8001)
    balance = generate.CUT + np.linspace(0.0, 9.0, 301)
    grid = np.meshgrid(mass, balance, indexing="ij")
    for sample in generate.SAMPLES:
        density = generate.density(sample, *grid, scale=1.5, tuning=-1.0)
        inner = np.trapezoid(density, balance)
        assert np.trapezoid(inner, mass) == pytest.approx(1.0, abs=1e-4)


def test_both_configurations_describe_the_same_events(workspace):
    histogram = nsbi.WorkspaceBuilder(FOLDER / "histogram.yml").build()
    for one, other in zip(histogram["channels"], workspace["channels"], strict=True):
        for sample, same in zip(one["samples"], other["samples"], strict=True):
            assert sum(sample["data"]) == pytest.approx(sum(same["data"]))
    counts = [sum(one["data"]) for one in histogram["observations"]]
    assert counts == [sum(one["data"]) for one in workspace["observations"]]
    ((_, observed, simulated),) = nsbi.load(workspace).regions
    assert (observed, simulated) == (counts[1], 4000)
