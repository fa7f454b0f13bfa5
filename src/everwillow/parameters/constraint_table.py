"""Constraints of very many parameters, packed into a few arrays.

A `ConstraintTable` has the interface of a dictionary of constraints; a compiled program
has one array for each kind of constraint instead of one for each parameter.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# (the signatures of jax and equinox are not fully known to it)

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, final

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from everwillow._errors import ShapeMismatchError, unknown_key
from everwillow._numerics import namespace, value_gradient_diagonal
from everwillow._typing import Key, Scalar
from everwillow.parameters.constraints import (
    AbstractConstraint,
    LogNormal,
    Normal,
    Poisson,
)


Single = Normal | Poisson | LogNormal
Entry = TypeVar("Entry")

_SHOWN = 8
_KINDS: tuple[type[Single], ...] = (Normal, Poisson, LogNormal)


@final
class TableLayout:
    """The elements of each entry in the vector of a table.

    The hash is cached, as it is part of the key of every compiled program.

    Attributes:
        entries: For each key the number of its kind and its shape; sorted by kind.
        starts: The first element of each entry.
        sizes: The number of elements of each kind.
    """

    __slots__ = ("_hash", "_where", "entries", "sizes", "starts")

    def __init__(self, entries: Sequence[tuple[Key, int, tuple[int, ...]]]) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: entry[1]))
        lengths = [math.prod(shape) for _, _, shape in self.entries]
        self.starts = tuple(np.cumsum([0, *lengths])[:-1].tolist())
        self.sizes = tuple(
            sum(n for n, e in zip(lengths, self.entries, strict=True) if e[1] == kind)
            for kind in range(len(_KINDS))
        )
        self._where = {entry[0]: i for i, entry in enumerate(self.entries)}
        self._hash = hash(self.entries)

    @classmethod
    def of(cls, shapes: Mapping[Any, tuple[int, ...]]) -> "TableLayout":
        """Return the layout of all parameters, one after another, of one kind."""
        return cls([(key, 0, shape) for key, shape in shapes.items()])

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, TableLayout)
            and self._hash == other._hash
            and self.entries == other.entries
        )

    def __len__(self) -> int:
        return len(self.entries)

    def keys(self) -> list[Key]:
        """Return the keys of the entries."""
        return list(self._where)

    def elements(self) -> dict[Key, np.ndarray]:
        """Return for each entry the numbers of its elements, in its shape."""
        return {
            key: np.arange(start, start + math.prod(shape)).reshape(shape)
            for start, (key, _, shape) in zip(self.starts, self.entries, strict=True)
        }

    def find(self, key: Key) -> tuple[int, slice, tuple[int, ...]]:
        """Return kind, elements and shape of an entry.

        Raises:
            UnknownKeyError: If there is none.
        """
        if key not in self._where:
            raise unknown_key(key, self._where, where="constraints")
        position = self._where[key]
        _, kind, shape = self.entries[position]
        start = self.starts[position]
        return kind, slice(start, start + math.prod(shape)), shape

    def parts(self) -> Iterator[tuple[int, slice]]:
        """Yield each kind that occurs, and its elements."""
        start = 0
        for kind, size in enumerate(self.sizes):
            if size:
                yield kind, slice(start, start + size)
            start += size

    def gathered(self, values: Mapping[Any, Any]) -> Array:
        """Return values by key as one vector, in the order of the table."""
        for key, _, shape in self.entries:
            if np.shape(values[key]) not in ((), shape):
                raise ShapeMismatchError(
                    f"constraints: {key!r} has shape {shape}, and a value of shape "
                    f"{np.shape(values[key])} was given."
                )
        return _joined([(values[key], shape) for key, _, shape in self.entries])


class AbstractTable(eqx.Module, Mapping[Key, Entry]):
    """Entries by parameter key, packed into a few arrays, like a dictionary."""

    def __len__(self) -> int:
        """Return the number of entries."""
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        """Return the first entries as a dictionary, and the number of others."""
        name, keys = type(self).__name__, list(self)
        try:
            entries = [f"{key!r}: {self[key]!r}" for key in keys[:_SHOWN]]
        except (TypeError, IndexError, AttributeError):
            # JAX may replace arrays by other objects.
            return f"{name}({len(keys)} entries)"
        if len(keys) > _SHOWN:
            entries.append(f"... {len(keys) - _SHOWN} more")
        return f"{name}({{{', '.join(entries)}}})"


@final
class AuxTable(AbstractTable[Any]):
    """The auxiliary observations that belong to a `ConstraintTable`.

    Attributes:
        layout: The elements of each.
        vector: All auxiliary observations of packed constraints, one vector.
        others: Auxiliary observations of the other constraints.
    """

    layout: TableLayout = eqx.field(static=True)
    vector: Float[Array | np.ndarray, " n"]
    others: dict[Key, Any]

    def __getitem__(self, key: Key) -> Any:
        """Return one auxiliary observation, in the shape of its parameter."""
        if key in self.others:
            return self.others[key]
        _, elements, shape = self.layout.find(key)
        return self.vector[..., elements].reshape(self.vector.shape[:-1] + shape)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the keys."""
        return iter([*self.layout.keys(), *self.others])


