"""Functions of parameters and expected yields, with errors before and after a fit."""

from everwillow.mappings.comparison import MappingChi2, mapping_chi2
from everwillow.mappings.evaluation import (
    MappingResult,
    nominal_covariance,
    postfit,
    prefit,
)
from everwillow.mappings.shifts import VariationsResult, variations


__all__ = [
    "MappingChi2",
    "MappingResult",
    "VariationsResult",
    "mapping_chi2",
    "nominal_covariance",
    "postfit",
    "prefit",
    "variations",
]
