"""Tests of the errors of all sources together."""

import dataclasses

import numpy as np
import pytest

from everwillow.workflows.scale_smearing.systematics import (
    combined,
    double_moments,
    shifts,
)
from tests.models.scale_smearing.results import made_parameters


EDGES = {"x": [0, 1, 2, 3]}
RESP_SHIFT, RESO_SHIFT = np.array([[1e-3, -2e-3, 0], [2e-3, 1e-3, -1e-3]])


def with_covariances(parameters, seed=4):
    """Add random covariances, whose errors are those of the result."""
    rng = np.random.default_rng(seed)
    size = 2 * parameters.resp.size
    lost = np.isnan(np.concatenate([parameters.resp, parameters.reso]))
    parts = {}
    for name, scale in (("stat", 1e-3), ("mc", 5e-4)):
        root = scale * rng.normal(size=(size, size))
        matrix = root @ root.T
        matrix[lost] = matrix[:, lost] = np.nan
        parts[name] = matrix
    total = sum(parts.values())
    errors = np.sqrt(np.diagonal(total))
    return dataclasses.replace(
        parameters,
        covariances=parts,
        covariance=total,
        eresp=errors[: size // 2],
        ereso=errors[size // 2 :],
    )


@pytest.fixture
def nominal():
    return with_covariances(made_parameters(EDGES))


@pytest.fixture
def varied(nominal):
    return {
        "window": dataclasses.replace(nominal, resp=nominal.resp + RESP_SHIFT),
        "cut": dataclasses.replace(
            nominal,
            resp=nominal.resp - 5e-4,
            reso=nominal.reso + RESO_SHIFT,
        ),
    }


def test_squares_of_errors_add(nominal, varied):
    found = combined(nominal, varied, scale_flat=3e-4, smear_flat=7e-4)
    for name, flat in (("resp", 3e-4), ("reso", 7e-4)):
        square = nominal.values(f"e{name}") ** 2 + flat**2
        for one in varied.values():
            square = square + (one.values(name) - nominal.values(name)) ** 2
        np.testing.assert_allclose(found.values(f"e{name}"), np.sqrt(square))
        np.testing.assert_array_equal(found.values(name), nominal.values(name))
        np.testing.assert_array_equal(
            found.values(f"e{name}_mc"), nominal.values(f"e{name}_mc")
        )
    np.testing.assert_allclose(
        np.concatenate([found.eresp, found.ereso]),
        np.sqrt(np.diagonal(found.covariance)),
    )


def test_categories_move_together(nominal, varied):
    found = combined(nominal, varied, scale_flat=3e-4, smear_flat=7e-4)
    assert set(found.covariances) == {"stat", "mc", "flat", "window", "cut"}
    for name, one in varied.items():
        shift = np.append(one.resp - nominal.resp, one.reso - nominal.reso)
        for i in range(6):
            for j in range(6):
                assert found.covariances[name][i, j] == pytest.approx(
                    shift[i] * shift[j], abs=1e-18
                )
    flat = np.zeros((6, 6))
    flat[:3, :3], flat[3:, 3:] = 9e-8, 49e-8
    np.testing.assert_allclose(found.covariances["flat"], flat)
    np.testing.assert_allclose(found.covariance, sum(found.covariances.values()))
    assert np.linalg.eigvalsh(found.covariance)[0] > 0


def test_without_other_sources_nothing_changes(nominal):
    found = combined(nominal, {})
    np.testing.assert_array_equal(found.covariance, nominal.covariance)
    assert set(found.covariances) == {"stat", "mc"}
    np.testing.assert_allclose(found.eresp, nominal.eresp)


def test_flat_errors_need_no_systematics(nominal):
    found = combined(nominal, {}, scale_flat=5e-4)
    np.testing.assert_allclose(found.eresp, np.hypot(nominal.eresp, 5e-4))
    np.testing.assert_allclose(found.ereso, nominal.ereso)


def test_a_lost_category_has_no_total_error_and_a_note(nominal, varied):
    lost = dataclasses.replace(
        varied["cut"],
        resp=np.where([0, 1, 0], np.nan, nominal.resp),
        reso=np.where([0, 1, 0], np.nan, nominal.reso),
    )
    found = combined(nominal, {**varied, "cut": lost})
    np.testing.assert_array_equal(np.isnan(found.eresp), [False, True, False])
    np.testing.assert_array_equal(np.isnan(found.ereso), [False, True, False])
    assert np.all(np.isfinite(found.resp))
    kept = [0, 2, 3, 5]
    assert np.all(np.isfinite(found.covariance[np.ix_(kept, kept)]))
    assert found.origin["notes"] == [
        "The systematic 'cut' has no number in the categories 1, so their total errors "
        "are not known."
    ]
    assert found.origin["systematics"] == ["window", "cut"]


def test_a_category_that_is_not_fitted_needs_no_note():
    nominal = with_covariances(made_parameters(EDGES, lost=(2,)))
    other = dataclasses.replace(nominal, resp=nominal.resp + 1e-3)
    found = combined(nominal, {"other": other}, scale_flat=1e-3)
    assert found.origin["notes"] == []
    np.testing.assert_array_equal(np.isnan(found.eresp), [False, False, True])


def test_unknown_statistical_errors_are_not_replaced_by_others(varied):
    nominal = made_parameters(EDGES)
    found = combined(nominal, varied, scale_flat=1e-3)
    assert found.covariance is None
    assert np.all(np.isnan(found.eresp))
    assert np.all(np.isnan(found.ereso))


def test_input_is_not_changed(nominal, varied):
    before = {name: matrix.copy() for name, matrix in nominal.covariances.items()}
    origin = dict(nominal.origin)
    combined(nominal, varied, scale_flat=1e-3)
    assert dict(nominal.origin) == origin
    assert set(nominal.covariances) == set(before)
    for name, matrix in before.items():
        np.testing.assert_array_equal(nominal.covariances[name], matrix)


DOUBLE = {
    "frac": np.array([0.9, 0.82, 1.0]),
    "mu": np.array([0.93, 0.9, np.nan]),
    "reso2": np.array([0.05, 0.07, np.nan]),
}


def test_moments_of_two_gaussians_equal_integrals():
    found = made_parameters(EDGES, double=DOUBLE)
    moments = double_moments(found)
    x = np.linspace(0, 2, 400_001)
    for i in range(3):
        f, first = DOUBLE["frac"][i], found.reso[i]
        density = f * np.exp(-0.5 * ((x - 1) / first) ** 2) / first
        if f < 1:
            mu, width = DOUBLE["mu"][i], DOUBLE["reso2"][i] * DOUBLE["mu"][i]
            density += (1 - f) * np.exp(-0.5 * ((x - mu) / width) ** 2) / width
        density /= density.sum()
        mean = density @ x
        spread = np.sqrt(density @ (x - mean) ** 2)
        np.testing.assert_allclose(moments["mean2G"][i], found.resp[i] * mean)
        np.testing.assert_allclose(moments["std2G"][i], spread / mean)


def test_two_gaussians_are_compared_by_their_moments(nominal):
    double = dataclasses.replace(nominal, double=DOUBLE)
    moments = double_moments(double)
    expected = [moments["mean2G"] - nominal.resp, moments["std2G"] - nominal.reso]
    np.testing.assert_allclose(shifts(nominal, double), np.concatenate(expected))
    found = combined(nominal, {"two": double})
    np.testing.assert_allclose(
        found.eresp, np.hypot(nominal.eresp, expected[0]), rtol=1e-12
    )


def test_the_end_of_a_one_sided_interval_gets_the_errors_of_other_sources(nominal):
    at_zero = dataclasses.replace(
        nominal,
        reso=np.array([0.0, 0.02, 0.02]),
        ereso=np.array([np.nan, 0.001, 0.001]),
        reso_upper=np.array([0.004, np.nan, np.nan]),
    )
    other = dataclasses.replace(at_zero, reso=np.array([0.002, 0.02, 0.02]))
    found = combined(at_zero, {"other": other}, smear_flat=0.003)
    expected = np.sqrt(0.004**2 + 0.002**2 + 0.003**2)
    np.testing.assert_allclose(found.reso_upper, [expected, np.nan, np.nan])
    low, high = found.reso_interval()
    np.testing.assert_allclose([low[0], high[0]], [0, expected])


def test_intervals_of_resolutions_are_those_of_their_squares(nominal):
    reso, ereso = np.array([0.02, 0.004, np.nan]), np.array([0.001, 0.003, np.nan])
    one = dataclasses.replace(nominal, reso=reso, ereso=ereso)
    low, high = one.reso_interval()
    np.testing.assert_allclose(low, [np.sqrt(0.02**2 - 4e-5), 0, np.nan])
    np.testing.assert_allclose(high, np.sqrt(reso**2 + 2 * reso * ereso))
