"""The base class of functions of HS3, and the bins in which some are constant."""

import abc
import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, final

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from everwillow.models._document import Node, Report
from everwillow.models.hs3.data import read_axes
from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.expressions import Expression
from everwillow.models.hs3.expressions.evaluation import safe_log


_FEW = 64  # edges that are compared all at once


@dataclass(frozen=True, slots=True)
class Binning:
    """The bins of some variables, in row-major order: the last one runs fastest.

    Functions with bins depend on these variables only by their bin.

    Attributes:
        axes: The name of each variable with the edges of its bins.
    """

    axes: tuple[tuple[str, tuple[float, ...]], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The variables."""
        return tuple(name for name, _ in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of bins of each variable."""
        return tuple(len(edges) - 1 for _, edges in self.axes)

    @property
    def volumes(self) -> np.ndarray:
        """The product of the widths of each bin, shape ``(bins,)``."""
        widths = [np.diff(edges) for _, edges in self.axes]
        return np.prod(np.meshgrid(*widths, indexing="ij"), axis=0).ravel()

    def place(self, values: "Lookup") -> tuple[Array, Array]:
        """Return the bin, or the nearest one, and whether the variables are inside.

        A bin contains its lower edge, and the last one its upper edge, too.
        """
        index, inside = jnp.zeros((), jnp.int32), jnp.ones((), bool)
        for (name, edges), size in zip(self.axes, self.shape, strict=True):
            value, ends = jnp.asarray(values[name], float), jnp.asarray(edges, float)
            # A search is a loop; a few edges are compared at once.
            method = "compare_all" if len(edges) <= _FEW else "scan"
            bin_index = jnp.searchsorted(ends, value, side="right", method=method)
            bin_index = bin_index.astype(jnp.int32) - 1
            index = index * size + jnp.clip(bin_index, 0, size - 1)
            inside = inside & (value >= ends[0]) & (value <= ends[-1])
        return index, inside


class Lookup(Protocol):
    """An object in which functions and distributions look up references."""

    def __getitem__(self, reference: Reference, /) -> Array:
        """Return the value, a scalar or an array."""
        ...

    def place(self, binning: Binning, /) -> tuple[Array, Array]:
        """Return the bin of the variables, and whether they are inside the range."""
        ...

    def function(self, name: str, /) -> "AbstractFunction | None":
        """Return the function of that name, or None."""
        ...


class AbstractFunction(abc.ABC):
    """A function of the model; its concrete classes are frozen and hashable."""

    type: ClassVar[str]

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it refers to, in order of its fields, without repetition."""
        own: Any = self
        parts = (getattr(self, field.name) for field in dataclasses.fields(own))
        return tuple(dict.fromkeys(_names(tuple(parts))))

    @property
    def bins(self) -> Binning | None:
        """The bins on which it depends, instead of the values of their variables."""
        return None

    @abc.abstractmethod
    def __call__(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the value, elementwise for arrays of one shape."""

    def log(self, lookup: Lookup) -> Float[Array, "..."]:
        """Return the logarithm, ``-inf`` where the value is not positive."""
        return safe_log(self(lookup))

    @classmethod
    @abc.abstractmethod
    def read(cls, fields: Fields) -> "AbstractFunction":
        """Make one from its definition."""

    @final
    @property
    def smooth_names(self) -> tuple[str, ...]:
        """The names on which it depends by their values, not only by their bins."""
        binned = () if self.bins is None else self.bins.names
        return tuple(name for name in self.names if name not in binned)


def _names(value: Any) -> tuple[str, ...]:
    """Return the names in a field of a function."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Binning | Expression):
        return value.names
    if isinstance(value, tuple):
        return tuple(name for part in value for name in _names(part))
    return ()


def read_binning(fields: Fields, node: Node | None = None) -> Binning:
    """Read the entry `axes` of a definition, or of an object inside of it."""
    if node is None:
        fields.raw("axes")
        node = Node(fields.spec, fields.where)
    node.child("axes")
    axes = read_axes(node, report=Report())
    for axis in axes:
        if axis.edges is None:
            fields.refuse(f"the axis {axis.name!r} has no bins")
    return Binning(
        tuple(
            (axis.name, tuple(axis.edges.tolist()))
            for axis in axes
            if axis.edges is not None
        )
    )


def read_histogram(fields: Fields) -> tuple[Binning, tuple[float, ...]]:
    """Read the entry `data`: axes and contents."""
    fields.raw("data")
    node = Node(fields.spec, fields.where).child("data")
    contents = node.child("contents")
    binning = read_binning(fields, node)
    size = int(np.prod(binning.shape))
    values = contents.numbers(size=size, owner=repr(fields.name))
    return binning, tuple(values.tolist())
