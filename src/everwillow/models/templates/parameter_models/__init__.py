"""What scales the processes of a template fit."""

from everwillow.models.templates.parameter_models.abcd import (
    ABCD,
    ExtendedABCD,
    Region,
)
from everwillow.models.templates.parameter_models.axes import (
    AxisBernstein,
    AxisExponential,
    AxisNorms,
)
from everwillow.models.templates.parameter_models.base import (
    AbstractParameterModel,
    AbstractVectorModel,
    RateParameter,
    rates_of,
)
from everwillow.models.templates.parameter_models.composite import Composite
from everwillow.models.templates.parameter_models.nominal import nominal_yields
from everwillow.models.templates.parameter_models.strengths import (
    Fixed,
    Mixture,
    SharedStrengths,
    Strengths,
)


__all__ = [
    "ABCD",
    "AbstractParameterModel",
    "AbstractVectorModel",
    "AxisBernstein",
    "AxisExponential",
    "AxisNorms",
    "Composite",
    "ExtendedABCD",
    "Fixed",
    "Mixture",
    "RateParameter",
    "Region",
    "SharedStrengths",
    "Strengths",
    "nominal_yields",
    "rates_of",
]
