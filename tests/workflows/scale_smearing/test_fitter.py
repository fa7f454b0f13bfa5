"""Tests of fits to two samples, whose responses and resolutions are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow._errors import ArgumentTypeError, ArgumentValueError, UnknownKeyError
from everwillow.models.scale_smearing import generate_events
from everwillow.models.scale_smearing.likelihood.packing import PackedSize
from everwillow.models.scale_smearing.parameters import (
    AT_BOUND,
    FAILED,
    FITTED,
    NO_REGION,
)
from everwillow.toys import fit_toys
from everwillow.workflows.scale_smearing import RegionalFitter
from everwillow.workflows.scale_smearing.regional_fit import fit_regions
from everwillow.workflows.scale_smearing.systematics import double_moments


EDGES = {"x": [0, 1, 2, 3]}
RESP = np.array([1.01, 0.99, 1.0])
RESO = np.array([0.025, 0.02, 0.03])
WINDOWS = {
    "data_window": (80, 100),
    "simulation_window": (70, 110),
    "template_width": 0.2,
}


def generated(size, seed, kind="simulation", edges=EDGES, **options):
    return generate_events(
        size,
        categories=edges,
        kind=kind,
        seed=seed,
        smearing="mass",
        window=(65, 115),
        **options,
    )


@pytest.fixture(scope="module")
def samples():
    data = generated(30_000, 1, "data", resp=RESP, reso=RESO)
    return data, generated(60_000, 2)


@pytest.fixture(scope="module")
def fitter(samples):
    return RegionalFitter(*samples, EDGES, **WINDOWS)


@pytest.fixture(scope="module")
def found(fitter):
    return fitter.fit()


@pytest.mark.slow
def test_the_truth_is_found(found):
    assert found.success
    assert found.status == (FITTED,) * 3
    pulls = np.concatenate(
        [(found.resp - RESP) / found.eresp, (found.reso - RESO) / found.ereso]
    )
    assert np.max(np.abs(pulls)) < 3.5
    assert np.all(found.eresp < 2e-3)
    assert np.all(np.isnan(found.reso_upper))


@pytest.mark.slow
def test_errors_are_those_of_the_inverse_hessian(fitter, found):
    fit = fitter.regional_fit
    places = [
        np.array(list(fit.model.places(kind).values())) for kind in ("resp", "var")
    ]

    @jax.jit
    @jax.hessian
    def hessian(values):
        vector = jnp.zeros(6).at[places[0]].set(values[:3])
        vector = vector.at[places[1]].set(values[3:] ** 2)
        return fit.model.terms.nll(vector, fit.model.observation["main"])

    expected = np.linalg.inv(hessian(np.concatenate([found.resp, found.reso])))
    scale = np.sqrt(np.diagonal(expected))
    both = np.outer(scale, scale)
    np.testing.assert_allclose(
        found.covariances["stat"] / both, expected / both, atol=1e-5
    )
    total = found.covariances["stat"] + found.covariances["mc"]
    np.testing.assert_allclose(found.covariance, total)
    np.testing.assert_allclose(found.eresp, np.sqrt(np.diagonal(total)[:3]))
    np.testing.assert_allclose(found.ereso, np.sqrt(np.diagonal(total)[3:]))
    np.testing.assert_allclose(
        found.ereso_mc, np.sqrt(np.diagonal(found.covariances["mc"])[3:])
    )


@pytest.mark.slow
def test_pulls_of_toys(fitter):
    fit = fitter.regional_fit
    toys = fit_toys(fit.model, fit.result, ntoys=100, key=4)
    assert toys.failures == 0
    for key in fit.result.params:
        truth = float(fit.result.params[key])
        pulls = (np.asarray(toys.params[key]) - truth) / np.asarray(toys.errors[key])
        assert abs(np.mean(pulls)) < 0.4
        assert 0.75 < np.std(pulls) < 1.25


@pytest.mark.slow
def test_errors_of_simulation_are_the_spread_of_fits_to_other_templates(fitter, found):
    fit = fitter.regional_fit
    rng = np.random.default_rng(6)
    variances = np.stack([one.variances for one in fit.table.spec.regions])
    spread = []
    for _ in range(100):
        noise = rng.poisson(variances) - variances
        terms = dataclasses.replace(
            fit.model.terms, templates=fit.model.terms.templates + noise
        )
        other = dataclasses.replace(fit.model, terms=terms)
        spread.append(
            dataclasses.replace(fit, result=ew.fit(other)).parameters(errors=False)
        )
    for name in ("resp", "reso"):
        values = np.std([one.values(name) for one in spread], axis=0)
        # The error of a standard deviation from 100 numbers is 7 %.
        np.testing.assert_allclose(values, found.values(f"e{name}_mc"), rtol=0.28)


@pytest.mark.slow
def test_regions_of_the_fit(samples, fitter):
    fits = fitter.region_fits()
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    assert [one.categories for one in fits] == pairs
    chi2 = bins = 0
    for one, region in zip(fits, fitter.table.spec.regions, strict=True):
        np.testing.assert_array_equal(one.edges, region.edges)
        np.testing.assert_array_equal(one.data, region.counts)
        np.testing.assert_allclose(one.expected.sum(), one.data.sum())
        chi2 += np.sum((one.data - one.expected) ** 2 / one.expected)
        bins += one.data.size - 1
    # Simulation has errors, too: a third of those of data in square.
    assert 0.7 < chi2 / (bins - 6) < 2


@pytest.mark.slow
def test_without_errors(fitter, found):
    plain = fitter.fit(errors=False)
    np.testing.assert_array_equal(plain.resp, found.resp)
    assert plain.covariance is None
    assert not plain.covariances
    for name in ("eresp", "ereso", "eresp_mc", "ereso_mc"):
        assert np.all(np.isnan(plain.values(name)))
    stat = fitter.fit(simulation_errors=False)
    assert set(stat.covariances) == {"stat"}
    assert np.all(np.isnan(stat.eresp_mc))
    assert np.all(stat.eresp < found.eresp)


@pytest.mark.slow
def test_smearing_at_zero(samples):
    # The category 1 is narrower in data than in simulation.
    narrow = generated(
        30_000, 5, "data", reso=[0.02, 0, 0.03], base_resolution=[0.02, 0.005, 0.02]
    )
    fitter = RegionalFitter(narrow, samples[1], EDGES, **WINDOWS)
    found = fitter.fit()
    assert found.success
    assert found.status == (FITTED, AT_BOUND, FITTED)
    assert found.reso[1] == 0
    assert np.isnan(found.ereso[1])
    assert np.isnan(found.ereso_mc[1])
    assert np.all(found.eresp > 0)
    np.testing.assert_array_equal(np.isnan(found.reso_upper), [True, False, True])
    # There the profile of -ln L has risen by one half.
    fit = fitter.regional_fit
    fixed = ew.fit(fit.model, fixed={"var_1": found.reso_upper[1] ** 2})
    assert float(fixed.nll) - found.nll == pytest.approx(0.5, abs=1e-3)
    lost = np.isnan(found.covariance)
    expected = np.zeros((6, 6), bool)
    expected[4] = expected[:, 4] = True
    np.testing.assert_array_equal(lost, expected)


@pytest.mark.slow
def test_fits_leave_zero_smearing_and_return_to_it(samples):
    narrow = generated(30_000, 5, "data", base_resolution=[0.02, 0.012, 0.02])
    fitter = RegionalFitter(narrow, samples[1], EDGES, **WINDOWS)
    fit = fitter.regional_fit
    assert float(fit.result.params["var_1"]) == 0
    # Here -ln L is bent downwards.
    toys = fit_toys(fit.model, fit.result, ntoys=200, key=1)
    assert toys.failures == 0
    at_zero = np.mean(np.asarray(toys.params["var_0"]) == 0)
    assert 0.05 < at_zero < 0.3
    zero = RegionalFitter(
        narrow, samples[1], EDGES, starts={"reso": 0.0}, **WINDOWS
    ).regional_fit
    np.testing.assert_allclose(zero.result.nll, fit.result.nll, rtol=1e-12)
    np.testing.assert_allclose(zero.vector, fit.vector, atol=1e-9)


@pytest.mark.slow
def test_a_category_without_simulation_moves_no_other():
    # Another tool mixes regions up here, and finds responses of 0.990 to 1.023.
    edges = {"x": [0, 1, 2, 3, 4]}
    data = generated(20_000, 7, "data", edges=edges, reso=0.02)
    simulation = generated(20_000, 8, edges={"x": [0, 1, 2, 3]})
    found = RegionalFitter(data, simulation, edges, **WINDOWS).fit()
    assert found.status == (FITTED, FITTED, FITTED, NO_REGION)
    np.testing.assert_allclose((found.resp - 1)[:3] / found.eresp[:3], 0, atol=3.5)
    for name in ("resp", "reso", "eresp", "ereso", "eresp_mc", "ereso_mc"):
        values = found.values(name)
        assert np.isnan(values[3])
        assert np.all(np.isfinite(values[:3]))
    assert np.all(np.isnan(found.covariance[3]))
    assert "1 categories are in no region" in found.origin["notes"][-1]


@pytest.mark.slow
def test_a_response_of_two_gaussians():
    edges = {"x": [0, 1]}
    tail = {"frac": 0.85, "mu": 0.92, "reso2": 0.05}
    data = generated(
        40_000, 9, "data", edges=edges, resp=1.005, reso=0.015, double=tail
    )
    simulation = generated(80_000, 10, edges=edges)
    found = RegionalFitter(
        data, simulation, edges, double_gaussian=True, **WINDOWS
    ).fit()
    assert found.success
    for name, value in {"resp": 1.005, "reso": 0.015, **tail}.items():
        pull = (found.values(name) - value) / found.values(f"e{name}")
        assert abs(pull[0]) < 3.5
    assert set(found.double) == {
        f"{before}{name}{after}"
        for name in ("reso2", "mu", "frac")
        for before, after in (("", ""), ("e", ""), ("e", "_mc"))
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", [21, 22])
def test_two_gaussians_where_one_suffices(samples, seed):
    edges = {"x": [0, 1]}
    data = generated(20_000, seed, "data", edges=edges, reso=0.02)
    simulation = generated(40_000, 23, edges=edges)
    one = RegionalFitter(data, simulation, edges, **WINDOWS).fit()
    two = RegionalFitter(data, simulation, edges, double_gaussian=True, **WINDOWS).fit()
    assert two.success
    assert two.nll < one.nll + 1e-6
    if two.double["frac"][0] == 1:
        assert np.isnan(two.double["mu"][0])
        assert np.isnan(two.double["reso2"][0])
        np.testing.assert_allclose(two.resp, one.resp, rtol=1e-6)
    moments = double_moments(two)
    np.testing.assert_allclose((moments["mean2G"] - one.resp) / one.eresp, 0, atol=2)
    np.testing.assert_allclose((moments["std2G"] - one.reso) / one.ereso, 0, atol=2)


@pytest.mark.slow
def test_one_object_with_a_response():
    edges = {"x": [0, 1, 2]}
    options = {"edges": edges, "suffixes": ("1",), "mass_exponent": 0.5}
    data = generated(20_000, 11, "data", resp=[1.02, 0.98], reso=0.04, **options)
    simulation = generated(40_000, 12, **options)
    found = RegionalFitter(
        data, simulation, edges, suffixes=("1",), mass_exponent=0.5, **WINDOWS
    ).fit()
    assert found.origin["n_regions"] == 2
    np.testing.assert_allclose((found.resp - [1.02, 0.98]) / found.eresp, 0, atol=3.5)
    np.testing.assert_allclose((found.reso - 0.04) / found.ereso, 0, atol=3.5)
    # Each object is in a region of its own, so nothing is correlated.
    for i, j in ((0, 1), (0, 3), (2, 1), (2, 3)):
        assert abs(found.covariance[i, j]) < 1e-12


@pytest.mark.slow
def test_a_failed_fit_has_no_numbers(samples):
    rng = np.random.default_rng(13)
    flat = dict(samples[0], mass=rng.uniform(80, 100, 30_000))
    peaked = dict(samples[1], mass=np.full(60_000, 91.05))
    table = RegionalFitter(flat, peaked, EDGES, data_bins=1.0, **WINDOWS).table
    size = PackedSize.of(table.spec)
    found = fit_regions(table, size=size._replace(rows=size.rows + 5)).parameters()
    assert not found.success
    assert found.status == (FAILED,) * 3
    assert "padding" not in found.message
    for name in ("resp", "reso", "eresp", "ereso"):
        assert np.all(np.isnan(found.values(name)))
    assert found.message


def test_tables_of_arrow_are_mappings_of_columns(samples):
    pa = pytest.importorskip("pyarrow")
    tables = [pa.table(columns) for columns in samples]
    one = RegionalFitter(*tables, EDGES, **WINDOWS).table
    other = RegionalFitter(*samples, EDGES, **WINDOWS).table
    assert one.status == other.status
    for some, same in zip(one.spec.regions, other.spec.regions, strict=True):
        np.testing.assert_array_equal(some.template, same.template)
        np.testing.assert_array_equal(some.counts, same.counts)


def test_start_values_reach_the_model(samples):
    starts = {"resp": 1.02, "reso": [0.01, np.nan, 0.03]}
    model = RegionalFitter(*samples, EDGES, starts=starts, **WINDOWS).model
    found = {str(key): float(model.state[key]) for key in model.state}
    expected = {f"resp_{i}": 1.02 for i in range(3)}
    expected |= {"var_0": 1e-4, "var_1": 4e-4, "var_2": 9e-4}
    assert found == pytest.approx(expected)


def test_wrong_start_values_are_refused(samples):
    with pytest.raises(ArgumentValueError, match=r"shape \(2,\).*3 categories"):
        RegionalFitter(*samples, EDGES, starts={"resp": [1.0, 1.0]})
    with pytest.raises(UnknownKeyError, match="Did you mean 'resp'"):
        RegionalFitter(*samples, EDGES, starts={"rsp": 1.0})


def test_unknown_options_are_refused(samples):
    with pytest.raises(ArgumentTypeError, match="Did you mean 'data_window'"):
        RegionalFitter(*samples, EDGES, data_windows=(80, 100))


def test_without_regions_there_is_no_fit(samples):
    fitter = RegionalFitter(*samples, EDGES, min_data=10**6)
    with pytest.raises(ArgumentValueError, match="min_data and min_simulation"):
        fitter.fit()
