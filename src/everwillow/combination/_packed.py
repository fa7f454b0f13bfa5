"""Combinations of models that evaluate vectors, packed as their parts are."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import equinox as eqx
import jax
import numpy as np

from everwillow._tree import leaf_shape
from everwillow._typing import Array, Key, Scalar
from everwillow.combination._pieces import by_name, side_by_side
from everwillow.model import AbstractModel, FlatMain
from everwillow.objective import Evaluation
from everwillow.parameters import AbstractConstraint, Interval
from everwillow.parameters.bound_table import BoundTable
from everwillow.parameters.constraint_table import ConstraintTable, TableLayout
from everwillow.statelib import State


@final
class FlatCombined(eqx.Module):
    """The main likelihood of a combination as a function of vectors.

    Attributes:
        parts: Those of the models, whose vectors lie one after another.
        names: The names of the models.
        constrained_bytes: Where the constrained elements are.
    """

    parts: tuple[FlatMain, ...]
    names: tuple[str, ...] = eqx.field(static=True)
    constrained_bytes: bytes = eqx.field(static=True)

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(part.size for part in self.parts)

    @property
    def constrained(self) -> np.ndarray:
        """For each element of the constraint table its place in the vector."""
        return np.frombuffer(self.constrained_bytes, np.int32)

    @property
    def matrix_free(self) -> bool:
        """Whether second derivatives of a part can only be multiplied."""
        return any(part.matrix_free for part in self.parts)

    def nll(self, vector: Array, main: Any) -> Scalar:
        """Return the sum of the models' -ln L of their main data."""
        terms = [part.nll(*given) for part, given in self._dealt(vector, main)]
        return sum(terms[1:], start=terms[0])

    def evaluation(self, vector: Array, main: Any) -> Evaluation:
        """Return it with its derivatives."""
        return side_by_side(
            [part.evaluation(*given) for part, given in self._dealt(vector, main)]
        )

    def _dealt(self, vector: Array, main: Any) -> list[tuple[FlatMain, Any]]:
        data = by_name(main, self.names, where='observation["main"]')
        pieces = jax.lax.split(vector, [part.size for part in self.parts])
        return list(zip(self.parts, zip(pieces, data, strict=True), strict=True))


def packed_constraints(
    parts: Sequence[AbstractModel],
    constraints: Mapping[Key, AbstractConstraint],
    aux: Mapping[Key, Any],
    state: State,
) -> tuple[Mapping[Key, AbstractConstraint], Mapping[Key, Any], bytes]:
    """Return constraints and auxiliary observations as tables, if a part has one.

    Returns:
        Both, and where in the ravelled pytree the elements of the table are.
    """
    if not any(isinstance(part.constraints, ConstraintTable) for part in parts):
        return constraints, aux, b""
    shapes = {key: leaf_shape(value) or () for key, value in state.items()}
    table = ConstraintTable.of(constraints, shapes)
    numbers = TableLayout.of(shapes).elements()
    tree = state.with_values(list(numbers.values())).to_pytree()
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    # A shared parameter stands several times in the pytree; its first place will do.
    _, first = np.unique(flat, return_index=True)
    wanted = table.layout.gathered(numbers).astype(int)
    return table, table.aux(aux), first[wanted].astype(np.int32).tobytes()


def packed_bounds(
    parts: Sequence[AbstractModel], bounds: Mapping[Key, Any], state: State
) -> Mapping[Key, Any]:
    """Return bounds as a table, if a part has one and all are intervals."""
    some = any(isinstance(part.bounds, BoundTable) for part in parts)
    if not some or not all(isinstance(b, Interval) for b in bounds.values()):
        return bounds
    shapes = {key: leaf_shape(value) or () for key, value in state.items()}
    return BoundTable.of(bounds, shapes)