@final
class ConstraintTable(AbstractTable[AbstractConstraint]):
    """Constraints by parameter key; those of one parameter are packed by kind.

    Attributes:
        layout: The elements of each entry in the packed vectors.
        groups: One constraint of a vector for each kind that occurs.
        others: Constraints that cannot be packed, such as joint Gaussians.

    Example:
        >>> table = ConstraintTable.of(
        ...     {"a": Normal(0.0, 1.0), "b": Normal(1.0, 0.1)}, {"a": (), "b": ()}
        ... )
        >>> print(table["b"].width, len(table.groups))
        0.1 1
    """

    layout: TableLayout = eqx.field(static=True)
    groups: tuple[Single, ...]
    others: dict[Key, AbstractConstraint]

    @classmethod
    def of(
        cls,
        constraints: Mapping[Key, AbstractConstraint],
        shapes: Mapping[Key, tuple[int, ...]],
    ) -> "ConstraintTable":
        """Pack constraints.

        Args:
            constraints: By parameter key.
            shapes: The shapes of the parameters.
        """
        single = {k: c for k, c in constraints.items() if type(c) in _KINDS}
        layout = TableLayout(
            [(k, _KINDS.index(type(c)), shapes[k]) for k, c in single.items()]  # pyright: ignore[reportArgumentType]
        )
        groups = []
        for kind, _ in layout.parts():
            members = [(single[k], s) for k, i, s in layout.entries if i == kind]
            names = _numbers(members[0][0])
            columns = [
                _joined([(getattr(c, name), shape) for c, shape in members])
                for name in names
            ]
            groups.append(_KINDS[kind](*columns))
        others = {k: c for k, c in constraints.items() if k not in single}
        return cls(layout, tuple(groups), others)

    def __getitem__(self, key: Key) -> AbstractConstraint:
        """Return one constraint."""
        if key in self.others:
            return self.others[key]
        kind, place, shape = self.layout.find(key)
        for (other, part), group in zip(self.layout.parts(), self.groups, strict=True):
            if other == kind:
                own = slice(place.start - part.start, place.stop - part.start)
                values = [getattr(group, name)[own] for name in _numbers(group)]
                return _KINDS[kind](*(v.reshape(shape)[()] for v in values))
        raise AssertionError(key)

    def __iter__(self) -> Iterator[Key]:
        """Iterate over the keys."""
        return iter([*self.layout.keys(), *self.others])

    def aux(self, given: Mapping[Key, Any] | None = None) -> AuxTable:
        """Return auxiliary observations as a table: those given, or the nominal ones.

        Args:
            given: By key, one for each constraint.
        """
        if isinstance(given, AuxTable) and given.layout == self.layout:
            return given
        if given is None:
            values = [np.asarray(group.aux) for group in self.groups]
            others = {key: c.aux for key, c in self.others.items()}
            flat = np.concatenate(values) if values else np.zeros(0)
            return AuxTable(self.layout, flat, others)
        others = {key: given[key] for key in self.others}
        return AuxTable(self.layout, self.layout.gathered(given), others)

    def nll(self, values: Array, aux: Array | np.ndarray) -> Scalar:
        """Return -ln L of the packed constraints.

        Args:
            values: The parameters in the order of the table, one vector.
            aux: Their auxiliary observations, in the same order.
        """
        terms = [
            group.nll(values[part], aux[part])
            for (_, part), group in zip(self.layout.parts(), self.groups, strict=True)
        ]
        return sum(terms[1:], start=terms[0]) if terms else jnp.zeros(())

    def second_order(
        self, values: Array, aux: Array | np.ndarray
    ) -> tuple[Scalar, Array, Array]:
        """Return `nll`, its gradient, and the diagonal of its diagonal Hessian."""
        return value_gradient_diagonal(lambda v: self.nll(v, aux), values)

    def expected(self, values: Array) -> Array:
        """Return the auxiliary observations that are most likely for some values."""
        parts = []
        for (_, part), group in zip(self.layout.parts(), self.groups, strict=True):
            mean = values[part]
            parts.append(mean * group.tau if isinstance(group, Poisson) else mean)
        return jnp.concatenate(parts) if parts else jnp.zeros(0)

    def sample(self, values: Array, key: Array) -> Array:
        """Draw auxiliary observations."""
        # A key cannot be split into none.
        keys = jr.split(key, max(1, len(self.groups)))[: len(self.groups)]
        parts = [
            group.sample(values[part], one)
            for (_, part), group, one in zip(
                self.layout.parts(), self.groups, keys, strict=True
            )
        ]
        return jnp.concatenate(parts) if parts else jnp.zeros(0)


def _numbers(constraint: AbstractConstraint) -> tuple[str, ...]:
    match constraint:
        case Normal():
            return ("mean", "width")
        case Poisson():
            return ("tau",)
        case _:
            return ("center", "kappa")


def _joined(leaves: Sequence[tuple[Any, tuple[int, ...]]]) -> Any:
    xp = namespace(*(leaf for leaf, _ in leaves))
    flat = [xp.ravel(xp.broadcast_to(leaf, shape)) for leaf, shape in leaves]
    return xp.concatenate(flat) if flat else xp.zeros(0)
