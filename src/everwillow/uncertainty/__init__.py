"""Errors and correlations of parameters, and of quantities computed from them."""

from everwillow._lazy_names import listed_names
from everwillow.uncertainty.identifiability import Degeneracies, degeneracies
from everwillow.uncertainty.matrices import (
    correlation_matrix,
    covariance_matrix,
    hessian_matrix,
    labels,
    uncertainties,
)
from everwillow.uncertainty.propagation import (
    PropagationResult,
    propagate,
    propagate_data,
)
from everwillow.uncertainty.robust import sandwich


__dir__ = listed_names(globals())

__all__ = [
    "Degeneracies",
    "PropagationResult",
    "correlation_matrix",
    "covariance_matrix",
    "degeneracies",
    "hessian_matrix",
    "labels",
    "propagate",
    "propagate_data",
    "sandwich",
    "uncertainties",
]
