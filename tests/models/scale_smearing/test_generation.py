"""Toy events have the responses and resolutions that they are given."""

import numpy as np
import pytest

from everwillow._errors import ArgumentValueError, UnknownKeyError
from everwillow.models.event_files import write_events
from everwillow.models.scale_smearing.categories import Categories
from everwillow.models.scale_smearing.event_input import read_events
from everwillow.models.scale_smearing.generation import (
    Z_MASS,
    Z_WIDTH,
    generate_events,
)


CATEGORIES = Categories.of({"ScEta": [-2.5, 0.0, 2.5], "r9": [-np.inf, 0.94, np.inf]})
RESP = np.array([0.99, 1.01, 1.005, 0.98])
RESO = np.array([0.01, 0.02, 0.03, 0.0])
EVERYTHING = (0.0, np.inf)


def generate(events=20_000, seed=5, **options):
    given = {"categories": CATEGORIES, "window": EVERYTHING, **options}
    return generate_events(events, seed=seed, **given)


def of_objects(values, columns, suffixes=("1", "2")):
    return [values[CATEGORIES.index(columns, suffix)] for suffix in suffixes]


def test_masses_have_the_distribution_of_breit_and_wigner():
    found = generate(base_resolution=0.0, kind="simulation")["mass"]
    quantiles = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    # The quantiles of the Cauchy distribution; few masses are negative.
    wanted = Z_MASS + 0.5 * Z_WIDTH * np.tan(np.pi * (quantiles - 0.5))
    parts = [np.mean(found < one) for one in wanted]
    np.testing.assert_allclose(parts, quantiles, atol=4 * 0.5 / np.sqrt(len(found)))


def test_masses_have_the_square_root_of_both_responses():
    one, other = generate(), generate(resp=RESP)
    first, second = of_objects(RESP, one)
    np.testing.assert_allclose(other["mass"] / one["mass"], np.sqrt(first * second))
    np.testing.assert_allclose(other["pt1"] / one["pt1"], first)


@pytest.mark.parametrize("smearing", ["energy", "mass"])
def test_masses_have_half_of_the_quadratic_sum_of_both_resolutions(smearing):
    one = generate(100_000, smearing=smearing)
    other = generate(100_000, smearing=smearing, reso=RESO)
    ratio = other["mass"] / one["mass"] - 1
    first, second = of_objects(RESO, one)
    for low in np.unique(first):
        for high in np.unique(second):
            chosen = ratio[(first == low) & (second == high)]
            wanted = 0.5 * np.hypot(low, high)
            error = wanted / np.sqrt(2 * len(chosen))
            assert abs(np.std(chosen) - wanted) < 4 * error + 1e-12
            # The geometric mean of energies has a mean below 1, in second order.
            shift = -(low**2 + high**2) / 8 if smearing == "energy" else 0.0
            tolerance = 4 * wanted / np.sqrt(len(chosen)) + 1e-12
            assert abs(np.mean(chosen) - shift) < tolerance


def test_simulation_is_data_with_a_perfect_response():
    simulation = generate(kind="simulation", resp=RESP, reso=RESO)
    data = generate(kind="data")
    for name, values in data.items():
        np.testing.assert_array_equal(simulation[name], values)


def test_events_outside_of_the_window_are_rejected_not_moved():
    found = generate(window=(80.0, 100.0))["mass"]
    assert len(found) == 20_000
    assert found.min() > 80.0
    assert found.max() < 100.0
    edges = np.linspace(80.0, 100.0, 41)
    counts, _ = np.histogram(found, edges)
    assert counts[0] < 1.5 * counts[1]
    assert counts[-1] < 1.5 * counts[-2]


def test_the_seed_decides_all_numbers():
    one, again, other = generate(seed=1), generate(seed=1), generate(seed=2)
    np.testing.assert_array_equal(one["mass"], again["mass"])
    assert not np.any(one["mass"] == other["mass"])


