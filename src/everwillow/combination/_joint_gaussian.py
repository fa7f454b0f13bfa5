"""Correlations between constraints, which make one joint Gaussian of several."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everwillow._errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ConflictError,
    NotPositiveDefiniteError,
    ShapeMismatchError,
    unknown_key,
)
from everwillow._numerics import namespace
from everwillow._tree import leaf_shape
from everwillow._typing import Key
from everwillow.combination._text import constraint_text, key_text
from everwillow.model.constraint_terms import constrained_keys
from everwillow.model.entries import in_order
from everwillow.parameters import AbstractConstraint, MultivariateNormal, Normal
from everwillow.parameters.base import is_concrete
from everwillow.statelib import State


Constraints = dict[Key, AbstractConstraint]


def correlated(
    constraints: Constraints, aux: dict[Key, Any], correlations: Any, state: State
) -> tuple[Constraints, dict[Key, Any]]:
    """Replace Gaussian constraints by joint ones with the given correlations.

    All parameters that are connected, directly or through others, get one
    `MultivariateNormal`; pairs that are not given are uncorrelated. An
    existing joint Gaussian becomes part of it, with its own correlations.

    Args:
        constraints: By name.
        aux: The auxiliary observation of each.
        correlations: ``{(key, key): correlation}``.
        state: The parameters.

    Raises:
        UnknownKeyError: If a key is not in the State.
        ArgumentValueError: If a pair cannot be correlated.
        NotPositiveDefiniteError: If the correlations contradict each other.
    """
    owner = {
        key: name
        for name, constraint in constraints.items()
        for key in constrained_keys(name, constraint)
    }
    pairs = _checked_pairs(correlations, constraints, owner, state)
    if not pairs:
        return constraints, aux
    order = {key: position for position, key in enumerate(state)}
    remaining, remaining_aux = dict(constraints), dict(aux)
    for group in _connected([(owner[a], owner[b]) for a, b in pairs]):
        parts: list[Any] = [constraints[name] for name in group]
        keys = [
            key for name in group for key in constrained_keys(name, remaining[name])
        ]
        permutation = sorted(range(len(keys)), key=lambda i: order[keys[i]])
        means = [_numbers(part.mean) for part in parts]
        mean = namespace(*means).concatenate(means)
        covariance = _with_correlations(
            [_covariance(part) for part in parts],
            {
                (keys.index(a), keys.index(b)): rho
                for (a, b), rho in pairs.items()
                if owner[a] in group
            },
        )
        values = [_numbers(aux[name]) for name in group]
        observed = namespace(*values).concatenate(values)
        for name in group:
            del remaining[name], remaining_aux[name]
        chosen = np.array(permutation)
        name = _joint_name([keys[i] for i in permutation], taken=remaining)
        try:
            remaining[name] = MultivariateNormal(
                [keys[i] for i in permutation],
                mean[chosen],
                covariance[np.ix_(chosen, chosen)],
            )
        except NotPositiveDefiniteError as error:
            raise NotPositiveDefiniteError(
                f"correlate: the correlations contradict each other. {error}"
            ) from error
        remaining_aux[name] = observed[chosen]
    return in_order(remaining, name="correlate"), in_order(
        remaining_aux, name="correlate"
    )


def _checked_pairs(
    correlations: Any, constraints: Constraints, owner: Mapping[Key, Key], state: State
) -> dict[tuple[Key, Key], Any]:
    if not isinstance(correlations, Mapping):
        raise ArgumentTypeError(
            "correlate: expected a mapping like {('lumi_a', 'lumi_b'): 0.3}, got "
            f"{type(correlations).__name__}."
        )
    pairs: dict[tuple[Key, Key], Any] = {}
    for pair, rho in correlations.items():
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise ArgumentTypeError(
                f"correlate: each key must be a pair of parameters, got {pair!r}."
            )
        for key in pair:
            _check_member(key, constraints, owner, state)
        _check_number(pair, rho)
        first, second = pair
        if first == second:
            raise ArgumentValueError(
                f"correlate: the pair {pair!r} is one parameter, whose correlation "
                "with itself is 1."
            )
        if owner[first] == owner[second]:
            raise ConflictError(
                f"correlate: {first!r} and {second!r} are in one joint Gaussian "
                f"already, {constraint_text(constraints[owner[first]])}, which says "
                "how they are correlated. Replace it with constraints=."
            )
        if (second, first) not in pairs:
            pairs[pair] = rho
            continue
        other = pairs[second, first]
        if not (other is rho or (is_concrete(other, rho) and other == rho)):
            raise ArgumentValueError(
                f"correlate: {pair!r} is there in both orders, with {other} and {rho}."
            )
    return pairs


def _check_member(
    key: Key, constraints: Constraints, owner: Mapping[Key, Key], state: State
) -> None:
    if key not in state:
        raise unknown_key(key, state, where="correlate")
    if leaf_shape(state[key]) != ():
        raise ShapeMismatchError(
            f"correlate: {key!r} has shape {leaf_shape(state[key])}; only scalar "
            "parameters can be correlated."
        )
    constraint = constraints.get(owner[key]) if key in owner else None
    if not isinstance(constraint, (Normal, MultivariateNormal)):
        has = f"has {constraint_text(constraint)}" if constraint else "has none"
        raise ArgumentValueError(
            f"correlate: {key!r} needs a Normal constraint to be correlated, and it "
            f"{has}."
        )


def _check_number(pair: tuple[Key, Key], rho: Any) -> None:
    shape = leaf_shape(rho)
    if isinstance(rho, bool) or shape != ():
        raise ArgumentTypeError(
            f"correlate: the correlation of {pair!r} must be one number, got {rho!r}."
        )
    if is_concrete(rho) and not abs(rho) <= 1:  # NaN fails too
        raise ArgumentValueError(
            f"correlate: the correlation of {pair!r} is {rho}, not between -1 and 1."
        )


def _connected(links: Sequence[tuple[Key, Key]]) -> list[list[Key]]:
    """Return the connected sets of names."""
    group: dict[Key, list[Key]] = {}
    for a, b in links:
        one, other = group.setdefault(a, [a]), group.setdefault(b, [b])
        if one is not other:
            one.extend(other)
            group.update(dict.fromkeys(other, one))
    return list({id(names): names for names in group.values()}.values())


def _numbers(value: Any) -> Any:
    """Return a number or vector as a vector."""
    xp = namespace(value)
    return xp.reshape(xp.asarray(value, dtype=float), (-1,))


def _covariance(constraint: Any) -> Any:
    if isinstance(constraint, MultivariateNormal):
        return constraint.covariance
    width = _numbers(constraint.width)
    return (width * width)[:, None]


def _with_correlations(
    blocks: Sequence[Any], pairs: Mapping[tuple[int, int], Any]
) -> Any:
    """Return the block-diagonal covariance with correlations between the blocks."""
    xp = namespace(*blocks, *pairs.values())
    size = sum(block.shape[0] for block in blocks)
    widths = xp.sqrt(xp.concatenate([xp.diagonal(block) for block in blocks]))
    matrix: Any = xp.zeros((size, size))
    start = 0
    for block in blocks:
        stop = start + block.shape[0]
        matrix = _with(matrix, (slice(start, stop), slice(start, stop)), block)
        start = stop
    for (row, column), rho in pairs.items():
        value = rho * widths[row] * widths[column]
        matrix = _with(matrix, (row, column), value)
        matrix = _with(matrix, (column, row), value)
    return matrix


def _with(matrix: Any, index: Any, value: Any) -> Any:
    if isinstance(matrix, np.ndarray):
        matrix[index] = value
        return matrix
    return matrix.at[index].set(value)


def _joint_name(keys: Sequence[Key], *, taken: Mapping[Key, Any]) -> Key:
    shown = [key_text(key) for key in keys]
    if len(shown) > 3:
        shown = [*shown[:2], f"and {len(shown) - 2} more"]
    name = f"joint({', '.join(shown)})"
    while name in taken:
        name += "'"
    # JAX sorts the names, and a string cannot be sorted among tuples.
    return name if isinstance(keys[0], str) else (name,)
