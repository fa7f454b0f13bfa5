"""The part that constraints have in a test against the saturated model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from everwillow._errors import ArgumentTypeError
from everwillow._typing import Key
from everwillow.fitting import FitResult
from everwillow.model import AbstractModel
from everwillow.model.constraint_terms import (
    constrained_keys,
    summed_nll,
    values_by_key,
)
from everwillow.parameters import (
    AbstractConstraint,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
)
from everwillow.parameters.constraint_table import ConstraintTable


class Live(NamedTuple):
    """Which auxiliary observations belong to something that was fitted.

    Attributes:
        packed: Those of a `ConstraintTable`, in its order; empty without one.
        single: By name, in the shape of the parameter; for joint constraints all or
            none.
        number: How many there are.
    """

    packed: np.ndarray
    single: dict[Key, np.ndarray]
    number: int


def live_constraints(model: AbstractModel, result: FitResult) -> Live:
    """Find the constraints whose parameters were free.

    The auxiliary observation of a parameter that was fixed, or taken out of the
    problem, tests nothing.
    """
    layout, constraints = result.layout, model.constraints
    free = np.zeros(layout.size, bool)
    free[np.asarray(result.free, int)] = True
    packed, rest = np.zeros(0, bool), constraints
    if isinstance(constraints, ConstraintTable):
        rest = constraints.others
        parts = [
            free[layout.elements(layout.where[key])]
            for key, _, _ in constraints.layout.entries
        ]
        packed = np.concatenate([packed, *parts])
    single = {}
    for name, constraint in rest.items():
        keys = constrained_keys(name, constraint)
        here = np.concatenate([layout.elements(layout.where[key]) for key in keys])
        if isinstance(constraint, MultivariateNormal):
            single[name] = np.full(len(keys), free[here].any())
        else:
            single[name] = free[here].reshape(layout.shapes[layout.where[name]])
    count = sum(int(mask.sum()) for mask in single.values())
    return Live(packed, single, count + int(packed.sum()))


def constraint_deviance(
    model: AbstractModel, params: Any, aux: Mapping[Key, Any], live: Live
) -> Array:
    """Return the constraints' -ln L above that of the saturated model.

    There every parameter is what its auxiliary observation prefers; those that are not
    live are so in both.
    """
    values, constraints = values_by_key(model.state, params), model.constraints
    total: Any = jnp.zeros(())
    if isinstance(constraints, ConstraintTable):
        known = constraints.aux(aux)
        vector, observed = (
            constraints.layout.gathered(values),
            jnp.asarray(known.vector),
        )
        best = observed
        for (_, part), group in zip(
            constraints.layout.parts(), constraints.groups, strict=True
        ):
            if isinstance(group, Poisson):
                best = best.at[part].set(observed[part] / jnp.asarray(group.tau))
        here = jnp.where(live.packed, vector, best)
        total = constraints.nll(here, observed) - constraints.nll(best, observed)
        constraints, aux = constraints.others, known.others
    best, here = dict(values), dict(values)
    for name, constraint in constraints.items():
        wanted = _preferred(name, constraint, aux[name])
        best |= wanted
        for i, (key, value) in enumerate(wanted.items()):
            joint = isinstance(constraint, MultivariateNormal)
            mask = live.single[name][i] if joint else live.single[name]
            here[key] = jnp.where(mask, jnp.asarray(values[key]), value)
    return (
        total + summed_nll(constraints, here, aux) - summed_nll(constraints, best, aux)
    )


def _preferred(name: Key, constraint: AbstractConstraint, aux: Any) -> dict[Key, Any]:
    aux = jnp.asarray(aux, float)
    match constraint:
        case MultivariateNormal():
            return dict(zip(constraint.keys, aux, strict=True))
        case Normal() | LogNormal():
            return {name: aux}
        case Poisson():
            return {
                name: aux / jnp.broadcast_to(jnp.asarray(constraint.tau), aux.shape)
            }
    preferred = getattr(constraint, "preferred", None)
    if preferred is None:
        raise ArgumentTypeError(
            f"constraints[{name!r}]: {type(constraint).__name__} does not tell which "
            "value of the parameter an auxiliary observation prefers. Give it a method "
            "preferred(aux) that returns the value where nll(value, aux) is smallest."
        )
    return {name: preferred(aux)}


__all__ = ["Live", "constraint_deviance", "live_constraints"]
