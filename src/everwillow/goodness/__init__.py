"""Whether a fit describes its data: goodness-of-fit tests and pulls of the data."""

from everwillow._lazy_names import listed_names
from everwillow.goodness.chi2 import chi2_test, yield_chi2
from everwillow.goodness.nested import nested_test
from everwillow.goodness.pulls import DataPulls, data_pulls
from everwillow.goodness.pvalues import GoodnessResult, ToyPValue, toy_pvalue
from everwillow.goodness.saturated import saturated_test
from everwillow.goodness.toys import SaturatedToys, saturated_toys


__dir__ = listed_names(globals())

__all__ = [
    "DataPulls",
    "GoodnessResult",
    "SaturatedToys",
    "ToyPValue",
    "chi2_test",
    "data_pulls",
    "nested_test",
    "saturated_test",
    "saturated_toys",
    "toy_pvalue",
    "yield_chi2",
]
