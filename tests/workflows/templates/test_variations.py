"""Histograms of a template fit with one parameter moved at a time."""

import dataclasses

import jax
import numpy as np
import pytest

import everwillow as ew
from everwillow.workflows.templates import load_results, run, write_results
from tests.workflows.templates import small_template as small


pytest.importorskip("h5py")

ASYMMETRY = "Asymmetry ch0 ch0 sign:plus sign:minus"
BOTH = "Project ch0 x; Project ch0 sign"


@pytest.fixture(scope="module")
def results():
    return run(
        small.builder().spec(),
        statistics=None,
        mappings=[ASYMMETRY, BOTH],
        variations=True,
        unconstrained=0.5,
    )


def moved(found, name):
    i = found.names.index(name)
    return found.up[i], found.down[i]


def asymmetry(yields):
    return (yields[:, 1] - yields[:, 0]) / yields.sum(1)


@pytest.mark.slow
def test_before_the_fit_they_are_the_templates_that_were_booked(results):
    found = results.channels["ch0"].prefit_variations
    assert found.names == ("flat_norm", "lumi", "slope", "tilt")
    s, b = small.SIGNAL, small.FLAT
    ways = {
        "lumi": (1.02 * (s + b), (s + b) / 1.02),
        "flat_norm": (s + 1.1 * b, s + b / 1.1),
        "tilt": (s * small.TILT + b, s / small.TILT + b),
    }
    for name, expected in ways.items():
        for one, other in zip(moved(found, name), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    # Half an error, as was told of parameters without a constraint.
    step = np.sqrt(np.array([[0.9], [1.0], [1.1]]))
    np.testing.assert_allclose(moved(found, "slope")[0], s + b * step, rtol=1e-12)
    ratio = results.mappings[ASYMMETRY].histograms["values"].prefit_variations
    for one, other in zip(moved(ratio, "tilt"), ways["tilt"], strict=True):
        np.testing.assert_allclose(one, asymmetry(other), rtol=1e-12)


@pytest.mark.slow
def test_after_the_fit_they_are_expectations_at_moved_parameters(results):
    model = small.builder().build(statistics=None)
    table, found = results.parameters, results.channels["ch0"].postfit_variations
    assert set(found.names) == set(table.names)
    parts = results.mappings[BOTH].histograms
    for name in table.names:
        i = table.names.index(name)
        for sign, one, x, cat in zip(
            (1, -1),
            moved(found, name),
            moved(parts["Project ch0 x"].postfit_variations, name),
            moved(parts["Project ch0 sign"].postfit_variations, name),
            strict=True,
        ):
            values = table.by_name
            values[name] += sign * table.errors[i]
            params = {key: np.asarray(values[str(key)]) for key in model.state}
            expected = np.asarray(model.expected(params)["counts"]).reshape(3, 2)
            np.testing.assert_allclose(one, expected, rtol=1e-9)
            np.testing.assert_allclose(x, expected.sum(1), rtol=1e-9)
            np.testing.assert_allclose(cat, expected.sum(0), rtol=1e-9)


def test_the_file_has_them(results, tmp_path):
    write_results(results, tmp_path / "results.hdf5")
    again = load_results(tmp_path / "results.hdf5")
    both = (
        jax.tree_util.tree_leaves_with_path(dataclasses.asdict(one))
        for one in (results, again)
    )
    for (path, value), (same, read) in zip(*both, strict=True):
        assert path == same
        np.testing.assert_array_equal(value, read)
    assert again.channels["xsec"].postfit_variations is not None


@pytest.mark.slow
def test_only_what_was_asked_for_is_moved():
    spec = small.builder().spec()
    found = run(spec, variations=["lumi", "signal"]).channels["ch0"]
    # Nobody knows an error of a strength before the fit.
    assert found.prefit_variations.names == ("lumi",)
    assert found.postfit_variations.names == ("lumi", "signal")
    none = run(spec).channels["ch0"]
    assert none.prefit_variations is None
    assert none.postfit_variations is None
    with pytest.raises(ew.EverwillowError, match="Did you mean 'lumi'"):
        run(spec, variations="lumy")
    with pytest.raises(ew.EverwillowError, match=r"variations: 'lumi' is frozen"):
        run(spec, variations="lumi", fixed=["lumi"])


@pytest.mark.slow
def test_a_blinded_run_keeps_those_after_the_fit():
    found = run(small.builder().spec(), variations="*", blind=True)
    assert set(found.channels) == {"ch0", "xsec"}
    for channel in found.channels.values():
        assert channel.prefit_variations is not None
        assert channel.postfit_variations is None


def test_histograms_tell_what_their_values_are(results):
    assert results.channels["ch0"].quantity == "Events"
    assert results.mappings[ASYMMETRY].histograms["values"].quantity == "Asymmetry"
    parts = results.mappings[BOTH].histograms.values()
    assert {part.quantity for part in parts} == {"Events"}
