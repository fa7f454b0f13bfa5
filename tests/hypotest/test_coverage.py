"""Coverage of intervals and tests made of toys, at the binomial level."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest import (
    EmpiricalDistribution,
    QMu,
    TestStatResult,
    TMu,
    ToyGenerator,
)


TRUTH, TOYS = 2.0, 4000


def main_nll(params, data):
    return 0.5 * jnp.sum((data - params["mu"] - params["shift"]) ** 2)


MODEL = ew.Model(
    main_nll,
    {"mu": TRUTH, "shift": 0.0},
    np.array([2.3, 1.9, 2.1]),
    constraints={"shift": ew.Normal(0.0, 0.5)},
    expected=lambda p: jnp.full(3, p["mu"] + p["shift"]),
    sample=lambda p, key: p["mu"] + p["shift"] + jax.random.normal(key, (3,)),
)


def toys(statistic, seed):
    generator = ToyGenerator(statistic, ntoys=TOYS)
    options = {"nuisances": "a priori", "key": seed}
    return generator.generate(MODEL, None, None, "mu", TRUTH, **options)


def binomial(probability):
    return 4 * np.sqrt(probability * (1 - probability) / TOYS)


@pytest.mark.slow
def test_intervals_of_the_profile_cover_the_truth():
    found = toys(TMu(), 1)
    assert found.failures["null"] == 0
    # A Gaussian with a Gaussian nuisance parameter has exact coverage.
    for level, height in ((0.6827, 1.0), (0.9545, 4.0)):
        covered = np.mean(found.q_null <= height)
        assert abs(covered - level) < binomial(level)


@pytest.mark.slow
def test_tests_by_toys_reject_the_truth_as_often_as_they_say():
    distribution = EmpiricalDistribution.from_toys(toys(QMu(), 2))
    data = toys(QMu(), 3).q_null
    pvalues = np.array(
        [distribution.null_pval(TestStatResult(float(q))) for q in data[:1000]]
    )
    # Below a half, where the one-sided test statistic is not zero.
    for level in (0.05, 0.1, 0.3):
        error = 4 * np.sqrt(level * (1 - level) * (1 / 1000 + 1 / TOYS))
        assert abs(np.mean(pvalues < level) - level) < error
