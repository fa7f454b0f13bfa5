"""Merging of the constraints, bounds and fixed values of several models.

A constraint that several models have is counted once. Where models disagree on the
properties of a shared parameter, the user has to choose.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.tree_util as jtu
import numpy as np

from everwillow._errors import ConflictError
from everwillow._numerics import is_traced, namespace
from everwillow._tree import format_leaf
from everwillow._typing import Key
from everwillow.combination._names import Models
from everwillow.combination._text import (
    bound_code,
    bound_text,
    constraint_text,
    covariance_text,
    key_text,
)
from everwillow.model import AbstractModel, Bound
from everwillow.model.constraint_terms import constrained_keys
from everwillow.model.entries import (
    check_joint,
    checked_entries,
    in_order,
    nominal_aux,
    number,
)
from everwillow.parameters import (
    AbstractConstraint,
    Interval,
    MultivariateNormal,
    same_constraint,
)
from everwillow.parameters.base import is_concrete
from everwillow.statelib import State


KeyMaps = Mapping[str, Mapping[Key, Key]]


class ModelConstraint(NamedTuple):
    """A constraint of one model, with the parameter names of the combination.

    Attributes:
        model: The name of the model.
        name: The name of the constraint in the combination.
        constraint: The constraint.
        aux: Its auxiliary observation.
    """

    model: str
    name: Key
    constraint: AbstractConstraint
    aux: Any

    @property
    def keys(self) -> frozenset[Key]:
        """The keys of its parameters."""
        return frozenset(constrained_keys(self.name, self.constraint))


def merged_constraints(
    models: Models, keys: KeyMaps, state: State, picks: Any, *, shared: Any
) -> tuple[dict[Key, AbstractConstraint], dict[Key, Any]]:
    """Return each constraint once, and its auxiliary observation.

    Args:
        models: The models.
        keys: For each model the key in the combination of each of its parameters.
        state: The merged State.
        picks: Constraints chosen by the user, which replace those of the models; None
            for no constraint.
        shared: The keys that are shared; None if all equal keys are. Other keys begin
            with the name of their model.

    Raises:
        ConflictError: If models disagree on a constraint that is not in `picks`.
    """
    chosen = checked_entries(picks, state, AbstractConstraint, name="constraints")
    check_joint(chosen, state)
    decided = {
        key
        for name, pick in (picks or {}).items()
        for key in constrained_keys(name, pick)
    }
    by_keys: dict[frozenset[Key], list[ModelConstraint]] = {}
    for name, model in models.items():
        for one in _constraints_of(name, model, keys[name], shared):
            if not one.keys & decided:
                by_keys.setdefault(one.keys, []).append(one)
            elif not one.keys <= decided:
                raise _half_decided(one, decided)
    constraints: dict[Key, AbstractConstraint] = {}
    aux: dict[Key, Any] = {}
    owner: dict[Key, ModelConstraint] = {}
    for candidates in by_keys.values():
        first, *others = candidates
        for one in others:
            if not _agree(first, one):
                raise _disagreement(first, one)
        for key in constrained_keys(first.name, first.constraint):
            if key in owner:
                raise _overlap(key, owner[key], first)
            owner[key] = first
        name = first.name
        if isinstance(first.constraint, MultivariateNormal):
            name = _free_name(name, first.model, {*constraints, *state})
        constraints[name], aux[name] = first.constraint, first.aux
    constraints |= chosen
    aux |= nominal_aux(chosen, state)
    return in_order(constraints, name="constraints"), in_order(aux, name="constraints")


def merged_bounds(
    models: Models, keys: KeyMaps, state: State, picks: Any
) -> dict[Key, Bound]:
    """Return the bound of each parameter that has one in any model.

    Raises:
        ConflictError: If models have different ones and `picks` has none.
    """
    chosen = checked_entries(picks, state, Bound, name="bounds")
    bounds: dict[Key, Bound] = {}
    owner: dict[Key, str] = {}
    for name, model in models.items():
        for key, bound in model.bounds.items():
            new = keys[name][key]
            if bound is None or new in (picks or {}) or _is_unlimited(bound):
                continue
            if new in owner and not _same_numbers(bounds[new], bound):
                raise ConflictError(
                    f"combine: {owner[new]!r} and {name!r} have different bounds for "
                    f"{key_text(new)!r}: {bound_text(bounds[new])} and "
                    f"{bound_text(bound)}. Pick one with "
                    f"combine(..., bounds={{{new!r}: {bound_code(bounds[new])}}})."
                )
            bounds.setdefault(new, bound)
            owner.setdefault(new, name)
    return in_order(bounds | chosen, name="bounds")


def _is_unlimited(bound: Bound) -> bool:
    """Return whether a bound is known to exclude no value."""
    if not isinstance(bound, Interval) or is_traced(bound):
        return False
    ends = (np.asarray(bound.lower), np.asarray(bound.upper))
    return bool(np.all(np.isneginf(ends[0])) and np.all(np.isposinf(ends[1])))


def merged_fixed(models: Models, keys: KeyMaps) -> dict[Key, Any]:
    """Return the value of each parameter that is fixed in all models that have it.

    Raises:
        ConflictError: If it is free in one of them, or fixed at another value.
    """
    values: dict[Key, list[tuple[str, Any]]] = {}
    for name, model in models.items():
        for old, new in keys[name].items():
            values.setdefault(new, []).append((name, model.fixed.get(old)))
    fixed = {}
    for key, ((first, value), *others) in values.items():
        for name, other in others:
            if (value is None) != (other is None) or (
                value is not None and not _same_numbers(value, other)
            ):
                texts = [
                    "free" if v is None else f"fixed at {format_leaf(v)}"
                    for v in (value, other)
                ]
                raise ConflictError(
                    f"combine: {key_text(key)!r} is {texts[0]} in {first!r} and "
                    f"{texts[1]} in {name!r}. Build both models with the same "
                    "`fixed`, or rename one of the parameters."
                )
        if value is not None:
            fixed[key] = number(value)
    return in_order(fixed, name="fixed")


def _constraints_of(
    model_name: str, model: AbstractModel, keys: Mapping[Key, Key], shared: Any
) -> list[ModelConstraint]:
    found = []
    for name, constraint in model.constraints.items():
        aux = jtu.tree_map(number, model.observation["aux"][name])
        if not isinstance(constraint, MultivariateNormal):
            found.append(ModelConstraint(model_name, keys[name], constraint, aux))
            continue
        new = tuple(keys[key] for key in constraint.keys)
        own = shared is not None and any(key not in shared for key in new)
        found.append(
            ModelConstraint(
                model_name,
                _prefixed(name, model_name) if own else name,
                _on_keys(constraint, new),
                aux,
            )
        )
    return found


def _on_keys(constraint: MultivariateNormal, keys: tuple[Key, ...]) -> Any:
    if keys == constraint.keys:
        return constraint
    return MultivariateNormal(keys, constraint.mean, constraint.covariance)


def _agree(first: ModelConstraint, second: ModelConstraint) -> bool:
    constraint, aux = second.constraint, second.aux
    if isinstance(first.constraint, MultivariateNormal) and isinstance(
        constraint, MultivariateNormal
    ):
        order = np.array([constraint.keys.index(key) for key in first.constraint.keys])
        if np.any(order != np.arange(order.size)):
            xp = namespace(constraint.mean, constraint.covariance)
            constraint = MultivariateNormal(
                first.constraint.keys,
                xp.asarray(constraint.mean)[order],
                xp.asarray(constraint.covariance)[np.ix_(order, order)],
            )
            aux = namespace(aux).asarray(aux)[order]
    return same_constraint(first.constraint, constraint) and _same_numbers(
        first.aux, aux
    )


def _same_numbers(a: Any, b: Any) -> bool:
    if type(a) is not type(b) and not (_is_number(a) and _is_number(b)):
        return False
    if jtu.tree_structure(a) != jtu.tree_structure(b):
        return False
    return all(
        x is y or (is_concrete(x, y) and _equal(x, y))
        for x, y in zip(jtu.tree_leaves(a), jtu.tree_leaves(b), strict=True)
    )


def _equal(x: Any, y: Any) -> bool:
    """Compare exactly; NaN, which marks free elements of a fixed array, equals NaN."""
    inexact = np.result_type(x).kind in "fc" and np.result_type(y).kind in "fc"
    return bool(np.array_equal(x, y, equal_nan=inexact))


def _is_number(value: Any) -> bool:
    return jtu.all_leaves([value])


def _prefixed(name: Key, model: str) -> Key:
    return (model, *name) if isinstance(name, tuple) else f"{model}.{name}"


def _free_name(name: Key, model: str, taken: set[Key]) -> Key:
    while name in taken:
        name = _prefixed(name, model)
    return name


def _disagreement(first: ModelConstraint, second: ModelConstraint) -> ConflictError:
    key = first.name
    pair = _pair(first, second, covariance_text)
    if same_constraint(first.constraint, second.constraint):
        observed = f"observed at {format_leaf(first.aux)} and {format_leaf(second.aux)}"
        pair = f"{_pair(first, second, constraint_text)}, {observed}"
    msg = (
        f"combine: {key_text(key)!r} has different constraints: {pair}. If it is one "
        f"parameter, pick one with combine(..., constraints={{{key!r}: ...}}); if not, "
        "keep them apart with rename= or shared=."
    )
    return ConflictError(msg)


def _overlap(
    key: Key, first: ModelConstraint, second: ModelConstraint
) -> ConflictError:
    msg = (
        f"combine: {key_text(key)!r} has two constraints: "
        f"{_pair(first, second, covariance_text)}. Pick one for all parameters "
        "concerned with combine(..., constraints={name: ...}), or keep the parameters "
        "apart with rename= or shared=."
    )
    return ConflictError(msg)


def _half_decided(one: ModelConstraint, decided: set[Key]) -> ConflictError:
    rest = ", ".join(repr(key) for key in one.keys - decided)
    msg = (
        f"constraints: {one.model!r} has {constraint_text(one.constraint)}; what "
        f"you pick must also say something of {rest} (a MultivariateNormal over all of "
        "them, or an entry for each; None for no constraint)."
    )
    return ConflictError(msg)


def _pair(
    first: ModelConstraint,
    second: ModelConstraint,
    text: Callable[[AbstractConstraint], str],
) -> str:
    return (
        f"{text(first.constraint)} in {first.model!r} and "
        f"{text(second.constraint)} in {second.model!r}"
    )
