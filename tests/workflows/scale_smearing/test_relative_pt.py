"""Tests of the parts of fits in bins of transverse momentum."""

import dataclasses

import numpy as np
import pytest

from everwillow.models.event_files import write_events
from everwillow.models.scale_smearing import Categories, generate_events
from everwillow.models.scale_smearing.configuration.records import FitSettings
from everwillow.workflows.scale_smearing import compute_sas
from everwillow.workflows.scale_smearing.relative_pt import (
    RecastBins,
    corrected,
    joined,
    recast_bins,
    relative_categories,
    uses_relative_pt,
    with_relative_pt,
)
from tests.models.scale_smearing.results import made_parameters


PT = [20.0, 35.0, 50.0, 90.0]
SETTINGS = FitSettings(
    data=(), simulation=(), categories=Categories.of({"eta": [0, 1, 2], "pt": PT})
)


@pytest.fixture
def columns():
    rng = np.random.default_rng(3)
    size = 400
    return {
        "mass": rng.normal(91, 5, size),
        "pt1": rng.uniform(15, 100, size),
        "pt2": rng.uniform(15, 100, size),
        "eta1": rng.uniform(-0.2, 2.2, size),
        "eta2": rng.uniform(0, 2, size),
    }


def test_only_bins_in_pt_need_two_passes():
    assert uses_relative_pt(SETTINGS)
    assert not uses_relative_pt(dataclasses.replace(SETTINGS, relative_pt=False))
    assert not uses_relative_pt(dataclasses.replace(SETTINGS, pt="Et"))


def test_relative_categories_have_edges_divided_by_the_mass_of_the_z():
    found = relative_categories(SETTINGS)
    assert found.names == ("eta", "r_pt")
    np.testing.assert_allclose(found.axis("r_pt"), np.array(PT) / 91.2)
    assert found.edges[0] == (0.0, 1.0, 2.0)


def test_relative_momenta_of_events_in_the_range(columns):
    columns["pt1"][0], columns["pt2"][0] = 20.0, 89.99
    columns["pt1"][1], columns["pt2"][1] = 90.0, 50.0
    before = {name: values.copy() for name, values in columns.items()}
    found = with_relative_pt(columns, SETTINGS)
    kept = [
        i for i in range(400) if all(20 <= columns[f"pt{one}"][i] < 90 for one in "12")
    ]
    assert kept[0] == 0
    assert kept[1] > 1
    for name, values in before.items():
        np.testing.assert_array_equal(found[name], values[kept])
        np.testing.assert_array_equal(columns[name], values)
    for one in "12":
        np.testing.assert_allclose(
            found[f"r_pt{one}"], (before[f"pt{one}"] / before["mass"])[kept]
        )


def test_bins_in_pt_lie_between_the_means_of_relative_bins(columns):
    given = with_relative_pt(columns, SETTINGS)
    found = recast_bins(given, SETTINGS)
    sums, counts = np.zeros(3), np.zeros(3)
    edges = np.array(PT) / 91.2
    for i in range(given["mass"].size):
        pairs = [(given[f"eta{one}"][i], given[f"r_pt{one}"][i]) for one in "12"]
        if all(0 <= eta < 2 and edges[0] <= r < edges[-1] for eta, r in pairs):
            for one, (_, r) in zip("12", pairs, strict=True):
                bin_ = sum(r >= edge for edge in edges) - 1
                sums[bin_] += given[f"pt{one}"][i]
                counts[bin_] += 1
    means = sums / counts
    np.testing.assert_allclose(found.means, means)
    middles = [(means[0] + means[1]) / 2, (means[1] + means[2]) / 2]
    np.testing.assert_allclose(found.edges, [20, *middles, 90])


def test_a_bin_without_leptons_keeps_its_edges(columns):
    for one in "12":
        columns[f"pt{one}"] = np.where(columns[f"pt{one}"] > 48, 45, 25) + 0.0
        columns["mass"] = np.full(400, 91.2)
    found = recast_bins(with_relative_pt(columns, SETTINGS), SETTINGS)
    np.testing.assert_allclose(found.means, [25, 45, np.nan])
    np.testing.assert_allclose(found.edges, [20, 35, 50, 90])


