"""Hypothesis tests: test statistics, their distributions, p-values and limits."""

from everwillow._lazy_names import listed_names
from everwillow.hypotest import upper_limit
from everwillow.hypotest.asimov import make_asimov
from everwillow.hypotest.calculators import AsymptoticCalculator, HypoTestCalculator
from everwillow.hypotest.distributions import (
    Distribution,
    EmpiricalDistribution,
    Q0Asymptotic,
    QMuAsymptotic,
    QTildeAsymptotic,
    SimpleEmpiricalDistribution,
    TMuAsymptotic,
    TMuTildeAsymptotic,
)
from everwillow.hypotest.formulas import cl_s, sigma_from_asimov, significance
from everwillow.hypotest.results import (
    LIMIT,
    BandValues,
    ExpectedBands,
    HypoTestResult,
    TestStatResult,
    ToyResult,
)
from everwillow.hypotest.test_statistics import (
    Q0,
    CowanTestStatistic,
    QMu,
    QTilde,
    TestStatistic,
    TMu,
    TMuTilde,
    constrained_fit,
)
from everwillow.hypotest.toys import ToyGenerator
from everwillow.hypotest.upper_limit import (
    expected_upper_limit,
    upper_limit_scan,
    upper_limit_toys,
)


# `upper_limit` is a module that is called like the function it defines.
__dir__ = listed_names(globals())

__all__ = [
    "LIMIT",
    "Q0",
    "AsymptoticCalculator",
    "BandValues",
    "CowanTestStatistic",
    "Distribution",
    "EmpiricalDistribution",
    "ExpectedBands",
    "HypoTestCalculator",
    "HypoTestResult",
    "Q0Asymptotic",
    "QMu",
    "QMuAsymptotic",
    "QTilde",
    "QTildeAsymptotic",
    "SimpleEmpiricalDistribution",
    "TMu",
    "TMuAsymptotic",
    "TMuTilde",
    "TMuTildeAsymptotic",
    "TestStatResult",
    "TestStatistic",
    "ToyGenerator",
    "ToyResult",
    "cl_s",
    "constrained_fit",
    "expected_upper_limit",
    "make_asimov",
    "sigma_from_asimov",
    "significance",
    "upper_limit",
    "upper_limit_scan",
    "upper_limit_toys",
]
