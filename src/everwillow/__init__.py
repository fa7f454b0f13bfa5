"""Statistical fitting and model combination in JAX.

Inference is imported where it is first used, so that importing everwillow stays cheap:
``ew.limits``, ``ew.profile.scan`` and the like need no import of their own.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from everwillow import (
        goodness,
        hypotest,
        impacts,
        io,
        mappings,
        plotting,
        profile,
        progress,
        statelib,
        toys,
    )
    from everwillow._errors import RESULTS, EverwillowError, FitError
    from everwillow.callback import HistoryCallback
    from everwillow.combination import combine, describe, prepare
    from everwillow.fitting import FitResult, fit, ifit
    from everwillow.hypotest.model_limits import limits
    from everwillow.hypotest.model_tests import cls, discovery
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

_PACKAGES = (
    "goodness",
    "hypotest",
    "impacts",
    "io",
    "mappings",
    "plotting",
    "profile",
    "progress",
    "statelib",
    "toys",
)
_FUNCTIONS = {
    "AbstractModel": "everwillow.model",
    "EverwillowError": "everwillow._errors",
    "FitError": "everwillow._errors",
    "FitResult": "everwillow.fitting",
    "HistoryCallback": "everwillow.callback",
    "Interval": "everwillow.parameters",
    "LeastSquares": "everwillow.objective",
    "LogNormal": "everwillow.parameters",
    "MinuitTransform": "everwillow.parameters",
    "Model": "everwillow.model",
    "MultivariateNormal": "everwillow.parameters",
    "NewtonCG": "everwillow.solvers",
    "Normal": "everwillow.parameters",
    "OneSidedLogTransform": "everwillow.parameters",
    "Poisson": "everwillow.parameters",
    "RESULTS": "everwillow._errors",
    "SigmoidTransform": "everwillow.parameters",
    "SoftPlusTransform": "everwillow.parameters",
    "State": "everwillow.statelib",
    "TrustRegionNewton": "everwillow.solvers",
    "combine": "everwillow.combination",
    "correlation_matrix": "everwillow.uncertainty",
    "covariance_matrix": "everwillow.uncertainty",
    "describe": "everwillow.combination",
    "fit": "everwillow.fitting",
    "hessian_matrix": "everwillow.uncertainty",
    "ifit": "everwillow.fitting",
    "prepare": "everwillow.combination",
    "propagate": "everwillow.uncertainty",
    "sandwich": "everwillow.uncertainty",
    "uncertainties": "everwillow.uncertainty",
    "cls": "everwillow.hypotest.model_tests",
    "discovery": "everwillow.hypotest.model_tests",
    "limits": "everwillow.hypotest.model_limits",
}


def __getattr__(name: str) -> Any:
    """Import inference when it is first asked for."""
    if name in _PACKAGES:
        return importlib.import_module(f"everwillow.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'everwillow' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all names, those not imported yet included."""
    return sorted({*globals(), *_PACKAGES, *_FUNCTIONS})


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
    "cls",
    "combine",
    "correlation_matrix",
    "covariance_matrix",
    "describe",
    "discovery",
    "fit",
    "goodness",
    "hessian_matrix",
    "hypotest",
    "ifit",
    "impacts",
    "io",
    "limits",
    "mappings",
    "plotting",
    "prepare",
    "profile",
    "progress",
    "propagate",
    "sandwich",
    "statelib",
    "toys",
    "uncertainties",
]
