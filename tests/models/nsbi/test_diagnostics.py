"""Closure and calibration where the ratio of densities is known.

Events of the reference are uniform in x from 0 to 1 and those of the target have the
density 2 x, so that the ratio is 2 x.
"""

import numpy as np
import pytest

import everwillow as ew
from everwillow.goodness import chi2_test
from everwillow.models.nsbi.diagnostics import calibration, closure_test


EDGES = np.linspace(0, 1, 9)


def sample(seed, target=1500, source=2500):
    """Return x, weights in both samples, and which events are from the target."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([np.sqrt(rng.random(target)), rng.random(source)])
    first = np.arange(x.size) < target
    weight = rng.uniform(0.5, 2, x.size)
    return x, np.where(first, weight, 0), np.where(first, 0, 3 * weight), first


def test_numbers_of_bins_are_those_of_numpy():
    x, target, source, _ = sample(1)
    found = closure_test(x, target, source, 2 * x, bins=EDGES)
    scale = target.sum() / source.sum()
    for values, errors, weights in (
        (found.target, found.target_errors, target),
        (found.reweighted, found.reweighted_errors, scale * source * 2 * x),
        (found.source, None, scale * source),
    ):
        expected = np.histogram(x, EDGES, weights=weights)[0]
        np.testing.assert_allclose(values, expected, rtol=1e-12)
        if errors is not None:
            squares = np.histogram(x, EDGES, weights=weights**2)[0]
            np.testing.assert_allclose(errors, np.sqrt(squares), rtol=1e-12)
    np.testing.assert_allclose(found.residuals, found.target - found.reweighted)
    mean = np.average(2 * x, weights=source)
    np.testing.assert_allclose(found.normalisation, mean, rtol=1e-12)


def influences(function, weights, step=1e-6):
    """Return the change of residuals by each event, by differences in its weight."""
    rows = []
    for i in range(len(weights[0])):
        up, down = ([w.copy() for w in weights] for _ in range(2))
        for w, u, d in zip(weights, up, down, strict=True):
            u[i], d[i] = w[i] * (1 + step), w[i] * (1 - step)
        rows.append((function(*up) - function(*down)) / (2 * step))
    return np.array(rows)


def test_the_covariance_is_the_sum_over_events():
    """Events in both samples: an event more or less changes both, and both totals.

    The residual is given in units of the target, so its fraction of it is compared.
    """
    rng = np.random.default_rng(5)
    x = rng.random(240)
    target, source = rng.uniform(0.5, 2, 240), rng.uniform(0, 3, 240)
    source[:80] = 0

    def shares(t, s):
        return closure_test(x, t, s, 2 * x, bins=EDGES[::2]).residuals / t.sum()

    rows = influences(shares, [target, source])
    found = closure_test(x, target, source, 2 * x, bins=EDGES[::2])
    expected = rows.T @ rows * target.sum() ** 2
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-6, atol=1e-7)

    first, edges = rng.random(240) < 2 * x / (1 + 2 * x), [0, 0.4, 0.55, 1]
    rows = influences(
        lambda w: calibration(2 * x, first, w, bins=edges).residuals, [target]
    )
    found = calibration(2 * x, first, target, bins=edges)
    np.testing.assert_allclose(found.covariance, rows.T @ rows, rtol=1e-6, atol=1e-9)


def statistics(test, seeds):
    found = [test(*sample(seed)) for seed in seeds]
    tests = [chi2_test(one.residuals, one.covariance) for one in found]
    return np.array([[t.statistic, t.ndof] for t in tests]).T


@pytest.mark.parametrize("kind", ["closure", "calibration"])
def test_chi2_has_its_mean_for_the_true_ratio(kind):
    """The mean of chi2 is its number of degrees of freedom, its variance twice that."""

    def test(x, target, source, first):
        if kind == "closure":
            return closure_test(x, target, source, 2 * x, bins=EDGES)
        # The probability is between 0 and 2 / 3; some 3 events of the target, and in
        # one toy of thirty none, are in the first bin.
        return calibration(2 * x, first, target + source, bins=np.linspace(0, 0.7, 9))

    number = 120
    chi2, ndof = statistics(test, range(number))
    assert set(ndof) <= {7, 8}
    error = np.sqrt(2 * ndof.mean() / number)
    assert abs(np.mean(chi2 - ndof)) < 4 * error


def test_a_wrong_ratio_is_found():
    x, target, source, first = sample(2)
    wrong = 1.5 * np.sqrt(x)
    for found in (
        closure_test(x, target, source, wrong, bins=EDGES),
        calibration(wrong, first, target + source),
    ):
        assert chi2_test(found.residuals, found.covariance).pvalue < 1e-6
        assert np.nanmax(np.abs(found.pulls)) > 4
    # Its normalisation is right; that of a ratio which is 5 % too large is not.
    fine = closure_test(x, target, source, wrong, bins=EDGES)
    assert abs(fine.normalisation - 1) < 4 * fine.normalisation_error
    large = closure_test(x, target, source, 2.1 * x, bins=EDGES)
    np.testing.assert_allclose(large.normalisation, 1.05, atol=4 * 0.0125)
    assert large.normalisation - 1 > 3 * large.normalisation_error


def test_a_bin_without_an_event_of_the_target_has_an_error():
    """Three events are expected in the first bin, none is there."""
    x, target, source, first = sample(4, target=1200, source=4000)
    x[first] = np.maximum(x[first], 0.05)
    found = closure_test(x, target, source, 2 * x, bins=[0, 0.05, 0.5, 1])
    weights = target[first]
    expected = found.reweighted[0] * np.sum(weights**2) / np.sum(weights)
    error = np.sqrt(expected + found.reweighted_errors[0] ** 2)
    assert found.target[0] == 0
    np.testing.assert_allclose(found.pulls[0], -found.reweighted[0] / error, rtol=0.03)
    assert -2.5 < found.pulls[0] < -1
    edges = [0, 0.1 / 1.1, 0.5, 1]
    scores = calibration(2 * x, first, target + source, bins=edges)
    assert scores.fraction[0] == 0
    np.testing.assert_allclose(scores.pulls[0], found.pulls[0], rtol=0.05)


def test_the_error_of_the_normalisation_is_its_spread():
    rng = np.random.default_rng(9)
    found = []
    for _ in range(300):
        x = rng.random(400)
        one = closure_test(x, 2 * x, np.ones(400), 2 * x, bins=2)
        found.append([one.normalisation, one.normalisation_error])
    means, errors = np.array(found).T
    # The variance of 2 x is 1 / 3.
    np.testing.assert_allclose(np.mean(errors), np.sqrt(1 / 3 / 400), rtol=0.01)
    np.testing.assert_allclose(np.std(means), np.mean(errors), rtol=0.17)


def test_ratios_of_events_outside_of_the_reference_are_not_used():
    x, target, source, first = sample(3)
    ratios = np.where(first, np.nan, 2 * x)
    found = closure_test(x, target, source, ratios, bins=EDGES)
    whole = closure_test(x, target, source, 2 * x, bins=EDGES)
    np.testing.assert_array_equal(found.residuals, whole.residuals)


def test_values_outside_are_in_the_edge_bins():
    found = closure_test(
        [-5, 0.1, 1, 7], np.ones(4), np.ones(4), np.ones(4), bins=EDGES
    )
    assert found.target[[0, -1]].tolist() == [2.0, 2.0]
    assert np.isnan(found.pulls).all()


def test_fractions_of_bins_by_hand():
    """Scores 0.5 and 0.75; the classes have the weights 4 and 8 before balancing."""
    found = calibration(
        [1, 1, 3, 3], [1, 0, 1, 0], [1.0, 6.0, 3.0, 2.0], bins=[0, 0.6, 0.9, 1]
    )
    np.testing.assert_allclose(found.predicted, [0.5, 0.75, np.nan])
    np.testing.assert_allclose(found.fraction, [0.25, 0.75, np.nan])
    np.testing.assert_allclose(found.residuals, [-0.25, 0, 0])
    np.testing.assert_array_equal(found.counts, [[1, 1, 0], [1, 1, 0]])
    error = found.errors[0]
    np.testing.assert_allclose(found.pulls[0], -0.25 / error)
    assert np.isnan(found.errors[2])
    assert np.isnan(found.pulls[2])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"x": [[1.0]]}, "x: expected a vector"),
        ({"target_weights": [1.0]}, "target_weights: expected a vector of 3"),
        ({"ratios": [1.0, np.inf, 2.0]}, "ratios: 1 of 3 are not finite"),
        ({"source_weights": [1.0, 1.0, -2.0]}, "source_weights: their sum is 0"),
        ({"bins": [1.0, 0.0]}, "bins: .*rising edges"),
    ],
)
def test_faults_of_a_closure_are_named(change, problem):
    good = {name: [1.0, 1.0, 2.0] for name in ("x", "target_weights", "ratios")}
    good |= {"source_weights": [1.0, 1.0, 1.0], "bins": 2, **change}
    with pytest.raises(ew.EverwillowError, match=problem):
        closure_test(**good)


def test_faults_of_a_calibration_are_named():
    with pytest.raises(ew.EverwillowError, match="ratios: 1 of 2 are negative"):
        calibration([1.0, -1.0], [1, 0])
    with pytest.raises(ew.EverwillowError, match="is_numerator: expected 2 entries"):
        calibration([1.0, 1.0], [1, 0, 0])
    with pytest.raises(ew.EverwillowError, match="one class: their sum is 0"):
        calibration([1.0, 1.0], [1, 1])
