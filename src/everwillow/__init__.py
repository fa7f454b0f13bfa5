"""Statistical fitting and model combination in JAX."""

from importlib.metadata import version

from everwillow import statelib
from everwillow._errors import RESULTS, EverwillowError, FitError
from everwillow.callback import HistoryCallback
from everwillow.combination import combine, describe, prepare
from everwillow.fitting import FitResult, fit, ifit
from everwillow.model import AbstractModel, Model
from everwillow.objective import LeastSquares
from everwillow.parameters import (
    Interval,
    LogNormal,
    MinuitTransform,
    MultivariateNormal,
    Normal,
    OneSidedLogTransform,
    Poisson,
    SigmoidTransform,
    SoftPlusTransform,
)
from everwillow.solvers import NewtonCG, TrustRegionNewton
from everwillow.statelib import State
from everwillow.uncertainty import (
    correlation_matrix,
    covariance_matrix,
    hessian_matrix,
    propagate,
    sandwich,
    uncertainties,
)


__version__ = version("everwillow")

__all__ = [
    "RESULTS",
    "AbstractModel",
    "EverwillowError",
    "FitError",
    "FitResult",
    "HistoryCallback",
    "Interval",
    "LeastSquares",
    "LogNormal",
    "MinuitTransform",
    "Model",
    "MultivariateNormal",
    "NewtonCG",
    "Normal",
    "OneSidedLogTransform",
    "Poisson",
    "SigmoidTransform",
    "SoftPlusTransform",
    "State",
    "TrustRegionNewton",
    "__version__",
    "combine",
    "correlation_matrix",
    "covariance_matrix",
    "describe",
    "fit",
    "hessian_matrix",
    "ifit",
    "prepare",
    "propagate",
    "sandwich",
    "statelib",
    "uncertainties",
]
