"""Errors and correlations of parameters, and of whatever is computed from them."""

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
    "PropagationResult",
    "correlation_matrix",
    "covariance_matrix",
    "hessian_matrix",
    "labels",
    "propagate",
    "sandwich",
    "uncertainties",
]
