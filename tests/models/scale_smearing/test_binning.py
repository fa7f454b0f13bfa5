"""Tests of the bins of data."""

import numpy as np
import pytest

from everwillow._errors import ArgumentValueError
from everwillow.models.scale_smearing.binning import (
    check_binning,
    data_edges,
    template_edges,
)


WINDOW = (80.0, 100.0)


@pytest.fixture(scope="module")
def masses():
    rng = np.random.default_rng(2)
    return rng.normal(91, 3, 700), rng.normal(90.6, 2.8, 1400)


def plain_quantile(ordered, part):
    """The quantile by linear interpolation between order statistics."""
    place = part * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def test_quantiles_equal_those_of_moved_masses(masses):
    data, simulation = masses
    moved = sorted(simulation + data.mean() - simulation.mean())
    moved = [one for one in moved if 80 < one < 100]
    bins = min(40, int(len(moved) ** (1 / 3)))
    expected = [plain_quantile(moved, k / bins) for k in range(bins + 1)]
    found = data_edges("Q", data, simulation, WINDOW)
    assert bins == 11
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("events", "bins"), [(7, 5), (215, 5), (216, 6), (999, 9), (1000, 10), (10**6, 40)]
)
def test_the_number_of_quantiles(events, bins):
    simulation = np.linspace(80.5, 99.5, events)
    found = data_edges("Q", simulation, simulation, WINDOW)
    assert found.size == bins + 1


def test_quantiles_of_equal_masses_are_merged():
    simulation = np.array([85.0] * 50 + [95.0] * 10)
    found = data_edges("Q", simulation, simulation, WINDOW)
    np.testing.assert_array_equal(found, [85.0, 95.0])
    only = np.full(10, 90.0)
    assert data_edges("Q", only, only, WINDOW).size == 1


def test_there_are_no_quantiles_without_masses_in_the_window():
    outside = np.array([60.0, 120.0])
    assert data_edges("Q", np.array([90.0]), outside, (89.9, 89.95)).size == 0


@pytest.mark.parametrize(
    ("width", "bins"), [(4.0, 5), (0.1, 200), (3.0, 6), (20.0, 1), (50.0, 1)]
)
def test_a_width_gives_equal_bins_that_fill_the_window(masses, width, bins):
    found = data_edges(width, *masses, WINDOW)
    np.testing.assert_allclose(found, np.linspace(80, 100, bins + 1), rtol=1e-14)


def test_the_rule_of_freedman_and_diaconis_counts_data(masses):
    data, simulation = masses
    ordered = sorted(data)
    spread = plain_quantile(ordered, 0.75) - plain_quantile(ordered, 0.25)
    bins = int(np.ceil(20 / (2 * spread / 700 ** (1 / 3))))
    found = data_edges(None, data, simulation, WINDOW)
    np.testing.assert_allclose(found, np.linspace(80, 100, bins + 1))


def test_bins_of_that_rule_are_not_narrower_than_half_a_gev():
    data = np.full(1000, 91.0)
    found = data_edges(None, data, data, WINDOW)
    np.testing.assert_allclose(np.diff(found), 0.5)


@pytest.mark.parametrize(
    ("window", "width", "bins"),
    [((50, 130), 0.1, 800), ((70, 110), 0.1, 400), ((70, 110), 0.3, 133)],
)
def test_bins_of_templates_fill_their_window(window, width, bins):
    np.testing.assert_allclose(
        template_edges(window, width), np.linspace(*window, bins + 1)
    )


@pytest.mark.parametrize("binning", ["Q", None, 0.5, 2])
def test_allowed_choices(binning):
    check_binning(binning)


@pytest.mark.parametrize("binning", ["q", "FD", 0.0, -1.0, np.nan, np.inf])
def test_other_choices_are_refused(binning):
    with pytest.raises(ArgumentValueError, match="neither 'Q'"):
        check_binning(binning)
