"""Fits with two Gaussians where some categories need only one.

Where the fraction of the first Gaussian is 1, the second has no effect, and its mean
and width have no values. Whether this is the minimum depends on where the fit began.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from everwillow.fitting import FitResult, fit
from everwillow.models.scale_smearing.likelihood.packing import parameter_names
from everwillow.models.scale_smearing.model import SasModel
from everwillow.statelib import State


_OTHER_STARTS = (
    {"var2": 0.06**2, "mu": 0.9, "frac": 0.9},
    {"var2": 0.03**2, "mu": 0.995, "frac": 0.85},
)
"""Start values that are tried where the second Gaussian had no effect."""


def fit_second_gaussian(model: SasModel) -> FitResult:
    """Fit a model of two Gaussians.

    Where the fit finds no effect of the second Gaussian, it starts again from others.
    Where none of these has an effect, the fraction is fixed at 1.

    Args:
        model: The model.
    """
    result = fit(model, throw=False)
    for starts in _OTHER_STARTS:
        if bool(result.success) or not any(_idle(model, result)):
            return result
        changed = {
            name: starts[kind] for kind, name in _idle(model, result) if kind in starts
        }
        again = fit(model, _changed(result.params, changed), throw=False)
        if float(again.nll) <= float(result.nll) or bool(again.success):
            result = again
    if bool(result.success):
        return result
    fixed: dict[Any, float] = {}
    for kind, name in _idle(model, result):
        fixed[name] = 1.0 if kind == "frac" else float(model.state[name])
    if not fixed:
        return result
    return fit(model, result.params, fixed=fixed, throw=False)


def _idle(model: SasModel, result: FitResult) -> Iterator[tuple[str, str]]:
    """Yield kind and name of parameters of a second Gaussian without an effect."""
    values = {str(key): float(np.asarray(v)) for key, v in result.params.items()}
    names = parameter_names(model.spec)
    for category in model.spec.fitted:
        if values[names["frac", category]] >= 1:
            for kind in ("var2", "mu", "frac"):
                yield kind, names[kind, category]


def _changed(state: State, values: Mapping[str, float]) -> State:
    return state.with_values(values.get(str(key), old) for key, old in state.items())
