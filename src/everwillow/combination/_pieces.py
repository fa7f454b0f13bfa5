"""Division of the flat tuple of pytrees among the parts of a joint likelihood."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from everwillow._derivatives import EXACT
from everwillow._errors import ArgumentTypeError, ArgumentValueError, nearest
from everwillow.curvature import block_diagonal
from everwillow.objective import Evaluation
from everwillow.statelib import State
from everwillow.statelib.state import state_parts


def piece_count(state: State) -> int | None:
    """Return the number of pytrees of a merged State; None if it is not merged."""
    return len(state_parts(state)[0].pieces) if state.is_merged else None


def slices(params: Any, counts: Sequence[int | None]) -> list[Any]:
    """Return the part of the tuple of pytrees that belongs to each likelihood.

    A part whose count is a number gets a tuple of that many pytrees, else a single
    pytree without a tuple.

    Raises:
        ArgumentTypeError: If `params` is no tuple or list.
        ArgumentValueError: If it has not one entry for each pytree.
    """
    total = sum(1 if count is None else count for count in counts)
    if not isinstance(params, (tuple, list)):
        raise ArgumentTypeError(
            f"params: a joint likelihood takes the tuple of its {total} pytrees, "
            f"state.to_pytree() of the merged State, got {type(params).__name__}."
        )
    if len(params) != total:
        raise ArgumentValueError(
            f"params: got {len(params)} pytrees, the joint likelihood takes {total}: "
            "state.to_pytree() of the merged State."
        )
    trees = iter(params)
    return [
        next(trees) if count is None else tuple(itertools.islice(trees, count))
        for count in counts
    ]


def side_by_side(parts: Sequence[Evaluation]) -> Evaluation:
    """Add likelihoods whose parameter vectors lie one after another."""
    gauss_newton = None
    if any(part.gauss_newton is not None for part in parts):
        gauss_newton = block_diagonal(
            [
                part.curvature if part.gauss_newton is None else part.gauss_newton
                for part in parts
            ]
        )
    return Evaluation(
        sum((part.value for part in parts[1:]), start=parts[0].value),
        jnp.concatenate([part.gradient for part in parts]),
        block_diagonal([part.curvature for part in parts]),
        gauss_newton,
        derivatives=next(
            (part.derivatives for part in parts if part.derivatives != EXACT), EXACT
        ),
    )


def by_name(mapping: Any, names: Sequence[Any], *, where: str) -> list[Any]:
    """Return the entries of a mapping in the order of the names.

    Raises:
        ArgumentTypeError: If it is no mapping.
        ArgumentValueError: If it has another name, or one is missing.
    """
    if not isinstance(mapping, Mapping):
        raise ArgumentTypeError(
            f"{where}: expected a mapping with one entry for each of "
            f"{', '.join(map(repr, names))}, got {type(mapping).__name__}."
        )
    for name in mapping:
        if name not in names:
            hint = nearest(name, names) or (
                f" The names are {', '.join(map(repr, names))}."
            )
            raise ArgumentValueError(
                f"{where}: there is no {name!r} in the combination.{hint}"
            )
    missing = [name for name in names if name not in mapping]
    if missing:
        raise ArgumentValueError(
            f"{where}: there is no entry for {', '.join(map(repr, missing))}."
        )
    return [mapping[name] for name in names]
