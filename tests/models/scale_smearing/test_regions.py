"""Tests of regions, against a loop over pairs of categories."""

import dataclasses

import numpy as np
import pytest

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownKeyError,
)
from everwillow.models.scale_smearing import Categories, RegionOptions, make_regions
from everwillow.models.scale_smearing.binning import data_edges
from everwillow.models.scale_smearing.parameters import (
    FITTED,
    NO_REGION,
    UNDETERMINED,
)


CATEGORIES = Categories.of({"x": [0, 1, 2, 3, 4]})
OPTIONS = RegionOptions(
    data_window=(80, 100),
    simulation_window=(70, 110),
    weight="w",
    min_data=85,
    min_simulation=50,
    template_width=0.5,
)


def events(size, seed, *, beyond=4.2, spread=4.0):
    rng = np.random.default_rng(seed)
    return {
        "mass": rng.normal(91, spread, size),
        "x1": rng.uniform(-0.2, beyond, size) ** 1.1,
        "x2": rng.uniform(-0.2, beyond, size),
        "w": rng.normal(1, 0.8, size),
    }


@pytest.fixture(scope="module")
def samples():
    with np.errstate(invalid="ignore"):
        return events(1500, 1), events(3000, 2)


def plain_regions(data, simulation, categories, options):
    """Yield the categories, masses and weights of each region, pair by pair."""
    size = categories.size

    def selected(columns, window, pair):
        masses, weights = [], []
        one, two = (categories.index(columns, suffix) for suffix in "12")
        for k, mass in enumerate(columns["mass"]):
            inside = window[0] <= mass <= window[1]
            if inside and sorted((one[k], two[k])) == list(pair):
                masses.append(mass)
                weights.append(columns["w"][k])
        return np.array(masses), np.array(weights)

    for i in range(size):
        for j in range(i, size):
            observed, _ = selected(data, options.data_window, (i, j))
            masses, weights = selected(simulation, options.simulation_window, (i, j))
            enough = len(masses) > options.min_simulation
            if enough and len(observed) > options.min_data:
                yield (i, j), observed, masses, weights


def test_regions_equal_those_of_a_loop(samples):
    found = make_regions(*samples, CATEGORIES, options=OPTIONS).spec
    expected = list(plain_regions(*samples, CATEGORIES, OPTIONS))
    assert [one.categories for one in found.regions] == [one[0] for one in expected]
    assert 5 < len(expected) < 10
    centres = np.arange(70.25, 110, 0.5)
    np.testing.assert_allclose(found.masses, centres)
    for region, (_, observed, masses, weights) in zip(
        found.regions, expected, strict=True
    ):
        edges = data_edges("Q", observed, masses, OPTIONS.data_window)
        np.testing.assert_allclose(region.edges, edges, rtol=1e-13)
        np.testing.assert_array_equal(
            region.counts, np.histogram(observed, region.edges)[0]
        )
        bins = np.linspace(70, 110, 81)
        content, _ = np.histogram(masses, bins, weights=weights)
        squares, _ = np.histogram(masses, bins, weights=weights**2)
        np.testing.assert_allclose(
            region.template, np.where(content > 0, content, 0), atol=1e-12
        )
        np.testing.assert_allclose(
            region.variances, np.where(content >= 0, squares, 0), atol=1e-12
        )
        np.testing.assert_allclose(region.clipped, content[content < 0].sum())
        assert (region.data, region.simulation) == (len(observed), len(masses))


def test_weights_are_one_if_no_column_is_named(samples):
    options = dataclasses.replace(OPTIONS, weight=None)
    found = make_regions(*samples, CATEGORIES, options=options).spec
    for region in found.regions:
        assert region.template.sum() == region.simulation
        np.testing.assert_array_equal(region.template, region.variances)


def test_exchanged_leptons_and_another_order_of_events_are_the_same(samples):
    expected = make_regions(*samples, CATEGORIES, options=OPTIONS).spec
    order = np.random.default_rng(4).permutation(1500)
    data = {name: values[order] for name, values in samples[0].items()}
    data["x1"], data["x2"] = data["x2"], data["x1"]
    found = make_regions(data, samples[1], CATEGORIES, options=OPTIONS).spec
    for one, other in zip(found.regions, expected.regions, strict=True):
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_allclose(one.edges, other.edges, rtol=1e-13)


@pytest.mark.parametrize("sample", [0, 1])
@pytest.mark.parametrize("category", [0, 3])
def test_a_category_in_one_sample_only_moves_no_other(samples, sample, category):
    given = list(samples)
    columns = given[sample]
    lost = (CATEGORIES.index(columns, "1") == category) | (
        CATEGORIES.index(columns, "2") == category
    )
    given[sample] = {name: values[~lost] for name, values in columns.items()}
    found = make_regions(*given, CATEGORIES, options=OPTIONS)
    expected = {
        one.categories: one
        for one in make_regions(*samples, CATEGORIES, options=OPTIONS).spec.regions
        if category not in one.categories
    }
    assert [one.categories for one in found.spec.regions] == list(expected)
    for one in found.spec.regions:
        np.testing.assert_array_equal(one.template, expected[one.categories].template)
        np.testing.assert_array_equal(one.counts, expected[one.categories].counts)
    assert found.status[category] == NO_REGION
    assert "1 categories are in no region" in found.notes[-1]