def test_one_object_changes_the_mass_with_its_exponent():
    options = {"suffixes": ("",), "mass_exponent": 0.3}
    one, other = generate(**options), generate(resp=RESP, **options)
    assert sorted(one) == ["ScEta", "mass", "pt", "r9", "weight"]
    (response,) = of_objects(RESP, one, ("",))
    np.testing.assert_allclose(other["mass"] / one["mass"], response**0.3)


def test_a_second_gaussian_has_its_part_of_the_energies():
    double = {"frac": 0.9, "mu": 0.9, "reso2": 0.0}
    options = {"base_resolution": 0.0, "suffixes": ("",), "mass_exponent": 1.0}
    found = generate(
        categories={"r9": [0, 1]}, reso=0.01, double=double, smearing="mass", **options
    )
    # The mass is unknown, but the peak at 0.9 m_Z is far from the other one.
    low = np.mean(np.abs(found["mass"] / (0.9 * Z_MASS) - 1) < 0.03)
    first = 0.9 * _lorentz(0.9 * Z_MASS, 0.03 * 0.9 * Z_MASS)
    second = 0.1 * _lorentz(Z_MASS, 0.03 * Z_MASS)
    assert abs(low - first - second) < 0.01


def _lorentz(center, half):
    scaled = [2 * (center + sign * half - Z_MASS) / Z_WIDTH for sign in (-1, 1)]
    return np.diff(np.arctan(scaled))[0] / np.pi


def test_pt_is_a_variable_of_categories_or_drawn_as_one_likes():
    bins = {"pt": [20.0, 40.0, 60.0]}
    found = generate(categories=bins, resp=[1.0, 1.02])
    plain = generate(categories=bins)
    index = Categories.of(bins).index(plain, "1")
    # The base resolution moves few of them into another bin.
    ratio = found["pt1"] / plain["pt1"]
    assert np.mean(np.isclose(ratio, np.where(index == 1, 1.02, 1.0))) > 0.9
    draw = lambda generator, size: generator.normal(45.0, 1.0, size)
    drawn = generate(categories=bins, variables={"pt": draw, "n": draw})
    assert 44.0 < np.median(drawn["pt1"]) < 46.0
    assert 44.0 < np.median(drawn["n2"]) < 46.0


def test_weights_may_be_negative():
    weights = generate(negative_weights=0.2)["weight"]
    assert set(np.unique(weights)) == {-1.0, 1.0}
    assert abs(np.mean(weights < 0) - 0.2) < 0.02


def test_events_are_written_as_they_are(tmp_path):
    found = generate(100)
    write_events(found, tmp_path / "toys.parquet")
    read = read_events(tmp_path / "toys.parquet", list(found)).columns
    for name, values in found.items():
        np.testing.assert_array_equal(read[name], values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"events": 0}, "events: expected a positive"),
        ({"window": (100.0, 80.0)}, "window: expected two increasing"),
        ({"window": (1e5, 1e6)}, r"window: fewer than 0\.1%"),
        ({"resp": [1.0, 1.0]}, r"resp: expected one number or 4"),
        ({"resp": 0.0}, "resp: .* positive"),
        ({"reso": -0.1}, "reso: .* >= 0"),
        ({"reso": np.nan}, "reso: .* finite"),
        ({"suffixes": ("1", "2", "3")}, "suffixes: "),
        ({"mass_exponent": 0.0}, "mass_exponent: "),
        ({"negative_weights": 2.0}, "negative_weights: "),
        ({"double": {"mu": 0.9}}, "double: 'frac' is missing"),
        ({"double": {"frac": 1.1, "mu": 0.9, "reso2": 0}}, "at most 1"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ArgumentValueError, match=message):
        generate(**options)


def test_unknown_parameters_of_a_second_gaussian_are_refused():
    with pytest.raises(UnknownKeyError, match="Did you mean 'frac'"):
        generate(double={"fra": 0.9})
