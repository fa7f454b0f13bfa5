"""Tests of the model of masses: parameters, toys, combinations, compiled programs."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import everwillow as ew
from everwillow._errors import ArgumentValueError, UnknownKeyError
from everwillow.goodness import saturated_test
from everwillow.models.scale_smearing import SasModel
from everwillow.models.scale_smearing.likelihood.packing import PackedSize
from everwillow.parameters import Interval
from tests.helpers import count_jax_work
from tests.models.scale_smearing.plain import (
    PAIRS,
    SINGLES,
    VALUES,
    plain_fractions,
    small_spec,
    vector_of,
)


@pytest.fixture(scope="module")
def model():
    return SasModel.from_spec(small_spec())


def params_of(model, values=VALUES):
    """Return the parameters with these values as a pytree."""
    _, unravel = ravel_pytree(model.state.to_pytree())
    return unravel(jnp.asarray(vector_of(model, values)))


def by_name(result):
    return {str(key): float(result.params[key]) for key in result.params}


def test_parameters_have_the_numbers_of_their_categories():
    spec = small_spec(((0, 0), (0, 2)))
    model = SasModel.from_spec(spec)
    assert set(map(str, model.state)) == {"resp_0", "resp_2", "var_0", "var_2"}
    assert spec.fitted == (0, 2)
    assert repr(model) == (
        "SasModel(2 of 3 categories, 2 regions, 9 bins, 4 parameters)"
    )
    start = {str(key): float(model.state[key]) for key in model.state}
    assert start == {"resp_0": 1.0, "resp_2": 1.0, "var_0": 0.0004, "var_2": 0.0004}


def test_shared_parameters_have_no_number():
    model = SasModel.from_spec(small_spec(double_gaussian=True, shared=("mu", "reso2")))
    names = {f"{kind}_{i}" for kind in ("resp", "var", "frac") for i in range(3)}
    assert set(map(str, model.state)) == names | {"mu", "var2"}
    assert len(set(model.places("mu").values())) == 1
    assert len(set(model.places("frac").values())) == 3


def test_bounds():
    model = SasModel.from_spec(small_spec(double_gaussian=True))
    bounds = {str(key): model.bounds[key] for key in model.bounds}
    for i in range(3):
        assert bounds[f"resp_{i}"] == bounds[f"var_{i}"] == Interval(0.0)
        assert bounds[f"mu_{i}"] == bounds[f"frac_{i}"] == Interval(0.8, 1.0)
        np.testing.assert_allclose(bounds[f"var2_{i}"].upper, 0.08**2)


def test_places_are_those_of_the_vector():
    model = SasModel.from_spec(small_spec(double_gaussian=True))
    vector, _ = ravel_pytree(model.state.to_pytree())
    kinds = ("resp", "var", "var2", "mu", "frac")
    starts = {"resp": 1.0, "var": 0.02**2, "var2": 0.04**2, "mu": 0.95, "frac": 0.95}
    places = [place for kind in kinds for place in model.places(kind).values()]
    assert sorted(places) == list(range(15))
    for kind in kinds:
        for place in model.places(kind).values():
            np.testing.assert_allclose(vector[place], starts[kind])
    with pytest.raises(UnknownKeyError, match=r"'vra'.*Did you mean 'var'"):
        model.places("vra")


def test_start_values_are_taken_where_they_are_numbers():
    starts = {"resp": np.array([1.1, np.nan, 0.9]), "reso": np.array([np.nan, 0.1, 0])}
    model = SasModel.from_spec(small_spec(), starts=starts)
    found = {str(key): float(model.state[key]) for key in model.state}
    expected = {"resp_0": 1.1, "resp_1": 1.0, "resp_2": 0.9}
    expected |= {"var_0": 0.0004, "var_1": 0.01, "var_2": 0.0}
    assert found == pytest.approx(expected)


def test_a_region_is_needed():
    with pytest.raises(ArgumentValueError, match=r"Lower min_data or min_simulation"):
        SasModel.from_spec(small_spec(()))


def test_labels_of_bins_are_those_of_regions(model):
    assert model.bin_labels[:5] == [*(f"(0, 0)[{i}]" for i in range(4)), "(0, 1)[0]"]
    assert len(model.bin_labels) == model.observation["main"].size
    padded = SasModel.from_spec(
        model.spec, size=PackedSize.of(model.spec)._replace(rows=30)
    )
    assert padded.bin_labels == model.bin_labels + ["padding"] * 11


@pytest.mark.slow
def test_expected_counts_equal_the_plain_formula(model):
    expected = [
        plain_fractions(model.spec, VALUES, one) * one.counts.sum()
        for one in model.spec.regions
    ]
    found = model.expected(params_of(model))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-9)


@pytest.mark.slow
def test_toys_have_the_observed_numbers_of_events_of_regions(model):
    padded = SasModel.from_spec(
        model.spec, size=PackedSize(regions=6, rows=40, masses=150, bins=9)
    )
    params = params_of(model)
    sizes = [one.counts.size for one in model.spec.regions]
    starts = np.cumsum([0, *sizes[:-1]])
    totals = [one.counts.sum() for one in model.spec.regions]
    keys = jr.split(jr.key(3), 400)
    toys = np.asarray(jax.jit(jax.vmap(lambda key: padded.sample(params, key)))(keys))
    rows = toys[:, : sum(sizes)]
    assert np.array_equal(rows, np.round(rows))
    assert not toys[:, sum(sizes) :].any()
    np.testing.assert_array_equal(
        np.add.reduceat(rows, starts, axis=1), np.tile(totals, (400, 1))
    )
    # Means and variances of a multinomial.
    mean = np.asarray(model.expected(params))
    spread = np.sqrt(mean * (1 - mean / np.repeat(totals, sizes)))
    assert np.max(np.abs(rows.mean(0) - mean) / spread) * np.sqrt(400) < 4
    np.testing.assert_allclose(rows.std(0), spread, rtol=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("double", [False, True])
def test_a_fit_to_asimov_data_returns_the_truth(double):
    options = {"double_gaussian": True, "shared": ("mu", "reso2", "frac")}
    model = SasModel.from_spec(small_spec(**(options if double else {})))
    one = {name: np.full(3, VALUES[name][0]) for name in ("reso2", "mu", "frac")}
    truth = params_of(model, VALUES | one)
    start = {key: 0.999 * value for key, value in truth.items()} if double else None
    result = ew.fit(
        model,
        None if start is None else ew.State.from_pytree(start),
        observation=model.asimov(truth),
    )
    assert bool(result.success)
    names = {str(key): float(value) for key, value in truth.items()}
    assert by_name(result) == pytest.approx(names, rel=1e-4)


@pytest.mark.slow
def test_goodness_of_fit(model):
    asimov = model.asimov(params_of(model))
    result = ew.fit(model, observation=asimov)
    perfect = saturated_test(model, result, asimov)
    assert float(perfect.statistic) == pytest.approx(0, abs=1e-6)
    result = ew.fit(model)
    found = saturated_test(model, result)
    expected = sum(
        2 * n * np.log(n / m)
        for n, m in zip(
            model.observation["main"],
            model.expected(result.params.to_pytree()),
            strict=True,
        )
        if n
    )
    np.testing.assert_allclose(found.statistic, expected, rtol=1e-8)
    # One number less for each region, whose total is given.
    bins, regions = model.observation["main"].size, len(model.spec.regions)
    assert int(found.ndof) == bins - regions - 6
    padded = SasModel.from_spec(
        model.spec, size=PackedSize(regions=6, rows=40, masses=150, bins=9)
    )
    assert int(saturated_test(padded, ew.fit(padded)).ndof) == bins - regions - 6


@pytest.mark.slow
def test_a_bare_model_has_the_same_likelihood(model):
    params = params_of(model)
    bare = model.bare
    assert not bare.observation
    np.testing.assert_allclose(
        bare.nll(params, model.observation), model.nll(params), rtol=1e-14
    )


@pytest.mark.slow
def test_two_years_that_share_parameters_are_the_sum_of_both(model):
    other = SasModel.from_spec(small_spec(seed=8))
    both = ew.combine({"a": model, "b": other})
    params = params_of(model)
    np.testing.assert_allclose(
        both.nll((params, params)),
        model.nll(params) + other.nll(params),
        rtol=1e-13,
    )
    joint = both.curvature((params, params)).curvature.as_matrix()
    parts = [one.curvature(params).curvature.as_matrix() for one in (model, other)]
    whole = sum(joint[i : i + 6, j : j + 6] for i in (0, 6) for j in (0, 6))
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-10, atol=1e-4)
    fits = [ew.fit(one) for one in (both, model, other)]
    whole, *tests = (
        saturated_test(one, fit)
        for one, fit in zip((both, model, other), fits, strict=True)
    )
    # The parameters are shared, so six fewer are fitted.
    assert int(whole.ndof) == sum(int(one.ndof) for one in tests) + 6
    rise = 2 * (fits[0].nll - fits[1].nll - fits[2].nll)
    expected = sum(float(one.statistic) for one in tests) + rise
    np.testing.assert_allclose(whole.statistic, expected, rtol=1e-6)


@pytest.mark.slow
def test_pairs_and_single_objects_share_responses():
    pairs = SasModel.from_spec(small_spec(PAIRS))
    objects = SasModel.from_spec(small_spec(SINGLES, seed=5))
    joint = ew.combine(
        {"ee": pairs, "mmg": objects}, shared=[f"resp_{i}" for i in range(3)]
    )
    other = VALUES | {"reso": VALUES["reso"] + 0.01}
    truth = params_of(pairs), params_of(objects, other)
    observation = {
        "ee": pairs.asimov(truth[0])["main"],
        "mmg": objects.asimov(truth[1])["main"],
    }
    result = ew.fit(joint, observation={"main": observation, "aux": {}})
    found = by_name(result)
    for i in range(3):
        assert found[f"resp_{i}"] == pytest.approx(VALUES["resp"][i], rel=1e-6)
        for name, values in (("ee", VALUES), ("mmg", other)):
            expected = values["reso"][i] ** 2
            assert found[f"{name}.var_{i}"] == pytest.approx(expected, rel=1e-4)
    # The information on responses adds, after the resolutions are profiled.
    both = []
    for model, params in zip((pairs, objects), truth, strict=True):
        asimov = model.asimov(params)
        matrix = np.asarray(model.curvature(params, asimov).curvature.as_matrix())
        rows = list(model.places("resp").values())
        both.append(np.linalg.inv(np.linalg.inv(matrix)[np.ix_(rows, rows)]))
    errors = [float(result.errors[f"resp_{i}"]) for i in range(3)]
    expected = np.sqrt(np.diagonal(np.linalg.inv(sum(both))))
    np.testing.assert_allclose(errors, expected, rtol=1e-5)


@pytest.mark.slow
def test_fits_of_one_size_share_a_program():
    size = PackedSize(regions=4, rows=24, masses=128, bins=7)
    specs = small_spec(PAIRS), small_spec((*PAIRS[1:], (0, 2)), seed=9)
    one, other = (SasModel.from_spec(spec, size=size) for spec in specs)
    ew.fit(one)
    asimov = {**one.observation, "main": np.asarray(one.expected(params_of(one)))}
    with count_jax_work() as work:
        result = ew.fit(other)
        again = ew.fit(one, observation=asimov)
    assert bool(result.success)
    assert bool(again.success)
    assert work.traces == 0
    alone = ew.fit(SasModel.from_spec(specs[1]))
    np.testing.assert_allclose(result.nll, alone.nll, rtol=1e-12)
    assert by_name(result) == pytest.approx(by_name(alone), rel=1e-6)


def test_sizes_are_rounded_and_contain_their_specifications():
    specs = small_spec(PAIRS), small_spec(PAIRS[:2], seed=9)
    size = PackedSize.of(*specs)
    assert size == (4, 19, 124, 6)
    assert size.rounded() == (4, 20, 128, 6)
    assert all(size.contains(spec) for spec in specs)
    assert not PackedSize.of(specs[1]).contains(specs[0])
    for number in range(1, 500):
        rounded = PackedSize(number, 1, 1, 1).rounded().regions
        assert number <= rounded <= number * 9 / 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared": ("resp",)}, "'resp' is none of reso2, mu, frac"),
        ({"mass_exponent": 0.0}, "must be positive"),
        ({"mass_exponent": float("nan")}, "must be positive"),
    ],
)
def test_wrong_specifications_are_refused(options, message):
    with pytest.raises(ArgumentValueError, match=message):
        small_spec(**options)
