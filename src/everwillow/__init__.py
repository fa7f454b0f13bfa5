"""Statistical fitting and model combination in JAX.

Inference is imported where it is first used, so that importing everwillow stays cheap:
``ew.limits``, ``ew.profile.scan`` and the like need no import of their own.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from everwillow._lazy_names import lazy_names


if TYPE_CHECKING:
    from everwillow import (
        callback,
        combination,
        curvature,
        fitting,
        goodness,
        hypotest,
        impacts,
        interop,
        io,
        likelihood,
        mappings,
        model,
        models,
        objective,
        parameters,
        plotting,
        profile,
        progress,
        solvers,
        statelib,
        toys,
        uncertainty,
        util,
        workflows,
    )
    from everwillow._errors import RESULTS, EverwillowError, FitError
    from everwillow.callback import HistoryCallback
    from everwillow.combination import combine, describe, prepare
    from everwillow.engine.program_store import cache
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
    "callback",
    "combination",
    "curvature",
    "fitting",
    "goodness",
    "hypotest",
    "impacts",
    "interop",
    "io",
    "likelihood",
    "mappings",
    "model",
    "models",
    "objective",
    "parameters",
    "plotting",
    "profile",
    "progress",
    "solvers",
    "statelib",
    "toys",
    "uncertainty",
    "util",
    "workflows",
)
_FUNCTIONS = {
    "AbstractModel": "model",
    "EverwillowError": "_errors",
    "FitError": "_errors",
    "FitResult": "fitting",
    "HistoryCallback": "callback",
    "Interval": "parameters",
    "LeastSquares": "objective",
    "LogNormal": "parameters",
    "MinuitTransform": "parameters",
    "Model": "model",
    "MultivariateNormal": "parameters",
    "NewtonCG": "solvers",
    "Normal": "parameters",
    "OneSidedLogTransform": "parameters",
    "Poisson": "parameters",
    "RESULTS": "_errors",
    "SigmoidTransform": "parameters",
    "SoftPlusTransform": "parameters",
    "State": "statelib",
    "TrustRegionNewton": "solvers",
    "cache": "engine.program_store",
    "combine": "combination",
    "correlation_matrix": "uncertainty",
    "covariance_matrix": "uncertainty",
    "describe": "combination",
    "fit": "fitting",
    "hessian_matrix": "uncertainty",
    "ifit": "fitting",
    "prepare": "combination",
    "propagate": "uncertainty",
    "sandwich": "uncertainty",
    "uncertainties": "uncertainty",
    "cls": "hypotest.model_tests",
    "discovery": "hypotest.model_tests",
    "limits": "hypotest.model_limits",
}


__getattr__, _names = lazy_names(__name__, _FUNCTIONS, _PACKAGES)


def __dir__() -> list[str]:
    return sorted([*_names(), "__version__"])


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
    "cache",
    "callback",
    "cls",
    "combination",
    "combine",
    "correlation_matrix",
    "covariance_matrix",
    "curvature",
    "describe",
    "discovery",
    "fit",
    "fitting",
    "goodness",
    "hessian_matrix",
    "hypotest",
    "ifit",
    "impacts",
    "interop",
    "io",
    "likelihood",
    "limits",
    "mappings",
    "model",
    "models",
    "objective",
    "parameters",
    "plotting",
    "prepare",
    "profile",
    "progress",
    "propagate",
    "sandwich",
    "solvers",
    "statelib",
    "toys",
    "uncertainties",
    "uncertainty",
    "util",
    "workflows",
]
