"""Numbers of pyhf 0.7.6 with iminuit 2.33.0; make_pyhf_reference.py made them.

Minuit leaves them accurate to about 1e-8 in test statistics, and as much in the rest.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import everwillow as ew
from everwillow.hypotest import (
    Q0,
    AsymptoticCalculator,
    QMu,
    QTilde,
    TMu,
    TMuTilde,
    expected_upper_limit,
)
from everwillow.hypotest.results import N_SIGMA
from everwillow.hypotest.upper_limit import upper_limit
from tests.hypotest.models import uncorrelated_background


pytestmark = pytest.mark.validation

REFERENCE = json.loads((Path(__file__).parent / "pyhf_reference.json").read_text())
CASES = REFERENCE["cases"]
NAMES = [f"{case['model']}, {case['kind']}" for case in CASES]
STATISTICS = {
    "tmu": TMu(),
    "tmu_tilde": TMuTilde(),
    "qmu": QMu(),
    "qmu_tilde": QTilde(),
}


def model_of(case, bounds):
    return uncorrelated_background(
        case["signal"], case["background"], case["uncertainty"], case["data"], bounds
    )


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_statistics(case):
    # The wide bounds let the best fit be negative, where ours go to zero themselves.
    model = model_of(case, REFERENCE["bounds"])
    for name, statistic in STATISTICS.items():
        for poi, expected in zip(
            REFERENCE["poi"], case["statistics"][name], strict=True
        ):
            found = statistic.compute(model, None, None, "mu", poi)
            np.testing.assert_allclose(found.value, expected, rtol=1e-6, atol=1e-7)
    found = Q0().compute(model, None, None, "mu", 0.0)
    np.testing.assert_allclose(found.value, case["statistics"]["q0"], atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_pvalues_and_bands(case):
    tests = AsymptoticCalculator(
        model_of(case, (0.0, 10.0)), None, None, "mu", QTilde()
    )
    for row in case["tests"]:
        result = tests.test(row["poi"])
        np.testing.assert_allclose(result.null_pvalue, row["pnull"], rtol=1e-5)
        np.testing.assert_allclose(result.alt_pvalue, row["palt"], rtol=1e-5)
        np.testing.assert_allclose(tests.cls(result), row["cls"], rtol=1e-5)
        bands = tests.expected(result).cl_s
        root = np.sqrt(result.test_stat_result.q_asimov)
        for n_sigma, (_, found), expected in zip(
            N_SIGMA, bands, row["expected"], strict=True
        ):
            # Beyond, pyhf goes on to negative roots of the test statistic.
            if n_sigma < root:
                np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_discovery(case):
    tests = AsymptoticCalculator(model_of(case, (0.0, 10.0)), None, None, "mu", Q0())
    result = tests.test(0.0)
    np.testing.assert_allclose(result.null_pvalue, case["discovery"], rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_limits(case):
    tests = AsymptoticCalculator(
        model_of(case, (0.0, 10.0)), None, None, "mu", QTilde()
    )
    limit = upper_limit(lambda poi: tests.cls(tests.test(poi)), (0.02, 8.0))
    np.testing.assert_allclose(limit, case["limit"], rtol=1e-6)
    limits = expected_upper_limit(
        lambda poi: tests.expected(tests.test(poi)), (0.02, 8.0)
    )
    found = [value for _, value in limits]
    np.testing.assert_allclose(found, case["expected limits"], rtol=1e-6)


def test_the_constraint_is_that_of_pyhf():
    # pyhf's auxiliary datum is (b / db)², and its gamma is 1 there.
    model = model_of(CASES[0], (0.0, 10.0))
    best = ew.fit(model, observation=model.asimov({"mu": 0.0, "gamma": np.ones(2)}))
    np.testing.assert_allclose(best.params["gamma"], 1.0, rtol=1e-9)