def few(masses, place=0.5, other=None):
    """Return events in one pair of categories."""
    masses = np.asarray(masses, float)
    return {
        "mass": masses,
        "x1": np.full(masses.size, place),
        "x2": np.full(masses.size, place if other is None else other),
        "w": np.ones(masses.size),
    }


def joined(*parts):
    return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}


SPREAD = np.linspace(81, 99, 60)


@pytest.mark.parametrize("sample", ["data", "simulation"])
def test_a_region_needs_more_events_than_the_threshold(sample):
    options = {"data_window": (80, 100), "simulation_window": (70, 110)}
    for fewest, regions in ((59, 1), (60, 0)):
        chosen = {"min_data": 0, "min_simulation": 0, f"min_{sample}": fewest}
        found = make_regions(
            few(SPREAD),
            few(SPREAD),
            CATEGORIES,
            options=RegionOptions(**options, **chosen),
        )
        assert len(found.spec.regions) == regions


def test_windows_include_both_ends():
    options = RegionOptions(
        data_window=(80, 100),
        simulation_window=(70, 110),
        min_data=1,
        min_simulation=1,
        data_bins=5.0,
    )
    data = few([79.999, 80, 90, 100, 100.001])
    simulation = few([69.999, 70, 90, 110, 110.001])
    (region,) = make_regions(data, simulation, CATEGORIES, options=options).spec.regions
    assert (region.data, region.simulation) == (3, 3)
    np.testing.assert_array_equal(region.counts, [1, 0, 1, 1])
    assert region.template[0] == region.template[-1] == 1
    assert region.template.sum() == 3


def test_events_with_nan_are_left_out_and_counted():
    data, simulation = few(np.repeat(SPREAD, 3)), few(np.repeat(SPREAD, 3))
    expected = make_regions(few(np.repeat(SPREAD, 3)[9:]), simulation, CATEGORIES)
    data["mass"][:3] = np.nan
    data["x1"][2:6] = np.nan
    data["x2"][6:9] = np.nan
    found = make_regions(data, simulation, CATEGORIES)
    assert found.dropped == (9, 0)
    assert found.notes[0] == "9 events of data with NaN in a column are left out."
    np.testing.assert_array_equal(
        found.spec.regions[0].counts, expected.spec.regions[0].counts
    )


def test_weights_that_are_nan_are_refused_where_they_count():
    simulation = few(np.repeat(SPREAD, 3))
    simulation["mass"][0], simulation["w"][0] = 300, np.nan
    options = RegionOptions(weight="w")
    make_regions(few(SPREAD), simulation, CATEGORIES, options=options)
    simulation["w"][1] = np.nan
    with pytest.raises(ArgumentValueError, match="'w' has weights that are not finite"):
        make_regions(few(SPREAD), simulation, CATEGORIES, options=options)


def test_a_region_without_weights_leaves_the_others_as_they_are():
    first, second = few(np.repeat(SPREAD, 3)), few(np.repeat(SPREAD, 3), 2.5)
    options = RegionOptions(weight="w")
    data = joined(first, second)
    whole = make_regions(data, joined(first, second), CATEGORIES, options=options)
    first["w"][:] = 0
    found = make_regions(data, joined(first, second), CATEGORIES, options=options)
    assert [one.categories for one in whole.spec.regions] == [(0, 0), (2, 2)]
    assert [one.categories for one in found.spec.regions] == [(2, 2)]
    np.testing.assert_array_equal(
        found.spec.regions[0].template, whole.spec.regions[1].template
    )
    assert "Region (0, 0) is left out: the weights of its 180" in found.notes[0]
    assert found.status == (NO_REGION, NO_REGION, FITTED, NO_REGION)


def test_negative_bins_are_set_to_zero_with_their_variances():
    simulation = few(np.append(np.repeat(SPREAD, 3), [75.02, 75.03]))
    simulation["w"][-2:] = -2.0
    found = make_regions(
        few(SPREAD), simulation, CATEGORIES, options=RegionOptions(weight="w")
    )
    (region,) = found.spec.regions
    place = int((75.02 - 50) / 0.1)
    assert region.template[place] == region.variances[place] == 0
    assert region.clipped == -4
    assert found.notes[0] == (
        "Negative bins of templates are set to 0: 4 of 180 weights."
    )


