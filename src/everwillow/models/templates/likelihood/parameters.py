"""The parameters of a template fit: those of the rates, systematics, and factors β."""

from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from everwillow._errors import ArgumentValueError, NameOnly
from everwillow._typing import Key
from everwillow.likelihood.barlow_beeston import BinStatistics
from everwillow.likelihood.templates.spec import TemplateSpec
from everwillow.models._parameters import separator
from everwillow.models.templates.likelihood.bins import fluctuating
from everwillow.models.templates.rates.base import AbstractParameterModel
from everwillow.parameters import Interval, Normal, Poisson
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import ConstraintTable
from everwillow.statelib import State


# The key of the auxiliary parameters of the samples where they are fitted.
FREE = "bin_by_bin"

Constrained: TypeAlias = tuple[Float[np.ndarray, " n"], Normal | Poisson]
"""Start values of an array of parameters, and their constraint."""


def check_names(spec: TemplateSpec, rate_model: AbstractParameterModel) -> None:
    """Check that there are parameters, and that no name means two of them.

    Raises:
        ArgumentValueError: If not.
    """
    names = (*rate_model.parameters(), *(s.name for s in spec.systematics))
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ArgumentValueError(
            f"parameters: {sorted(twice)} name both a parameter of the rates and a "
            "systematic. Rename the one or the other."
        )
    if not names:
        raise ArgumentValueError(
            "build: there is no parameter. Mark a process as signal, add a systematic "
            "or give {parameters}.",
            settings={"parameters": NameOnly},
        )


def free_statistics(statistics: BinStatistics) -> Constrained:
    """Return the factors β of the samples as parameters that are fitted."""
    spread = np.asarray(statistics.spread).ravel()[fluctuating(statistics)]
    one = np.ones_like(spread)
    match statistics.kind:
        case "gamma":
            return one, Poisson(1 / spread)
        case "normal":
            return one, Normal(one, np.sqrt(spread))
        case _:
            return 0 * one, Normal(0 * one, one)


def parameters_of(
    spec: TemplateSpec, rate_model: AbstractParameterModel, free: Constrained | None
) -> tuple[State, BoundTable, ConstraintTable]:
    """Return start values, bounds and constraints of all parameters.

    Args:
        spec: The template fit.
        rate_model: What scales the processes.
        free: The auxiliary parameters of the samples, if they are fitted.

    Raises:
        ArgumentValueError: If another parameter has the name of the latter.
    """
    entries = dict(rate_model.parameters())
    starts: dict[str, Any] = {name: entry.start for name, entry in entries.items()}
    starts |= {s.name: 0.0 for s in spec.systematics}
    constraints: dict[Key, Normal | Poisson] = {
        s.name: Normal(0.0, 1.0) for s in spec.systematics if s.constrained
    }
    for name, entry in entries.items():
        if entry.width is not None:
            constraints[name] = Normal(entry.start, entry.width)
    if free is not None:
        if FREE in starts:
            raise ArgumentValueError(
                f"profile: a parameter is called {FREE!r} already. Rename it."
            )
        starts[FREE], constraints[FREE] = free
    state = State.from_pytree(starts, sep=separator(starts))
    shapes: dict[Key, tuple[int, ...]] = {
        str(key): np.shape(value) for key, value in state.items()
    }
    intervals = {name: Interval(e.lower, e.upper) for name, e in entries.items()}
    bounds = BoundTable.of(intervals, shapes)
    return state, bounds, ConstraintTable.of(constraints, shapes)


__all__ = ["FREE", "check_names", "free_statistics", "parameters_of"]
