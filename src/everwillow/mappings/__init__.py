"""Functions of parameters and expected yields, with errors before and after a fit."""

from everwillow._lazy_names import listed_names
from everwillow.mappings.angular_coefficients import AngularCoefficients, LamTung
from everwillow.mappings.channels import Identity, Normalize, Project, Select
from everwillow.mappings.chi2 import MappingChi2, mapping_chi2, residual_chi2
from everwillow.mappings.composite import Composite, places
from everwillow.mappings.custom import Custom
from everwillow.mappings.data import (
    ObservedMapping,
    degrees_of_freedom,
    observed,
    with_data,
)
from everwillow.mappings.evaluation import (
    MappingResult,
    nominal_covariance,
    postfit,
    prefit,
)
from everwillow.mappings.histogram_mapping import AbstractHistogramMapping, integer_axes
from everwillow.mappings.parsing import parse_mapping
from everwillow.mappings.ratio import Asymmetry, Difference, Normratio, Ratio
from everwillow.mappings.selection import Selection, parse_selection
from everwillow.mappings.shifts import VariationsResult, variations


__dir__ = listed_names(globals())

__all__ = [
    "AbstractHistogramMapping",
    "AngularCoefficients",
    "Asymmetry",
    "Composite",
    "Custom",
    "Difference",
    "Identity",
    "LamTung",
    "MappingChi2",
    "MappingResult",
    "Normalize",
    "Normratio",
    "ObservedMapping",
    "Project",
    "Ratio",
    "Select",
    "Selection",
    "VariationsResult",
    "degrees_of_freedom",
    "integer_axes",
    "mapping_chi2",
    "nominal_covariance",
    "observed",
    "parse_mapping",
    "parse_selection",
    "places",
    "postfit",
    "prefit",
    "residual_chi2",
    "variations",
    "with_data",
]
