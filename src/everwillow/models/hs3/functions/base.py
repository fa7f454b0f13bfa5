"""What all functions of HS3 have in common."""

import abc
from typing import ClassVar, Protocol, final

from jaxtyping import Array, Float

from everwillow.models.hs3.definition import Fields, Reference
from everwillow.models.hs3.expressions.nodes import safe_log
from everwillow.models.hs3.functions.binning import Binning


class Lookup(Protocol):
    """Where functions and distributions find the value of a reference."""

    def __getitem__(self, reference: Reference, /) -> Array:
        """Return the value, a scalar or an array."""
        ...

    def place(self, binning: Binning, /) -> tuple[Array, Array]:
        """Return the bin that the variables are in, and whether they are inside."""
        ...

    def function(self, name: str, /) -> "AbstractFunction | None":
        """Return the function of that name, or None."""
        ...


class AbstractFunction(abc.ABC):
    """A function of the model; its concrete classes are frozen and hashable."""

    type: ClassVar[str]

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """What it refers to, in order, without repetition."""

    @property
    def bins(self) -> Binning | None:
        """The bins that it depends on, instead of on the values of their variables."""
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
        """What it refers to by more than a bin."""
        binned = () if self.bins is None else self.bins.names
        return tuple(name for name in self.names if name not in binned)


def only_names(references: tuple[Reference, ...]) -> tuple[str, ...]:
    """Return the names among references, each once."""
    return tuple(dict.fromkeys(r for r in references if isinstance(r, str)))
