"""Statistical fitting and model combination in JAX.

Inference is imported where it is first used, so that importing everwillow stays cheap:
``ew.limits``, ``ew.profile.scan`` and the like need no import of their own.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

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


if TYPE_CHECKING:
    from everwillow import (
        goodness,
        hypotest,
        impacts,
        io,
        mappings,
        plotting,
        profile,
        toys,
    )
    from everwillow.hypotest.model_limits import limits
    from everwillow.hypotest.model_tests import cls, discovery


__version__ = version("everwillow")

_PACKAGES = (
    "goodness",
    "hypotest",
    "impacts",
    "io",
    "mappings",
    "plotting",
    "profile",
    "toys",
)
_FUNCTIONS = {
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
    msg = f"module 'everwillow' has no attribute {name!r}"
    raise AttributeError(msg)


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
    "propagate",
    "sandwich",
    "statelib",
    "toys",
    "uncertainties",
]
