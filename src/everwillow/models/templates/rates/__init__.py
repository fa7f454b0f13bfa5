"""Rates that scale the processes of a template fit, as functions of parameters."""

from everwillow._lazy_names import listed_names
from everwillow.models.templates.rates.abcd import (
    ABCD,
    ExtendedABCD,
    Region,
    nominal_yields,
)
from everwillow.models.templates.rates.axes import (
    AxisBernstein,
    AxisExponential,
    AxisNorms,
)
from everwillow.models.templates.rates.base import (
    AbstractParameterModel,
    AbstractVectorModel,
    RateParameter,
    rates_of,
)
from everwillow.models.templates.rates.composite import Composite
from everwillow.models.templates.rates.strengths import (
    Fixed,
    Mixture,
    SharedStrengths,
    Strengths,
    rate_model_of,
)


__dir__ = listed_names(globals())

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
    "rate_model_of",
    "rates_of",
]