def test_masses_that_are_all_equal_cannot_be_divided():
    same = few(np.full(200, 91.0))
    found = make_regions(same, same, CATEGORIES)
    assert not found.spec.regions
    assert "Region (0, 0) is left out: its data cannot be divided" in found.notes[0]


PLACES = (0.5, 1.5, 2.5, 3.5)


def pairs(*chosen):
    masses = np.repeat(SPREAD, 3)
    return joined(*(few(masses, PLACES[i], PLACES[j]) for i, j in chosen))


@pytest.mark.parametrize(
    ("chosen", "loose"),
    [
        ([(0, 1)], {0, 1}),
        ([(0, 1), (1, 2)], {0, 1, 2}),
        ([(0, 1), (1, 2), (2, 3), (0, 3)], {0, 1, 2, 3}),
        ([(0, 1), (1, 2), (0, 2)], set()),
        ([(0, 1), (1, 2), (2, 2)], set()),
        ([(0, 1), (2, 3), (3, 3)], {0, 1}),
        ([(0, 0), (1, 2)], {1, 2}),
    ],
)
def test_chains_of_different_categories_determine_nothing(chosen, loose):
    columns = pairs(*chosen)
    found = make_regions(columns, columns, CATEGORIES)
    # The rank of the products, region by region, says the same.
    counts = np.zeros((len(chosen), 4))
    for row, pair in enumerate(chosen):
        np.add.at(counts[row], list(pair), 1)
    used = {i for pair in chosen for i in pair}
    projection = np.linalg.pinv(counts) @ counts
    assert loose == {i for i in used if abs(projection[i, i] - 1) > 1e-9}
    for i in range(4):
        expected = UNDETERMINED if i in loose else FITTED if i in used else NO_REGION
        assert found.status[i] == expected
    assert all(loose.isdisjoint(one.categories) for one in found.spec.regions)
    assert any("not determined" in one for one in found.notes) == bool(loose)


def test_one_object():
    masses = np.repeat(SPREAD, 3)
    columns = joined(few(masses, 0.5), few(masses, 2.5, 9.0))
    options = RegionOptions(suffixes=("1",))
    found = make_regions(columns, columns, CATEGORIES, options=options)
    assert [one.categories for one in found.spec.regions] == [(0,), (2,)]
    assert found.status == (FITTED, NO_REGION, FITTED, NO_REGION)


def test_samples_without_events_have_no_regions():
    empty = few([])
    found = make_regions(empty, empty, CATEGORIES)
    assert not found.spec.regions
    assert found.status == (NO_REGION,) * 4
    first, second = found.notes
    assert first.startswith("There are 0 events of data in the categories and in [70.0")
    assert second == "4 categories are in no region, and get no number."


class Counted(dict):
    """Columns that count how often they are read."""

    def __init__(self, *args):
        super().__init__(*args)
        self.reads = []

    def __getitem__(self, name):
        self.reads.append(name)
        return super().__getitem__(name)


def test_columns_are_read_once_and_not_changed(samples):
    given = [Counted({k: v.copy() for k, v in one.items()}) for one in samples]
    make_regions(*given, CATEGORIES, options=OPTIONS)
    assert sorted(given[0].reads) == ["mass", "x1", "x2"]
    assert sorted(given[1].reads) == ["mass", "w", "x1", "x2"]
    for one, before in zip(given, samples, strict=True):
        assert list(one) == list(before)
        for name, values in before.items():
            np.testing.assert_array_equal(one[name], values)


def test_a_missing_column_is_named():
    columns = few(SPREAD)
    with pytest.raises(UnknownKeyError, match=r"'Mass'.*Did you mean 'mass'"):
        make_regions(columns, columns, CATEGORIES, options=RegionOptions(mass="Mass"))


def test_columns_have_one_number_for_each_event():
    columns = few(SPREAD)
    with pytest.raises(
        ArgumentTypeError, match="'x2' has 3 events, but the mass has 60"
    ):
        make_regions(columns | {"x2": np.ones(3)}, columns, CATEGORIES)
    with pytest.raises(ArgumentTypeError, match="one number for each event"):
        make_regions(columns | {"x2": np.ones((60, 2))}, columns, CATEGORIES)
    with pytest.raises(ArgumentTypeError, match="one number for each event"):
        make_regions(columns, columns | {"x1": np.array(["a"] * 60)}, CATEGORIES)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("data_window", (100, 80), "Give its lower end first"),
        ("simulation_window", (85, 110), "does not contain the window of data"),
        ("template_width", 0.0, "not a width in GeV"),
        ("template_width", 90.0, "not a width in GeV"),
        ("suffixes", (), "there are 0"),
        ("suffixes", ("1", "2", "3"), "there are 3"),
        ("data_bins", "q", "neither 'Q'"),
    ],
)
def test_wrong_options_are_refused(option, value, message):
    with pytest.raises(ArgumentValueError, match=message):
        RegionOptions(**{option: value})
