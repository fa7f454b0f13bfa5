"""Errors and correlations of parameters, and of quantities computed from them."""

from everwillow.uncertainty.identifiability import Degeneracies, degeneracies
from everwillow.uncertainty.matrices import (
    correlation_matrix,
    covariance_matrix,
    hessian_matrix,
    labels,
    uncertainties,
)
from everwillow.uncertainty.propagation import PropagationResult, propagate
from everwillow.uncertainty.robust import sandwich


__all__ = [
    "Degeneracies",
    "PropagationResult",
    "correlation_matrix",
    "covariance_matrix",
    "degeneracies",
    "hessian_matrix",
    "labels",
    "propagate",
    "sandwich",
    "uncertainties",
]