def test_data_are_divided_by_responses(columns):
    response = np.array([1.02, 0.99, 1.01, 0.97, np.nan, 1.03])
    before = {name: values.copy() for name, values in columns.items()}
    found = corrected(columns, SETTINGS, SETTINGS.categories, response)
    for i in range(400):
        factors = []
        for one in "12":
            eta, pt = columns[f"eta{one}"][i], columns[f"pt{one}"][i]
            factor = 1.0
            if 0 <= eta < 2 and 20 <= pt < 90:
                place = 3 * int(eta) + sum(pt >= edge for edge in PT) - 1
                factor = response[place] if np.isfinite(response[place]) else 1.0
            factors.append(factor)
            assert found[f"pt{one}"][i] == pytest.approx(pt / factor)
        mass = before["mass"][i] / np.sqrt(np.prod(factors))
        assert found["mass"][i] == pytest.approx(mass)
    for name, values in before.items():
        np.testing.assert_array_equal(columns[name], values)


def test_one_object_has_its_own_power_of_the_mass(columns):
    settings = dataclasses.replace(SETTINGS, suffixes=("1",), mass_exponent=1.0)
    found = corrected(columns, settings, settings.categories, np.full(6, 1.1))
    inside = settings.categories.index(columns, "1") >= 0
    factor = np.where(inside, 1.1, 1.0)
    np.testing.assert_allclose(found["mass"], columns["mass"] / factor)
    np.testing.assert_array_equal(found["pt2"], columns["pt2"])


def test_responses_of_both_passes_are_multiplied():
    relative = {"eta": [0, 1, 2], "r_pt": list(np.array(PT) / 91.2)}
    first = made_parameters(relative, seed=1, lost=(4,))
    rng = np.random.default_rng(2)
    root = 1e-3 * rng.normal(size=(12, 12))
    second = made_parameters(
        relative,
        seed=2,
        lost=(4,),
        covariance=2 * root @ root.T,
        covariances={"stat": root @ root.T, "mc": root @ root.T},
    )
    bins = RecastBins(np.array([20.0, 33.0, 52.0, 90.0]), np.array([27.0, 40.0, 63.0]))
    found = joined(first, second, bins, SETTINGS)
    assert found.categories.names == ("eta", "pt")
    np.testing.assert_array_equal(found.categories.axis("pt"), bins.edges)
    np.testing.assert_array_equal(found.pt_mean, bins.means)
    np.testing.assert_allclose(found.resp, first.resp * second.resp)
    np.testing.assert_array_equal(found.reso, second.reso)
    # Relative errors are those of the second pass.
    for name in ("eresp", "eresp_mc"):
        np.testing.assert_allclose(
            found.values(name) / found.resp, second.values(name) / second.resp
        )
    np.testing.assert_array_equal(found.ereso, second.ereso)
    kept = np.delete(np.arange(12), [4, 10])
    scale = np.append(first.resp, np.ones(6))
    for matrix, other in (
        (found.covariance, second.covariance),
        (found.covariances["mc"], second.covariances["mc"]),
    ):
        for i in kept:
            for j in kept:
                expected = other[i, j] * scale[i] * scale[j]
                assert matrix[i, j] == pytest.approx(expected)


@pytest.mark.slow
def test_a_second_pass_ends_where_the_first_has_a_smearing_at_zero(tmp_path):
    """A fit that starts at the bound makes tiny steps; this one did not end."""
    edges = {"pt": [25, 35, 45, 60, 100]}
    true = {"resp": [1.004, 1.001, 0.998, 0.996], "reso": [0.018, 0.014, 0.012, 0.011]}
    true["variables"] = {"x": lambda rng, size: rng.uniform(0, 2.5, size)}
    for seed, (kind, number) in enumerate(
        {"data": 20_000, "simulation": 40_000}.items()
    ):
        events = generate_events(number, categories=edges, kind=kind, seed=seed, **true)
        write_events(events, tmp_path / f"{kind}.npz")
    found = compute_sas(
        {
            "file_dt": str(tmp_path / "data.npz"),
            "file_mc": str(tmp_path / "simulation.npz"),
            "dir_results": str(tmp_path),
            "sas": {"categories": edges},
            "fitter": {"win_z_dt": [82, 98], "win_z_mc": [70, 110]},
        }
    )
    assert found.success
    assert np.all(np.abs(found.nominal.resp - true["resp"]) < 5 * found.nominal.eresp)
